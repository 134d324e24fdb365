package host_test

import (
	"testing"

	"github.com/kimberlitedb/kimberlite-go/engine"
	"github.com/kimberlitedb/kimberlite-go/io/disk"
	"github.com/kimberlitedb/kimberlite-go/io/host"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// A restart with a million events of 256 bytes on a real disk, whose pages are in memory: with the snapshots that a
// server makes, and without any. A check reads everything.
func BenchmarkOpen1M(b *testing.B) {
	const events = 1_000_000
	for _, c := range []struct {
		name  string
		each  int // events of one append
		every int64
	}{
		{"ones", 1, engine.DefaultConfig().SnapshotEvery}, {"ones, no snapshot", 1, 1 << 62},
		{"hundreds", 100, engine.DefaultConfig().SnapshotEvery}, {"hundreds, no snapshot", 100, 1 << 62},
	} {
		dir := b.TempDir()
		populate(b, dir, c.each, events/c.each, c.every)
		open := func(b *testing.B, do func(*disk.Dir) (uint64, error)) {
			for range b.N {
				d, err := disk.Open(dir)
				if err != nil {
					b.Fatal(err)
				}
				if lsn, err := do(d); err != nil || lsn != uint64(events/c.each+2) {
					b.Fatalf("up to entry %d, %v", lsn, err)
				}
				d.Close()
			}
		}
		b.Run(c.name, func(b *testing.B) {
			open(b, func(d *disk.Dir) (uint64, error) {
				m, _, err := engine.Open(d, engine.DefaultConfig())
				if err != nil {
					return 0, err
				}
				return uint64(m.Stats().LSN), nil
			})
		})
		b.Run(c.name+", check", func(b *testing.B) {
			open(b, func(d *disk.Dir) (uint64, error) {
				report, err := engine.Check(d, engine.DefaultConfig())
				return uint64(report.LSN), err
			})
		})
	}
}

// populate makes a data directory with so many appends.
func populate(b *testing.B, dir string, each, appends int, snapshotEvery int64) {
	b.Helper()
	h := start(b, dir, func(cfg *host.Config) { cfg.Engine.SnapshotEvery = snapshotEvery })
	p := connect(b, h)
	p.call(&wire.CreateStream{Name: "a"})
	body := &wire.AppendEvents{Stream: 1}
	for range each {
		body.Events = append(body.Events, make([]byte, 256))
	}
	out := 0
	for range appends {
		if p.send(body); out < 256 {
			out++
			continue
		}
		p.next()
	}
	for range out {
		p.next()
	}
	if err := h.Close(); err != nil {
		b.Fatal(err)
	}
}
