package client

import (
	"bytes"
	"fmt"

	"github.com/kimberlitedb/kimberlite-go/sim/check"
	"github.com/kimberlitedb/kimberlite-go/sim/network"
	"github.com/kimberlitedb/kimberlite-go/sim/rng"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// Listener is a client that subscribes to the streams of a keeper, while that deletes them, changes their retention and
// brings them back. It judges what is pushed by what the keeper knows.
type Listener struct {
	world   World
	keeper  *Keeper
	rand    *rng.Rand
	index   int
	link    *listenerLink
	resumes map[*kept]wire.Offset
	dialing bool
	ending  bool
	stopped bool
}

// listenerLink is one connection of a listener.
type listenerLink struct {
	*caller
	l    *Listener
	subs []*heard
}

// heard is a subscription to a stream of the keeper.
type heard struct {
	x      *kept
	id     wire.SubscriptionID
	next   wire.Offset
	jumps  bool // may begin behind next
	since  bool // the first event may be any
	events uint64
	bytes  int64
}

// NewListener returns a listener to a keeper's streams.
func NewListener(w World, k *Keeper, source rng.Source, index int) *Listener {
	return &Listener{world: w, keeper: k, rand: source.Stream("listener"), index: index, resumes: map[*kept]wire.Offset{}, stopped: k.stopped}
}

// Pump does the next thing, and goes on after a while.
func (l *Listener) Pump() {
	switch {
	case l.stopped:
		return
	case !l.keeper.knows():
		l.Leave()
		return
	case l.link == nil:
		l.dial()
	case !l.ending:
		l.act(l.link)
	}
	l.world.After(l.rand.Log(1_000_000, 3_000_000_000), l.Pump)
}

// Finish has the listener do nothing more but to be sent everything.
func (l *Listener) Finish() {
	l.ending = true
	if l.link != nil {
		for _, h := range l.link.subs {
			l.link.grant(h, 1<<30, 1<<30)
		}
	}
}

// Idle reports whether nothing that is known to be there is due to a subscription.
func (l *Listener) Idle() bool { return l.Behind() == "" }

// Behind describes a subscription that waits in vain: for events, or for its end. It returns nothing where none does.
func (l *Listener) Behind() string {
	if l.stopped || !l.keeper.knows() || l.link == nil {
		return ""
	}
	for _, h := range l.link.subs {
		switch {
		case h.x.deleted || h.x.purged:
			return h.String() + " is not ended, though the stream is deleted"
		case h.next < wire.Offset(len(h.x.events)) && h.events > 0 && h.bytes > 0:
			return fmt.Sprintf("%s waits for %d events", h, len(h.x.events)-int(h.next))
		}
	}
	return ""
}

// Leave hangs up.
func (l *Listener) Leave() {
	l.stopped = true
	if l.link != nil {
		l.link.leave()
	}
}

func (l *Listener) dial() {
	if l.dialing || l.ending {
		return
	}
	l.dialing = true
	k := &listenerLink{l: l, caller: newCaller(l.world, l.keeper.suite, KeeperTenant, wire.Codec(l.rand.N(wire.CodecCount)))}
	k.pushed = k.judge
	k.lost = func() {
		if l.link == k {
			l.link = nil
		}
	}
	l.world.Dial(l.index, k, func(conn *network.Conn) {
		l.dialing = false
		if conn == nil || l.stopped {
			return
		}
		l.link = k
		k.open(conn)
	})
}

// act does something.
func (l *Listener) act(k *listenerLink) {
	if !k.ready() || len(l.keeper.streams) == 0 {
		return
	}
	events, bytes := uint64(l.rand.Log(1, 100)), uint64(l.rand.Log(1, 1<<14))
	switch n := l.rand.N(16); {
	case len(k.subs) < 6 && n < 8 || len(k.subs) == 0:
		if x := l.keeper.streams[l.rand.N(len(l.keeper.streams))]; x.id != 0 {
			k.subscribe(x, events, bytes)
		}
	case n < 13:
		k.grant(k.subs[l.rand.N(len(k.subs))], events, bytes)
	case n < 15:
		h := k.subs[l.rand.N(len(k.subs))]
		k.ask(&wire.Unsubscribe{Subscription: h.id}, func(b wire.ResponseBody) {
			if _, ok := b.(*wire.UnsubscribeReply); ok {
				k.forget(h)
			}
		})
	default:
		k.abort()
	}
}

// subscribe begins a subscription, most often where the last one was cut off.
func (k *listenerLink) subscribe(x *kept, events, bytes uint64) {
	l := k.l
	b := &wire.Subscribe{Stream: x.id, FromOffset: l.resumes[x], CreditEvents: events, CreditBytes: bytes}
	h := &heard{x: x, events: events, bytes: int64(bytes)}
	switch l.rand.N(8) {
	case 0:
		b.FromOffset = 0
	case 1:
		b.FromOffset = wire.EndOffset
	case 2:
		b.FromTimestamp = wire.Some(l.keeper.clock - wire.Time(l.rand.Log(1, 3*l.keeper.config.Day)))
	}
	h.next, h.jumps = b.FromOffset, b.FromOffset == 0 || b.FromTimestamp.Set
	h.since = b.FromTimestamp.Set
	gone := x.purged
	k.ask(b, func(r wire.ResponseBody) {
		switch r := r.(type) {
		case *wire.SubscribeReply:
			h.id = r.Subscription
			k.subs = append(k.subs, h)
			l.keeper.must(check.Deleted, !gone, "a subscription to stream %d, which was purged", x.id)
		case *wire.Error:
			fine := r.Code == wire.StreamDeleted || r.Code == wire.StreamNotFound || !l.keeper.knows()
			l.keeper.must(check.Pushed, fine, "subscribing to stream %d from %d: %s: %s", x.id, b.FromOffset, r.Code, r.Message)
		}
	})
}

func (k *listenerLink) grant(h *heard, events, bytes uint64) {
	h.events += events
	h.bytes += int64(bytes)
	k.ask(&wire.Credit{Subscription: h.id, Events: events, Bytes: bytes}, func(wire.ResponseBody) {}) // it may have ended
}

func (k *listenerLink) forget(h *heard) {
	for i, o := range k.subs {
		if o == h {
			k.subs = append(k.subs[:i:i], k.subs[i+1:]...)
			return
		}
	}
}

// judge judges a push.
func (k *listenerLink) judge(b wire.PushBody) {
	switch b := b.(type) {
	case *wire.SubscriptionEvents:
		if h := k.sub(b.Subscription, b); h != nil {
			k.events(h, b)
		}
	case *wire.CaughtUp:
		if h := k.sub(b.Subscription, b); h != nil {
			k.begin(h, b.Offset)
			k.l.keeper.must(check.Pushed, b.Offset == h.next, "%s caught up at %d", h, b.Offset)
		}
	case *wire.Gap:
		h := k.sub(b.Subscription, b)
		if h == nil {
			return
		}
		k.begin(h, b.From)
		fine := b.From == h.next && b.To > b.From && (b.Reason == wire.GapRetention || k.l.keeper.suite.Faulty())
		k.l.keeper.must(check.Pushed, fine, "%s is told of a gap from %d to %d (%s)", h, b.From, b.To, b.Reason)
		h.next = b.To
	case *wire.SubscriptionClosed:
		if h := k.sub(b.Subscription, b); h != nil {
			k.l.keeper.must(check.Deleted, b.Code == wire.StreamDeleted, "%s was ended with %s: %s", h, b.Code, b.Message)
			k.forget(h)
		}
	}
}

func (k *listenerLink) sub(id wire.SubscriptionID, b wire.PushBody) *heard {
	for _, h := range k.subs {
		if h.id == id {
			return h
		}
	}
	k.l.keeper.fail(check.Pushed, "a %T of subscription %d, which the listener does not have", b, id)
	return nil
}

// begin moves a subscription to where it begins.
func (k *listenerLink) begin(h *heard, o wire.Offset) {
	if h.next == wire.EndOffset || h.jumps && o > h.next {
		h.next = o
	}
	h.jumps = h.since
}

func (k *listenerLink) events(h *heard, b *wire.SubscriptionEvents) {
	for e := range b.Events.All {
		k.begin(h, e.Offset)
		h.since, h.jumps = false, false
		if !k.l.keeper.must(check.Pushed, e.Offset == h.next, "%s is sent event %d", h, e.Offset) ||
			!k.l.keeper.must(check.Credit, h.events > 0 && h.bytes > 0, "%s is sent event %d with credit for %d events and %d bytes", h, e.Offset, h.events, h.bytes) {
			return
		}
		if e.Offset < wire.Offset(len(h.x.events)) {
			was := h.x.events[e.Offset]
			k.l.keeper.must(check.Pushed, bytes.Equal(was.Data, e.Data) && was.Timestamp == e.Timestamp, "%s is sent other bytes than event %d has", h, e.Offset)
		}
		h.next++
		h.events--
		h.bytes -= int64(len(e.Data) + wire.EventOverhead)
	}
	k.l.resumes[h.x] = h.next
}

// String names the subscription in a failure.
func (h *heard) String() string {
	return fmt.Sprintf("subscription %d to stream %d, which is due event %d,", h.id, h.x.id, h.next)
}

// Emitted judges events that the server pushes now: nothing of a stream that the keeper was told is deleted, and nothing
// that it was told has expired.
func (k *Keeper) Emitted(id wire.StreamID, first wire.Offset) {
	if !k.knows() {
		return
	}
	for _, x := range k.streams {
		if x.id != id {
			continue
		}
		if d := k.pending; d != nil && d.x == x {
			if _, undelete := d.body.(*wire.UndeleteStream); undelete {
				return // it may be back
			}
		}
		k.must(check.Deleted, !x.deleted && !x.purged, "event %d of stream %d is pushed, which was deleted before", first, id)
		k.must(check.Expired, int(first) >= x.oldest, "event %d of stream %d is pushed, whose oldest was said to be %d", first, id, x.oldest)
	}
}
