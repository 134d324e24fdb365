package engine_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/kimberlitedb/kimberlite-go/engine"
	"github.com/kimberlitedb/kimberlite-go/engine/seg"
	"github.com/kimberlitedb/kimberlite-go/sim/disk"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// bench is a machine whose writes are durable at once and go nowhere.
type bench struct {
	m    *engine.Machine
	fs   seg.Files
	fx   []engine.Effect
	now  engine.Instant
	seq  uint64
	last wire.ResponseBody
	log  *seg.Log // where writes and jobs go; nowhere where nil
}

func newBench(b *testing.B) *bench {
	b.Helper()
	cfg := engine.DefaultConfig()
	cfg.Dev, cfg.Cache, cfg.SealBlock = true, 64<<20, 0
	fs := disk.New(4096).Mount()
	m, _, err := engine.Open(fs, cfg)
	if err != nil {
		b.Fatal(err)
	}
	x := &bench{m: m, fs: fs, now: engine.Instant{Wall: 1_700_000_000_000_000_000}}
	x.step(&engine.Request{Msg: &wire.Request{Tenant: 1, Body: &wire.CreateStream{Name: "a"}}})
	x.step(engine.EndBatch{})
	return x
}

// step runs a command, and what its effects lead to.
func (x *bench) step(c engine.Command) {
	x.now.Mono += 1000
	x.now.Wall += 1000
	x.fx = x.m.Step(x.now, c, x.fx[:0])
	var upto seg.LSN
	var jobs []*engine.StartJob
	for _, e := range x.fx {
		switch e := e.(type) {
		case *engine.Write:
			x.write(e)
		case *engine.Sync:
			upto = e.Upto
		case *engine.Reply:
			x.last = e.Msg.Body
		case *engine.StartJob:
			jobs = append(jobs, e)
		}
	}
	if upto > 0 {
		x.step(engine.Synced{Upto: upto})
	}
	for _, job := range jobs {
		x.step(engine.JobDone{Job: job.Job, Result: job.Run.Run(x.files())})
	}
}

func (x *bench) write(w *engine.Write) {
	if x.log == nil {
		return
	}
	if err := x.log.Write(w.At, w.Data); err != nil {
		panic(err)
	}
	if err := x.log.Sync(); err != nil {
		panic(err)
	}
}

func (x *bench) files() seg.Files {
	if x.log == nil {
		return nop{x.fs}
	}
	return x.fs
}

// nop lets jobs succeed without doing anything, so that they do not count.
type nop struct{ seg.Files }

func (nop) Create(string) (seg.File, error) { return nopFile{}, nil }
func (nop) Open(string) (seg.File, error)   { return nopFile{}, nil }
func (nop) Rename(string, string) error     { return nil }
func (nop) Remove(string) error             { return nil }
func (nop) SyncDir() error                  { return nil }

type nopFile struct{ seg.File }

func (nopFile) WriteAt(p []byte, _ int64) (int, error) { return len(p), nil }
func (nopFile) Sync() error                            { return nil }
func (nopFile) Close() error                           { return nil }

func (x *bench) request(body wire.RequestBody) {
	x.seq++
	x.step(&engine.Request{Seq: x.seq, Msg: &wire.Request{ID: x.seq, Tenant: 1, Body: body}})
}

// One append of one event of 256 bytes: what the machine costs, with 64 of them in a group.
func BenchmarkAppend(b *testing.B) {
	x := newBench(b)
	body := &wire.AppendEvents{Stream: 1, Events: [][]byte{make([]byte, 256)}}
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		x.request(body)
		if i%64 == 63 {
			x.step(engine.EndBatch{})
		}
	}
}

// One append of a hundred events of 256 bytes.
func BenchmarkAppendHundred(b *testing.B) {
	x := newBench(b)
	body := &wire.AppendEvents{Stream: 1}
	for range 100 {
		body.Events = append(body.Events, make([]byte, 256))
	}
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		x.request(body)
		if i%8 == 7 {
			x.step(engine.EndBatch{})
		}
	}
	b.ReportMetric(float64(b.N)*100/b.Elapsed().Seconds(), "events/s")
}

