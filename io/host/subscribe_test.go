package host_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/kimberlitedb/kimberlite-go/io/host"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// What is appended over any version, compressed in any way, reaches a subscriber that has its own version and codec.
func TestVersionsAndCodecsOverTCP(t *testing.T) {
	h := start(t, t.TempDir())
	defer h.Close()
	connect(t, h).call(&wire.CreateStream{Name: "a"})
	listeners := make([]*peer, wire.CodecCount)
	for i := range listeners {
		p := connect(t, h)
		p.codec = wire.Codec(i)
		p.upgrade(3)
		p.send(&wire.Subscribe{Stream: 1, CreditEvents: 1000, CreditBytes: 1 << 20})
		if r, ok := p.next().(*wire.SubscribeReply); !ok {
			t.Fatalf("%+v", r)
		}
		if b, ok := p.nextMessage().(*wire.Push).Body.(*wire.CaughtUp); !ok || b.Offset != 0 {
			t.Fatalf("%+v", b)
		}
		listeners[i] = p
	}
	next := wire.Offset(0)
	for version := uint16(1); version <= 3; version++ {
		for codec := range wire.Codec(wire.CodecCount) {
			p := connect(t, h)
			if version > 1 {
				p.codec = codec
			}
			p.upgrade(version)
			data := bytes.Repeat(fmt.Appendf(nil, "version %d, codec %s. ", version, codec), 100)
			if r, ok := p.call(&wire.AppendEvents{Stream: 1, Events: [][]byte{data}}).(*wire.AppendEventsReply); !ok || r.FirstOffset != next {
				t.Fatalf("version %d, %s: %+v", version, codec, r)
			}
			r, ok := p.call(&wire.ReadEvents{Stream: 1, FromOffset: next, MaxBytes: 1 << 20}).(*wire.ReadEventsReply)
			if !ok || r.Events.Count != 1 {
				t.Fatalf("version %d, %s: %+v", version, codec, r)
			}
			for e := range r.Events.All {
				if !bytes.Equal(e.Data, data) {
					t.Errorf("version %d, %s reads %q", version, codec, e.Data)
				}
			}
			for _, l := range listeners {
				b := l.nextMessage().(*wire.Push).Body.(*wire.SubscriptionEvents)
				for e := range b.Events.All {
					if e.Offset != next || !bytes.Equal(e.Data, data) {
						t.Errorf("%s is pushed event %d, %q", l.codec, e.Offset, e.Data)
					}
				}
			}
			next++
		}
	}
}

// From version 2 on, what cannot be decoded is answered where its id can be read, and so are all requests before it; then the
// connection is closed.
func TestUndecodableRequestIsAnswered(t *testing.T) {
	h := start(t, t.TempDir())
	defer h.Close()
	for version := uint16(1); version <= 3; version++ {
		p := connect(t, h)
		p.upgrade(version)
		p.send(&wire.Ping{})
		if _, err := p.nc.Write(wire.AppendFrameIn(nil, p.f, wire.NoCodec, []byte{77, 0, 0, 0, 0, 0, 0, 0, 1})); err != nil {
			t.Fatal(err)
		}
		answers := 1
		if version > 1 {
			answers = 2
		}
		for range answers {
			switch b := p.next().(type) {
			case *wire.PingReply:
			case *wire.Error:
				if id := p.last.(*wire.Response).RequestID; version == 1 || b.Code != wire.InvalidRequest || id != 77 {
					t.Errorf("version %d: reply %d is %+v", version, id, b)
				}
			default:
				t.Errorf("version %d: %+v", version, b)
			}
		}
		if n, err := p.nc.Read(p.buf[:]); !errors.Is(err, io.EOF) {
			t.Errorf("version %d: then came %d bytes, %v", version, n, err)
		}
	}
}

// A subscriber with endless credit that never reads holds up neither appends nor another subscriber, and the server keeps
// little for it.
func TestSubscriberThatNeverReads(t *testing.T) {
	h := start(t, t.TempDir(), func(cfg *host.Config) { cfg.Engine.Cache = 1 << 20 })
	defer h.Close()
	p := connect(t, h)
	p.call(&wire.CreateStream{Name: "a"})
	deaf, ears := subscribed(t, h), subscribed(t, h)
	const events, size = 400, 100_000
	got := make(chan int)
	go func() {
		n := 0
		for n < events {
			if b, ok := ears.nextMessage().(*wire.Push).Body.(*wire.SubscriptionEvents); ok {
				n += b.Events.Count
			}
		}
		got <- n
	}()
	for range events {
		if r, ok := p.call(&wire.AppendEvents{Stream: 1, Events: [][]byte{make([]byte, size)}}).(*wire.AppendEventsReply); !ok {
			t.Fatalf("%+v", r)
		}
	}
	if n := <-got; n != events {
		t.Fatalf("%d events", n)
	}
	s, _ := h.Snapshot()
	if most := uint64(events*size + 20<<20); s.Engine.PushedBytes > most {
		t.Errorf("%d bytes were pushed to one that reads and one that does not, expected at most %d", s.Engine.PushedBytes, most)
	}
	for next := wire.Offset(0); next < events; { // and when it reads at last, it gets everything
		if b, ok := deaf.nextMessage().(*wire.Push).Body.(*wire.SubscriptionEvents); ok {
			if first, _ := b.Events.First(); first != next {
				t.Fatalf("event %d came where %d was due", first, next)
			}
			next += wire.Offset(b.Events.Count)
		}
	}
}
