package engine_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/kimberlitedb/kimberlite-go/engine"
	"github.com/kimberlitedb/kimberlite-go/engine/seg"
	"github.com/kimberlitedb/kimberlite-go/sim/disk"
	"github.com/kimberlitedb/kimberlite-go/sim/rng"
	"github.com/kimberlitedb/kimberlite-go/wire"
	"pgregory.net/rapid"
)

// story is a rig whose disk fails now and then, beside a model of what it must hold.
type story struct {
	*rig
	loss     *rng.Rand
	streams  []*stored
	unsynced bool // a sync has failed
}

// stored is what a stream must hold: events, and the entries that made them.
type stored struct {
	id     wire.StreamID
	tenant wire.TenantID
	made   seg.LSN
	events []string
	lsns   []seg.LSN
}

// String keeps the logs of rapid short.
func (x *stored) String() string { return fmt.Sprintf("stream %d with %d events", x.id, len(x.events)) }

// GoString does, too.
func (x *stored) GoString() string { return x.String() }

func newStory(t *rapid.T, cfg engine.Config) *story {
	s := &story{rig: newRig(t, cfg), loss: rng.Source(rapid.Uint64().Draw(t, "losses")).Stream("loss")}
	for tenant := wire.TenantID(1); tenant <= 2; tenant++ {
		s.call(tenant, &wire.CreateTenant{Name: "tenant"})
	}
	return s
}

// create makes a stream, not durable yet.
func (s *story) create(t *rapid.T) {
	x := &stored{tenant: wire.TenantID(rapid.IntRange(1, 2).Draw(t, "tenant"))}
	x.id = wire.StreamID(1)
	for _, y := range s.streams {
		x.id = max(x.id, y.id+1)
	}
	if lsn, ok := s.decide(x.tenant, &wire.CreateStream{Name: fmt.Sprintf("s%d", x.id)}); ok {
		x.made = lsn
		s.streams = append(s.streams, x)
	}
}

// append appends some events to a stream, not durable yet.
func (s *story) append(t *rapid.T) {
	if len(s.streams) == 0 {
		return
	}
	x := rapid.SampledFrom(s.streams).Draw(t, "stream")
	var events []string
	for range rapid.IntRange(1, 3).Draw(t, "events") {
		n := rapid.OneOf(rapid.IntRange(0, 40), rapid.IntRange(0, 900)).Draw(t, "size")
		events = append(events, fmt.Sprintf("%d:%s", len(x.events)+len(events), bytes.Repeat([]byte("x"), n)))
	}
	lsn, ok := s.decide(x.tenant, eventsFor(x.id, events...))
	if !ok {
		return
	}
	for range events {
		x.lsns = append(x.lsns, lsn)
	}
	x.events = append(x.events, events...)
}

// decide makes a request, and returns the entry that it made, if it was not refused.
func (s *story) decide(tenant wire.TenantID, body wire.RequestBody) (seg.LSN, bool) {
	before := s.decided()
	s.request(tenant, body)
	return s.decided(), s.decided() > before
}

// decided is the last entry, which may be lost with the process.
func (s *story) decided() seg.LSN { return s.m.Stats().LSN }

// trouble has something happen at an operation of the disk that is yet to come.
func (s *story) trouble(t *rapid.T) {
	n := rapid.IntRange(1, 25).Draw(t, "operations until")
	kind := rapid.SampledFrom([]string{"power", "torn", "garbage", "process", "sync"}).Draw(t, "trouble")
	s.d.Hook = func(op disk.Op) disk.Verdict {
		n--
		switch {
		case n > 0:
			return disk.Verdict{}
		case kind == "sync" && op.Kind != disk.OpSync:
			return disk.Verdict{}
		case kind == "sync":
			s.d.Hook, s.unsynced = nil, true
			return disk.Verdict{Err: errors.New("input/output error")}
		case kind == "process":
			s.d.ProcessCrash()
		default:
			s.d.PowerLoss(s.loss, disk.Loss{Torn: kind != "power", Garbage: kind == "garbage"})
		}
		s.dead, s.d.Hook = true, nil
		return disk.Verdict{}
	}
}

