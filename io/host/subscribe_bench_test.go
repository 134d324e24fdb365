package host_test

import (
	"fmt"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/kimberlitedb/kimberlite-go/io/host"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// subscribed is a connection with a subscription from the end of stream 1 and endless credit.
func subscribed(b testing.TB, h *host.Host) *peer {
	p := connect(b, h)
	p.upgrade(3)
	p.send(&wire.Subscribe{Stream: 1, FromOffset: wire.EndOffset, CreditEvents: wire.MaxCredit, CreditBytes: wire.MaxCredit})
	for p.nextMessage() != nil {
		if push, ok := p.last.(*wire.Push); ok {
			if _, live := push.Body.(*wire.CaughtUp); live {
				return p
			}
		}
	}
	return nil
}

// How long it takes from an append of one event until subscribers have it, as part of how long it takes until it is
// acknowledged; each on a connection and a goroutine of its own, in the same process.
//
//	ack-µs          median time from an append to its reply
//	delivery-µs     median time from an append to its event, over all subscribers
//	delivery/ack    the ratio of the two
func BenchmarkDelivery(b *testing.B) {
	for _, n := range []int{1, 50} {
		b.Run(fmt.Sprintf("%d subscribers", n), func(b *testing.B) {
			h := start(b, b.TempDir())
			defer h.Close()
			p := connect(b, h)
			p.call(&wire.CreateStream{Name: "a"})
			began := time.Now()
			took := make([][]time.Duration, n)
			var ready, done sync.WaitGroup
			var mu sync.Mutex // guards sent
			var sent []time.Duration
			ready.Add(n)
			for i := range n {
				done.Go(func() {
					s := subscribed(b, h)
					ready.Done()
					for len(took[i]) < b.N {
						push := s.nextMessage().(*wire.Push)
						at := time.Since(began)
						events := push.Body.(*wire.SubscriptionEvents)
						mu.Lock()
						for e := range events.Events.All {
							took[i] = append(took[i], at-sent[e.Offset])
						}
						mu.Unlock()
					}
				})
			}
			ready.Wait()
			var acks []time.Duration
			data := make([]byte, 256)
			b.ResetTimer()
			for range b.N {
				mu.Lock()
				at := time.Since(began)
				sent = append(sent, at)
				mu.Unlock()
				p.call(&wire.AppendEvents{Stream: 1, Events: [][]byte{data}})
				acks = append(acks, time.Since(began)-at)
			}
			done.Wait()
			all := slices.Concat(took...)
			slices.Sort(all)
			slices.Sort(acks)
			ack, delivery := acks[len(acks)/2], all[len(all)/2]
			b.ReportMetric(float64(ack.Nanoseconds())/1e3, "ack-µs")
			b.ReportMetric(float64(delivery.Nanoseconds())/1e3, "delivery-µs")
			b.ReportMetric(float64(delivery)/float64(ack), "delivery/ack")
		})
	}
}

// How many events of 256 bytes reach 50 subscribers in all, while one connection appends batches of 100.
func BenchmarkFanOut(b *testing.B) {
	const n, batch = 50, 100
	h := start(b, b.TempDir())
	defer h.Close()
	p := connect(b, h)
	p.call(&wire.CreateStream{Name: "a"})
	var ready, done sync.WaitGroup
	ready.Add(n)
	for range n {
		done.Go(func() {
			s := subscribed(b, h)
			ready.Done()
			for got := 0; got < b.N*batch; {
				if push, ok := s.nextMessage().(*wire.Push); ok {
					if events, ok := push.Body.(*wire.SubscriptionEvents); ok {
						got += events.Events.Count
					}
				}
			}
		})
	}
	ready.Wait()
	ask := &wire.AppendEvents{Stream: 1}
	for range batch {
		ask.Events = append(ask.Events, make([]byte, 256))
	}
	b.ResetTimer()
	began := time.Now()
	for i := range b.N {
		p.send(ask)
		if i >= 16 {
			p.next()
		}
	}
	done.Wait()
	b.ReportMetric(float64(b.N)*batch*n/time.Since(began).Seconds(), "deliveries/s")
}

// What 1,000 idle subscriptions on as many connections cost beyond the connections, server and clients together.
func BenchmarkIdleSubscriptions(b *testing.B) {
	const n = 1000
	for range b.N {
		h := start(b, b.TempDir())
		p := connect(b, h)
		p.call(&wire.CreateStream{Name: "a"})
		peers := make([]*peer, n)
		for i := range peers {
			peers[i] = connect(b, h)
			peers[i].upgrade(3)
			peers[i].call(&wire.Subscribe{Stream: 1, CreditEvents: 1 << 20, CreditBytes: 1 << 20})
			peers[i].nextMessage() // it has caught up
		}
		cpu := cpuTime()
		time.Sleep(2 * time.Second)
		b.ReportMetric(100*(cpuTime()-cpu).Seconds()/2, "%CPU")
		with := inUse()
		for i, p := range peers {
			p.call(&wire.Unsubscribe{Subscription: wire.SubscriptionID(i + 1)})
		}
		b.ReportMetric(float64(with-inUse())/(1<<20), "MiB")
		runtime.KeepAlive(peers)
		h.Close()
	}
}

// inUse returns the memory of heap and stacks, collected.
func inUse() int64 {
	runtime.GC()
	runtime.GC() // pools let go at the second
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u) // cannot fail
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
