package client_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kimberlitedb/kimberlite-go/client"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// deliver pushes events whose data are their offsets. Their deliveries are numbered from first.
func (p *peer) deliver(id wire.SubscriptionID, first wire.DeliveryID, attempt uint32, offsets ...client.Offset) {
	b := &wire.GroupEvents{Subscription: id}
	for i, o := range offsets {
		event := wire.AppendEvent(nil, o, fmt.Append(nil, o), wire.Time(o))
		b.Deliveries = append(b.Deliveries, wire.Delivery{ID: first + wire.DeliveryID(i), Attempt: attempt, Event: event})
	}
	p.push(b)
}

// wanted returns the next request of a member that is neither a ping, which it answers, nor a grant of credit. It returns
// nil once the connection has ended.
func (p *peer) wanted() *wire.Request {
	for r := p.next(); r != nil; r = p.next() {
		switch r.Body.Op() {
		case wire.OpPing:
			p.reply(r.ID, &wire.PingReply{})
		case wire.OpCredit:
			p.flush()
		default:
			return r
		}
	}
	return nil
}

// expect waits for a request of a member.
func (p *peer) expect(t *testing.T, want wire.RequestBody) *wire.Request {
	t.Helper()
	r := p.wanted()
	if r == nil {
		t.Errorf("the connection has ended where %T %+v is due", want, want)
		return &wire.Request{}
	}
	if !reflect.DeepEqual(r.Body, want) {
		t.Errorf("%T %+v came where %T %+v is due", r.Body, r.Body, want, want)
	}
	return r
}

// acks expects an acknowledgement and answers it.
func (p *peer) acks(t *testing.T, id wire.SubscriptionID, list []wire.DeliveryID, stale ...wire.DeliveryID) {
	t.Helper()
	r := p.expect(t, &wire.Ack{Subscription: id, Deliveries: list})
	p.reply(r.ID, &wire.AckReply{Acked: uint64(len(list) - len(stale)), Stale: stale})
}

// leaves expects that a member leaves, and nothing after that.
func (p *peer) leaves(t *testing.T, id wire.SubscriptionID) {
	t.Helper()
	p.reply(p.expect(t, &wire.Unsubscribe{Subscription: id}).ID, &wire.UnsubscribeReply{})
	if r := p.wanted(); r != nil {
		t.Errorf("%T %+v came after Unsubscribe", r.Body, r.Body)
	}
}

// numbers returns so many numbers from a first one.
func numbers[T ~uint64](first T, count int) (list []T) {
	for i := range count {
		list = append(list, first+T(i))
	}
	return list
}

// A member asks for its window, gets events with their attempts, and settles them in every way. The first verdict counts.
func TestConsumerSettlesDeliveries(t *testing.T) {
	f := serve(t, func(_ int, p *peer) {
		want := &wire.Subscribe{Stream: 1, Group: wire.Some("g"), CreditEvents: 50, CreditBytes: 5000}
		if b := p.subscribed(7); !reflect.DeepEqual(b, want) {
			t.Errorf("%+v", b)
		}
		one := func(id wire.DeliveryID) []wire.DeliveryID { return []wire.DeliveryID{id} }
		p.deliver(7, 5, 1, 0)
		p.acks(t, 7, one(5))
		for _, x := range []struct {
			body  wire.RequestBody
			reply wire.ResponseBody
		}{
			{&wire.Nack{Subscription: 7, Deliveries: one(6), Delay: 1500}, &wire.NackReply{}},
			{&wire.Nack{Subscription: 7, Deliveries: one(7), Park: true}, &wire.NackReply{}},
			{&wire.ExtendAck{Subscription: 7, Deliveries: one(8), Deadline: 60_000}, &wire.ExtendAckReply{}},
			{&wire.Nack{Subscription: 7, Deliveries: one(8), Delay: wire.MaxNackDelay}, &wire.NackReply{}},
			{&wire.Nack{Subscription: 7, Deliveries: one(9)}, &wire.NackReply{}},
		} {
			if x.body.Op() == wire.OpExtendAck {
				p.deliver(7, 8, 1, 3)
			} else if n, ok := x.body.(*wire.Nack); ok && n.Deliveries[0] != 8 {
				p.deliver(7, n.Deliveries[0], uint32(n.Deliveries[0]), client.Offset(n.Deliveries[0]-5))
			}
			p.reply(p.expect(t, x.body).ID, x.reply)
		}
		p.leaves(t, 7)
	})
	c, ctx := dial(t, f.addr()), within(t)
	attempts := []int{1, 6, 7, 1, 9}
	for d, err := range c.Consume(ctx, 1, "g", client.Window(50, 5000)) {
		if err != nil {
			t.Fatal(err)
		}
		if string(d.Data) != fmt.Sprint(d.Offset) || !d.Timestamp.Equal(instant(int64(d.Offset))) || d.Attempt != attempts[d.Offset] {
			t.Errorf("event %d is %q, attempt %d", d.Offset, d.Data, d.Attempt)
		}
		switch d.Offset {
		case 0:
			if err := d.AckWait(ctx); err != nil {
				t.Error(err)
			}
			d.Nack(0)
			if err := d.AckWait(ctx); err != nil {
				t.Error(err)
			}
		case 1:
			d.Nack(1500 * time.Millisecond)
			if err := d.AckWait(ctx); !errors.Is(err, client.ErrStaleDelivery) {
				t.Errorf("AckWait after Nack: %v", err)
			}
		case 2:
			d.Park()
			if err := d.Extend(ctx, time.Second); !errors.Is(err, client.ErrStaleDelivery) {
				t.Errorf("Extend after Park: %v", err)
			}
		case 3:
			if err := d.Extend(ctx, time.Minute); err != nil {
				t.Error(err)
			}
			d.Nack(1 << 62)
		case 4:
			d.Nack(-1)
		}
		if d.Offset == 4 {
			break
		}
	}
	c.Close()
}

