package client

import (
	"context"
	"fmt"
	"hash/crc32"
	"math"
	"time"

	"github.com/kimberlitedb/kimberlite-go/wire"
)

// Event is one event of a stream.
type Event struct {
	Offset    Offset
	Data      []byte    // the reader's to keep, not to change: neighbours share its memory
	Timestamp time.Time // the event time
	Checksum  uint32    // CRC-32 (IEEE) of Data, verified
}

// Page is what one read returned.
type Page struct {
	Events []Event
	Next   Offset // where to read on; means nothing where a backward read has no More
	More   bool   // there are events from Next on, in the direction of the read
	Oldest Offset // of the oldest event that can be read
	Head   Offset // of the next event to be appended, when the page was read
}

// End is behind every event. Read backward from it, the last event comes first.
const End = wire.EndOffset

// ReadOption is a setting of one read.
type ReadOption struct {
	bytes    wire.Option[uint64]
	events   wire.Option[uint32]
	last     wire.Option[uint64]
	since    wire.Option[time.Time]
	until    wire.Option[time.Time]
	asOf     wire.Option[Position]
	backward bool
}

// MaxBytes ends a page once so many bytes of event data are reached; the last event may pass it. Without it, 1 MiB.
func MaxBytes(n uint64) ReadOption { return ReadOption{bytes: wire.Some(n)} }

// MaxEvents ends a page after so many events.
func MaxEvents(n uint32) ReadOption { return ReadOption{events: wire.Some(n)} }

// Last leaves out all but the last n events that there are when the read begins. They come in their order.
func Last(n uint64) ReadOption { return ReadOption{last: wire.Some(n)} }

// Since leaves out the events before the first one whose event time is at or after t. Later events may have earlier
// times; they are read.
func Since(t time.Time) ReadOption { return ReadOption{since: wire.Some(t)} }

// Until leaves out the first event whose event time is at or after t, and all that follow. What one read leaves out
// with Until(t), another gets with Since(t).
func Until(t time.Time) ReadOption { return ReadOption{until: wire.Some(t)} }

// Backward reads from the given offset down, newest event first; from End it begins with the last one. It cannot be
// combined with Last, which is then MaxEvents, or with Since: stop reading instead.
func Backward() ReadOption { return ReadOption{backward: true} }

// AsOf reads only what the stream had at a position of the tenant's log, such as that of a checkpoint. A position that there is
// not yet is ErrPositionAhead. It cannot be combined with Last.
func AsOf(p Position) ReadOption { return ReadOption{asOf: wire.Some(p)} }

// with returns the options together; later ones count.
func (o ReadOption) with(options []ReadOption) ReadOption {
	for _, p := range options {
		if p.bytes.Set {
			o.bytes = p.bytes
		}
		if p.events.Set {
			o.events = p.events
		}
		if p.last.Set {
			o.last = p.last
		}
		if p.since.Set {
			o.since = p.since
		}
		if p.until.Set {
			o.until = p.until
		}
		if p.asOf.Set {
			o.asOf = p.asOf
		}
		o.backward = o.backward || p.backward
	}
	return o
}

// request makes the request of a page. It refuses what means nothing.
func (o ReadOption) request(stream StreamID, from Offset) (*wire.ReadEvents, error) {
	if o.backward && (o.since.Set || o.last.Set) {
		return nil, invalid("a backward read takes neither Since nor Last")
	}
	if o.asOf.Set && o.last.Set {
		return nil, invalid("a read as of a position does not take Last: read backward")
	}
	ask := &wire.ReadEvents{
		Stream: stream, FromOffset: from, MaxBytes: o.bytes.Or(pageBytes), MaxEvents: o.events, Backward: o.backward, AsOf: o.asOf,
	}
	if o.since.Set {
		ask.FromTimestamp = wire.Some(clamped(o.since.Value))
	}
	if o.until.Set && o.backward {
		ask.FromTimestamp = wire.Some(clamped(o.until.Value))
	}
	return ask, nil
}

// ends reports whether a forward read is over before an event.
func (o ReadOption) ends(e *Event) bool {
	return o.until.Set && !o.backward && !e.Timestamp.Before(o.until.Value)
}

// clamped returns a time as the protocol has it, the nearest one where it has none.
func clamped(t time.Time) wire.Time {
	switch {
	case t.Before(instant(math.MinInt64)):
		return math.MinInt64
	case t.After(instant(math.MaxInt64)):
		return math.MaxInt64
	}
	return wire.Time(t.UnixNano())
}

