package engine_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/kimberlitedb/kimberlite-go/engine"
	"github.com/kimberlitedb/kimberlite-go/engine/seg"
	"github.com/kimberlitedb/kimberlite-go/sim/disk"
	"github.com/kimberlitedb/kimberlite-go/wire"
	"pgregory.net/rapid"
)

// copyOf is another process over a disk, with the settings of a rig and small pieces.
func (a *archivingRig) copyOf(d *disk.Disk) *rig {
	r := &rig{t: a.t, d: d, cfg: a.cfg, objects: a.at, hashes: map[seg.LSN][32]byte{}, due: map[uint64]seg.LSN{}, now: a.now}
	r.now.Wall += wire.Time(100 * engine.Second)
	r.cfg.MaxBatch, r.cfg.SnapshotEvery = 1<<10, 4<<10
	return r
}

// While a tenant arrives others are served, files are sealed, processes end, and another tenant arrives.
func TestOthersAreServedWhileATenantArrives(t *testing.T) {
	a := filled(t, 40)
	base, ask := a.d.Clone(), a.bring("first")
	rapid.Check(t, func(t *rapid.T) {
		r := a.copyOf(base.Clone())
		var jobs []*engine.StartJob
		r.later = func(e *engine.StartJob) bool {
			held := e.Name == "restore-piece" || e.Name == "verify-archive"
			if held {
				jobs = append(jobs, e)
			}
			return held
		}
		open := func() {
			jobs = nil
			if err := r.open(); err != nil {
				t.Fatal(err)
			}
		}
		second := *ask
		second.Of, second.Name = 8, wire.Some("other")
		open()
		others := 0
		r.request(7, ask)
		for range rapid.IntRange(5, 80).Draw(t, "steps") {
			switch rapid.IntRange(0, 9).Draw(t, "what") {
			case 0, 1, 2, 3, 4:
				if len(jobs) > 0 {
					e := jobs[0]
					jobs = jobs[1:]
					r.run(e)
				}
			case 5:
				r.append(2, 3, fmt.Sprintf("among them %d %s", others, strings.Repeat("x", 500)))
				others++
			case 6:
				r.pass(1)
			case 7:
				r.create(2, fmt.Sprintf("stream-%d", r.seq))
			case 8:
				r.request(8, &second)
			case 9:
				open()
				r.request(7, ask)
			}
			r.step(engine.EndBatch{})
		}
		r.later = nil
		for _, e := range jobs {
			r.run(e)
		}
		r.request(7, ask)
		r.step(engine.EndBatch{})
		a.same(r, r.arrived())
		want, _ := a.read(2, 3, 0)
		if got, stop := r.read(2, 3, 0); stop != 0 || len(got) != len(want)+others {
			t.Fatalf("another tenant has %d events, want %d", len(got), len(want)+others)
		}
		hash := r.m.Hash()
		if report := r.checked(); report.Damaged() {
			t.Fatalf("%+v", report.Findings)
		}
		open()
		if r.m.Hash() != hash {
			t.Fatal("the state is another one after a restart")
		}
	})
}

// contents returns what the streams of tenant 1 have.
func (a *archivingRig) contents() map[wire.StreamID]map[wire.Offset]string {
	all := map[wire.StreamID]map[wire.Offset]string{}
	for _, s := range []wire.StreamID{a.orders, a.mail, 1<<63 | 1, 3<<62 | 1} {
		all[s] = map[wire.Offset]string{}
		events, _ := a.read(1, s, 0)
		for _, e := range events {
			all[s][e.Offset] = string(e.Data)
		}
	}
	return all
}

// tells fails unless tenant 7 shows what it is to have, or says of what it does not show that it is lost.
func (r *rig) tells(t rapid.TB, b *wire.RestoreInfoReply, want map[wire.StreamID]map[wire.Offset]string) (lost int) {
	t.Helper()
	for _, s := range b.Streams {
		for from := wire.Offset(0); ; {
			events, stop := r.read(7, s.Is, from)
			for _, e := range events {
				if data, ok := want[s.Was][e.Offset]; ok && data != string(e.Data) && !strings.Contains(string(e.Data), "tenant.restore") {
					t.Fatalf("stream %d has event %d: %s", s.Was, e.Offset, e.Data)
				}
				if e.Offset != from {
					t.Fatalf("stream %d has event %d where %d is wanted, and nobody says so", s.Was, e.Offset, from)
				}
				from = e.Offset + 1
			}
			if stop == 0 || from > 200 {
				break
			}
			from++
			lost++
		}
	}
	return lost
}

// A hole in what was brought is told, wherever it is, and nothing is shown in its place.
func TestAHoleInWhatWasBroughtIsTold(t *testing.T) {
	a := filled(t, 40)
	want, lost := a.contents(), 0
	r := a.copyOf(a.d.Clone())
	r.cfg.SealBlock, r.cfg.SnapshotEvery = 0, 1<<30
	if err := r.open(); err != nil {
		t.Fatal(err)
	}
	r.request(7, a.bring("first"))
	r.step(engine.EndBatch{})
	r.arrived()
	r.append(2, 3, "goes on")
	r.mark()
	for _, b := range r.written[1:] {
		again := a.copyOf(r.d.Clone())
		again.cfg = r.cfg
		name, off := seg.SegmentName(r.cfg.Geometry.Segment(b.Address)), r.cfg.Geometry.Offset(b.Address)
		change(t, again.d.Mount(), name, off+seg.BatchHeader, func(p []byte) { p[0] ^= 1 })
		if err := again.open(); err != nil {
			t.Fatal(err)
		}
		again.checked()
		b7 := again.arrived()
		lost += again.tells(t, b7, want)
		for _, s := range b7.Streams {
			if i := again.call(7, &wire.StreamInfo{Stream: s.Is}).(*wire.StreamInfoReply).Info; i.OldestOffset > 0 {
				t.Errorf("what is lost of stream %d is said to have expired", s.Was)
			}
		}
	}
	if lost < 50 {
		t.Errorf("%d events were lost in all", lost)
	}
}

