package client

import (
	"fmt"

	"github.com/kimberlitedb/kimberlite-go/sim/check"
	"github.com/kimberlitedb/kimberlite-go/sim/network"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// append appends events to one of the clerk's streams, which it makes first.
func (k *clerkLink) append() {
	c := k.c
	if c.rand.N(12) == 0 { // a name that a table may have
		k.request(&wire.CreateStream{Name: check.ContestedName(c.rand.N(check.SQLTables))}, func(wire.ResponseBody) {})
		return
	}
	n := c.rand.N(len(c.streams))
	if c.streams[n] == 0 {
		b := &wire.CreateStream{Name: check.StreamNames[n]}
		if n == 1 {
			b.RetentionDays = wire.Some(c.retain)
		}
		k.request(b, func(r wire.ResponseBody) {
			if r, ok := r.(*wire.CreateStreamReply); ok && !k.conn.Damaged(network.Server) {
				c.streams[n] = r.Stream
			} else if !ok {
				k.findStream(n)
			}
		})
		return
	}
	b := &wire.AppendEvents{Stream: c.streams[n]}
	timed := c.time > 0 && c.rand.Coin()
	for range 1 + c.rand.N(12) {
		b.Events = append(b.Events, []byte(check.StreamData(int64(c.rand.N(40)), check.Region(c.rand.N(3)))))
		if timed {
			b.Timestamps = wire.Some(append(b.Timestamps.Value, c.time-wire.Time(c.rand.Log(1, 3*max(c.day, 1)))))
		}
	}
	k.request(b, func(r wire.ResponseBody) {
		if r, ok := r.(*wire.AppendEventsReply); ok && !k.conn.Damaged(network.Server) {
			c.known, c.time = max(c.known, r.Position), max(c.time, r.Timestamp)
		}
	})
}

// findStream finds out the id of a stream whose making was not answered.
func (k *clerkLink) findStream(n int) {
	k.request(&wire.StreamInfo{Name: check.StreamNames[n]}, func(r wire.ResponseBody) {
		if r, ok := r.(*wire.StreamInfoReply); ok && !k.conn.Damaged(network.Server) {
			k.c.streams[n] = r.Info.Stream
		}
	})
}

// askStream asks a query of a stream, of the present or of the past.
func (k *clerkLink) askStream() {
	c := k.c
	n := c.rand.N(len(c.streams))
	a := &check.StreamAsk{Stream: c.streams[n], Name: check.StreamNames[n]}
	switch m := c.rand.N(20); {
	case m == 0:
		a.System, a.Stream = "$audit", 0 // nothing of it ever goes
	case m == 1:
		a.System, a.Stream = "$sql", check.Statements(ClerkTenant)
	case m < 5:
		a.Table = wire.Some(c.rand.N(check.SQLTables))
	}
	if a.Query = check.WholeStream(); c.rand.N(3) > 0 {
		a.Query = check.DrawStreamQuery(c.rand.N, c.judge.SomeEvent(a.Stream, c.rand.N))
	}
	at := wire.Option[wire.Position]{}
	if c.rand.Coin() {
		if at = wire.Some(wire.Position(c.rand.N(int(c.known) + 2))); len(c.Cuts.Cuts(ClerkTenant)) > 0 && c.rand.Coin() {
			at.Value = c.position()
		}
	}
	if c.streams[n] > 0 { // else it may be there all the same
		k.sendAsk(a, at, func(wire.ResponseBody) {})
	}
}

// sendAsk asks a query of a stream.
func (k *clerkLink) sendAsk(a *check.StreamAsk, at wire.Option[wire.Position], done func(wire.ResponseBody)) {
	c, text := k.c, a.SQL()
	var b wire.RequestBody = &wire.Query{SQL: text}
	if at.Set {
		if b = (&wire.QueryAt{SQL: text, Position: at.Value}); c.rand.Coin() {
			b = &wire.Query{SQL: fmt.Sprintf("%s AS OF POSITION %d", text, at.Value)}
		}
	}
	cut, from := c.cut(at), c.Cuts.Now()
	if cut != nil {
		b = &wire.Query{SQL: text + cut.AsOf(c.rand.N)}
	}
	f := &check.Flow{Text: text, At: at, Floor: max(c.known, c.seen), Ask: a, Oldest: c.judge.Oldest(a.Stream)}
	k.follow(b, f, func(r wire.ResponseBody) {
		if k.conn.Damaged(network.Server) || cut != nil && !c.stood(cut, from, r) {
			return
		}
		if e, refused := r.(*wire.Error); refused && e.Code == wire.PositionAhead {
			c.judge.Ahead(at.Value, f.Floor)
			return
		}
		c.judge.Ended(f, r)
		if r, ok := r.(*wire.QueryReply); ok {
			c.seen = max(c.seen, r.Position)
		}
		done(r)
	})
}

// readStream reads a stream whole, in the end.
func (k *clerkLink) readStream(n int) {
	a := &check.StreamAsk{Stream: k.c.streams[n], Name: check.StreamNames[n], Query: check.WholeStream()}
	k.sendAsk(a, wire.Option[wire.Position]{}, func(r wire.ResponseBody) {
		e, refused := r.(*wire.Error)
		if !refused || (e.Code == wire.DataCorrupted || e.Code == wire.StorageError) && k.c.suite.Faulty() {
			k.c.settled++
		}
	})
}
