package check

import (
	"fmt"
	"slices"
	"strings"

	"github.com/kimberlitedb/kimberlite-go/wire"
)

// Groups judges consumer groups by what a server is sent and what it sends: each event has one owner at a time, comes back
// from one that is gone, with a greater attempt, and does not come again once it is acknowledged.
//
// What a request does is certain when its reply leaves. From when it has come in until then it may have been done or not,
// and where no reply leaves, that is so for good. The judge knows of everything what is certain and what is possible, and
// objects to what is neither.
//
// Requests are in group_asked.go, replies in group_told.go, deliveries in group_dealt.go.
type Groups struct {
	Damaged func() bool                     // the disk has lost something, so that events may be passed over
	Stored  func(wire.StreamID) wire.Offset // behind the events of a stream that are on stable storage

	suite   *Suite
	tenant  wire.TenantID // whose groups they are
	off     bool
	now     moment
	clock   wire.Time       // the server's monotonic one, as it was seen last
	blind   map[uint64]bool // connections that may be sent what nobody sees, since they are ending
	list    map[groupName]*group
	streams map[wire.StreamID]*groupStream
	members map[wire.SubscriptionID]*member // of this life
	asked   map[request]*asked              // requests under way
}

// moment is when something was known. An attempt may have failed since that nobody saw: by a crash of the server, which
// counts one for each event, or on a connection that was ending.
type moment struct {
	life    int // of the server
	windows int // in which connections were ending, begun and over
}

// ages is a moment before which nothing is known: any number of attempts may have failed since.
var ages = moment{life: -1 << 30}

func (m moment) later(o moment) moment { return moment{max(m.life, o.life), max(m.windows, o.windows)} }

type groupName struct {
	stream wire.StreamID
	name   string // in lower case
}

// groupStream is what is known of a stream that has groups.
type groupStream struct {
	deleted bool // for certain
	ending  bool // a request to delete it is under way
	expires bool // it has had a retention
	events  map[wire.Offset]*appended
}

// appended is an event of a stream.
type appended struct {
	data string
	time wire.Option[wire.Time] // event time, where it was seen
	born moment                 // it was not there before
}

// group is what is known of a group.
type group struct {
	x    *Groups
	name groupName
	standing
	dead    bool   // deleted for certain
	most    uint32 // the greatest max_attempts that it may have had, and the least
	fewest  uint32
	changes int  // requests that may change it and are under way, or were lost and may still be carried out
	slow    bool // one that was lost may still be carried out, and have the group begin anew
	doubts  int  // of those, such as have it begin anew, or take back what is delivered
	settles int  // requests under way that may settle events
	turns   int  // how often something was asked, or done, that may unsettle events or change the group
	epoch   int  // how often all that was known of its events was forgotten

	known   bool        // where it began, and what was parked then
	start   wire.Offset // there
	low     wire.Offset // every event from the start up to here is settled for certain
	told    wire.Offset // the greatest floor that was told
	made    moment      // no attempt had failed before
	blank   wire.Offset // nothing is known of how often events before it have failed
	replays bool        // parked events may have been replayed
	events  map[wire.Offset]*event
	held    map[wire.DeliveryID]*delivery
	keys    map[wire.Offset]string // of events in an order
	keyed   wire.OrderKey          // the order
}

// standing is what an administrator sees to.
type standing struct {
	there  bool                 // for certain
	alts   []wire.GroupSettings // the group has one of them; none where that is not known
	paused []bool               // what it may be
}

// event is what is known of an event of a group.
type event struct {
	attempt  uint32 // the last one
	at       moment // of that
	holder   *delivery
	loose    bool                   // attempts may have begun anew
	acked    bool                   // for certain
	parked   bool                   // for certain
	since    wire.Time              // when that was known, in this life
	parking  bool                   // it may be parked since a member asked for that
	perhaps  bool                   // it may be settled
	replayed bool                   // it may have been parked, and not be any more
	asking   int                    // requests under way that may settle it
	delayed  wire.Option[wire.Time] // in this life it does not come again before that
}

// member is a subscription of a group.
type member struct {
	conn   uint64
	id     wire.SubscriptionID
	group  *group
	since  wire.Time
	last   wire.DeliveryID
	events uint64 // credit, at most
	bytes  int64
	gone   bool      // it may be
	closed bool      // it is
	end    wire.Time // when that was known
}

