package check

import (
	"slices"

	"github.com/kimberlitedb/kimberlite-go/wire"
)

type request struct{ conn, id uint64 }

// asked is a request under way.
type asked struct {
	conn     uint64
	body     wire.RequestBody
	at       wire.Time // when it came in
	now      moment    // then
	group    *group
	epoch    int // of the group, then
	member   *member
	named    []*delivery   // that it may be about
	changes  bool          // counts among the group's changes
	doubts   bool          // and doubts
	anew     bool          // may have the group begin anew
	turns    int           // of the group, then
	slow     bool          // is carried out at some time, also for somebody who has hung up
	before   standing      // of the group
	unparked []wire.Offset // what it names and was parked for certain
	glimpses []glimpse
	data     []string
}

// glimpse is what was certain of a group when somebody asked about it.
type glimpse struct {
	group    *group
	at       wire.Time
	turns    int
	settles  int
	there    bool
	dead     bool
	low      wire.Offset
	settled  uint64 // events from the start on
	replayed uint64 // events before low that may not be settled any more
	parked   uint64
}

// Received notes a request that a connection has sent.
func (x *Groups) Received(conn uint64, r *wire.Request, now wire.Time) {
	if x.off || r.Tenant != x.tenant {
		return
	}
	x.clock = now
	key := request{conn, r.ID}
	if before := x.asked[key]; before != nil { // damaged on its way
		x.lose(before)
	}
	a := &asked{conn: conn, body: r.Body, at: now, now: x.now}
	x.asked[key] = a
	switch b := r.Body.(type) {
	case *wire.AppendEvents:
		for _, data := range b.Events {
			a.data = append(a.data, string(data))
		}
	case *wire.Subscribe:
		if b.Group.Set {
			x.about(a, b.Stream, b.Group.Value)
		}
	case *wire.Unsubscribe:
		if a.member = x.member(conn, b.Subscription); a.member != nil {
			a.member.gone = true
		}
	case *wire.Credit:
		if m := x.member(conn, b.Subscription); m != nil {
			m.events, m.bytes = m.events+b.Events, m.bytes+int64(b.Bytes)
		}
	case *wire.Ack:
		x.name(a, b.Subscription, b.Deliveries)
	case *wire.Nack:
		x.name(a, b.Subscription, b.Deliveries)
	case *wire.ExtendAck:
		x.name(a, b.Subscription, b.Deliveries)
		for _, d := range a.named {
			d.deadline = min(d.deadline, now+millis(b.Deadline))
		}
	case *wire.CreateGroup:
		g := x.change(a, b.Stream, b.Name, !x.find(b.Stream, b.Name).there, false)
		if !g.there {
			a.slow = b.FromTimestamp.Set
			g.dead, g.paused = false, []bool{false, true}
			g.may(overlay(defaultSettings, b.Settings))
		}
	case *wire.UpdateGroup:
		x.update(a, b)
	case *wire.DeleteGroup:
		g := x.change(a, b.Stream, b.Name, true, false)
		g.there = false
		x.dismiss(func(m *member) bool { return m.group == g })
	case *wire.Parked:
		if b.Action == wire.ParkedList {
			x.about(a, b.Stream, b.Name)
		} else {
			x.unpark(a, b)
		}
	case *wire.GroupInfo:
		x.about(a, b.Stream, b.Name)
	case *wire.Explain:
		x.about(a, b.Stream, b.Name)
	case *wire.ListGroups:
		for _, g := range x.list { //det:order-free: each for itself
			if g.name.stream == b.Stream {
				a.glimpses = append(a.glimpses, g.glimpse())
			}
		}
	case *wire.SetRetention:
		x.stream(b.Stream).expires = true
	case *wire.DeleteStream:
		s := x.stream(b.Stream)
		s.deleted, s.ending = false, true
		x.dismiss(func(m *member) bool { return m.group.name.stream == b.Stream })
	case *wire.UndeleteStream:
		x.stream(b.Stream).deleted = false
	}
}

// dismiss notes that members may be sent away.
func (x *Groups) dismiss(whom func(*member) bool) {
	for _, m := range x.members { //det:order-free: each for itself
		m.gone = m.gone || whom(m)
	}
}

// about notes the group that a request is about, and what is known of it.
func (x *Groups) about(a *asked, stream wire.StreamID, name string) *group {
	g := x.find(stream, name)
	a.group, a.epoch, a.glimpses = g, g.epoch, []glimpse{g.glimpse()}
	return g
}

// change notes a request that may change a group, have it begin anew, or take back what is delivered.
func (x *Groups) change(a *asked, stream wire.StreamID, name string, anew, recalls bool) *group {
	g := x.about(a, stream, name)
	a.before = standing{g.there, slices.Clone(g.alts), g.paused}
	a.changes, a.anew, a.doubts = true, anew, anew || recalls
	g.changes++
	g.turns++
	if a.doubts {
		g.doubts++
		for _, d := range g.held { //det:order-free: each for itself
			d.recalled = true
		}
	}
	return g
}

func (x *Groups) update(a *asked, b *wire.UpdateGroup) {
	reorders := func(s wire.GroupSettings) bool { return b.Settings.Order.Set && s.Order != b.Settings.Order }
	seeks := b.SeekOffset.Set || b.SeekTimestamp.Set
	g := x.change(a, b.Stream, b.Name, seeks, slices.ContainsFunc(x.find(b.Stream, b.Name).alts, reorders))
	a.slow = b.SeekTimestamp.Set
	if b.Paused.Set {
		g.paused = []bool{false, true}
	}
	for _, s := range a.before.alts {
		g.may(overlay(s, b.Settings))
	}
}

