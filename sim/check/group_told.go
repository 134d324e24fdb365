package check

import (
	"slices"

	"github.com/kimberlitedb/kimberlite-go/wire"
)

// Replied judges a reply.
func (x *Groups) Replied(conn uint64, r *wire.Response, now wire.Time) {
	key := request{conn, r.RequestID}
	a := x.asked[key]
	if a == nil || x.off || x.suite.Failed != nil {
		return
	}
	x.clock = now
	x.exists(a, r.Body)
	delete(x.asked, key)
	x.over(a)
	refusal, refused := r.Body.(*wire.Error)
	if refused {
		x.refused(a, refusal)
		return
	}
	switch ask := a.body.(type) {
	case *wire.AppendEvents:
		x.appended(a, ask, r.Body.(*wire.AppendEventsReply))
	case *wire.Subscribe:
		x.joined(a, ask, r.Body.(*wire.SubscribeReply))
	case *wire.Unsubscribe:
		if a.member != nil {
			a.member.close(now)
		}
	case *wire.Ack:
		x.acked(a, ask, r.Body.(*wire.AckReply))
	case *wire.Nack:
		x.ended(a, ask.Deliveries, r.Body.(*wire.NackReply).Stale, func(d *delivery) { x.failed(a, d, ask) })
	case *wire.ExtendAck:
		until := a.at + millis(ask.Deadline)
		x.ended(a, ask.Deliveries, r.Body.(*wire.ExtendAckReply).Stale, func(d *delivery) { d.deadline = until })
	case *wire.CreateGroup:
		x.created(a, ask, r.Body.(*wire.CreateGroupReply))
	case *wire.UpdateGroup:
		x.updated(a, ask, r.Body.(*wire.UpdateGroupReply))
	case *wire.DeleteGroup:
		a.group.forget()
		a.group.dead, a.group.alts, a.group.held = true, nil, map[wire.DeliveryID]*delivery{}
		a.group.bound()
	case *wire.Parked:
		x.parked(a, ask, r.Body.(*wire.ParkedReply))
	case *wire.GroupInfo:
		x.described(&a.glimpses[0], &r.Body.(*wire.GroupInfoReply).Info)
	case *wire.Explain:
		x.explained(a, r.Body.(*wire.ExplainReply))
	case *wire.ListGroups:
		x.listed(a, ask, r.Body.(*wire.ListGroupsReply))
	case *wire.DeleteStream:
		x.stream(ask.Stream).deleted, x.stream(ask.Stream).ending = true, false
	}
}

// exists judges whether a group is said to be there.
func (x *Groups) exists(a *asked, b wire.ResponseBody) {
	if a.group == nil || len(a.glimpses) == 0 {
		return
	}
	l, g := a.glimpses[0], a.group
	if a.changes { // it is counted itself
		l.turns++
		g.changes--
		defer func() { g.changes++ }()
	}
	if !l.fresh() {
		return
	}
	e, refused := b.(*wire.Error)
	_, creates := a.body.(*wire.CreateGroup)
	switch {
	case refused && e.Code == wire.GroupNotFound:
		x.must("told", !l.there, "%s is not found by a %T, and is there", g, a.body)
	case refused && e.Code == wire.GroupAlreadyExists, !refused && !creates:
		x.must("told", !l.dead, "%s is there for a %T, and was deleted", g, a.body)
	case !refused:
		x.must("told", !l.there, "%s is made, and is there", g)
	}
}

// refused takes up that a request has done nothing.
func (x *Groups) refused(a *asked, e *wire.Error) {
	g := a.group
	if a.changes && g.changes == 0 {
		g.standing = a.before
	}
	switch ask := a.body.(type) {
	case *wire.Ack:
		if e.Code == wire.StaleDelivery {
			x.stale(a, func(*delivery) bool { return true })
		}
	case *wire.Nack:
		if e.Code == wire.StaleDelivery {
			x.stale(a, func(*delivery) bool { return true })
		}
	case *wire.ExtendAck:
		if e.Code == wire.StaleDelivery {
			x.stale(a, func(*delivery) bool { return true })
		}
	case *wire.Parked:
		for _, o := range a.unparked {
			if ask.Action == wire.ParkedDrop && g.epoch == a.epoch {
				g.events[o].parked = true
			}
		}
	case *wire.DeleteStream:
		x.stream(ask.Stream).ending = false
	}
}

