package engine_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/kimberlitedb/kimberlite-go/engine"
	"github.com/kimberlitedb/kimberlite-go/engine/seg"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// sealedRig is a rig with three streams, most of whose events are sealed, in several files.
func sealedRig(t *testing.T) *rig {
	cfg := smallConfig()
	cfg.SealBlock, cfg.MergeFiles = 1<<10, 4
	r := newRig(t, cfg)
	r.call(1, &wire.CreateTenant{Name: "tenant"})
	for i := range 3 {
		r.call(1, &wire.CreateStream{Name: fmt.Sprintf("s%d", i)})
	}
	for i := range 300 {
		r.call(1, eventsFor(wire.StreamID(1+i%3), fmt.Sprintf("event %d of the stream, %0200d", i/3, i)))
	}
	r.step(engine.Tick{})
	if man := r.manifest(); len(man.Sealed) < 2 || len(man.Snapshots) != 2 || man.First == 0 {
		t.Fatalf("%+v", man)
	}
	return r
}

func (r *rig) manifest() seg.Manifest {
	man, err := seg.ReadManifest(r.fs)
	if err != nil {
		r.t.Fatal(err)
	}
	return man
}

// readAll checks that every event can be read.
func (r *rig) readAll(t *testing.T) {
	t.Helper()
	for s := range 3 {
		events, stop := r.read(1, wire.StreamID(1+s), 0)
		if stop != 0 || len(events) != 100 {
			t.Fatalf("stream %d: %d events, %v", 1+s, len(events), stop)
		}
		for i, e := range events {
			if !strings.HasPrefix(string(e.Data), fmt.Sprintf("event %d of", i)) {
				t.Fatalf("stream %d, event %d: %q", 1+s, i, e.Data)
			}
		}
	}
}

// repaired has a plan made and carried out, and the directory opened again.
func (r *rig) repaired(t *testing.T, want string) {
	t.Helper()
	plan, err := engine.PlanRepair(r.fs, r.cfg)
	if err != nil || len(plan.Steps) != 1 || !strings.Contains(plan.Steps[0].Does, want) {
		t.Fatalf("%+v, %v", plan, err)
	}
	if err := plan.Apply(r.fs); err != nil {
		t.Fatal(err)
	}
	if plan, err := engine.PlanRepair(r.fs, r.cfg); err != nil || len(plan.Steps) > 0 {
		t.Fatalf("a second plan: %+v, %v", plan, err)
	}
	if report := r.checked(); report.Damaged() {
		t.Fatalf("after the repair:\n%s", describeAll(report))
	}
	if err := r.open(); err != nil {
		t.Fatal(err)
	}
	r.readAll(t)
}

func TestRepairMakesAManifestAnew(t *testing.T) {
	r := sealedRig(t)
	hash := r.m.Hash()
	before := r.manifest()
	if err := r.fs.Remove(seg.ManifestName); err != nil {
		t.Fatal(err)
	}
	r.repaired(t, "write a new MANIFEST")
	if after := r.manifest(); fmt.Sprint(after.Sealed, after.Snapshots, after.First, after.Geometry) != fmt.Sprint(before.Sealed, before.Snapshots, before.First, before.Geometry) {
		t.Errorf("the manifest is %+v, and was %+v", after, before)
	}
	if r.m.Hash() != hash {
		t.Error("the state is another one")
	}
}

// A file that a merge has made, and files that it was made of, may both be there.
func TestRepairTellsMergedFilesFromTheirInputs(t *testing.T) {
	r := sealedRig(t)
	man := r.manifest()
	var inputs []*seg.SealedIndex
	for _, mark := range man.Sealed {
		x, err := seg.ReadSealedIndex(r.fs, man.Store, mark.Number)
		if err != nil {
			t.Fatal(err)
		}
		inputs = append(inputs, x)
	}
	head := seg.SealedHead{Store: man.Store, Number: man.Next, First: inputs[0].First, Last: inputs[1].Last, Target: 1 << 10}
	if _, err := seg.Merge(r.fs, head, inputs[:2], seg.Merging{Summarize: seg.Summarize}); err != nil {
		t.Fatal(err)
	}
	if err := r.fs.Remove(seg.ManifestName); err != nil {
		t.Fatal(err)
	}
	r.repaired(t, fmt.Sprintf("%d sealed files", len(man.Sealed)-1))
}

func TestRepairWritesASealedFileAnew(t *testing.T) {
	r := sealedRig(t)
	man := r.manifest()
	name := seg.SealedName(man.Sealed[0].Number)
	x, err := seg.ReadSealedIndex(r.fs, man.Store, man.Sealed[0].Number)
	if err != nil {
		t.Fatal(err)
	}
	change(t, r.fs, name, x.Size-8, func(p []byte) { p[0] ^= 1 })
	if report := r.checked(); !report.Damaged() {
		t.Fatal("the damage is not found")
	}
	r.repaired(t, fmt.Sprintf("with the %d events in them", x.Events))
	kept := seg.KeptPrefix + name
	if names, err := r.fs.List(); err != nil || !strings.Contains(strings.Join(names, " "), kept) {
		t.Errorf("%v does not hold %s", names, kept)
	}
}

// What contradicts itself is not repaired.
func TestRepairRefuses(t *testing.T) {
	r := sealedRig(t)
	if _, err := engine.PlanRepair(r.d.Clone().Mount(), r.cfg); err != nil {
		t.Fatal(err)
	}
	man := r.manifest()
	for _, remove := range [][]string{
		{seg.ManifestName, seg.SnapshotName(man.Snapshots[0].LSN), seg.SnapshotName(man.Snapshots[1].LSN)},
		{seg.ManifestName, seg.SegmentName(man.First), seg.SegmentName(man.First + 1), seg.SegmentName(man.First + 2)},
	} {
		fs := r.d.Clone().Mount()
		for _, name := range remove {
			if err := fs.Remove(name); err != nil && !errors.Is(err, seg.ErrNotExist) {
				t.Fatal(err)
			}
		}
		if plan, err := engine.PlanRepair(fs, r.cfg); err == nil {
			t.Errorf("without %v there is a plan: %+v", remove, plan)
		}
	}
}
