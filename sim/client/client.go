// Package client simulates clients: each sends the operations of a plan as bytes, reads replies as bytes, and tells the
// checks what it learned. Nothing here knows the server's inside.
package client

import (
	"slices"

	"github.com/kimberlitedb/kimberlite-go/sim/check"
	"github.com/kimberlitedb/kimberlite-go/sim/model"
	"github.com/kimberlitedb/kimberlite-go/sim/network"
	"github.com/kimberlitedb/kimberlite-go/sim/plan"
	"github.com/kimberlitedb/kimberlite-go/sim/rng"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// World is what a client needs of the world.
type World interface {
	Now() int64
	After(span int64, do func())
	// Dial connects a client. Done is called with the connection, or with nil where that fails.
	Dial(client int, end network.End, done func(*network.Conn))
	// Note records a step of a client.
	Note(kind string, client int, a, b uint64)
	// Observe notes that a fault of a kind was noticed.
	Observe(fault string)
}

// Client is one client.
type Client struct {
	Spec plan.Client
	Done int // operations and requests ended, whichever way

	world  World
	suite  *check.Suite
	index  int
	config *plan.Config
	tenant *model.Tenant
	rand   *rng.Rand
	queue  []plan.Op
	tries  map[int]int // by operation

	link     *link
	dialing  bool
	waiting  bool  // a wake-up is under way
	until    int64 // nothing is sent before
	ensuring bool  // what the next operation needs is being made
	retired  bool  // sends nothing more
	next     uint64
	offsets  map[*model.Stream]wire.Offset // where Follow reads on
	resumes  map[*model.Stream]wire.Offset // where a subscription that was cut off goes on
	orders   *int                          // counts the calls of all clients
	links    *int                          // counts the connections of all clients
	packers  wire.Packers
}

// link is one connection of a client. It implements network.End.
type link struct {
	sender
	c       *Client
	number  int
	session *wire.ClientSession
	scanner *check.Scanner
	calls   []*model.Call // in flight, oldest first
	subs    []*model.Subscription
	sent    int    // requests
	ready   bool   // the handshake is done, or there is none
	doomed  bool   // the server is to hang up
	spoilt  uint64 // the id of what cannot be decoded, if the server may answer it
	deaf    bool
	shape   wire.Features
	heard   int64 // when something last arrived, or the first request in flight was sent
}

// Shared is what the clients of a run share.
type Shared struct{ orders, links int }

// New returns a client with the operations that it is to carry out.
func New(w World, s *check.Suite, source rng.Source, sh *Shared, index int, config *plan.Config, spec plan.Client, ops []plan.Op) *Client {
	return &Client{
		Spec: spec, world: w, suite: s, index: index, config: config, tenant: s.M.Tenant(spec.Tenant),
		rand: source.Numbered("client", uint64(index)), queue: ops, tries: map[int]int{},
		offsets: map[*model.Stream]wire.Offset{}, resumes: map[*model.Stream]wire.Offset{}, orders: &sh.orders, links: &sh.links,
		packers: wire.Alone(),
	}
}

// Idle reports whether a client has nothing more to do and waits for nothing.
func (c *Client) Idle() bool {
	return len(c.queue) == 0 && (c.link == nil || len(c.link.calls) == 0 && c.link.behind() == nil)
}

// Behind returns a subscription that waits for events in vain, nil where none does.
func (c *Client) Behind() *model.Subscription {
	if c.link == nil {
		return nil
	}
	return c.link.behind()
}

// Issued reports whether a client has sent all that it has to.
func (c *Client) Issued() bool { return len(c.queue) == 0 }

// Retire drops what has not been sent.
func (c *Client) Retire() {
	c.Done += len(c.queue)
	c.queue, c.retired = nil, true
}

// Append has a client append once more.
func (c *Client) Append() {
	c.queue = append(c.queue, plan.Op{N: plan.Farewell + c.index, Client: c.index, Kind: plan.Append, Count: 1, Size: 1})
	if l := c.link; l != nil && l.ready && !l.doomed {
		for _, sub := range l.subs {
			l.grant(sub, plan.Op{Count: 1 << 30, Size: 1 << 30})
		}
	}
	c.Pump()
}

// Waiting describes what a client waits for, for a failure.
func (c *Client) Waiting() (calls, queued int) {
	if c.link != nil {
		calls = len(c.link.calls)
	}
	return calls, len(c.queue)
}

// Leave hangs up.
func (c *Client) Leave() {
	if l := c.link; l != nil {
		l.conn.Finish(network.Client)
		l.drop()
	}
}

// Pump sends what may be sent now.
func (c *Client) Pump() {
	for len(c.queue) > 0 {
		if now := c.world.Now(); c.until > now {
			c.wake(c.until - now)
			return
		}
		l := c.link
		if l == nil {
			c.dial()
			return
		}
		if !l.ready || l.doomed || c.ensuring || len(l.calls) >= c.Spec.Pipeline {
			return
		}
		if !c.ensure(l, &c.queue[0]) {
			return
		}
		op := c.queue[0]
		c.queue = c.queue[1:]
		c.do(l, op)
		if c.rand.N(4) > 0 {
			c.until = c.world.Now() + c.rand.Between(0, int64(c.config.ThinkTime))*1000
		}
	}
}

func (c *Client) wake(span int64) {
	if c.waiting {
		return
	}
	c.waiting = true
	c.world.After(span, func() {
		c.waiting = false
		c.Pump()
	})
}

func (c *Client) dial() {
	if c.dialing {
		return
	}
	c.dialing = true
	*c.links++
	l := &link{c: c, number: *c.links, session: wire.NewClientSession(wire.Alone()), scanner: c.suite.Scanner(c.tenant.ID)}
	c.world.Dial(c.index, l, func(conn *network.Conn) {
		c.dialing = false
		if conn == nil {
			c.wake(c.rand.Log(1_000_000, 1_000_000_000))
			return
		}
		l.conn, c.link = conn, l
		c.world.Note("connected", c.index, uint64(l.number), 0)
		l.greet()
		l.watch()
		c.Pump()
	})
}

// greet sends the handshake, if this client has one.
func (l *link) greet() {
	if l.ready = !l.c.Spec.Handshake; l.ready {
		return
	}
	asks := wire.Features{RichEvents: l.c.Spec.Rich, ExtendedErrors: l.c.Spec.Extended}
	asks.LZ4, asks.Zstd = l.codec() == wire.LZ4, l.codec() == wire.Zstd
	hello := &wire.Handshake{ClientVersion: uint16(max(1, l.c.Spec.Version)), Capabilities: asks.Capabilities()}
	l.shape = wire.Agree(hello)
	l.call(&model.Call{Body: hello})
}

func (l *link) codec() wire.Codec { return wire.Codec(l.c.Spec.Codec) }

// call sends a request. Its number is new unless it has one.
func (l *link) call(call *model.Call) {
	c := l.c
	if call.ID == 0 {
		c.next++
		call.ID = c.next
	}
	*c.orders++
	call.Client, call.Conn, call.Sent, call.Order = c.index, l.number, c.world.Now(), *c.orders
	if call.Tenant == 0 {
		call.Tenant = c.tenant.ID
	}
	if l.ready {
		call.Features = l.shape
	}
	call.Known = c.tenant.Exists
	if st := call.Stream; st != nil {
		call.Floor, call.Told, call.Known = st.Head, st.Told, st.Exists
	}
	if len(l.calls) == 0 {
		l.heard = call.Sent
	}
	l.calls = append(l.calls, call)
	l.sent++
	c.world.Note("request", c.index, call.ID, uint64(call.Body.Op()))
	l.write(l.frame(call.ID, call.Tenant, call.Body))
}

// frame encodes a request as the connection has it.
func (l *link) frame(id uint64, tenant wire.TenantID, b wire.RequestBody) []byte {
	r := &wire.Request{ID: id, Tenant: tenant, Body: b}
	if !l.ready || l.shape.Version < 2 {
		return wire.AppendRequest(nil, r, wire.Features{})
	}
	r.Codec = l.codec()
	return wire.PackRequest(nil, r, l.shape, l.c.packers.Borrow())
}

// Ready implements network.End.
func (l *link) Ready() bool { return !l.deaf }

// Data implements network.End.
func (l *link) Data(p []byte) {
	c := l.c
	l.heard = c.world.Now()
	l.scanner.Scan(p)
	messages, err := l.session.Feed(p, nil)
	for _, m := range messages {
		if c.suite.Failed != nil || l.gone {
			return
		}
		switch m := m.(type) {
		case *wire.Response:
			l.reply(m)
		case *wire.Push:
			l.pushed(m)
		}
	}
	if err != nil {
		if l.conn.Damaged(network.Client) {
			c.world.Observe("corrupt")
		} else {
			c.suite.Fail(check.Contract, "client %d: what the server sent cannot be decoded: %v", c.index, err)
		}
		l.conn.Abort(network.Client)
		l.drop()
	}
	c.Pump()
}

func (l *link) reply(r *wire.Response) {
	c := l.c
	if e, failed := r.Body.(*wire.Error); failed && l.spoilt != 0 && r.RequestID == l.spoilt {
		c.suite.Refused(e, wire.InvalidRequest)
		l.spoilt = 0
		return
	}
	i := 0
	if l.shape.Version >= 2 && l.ready { // in any order
		i = slices.IndexFunc(l.calls, func(c *model.Call) bool { return c.ID == r.RequestID })
	}
	if _, failed := r.Body.(*wire.Error); failed && i < 0 && l.conn.Damaged(network.Server) {
		c.world.Observe("corrupt") // the codec in a frame's header has no checksum, so that another id was read
		return
	}
	if i < 0 || i >= len(l.calls) || l.calls[i].ID != r.RequestID {
		c.suite.Fail(check.Contract, "client %d: reply to request %d, %d are in flight", c.index, r.RequestID, len(l.calls))
		return
	}
	call := l.calls[i]
	l.calls = slices.Delete(l.calls, i, i+1)
	call.Returned, call.Reply = c.world.Now(), r.Body
	c.world.Note("reply", c.index, call.ID, uint64(call.Returned-call.Sent))
	c.suite.Reply(call)
	c.learn(l, call)
}

// Hangup implements network.End.
func (l *link) Hangup() {
	l.drop()
	l.c.Pump()
}

// drop ends the connection: what is in flight has an unknown outcome.
func (l *link) drop() {
	if l.gone {
		return
	}
	c := l.c
	l.gone = true
	if c.link == l {
		c.link = nil
	}
	c.ensuring = false
	c.world.Note("disconnected", c.index, uint64(l.number), uint64(len(l.calls)))
	var again []plan.Op
	for _, call := range l.calls {
		c.suite.Lost(call)
		if call.Append == nil || !c.Spec.Resend || c.tries[call.Op.N] > maxTries || c.retired {
			c.ended(call)
			continue
		}
		again = append(again, call.Op)
	}
	l.calls, l.subs = nil, nil
	c.queue = append(again, c.queue...)
}

// maxTries is how often a client sends an append again.
const maxTries = 3

// ended counts the end of a call that was an operation of the plan.
func (c *Client) ended(call *model.Call) {
	if call.Op.Kind != "" {
		c.Done++
	}
}

// patience is how long a client waits for anything to arrive before it hangs up.
const patience = 15_000_000_000

// watch hangs up on a server that has nothing to say.
func (l *link) watch() {
	c := l.c
	c.world.After(patience/3, func() {
		if l.gone {
			return
		}
		silent := c.world.Now()-l.heard > patience
		if silent && !l.deaf && (len(l.calls) > 0 || l.doomed) {
			c.world.Observe("half-open")
			c.world.Observe("partition")
			l.conn.Abort(network.Client)
			l.drop()
			c.Pump()
			return
		}
		l.watch()
	})
}
