package world

import (
	"crypto/sha256"

	"github.com/kimberlitedb/kimberlite-go/engine"
	"github.com/kimberlitedb/kimberlite-go/sim/check"
	"github.com/kimberlitedb/kimberlite-go/sim/fault"
	"github.com/kimberlitedb/kimberlite-go/sim/trace"
)

// FaultCount says how often a kind of fault was injected, and how often something noticed.
type FaultCount = fault.Count

// Result is what a run has shown.
type Result struct {
	Failure    *check.Failure // nil where nothing is wrong
	Stuck      bool           // damage kept the server from starting, and it said so
	Holes      bool           // damage took entries, and recovery said so; nobody may write any more
	Panicked   bool
	Simulated  int64 // nanoseconds
	Ops        int   // of clients, ended
	Commits    int   // syncs of the log
	Crashes    int
	Nested     int // of those, in recovery
	Recoveries int
	Fired      []fault.Fault
	Faults     map[string]FaultCount // by kind
	Counts     [34]check.Count
	Probes     [engine.ProbeCount]int
	Trace      *trace.Trace
	State      [sha256.Size]byte
}

// Follow has every record of the trace told to each, which may be nil.
func (w *World) Follow(each func(trace.Record)) { w.trace.Each = each }

// Result returns what the run has shown.
func (w *World) Result() *Result {
	r := &Result{
		Failure: w.suite.Failed, Stuck: w.stuck, Holes: w.suite.Holes, Simulated: w.now, Commits: w.syncs, Crashes: w.crashes, Nested: w.nested,
		Recoveries: w.recoveries, Fired: w.in.Fired, Faults: map[string]FaultCount{}, Counts: w.suite.Counts, Probes: w.probes,
		Trace: w.trace, State: w.lastHash,
	}
	for _, c := range w.clients {
		r.Ops += c.Done
	}
	for _, kind := range w.in.Kinds() {
		r.Faults[kind] = w.in.Count(kind)
	}
	return r
}