// delivery is what a member may hold.
type delivery struct {
	x        *Groups
	id       wire.DeliveryID
	member   *member
	offset   wire.Offset
	event    *event
	attempt  uint32
	made     wire.Time
	deadline wire.Time // the earliest that it may be
	requests int       // under way that may end it
	over     bool      // for certain
	recalled bool      // it may have been taken back
}

// NewGroups returns the judge of a tenant's groups.
func NewGroups(s *Suite, tenant wire.TenantID) *Groups {
	return &Groups{
		suite: s, tenant: tenant, list: map[groupName]*group{}, streams: map[wire.StreamID]*groupStream{},
		blind: map[uint64]bool{}, members: map[wire.SubscriptionID]*member{}, asked: map[request]*asked{},
	}
}

// Leave ends the judging: what is lost with the log nobody can know.
func (x *Groups) Leave() { x.off = true }

// Crashed notes that the server has ended, and serves again. Nothing is held any more.
func (x *Groups) Crashed() {
	for _, a := range x.asked { //det:order-free: each for itself
		x.lose(a)
	}
	x.now.life++
	if len(x.blind) > 0 {
		x.now.windows++
	}
	x.blind, x.members, x.asked = map[uint64]bool{}, map[wire.SubscriptionID]*member{}, map[request]*asked{}
	for _, g := range x.list { //det:order-free: each for itself
		if g.slow { // what was lost has been carried out by now, or never will be
			g.forget()
		}
		g.slow, g.changes, g.doubts, g.held = false, 0, 0, map[wire.DeliveryID]*delivery{}
		for _, e := range g.events { //det:order-free: each for itself
			e.holder, e.since, e.delayed = nil, 0, wire.Option[wire.Time]{}
		}
	}
}

// Ended notes that a connection is sent nothing any more. Until the server knows that it is gone, events may be delivered
// to it all the same.
func (x *Groups) Ended(conn uint64) {
	member := false
	for _, m := range x.members { //det:order-free: whether there is one
		member = member || m.conn == conn && !m.closed
	}
	for _, a := range x.asked { //det:order-free: whether there is one
		_, joins := a.body.(*wire.Subscribe)
		member = member || a.conn == conn && joins
	}
	if member {
		x.blind[conn] = true
		x.now.windows++
	}
}

// Closed notes that the server knows that a connection is gone. It has decided about all that came from there.
func (x *Groups) Closed(conn uint64) {
	if x.blind[conn] {
		delete(x.blind, conn)
		x.now.windows++
	}
	for _, m := range x.members { //det:order-free: each for itself
		if m.conn == conn {
			m.close(x.clock)
		}
	}
	for r, a := range x.asked { //det:order-free: each for itself
		if r.conn == conn {
			x.lose(a)
			delete(x.asked, r)
		}
	}
}

// close notes that a member is gone for certain.
func (m *member) close(at wire.Time) {
	if !m.closed {
		m.gone, m.closed, m.end = true, true, at
	}
}

// since returns how many crashes there were since a moment, and whether deliveries may have gone where nobody saw them.
func (x *Groups) since(m moment) (crashes int, blind bool) {
	return x.now.life - m.life, m.windows != x.now.windows || len(x.blind) > 0
}

// passes reports whether a stream may lose events that are not acknowledged.
func (x *Groups) passes(stream wire.StreamID) bool { return x.stream(stream).expires || x.Damaged() }

func (x *Groups) stream(id wire.StreamID) *groupStream {
	if x.streams[id] == nil {
		x.streams[id] = &groupStream{events: map[wire.Offset]*appended{}}
	}
	return x.streams[id]
}

// find returns a group, which may have come into being.
func (x *Groups) find(stream wire.StreamID, name string) *group {
	n := groupName{stream, strings.ToLower(name)}
	if x.list[n] == nil {
		x.list[n] = &group{x: x, name: n, held: map[wire.DeliveryID]*delivery{}}
		x.list[n].forget()
	}
	return x.list[n]
}

func (x *Groups) member(conn uint64, id wire.SubscriptionID) *member {
	if m := x.members[id]; m != nil && m.conn == conn {
		return m
	}
	return nil
}

