package client

import (
	"context"
	"fmt"
	"hash/crc32"
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
	Next   Offset // where to read on
	Oldest Offset // of the oldest event that can be read
	Head   Offset // of the next event to be appended, when the page was read; there is more while Next < Head
}

// ReadOption is a setting of one read.
type ReadOption struct {
	bytes  wire.Option[uint64]
	events wire.Option[uint32]
}

// MaxBytes ends a page once so many bytes of event data are reached; the last event may pass it. Without it, 1 MiB.
func MaxBytes(n uint64) ReadOption { return ReadOption{bytes: wire.Some(n)} }

// MaxEvents ends a page after so many events.
func MaxEvents(n uint32) ReadOption { return ReadOption{events: wire.Some(n)} }

// with returns the options together; later ones count.
func (o ReadOption) with(options []ReadOption) ReadOption {
	for _, p := range options {
		if p.bytes.Set {
			o.bytes = p.bytes
		}
		if p.events.Set {
			o.events = p.events
		}
	}
	return o
}

// Read reads one page of a stream, from an offset on. At the head or beyond, the page has no events. Where events from
// an offset on have expired, it starts at the oldest that can be read. Every event is verified: one that does not match
// its checksum, or is not the one that follows, is an error that matches ErrDataCorrupted and names the offset.
func (c *Client) Read(ctx context.Context, stream StreamID, from Offset, options ...ReadOption) (Page, error) {
	o := ReadOption{}.with(options)
	ask := &wire.ReadEvents{Stream: stream, FromOffset: from, MaxBytes: o.bytes.Or(pageBytes), MaxEvents: o.events}
	reply, err := c.do(ctx, ask)
	if err != nil {
		return Page{}, err
	}
	r := reply.(*wire.ReadEventsReply)
	page := Page{Events: make([]Event, 0, r.Events.Count), Oldest: r.OldestOffset, Head: r.HeadOffset}
	next, err := verify(ask, r, func(e Event) bool {
		page.Events = append(page.Events, e)
		return true
	})
	if err != nil {
		return Page{}, err
	}
	page.Next = next
	return page, nil
}

// verify yields the events of a reply, each only after it was checked, and returns the offset to read on from.
func verify(ask *wire.ReadEvents, r *wire.ReadEventsReply, yield func(Event) bool) (next Offset, err error) {
	next = max(ask.FromOffset, r.OldestOffset)
	for e := range r.Events.All {
		if e.Offset != next {
			return next, fmt.Errorf("stream %d: event %d arrived where event %d is due: %w", ask.Stream, e.Offset, next, ErrDataCorrupted)
		}
		if sum := crc32.ChecksumIEEE(e.Data); sum != e.Checksum {
			return next, fmt.Errorf("stream %d: event at offset %d has checksum %08x, but its data have %08x: %w",
				ask.Stream, e.Offset, e.Checksum, sum, ErrDataCorrupted)
		}
		next++
		if !yield(Event{Offset: e.Offset, Data: e.Data, Timestamp: instant(e.Timestamp), Checksum: e.Checksum}) {
			return next, nil
		}
	}
	if end := r.NextOffset.Or(next); end != next {
		return next, fmt.Errorf("stream %d: event %d is due, but the page claims to end at %d: %w", ask.Stream, next, end, ErrDataCorrupted)
	}
	return next, nil
}
