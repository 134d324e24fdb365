package client_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/kimberlitedb/kimberlite-go/client"
	"github.com/kimberlitedb/kimberlite-go/wire"
	"pgregory.net/rapid"
)

// drawTimed draws a stream whose events have times in any order, with one that leaves room on both sides.
func drawTimed(r *rapid.T) *stored {
	s := &stored{}
	for range rapid.SampledFrom([]int{0, 1, 5, 40, 3000}).Draw(r, "count") {
		s.events = append(s.events, []byte("event"))
	}
	rng := rapid.SampledFrom([]int64{1, 7, 1_000_003}).Draw(r, "order")
	s.times = []wire.Time{} // not nil, also where it is empty
	for i := range s.events {
		s.times = append(s.times, wire.Time(int64(i)*rng%5000))
	}
	s.oldest = wire.Offset(rapid.IntRange(0, len(s.events)).Draw(r, "oldest"))
	return s
}

func drawTime(r *rapid.T, name string) time.Time {
	return time.Unix(0, rapid.Int64Range(-1, 5001).Draw(r, name))
}

// offsets reads a stream and returns what came.
func offsets(t *testing.T, r *rapid.T, c *client.Client, from client.Offset, o []client.ReadOption) (list []client.Offset) {
	for e, err := range c.Events(within(t), 1, from, o...) {
		if err != nil {
			r.Fatal(err)
		}
		list = append(list, e.Offset)
	}
	return list
}

// Forward, times and Last cut a range out of the stream, and the events of the range come in order.
func TestForwardReadsAreARange(t *testing.T) {
	c, server := serveReads(t)
	rapid.Check(t, func(r *rapid.T) {
		s := drawTimed(r)
		server.Store(s)
		head := wire.Offset(len(s.events))
		from := wire.Offset(rapid.IntRange(0, int(head)+2).Draw(r, "from"))
		low, high := max(from, s.oldest), head
		var options []client.ReadOption
		if rapid.Bool().Draw(r, "last") {
			n := rapid.Uint64Range(0, uint64(head)+2).Draw(r, "n")
			options = append(options, client.Last(n))
			low = max(low, head-wire.Offset(min(n, uint64(head))))
		}
		if rapid.Bool().Draw(r, "since") {
			at := drawTime(r, "at")
			options = append(options, client.Since(at))
			low = max(low, s.since(wire.Time(at.UnixNano())))
		}
		if rapid.Bool().Draw(r, "until") {
			end := drawTime(r, "end")
			options = append(options, client.Until(end))
			for high = low; high < head && s.time(high) < wire.Time(end.UnixNano()); high++ {
			}
		}
		var want []client.Offset
		for o := low; o < high; o++ {
			want = append(want, o)
		}
		if got := offsets(t, r, c, from, options); !slices.Equal(got, want) {
			r.Fatalf("offsets are %v, want %v", got, want)
		}
	})
}

// Backward the same stream comes from its end, down to the oldest event or as far as it is wanted.
func TestBackwardReadsDescend(t *testing.T) {
	c, server := serveReads(t)
	rapid.Check(t, func(r *rapid.T) {
		s := drawTimed(r)
		server.Store(s)
		head := wire.Offset(len(s.events))
		from := rapid.SampledFrom([]wire.Offset{client.End, 0, head, head / 2}).Draw(r, "from")
		above := head
		if from < head {
			above = from + 1
		}
		options := []client.ReadOption{client.Backward()}
		if rapid.Bool().Draw(r, "until") {
			end := drawTime(r, "end")
			options = append(options, client.Until(end))
			above = min(above, s.since(wire.Time(end.UnixNano())))
		}
		limit := rapid.IntRange(0, 3001).Draw(r, "limit")
		options = append(options, client.MaxEvents(uint32(limit)))
		var want []client.Offset
		for ; above > s.oldest && len(want) < limit; above-- {
			want = append(want, above-1)
		}
		if got := offsets(t, r, c, from, options); !slices.Equal(got, want) {
			r.Fatalf("offsets are %v, want %v", got, want)
		}
	})
}

func TestBackwardReadsEndWithTheirBytes(t *testing.T) {
	c, server := serveReads(t)
	server.Store(&stored{events: [][]byte{make([]byte, 9), make([]byte, 9), make([]byte, 9)}})
	count := 0
	for _, err := range c.Events(within(t), 1, client.End, client.Backward(), client.MaxBytes(10)) {
		if count++; err != nil {
			t.Error(err)
		}
	}
	if count != 2 {
		t.Errorf("%d events", count)
	}
}

