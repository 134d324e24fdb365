package check

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"slices"

	"github.com/kimberlitedb/kimberlite-go/engine"
	"github.com/kimberlitedb/kimberlite-go/engine/archive"
	"github.com/kimberlitedb/kimberlite-go/engine/proof"
	"github.com/kimberlitedb/kimberlite-go/engine/seg"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// setting is an act that changes what a stream keeps.
type setting struct {
	lsn  seg.LSN
	kind seg.Kind
	days wire.Option[uint32] // of a retention
	hold string
}

// settings notes such acts.
func (x *Archives) setting(r *seg.Record) {
	s := setting{lsn: r.LSN, kind: r.Kind}
	_, fields, _ := r.AuditEvent()
	switch r.Kind {
	case seg.KindSetRetention:
		if fields[0] > 0 {
			s.days = wire.Some(binary.LittleEndian.Uint32(fields[1:]))
		}
	case seg.KindSetHold, seg.KindReleaseHold:
		s.hold = string(fields[4:][:binary.LittleEndian.Uint32(fields)])
	case seg.KindUndeleteStream, seg.KindDeleteStream: // they may change a retention
	default:
		return
	}
	list := x.settings[r.Stream]
	if n := len(list); n == 0 || list[n-1].lsn < r.LSN {
		x.settings[r.Stream] = append(list, s)
	}
}

// Asker is a server that a checkpoint was restored into.
type Asker func(wire.TenantID, wire.RequestBody) wire.ResponseBody

// Forgotten reports whether a finding in the directory that a checkpoint was restored into is that the tables are not there, since the
// statements that have made them were let go of or damaged, and the archive says why it has no dump.
func (x *Archives) Forgotten(cp *archive.Checkpoint, f engine.Finding) bool {
	there, gone := cp.Dumped()
	return f.Kind == engine.BadTables && !there && gone != ""
}

// Restored judges what a restored checkpoint serves: each stream as it was at its position, less what has left the archive.
func (x *Archives) Restored(cp *archive.Checkpoint, report *engine.Restored, ask Asker, tables *Tables) {
	c, t := x.cuts.find(cp.ID), x.cuts.tenants[cp.Tenant]
	x.suite.mustPart(Checkpoint, "restore", report.Tenant == c.Tenant && report.Position == c.Position, "checkpoint %s of position %d of tenant %d is restored as %+v", c.ID, c.Position, c.Tenant, *report)
	gone := uint64(0)
	for i := range cp.Manifest.Streams {
		line := &cp.Manifest.Streams[i]
		s := t.stream(line.ID)
		r := restoredStream{Archives: x, s: s, c: c, line: line, ask: ask}
		if err := r.find(cp); err == nil {
			err = r.judge()
			gone += uint64(line.Head-line.Oldest) - r.shown
			if err != nil {
				x.suite.FailPart(Checkpoint, "restore", "checkpoint %s of position %d of tenant %d is restored, and stream %d: %v", c.ID, c.Position, c.Tenant, s.id, err)
			}
		}
	}
	x.suite.mustPart(Checkpoint, "restore", report.Gone == gone, "checkpoint %s of position %d of tenant %d is restored, %d events are said to be gone, and %d are", c.ID, c.Position, c.Tenant, report.Gone, gone)
	if sql := t.stream(Statements(c.Tenant)); c.Tenant != tables.tenant || report.NoTables != "" || sql != nil && sql.oldest(x.cuts.last) > 0 {
		return // what statements have made that are gone nobody can know
	}
	for k := range SQLTables {
		for _, template := range []string{sqlRows, sqlSums, sqlSeen} {
			text := fmt.Sprintf(template, k)
			reply := ask(c.Tenant, &wire.QueryAt{SQL: text, Position: c.Position})
			if reply == nil {
				x.suite.FailPart(Checkpoint, "restore", "checkpoint %s is restored, and %s is not answered", c.ID, text)
				return
			}
			tables.answered(Checkpoint, text, nil, wire.Some(c.Position), c.Position, reply)
		}
	}
}

// restoredStream is a stream of a restored checkpoint.
type restoredStream struct {
	*Archives
	s      *logStream
	c      *Cut
	line   *proof.Stream
	ask    Asker
	oldest wire.Offset
	shown  uint64 // events that are there
	holes  bool
}

