package host_test

import (
	"fmt"
	"sync"
	"testing"

	"github.com/kimberlitedb/kimberlite-go/io/host"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// While events are appended and statements written, queries of both see one position, and whoever asks as of it gets the same
// again: from memory, from log segments and from sealed files.
func TestStreamsAndTablesWhileBothAreWritten(t *testing.T) {
	h := start(t, t.TempDir(), func(cfg *host.Config) {
		cfg.Engine.Geometry.SegmentSize, cfg.Engine.Cache, cfg.Engine.SnapshotEvery = 256<<10, 64<<10, 256<<10
	})
	defer h.Close()
	p := connect(t, h)
	p.query("CREATE TABLE seen (n INTEGER)")
	s := p.call(&wire.CreateStream{Name: "orders"}).(*wire.CreateStreamReply).Stream
	const rounds = 200
	var writers sync.WaitGroup
	writers.Go(func() {
		w := connect(t, h)
		for i := range rounds {
			b := &wire.AppendEvents{Stream: s}
			for k := range 20 {
				b.Events = append(b.Events, fmt.Appendf(nil, `{"n":%d,"text":"%0100d"}`, 20*i+k, k))
			}
			if _, ok := w.call(b).(*wire.AppendEventsReply); !ok {
				t.Errorf("%+v", w.last)
			}
			w.query("INSERT INTO seen VALUES ($1)", wire.Value{Kind: wire.BigInt, Int: int64(20*i + 19)})
		}
	})
	const text = `SELECT (SELECT count(*) FROM orders), (SELECT max("offset") + 1 FROM orders), (SELECT sum(data->>'n') FROM orders), (SELECT max(n) FROM seen)`
	check := func(r *wire.QueryReply) {
		n, last, sum, seen := r.Rows[0][0].Int, r.Rows[0][1].Int, r.Rows[0][2].Int, r.Rows[0][3].Int
		if n > 0 && (last != n || sum != n*(n-1)/2 || seen+1 > n || seen+1+40 < n) {
			t.Errorf("%v", r.Rows)
		}
	}
	var readers sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			q := connect(t, h)
			for last := int64(0); last < 20*rounds && !t.Failed(); {
				r := q.query(text)
				check(r)
				last = r.Rows[0][0].Int
				then, ok := q.call(&wire.QueryAt{SQL: text, Position: r.Position}).(*wire.QueryReply)
				if !ok || fmt.Sprint(then.Rows) != fmt.Sprint(r.Rows) {
					t.Errorf("%v, and as of %d %v", r.Rows, r.Position, then)
				}
			}
		})
	}
	writers.Wait()
	readers.Wait()
	if r := p.query(text); r.Rows[0][0].Int != 20*rounds {
		t.Errorf("%v", r.Rows)
	}
}