// While an acknowledgement is under way others gather, 256 at most, until it is answered, the consumer waits for more, or
// leaves.
func TestAcknowledgementsGather(t *testing.T) {
	const count = 600
	for _, test := range []struct {
		name     string
		answered int                                  // requests, before the last one comes
		after    func(done chan struct{}) (goOn bool) // everything is acknowledged, in the loop's body
	}{
		{"until they are answered", 3, func(done chan struct{}) bool {
			<-done
			return false
		}},
		{"until the consumer waits", 0, func(chan struct{}) bool { return true }},
		{"until the consumer leaves", 0, func(chan struct{}) bool { return false }},
	} {
		t.Run(test.name, func(t *testing.T) {
			acknowledged, done := make(chan struct{}), make(chan struct{})
			f := serve(t, func(_ int, p *peer) {
				p.subscribed(7)
				p.deliver(7, 1, 1, numbers[client.Offset](0, count)...)
				var requests []*wire.Request
				for i, n := range []int{1, 256, 256, 87} {
					first := []wire.DeliveryID{1, 2, 258, 514}[i]
					requests = append(requests, p.expect(t, &wire.Ack{Subscription: 7, Deliveries: numbers(first, n)}))
					<-acknowledged
					for len(requests) > 0 && (i+1 == test.answered || i == 3) {
						p.reply(requests[0].ID, &wire.AckReply{})
						requests = requests[1:]
					}
				}
				close(done)
				p.leaves(t, 7)
			})
			c := dial(t, f.addr())
			ctx, cancel := context.WithCancel(within(t))
			go func() {
				<-done
				cancel()
			}()
			var all []*client.Delivery
			for d, err := range c.Consume(ctx, 1, "g", client.Window(1000, 1<<20), client.OnStale(func(e client.Event) { t.Errorf("event %d is stale", e.Offset) })) {
				if err != nil {
					break
				}
				if all = append(all, d); len(all) < count {
					continue
				}
				for _, d := range all {
					d.Ack()
				}
				close(acknowledged)
				if !test.after(done) {
					break
				}
			}
			for _, d := range all {
				if err := d.AckWait(within(t)); err != nil {
					t.Fatal(err)
				}
			}
			c.Close()
		})
	}
}

