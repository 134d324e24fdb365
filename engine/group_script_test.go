package engine_test

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/kimberlitedb/kimberlite-go/internal/script"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// groupBody returns the request that a command about consumer groups stands for. Delivery ids count from 1.
func (p *play) groupBody(c *script.Command) wire.RequestBody {
	sub, stream, name := wire.SubscriptionID(c.Int("sub", 1)), wire.StreamID(c.Int("stream", 1)), c.Text("name", "g")
	switch c.Name {
	case "ack":
		return &wire.Ack{Subscription: sub, Deliveries: p.ids(c), Cumulative: c.Bool("cumulative")}
	case "nack":
		return &wire.Nack{Subscription: sub, Deliveries: p.ids(c), Delay: uint64(c.Span("delay", 0).Milliseconds()), Park: c.Bool("park")}
	case "extend":
		return &wire.ExtendAck{Subscription: sub, Deliveries: p.ids(c), Deadline: uint64(c.Span("by", 0).Milliseconds())}
	case "group":
		b := &wire.CreateGroup{Stream: stream, Name: name, FromOffset: wire.Offset(c.Int("from", 0)), Settings: settings(c)}
		if c.Has("last") {
			b.FromOffset = wire.EndOffset
		}
		if c.Has("since") {
			b.FromTimestamp = wire.Some(wire.Time(c.Span("since", 0)))
		}
		return b
	case "update-group":
		b := &wire.UpdateGroup{Stream: stream, Name: name, Settings: settings(c)}
		if c.Has("pause") {
			b.Paused = wire.Some(c.Bool("pause"))
		}
		if c.Has("resume") {
			b.Paused = wire.Some(false)
		}
		if c.Has("seek") {
			b.SeekOffset = wire.Some(wire.Offset(c.Int("seek", 0)))
		}
		if c.Has("since") {
			b.SeekTimestamp = wire.Some(wire.Time(c.Span("since", 0)))
		}
		return b
	case "delete-group":
		return &wire.DeleteGroup{Stream: stream, Name: name}
	case "groups":
		return &wire.ListGroups{Stream: stream, After: uint64(c.Int("after", 0)), Limit: uint32(c.Int("limit", 0))}
	case "group-info":
		return &wire.GroupInfo{Stream: stream, Name: name}
	case "parked":
		b := &wire.Parked{Stream: stream, Name: name, From: wire.Offset(c.Int("from", 0)), Limit: uint32(c.Int("limit", 0))}
		if c.Bool("replay") {
			b.Action = wire.ParkedReplay
		} else if c.Bool("drop") {
			b.Action = wire.ParkedDrop
		}
		for _, o := range c.List("offsets") {
			n, _ := strconv.Atoi(o)
			b.Offsets = append(b.Offsets, wire.Offset(n))
		}
		return b
	}
	return &wire.Explain{Stream: stream, Name: name}
}

func (p *play) ids(c *script.Command) (ids []wire.DeliveryID) {
	for _, s := range c.List("ids") {
		n, err := strconv.Atoi(s)
		if err != nil {
			c.Fail("%v", err)
		}
		ids = append(ids, p.base+wire.DeliveryID(n))
	}
	return ids
}

func settings(c *script.Command) (s wire.GroupSettings) {
	if c.Has("deadline") {
		s.AckDeadline = wire.Some(uint32(c.Span("deadline", 0).Milliseconds()))
	}
	for name, to := range map[string]*wire.Option[uint32]{"attempts": &s.MaxAttempts, "pending": &s.MaxAckPending, "ahead": &s.LookAhead} {
		if c.Has(name) {
			*to = wire.Some(uint32(c.Int(name, 0)))
		}
	}
	if c.Has("path") {
		s.Order = wire.Some(wire.OrderKey{Kind: wire.OrderJSON, Path: c.Text("path", "")})
	}
	if c.Has("prefix") {
		s.Order = wire.Some(wire.OrderKey{Kind: wire.OrderPrefix, Bytes: uint32(c.Int("prefix", 0))})
	}
	return s
}

// describeGroupReply returns nothing for a reply that is not about groups.
func (p *play) describeGroupReply(body wire.ResponseBody) string {
	switch b := body.(type) {
	case *wire.Error:
		if b.Code == wire.StaleDelivery { // its message names an id as it is
			return " Code:StaleDelivery"
		}
	case *wire.AckReply:
		return fmt.Sprintf(" Acked:%d%s", b.Acked, p.stale(b.Stale))
	case *wire.NackReply:
		return " Nacked" + p.stale(b.Stale)
	case *wire.ExtendAckReply:
		return " Extended" + p.stale(b.Stale)
	case *wire.CreateGroupReply:
		return fmt.Sprintf(" Floor:%d Position:%d", b.Floor, b.Position)
	case *wire.UpdateGroupReply:
		return fmt.Sprintf(" Floor:%d Position:%d", b.Floor, b.Position)
	case *wire.DeleteGroupReply:
		return fmt.Sprintf(" Position:%d", b.Position)
	case *wire.ListGroupsReply:
		s := ""
		for i := range b.Groups {
			s += describeGroup(&b.Groups[i])
		}
		return s + fmt.Sprintf(" More:%t", b.More)
	case *wire.GroupInfoReply:
		return describeGroup(&b.Info)
	case *wire.ParkedReply:
		s := fmt.Sprintf(" Changed:%d", b.Changed)
		for _, e := range b.Events {
			s += fmt.Sprintf(" %d(%d,%t)", e.Offset, e.Attempts, e.Asked)
		}
		return s + fmt.Sprintf(" More:%t", b.More)
	case *wire.ExplainReply:
		return describeGroup(&b.Info) + "\n  " + strings.Join(b.Reasons, "\n  ")
	}
	return ""
}

func (p *play) stale(ids []wire.DeliveryID) string {
	if len(ids) == 0 {
		return ""
	}
	s := " Stale:"
	for i, id := range ids {
		if i > 0 {
			s += ","
		}
		s += strconv.Itoa(int(id - p.base))
	}
	return s
}

func describeGroup(g *wire.GroupDescription) string {
	s := fmt.Sprintf(" %d:%s Floor:%d Head:%d Lag:%d", g.ID, g.Name, g.Floor, g.Head, g.Lag)
	if g.LagSince.Set {
		s += " Since:" + clock(g.LagSince.Value)
	}
	if g.Paused {
		s += " Paused"
	}
	for _, n := range []struct {
		name  string
		count uint64
	}{{"Pending", g.Pending}, {"Delayed", g.Delayed}, {"Parked", g.Parked}, {"Skipped", g.Skipped}, {"Redelivered", g.Redelivered}, {"Members", uint64(g.Members)}} {
		if n.count > 0 {
			s += fmt.Sprintf(" %s:%d", n.name, n.count)
		}
	}
	if d := time.Duration(g.Settings.AckDeadline.Value) * time.Millisecond; d != 30*time.Second {
		s += fmt.Sprintf(" Deadline:%s", d)
	}
	return s
}
