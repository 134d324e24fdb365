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

// Archivist is a client that has checkpoints sent to archives, on two connections as a notary has them. It names places that are not
// allowed, too, sends again what is there, and deletes checkpoints while they are sent. What it is answered check.Archives judges.
type Archivist struct {
	world   World
	suite   *check.Suite
	judge   *check.Archives
	cuts    *check.Checkpoints
	rand    *rng.Rand
	index   int  // of its first connection
	left    int  // operations to come
	locks   bool // the archives lock
	links   []*archiveLink
	ending  bool
	stopped bool
}

// archiveLink is a connection of an archivist.
type archiveLink struct {
	*caller
	n       int
	tenants []wire.TenantID
	dialing bool
	flight  int
	last    string // why what is looked at in the end does not get on
}

// ArchivePlace is where the server may send checkpoints to.
const ArchivePlace = "vault"

// NewArchivist returns an archivist.
func NewArchivist(w World, s *check.Suite, judge *check.Archives, cuts *check.Checkpoints, source rng.Source, index int, config *plan.Config) *Archivist {
	c := &Archivist{world: w, suite: s, judge: judge, cuts: cuts, rand: source.Stream("archivist"), index: index, left: config.Archivist, locks: config.Locks, stopped: config.Archivist == 0}
	shared, own := tenantsOf(config)
	c.links = []*archiveLink{{n: 0, tenants: shared}, {n: 1, tenants: own}}
	return c
}

// tenantsOf returns the tenants that clients share, and those that others have to themselves.
func tenantsOf(config *plan.Config) (shared, own []wire.TenantID) {
	for id := range config.Tenants {
		shared = append(shared, wire.TenantID(id+1))
	}
	for _, x := range []struct {
		id  wire.TenantID
		ops int
	}{{KeeperTenant, config.Keeper}, {CrewTenant, config.Crew}, {ClerkTenant, config.Clerk}} {
		if x.ops > 0 {
			own = append(own, x.id)
		}
	}
	return shared, own
}

// Finish has the archivist do nothing more but to wait until all is sent.
func (c *Archivist) Finish() { c.ending = true }

// Idle reports whether all that was asked for is in the archives.
func (c *Archivist) Idle() bool { return c.stopped || c.ending && c.judge.Next() == nil }

// Behind describes what is not sent in the end. It returns nothing where all is.
func (c *Archivist) Behind() string {
	if c.Idle() {
		return ""
	}
	x := c.judge.Next()
	return fmt.Sprintf("checkpoint %s of tenant %d is not in %s (%s%s)", x.ID, x.Tenant, x.To, c.links[0].last, c.links[1].last)
}

// Leave hangs up.
func (c *Archivist) Leave() {
	c.stopped = true
	for _, k := range c.links {
		if k.caller != nil {
			k.leave()
		}
	}
}

// Pump does the next thing on every connection, and goes on after a while.
func (c *Archivist) Pump() {
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
		case !k.ready() || k.flight > 2:
		case c.ending:
			c.look(k)
		case c.left > 0:
			c.act(k)
		}
	}
	c.world.After(c.rand.Log(10_000_000, 5_000_000_000), c.Pump)
}

func (c *Archivist) dial(k *archiveLink) {
	if k.dialing {
		return
	}
	k.dialing = true
	caller := newCaller(c.world, c.suite, 0, wire.Codec(c.rand.N(wire.CodecCount)))
	caller.lost = func() { k.caller, k.flight = nil, 0 }
	caller.pushed = func(b wire.PushBody) { c.suite.Fail(check.Contract, "the archivist is sent a %T", b) }
	c.world.Dial(c.index+k.n, caller, func(conn *network.Conn) {
		k.dialing = false
		if conn == nil || c.stopped {
			return
		}
		k.caller = caller
		k.open(conn)
	})
}

