package client

import (
	"fmt"

	"github.com/kimberlitedb/kimberlite-go/sim/check"
	"github.com/kimberlitedb/kimberlite-go/sim/network"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// follow asks a query, streamed or not, acknowledges its chunks sooner or later, and may cancel it. Done is called with its
// answer.
func (k *clerkLink) follow(b wire.RequestBody, f *check.Flow, done func(wire.ResponseBody)) {
	c := k.c
	if f.Streamed = f.Lingers || c.chunky.N(3) > 0; f.Streamed && !f.Lingers {
		f.Window = uint32(c.chunky.N(4))
	}
	switch b := b.(type) {
	case *wire.Query:
		b.Streaming, b.ChunkWindow = f.Streamed, f.Window
	case *wire.QueryAt:
		b.Streaming, b.ChunkWindow = f.Streamed, f.Window
	}
	k.request(b, func(r wire.ResponseBody) { done(r) })
	id := k.next
	k.flows[id] = f
	if !c.ending && c.chunky.N(8) == 0 {
		k.later(c.chunky.Log(1_000, 1_000_000_000), func() {
			f.Cancels = true
			k.ask(&wire.CancelQuery{Query: id}, func(r wire.ResponseBody) {
				if !k.conn.Damaged(network.Server) {
					c.judge.CancelAnswered(f, r)
				}
			})
		})
	}
}

// linger asks for many rows and acknowledges none, so that the query is open when the clerk hangs up.
func (k *clerkLink) linger() {
	text := fmt.Sprintf(check.Longest, k.c.chunky.N(check.SQLTables))
	f := &check.Flow{Text: text, Floor: max(k.c.known, k.c.seen), Lingers: true, Window: 1}
	k.follow(&wire.Query{SQL: text}, f, func(r wire.ResponseBody) {
		if !k.conn.Damaged(network.Server) {
			k.c.judge.Ended(f, r)
		}
	})
}

// chunk takes a chunk, and acknowledges it: at once, late, or never.
func (k *clerkLink) chunk(b *wire.QueryChunk) {
	c := k.c
	f := k.flows[b.Query]
	if k.conn.Damaged(network.Server) { // the server may have read another request
		return
	}
	if f == nil {
		c.suite.Fail(check.Streamed, "a chunk of query %d, which nobody asked", b.Query)
		return
	}
	c.judge.Chunk(f, b)
	c.seen = max(c.seen, f.Position)
	ack := func() {
		if b.Sequence < f.Acked { // a later one was acknowledged
			return
		}
		f.Acked = b.Sequence + 1
		k.ask(&wire.ChunkAck{Query: b.Query, Sequence: b.Sequence}, func(r wire.ResponseBody) { k.acked(f, r) })
	}
	switch n := c.chunky.N(20); {
	case f.Lingers:
	case c.ending, n < 10:
		ack()
	case n < 18:
		k.later(c.chunky.Log(1_000_000, 10_000_000_000), ack)
	}
}

// acked judges the answer to an acknowledgement.
func (k *clerkLink) acked(f *check.Flow, r wire.ResponseBody) {
	if k.conn.Damaged(network.Server) {
		return
	}
	b, ok := r.(*wire.ChunkAckReply)
	if !ok || b.Unacknowledged > 4 {
		k.c.suite.Fail(check.Streamed, "%s: an acknowledgement is answered with %v", f.Text, r)
	}
}

// later does something after a while, if the connection is there then.
func (k *clerkLink) later(span int64, do func()) {
	caller := k.caller
	k.c.world.After(span, func() {
		if k.caller == caller && !caller.gone {
			do()
		}
	})
}
