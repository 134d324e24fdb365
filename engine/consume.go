package engine

import (
	"cmp"
	"container/heap"
	"slices"

	"github.com/kimberlitedb/kimberlite-go/engine/seg"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// consumers is the running side of a consumer group: its members, and the events that are on their way to them. It is made
// when the first member comes, or what is parked is to be delivered again, out of what the group remembers, and stays until
// the server ends.
//
// An event is read, dealt to a member that has credit, held by that until it is acknowledged, given back or late, and then
// dealt again. What a member loses is a failed attempt; no event is dealt again before that is durable.
type consumers struct {
	group   *group
	stream  *stream
	members []*subscription
	turn    int // the member whose turn it is

	next   wire.Offset           // of the next event to read for the first time
	replay []wire.Offset         // before it, to be read again since they were parked
	items  map[wire.Offset]*item // events that were read and are not settled
	ready  offsets               // may be dealt
	soon   []*item               // may be, once their entry is durable; ascending entries
	timers timers                // held ones by their deadline, and those given back with a delay
	held   map[wire.DeliveryID]*item
	keys   map[string][]*item // of an ordered group: events of a key, in order; only the first may be dealt

	delayed     int
	redelivered uint64
	safe        wire.Offset // the reach as it is on disk
	reaches     []reach     // that are not on disk yet, in order
	begun       seg.LSN     // nothing is dealt before this entry is durable
	missed      seg.LSN     // of the entry that has passed over events last
	awaited     *batch      // the last one that it waits for
	req         *Request    // its reads are made as this one
	round       int         // how often it has begun anew: what was read before is forgotten
	reading     bool        // a read, or the search for its events' keys, is under way
	dealing     bool        // deal is at work
	starved     bool        // there are events, and no member has credit
	unread      patience
	retryAt     wire.Time   // monotonic; no read before then, since one has failed; 0 at any time
	stuck       *wire.Error // why its last entry found no room
}

// reach is a reach that waits for its entry to be durable.
type reach struct {
	lsn  seg.LSN
	upto wire.Offset
}

// item is an event of a group that is not settled.
type item struct {
	offset wire.Offset
	state  itemState
	event  wire.EncodedEvent // nil where it has to be read again
	time   wire.Time         // event time
	key    string            // of an ordered group; empty where it belongs to nothing
	lsn    seg.LSN           // not dealt before this entry is durable

	// Of a held or delayed one:
	at    wire.Time // monotonic: its deadline, or when the delay ends
	timer int       // its place among the timers

	// Of a held one:
	id      wire.DeliveryID
	member  *subscription // nil where it is gone, and there was no room to say so
	attempt uint32
	since   wire.Time // monotonic
	named   bool      // by the request that is looked at
}

type itemState uint8

const (
	itemReady   itemState = iota // or ready soon
	itemBlocked                  // another one of its key comes first
	itemHeld                     // a member has it
	itemDelayed                  // until the delay is over
)

// reachAhead is how far beyond what is dealt the reach is moved, so that dealing need not wait for it often. Where a single
// attempt is all that an event has, the reach ends with what is dealt: no crash shall take an attempt that was none.
const reachAhead = 1024

func (l *consumers) ahead() wire.Offset {
	if l.group.settings.maxAttempts == 1 {
		return 0
	}
	return reachAhead
}

// join makes a subscription a member.
func (m *Machine) join(sub *subscription, g *group) *wire.Error {
	if g.live == nil {
		if e := m.revive(g, sub.stream); e != nil {
			return e
		}
	}
	sub.group = g
	g.live.members = append(g.live.members, sub)
	return nil
}

// revive makes a group's running side. What a member may have had when the server ended has failed.
func (m *Machine) revive(g *group, s *stream) *wire.Error {
	upto := min(g.reach, g.headAtStart)
	if first, any := g.oldestUnsettled(s.head); any && first < upto {
		if e := m.logMoves(s, g, &moves{restarted: true, reach: upto}); e != nil {
			return e
		}
		m.cfg.hit(ProbeGroupRestarted)
	}
	ask := &wire.Request{Tenant: s.tenant.id, Features: wire.Features{RichEvents: true}, Body: &wire.ReadEvents{Stream: s.id}}
	g.live = &consumers{group: g, stream: s, req: &Request{Msg: ask}}
	m.running = append(m.running, g)
	m.restart(g)
	return nil
}

// restart begins anew with what the group remembers. Nothing is held any more.
func (m *Machine) restart(g *group) {
	l := g.live
	if l == nil {
		return
	}
	*l = consumers{
		group: g, stream: l.stream, members: l.members, turn: l.turn, redelivered: l.redelivered, dealing: l.dealing, req: l.req,
		next: g.floor, items: map[wire.Offset]*item{}, held: map[wire.DeliveryID]*item{}, keys: map[string][]*item{},
		safe: g.reach, begun: g.lsn, missed: g.lsn, round: l.round + 1,
	}
	l.replayed(g.again)
}

// replayed takes up events that were parked. Those further on are met when they are read.
func (l *consumers) replayed(offsets []wire.Offset) {
	for _, o := range offsets {
		if o < l.next {
			l.replay = append(l.replay, o)
		}
	}
}

// forgetGroup drops the running side of a group that is gone.
func (m *Machine) forgetGroup(g *group) {
	g.gone = true
	if g.live != nil {
		m.running = slices.DeleteFunc(m.running, func(o *group) bool { return o == g })
	}
}

// leave takes a member out. What it held goes back.
func (m *Machine) leave(sub *subscription, fx []Effect) []Effect {
	g := sub.group
	l := g.live
	i := slices.Index(l.members, sub)
	l.members = slices.Delete(l.members, i, i+1)
	if l.turn > i {
		l.turn--
	}
	if g.gone {
		return fx
	}
	lost := l.heldBy(sub)
	if len(lost) > 0 {
		m.cfg.hit(ProbeMemberDied)
	}
	for _, it := range lost {
		it.member = nil
	}
	if e := m.fail(g, lost, failure{}); e != nil {
		for _, it := range lost {
			l.delay(it, m.clock.mono+wire.Time(groupRetry))
		}
	}
	if len(l.members) == 0 {
		for _, it := range l.items { //det:order-free: all of them
			it.event = nil
		}
		if len(lost) == 0 && len(l.held) == 0 {
			m.allBack(g, l.stream)
		}
	}
	return m.deal(g, fx)
}

// allBack notes that no member has anything, so that nothing is taken for delivered after a restart. Without room some is.
func (m *Machine) allBack(g *group, s *stream) {
	if g.reach > 0 {
		_ = m.logMoves(s, g, &moves{})
	}
}

// heldBy returns what a member holds, or all that is held for nil, in the order in which it was dealt.
func (l *consumers) heldBy(sub *subscription) (list []*item) {
	for _, it := range l.held { //det:order-free: sorted below
		if sub == nil || it.member == sub {
			list = append(list, it)
		}
	}
	return inOrder(list)
}

// recall takes back all that is held.
func (m *Machine) recall(g *group) *wire.Error {
	if g.live == nil {
		return nil
	}
	return m.fail(g, g.live.heldBy(nil), failure{})
}

// logMoves puts what has happened to a group's events into the log, or returns why there is no room. The running side, if
// there is one, learns of the reach.
func (m *Machine) logMoves(s *stream, g *group, v *moves) *wire.Error {
	if s.tenant.health != sound {
		return &wire.Error{Code: wire.DataCorrupted, Message: "the tenant is read-only: the log is damaged where its entries may have been"}
	}
	body := v.encode(g.id)
	e := m.noRoom(seg.RecordHeader+len(body), data)
	if g.live != nil {
		g.live.stuck = e
	}
	if e != nil {
		return e
	}
	m.decide(&seg.Record{Kind: seg.KindGroupMoves, Tenant: s.tenant.id, Stream: s.id}, body)
	if g.live != nil {
		g.live.moved(v)
	}
	return nil
}

// deliveries finds the items that a request of a member names. What it does not hold is stale.
func (m *Machine) deliveries(sub *subscription, ids []wire.DeliveryID) (list []*item, stale []wire.DeliveryID) {
	for _, id := range ids {
		it := sub.group.live.held[id]
		if it == nil || it.member != sub {
			stale = append(stale, id)
		} else if !it.named {
			it.named = true
			list = append(list, it)
		}
	}
	for _, it := range list {
		it.named = false
	}
	return list, stale
}

// membership finds the member that a request is about. Where there is none, the request is refused.
func (m *Machine) membership(r *Request, id wire.SubscriptionID, ids []wire.DeliveryID, fx []Effect) (*subscription, []Effect) {
	sub := m.subscription(r, id)
	switch {
	case sub == nil:
		return nil, m.noSubscription(r, id, fx)
	case sub.group == nil:
		return nil, m.refuse(r, wire.InvalidRequest, 0, fx, "subscription %d is not a member of a consumer group", id)
	case len(ids) == 0:
		return nil, m.refuse(r, wire.InvalidRequest, 0, fx, "no delivery is named; name at least one")
	case len(ids) > wire.MaxLookAhead:
		return nil, m.refuse(r, wire.InvalidRequest, 0, fx, "%d deliveries are named; name at most %d", len(ids), wire.MaxLookAhead)
	}
	sub.late = false
	return sub, fx
}

// stale refuses a request that names nothing but stale deliveries.
func (m *Machine) stale(r *Request, sub *subscription, ids []wire.DeliveryID, fx []Effect) []Effect {
	m.cfg.hit(ProbeStaleDelivery)
	return m.refuse(r, wire.StaleDelivery, sub.group.lsn, fx,
		"delivery %d is not held by subscription %d: it was settled, or went back when its deadline passed or the group was changed", ids[0], sub.id)
}

// ack settles deliveries.
func (m *Machine) ack(r *Request, b *wire.Ack, fx []Effect) []Effect {
	sub, fx := m.membership(r, b.Subscription, b.Deliveries, fx)
	if sub == nil {
		return fx
	}
	var list []*item
	var stale []wire.DeliveryID
	if b.Cumulative {
		upto := slices.Max(b.Deliveries)
		list = slices.DeleteFunc(sub.group.live.heldBy(sub), func(it *item) bool { return it.id > upto })
	} else {
		list, stale = m.deliveries(sub, b.Deliveries)
	}
	if len(list) == 0 {
		return m.stale(r, sub, b.Deliveries, fx)
	}
	g := sub.group
	l := g.live
	v := &moves{reach: l.aheadOf(g.reach), acked: spansOf(list)}
	if e := m.logMoves(l.stream, g, v); e != nil {
		return m.reply(r, e, g.lsn, fx)
	}
	m.stats.Acks += uint64(len(list))
	for _, it := range list {
		l.release(it)
		l.drop(it, m.log.durable)
	}
	fx = m.reply(r, &wire.AckReply{Acked: uint64(len(list)), Stale: stale}, g.lsn, fx)
	return m.deal(g, fx)
}

// spansOf returns the offsets of items, joined where they touch.
func spansOf(list []*item) (spans []span) {
	offsets := make([]wire.Offset, len(list))
	for i, it := range list {
		offsets[i] = it.offset
	}
	slices.Sort(offsets)
	for _, o := range offsets {
		if n := len(spans); n > 0 && spans[n-1].to == o {
			spans[n-1].to++
		} else {
			spans = append(spans, span{o, o + 1})
		}
	}
	return spans
}

// nack gives deliveries back.
func (m *Machine) nack(r *Request, b *wire.Nack, fx []Effect) []Effect {
	sub, fx := m.membership(r, b.Subscription, b.Deliveries, fx)
	if sub == nil {
		return fx
	}
	if b.Delay > wire.MaxNackDelay {
		return m.refuse(r, wire.InvalidRequest, 0, fx, "the delay is %d ms; at most %d are allowed", b.Delay, wire.MaxNackDelay)
	}
	list, stale := m.deliveries(sub, b.Deliveries)
	if len(list) == 0 {
		return m.stale(r, sub, b.Deliveries, fx)
	}
	g := sub.group
	if e := m.fail(g, list, failure{park: b.Park, delay: millis(b.Delay)}); e != nil {
		return m.reply(r, e, g.lsn, fx)
	}
	fx = m.reply(r, &wire.NackReply{Stale: stale}, g.lsn, fx)
	return m.deal(g, fx)
}

// extendAck moves deadlines.
func (m *Machine) extendAck(r *Request, b *wire.ExtendAck, fx []Effect) []Effect {
	sub, fx := m.membership(r, b.Subscription, b.Deliveries, fx)
	if sub == nil {
		return fx
	}
	if b.Deadline == 0 || b.Deadline > wire.MaxAckDeadline {
		return m.refuse(r, wire.InvalidRequest, 0, fx, "the deadline is in %d ms; give 1 to %d", b.Deadline, wire.MaxAckDeadline)
	}
	list, stale := m.deliveries(sub, b.Deliveries)
	if len(list) == 0 {
		return m.stale(r, sub, b.Deliveries, fx)
	}
	for _, it := range list {
		sub.group.live.delay(it, m.clock.mono+wire.Time(millis(b.Deadline)))
	}
	return m.reply(r, &wire.ExtendAckReply{Stale: stale}, 0, fx)
}

func millis(n uint64) wire.Span { return wire.Span(n) * (Second / 1000) }

// failure says how deliveries have failed.
type failure struct {
	park  bool // whatever the number of attempts
	delay wire.Span
}

// groupRetry is how long an event waits that cannot be parked, and a group whose entry found no room.
const groupRetry = Second

// fail notes that deliveries have failed. Their events are dealt again once that is durable, or parked.
func (m *Machine) fail(g *group, list []*item, f failure) *wire.Error {
	if len(list) == 0 {
		return nil
	}
	l := g.live
	v := &moves{reach: l.aheadOf(g.reach)}
	if len(l.members) == 0 && len(list) == len(l.held) {
		v.reach = 0
	}
	room := wire.MaxParked - len(g.parked)
	for _, it := range list {
		if g.isSettled(it.offset) { // it was passed over meanwhile
			continue
		}
		v.failed = append(v.failed, it.offset)
		if done := f.park || g.attempts[it.offset]+1 >= g.settings.maxAttempts; done && len(v.parked) < room {
			v.parked = append(v.parked, parking{it.offset, f.park})
		}
	}
	if e := m.logMoves(l.stream, g, v); e != nil {
		return e
	}
	m.stats.GroupParked += uint64(len(v.parked))
	for _, it := range list {
		l.release(it)
		delay := f.delay
		switch it.lsn = g.lsn; {
		case g.isSettled(it.offset):
			l.drop(it, m.log.durable)
			continue
		case g.attempts[it.offset] >= g.settings.maxAttempts: // there is no room among the parked
			delay = max(delay, groupRetry)
		}
		if delay > 0 {
			it.state = itemDelayed
			l.delayed++
			l.delay(it, m.clock.mono+wire.Time(delay))
		} else {
			l.offer(it, m.log.durable)
		}
	}
	if len(v.parked) > 0 {
		m.cfg.hit(ProbeGroupParked)
	}
	return nil
}

// moved takes up what an entry just decided says of the reach.
func (l *consumers) moved(v *moves) {
	switch n := len(l.reaches); {
	case v.reach == 0:
		l.safe, l.reaches = 0, nil
	case n == 0 && v.reach != l.safe || n > 0 && v.reach != l.reaches[n-1].upto:
		l.reaches = append(l.reaches, reach{l.group.lsn, v.reach})
	}
}

// aheadOf returns how far the reach is to be in the next entry.
func (l *consumers) aheadOf(reach wire.Offset) wire.Offset {
	if ahead := l.ahead(); len(l.members) > 0 && l.next+ahead/2 > reach {
		return l.next + ahead
	}
	return reach
}

// release takes a delivery from its member.
func (l *consumers) release(it *item) {
	delete(l.held, it.id)
	heap.Remove(&l.timers, it.timer)
	it.member = nil
}

// drop forgets an event that is settled. The next one of its key may be dealt once the group's last entry is durable.
func (l *consumers) drop(it *item, durable seg.LSN) {
	delete(l.items, it.offset)
	if it.state == itemDelayed {
		heap.Remove(&l.timers, it.timer)
		l.delayed--
	}
	if it.key == "" {
		return
	}
	queue := l.keys[it.key]
	i := slices.Index(queue, it)
	if queue = slices.Delete(queue, i, i+1); len(queue) == 0 {
		delete(l.keys, it.key)
		return
	}
	if l.keys[it.key] = queue; i == 0 {
		queue[0].lsn = l.group.lsn
		l.offer(queue[0], durable)
	}
}

// offer has an event dealt once its entry is durable.
func (l *consumers) offer(it *item, durable seg.LSN) {
	if it.state = itemReady; it.lsn <= durable {
		heap.Push(&l.ready, it)
	} else {
		l.soon = append(l.soon, it)
	}
}

// delay sets the timer of a held or delayed item.
func (l *consumers) delay(it *item, at wire.Time) {
	it.at = at
	if it.timer < len(l.timers) && l.timers[it.timer] == it {
		heap.Fix(&l.timers, it.timer)
	} else {
		heap.Push(&l.timers, it)
	}
}

// lapse ends deadlines and delays that are over, and goes on with groups that had to wait.
func (m *Machine) lapse(fx []Effect) []Effect {
	for _, g := range slices.Clone(m.running) {
		l := g.live
		var late []*item
		for len(l.timers) > 0 && l.timers[0].at <= m.clock.mono {
			it := l.timers[0]
			if it.state == itemDelayed {
				heap.Pop(&l.timers)
				l.delayed--
				l.offer(it, m.log.durable)
				continue
			}
			late = append(late, it)
			if it.member != nil {
				it.member.late = true
			}
			l.delay(it, m.clock.mono+wire.Time(groupRetry)) // unless it can be noted now
		}
		if len(late) > 0 {
			m.cfg.hit(ProbeAckDeadline)
			_ = m.fail(g, inOrder(late), failure{}) // without room they stay where they are for a while
		}
		if l.retryAt != 0 && l.retryAt <= m.clock.mono {
			l.retryAt = 0
		}
		fx = m.deal(g, fx)
	}
	return fx
}

// inOrder sorts deliveries by when they were made.
func inOrder(list []*item) []*item {
	slices.SortFunc(list, func(a, b *item) int { return cmp.Compare(a.id, b.id) })
	return list
}
