package engine_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/kimberlitedb/kimberlite-go/engine"
	"github.com/kimberlitedb/kimberlite-go/engine/seg"
	"github.com/kimberlitedb/kimberlite-go/sim/disk"
	"github.com/kimberlitedb/kimberlite-go/sim/rng"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// busy is a rig on which clients go on while segments are sealed, files merged and removed events swept away, and what they
// were told.
type busy struct {
	*rig
	kept    int         // events
	deleted bool        // the stream that goes
	oldest  wire.Offset // of the stream that retention cuts off
}

const cut = 3 // a stream, beside kept and erased

const cutEvents = 12

func cutEvent(i int) string { return fmt.Sprintf("cut %d %050d", i, i) }

// cutTime is the time of an event. One expires every second and a half, so that records are cut off in part, too.
func cutTime(i int) wire.Time {
	return 1_700_000_100_000_000_000 + wire.Time(i)*wire.Time(3*engine.Second/2)
}

// unsealedCut is unsealed with the third stream.
func unsealedCut(t *testing.T) *disk.Disk {
	r := resume(t, unsealed(t))
	r.cfg.SealBlock, r.cfg.MaxBatchEvents, r.now.Wall = 0, cutEvents, 1_700_000_050_000_000_000
	if err := r.open(); err != nil {
		t.Fatal(err)
	}
	r.create(1, "cut")
	for i := 0; i < cutEvents; i += 4 {
		b := &wire.AppendEvents{Stream: cut, Timestamps: wire.Some([]wire.Time(nil))}
		for k := i; k < i+4; k++ {
			b.Events, b.Timestamps.Value = append(b.Events, []byte(cutEvent(k))), append(b.Timestamps.Value, cutTime(k))
		}
		if e, failed := r.call(1, b).(*wire.Error); failed {
			t.Fatal(e.Message)
		}
	}
	r.mark()
	return r.d
}

func resumeBusy(t *testing.T, d *disk.Disk) *busy {
	b := &busy{rig: resume(t, d), kept: keptEvents}
	b.cfg.RetentionDay = engine.Second
	return b
}

// tell asks for an operation, and returns the reply, nil where the process has died before it.
func (b *busy) tell(body wire.RequestBody) wire.ResponseBody {
	b.request(1, body)
	b.step(engine.EndBatch{})
	if b.dead || b.last == nil || b.last.Seq != b.seq {
		return nil
	}
	return b.last.Msg.Body
}

// run has clients do something between ticks.
func (b *busy) run() {
	if b.open() != nil {
		return
	}
	b.tell(&wire.SetRetention{Stream: cut, Days: wire.Some(uint32(1))})
	for i := 0; i < 4 && !b.dead; i++ {
		if i == 1 {
			_, b.deleted = b.tell(&wire.DeleteStream{Stream: erased, RetentionOverride: wire.Some(uint32(0))}).(*wire.DeleteStreamReply)
		}
		if b.mark(); b.dead {
			return
		}
		if _, ok := b.tell(eventsFor(kept, keptEvent(b.kept))).(*wire.AppendEventsReply); ok {
			b.kept++
		}
		if b.dead {
			return
		}
		if r, ok := b.tell(&wire.StreamInfo{Stream: cut}).(*wire.StreamInfoReply); ok {
			b.oldest = r.Info.OldestOffset
		}
	}
}

// recovered recovers from a crash, and compares what is there at once with what clients were told.
func (b *busy) recovered(t *testing.T, d *disk.Disk) {
	t.Helper()
	r := resume(t, d)
	r.cfg, r.now.Wall = b.cfg, b.now.Wall
	r.cfg.Probe = nil
	if report := r.checked(); report.Damaged() {
		t.Errorf("before the recovery the check finds\n%s", describeAll(report))
	}
	if err := r.open(); err != nil || len(r.report.Holes)+len(r.report.BadSealed) > 0 {
		t.Errorf("recovery: %v, %+v", err, r.report)
		return
	}
	events, stop := r.read(1, kept, 0)
	if len(events) < b.kept || stop != 0 {
		t.Errorf("%d events of %d, then %s", len(events), b.kept, stop)
	}
	for i, e := range events {
		if string(e.Data) != keptEvent(i) {
			t.Errorf("event %d is %q", i, e.Data)
		}
	}
	if _, stop := r.read(1, erased, 0); b.deleted && stop != wire.StreamDeleted && stop != wire.StreamNotFound {
		t.Errorf("the stream that was deleted: %s", stop)
	}
	reply, ok := r.callRich(1, &wire.ReadEvents{Stream: cut, MaxBytes: 1 << 20}).(*wire.ReadEventsReply)
	if !ok {
		t.Errorf("the stream that is cut off: %+v", r.last.Msg.Body)
		return
	}
	next := reply.OldestOffset
	if next < b.oldest || next > 0 && cutTime(int(next-1)) > r.now.Wall-wire.Time(engine.Second) {
		t.Errorf("the oldest offset is %d at %d, and was %d", next, r.now.Wall, b.oldest)
	}
	for e := range reply.Events.All {
		if e.Offset != next || string(e.Data) != cutEvent(int(next)) || e.Timestamp != cutTime(int(next)) {
			t.Errorf("event %d of the stream that is cut off is %d, %q", next, e.Offset, e.Data)
		}
		next++
	}
	if next != cutEvents {
		t.Errorf("the stream that is cut off ends at %d", next)
	}
	if report := r.checked(); report.Damaged() {
		t.Errorf("the check finds\n%s", describeAll(report))
	}
}

