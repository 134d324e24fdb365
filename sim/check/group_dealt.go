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
			m.group.event(o).perhaps = true
		}
	}
}

// Delivered judges deliveries that leave the server.
func (x *Groups) Delivered(conn uint64, b *wire.GroupEvents, now wire.Time) {
	if x.off || x.suite.Failed != nil {
		return
	}
	x.clock = now
	m := x.member(conn, b.Subscription)
	if !x.must("told", m != nil && len(b.Deliveries) > 0, "%d deliveries to subscription %d on connection %d", len(b.Deliveries), b.Subscription, conn) {
		return
	}
	x.must("ended", !m.closed, "deliveries to subscription %d, which has ended", m.id)
	s := x.stream(m.group.name.stream)
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
		x.must("durable", e.Offset < x.Stored(m.group.name.stream), "event %d is delivered before it is on stable storage", e.Offset)
		x.must("ended", !s.deleted, "event %d is delivered, and its stream is deleted", e.Offset)
		if s.events[e.Offset] == nil {
			s.events[e.Offset] = &appended{data: string(e.Data)}
		}
		was := s.events[e.Offset]
		x.must("durable", was.data == string(e.Data) && was.time.Or(e.Timestamp) == e.Timestamp, "event %d is delivered with data %q and time %d, and has %q and %d",
			e.Offset, e.Data, e.Timestamp, was.data, was.time.Value)
		was.time = wire.Some(e.Timestamp)
		x.deliver(m, d, e.Offset)
	}
}

// deliver judges one delivery.
func (x *Groups) deliver(m *member, d *wire.Delivery, o wire.Offset) {
	g := m.group
	e := g.event(o)
	x.must("ended", !slices.Equal(g.paused, []bool{true}), "%s is paused, and delivers event %d", g, o)
	x.must("ended", !g.dead, "%s is deleted, and delivers event %d", g, o)
	if g.doubts == 0 {
		x.must("settled", !e.acked, "%s delivers event %d again, which was acknowledged", g, o)
		x.must("settled", !e.parked, "%s delivers event %d again, which is parked", g, o)
		x.attempt(g, e, d.Attempt, o)
		x.must("limit", x.clock >= e.delayed.Value, "%s delivers event %d again %d ns too early", g, o, e.delayed.Value-x.clock)
		x.limits(g, o)
		x.inOrder(g, e, o)
	}
	if x.must("owner", !e.holder.sure(), "%s delivers event %d to subscription %d, and another one holds it", g, o, m.id); e.holder != nil {
		g.end(e.holder)
	}
	if e.asking == 0 && !g.replays && g.doubts == 0 { // it has come again: it was not settled, whatever was asked for
		e.perhaps, e.parking = false, false
	}
	e.attempt, e.at, e.loose, e.delayed = d.Attempt, x.now, false, wire.Option[wire.Time]{}
	e.holder = &delivery{x: x, id: d.ID, member: m, offset: o, event: e, attempt: d.Attempt, made: x.clock, deadline: x.clock + g.least(), recalled: g.doubts > 0}
	g.held[d.ID] = e.holder
}

// attempt judges the number of an attempt: one more than the last, and than the crashes since.
func (x *Groups) attempt(g *group, e *event, n uint32, o wire.Offset) {
	crashes, blind := x.since(e.at)
	most := e.attempt + 1 + uint32(crashes)
	x.must("attempt", n > e.attempt && (n <= most || blind || e.loose), "%s delivers event %d as attempt %d after %d and %d crashes", g, o, n, e.attempt, crashes)
	x.must("attempt", g.most == 0 || n <= g.most, "%s delivers event %d as attempt %d of at most %d", g, o, n, g.most)
}

// least returns how long a delivery may be held for certain.
func (g *group) least() wire.Time {
	least := millis(wire.MinAckDeadline)
	for i, s := range g.alts {
		if t := millis(uint64(s.AckDeadline.Value)); i == 0 || t < least {
			least = t
		}
	}
	return least
}

// limits judges the limits of a group.
func (x *Groups) limits(g *group, o wire.Offset) {
	pending, ahead := 0, wire.Offset(0)
	for _, s := range g.alts {
		pending, ahead = max(pending, int(s.MaxAckPending.Value)), max(ahead, wire.Offset(s.LookAhead.Value))
	}
	if len(g.alts) == 0 {
		return
	}
	held := 0
	for _, d := range g.held { //det:order-free: a count
		if d.sure() {
			held++
		}
	}
	x.must("limit", held < pending, "%s has %d deliveries that are not acknowledged, of at most %d, and makes another", g, held, pending)
	if g.known && !x.passes(g.name.stream) {
		floor := g.floor(o)
		x.must("limit", o < floor+ahead, "%s delivers event %d, more than %d from the floor, at most %d", g, o, ahead, floor)
	}
}

// inOrder judges that no event of the same key is with a member, and that those that come before one are settled.
func (x *Groups) inOrder(g *group, e *event, o wire.Offset) {
	key := g.key(o)
	if key == "" {
		return
	}
	for _, d := range g.held { //det:order-free: a failure that is the same whichever comes first
		if d.sure() && d.offset != o {
			x.must("order", g.key(d.offset) != key, "%s delivers event %d, and another one of its key is with a member", g, o)
		}
	}
	if !g.known || e.replayed || x.passes(g.name.stream) {
		return
	}
	g.advance()
	for before := g.low; before < o; before++ {
		if g.key(before) == key {
			x.must("order", g.mayPass(before), "%s delivers event %d before event %d of its key is settled", g, o, before)
		}
	}
}

// key returns the key of an event in the order that a group has for certain. It is empty where there is none, or nobody
// knows.
func (g *group) key(o wire.Offset) string {
	if len(g.alts) == 0 || slices.ContainsFunc(g.alts, func(s wire.GroupSettings) bool { return s.Order != g.alts[0].Order }) {
		return ""
	}
	order := g.alts[0].Order.Value
	if g.keyed != order {
		g.keyed, g.keys = order, nil
	}
	e := g.x.stream(g.name.stream).events[o]
	if e == nil || order.Kind == wire.OrderNone {
		return ""
	}
	key, known := g.keys[o]
	if !known {
		if g.keys == nil {
			g.keys = map[wire.Offset]string{}
		}
		key = keyOf(order, e.data)
		g.keys[o] = key
	}
	return key
}

func keyOf(order wire.OrderKey, data string) string {
	if order.Kind == wire.OrderPrefix {
		return data[:min(len(data), int(order.Bytes))]
	}
	var v struct{ K any }
	if json.Unmarshal([]byte(data), &v) == nil && v.K != nil {
		return fmt.Sprintf("%T %v", v.K, v.K)
	}
	return ""
}