// restart recovers, in spite of what goes wrong meanwhile, and compares the outcome with the model.
func (s *story) restart(t *rapid.T) {
	if !s.dead {
		s.d.ProcessCrash()
	}
	for tries := 0; ; tries++ {
		s.verify(t)
		troubled := s.d.Hook != nil
		err := s.open()
		if err == nil && !s.dead {
			break
		}
		if err != nil && !troubled && tries > 0 {
			t.Fatalf("recovery fails: %v", err)
		}
	}
	s.d.Hook = nil
	lsn := s.decided()
	switch before, known := s.hashes[lsn]; {
	case lsn < s.acked:
		t.Fatalf("recovered up to entry %d, but %d was acknowledged", lsn, s.acked)
	case !known || before != s.m.Hash():
		t.Fatalf("the state at entry %d is not the one that was decided (known: %t)", lsn, known)
	case len(s.report.Holes) > 0:
		t.Fatalf("a crash has made holes: %+v", s.report.Holes)
	}
	s.forget(lsn)
	s.replay(t)
}

// verify checks the disk as the crash left it: it may hold unfinished work, but no damage.
func (s *story) verify(t *rapid.T) {
	report := s.checked()
	report.Findings = slices.DeleteFunc(report.Findings, func(f engine.Finding) bool {
		return f.Kind == engine.Scar && s.unsynced // zeros that never got there
	})
	if report.Damaged() || report.LSN < s.acked || report.Sealed == 0 && report.Entries != int(report.LSN) {
		t.Fatalf("up to entry %d, of which %d are acknowledged, the check finds\n%s\n%+v", report.LSN, s.acked, describeAll(report), report)
	}
}

// forget drops from the model what nobody was promised.
func (s *story) forget(after seg.LSN) {
	s.acked = after
	for lsn := range s.hashes {
		if lsn > after {
			delete(s.hashes, lsn)
		}
	}
	kept := s.streams[:0]
	for _, x := range s.streams {
		if x.made > after {
			continue
		}
		for n := len(x.lsns); n > 0 && x.lsns[n-1] > after; n-- {
			x.lsns, x.events = x.lsns[:n-1], x.events[:n-1]
		}
		kept = append(kept, x)
	}
	s.streams = kept
}

// replay recovers a copy of the disk from the log's first entry on, or from the older snapshot: a snapshot and what follows
// it are the same.
func (s *story) replay(t *rapid.T) {
	fs := s.d.Clone().Mount()
	man, err := seg.ReadManifest(fs)
	if err != nil {
		t.Fatal(err)
	}
	man.Snapshots = man.Snapshots[min(len(man.Snapshots), 1):]
	if man.First == 0 {
		man.Snapshots = nil
	}
	if err := seg.WriteManifest(fs, man); err != nil {
		t.Fatal(err)
	}
	m, report, err := engine.Open(fs, s.cfg)
	if err != nil || (report.Snapshot != 0) != (man.First > 0) || m.Hash() != s.m.Hash() {
		t.Fatalf("replayed to %d, which is another state: %+v, %v", s.decided(), report, err)
	}
}

// readBack compares every stream with the model.
func (s *story) readBack(t *rapid.T) {
	for _, x := range s.streams {
		events, stop := s.read(x.tenant, x.id, 0)
		if stop != 0 || len(events) != len(x.events) {
			t.Fatalf("read %d events of %d of stream %d, %v", len(events), len(x.events), x.id, stop)
		}
		for i, e := range events {
			if string(e.Data) != x.events[i] || e.Offset != wire.Offset(i) {
				t.Fatalf("event %d of stream %d is event %d: %.20q, want %.20q", i, x.id, e.Offset, e.Data, x.events[i])
			}
		}
	}
}

