package client_test

import (
	"errors"
	"sync"
	"testing"

	"github.com/kimberlitedb/kimberlite-go/client"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// When the connection breaks, a statement that reads or has a key is sent again, with the same key. Any other one may have been
// carried out, and is not.
func TestStatementsOverABreakingConnection(t *testing.T) {
	key := client.NewKey()
	asks := []struct {
		text  string
		again bool
		run   func(c *client.Client, text string) error
	}{
		{"INSERT INTO bare VALUES (1)", false, func(c *client.Client, text string) error { _, err := c.Exec(within(t), text); return err }},
		{"DELETE FROM bare RETURNING id", false, func(c *client.Client, text string) error { _, err := c.Query(within(t), text); return err }},
		{"INSERT INTO keyed VALUES (1)", true, func(c *client.Client, text string) error {
			_, err := c.Exec(within(t), text, client.Once(key))
			return err
		}},
		{"DELETE FROM keyed RETURNING id", true, func(c *client.Client, text string) error {
			_, err := c.Query(within(t), text, client.Once(key))
			return err
		}},
		{"WITH t(n) AS (SELECT 2) DELETE FROM bare RETURNING id", false, func(c *client.Client, text string) error { _, err := c.Query(within(t), text); return err }},
		{"with t(n) AS (SELECT 2) SELECT n FROM t", true, func(c *client.Client, text string) error { _, err := c.Query(within(t), text); return err }},
		{" select 1", true, func(c *client.Client, text string) error { _, err := c.Query(within(t), text); return err }},
		{"DELETE FROM t", true, func(c *client.Client, text string) error { _, err := c.QueryAt(within(t), 3, text); return err }}, // it is refused
	}
	var mu sync.Mutex
	first, later := map[string]wire.Key{}, map[string]wire.Key{}
	f := serve(t, func(n int, p *peer) {
		seen := first
		if n > 0 {
			seen = later
		}
		for r := p.next(); r != nil; r = p.next() {
			text, k := "", wire.Option[wire.Key]{}
			switch b := r.Body.(type) {
			case *wire.Query:
				text, k = b.SQL, b.IdempotencyKey
			case *wire.QueryAt:
				text = b.SQL
			}
			mu.Lock()
			seen[text] = k.Value
			mu.Unlock()
			if n == 0 && len(seen) == len(asks) {
				return // and nobody hears of them
			}
			if n > 0 {
				p.reply(r.ID, &wire.QueryReply{Columns: []string{"rows_affected", "log_offset"}})
			}
		}
	})
	c := dial(t, f.addr())
	var wg sync.WaitGroup
	for _, a := range asks {
		wg.Go(func() {
			if err := a.run(c, a.text); errors.Is(err, client.ErrUnknownOutcome) == a.again || a.again && err != nil {
				t.Errorf("%s: %v", a.text, err)
			}
		})
	}
	wg.Wait()
	mu.Lock()
	defer mu.Unlock()
	for _, a := range asks {
		if k, again := later[a.text]; again != a.again || again && k != first[a.text] {
			t.Errorf("%s came again: %v, with key %x after %x", a.text, again, k, first[a.text])
		}
	}
}
