package engine

import (
	"encoding/binary"

	"github.com/kimberlitedb/kimberlite-go/wire"
)

// The bodies of administrative entries are strings and numbers one after another: numbers little-endian, strings behind
// a u32 length. They end with the actor: who asked, and from where.
//
//	create tenant   name | actor
//	create stream   name | class (4) | placement: global (1) region (4) custom | retention: set (1) days (4) | actor
//	actor           principal | address
func appendString(p []byte, s string) []byte {
	return append(binary.LittleEndian.AppendUint32(p, uint32(len(s))), s...)
}

// appendActor appends who asked. Principals come with authentication; until then there is one without a name.
func appendActor(p []byte, r *Request) []byte {
	return appendString(appendString(p, ""), r.From)
}

func appendStreamSpec(p []byte, c *wire.CreateStream) []byte {
	p = appendString(p, c.Name)
	p = binary.LittleEndian.AppendUint32(p, uint32(c.Class))
	p = appendPlacement(p, c.Placement)
	p = appendBool(p, c.RetentionDays.Set)
	return binary.LittleEndian.AppendUint32(p, c.RetentionDays.Value)
}

func appendPlacement(p []byte, c wire.Placement) []byte {
	p = appendBool(p, c.Global)
	p = binary.LittleEndian.AppendUint32(p, uint32(c.Region.Kind))
	return appendString(p, c.Region.Custom)
}

func appendBool(p []byte, b bool) []byte {
	if b {
		return append(p, 1)
	}
	return append(p, 0)
}

// decoder reads bodies and snapshots. After the first value that is not there it returns zeros and is bad.
type decoder struct {
	p   []byte
	bad bool
}

func (d *decoder) take(n uint64) []byte {
	if d.bad || n > uint64(len(d.p)) {
		d.bad = true
		return nil
	}
	p := d.p[:n]
	d.p = d.p[n:]
	return p
}

func (d *decoder) u8() uint8 {
	if p := d.take(1); p != nil {
		return p[0]
	}
	return 0
}

func (d *decoder) u32() uint32 {
	if p := d.take(4); p != nil {
		return binary.LittleEndian.Uint32(p)
	}
	return 0
}

func (d *decoder) u64() uint64 {
	if p := d.take(8); p != nil {
		return binary.LittleEndian.Uint64(p)
	}
	return 0
}

func (d *decoder) bool() bool     { return d.u8() == 1 }
func (d *decoder) string() string { return string(d.take(uint64(d.u32()))) }

func (d *decoder) actor() (principal, from string) { return d.string(), d.string() }

func (d *decoder) streamSpec() (c wire.CreateStream) {
	c.Name = d.string()
	c.Class = wire.DataClass(d.u32())
	c.Placement = d.placement()
	c.RetentionDays.Set = d.bool()
	c.RetentionDays.Value = d.u32()
	return c
}

func (d *decoder) placement() (c wire.Placement) {
	c.Global = d.bool()
	c.Region.Kind = wire.RegionKind(d.u32())
	c.Region.Custom = d.string()
	return c
}

// count reads the number of things that take at least size bytes each.
func (d *decoder) count(size uint64) int {
	n := d.u64()
	if n > uint64(len(d.p))/size {
		d.bad = true
		return 0
	}
	return int(n)
}
