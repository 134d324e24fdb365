package client_test

import (
	"context"
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/kimberlitedb/kimberlite-go/client"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

var day = time.Unix(1_700_000_000, 1)

// changes are the methods that change a stream or the clock, with what they send and are answered.
var changes = map[string]struct {
	do    func(ctx context.Context, c *client.Client) error
	sent  wire.RequestBody
	reply wire.ResponseBody
}{
	"delete": {
		func(ctx context.Context, c *client.Client) error {
			_, err := c.DeleteStream(ctx, 7)
			return err
		},
		&wire.DeleteStream{Stream: 7}, &wire.DeleteStreamReply{Deleted: true, PurgeDate: 1},
	},
	"delete after": {
		func(ctx context.Context, c *client.Client) error {
			d, err := c.DeleteStream(ctx, 7, client.PurgeAfter(0))
			if err == nil && (!client.Never(d.PurgeDate) || d.Position != 3) {
				return errors.New("the reply is lost")
			}
			return err
		},
		&wire.DeleteStream{Stream: 7, RetentionOverride: wire.Some(uint32(0))},
		&wire.DeleteStreamReply{Deleted: true, PurgeDate: math.MaxInt64, Position: 3},
	},
	"undelete": {
		func(ctx context.Context, c *client.Client) error {
			restored, err := c.UndeleteStream(ctx, 7)
			if err == nil && !restored {
				return errors.New("the reply is lost")
			}
			return err
		},
		&wire.UndeleteStream{Stream: 7}, &wire.UndeleteStreamReply{Restored: true},
	},
	"retain": {
		func(ctx context.Context, c *client.Client) error {
			return c.SetRetention(ctx, 7, 30, client.MinDays(0))
		},
		&wire.SetRetention{Stream: 7, Days: wire.Some(uint32(30)), MinDays: wire.Some(uint32(0))}, &wire.SetRetentionReply{},
	},
	"retain for ever": {
		func(ctx context.Context, c *client.Client) error { return c.SetRetention(ctx, 7, client.Forever) },
		&wire.SetRetention{Stream: 7}, &wire.SetRetentionReply{},
	},
	"hold": {
		func(ctx context.Context, c *client.Client) error { return c.SetHold(ctx, 7, "case-17", "Smith") },
		&wire.SetHold{Stream: 7, Name: "case-17", Reason: "Smith"}, &wire.SetHoldReply{},
	},
	"release": {
		func(ctx context.Context, c *client.Client) error { return c.ReleaseHold(ctx, 7, "case-17") },
		&wire.ReleaseHold{Stream: 7, Name: "case-17"}, &wire.ReleaseHoldReply{},
	},
	"create": {
		func(ctx context.Context, c *client.Client) error {
			_, err := c.CreateStream(ctx, "s", client.WithRetention(30))
			return err
		},
		&wire.CreateStream{Name: "s", Class: wire.NonPHI, Placement: wire.Placement{Global: true}, RetentionDays: wire.Some(uint32(30))},
		&wire.CreateStreamReply{Stream: 7},
	},
	"confirm": {
		func(ctx context.Context, c *client.Client) error {
			now, err := c.ConfirmClock(ctx, day)
			if err == nil && !now.Equal(day) {
				return errors.New("the reply is lost")
			}
			return err
		},
		&wire.ConfirmClock{Wall: wire.Time(day.UnixNano())}, &wire.ConfirmClockReply{Now: wire.Time(day.UnixNano())},
	},
}

func TestChangesAreSentAndAnswered(t *testing.T) {
	for name, change := range changes {
		t.Run(name, func(t *testing.T) {
			f := serve(t, func(_ int, p *peer) {
				r := p.next()
				if !reflect.DeepEqual(r.Body, change.sent) {
					t.Errorf("sent %+v, want %+v", r.Body, change.sent)
				}
				p.reply(r.ID, change.reply)
				p.next()
			})
			if err := change.do(within(t), dial(t, f.addr())); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestUnsendableChangesAreRefusedHere(t *testing.T) {
	c := dial(t, serve(t, acknowledge).addr())
	ctx := within(t)
	errs := []error{
		c.SetHold(ctx, 1, "", "reason"), c.SetHold(ctx, 1, "\xff", "reason"), c.SetHold(ctx, 1, "a", "\xff"),
		c.SetHold(ctx, 1, "a", strings.Repeat("x", wire.MaxReason+1)), c.ReleaseHold(ctx, 1, "\xff"),
	}
	for _, err := range c.Streams(ctx, client.WithPrefix("\xff")) {
		errs = append(errs, err)
	}
	for i, err := range errs {
		if !errors.Is(err, client.ErrInvalidRequest) {
			t.Errorf("%d: %v", i, err)
		}
	}
	if err := c.Ping(ctx); err != nil || len(errs) != 6 {
		t.Error(err, len(errs))
	}
}

// Every page of a list is asked for with the same filter.
func TestFiltersHoldForEveryPage(t *testing.T) {
	f := serve(t, func(_ int, p *peer) {
		for i := range 3 {
			r := p.next()
			want := &wire.ListStreams{After: wire.StreamID(i), Prefix: "a", Deleted: wire.Some(true), System: true}
			if !reflect.DeepEqual(r.Body, want) {
				t.Errorf("page %d: %+v", i, r.Body)
			}
			p.reply(r.ID, &wire.ListStreamsReply{Streams: []wire.StreamDescription{{Stream: wire.StreamID(i + 1)}}, More: i < 2})
		}
		p.next()
	})
	c := dial(t, f.addr())
	count := 0
	for _, err := range c.Streams(within(t), client.WithPrefix("a"), client.OnlyDeleted(), client.WithSystem()) {
		if count++; err != nil {
			t.Error(err)
		}
	}
	if count != 3 {
		t.Errorf("%d streams", count)
	}
}

func TestDescriptionTellsRetentionAndHolds(t *testing.T) {
	f := serve(t, func(_ int, p *peer) {
		p.reply(p.next().ID, &wire.StreamInfoReply{Info: wire.StreamDescription{
			Stream: 7, RetentionDays: wire.Some(uint32(30)), MinRetentionDays: 7, Deleted: true, PurgeDate: wire.Some(wire.Time(math.MaxInt64)),
			Holds: []wire.HoldDescription{{Name: "a", Reason: "b", Set: wire.Time(day.UnixNano())}},
		}})
		p.reply(p.next().ID, &wire.ClockReply{Now: 1, Wall: 2, Trusted: true})
		p.next()
	})
	c := dial(t, f.addr())
	s, err := c.StreamInfo(within(t), 7)
	if err != nil || s.RetentionDays != 30 || s.MinRetentionDays != 7 || !s.Deleted || !client.Never(s.PurgeDate) ||
		!reflect.DeepEqual(s.Holds, []client.Hold{{Name: "a", Reason: "b", Set: day.UTC()}}) {
		t.Errorf("%+v, %v", s, err)
	}
	clock, err := c.Clock(within(t))
	if err != nil || clock.Now.UnixNano() != 1 || clock.Wall.UnixNano() != 2 || !clock.Trusted {
		t.Errorf("%+v, %v", clock, err)
	}
}
