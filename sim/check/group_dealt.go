package check

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/kimberlitedb/kimberlite-go/wire"
)

// Told notes that a member was told of events that are passed over.
func (x *Groups) Told(gap *wire.Gap) {
	if m := x.members[gap.Subscription]; m != nil && !x.off {
		x.must("told", x.passes(m.group.name.stream), "%s passes over events %d to %d, and nothing has expired or is damaged", m.group, gap.From, gap.To)
		for o := gap.From; o < gap.To; o++ {
			m.group.event(o).missed = true
		}
	}
}

// Delivered judges deliveries that leave the server.
func (x *Groups) Delivered(conn uint64, b *wire.GroupEvents, now wire.Time, durable func(wire.StreamID) wire.Offset) {
	if x.off || x.suite.Failed != nil {
		return
	}
	m := x.member(conn, b.Subscription)
	if !x.must("told", m != nil, "deliveries to subscription %d, which connection %d does not have", b.Subscription, conn) {
		return
	}
	x.must("told", len(b.Deliveries) > 0, "a push without deliveries")
	for i := range b.Deliveries {
		d := &b.Deliveries[i]
		e := d.Event.Decode()
		if x.suite.Failed != nil {
			return
		}
		x.suite.must(Credit, m.events > 0 && m.bytes > 0, "event %d is delivered with credit for %d events and %d bytes", e.Offset, m.events, m.bytes)
		m.events--
		m.bytes -= int64(len(d.Event))
		x.must("told", d.ID > m.last, "delivery %d follows %d", d.ID, m.last)
		m.last = d.ID
		x.must("durable", e.Offset < durable(m.group.name.stream), "event %d is delivered before it is on stable storage", e.Offset)
		x.must("ended", !x.streams[m.group.name.stream], "event %d is delivered, and its stream is deleted", e.Offset)
		x.deliver(m, d, &e, now)
	}
}

func (x *Groups) deliver(m *member, d *wire.Delivery, e *wire.Event, now wire.Time) {
	g := m.group
	x.must("ended", !slices.Equal(g.paused, []bool{true}), "%s is paused, and delivers event %d", g, e.Offset)
	x.must("ended", !g.dead, "%s is deleted, and delivers event %d", g, e.Offset)
	was := g.event(e.Offset)
	x.must("settled", !was.acked, "%s delivers event %d again, which was acknowledged", g, e.Offset)
	exact := was.attempt > 0 && was.life == x.life && was.ends == x.ends && !was.loose
	first := was.attempt == 0 && g.exact && g.crashes == 0 && g.ends == x.ends && !was.loose
	x.must("attempt", d.Attempt > was.attempt && !(exact && d.Attempt != was.attempt+1) && !(first && d.Attempt != 1),
		"%s delivers event %d as attempt %d after %d (life %d, now %d, loose %t)", g, e.Offset, d.Attempt, was.attempt, was.life, x.life, was.loose)
	if g.there && g.most > 0 && len(g.alts) == 1 {
		x.must("attempt", d.Attempt <= g.most, "%s delivers event %d as attempt %d of at most %d", g, e.Offset, d.Attempt, g.most)
	}
	was.attempt, was.life, was.ends, was.loose = d.Attempt, x.life, x.ends, g.unsure
	if g.unsure { // attempts may begin anew
		was.attempt = 0
	}
	was.key = keyOf(g.alts, e.Data)
	surely := 0
	for _, h := range g.held { //det:order-free: a count, and a failure that is the same whichever comes first
		sure := !h.over && !h.recalled && h.requests == 0 && !h.member.gone && now < h.deadline
		if h.offset == e.Offset {
			if !x.must("owner", !sure, "%s delivers event %d to subscription %d, and %d holds it", g, e.Offset, m.id, h.member.id) {
				return
			}
			h.over = true
			delete(g.held, h.id)
			continue
		}
		if sure {
			surely++
		}
		if sure && was.key != "" && g.event(h.offset).key == was.key {
			x.must("order", false, "%s delivers event %d, and event %d of its key is with subscription %d", g, e.Offset, h.offset, h.member.id)
		}
	}
	x.limits(g, e.Offset, surely)
	x.inOrder(g, was, e.Offset)
	h := &delivery{id: d.ID, member: m, offset: e.Offset, deadline: now + g.least(), recalled: g.unsure}
	g.held[d.ID] = h
}

// least returns how long a delivery may be held for certain.
func (g *group) least() wire.Time {
	least := wire.Time(wire.MinAckDeadline)
	for i, s := range g.alts {
		if ms := wire.Time(s.AckDeadline.Value); i == 0 || ms < least {
			least = ms
		}
	}
	return least * 1_000_000
}

// limits judges the limits of a group.
func (x *Groups) limits(g *group, o wire.Offset, surely int) {
	pending, ahead := uint32(0), uint32(0)
	for _, s := range g.alts {
		pending, ahead = max(pending, s.MaxAckPending.Value), max(ahead, s.LookAhead.Value)
	}
	if len(g.alts) == 0 {
		return
	}
	x.must("limit", surely < int(pending), "%s has %d deliveries that are not acknowledged, of at most %d, and makes another", g, surely, pending)
	if g.known && !x.passes(g.name.stream) {
		x.must("limit", o < g.floor(o)+wire.Offset(ahead), "%s delivers event %d, more than %d from the floor, at most %d", g, o, ahead, g.floor(o))
	}
}

// inOrder judges that the events of a key that come before one are settled.
func (x *Groups) inOrder(g *group, e *event, o wire.Offset) {
	if e.key == "" || !g.known {
		return
	}
	for before := g.start; before < o; before++ {
		if was := g.events[before]; was != nil && was.key == e.key && !g.maySettle(before) {
			x.must("order", false, "%s delivers event %d before event %d of its key is settled", g, o, before)
		}
	}
}

// keyOf returns the key of an event in the order that a group has for certain.
func keyOf(alts []wire.GroupSettings, data []byte) string {
	if len(alts) == 0 || slices.ContainsFunc(alts, func(s wire.GroupSettings) bool { return s.Order != alts[0].Order }) {
		return ""
	}
	switch k := alts[0].Order.Value; k.Kind {
	case wire.OrderPrefix:
		return string(data[:min(len(data), int(k.Bytes))])
	case wire.OrderJSON:
		var v struct{ K any }
		if json.Unmarshal(data, &v) == nil && v.K != nil {
			return fmt.Sprintf("%T %v", v.K, v.K)
		}
	}
	return ""
}
