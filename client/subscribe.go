package client

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"
	"time"

	"github.com/kimberlitedb/kimberlite-go/wire"
)

// SubscribeOption is a setting of a subscription.
type SubscribeOption func(*subscription)

// Window lets so many events, and so many bytes of them, be on their way or wait for the consumer. Without it, 16,384 events
// and 2 MiB. One event may pass the bytes.
func Window(events, bytes int) SubscribeOption {
	return func(s *subscription) { s.window = credits{credit(events), credit(bytes)} }
}

// credit returns a part of a window. One beyond what a server counts could never be used up, nor given back.
func credit(n int) uint64 { return min(uint64(max(n, 1)), wire.MaxCredit) }

// SubscribeSince leaves out the events before the first one whose event time is at or after t.
func SubscribeSince(t time.Time) SubscribeOption {
	return func(s *subscription) { s.since, s.first = wire.Some(clamped(t)), true }
}

// OnCaughtUp calls f, from the consumer's loop, when every event that there is was yielded: what follows is live. It is
// called again when the subscription has fallen behind and caught up once more, or has been taken up on another connection.
func OnCaughtUp(f func(next Offset)) SubscribeOption { return func(s *subscription) { s.caughtUp = f } }

// OnGap calls f, from the consumer's loop, where the subscription passes over events, and goes on. Without it a gap ends
// the sequence with a *GapError.
func OnGap(f func(GapError)) SubscribeOption { return func(s *subscription) { s.gap = f } }

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

// Subscribe yields the events of a stream from an offset on (0 is its beginning, End its head as it is now): first those
// that are there, then new ones as soon as they are durable, without an end. Each is verified as by Read, and comes once.
// While the consumer is busy the server holds back what passes the window. When the connection breaks, the subscription
// is taken up again behind the last event that was yielded.
//
// The sequence ends with an error: that of ctx, a refusal (the stream is deleted, say), a gap (see OnGap), ErrClosed.
func (c *Client) Subscribe(ctx context.Context, stream StreamID, from Offset, options ...SubscribeOption) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		s := &subscription{c: c, stream: stream, next: from, first: from == 0 || from == End, wake: make(chan struct{}, 1)}
		s.window.events, s.window.bytes = 16<<10, 2<<20
		for _, o := range options {
			o(s)
		}
		defer s.leave()
		if err := s.run(ctx, yield); err != nil {
			yield(Event{}, err)
		}
	}
}

// credits are events and bytes of encoded events.
type credits struct{ events, bytes uint64 }

