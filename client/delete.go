package client

import (
	"context"
	"math"
	"time"

	"github.com/kimberlitedb/kimberlite-go/wire"
)

// Deleted says what a deletion means.
type Deleted struct {
	PurgeDate time.Time // when the stream's bytes go; see Never
	Position  Position  // in the tenant's log
}

// Never reports whether a purge date is one that does not come.
func Never(purgeDate time.Time) bool { return purgeDate.Equal(instant(math.MaxInt64)) }

// DeleteOption is a setting of a deletion.
type DeleteOption func(*wire.DeleteStream)

// PurgeAfter has the stream purged so many days after its deletion, though not before its minimum retention has passed.
// Without it, its retention counts, or else 30 days.
func PurgeAfter(days uint32) DeleteOption {
	return func(d *wire.DeleteStream) { d.RetentionOverride = wire.Some(days) }
}

// DeleteStream deletes a stream. From then on reads and appends fail with ErrStreamDeleted, and until its purge date it
// can be brought back. Deleting it again changes nothing. A stream under a legal hold is refused with ErrHeld.
func (c *Client) DeleteStream(ctx context.Context, id StreamID, options ...DeleteOption) (Deleted, error) {
	spec := &wire.DeleteStream{Stream: id}
	for _, o := range options {
		o(spec)
	}
	reply, err := c.do(ctx, spec)
	if err != nil {
		return Deleted{}, err
	}
	r := reply.(*wire.DeleteStreamReply)
	return Deleted{PurgeDate: instant(r.PurgeDate), Position: r.Position}, nil
}

// UndeleteStream brings a deleted stream back as it was, and reports false where it was not deleted. One that is purged
// is ErrStreamNotFound.
func (c *Client) UndeleteStream(ctx context.Context, id StreamID) (restored bool, err error) {
	reply, err := c.do(ctx, &wire.UndeleteStream{Stream: id})
	if err != nil {
		return false, err
	}
	return reply.(*wire.UndeleteStreamReply).Restored, nil
}
