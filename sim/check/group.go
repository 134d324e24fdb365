package check

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/kimberlitedb/kimberlite-go/wire"
)

// Groups judges consumer groups by what a server is sent and what it sends: each event has one owner at a time, comes back
// from one that is gone, with a greater attempt, and does not come again once it is acknowledged.
//
// What a request does is certain when its reply leaves; from when it has come in until then it may have been done or not.
type Groups struct {
	Damaged func() bool // the disk has lost something, so that events may be passed over
	suite   *Suite
	off     bool
	life    int // of the server
	ends    int // of connections: what is delivered to one that is ending nobody sees
	list    map[groupName]*group
	members map[wire.SubscriptionID]*member // of this life
	asked   map[request]*asked
	streams map[wire.StreamID]bool // deleted for certain
	expire  map[wire.StreamID]bool // they have had a retention
	ending  map[wire.StreamID]bool // a request to delete them is under way
}

type groupName struct {
	stream wire.StreamID
	name   string
}

// group is what is known of a group.
type group struct {
	name    groupName
	there   bool // for certain
	dead    bool // deleted for certain
	alts    []wire.GroupSettings
	most    uint32 // the greatest max_attempts that it had, and the least
	fewest  uint32
	paused  []bool // what it may be
	unsure  bool   // what is delivered may be taken back, since a request to that end is under way
	epoch   int    // what was known before the last change of it means nothing
	exact   bool   // attempts count from 1
	known   bool   // where it began is known, and nothing was parked then
	start   wire.Offset
	told    wire.Offset // the floor that was told last
	crashes int         // of the server since it was made
	ends    int         // of connections before it was made, or set back
	events  map[wire.Offset]*event
	held    map[wire.DeliveryID]*delivery
}

// event is what is known of an event of a group.
type event struct {
	attempt uint32 // the last one
	life    int    // of the server, then
	ends    int    // of connections before
	loose   bool   // attempts may have begun anew
	passed  bool   // the floor may be beyond it, although it is delivered again
	acked   bool   // for certain
	maybe   bool   // an acknowledgement has come in
	parking bool   // so has a request to park it
	missed  bool   // a member was told that it is passed over
	key     string
}

type member struct {
	conn   uint64
	id     wire.SubscriptionID
	group  *group
	last   wire.DeliveryID
	events uint64
	bytes  int64
	gone   bool // it may be
	closed bool // it is
}

type delivery struct {
	id       wire.DeliveryID
	member   *member
	offset   wire.Offset
	deadline wire.Time
	requests int  // under way that name it
	over     bool // for certain
	recalled bool // it may have been taken back
}

type request struct{ conn, id uint64 }

// asked is a request under way.
type asked struct {
	body  wire.RequestBody
	group *group
	epoch int
	named []*delivery
}

// NewGroups returns the judge of a run.
func NewGroups(s *Suite) *Groups {
	g := &Groups{suite: s, list: map[groupName]*group{}, streams: map[wire.StreamID]bool{}, ending: map[wire.StreamID]bool{}, expire: map[wire.StreamID]bool{}}
	g.Crashed()
	return g
}

// Leave ends the judging: what is lost with the log nobody can know.
func (x *Groups) Leave() { x.off = true }

// Crashed notes that the server has ended. Nothing is held any more.
func (x *Groups) Crashed() {
	x.life++
	x.members, x.asked = map[wire.SubscriptionID]*member{}, map[request]*asked{}
	for _, g := range x.list { //det:order-free: each for itself
		g.crashes++
		g.held = map[wire.DeliveryID]*delivery{}
	}
}

// Ended notes that the server sends no more on some connection.
func (x *Groups) Ended() { x.ends++ }

// Closed notes that the server knows that a connection is gone.
func (x *Groups) Closed(conn uint64) {
	x.ends++
	for _, m := range x.members { //det:order-free: each for itself
		m.closed = m.closed || m.conn == conn
		m.gone = m.gone || m.closed
	}
}

// find returns a group, which may have come into being.
func (x *Groups) find(stream wire.StreamID, name string) *group {
	n := groupName{stream, strings.ToLower(name)}
	if x.list[n] == nil {
		x.list[n] = &group{name: n}
		x.list[n].forget()
	}
	return x.list[n]
}

// forget forgets everything that was known of a group.
func (g *group) forget() {
	g.exact, g.known, g.told = false, false, 0
	g.events, g.held = map[wire.Offset]*event{}, map[wire.DeliveryID]*delivery{}
}

// loosen notes that a group may begin anew from now on.
func (g *group) loosen() {
	g.epoch++
	g.dead, g.unsure = false, true
	for _, d := range g.held { //det:order-free: each for itself
		d.recalled = true
	}
	held := g.held
	g.forget()
	g.held = held
}

func (g *group) event(o wire.Offset) *event {
	if g.events[o] == nil {
		g.events[o] = &event{}
	}
	return g.events[o]
}

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

// floor returns the first event before a limit that is not settled for certain, or the limit.
func (g *group) floor(limit wire.Offset) wire.Offset {
	o := g.start
	for o < limit && g.maySettle(o) {
		o++
	}
	return o
}

func (g *group) maySettle(o wire.Offset) bool {
	e := g.events[o]
	if e == nil {
		return g.mayFail(0)
	}
	return e.acked || e.maybe || e.parking || e.missed || e.passed || g.mayFail(e.attempt)
}

// mayFail reports whether an event may be parked that was delivered so often.
func (g *group) mayFail(attempts uint32) bool {
	return attempts+uint32(g.crashes) >= g.fewest
}

// passes reports whether a stream may lose events that are not acknowledged.
func (x *Groups) passes(stream wire.StreamID) bool { return x.expire[stream] || x.Damaged() }

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

// String names a group in a failure.
func (g *group) String() string {
	return fmt.Sprintf("group %s of stream %d", g.name.name, g.name.stream)
}

// must counts an evaluation of a part of the rule.
func (x *Groups) must(part string, ok bool, format string, args ...any) bool {
	return x.suite.mustPart(Group, part, ok, format, args...)
}
