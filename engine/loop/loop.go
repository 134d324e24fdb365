// Package loop stands between the machine and its drivers: it gathers requests of many connections into groups, keeps
// replies in request order, bounds what a connection may have under way, and ends connections that are silent or do not
// read. It is as pure as the machine: drivers tell it what happened and when, and it calls them back.
//
//	l := loop.New(machine, driver, loop.DefaultConfig())
//	l.Open(now, conn, "10.0.0.7:4711")
//	l.Receive(now, conn, requests)
//	for l.Run(now) { … } // carry out what the driver was told, and feed Complete
//
// Production (io/host) and the simulator drive the same Loop.
package loop

import (
	"slices"
	"sort"

	"github.com/kimberlitedb/kimberlite-go/engine"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// Driver carries out what the loop decides. Its methods must not block and not call the loop back; the loop calls them
// in an order that they must keep.
type Driver interface {
	// Write puts a batch on disk and Sync makes it durable; engine.Synced or engine.IOFailed comes back by Complete.
	Write(*engine.Write)
	Sync(*engine.Sync)
	// Start runs a job; engine.JobDone comes back by Complete.
	Start(*engine.StartJob)
	// Send encodes and sends a reply, after what was sent before; Sent comes back when its bytes have left.
	Send(reply *engine.Reply, took wire.Span)
	// Push encodes and sends what answers no request, in the same way.
	Push(*engine.Push)
	// Pause stops reading from a connection, or resumes it.
	Pause(conn engine.ConnID, paused bool)
	// Disconnect closes a connection once everything sent to it has left. Closed comes back.
	Disconnect(conn engine.ConnID, why Reason)
	// Halt ends the process.
	Halt(error)
}

// Reason says why the loop ends a connection.
type Reason string

// The reasons.
const (
	ReasonFault     Reason = "fault"     // what arrived cannot be decoded
	ReasonRefused   Reason = "refused"   // the handshake was refused
	ReasonHandshake Reason = "handshake" // no first request in time
	ReasonIdle      Reason = "idle"      // no request for too long
	ReasonStalled   Reason = "stalled"   // replies are not read
	ReasonShutdown  Reason = "shutdown"
)

// Config bounds what connections may do. Spans of 0 mean no limit.
type Config struct {
	MaxInflight int // requests of one connection that are not answered; a full one is not read from
	MaxReceived int // bytes of one connection's requests that the machine has not seen; likewise
	MaxUnsent   int // bytes of replies of one connection, sent or expected, beyond which its requests wait
	Group       int // requests of all connections that one turn takes
	Share       int // of those, one connection's at a time

	HandshakeTimeout wire.Span // from opening to the first request
	IdleTimeout      wire.Span // between requests, with nothing under way
	StallTimeout     wire.Span // without any byte leaving, while there are some to send
	PingTimeout      wire.Span // for an answer to a ping, which a connection with subscriptions gets instead of IdleTimeout
}

// DefaultConfig returns the limits of a production server.
func DefaultConfig() Config {
	return Config{
		MaxInflight: 4096, MaxReceived: 1 << 20, MaxUnsent: 4 << 20, Group: 4096, Share: 256,
		HandshakeTimeout: 10 * engine.Second, IdleTimeout: 15 * engine.Minute, StallTimeout: 30 * engine.Second,
		PingTimeout: 30 * engine.Second,
	}
}

// Loop drives a machine. It is not safe for concurrent use.
type Loop struct {
	m      *engine.Machine
	d      Driver
	cfg    Config
	conns  map[engine.ConnID]*conn
	order  []*conn // by id, for sweeps
	ready  []*conn // with requests that may be taken, in turn
	done   []engine.Command
	eased  []*conn // that were choked and have room again
	fx     []engine.Effect
	closed bool // takes no new requests
}

// conn is one connection.
type conn struct {
	id      engine.ConnID
	from    string
	queue   []*wire.Request // received, not yet given to the machine
	waiting []answer        // received and not sent, in request order; all but the last len(queue) are with the machine
	seq     uint64          // of the first one waiting
	unsent  int             // bytes of replies that were sent and have not left
	stored  int             // bytes of the requests in queue
	held    int             // bytes of replies that wait for earlier ones
	expect  int             // bytes that reads with the machine may answer
	free    bool            // replies are sent as they come, not in the order of the requests
	pushed  bool            // something was pushed
	eased   bool            // in Loop.eased
	pinged  bool            // and has not sent anything since
	ready   bool            // in Loop.ready
	paused  bool
	closing Reason    // set once nothing more is read; the connection ends when all is answered
	ended   bool      // Disconnect was called
	active  wire.Time // when something last arrived or left
	moved   wire.Time // when bytes last left, or began to wait
	heard   bool      // a request has come
	broken  bool      // the last one waiting is not a request, but what could not be decoded
}

// answer is the place of one reply.
type answer struct {
	reply  *engine.Reply // nil until the machine answers
	sent   bool          // out of order
	at     wire.Time     // when the request came
	expect int
}

// New makes the loop of a machine.
func New(m *engine.Machine, d Driver, cfg Config) *Loop {
	return &Loop{m: m, d: d, cfg: cfg, conns: map[engine.ConnID]*conn{}}
}

// Open takes up a connection from an address. Ids ascend.
func (l *Loop) Open(now engine.Instant, id engine.ConnID, from string) {
	c := &conn{id: id, from: from, active: now.Mono}
	l.conns[id] = c
	l.order = append(l.order, c)
	if l.closed {
		l.shut(c, ReasonShutdown)
	}
}

// Receive takes requests that arrived on a connection, in order.
func (l *Loop) Receive(now engine.Instant, id engine.ConnID, requests []*wire.Request) {
	c := l.conns[id]
	if c == nil || c.closing != "" || len(requests) == 0 {
		return
	}
	c.active, c.heard, c.pinged = now.Mono, true, false
	c.free = requests[len(requests)-1].Features.Version >= 2
	c.queue = append(c.queue, requests...)
	for _, r := range requests {
		c.stored += r.Size
		c.waiting = append(c.waiting, answer{at: now.Mono})
	}
	if !c.paused && (len(c.waiting) >= l.cfg.MaxInflight || c.stored >= l.cfg.MaxReceived) {
		c.paused = true
		l.d.Pause(id, true)
	}
	l.wake(c)
}

// Fault says that what arrived after the requests received cannot be decoded. They are answered, and so is the one that
// cannot, where its client is to be told; then the connection ends.
func (l *Loop) Fault(now engine.Instant, id engine.ConnID, f *wire.Fault) {
	c := l.conns[id]
	if c == nil || c.closing != "" {
		return
	}
	if f.Request.Set {
		c.waiting = append(c.waiting, answer{at: now.Mono})
		c.broken = true
		c.closing = ReasonFault
		l.answer(now, &engine.Reply{Conn: id, Seq: c.seq + uint64(len(c.waiting)) - 1, Garbled: true, Msg: wire.Response{
			RequestID: f.Request.Value,
			Body:      &wire.Error{Code: wire.InvalidRequest, Message: "the request cannot be decoded: " + f.Err.Error()},
		}})
		return
	}
	l.shut(c, ReasonFault)
}

// Sent says that replies that count for so many bytes have left a connection; 0 says that a part of one has.
func (l *Loop) Sent(now engine.Instant, id engine.ConnID, bytes int) {
	c := l.conns[id]
	if c == nil {
		return
	}
	c.active, c.moved = now.Mono, now.Mono
	c.unsent -= bytes
	l.wake(c)
	if !c.pushed || c.eased {
		return
	}
	if upto, choked := l.m.Choked(id); choked && c.unsent <= upto {
		c.eased = true
		l.eased = append(l.eased, c)
	}
}

// Eased reports that a turn is needed since connections that were choked have room again.
func (l *Loop) Eased() bool { return len(l.eased) > 0 }

// Closed says that a connection is gone. Its requests that the machine has not seen are dropped.
func (l *Loop) Closed(now engine.Instant, id engine.ConnID) {
	c := l.conns[id]
	if c == nil {
		return
	}
	c.queue, c.ended = nil, true
	l.step(now, engine.Hangup{Conn: id})
	delete(l.conns, id)
	i := sort.Search(len(l.order), func(i int) bool { return l.order[i].id >= id })
	l.order = slices.Delete(l.order, i, i+1)
}

// Complete takes the outcome of a Write and Sync, or of a job.
func (l *Loop) Complete(c engine.Command) { l.done = append(l.done, c) }

// Run takes one turn: outcomes first, then a group of requests in turn over the connections. It reports whether more
// requests could be taken at once.
func (l *Loop) Run(now engine.Instant) bool {
	for i, c := range l.done {
		l.step(now, c)
		l.done[i] = nil
	}
	l.done = l.done[:0]
	for i, c := range l.eased {
		c.eased = false
		l.step(now, engine.Drained{Conn: c.id, Unsent: c.unsent})
		l.eased[i] = nil
	}
	l.eased = l.eased[:0]
	taken := 0
	for len(l.ready) > 0 && taken < l.cfg.Group && !l.m.Full() {
		c := l.ready[0]
		l.ready = l.ready[1:]
		c.ready = false
		taken += l.take(now, c)
		l.wake(c)
	}
	if taken > 0 {
		l.step(now, engine.EndBatch{})
	}
	return len(l.ready) > 0 && !l.m.Full()
}

// Tick lets time pass: four times a second is enough.
func (l *Loop) Tick(now engine.Instant) {
	l.step(now, engine.Tick{})
	for _, c := range l.order {
		switch why := l.overdue(c, now.Mono); {
		case why == ReasonIdle && !c.pinged && l.m.Subscribed(c.id):
			c.pinged, c.active = true, now.Mono
			l.push(now, &engine.Push{Conn: c.id, Msg: wire.Push{Body: &wire.PushPing{}}})
		case why != "":
			l.end(c, why)
		}
	}
}

// Shutdown takes no more requests. Every connection ends when what it has sent is answered.
func (l *Loop) Shutdown(now engine.Instant) {
	l.closed = true
	for _, c := range l.order {
		l.step(now, engine.Dismiss{Conn: c.id})
		l.shut(c, ReasonShutdown)
	}
}

// Conns returns the number of connections.
func (l *Loop) Conns() int { return len(l.conns) }

// Queued returns the number of requests that the machine has not seen.
func (l *Loop) Queued() int {
	n := 0
	for _, c := range l.order {
		n += len(c.queue)
	}
	return n
}

// Quiet reports whether nothing is under way.
func (l *Loop) Quiet() bool {
	return len(l.ready) == 0 && len(l.done) == 0 && len(l.eased) == 0 && l.m.Idle()
}

// take gives a connection's next requests to the machine, up to its share, and returns how many.
func (l *Loop) take(now engine.Instant, c *conn) int {
	requests := make([]engine.Request, min(len(c.queue), l.cfg.Share))
	n := 0
	for n < len(requests) && l.able(c) && !l.m.Full() {
		i := len(c.waiting) - len(c.queue) // its place among those waiting
		if c.broken {
			i-- // the last one is not in the queue
		}
		requests[n] = engine.Request{Conn: c.id, Seq: c.seq + uint64(i), From: c.from, Msg: c.queue[0]}
		c.waiting[i].expect = expected(c.queue[0])
		c.expect += c.waiting[i].expect
		c.stored -= c.queue[0].Size
		c.queue[0] = nil
		c.queue = c.queue[1:]
		l.step(now, &requests[n])
		n++
	}
	l.resume(c)
	return n
}

// expected returns how many bytes the answer to a request may take beyond a few.
func expected(r *wire.Request) int {
	if b, ok := r.Body.(*wire.ReadEvents); ok {
		return int(min(b.MaxBytes, wire.MaxPayload))
	}
	return 0
}

// able reports whether a connection has a request that may be taken now.
func (l *Loop) able(c *conn) bool {
	return len(c.queue) > 0 && !c.ended && !l.m.Busy(c.id) && c.unsent+c.held+c.expect < l.cfg.MaxUnsent
}

// wake queues a connection for a turn if it may have one.
func (l *Loop) wake(c *conn) {
	if !c.ready && l.able(c) {
		c.ready = true
		l.ready = append(l.ready, c)
	}
}

// step runs one command and passes its effects on.
func (l *Loop) step(now engine.Instant, cmd engine.Command) {
	l.fx = l.m.Step(now, cmd, l.fx[:0])
	for i, e := range l.fx {
		l.fx[i] = nil
		switch e := e.(type) {
		case *engine.Reply:
			l.answer(now, e)
		case *engine.Push:
			l.push(now, e)
		case *engine.Write:
			l.d.Write(e)
		case *engine.Sync:
			l.d.Sync(e)
		case *engine.StartJob:
			l.d.Start(e)
		case *engine.Halt:
			l.d.Halt(e.Err)
			return
		}
	}
	for _, id := range l.m.Released() {
		if c := l.conns[id]; c != nil {
			l.wake(c)
		}
	}
}

// push sends what answers no request.
func (l *Loop) push(now engine.Instant, p *engine.Push) {
	c := l.conns[p.Conn]
	if c == nil || c.ended {
		return
	}
	c.pushed = true
	c.send(now, engine.Weight(&p.Msg))
	l.d.Push(p)
}

// answer puts a reply in its place and sends all that are next in order, or at once where order does not matter.
func (l *Loop) answer(now engine.Instant, r *engine.Reply) {
	c := l.conns[r.Conn]
	if c == nil || c.ended {
		return
	}
	a := &c.waiting[r.Seq-c.seq]
	a.reply = r
	c.expect -= a.expect
	if c.held += engine.Weight(&r.Msg); c.free && r.Seq != c.seq {
		a.sent = true
		l.send(now, c, a)
	}
	for len(c.waiting) > 0 && c.waiting[0].reply != nil {
		a := c.waiting[0]
		c.waiting[0] = answer{}
		c.waiting = c.waiting[1:]
		c.seq++
		if a.sent {
			continue
		}
		l.send(now, c, &a)
		if a.reply.Close {
			l.end(c, ReasonRefused)
			return
		}
	}
	l.resume(c)
	l.finish(c)
}

// send sends a reply that was held.
func (l *Loop) send(now engine.Instant, c *conn, a *answer) {
	size := engine.Weight(&a.reply.Msg)
	c.held -= size
	c.send(now, size)
	l.d.Send(a.reply, wire.Span(now.Mono-a.at))
}

// send counts a message as sent.
func (c *conn) send(now engine.Instant, size int) {
	if c.unsent == 0 {
		c.moved = now.Mono
	}
	c.unsent += size
}

// resume has a connection read from again once half of what filled it is gone.
func (l *Loop) resume(c *conn) {
	if c.paused && len(c.waiting) <= l.cfg.MaxInflight/2 && c.stored <= l.cfg.MaxReceived/2 {
		c.paused = false
		l.d.Pause(c.id, false)
	}
}

// shut takes no more requests from a connection and ends it when those received are answered.
func (l *Loop) shut(c *conn, why Reason) {
	if c.closing == "" {
		c.closing = why
		l.finish(c)
	}
}

// finish ends a connection that is shut, once nothing of it waits.
func (l *Loop) finish(c *conn) {
	if c.closing != "" && len(c.waiting) == 0 {
		l.end(c, c.closing)
	}
}

func (l *Loop) end(c *conn, why Reason) {
	if c.ended {
		return
	}
	c.ended, c.queue = true, nil
	l.d.Disconnect(c.id, why)
}

// overdue says which time limit a connection has passed, if any.
func (l *Loop) overdue(c *conn, now wire.Time) Reason {
	past := func(since wire.Time, limit wire.Span) bool { return limit > 0 && wire.Span(now-since) > limit }
	switch {
	case c.ended:
		return ""
	case c.pinged && past(c.active, l.cfg.PingTimeout):
		return ReasonIdle
	case c.unsent > 0 && past(c.moved, l.cfg.StallTimeout):
		return ReasonStalled
	case !c.heard && past(c.active, l.cfg.HandshakeTimeout):
		return ReasonHandshake
	case c.unsent == 0 && len(c.waiting) == 0 && past(c.active, l.cfg.IdleTimeout):
		return ReasonIdle
	}
	return ""
}