// unpark notes that parked events may begin anew, or be acknowledged.
func (x *Groups) unpark(a *asked, b *wire.Parked) {
	g := x.change(a, b.Stream, b.Name, false, false)
	for o, e := range g.named(b) { //det:order-free: each for itself
		if e.parked {
			a.unparked = append(a.unparked, o)
		}
	}
	if b.Action == wire.ParkedReplay {
		g.replay(b)
		return
	}
	for _, o := range a.unparked {
		e := g.events[o]
		e.parked, e.perhaps, e.parking = false, true, true
	}
}

// named returns the events that a request about parked ones may be about.
func (g *group) named(b *wire.Parked) map[wire.Offset]*event {
	if len(b.Offsets) == 0 {
		for o := g.start; o < g.x.Stored(b.Stream); o++ {
			g.event(o)
		}
		return g.events
	}
	list := map[wire.Offset]*event{}
	for _, o := range b.Offsets {
		list[o] = g.event(o)
	}
	return list
}

// replay notes that parked events may be delivered again, with attempts that begin anew.
func (g *group) replay(b *wire.Parked) {
	g.advance()
	g.turns++
	g.replays = true
	for o, e := range g.named(b) { //det:order-free: each for itself
		if g.mayBeParked(o) {
			e.attempt, e.at, e.loose, e.delayed = 0, g.x.now, true, wire.Option[wire.Time]{}
			e.parked, e.perhaps, e.replayed = false, true, true
		}
	}
}

// name notes the deliveries that a request may be about.
func (x *Groups) name(a *asked, sub wire.SubscriptionID, ids []wire.DeliveryID) {
	m := x.member(a.conn, sub)
	if m == nil {
		return
	}
	g := m.group
	a.group, a.epoch, a.turns, a.member = g, g.epoch, g.turns, m
	ack, isAck := a.body.(*wire.Ack)
	nack, isNack := a.body.(*wire.Nack)
	settles := isAck || isNack
	if settles {
		g.settles++
	}
	for _, d := range g.held { //det:order-free: each for itself
		upto := isAck && ack.Cumulative && slices.ContainsFunc(ids, func(id wire.DeliveryID) bool { return d.id <= id })
		if d.member != m || !slices.Contains(ids, d.id) && !upto {
			continue
		}
		a.named = append(a.named, d)
		if settles {
			d.requests++
			d.event.asking++
		}
		d.event.perhaps = d.event.perhaps || isAck
		d.event.parking = d.event.parking || isNack && nack.Park
	}
}

// over notes that a request is under way no more.
func (x *Groups) over(a *asked) {
	switch a.body.(type) {
	case *wire.Ack, *wire.Nack:
		if a.group == nil {
			return
		}
		a.group.settles--
		for _, d := range a.named {
			d.requests--
			d.event.asking--
		}
	}
	if a.changes {
		a.group.changes--
		a.group.turns++
	}
	if a.doubts {
		a.group.doubts--
	}
}

// lose notes that nobody will know what has become of a request. It was done by now, or never will be.
func (x *Groups) lose(a *asked) {
	if a.slow { // it is not over
		a.group.slow = true
		return
	}
	x.over(a)
	if a.anew {
		a.group.forget()
	}
	switch b := a.body.(type) {
	case *wire.Parked:
		if b.Action == wire.ParkedReplay {
			a.group.replay(b)
		}
	case *wire.DeleteStream:
		x.stream(b.Stream).ending = false
	}
}

// glimpse returns what is certain of a group now.
func (g *group) glimpse() glimpse {
	g.advance()
	l := glimpse{group: g, at: g.x.clock, turns: g.turns, settles: g.settles, there: g.there, dead: g.dead, low: g.low, settled: uint64(g.low - g.start)}
	for o, e := range g.events { //det:order-free: counts
		switch {
		case o >= g.low && (e.acked || e.parked):
			l.settled++
		case o < g.low && e.replayed && !e.acked && !e.parked:
			l.replayed++
		}
		if e.parked {
			l.parked++
		}
	}
	return l
}

// fresh reports whether nothing was changed since, or may have been, by which events are less settled.
func (l *glimpse) fresh() bool { return l.turns == l.group.turns && l.group.changes == 0 }

// defaultSettings are those of a group for which none are given.
var defaultSettings = wire.GroupSettings{
	AckDeadline: wire.Some[uint32](wire.DefaultAckDeadline), MaxAttempts: wire.Some[uint32](wire.DefaultMaxAttempts),
	MaxAckPending: wire.Some[uint32](wire.DefaultMaxAckPending), LookAhead: wire.Some[uint32](wire.DefaultLookAhead),
	Order: wire.Some(wire.OrderKey{}),
}

// overlay returns settings with those that are given.
func overlay(s, given wire.GroupSettings) wire.GroupSettings {
	set := func(to *wire.Option[uint32], o wire.Option[uint32]) {
		if o.Set {
			*to = o
		}
	}
	set(&s.AckDeadline, given.AckDeadline)
	set(&s.MaxAttempts, given.MaxAttempts)
	set(&s.MaxAckPending, given.MaxAckPending)
	set(&s.LookAhead, given.LookAhead)
	if given.Order.Set {
		s.Order = given.Order
	}
	return s
}

func millis(n uint64) wire.Time { return wire.Time(n) * 1_000_000 }
