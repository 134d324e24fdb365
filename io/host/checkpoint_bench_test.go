package host_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/kimberlitedb/kimberlite-go/io/host"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// What checkpoints of a million events of 200 bytes cost: keeping one, which hashes all of them; sending one to a directory, beside what the codec alone takes
// for the same records; what sending the next one, behind 1 % more, writes; and the p99 of durable appends of ten events while a checkpoint is kept and sent,
// beside that alone. Run it with -benchtime 1x.
//
//	keep-s, send-s, send-MB/s, codec-MB/s, grown-%, alone-p99-ms, beside-p99-ms
func BenchmarkCheckpoint(b *testing.B) {
	for range b.N {
		dir, to := b.TempDir(), b.TempDir()
		h := start(b, dir, func(cfg *host.Config) {
			cfg.Engine.SnapshotEvery = 16 << 20
			cfg.Engine.Archives = []string{to}
			for i := range 1000 {
				cfg.Engine.Archives = append(cfg.Engine.Archives, filepath.Join(to, fmt.Sprintf("beside-%d", i)))
			}
		})
		p := connect(b, h)
		p.fill("orders")
		awaitSealed(h)
		b.ReportMetric(p.cut("first").Seconds(), "keep-s")
		took := p.archive("first", to)
		b.ReportMetric(took.Seconds(), "send-s")
		b.ReportMetric(scanEvents*200/took.Seconds()/1e6, "send-MB/s")
		b.ReportMetric(codecRate(b), "codec-MB/s")
		before := bytesIn(b, to)
		for range scanEvents / 100 / 1000 {
			ask := &wire.AppendEvents{Stream: 1}
			for i := range 1000 {
				ask.Events = append(ask.Events, scanEvent(i))
			}
			p.call(ask)
		}
		p.cut("second")
		p.archive("second", to)
		b.ReportMetric(float64(bytesIn(b, to)-before)/float64(before)*100, "grown-%")
		b.ReportMetric(p.latency(h, 10*time.Second, nil), "alone-p99-ms")
		n := 0
		b.ReportMetric(p.latency(h, 10*time.Second, func(q *peer) {
			n++
			label := fmt.Sprintf("beside-%d", n)
			for _, c := range q.call(&wire.ListCheckpoints{Of: 1}).(*wire.ListCheckpointsReply).Checkpoints {
				q.call(&wire.DeleteCheckpoint{Of: 1, Ref: wire.CheckpointRef{ID: c.ID}})
			}
			q.cut(label)
			sub := filepath.Join(to, label)
			if err := os.Mkdir(sub, 0o700); err != nil {
				b.Fatal(err)
			}
			q.archive(label, sub)
		}), "beside-p99-ms")
		h.Close()
	}
}

// cut cuts a checkpoint, and waits until it is kept.
func (p *peer) cut(label string) time.Duration {
	began := time.Now()
	if _, ok := p.call(&wire.Checkpoint{Of: 1, Label: wire.Some(label)}).(*wire.CheckpointReply); !ok {
		p.t.Fatalf("%+v", p.last)
	}
	for p.checkpoint(label).Note == "" {
		time.Sleep(5 * time.Millisecond)
	}
	return time.Since(began)
}

func (p *peer) checkpoint(label string) *wire.GetCheckpointReply {
	b, ok := p.call(&wire.GetCheckpoint{Of: 1, Ref: wire.CheckpointRef{Label: label}}).(*wire.GetCheckpointReply)
	if !ok {
		p.t.Fatalf("%+v", p.last)
	}
	return b
}

// archive sends a checkpoint to an archive, and waits until it is there.
func (p *peer) archive(label, to string) time.Duration {
	began := time.Now()
	if _, ok := p.call(&wire.ArchiveCheckpoint{Of: 1, Ref: wire.CheckpointRef{Label: label}, Destination: to}).(*wire.ArchiveCheckpointReply); !ok {
		p.t.Fatalf("%+v", p.last)
	}
	for !slices.ContainsFunc(p.checkpoint(label).Archives, func(a wire.ArchiveInfo) bool { return a.Destination == to && a.Done }) {
		time.Sleep(5 * time.Millisecond)
	}
	return time.Since(began)
}

// latency returns the p99 of appends, in ms, while something else is done again and again.
func (p *peer) latency(h *host.Host, span time.Duration, beside func(*peer)) float64 {
	s := p.call(&wire.CreateStream{Name: fmt.Sprintf("other-%d", time.Now().UnixNano())}).(*wire.CreateStreamReply).Stream
	ask := &wire.AppendEvents{Stream: s}
	for i := range 10 {
		ask.Events = append(ask.Events, scanEvent(i))
	}
	var stop atomic.Bool
	done := make(chan struct{})
	go func() {
		defer close(done)
		if beside == nil {
			return
		}
		for q := connect(p.t, h); !stop.Load(); {
			beside(q)
		}
	}()
	var took []time.Duration
	for began := time.Now(); time.Since(began) < span; {
		at := time.Now()
		p.call(ask)
		took = append(took, time.Since(at))
	}
	stop.Store(true)
	<-done
	slices.Sort(took)
	return took[len(took)*99/100].Seconds() * 1000
}

// codecRate returns how many MB of the events zstd takes in a second, in blobs of a MiB.
func codecRate(b *testing.B) float64 {
	var raw []byte
	for i := 0; len(raw) < 1<<20; i++ {
		raw = append(raw, scanEvent(i)...)
	}
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
	if err != nil {
		b.Fatal(err)
	}
	const n = 50
	began := time.Now()
	for range n {
		enc.EncodeAll(raw, nil)
	}
	return float64(n*len(raw)) / time.Since(began).Seconds() / 1e6
}

// bytesIn returns how many bytes the files below a directory have.
func bytesIn(b *testing.B, dir string) (n int64) {
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			n += info.Size()
		}
		return err
	})
	if err != nil {
		b.Fatal(err)
	}
	return n
}