func (x *Groups) appended(a *asked, ask *wire.AppendEvents, b *wire.AppendEventsReply) {
	s := x.stream(ask.Stream)
	for i, data := range a.data {
		s.events[b.FirstOffset+wire.Offset(i)] = &appended{data: data, born: a.now}
	}
}

func (x *Groups) joined(a *asked, ask *wire.Subscribe, b *wire.SubscribeReply) {
	if a.group == nil {
		return
	}
	x.must("told", x.members[b.Subscription] == nil, "subscription %d is given twice", b.Subscription)
	x.members[b.Subscription] = &member{
		conn: a.conn, id: b.Subscription, group: a.group, since: x.clock, events: ask.CreditEvents, bytes: int64(ask.CreditBytes),
		gone: x.stream(ask.Stream).ending || a.group.doubts > 0,
	}
}

// Dismissed notes that the server has sent a member away.
func (x *Groups) Dismissed(id wire.SubscriptionID) {
	if m := x.members[id]; m != nil {
		m.close(x.clock)
	}
}

// stale judges that deliveries are said to be held no more.
func (x *Groups) stale(a *asked, is func(*delivery) bool) {
	for _, d := range a.named {
		if is(d) {
			x.must("stale", !d.sure(), "delivery %d of event %d is said to be stale, and subscription %d holds it", d.id, d.offset, d.member.id)
		}
	}
}

// ended judges which of the deliveries that a request names are stale, and takes up what has happened to the others.
func (x *Groups) ended(a *asked, ids, stale []wire.DeliveryID, do func(*delivery)) {
	x.stale(a, func(d *delivery) bool { return slices.Contains(stale, d.id) })
	for i, id := range ids {
		if slices.Contains(stale, id) || slices.Contains(ids[:i], id) {
			continue
		}
		k := slices.IndexFunc(a.named, func(d *delivery) bool { return d.id == id })
		if !x.must("stale", k >= 0, "delivery %d takes part in a %T, and is not held by who has asked", id, a.body) {
			return
		}
		d := a.named[k]
		x.must("stale", !d.over || a.epoch != a.group.epoch, "delivery %d takes part in a %T, and was over", id, a.body)
		do(d)
	}
}

// end notes that a delivery is over.
func (g *group) end(d *delivery) {
	d.over = true
	delete(g.held, d.id)
}

// acked judges the answer to an acknowledgement.
func (x *Groups) acked(a *asked, ask *wire.Ack, b *wire.AckReply) {
	if !ask.Cumulative {
		unique := slices.Clone(ask.Deliveries)
		slices.Sort(unique)
		unique = slices.Compact(unique)
		all := slices.Compact(slices.Sorted(slices.Values(b.Stale)))
		x.must("stale", b.Acked > 0 && int(b.Acked)+len(all) == len(unique), "of deliveries %v %d are acknowledged, and %v stale", ask.Deliveries, b.Acked, b.Stale)
		x.ended(a, ask.Deliveries, b.Stale, func(d *delivery) { x.confirm(a, d) })
		return
	}
	sure := 0
	for _, d := range a.named {
		if d.sure() {
			sure++
		}
	}
	x.must("stale", sure <= int(b.Acked) && int(b.Acked) <= len(a.named), "%d deliveries are acknowledged up to %v; %d were held, and %d may have been",
		b.Acked, ask.Deliveries, sure, len(a.named))
	for _, d := range a.named {
		if d.recalled = true; int(b.Acked) == len(a.named) { // else nobody knows which of them
			x.confirm(a, d)
		}
	}
}

// confirm notes that an event is acknowledged for certain.
func (x *Groups) confirm(a *asked, d *delivery) {
	a.group.end(d)
	if a.group.epoch == a.epoch {
		d.event.acked = true
	}
}

