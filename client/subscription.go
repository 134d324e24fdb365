package client

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/kimberlitedb/kimberlite-go/wire"
)

// FlowOption is a setting of Subscribe, of Consume and of Handle.
type FlowOption func(*subscription)

func (o FlowOption) ofSubscribe(f *follower) { o(&f.subscription) }
func (o FlowOption) ofConsume(k *consumer)   { o(&k.subscription) }
func (o FlowOption) ofHandle(h *handler)     { o(&h.subscription) }

// Window lets so many events, and so many bytes of them, be on their way or wait for the consumer. Without it, 16,384 events
// and 2 MiB with Subscribe, 256 events and 1 MiB with Consume and Handle. One event may pass the bytes.
func Window(events, bytes int) FlowOption {
	return func(s *subscription) { s.window = credits{credit(events), credit(bytes)} }
}

// credit returns a part of a window. One beyond what a server counts could never be used up, nor given back.
func credit(n int) uint64 { return min(uint64(max(n, 1)), wire.MaxCredit) }

// OnGap calls f, from the consumer's loop, where events are passed over, and goes on. Without it a gap ends the sequence
// with a *GapError.
func OnGap(f func(GapError)) FlowOption { return func(s *subscription) { s.gap = f } }

// GapError tells of events that a subscription passes over.
type GapError struct {
	Stream   StreamID
	From, To Offset // the events From up to, not including, To
	Reason   wire.GapReason
}

// Error says which events are left out and why.
func (e *GapError) Error() string {
	why := "they have expired"
	if e.Reason != wire.GapRetention {
		why = "they cannot be read; run `kimberlite doctor` on the server's data directory"
	}
	return fmt.Sprintf("stream %d: events %d to %d are left out: %s", e.Stream, e.From, e.To-1, why)
}

// ErrGap is what every *GapError matches, for errors.Is.
var ErrGap = errors.New("events are left out")

// Is reports whether target is ErrGap.
func (e *GapError) Is(target error) bool { return target == ErrGap }

// subscription is a subscription over as many connections as it takes. Followers and consumers have one.
type subscription struct {
	c      *Client
	stream StreamID
	window credits
	used   credits // taken from the window and not given back
	wanted uint64  // events to take, from now on
	beyond uint64  // of them, for which the connection's server has no credit yet
	gap    func(GapError)
	wake   chan struct{} // has room for one: there is something to do
	delay  time.Duration // before it is taken up again; 0 once an event has come

	link *link // that it is on; guarded by Client.mu
	id   wire.SubscriptionID

	mu    sync.Mutex // guards what follows
	inbox []wire.PushBody
	lost  bool                         // the link has broken
	held  map[wire.DeliveryID]struct{} // of a consumer: have come and are not settled; nil where nobody needs to know
}

// subscriber is whose a subscription is.
type subscriber interface {
	// ask returns what to subscribe to, each time that it is made. The credits are filled in.
	ask() *wire.Subscribe
	// push handles one push. It returns false where no more are wanted.
	push(ctx context.Context, b wire.PushBody) (more bool, err error)
	// idle is called before each wait for pushes.
	idle()
}

// credits are events and bytes of encoded events.
type credits struct{ events, bytes uint64 }

func newSubscription(c *Client, stream StreamID, window credits) subscription {
	return subscription{c: c, stream: stream, window: window, wanted: math.MaxUint64, wake: make(chan struct{}, 1)}
}

