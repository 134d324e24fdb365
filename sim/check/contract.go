package check

import (
	"github.com/kimberlitedb/kimberlite-go/sim/model"
	"github.com/kimberlitedb/kimberlite-go/sim/plan"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// fits checks that a reply is one to its request.
func (s *Suite) fits(c *model.Call) bool {
	ok := false
	switch c.Reply.(type) {
	case *wire.HandshakeReply:
		ok = c.Body.Op() == wire.OpHandshake
	case *wire.CreateStreamReply:
		ok = c.Body.Op() == wire.OpCreateStream
	case *wire.AppendEventsReply:
		ok = c.Body.Op() == wire.OpAppendEvents
	case *wire.ReadEventsReply:
		ok = c.Body.Op() == wire.OpReadEvents
	case *wire.SyncReply:
		ok = c.Body.Op() == wire.OpSync
	case *wire.StreamInfoReply:
		ok = c.Body.Op() == wire.OpStreamInfo
	case *wire.ListStreamsReply:
		ok = c.Body.Op() == wire.OpListStreams
	case *wire.ListTenantsReply:
		ok = c.Body.Op() == wire.OpListTenants
	case *wire.CreateTenantReply:
		ok = c.Body.Op() == wire.OpCreateTenant
	case *wire.SubscribeReply:
		ok = c.Body.Op() == wire.OpSubscribe && c.Features.Version >= 3
	case *wire.UnsubscribeReply:
		ok = c.Body.Op() == wire.OpUnsubscribe
	case *wire.CreditReply:
		ok = c.Body.Op() == wire.OpCredit
	case *wire.QueryReply:
		ok = c.Body.Op() == wire.OpQuery
	case *wire.PingReply:
		ok = c.Body.Op() == wire.OpPing
	}
	s.must(Contract, ok, "%s: answered with %T", where(c), c.Reply)
	if foreign(c) && !s.must(Taint, false, "%s: what belongs to another tenant, or to nobody, was given out as %T", where(c), c.Reply) {
		return false
	}
	return ok && s.must(Contract, !wrong(c), "%s: bad input was accepted with %T", where(c), c.Reply)
}

// wrong reports whether a call must be refused.
func wrong(c *model.Call) bool {
	switch c.Op.Kind {
	case plan.BadAppend, plan.BadCreate, plan.Stranger, plan.Late:
		return c.Op.Kind != plan.BadCreate || c.Body.Op() == wire.OpCreateStream
	}
	return false
}

// refused checks a refusal: that its code is among those the request can earn.
func (s *Suite) refused(c *model.Call, e *wire.Error) {
	if c.Append != nil {
		c.Append.Outcome = model.Refused
	}
	is := func(code wire.Code) bool {
		return e.Code == code || (!c.Features.ExtendedErrors && e.Code == code.V1())
	}
	switch {
	case e.Code == wire.OffsetMismatch:
		s.mismatched(c, e)
		if c.Stream != nil {
			c.Stream.Ops = append(c.Stream.Ops, c)
		}
	case is(wire.StreamNotFound) && (c.Op.Kind == plan.Stranger || foreign(c)), is(wire.TenantNotFound) && foreign(c):
		s.Saw(Taint, true)
	case is(wire.StreamNotFound), is(wire.TenantNotFound):
		s.missing(c, e)
	case is(wire.StreamAlreadyExists) && c.Body.Op() == wire.OpCreateStream:
		if c.Stream != nil {
			c.Stream.Exists, c.Stream.Tenant.Exists = true, true
		}
	case is(wire.DataCorrupted) && c.Body.Op() == wire.OpReadEvents && s.unreadable(c):
	case is(wire.DataCorrupted) && s.Holes:
	case e.Code == wire.DataCorrupted && c.Body.Op() == wire.OpReadEvents:
		s.Fail(Reads, "%s: %s, but nothing is damaged there: %s", where(c), e.Code, e.Message)
	case is(wire.StorageError) && c.Body.Op() == wire.OpReadEvents && !s.Faulty():
		s.Fail(Reads, "%s: %s without any fault: %s", where(c), e.Code, e.Message)
	case c.Op.N >= plan.Farewell && (is(wire.StorageFull) || is(wire.StorageError)):
		s.Fail(Live, "%s: still refused after the faults ended: %s: %s", where(c), e.Code, e.Message)
	case is(wire.StorageFull), is(wire.StorageError):
		s.Saw(Contract, true)
		s.must(Contract, s.Faulty(), "%s: %s without any fault: %s", where(c), e.Code, e.Message)
	case is(wire.InvalidRequest) && c.Body.Op() == wire.OpCreateTenant:
		s.M.Tenant(int(c.Tenant)).Exists = true // under another name
	case is(wire.InvalidRequest) && (wrong(c) || c.Append == nil && c.Body.Op() == wire.OpAppendEvents):
		s.Saw(Contract, true)
	case is(wire.UnsupportedVersion) && c.Op.Kind == plan.Subscribe && c.Features.Version < 3:
		s.Saw(Contract, true)
	case is(wire.InvalidOffset) && c.Op.Kind == plan.Subscribe && (c.Body.(*wire.Subscribe).FromOffset > c.Floor || c.Stream.Shaky):
		s.Saw(Contract, true)
	case is(wire.SubscriptionNotFound) && c.Op.Kind == plan.Grant && c.Op.Case%16 == 0:
		s.Saw(Contract, true)
	default:
		s.Fail(Contract, "%s: refused with %s: %s", where(c), e.Code, e.Message)
	}
}

// foreign reports whether a call asks for what no tenant of the run has.
func foreign(c *model.Call) bool { return c.Op.Kind == plan.Stranger }

// unreadable reports whether damage on disk explains that a read failed.
func (s *Suite) unreadable(c *model.Call) bool {
	b := c.Body.(*wire.ReadEvents)
	return c.Stream != nil && s.Damaged(c.Stream, b.FromOffset)
}
