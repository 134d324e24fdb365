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

// changes are the methods that change a stream, a group or the clock, with what they send and are answered.
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
	"create group": {
		func(ctx context.Context, c *client.Client) error {
			floor, err := c.CreateGroup(ctx, 7, "g")
			if err == nil && floor != 3 {
				return errors.New("the reply is lost")
			}
			return err
		},
		&wire.CreateGroup{Stream: 7, Name: "g"}, &wire.CreateGroupReply{Floor: 3},
	},
	"create group with settings": {
		func(ctx context.Context, c *client.Client) error {
			_, err := c.CreateGroup(ctx, 7, "g", client.FromOffset(client.End), client.FromTime(day), client.AckDeadline(time.Second),
				client.MaxAttempts(2), client.MaxAckPending(3), client.LookAhead(4), client.OrderByJSON("/a"))
			return err
		},
		&wire.CreateGroup{
			Stream: 7, Name: "g", FromOffset: wire.EndOffset, FromTimestamp: wire.Some(wire.Time(day.UnixNano())),
			Settings: wire.GroupSettings{
				AckDeadline: wire.Some(uint32(1000)), MaxAttempts: wire.Some(uint32(2)), MaxAckPending: wire.Some(uint32(3)),
				LookAhead: wire.Some(uint32(4)), Order: wire.Some(wire.OrderKey{Kind: wire.OrderJSON, Path: "/a"}),
			},
		},
		&wire.CreateGroupReply{},
	},
	"set group": {
		func(ctx context.Context, c *client.Client) error {
			return c.SetGroup(ctx, 7, "g", client.AckDeadline(-1), client.OrderByPrefix(8))
		},
		&wire.UpdateGroup{Stream: 7, Name: "g", Settings: wire.GroupSettings{
			AckDeadline: wire.Some(uint32(0)), Order: wire.Some(wire.OrderKey{Kind: wire.OrderPrefix, Bytes: 8}),
		}},
		&wire.UpdateGroupReply{},
	},
	"set group to no order": {
		func(ctx context.Context, c *client.Client) error { return c.SetGroup(ctx, 7, "g", client.Unordered()) },
		&wire.UpdateGroup{Stream: 7, Name: "g", Settings: wire.GroupSettings{Order: wire.Some(wire.OrderKey{})}}, &wire.UpdateGroupReply{},
	},
	"pause group": {
		func(ctx context.Context, c *client.Client) error { return c.PauseGroup(ctx, 7, "g") },
		&wire.UpdateGroup{Stream: 7, Name: "g", Paused: wire.Some(true)}, &wire.UpdateGroupReply{},
	},
	"resume group": {
		func(ctx context.Context, c *client.Client) error { return c.ResumeGroup(ctx, 7, "g") },
		&wire.UpdateGroup{Stream: 7, Name: "g", Paused: wire.Some(false)}, &wire.UpdateGroupReply{},
	},
	"seek group": {
		func(ctx context.Context, c *client.Client) error {
			floor, err := c.SeekGroup(ctx, 7, "g", 0)
			if err == nil && floor != 3 {
				return errors.New("the reply is lost")
			}
			return err
		},
		&wire.UpdateGroup{Stream: 7, Name: "g", SeekOffset: wire.Some(wire.Offset(0))}, &wire.UpdateGroupReply{Floor: 3},
	},
	"seek group to a time": {
		func(ctx context.Context, c *client.Client) error {
			_, err := c.SeekGroupTime(ctx, 7, "g", day)
			return err
		},
		&wire.UpdateGroup{Stream: 7, Name: "g", SeekTimestamp: wire.Some(wire.Time(day.UnixNano()))}, &wire.UpdateGroupReply{},
	},
	"delete group": {
		func(ctx context.Context, c *client.Client) error { return c.DeleteGroup(ctx, 7, "g") },
		&wire.DeleteGroup{Stream: 7, Name: "g"}, &wire.DeleteGroupReply{},
	},
	"replay all": {
		func(ctx context.Context, c *client.Client) error {
			n, err := c.ReplayParked(ctx, 7, "g")
			if err == nil && n != 5 {
				return errors.New("the reply is lost")
			}
			return err
		},
		&wire.Parked{Stream: 7, Name: "g", Action: wire.ParkedReplay}, &wire.ParkedReply{Changed: 5},
	},
	"drop some": {
		func(ctx context.Context, c *client.Client) error {
			n, err := c.DropParked(ctx, 7, "g", 4, 2)
			if err == nil && n != 2 {
				return errors.New("the reply is lost")
			}
			return err
		},
		&wire.Parked{Stream: 7, Name: "g", Action: wire.ParkedDrop, Offsets: []wire.Offset{4, 2}}, &wire.ParkedReply{Changed: 2},
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
