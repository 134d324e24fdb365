package client_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kimberlitedb/kimberlite-go/client"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// run makes encoded events whose data are their offsets.
func run(first client.Offset, count int) (r wire.EventRange) {
	for i := range client.Offset(count) {
		chunk := wire.AppendEvent(nil, first+i, fmt.Append(nil, first+i), wire.Time(first+i))
		r.Add(chunk, 1)
	}
	return r
}

func instant(t int64) time.Time { return time.Unix(0, t) }

// subscribed waits for a Subscribe and accepts it. It returns nil once the connection has ended.
func (p *peer) subscribed(id wire.SubscriptionID) *wire.Subscribe {
	r := p.next()
	if r == nil {
		return nil
	}
	b := r.Body.(*wire.Subscribe)
	p.reply(r.ID, &wire.SubscribeReply{Subscription: id})
	return b
}

// drain reads requests until the connection ends, and answers pings and those who leave.
func (p *peer) drain() {
	for r := p.next(); r != nil; r = p.next() {
		switch r.Body.Op() {
		case wire.OpPing:
			p.reply(r.ID, &wire.PingReply{})
		case wire.OpUnsubscribe:
			p.reply(r.ID, &wire.UnsubscribeReply{})
		}
	}
}

func (p *peer) events(id wire.SubscriptionID, first client.Offset, count int) {
	p.push(&wire.SubscriptionEvents{Subscription: id, Events: run(first, count)})
}

// follow reads a subscription until it has yielded so many events or ends.
func follow(t *testing.T, c *client.Client, count int, from client.Offset, options ...client.SubscribeOption) (got []client.Offset, err error) {
	t.Helper()
	for e, err := range c.Subscribe(within(t), 1, from, options...) {
		if err != nil {
			return got, err
		}
		if string(e.Data) != fmt.Sprint(e.Offset) {
			t.Errorf("event %d is %q", e.Offset, e.Data)
		}
		if got = append(got, e.Offset); len(got) == count {
			break
		}
	}
	return got, nil
}

// Wherever a connection breaks, the next one goes on behind the last event that was yielded.
func TestSubscriptionIsTakenUpAgain(t *testing.T) {
	for _, test := range []struct {
		name  string
		first func(p *peer) // what the first connection does before it breaks
		from  client.Offset // where the second one is asked to begin
	}{
		{"before the reply", func(p *peer) { p.next() }, 5},
		{"after the reply", func(p *peer) { p.subscribed(1) }, 5},
		{"after some events", func(p *peer) {
			p.subscribed(1)
			p.events(1, 5, 3)
		}, 8},
		{"in the middle of a push", func(p *peer) {
			p.subscribed(1)
			p.events(1, 5, 1)
			frame := p.session.Append(nil, &wire.Push{Body: &wire.SubscriptionEvents{Subscription: 1, Events: run(6, 2)}}, nil)
			p.nc.Write(frame[:len(frame)-1])
		}, 6},
		{"after catching up", func(p *peer) {
			p.subscribed(1)
			p.events(1, 5, 2)
			p.push(&wire.CaughtUp{Subscription: 1, Offset: 7})
		}, 7},
		{"after the server said that it stops", func(p *peer) {
			p.subscribed(1)
			p.events(1, 5, 2)
			p.push(&wire.SubscriptionClosed{Subscription: 1, Code: wire.ShuttingDown})
		}, 7},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := serve(t, func(n int, p *peer) {
				if n == 0 {
					test.first(p)
					return
				}
				b := p.subscribed(2)
				if b == nil {
					return
				}
				if b.FromOffset != test.from || b.CreditEvents != 100 || b.CreditBytes != 10_000 {
					t.Errorf("second Subscribe: %+v", b)
				}
				p.events(1, b.FromOffset+1, 1) // of the first connection's subscription: it means nothing here
				p.events(2, b.FromOffset, int(15-b.FromOffset))
				p.drain()
			})
			got, err := follow(t, dial(t, f.addr()), 10, 5, client.Window(100, 10_000))
			if want := []client.Offset{5, 6, 7, 8, 9, 10, 11, 12, 13, 14}; err != nil || !slices.Equal(got, want) {
				t.Errorf("%v, %v", got, err)
			}
		})
	}
}