// One request settles all that gathers with the same verdict.
func TestVerdictsAreSortedIntoRequests(t *testing.T) {
	f := serve(t, func(_ int, p *peer) {
		p.subscribed(7)
		p.deliver(7, 1, 1, numbers[client.Offset](0, 9)...)
		first := p.expect(t, &wire.Ack{Subscription: 7, Deliveries: []wire.DeliveryID{1}})
		p.acks(t, 7, []wire.DeliveryID{2, 4, 6})
		p.reply(p.expect(t, &wire.Nack{Subscription: 7, Deliveries: []wire.DeliveryID{3, 7}, Delay: 1000}).ID, &wire.NackReply{})
		p.reply(p.expect(t, &wire.Nack{Subscription: 7, Deliveries: []wire.DeliveryID{5}, Delay: 2000}).ID, &wire.NackReply{})
		p.reply(p.expect(t, &wire.Nack{Subscription: 7, Deliveries: []wire.DeliveryID{8}, Park: true}).ID, &wire.NackReply{})
		p.reply(first.ID, &wire.AckReply{})
		p.leaves(t, 7)
	})
	c := dial(t, f.addr())
	for d, err := range c.Consume(within(t), 1, "g") {
		if err != nil {
			t.Fatal(err)
		}
		switch d.Offset {
		case 0, 1, 3, 5:
			d.Ack()
		case 2, 6:
			d.Nack(time.Second)
		case 4:
			d.Nack(2 * time.Second)
		case 7:
			d.Park()
		}
		if d.Offset == 8 {
			break
		}
	}
	c.Close()
}

// What goes wrong with an acknowledgement is told: to AckWait, or else to OnStale.
func TestAcknowledgementsInVainAreTold(t *testing.T) {
	for _, test := range []struct {
		name  string
		reply wire.ResponseBody
		stale []client.Offset // of the events 0 and 1
		want  error           // of AckWait
	}{
		{"none", &wire.AckReply{Acked: 2}, nil, nil},
		{"some", &wire.AckReply{Acked: 1, Stale: []wire.DeliveryID{2}}, []client.Offset{1}, client.ErrStaleDelivery},
		{"all", &wire.Error{Code: wire.StaleDelivery}, []client.Offset{0, 1}, client.ErrStaleDelivery},
		{"the subscription is gone", &wire.Error{Code: wire.SubscriptionNotFound}, []client.Offset{0, 1}, client.ErrStaleDelivery},
		{"there is no room", &wire.Error{Code: wire.StorageFull}, []client.Offset{0, 1}, client.ErrStorageFull},
	} {
		for _, waits := range []bool{false, true} {
			t.Run(fmt.Sprint(test.name, "/", waits), func(t *testing.T) {
				f := serve(t, func(_ int, p *peer) {
					p.subscribed(7)
					p.deliver(7, 1, 1, 0, 1, 2)
					first := p.expect(t, &wire.Ack{Subscription: 7, Deliveries: []wire.DeliveryID{3}})
					second := p.expect(t, &wire.Ack{Subscription: 7, Deliveries: []wire.DeliveryID{1, 2}})
					p.reply(first.ID, &wire.AckReply{Acked: 1})
					p.reply(second.ID, test.reply)
					p.deliver(7, 4, 1, 3)
					p.leaves(t, 7)
				})
				c, ctx := dial(t, f.addr()), within(t)
				var stale []client.Offset
				var all []*client.Delivery
				errs := make(chan error, 1)
				for d, err := range c.Consume(ctx, 1, "g", client.OnStale(func(e client.Event) { stale = append(stale, e.Offset) })) {
					if err != nil {
						t.Fatal(err)
					}
					if all = append(all, d); d.Offset == 3 {
						break
					}
					if d.Offset < 2 {
						continue
					}
					d.Ack()
					all[0].Ack()
					if !waits {
						all[1].Ack()
						continue
					}
					waiting, cancel := context.WithCancel(ctx)
					cancel()
					second := all[1]
					if err := second.AckWait(waiting); !errors.Is(err, context.Canceled) { // it goes out nevertheless
						t.Errorf("a wait that has ended: %v", err)
					}
					go func() { errs <- second.AckWait(ctx) }()
				}
				want := test.stale
				if waits {
					if err := <-errs; !errors.Is(err, test.want) {
						t.Errorf("AckWait: %v", err)
					}
					want = slices.DeleteFunc(slices.Clone(want), func(o client.Offset) bool { return o == 1 })
				}
				if !slices.Equal(stale, want) {
					t.Errorf("stale: %v, want %v", stale, want)
				}
				c.Close()
			})
		}
	}
}

