package client

import (
	"github.com/kimberlitedb/kimberlite-go/sim/check"
	"github.com/kimberlitedb/kimberlite-go/sim/model"
	"github.com/kimberlitedb/kimberlite-go/sim/plan"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// maxSubs is how many subscriptions a connection of a client has at most.
const maxSubs = 8

// subscribe begins a subscription: where the last one of the stream was cut off, at the beginning, somewhere, at the end,
// or where there is nothing.
func (c *Client) subscribe(l *link, op plan.Op, st *model.Stream) {
	b := &wire.Subscribe{Stream: st.ID, CreditEvents: uint64(op.Count), CreditBytes: uint64(op.Size)}
	switch op.Case % 8 {
	case 0:
	case 1, 2:
		b.FromOffset = wire.Offset(c.rand.N(int(st.Head) + 1))
	case 3:
		b.FromOffset = wire.EndOffset
	case 4:
		b.FromOffset = 1 << 60
	default:
		b.FromOffset = min(c.resumes[st], st.Head)
	}
	if len(l.subs) >= maxSubs {
		l.unsubscribe(l.subs[op.Case%len(l.subs)], op)
		return
	}
	l.call(&model.Call{Op: op, Stream: st, Body: b})
}

// grant gives credit to a subscription.
func (l *link) grant(sub *model.Subscription, op plan.Op) {
	if sub.Leaving {
		l.c.Done++
		return
	}
	b := &wire.Credit{Subscription: sub.ID, Events: uint64(op.Count), Bytes: uint64(op.Size)}
	if op.Kind != "" && op.Case%16 == 0 {
		b.Subscription += 1 << 40 // there is no such
	} else {
		sub.Events += b.Events
		sub.Bytes += int64(b.Bytes)
	}
	l.call(&model.Call{Op: op, Body: b})
}

func (l *link) unsubscribe(sub *model.Subscription, op plan.Op) {
	if sub.Leaving {
		l.c.Done++
		return
	}
	sub.Leaving = true
	l.call(&model.Call{Op: op, Stream: sub.Stream, Body: &wire.Unsubscribe{Subscription: sub.ID}})
}

// listen learns from the reply to Subscribe, which comes before all pushes.
func (l *link) listen(call *model.Call, b *wire.SubscribeReply) {
	ask := call.Body.(*wire.Subscribe)
	if l.sub(b.Subscription) != nil {
		l.c.suite.Fail(check.Pushed, "client %d: subscription %d is there already", l.c.index, b.Subscription)
	}
	l.subs = append(l.subs, &model.Subscription{
		Client: l.c.index, Conn: l.number, ID: b.Subscription, Stream: call.Stream, Next: ask.FromOffset, Floor: call.Floor,
		Events: ask.CreditEvents, Bytes: int64(ask.CreditBytes),
	})
}

// forget ends a subscription; no push of it may follow.
func (l *link) forget(id wire.SubscriptionID, next wire.Offset) {
	for i, sub := range l.subs {
		if sub.ID == id {
			l.c.suite.Unsubscribed(sub, next)
			l.subs = append(l.subs[:i:i], l.subs[i+1:]...)
			return
		}
	}
}

func (l *link) sub(id wire.SubscriptionID) *model.Subscription {
	for _, sub := range l.subs {
		if sub.ID == id {
			return sub
		}
	}
	return nil
}

// pushed takes what the server sends unasked.
func (l *link) pushed(p *wire.Push) {
	s := l.c.suite
	known := func(id wire.SubscriptionID) *model.Subscription {
		sub := l.sub(id)
		if sub == nil {
			s.Fail(check.Pushed, "client %d: a %T of subscription %d, which it does not have", l.c.index, p.Body, id)
		}
		return sub
	}
	switch b := p.Body.(type) {
	case *wire.SubscriptionEvents:
		if sub := known(b.Subscription); sub != nil {
			l.c.world.Note("pushed", l.c.index, uint64(sub.ID), uint64(b.Events.Count))
			s.Subscribed(sub, b)
			l.c.resumes[sub.Stream] = sub.Next
		}
	case *wire.CaughtUp:
		if sub := known(b.Subscription); sub != nil {
			s.CaughtUp(sub, b)
		}
	case *wire.Gap:
		if sub := known(b.Subscription); sub != nil {
			s.Gap(sub, b)
		}
	case *wire.PushPing:
		l.call(&model.Call{Body: &wire.Ping{}})
	default:
		s.Fail(check.Contract, "client %d: a push of %T", l.c.index, b)
	}
}

// behind returns a subscription that has credit and was not sent everything that somebody was told of, nil where there is
// none.
func (l *link) behind() *model.Subscription {
	for _, sub := range l.subs {
		if sub.Next < sub.Stream.Head && sub.Events > 0 && sub.Bytes > 0 {
			return sub
		}
	}
	return nil
}
