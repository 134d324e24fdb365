package client

import (
	"context"
	"iter"
	"math"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/kimberlitedb/kimberlite-go/wire"
)

// GroupInfo describes a consumer group of a stream. An event is settled once it is acknowledged, parked or passed over.
type GroupInfo struct {
	ID          uint64 // unique in its stream
	Name        string
	Created     time.Time
	Settings    GroupSettings
	Paused      bool
	Floor       Offset    // every event before it is settled
	Head        Offset    // the stream's
	Lag         uint64    // events that are not settled
	LagSince    time.Time // about the event time of the oldest of them; zero where there is none
	Pending     uint64    // deliveries that are not settled
	Delayed     uint64    // events that were given back with a delay, which is not over
	Parked      uint64    // events that are not delivered until somebody replays them
	Skipped     uint64    // events that were passed over, since they have expired or cannot be read
	Redelivered uint64    // deliveries since the server was started that were not an event's first
	Members     uint32
}

// GroupSettings are the settings of a consumer group.
type GroupSettings struct {
	AckDeadline   time.Duration
	MaxAttempts   uint32
	MaxAckPending uint32
	LookAhead     uint32
	Order         wire.OrderKey
}

// GroupOption is a setting of a new consumer group.
type GroupOption interface{ create(*wire.CreateGroup) }

type groupOption func(*wire.CreateGroup)

func (o groupOption) create(g *wire.CreateGroup) { o(g) }

// FromOffset has the group begin at an offset, or with End at the stream's head as it is then. Without it, it begins at the
// oldest event.
func FromOffset(o Offset) GroupOption {
	return groupOption(func(g *wire.CreateGroup) { g.FromOffset = o })
}

// FromTime has the group begin at the first event whose event time is at or after t.
func FromTime(t time.Time) GroupOption {
	return groupOption(func(g *wire.CreateGroup) { g.FromTimestamp = wire.Some(clamped(t)) })
}

// GroupSetting is a setting of a consumer group that can be changed later, too.
type GroupSetting func(*wire.GroupSettings)

func (s GroupSetting) create(g *wire.CreateGroup) { s(&g.Settings) }

// AckDeadline is how long a member may hold a delivery before it counts as failed, 100 ms to 12 hours. Without it, 30 seconds.
func AckDeadline(d time.Duration) GroupSetting {
	ms := uint32(min(max(d.Milliseconds(), 0), math.MaxUint32))
	return func(s *wire.GroupSettings) { s.AckDeadline = wire.Some(ms) }
}

// MaxAttempts is how often an event is delivered before it is parked. Without it, 10.
func MaxAttempts(n uint32) GroupSetting {
	return func(s *wire.GroupSettings) { s.MaxAttempts = wire.Some(n) }
}

// MaxAckPending is how many deliveries, to all members, may be unsettled. Without it, 1,000.
func MaxAckPending(n uint32) GroupSetting {
	return func(s *wire.GroupSettings) { s.MaxAckPending = wire.Some(n) }
}

// LookAhead is how far behind the oldest unsettled event others may be delivered, in events. Without it, 10,000.
func LookAhead(n uint32) GroupSetting {
	return func(s *wire.GroupSettings) { s.LookAhead = wire.Some(n) }
}

// OrderByJSON delivers events one after the other that have the same value at a JSON Pointer (RFC 6901) such as
// "/customer/id". Events without one are not held up.
func OrderByJSON(pointer string) GroupSetting {
	return order(wire.OrderKey{Kind: wire.OrderJSON, Path: pointer})
}

// OrderByPrefix delivers events one after the other whose data begin with the same n bytes.
func OrderByPrefix(n uint32) GroupSetting {
	return order(wire.OrderKey{Kind: wire.OrderPrefix, Bytes: n})
}

// Unordered delivers each event as soon as a member takes it. That is how a group is without another order.
func Unordered() GroupSetting { return order(wire.OrderKey{}) }

func order(k wire.OrderKey) GroupSetting {
	return func(s *wire.GroupSettings) { s.Order = wire.Some(k) }
}

// checkGroup refuses a name and settings that would end the connection. What else is wrong with them the server says.
func checkGroup(name string, s *wire.GroupSettings) error {
	if path := s.Order.Value.Path; len(path) > wire.MaxOrderPath || !utf8.ValidString(path) {
		return invalid("JSON pointer of the order: must be UTF-8, of at most %d bytes", wire.MaxOrderPath)
	}
	return checkName("group", name)
}

// CreateGroup makes a consumer group of a stream, and returns the offset at which it begins. A name that the stream has
// already, also in other case, is ErrGroupExists.
func (c *Client) CreateGroup(ctx context.Context, stream StreamID, name string, options ...GroupOption) (floor Offset, err error) {
	spec := &wire.CreateGroup{Stream: stream, Name: name}
	for _, o := range options {
		o.create(spec)
	}
	if err := checkGroup(name, &spec.Settings); err != nil {
		return 0, err
	}
	reply, err := c.do(ctx, spec)
	if err != nil {
		return 0, err
	}
	return reply.(*wire.CreateGroupReply).Floor, nil
}