// One read of a mebibyte that is in memory, appended in hundreds.
func BenchmarkReadMemory(b *testing.B) {
	x := newBench(b)
	body := &wire.AppendEvents{Stream: 1}
	for range 100 {
		body.Events = append(body.Events, make([]byte, 256))
	}
	for range 1000 {
		x.request(body)
		x.step(engine.EndBatch{})
	}
	read := &wire.ReadEvents{Stream: 1, MaxBytes: 1 << 20}
	events := 0
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		x.request(read)
		r := x.last.(*wire.ReadEventsReply)
		events += r.Events.Count
		read.FromOffset = r.NextOffset.Value % 90_000
	}
	b.ReportMetric(float64(events)/b.Elapsed().Seconds(), "events/s")
}

// A restart with a million events, each appended by itself: with the snapshots that a server makes, and without any.
func BenchmarkOpen1M(b *testing.B) {
	for _, c := range []struct {
		name  string
		every int64
	}{{"snapshots", engine.DefaultConfig().SnapshotEvery}, {"replay", 1 << 62}} {
		b.Run(c.name, func(b *testing.B) {
			cfg := engine.DefaultConfig()
			cfg.Dev, cfg.Cache, cfg.SnapshotEvery = true, 0, c.every
			fs := disk.New(4096).Mount()
			fill(b, fs, cfg, 1_000_000)
			b.ReportAllocs()
			b.ResetTimer()
			for range b.N {
				m, _, err := engine.Open(fs, cfg)
				if err != nil || m.Stats().LSN != 1_000_002 {
					b.Fatalf("%d entries, %v", m.Stats().LSN, err)
				}
			}
		})
	}
}

// fill appends so many events of 64 bytes to a stream, one by one, durably, in groups of a thousand.
func fill(b *testing.B, fs seg.Files, cfg engine.Config, events int) {
	b.Helper()
	m, _, err := engine.Open(fs, cfg)
	if err != nil {
		b.Fatal(err)
	}
	x := &bench{m: m, fs: fs, now: engine.Instant{Wall: 1_700_000_000_000_000_000}, log: seg.NewLog(fs, m.Geometry())}
	x.request(&wire.CreateStream{Name: "a"})
	body := &wire.AppendEvents{Stream: 1, Events: [][]byte{make([]byte, 64)}}
	for i := range events {
		x.request(body)
		if i%1000 == 999 {
			x.step(engine.EndBatch{})
		}
	}
}

// All events of 100,000 streams expire at once: what the machine's ticks take to cut them off, together and at most.
func BenchmarkExpire100K(b *testing.B) {
	const streams = 100_000
	for range b.N {
		b.StopTimer()
		x := newBench(b)
		for i := range streams {
			x.request(&wire.CreateStream{Name: fmt.Sprintf("s%d", i), RetentionDays: wire.Some(uint32(1))})
			x.request(&wire.AppendEvents{Stream: wire.StreamID(2 + i), Events: [][]byte{make([]byte, 256)}})
			if i%1000 == 999 {
				x.step(engine.EndBatch{})
			}
		}
		x.now.Wall += wire.Time(25 * engine.Hour)
		x.now.Mono += wire.Time(25 * engine.Hour)
		b.StartTimer()
		var total, most time.Duration
		ticks := 0
		for x.m.Stats().Trims < streams {
			began := time.Now()
			x.step(engine.Tick{})
			took := time.Since(began)
			total, most, ticks = total+took, max(most, took), ticks+1
		}
		b.ReportMetric(float64(total.Milliseconds()), "ms")
		b.ReportMetric(float64(most.Microseconds()), "us-at-most")
		b.ReportMetric(float64(ticks), "ticks")
	}
}
