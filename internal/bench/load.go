package bench

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/kimberlitedb/kimberlite-go/client"
)

// readEvents is how many events the sequential read goes over.
const readEvents = 300_000

// newLoad connects the clients, each with a stream of its own, and fills the stream to be read.
func newLoad(ctx context.Context, cfg Config, s scenario, addr string) (*load, error) {
	l := &load{cfg: cfg, s: s}
	for i := range s.conns {
		c, err := client.Dial(ctx, addr, client.WithMaxInflight(max(s.inflight, 8)))
		if err != nil {
			return nil, errors.Join(err, l.close())
		}
		l.clients = append(l.clients, c)
		id, err := c.CreateStream(ctx, fmt.Sprintf("bench-%d", i))
		if err != nil {
			return nil, errors.Join(err, l.close())
		}
		l.streams = append(l.streams, id)
	}
	if s.read {
		return l, l.fill(ctx)
	}
	return l, nil
}

func (l *load) close() error {
	var err error
	for _, c := range l.clients {
		err = errors.Join(err, c.Close())
	}
	return err
}

func (l *load) events() [][]byte {
	events := make([][]byte, l.s.batch)
	for i := range events {
		events[i] = make([]byte, l.cfg.Size)
	}
	return events
}

func (l *load) fill(ctx context.Context) error {
	events := l.events()
	for range readEvents / len(events) {
		if _, err := l.clients[0].Append(ctx, l.streams[0], events); err != nil {
			return err
		}
	}
	return nil
}

// run loads the server for a while and returns how many events went, and how long each request took.
func (l *load) run(ctx context.Context, d time.Duration) (events int, latencies []time.Duration, err error) {
	var wg sync.WaitGroup
	var mu sync.Mutex // guards the results
	deadline := time.Now().Add(d)
	for i := range l.clients {
		wg.Go(func() {
			n, took, e := l.one(ctx, i, deadline)
			mu.Lock()
			defer mu.Unlock()
			events, latencies, err = events+n, append(latencies, took...), errors.Join(err, e)
		})
	}
	wg.Wait()
	return events, latencies, err
}

func (l *load) one(ctx context.Context, i int, deadline time.Time) (int, []time.Duration, error) {
	if l.s.read {
		return l.read(ctx, i, deadline)
	}
	return l.append(ctx, i, deadline)
}

// append keeps the scenario's number of appends in flight on one connection.
func (l *load) append(ctx context.Context, i int, deadline time.Time) (n int, took []time.Duration, err error) {
	type flight struct {
		pending *client.Pending
		began   time.Time
	}
	ring := make([]flight, l.s.inflight)
	events := l.events()
	for k := 0; ; k = (k + 1) % len(ring) {
		f := &ring[k]
		if f.pending != nil {
			if _, err := f.pending.Wait(ctx); err != nil {
				return n, took, err
			}
			took = append(took, time.Since(f.began))
			n += len(events)
		}
		if f.pending = nil; time.Now().Before(deadline) {
			*f = flight{l.clients[i].AppendAsync(ctx, l.streams[i], events), time.Now()}
		} else if ring[(k+1)%len(ring)].pending == nil {
			return n, took, nil
		}
	}
}

// read goes over the stream from end to end, again and again.
func (l *load) read(ctx context.Context, i int, deadline time.Time) (n int, took []time.Duration, err error) {
	for time.Now().Before(deadline) {
		began := time.Now()
		for _, err := range l.clients[i].Events(ctx, l.streams[i], 0) {
			if err != nil {
				return n, took, err
			}
			n++
		}
		took = append(took, time.Since(began))
	}
	return n, took, nil
}