// forget forgets everything that was known of a group's events. What members hold may have been taken back.
func (g *group) forget() {
	g.epoch++
	g.turns++
	g.known, g.replays, g.start, g.low, g.told, g.made = false, false, 0, 0, 0, ages
	g.blank = g.x.Stored(g.name.stream)
	g.events = map[wire.Offset]*event{}
	for _, d := range g.held { //det:order-free: each for itself
		d.recalled = true
	}
}

// begin has a group begin at an offset. Of its past there is nothing but what is parked.
func (g *group) begin(at wire.Offset, since moment, parked map[wire.Offset]*event) {
	g.forget()
	g.known, g.start, g.low, g.told, g.made, g.blank = true, at, at, at, since, 0
	g.held = map[wire.DeliveryID]*delivery{}
	if parked != nil {
		g.events = parked
	}
	g.bound()
}

// bound notes how many attempts events have that begin with none.
func (g *group) bound() {
	g.most, g.fewest = 0, 0
	for i, s := range g.alts {
		n := s.MaxAttempts.Value
		g.most = max(g.most, n)
		if i == 0 || n < g.fewest {
			g.fewest = n
		}
	}
}

// may notes settings that the group may have.
func (g *group) may(s wire.GroupSettings) {
	if slices.Contains(g.alts, s) {
		return
	}
	n := s.MaxAttempts.Value
	if g.most == 0 || n < g.fewest {
		g.fewest = n
	}
	g.most, g.alts = max(g.most, n), append(g.alts, s)
}

func (g *group) event(o wire.Offset) *event {
	if g.events[o] == nil {
		g.events[o] = &event{at: g.born(o)}
	}
	return g.events[o]
}

// born returns when an event had no failed attempt in the group.
func (g *group) born(o wire.Offset) moment {
	e := g.x.stream(g.name.stream).events[o]
	switch {
	case o < g.blank:
		return ages
	case e == nil:
		return g.made
	}
	return g.made.later(e.born)
}

// sure reports whether a member holds a delivery for certain.
func (d *delivery) sure() bool {
	return d != nil && !d.over && !d.recalled && d.requests == 0 && !d.member.gone && d.x.clock < d.deadline
}

// spent reports whether the attempts of an event may have run out that were so many at a moment.
func (g *group) spent(attempts uint32, at moment) bool {
	crashes, blind := g.x.since(at)
	return blind || attempts+uint32(crashes) >= g.fewest
}

// mayBeParked reports whether an event may be parked.
func (g *group) mayBeParked(o wire.Offset) bool {
	e := g.events[o]
	switch {
	case e == nil:
		return o >= g.start && g.spent(0, g.born(o))
	case e.acked, e.holder.sure():
		return false
	}
	return e.parked || e.parking || e.loose || g.spent(e.attempt, e.at)
}

// maySettle reports whether an event may be settled.
func (g *group) maySettle(o wire.Offset) bool {
	e := g.events[o]
	return e != nil && !e.holder.sure() && (e.acked || e.perhaps) || g.mayBeParked(o)
}

// mayPass reports whether the floor, or others of its key, may be beyond an event: one that is replayed comes late.
func (g *group) mayPass(o wire.Offset) bool {
	e := g.events[o]
	return e != nil && e.replayed || g.maySettle(o)
}

// floor returns the greatest offset up to a limit that may be the floor: no event before it is unsettled for certain.
func (g *group) floor(limit wire.Offset) wire.Offset {
	g.advance()
	o := g.low
	for o < limit && g.mayPass(o) {
		o++
	}
	return o
}

// advance moves what is settled for certain. It stays so: a replay does not move the floor.
func (g *group) advance() {
	for e := g.events[g.low]; e != nil && (e.acked || e.parked); e = g.events[g.low] {
		g.low++
	}
}

// String names a group in a failure.
func (g *group) String() string {
	return fmt.Sprintf("group %s of stream %d", g.name.name, g.name.stream)
}

// must counts an evaluation of a part of the rule.
func (x *Groups) must(part string, ok bool, format string, args ...any) bool {
	return x.suite.mustPart(Group, part, ok, format, args...)
}