// A tail that a crash left unsynced is written again by recovery. A loss of power in the midst of that, whatever becomes of
// each sector, leaves nothing that looks like damage.
func TestACrashWhileTheTailIsCopiedLeavesNoScar(t *testing.T) {
	for at := 1; at <= 30; at++ {
		for seed := range rng.Source(12) {
			r := newRig(t, smallConfig())
			r.call(1, &wire.CreateTenant{Name: "tenant"})
			s := r.create(1, "s")
			r.d.Hook = func(op disk.Op) disk.Verdict {
				if op.Kind == disk.OpSync {
					r.d.ProcessCrash()
					r.dead, r.d.Hook = true, nil
				}
				return disk.Verdict{}
			}
			r.request(1, eventsFor(s, strings.Repeat("an event of two sectors ", 25)))
			r.step(engine.EndBatch{})
			n := at
			r.d.Hook = func(disk.Op) disk.Verdict {
				if n--; n == 0 {
					r.d.PowerLoss(seed.Stream("loss"), disk.Loss{Torn: true})
					r.dead, r.d.Hook = true, nil
				}
				return disk.Verdict{}
			}
			_ = r.open() // it may not get to the end
			if r.d.Hook = nil; !r.dead {
				continue
			}
			if report := r.checked(); report.Damaged() {
				t.Fatalf("power lost at operation %d of recovery, %v: %s", at, seed, describeAll(report))
			}
		}
	}
}

// Whatever goes wrong, whenever: what was acknowledged is there, in the state that was decided.
func TestRecoveryKeepsWhatWasAcknowledged(t *testing.T) {
	passed := map[engine.Probe]int{}
	cfg := smallConfig()
	cfg.Probe = func(p engine.Probe) { passed[p]++ }
	rapid.Check(t, func(t *rapid.T) {
		if cfg.SealBlock = 0; rapid.Bool().Draw(t, "sealing") {
			cfg.SealBlock, cfg.MergeFiles = 1<<10, 2
		}
		s := newStory(t, cfg)
		alive := func(do func(*rapid.T)) func(*rapid.T) {
			return func(t *rapid.T) {
				if !s.dead {
					do(t)
				}
			}
		}
		group := func(t *rapid.T) {
			for range rapid.IntRange(1, 5).Draw(t, "appends") {
				if s.append(t); s.dead {
					return
				}
			}
			s.step(engine.EndBatch{})
		}
		t.Repeat(map[string]func(*rapid.T){
			"create":  alive(s.create),
			"append":  alive(s.append),
			"group":   alive(group),
			"again":   alive(group),
			"mark":    alive(func(*rapid.T) { s.mark() }),
			"trouble": s.trouble,
			"restart": func(t *rapid.T) {
				s.restart(t)
				s.readBack(t)
			},
		})
		s.restart(t)
		s.readBack(t)
	})
	for _, p := range []engine.Probe{
		engine.ProbeRecoveryTornTail, engine.ProbeRecoveryCopiedTail, engine.ProbeRecoveryCopyMet, engine.ProbeRecoveryTempRemoved,
		engine.ProbeRecoveryTailToNextSegment, engine.ProbeSnapshotUsed, engine.ProbeBatchRollsSegment,
	} {
		if passed[p] == 0 {
			t.Errorf("never came by %s", p)
		}
	}
}