// failed notes that a delivery was given back for certain.
func (x *Groups) failed(a *asked, d *delivery, ask *wire.Nack) {
	g := a.group
	g.end(d)
	if g.turns != a.turns || g.changes > 0 || g.replays { // somebody may have done something about it since
		return
	}
	if ask.Park || len(g.alts) > 0 && d.attempt >= g.most {
		d.event.parked, d.event.since = true, x.clock
	} else {
		d.event.delayed = wire.Some(a.at + millis(ask.Delay))
	}
}

func (x *Groups) created(a *asked, ask *wire.CreateGroup, b *wire.CreateGroupReply) {
	g := a.group
	g.alts, g.paused = []wire.GroupSettings{overlay(defaultSettings, ask.Settings)}, []bool{false}
	g.there, g.dead = true, false
	g.begin(b.Floor, a.now, nil)
	x.begins(g, wire.Some(ask.FromOffset), ask.FromTimestamp, b.Floor)
}

func (x *Groups) updated(a *asked, ask *wire.UpdateGroup, b *wire.UpdateGroupReply) {
	g := a.group
	g.there = true
	if ask.Paused.Set {
		g.paused = []bool{ask.Paused.Value}
	}
	if g.changes == 0 && len(a.before.alts) > 0 {
		g.alts = nil
		for _, s := range a.before.alts {
			if s = overlay(s, ask.Settings); !slices.Contains(g.alts, s) {
				g.alts = append(g.alts, s)
			}
		}
	}
	if a.anew {
		known := g.known
		g.begin(b.Floor, a.now, g.carried(a.now))
		g.known = known
		if known {
			x.begins(g, ask.SeekOffset, ask.SeekTimestamp, b.Floor)
		}
		return
	}
	if a.doubts { // it was the order that was changed: nothing is held any more, and nothing waits
		for _, d := range g.held { //det:order-free: each for itself
			d.over = d.over || len(a.before.alts) == 1
		}
		for _, e := range g.events { //det:order-free: each for itself
			e.delayed = wire.Option[wire.Time]{}
		}
	}
}

// begins judges at which offset a group begins.
func (x *Groups) begins(g *group, offset wire.Option[wire.Offset], since wire.Option[wire.Time], floor wire.Offset) {
	if x.passes(g.name.stream) {
		return
	}
	if !since.Set && offset.Value != wire.EndOffset {
		x.must("floor", floor >= offset.Value, "%s begins at %d, asked for %d", g, floor, offset.Value)
		for o := offset.Value; o < floor; o++ {
			x.must("floor", g.mayBeParked(o), "%s begins at %d, asked for %d, and event %d is not parked", g, floor, offset.Value, o)
		}
	}
	for o, e := range x.stream(g.name.stream).events { //det:order-free: a failure that is the same whichever comes first
		if !since.Set || !e.time.Set {
			continue
		}
		due := e.time.Value >= since.Value
		x.must("floor", !(due && o < floor && !g.mayBeParked(o)) && !(!due && o == floor), "%s begins at %d, asked for time %d, and event %d has %d", g, floor, since.Value, o, e.time.Value)
	}
}

// carried returns the events that may be parked, for a group that begins anew and passes them over.
func (g *group) carried(at moment) map[wire.Offset]*event {
	list := map[wire.Offset]*event{}
	carry := func(o wire.Offset, parked bool) {
		if g.mayBeParked(o) {
			list[o] = &event{at: at, parked: parked, since: g.x.clock, parking: true, perhaps: true}
		}
	}
	for o, e := range g.events { //det:order-free: each for itself
		carry(o, e.parked)
	}
	for o := g.start; o < g.x.Stored(g.name.stream); o++ {
		if g.events[o] == nil {
			carry(o, false)
		}
	}
	return list
}