// A time to begin at is asked for until the first event has come, and not any more then.
func TestSubscriptionSinceIsTakenUpAgain(t *testing.T) {
	f := serve(t, func(n int, p *peer) {
		b := p.subscribed(1)
		switch {
		case b == nil:
		case n == 0 && b.FromOffset == 0 && b.FromTimestamp == wire.Some(wire.Time(50)):
			p.push(&wire.CaughtUp{Subscription: 1, Offset: 40}) // no event is as young
			p.push(&wire.CaughtUp{Subscription: 1, Offset: 45})
		case n == 1 && b.FromOffset == 45 && b.FromTimestamp == wire.Some(wire.Time(50)):
			p.events(1, 50, 1)
		case n == 2 && b.FromOffset == 51 && !b.FromTimestamp.Set:
			p.events(1, 51, 1)
			p.drain()
		default:
			t.Errorf("Subscribe %d: %+v", n, b)
		}
	})
	var caughtUp []client.Offset
	got, err := follow(t, dial(t, f.addr()), 2, 0, client.SubscribeSince(instant(50)),
		client.OnCaughtUp(func(next client.Offset) { caughtUp = append(caughtUp, next) }))
	if err != nil || !slices.Equal(got, []client.Offset{50, 51}) || !slices.Equal(caughtUp, []client.Offset{40, 45}) {
		t.Errorf("%v after %v, %v", got, caughtUp, err)
	}
}

// A server never has more credit than the window, and gets back what the consumer has dealt with.
func TestConsumerIsSentNoMoreThanItsWindow(t *testing.T) {
	const total, window = 1000, 10
	size := uint64(len(run(1000, 1).Chunks[0]))
	for _, test := range []struct {
		name  string
		bytes int
		most  int64 // events on their way or with the consumer
	}{
		{"events", 1 << 20, window},
		{"bytes", int(3 * size), 3},
	} {
		t.Run(test.name, func(t *testing.T) {
			var sent, consumed, grants atomic.Int64
			f := serve(t, func(_ int, p *peer) {
				b := p.subscribed(1)
				events, bytes := int64(b.CreditEvents), int64(b.CreditBytes)
				for next := client.Offset(1000); ; {
					for ; events > 0 && bytes > 0 && next < 1000+total; next++ {
						events, bytes = events-1, bytes-int64(size)
						if n := sent.Add(1) - consumed.Load(); n > test.most {
							t.Errorf("%d events are under way", n)
						}
						p.events(1, next, 1)
					}
					r := p.next()
					if r == nil {
						return
					}
					switch b := r.Body.(type) {
					case *wire.Credit:
						grants.Add(1)
						events, bytes = events+int64(b.Events), bytes+int64(b.Bytes)
						p.reply(r.ID, &wire.CreditReply{Events: uint64(events), Bytes: bytes})
					case *wire.Ping:
						p.reply(r.ID, &wire.PingReply{})
					}
				}
			})
			c, ctx := dial(t, f.addr()), within(t)
			for e, err := range c.Subscribe(ctx, 1, 1000, client.Window(window, test.bytes)) {
				if err != nil {
					t.Fatal(err)
				}
				if err := c.Ping(ctx); err != nil { // credit that was given too soon is there by now
					t.Fatal(err)
				}
				consumed.Add(1)
				if e.Offset == 1000+total-1 {
					break
				}
			}
			if n := sent.Load(); n != total {
				t.Errorf("%d events sent", n)
			}
			if n := grants.Load(); n > 2*total/test.most {
				t.Errorf("credit was given %d times, though half of the window is to gather", n)
			}
		})
	}
}

// A consumer that leaves the loop ends the subscription; what is on its way then is nobody's, and the client goes on.
func TestBreakUnsubscribes(t *testing.T) {
	f := serve(t, func(_ int, p *peer) {
		p.subscribed(7)
		p.events(7, 0, 3)
		if r := p.next(); r == nil || r.Body.Op() != wire.OpUnsubscribe || r.Body.(*wire.Unsubscribe).Subscription != 7 {
			t.Errorf("%+v instead of Unsubscribe", r)
		} else {
			p.events(7, 3, 1)
			p.push(&wire.Gap{Subscription: 7, From: 4, To: 5})
			p.push(&wire.SubscriptionClosed{Subscription: 7, Code: wire.StreamDeleted})
			p.reply(r.ID, &wire.UnsubscribeReply{Next: 4})
		}
		if b := p.subscribed(8); b != nil {
			p.events(8, b.FromOffset, 1)
		}
		p.drain()
	})
	c := dial(t, f.addr())
	if got, err := follow(t, c, 2, 0); err != nil || len(got) != 2 {
		t.Errorf("%v, %v", got, err)
	}
	if got, err := follow(t, c, 1, 9); err != nil || !slices.Equal(got, []client.Offset{9}) {
		t.Errorf("the next one: %v, %v", got, err)
	}
	if err := c.Ping(within(t)); err != nil {
		t.Error(err)
	}
}

