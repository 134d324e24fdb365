package client

import (
	"fmt"
	"strings"

	"github.com/kimberlitedb/kimberlite-go/sim/check"
	"github.com/kimberlitedb/kimberlite-go/sim/network"
	"github.com/kimberlitedb/kimberlite-go/sim/plan"
	"github.com/kimberlitedb/kimberlite-go/sim/rng"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// Notary is a client that cuts checkpoints of all tenants, and reads their streams as of any position, on two connections: one for the
// tenants that the clients share, and one for those that others have to themselves. It names streams and checkpoints that are there, or were.
// What it is answered check.Checkpoints judges.
type Notary struct {
	world   World
	suite   *check.Suite
	judge   *check.Checkpoints
	rand    *rng.Rand
	index   int // of its first connection
	left    int // operations to come
	links   []*notaryLink
	once    []wire.CheckpointRef // what was named lately
	ending  bool
	stopped bool
}

// notaryLink is a connection of a notary.
type notaryLink struct {
	*caller
	n       int
	tenants []wire.TenantID
	dialing bool
	flight  int
	end     lookout // of the last look
}

// lookout is how far the last look at a tenant's checkpoints has got.
type lookout struct {
	tenant int // index
	listed bool
	left   []*check.Cut
	after  wire.StreamID
	last   string // why it does not get on
}

// notaryFlight is how many requests are under way on a connection.
const notaryFlight = 4

// NewNotary returns a notary.
func NewNotary(w World, s *check.Suite, judge *check.Checkpoints, source rng.Source, index int, config *plan.Config) *Notary {
	c := &Notary{world: w, suite: s, judge: judge, rand: source.Stream("notary"), index: index, left: config.Notary, stopped: config.Notary == 0}
	c.links = []*notaryLink{{n: 0}, {n: 1}}
	for id := range config.Tenants {
		c.links[0].tenants = append(c.links[0].tenants, wire.TenantID(id+1))
	}
	for _, x := range []struct {
		id  wire.TenantID
		ops int
	}{{KeeperTenant, config.Keeper}, {CrewTenant, config.Crew}, {ClerkTenant, config.Clerk}} {
		if x.ops > 0 {
			c.links[1].tenants = append(c.links[1].tenants, x.id)
		}
	}
	return c
}

// Finish has the notary do nothing more but to look at every checkpoint once.
func (c *Notary) Finish() { c.ending = true }

// Idle reports whether it has looked at all, and they are kept.
func (c *Notary) Idle() bool {
	done := c.ending
	for _, k := range c.links {
		done = done && k.end.tenant == len(k.tenants)
	}
	return c.stopped || done
}

// Behind describes what it has not seen in the end. It returns nothing where it has seen all.
func (c *Notary) Behind() string {
	if c.Idle() {
		return ""
	}
	var list []string
	for _, k := range c.links {
		list = append(list, fmt.Sprintf("%d of %d tenants (%s)", k.end.tenant, len(k.tenants), k.end.last))
	}
	return "the notary has looked at " + strings.Join(list, " and ")
}

// Leave hangs up.
func (c *Notary) Leave() {
	c.stopped = true
	for _, k := range c.links {
		if k.caller != nil {
			k.leave()
		}
	}
}

// Pump does the next thing on every connection, and goes on after a while.
func (c *Notary) Pump() {
	if c.stopped {
		return
	}
	if c.suite.Holes { // what is lost with the log nobody can know
		c.Leave()
		return
	}
	for _, k := range c.links {
		switch {
		case len(k.tenants) == 0:
		case k.caller == nil:
			c.dial(k)
		case !k.ready():
		case c.ending:
			c.look(k)
		default:
			for c.left > 0 && k.flight < notaryFlight {
				c.left--
				c.act(k)
				if c.rand.Coin() {
					break
				}
			}
		}
	}
	c.world.After(c.rand.Log(1_000_000, 2_000_000_000), c.Pump)
}

func (c *Notary) dial(k *notaryLink) {
	if k.dialing {
		return
	}
	k.dialing = true
	caller := newCaller(c.world, c.suite, 0, wire.Codec(c.rand.N(wire.CodecCount)))
	caller.lost = func() { k.caller, k.flight = nil, 0 }
	caller.pushed = func(b wire.PushBody) { c.suite.Fail(check.Contract, "the notary is sent a %T", b) }
	c.world.Dial(c.index+k.n, caller, func(conn *network.Conn) {
		k.dialing = false
		if conn == nil || c.stopped {
			return
		}
		k.caller = caller
		k.open(conn)
	})
}

// send sends a request, and has the reply judged.
func (c *Notary) send(k *notaryLink, a *check.PastAsk, done func(wire.ResponseBody)) {
	k.flight++
	k.tenant = a.Tenant
	c.judge.Sent(a)
	k.ask(a.Body, func(r wire.ResponseBody) {
		if k.flight--; k.conn.Damaged(network.Server) { // it may be the answer to something else
			return
		}
		c.judge.Answered(a, r)
		done(r)
	})
}

// act sends something.
func (c *Notary) act(k *notaryLink) {
	a := &check.PastAsk{Tenant: k.tenants[c.rand.N(len(k.tenants))]}
	of := a.Tenant
	if a.Bad = c.rand.N(40) == 0; a.Bad {
		of += 1 << 20
	}
	switch n := c.rand.N(100); {
	case n < 25:
		b := &wire.Checkpoint{Of: of}
		if n < 18 {
			b.Label = wire.Some(c.label())
		}
		if c.rand.N(30) == 0 {
			a.Bad, b.Label = true, wire.Some([]string{"", "no spaces", "$system", strings.Repeat("x", wire.MaxName+1)}[c.rand.N(4)])
		}
		a.Body = b
	case n < 35:
		a.Body = &wire.ListCheckpoints{Of: of}
	case n < 48:
		a.Body = &wire.GetCheckpoint{Of: of, Ref: c.ref(a.Tenant), After: c.stream(a.Tenant), Limit: uint32(c.rand.N(5))}
		if c.rand.Coin() {
			a.Body = &wire.GetCheckpoint{Of: of, Ref: c.ref(a.Tenant), Limit: 1 << 20}
		}
	case n < 58:
		a.Body = &wire.DeleteCheckpoint{Of: of, Ref: c.ref(a.Tenant)}
	case n < 90 || k.n > 0:
		a.Bad, a.Body = false, c.read(a.Tenant)
	default:
		a.Bad = false
		c.count(a)
	}
	if a.Body != nil {
		c.send(k, a, func(wire.ResponseBody) {})
	}
}

// label draws one of a few labels, in one of two cases.
func (c *Notary) label() string {
	label := fmt.Sprintf("Nightly-%d", c.rand.N(4))
	if c.rand.N(3) == 0 {
		return strings.ToLower(label)
	}
	return label
}

// ref draws what may name a checkpoint of a tenant.
func (c *Notary) ref(t wire.TenantID) (ref wire.CheckpointRef) {
	cuts := c.judge.Cuts(t)
	switch n := c.rand.N(12); {
	case n == 0:
		ref.ID[0] = 1
	case n < 4:
		ref.Label = c.label()
	case n == 4 && len(c.once) > 0: // deleted by now, or of another tenant
		ref = c.once[c.rand.N(len(c.once))]
	case len(cuts) > 0:
		x := cuts[c.rand.N(len(cuts))]
		if ref.ID = x.ID; x.Label != "" && c.rand.Coin() {
			ref = wire.CheckpointRef{Label: x.Label}
		}
		c.once = append(c.once[max(0, len(c.once)-8):], wire.CheckpointRef{ID: x.ID})
	}
	return ref
}

// stream draws a stream of a tenant; 0 where there is none.
func (c *Notary) stream(t wire.TenantID) wire.StreamID {
	_, streams, _ := c.judge.Reach(t)
	if len(streams) == 0 {
		return 0
	}
	return streams[c.rand.N(len(streams))]
}

// position draws a position of a tenant: that of a checkpoint, or any.
func (c *Notary) position(t wire.TenantID) wire.Position {
	if cuts := c.judge.Cuts(t); len(cuts) > 0 && c.rand.N(3) > 0 {
		return cuts[c.rand.N(len(cuts))].Position
	}
	at, _, _ := c.judge.Reach(t)
	return wire.Position(c.rand.N(int(at) + 3))
}

// read draws a read as of a position.
func (c *Notary) read(t wire.TenantID) wire.RequestBody {
	r := c.rand
	b := &wire.ReadEvents{Stream: c.stream(t), MaxBytes: uint64(r.Log(1, 1<<14)), Backward: r.N(3) == 0, AsOf: wire.Some(c.position(t))}
	if b.Backward {
		b.FromOffset = wire.EndOffset
	}
	first, last := c.judge.Times(t, b.Stream)
	if n := c.judge.Len(t, b.Stream); r.N(3) == 0 {
		b.FromOffset = wire.Offset(r.N(n + 2))
	}
	if r.N(4) == 0 {
		b.MaxEvents = wire.Some(uint32(r.N(20)))
	}
	if r.N(4) == 0 {
		b.FromTimestamp = wire.Some(first + wire.Time(r.Uint64()%uint64(last-first+2)))
	}
	return b
}

// count draws a count of the events of a stream that keeps them all.
func (c *Notary) count(a *check.PastAsk) {
	_, streams, names := c.judge.Reach(a.Tenant)
	if len(streams) == 0 {
		return
	}
	i := c.rand.N(len(streams))
	a.Count, a.At = streams[i], c.position(a.Tenant)
	text := fmt.Sprintf(`SELECT count(*) FROM "%s"`, names[i])
	if cuts := c.judge.Cuts(a.Tenant); len(cuts) > 0 && c.rand.Coin() {
		x := cuts[c.rand.N(len(cuts))]
		asOf := x.AsOf(c.rand.N)
		a.Ref = wire.Some(wire.CheckpointRef{ID: x.ID})
		if !strings.Contains(asOf, x.ID.String()) {
			a.Ref.Value = wire.CheckpointRef{Label: x.Label}
		}
		a.Body = &wire.Query{SQL: text + asOf}
		return
	}
	a.Body = &wire.QueryAt{SQL: text, Position: a.At}
}

// look looks at the next checkpoint of the next tenant, until all of them are kept.
func (c *Notary) look(k *notaryLink) {
	e := &k.end
	if k.flight > 0 || e.tenant == len(k.tenants) {
		return
	}
	t := k.tenants[e.tenant]
	if !e.listed {
		c.send(k, &check.PastAsk{Tenant: t, Body: &wire.ListCheckpoints{Of: t}}, func(r wire.ResponseBody) {
			_, e.listed = r.(*wire.ListCheckpointsReply)
			if x, refused := r.(*wire.Error); refused && x.Code == wire.TenantNotFound {
				e.tenant++
			}
			e.left, e.after = c.judge.Cuts(t), 0
		})
		return
	}
	if len(e.left) == 0 {
		e.tenant, e.listed = e.tenant+1, false
		return
	}
	b := &wire.GetCheckpoint{Of: t, Ref: wire.CheckpointRef{ID: e.left[0].ID}, After: e.after, Limit: 3}
	c.send(k, &check.PastAsk{Tenant: t, Body: b}, func(r wire.ResponseBody) {
		x, got := r.(*wire.GetCheckpointReply)
		failed, _ := r.(*wire.Error)
		if e.last = ""; got {
			e.last = "a checkpoint is not kept: " + x.Trouble
		}
		switch {
		case failed != nil && failed.Code == wire.CheckpointNotFound:
			e.listed = false
		case failed != nil && failed.Code == wire.DataCorrupted:
			e.left, e.after = e.left[1:], 0
		case failed != nil:
			e.last = failed.Message
		case got && x.Note != "" && x.More:
			e.after = x.Streams[len(x.Streams)-1].Stream
		case got && x.Note != "":
			e.left, e.after = e.left[1:], 0
		}
	})
}
