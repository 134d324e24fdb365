package client

import (
	"context"
	"fmt"
	"iter"
	"time"

	"github.com/kimberlitedb/kimberlite-go/wire"
)

// SubscribeOption is a setting of Subscribe.
type SubscribeOption interface{ ofSubscribe(*follower) }

type followerOption func(*follower)

func (o followerOption) ofSubscribe(f *follower) { o(f) }

// SubscribeSince leaves out the events before the first one whose event time is at or after t.
func SubscribeSince(t time.Time) SubscribeOption {
	return followerOption(func(f *follower) { f.since, f.first = wire.Some(clamped(t)), true })
}

// OnCaughtUp calls f, from the consumer's loop, when every event that there is was yielded: what follows is live. It is
// called again when the subscription has fallen behind and caught up once more, or has been taken up on another connection.
func OnCaughtUp(f func(next Offset)) SubscribeOption {
	return followerOption(func(o *follower) { o.caughtUp = f })
}

// Subscribe yields the events of a stream from an offset on (0 is its beginning, End its head as it is now): first those
// that are there, then new ones as soon as they are durable, without an end. Each is verified as by Read, and comes once.
// While the consumer is busy the server holds back what passes the window. When the connection breaks, the subscription
// is taken up again behind the last event that was yielded.
//
// The sequence ends with an error: that of ctx, a refusal (the stream is deleted, say), a gap (see OnGap), ErrClosed.
func (c *Client) Subscribe(ctx context.Context, stream StreamID, from Offset, options ...SubscribeOption) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		f := &follower{
			subscription: newSubscription(c, stream, credits{16 << 10, 2 << 20}),
			yield:        func(e Event) bool { return yield(e, nil) },
			next:         from, first: from == 0 || from == End,
		}
		for _, o := range options {
			o.ofSubscribe(f)
		}
		defer f.leave()
		if err := f.run(ctx, f); err != nil {
			yield(Event{}, err)
		}
	}
}

// follower yields the events of a stream in order.
type follower struct {
	subscription
	yield    func(Event) bool
	next     Offset // of the next event to yield
	first    bool   // next is where to begin, which the server may move
	since    wire.Option[wire.Time]
	caughtUp func(Offset)
}

func (f *follower) ask() *wire.Subscribe {
	return &wire.Subscribe{Stream: f.stream, FromOffset: f.next, FromTimestamp: f.since}
}

func (f *follower) idle() {}

func (f *follower) push(_ context.Context, b wire.PushBody) (more bool, err error) {
	switch b := b.(type) {
	case *wire.SubscriptionEvents:
		return f.events(b)
	case *wire.CaughtUp:
		if err := f.pass(b.Offset); err != nil {
			return false, err
		}
		if f.caughtUp != nil {
			f.caughtUp(b.Offset)
		}
	case *wire.Gap:
		if err := f.pass(b.From); err != nil {
			return false, err
		}
		f.next = b.To
		return true, f.passOver(b)
	case *wire.SubscriptionClosed:
		return true, closed(b)
	}
	return true, nil
}

// pass moves to an offset where the server is. It may move it only where the beginning is the server's to choose: not past
// an event that is due.
func (f *follower) pass(to Offset) error {
	if to != f.next && !(f.first && (to > f.next || f.next == End)) {
		return fmt.Errorf("stream %d: the server goes on at offset %d where event %d is due: %w", f.stream, to, f.next, ErrDataCorrupted)
	}
	f.next, f.first = to, f.since.Set
	return nil
}

// events verifies and yields events.
func (f *follower) events(b *wire.SubscriptionEvents) (more bool, err error) {
	for e := range b.Events.All {
		if f.skips(&e) {
			f.next = e.Offset
		}
		checked, err := check(f.stream, &e, f.next)
		if err != nil {
			return false, err
		}
		f.next++
		f.first, f.delay = false, 0
		f.since = wire.Option[wire.Time]{}
		if !f.yield(checked) {
			return false, nil
		}
		f.spend(len(e.Data) + wire.EventOverhead)
	}
	return true, nil
}

func (f *follower) leave() {
	f.c.mu.Lock()
	f.unsubscribe(nil)
	f.c.mu.Unlock()
}

// skips reports whether the events before one may be left out: the subscription begins with it.
func (f *follower) skips(e *wire.Event) bool {
	switch {
	case !f.first:
		return false
	case f.next == End:
		return true
	case f.since.Set && e.Timestamp < f.since.Value:
		return false
	}
	return e.Offset > f.next
}