// send sends a request of a tenant, and gives the reply to whoever judges it.
func (c *Archivist) send(k *archiveLink, t wire.TenantID, b wire.RequestBody, done func(wire.ResponseBody)) {
	k.flight++
	k.tenant = t
	k.ask(b, func(r wire.ResponseBody) {
		if k.flight--; !k.conn.Damaged(network.Server) { // else it may be the answer to something else
			done(r)
		}
	})
}

// act sends something about a checkpoint that is there, if there is one.
func (c *Archivist) act(k *archiveLink) {
	t := k.tenants[c.rand.N(len(k.tenants))]
	if k.n == 1 && c.rand.Coin() {
		t = k.tenants[0] // whose streams lose the most
	}
	cuts := c.cuts.Cuts(t)
	if len(cuts) == 0 {
		return
	}
	c.left--
	cut := cuts[c.rand.N(len(cuts))]
	ref := wire.CheckpointRef{ID: cut.ID}
	a := &check.ArchiveAsk{Tenant: t, To: ArchivePlace + []string{"", "", "", "/b", "/b/c"}[c.rand.N(5)]}
	switch n := c.rand.N(100); {
	case n < 10:
		a.To = []string{"elsewhere", ArchivePlace + "x", ArchivePlace + "/../x", "/" + ArchivePlace, ArchivePlace + "?x=1"}[c.rand.N(5)]
		a.Bad = true
	case n < 14:
		a.To, a.Bad = []string{"", strings.Repeat("x", wire.MaxDestination+1)}[c.rand.N(2)], true
	case n < 18:
		ref.ID[0]++
	case n < 30:
		if x := c.judge.Next(); x != nil && x.Tenant == t {
			ref.ID = x.ID
		}
		ask := &check.PastAsk{Tenant: t, Body: &wire.DeleteCheckpoint{Of: t, Ref: ref}}
		c.cuts.Sent(ask)
		c.send(k, t, ask.Body, func(r wire.ResponseBody) { c.cuts.Answered(ask, r) })
		return
	case n < 45:
		if x := c.judge.Any(t, c.rand.N); x != nil { // once more
			ref.ID, a.To = x.ID, x.To
		}
	}
	b := &wire.ArchiveCheckpoint{Of: t, Ref: ref, Destination: a.To}
	if c.locks && !a.Bad && c.rand.N(3) == 0 {
		a.Lock = cut.Time + wire.Time(c.rand.Log(1_000_000_000, 90_000_000_000))
		b.LockUntil = wire.Some(a.Lock)
	}
	a.Ref = ref
	c.judge.Sent(a)
	c.send(k, t, b, func(r wire.ResponseBody) { c.judge.Answered(a, r) })
}

// look looks at the next checkpoint that is not in an archive yet. One that cannot be read any more, since the disk has damaged what it
// has, is deleted.
func (c *Archivist) look(k *archiveLink) {
	if k.conn.Damaged(network.Server) { // no answer on it counts
		k.abort()
		return
	}
	x := c.judge.Next()
	if x == nil || k.flight > 0 || (x.Tenant > 1000) != (k.n == 1) {
		return
	}
	t, ref := x.Tenant, wire.CheckpointRef{ID: x.ID}
	remove := func() {
		ask := &check.PastAsk{Tenant: t, Body: &wire.DeleteCheckpoint{Of: t, Ref: ref}}
		c.cuts.Sent(ask)
		c.send(k, t, ask.Body, func(r wire.ResponseBody) { c.cuts.Answered(ask, r) })
	}
	c.send(k, t, &wire.GetCheckpoint{Of: t, Ref: ref, Limit: 1}, func(r wire.ResponseBody) {
		switch r := r.(type) {
		case *wire.GetCheckpointReply:
			k.last = r.Trouble
			for _, a := range r.Archives {
				k.last += a.Trouble
				if a.Trouble != "" && c.judge.Hopeless(a.Trouble) {
					remove()
				}
			}
		case *wire.Error:
			if k.last = r.Message; r.Code == wire.DataCorrupted && c.suite.Faulty() {
				remove()
			}
		}
	})
}
