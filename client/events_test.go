package client_test

import (
	"errors"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/kimberlitedb/kimberlite-go/client"
	"github.com/kimberlitedb/kimberlite-go/wire"
	"pgregory.net/rapid"
)

// stored is a stream as a server has it.
type stored struct {
	oldest wire.Offset
	events [][]byte    // from offset 0 on
	times  []wire.Time // their times; their offsets without it
}

func (s *stored) time(o wire.Offset) wire.Time {
	if s.times == nil {
		return wire.Time(o)
	}
	return s.times[o]
}

// since returns the first event that is as young as t, or the head.
func (s *stored) since(t wire.Time) wire.Offset {
	o := s.oldest
	for o < wire.Offset(len(s.events)) && s.time(o) < t {
		o++
	}
	return o
}

// answer answers a read under the rules of the protocol.
func (s *stored) answer(b *wire.ReadEvents) *wire.ReadEventsReply {
	r := &wire.ReadEventsReply{OldestOffset: s.oldest, HeadOffset: wire.Offset(len(s.events))}
	if b.Backward {
		s.descend(b, r)
		return r
	}
	next, data := max(b.FromOffset, s.oldest), uint64(0)
	if b.FromTimestamp.Set {
		next = max(next, s.since(b.FromTimestamp.Value))
	}
	for next < r.HeadOffset && data < b.MaxBytes && r.Events.Count < int(b.MaxEvents.Or(1<<30)) && r.Events.Size < 4<<20 {
		r.Events.Add(wire.AppendEvent(nil, next, s.events[next], s.time(next)), 1)
		data += uint64(len(s.events[next]))
		next++
	}
	if r.Events.Count > 0 {
		r.NextOffset = wire.Some(next)
	}
	return r
}

// descend answers a backward read. It counts from one above the next event, so that it can end at 0.
func (s *stored) descend(b *wire.ReadEvents, r *wire.ReadEventsReply) {
	above, data := r.HeadOffset, uint64(0)
	if b.FromOffset < above {
		above = b.FromOffset + 1
	}
	if b.FromTimestamp.Set {
		above = min(above, s.since(b.FromTimestamp.Value))
	}
	for above > s.oldest && data < b.MaxBytes && r.Events.Count < int(b.MaxEvents.Or(1<<30)) && r.Events.Size < 4<<20 {
		above--
		r.Events.Add(wire.AppendEvent(nil, above, s.events[above], s.time(above)), 1)
		data += uint64(len(s.events[above]))
	}
	if r.Events.Count > 0 && above > s.oldest {
		r.NextOffset = wire.Some(above - 1)
	}
}

// serveReads answers reads of whatever is stored at the time.
func serveReads(t testing.TB) (*client.Client, *atomic.Pointer[stored]) {
	var s atomic.Pointer[stored]
	f := serve(t, func(_ int, p *peer) {
		for r := p.next(); r != nil; r = p.next() {
			switch b := r.Body.(type) {
			case *wire.ReadEvents:
				p.reply(r.ID, s.Load().answer(b))
			case *wire.StreamInfo:
				p.reply(r.ID, &wire.StreamInfoReply{Info: wire.StreamDescription{HeadOffset: wire.Offset(len(s.Load().events))}})
			}
		}
	})
	return dial(t, f.addr()), &s
}

