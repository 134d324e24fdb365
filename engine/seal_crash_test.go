package engine_test

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"github.com/kimberlitedb/kimberlite-go/engine"
	"github.com/kimberlitedb/kimberlite-go/engine/seg"
	"github.com/kimberlitedb/kimberlite-go/sim/disk"
	"github.com/kimberlitedb/kimberlite-go/sim/rng"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// sealConfig seals, merges and sweeps as soon as it can.
func sealConfig() engine.Config {
	cfg := smallConfig()
	cfg.Geometry.SegmentSize, cfg.SnapshotEvery = 4<<10, 2<<10
	cfg.MaxBatch, cfg.MaxBatchBytes, cfg.MaxBatchEvents = 1<<10, 600, 2
	cfg.SealBlock, cfg.MergeFiles, cfg.SweepInterval = 512, 2, engine.Second
	return cfg
}

const (
	kept, erased = 1, 2 // streams
	keptEvents   = 14
)

func keptEvent(i int) string   { return fmt.Sprintf("kept %d %0200d", i, i) }
func erasedEvent(i int) string { return fmt.Sprintf("erased %d %0200d", i, i) }

// unsealed makes a disk with two streams, of which nothing is sealed yet.
func unsealed(t *testing.T) *disk.Disk {
	cfg := sealConfig()
	cfg.SealBlock = 0
	r := newRig(t, cfg)
	r.call(1, &wire.CreateTenant{Name: "tenant"})
	r.create(1, "kept")
	r.create(1, "erased")
	for i := range keptEvents {
		r.append(1, kept, keptEvent(i))
		r.append(1, erased, erasedEvent(i))
	}
	r.mark()
	return r.d
}

// resume is a rig over a disk that has been used.
func resume(t *testing.T, d *disk.Disk) *rig {
	return &rig{
		t: t, d: d, cfg: sealConfig(), hashes: map[seg.LSN][32]byte{}, due: map[uint64]seg.LSN{},
		now: engine.Instant{Wall: 1_700_000_100_000_000_000},
	}
}

// erase opens the directory, has one stream purged, and lets time pass until everything is sealed, merged and swept, or the
// process is dead.
func (r *rig) erase() {
	if r.open() != nil {
		return
	}
	// Requests go one way only: a process that dies answers nothing.
	r.request(1, &wire.DeleteStream{Stream: erased, RetentionOverride: wire.Some(uint32(0))})
	r.step(engine.EndBatch{})
	for i := 0; i < 60 && !r.dead && (i < 3 || r.m.Stats().Unswept > 0 || !r.m.Idle()); i++ {
		r.mark()
	}
}

// A crash at any use of the disk while segments are sealed, files merged and a purge swept away, and in the recovery
// before: what is kept is kept, what is purged is in no file in the end, and nothing else is left over.
func TestACrashAnywhereInSealing(t *testing.T) {
	base := unsealed(t)
	passed := map[engine.Probe]bool{}
	count := 0
	d := base.Clone()
	d.Hook = func(disk.Op) disk.Verdict { count++; return disk.Verdict{} }
	r := resume(t, d)
	r.cfg.Probe = func(p engine.Probe) { passed[p] = true }
	r.erase()
	d.Hook = nil
	r.ended(t)
	for _, p := range []engine.Probe{engine.ProbeSealed, engine.ProbeMerged, engine.ProbeSwept, engine.ProbePurged} {
		if !passed[p] {
			t.Fatalf("%s is not passed in %d uses of the disk", p, count)
		}
	}
	losses := rng.Source(1).Stream("losses")
	for n := range count {
		for _, how := range []string{"process", []string{"power", "torn", "garbage", "unordered"}[n%4]} {
			d := base.Clone()
			left := n
			r := resume(t, d)
			d.Hook = func(disk.Op) disk.Verdict {
				if left--; left >= 0 {
					return disk.Verdict{}
				}
				d.Hook, r.dead = nil, true
				if how == "process" {
					d.ProcessCrash()
				} else {
					d.PowerLoss(losses, disk.Loss{Torn: how != "power", Garbage: how == "garbage", Unordered: how == "unordered"})
				}
				return disk.Verdict{}
			}
			r.erase()
			d.Hook = nil
			if t.Failed() {
				return
			}
			again := resume(t, d)
			again.erase()
			if again.ended(t); t.Failed() {
				t.Fatalf("after a crash (%s) at use %d of %d of the disk", how, n, count)
			}
		}
	}
}

// ended checks a directory in which a sweep has come to its end.
func (r *rig) ended(t *testing.T) {
	t.Helper()
	if r.dead || r.m.Stats().Unswept > 0 || !r.m.Idle() {
		t.Errorf("dead %t, %+v", r.dead, r.m.Stats())
		return
	}
	events, stop := r.read(1, kept, 0)
	for i, e := range events {
		if string(e.Data) != keptEvent(i) {
			t.Errorf("event %d is %q", i, e.Data)
		}
	}
	if len(events) != keptEvents || stop != 0 {
		t.Errorf("%d events, then %s", len(events), stop)
	}
	if _, stop := r.read(1, erased, 0); stop != wire.StreamNotFound {
		t.Errorf("the purged stream: %s", stop)
	}
	if report := r.checked(); report.Damaged() {
		t.Errorf("the check finds\n%s", describeAll(report))
	}
	man, fs := r.manifest(), r.d.Clone().Mount()
	names, err := fs.List()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if n, ok := seg.SegmentNumber(name); man.Leftover(name) && !(len(name) > 4 && name[len(name)-4:] == seg.TempSuffix) || ok && n < man.First {
			t.Errorf("%s is left over", name)
		}
		if content := contents(t, fs, man.Store, name); bytes.Contains(content, []byte("erased ")) {
			t.Errorf("%s holds what is purged", name)
		}
	}
}

// contents returns what a file holds, of a sealed file the records in it.
func contents(t *testing.T, fs seg.Files, store seg.StoreID, name string) (p []byte) {
	number, ok := seg.SealedNumber(name)
	if !ok {
		f, err := fs.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		size, _ := f.Size()
		p = make([]byte, size)
		f.ReadAt(p, 0)
		return p
	}
	x, err := seg.ReadSealedIndex(fs, store, number)
	if err != nil {
		t.Fatal(err)
	}
	r, err := seg.NewSealedReader(fs, store)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for _, b := range x.Blocks {
		records, err := r.Read(number, b, nil)
		if err != nil {
			t.Fatal(err)
		}
		p = slices.Concat(p, records)
	}
	return p
}
