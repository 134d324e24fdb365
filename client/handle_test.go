package client_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"reflect"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kimberlitedb/kimberlite-go/client"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// atRest fails where a goroutine of a handler is left.
func atRest(t *testing.T) {
	t.Helper()
	stacks := make([]byte, 1<<20)
	stacks = stacks[:runtime.Stack(stacks, true)]
	if bytes.Contains(stacks, []byte("client.(*handler)")) {
		t.Errorf("a goroutine is left:\n%s", stacks)
	}
}

// What a handler returns decides what becomes of the delivery.
func TestHandlersDecide(t *testing.T) {
	failed := errors.New("failed")
	for _, test := range []struct {
		name    string
		attempt uint32
		err     error
		want    wire.RequestBody
	}{
		{"done", 1, nil, &wire.Ack{Subscription: 7, Deliveries: []wire.DeliveryID{1}}},
		{"failed", 1, failed, &wire.Nack{Subscription: 7, Deliveries: []wire.DeliveryID{1}, Delay: 1000}},
		{"failed again", 4, failed, &wire.Nack{Subscription: 7, Deliveries: []wire.DeliveryID{1}, Delay: 8000}},
		{"failed often", 1 << 31, failed, &wire.Nack{Subscription: 7, Deliveries: []wire.DeliveryID{1}, Delay: 60_000}},
		{"of no attempt", 0, failed, &wire.Nack{Subscription: 7, Deliveries: []wire.DeliveryID{1}, Delay: 1000}},
		{
			"to be tried again", 9, fmt.Errorf("x: %w", &client.RetryAfter{Delay: time.Minute, Err: failed}),
			&wire.Nack{Subscription: 7, Deliveries: []wire.DeliveryID{1}, Delay: 60_000},
		},
		{"hopeless", 1, fmt.Errorf("x: %w", client.ErrPark), &wire.Nack{Subscription: 7, Deliveries: []wire.DeliveryID{1}, Park: true}},
	} {
		t.Run(test.name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(within(t))
			f := serve(t, func(_ int, p *peer) {
				p.subscribed(7)
				p.deliver(7, 1, test.attempt, 5)
				r := p.expect(t, test.want)
				if r.Body.Op() == wire.OpAck {
					p.reply(r.ID, &wire.AckReply{Acked: 1})
				} else {
					p.reply(r.ID, &wire.NackReply{})
				}
				cancel()
				p.leaves(t, 7)
			})
			c := dial(t, f.addr())
			err := c.Handle(ctx, 1, "g", func(_ context.Context, d *client.Delivery) error {
				if d.Offset != 5 || uint32(d.Attempt) != test.attempt {
					t.Errorf("%+v", d)
				}
				return test.err
			})
			if !errors.Is(err, context.Canceled) {
				t.Errorf("err = %v", err)
			}
			atRest(t)
			c.Close()
		})
	}
}

func TestRetryAfterSaysWhy(t *testing.T) {
	why := errors.New("busy")
	err := error(&client.RetryAfter{Delay: time.Second, Err: why})
	if !errors.Is(err, why) || err.Error() != "to be tried again in 1s: busy" {
		t.Errorf("%v", err)
	}
	if err := (&client.RetryAfter{Delay: time.Second}); err.Error() != "to be tried again in 1s" {
		t.Errorf("%v", err)
	}
}