// subscription is a subscription over as many connections as it takes.
type subscription struct {
	c        *Client
	stream   StreamID
	next     Offset // of the next event to yield
	first    bool   // next is where to begin, which the server may move
	since    wire.Option[wire.Time]
	window   credits
	used     credits // taken from the window and not given back
	caughtUp func(Offset)
	gap      func(GapError)
	wake     chan struct{} // has room for one: there is something in inbox
	delay    time.Duration // before it is taken up again; 0 once an event has come

	link *link // that it is on; guarded by Client.mu
	id   wire.SubscriptionID

	mu    sync.Mutex // guards what follows
	inbox []wire.PushBody
	lost  bool // the link has broken
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
	case *wire.SubscriptionClosed:
		l.subs[b.Subscription].take(b)
		if b.Code != wire.ShuttingDown { // else it stays, to be told that the link has broken
			delete(l.subs, b.Subscription)
		}
	case *wire.CaughtUp:
		l.subs[b.Subscription].take(b)
	case *wire.Gap:
		l.subs[b.Subscription].take(b)
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

// tell sends a request over a link, if that still is the client's, and wants no reply.
func (c *Client) tell(l *link, b wire.RequestBody) {
	c.mu.Lock()
	c.tellLocked(l, b)
	c.mu.Unlock()
}

func (c *Client) tellLocked(l *link, b wire.RequestBody) {
	if c.link != l || c.closed {
		return
	}
	c.queue(&call{c: c, op: b.Op(), bound: true}, c.cfg.tenant, b)
	l.rouse()
}

// open makes the subscription on the connection that there is, or the next.
func (s *subscription) open(ctx context.Context) error {
	b := &wire.Subscribe{
		Stream: s.stream, FromOffset: s.next, FromTimestamp: s.since, CreditEvents: s.window.events, CreditBytes: s.window.bytes,
	}
	s.mu.Lock()
	s.inbox, s.lost, s.used = nil, false, credits{}
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
func (s *subscription) reopen(ctx context.Context) error {
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
	return s.open(ctx)
}

// run yields events until something ends the sequence.
func (s *subscription) run(ctx context.Context, yield func(Event, error) bool) error {
	if err := s.open(ctx); err != nil {
		return err
	}
	for {
		pushes, lost := s.receive()
		for _, b := range pushes {
			if err := ctx.Err(); err != nil {
				return err
			}
			if more, err := s.push(b, yield); !more || err != nil {
				return err
			}
		}
		switch {
		case len(pushes) > 0:
		case lost:
			if err := s.reopen(ctx); err != nil {
				return err
			}
		default:
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

// push handles one push. It returns false where the consumer wants no more.
func (s *subscription) push(b wire.PushBody, yield func(Event, error) bool) (more bool, err error) {
	switch b := b.(type) {
	case *wire.SubscriptionEvents:
		return s.events(b, yield)
	case *wire.CaughtUp:
		if err := s.pass(b.Offset); err != nil {
			return false, err
		}
		if s.caughtUp != nil {
			s.caughtUp(b.Offset)
		}
	case *wire.Gap:
		if err := s.pass(b.From); err != nil {
			return false, err
		}
		if b.To <= b.From {
			return false, fmt.Errorf("stream %d: a gap from %d to %d: %w", s.stream, b.From, b.To, ErrDataCorrupted)
		}
		e := GapError{Stream: s.stream, From: b.From, To: b.To, Reason: b.Reason}
		if s.gap == nil {
			return false, &e
		}
		s.next = b.To
		s.gap(e)
	case *wire.SubscriptionClosed:
		if b.Code == wire.ShuttingDown {
			return true, nil // the connection ends, and the next one goes on
		}
		return false, &Error{Code: b.Code, Message: b.Message, Retryable: b.Code.Retryable()}
	}
	return true, nil
}

// pass moves to an offset where the server is. It may move it only where the beginning is the server's to choose: not past
// an event that is due.
func (s *subscription) pass(to Offset) error {
	if to != s.next && !(s.first && (to > s.next || s.next == End)) {
		return fmt.Errorf("stream %d: the server goes on at offset %d where event %d is due: %w", s.stream, to, s.next, ErrDataCorrupted)
	}
	s.next, s.first = to, s.since.Set
	return nil
}

// events verifies and yields events, and gives back the credit once half of the window is used up.
func (s *subscription) events(b *wire.SubscriptionEvents, yield func(Event, error) bool) (more bool, err error) {
	for e := range b.Events.All {
		if s.skips(&e) {
			s.next = e.Offset
		}
		checked, err := check(s.stream, &e, s.next)
		if err != nil {
			return false, err
		}
		s.next++
		s.first, s.delay = false, 0
		s.since = wire.Option[wire.Time]{}
		s.used.events++
		s.used.bytes += uint64(len(e.Data) + wire.EventOverhead)
		if !yield(checked, nil) {
			return false, nil
		}
	}
	if s.used.events > s.window.events/2 || s.used.bytes > s.window.bytes/2 {
		s.c.mu.Lock()
		l := s.link
		s.c.mu.Unlock()
		s.c.tell(l, &wire.Credit{Subscription: s.id, Events: s.used.events, Bytes: s.used.bytes})
		s.used = credits{}
	}
	return true, nil
}

// skips reports whether the events before one may be left out: the subscription begins with it.
func (s *subscription) skips(e *wire.Event) bool {
	switch {
	case !s.first:
		return false
	case s.next == End:
		return true
	case s.since.Set && e.Timestamp < s.since.Value:
		return false
	}
	return e.Offset > s.next
}

// leave ends the subscription.
func (s *subscription) leave() {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	l := s.link
	if l == nil || l.subs[s.id] != s {
		return
	}
	delete(l.subs, s.id)
	s.c.tellLocked(l, &wire.Unsubscribe{Subscription: s.id})
}

// ErrGap is what every *GapError matches, for errors.Is.
var ErrGap = errors.New("events are left out")

// Is reports whether target is ErrGap.
func (e *GapError) Is(target error) bool { return target == ErrGap }