// SetGroup changes settings of a consumer group. Those that are not given stay. With another order, what members hold goes
// back to the group.
func (c *Client) SetGroup(ctx context.Context, stream StreamID, name string, settings ...GroupSetting) error {
	change := &wire.UpdateGroup{Stream: stream, Name: name}
	for _, s := range settings {
		s(&change.Settings)
	}
	_, err := c.updateGroup(ctx, change)
	return err
}

// PauseGroup has a consumer group deliver nothing until it is resumed. What members hold can be settled.
func (c *Client) PauseGroup(ctx context.Context, stream StreamID, name string) error {
	_, err := c.updateGroup(ctx, &wire.UpdateGroup{Stream: stream, Name: name, Paused: wire.Some(true)})
	return err
}

// ResumeGroup has a paused consumer group go on.
func (c *Client) ResumeGroup(ctx context.Context, stream StreamID, name string) error {
	_, err := c.updateGroup(ctx, &wire.UpdateGroup{Stream: stream, Name: name, Paused: wire.Some(false)})
	return err
}

// SeekGroup has a consumer group go on from an offset, or with End from the stream's head as it is then, and returns where
// that is. Whatever was acknowledged from there on is delivered again. Deliveries that members hold are stale then. Parked
// events stay parked.
func (c *Client) SeekGroup(ctx context.Context, stream StreamID, name string, to Offset) (floor Offset, err error) {
	return c.updateGroup(ctx, &wire.UpdateGroup{Stream: stream, Name: name, SeekOffset: wire.Some(to)})
}

// SeekGroupTime is SeekGroup to the first event whose event time is at or after t.
func (c *Client) SeekGroupTime(ctx context.Context, stream StreamID, name string, t time.Time) (floor Offset, err error) {
	return c.updateGroup(ctx, &wire.UpdateGroup{Stream: stream, Name: name, SeekTimestamp: wire.Some(clamped(t))})
}

func (c *Client) updateGroup(ctx context.Context, change *wire.UpdateGroup) (floor Offset, err error) {
	if err := checkGroup(change.Name, &change.Settings); err != nil {
		return 0, err
	}
	reply, err := c.do(ctx, change)
	if err != nil {
		return 0, err
	}
	return reply.(*wire.UpdateGroupReply).Floor, nil
}

// DeleteGroup deletes a consumer group and all that it remembers. Its members end with ErrGroupNotFound.
func (c *Client) DeleteGroup(ctx context.Context, stream StreamID, name string) error {
	if err := checkName("group", name); err != nil {
		return err
	}
	_, err := c.do(ctx, &wire.DeleteGroup{Stream: stream, Name: name})
	return err
}

// Groups lists a stream's consumer groups in the order in which they were made, page by page. An error ends the list.
func (c *Client) Groups(ctx context.Context, stream StreamID) iter.Seq2[GroupInfo, error] {
	return func(yield func(GroupInfo, error) bool) {
		after := uint64(0)
		for more := true; more; {
			reply, err := c.do(ctx, &wire.ListGroups{Stream: stream, After: after})
			if err != nil {
				yield(GroupInfo{}, err)
				return
			}
			page := reply.(*wire.ListGroupsReply)
			for i := range page.Groups {
				if !yield(groupInfo(&page.Groups[i]), nil) {
					return
				}
				after = page.Groups[i].ID
			}
			more = page.More && len(page.Groups) > 0
		}
	}
}

// GroupInfo describes a consumer group. Case does not matter in its name.
func (c *Client) GroupInfo(ctx context.Context, stream StreamID, name string) (GroupInfo, error) {
	if err := checkName("group", name); err != nil {
		return GroupInfo{}, err
	}
	reply, err := c.do(ctx, &wire.GroupInfo{Stream: stream, Name: name})
	if err != nil {
		return GroupInfo{}, err
	}
	return groupInfo(&reply.(*wire.GroupInfoReply).Info), nil
}

func groupInfo(d *wire.GroupDescription) GroupInfo {
	return GroupInfo{
		ID: d.ID, Name: d.Name, Created: instant(d.Created), Settings: groupSettings(&d.Settings), Paused: d.Paused,
		Floor: d.Floor, Head: d.Head, Lag: d.Lag, LagSince: optInstant(d.LagSince), Pending: d.Pending, Delayed: d.Delayed,
		Parked: d.Parked, Skipped: d.Skipped, Redelivered: d.Redelivered, Members: d.Members,
	}
}

func groupSettings(s *wire.GroupSettings) GroupSettings {
	return GroupSettings{
		AckDeadline: millis(uint64(s.AckDeadline.Value)), MaxAttempts: s.MaxAttempts.Value, MaxAckPending: s.MaxAckPending.Value,
		LookAhead: s.LookAhead.Value, Order: s.Order.Value,
	}
}