// What came over a connection that broke is not settled over another one, where its number may mean another delivery, and
// what has not been yielded by then never is.
func TestLostDeliveriesAreStale(t *testing.T) {
	f := serve(t, func(n int, p *peer) {
		p.subscribed(7)
		if n == 0 {
			p.deliver(7, 1, 1, 0, 1, 2, 3, 4)
			p.expect(t, &wire.Ack{Subscription: 7, Deliveries: []wire.DeliveryID{1}})
			return // unanswered
		}
		p.deliver(7, 1, 2, 0, 1, 2, 3, 4, 5)
		p.acks(t, 7, []wire.DeliveryID{6})
		p.leaves(t, 7)
	})
	c, ctx := dial(t, f.addr()), within(t)
	var told, offsets []client.Offset
	var lost []*client.Delivery
	for d, err := range c.Consume(ctx, 1, "g", client.OnStale(func(e client.Event) { told = append(told, e.Offset) })) {
		if err != nil {
			t.Fatal(err)
		}
		offsets = append(offsets, d.Offset)
		switch {
		case d.Attempt == 1 && d.Offset < 3:
			lost = append(lost, d)
		case d.Attempt == 1: // it breaks while this is dealt with
			lost = append(lost, d)
			if err := lost[0].AckWait(ctx); !errors.Is(err, client.ErrUnknownOutcome) {
				t.Errorf("AckWait meanwhile: %v", err)
			}
		case d.Offset == 0:
			lost[1].Ack()
			lost[1].Park()
			lost[2].Nack(0)
			for _, d := range lost[1:] {
				if err := d.Extend(ctx, time.Second); !errors.Is(err, client.ErrStaleDelivery) {
					t.Errorf("Extend: %v", err)
				}
				if err := d.AckWait(ctx); !errors.Is(err, client.ErrStaleDelivery) {
					t.Errorf("AckWait: %v", err)
				}
			}
		case d.Offset == 5:
			d.Ack()
		}
		if d.Offset == 5 {
			break
		}
	}
	c.Close()
	if want := []client.Offset{0, 1, 2, 3, 0, 1, 2, 3, 4, 5}; !slices.Equal(offsets, want) {
		t.Errorf("yielded %v, want %v", offsets, want)
	}
	if !slices.Equal(told, []client.Offset{1}) {
		t.Errorf("stale: %v", told)
	}
}

// What gathers of two connections goes apart.
func TestGatheredVerdictsOfTwoConnectionsGoApart(t *testing.T) {
	acknowledged := make(chan struct{})
	f := serve(t, func(n int, p *peer) {
		p.subscribed(7)
		p.deliver(7, 1, uint32(n+1), 0, 1, 2)
		first := p.expect(t, &wire.Ack{Subscription: 7, Deliveries: []wire.DeliveryID{1}})
		if n == 0 {
			p.expect(t, &wire.ExtendAck{Subscription: 7, Deliveries: []wire.DeliveryID{2}, Deadline: 1000})
			return // unanswered
		}
		<-acknowledged
		p.reply(first.ID, &wire.AckReply{Acked: 1})
		p.acks(t, 7, []wire.DeliveryID{2})
		p.leaves(t, 7)
	})
	c, ctx := dial(t, f.addr()), within(t)
	var lost *client.Delivery
	for d, err := range c.Consume(ctx, 1, "g") {
		switch {
		case err != nil:
			t.Fatal(err)
		case d.Attempt == 1 && d.Offset == 0:
			d.Ack()
		case d.Attempt == 1:
			lost = d
			if err := d.Extend(ctx, time.Second); !errors.Is(err, client.ErrStaleDelivery) {
				t.Errorf("Extend: %v", err)
			}
		case d.Offset == 0:
			d.Ack()
		case d.Offset == 1:
			lost.Ack()
			d.Ack()
			close(acknowledged)
		}
		if err == nil && d.Attempt == 2 && d.Offset == 2 {
			break
		}
	}
	if err := lost.AckWait(ctx); !errors.Is(err, client.ErrStaleDelivery) {
		t.Errorf("AckWait: %v", err)
	}
	c.Close()
}

// What gathers when a connection breaks is told as stale.
func TestGatheredAcknowledgementsAreLostWithTheirConnection(t *testing.T) {
	f := serve(t, func(n int, p *peer) {
		p.subscribed(7)
		if n == 0 {
			p.deliver(7, 1, 1, 0, 1, 2)
			p.expect(t, &wire.Ack{Subscription: 7, Deliveries: []wire.DeliveryID{1}})
			p.nc.Close()
			return
		}
		p.deliver(7, 1, 2, 0)
		p.leaves(t, 7)
	})
	c := dial(t, f.addr())
	var stale []client.Offset
	for d, err := range c.Consume(within(t), 1, "g", client.OnStale(func(e client.Event) { stale = append(stale, e.Offset) })) {
		if err != nil {
			t.Fatal(err)
		}
		if d.Attempt == 2 {
			break
		}
		d.Ack()
	}
	c.Close()
	if slices.Sort(stale); !slices.Equal(stale, []client.Offset{0, 1, 2}) && !slices.Equal(stale, []client.Offset{0}) && !slices.Equal(stale, []client.Offset{0, 1}) {
		t.Errorf("stale: %v", stale) // the later ones may not even have been yielded
	}
}

