package engine

import (
	"errors"
	"hash/crc32"
	"slices"

	"github.com/kimberlitedb/kimberlite-go/engine/seg"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// sealed verifies the sealed files that the manifest names.
func (c *checker) sealed() error {
	for _, mark := range c.r.man.Sealed {
		if err := c.sealedFile(mark.Number); err != nil {
			return err
		}
	}
	return nil
}

func (c *checker) sealedFile(number uint64) error {
	name, fs, store := seg.SealedName(number), c.r.fs, c.r.man.Store
	c.report.Sealed++
	info, err := seg.CheckSealed(fs, store, number, seg.Summarize, func(d seg.SealedDamage) error {
		f := Finding{Kind: BadSealed, Where: []Damage{{File: name, Offset: d.Start, Length: d.End - d.Start}}, Detail: "its " + string(d.Part)}
		for _, s := range d.Sections {
			c.loses(&f, s)
		}
		c.add(f)
		return nil
	})
	if errors.Is(err, seg.ErrCrashed) || errors.Is(err, seg.ErrNewerFormat) {
		return err
	}
	if err != nil {
		c.add(Finding{Kind: BadSealed, Where: []Damage{c.file(name)}, Detail: err.Error()})
		return nil
	}
	c.report.SealedSize += info.Size
	c.report.Entries += int(info.Records)
	c.report.Events += int(info.Events)
	c.report.EventBytes += int64(info.Data)
	x, err := seg.ReadSealedIndex(fs, store, number)
	if err != nil {
		if x, _, err = seg.RebuildIndex(fs, store, number, seg.Summarize); err != nil {
			return err
		}
	}
	c.indexes = append(c.indexes, x)
	return c.sealedEvents(x)
}

// loses adds a section to what a finding means for its tenant.
func (c *checker) loses(f *Finding, s seg.Section) {
	t := f.tenant(s.Tenant)
	t.Entries += uint64(s.Records)
	id := s.Stream
	if id == 0 {
		id = auditStream(s.Tenant)
	}
	if s.Events > 0 {
		t.lose(id, s.First, s.Next)
	}
}

// sealedEvents verifies the events in the blocks of a sealed file that can be read; the others were found already.
func (c *checker) sealedEvents(x *seg.SealedIndex) error {
	r, err := seg.NewSealedReader(c.r.fs, c.r.man.Store)
	if err != nil {
		return err
	}
	defer r.Close()
	for i, b := range x.Blocks {
		p, err := r.Read(x.Number, b, nil)
		if errors.Is(err, seg.ErrCrashed) {
			return err
		}
		if err != nil {
			continue
		}
		for len(p) > 0 {
			var rec seg.Record
			n, err := seg.ParseRecord(p, &rec)
			if err != nil {
				break
			}
			p = p[n:]
			c.sealedRecord(x.Number, x.Blocks[i], &rec)
		}
	}
	return nil
}

func (c *checker) sealedRecord(number uint64, b seg.SealedBlock, r *seg.Record) {
	stream, events := r.Stream, r.Events()
	if r.Kind != seg.KindAppend {
		event, _, ok := r.AuditEvent()
		if !ok {
			return
		}
		stream, events = auditStream(r.Tenant), event
	}
	next, end := r.First, r.First+wire.Offset(r.Count)
	for ; next < end; next++ {
		e, rest, ok := wire.NextEvent(events)
		if ok && e.Offset == next && crc32.ChecksumIEEE(e.Data) == e.Checksum {
			events = rest
			continue
		}
		f := Finding{
			Kind: BadEvent, Where: []Damage{{File: seg.SealedName(number), Offset: b.Offset, Length: b.End() - b.Offset}},
			Detail: "its checksum is not that of its data",
		}
		f.tenant(r.Tenant).Streams = []StreamLoss{{Stream: stream, From: next, To: next + 1}}
		c.add(f)
		return
	}
}

// earlier verifies what lies in the log before the older snapshot and is not sealed yet. The snapshot's state knows what
// was in it.
func (c *checker) earlier() error {
	r := &c.r
	var sealed seg.LSN
	if n := len(r.man.Sealed); n > 0 {
		sealed = r.man.Sealed[n-1].Last
	}
	for n := r.man.First; n <= r.man.Geometry.Segment(r.start) && n <= c.last; n++ {
		if slices.Contains(c.missing, n) {
			c.lostEarlier(seg.Extent{Start: r.man.Geometry.Address(n, 0), End: r.man.Geometry.Address(n+1, 0)}, MissingSegment)
			continue
		}
		err := seg.ScanSegment(r.fs, r.man, n, 0, func(f seg.Finding) error {
			if f.Start >= r.start {
				return nil
			}
			if f.Damaged {
				c.lostEarlier(f.Extent, Corruption)
				return nil
			}
			at := f.Start + seg.BatchHeader
			for p := f.Records; len(p) > 0; {
				var rec seg.Record
				n, err := seg.ParseRecord(p, &rec)
				if err != nil {
					return err
				}
				if e := (seg.Extent{Start: at, End: at + seg.Address(n)}); rec.LSN > sealed {
					sealed = rec.LSN
					c.record(&rec, e)
				}
				p, at = p[n:], at+seg.Address(n)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// lostEarlier makes a finding of damage, with the streams that the index says may have events there.
func (c *checker) lostEarlier(at seg.Extent, kind FindingKind) {
	f := Finding{Kind: kind, Where: c.r.pieces([]seg.Extent{at})}
	for _, t := range c.r.state.order {
		for _, x := range t.streams {
			for i, e := range x.index {
				if e.at.Start >= at.End || e.at.End <= at.Start {
					continue
				}
				to := x.head
				if i+1 < len(x.index) {
					to = x.index[i+1].first
				}
				f.tenant(t.id).lose(x.id, e.first, to)
			}
		}
	}
	if len(f.Tenants) == 0 {
		f.Kind = Scar
	}
	c.add(f)
}

// covered looks for events that no file holds. It comes last: the log has been replayed.
func (c *checker) covered() error {
	if c.r.man.First == 0 {
		return nil
	}
	l := layout{sealed: c.indexes}
	for _, t := range c.r.state.order {
		for _, x := range t.streams {
			next := x.oldest
			miss := func(from, to wire.Offset) {
				if from < to && !c.accounted(t.id, x, from, to) {
					f := Finding{Kind: MissingEvents, Where: []Damage{{File: seg.ManifestName}}}
					f.tenant(t.id).Streams = []StreamLoss{{Stream: x.id, From: from, To: to}}
					c.add(f)
				}
			}
			l.sections(x, next, func(_ *seg.SealedIndex, s *seg.Section) bool {
				if s.First >= x.unsealed() {
					return false
				}
				miss(next, s.First)
				next = s.Next
				return true
			})
			miss(next, x.unsealed())
		}
	}
	return nil
}

// accounted reports whether another finding says that events are lost, or a recovery has.
func (c *checker) accounted(t wire.TenantID, x *stream, from, to wire.Offset) bool {
	if lost, ok := x.lostAt(from); ok && lost.to >= to {
		return true
	}
	return slices.ContainsFunc(c.report.Findings, func(f Finding) bool {
		return slices.ContainsFunc(f.Tenants, func(l TenantLoss) bool {
			return l.Tenant == t && slices.ContainsFunc(l.Streams, func(s StreamLoss) bool { return s.Stream == x.id && s.From < to && from < s.To })
		})
	})
}
