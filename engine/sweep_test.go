package engine_test

import (
	"testing"

	"github.com/kimberlitedb/kimberlite-go/engine"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// While something expires at every moment a sweep ends all the same: what goes meanwhile is the next one's.
func TestASweepEndsUnderSteadyRetention(t *testing.T) {
	cfg := sealConfig()
	cfg.RetentionDay = engine.Second
	r := newRig(t, cfg)
	r.call(1, &wire.CreateTenant{Name: "tenant"})
	for _, name := range []string{"a", "b", "c"} {
		r.create(1, name)
	}
	now := r.now.Wall
	for i := range 100 {
		for s := range 3 {
			b := eventsFor(wire.StreamID(1+s), keptEvent(i))
			b.Timestamps = wire.Some([]wire.Time{now + wire.Time(i)*wire.Time(engine.Second)})
			r.call(1, b)
		}
	}
	for s := range 3 {
		r.call(1, &wire.SetRetention{Stream: wire.StreamID(1 + s), Days: wire.Some(uint32(1))})
	}
	// From here on a few jobs end at each tick, and at each tick something expires.
	var jobs []*engine.StartJob
	var step func(c engine.Command)
	step = func(c engine.Command) {
		for _, e := range r.m.Step(r.now, c, nil) {
			switch e := e.(type) {
			case *engine.Write:
				r.write(e)
			case *engine.Sync:
				if r.log.Sync() == nil {
					step(engine.Synced{Upto: e.Upto})
				}
			case *engine.StartJob:
				jobs = append(jobs, e)
			}
		}
	}
	for range 90 {
		r.now.Mono += wire.Time(engine.Second)
		r.now.Wall += wire.Time(engine.Second)
		step(engine.Tick{})
		for range 6 {
			if len(jobs) > 0 {
				j := jobs[0]
				jobs = jobs[1:]
				step(engine.JobDone{Job: j.Job, Result: j.Run.Run(r.fs)})
			}
		}
	}
	if s := r.m.Stats(); s.Sweeps == 0 || s.Trims < 60 {
		t.Errorf("%d sweeps have ended while oldest offsets moved %d times", s.Sweeps, s.Trims)
	}
}
