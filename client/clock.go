package client

import (
	"context"
	"time"

	"github.com/kimberlitedb/kimberlite-go/wire"
)

// Clock is what a server's clocks show.
type Clock struct {
	Now     time.Time // the engine clock, by which everything goes
	Wall    time.Time // the server's wall clock
	Trusted bool      // whether the engine clock follows the wall clock
}

// Clock asks for the server's clocks.
func (c *Client) Clock(ctx context.Context) (Clock, error) {
	reply, err := c.do(ctx, &wire.Clock{})
	if err != nil {
		return Clock{}, err
	}
	r := reply.(*wire.ClockReply)
	return Clock{Now: instant(r.Now), Wall: instant(r.Wall), Trusted: r.Trusted}, nil
}

// ConfirmClock has the engine clock take up a wall clock that it does not trust, and returns what it shows then. The
// caller has seen wall as Clock.Wall, and compared it with a clock of somebody else's. If the wall clock shows by now
// something else, by more than a minute, that is ErrInvalidRequest.
func (c *Client) ConfirmClock(ctx context.Context, wall time.Time) (now time.Time, err error) {
	reply, err := c.do(ctx, &wire.ConfirmClock{Wall: clamped(wall)})
	if err != nil {
		return time.Time{}, err
	}
	return instant(reply.(*wire.ConfirmClockReply).Now), nil
}
