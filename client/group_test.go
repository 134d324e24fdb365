package client_test

import (
	"errors"
	"fmt"
	"iter"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kimberlitedb/kimberlite-go/client"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// What a server tells of a group, and what the client makes of it.
var (
	described = wire.GroupDescription{
		ID: 2, Name: "g", Created: wire.Time(day.UnixNano()), Paused: true, Floor: 3, Head: 9, Lag: 4,
		LagSince: wire.Some(wire.Time(day.UnixNano())), Pending: 5, Delayed: 6, Parked: 7, Skipped: 8, Redelivered: 10, Members: 11,
		Settings: wire.GroupSettings{
			AckDeadline: wire.Some(uint32(1500)), MaxAttempts: wire.Some(uint32(2)), MaxAckPending: wire.Some(uint32(3)),
			LookAhead: wire.Some(uint32(4)), Order: wire.Some(wire.OrderKey{Kind: wire.OrderPrefix, Bytes: 8}),
		},
	}
	fully = client.GroupInfo{
		ID: 2, Name: "g", Created: day.UTC(), Paused: true, Floor: 3, Head: 9, Lag: 4, LagSince: day.UTC(),
		Pending: 5, Delayed: 6, Parked: 7, Skipped: 8, Redelivered: 10, Members: 11,
		Settings: client.GroupSettings{
			AckDeadline: 1500 * time.Millisecond, MaxAttempts: 2, MaxAckPending: 3, LookAhead: 4,
			Order: wire.OrderKey{Kind: wire.OrderPrefix, Bytes: 8},
		},
	}
)

func TestGroupIsDescribed(t *testing.T) {
	f := serve(t, func(_ int, p *peer) {
		r := p.next()
		if !reflect.DeepEqual(r.Body, &wire.GroupInfo{Stream: 1, Name: "g"}) {
			t.Errorf("sent %+v", r.Body)
		}
		p.reply(r.ID, &wire.GroupInfoReply{Info: described})
		p.next()
	})
	if got, err := dial(t, f.addr()).GroupInfo(within(t), 1, "g"); err != nil || got != fully {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestGroupIsExplained(t *testing.T) {
	f := serve(t, func(_ int, p *peer) {
		r := p.next()
		if !reflect.DeepEqual(r.Body, &wire.Explain{Stream: 1, Name: "g"}) {
			t.Errorf("sent %+v", r.Body)
		}
		p.reply(r.ID, &wire.ExplainReply{
			Info:    described,
			Members: []wire.MemberDescription{{Subscription: 1, From: "here", CreditEvents: 2, CreditBytes: -3, Held: 4, Choked: true}},
			Held:    []wire.HeldDelivery{{Delivery: 1, Offset: 2, Attempt: 3, Subscription: 4, HeldFor: 5, Remaining: 6}},
			Reasons: []string{"it is paused"},
		})
		p.next()
	})
	want := client.GroupState{
		GroupInfo: fully,
		Members:   []client.GroupMember{{Subscription: 1, From: "here", CreditEvents: 2, CreditBytes: -3, Held: 4, Choked: true}},
		Held:      []client.HeldDelivery{{Offset: 2, Attempt: 3, Subscription: 4, HeldFor: 5 * time.Millisecond, Remaining: 6 * time.Millisecond}},
		Reasons:   []string{"it is paused"},
	}
	if got, err := dial(t, f.addr()).ExplainGroup(within(t), 1, "g"); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v", got, err)
	}
}

// Lists of groups and of parked events are read page by page, and each page again where its connection breaks.
func TestGroupListsArePagedThrough(t *testing.T) {
	f := serve(t, func(n int, p *peer) {
		for r := p.next(); r != nil; r = p.next() {
			if n == 0 || n == 1 && r.Body.Op() == wire.OpParked {
				return
			}
			switch b := r.Body.(type) {
			case *wire.ListGroups:
				p.reply(r.ID, &wire.ListGroupsReply{Groups: []wire.GroupDescription{{ID: b.After + 2}}, More: b.After < 4})
			case *wire.Parked:
				e := wire.ParkedEvent{Offset: b.From + 2, Attempts: 3, Since: wire.Time(day.UnixNano()), Asked: true}
				p.reply(r.ID, &wire.ParkedReply{Events: []wire.ParkedEvent{e}, More: b.From < 6})
			}
		}
	})
	c := dial(t, f.addr())
	var ids []uint64
	for g, err := range c.Groups(within(t), 1) {
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, g.ID)
	}
	var parked []client.Offset
	for e, err := range c.ParkedEvents(within(t), 1, "g") {
		if want := (client.ParkedEvent{Offset: e.Offset, Attempts: 3, Since: day.UTC(), Asked: true}); err != nil || e != want {
			t.Fatalf("%+v, %v", e, err)
		}
		parked = append(parked, e.Offset)
	}
	if !slices.Equal(ids, []uint64{2, 4, 6}) || !slices.Equal(parked, []client.Offset{2, 5, 8}) {
		t.Errorf("groups %v, parked %v", ids, parked)
	}
}

// Many parked events are named in many requests. After a refusal it is known how many were changed.
func TestParkedEventsAreNamedSomeAtATime(t *testing.T) {
	const some = wire.MaxParkedAtOnce
	f := serve(t, func(_ int, p *peer) {
		for i, want := range []int{some, some, 1} {
			r := p.next()
			b := r.Body.(*wire.Parked)
			if b.Action != wire.ParkedReplay || len(b.Offsets) != want || b.Offsets[0] != wire.Offset(i*some) {
				t.Errorf("request %d: %d offsets from %d", i, len(b.Offsets), b.Offsets[0])
			}
			if i == 2 {
				p.reply(r.ID, &wire.Error{Code: wire.StorageFull})
			} else {
				p.reply(r.ID, &wire.ParkedReply{Changed: uint64(want)})
			}
		}
		p.next()
	})
	offsets := make([]client.Offset, 2*some+1)
	for i := range offsets {
		offsets[i] = client.Offset(i)
	}
	n, err := dial(t, f.addr()).ReplayParked(within(t), 1, "g", offsets...)
	if n != 2*some || !errors.Is(err, client.ErrStorageFull) {
		t.Errorf("%d changed, %v", n, err)
	}
}

func TestUnsendableGroupsAreRefusedHere(t *testing.T) {
	c, ctx := dial(t, serve(t, acknowledge).addr()), within(t)
	for i, do := range []func(name, pointer string) error{
		func(name, pointer string) error {
			_, err := c.CreateGroup(ctx, 1, name, client.OrderByJSON(pointer))
			return err
		},
		func(name, pointer string) error { return c.SetGroup(ctx, 1, name, client.OrderByJSON(pointer)) },
		func(name, _ string) error { return c.PauseGroup(ctx, 1, name) },
		func(name, _ string) error { return c.DeleteGroup(ctx, 1, name) },
		func(name, _ string) error {
			_, err := c.GroupInfo(ctx, 1, name)
			return err
		},
		func(name, _ string) error {
			_, err := c.ExplainGroup(ctx, 1, name)
			return err
		},
		func(name, _ string) error {
			_, err := c.DropParked(ctx, 1, name)
			return err
		},
		func(name, _ string) error { return end(c.ParkedEvents(ctx, 1, name)) },
		func(name, _ string) error { return end(c.Consume(ctx, 1, name)) },
	} {
		for _, name := range []string{"", "\xff"} {
			if err := do(name, "/a"); !errors.Is(err, client.ErrInvalidRequest) {
				t.Errorf("%d, name %q: %v", i, name, err)
			}
		}
		if i > 1 {
			continue
		}
		for _, pointer := range []string{"\xff", strings.Repeat("/", wire.MaxOrderPath+1)} {
			if err := do("g", pointer); !errors.Is(err, client.ErrInvalidRequest) {
				t.Errorf("%d, pointer %q: %v", i, pointer, err)
			}
		}
	}
	if err := c.Ping(ctx); err != nil {
		t.Error(err)
	}
}

// end returns the error that a sequence ends with.
func end[T any](seq iter.Seq2[T, error]) (last error) {
	for _, err := range seq {
		last = err
	}
	return last
}

// What is refused for a group can be told by its sentinel.
func TestGroupRefusals(t *testing.T) {
	for code, sentinel := range map[wire.Code]error{
		wire.GroupNotFound: client.ErrGroupNotFound, wire.GroupAlreadyExists: client.ErrGroupExists, wire.StaleDelivery: client.ErrStaleDelivery,
	} {
		f := serve(t, func(_ int, p *peer) {
			p.reply(p.next().ID, &wire.Error{Code: code, Message: "no"})
			p.next()
		})
		_, err := dial(t, f.addr()).CreateGroup(within(t), 1, "g")
		if !errors.Is(err, sentinel) || err.Error() != fmt.Sprintf("%s: no", code) {
			t.Errorf("%v: %v", code, err)
		}
	}
}