// A server never has more credit than the window, and gets back what the consumer has taken.
func TestMemberIsSentNoMoreThanItsWindow(t *testing.T) {
	const total, window = 1000, 10
	size := int64(len(wire.AppendEvent(nil, 1000, fmt.Append(nil, 1000), 0)))
	for _, test := range []struct {
		name  string
		bytes int
		most  int64 // deliveries on their way or with the consumer
	}{
		{"events", 1 << 20, window},
		{"bytes", int(3 * size), 3},
	} {
		t.Run(test.name, func(t *testing.T) {
			var sent, taken, grants atomic.Int64
			f := serve(t, func(_ int, p *peer) {
				b := p.subscribed(1)
				events, bytes := int64(b.CreditEvents), int64(b.CreditBytes)
				for next := int64(0); ; {
					for ; events > 0 && bytes > 0 && next < total; next++ {
						events, bytes = events-1, bytes-size
						if n := sent.Add(1) - taken.Load(); n > test.most {
							t.Errorf("%d deliveries are under way", n)
						}
						p.deliver(1, wire.DeliveryID(next), 1, client.Offset(1000+next))
					}
					r := p.next()
					if r == nil {
						return
					}
					switch b := r.Body.(type) {
					case *wire.Credit:
						grants.Add(1)
						events, bytes = events+int64(b.Events), bytes+int64(b.Bytes)
					case *wire.Unsubscribe:
						p.reply(r.ID, &wire.UnsubscribeReply{})
					case *wire.Ping:
						p.reply(r.ID, &wire.PingReply{})
					}
				}
			})
			c, ctx := dial(t, f.addr()), within(t)
			for d, err := range c.Consume(ctx, 1, "g", client.Window(window, test.bytes)) {
				if err != nil {
					t.Fatal(err)
				}
				if err := c.Ping(ctx); err != nil { // credit that was given too soon is there by now
					t.Fatal(err)
				}
				if taken.Add(1); d.Offset == 1000+total-1 {
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

// With a limit the server has no credit for more, also after the connection broke, and the end is no error.
func TestLimitIsNotPassed(t *testing.T) {
	f := serve(t, func(n int, p *peer) {
		b := p.subscribed(7)
		if b == nil {
			return
		}
		if want := []uint64{10, 8}[n]; b.CreditEvents != want {
			t.Errorf("connection %d begins with credit for %d events", n, b.CreditEvents)
		}
		credit := b.CreditEvents
		for id, next := wire.DeliveryID(1), client.Offset(17*n); ; {
			for ; credit > 0; credit-- {
				p.deliver(7, id, 1, next)
				id, next = id+1, next+1
			}
			r := p.next()
			switch {
			case r == nil:
				return
			case r.Body.Op() == wire.OpUnsubscribe:
				if id != 9 || n != 1 {
					t.Errorf("it leaves connection %d after %d deliveries", n, id-1)
				}
				p.reply(r.ID, &wire.UnsubscribeReply{})
			case r.Body.Op() == wire.OpCredit:
				credit += r.Body.(*wire.Credit).Events
			}
			if n == 0 && id > 16 { // all that it may have by then
				return
			}
		}
	})
	c := dial(t, f.addr())
	count := 0
	for d, err := range c.Consume(within(t), 1, "g", client.Window(10, 1<<20), client.Limit(20)) {
		if err != nil {
			t.Fatal(err)
		}
		if count++; count == 12 { // the connection breaks while this is dealt with
			for d.Extend(within(t), time.Second) == nil {
			}
		}
	}
	if count != 20 {
		t.Errorf("%d deliveries", count)
	}
	for range c.Consume(within(t), 1, "g", client.Limit(0)) {
		t.Error("a delivery came where none is wanted")
	}
	c.Close()
}

// A consumer that leaves the loop, however it does, sends what it has settled before it gives back the rest, and has the
// answer when it is out. What is settled later is nobody's.
func TestLeavingSettlesFirst(t *testing.T) {
	for _, test := range []string{"break", "context", "context while it waits", "panic"} {
		t.Run(test, func(t *testing.T) {
			var answered atomic.Bool
			f := serve(t, func(_ int, p *peer) {
				p.subscribed(7)
				count := 3
				if test == "context" {
					count = 5
				}
				p.deliver(7, 1, 1, numbers[client.Offset](0, count)...)
				first := p.expect(t, &wire.Ack{Subscription: 7, Deliveries: []wire.DeliveryID{1}})
				second := p.expect(t, &wire.Ack{Subscription: 7, Deliveries: []wire.DeliveryID{2}})
				left := p.expect(t, &wire.Unsubscribe{Subscription: 7})
				p.reply(first.ID, &wire.AckReply{})
				time.Sleep(10 * time.Millisecond) // a consumer that does not wait is out by then
				answered.Store(true)
				p.reply(second.ID, &wire.AckReply{})
				p.reply(left.ID, &wire.UnsubscribeReply{})
				if r := p.wanted(); r != nil {
					t.Errorf("%T %+v came after Unsubscribe", r.Body, r.Body)
				}
			})
			c := dial(t, f.addr())
			ctx, cancel := context.WithCancel(within(t))
			var all []*client.Delivery
			var last error
			stale := 0
			func() {
				defer func() { recover() }()
				idle := client.OnIdle(func() {
					if len(all) == 3 {
						all[1].Ack()
						cancel()
					}
				})
				for d, err := range c.Consume(ctx, 1, "g", idle, client.OnStale(func(client.Event) { stale++ })) {
					if last = err; err != nil {
						break
					}
					if all = append(all, d); d.Offset == 0 {
						d.Ack()
					}
					if d.Offset < 2 || test == "context while it waits" || test == "context" && d.Offset < 3 {
						continue
					}
					all[1].Ack()
					switch test {
					case "break":
						return
					case "panic":
						panic("out")
					}
					cancel()
				}
			}()
			if !answered.Load() {
				t.Error("it is out before its acknowledgements are answered")
			}
			if wait := test == "context" || test == "context while it waits"; wait != errors.Is(last, context.Canceled) {
				t.Errorf("err = %v", last)
			}
			if test == "context" && len(all) != 4 {
				t.Errorf("%d deliveries came", len(all))
			}
			all[2].Ack()
			if err := all[2].AckWait(within(t)); !errors.Is(err, client.ErrStaleDelivery) {
				t.Errorf("AckWait afterwards: %v", err)
			}
			if err := errors.Join(all[0].AckWait(within(t)), all[1].AckWait(within(t))); err != nil || stale != 0 {
				t.Errorf("%v, %d stale", err, stale)
			}
			c.Close()
		})
	}
}

// A consumer that leaves is told what it has acknowledged in vain, too.
func TestLastAcknowledgementsInVainAreTold(t *testing.T) {
	f := serve(t, func(_ int, p *peer) {
		p.subscribed(7)
		p.deliver(7, 1, 1, 0)
		r := p.expect(t, &wire.Ack{Subscription: 7, Deliveries: []wire.DeliveryID{1}})
		left := p.expect(t, &wire.Unsubscribe{Subscription: 7})
		p.reply(r.ID, &wire.Error{Code: wire.StaleDelivery})
		p.reply(left.ID, &wire.UnsubscribeReply{})
		p.drain()
	})
	c := dial(t, f.addr())
	stale := 0
	for d, err := range c.Consume(within(t), 1, "g", client.OnStale(func(client.Event) { stale++ })) {
		if err != nil {
			t.Fatal(err)
		}
		d.Ack()
		break
	}
	if stale != 1 {
		t.Errorf("%d stale", stale)
	}
}

// What the loop's body acknowledges when it is told of the end still counts.
func TestLastWordsCount(t *testing.T) {
	f := serve(t, func(_ int, p *peer) {
		p.subscribed(7)
		p.deliver(7, 1, 1, 0, 1)
		p.push(&wire.Gap{Subscription: 7, From: 2, To: 5})
		p.acks(t, 7, []wire.DeliveryID{1})
		p.acks(t, 7, []wire.DeliveryID{2})
		p.leaves(t, 7)
	})
	c := dial(t, f.addr())
	var all []*client.Delivery
	for d, err := range c.Consume(within(t), 1, "g") {
		if err == nil {
			all = append(all, d)
			continue
		}
		var gap *client.GapError
		if !errors.As(err, &gap) || *gap != (client.GapError{Stream: 1, From: 2, To: 5}) {
			t.Errorf("err = %v", err)
		}
		for _, d := range all {
			if err := d.AckWait(within(t)); err != nil {
				t.Error(err)
			}
		}
	}
	c.Close()
}

// How the server ends a membership, or has it go on.
func TestMembershipEnds(t *testing.T) {
	damaged := wire.AppendEvent(nil, 3, []byte("3"), 0)
	damaged[16] ^= 1 // the first byte of the data
	for _, test := range []struct {
		name string
		push wire.PushBody
		want error
	}{
		{"the group is deleted", &wire.SubscriptionClosed{Subscription: 1, Code: wire.GroupNotFound}, client.ErrGroupNotFound},
		{"the stream is deleted", &wire.SubscriptionClosed{Subscription: 1, Code: wire.StreamDeleted}, client.ErrStreamDeleted},
		{"a gap", &wire.Gap{Subscription: 1, From: 3, To: 4}, client.ErrGap},
		{"a gap of nothing", &wire.Gap{Subscription: 1, From: 3, To: 3}, client.ErrDataCorrupted},
		{"other data", &wire.GroupEvents{Subscription: 1, Deliveries: []wire.Delivery{{ID: 2, Attempt: 1, Event: damaged}}}, client.ErrDataCorrupted},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := serve(t, func(_ int, p *peer) {
				p.subscribed(1)
				p.deliver(1, 1, 1, 2)
				p.push(test.push)
				p.drain()
			})
			count := 0
			var last error
			for _, err := range dial(t, f.addr()).Consume(within(t), 1, "g") {
				if last = err; err == nil {
					count++
				}
			}
			if !errors.Is(last, test.want) || count != 1 {
				t.Errorf("%d deliveries, %v", count, last)
			}
		})
	}
}

// A server that is being stopped, and a gap that somebody is told of, do not end a membership.
func TestMembershipGoesOn(t *testing.T) {
	f := serve(t, func(n int, p *peer) {
		p.subscribed(1)
		p.deliver(1, 1, 1, client.Offset(n))
		if n == 0 {
			p.acks(t, 1, []wire.DeliveryID{1})
			p.push(&wire.Gap{Subscription: 1, From: 3, To: 5, Reason: wire.GapDamage})
			p.push(&wire.SubscriptionClosed{Subscription: 1, Code: wire.ShuttingDown})
			return
		}
		p.acks(t, 1, []wire.DeliveryID{1})
		p.leaves(t, 1)
	})
	c := dial(t, f.addr())
	var gaps []client.GapError
	var got []client.Offset
	for d, err := range c.Consume(within(t), 1, "g", client.OnGap(func(g client.GapError) { gaps = append(gaps, g) })) {
		if err != nil {
			t.Fatal(err)
		}
		d.Ack()
		if got = append(got, d.Offset); d.Offset == 1 {
			break
		}
	}
	c.Close()
	want := []client.GapError{{Stream: 1, From: 3, To: 5, Reason: wire.GapDamage}}
	if !slices.Equal(got, []client.Offset{0, 1}) || !slices.Equal(gaps, want) {
		t.Errorf("%v, %+v", got, gaps)
	}
}

func TestConsumeNeedsVersion3(t *testing.T) {
	f := serveVersions(t, []uint16{2}, func(_ int, p *peer) { p.drain() })
	c := dial(t, f.addr())
	var e *client.Error
	if err := end(c.Consume(within(t), 1, "g")); !errors.As(err, &e) || e.Code != wire.UnsupportedVersion {
		t.Errorf("err = %v", err)
	}
}

func TestCloseEndsConsumers(t *testing.T) {
	f := serve(t, func(_ int, p *peer) {
		p.subscribed(1)
		p.deliver(1, 1, 1, 0)
		p.drain()
	})
	c := dial(t, f.addr())
	var last error
	for d, err := range c.Consume(within(t), 1, "g") {
		if last = err; err == nil {
			c.Close()
			if err := d.AckWait(within(t)); !errors.Is(err, client.ErrStaleDelivery) {
				t.Errorf("AckWait: %v", err)
			}
		}
	}
	if !errors.Is(last, client.ErrClosed) {
		t.Errorf("err = %v", last)
	}
}
