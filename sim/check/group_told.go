package check

import (
	"slices"

	"github.com/kimberlitedb/kimberlite-go/wire"
)

// Replied judges a reply.
func (x *Groups) Replied(conn uint64, r *wire.Response, now wire.Time) {
	key := request{conn, r.RequestID}
	a := x.asked[key]
	delete(x.asked, key)
	if a == nil || x.off || x.suite.Failed != nil {
		return
	}
	switch ask := a.body.(type) {
	case *wire.Subscribe:
		if b, ok := r.Body.(*wire.SubscribeReply); ok {
			x.must("told", x.members[b.Subscription] == nil, "subscription %d is given twice", b.Subscription)
			x.members[b.Subscription] = &member{conn: conn, id: b.Subscription, group: a.group, events: ask.CreditEvents, bytes: int64(ask.CreditBytes),
				gone: x.ending[a.group.name.stream]}
			x.must("ended", !a.group.dead || a.group.epoch != a.epoch, "%s has a new member, and was deleted before", a.group)
		}
	case *wire.Ack:
		x.acked(a, ask, r.Body)
	case *wire.Nack:
		if b, ok := r.Body.(*wire.NackReply); ok {
			x.settle(a, ask.Deliveries, b.Stale, now, func(d *delivery) { d.over = true })
		} else {
			x.settle(a, ask.Deliveries, refusedAll(r.Body, ask.Deliveries), now, nil)
		}
	case *wire.ExtendAck:
		if b, ok := r.Body.(*wire.ExtendAckReply); ok {
			x.settle(a, ask.Deliveries, b.Stale, now, func(d *delivery) { d.deadline = now + wire.Time(ask.Deadline)*1_000_000 })
		}
	case *wire.CreateGroup:
		if b, ok := r.Body.(*wire.CreateGroupReply); ok {
			x.must("told", !a.group.there, "%s is made, and is there", a.group)
			g := a.group
			g.begin(b.Floor)
			g.ends = x.ends
			g.there, g.known, g.crashes = true, true, 0
			g.alts, g.paused = []wire.GroupSettings{ask.Settings}, []bool{false}
			g.most, g.fewest = ask.Settings.MaxAttempts.Value, ask.Settings.MaxAttempts.Value
		}
	case *wire.UpdateGroup:
		if b, ok := r.Body.(*wire.UpdateGroupReply); ok {
			a.group.updated(ask, b, a.epoch)
			a.group.ends = x.ends
		}
	case *wire.DeleteGroup:
		if _, ok := r.Body.(*wire.DeleteGroupReply); ok && a.epoch == a.group.epoch {
			a.group.forget()
			a.group.dead, a.group.alts = true, nil
		}
	case *wire.Parked:
		if b, ok := r.Body.(*wire.ParkedReply); ok {
			x.parked(a, ask, b)
		}
	case *wire.GroupInfo:
		if b, ok := r.Body.(*wire.GroupInfoReply); ok {
			x.described(a, &b.Info)
		}
	case *wire.Explain:
		if b, ok := r.Body.(*wire.ExplainReply); ok {
			x.explained(a, b)
		}
	case *wire.DeleteStream:
		_, x.streams[ask.Stream] = r.Body.(*wire.DeleteStreamReply)
		x.ending[ask.Stream] = false
	}
}

// refusedAll returns all ids where a request was refused since none of them is held.
func refusedAll(b wire.ResponseBody, ids []wire.DeliveryID) []wire.DeliveryID {
	if e, ok := b.(*wire.Error); ok && e.Code == wire.StaleDelivery {
		return ids
	}
	return nil
}

// begin has a group begin at an offset, without a past.
func (g *group) begin(at wire.Offset) {
	g.forget()
	g.exact, g.start, g.told, g.dead, g.unsure = true, at, at, false, false
}

func (g *group) updated(ask *wire.UpdateGroup, b *wire.UpdateGroupReply, epoch int) {
	g.unsure = false
	if ask.Paused.Set {
		g.paused = []bool{ask.Paused.Value}
	}
	if ask.Settings != (wire.GroupSettings{}) {
		g.alts = []wire.GroupSettings{ask.Settings}
	}
	if (ask.SeekOffset.Set || ask.SeekTimestamp.Set) && epoch == g.epoch {
		g.begin(b.Floor)
	}
}

