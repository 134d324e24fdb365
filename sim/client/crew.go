package client

import (
	"fmt"
	"slices"
	"strings"

	"github.com/kimberlitedb/kimberlite-go/sim/check"
	"github.com/kimberlitedb/kimberlite-go/sim/network"
	"github.com/kimberlitedb/kimberlite-go/sim/rng"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// Crew is a client that has a tenant with one stream to itself, and the members of its consumer groups: they acknowledge,
// give back, fall asleep and hang up, while a foreman makes, changes and deletes the groups. What comes of that check.Groups
// judges; the crew looks at bytes, and in the end has everything settled.
type Crew struct {
	world   World
	suite   *check.Suite
	rand    *rng.Rand
	index   int // of its first connection
	left    int // operations to come
	links   []*crewLink
	made    bool // the tenant is
	stream  wire.StreamID
	deleted bool // the stream, as far as it knows
	doomed  bool // somebody has asked for that
	busy    bool // the foreman waits for a reply
	count   int  // of events sent
	sent    map[string]bool
	seen    map[wire.Offset]string
	ids     []wire.DeliveryID // that were seen, of any connection
	ending  bool
	behind  map[string]uint64 // groups that have something to settle in the end
	why     map[string]string // what the server says of that
	stopped bool
}

// crewLink is a connection of a crew. The first is the foreman's.
type crewLink struct {
	*caller
	c       *Crew
	n       int
	dialing bool
	joining bool
	parts   []*part
}

// part is a member.
type part struct {
	group string
	id    wire.SubscriptionID
	held  []wire.DeliveryID
}

// CrewTenant is the crew's own.
const CrewTenant wire.TenantID = 1001

// crewMembers is on how many connections its members are.
const crewMembers = 3

var crewGroups = []string{"alpha", "beta"}

// NewCrew returns a crew with so many operations to do.
func NewCrew(w World, s *check.Suite, source rng.Source, index, ops int) *Crew {
	c := &Crew{
		world: w, suite: s, rand: source.Stream("crew"), index: index, left: ops, sent: map[string]bool{}, seen: map[wire.Offset]string{},
		behind: map[string]uint64{}, why: map[string]string{}, stopped: ops == 0,
	}
	for n := range 1 + crewMembers {
		c.links = append(c.links, &crewLink{c: c, n: n})
	}
	return c
}

// Finish has the crew do nothing more but to settle everything.
func (c *Crew) Finish() {
	c.ending = true
	for _, g := range crewGroups {
		c.behind[g] = 1
	}
}

// Idle reports whether everything is settled.
func (c *Crew) Idle() bool { return c.stopped || c.Behind() == "" }

// Behind describes a group that has something to settle, in the end. It returns nothing where none has.
func (c *Crew) Behind() string {
	for _, g := range crewGroups {
		if n := c.behind[g]; n > 0 && !c.stopped {
			return fmt.Sprintf("group %s has %d events to settle (%s)", g, n, c.why[g])
		}
	}
	return ""
}

// Leave hangs up.
func (c *Crew) Leave() {
	c.stopped = true
	for _, k := range c.links {
		if k.caller != nil {
			k.leave()
		}
	}
}

// Pump does the next thing on every connection, and goes on after a while.
func (c *Crew) Pump() {
	if c.stopped {
		return
	}
	if c.suite.Holes { // what is lost with the log nobody can know
		c.Leave()
		return
	}
	for _, k := range c.links {
		switch {
		case k.caller == nil:
			k.dial()
		case !k.ready():
		case k.n == 0:
			c.lead(k)
		case c.stream != 0:
			k.act()
		}
	}
	c.world.After(c.rand.Log(1_000_000, 500_000_000), c.Pump)
}

func (k *crewLink) dial() {
	c := k.c
	if k.dialing {
		return
	}
	k.dialing = true
	caller := newCaller(c.world, c.suite, CrewTenant, wire.Codec(c.rand.N(wire.CodecCount)))
	caller.pushed = k.judge
	caller.lost = func() {
		k.caller, k.parts, k.joining = nil, nil, false
		if k.n == 0 {
			c.busy = false
		}
	}
	c.world.Dial(c.index+k.n, caller, func(conn *network.Conn) {
		k.dialing = false
		if conn == nil || c.stopped {
			return
		}
		k.caller = caller
		k.open(conn)
	})
}

// lead has the foreman do something. It does one thing at a time.
func (c *Crew) lead(k *crewLink) {
	if c.busy {
		return
	}
	b := c.draw()
	if b == nil {
		return
	}
	c.busy = true
	k.ask(b, func(r wire.ResponseBody) {
		c.busy = false
		c.learn(b, r)
	})
}

// draw draws what the foreman does next.
func (c *Crew) draw() wire.RequestBody {
	group := crewGroups[c.rand.N(len(crewGroups))]
	switch {
	case !c.made:
		return &wire.CreateTenant{Name: "crew"}
	case c.stream == 0:
		return &wire.CreateStream{Name: "work", Placement: wire.Placement{Global: true}}
	case c.deleted:
		return &wire.UndeleteStream{Stream: c.stream}
	case c.ending:
		return c.wind(group)
	case c.left <= 0:
		return nil
	}
	c.left--
	switch n := c.rand.N(100); {
	case n < 45:
		return c.append()
	case n < 55:
		return &wire.CreateGroup{Stream: c.stream, Name: group, Settings: c.settings(), FromOffset: [...]wire.Offset{0, 0, wire.EndOffset}[c.rand.N(3)]}
	case n < 58:
		return &wire.UpdateGroup{Stream: c.stream, Name: group, Paused: wire.Some(true)}
	case n < 66:
		return &wire.UpdateGroup{Stream: c.stream, Name: group, Paused: wire.Some(false)}
	case n < 70:
		return &wire.UpdateGroup{Stream: c.stream, Name: group, Settings: c.settings()}
	case n < 73:
		return &wire.UpdateGroup{Stream: c.stream, Name: group, SeekOffset: wire.Some(wire.Offset(c.rand.N(len(c.seen) + 1)))}
	case n < 74:
		return &wire.DeleteGroup{Stream: c.stream, Name: group}
	case n < 78:
		return &wire.Parked{Stream: c.stream, Name: group}
	case n < 82:
		return &wire.Parked{Stream: c.stream, Name: group, Action: wire.ParkedReplay}
	case n < 84:
		return &wire.Parked{Stream: c.stream, Name: group, Action: wire.ParkedDrop}
	case n < 94:
		return &wire.GroupInfo{Stream: c.stream, Name: group}
	case n < 96:
		return &wire.ListGroups{Stream: c.stream}
	case n < 98:
		return &wire.Explain{Stream: c.stream, Name: group}
	case n < 99:
		b := &wire.SetRetention{Stream: c.stream}
		if c.rand.Coin() {
			b.Days = wire.Some(uint32(1 + c.rand.N(3)))
		}
		return b
	}
	c.doomed = true
	return &wire.DeleteStream{Stream: c.stream}
}

// wind brings a group to its end.
func (c *Crew) wind(group string) wire.RequestBody {
	switch c.rand.N(3) {
	case 0: // what members hold that are gone without a word comes back soon
		return &wire.UpdateGroup{Stream: c.stream, Name: group, Paused: wire.Some(false), Settings: wire.GroupSettings{
			AckDeadline: wire.Some(uint32(1000)), MaxAttempts: wire.Some(uint32(6)), MaxAckPending: wire.Some(uint32(20)),
			LookAhead: wire.Some(uint32(50)), Order: wire.Some(wire.OrderKey{}),
		}}
	case 1:
		return &wire.Explain{Stream: c.stream, Name: group}
	}
	return &wire.GroupInfo{Stream: c.stream, Name: group}
}

// settings draws settings that are so small that everything is met.
func (c *Crew) settings() wire.GroupSettings {
	order := [...]wire.OrderKey{{}, {}, {Kind: wire.OrderJSON, Path: "/K"}, {Kind: wire.OrderPrefix, Bytes: 6}}[c.rand.N(4)]
	return wire.GroupSettings{
		AckDeadline:   wire.Some(uint32(c.rand.Log(wire.MinAckDeadline, 30_000))),
		MaxAttempts:   wire.Some(uint32(c.rand.Log(1, 6))),
		MaxAckPending: wire.Some(uint32(c.rand.Log(1, 20))),
		LookAhead:     wire.Some(uint32(c.rand.Log(1, 50))),
		Order:         wire.Some(order),
	}
}

// append makes a few events, with few keys.
func (c *Crew) append() wire.RequestBody {
	b := &wire.AppendEvents{Stream: c.stream}
	for range 1 + c.rand.N(6) {
		c.count++
		data := fmt.Sprintf(`{"K":%d,"n":%d}`, c.rand.N(3), c.count)
		if c.rand.N(6) == 0 {
			data = fmt.Sprintf("event %d", c.count)
		}
		c.sent[data] = true
		b.Events = append(b.Events, []byte(data))
	}
	return b
}

// learn takes up a reply to the foreman.
func (c *Crew) learn(b wire.RequestBody, r wire.ResponseBody) {
	if e, refused := r.(*wire.Error); refused {
		c.refused(b, e)
		return
	}
	switch r := r.(type) {
	case *wire.CreateTenantReply:
		c.made = true
	case *wire.CreateStreamReply:
		c.stream = r.Stream
	case *wire.StreamInfoReply:
		c.stream = r.Info.Stream
	case *wire.DeleteStreamReply:
		c.deleted = true
	case *wire.UndeleteStreamReply:
		c.deleted = false
	case *wire.ExplainReply:
		c.why[b.(*wire.Explain).Name] = strings.Join(r.Reasons, "; ")
	case *wire.GroupInfoReply:
		if c.ending {
			c.behind[b.(*wire.GroupInfo).Name] = r.Info.Lag
		}
	}
}

// refused judges a refusal.
func (c *Crew) refused(b wire.RequestBody, e *wire.Error) {
	fine := false
	switch e.Code {
	case wire.StreamAlreadyExists:
		fine = true
		c.busy = true
		c.links[0].ask(&wire.StreamInfo{Name: "work"}, func(r wire.ResponseBody) {
			c.busy = false
			c.learn(b, r)
		})
	case wire.StreamDeleted:
		fine, c.deleted = true, true
	case wire.StreamNotFound: // it was purged
		fine, c.deleted, c.stream = c.doomed, false, 0
		c.seen = map[wire.Offset]string{}
	case wire.GroupNotFound:
		fine = true
		if info, ok := b.(*wire.GroupInfo); ok && c.ending {
			c.behind[info.Name] = 0
		}
	case wire.GroupAlreadyExists:
		_, fine = b.(*wire.CreateGroup)
	case wire.InvalidOffset:
		_, fine = b.(*wire.UpdateGroup)
	case wire.StorageFull, wire.StorageError:
		fine = c.suite.Faulty()
	case wire.DataCorrupted:
		fine = c.suite.Holes
	case wire.InvalidRequest: // too large for a small segment
		_, fine = b.(*wire.AppendEvents)
	}
	c.suite.Saw(check.Contract, true)
	if !fine {
		c.suite.Fail(check.Contract, "the crew's %T is refused with %s: %s", b, e.Code, e.Message)
	}
}

// act has a member do something.
func (k *crewLink) act() {
	c := k.c
	if c.ending {
		k.finish()
		return
	}
	n := c.rand.N(100)
	if k.joining {
		return
	}
	if len(k.parts) < 2 && n < 20 || len(k.parts) == 0 {
		k.join(crewGroups[c.rand.N(len(crewGroups))], uint64(c.rand.Log(1, 30)), uint64(c.rand.Log(1, 4096)))
		return
	}
	p := k.parts[c.rand.N(len(k.parts))]
	switch {
	case n < 40:
		k.ask(&wire.Credit{Subscription: p.id, Events: uint64(c.rand.Log(1, 30)), Bytes: uint64(c.rand.Log(1, 4096))}, func(wire.ResponseBody) {})
	case n < 70:
		k.ack(p)
	case n < 80:
		if ids := p.some(c.rand); len(ids) > 0 {
			delay := [...]uint64{0, 0, 300, 5000}[c.rand.N(4)]
			k.request(&wire.Nack{Subscription: p.id, Deliveries: ids, Delay: delay, Park: c.rand.N(8) == 0})
		}
	case n < 86:
		if len(p.held) > 0 {
			k.request(&wire.ExtendAck{Subscription: p.id, Deliveries: p.held[:1+c.rand.N(len(p.held))], Deadline: uint64(c.rand.Log(1, 20_000))})
		}
	case n < 90: // what somebody else has, or nobody
		if len(c.ids) > 0 {
			k.request(&wire.Ack{Subscription: p.id, Deliveries: []wire.DeliveryID{c.ids[c.rand.N(len(c.ids))]}})
		}
	case n < 93:
		k.forget(p)
		k.ask(&wire.Unsubscribe{Subscription: p.id}, func(wire.ResponseBody) {})
	case n < 95:
		k.abort()
	}
}

// some takes deliveries from among those that a member holds.
func (p *part) some(r *rng.Rand) []wire.DeliveryID {
	if len(p.held) == 0 {
		return nil
	}
	from := r.N(len(p.held))
	to := from + 1 + r.N(len(p.held)-from)
	ids := slices.Clone(p.held[from:to])
	p.held = slices.Delete(p.held, from, to)
	return ids
}

func (k *crewLink) ack(p *part) {
	ids := p.some(k.c.rand)
	if len(ids) == 0 {
		return
	}
	b := &wire.Ack{Subscription: p.id, Deliveries: ids}
	if k.c.rand.N(6) == 0 {
		b.Deliveries, b.Cumulative = ids[len(ids)-1:], true
		p.held = slices.DeleteFunc(p.held, func(id wire.DeliveryID) bool { return id < ids[0] })
	}
	k.request(b)
	if k.c.rand.N(8) == 0 {
		k.request(b)
	}
}

// request asks for something about deliveries.
func (k *crewLink) request(b wire.RequestBody) {
	k.ask(b, func(r wire.ResponseBody) {
		if e, refused := r.(*wire.Error); refused {
			fine := e.Code == wire.StaleDelivery || e.Code == wire.SubscriptionNotFound || k.c.suite.Holes ||
				k.c.suite.Faulty() && (e.Code == wire.StorageFull || e.Code == wire.StorageError)
			k.c.suite.Saw(check.Contract, true)
			if !fine {
				k.c.suite.Fail(check.Contract, "the crew's %T is refused with %s: %s", b, e.Code, e.Message)
			}
		}
	})
}

func (k *crewLink) join(group string, events, bytes uint64) {
	b := &wire.Subscribe{Stream: k.c.stream, Group: wire.Some(group), CreditEvents: events, CreditBytes: bytes}
	k.joining = true
	k.ask(b, func(r wire.ResponseBody) {
		k.joining = false
		if r, ok := r.(*wire.SubscribeReply); ok {
			k.parts = append(k.parts, &part{group: group, id: r.Subscription})
		}
	})
}

func (k *crewLink) forget(p *part) {
	k.parts = slices.DeleteFunc(k.parts, func(o *part) bool { return o == p })
}

// finish has a member of each group acknowledge whatever comes.
func (k *crewLink) finish() {
	if k.conn.Damaged(network.Server) { // it may have members that nobody knows of
		k.abort()
		return
	}
	g := crewGroups[k.c.rand.N(len(crewGroups))]
	if !k.joining && !slices.ContainsFunc(k.parts, func(p *part) bool { return p.group == g }) {
		k.join(g, 1<<20, 1<<30)
	}
	for _, p := range k.parts {
		if len(p.held) > 0 {
			k.request(&wire.Ack{Subscription: p.id, Deliveries: p.held})
			p.held = nil
		}
		k.ask(&wire.Credit{Subscription: p.id, Events: 1 << 20, Bytes: 1 << 30}, func(wire.ResponseBody) {})
	}
}

// judge takes what a member is sent.
func (k *crewLink) judge(b wire.PushBody) {
	c := k.c
	switch b := b.(type) {
	case *wire.GroupEvents:
		for _, d := range b.Deliveries {
			e := d.Event.Decode()
			data := string(e.Data)
			c.suite.Saw(check.Sent, true)
			if was, known := c.seen[e.Offset]; !c.sent[data] || known && was != data {
				c.suite.Fail(check.Sent, "event %d is delivered with data %q, and had %q", e.Offset, data, was)
			}
			c.seen[e.Offset] = data
			c.ids = append(c.ids, d.ID)
			for _, p := range k.parts {
				if p.id == b.Subscription {
					p.held = append(p.held, d.ID)
				}
			}
		}
	case *wire.SubscriptionClosed:
		c.suite.Saw(check.Contract, true)
		if b.Code != wire.GroupNotFound && b.Code != wire.StreamDeleted {
			c.suite.Fail(check.Contract, "a member is ended with %s: %s", b.Code, b.Message)
		}
		k.parts = slices.DeleteFunc(k.parts, func(p *part) bool { return p.id == b.Subscription })
	case *wire.Gap:
	default:
		c.suite.Fail(check.Contract, "a member is sent a %T", b)
	}
}
