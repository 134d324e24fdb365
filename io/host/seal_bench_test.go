package host_test

import (
	"bufio"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/kimberlitedb/kimberlite-go/engine"
	"github.com/kimberlitedb/kimberlite-go/engine/seg"
	"github.com/kimberlitedb/kimberlite-go/io/disk"
	"github.com/kimberlitedb/kimberlite-go/io/host"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// What sealing costs and gives: events of 256 bytes, ten in an append, over many streams in turn and then one stream
// alone, until all is sealed that can be. Run it with -benchtime 1x.
//
//	stored/data     bytes of sealed files for each byte of event data in them
//	written/data    bytes written to the disk (log, zeros ahead of it, sealed files) for each byte of event data
//	alone-events/s  speed of reading a stream that was alone in the log
//	catchup/alone   median speed of reading one of the many streams from its beginning, as part of that of the stream alone
//	open-ms         a restart after that
//	MB-heap         memory in use after that restart, with nothing read yet
func BenchmarkSealed(b *testing.B) {
	for _, c := range []struct {
		name            string
		streams, rounds int
	}{{"10000 streams", 10_000, 100}, {"100000 streams", 100_000, 10}} {
		b.Run(c.name, func(b *testing.B) {
			for range b.N {
				sealed(b, c.streams, c.rounds)
			}
		})
	}
}

func sealed(b *testing.B, streams, rounds int) {
	dir := b.TempDir()
	h := start(b, dir, func(cfg *host.Config) { cfg.Engine.SnapshotEvery = 64 << 20 })
	p := connect(b, h)
	quakes := earthquakes(b)
	for i := range streams {
		p.send(&wire.CreateStream{Name: streamName(i)})
		if i >= 256 {
			p.next()
		}
	}
	for range min(streams, 256) {
		p.next()
	}
	n, out := 0, 0
	send := func(stream wire.StreamID) {
		body := &wire.AppendEvents{Stream: stream}
		for range 10 {
			body.Events = append(body.Events, quakes[n%len(quakes)])
			n++
		}
		if p.send(body); out < 256 {
			out++
		} else {
			p.next()
		}
	}
	for range rounds {
		for s := range streams {
			send(wire.StreamID(1 + s))
		}
	}
	for range out {
		p.next()
	}
	alone := p.call(&wire.CreateStream{Name: "alone"}).(*wire.CreateStreamReply).Stream
	out = 0
	for range 60_000 {
		send(alone)
	}
	for range out {
		p.next()
	}
	s := quiet(b, h)
	written := float64(s.BatchBytes) + float64(s.SealedBytes) + float64(s.Sealed+s.Segments)*float64(engine.DefaultConfig().Geometry.SegmentSize)
	b.ReportMetric(written/float64(s.EventBytes), "written/data")
	var rates []float64
	for i := range 1001 {
		rates = append(rates, readRate(p, wire.StreamID(1+i*streams/1001)))
	}
	slices.Sort(rates)
	lone := readRate(p, alone)
	b.ReportMetric(rates[len(rates)/2]/lone, "catchup/alone")
	b.ReportMetric(lone, "alone-events/s")
	if err := h.Close(); err != nil {
		b.Fatal(err)
	}
	reopen(b, dir)
}

// earthquakes returns events of about 256 bytes.
func earthquakes(b *testing.B) (list [][]byte) {
	f, err := os.Open(filepath.Join("..", "..", "testdata", "earthquakes.jsonl"))
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		list = append(list, slices.Clone(lines.Bytes()))
	}
	return list
}

func streamName(i int) string {
	p := []byte("stream-000000")
	for at := len(p) - 1; i > 0; at-- {
		p[at], i = byte('0'+i%10), i/10
	}
	return string(p)
}