// find finds which events are there.
func (r *restoredStream) find(cp *archive.Checkpoint) error {
	next := wire.Offset(math.MaxUint64)
	r.oldest = r.line.Head
	err := cp.Walk(r.line, archive.Visitor{
		Record: func(rec *seg.Record) error {
			first, end := max(rec.First, r.line.Oldest), rec.First+wire.Offset(rec.Count)
			if rec.Kind.Act() {
				end = rec.First + 1
			}
			if first < end {
				r.shown += uint64(end - first)
				r.holes = r.holes || next != math.MaxUint64 && next != rec.First
				r.oldest = min(r.oldest, first)
			}
			next = end
			return nil
		},
		Gone:   func(wire.Offset, []proof.Hash) error { return nil },
		Absent: func(wire.Offset, wire.Offset) error { return nil },
	})
	r.holes = r.holes || next != math.MaxUint64 && next != r.line.Head
	return err
}

// judge compares the stream with what was written.
func (r *restoredStream) judge() error {
	deleted := r.s.deleted(r.c.lsn)
	if r.s.at > 0 {
		if err := r.described(deleted); err != nil || deleted {
			return err
		}
	}
	for from := r.oldest; ; {
		reply := r.ask(r.c.Tenant, &wire.ReadEvents{Stream: r.s.id, FromOffset: from, MaxBytes: 1 << 20})
		b, ok := reply.(*wire.ReadEventsReply)
		r.suite.Saw(Checkpoint, true)
		switch {
		case !ok && r.holes:
			return nil
		case !ok:
			return fmt.Errorf("a read from %d is answered with %+v", from, reply)
		case b.OldestOffset != r.oldest || b.HeadOffset != r.line.Head:
			return fmt.Errorf("it is from %d to %d, expected is from %d to %d", b.OldestOffset, b.HeadOffset, r.oldest, r.line.Head)
		}
		for e := range b.Events.All {
			if e.Offset != from || e.Offset >= r.line.Head {
				return fmt.Errorf("event %d is read, %d was due", e.Offset, from)
			}
			if w := &r.s.events[from]; e.Timestamp != w.Timestamp || !bytes.Equal(e.Data, w.Data) {
				return fmt.Errorf("event %d is %+v, and was %+v", from, e, w.Event)
			}
			from++
		}
		if b.Events.Count == 0 {
			if from != r.line.Head && !r.holes {
				return fmt.Errorf("reads end before event %d, and the stream at %d", from, r.line.Head)
			}
			return nil
		}
	}
}

// described judges what is told of the stream.
func (r *restoredStream) described(deleted bool) error {
	reply := r.ask(r.c.Tenant, &wire.StreamInfo{Stream: r.s.id})
	b, ok := reply.(*wire.StreamInfoReply)
	if !ok {
		return fmt.Errorf("it is described with %+v", reply)
	}
	var holds, want []string
	for _, h := range b.Info.Holds {
		holds = append(holds, h.Name)
	}
	retention, known := wire.Option[uint32]{}, false
	for _, s := range r.settings[r.s.id] {
		if s.lsn > r.c.lsn {
			break
		}
		switch s.kind {
		case seg.KindSetHold:
			want = append(want, s.hold)
		case seg.KindReleaseHold:
			want = slices.DeleteFunc(want, func(h string) bool { return h == s.hold })
		default:
			retention, known = s.days, s.kind == seg.KindSetRetention
		}
	}
	i := &b.Info
	if i.Name != r.s.name || i.OldestOffset != r.oldest || i.HeadOffset != r.line.Head || !r.holes && i.Bytes != r.s.bytes(r.oldest, r.line.Head) ||
		i.Deleted != deleted || !slices.Equal(holds, want) || known && i.RetentionDays != retention {
		return fmt.Errorf("it is described as %+v; expected are %q from %d to %d, %d bytes, deleted: %t, holds %q, retention (known: %t) %v", *i, r.s.name, r.oldest, r.line.Head,
			r.s.bytes(r.oldest, r.line.Head), deleted, want, known, retention)
	}
	return nil
}
