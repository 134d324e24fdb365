package engine

import (
	"encoding/binary"

	"github.com/kimberlitedb/kimberlite-go/wire"
)

// The bodies of administrative entries are, behind their audit event, strings and numbers one after another: numbers
// little-endian, strings behind a u32 length.
//
//	create tenant    name
//	create stream    name | class (4) | placement: global (1) region (4) custom | retention: set (1) days (4)
//	delete stream    purge date (8)
//	set retention    retention: set (1) days (4) | least days (4)
//	set hold         name | reason
//	release hold     name
//	confirm clock    wall clock minus engine clock, if it was behind (8)
//	checkpoint       id (16) | label
//	drop checkpoint  id (16)
//	archive          checkpoint (16) | destination
//
// Those of undelete, purge and refused access are empty. A format of version 1 has the principal and the address of who
// asked at the end of the first two.
func appendString(p []byte, s string) []byte {
	return append(binary.LittleEndian.AppendUint32(p, uint32(len(s))), s...)
}

func appendStreamSpec(p []byte, c *wire.CreateStream) []byte {
	p = appendString(p, c.Name)
	p = binary.LittleEndian.AppendUint32(p, uint32(c.Class))
	p = appendPlacement(p, c.Placement)
	return appendOptU32(p, c.RetentionDays)
}

func appendOptU32(p []byte, o wire.Option[uint32]) []byte {
	return putU32(appendBool(p, o.Set), o.Value)
}

func putU32(p []byte, n uint32) []byte { return binary.LittleEndian.AppendUint32(p, n) }

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

func (d *decoder) optU32() wire.Option[uint32] {
	o := wire.Option[uint32]{Set: d.bool(), Value: d.u32()}
	if !o.Set {
		o.Value = 0
	}
	return o
}

func (d *decoder) streamSpec() (c wire.CreateStream) {
	c.Name = d.string()
	c.Class = wire.DataClass(d.u32())
	c.Placement = d.placement()
	c.RetentionDays = d.optU32()
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