// acked judges the answer to an acknowledgement.
func (x *Groups) acked(a *asked, ask *wire.Ack, body wire.ResponseBody) {
	b, ok := body.(*wire.AckReply)
	if !ok {
		if stale := refusedAll(body, ask.Deliveries); stale != nil && !ask.Cumulative {
			x.settle(a, ask.Deliveries, stale, 0, nil)
		} else {
			x.settle(a, nil, nil, 0, nil)
		}
		return
	}
	if ask.Cumulative {
		x.must("stale", int(b.Acked) <= len(a.named), "%d deliveries are acknowledged up to %v, and %d may have been held", b.Acked, ask.Deliveries, len(a.named))
		all := int(b.Acked) == len(a.named)
		x.settle(a, nil, nil, 0, nil)
		for _, d := range a.named {
			if d.recalled = true; all { // else nobody knows which of them
				x.confirm(a, d)
			}
		}
		return
	}
	x.must("stale", int(b.Acked)+len(b.Stale) >= 1 && b.Acked > 0, "an acknowledgement of %d deliveries is answered with success", b.Acked)
	x.settle(a, ask.Deliveries, b.Stale, 0, func(d *delivery) { x.confirm(a, d) })
}

// confirm notes that an event is acknowledged for certain.
func (x *Groups) confirm(a *asked, d *delivery) {
	d.over = true
	delete(a.group.held, d.id)
	if a.group.epoch == a.epoch && !a.group.unsure {
		a.group.event(d.offset).acked = true
	}
}

// settle judges which of the deliveries that a request names are stale, and does something about the others.
func (x *Groups) settle(a *asked, ids, stale []wire.DeliveryID, now wire.Time, held func(*delivery)) {
	for _, d := range a.named {
		if _, extends := a.body.(*wire.ExtendAck); !extends {
			d.requests--
		}
		if slices.Contains(stale, d.id) {
			sure := !d.over && d.requests == 0 && !d.recalled && !d.member.gone && now > 0 && now < d.deadline
			x.must("stale", !sure, "delivery %d of event %d is said to be stale, and subscription %d holds it", d.id, d.offset, d.member.id)
		}
	}
	for _, id := range ids {
		if held == nil || slices.Contains(stale, id) {
			continue
		}
		i := slices.IndexFunc(a.named, func(d *delivery) bool { return d.id == id })
		if x.must("stale", i >= 0, "delivery %d takes part in a %T, and is not held by who has asked", id, a.body) {
			x.must("stale", !a.named[i].over || a.epoch != a.group.epoch, "delivery %d takes part in a %T, and was over", id, a.body)
			held(a.named[i])
			if a.named[i].over {
				delete(a.group.held, id)
			}
		}
	}
}

// parked judges what is said to be parked.
func (x *Groups) parked(a *asked, ask *wire.Parked, b *wire.ParkedReply) {
	g := a.group
	if ask.Action == wire.ParkedReplay {
		g.replay(ask)
	}
	for _, p := range b.Events {
		e := g.events[p.Offset]
		if a.epoch != g.epoch || e == nil || ask.Action != wire.ParkedList {
			continue
		}
		x.must("settled", !e.acked, "%s: event %d is parked, and was acknowledged", g, p.Offset)
	}
}

// described judges what is told of a group.
func (x *Groups) described(a *asked, d *wire.GroupDescription) {
	g := a.group
	if a.epoch != g.epoch || !g.there {
		return
	}
	x.must("floor", d.Floor >= g.told, "%s: the floor is %d, and was %d", g, d.Floor, g.told)
	if g.told = max(g.told, d.Floor); g.known && !x.passes(g.name.stream) {
		x.must("floor", d.Floor <= g.floor(d.Floor), "%s: the floor is %d, and event %d is not settled", g, d.Floor, g.floor(d.Floor))
	}
}

// explained judges who is said to hold what: nobody that is known to be gone.
func (x *Groups) explained(a *asked, b *wire.ExplainReply) {
	for _, h := range b.Held {
		m := x.members[h.Subscription]
		x.must("owner", h.Subscription == 0 || m != nil && !m.closed, "%s: event %d is said to be with subscription %d, which has ended", a.group, h.Offset, h.Subscription)
	}
}
