package sim

import (
	"fmt"
	"io"

	"github.com/kimberlitedb/kimberlite-go/engine"
	"github.com/kimberlitedb/kimberlite-go/sim/check"
	"github.com/kimberlitedb/kimberlite-go/sim/rng"
	"github.com/kimberlitedb/kimberlite-go/sim/world"
)

// Batch adds up many runs, to see whether together they prove anything.
type Batch struct {
	Runs       int
	Stuck      int
	Ops        int
	Crashes    int
	Nested     int
	Recoveries int
	Commits    int
	Simulated  int64
	Counts     [34]check.Count
	Faults     map[string]world.FaultCount
	Probes     [engine.ProbeCount]int
	Hash       uint64 // of all traces and states, in order
}

// Add counts a run.
func (b *Batch) Add(r *world.Result) {
	if b.Faults == nil {
		b.Faults = map[string]world.FaultCount{}
	}
	b.Runs++
	if r.Stuck {
		b.Stuck++
	}
	b.Ops += r.Ops
	b.Crashes += r.Crashes
	b.Nested += r.Nested
	b.Recoveries += r.Recoveries
	b.Commits += r.Commits
	b.Simulated += r.Simulated
	for i := range r.Counts {
		b.Counts[i].Evaluated += r.Counts[i].Evaluated
		b.Counts[i].Real += r.Counts[i].Real
	}
	for _, kind := range FaultKinds() {
		c := b.Faults[kind]
		c.Injected += r.Faults[kind].Injected
		c.Observed += r.Faults[kind].Observed
		b.Faults[kind] = c
	}
	for i, n := range r.Probes {
		b.Probes[i] += n
	}
	b.Hash = rng.Mix(b.Hash ^ r.Trace.Hash)
}

// GateSize is from how many runs on a batch must have shown everything.
const GateSize = 200

// unreachable are probes that runs do not pass, or too seldom to ask for, with the reason.
var unreachable = map[engine.Probe]string{
	engine.ProbeRestoreBegun:   notAsked,
	engine.ProbeRestoreRefused: notAsked,
	engine.ProbeRestoreFailed:  notAsked,
	engine.ProbeRestored:       notAsked,

	engine.ProbeArchiveNoTables: "runs are too short for a checkpoint that is kept with its tables, and sent when their history is gone; tests of engine do that",
}

const notAsked = "no client asks for a checkpoint to be restored into a running server; runs restore onto disks of their own"

// Gate writes what a batch has not shown, and reports whether it has shown enough.
func (b *Batch) Gate(w io.Writer) bool {
	ok := true
	lack := func(format string, args ...any) {
		ok = false
		fmt.Fprintf(w, "LACK %s\n", fmt.Sprintf(format, args...))
	}
	for _, i := range check.All {
		if b.Counts[i].Real == 0 {
			lack("rule %d %s was never evaluated on anything", int(i), i)
		}
	}
	for _, kind := range FaultKinds() {
		switch c := b.Faults[kind]; {
		case c.Injected == 0:
			lack("fault %s was never injected", kind)
		case c.Observed == 0:
			lack("fault %s was injected %d times and never noticed", kind, c.Injected)
		}
	}
	for i, n := range b.Probes {
		if _, excused := unreachable[engine.Probe(i)]; n == 0 && !excused {
			lack("probe %s was never reached", engine.Probe(i))
		}
	}
	return ok
}

// Enough reports whether one run has shown the least that every run must: it served, it recovered, it was checked.
func Enough(r *world.Result) bool {
	return r.Stuck || (r.Commits > 0 && r.Recoveries > 1 && (r.Holes || r.Counts[check.Durable].Real > 0) && r.Counts[check.Live].Real > 0)
}