// parked judges what is said to be parked, or to be parked no more.
func (x *Groups) parked(a *asked, ask *wire.Parked, b *wire.ParkedReply) {
	g := a.group
	if ask.Action != wire.ParkedList {
		x.must("told", int(b.Changed) >= len(a.unparked) || x.passes(g.name.stream), "%s: %s of %d parked events changes %d", g, ask.Action, len(a.unparked), b.Changed)
		if ask.Action == wire.ParkedReplay {
			g.replay(ask)
		}
		for _, o := range a.unparked {
			e := g.events[o]
			switch {
			case g.epoch != a.epoch:
			case ask.Action == wire.ParkedDrop:
				e.acked = true
			default: // attempts have begun anew for certain
				e.loose, e.at, e.parking = false, a.now, e.asking > 0
			}
		}
		return
	}
	l := &a.glimpses[0]
	if !l.fresh() {
		return
	}
	listed := map[wire.Offset]bool{}
	for i, p := range b.Events {
		listed[p.Offset] = true
		x.must("told", p.Offset >= ask.From && (i == 0 || p.Offset > b.Events[i-1].Offset), "%s: event %d is among the parked from %d on", g, p.Offset, ask.From)
		e := g.event(p.Offset)
		x.must("settled", !e.acked, "%s: event %d is parked, and was acknowledged", g, p.Offset)
		x.must("attempt", p.Attempts >= e.attempt || e.loose, "%s: event %d is parked after %d attempts, and had %d", g, p.Offset, p.Attempts, e.attempt)
		if g.known {
			why := e.parking || !p.Asked && p.Attempts >= g.fewest
			x.must("told", why && g.mayBeParked(p.Offset), "%s: event %d is parked after %d attempts of %d, asked %t", g, p.Offset, p.Attempts, g.fewest, p.Asked)
		}
		if !e.parked {
			e.parked, e.since = true, x.clock
		}
	}
	last := wire.EndOffset
	if n := len(b.Events); b.More && n > 0 {
		last = b.Events[n-1].Offset
	}
	if x.passes(g.name.stream) {
		return
	}
	for o, e := range g.events { //det:order-free: a failure that is the same whichever comes first
		x.must("told", !e.parked || e.since >= a.at || o < ask.From || o > last || listed[o], "%s: event %d is parked, and is not among those from %d on", g, o, ask.From)
	}
}

// listed judges a list of groups.
func (x *Groups) listed(a *asked, ask *wire.ListGroups, b *wire.ListGroupsReply) {
	last := ask.After
	for i := range b.Groups {
		d := &b.Groups[i]
		x.must("told", d.ID > last, "a list of groups has %d behind %d", d.ID, last)
		last = d.ID
	}
	for i := range a.glimpses {
		l := &a.glimpses[i]
		k := slices.IndexFunc(b.Groups, func(d wire.GroupDescription) bool { return x.find(ask.Stream, d.Name) == l.group })
		switch {
		case k >= 0:
			x.described(l, &b.Groups[k])
		case l.fresh() && l.there && ask.After == 0 && !b.More:
			x.must("told", false, "%s is there, and not in the list", l.group)
		}
	}
}

// explained judges who is said to hold what: what they were sent, and nobody that is known to be gone.
func (x *Groups) explained(a *asked, b *wire.ExplainReply) {
	x.described(&a.glimpses[0], &b.Info)
	x.must("told", int(b.Info.Members) == len(b.Members) && min(int(b.Info.Pending), wire.MaxHeldTold) == len(b.Held) && len(b.Reasons) > 0,
		"%s: %d members and %d deliveries, told are %d and %d", a.group, b.Info.Members, b.Info.Pending, len(b.Members), len(b.Held))
	if len(x.blind) > 0 {
		return
	}
	for _, h := range b.Held {
		m := x.members[h.Subscription]
		x.must("owner", h.Subscription == 0 || m != nil && (!m.closed || m.end >= a.at),
			"%s: event %d is said to be with subscription %d, which has ended", a.group, h.Offset, h.Subscription)
		if d := a.group.held[h.Delivery]; d != nil {
			x.must("owner", d.offset == h.Offset && d.attempt == h.Attempt && (h.Subscription == 0 || d.member == m), "%s: delivery %d is said to be of event %d, attempt %d, to subscription %d",
				a.group, h.Delivery, h.Offset, h.Attempt, h.Subscription)
		}
	}
}

