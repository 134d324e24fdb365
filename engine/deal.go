package engine

import (
	"cmp"
	"container/heap"
	"slices"
	"sort"

	"github.com/kimberlitedb/kimberlite-go/engine/seg"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// How a consumer group deals events to its members: what has become durable ripens, what is ready is handed out, and what
// comes next is read.

// deal deals events to members.
func (m *Machine) deal(g *group, fx []Effect) []Effect {
	l := g.live
	if l == nil || l.dealing || g.gone {
		return fx
	}
	l.dealing = true
	for more := true; more; {
		l.ripen(m.log.durable)
		if more, fx = m.hand(l, fx); !more {
			more, fx = m.fetch(l, fx)
		}
	}
	l.dealing = false
	m.awaitGroup(l)
	return fx
}

// ripen takes up what has become durable.
func (l *consumers) ripen(durable seg.LSN) {
	n := 0
	for ; n < len(l.soon) && l.soon[n].lsn <= durable; n++ {
		if it := l.soon[n]; l.items[it.offset] == it {
			heap.Push(&l.ready, it)
		}
	}
	l.soon = l.soon[n:]
	for len(l.reaches) > 0 && l.reaches[0].lsn <= durable {
		l.safe = l.reaches[0].upto
		l.reaches = l.reaches[1:]
	}
}

// awaitGroup has a group go on when the first of the entries that it waits for is durable.
func (m *Machine) awaitGroup(l *consumers) {
	first := seg.LSN(0)
	wait := func(lsn seg.LSN) {
		if lsn > m.log.durable && (first == 0 || lsn < first) {
			first = lsn
		}
	}
	wait(l.begun)
	wait(l.missed)
	if len(l.soon) > 0 {
		wait(l.soon[0].lsn)
	}
	if len(l.reaches) > 0 {
		wait(l.reaches[0].lsn)
	}
	if first == 0 {
		return
	}
	if b := m.log.holding(first); b != l.awaited {
		l.awaited = b
		b.groups = append(b.groups, l.group)
	}
}

// idle reports that nothing may be dealt, whatever there is.
func (m *Machine) idle(l *consumers) bool {
	return l.group.paused || l.stream.deleted || len(l.members) == 0 || l.begun > m.log.durable || len(l.held) >= int(l.group.settings.maxPending)
}

// hand pushes what is ready to members that have credit.
func (m *Machine) hand(l *consumers, fx []Effect) (any bool, _ []Effect) {
	var pushes []*groupPush
	for len(l.ready) > 0 && !m.idle(l) && len(l.group.missed) == 0 {
		it := l.ready[0]
		if l.items[it.offset] != it { // it was dropped
			heap.Pop(&l.ready)
			continue
		}
		if it.event == nil || it.offset >= min(l.safe, l.limit()) {
			break
		}
		sub := m.whoseTurn(l)
		if sub == nil {
			break
		}
		l.turn = (slices.Index(l.members, sub) + 1) % len(l.members)
		heap.Pop(&l.ready)
		p := sub.gather
		if p == nil {
			p = newGroupPush(sub)
			sub.gather, pushes = p, append(pushes, p)
		}
		m.give(l, it, p)
		if p.size >= pieceSize {
			sub.gather = nil
		}
	}
	for _, p := range pushes {
		p.to.gather = nil
		m.burden(p.to.to, messageOverhead)
		fx = append(fx, &p.Push)
	}
	return len(pushes) > 0, fx
}

// limit returns the first offset that may not be dealt yet.
func (l *consumers) limit() wire.Offset {
	return l.group.floor + wire.Offset(l.group.settings.lookAhead)
}

// whoseTurn returns the next member that takes an event, or nil. One that has let a deadline pass, and was not heard of since,
// comes after all others: it may be gone, and what it gets would wait in vain.
func (m *Machine) whoseTurn(l *consumers) (next *subscription) {
	for i := range l.members {
		sub := l.members[(l.turn+i)%len(l.members)]
		if sub.events == 0 || sub.bytes <= 0 || sub.waits || !m.room(sub.to) {
			continue
		}
		if !sub.late {
			next = sub
			break
		}
		if next == nil {
			next = sub
		}
	}
	if next == nil && !l.starved {
		m.stats.CreditStalls++
		m.cfg.hit(ProbeGroupStarved)
	}
	l.starved = next == nil
	return next
}

// groupPush is a push of deliveries that gathers.
type groupPush struct {
	Push
	to     *subscription
	events wire.GroupEvents
	size   int
}

func newGroupPush(sub *subscription) *groupPush {
	p := &groupPush{to: sub, events: wire.GroupEvents{Subscription: sub.id}}
	p.Push = Push{Conn: sub.to.conn, Msg: wire.Push{Codec: sub.req.Msg.Codec, Body: &p.events}}
	return p
}

// give makes an event a delivery.
func (m *Machine) give(l *consumers, it *item, p *groupPush) {
	sub := p.to
	m.lastDelivery++
	it.state, it.id, it.member = itemHeld, m.lastDelivery, sub
	it.attempt, it.since = l.group.attempts[it.offset]+1, m.clock.mono
	l.held[it.id] = it
	l.delay(it, m.clock.mono+wire.Time(millis(uint64(l.group.settings.deadline))))
	p.events.Deliveries = append(p.events.Deliveries, wire.Delivery{ID: it.id, Attempt: it.attempt, Event: it.event})
	n := len(it.event)
	it.event = nil
	p.size += n + wire.DeliveryOverhead
	m.burden(sub.to, n+wire.DeliveryOverhead)
	sub.events--
	sub.bytes -= int64(n)
	m.stats.Deliveries++
	if it.attempt > 1 {
		m.stats.Redeliveries++
		l.redelivered++
		m.cfg.hit(ProbeRedelivered)
	}
}

// fetch reads what is to be dealt next, tells of what was passed over, or moves the reach. It returns false where there is
// nothing to do, or that takes its time.
func (m *Machine) fetch(l *consumers, fx []Effect) (more bool, _ []Effect) {
	g, s := l.group, l.stream
	if m.idle(l) || l.reading || l.retryAt != 0 || l.missed > m.log.durable || s.audience == nil || !s.audience.durable.Set {
		return false, fx
	}
	end := min(s.audience.durable.Value, l.limit())
	for i := sort.Search(len(g.settled), func(i int) bool { return g.settled[i].to > l.next }); i < len(g.settled) && g.settled[i].from <= l.next; i++ {
		l.pass(g.settled[i].to)
	}
	from, to := l.next, end
	switch {
	case len(g.missed) > 0:
		return m.tellMissed(l, fx)
	case len(l.ready) > 0:
		it := l.ready[0]
		if from, to = it.offset, it.offset+1; it.offset >= l.limit() {
			return false, fx
		}
		if it.event != nil { // it is the reach, or the credit
			m.extend(l, it.offset)
			return false, fx
		}
		for x := l.items[to]; x != nil && x.state == itemReady && x.event == nil; x = l.items[to] {
			to++
		}
	case len(l.replay) > 0:
		from = l.replay[0]
		if to = from + 1; l.items[from] != nil || g.isSettled(from) {
			l.replay = l.replay[1:]
			return true, fx
		}
	case from >= end:
		return false, fx
	}
	if m.whoseTurn(l) == nil {
		return false, fx
	}
	return m.fetchEvents(l, from, to, fx)
}

// extend moves the reach beyond an event where that holds it back.
func (m *Machine) extend(l *consumers, o wire.Offset) {
	if o < l.safe || len(l.reaches) > 0 {
		return
	}
	v := &moves{reach: max(o+1, l.next) + l.ahead()}
	if m.logMoves(l.stream, l.group, v) == nil {
		m.cfg.hit(ProbeGroupReach)
	}
}

// tellMissed tells a member what was passed over.
func (m *Machine) tellMissed(l *consumers, fx []Effect) (more bool, _ []Effect) {
	sub := m.whoseTurn(l)
	if sub == nil {
		return false, fx
	}
	missed, v := l.group.missed, &moves{reach: l.group.reach, told: true}
	if m.logMoves(l.stream, l.group, v) != nil {
		return false, fx
	}
	for _, x := range missed {
		m.stats.Gaps++
		m.cfg.hit(ProbeGroupGap)
		fx = m.send(sub, &wire.Gap{Subscription: sub.id, From: x.from, To: x.to, Reason: x.reason}, fx)
	}
	return true, fx
}

// fetchEvents reads the events from an offset up to another.
func (m *Machine) fetchEvents(l *consumers, from, to wire.Offset, fx []Effect) (more bool, _ []Effect) {
	credit, round := uint64(0), l.round
	for _, sub := range l.members {
		credit += sub.events
	}
	rd := m.reading(l.stream, from, wire.MaxPayload)
	rd.req, rd.end, rd.maxSize = l.req, to, pieceSize
	rd.maxEvents = int(min(credit, uint64(l.group.settings.maxPending)-uint64(len(l.held))))
	l.reading = true
	done := false
	rd.then = func(b wire.ResponseBody, fx []Effect) []Effect {
		if l.round != round {
			return fx
		}
		if l.reading, done = false, true; !l.group.gone {
			fx = m.fetched(l, from, to, b, fx)
		}
		return m.deal(l.group, fx) // does nothing where it is at work
	}
	fx = m.startRead(rd, fx)
	return done && !l.reading, fx
}

// fetched takes up what was read.
func (m *Machine) fetched(l *consumers, from, to wire.Offset, b wire.ResponseBody, fx []Effect) []Effect {
	switch b := b.(type) {
	case *wire.ReadEventsReply:
		if first, any := b.Events.First(); any && (first == from || first == l.stream.oldest) {
			l.unread.worked()
			return m.take(l, &b.Events, fx)
		}
		if from >= l.stream.oldest {
			m.readAgain(l)
		}
	case *wire.Error:
		pass, later := l.unread.failed(b.Code)
		if later {
			m.readAgain(l)
		}
		if pass {
			m.passOver(l, span{from, min(m.behindDamage(l.stream, from), max(to, from+1))})
		}
	}
	return fx
}

func (m *Machine) readAgain(l *consumers) {
	m.cfg.hit(ProbeSubscriptionRetries)
	l.retryAt = m.clock.mono + wire.Time(readRetry)
}

// passOver settles events that cannot be read.
func (m *Machine) passOver(l *consumers, x span) {
	v := &moves{reach: l.group.reach, missed: []miss{{x, wire.GapDamage}}}
	if m.logMoves(l.stream, l.group, v) != nil {
		m.readAgain(l)
		return
	}
	m.cfg.hit(ProbeGroupPassedOver)
	l.missed = l.group.lsn
	l.dropSettled(m.log.durable)
	if l.next >= x.from {
		l.pass(x.to)
	}
}

// pass moves on to an offset, over what is settled. What was parked there and is to be delivered again is read by itself.
func (l *consumers) pass(to wire.Offset) {
	for _, o := range l.group.again {
		if l.next <= o && o < to {
			l.replay = append(l.replay, o)
		}
	}
	l.next = max(l.next, to)
}

// cutGroups has a stream's groups take up that its oldest offset has moved.
func (m *Machine) cutGroups(s *stream) {
	for _, g := range s.groups {
		if l := g.live; l != nil {
			l.missed = s.lsn
			l.dropSettled(m.log.durable)
			l.pass(g.floor)
		}
	}
}

// dropSettled forgets the events that are settled by now, but for those that a member holds.
func (l *consumers) dropSettled(durable seg.LSN) {
	var list []*item
	for _, it := range l.items { //det:order-free: sorted below
		if it.state != itemHeld && l.group.isSettled(it.offset) {
			list = append(list, it)
		}
	}
	slices.SortFunc(list, func(a, b *item) int { return cmp.Compare(a.offset, b.offset) })
	for _, it := range list {
		l.drop(it, durable)
	}
}

// take makes items of events that were read.
func (m *Machine) take(l *consumers, events *wire.EventRange, fx []Effect) []Effect {
	var fresh []*item
	for _, chunk := range events.Chunks {
		for len(chunk) > 0 {
			e, rest, _ := wire.NextEvent(chunk)
			n := len(chunk) - len(rest)
			encoded := wire.EncodedEvent(chunk[:n:n])
			chunk = rest
			if it := l.items[e.Offset]; it != nil {
				if it.state == itemReady {
					it.event = encoded
				}
			} else if !l.group.isSettled(e.Offset) {
				fresh = append(fresh, &item{offset: e.Offset, event: encoded, time: e.Timestamp})
			}
			if e.Offset == l.next {
				l.next++
			}
		}
	}
	for _, it := range fresh {
		l.items[it.offset] = it
	}
	if l.group.settings.order.Kind != wire.OrderNone && len(fresh) > 0 {
		return m.findKeys(l, fresh, fx)
	}
	for _, it := range fresh {
		l.offer(it, m.log.durable)
	}
	return fx
}

// keying is a search for the keys of events.
type keying struct {
	live  *consumers
	round int
	items []*item
}

// findKeys has a job find the keys of events.
func (m *Machine) findKeys(l *consumers, fresh []*item, fx []Effect) []Effect {
	events := make([]wire.EncodedEvent, len(fresh))
	for i, it := range fresh {
		events[i], it.state = it.event, itemBlocked
	}
	l.reading = true
	id, fx := m.start("order-keys", orderJob{l.group.settings.order, events}, fx)
	if m.keying == nil {
		m.keying = map[JobID]keying{}
	}
	m.keying[id] = keying{l, l.round, fresh}
	return fx
}

// keysFound goes on with events whose keys are known.
func (m *Machine) keysFound(id JobID, r orderResult, fx []Effect) []Effect {
	k := m.keying[id]
	delete(m.keying, id)
	l := k.live
	if l.round != k.round || l.group.gone {
		return fx
	}
	l.reading = false
	for i, it := range k.items {
		if l.items[it.offset] != it || l.group.isSettled(it.offset) { // it was passed over meanwhile
			continue
		}
		if it.key = r.keys[i]; it.key != "" {
			l.keys[it.key] = append(l.keys[it.key], it)
			if len(l.keys[it.key]) > 1 {
				it.event = nil
				m.cfg.hit(ProbeKeyBlocked)
				continue
			}
		}
		l.offer(it, m.log.durable)
	}
	return m.endBatch(m.deal(l.group, fx))
}