// A subscription whose reply comes after its consumer has gone is ended.
func TestLateSubscriptionIsEnded(t *testing.T) {
	arrived, answer := make(chan struct{}), make(chan struct{})
	ended := make(chan wire.RequestBody, 1)
	f := serve(t, func(_ int, p *peer) {
		r := p.next()
		close(arrived)
		<-answer
		p.reply(r.ID, &wire.SubscribeReply{Subscription: 3})
		if r := p.next(); r != nil {
			ended <- r.Body
		}
		p.drain()
	})
	c := dial(t, f.addr())
	ctx, cancel := context.WithCancel(within(t))
	go func() {
		<-arrived
		cancel()
	}()
	for _, err := range c.Subscribe(ctx, 1, 0) {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("err = %v", err)
		}
	}
	close(answer)
	if b, ok := (<-ended).(*wire.Unsubscribe); !ok || b.Subscription != 3 {
		t.Errorf("%+v", b)
	}
}

func TestGapEndsASubscription(t *testing.T) {
	f := serve(t, gapped(t))
	got, err := follow(t, dial(t, f.addr()), 9, 2)
	var gap *client.GapError
	if !errors.Is(err, client.ErrGap) || !errors.As(err, &gap) || *gap != (client.GapError{Stream: 1, From: 4, To: 9}) {
		t.Errorf("err = %v", err)
	}
	if !slices.Equal(got, []client.Offset{2, 3}) {
		t.Errorf("%v before the gap", got)
	}
	if want := "stream 1: events 4 to 8 are left out: they have expired"; err.Error() != want {
		t.Errorf("%q", err)
	}
}

func TestSubscriptionGoesOnBehindAGap(t *testing.T) {
	f := serve(t, gapped(t))
	var gaps []client.GapError
	got, err := follow(t, dial(t, f.addr()), 5, 2, client.OnGap(func(g client.GapError) { gaps = append(gaps, g) }))
	if err != nil || !slices.Equal(got, []client.Offset{2, 3, 9, 12, 13}) {
		t.Errorf("%v, %v", got, err)
	}
	want := []client.GapError{{Stream: 1, From: 4, To: 9}, {Stream: 1, From: 10, To: 12, Reason: wire.GapDamage}}
	if !slices.Equal(gaps, want) {
		t.Errorf("%+v", gaps)
	}
}

// gapped serves events from offset 2 on, with gaps, the second one at the end of a connection.
func gapped(t *testing.T) func(int, *peer) {
	return func(n int, p *peer) {
		b := p.subscribed(1)
		switch {
		case b == nil:
		case n == 0:
			p.events(1, 2, 2)
			p.push(&wire.Gap{Subscription: 1, From: 4, To: 9, Reason: wire.GapRetention})
			p.events(1, 9, 1)
			p.push(&wire.Gap{Subscription: 1, From: 10, To: 12, Reason: wire.GapDamage})
		case b.FromOffset == 12:
			p.events(1, 12, 2)
			p.drain()
		default:
			t.Errorf("goes on from %d", b.FromOffset)
		}
	}
}

// What is not the next event, or not what was appended, is not yielded.
func TestSubscriptionVerifies(t *testing.T) {
	damaged := run(3, 1)
	damaged.Chunks[0][16] ^= 1 // the first byte of the data
	for _, test := range []struct {
		name string
		push wire.PushBody
	}{
		{"an event too far", &wire.SubscriptionEvents{Subscription: 1, Events: run(4, 1)}},
		{"an event again", &wire.SubscriptionEvents{Subscription: 1, Events: run(2, 2)}},
		{"other data", &wire.SubscriptionEvents{Subscription: 1, Events: damaged}},
		{"caught up too far", &wire.CaughtUp{Subscription: 1, Offset: 4}},
		{"caught up before", &wire.CaughtUp{Subscription: 1, Offset: 2}},
		{"a gap too far", &wire.Gap{Subscription: 1, From: 4, To: 5}},
		{"a gap before", &wire.Gap{Subscription: 1, From: 2, To: 5}},
		{"a gap of nothing", &wire.Gap{Subscription: 1, From: 3, To: 3}},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := serve(t, func(_ int, p *peer) {
				p.subscribed(1)
				p.events(1, 2, 1)
				p.push(test.push)
				p.drain()
			})
			called := false
			got, err := follow(t, dial(t, f.addr()), 9, 2,
				client.OnGap(func(client.GapError) { called = true }), client.OnCaughtUp(func(client.Offset) { called = true }))
			if !errors.Is(err, client.ErrDataCorrupted) || !slices.Equal(got, []client.Offset{2}) || called {
				t.Errorf("%v, %v, called: %v", got, err, called)
			}
		})
	}
}

