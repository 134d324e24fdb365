package client

import (
	"strings"

	"github.com/kimberlitedb/kimberlite-go/sim/model"
	"github.com/kimberlitedb/kimberlite-go/sim/network"
	"github.com/kimberlitedb/kimberlite-go/sim/plan"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// ensure makes what an operation needs: its tenant and its stream. It reports whether they are there.
func (c *Client) ensure(l *link, op *plan.Op) bool {
	st := c.tenant.Streams[op.Stream]
	switch op.Kind {
	case plan.Append, plan.Read, plan.Follow, plan.Twice, plan.Deaf, plan.BadAppend, plan.Subscribe:
	default:
		return true
	}
	switch {
	case st.ID != 0:
		return true
	case !c.config.Dev && !c.tenant.Exists:
		l.call(&model.Call{Body: &wire.CreateTenant{Name: c.tenant.Name}})
	case st.Exists:
		l.call(&model.Call{Stream: st, Body: &wire.StreamInfo{Name: st.Name}})
	default:
		l.call(&model.Call{Stream: st, Body: c.spec(st)})
	}
	c.ensuring = true
	return false
}

func (c *Client) spec(st *model.Stream) *wire.CreateStream {
	return &wire.CreateStream{Name: st.Name, Class: wire.NonPHI, Placement: wire.Placement{Global: st.Slot%2 == 0}}
}

// learn goes on after a reply.
func (c *Client) learn(l *link, call *model.Call) {
	c.ended(call)
	switch b := call.Reply.(type) {
	case *wire.HandshakeReply:
		l.ready = true
		c.suite.Agreed(l.shape, b)
		l.session.SetFeatures(l.shape)
	case *wire.SubscribeReply:
		l.listen(call, b)
	case *wire.UnsubscribeReply:
		l.forget(call.Body.(*wire.Unsubscribe).Subscription, b.Next)
	case *wire.ReadEventsReply:
		if call.Op.Kind == plan.Follow {
			c.offsets[call.Stream] = b.NextOffset.Or(call.Body.(*wire.ReadEvents).FromOffset)
		}
	case *wire.Error:
		if c.ensuring && call.Op.Kind == "" {
			c.until = max(c.until, c.world.Now()+c.rand.Log(1_000_000, 200_000_000)) // try again a little later
			switch {
			case !c.suite.Holes:
			case (b.Code == wire.DataCorrupted || b.Code == wire.StorageError) && len(c.queue) > 0:
				c.queue = c.queue[1:] // the tenant takes no writes any more
				c.Done++
			case b.Code == wire.TenantNotFound, b.Code == wire.StreamNotFound: // a hole has swallowed its making
				if c.tenant.Exists = b.Code == wire.StreamNotFound; call.Stream != nil {
					call.Stream.Exists = false
				}
			}
		}
	}
	if call.Op.Kind == "" {
		c.ensuring = false
	}
}

// do carries out an operation.
func (c *Client) do(l *link, op plan.Op) {
	st := c.tenant.Streams[op.Stream]
	switch op.Kind {
	case plan.Create:
		l.call(&model.Call{Op: op, Stream: st, Body: c.spec(st)})
	case plan.Append:
		l.call(c.append(op, st))
	case plan.Read:
		from := wire.Offset(c.rand.N(int(st.Head) + 2))
		if op.Case%8 == 0 {
			from = 1 << 60
		}
		l.call(c.read(op, st, from))
	case plan.Follow:
		l.call(c.read(op, st, c.offsets[st]))
	case plan.Subscribe:
		c.subscribe(l, op, st)
	case plan.Grant, plan.Unsubscribe:
		if len(l.subs) == 0 {
			c.Done++
		} else if sub := l.subs[op.Case/16%len(l.subs)]; op.Kind == plan.Grant {
			l.grant(sub, op)
		} else {
			l.unsubscribe(sub, op)
		}
	case plan.Sync:
		l.call(&model.Call{Op: op, Body: &wire.Sync{}})
	case plan.Info:
		l.call(c.info(op, st))
	case plan.ListStreams:
		l.call(&model.Call{Op: op, Body: &wire.ListStreams{Limit: uint32(op.Count)}})
	case plan.ListTenants:
		l.call(&model.Call{Op: op, Body: &wire.ListTenants{Limit: uint32(op.Count)}})
	case plan.CreateTenant:
		l.call(&model.Call{Op: op, Body: &wire.CreateTenant{Name: c.tenant.Name + strings.Repeat("x", op.Case%2)}})
	case plan.Ping:
		l.call(&model.Call{Op: op, Body: &wire.Ping{}})
	case plan.Query:
		l.call(&model.Call{Op: op, Body: &wire.Query{SQL: "SELECT 1"}})
	case plan.BadAppend:
		l.call(c.badAppend(op, st))
	case plan.BadCreate:
		l.call(c.badCreate(op, st))
	case plan.Stranger:
		l.call(c.stranger(op))
	case plan.Twice:
		first := c.append(op, st)
		l.call(first)
		second := c.append(op, st)
		if second.Op.Kind = plan.Append; l.shape.Version < 2 { // else nobody could tell the replies apart
			second.ID = first.ID
		}
		l.call(second)
	case plan.Late:
		c.late(l, op)
	default:
		c.disturb(l, op)
	}
}

func (c *Client) append(op plan.Op, st *model.Stream) *model.Call {
	c.tries[op.N]++
	k := model.Key{Op: op.N, Attempt: c.tries[op.N]}
	a := &model.Append{Key: k, Client: c.index, Stream: st, Sent: c.world.Now()}
	a.Events = c.suite.M.Batch(c.tenant, k, op.Count, op.Size, c.config.MaxBatchBytes)
	b := &wire.AppendEvents{Stream: st.ID, Events: a.Events}
	if op.Times {
		a.Times = make([]wire.Time, len(a.Events))
		for i := range a.Times {
			a.Times[i] = wire.Time(c.rand.N(1_600_000_000)) * 1_000_000_000
		}
		b.Timestamps = wire.Some(a.Times)
	}
	switch op.Expect {
	case plan.ExpectRight:
		b.ExpectOffset = wire.Some(st.Head)
	case plan.ExpectStale:
		b.ExpectOffset = wire.Some(wire.Offset(c.rand.N(int(st.Head) + 1)))
	case plan.ExpectAhead:
		b.ExpectOffset = wire.Some(st.Head + wire.Offset(1+c.rand.N(3)))
	}
	c.suite.M.Appends[k] = a
	return &model.Call{Op: op, Stream: st, Append: a, Body: b}
}

func (c *Client) read(op plan.Op, st *model.Stream, from wire.Offset) *model.Call {
	b := &wire.ReadEvents{Stream: st.ID, FromOffset: from, MaxBytes: uint64(op.Size)}
	if op.Count > 0 {
		b.MaxEvents = wire.Some(uint32(op.Count))
	}
	if op.Case%64 == 1 {
		b.MaxBytes = 1 << 63
	}
	return &model.Call{Op: op, Stream: st, Body: b}
}

func (c *Client) info(op plan.Op, st *model.Stream) *model.Call {
	b := &wire.StreamInfo{Stream: st.ID}
	if st.ID == 0 || op.Case%2 == 0 {
		b.Name = st.Name
		if op.Case%4 == 0 {
			b.Name = strings.ToLower(b.Name)
		}
	}
	return &model.Call{Op: op, Stream: st, Body: b}
}

func (c *Client) badAppend(op plan.Op, st *model.Stream) *model.Call {
	b := &wire.AppendEvents{Stream: st.ID, Events: [][]byte{c.tenant.Marker[:]}}
	switch op.Case % 5 {
	case 0:
		b.Events = nil
	case 1:
		b.Events = make([][]byte, c.config.MaxBatchEvents+1)
	case 2:
		b.Events = [][]byte{make([]byte, c.config.MaxBatchBytes+1)}
	case 3:
		b.Timestamps = wire.Some(make([]wire.Time, 2))
	case 4:
		b.Timestamps = wire.Some([]wire.Time{1<<63 - 1})
	}
	return &model.Call{Op: op, Stream: st, Body: b}
}

func (c *Client) badCreate(op plan.Op, st *model.Stream) *model.Call {
	b := c.spec(st)
	call := &model.Call{Op: op, Body: b}
	switch n := op.Case % 8; {
	case n < 3 && st.Exists:
		call.Stream = st
		if n > 0 {
			b.Name = strings.ToLower(b.Name)
		}
	case n < 4:
		b.Name = ""
	case n == 4:
		b.Name = "no spaces"
	case n == 5:
		b.Name = "$system"
	case n == 6:
		b.Name = strings.Repeat("x", wire.MaxName+1)
	default:
		b.RetentionDays = wire.Some(uint32(0))
	}
	return call
}

// stranger asks for what this tenant does not have.
func (c *Client) stranger(op plan.Op) *model.Call {
	call := &model.Call{Op: op}
	id := wire.StreamID(1<<40 + op.Case)
	others := c.suite.M.Tenants
	if t := others[op.Case%len(others)]; t != c.tenant {
		if st := t.Streams[op.Stream]; st.ID != 0 {
			id = st.ID
		}
	}
	switch op.Case / 8 % 4 {
	case 0:
		call.Body = &wire.AppendEvents{Stream: id, Events: [][]byte{c.tenant.Marker[:]}}
	case 1:
		call.Body = &wire.ReadEvents{Stream: id, MaxBytes: 1 << 20}
	case 2:
		call.Body = &wire.StreamInfo{Stream: id}
	default:
		call.Tenant, call.Body = 99, &wire.ReadEvents{Stream: id, MaxBytes: 1 << 20}
	}
	return call
}

// late sends a handshake that is not the first request of its connection.
func (c *Client) late(l *link, op plan.Op) {
	if l.sent == 0 {
		l.call(&model.Call{Body: &wire.Ping{}, Op: plan.Op{Kind: plan.Ping}})
	}
	l.call(&model.Call{Op: op, Body: &wire.Handshake{ClientVersion: 1, Capabilities: []string{wire.CapabilityRichEvents}}})
}

// disturb does what is not a request.
func (c *Client) disturb(l *link, op plan.Op) {
	c.Done++
	c.world.Note(string(op.Kind), c.index, uint64(op.N), 0)
	switch op.Kind {
	case plan.Pause:
		c.until = c.world.Now() + op.Pause*1000
	case plan.Garbage:
		p := make([]byte, 14+op.Case%64)
		c.rand.Fill(p)
		l.spoil(p)
	case plan.Undecodable:
		l.undecodable(op)
	case plan.Huge:
		l.spoil([]byte{0x56, 0x44, 0x42, 0x20, 0, 1, 0xff, 0xff, 0xff, byte(op.Case), 1, 2, 3, 4})
	case plan.Cut:
		frame := l.frame(1, c.tenant.ID, &wire.Sync{})
		l.write(frame[:1+op.Case%(len(frame)-1)])
		l.conn.Finish(network.Client)
		l.drop()
	case plan.HangUp:
		if op.Case%2 == 0 {
			l.conn.Abort(network.Client)
		} else {
			l.conn.Finish(network.Client)
		}
		l.drop()
	case plan.Deaf:
		c.deafen(l, op)
	}
}

// undecodable sends a sound frame whose payload is no request. From version 2 on it is answered.
func (l *link) undecodable(op plan.Op) {
	l.c.next++
	shape := l.shape
	if !l.c.Spec.Handshake {
		shape = wire.Features{}
	}
	frame := l.frame(l.c.next, l.c.tenant.ID, &wire.StreamInfo{Name: "x"})
	payload := make([]byte, len(frame)-shape.HeaderBytes()-1-op.Case%8)
	copy(payload, frame[shape.HeaderBytes():])
	if shape.Version >= 2 {
		l.spoilt = l.c.next
	}
	l.spoil(wire.AppendFrameIn(nil, shape, wire.NoCodec, payload))
}

// spoil sends what cannot be decoded; nothing after it counts.
func (l *link) spoil(p []byte) {
	l.doomed = true
	l.heard = l.c.world.Now()
	l.conn.Spoil()
	l.write(p)
}

// deafen asks for much and reads nothing for a while.
func (c *Client) deafen(l *link, op plan.Op) {
	l.deaf = true
	for range c.Spec.Pipeline {
		l.call(c.read(op, c.tenant.Streams[op.Stream], 0))
	}
	c.world.After(c.rand.Log(100_000_000, 60_000_000_000), func() {
		l.deaf = false
		if !l.gone {
			l.heard = c.world.Now()
			l.conn.Resume(network.Client)
		}
	})
}
