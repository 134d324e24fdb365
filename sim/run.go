// Package sim runs the database in a simulated world and checks that it keeps its promises. One number, the seed, decides
// everything: the same seed gives the same run, always.
//
//	result := sim.Run(plan.Draw(0x5eed, 1000))
//	if result.Failure != nil { … }
package sim

import (
	"fmt"
	"runtime/debug"

	"github.com/kimberlitedb/kimberlite-go/sim/check"
	"github.com/kimberlitedb/kimberlite-go/sim/plan"
	"github.com/kimberlitedb/kimberlite-go/sim/trace"
	"github.com/kimberlitedb/kimberlite-go/sim/world"
)

// Run runs a plan. A panic is a failure too.
func Run(p *plan.Plan) *world.Result { return run(p, nil) }

// Follow is Run that tells of every record of the trace.
func Follow(p *plan.Plan, each func(trace.Record)) *world.Result { return run(p, each) }

// Twice runs a plan two times and fails where the two differ.
func Twice(p *plan.Plan) *world.Result {
	r, again := Run(p), Run(p)
	r.Counts[check.Same].Evaluated++
	r.Counts[check.Same].Real++
	if r.Failure == nil && (r.Trace.Hash != again.Trace.Hash || r.State != again.State) {
		r.Failure = &check.Failure{Rule: check.Same, Time: r.Simulated, Text: fmt.Sprintf("two runs differ: trace %016x and %016x, state %x and %x",
			r.Trace.Hash, again.Trace.Hash, r.State[:4], again.State[:4])}
	}
	return r
}

func run(p *plan.Plan, each func(trace.Record)) (r *world.Result) {
	w := world.New(p)
	w.Follow(each)
	defer func() {
		if what := recover(); what != nil {
			r = w.Result()
			r.Panicked = true
			r.Failure = &check.Failure{Rule: check.Same, Text: fmt.Sprintf("panic: %v\n%s", what, debug.Stack()), Time: w.Now()}
		}
	}()
	w.Run()
	return w.Result()
}

// Record turns a run whose faults were drawn at random into a plan that names them.
func Record(p *plan.Plan, r *world.Result) *plan.Plan {
	c := p.Clone()
	if p.Rates != nil {
		c.Rates, c.Faults = nil, r.Fired
	}
	return c
}
