package sim_test

import (
	"path/filepath"
	"testing"

	"github.com/kimberlitedb/kimberlite-go/sim"
	"github.com/kimberlitedb/kimberlite-go/sim/plan"
)

// TestPlansStayGreen replays every plan that has once found a bug.
func TestPlansStayGreen(t *testing.T) {
	paths, err := filepath.Glob("../testdata/plan/*.json")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no plans: %v", err)
	}
	for _, path := range paths {
		t.Run(filepath.Base(path), func(t *testing.T) {
			p, err := plan.Load(path)
			if err != nil {
				t.Fatal(err)
			}
			if r := sim.Run(p); r.Failure != nil {
				t.Errorf("%s: %v", p.Note, r.Failure)
			}
		})
	}
}

// TestSeedsKeepEveryPromise runs a few seeds, and each twice.
func TestSeedsKeepEveryPromise(t *testing.T) {
	for seed := range uint64(20) {
		r := sim.Twice(plan.Draw(seed, 500))
		if r.Failure != nil {
			t.Errorf("seed %#x: %v", seed, r.Failure)
		}
		if !sim.Enough(r) {
			t.Errorf("seed %#x shows too little: %d commits, %d recoveries", seed, r.Commits, r.Recoveries)
		}
	}
}

// TestRecordedPlanIsTheSameRun says that a run can be replayed from its plan alone.
func TestRecordedPlanIsTheSameRun(t *testing.T) {
	for seed := range uint64(5) {
		p := plan.Draw(1000+seed, 300)
		r := sim.Run(p)
		again := sim.Run(sim.Record(p, r))
		if r.Trace.Hash != again.Trace.Hash || r.State != again.State {
			t.Errorf("seed %d: trace %x and %x", p.Seed, r.Trace.Hash, again.Trace.Hash)
		}
	}
}
