package check

import (
	"fmt"
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

// String names a group in a failure.
func (g *group) String() string {
	return fmt.Sprintf("group %s of stream %d", g.name.name, g.name.stream)
}

// must counts an evaluation of a part of the rule.
func (x *Groups) must(part string, ok bool, format string, args ...any) bool {
	return x.suite.mustPart(Group, part, ok, format, args...)
}