// changes reports whether an operation changes the disk, or what of it is durable. A crash at another leaves no other disk
// than one at the next that does, and clients have been told no more.
func changes(op disk.Op) bool {
	switch op.Kind {
	case disk.OpOpen, disk.OpList, disk.OpRead, disk.OpSize:
		return false
	}
	return true
}

// Right after a crash at any change of the disk, whatever jobs were under way, clients find what they were told.
func TestWhatClientsWereToldIsThereAfterACrashInSealing(t *testing.T) {
	base := unsealedCut(t)
	passed := map[engine.Probe]int{}
	count := 0
	b := resumeBusy(t, base.Clone())
	b.cfg.Probe = func(p engine.Probe) { passed[p]++ }
	b.d.Hook = func(op disk.Op) disk.Verdict {
		if !changes(op) {
			return disk.Verdict{}
		}
		if b.recovered(t, b.d.Clone()); t.Failed() { // what a crash of the process leaves
			t.Fatalf("after the process crashed at change %d of the disk", count)
		}
		count++
		return disk.Verdict{}
	}
	b.run()
	b.d.Hook = nil
	for _, p := range []engine.Probe{engine.ProbeSealed, engine.ProbeMerged, engine.ProbeSwept, engine.ProbePurged, engine.ProbeTrimmed} {
		if passed[p] == 0 {
			t.Fatalf("%s is not passed in %d changes of the disk: %+v", p, count, b.m.Stats())
		}
	}
	losses := rng.Source(2).Stream("losses")
	for n := range count {
		b := resumeBusy(t, base.Clone())
		left, d := n, b.d
		how := []disk.Loss{{}, {Torn: true}, {Torn: true, Garbage: true}, {Torn: true, Unordered: true}}[n%4]
		d.Hook = func(op disk.Op) disk.Verdict {
			if !changes(op) {
				return disk.Verdict{}
			}
			if left--; left < 0 {
				d.Hook, b.dead = nil, true
				d.PowerLoss(losses, how)
			}
			return disk.Verdict{}
		}
		b.run()
		if d.Hook != nil {
			t.Fatalf("change %d of %d is not reached again", n, count)
		}
		if b.recovered(t, d); t.Failed() {
			t.Fatalf("after a loss of power (%+v) at change %d of %d of the disk", how, n, count)
		}
	}
}

// pausing is a rig on which jobs that read wait until they are let go on.
type pausing struct {
	*rig
	reads []*engine.StartJob
}

func (p *pausing) step(c engine.Command) {
	for _, e := range p.m.Step(p.now, c, nil) {
		switch e := e.(type) {
		case *engine.Write:
			p.write(e)
		case *engine.Sync:
			if err := p.log.Sync(); err != nil {
				p.t.Fatal(err)
			}
			p.step(engine.Synced{Upto: e.Upto})
		case *engine.Reply:
			p.reply(e)
		case *engine.StartJob:
			if e.Name == "read" {
				p.reads = append(p.reads, e)
			} else {
				p.step(engine.JobDone{Job: e.Job, Result: e.Run.Run(p.fs)})
			}
		}
	}
}

// names returns the files that the directory holds.
func (r *rig) names() []string {
	r.t.Helper()
	names, err := r.d.Clone().Mount().List()
	if err != nil {
		r.t.Fatal(err)
	}
	return names
}

