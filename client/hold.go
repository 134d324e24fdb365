package client

import (
	"context"
	"time"
	"unicode/utf8"

	"github.com/kimberlitedb/kimberlite-go/wire"
)

// Hold is a legal hold on a stream.
type Hold struct {
	Name   string
	Reason string
	Set    time.Time // the commit time
}

// SetHold puts a legal hold on a stream, also on a deleted one: while there is any, none of its events expires, and it is
// neither deleted nor purged. Setting one again changes nothing. The reason is for people.
func (c *Client) SetHold(ctx context.Context, id StreamID, name, reason string) error {
	if err := checkName("hold", name); err != nil {
		return err
	}
	if len(reason) > wire.MaxReason || !utf8.ValidString(reason) {
		return invalid("reason of the hold: must be UTF-8, of at most %d bytes", wire.MaxReason)
	}
	_, err := c.do(ctx, &wire.SetHold{Stream: id, Name: name, Reason: reason})
	return err
}

// ReleaseHold ends a legal hold. One that is not there is ErrInvalidRequest.
func (c *Client) ReleaseHold(ctx context.Context, id StreamID, name string) error {
	if err := checkName("hold", name); err != nil {
		return err
	}
	_, err := c.do(ctx, &wire.ReleaseHold{Stream: id, Name: name})
	return err
}

func holds(list []wire.HoldDescription) []Hold {
	var h []Hold
	for _, d := range list {
		h = append(h, Hold{Name: d.Name, Reason: d.Reason, Set: instant(d.Set)})
	}
	return h
}
