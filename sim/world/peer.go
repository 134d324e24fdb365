package world

import (
	"errors"

	"github.com/kimberlitedb/kimberlite-go/engine"
	"github.com/kimberlitedb/kimberlite-go/engine/loop"
	"github.com/kimberlitedb/kimberlite-go/sim/check"
	"github.com/kimberlitedb/kimberlite-go/sim/client"
	"github.com/kimberlitedb/kimberlite-go/sim/network"
	"github.com/kimberlitedb/kimberlite-go/sim/trace"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// peer is the server's end of a connection. It implements network.End.
type peer struct {
	s       *server
	id      engine.ConnID
	session *wire.Session
	conn    *network.Conn
	queue   []outgoing
	buf     []byte // encoded, not yet taken by the network
	size    int    // what the replies in buf count for
	waiting int    // what all replies that have not left count for
	largest int    // what the largest reply counted for
	pushed  int    // what all pushes of events that have not left count for
	push    int    // what the largest of them counted for
	paused  bool
	closing bool // hangs up once all is sent
	dirty   bool
	faulted bool
	asked   map[uint64]wire.StreamID // by requests to subscribe
	clerk   bool                     // its requests are the clerk's
	queries int                      // that are not answered
	gone    bool
}

// outgoing is a message that has not been encoded, and what its bytes must be, uncompressed.
type outgoing struct {
	message wire.Message
	sum     uint64
}

// Data implements network.End.
func (p *peer) Data(b []byte) {
	s := p.s
	if s.gone || p.faulted {
		return
	}
	s.w.bytes += uint64(len(b))
	requests, err := p.session.Feed(b, nil)
	for _, r := range requests {
		s.w.groups.Received(uint64(p.id), r, s.now().Mono)
		p.clerk = r.Tenant == client.ClerkTenant
		if op := r.Body.Op(); op == wire.OpQuery || op == wire.OpQueryAt {
			p.queries++
		}
		if b, ok := r.Body.(*wire.Subscribe); ok {
			p.asked[r.ID] = b.Stream
		}
	}
	s.loop.Receive(s.now(), p.id, requests)
	if err != nil {
		p.fault(err)
	}
	s.wake()
}

func (p *peer) fault(err error) {
	p.faulted = true
	w := p.s.w
	var f *wire.Fault
	if !errors.As(err, &f) {
		w.suite.Fail(check.Contract, "a session ended with %v, which is not a fault", err)
		return
	}
	w.note("fault", uint64(p.id), uint64(f.Reason), 0)
	w.faults++
	if p.conn.Damaged(network.Server) {
		w.in.Observe("corrupt")
	}
	if !p.conn.Spoilt() {
		w.suite.Fail(check.Contract, "the server cannot decode what a client sent in good faith: %v", err)
	}
	p.s.loop.Fault(p.s.now(), p.id, f)
}

// Ready implements network.End.
func (p *peer) Ready() bool { return !p.paused }

// Room implements network.End.
func (p *peer) Room() {
	if p.s.gone || p.gone {
		return
	}
	p.flush()
	p.s.wake()
	p.s.settle()
}

// Hangup implements network.End.
func (p *peer) Hangup() {
	if p.s.gone || p.gone {
		return
	}
	p.conn.Abort(network.Server)
	p.closed()
}

// closed forgets a connection that is no more.
func (p *peer) closed() {
	p.gone = true
	delete(p.s.peers, p.id)
	p.s.w.groups.Closed(uint64(p.id))
	p.s.loop.Closed(p.s.now(), p.id)
	p.s.wake()
}

func (p *peer) send(m wire.Message) {
	if p.closing || p.gone {
		return
	}
	w := p.s.w
	sum := p.sum(m)
	w.note("send", uint64(p.id), 0, sum)
	p.queue = append(p.queue, outgoing{m, sum})
	p.waiting += engine.Weight(m)
	p.largest = max(p.largest, engine.Weight(m))
	if pushes(m) {
		p.pushed += engine.Weight(m)
		p.push = max(p.push, engine.Weight(m))
	}
	w.bounded(p)
	p.touch()
}

// pushes reports whether a message is a push of events.
func pushes(m wire.Message) bool {
	push, ok := m.(*wire.Push)
	if !ok {
		return false
	}
	switch push.Body.(type) {
	case *wire.SubscriptionEvents, *wire.GroupEvents:
		return true
	}
	return false
}

// finish hangs up once all is sent, or at once on a client that does not read.
func (p *peer) finish(why loop.Reason) {
	p.closing = true
	w := p.s.w
	w.reasons[string(why)]++
	if why == loop.ReasonStalled {
		p.queue, p.buf = nil, nil
	}
	w.after(5_000_000_000, func() {
		if !p.gone && !p.s.gone {
			p.conn.Abort(network.Server)
			p.closed()
		}
	})
	p.touch()
}

func (p *peer) touch() {
	if !p.dirty {
		p.dirty = true
		p.s.dirty = append(p.s.dirty, p)
		p.s.wake()
	}
}

// flush hands bytes to the network as far as it takes them.
func (p *peer) flush() {
	if p.gone {
		return
	}
	w := p.s.w
	for {
		if len(p.buf) == 0 {
			if p.size > 0 {
				p.waiting -= p.size
				p.s.loop.Sent(p.s.now(), p.id, p.size)
				p.size = 0
			}
			if len(p.queue) == 0 {
				break
			}
			p.encode()
		}
		n := p.conn.Send(network.Server, p.buf)
		p.buf = p.buf[n:]
		if len(p.buf) > 0 {
			break
		}
		if _, ok := w.at.lost.Fire(); ok {
			w.in.Observe("lost-reply")
			p.conn.Lose(network.Client)
		}
	}
	if p.closing && len(p.buf) == 0 {
		p.conn.Finish(network.Server)
		p.closed()
	}
}

// encode encodes the next reply. Its bytes are those that it had when it was given away.
func (p *peer) encode() {
	o := p.queue[0]
	p.queue[0] = outgoing{}
	p.queue = p.queue[1:]
	sum := p.sum(o.message)
	p.buf = p.session.Append(nil, o.message, p.s.w.packers.Borrow())
	p.size = engine.Weight(o.message)
	if pushes(o.message) {
		p.pushed -= p.size
	}
	p.s.w.suite.Saw(check.Buffers, p.s.w.now > 0)
	if sum != o.sum {
		p.s.w.suite.Fail(check.Buffers, "a %T was changed after it was given away", o.message)
	}
}

// sum sums up a message's payload as it is now.
func (p *peer) sum(m wire.Message) uint64 {
	w := p.s.w
	w.scratch = wire.AppendMessage(w.scratch[:0], m, wire.Features{}.In(wire.MaxVersion), nil)
	return trace.Sum(w.scratch)
}
