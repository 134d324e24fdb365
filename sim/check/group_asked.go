package check

import (
	"slices"

	"github.com/kimberlitedb/kimberlite-go/wire"
)

// Received notes a request that a connection has sent.
func (x *Groups) Received(conn uint64, r *wire.Request) {
	if x.off {
		return
	}
	a := &asked{body: r.Body}
	switch b := r.Body.(type) {
	case *wire.Subscribe:
		if !b.Group.Set {
			return
		}
		a.group = x.find(b.Stream, b.Group.Value)
	case *wire.Unsubscribe:
		if m := x.member(conn, b.Subscription); m != nil {
			m.gone = true
		}
		return
	case *wire.Credit:
		if m := x.member(conn, b.Subscription); m != nil {
			m.events, m.bytes = m.events+b.Events, m.bytes+int64(b.Bytes)
		}
		return
	case *wire.Ack:
		x.name(a, conn, b.Subscription, b.Deliveries, b.Cumulative)
	case *wire.Nack:
		x.name(a, conn, b.Subscription, b.Deliveries, false)
	case *wire.ExtendAck:
		x.name(a, conn, b.Subscription, b.Deliveries, false)
	case *wire.CreateGroup:
		a.group = x.find(b.Stream, b.Name)
		if !a.group.there {
			a.group.loosen()
			a.group.alts, a.group.paused = append(a.group.alts, b.Settings), []bool{false, true}
		}
	case *wire.UpdateGroup:
		a.group = x.find(b.Stream, b.Name)
		a.group.update(b)
	case *wire.DeleteGroup:
		a.group = x.find(b.Stream, b.Name)
		a.group.loosen()
		a.group.there = false
	case *wire.Parked:
		a.group = x.find(b.Stream, b.Name)
		if b.Action == wire.ParkedReplay {
			a.group.replay(b)
		}
	case *wire.GroupInfo:
		a.group = x.find(b.Stream, b.Name)
	case *wire.Explain:
		a.group = x.find(b.Stream, b.Name)
	case *wire.SetRetention:
		x.expire[b.Stream] = true
		return
	case *wire.DeleteStream:
		x.disband(b.Stream)
	case *wire.UndeleteStream:
		x.streams[b.Stream] = false
	default:
		return
	}
	if a.group != nil {
		a.epoch = a.group.epoch
	}
	x.asked[request{conn, r.ID}] = a
}

// disband notes that the members of a stream's groups may be sent away.
func (x *Groups) disband(stream wire.StreamID) {
	x.streams[stream], x.ending[stream] = false, true
	for _, m := range x.members { //det:order-free: each for itself
		m.gone = m.gone || m.group.name.stream == stream
	}
}

func (x *Groups) member(conn uint64, id wire.SubscriptionID) *member {
	if m := x.members[id]; m != nil && m.conn == conn {
		return m
	}
	return nil
}

// name notes the deliveries that a request may end.
func (x *Groups) name(a *asked, conn uint64, sub wire.SubscriptionID, ids []wire.DeliveryID, all bool) {
	m := x.member(conn, sub)
	if m == nil {
		return
	}
	a.group = m.group
	ack, isAck := a.body.(*wire.Ack)
	nack, isNack := a.body.(*wire.Nack)
	for _, d := range m.group.held { //det:order-free: each for itself
		upto := isAck && all && slices.ContainsFunc(ack.Deliveries, func(id wire.DeliveryID) bool { return d.id <= id })
		if d.member != m || !slices.Contains(ids, d.id) && !upto {
			continue
		}
		a.named = append(a.named, d)
		if isAck || isNack {
			d.requests++
		}
		if isAck {
			m.group.event(d.offset).maybe = true
		}
		if isNack && nack.Park {
			m.group.event(d.offset).parking = true
		}
	}
}

func (g *group) update(b *wire.UpdateGroup) {
	if b.SeekOffset.Set || b.SeekTimestamp.Set {
		g.loosen()
	}
	if b.Paused.Set {
		g.paused = []bool{false, true}
	}
	now := b.Settings
	if now == (wire.GroupSettings{}) {
		return
	}
	if now.Order.Set && slices.ContainsFunc(g.alts, func(s wire.GroupSettings) bool { return s.Order != now.Order }) {
		for _, d := range g.held { //det:order-free: each for itself
			d.recalled = true
		}
		g.unsure = true
	}
	g.alts, g.most, g.fewest = append(g.alts, now), max(g.most, now.MaxAttempts.Value), min(g.fewest, now.MaxAttempts.Value)
}

// replay notes that parked events may begin anew.
func (g *group) replay(b *wire.Parked) {
	for o, e := range g.events { //det:order-free: each for itself
		if len(b.Offsets) == 0 || slices.Contains(b.Offsets, o) {
			e.attempt, e.loose, e.passed = 0, true, true
		}
	}
}
