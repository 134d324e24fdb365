package host_test

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/kimberlitedb/kimberlite-go/io/host"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// scanEvents is how many events of about 200 bytes of JSON are in the stream that queries look at.
const scanEvents = 1_000_000

func scanEvent(i int) []byte {
	return fmt.Appendf(nil, `{"id":%d,"region":"region-%d","amount":%d,"customer":{"name":"someone or other","city":"Zürich"},"note":"a text that is so long that the event has two hundred bytes","ok":true}`, i, i%7, i%1000)
}

// fill appends the events to a new stream.
func (p *peer) fill(name string) {
	s := p.call(&wire.CreateStream{Name: name}).(*wire.CreateStreamReply).Stream
	for i := 0; i < scanEvents; {
		b := &wire.AppendEvents{Stream: s}
		for range 1000 {
			b.Events = append(b.Events, scanEvent(i))
			i++
		}
		if _, ok := p.call(b).(*wire.AppendEventsReply); !ok {
			p.t.Fatalf("%+v", p.last)
		}
	}
}

// What queries over a stream of a million events of 200 bytes cost over the wire, where the newest part of it is in memory, and
// the rest in log segments or in sealed files. Run it with -benchtime 3x.
//
//	count   count(*)
//	last    max("offset")
//	since   count(*) of the last thousandth, by event time
//	group   a sum and a count by a field of the JSON
//	find    count(*) by a field of the JSON
func BenchmarkSQLStreams(b *testing.B) {
	for _, c := range []struct {
		name   string
		sealed bool
	}{{"log", false}, {"sealed", true}} {
		dir := b.TempDir()
		h := start(b, dir, func(cfg *host.Config) {
			if !c.sealed {
				cfg.Engine.SealBlock = 0
			}
			cfg.Engine.SnapshotEvery = 16 << 20
		})
		p := connect(b, h)
		p.fill("orders")
		if c.sealed {
			awaitSealed(h)
		}
		last := p.query(`SELECT timestamp FROM orders WHERE "offset" = 999000`).Rows[0][0].Int
		for _, q := range []struct{ name, text string }{
			{"count", "SELECT count(*) FROM orders"},
			{"last", `SELECT max("offset") FROM orders`},
			{"since", fmt.Sprintf("SELECT count(*) FROM orders WHERE timestamp >= %d", last)},
			{"group", "SELECT data->>'region', count(*), sum(data->>'amount') FROM orders GROUP BY 1"},
			{"find", "SELECT count(*) FROM orders WHERE data->>'region' = 'region-3'"},
		} {
			b.Run(c.name+"/"+q.name, func(b *testing.B) {
				for b.Loop() {
					p.query(q.text)
				}
			})
		}
		h.Close()
	}
}

// awaitSealed waits until no more is sealed for a while.
func awaitSealed(h *host.Host) {
	for last := uint64(0); ; {
		time.Sleep(time.Second)
		snap, _ := h.Snapshot()
		s := snap.Engine
		if s.Sealed+s.Merges == last {
			return
		}
		last = s.Sealed + s.Merges
	}
}

// How long durable appends of ten events take while somebody asks the query by groups again and again, beside how long they take
// alone.
//
//	alone-p99-ms, beside-p99-ms
func BenchmarkSQLBesideAppends(b *testing.B) {
	h := start(b, b.TempDir())
	defer h.Close()
	p := connect(b, h)
	p.fill("orders")
	s := p.call(&wire.CreateStream{Name: "other"}).(*wire.CreateStreamReply).Stream
	ask := &wire.AppendEvents{Stream: s}
	for i := range 10 {
		ask.Events = append(ask.Events, scanEvent(i))
	}
	measure := func(span time.Duration) float64 {
		var took []time.Duration
		for began := time.Now(); time.Since(began) < span; {
			at := time.Now()
			p.call(ask)
			took = append(took, time.Since(at))
		}
		slices.Sort(took)
		return took[len(took)*99/100].Seconds() * 1000
	}
	for range b.N {
		b.ReportMetric(measure(10*time.Second), "alone-p99-ms")
		stop := make(chan struct{})
		var done sync.WaitGroup
		done.Go(func() {
			q := connect(b, h)
			for {
				select {
				case <-stop:
					return
				default:
					q.query("SELECT data->>'region', count(*), sum(data->>'amount') FROM orders GROUP BY 1")
				}
			}
		})
		b.ReportMetric(measure(10*time.Second), "beside-p99-ms")
		close(stop)
		done.Wait()
	}
}
