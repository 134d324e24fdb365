package world

import (
	"fmt"
	"strings"

	"github.com/kimberlitedb/kimberlite-go/engine"
	"github.com/kimberlitedb/kimberlite-go/engine/seg"
	"github.com/kimberlitedb/kimberlite-go/sim/fault"
	"github.com/kimberlitedb/kimberlite-go/sim/object"
	"github.com/kimberlitedb/kimberlite-go/sim/rng"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// objects is the run's store of objects, and what goes wrong on the way to it. It is one for all destinations.
type objects struct {
	w       *World
	store   *object.Store
	latency *rng.Rand
	refused *fault.Point // nothing has happened
	lost    *fault.Point // it has happened, and nobody says so
	partial *fault.Point // some of it has
	slow    *fault.Point
	looks   *rng.Rand
	there   map[string]bool // objects that are there
	cut     map[string]bool // or in part
	failing map[string]bool // a put of them leaves a part
}

// errAway is what a job gets of a store that it has no answer from.
var errAway = fmt.Errorf("%w: no answer", seg.ErrUnavailable)

func newObjects(w *World) *objects {
	o := &objects{
		w: w, store: object.New(), there: map[string]bool{}, cut: map[string]bool{}, failing: map[string]bool{}, looks: w.source.Stream("store.looks"), latency: w.source.Stream("store.latency"),
		refused: w.in.Point("store-error", "store"), lost: w.in.Point("store-timeout", "store"),
		partial: w.in.Point("store-partial", "store"), slow: w.in.Point("store-slow", "store"),
	}
	o.store.Locks = w.plan.Config.Locks
	o.store.Hook = o.verdict
	o.store.Changed = o.changed
	o.store.Now = func() wire.Time { return wire.Time(epoch + w.now) }
	return o
}

// lend gives a job the store, if it needs one. It sees the store through the gate of its task, as it sees files.
func (o *objects) lend(job engine.Job, g *gate) engine.Job {
	if a, ok := job.(engine.ArchiveJob); ok {
		return a.In(o.store.Mount(g.pass))
	}
	return job
}

// verdict lets a request go wrong now and then.
func (o *objects) verdict(op object.Op) object.Verdict {
	delete(o.failing, op.Name) // where the part was not needed
	if _, ok := o.refused.Fire(); ok {
		o.w.in.Observe("store-error")
		return object.Verdict{Err: errAway}
	}
	if _, ok := o.lost.Fire(); ok {
		o.w.in.Observe("store-timeout")
		return object.Verdict{Err: errAway, Done: true}
	}
	if op.Kind != object.OpPut {
		return object.Verdict{}
	}
	if rand, ok := o.partial.Fire(); ok {
		o.w.in.Observe("store-partial")
		o.failing[op.Name] = true
		return object.Verdict{Err: errAway, Part: rand.N(op.Len)}
	}
	return object.Verdict{}
}

// stopLatency draws how long a task stops: for its use of a file, or on the way to the store or back.
func (w *World) stopLatency(what string) int64 {
	if !strings.HasPrefix(what, "object-") {
		return w.diskLatency()
	}
	if rand, ok := w.objects.slow.Fire(); ok {
		w.in.Observe("store-slow")
		return rand.Log(1_000_000_000, 60_000_000_000)
	}
	return w.objects.latency.Log(500_000, 50_000_000)
}