// What damage takes of a tenant that arrives is told, or brought again; nothing else is shown in its place.
func TestDamageToATenantThatArrives(t *testing.T) {
	a := filled(t, 40)
	base, ask := a.d.Clone(), a.bring("first")
	want := a.contents()
	rapid.Check(t, func(t *rapid.T) {
		r := a.copyOf(base.Clone())
		left := rapid.IntRange(10, 500).Draw(t, "uses")
		r.d.Hook = func(disk.Op) disk.Verdict {
			if left--; left < 0 && !r.dead {
				r.d.Hook, r.dead = nil, true
				r.d.ProcessCrash()
			}
			return disk.Verdict{}
		}
		if r.open() == nil {
			r.request(7, ask)
			r.step(engine.EndBatch{})
		}
		for i := 0; i < 10 && !r.dead; i++ {
			r.mark()
		}
		r.d.Hook = nil
		if len(r.written) == 0 {
			return
		}
		b := r.written[rapid.IntRange(0, len(r.written)-1).Draw(t, "batch")]
		name, off := seg.SegmentName(r.cfg.Geometry.Segment(b.Address)), r.cfg.Geometry.Offset(b.Address)+seg.BatchHeader
		if f, err := r.d.Mount().Open(name); err != nil {
			return // it is sealed
		} else if f.Close() != nil {
			t.Fatal(err)
		}
		change(t, r.d.Mount(), name, off+int64(rapid.IntRange(0, max(0, int(b.Length)-1)).Draw(t, "byte")), func(p []byte) { p[0] ^= 1 })
		again := a.copyOf(r.d)
		again.checked()
		if err := again.open(); err != nil {
			t.Fatal(err)
		}
		again.request(7, ask)
		again.step(engine.EndBatch{})
		for i := 0; i < 50 && (i < 3 || !again.m.Idle()); i++ {
			again.mark()
		}
		again.checked()
		b7, ok := again.call(7, &wire.RestoreInfo{Of: 7}).(*wire.RestoreInfoReply)
		if !ok {
			return // its beginning is lost
		}
		if !b7.Done {
			t.Fatalf("%+v", b7)
		}
		again.tells(t, b7, want)
	})
}

// A tenant that arrives on a full disk waits, and goes on when there is room.
func TestATenantThatArrivesWaitsForRoom(t *testing.T) {
	a := filled(t, 60)
	d := a.d.Clone()
	r := a.copyOf(d)
	if err := r.open(); err != nil {
		t.Fatal(err)
	}
	d.Capacity = d.Used()
	r.request(7, a.bring("first"))
	r.step(engine.EndBatch{})
	r.pass(20)
	i, ok := r.call(7, &wire.RestoreInfo{Of: 7}).(*wire.RestoreInfoReply)
	if !ok || i.Done || !strings.Contains(i.Trouble, "no room") {
		t.Fatalf("%+v", r.last.Msg.Body)
	}
	if !errors.Is(r.m.Stats().Trouble, seg.ErrNoSpace) {
		t.Fatalf("%v", r.m.Stats().Trouble)
	}
	d.Capacity = 0
	a.same(r, r.arrived())
}

// A hole in the log before a tenant has come takes nothing of it.
func TestAHoleBeforeATenantIsNotItsOwn(t *testing.T) {
	a := filled(t, 10)
	r := a.copyOf(a.d.Clone())
	r.cfg.SealBlock, r.cfg.SnapshotEvery = 0, 1<<30
	if err := r.open(); err != nil {
		t.Fatal(err)
	}
	r.append(2, 3, "lost")
	lost := r.written[len(r.written)-1].Address
	r.request(7, a.bring("first"))
	r.step(engine.EndBatch{})
	b := r.arrived()
	r.append(7, b.Streams[0].Is, "goes on")
	r.append(2, 3, "goes on")
	r.mark()
	r.flip(lost+seg.BatchHeader, 1)
	report := r.checked()
	if !report.Damaged() {
		t.Fatal("nothing is found")
	}
	for _, f := range report.Findings {
		for _, l := range f.Tenants {
			if l.Tenant == 7 && (l.Entries > 0 || len(l.Streams) > 0) {
				t.Errorf("%+v", l)
			}
		}
	}
	if err := r.open(); err != nil {
		t.Fatal(err)
	}
	r.append(7, b.Streams[0].Is, "is sound")
	if events, stop := r.read(7, b.Streams[0].Is, 0); len(events) != 13 || stop != 0 {
		t.Errorf("%d events, %s", len(events), stop)
	}
}

// Keys that come with a tenant push out nobody's.
func TestRestoredKeysPushOutNone(t *testing.T) {
	a := filled(t, 10)
	r := a.copyOf(a.d.Clone())
	r.cfg.Keys = 1
	if err := r.open(); err != nil {
		t.Fatal(err)
	}
	keyed := &wire.AppendEvents{Stream: 3, Events: [][]byte{[]byte("mine")}, IdempotencyKey: wire.Some(wire.Key{9})}
	r.call(2, keyed)
	r.request(7, a.bring("first"))
	r.step(engine.EndBatch{})
	r.arrived()
	if b, ok := r.call(2, keyed).(*wire.AppendEventsReply); !ok || !b.Duplicate {
		t.Errorf("%+v", r.last.Msg.Body)
	}
}