// described judges what is told of a group.
func (x *Groups) described(l *glimpse, d *wire.GroupDescription) {
	g := l.group
	if !l.fresh() {
		return
	}
	x.must("told", !l.dead, "%s is described, and was deleted", g)
	g.there = true
	x.must("told", len(g.alts) == 0 || slices.Contains(g.alts, d.Settings), "%s has settings %+v, not one of %+v", g, d.Settings, g.alts)
	x.must("told", len(g.paused) == 0 || slices.Contains(g.paused, d.Paused), "%s is said to be paused: %t", g, d.Paused)
	if len(g.alts) == 0 {
		g.may(d.Settings)
	}
	g.alts, g.paused = []wire.GroupSettings{d.Settings}, []bool{d.Paused}
	x.must("floor", d.Floor >= g.told && d.Floor <= d.Head, "%s: the floor is %d, the head %d, and the floor was %d", g, d.Floor, d.Head, g.told)
	g.told = max(g.told, d.Floor)
	x.held(l, d)
	if g.known {
		x.settled(l, d)
	} else if d.Parked == 0 && d.Lag == uint64(d.Head-d.Floor) && l.settles == 0 { // nothing is settled but what is before the floor
		g.known, g.start, g.low = true, d.Floor, d.Floor
	}
}

// held judges how many members and deliveries a group is said to have.
func (x *Groups) held(l *glimpse, d *wire.GroupDescription) {
	sure, may := 0, 0
	for _, m := range x.members { //det:order-free: counts
		if m.group == l.group && !m.gone && m.since < l.at {
			sure++
		}
		if m.group == l.group && (!m.closed || m.end >= l.at) {
			may++
		}
	}
	for _, a := range x.asked { //det:order-free: a count
		if _, joins := a.body.(*wire.Subscribe); joins && a.group == l.group {
			may++
		}
	}
	x.must("told", sure <= int(d.Members) && (int(d.Members) <= may || len(x.blind) > 0), "%s: %d members, there are %d, and may be %d", l.group, d.Members, sure, may)
	pending := 0
	for _, h := range l.group.held { //det:order-free: a count
		if h.sure() && h.made < l.at {
			pending++
		}
	}
	x.must("told", int(d.Pending) >= pending, "%s: %d deliveries are not acknowledged, told are %d", l.group, pending, d.Pending)
}

// settled judges how much a group is said to have settled.
func (x *Groups) settled(l *glimpse, d *wire.GroupDescription) {
	g := l.group
	x.must("floor", d.Floor >= l.low, "%s: the floor is %d, and every event before %d is settled", g, d.Floor, l.low)
	most := uint64(d.Head-g.start) - l.settled + l.replayed
	x.must("told", d.Lag <= most, "%s: %d events are said not to be settled, at most %d are not", g, d.Lag, most)
	if x.passes(g.name.stream) {
		return
	}
	floor := g.floor(d.Floor)
	x.must("floor", d.Floor <= floor, "%s: the floor is %d, and event %d is not settled", g, d.Floor, floor)
	least, parked := uint64(0), uint64(0)
	for o := g.low; o < d.Head; o++ {
		if !g.maySettle(o) {
			least++
		}
	}
	for o := g.start; o < d.Head; o++ {
		if g.mayBeParked(o) {
			parked++
		}
	}
	for o := range g.events { //det:order-free: a count
		if o < g.start && g.mayBeParked(o) {
			parked++
		}
	}
	x.must("told", d.Lag >= least, "%s: %d events are said not to be settled, %d are not", g, d.Lag, least)
	x.must("told", l.parked <= d.Parked && d.Parked <= parked, "%s: %d events are said to be parked, %d are, and %d may be", g, d.Parked, l.parked, parked)
	x.must("told", d.Skipped == 0, "%s: %d events are said to be passed over", g, d.Skipped)
}