// Only the first page is looked for by time. Where the second begins is not known before the first has come.
func TestOnePageIsAskedForByTime(t *testing.T) {
	s := &stored{events: make([][]byte, 9000)}
	byTime, byOffset := 0, 0
	f := serve(t, func(_ int, p *peer) {
		for r := p.next(); r != nil; r = p.next() {
			b := r.Body.(*wire.ReadEvents)
			if b.FromTimestamp.Set {
				byTime++
			} else {
				byOffset++
			}
			p.reply(r.ID, s.answer(b))
		}
	})
	c := dial(t, f.addr())
	count := 0
	for _, err := range c.Events(within(t), 1, 0, client.Since(time.Unix(0, 1000))) {
		if count++; err != nil {
			t.Fatal(err)
		}
	}
	c.Close()
	f.stop()
	if count != 8000 || byTime != 1 || byOffset == 0 {
		t.Errorf("%d events; %d pages by time, %d by offset", count, byTime, byOffset)
	}
}

// Pages read on from each other are the whole stream, whichever way.
func TestPagesAreReadOn(t *testing.T) {
	c, server := serveReads(t)
	server.Store(&stored{oldest: 3, events: make([][]byte, 10)})
	for _, test := range []struct {
		name    string
		from    client.Offset
		options []client.ReadOption
		want    []client.Offset
	}{
		{"forward", 0, nil, []client.Offset{3, 4, 5, 6, 7, 8, 9}},
		{"backward", client.End, []client.ReadOption{client.Backward()}, []client.Offset{9, 8, 7, 6, 5, 4, 3}},
		{"nothing below the oldest", 2, []client.ReadOption{client.Backward()}, nil},
		{"nothing as young", 0, []client.ReadOption{client.Since(time.Unix(1, 0))}, nil},
		{"until", 0, []client.ReadOption{client.Until(time.Unix(0, 5))}, []client.Offset{3, 4}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var got []client.Offset
			page := client.Page{Next: test.from, More: true}
			for page.More {
				var err error
				page, err = c.Read(within(t), 1, page.Next, append(test.options, client.MaxEvents(2))...)
				if err != nil {
					t.Fatal(err)
				}
				for _, e := range page.Events {
					got = append(got, e.Offset)
				}
			}
			if !slices.Equal(got, test.want) || page.Oldest != 3 || page.Head != 10 {
				t.Errorf("offsets are %v, want %v; %+v", got, test.want, page)
			}
		})
	}
}

func TestBackwardTakesNeitherSinceNorLast(t *testing.T) {
	c, server := serveReads(t)
	server.Store(&stored{})
	for _, o := range []client.ReadOption{client.Since(time.Now()), client.Last(1)} {
		if _, err := c.Read(within(t), 1, client.End, client.Backward(), o); !errors.Is(err, client.ErrInvalidRequest) {
			t.Errorf("err = %v", err)
		}
		for _, err := range c.Events(within(t), 1, client.End, client.Backward(), o) {
			if !errors.Is(err, client.ErrInvalidRequest) {
				t.Errorf("err = %v", err)
			}
		}
	}
}

// What the protocol does not allow is not passed on as the stream's events.
func TestDamagedRangesAreFound(t *testing.T) {
	back := []client.ReadOption{client.Backward()}
	since := []client.ReadOption{client.Since(time.Unix(0, 5))}
	for _, test := range []struct {
		name    string
		from    client.Offset
		options []client.ReadOption
		reply   *wire.ReadEventsReply
	}{
		{"begins below the end", client.End, back, rangeOf(10, 8, 7)},
		{"goes up", client.End, back, rangeOf(10, 9, 8, 9)},
		{"leaves one out", client.End, back, rangeOf(10, 9, 7)},
		{"ends above the oldest", client.End, back, rangeOf(10, 9, 8)},
		{"begins at one that is too young", client.End, []client.ReadOption{client.Backward(), client.Until(time.Unix(0, 2))}, rangeOf(10, 3, 2, 1, 0)},
		{"begins too early", 3, since, rangeOf(10, 2, 3)},
		{"skips to an older event", 3, since, rangeOf(10, 4, 5)},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := serve(t, func(_ int, p *peer) {
				for r := p.next(); r != nil; r = p.next() {
					p.reply(r.ID, test.reply)
				}
			})
			c := dial(t, f.addr())
			if page, err := c.Read(within(t), 1, test.from, test.options...); !errors.Is(err, client.ErrDataCorrupted) {
				t.Errorf("%+v, %v", page, err)
			}
			var failure error
			for _, err := range c.Events(within(t), 1, test.from, test.options...) {
				failure = err
			}
			if !errors.Is(failure, client.ErrDataCorrupted) {
				t.Errorf("Events: %v", failure)
			}
		})
	}
}

// rangeOf makes a reply with these events, whose times are their offsets.
func rangeOf(head wire.Offset, offsets ...wire.Offset) *wire.ReadEventsReply {
	r := &wire.ReadEventsReply{HeadOffset: head}
	for _, o := range offsets {
		r.Events.Add(wire.AppendEvent(nil, o, nil, wire.Time(o)), 1)
	}
	return r
}