// damaged appends some groups, marks them as durable, and damages one of the batches, but not the last one: either one
// bit of it is flipped, or a sector cannot be read.
func damaged(t *rapid.T) (s *story, hit written, off int64) {
	cfg := smallConfig()
	cfg.SnapshotEvery = 1 << 40
	s = newStory(t, cfg)
	s.create(t)
	s.create(t)
	for range rapid.IntRange(2, 20).Draw(t, "groups") {
		for range rapid.IntRange(0, 3).Draw(t, "appends") {
			s.append(t)
		}
		s.step(engine.EndBatch{})
		if rapid.IntRange(0, 4).Draw(t, "idle") == 0 {
			s.mark()
		}
	}
	s.mark()
	hit = s.written[rapid.IntRange(0, len(s.written)-2).Draw(t, "batch")]
	at := hit.Address + seg.Address(rapid.IntRange(0, seg.BatchHeader+len(hit.records)-1).Draw(t, "byte"))
	if rapid.Bool().Draw(t, "unreadable") {
		geo := s.m.Geometry()
		name, bad := seg.SegmentName(geo.Segment(at)), geo.Offset(at)/512*512
		s.d.Hook = func(op disk.Op) disk.Verdict {
			if op.Kind == disk.OpRead && op.Name == name && op.Off < bad+512 && bad < op.Off+int64(op.Len) {
				return disk.Verdict{Err: errors.New("input/output error")}
			}
			return disk.Verdict{}
		}
		return s, hit, bad
	}
	_, off = s.flip(at, byte(rapid.IntRange(0, 7).Draw(t, "bit")))
	return s, hit, off
}

// Damage to what a later header vouches for is never passed over: recovery names the entries that are gone and the place,
// the check says the same, and readers get everything else.
func TestDamageUnderALaterMarkIsAHole(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, hit, off := damaged(t)
		report, err := engine.Check(readOnly{s.d.Mount()}, s.cfg)
		if err != nil || len(report.Findings) != 1 {
			t.Fatalf("the check finds\n%s\n%v", describeAll(report), err)
		}
		f := report.Findings[0]
		end := s.decided()
		if err := s.open(); err != nil {
			t.Fatal(err)
		}
		var where []engine.Damage
		if hit.Count == 0 {
			if len(s.report.Holes)+len(s.report.Torn) > 0 || len(s.report.Scars) != 1 || f.Kind != engine.Scar {
				t.Fatalf("a damaged commit mark: %+v, and the check says %s", s.report, describe(f))
			}
			where = s.report.Scars
		} else {
			if len(s.report.Holes) != 1 || len(s.report.Torn)+len(s.report.Scars) > 0 || f.Kind != engine.Corruption {
				t.Fatalf("damage to entries %d to %d: %+v, and the check says %s", hit.First, hit.Last(), s.report, describe(f))
			}
			h := s.report.Holes[0]
			if h.First != hit.First || h.Last != hit.Last() || f.First != h.First || f.Last != h.Last {
				t.Fatalf("entries %d to %d are damaged; %d to %d are reported as lost, and %d to %d by the check",
					hit.First, hit.Last(), h.First, h.Last, f.First, f.Last)
			}
			where = h.Damage
		}
		name := seg.SegmentName(s.m.Geometry().Segment(hit.Address))
		if !slices.Equal(where, f.Where) || len(where) != 1 || where[0].File != name || off < where[0].Offset || off >= where[0].Offset+where[0].Length {
			t.Fatalf("%s is damaged at %d; reported are %v, and %v by the check", name, off, where, f.Where)
		}
		if s.decided() != end {
			t.Fatalf("recovered up to entry %d of %d", s.decided(), end)
		}
		for _, x := range s.streams {
			s.readAround(t, x, hit)
		}
	})
}

// readAround reads a stream of which a batch may have had a part.
func (s *story) readAround(t *rapid.T, x *stored, hit written) {
	lost := func(i int) bool { return hit.First <= x.lsns[i] && x.lsns[i] <= hit.Last() }
	followed := false // by something that is not lost, so that the loss shows
	for i := len(x.events) - 1; i >= 0; i-- {
		followed = followed || !lost(i)
		if !followed {
			continue
		}
		events, stop := s.read(x.tenant, x.id, wire.Offset(i))
		switch {
		case lost(i) && (len(events) > 0 || stop != wire.DataCorrupted):
			t.Fatalf("offset %d of stream %d is lost, and reads as %d events, %s", i, x.id, len(events), stop)
		case !lost(i) && (len(events) == 0 || string(events[0].Data) != x.events[i]):
			t.Fatalf("offset %d of stream %d is not lost, and reads as %d events, %s", i, x.id, len(events), stop)
		}
	}
}