// As many handlers are at work as are allowed, and no more; all have ended, and what they returned is settled, when Handle
// returns.
func TestHandlersWorkAtATime(t *testing.T) {
	for _, n := range []int{0, 1, 4} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			const total = 12
			most := max(n, 1)
			var settled []wire.DeliveryID
			left := make(chan struct{})
			f := serve(t, func(_ int, p *peer) {
				defer close(left)
				p.subscribed(7)
				p.deliver(7, 0, 1, numbers[client.Offset](0, total)...)
				for r := p.wanted(); r != nil; r = p.wanted() {
					switch b := r.Body.(type) {
					case *wire.Ack:
						settled = append(settled, b.Deliveries...)
						p.reply(r.ID, &wire.AckReply{})
					case *wire.Unsubscribe:
						p.reply(r.ID, &wire.UnsubscribeReply{})
					}
				}
			})
			c := dial(t, f.addr())
			ctx, cancel := context.WithCancel(within(t))
			var begun, running, together atomic.Int64
			full := make(chan struct{}) // closed once as many are at work as may be
			handled := make([]atomic.Int64, total)
			err := c.Handle(ctx, 1, "g", func(ctx context.Context, d *client.Delivery) error {
				handled[d.Offset].Add(1)
				now := running.Add(1)
				defer running.Add(-1)
				for old := together.Load(); now > old && !together.CompareAndSwap(old, now); old = together.Load() {
				}
				switch k := begun.Add(1); {
				case k == int64(most):
					close(full)
				case k == int64(2*most):
					cancel()
				}
				<-full
				if ctx.Err() != nil {
					time.Sleep(5 * time.Millisecond) // the loop has ended, this goes on
				}
				return nil
			}, client.Concurrency(n))
			if !errors.Is(err, context.Canceled) || running.Load() != 0 || together.Load() != int64(most) {
				t.Errorf("%v, %d running, %d at a time", err, running.Load(), together.Load())
			}
			atRest(t)
			c.Close()
			<-left
			slices.Sort(settled)
			var want []wire.DeliveryID
			for i := range handled {
				if n := handled[i].Load(); n > 0 {
					want = append(want, wire.DeliveryID(i))
				}
			}
			if !slices.Equal(settled, want) || len(want) < 2*most {
				t.Errorf("settled %v, handled %v", settled, want)
			}
		})
	}
}

// With a limit Handle ends without an error, once as many are handled, and no handler is cut short.
func TestHandleEndsAtItsLimit(t *testing.T) {
	f := serve(t, func(_ int, p *peer) {
		if b := p.subscribed(7); b.CreditEvents != 3 {
			t.Errorf("%+v", b)
		}
		p.deliver(7, 1, 1, 0, 1, 2)
		for range 3 {
			r := p.wanted()
			if r.Body.Op() != wire.OpAck {
				t.Errorf("%T %+v came", r.Body, r.Body)
			}
			p.reply(r.ID, &wire.AckReply{Acked: 1})
		}
		p.leaves(t, 7)
	})
	c := dial(t, f.addr())
	err := c.Handle(within(t), 1, "g", func(ctx context.Context, d *client.Delivery) error {
		time.Sleep(time.Duration(d.Offset) * 10 * time.Millisecond) // so that the last one goes on alone
		if err := ctx.Err(); err != nil {
			t.Error(err)
		}
		return d.AckWait(ctx)
	}, client.Limit(3), client.Concurrency(2))
	if err != nil {
		t.Error(err)
	}
	atRest(t)
	c.Close()
}

// Where Handle has to end, handlers are told; what fails then goes back with the rest, at once.
func TestHandlersEndWithTheGroup(t *testing.T) {
	f := serve(t, func(_ int, p *peer) {
		p.subscribed(7)
		p.deliver(7, 1, 1, 0, 1, 2)
		p.push(&wire.Gap{Subscription: 7, From: 3, To: 4})
		p.leaves(t, 7)
	})
	c := dial(t, f.addr())
	outer := within(t)
	err := c.Handle(outer, 1, "g", func(ctx context.Context, d *client.Delivery) error {
		<-ctx.Done()
		return ctx.Err()
	}, client.Concurrency(3))
	if !errors.Is(err, client.ErrGap) || outer.Err() != nil {
		t.Errorf("%v, %v", err, outer.Err())
	}
	atRest(t)
	c.Close()
}

// What has waited for a worker while its connection broke is not handled: it comes again.
func TestHandlersAreSparedLostDeliveries(t *testing.T) {
	ctx, cancel := context.WithCancel(within(t))
	broke := make(chan struct{})
	f := serve(t, func(n int, p *peer) {
		p.subscribed(7)
		if n == 0 {
			p.deliver(7, 1, 1, 0, 1, 2)
			<-broke
			return
		}
		p.deliver(7, 1, 2, 1)
		p.acks(t, 7, []wire.DeliveryID{1})
		cancel()
		p.leaves(t, 7)
	})
	c := dial(t, f.addr())
	var got []string
	stale := 0
	err := c.Handle(ctx, 1, "g", func(ctx context.Context, d *client.Delivery) error {
		got = append(got, fmt.Sprint(d.Offset, "/", d.Attempt))
		if d.Attempt == 1 {
			close(broke)
			for d.Extend(ctx, time.Second) == nil { // until it has noticed
			}
		}
		return nil
	}, client.OnStale(func(client.Event) { stale++ }))
	if want := []string{"0/1", "1/2"}; !slices.Equal(got, want) || stale != 1 || !errors.Is(err, context.Canceled) {
		t.Errorf("handled %v, %d stale, %v", got, stale, err)
	}
	c.Close()
}