// Whatever the sizes of events, and wherever one begins and stops, every event comes once and in order.
func TestEventsAreTheStream(t *testing.T) {
	c, server := serveReads(t)
	runs := rapid.SampledFrom([]struct{ events, size int }{{1, 0}, {1, 100}, {700, 0}, {700, 300}, {1, 60_000}, {40, 60_000}})
	rapid.Check(t, func(r *rapid.T) {
		s := &stored{}
		for _, run := range rapid.SliceOfN(runs, 0, 12).Draw(r, "runs") {
			for range run.events {
				s.events = append(s.events, make([]byte, run.size))
			}
		}
		head := len(s.events)
		s.oldest = wire.Offset(rapid.IntRange(0, head).Draw(r, "oldest"))
		server.Store(s)
		from := wire.Offset(rapid.IntRange(0, head+2).Draw(r, "from"))
		limit := rapid.IntRange(0, head+5).Draw(r, "limit")
		next, count := max(from, s.oldest), 0
		for e, err := range c.Events(within(t), 1, from, client.MaxEvents(uint32(limit))) {
			if err != nil {
				r.Fatal(err)
			}
			if e.Offset != next || len(e.Data) != len(s.events[next]) || e.Timestamp.UnixNano() != int64(next) {
				r.Fatalf("event %d of %d bytes where event %d is due", e.Offset, len(e.Data), next)
			}
			next++
			count++
		}
		if want := min(limit, max(head-int(max(from, s.oldest)), 0)); count != want {
			r.Fatalf("%d events, want %d", count, want)
		}
	})
}

func TestEventsStopWithTheConsumer(t *testing.T) {
	c, server := serveReads(t)
	server.Store(&stored{events: make([][]byte, 10_000)})
	count := 0
	for range c.Events(within(t), 1, 0) {
		if count++; count == 5 {
			break
		}
	}
	server.Store(&stored{events: [][]byte{make([]byte, 9), make([]byte, 9), nil}})
	data := 0
	for e, err := range c.Events(within(t), 1, 0, client.MaxBytes(10)) {
		data += len(e.Data)
		if err != nil {
			t.Error(err)
		}
	}
	if count != 5 || data != 18 {
		t.Errorf("count = %d, data = %d", count, data)
	}
}

// A damaged answer is an error that names the offset. The events before it are good.
func TestDamagedEventsAreFound(t *testing.T) {
	ten := &stored{events: make([][]byte, 10)}
	damage := func(r *wire.ReadEventsReply, i int, change func(chunk []byte)) { change(r.Events.Chunks[i]) }
	for _, test := range []struct {
		name   string
		change func(r *wire.ReadEventsReply)
		good   int
		say    string
	}{
		{"checksum", func(r *wire.ReadEventsReply) { damage(r, 3, func(p []byte) { p[len(p)-1] ^= 1 }) }, 3, "offset 3"},
		{"offset", func(r *wire.ReadEventsReply) { damage(r, 3, func(p []byte) { p[0] = 4 }) }, 3, "event 4 arrived where event 3 is due"},
		{"gap", func(r *wire.ReadEventsReply) {
			r.Events.Chunks = append(r.Events.Chunks[:5], r.Events.Chunks[6:]...)
			r.Events.Count--
		}, 5, "event 6"},
		{"end", func(r *wire.ReadEventsReply) { r.NextOffset.Value++ }, 10, "claims to end at 11"},
		{"silence", func(r *wire.ReadEventsReply) { r.Events, r.NextOffset = wire.EventRange{}, wire.Option[wire.Offset]{} }, 0, "no event at offset 0"},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := serve(t, func(_ int, p *peer) {
				for r := p.next(); r != nil; r = p.next() {
					reply := ten.answer(r.Body.(*wire.ReadEvents))
					if reply.Events.Count > 0 {
						test.change(reply)
					}
					p.reply(r.ID, reply)
				}
			})
			c := dial(t, f.addr())
			good := 0
			var failure error
			for _, err := range c.Events(within(t), 1, 0) {
				if failure = err; err == nil {
					good++
				}
			}
			if !errors.Is(failure, client.ErrDataCorrupted) || !strings.Contains(failure.Error(), test.say) || good != test.good {
				t.Errorf("%d good events, then %v", good, failure)
			}
			if _, err := c.Read(within(t), 1, 0); test.name != "silence" && !errors.Is(err, client.ErrDataCorrupted) {
				t.Errorf("Read: %v", err)
			}
		})
	}
}