// Nobody was promised what lies in a last batch that nothing vouches for. Damage to it is what a crash leaves: it is set
// aside, whichever byte it is, and the log goes on.
func TestDamageInTheTailIsTorn(t *testing.T) {
	r := newRig(t, smallConfig())
	orders := r.create(1, "orders")
	r.append(1, orders, "kept")
	r.mark()
	kept, hash := r.m.Stats().LSN, r.m.Hash()
	r.request(1, eventsFor(orders, "torn"))
	r.step(engine.EndBatch{})
	last := r.written[len(r.written)-1]
	whole := r.d
	for i := range seg.BatchHeader + len(last.records) {
		r.d = whole.Clone()
		name, off := r.flip(last.Address+seg.Address(i), byte(i%8))
		if found := describeAll(r.checked()); found != "torn tail" {
			t.Fatalf("byte %d: the check finds %s", i, found)
		}
		if err := r.open(); err != nil {
			t.Fatal(err)
		}
		torn := r.report.Torn
		if len(torn) != 1 || torn[0].File != name || torn[0].Offset+torn[0].Length <= off || len(r.report.Holes)+len(r.report.Scars) > 0 {
			t.Fatalf("byte %d: %+v", i, r.report)
		}
		if r.m.Stats().LSN != kept || r.m.Hash() != hash {
			t.Fatalf("byte %d: recovered up to entry %d of %d", i, r.m.Stats().LSN, kept)
		}
		if report := r.checked(); len(report.Findings) > 0 || len(report.Kept) != 1 {
			t.Fatalf("byte %d: afterwards the check finds %+v", i, report)
		}
		r.log.Close()
		r.append(1, orders, "written in its place")
	}
}

// The copy of a tail that was only in the page cache is in another file than the tail, if that has no room. Both must be
// durable before anything follows, or the torn original looks like corruption later.
func TestCopiedTailLeavesNoScar(t *testing.T) {
	for room := range 8 {
		r := newRig(t, smallConfig())
		orders := r.create(1, "orders")
		for r.m.Geometry().Offset(r.written[len(r.written)-1].Address) < 14<<10-int64(room)*512 {
			r.append(1, orders, "x")
		}
		r.mark()
		r.d.Hook = func(op disk.Op) disk.Verdict {
			if op.Kind == disk.OpSync {
				r.d.Hook, r.dead = nil, true
				r.d.ProcessCrash()
			}
			return disk.Verdict{}
		}
		r.request(1, eventsFor(orders, string(bytes.Repeat([]byte("tail"), 300))))
		r.step(engine.EndBatch{})
		if err := r.open(); err != nil || !r.report.CopiedTail {
			t.Fatalf("%+v, %v", r.report, err)
		}
		end := r.m.Stats().LSN
		r.d.PowerLoss(rng.Source(room).Stream("loss"), disk.Loss{Torn: true, Garbage: true})
		if report := r.checked(); len(report.Findings) > 0 || report.LSN != end {
			t.Errorf("room %d: up to entry %d of %d the check finds %s", room, report.LSN, end, describeAll(report))
		}
	}
}

// The last batch is written again where nothing vouches for it, however often, and never where something does.
func TestTailIsCopiedWhereNothingVouchesForIt(t *testing.T) {
	r := newRig(t, smallConfig())
	orders := r.create(1, "orders")
	for range 3 {
		if err := r.open(); err != nil || !r.report.CopiedTail {
			t.Fatalf("%+v, %v", r.report, err)
		}
	}
	r.append(1, orders, "x")
	r.mark()
	for range 3 {
		if err := r.open(); err != nil || r.report.CopiedTail {
			t.Fatalf("%+v, %v", r.report, err)
		}
	}
	before := len(r.written)
	if r.mark(); len(r.written) > before {
		t.Error("what is marked as durable is marked again after a restart")
	}
	if events, _ := r.read(1, orders, 0); len(events) != 1 {
		t.Errorf("%d events", len(events))
	}
}
