package client

import (
	"context"
	"fmt"

	"github.com/kimberlitedb/kimberlite-go/wire"
)

// descend yields events from an offset down, one page after the other.
func (c *Client) descend(ctx context.Context, ask *wire.ReadEvents, o ReadOption, yield func(Event, error) bool) error {
	left, room := o.mostEvents(), o.bytes.Or(pageBytes)
	for left > 0 && room > 0 {
		ask.MaxBytes, ask.MaxEvents = min(pageBytes, room), wire.Some(uint32(min(left, pageEvents)))
		reply, err := c.do(ctx, ask)
		if err != nil {
			return err
		}
		r := reply.(*wire.ReadEventsReply)
		stopped := false
		next, err := verify(ask, r, func(e Event) bool {
			left--
			if o.bytes.Set {
				room -= min(room, uint64(len(e.Data)))
			}
			stopped = !yield(e, nil) || left == 0 || room == 0
			return !stopped
		})
		if err != nil || stopped || !r.NextOffset.Set {
			return err
		}
		if r.Events.Count == 0 {
			return fmt.Errorf("stream %d: no event at offset %d, though the page claims more: %w", ask.Stream, next, ErrDataCorrupted)
		}
		ask = &wire.ReadEvents{Stream: ask.Stream, FromOffset: next, Backward: true, AsOf: ask.AsOf}
	}
	return nil
}
