package client

import (
	"fmt"
	"slices"

	"github.com/kimberlitedb/kimberlite-go/sim/check"
	"github.com/kimberlitedb/kimberlite-go/sim/network"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// batchStatements is the most that a batch of a clerk has.
const batchStatements = 6

// draw draws a batch of statements that write, statements that read, and now and then one that is none.
func (k *clerkLink) draw() *wire.BatchQuery {
	c := k.c
	b := &check.Batch{First: c.count + 1, Stop: c.rand.Coin(), Atomic: c.rand.Coin()}
	reads := c.rand.N(8) == 0 // alone
	for range 1 + c.rand.N(batchStatements) {
		s := check.Statement{Writes: !reads && c.rand.N(3) > 0}
		list := check.Queries
		if s.Writes {
			list = check.Writes
		}
		template := list[c.rand.N(len(list))]
		s.Text, s.Params = fmt.Sprintf(template, c.rand.N(check.SQLTables)), c.params(check.Parameters(template))
		switch {
		case c.rand.N(15) == 0:
			s = check.Statement{Text: check.Broken}
		case !s.Writes && (!b.Atomic || reads) && c.rand.N(4) == 0:
			s.At = wire.Some(wire.Position(c.rand.N(int(c.known) + 2)))
		}
		b.Statements = append(b.Statements, s)
	}
	ask := &wire.BatchQuery{StopOnError: b.Stop, Atomic: b.Atomic}
	for _, s := range b.Statements {
		c.count++
		text := fmt.Sprintf("/* %d */ %s", c.count, s.Text)
		if s.At.Set {
			text += fmt.Sprintf(" AS OF POSITION %d", s.At.Value)
		}
		ask.Queries = append(ask.Queries, wire.BatchedQuery{SQL: text, Params: s.Params})
	}
	if c.keyed && c.rand.Coin() {
		ask.IdempotencyKey = c.key()
	}
	c.batches[ask] = b
	return ask
}

// sendBatch sends a batch, for the first time or again.
func (k *clerkLink) sendBatch(ask *wire.BatchQuery) {
	c := k.c
	b := c.batches[ask]
	if ask.IdempotencyKey.Set {
		c.resend = append(c.resend, ask)
	}
	c.judge.Sent(b.First, k.id, b)
	floor := c.known
	k.request(ask, func(r wire.ResponseBody) {
		if k.conn.Damaged(network.Server) { // it may be the answer to something else
			return
		}
		c.answered(ask)
		if r, ok := r.(*wire.BatchQueryReply); ok {
			c.known = max(c.known, r.Position)
		}
		c.judge.Batched(b, floor, r)
	})
	if caller := k.caller; caller != nil && !b.Atomic && c.rand.N(10) == 0 { // hang up in the middle, perhaps
		c.world.After(c.rand.Log(100_000, 20_000_000), caller.abort)
	}
}

// answered drops a request from those that are to be sent again.
func (c *Clerk) answered(b wire.RequestBody) {
	c.resend = slices.DeleteFunc(c.resend, func(o wire.RequestBody) bool { return o == b })
}