// begin returns the offset to read from, which Last depends on.
func (c *Client) begin(ctx context.Context, stream StreamID, from Offset, o ReadOption) (Offset, error) {
	if !o.last.Set {
		return from, nil
	}
	info, err := c.StreamInfo(ctx, stream)
	if err != nil {
		return 0, err
	}
	return max(from, info.Head-Offset(min(o.last.Value, uint64(info.Head)))), nil
}

// Read reads one page of a stream, from an offset on. At the head or beyond, the page has no events. Where events from
// an offset on have expired, it starts at the oldest that can be read. Every event is verified: one that does not match
// its checksum, or is not the one that follows, is an error that matches ErrDataCorrupted and names the offset.
func (c *Client) Read(ctx context.Context, stream StreamID, from Offset, options ...ReadOption) (Page, error) {
	o := ReadOption{}.with(options)
	from, err := c.begin(ctx, stream, from, o)
	if err != nil {
		return Page{}, err
	}
	ask, err := o.request(stream, from)
	if err != nil {
		return Page{}, err
	}
	reply, err := c.do(ctx, ask)
	if err != nil {
		return Page{}, err
	}
	return o.page(ask, reply.(*wire.ReadEventsReply))
}

// page verifies a reply.
func (o ReadOption) page(ask *wire.ReadEvents, r *wire.ReadEventsReply) (Page, error) {
	page := Page{Events: make([]Event, 0, r.Events.Count), Oldest: r.OldestOffset, Head: r.HeadOffset}
	over := false
	next, err := verify(ask, r, func(e Event) bool {
		if over = o.ends(&e); over {
			page.Next = e.Offset
			return false
		}
		page.Events = append(page.Events, e)
		return true
	})
	switch {
	case err != nil:
		return Page{}, err
	case over:
		return page, nil
	}
	page.Next, page.More = next, next < r.HeadOffset
	if ask.Backward {
		page.More = r.NextOffset.Set
	}
	return page, nil
}

// verify yields the events of a reply, each only after it was checked, and returns the offset to read on from.
func verify(ask *wire.ReadEvents, r *wire.ReadEventsReply, yield func(Event) bool) (next Offset, err error) {
	next, step := due(ask, r), Offset(1)
	if ask.Backward {
		step = ^Offset(0) // one less
	}
	first := true
	for e := range r.Events.All {
		if first && skips(ask, &e, next) {
			next = e.Offset
		}
		first = false
		checked, err := check(ask.Stream, &e, next)
		if err != nil {
			return next, err
		}
		next += step
		if !yield(checked) {
			return next, nil
		}
	}
	end := r.NextOffset.Or(next)
	switch {
	case ask.Backward && !first && !r.NextOffset.Set:
		end = r.OldestOffset - 1
	case !ask.Backward && first && ask.FromTimestamp.Set && ask.MaxBytes > 0 && ask.MaxEvents.Or(1) > 0: // no event is as young
		next, end = r.HeadOffset, r.HeadOffset
	}
	if end != next {
		return next, fmt.Errorf("stream %d: event %d is due, but the page claims to end at %d: %w", ask.Stream, next, end, ErrDataCorrupted)
	}
	return next, nil
}

// check makes an event of one that arrived, if it is the one that is due and matches its checksum.
func check(stream StreamID, e *wire.Event, due Offset) (Event, error) {
	if e.Offset != due {
		return Event{}, fmt.Errorf("stream %d: event %d arrived where event %d is due: %w", stream, e.Offset, due, ErrDataCorrupted)
	}
	if sum := crc32.ChecksumIEEE(e.Data); sum != e.Checksum {
		return Event{}, fmt.Errorf("stream %d: event at offset %d has checksum %08x, but its data have %08x: %w",
			stream, e.Offset, e.Checksum, sum, ErrDataCorrupted)
	}
	return Event{Offset: e.Offset, Data: e.Data, Timestamp: instant(e.Timestamp), Checksum: e.Checksum}, nil
}

// due returns the offset that a reply begins at unless a time moves it.
func due(ask *wire.ReadEvents, r *wire.ReadEventsReply) Offset {
	if ask.Backward {
		return min(ask.FromOffset, r.HeadOffset-1) // there is no event where the head is 0
	}
	return max(ask.FromOffset, r.OldestOffset)
}

// skips reports whether a read from a time may begin at an event beyond the offset that is due.
func skips(ask *wire.ReadEvents, e *wire.Event, due Offset) bool {
	switch {
	case !ask.FromTimestamp.Set:
		return false
	case ask.Backward:
		return e.Offset < due && e.Timestamp < ask.FromTimestamp.Value
	}
	return e.Offset > due && e.Timestamp >= ask.FromTimestamp.Value
}