// run hands pushes to the subscriber until something ends it.
func (s *subscription) run(ctx context.Context, of subscriber) error {
	if err := s.open(ctx, of); err != nil {
		return err
	}
	for {
		pushes, lost := s.receive()
		for _, b := range pushes {
			if err := ctx.Err(); err != nil {
				return err
			}
			if more, err := of.push(ctx, b); !more || err != nil {
				return err
			}
		}
		switch {
		case len(pushes) > 0:
		case lost:
			if err := s.reopen(ctx, of); err != nil {
				return err
			}
		default:
			of.idle()
			select {
			case <-s.wake:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
}

func (s *subscription) receive() (pushes []wire.PushBody, lost bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	pushes, s.inbox = s.inbox, nil
	return pushes, s.lost
}

// open makes the subscription on the connection that there is, or the next.
func (s *subscription) open(ctx context.Context, of subscriber) error {
	b := of.ask()
	b.CreditEvents, b.CreditBytes = min(s.window.events, s.wanted), s.window.bytes
	s.beyond = s.wanted - b.CreditEvents
	s.mu.Lock()
	s.inbox, s.lost, s.used = nil, false, credits{}
	clear(s.held)
	s.mu.Unlock()
	k := &call{c: s.c, op: b.Op(), again: b, sub: s}
	if err := s.c.admit(ctx); err != nil {
		return err
	}
	f := s.c.cfg.asks()
	if l := s.c.link; l != nil {
		f = l.features
	}
	if err := k.unfit(f); err != nil {
		s.c.mu.Unlock()
		return err
	}
	s.c.post(k, s.c.cfg.tenant, b)
	_, err := k.wait(ctx)
	if err != nil {
		s.c.forget(k)
	}
	return err
}

// unfit returns why a call cannot be made of a server, nil where it can. One of an earlier version may not even know the
// request, and hang up.
func (k *call) unfit(f wire.Features) error {
	if k.sub == nil || f.Version >= 3 {
		return nil
	}
	return &Error{
		Code:    wire.UnsupportedVersion,
		Message: fmt.Sprintf("subscriptions need protocol version 3; this connection has agreed on %d", f.Version),
	}
}

// reopen makes the subscription again. Where the last connection brought no event it waits a little: a server that
// accepts and hangs up must not be asked in a tight loop.
func (s *subscription) reopen(ctx context.Context, of subscriber) error {
	if s.delay > 0 {
		t := time.NewTimer(s.delay)
		defer t.Stop()
		select {
		case <-t.C:
		case <-ctx.Done():
			return ctx.Err()
		case <-s.c.life.Done():
			return ErrClosed
		}
	}
	s.delay = min(max(2*s.delay, minDelay), maxDelay)
	return s.open(ctx, of)
}

// begin notes that a subscription is on a link. mu of the client is held.
func (l *link) begin(s *subscription, id wire.SubscriptionID) {
	if l.subs == nil {
		l.subs = map[wire.SubscriptionID]*subscription{}
	}
	l.subs[id] = s
	s.link, s.id = l, id
}

// pushed hands a push to its subscription. One that has been left is not told any more. mu is held.
func (c *Client) pushed(l *link, p *wire.Push) error {
	switch b := p.Body.(type) {
	case *wire.SubscriptionEvents:
		l.subs[b.Subscription].take(b)
	case *wire.GroupEvents:
		l.subs[b.Subscription].take(b)
	case *wire.SubscriptionClosed:
		l.subs[b.Subscription].take(b)
		if b.Code != wire.ShuttingDown { // else it stays, to be told that the link has broken
			delete(l.subs, b.Subscription)
		}
	case *wire.CaughtUp:
		l.subs[b.Subscription].take(b)
	case *wire.Gap:
		l.subs[b.Subscription].take(b)
	case *wire.QueryChunk:
		return c.chunked(l, b)
	case *wire.PushPing:
		c.tellLocked(l, &wire.Ping{})
	default:
		return fmt.Errorf("%w: a push of %T", ErrProtocol, b)
	}
	return nil
}

func (s *subscription) take(b wire.PushBody) {
	if s == nil {
		return
	}
	s.mu.Lock()
	s.inbox = append(s.inbox, b)
	if g, ok := b.(*wire.GroupEvents); ok && s.held != nil {
		for i := range g.Deliveries {
			s.held[g.Deliveries[i].ID] = struct{}{}
		}
	}
	s.mu.Unlock()
	s.rouse()
}

// lose notes that the link has broken. What came over it is still there.
func (s *subscription) lose() {
	s.mu.Lock()
	s.lost = true
	s.mu.Unlock()
	s.rouse()
}

func (s *subscription) rouse() {
	select {
	case s.wake <- struct{}{}:
	default: // it is awake already
	}
}

// spend counts an event against the window once the consumer has taken it, and gives back the credit when half of the
// window is used up.
func (s *subscription) spend(size int) {
	s.used.events++
	s.used.bytes += uint64(size)
	if s.used.events <= s.window.events/2 && s.used.bytes <= s.window.bytes/2 {
		return
	}
	events := min(s.used.events, s.beyond)
	s.c.mu.Lock()
	s.c.tellLocked(s.link, &wire.Credit{Subscription: s.id, Events: events, Bytes: s.used.bytes})
	s.c.mu.Unlock()
	s.beyond -= events
	s.used = credits{}
}

// passOver tells of a gap.
func (s *subscription) passOver(b *wire.Gap) error {
	if b.To <= b.From {
		return fmt.Errorf("stream %d: a gap from %d to %d: %w", s.stream, b.From, b.To, ErrDataCorrupted)
	}
	e := GapError{Stream: s.stream, From: b.From, To: b.To, Reason: b.Reason}
	if s.gap == nil {
		return &e
	}
	s.gap(e)
	return nil
}

// closed returns why the server has ended a subscription, nil where the next connection goes on.
func closed(b *wire.SubscriptionClosed) error {
	if b.Code == wire.ShuttingDown {
		return nil
	}
	return &Error{Code: b.Code, Message: b.Message, Retryable: b.Code.Retryable()}
}

// unsubscribe ends the subscription, and has then called once the server knows. It returns false where there is nothing to
// end. mu of the client is held.
func (s *subscription) unsubscribe(then func(wire.ResponseBody, error)) bool {
	l := s.link
	if l == nil || l.subs[s.id] != s {
		return false
	}
	delete(l.subs, s.id)
	return s.c.askLocked(l, &wire.Unsubscribe{Subscription: s.id}, then)
}

// tellLocked sends a request over a link, if that still is the client's, and wants no reply. mu is held.
func (c *Client) tellLocked(l *link, b wire.RequestBody) { c.askLocked(l, b, nil) }

// askLocked sends a request over a link and has then called with the outcome, by another goroutine and without mu. It
// returns false where the link is not the client's any more. mu is held.
func (c *Client) askLocked(l *link, b wire.RequestBody, then func(wire.ResponseBody, error)) bool {
	if c.link != l || l == nil || c.closed {
		return false
	}
	c.queue(&call{c: c, op: b.Op(), bound: true, then: then}, c.cfg.tenant, b)
	l.rouse()
	return true
}