// millis returns a number of milliseconds as a duration, the longest one where there is none so long.
func millis(n uint64) time.Duration {
	return time.Duration(min(n, math.MaxInt64/uint64(time.Millisecond))) * time.Millisecond
}

// ParkedEvent is an event that a consumer group does not deliver any more.
type ParkedEvent struct {
	Offset   Offset
	Attempts uint32    // deliveries that have failed
	Since    time.Time // the commit time
	Asked    bool      // a member has asked for it; else the attempts ran out
}

// ParkedEvents lists a consumer group's parked events by their offsets, page by page. An error ends the list.
func (c *Client) ParkedEvents(ctx context.Context, stream StreamID, group string) iter.Seq2[ParkedEvent, error] {
	return func(yield func(ParkedEvent, error) bool) {
		from := Offset(0)
		for more := true; more; {
			page, err := c.parked(ctx, &wire.Parked{Stream: stream, Name: group, Action: wire.ParkedList, From: from})
			if err != nil {
				yield(ParkedEvent{}, err)
				return
			}
			for _, e := range page.Events {
				if !yield(ParkedEvent{e.Offset, e.Attempts, instant(e.Since), e.Asked}, nil) {
					return
				}
				from = e.Offset + 1
			}
			more = page.More && len(page.Events) > 0
		}
	}
}

// ReplayParked has a consumer group deliver parked events again, with attempts that count from 1: those at the given
// offsets, or all if none is given. It returns how many there were. Offsets of events that are not parked are ignored.
func (c *Client) ReplayParked(ctx context.Context, stream StreamID, group string, offsets ...Offset) (replayed uint64, err error) {
	return c.unpark(ctx, wire.Parked{Stream: stream, Name: group, Action: wire.ParkedReplay}, offsets)
}

// DropParked has parked events count as acknowledged: those at the given offsets, or all if none is given. It returns how
// many there were. Offsets of events that are not parked are ignored.
func (c *Client) DropParked(ctx context.Context, stream StreamID, group string, offsets ...Offset) (dropped uint64, err error) {
	return c.unpark(ctx, wire.Parked{Stream: stream, Name: group, Action: wire.ParkedDrop}, offsets)
}

// unpark asks in as many requests as it takes. After an error, changed says what those before it did.
func (c *Client) unpark(ctx context.Context, ask wire.Parked, offsets []Offset) (changed uint64, err error) {
	if len(offsets) == 0 {
		page, err := c.parked(ctx, &ask)
		return page.Changed, err
	}
	for some := range slices.Chunk(offsets, wire.MaxParkedAtOnce) {
		part := ask
		part.Offsets = some
		page, err := c.parked(ctx, &part)
		if changed += page.Changed; err != nil {
			return changed, err
		}
	}
	return changed, nil
}

func (c *Client) parked(ctx context.Context, ask *wire.Parked) (wire.ParkedReply, error) {
	if err := checkName("group", ask.Name); err != nil {
		return wire.ParkedReply{}, err
	}
	reply, err := c.do(ctx, ask)
	if err != nil {
		return wire.ParkedReply{}, err
	}
	return *reply.(*wire.ParkedReply), nil
}

// GroupState says what a consumer group does, and why.
type GroupState struct {
	GroupInfo
	Members []GroupMember
	Held    []HeldDelivery // the oldest first, at most 100
	Reasons []string       // for people: what is delivered, or what it waits for
}

// GroupMember is a member of a consumer group.
type GroupMember struct {
	Subscription wire.SubscriptionID
	From         string // the address that it has connected from
	CreditEvents uint64 // how many more it takes
	CreditBytes  int64
	Held         uint64 // deliveries that it has not settled
	Choked       bool   // it does not read what was sent to it
}

// HeldDelivery is a delivery that is not settled.
type HeldDelivery struct {
	Offset       Offset
	Attempt      uint32
	Subscription wire.SubscriptionID // of the member that holds it
	HeldFor      time.Duration
	Remaining    time.Duration // until its deadline
}

// ExplainGroup says what a consumer group does, and why: what it delivers, to whom, and what it waits for.
func (c *Client) ExplainGroup(ctx context.Context, stream StreamID, name string) (GroupState, error) {
	if err := checkName("group", name); err != nil {
		return GroupState{}, err
	}
	reply, err := c.do(ctx, &wire.Explain{Stream: stream, Name: name})
	if err != nil {
		return GroupState{}, err
	}
	r := reply.(*wire.ExplainReply)
	state := GroupState{GroupInfo: groupInfo(&r.Info), Reasons: r.Reasons}
	for _, m := range r.Members {
		state.Members = append(state.Members, GroupMember(m))
	}
	for _, d := range r.Held {
		state.Held = append(state.Held, HeldDelivery{d.Offset, d.Attempt, d.Subscription, millis(d.HeldFor), millis(d.Remaining)})
	}
	return state, nil
}