// Where the beginning is the server's to choose, it may be later than asked for, by a time only at an event of that time.
func TestServerMayChooseTheBeginning(t *testing.T) {
	for _, test := range []struct {
		name    string
		from    client.Offset
		options []client.SubscribeOption
		first   client.Offset
		ok      bool
	}{
		{"the oldest event", 0, nil, 30, true},
		{"the head", client.End, nil, 30, true},
		{"an offset", 29, nil, 30, false},
		{"a time", 20, []client.SubscribeOption{client.SubscribeSince(instant(30))}, 30, true},
		{"a later time", 20, []client.SubscribeOption{client.SubscribeSince(instant(31))}, 30, false},
		{"before the offset", 31, []client.SubscribeOption{client.SubscribeSince(instant(3))}, 30, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := serve(t, func(_ int, p *peer) {
				p.subscribed(1)
				p.events(1, test.first, 1)
				p.drain()
			})
			got, err := follow(t, dial(t, f.addr()), 1, test.from, test.options...)
			if test.ok && (err != nil || !slices.Equal(got, []client.Offset{test.first})) || !test.ok && !errors.Is(err, client.ErrDataCorrupted) {
				t.Errorf("%v, %v", got, err)
			}
		})
	}
}

func TestServersPingIsAnswered(t *testing.T) {
	f := serve(t, func(_ int, p *peer) {
		p.subscribed(1)
		p.push(&wire.PushPing{})
		if r := p.next(); r == nil || r.Body.Op() != wire.OpPing {
			t.Errorf("%+v instead of a Ping", r)
		} else {
			p.reply(r.ID, &wire.PingReply{})
		}
		p.events(1, 0, 1)
		p.drain()
	})
	if got, err := follow(t, dial(t, f.addr()), 1, 0); err != nil || len(got) != 1 {
		t.Errorf("%v, %v", got, err)
	}
}

// A server of an earlier version is not asked, since it may hang up on a request that it does not know; not even where the
// one before it knew subscriptions.
func TestSubscriptionNeedsVersion3(t *testing.T) {
	for _, versions := range [][]uint16{{1}, {2}, {3, 1}, {3, 2}} {
		t.Run(fmt.Sprint(versions), func(t *testing.T) {
			f := serveVersions(t, versions, func(n int, p *peer) {
				if versions[n] == 3 {
					p.subscribed(1)
					p.events(1, 0, 1)
					return
				}
				for r := p.next(); r != nil; r = p.next() {
					if r.Body.Op() != wire.OpPing {
						t.Errorf("a %T came", r.Body)
					}
					p.reply(r.ID, &wire.PingReply{})
				}
			})
			c := dial(t, f.addr())
			got, err := follow(t, c, 9, 0)
			var e *client.Error
			if !errors.As(err, &e) || e.Code != wire.UnsupportedVersion || len(got) != len(versions)-1 {
				t.Errorf("%v, %v", got, err)
			}
			if err := c.Ping(within(t)); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestCloseEndsSubscriptions(t *testing.T) {
	f := serve(t, func(_ int, p *peer) {
		p.subscribed(1)
		p.events(1, 0, 1)
		p.drain()
	})
	c := dial(t, f.addr())
	var last error
	for _, err := range c.Subscribe(within(t), 1, 0) {
		if last = err; err == nil {
			c.Close()
		}
	}
	if !errors.Is(last, client.ErrClosed) {
		t.Errorf("err = %v", last)
	}
}

// Where the server does not come back, a subscription ends as other calls do.
func TestSubscriptionEndsWithPatience(t *testing.T) {
	var o switchboard
	f := serve(t, func(_ int, p *peer) {
		p.subscribed(1)
		p.events(1, 0, 1)
		o.set(true)
	})
	got, err := follow(t, dial(t, f.addr(), client.WithDialer(o.dial), client.WithReconnect(0)), 9, 0)
	if !errors.Is(err, client.ErrUnavailable) || len(got) != 1 {
		t.Errorf("%v, %v", got, err)
	}
}

// Many subscriptions share a connection with each other and with other requests.
func TestSubscriptionsShareAConnection(t *testing.T) {
	f := serve(t, func(_ int, p *peer) {
		for r := p.next(); r != nil; r = p.next() {
			switch b := r.Body.(type) {
			case *wire.Subscribe:
				p.reply(r.ID, &wire.SubscribeReply{Subscription: wire.SubscriptionID(b.FromOffset)})
				for i := range client.Offset(50) {
					p.events(wire.SubscriptionID(b.FromOffset), b.FromOffset+i, 1)
				}
			case *wire.Ping:
				p.reply(r.ID, &wire.PingReply{})
			}
		}
	})
	c := dial(t, f.addr())
	done := make(chan error)
	for i := range client.Offset(8) {
		go func() {
			got, err := follow(t, c, 50, 1000*(i+1))
			if err == nil && (len(got) != 50 || got[0] != 1000*(i+1)) {
				err = fmt.Errorf("%v", got)
			}
			done <- errors.Join(err, c.Ping(within(t)))
		}()
	}
	for range 8 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}
