package engine_test

import (
	"fmt"
	"testing"

	"github.com/kimberlitedb/kimberlite-go/engine"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// BenchmarkCut cuts a checkpoint of a tenant with 10,000 streams of 100 events each: what that takes is how long nobody else is served.
func BenchmarkCut(b *testing.B) {
	x := newBench(b)
	const streams = 10_000
	for i := range streams {
		x.step(&engine.Request{Msg: &wire.Request{Tenant: 1, Body: &wire.CreateStream{Name: fmt.Sprintf("stream-%d", i), Placement: wire.Placement{Global: true}}}})
		if i%100 == 99 {
			x.step(engine.EndBatch{})
		}
	}
	events := make([][]byte, 100)
	for i := range events {
		events[i] = fmt.Appendf(nil, `{"event":%d}`, i)
	}
	for i := range streams {
		x.step(&engine.Request{Msg: &wire.Request{Tenant: 1, Body: &wire.AppendEvents{Stream: wire.StreamID(i + 2), Events: events}}})
		if i%100 == 99 {
			x.step(engine.EndBatch{})
		}
	}
	for b.Loop() {
		x.fx = x.m.Step(x.now, &engine.Request{Msg: &wire.Request{Tenant: 1, Body: &wire.Checkpoint{Of: 1}}}, x.fx[:0])
		b.StopTimer()
		x.step(engine.EndBatch{})
		if _, failed := x.last.(*wire.Error); failed {
			b.Fatal(x.last)
		}
		x.step(&engine.Request{Msg: &wire.Request{Tenant: 1, Body: &wire.ListCheckpoints{Of: 1}}})
		list := x.last.(*wire.ListCheckpointsReply).Checkpoints
		for _, c := range list {
			x.step(&engine.Request{Msg: &wire.Request{Tenant: 1, Body: &wire.DeleteCheckpoint{Of: 1, Ref: wire.CheckpointRef{ID: c.ID}}}})
		}
		x.step(engine.EndBatch{})
		b.StartTimer()
	}
}