// With KeepAlive the deadlines of all that is held move on, of what waits, too, until it is settled.
func TestKeepAliveMovesDeadlines(t *testing.T) {
	ctx, cancel := context.WithCancel(within(t))
	var once sync.Once
	proceed := make(chan struct{})
	f := serve(t, func(_ int, p *peer) {
		info := wire.GroupDescription{Settings: wire.GroupSettings{AckDeadline: wire.Some(uint32(20))}}
		p.reply(p.expect(t, &wire.GroupInfo{Stream: 1, Name: "g"}).ID, &wire.GroupInfoReply{Info: info})
		p.subscribed(7)
		p.deliver(7, 1, 1, 0, 1)
		p.deliver(7, 3, 1, 2)
		all := &wire.ExtendAck{Subscription: 7, Deliveries: []wire.DeliveryID{1, 2, 3}, Deadline: 20}
		rest := &wire.ExtendAck{Subscription: 7, Deliveries: []wire.DeliveryID{2, 3}, Deadline: 20}
		extended := 0
		for r := p.wanted(); r != nil; r = p.wanted() {
			switch {
			case r.Body.Op() == wire.OpUnsubscribe:
				p.reply(r.ID, &wire.UnsubscribeReply{})
			case r.Body.Op() == wire.OpAck:
				if extended < 2 {
					t.Errorf("%+v came first", r.Body)
				}
				p.reply(r.ID, &wire.AckReply{Acked: 1})
			case reflect.DeepEqual(r.Body, all):
				if extended++; extended == 2 {
					close(proceed)
				}
			case reflect.DeepEqual(r.Body, rest):
				cancel()
			default:
				t.Errorf("%T %+v came", r.Body, r.Body)
			}
		}
	})
	c := dial(t, f.addr())
	err := c.Handle(ctx, 1, "g", func(ctx context.Context, d *client.Delivery) error {
		once.Do(func() { <-proceed })
		if d.Offset > 0 {
			<-ctx.Done()
			return ctx.Err()
		}
		return nil
	}, client.KeepAlive())
	if !errors.Is(err, context.Canceled) {
		t.Errorf("err = %v", err)
	}
	atRest(t)
	c.Close()
}

// A delivery that was lost with its connection and is settled late does not count for the one that has its number now.
func TestKeepAliveTellsConnectionsApart(t *testing.T) {
	ctx, cancel := context.WithCancel(within(t))
	late := make(chan struct{}) // closed once the lost delivery may be settled
	f := serve(t, func(n int, p *peer) {
		if n == 0 {
			info := wire.GroupDescription{Settings: wire.GroupSettings{AckDeadline: wire.Some(uint32(20))}}
			p.reply(p.expect(t, &wire.GroupInfo{Stream: 1, Name: "g"}).ID, &wire.GroupInfoReply{Info: info})
		}
		p.subscribed(7)
		p.deliver(7, 1, uint32(n+1), numbers[client.Offset](0, 2-n)...)
		extend := &wire.ExtendAck{Subscription: 7, Deliveries: numbers[wire.DeliveryID](1, 2-n), Deadline: 20}
		if p.expect(t, extend); n == 0 {
			return
		}
		close(late)
		for range 3 {
			p.expect(t, extend)
		}
		cancel()
		p.leaves(t, 7)
	})
	c := dial(t, f.addr())
	err := c.Handle(ctx, 1, "g", func(ctx context.Context, d *client.Delivery) error {
		if d.Attempt == 1 {
			<-late
			return nil
		}
		<-ctx.Done()
		return ctx.Err()
	}, client.KeepAlive(), client.Concurrency(3))
	if !errors.Is(err, context.Canceled) {
		t.Errorf("err = %v", err)
	}
	c.Close()
}

// The deadline is the group's. Where there is no group, nothing begins.
func TestKeepAliveNeedsTheGroup(t *testing.T) {
	f := serve(t, func(_ int, p *peer) {
		p.reply(p.next().ID, &wire.Error{Code: wire.GroupNotFound})
		p.drain()
	})
	err := dial(t, f.addr()).Handle(within(t), 1, "g", func(context.Context, *client.Delivery) error { return nil }, client.KeepAlive())
	if !errors.Is(err, client.ErrGroupNotFound) {
		t.Errorf("err = %v", err)
	}
	atRest(t)
}
