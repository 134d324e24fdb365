package engine

import (
	"slices"

	"github.com/kimberlitedb/kimberlite-go/engine/seg"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// hold is a legal hold: while a stream has one, nothing of it is cut off or purged.
type hold struct {
	name   string
	reason string
	set    wire.Time
}

// setHold puts a legal hold on a stream, deleted or not. Setting it again changes nothing.
func (m *Machine) setHold(r *Request, b *wire.SetHold, fx []Effect) []Effect {
	s, fx := m.managedOrSQL(r, b.Stream, fx)
	if s == nil {
		return fx
	}
	if why := badName(b.Name); why != "" {
		return m.refuse(r, wire.InvalidRequest, s.lsn, fx, "name of the hold: %s", why)
	}
	if len(b.Reason) > wire.MaxReason {
		return m.refuse(r, wire.InvalidRequest, s.lsn, fx, "the reason has %d bytes; at most %d are allowed", len(b.Reason), wire.MaxReason)
	}
	if s.findHold(b.Name) >= 0 {
		return m.reply(r, &wire.SetHoldReply{Position: s.tenant.position}, s.lsn, fx)
	}
	if len(s.holds) >= wire.MaxHolds {
		return m.refuse(r, wire.InvalidRequest, s.lsn, fx, "stream %q has %d holds; no more are allowed", s.name, len(s.holds))
	}
	detail := struct {
		Hold   string `json:"hold"`
		Reason string `json:"reason"`
	}{b.Name, b.Reason}
	fields := appendString(appendString(nil, b.Name), b.Reason)
	if e := m.carryOut(about(r.From, s, seg.KindSetHold, "hold.set", detail, fields)); e != nil {
		return m.reply(r, e, s.lsn, fx)
	}
	return m.reply(r, &wire.SetHoldReply{Position: s.tenant.position}, s.lsn, fx)
}

// releaseHold ends a legal hold. What was held back by it goes its way at once.
func (m *Machine) releaseHold(r *Request, b *wire.ReleaseHold, fx []Effect) []Effect {
	s, fx := m.managedOrSQL(r, b.Stream, fx)
	if s == nil {
		return fx
	}
	i := s.findHold(b.Name)
	if i < 0 {
		return m.refuse(r, wire.InvalidRequest, s.lsn, fx, "stream %q has no hold %q", s.name, clip(b.Name))
	}
	detail := struct {
		Hold string `json:"hold"`
	}{s.holds[i].name}
	if e := m.carryOut(about(r.From, s, seg.KindReleaseHold, "hold.release", detail, appendString(nil, detail.Hold))); e != nil {
		return m.reply(r, e, s.lsn, fx)
	}
	m.watch(s)
	return m.reply(r, &wire.ReleaseHoldReply{Position: s.tenant.position}, s.lsn, fx)
}

// findHold returns the place of a hold by name, ignoring ASCII case, or -1.
func (s *stream) findHold(name string) int {
	return slices.IndexFunc(s.holds, func(h hold) bool { return wire.Fold(h.name) == wire.Fold(name) })
}

// The list of holds is made anew by every change, so that a capture may hold on to it.

func (s *stream) applySetHold(r *seg.Record, d *decoder) error {
	h := hold{name: d.string(), reason: d.string(), set: r.Commit}
	if s.findHold(h.name) >= 0 {
		return nil // a hole in the log has swallowed its release
	}
	s.holds = append(slices.Clip(s.holds), h)
	return nil
}

func (s *stream) applyReleaseHold(d *decoder) error {
	i := s.findHold(d.string())
	if i < 0 {
		return nil // a hole in the log has swallowed its setting
	}
	s.holds = slices.Delete(slices.Clone(s.holds), i, i+1)
	return nil
}

func (s *stream) describeHolds() []wire.HoldDescription {
	list := make([]wire.HoldDescription, len(s.holds))
	for i, h := range s.holds {
		list[i] = wire.HoldDescription{Name: h.name, Reason: h.reason, Set: h.set}
	}
	return list
}