// quiet waits until nothing is left to be sealed or merged.
func quiet(b *testing.B, h *host.Host) engine.Stats {
	for last := uint64(0); ; {
		s, ok := h.Snapshot()
		if !ok {
			b.Fatal("the host has closed")
		}
		if s.Engine.SealedBytes == last {
			return s.Engine
		}
		last = s.Engine.SealedBytes
		time.Sleep(12 * time.Second) // a merge writes for long before it counts
	}
}

// readRate reads the part of a stream that is sealed, or all of it, and returns events in a second.
func readRate(p *peer, stream wire.StreamID) float64 {
	began, n := time.Now(), 0
	for from := wire.Offset(0); ; {
		r := p.call(&wire.ReadEvents{Stream: stream, FromOffset: from, MaxBytes: 4 << 20}).(*wire.ReadEventsReply)
		n += r.Events.Count
		if !r.NextOffset.Set || r.NextOffset.Value >= r.HeadOffset {
			return float64(n) / time.Since(began).Seconds()
		}
		from = r.NextOffset.Value
	}
}

// reopen restarts from a directory, and looks at its sealed files.
func reopen(b *testing.B, dir string) {
	d, err := disk.Open(dir)
	if err != nil {
		b.Fatal(err)
	}
	defer d.Close()
	cfg := engine.DefaultConfig()
	var before, after runtime.MemStats
	for range 3 { // pools give up what they hold at the second
		runtime.GC()
	}
	runtime.ReadMemStats(&before)
	began := time.Now()
	m, _, err := engine.Open(d, cfg)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(time.Since(began).Milliseconds()), "open-ms")
	runtime.GC()
	runtime.ReadMemStats(&after)
	b.ReportMetric((float64(after.HeapAlloc)-float64(before.HeapAlloc))/(1<<20), "MB-heap")
	runtime.KeepAlive(m)
	man, err := seg.ReadManifest(d)
	if err != nil {
		b.Fatal(err)
	}
	var stored, data, events float64
	for _, mark := range man.Sealed {
		x, err := seg.ReadSealedIndex(d, man.Store, mark.Number)
		if err != nil {
			b.Fatal(err)
		}
		stored, data, events = stored+float64(x.Size), data+float64(x.Data), events+float64(x.Events)
	}
	b.ReportMetric(stored/data, "stored/data")
	b.ReportMetric(events, "sealed-events")
}

// The 99th percentile of lone appends beside a load that fills a segment about once a second, with sealing and without.
// Run it with -benchtime 1x.
func BenchmarkAppendWhileSealing(b *testing.B) {
	for range b.N {
		without, with := lonely(b, 0), lonely(b, seg.DefaultTarget)
		b.ReportMetric(float64(without.Microseconds()), "p99-us-without")
		b.ReportMetric(float64(with.Microseconds()), "p99-us-with")
		b.ReportMetric(float64(with)/float64(without), "with/without")
	}
}

// lonely returns the 99th percentile.
func lonely(b *testing.B, sealBlock int) time.Duration {
	h := start(b, b.TempDir(), func(cfg *host.Config) { cfg.Engine.SnapshotEvery, cfg.Engine.SealBlock = 64<<20, sealBlock })
	defer h.Close()
	p, load := connect(b, h), connect(b, h)
	s := p.call(&wire.CreateStream{Name: "lone"}).(*wire.CreateStreamReply).Stream
	other := p.call(&wire.CreateStream{Name: "load"}).(*wire.CreateStreamReply).Stream
	quakes := earthquakes(b)
	body := &wire.AppendEvents{Stream: other, Events: quakes[:1000]}
	quit, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for pace := time.NewTicker(4 * time.Millisecond); ; {
			select {
			case <-quit:
				return
			case <-pace.C:
				load.call(body)
			}
		}
	}()
	var took []time.Duration
	one := &wire.AppendEvents{Stream: s, Events: [][]byte{quakes[0]}}
	for began := time.Now(); time.Since(began) < 12*time.Second; {
		t := time.Now()
		p.call(one)
		took = append(took, time.Since(t))
	}
	close(quit)
	<-ended
	slices.Sort(took)
	return took[len(took)*99/100]
}
