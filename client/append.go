package client

import (
	"context"
	"time"

	"github.com/kimberlitedb/kimberlite-go/wire"
)

// Appended acknowledges an append: it is on stable storage.
type Appended struct {
	FirstOffset Offset    // of the first event; the others follow it
	Count       int       // of events
	Timestamp   time.Time // the commit time
	Position    Position  // in the tenant's log
	Duplicate   bool      // it was there already, under its key; the rest tells of the first append
}

// AppendOption is a setting of one append.
type AppendOption struct {
	expect     wire.Option[Offset]
	timestamps []time.Time
	key        wire.Option[wire.Key]
}

// ExpectOffset has the append refused with ErrOffsetMismatch unless the stream's head is o. With 0 the stream must be
// empty.
func ExpectOffset(o Offset) AppendOption { return AppendOption{expect: wire.Some(o)} }

// Timestamps gives the events their own times, one each. Without it they get the commit time.
func Timestamps(times ...time.Time) AppendOption { return AppendOption{timestamps: times} }

// IdempotencyKey names the batch. The server appends a batch with a key once, however often it is sent within 24 hours,
// and the client sends it again by itself after the connection broke (see WithAutoKeys). Another batch under the same
// key is refused with ErrInvalidRequest.
func IdempotencyKey(k Key) AppendOption { return AppendOption{key: wire.Some(k.wire())} }

// Append appends a batch to a stream, all or nothing and in order, and returns once it is on stable storage. When ctx
// ends before the reply, the error matches ErrUnknownOutcome, unless the batch was not sent and never will be.
func (c *Client) Append(ctx context.Context, stream StreamID, events [][]byte, options ...AppendOption) (Appended, error) {
	return c.AppendAsync(ctx, stream, events, options...).Wait(ctx)
}

// AppendAsync sends a batch off without waiting for the reply. Batches that one goroutine sends are appended in that
// order. It blocks only while too much is unanswered (see WithMaxInflight), at most until ctx ends. The events may be
// changed once it has returned.
func (c *Client) AppendAsync(ctx context.Context, stream StreamID, events [][]byte, options ...AppendOption) *Pending {
	p := &Pending{}
	p.c, p.op = c, wire.OpAppendEvents
	batch, err := newBatch(stream, events, options)
	if c.cfg.autoKeys && !batch.IdempotencyKey.Set {
		batch.IdempotencyKey = wire.Some(NewKey().wire())
	}
	if err == nil {
		err = c.admit(ctx)
	}
	if err != nil {
		p.finish(nil, err)
		return p
	}
	c.batch = batch
	c.post(&p.call, c.cfg.tenant, &c.batch)
	return p
}

// Pending is an append under way.
type Pending struct{ call }

// Wait returns the outcome, as Append does. It may be called again, also after ctx ended with the outcome unknown.
func (p *Pending) Wait(ctx context.Context) (Appended, error) {
	reply, err := p.wait(ctx)
	if err != nil {
		return Appended{}, err
	}
	r := reply.(*wire.AppendEventsReply)
	return Appended{
		FirstOffset: r.FirstOffset, Count: int(r.Count), Timestamp: instant(r.Timestamp), Position: r.Position, Duplicate: r.Duplicate,
	}, nil
}

// newBatch makes the request. It refuses what no server could take: a frame that is too long, a time that has no
// number.
func newBatch(stream StreamID, events [][]byte, options []AppendOption) (wire.AppendEvents, error) {
	b := wire.AppendEvents{Stream: stream, Events: events}
	for _, o := range options {
		if o.expect.Set {
			b.ExpectOffset = o.expect
		}
		if o.key.Set {
			b.IdempotencyKey = o.key
		}
		if o.timestamps != nil {
			times, err := nanoseconds(o.timestamps)
			if err != nil {
				return b, err
			}
			b.Timestamps = wire.Some(times)
		}
	}
	size := 8 * len(b.Timestamps.Value)
	for _, e := range events {
		size += 8 + len(e)
	}
	if size > wire.MaxPayload-frameRoom {
		return b, invalid("the batch takes %d bytes; at most %d of event data are allowed, so split it", size, wire.MaxBatchBytes)
	}
	return b, nil
}

// frameRoom is what a request may take beside its events or its name, in bytes, with much to spare.
const frameRoom = 1 << 10

func nanoseconds(times []time.Time) ([]wire.Time, error) {
	list := make([]wire.Time, len(times))
	for i, t := range times {
		if list[i] = clamped(t); !instant(list[i]).Equal(t) {
			return nil, invalid("timestamp %d is in the year %d; %s", i, t.Year(), timeRange)
		}
	}
	return list, nil
}

// timeRange says which times there are.
const timeRange = "a 64-bit count of nanoseconds since 1970 reaches from 1678 to 2262"

// instant returns a time of the protocol as Go has it, in UTC.
func instant(t wire.Time) time.Time { return time.Unix(0, int64(t)).UTC() }