// A read goes on with the files that there were when it began: those that a seal or a merge replaces meanwhile are removed
// when it has ended.
func TestFilesAreNotRemovedWhileAReadMayUseThem(t *testing.T) {
	for _, from := range []string{"log", "sealed files"} {
		for _, back := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, back %t", from, back), func(t *testing.T) {
				r := resume(t, unsealed(t))
				if from == "sealed files" {
					r.cfg.MergeFiles = 100
					if err := r.open(); err != nil {
						t.Fatal(err)
					}
					for range 10 {
						r.mark()
					}
					r.cfg.MergeFiles = 2
				}
				pinned := 0
				r.cfg.Probe = func(p engine.Probe) {
					if p == engine.ProbeFilesPinned {
						pinned++
					}
				}
				if err := r.open(); err != nil {
					t.Fatal(err)
				}
				before, old := r.manifest(), r.names()
				p := &pausing{rig: r}
				ask := &wire.ReadEvents{Stream: kept, MaxBytes: 1 << 20, Backward: back}
				if back {
					ask.FromOffset = keptEvents
				}
				r.seq++
				p.step(&engine.Request{Seq: r.seq, Msg: &wire.Request{ID: r.seq, Tenant: 1, Body: ask, Features: wire.Features{RichEvents: true}}})
				if len(p.reads) != 1 {
					t.Fatalf("%d jobs read", len(p.reads))
				}
				pass := func() {
					for range 5 {
						r.now.Mono += wire.Time(2 * engine.Second)
						r.now.Wall += wire.Time(2 * engine.Second)
						p.step(engine.Tick{})
					}
				}
				pass()
				gone := r.manifest().Dropped(before)
				if len(gone) == 0 || pinned == 0 || r.manifest().Next == before.Next {
					t.Fatalf("%q are replaced, and files pinned %d times", gone, pinned)
				}
				for _, name := range old {
					if !slices.Contains(r.names(), name) && !before.Leftover(name) {
						t.Errorf("%s is gone while a read may use it", name)
					}
				}
				for len(p.reads) > 0 {
					j := p.reads[0]
					p.reads = p.reads[1:]
					p.step(engine.JobDone{Job: j.Job, Result: j.Run.Run(r.fs)})
				}
				p.sawAll(t, back)
				pass()
				for _, name := range gone {
					if n, is := seg.SegmentNumber(name); slices.Contains(r.names(), name) && !(is && n >= r.manifest().First) {
						t.Errorf("%s is left over", name)
					}
				}
			})
		}
	}
}

// sawAll checks that the last reply has all events that are kept.
func (p *pausing) sawAll(t *testing.T, back bool) {
	t.Helper()
	reply, ok := p.last.Msg.Body.(*wire.ReadEventsReply)
	if !ok || p.last.Seq != p.seq || reply.Events.Count != keptEvents {
		t.Fatalf("reply %d of %d is %+v", p.last.Seq, p.seq, p.last.Msg.Body)
	}
	i := 0
	for e := range reply.Events.All {
		want := i
		if back {
			want = keptEvents - 1 - i
		}
		if e.Offset != wire.Offset(want) || string(e.Data) != keptEvent(want) {
			t.Errorf("event %d is %d, %q", want, e.Offset, e.Data)
		}
		i++
	}
}

// What a seal leaves out is removed for good: a crash that took back the removal would miss it.
func TestASealWaitsUntilWhatItLeavesOutIsDurable(t *testing.T) {
	r := resume(t, unsealed(t))
	r.erase() // the next sweep is not due for an hour
	r.cfg.SealBlock, r.cfg.SweepInterval = 0, engine.Hour
	if err := r.open(); err != nil {
		t.Fatal(err)
	}
	again := r.create(1, "again")
	for i := range keptEvents {
		r.append(1, again, erasedEvent(i))
		r.append(1, kept, keptEvent(keptEvents+i))
	}
	r.cfg.SealBlock = sealConfig().SealBlock
	if err := r.open(); err != nil {
		t.Fatal(err)
	}
	var syncs []*engine.Sync
	var jobs []string
	step := func(c engine.Command) { // jobs do not end
		for _, e := range r.m.Step(r.now, c, nil) {
			switch e := e.(type) {
			case *engine.Write:
				r.write(e)
			case *engine.Sync:
				syncs = append(syncs, e)
			case *engine.StartJob:
				jobs = append(jobs, e.Name)
			}
		}
	}
	synced := func() {
		upto := syncs[0].Upto
		syncs = syncs[1:]
		if err := r.log.Sync(); err != nil {
			t.Fatal(err)
		}
		step(engine.Synced{Upto: upto})
	}
	step(&engine.Request{Msg: &wire.Request{Tenant: 1, Body: &wire.DeleteStream{Stream: again, RetentionOverride: wire.Some(uint32(0))}}})
	for step(engine.EndBatch{}); len(syncs) > 0; {
		synced()
	}
	before := r.m.Stats()
	r.now.Mono += wire.Time(engine.Second)
	r.now.Wall += wire.Time(engine.Second)
	step(engine.Tick{})
	purged := r.m.Stats()
	if purged.Purges != before.Purges+1 || len(syncs) == 0 || slices.Contains(jobs, "seal") {
		t.Fatalf("%d purges, of which %d syncs wait, and jobs %q", purged.Purges-before.Purges, len(syncs), jobs)
	}
	for len(syncs) > 0 && r.m.Stats().Durable < purged.LSN {
		if slices.Contains(jobs, "seal") {
			t.Fatalf("the purge is entry %d, up to %d is durable, and a seal has begun", purged.LSN, r.m.Stats().Durable)
		}
		synced()
	}
	if !slices.Contains(jobs, "seal") {
		t.Fatalf("the purge is durable, and jobs are %q", jobs)
	}
}
