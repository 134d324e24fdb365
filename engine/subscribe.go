package engine

import (
	"slices"

	"github.com/kimberlitedb/kimberlite-go/engine/seg"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// A subscription pushes the events of a stream to a connection, in order, each once. While it is behind it reads as
// ReadEvents does, one piece at a time; once it has caught up, what an append adds is pushed from the batch that it was
// written in, the same bytes to everybody, when that is durable. It returns to reading whenever it cannot take all of it.
//
// Nothing is pushed but with credit, and no more waits for a connection than Config.MaxPushed and one push. Neither holds up
// the machine: a subscription that may not push costs nothing until it may.
type subscription struct {
	id     wire.SubscriptionID
	to     *subscriber
	stream *stream
	req    *Request                 // its reads are made as this one, and its events travel so
	group  *group                   // nil unless it is a member of a consumer group
	gather *groupPush               // what is being dealt to it
	late   bool                     // as a member, it has let a deadline pass, and was not heard of since
	next   wire.Offset              // of the next event to push
	broken wire.Option[wire.Offset] // from here to next, events cannot be read; said with the next push
	events uint64                   // credit
	bytes  int64                    // credit; below zero by what the last event passed it

	start   bool // at the beginning, wherever that is by now
	live    bool // it was told that it has caught up
	starved bool // there is no credit for events that there are
	waits   bool // until an entry is durable
	reading bool // a read of it is under way
	piece   int  // the most bytes that it takes
	pumping bool // pump is at work
	unread  patience
	retryAt wire.Time // monotonic; no read before then, since one has failed; 0 at any time
	ended   bool
}

// subscriber is a connection to which something is pushed: it has subscriptions, or streamed queries.
type subscriber struct {
	conn    ConnID
	list    []*subscription
	queries []*question // that are streamed
	unsent  int         // at most so many bytes wait for it
	choked  bool        // nothing is pushed until much less does
	reading int         // bytes that its reads under way may take
	crowded bool        // some wait until those take less
}

// audience is what a stream knows of its subscriptions.
type audience struct {
	list    []*subscription
	durable wire.Option[wire.Offset] // everything before it is durable; absent until that is known
	first   wire.Offset              // of fresh
	fresh   wire.EventRange          // what the batch that has just become durable adds
}

// addition is what a record in a batch adds to a stream with an audience. Without events it says how far the stream was
// when somebody began to listen.
type addition struct {
	stream   *stream
	first    wire.Offset
	count    int
	from, to int // in the batch's bytes
}

// maxSubscriptions is how many subscriptions a connection may have.
const maxSubscriptions = 4096

// pieceSize is how many encoded bytes one push of a subscription that catches up takes, give or take an event.
const pieceSize = 256 << 10

// subscribe begins a subscription.
func (m *Machine) subscribe(r *Request, b *wire.Subscribe, fx []Effect) []Effect {
	if v := max(r.Msg.Features.Version, 1); v < 3 {
		return m.refuse(r, wire.UnsupportedVersion, 0, fx, "subscriptions need protocol version 3; this connection has agreed on %d", v)
	}
	s, fx := m.standing(r, b.Stream, fx)
	if s == nil {
		return fx
	}
	switch {
	case b.Group.Set && s.group(b.Group.Value) == nil:
		return m.noGroup(r, s, b.Group.Value, fx)
	case b.Group.Set && s.tenant.health != sound:
		return m.readOnly(r, s.tenant, fx)
	case b.Group.Set: // it begins where the group is
	case b.FromOffset != wire.EndOffset && b.FromOffset > s.head:
		return m.refuse(r, wire.InvalidOffset, s.lsn, fx, "offset %d is behind the stream's head, %d; subscribe from there or before", b.FromOffset, s.head)
	}
	to := m.subscribers[r.Conn]
	if to == nil {
		to = &subscriber{conn: r.Conn}
	}
	if len(to.list) >= maxSubscriptions {
		return m.refuse(r, wire.QuotaExceeded, 0, fx, "the connection has %d subscriptions; end some, or use another connection", len(to.list))
	}
	m.lastSub++
	sub := &subscription{id: m.lastSub, to: to, stream: s, next: min(b.FromOffset, s.head), start: b.FromOffset == 0}
	sub.grant(b.CreditEvents, b.CreditBytes)
	ask := *r.Msg
	ask.Body = &wire.ReadEvents{Stream: s.id, FromTimestamp: b.FromTimestamp}
	sub.req = &Request{Conn: r.Conn, From: r.From, Msg: &ask}
	if b.Group.Set {
		if e := m.join(sub, s.group(b.Group.Value)); e != nil {
			return m.reply(r, e, s.lsn, fx)
		}
	}
	m.listen(sub)
	m.cfg.hit(ProbeSubscribed)
	fx = m.reply(r, &wire.SubscribeReply{Subscription: sub.id}, s.lsn, fx)
	return m.pump(sub, fx)
}

// listen adds a subscription to the stream's audience and to the connection's. It waits until the stream is durable as it
// is now.
func (m *Machine) listen(sub *subscription) {
	if m.subs == nil {
		m.subs = map[wire.SubscriptionID]*subscription{}
	}
	if m.subscribers == nil {
		m.subscribers = map[ConnID]*subscriber{}
	}
	m.subs[sub.id], m.subscribers[sub.to.conn] = sub, sub.to
	sub.to.list = append(sub.to.list, sub)
	s := sub.stream
	if s.audience == nil {
		s.audience = &audience{}
	}
	s.audience.list = append(s.audience.list, sub)
	if s.lsn <= m.log.durable {
		s.audience.durable = wire.Some(s.head)
		return
	}
	m.cfg.hit(ProbeSubscribedUndurable)
	b := m.log.holding(s.lsn)
	b.additions = append(b.additions, addition{stream: s, first: s.head})
	m.await(sub, s.lsn)
}

// await has a subscription wait until an entry is durable.
func (m *Machine) await(sub *subscription, lsn seg.LSN) {
	sub.waits = true
	b := m.log.holding(lsn)
	b.awaited = append(b.awaited, sub)
}

// grant adds to the credits.
func (s *subscription) grant(events, bytes uint64) {
	s.events = min(s.events+min(events, wire.MaxCredit), wire.MaxCredit)
	s.bytes = min(s.bytes+int64(min(bytes, wire.MaxCredit)), wire.MaxCredit)
	s.starved = s.starved && (s.events == 0 || s.bytes <= 0)
}

// credit grants a subscription more.
func (m *Machine) credit(r *Request, b *wire.Credit, fx []Effect) []Effect {
	sub := m.subscription(r, b.Subscription)
	if sub == nil {
		return m.noSubscription(r, b.Subscription, fx)
	}
	sub.late = false
	sub.grant(b.Events, b.Bytes)
	fx = m.reply(r, &wire.CreditReply{Events: sub.events, Bytes: sub.bytes}, 0, fx)
	return m.pump(sub, fx)
}

// unsubscribe ends a subscription. Nothing of it is pushed after the reply.
func (m *Machine) unsubscribe(r *Request, b *wire.Unsubscribe, fx []Effect) []Effect {
	sub := m.subscription(r, b.Subscription)
	if sub == nil {
		return m.noSubscription(r, b.Subscription, fx)
	}
	fx = m.end(sub, fx)
	next := sub.broken.Or(sub.next)
	if sub.group != nil {
		next = sub.group.floor
	}
	return m.reply(r, &wire.UnsubscribeReply{Next: next}, 0, fx)
}

// subscription finds a subscription of the connection and tenant that ask.
func (m *Machine) subscription(r *Request, id wire.SubscriptionID) *subscription {
	sub := m.subs[id]
	if sub == nil || sub.to.conn != r.Conn || sub.stream.tenant.id != r.Msg.Tenant {
		return nil
	}
	return sub
}

func (m *Machine) noSubscription(r *Request, id wire.SubscriptionID, fx []Effect) []Effect {
	return m.refuse(r, wire.SubscriptionNotFound, 0, fx, "this connection has no subscription %d; it has ended, or was never there", id)
}

// end takes a subscription out.
func (m *Machine) end(sub *subscription, fx []Effect) []Effect {
	sub.ended = true
	delete(m.subs, sub.id)
	s := sub.stream
	s.audience.list = without(s.audience.list, sub)
	if len(s.audience.list) == 0 {
		s.audience = nil
	}
	sub.to.list = without(sub.to.list, sub)
	m.vacate(sub.to)
	if sub.group != nil {
		return m.leave(sub, fx)
	}
	return fx
}

func without(list []*subscription, sub *subscription) []*subscription {
	i := slices.Index(list, sub)
	return slices.Delete(list, i, i+1)
}

// silence ends all subscriptions of a stream, and says why once an entry is durable.
func (m *Machine) silence(s *stream, c wire.Code, why string, after seg.LSN, fx []Effect) []Effect {
	for s.audience != nil {
		sub := s.audience.list[len(s.audience.list)-1]
		fx = m.end(sub, fx)
		m.cfg.hit(ProbeSubscriptionClosed)
		fx = m.after(after, sub.push(&wire.SubscriptionClosed{Subscription: sub.id, Code: c, Message: why}), fx)
	}
	return fx
}

// dismiss ends all subscriptions of a connection that is about to be closed, and says so.
func (m *Machine) dismiss(c Dismiss, fx []Effect) []Effect {
	for to := m.vacated(c.Conn); to != nil && len(to.list) > 0; {
		sub := to.list[len(to.list)-1]
		fx = m.end(sub, fx)
		fx = append(fx, sub.push(&wire.SubscriptionClosed{
			Subscription: sub.id, Code: wire.ShuttingDown, Message: "the server is being stopped; connect again and go on behind the last event",
		}))
	}
	fx = m.dismissQueries(c.Conn, fx)
	if to := m.subscribers[c.Conn]; to != nil { // of a query at work; another may come
		to.choked = to.unsent >= m.cfg.MaxPushed
	}
	return m.endBatch(fx) // deliveries may have gone back
}

// hangup forgets a connection.
func (m *Machine) hangup(c Hangup, fx []Effect) []Effect {
	for to := m.vacated(c.Conn); to != nil && len(to.list) > 0; {
		fx = m.end(to.list[len(to.list)-1], fx)
	}
	if m.Busy(c.Conn) {
		m.cfg.hit(ProbeBatchLeft)
		m.leaveSeries(c.Conn)
	}
	return m.endBatch(m.abandon(c.Conn, fx))
}

// vacated returns a connection that is going, or nil. What one of its members held is not dealt to another.
func (m *Machine) vacated(conn ConnID) *subscriber {
	to := m.subscribers[conn]
	if to != nil {
		to.choked = true
	}
	return to
}

// Subscribed reports whether a connection has subscriptions.
func (m *Machine) Subscribed(conn ConnID) bool {
	to := m.subscribers[conn]
	return to != nil && len(to.list) > 0
}

// Choked reports whether a connection has so much to take that nothing is pushed to it. The driver says by Drained when it
// has come down to a count of bytes.
func (m *Machine) Choked(conn ConnID) (upto int, choked bool) {
	to := m.subscribers[conn]
	if to == nil || !to.choked {
		return 0, false
	}
	return m.cfg.MaxPushed / 2, true
}

// drained goes on with a connection that has taken what was pushed.
func (m *Machine) drained(c Drained, fx []Effect) []Effect {
	to := m.subscribers[c.Conn]
	if to == nil {
		return fx
	}
	to.unsent = c.Unsent
	if to.choked = to.unsent > m.cfg.MaxPushed/2; to.choked {
		return fx
	}
	fx = m.pumpAll(to, fx)
	if !m.room(to) && len(to.list) > 0 { // the others come first the next time
		to.list = append(to.list[1:], to.list[0])
	}
	return m.endBatch(fx) // retention may have moved
}

// pushed is one push and its memory.
type pushed struct {
	Push
	events wire.SubscriptionEvents
}

func (s *subscription) push(b wire.PushBody) *Push {
	return &Push{Conn: s.to.conn, Msg: wire.Push{Codec: s.req.Msg.Codec, Body: b}}
}

// send pushes a message that is not of events.
func (m *Machine) send(sub *subscription, b wire.PushBody, fx []Effect) []Effect {
	p := sub.push(b)
	m.burden(sub.to, Weight(&p.Msg))
	return append(fx, p)
}

func (m *Machine) burden(to *subscriber, n int) {
	if to.unsent += n; to.unsent >= m.cfg.MaxPushed && !to.choked {
		m.cfg.hit(ProbeSubscriberChoked)
		to.choked = true
	}
}

// deliver pushes the next events, for which there is credit.
func (m *Machine) deliver(sub *subscription, events wire.EventRange, fx []Effect) []Effect {
	fx = m.tellBroken(sub, fx)
	sub.start = false
	sub.unread.worked()
	sub.next += wire.Offset(events.Count)
	sub.events -= uint64(events.Count)
	sub.bytes -= int64(events.Size)
	m.stats.Pushes++
	m.stats.PushedEvents += uint64(events.Count)
	m.stats.PushedBytes += uint64(events.Size)
	p := &pushed{events: wire.SubscriptionEvents{Subscription: sub.id, Events: events}}
	p.Push = Push{Conn: sub.to.conn, Msg: wire.Push{Codec: sub.req.Msg.Codec, Body: &p.events}}
	m.burden(sub.to, Weight(&p.Msg))
	return append(fx, &p.Push)
}

// tellBroken tells of events that could not be read, up to the next one to push.
func (m *Machine) tellBroken(sub *subscription, fx []Effect) []Effect {
	if !sub.broken.Set {
		return fx
	}
	from := sub.broken.Value
	sub.broken, sub.start = wire.Option[wire.Offset]{}, false
	m.stats.Gaps++
	m.cfg.hit(ProbeGapByDamage)
	return m.send(sub, &wire.Gap{Subscription: sub.id, From: from, To: sub.next, Reason: wire.GapDamage}, fx)
}

// pump pushes what a subscription may be sent.
func (m *Machine) pump(sub *subscription, fx []Effect) []Effect {
	if sub.group != nil {
		return m.deal(sub.group, fx)
	}
	if sub.pumping {
		return fx
	}
	sub.pumping = true
	defer func() { sub.pumping = false }()
	for !sub.ended && !sub.waits && !sub.reading && sub.events > 0 && sub.bytes > 0 && sub.retryAt == 0 && m.room(sub.to) {
		s := sub.stream
		durable := s.audience.durable
		switch {
		case !durable.Set:
			return fx
		case s.oldest > sub.next:
			if m.state.removed > m.log.durable { // what the gap tells of must not be lost
				m.await(sub, m.state.removed)
				return fx
			}
			fx = m.tellBroken(sub, fx)
			if !sub.start && !sub.seeks() {
				m.stats.Gaps++
				m.cfg.hit(ProbeGapByRetention)
				fx = m.send(sub, &wire.Gap{Subscription: sub.id, From: sub.next, To: s.oldest, Reason: wire.GapRetention}, fx)
			}
			sub.next, sub.live = s.oldest, false
		case sub.next >= durable.Value:
			if sub.live {
				return fx
			}
			fx = m.tellBroken(sub, fx)
			sub.live, sub.start = true, false
			m.cfg.hit(ProbeCaughtUp)
			fx = m.send(sub, &wire.CaughtUp{Subscription: sub.id, Offset: sub.next}, fx)
		default:
			fx = m.readFor(sub, durable.Value, fx)
		}
	}
	if !sub.ended && (sub.events == 0 || sub.bytes <= 0) {
		m.starve(sub)
	}
	return fx
}

// room reports whether more may be read for a connection, or pushed to it.
func (m *Machine) room(to *subscriber) bool {
	to.crowded = to.crowded || to.unsent+to.reading >= m.cfg.MaxPushed
	return !to.choked && !to.crowded
}

// starve notes that a subscription wants for credit while there are events for it.
func (m *Machine) starve(sub *subscription) {
	if d := sub.stream.audience.durable; d.Set && sub.next < d.Value && !sub.starved {
		sub.live, sub.starved = false, true
		m.stats.CreditStalls++
		m.cfg.hit(ProbeCreditStall)
	}
}

// readFor reads the next events for a subscription that is behind, up to an offset.
func (m *Machine) readFor(sub *subscription, end wire.Offset, fx []Effect) []Effect {
	sub.live, sub.reading = false, true
	rd := m.reading(sub.stream, sub.next, wire.MaxPayload)
	rd.req, rd.end = sub.req, end
	rd.maxSize = int(min(sub.bytes, pieceSize))
	sub.piece = rd.maxSize
	sub.to.reading += sub.piece
	rd.maxEvents = int(min(sub.events, wire.MaxPayload))
	rd.then = func(b wire.ResponseBody, fx []Effect) []Effect { return m.readForDone(sub, end, b, fx) }
	return m.startRead(rd, fx)
}

// readForDone ends a read for a subscription.
func (m *Machine) readForDone(sub *subscription, end wire.Offset, b wire.ResponseBody, fx []Effect) []Effect {
	sub.to.reading -= sub.piece
	if sub.reading = false; !sub.ended {
		fx = m.pushRead(sub, end, b, fx)
	}
	return m.uncrowd(sub.to, fx)
}

// uncrowd goes on with the subscriptions of a connection that waited until others have read.
func (m *Machine) uncrowd(to *subscriber, fx []Effect) []Effect {
	if !to.crowded || to.choked || to.unsent+to.reading >= m.cfg.MaxPushed {
		return fx
	}
	m.cfg.hit(ProbeSubscriberUncrowded)
	return m.pumpAll(to, fx)
}

// pumpAll goes on with the subscriptions of a connection, and its streamed queries, while there is room on it.
func (m *Machine) pumpAll(to *subscriber, fx []Effect) []Effect {
	to.crowded = false
	for i := 0; i < len(to.list) && m.room(to); i++ {
		fx = m.pump(to.list[i], fx)
	}
	if len(to.queries) > 0 {
		fx = m.askOn(fx)
	}
	return fx
}

// pushRead pushes what was read.
func (m *Machine) pushRead(sub *subscription, end wire.Offset, b wire.ResponseBody, fx []Effect) []Effect {
	ask := sub.req.Msg.Body.(*wire.ReadEvents)
	switch b := b.(type) {
	case *wire.ReadEventsReply:
		first, any := b.Events.First()
		switch {
		case any && first < sub.stream.oldest: // it has expired while it was read
		case any && (first == sub.next || ask.FromTimestamp.Set && first > sub.next):
			fx = m.tellBroken(sub, fx) // what is passed over behind it is older, and not damaged
			sub.next, ask.FromTimestamp = first, wire.Option[wire.Time]{}
			fx = m.deliver(sub, b.Events, fx)
		case !any && ask.FromTimestamp.Set && sub.next >= sub.stream.oldest: // all that there is is older
			sub.next = max(sub.next, end)
		case sub.next >= sub.stream.oldest:
			m.retry(sub)
		}
	case *wire.Error:
		pass, later := sub.unread.failed(b.Code)
		if pass {
			if !sub.broken.Set {
				sub.broken = wire.Some(sub.next)
			}
			sub.next = min(m.behindDamage(sub.stream, sub.next), end)
		}
		if later {
			m.retry(sub)
		}
	}
	return m.pump(sub, fx)
}

// behindDamage returns the first offset behind one that cannot be read which may be readable.
func (m *Machine) behindDamage(s *stream, at wire.Offset) wire.Offset {
	if lost, ok := s.lostAt(at); ok {
		return lost.to
	}
	if at >= m.unsealed(s) {
		return at + 1
	}
	next := m.unsealed(s)
	m.layout.sections(s, at, func(_ *seg.SealedIndex, x *seg.Section) bool {
		if next = x.First; x.First <= at {
			next = x.Next // blocks are whole or damaged
		}
		return false
	})
	return max(next, at+1)
}

// seeks reports whether a subscription begins at a time and no event was as young yet.
func (s *subscription) seeks() bool { return s.req.Msg.Body.(*wire.ReadEvents).FromTimestamp.Set }

func (m *Machine) retry(sub *subscription) {
	m.cfg.hit(ProbeSubscriptionRetries)
	sub.retryAt = m.clock.mono + wire.Time(readRetry)
	m.retrying = append(m.retrying, sub)
}

// retryReads goes on with subscriptions whose read has failed a while ago.
func (m *Machine) retryReads(fx []Effect) []Effect {
	list := m.retrying
	m.retrying = nil
	for _, sub := range list {
		switch {
		case sub.ended:
		case sub.retryAt > m.clock.mono:
			m.retrying = append(m.retrying, sub)
		default:
			sub.retryAt = 0
			fx = m.pump(sub, fx)
		}
	}
	return fx
}

// addTo notes what a record that begins at an index of a batch adds to a stream with an audience.
func (m *Machine) addTo(b *batch, r *seg.Record, start int) {
	if len(m.subs) == 0 {
		return
	}
	from, to := start+seg.RecordHeader, len(b.buf)
	s := m.state.streams[r.Stream]
	if r.Kind == seg.KindAppend {
		from = to - len(r.Events())
	} else if event, _, ok := r.AuditEvent(); ok {
		s, to = m.state.tenants[r.Tenant].audit, from+len(event)
	} else {
		return
	}
	if s != nil && s.audience != nil {
		b.additions = append(b.additions, addition{s, r.First, int(r.Count), from, to})
	}
}

// publish pushes what a batch that has become durable adds.
func (m *Machine) publish(b *batch, fx []Effect) []Effect {
	var touched []*stream
	for i := range b.additions {
		a := &b.additions[i]
		of := a.stream.audience
		if of == nil {
			continue
		}
		of.durable = wire.Some(max(a.first+wire.Offset(a.count), of.durable.Or(0)))
		if a.count == 0 {
			continue
		}
		if of.fresh.Count == 0 {
			touched = append(touched, a.stream)
		}
		if of.fresh.Count == 0 || a.first != of.first+wire.Offset(of.fresh.Count) { // nobody listened in between
			of.first, of.fresh = a.first, wire.EventRange{}
		}
		of.fresh.Add(b.buf[a.from:a.to:a.to], a.count)
	}
	for _, s := range touched {
		of := s.audience
		late := m.overdue(s, m.grain()) // some of it has expired: who reads sees what has not
		for _, sub := range of.list {
			switch {
			case sub.group != nil: // once for all its members, below
			case !late && sub.takes(of):
				fx = m.deliver(sub, of.fresh, fx)
			default:
				fx = m.pump(sub, fx)
			}
		}
		for _, g := range s.groups {
			fx = m.deal(g, fx)
		}
		of.fresh = wire.EventRange{}
	}
	for _, sub := range b.awaited {
		sub.waits = false
		fx = m.pump(sub, fx)
	}
	for _, g := range b.groups {
		fx = m.deal(g, fx)
	}
	b.additions, b.awaited, b.groups = nil, nil, nil
	return fx
}

// takes reports whether a subscription may be sent all that is fresh.
func (s *subscription) takes(of *audience) bool {
	return s.live && s.next == of.first && !s.seeks() && !s.waits && !s.reading && !s.to.choked &&
		s.events >= uint64(of.fresh.Count) && s.bytes >= int64(of.fresh.Size)
}
