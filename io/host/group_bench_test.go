package host_test

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kimberlitedb/kimberlite-go/wire"
)

// How many events of 256 bytes the members of a consumer group are sent and acknowledge one by one, each acknowledgement
// durable, from a stream that is there already. A member names the deliveries of a push in one request. With a request each, it names every delivery in a request of its own, and sends those of a push together.
//
//	acks/s      acknowledged deliveries over the whole time
//	events/ack  deliveries that a request names
func BenchmarkGroup(b *testing.B) {
	for _, n := range []int{1, 8} {
		b.Run(fmt.Sprintf("%d members", n), func(b *testing.B) { benchmarkGroup(b, n, 1<<17, wire.MaxLookAhead) })
		b.Run(fmt.Sprintf("%d members, a request each", n), func(b *testing.B) { benchmarkGroup(b, n, 1<<17, 1) })
	}
}

func benchmarkGroup(b *testing.B, members, events, atOnce int) {
	var requests atomic.Int64
	acked, took := int64(0), time.Duration(0)
	for range b.N {
		h := start(b, b.TempDir())
		p := connect(b, h)
		p.call(&wire.CreateStream{Name: "a"})
		ask := &wire.AppendEvents{Stream: 1}
		for range 1024 {
			ask.Events = append(ask.Events, make([]byte, 256))
		}
		for range events / len(ask.Events) {
			p.call(ask)
		}
		settings := wire.GroupSettings{MaxAckPending: wire.Some[uint32](8192), LookAhead: wire.Some[uint32](50_000)}
		p.call(&wire.CreateGroup{Stream: 1, Name: "g", Settings: settings})
		var ready, done sync.WaitGroup
		ready.Add(members)
		begin := make(chan struct{})
		end := &tally{left: int64(events), over: make(chan struct{})}
		for range members {
			done.Go(func() {
				m := connect(b, h)
				m.upgrade(3)
				ready.Done()
				<-begin
				requests.Add(m.consume(end, atOnce))
			})
		}
		ready.Wait()
		began := time.Now()
		close(begin)
		<-end.over
		took += time.Since(began)
		acked += int64(events)
		info := p.call(&wire.GroupInfo{Stream: 1, Name: "g"}).(*wire.GroupInfoReply).Info
		if info.Floor != wire.Offset(events) {
			b.Fatalf("the group is at %d", info.Floor)
		}
		p.call(&wire.DeleteGroup{Stream: 1, Name: "g"}) // which the members wait for
		done.Wait()
		h.Close()
	}
	b.ReportMetric(float64(acked)/took.Seconds(), "acks/s")
	b.ReportMetric(float64(acked)/float64(requests.Load()), "events/ack")
}

// tally counts what is not acknowledged.
type tally struct {
	mu   sync.Mutex
	left int64
	over chan struct{} // closed when nothing is left
}

func (t *tally) take(n uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.left -= int64(n); t.left == 0 {
		close(t.over)
	}
}

// consume acknowledges what a member is sent, so many deliveries in one request, until its group is deleted. It returns the
// number of its requests.
func (p *peer) consume(end *tally, atOnce int) (requests int64) {
	p.send(&wire.Subscribe{Stream: 1, Group: wire.Some("g"), CreditEvents: 1 << 30, CreditBytes: 1 << 40})
	var sub wire.SubscriptionID
	for {
		switch m := p.nextMessage().(type) {
		case *wire.Response:
			switch r := m.Body.(type) {
			case *wire.SubscribeReply:
				sub = r.Subscription
			case *wire.AckReply:
				end.take(r.Acked)
			}
		case *wire.Push:
			events, ok := m.Body.(*wire.GroupEvents)
			if !ok {
				return requests
			}
			var acks []wire.RequestBody
			for some := range slices.Chunk(events.Deliveries, atOnce) {
				ids := make([]wire.DeliveryID, len(some))
				for i := range some {
					ids[i] = some[i].ID
				}
				acks = append(acks, &wire.Ack{Subscription: sub, Deliveries: ids})
			}
			p.send(acks...)
			requests += int64(len(acks))
		}
	}
}
