package client_test

import (
	"errors"
	"sync"
	"testing"

	"github.com/kimberlitedb/kimberlite-go/client"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// When the connection breaks, a batch that reads or has a key is sent again as it was. Any other one may have been carried out,
// and is not.
func TestBatchesOverABreakingConnection(t *testing.T) {
	key := client.NewKey()
	asks := []struct {
		text    string // of the last statement
		again   bool
		options []client.BatchOption
	}{
		{"INSERT INTO bare VALUES (1)", false, nil},
		{"INSERT INTO atomic VALUES (1)", false, []client.BatchOption{client.Atomic()}},
		{"INSERT INTO keyed VALUES (1)", true, []client.BatchOption{client.Once(key), client.StopOnError()}},
		{"INSERT INTO both VALUES (1)", true, []client.BatchOption{client.Atomic(), client.Once(key)}},
		{"SELECT 2", true, nil},
	}
	var mu sync.Mutex
	first, later := map[string]wire.BatchQuery{}, map[string]wire.BatchQuery{}
	f := serve(t, func(n int, p *peer) {
		seen := first
		if n > 0 {
			seen = later
		}
		for r := p.next(); r != nil; r = p.next() {
			b := r.Body.(*wire.BatchQuery)
			mu.Lock()
			seen[b.Queries[1].SQL] = *b
			mu.Unlock()
			if n == 0 && len(seen) == len(asks) {
				return // and nobody hears of them
			}
			if n > 0 {
				p.reply(r.ID, &wire.BatchQueryReply{Results: make([]wire.BatchedResult, 2)})
			}
		}
	})
	c := dial(t, f.addr())
	var wg sync.WaitGroup
	for _, a := range asks {
		wg.Go(func() {
			_, err := c.Batch(within(t), []client.Statement{client.SQL("SELECT 1"), client.SQL(a.text)}, a.options...)
			if errors.Is(err, client.ErrUnknownOutcome) == a.again || a.again && err != nil {
				t.Errorf("%s: %v", a.text, err)
			}
		})
	}
	wg.Wait()
	mu.Lock()
	defer mu.Unlock()
	for _, a := range asks {
		b, again := later[a.text]
		if x := first[a.text]; again != a.again || again && (b.IdempotencyKey != x.IdempotencyKey || b.Atomic != x.Atomic || b.StopOnError != x.StopOnError) {
			t.Errorf("%s came again: %v, as %+v after %+v", a.text, again, b, x)
		}
	}
}
