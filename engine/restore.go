package engine

import (
	"errors"
	"fmt"

	"github.com/kimberlitedb/kimberlite-go/engine/seg"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// Restoring is a checkpoint that is to be in a data directory, which then serves its tenant as it was.
type Restoring struct {
	State []byte // the checkpoint's cut
	// Records calls visit with the records of the tenant's log that there are, stream by stream in ascending order of ids, and in
	// each stream in the order of the log; those of acts are the audit stream's. A record may be used until visit returns.
	Records func(visit func(*seg.Record) error) error
	// Deleted are streams that were deleted later, and when they are to be purged.
	Deleted map[wire.StreamID]wire.Time
}

// ErrNotEmpty says that a checkpoint is restored into an empty directory alone.
var ErrNotEmpty = errors.New("the directory is not empty")

// Restored says what became of a checkpoint.
type Restored struct {
	Tenant   wire.TenantID
	Name     string
	Position wire.Position
	Streams  int
	Events   uint64
	Gone     uint64 // events that the checkpoint had, and that are not there any more
}

// Restore makes a data directory out of checkpoints, of a tenant each, in an empty one. The engine clock goes on from now, or from the
// time of the last checkpoint where that is later. It is a job. The directory is one once all is written: before, it has no manifest.
func Restore(fs seg.Files, cfg Config, now wire.Time, list ...*Restoring) ([]Restored, error) {
	names, err := fs.List()
	if err != nil {
		return nil, fmt.Errorf("list data directory: %w", err)
	}
	if len(names) > 0 {
		return nil, fmt.Errorf("%w: it has %s", ErrNotEmpty, names[0])
	}
	r := restore{fs: fs, cfg: &cfg, s: newState(), man: seg.Manifest{Store: cfg.Store, Geometry: cfg.Geometry, First: 1, Next: 1}}
	r.s.limits = keyLimits{uint64(cfg.KeysPerStream), uint64(cfg.KeyAge), uint64(cfg.Keys)}
	var all []Restored
	for _, from := range list {
		report, err := r.restore(from)
		if err != nil {
			return nil, err
		}
		all = append(all, *report)
	}
	return all, r.finish(now)
}

// restore takes a checkpoint.
func (r *restore) restore(from *Restoring) (*Restored, error) {
	s, ok := thaw(from.State)
	if !ok {
		return nil, fmt.Errorf("the checkpoint's state: %w", seg.ErrDamaged)
	}
	t := s.order[0]
	if r.s.tenants[t.id] != nil {
		return nil, fmt.Errorf("%w: two checkpoints of tenant %d", errMisfit, t.id)
	}
	r.tenant, r.streams, r.report = t, map[wire.StreamID]*restoring{}, Restored{Tenant: t.id, Name: t.name, Position: t.position}
	list := t.streams
	t.streams = nil
	r.s.addTenant(t)
	for _, x := range list {
		if r.s.streams[x.id] != nil {
			return nil, fmt.Errorf("%w: two streams have id %d: the checkpoints are of several servers", errMisfit, x.id)
		}
		r.s.addStream(x)
	}
	if err := from.Records(r.take); err != nil {
		return nil, err
	}
	for _, x := range t.streams {
		r.settle(x, from.Deleted)
		if !x.system() {
			r.report.Streams++
		}
	}
	return &r.report, nil
}

// restore is the making of a data directory.
type restore struct {
	fs      seg.Files
	cfg     *Config
	s       state // with the LSN of the last record taken
	tenant  *tenant
	man     seg.Manifest
	streams map[wire.StreamID]*restoring
	records [][]byte // of the next sealed file
	size    int
	report  Restored
}

// restoring is what is known of a stream's events.
type restoring struct {
	first     wire.Offset // the first that is there
	shown     bool        // some of them
	firstTime wire.Time   // of the oldest that is shown
	next      wire.Offset
	data      uint64 // bytes of those that are shown
	lost      []span
}

// take takes a record.
func (r *restore) take(rec *seg.Record) error {
	t := r.tenant
	of := rec.Stream
	events := rec.Events()
	if rec.Kind.Act() {
		of = auditStream(t.id)
		events, _, _ = rec.AuditEvent()
	} else if rec.Kind != seg.KindAppend {
		return fmt.Errorf("%w: a record of kind %d", errMisfit, rec.Kind)
	}
	x := r.s.streams[of]
	if x == nil || rec.Tenant != t.id || rec.Count == 0 || rec.First+wire.Offset(rec.Count) > x.head {
		return fmt.Errorf("%w: a record of tenant %d, stream %d, offset %d", errMisfit, rec.Tenant, of, rec.First)
	}
	if err := r.note(x, rec, events); err != nil {
		return err
	}
	r.s.lsn++
	rec.LSN = r.s.lsn
	raw := append(seg.BeginRecord(make([]byte, 0, seg.RecordHeader+len(rec.Body)), rec), rec.Body...)
	seg.FinishRecord(raw, 0)
	r.records, r.size = append(r.records, raw), r.size+len(raw)
	if rec.Kind == seg.KindAppend && rec.Flags&seg.FlagKey != 0 {
		r.s.remember(x, rec)
	}
	if r.size < int(r.man.Geometry.SegmentSize) {
		return nil
	}
	return r.seal()
}

// note takes up which events a record has.
func (r *restore) note(x *stream, rec *seg.Record, events []byte) error {
	y := r.streams[x.id]
	switch {
	case y == nil:
		y = &restoring{first: rec.First, next: rec.First}
		r.streams[x.id] = y
	case rec.First < y.next:
		return fmt.Errorf("%w: offset %d of stream %d comes behind %d", errMisfit, rec.First, x.id, y.next)
	case rec.First > y.next:
		y.lost = append(y.lost, span{y.next, rec.First})
	}
	for len(events) > 0 {
		e, rest, ok := wire.NextEvent(events)
		if !ok {
			return fmt.Errorf("%w: an event of stream %d", errMisfit, x.id)
		}
		if e.Offset >= x.oldest {
			if !y.shown {
				y.shown, y.firstTime = true, e.Timestamp
			}
			y.data += uint64(len(e.Data))
			r.report.Events++
		}
		y.next, events = e.Offset+1, rest
	}
	return nil
}

// seal writes a sealed file of the records that were taken.
func (r *restore) seal() error {
	n := len(r.records)
	if n == 0 {
		return nil
	}
	head := seg.SealedHead{Store: r.man.Store, Number: r.man.Next, First: r.s.lsn - seg.LSN(n) + 1, Last: r.s.lsn, Target: r.cfg.SealBlock}
	_, err := seg.Seal(r.fs, head, func(visit func(seg.Key, seg.Summary, []byte)) error {
		for _, raw := range r.records {
			var rec seg.Record
			if _, err := seg.ParseRecord(raw, &rec); err != nil {
				return err
			}
			key, sum := seg.Summarize(&rec)
			visit(key, sum, raw)
		}
		return nil
	})
	if err != nil {
		return err
	}
	r.man.Sealed = append(r.man.Sealed, seg.SealedMark{Number: head.Number, First: head.First, Last: head.Last})
	r.man.Next++
	r.records, r.size = r.records[:0], 0
	return nil
}

// settle has a stream show what is there of it.
func (r *restore) settle(x *stream, deleted map[wire.StreamID]wire.Time) {
	had := x.head - x.oldest
	switch y := r.streams[x.id]; {
	case y == nil:
		x.oldest, x.cut = x.head, x.bytes
		r.report.Gone += uint64(had)
	default:
		x.oldest = max(x.oldest, y.first)
		x.lost = y.lost
		if y.next < x.head {
			x.lost = append(x.lost, span{y.next, x.head})
		}
		if len(x.lost) == 0 {
			x.cut = x.bytes - min(y.data, x.bytes)
		}
		x.firstTime = y.firstTime
		r.report.Gone += uint64(had - (x.head - x.oldest))
		for _, l := range x.lost {
			r.report.Gone += uint64(l.to - l.from)
		}
	}
	if purge, later := deleted[x.id]; later && len(x.holds) == 0 {
		x.deleted, x.purge = true, purge
	}
}

// finish writes the state and the first segment of the log, and then the manifest.
func (r *restore) finish(now wire.Time) error {
	if err := r.seal(); err != nil {
		return err
	}
	for _, t := range r.s.order {
		now = max(now, t.commit)
		for _, x := range t.streams {
			x.lsn = r.s.lsn
			for _, g := range x.groups {
				g.lsn = r.s.lsn
			}
		}
	}
	c := r.s.capture()
	c.next, c.clock = r.man.Geometry.First(r.man.First), now
	if err := seg.WriteSnapshot(r.fs, r.man.Store, c.lsn, c.encode()); err != nil {
		return err
	}
	if err := seg.PrepareSegment(r.fs, r.man.Geometry, r.man.Store, r.man.First); err != nil {
		return err
	}
	r.man.Snapshots = []seg.SnapshotMark{{LSN: c.lsn, Next: c.next}}
	return seg.WriteManifest(r.fs, r.man)
}
