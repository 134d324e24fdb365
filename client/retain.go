package client

import (
	"context"

	"github.com/kimberlitedb/kimberlite-go/wire"
)

// Forever is the retention, in days, of a stream that keeps its events for ever.
const Forever = 0

// RetentionOption is a setting of a change of retention.
type RetentionOption func(*wire.SetRetention)

// MinDays sets the least that the stream's retention, and the time from its deletion to its purge, may be. Without it,
// that stays as it is.
func MinDays(days uint32) RetentionOption {
	return func(r *wire.SetRetention) { r.MinDays = wire.Some(days) }
}

// SetRetention keeps a stream's events for so many days from their event times, or Forever. Fewer than the minimum are
// refused with ErrInvalidRequest.
func (c *Client) SetRetention(ctx context.Context, id StreamID, days uint32, options ...RetentionOption) error {
	spec := &wire.SetRetention{Stream: id, Days: retention(days)}
	for _, o := range options {
		o(spec)
	}
	_, err := c.do(ctx, spec)
	return err
}

func retention(days uint32) wire.Option[uint32] {
	if days == Forever {
		return wire.Option[uint32]{}
	}
	return wire.Some(days)
}
