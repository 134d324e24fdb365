package client

import (
	"context"
	"iter"
	"time"
	"unicode/utf8"

	"github.com/kimberlitedb/kimberlite-go/wire"
)

// StreamInfo describes a stream.
type StreamInfo struct {
	ID         StreamID
	Name       string
	Class      wire.DataClass
	Placement  wire.Placement
	Created    time.Time
	Oldest     Offset    // of the oldest event that can be read
	Head       Offset    // of the next event to be appended; equals Oldest in a stream without events
	Bytes      uint64    // of event data
	OldestTime time.Time // event time of the oldest event; zero without events
	NewestTime time.Time // event time of the newest event; zero without events
	Deleted    bool
	PurgeDate  time.Time // when a deleted stream's bytes go, see Never; zero otherwise

	RetentionDays    uint32 // how long events are kept from their event times, or Forever
	MinRetentionDays uint32 // the least that RetentionDays, and the days until a purge, may be
	Holds            []Hold // legal holds, in the order in which they were set
}

// StreamOption is a setting of a new stream.
type StreamOption func(*wire.CreateStream)

// WithDataClass says how sensitive the events are. Without it they are NonPHI.
func WithDataClass(class wire.DataClass) StreamOption {
	return func(s *wire.CreateStream) { s.Class = class }
}

// WithRegion keeps the events in a region. Without it they may be kept anywhere.
func WithRegion(r wire.Region) StreamOption {
	return func(s *wire.CreateStream) { s.Placement = wire.Placement{Region: r} }
}

// WithRetention keeps the events for so many days from their event times. Without it they are kept Forever.
func WithRetention(days uint32) StreamOption {
	return func(s *wire.CreateStream) { s.RetentionDays = retention(days) }
}

// CreateStream makes an empty stream. A name that is taken, also in other case, is an error that matches
// ErrStreamExists.
func (c *Client) CreateStream(ctx context.Context, name string, options ...StreamOption) (StreamID, error) {
	if err := checkName("stream", name); err != nil {
		return 0, err
	}
	spec := &wire.CreateStream{Name: name, Class: wire.NonPHI, Placement: wire.Placement{Global: true}}
	for _, o := range options {
		o(spec)
	}
	if region := spec.Placement.Region.Custom; region != "" {
		if err := checkName("region", region); err != nil {
			return 0, err
		}
	}
	reply, err := c.do(ctx, spec)
	if err != nil {
		return 0, err
	}
	return reply.(*wire.CreateStreamReply).Stream, nil
}

// StreamInfo describes the stream with an id.
func (c *Client) StreamInfo(ctx context.Context, id StreamID) (StreamInfo, error) {
	return c.describe(ctx, &wire.StreamInfo{Stream: id})
}

// StreamByName describes the stream with a name. Case does not matter.
func (c *Client) StreamByName(ctx context.Context, name string) (StreamInfo, error) {
	if err := checkName("stream", name); err != nil {
		return StreamInfo{}, err
	}
	return c.describe(ctx, &wire.StreamInfo{Name: name})
}

// ListOption narrows or widens a list of streams.
type ListOption func(*wire.ListStreams)

// WithPrefix lists only streams whose names begin with p. Case does not matter.
func WithPrefix(p string) ListOption { return func(l *wire.ListStreams) { l.Prefix = p } }

// OnlyDeleted lists only deleted streams that are not purged yet.
func OnlyDeleted() ListOption { return func(l *wire.ListStreams) { l.Deleted = wire.Some(true) } }

// WithoutDeleted leaves deleted streams out.
func WithoutDeleted() ListOption { return func(l *wire.ListStreams) { l.Deleted = wire.Some(false) } }

// WithSystem lists the system's streams too.
func WithSystem() ListOption { return func(l *wire.ListStreams) { l.System = true } }

// Streams lists the tenant's streams in the order of their ids, page by page; deleted ones too, until they are purged.
// An error ends the list.
func (c *Client) Streams(ctx context.Context, options ...ListOption) iter.Seq2[StreamInfo, error] {
	return func(yield func(StreamInfo, error) bool) {
		ask := &wire.ListStreams{}
		for _, o := range options {
			o(ask)
		}
		if !utf8.ValidString(ask.Prefix) || len(ask.Prefix) > wire.MaxName {
			yield(StreamInfo{}, invalid("prefix %q is not the beginning of a name", ask.Prefix))
			return
		}
		for more := true; more; {
			reply, err := c.do(ctx, ask)
			if err != nil {
				yield(StreamInfo{}, err)
				return
			}
			page := reply.(*wire.ListStreamsReply)
			for i := range page.Streams {
				if !yield(streamInfo(&page.Streams[i]), nil) {
					return
				}
			}
			if more = page.More && len(page.Streams) > 0; more {
				next := *ask // a call that was given up may still be sent
				next.After = page.Streams[len(page.Streams)-1].Stream
				ask = &next
			}
		}
	}
}

func (c *Client) describe(ctx context.Context, ask *wire.StreamInfo) (StreamInfo, error) {
	reply, err := c.do(ctx, ask)
	if err != nil {
		return StreamInfo{}, err
	}
	return streamInfo(&reply.(*wire.StreamInfoReply).Info), nil
}

func streamInfo(d *wire.StreamDescription) StreamInfo {
	return StreamInfo{
		ID: d.Stream, Name: d.Name, Class: d.Class, Placement: d.Placement, Created: instant(d.Created),
		Oldest: d.OldestOffset, Head: d.HeadOffset, Bytes: d.Bytes,
		OldestTime: optInstant(d.FirstTime), NewestTime: optInstant(d.LastTime),
		Deleted: d.Deleted, PurgeDate: optInstant(d.PurgeDate),
		RetentionDays: d.RetentionDays.Or(Forever), MinRetentionDays: d.MinRetentionDays, Holds: holds(d.Holds),
	}
}

func optInstant(t wire.Option[wire.Time]) time.Time {
	if !t.Set {
		return time.Time{}
	}
	return instant(t.Value)
}

// checkName refuses a name that would end the connection. What else is wrong with one the server says.
func checkName(of, name string) error {
	switch {
	case name == "":
		return invalid("%s name: is empty; give 1 to %d characters of letters, digits, '_', '-', '.'", of, wire.MaxName)
	case len(name) > wire.MaxPayload-frameRoom:
		return invalid("%s name: has %d characters; at most %d are allowed", of, len(name), wire.MaxName)
	case !utf8.ValidString(name):
		return invalid("%s name: %q is not UTF-8; use letters, digits, '_', '-', '.'", of, name)
	}
	return nil
}
