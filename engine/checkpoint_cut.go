package engine

import (
	"bytes"
	"crypto/sha256"

	"github.com/kimberlitedb/kimberlite-go/engine/seg"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// cut is a tenant as it was when a checkpoint was cut: all that the state knew of it but for where its events lie and for its
// idempotency keys, which the events tell, and whose digests must not outlive what they were made from. It is copied in the
// machine, a few words for each stream, and written out by jobs. It never changes.
type cut struct {
	tenant  tenant
	streams []cutStream // ascending ids
	raw     []byte      // instead: as a snapshot had it

	statements wire.Offset // how many there were, carried out or not
}

// cutStream is a stream in a cut.
type cutStream struct {
	of *stream // what never changes of it
	changing
	groupBytes []byte
}

// freeze has the newest checkpoint of the tenant remember what the tenant is now.
func (t *tenant) freeze() {
	c := &cut{tenant: *t, streams: make([]cutStream, len(t.streams))}
	c.tenant.checkpoints, c.tenant.leaves, c.tenant.archives = nil, nil, nil
	c.tenant.pruned, c.tenant.origin = nil, nil
	if t.sql != nil {
		c.statements = t.sql.head
	}
	for i, x := range t.streams {
		y := &c.streams[i]
		y.of, y.changing = x, x.changing
		y.keys, y.lsn = keyWindow{}, 0 // a number of the log would tell of other tenants
		for _, g := range x.groups {   // they may change
			h := *g
			h.lsn = 0
			y.groupBytes = h.encode(y.groupBytes)
		}
	}
	last := len(t.checkpoints) - 1
	t.checkpoints[last].cut = c // nobody has seen the checkpoint yet
}

// encode writes the cut:
//
//	format version (4) | tenant | streams
//
// as a snapshot of that version has them.
func (c *cut) encode() []byte {
	if c.raw != nil {
		return c.raw
	}
	p := c.tenant.encode(putU32(nil, seg.FormatVersion))
	p = putNumbers(p, uint64(len(c.streams)))
	for i := range c.streams {
		y := &c.streams[i]
		x := stream{id: y.of.id, tenant: y.of.tenant, name: y.of.name, class: y.of.class, placement: y.of.placement, created: y.of.created,
			changing: y.changing, groupBytes: y.groupBytes}
		p = x.encode(p)
	}
	return p
}

// bytes returns a cut as a snapshot had it, nil where it is not from one.
func (c *cut) bytes() []byte {
	if c == nil {
		return nil
	}
	return c.raw
}

// thaw returns the state that a cut was made of, of the one tenant alone, and false where it is no cut.
func thaw(p []byte) (s state, ok bool) {
	d := decoder{p: p}
	version := d.u32()
	if d.bad || version < checkpointsVersion || version > seg.FormatVersion {
		return s, false
	}
	s = newState()
	s.addTenant(decodeTenant(&d, version))
	for range d.count(minStream) {
		if s.decodeStream(&d, version) == nil {
			return s, false
		}
	}
	t := s.order[0]
	return s, !d.bad && len(d.p) == 0 && t.audit != nil && len(t.streams) == len(s.streams)
}

// encodeCheckpoints writes what the state knows of a tenant's checkpoints, for a snapshot.
func (t *tenant) encodeCheckpoints(p []byte) []byte {
	p = putNumbers(p, uint64(len(t.leaves)))
	for _, l := range t.leaves {
		p = putNumbers(append(p, l.id[:]...), uint64(l.position))
	}
	p = putNumbers(p, uint64(t.removed), uint64(t.removedAt), uint64(len(t.pruned)))
	for _, x := range t.pruned {
		p = putNumbers(appendString(p, x.to), uint64(x.upto), uint64(x.at))
	}
	p = putNumbers(p, uint64(len(t.archives)))
	for _, a := range t.archives {
		p = appendBool(putNumbers(appendString(append(p, a.id[:]...), a.to), uint64(a.lock)), a.done)
	}
	p = putNumbers(p, uint64(len(t.checkpoints)))
	for _, c := range t.checkpoints {
		p = appendString(append(p, c.id[:]...), c.label)
		p = appendBool(putNumbers(p, uint64(c.position), uint64(c.commit), uint64(c.lsn)), c.kept)
		p = append(p, c.digest[:]...)
		var raw []byte
		if !c.kept {
			raw = c.cut.encode()
		}
		p = append(putNumbers(p, uint64(len(raw))), raw...)
	}
	return p
}

func (s *state) decodeCheckpoints(d *decoder, t *tenant) {
	for range d.count(16 + 8) {
		var l leafFile
		copy(l.id[:], d.take(uint64(len(l.id))))
		l.position = wire.Position(d.u64())
		t.leaves = append(t.leaves, l)
	}
	t.removed, t.removedAt = seg.LSN(d.u64()), wire.Time(d.u64())
	for range d.count(4 + 2*8) {
		t.pruned = append(t.pruned, pruned{d.string(), seg.LSN(d.u64()), wire.Time(d.u64())})
	}
	for range d.count(16 + 4 + 8 + 1) {
		var a archived
		copy(a.id[:], d.take(uint64(len(a.id))))
		if a.to, a.lock, a.done = d.string(), wire.Time(d.u64()), d.bool(); !a.done {
			s.unsent++
		}
		t.archives = append(t.archives, a)
	}
	for range d.count(16 + 4 + 4*8 + 1 + sha256.Size) {
		c := &checkpoint{}
		copy(c.id[:], d.take(uint64(len(c.id))))
		c.label = d.string()
		c.folded = wire.Fold(c.label)
		c.position, c.commit, c.lsn, c.kept = wire.Position(d.u64()), wire.Time(d.u64()), seg.LSN(d.u64()), d.bool()
		copy(c.digest[:], d.take(sha256.Size))
		if raw := d.take(d.u64()); !c.kept {
			c.cut = &cut{raw: bytes.Clone(raw)}
			if then, ok := thaw(raw); ok && then.order[0].sql != nil {
				c.cut.statements = then.order[0].sql.head
			}
			s.cuts++
		}
		t.checkpoints = append(t.checkpoints, c)
	}
}
