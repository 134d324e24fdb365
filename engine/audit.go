package engine

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"

	"github.com/kimberlitedb/kimberlite-go/engine/seg"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// Every administrative act is one log entry, and the entry holds the event that tells of the act in the tenant's audit
// stream. So an act and its trace are durable together or not at all. The events form a hash chain: each names the
// SHA-256 of the one before it, and the state keeps that of the last one.

const (
	// systemStreams is where the ids of the system's streams begin.
	systemStreams wire.StreamID = 1 << 63
	// maxTenant bounds the ids of tenants, so that those of their system streams follow from them.
	maxTenant wire.TenantID = 1<<62 - 1
	// serverTenant is whose audit stream tells of acts that concern the whole server. It has nothing else.
	serverTenant wire.TenantID = 0

	auditName = "$audit"
)

// auditStream returns the id of a tenant's audit stream.
func auditStream(t wire.TenantID) wire.StreamID { return systemStreams | wire.StreamID(t) }

// act is an administrative act that is about to be decided.
type act struct {
	kind   seg.Kind
	verb   string // what the audit stream calls it
	from   string // the address of who asked; empty for the server itself
	tenant wire.TenantID
	stream wire.StreamID
	name   string // the stream's
	detail any    // in the audit event; may be nil
	fields []byte // what apply needs
}

// auditEvent is an event of an audit stream, as JSON.
type auditEvent struct {
	Seq      uint64        `json:"seq"`
	Time     string        `json:"time"`
	Act      string        `json:"act"`
	By       string        `json:"by"`
	From     string        `json:"from"`
	Stream   string        `json:"stream,omitempty"`
	StreamID wire.StreamID `json:"stream_id,omitempty"`
	Detail   any           `json:"detail,omitempty"`
	Prev     string        `json:"prev"`
}

// about returns an act on a stream, asked for from an address.
func about(from string, s *stream, kind seg.Kind, verb string, detail any, fields []byte) *act {
	return &act{kind: kind, verb: verb, from: from, tenant: s.tenant.id, stream: s.id, name: s.name, detail: detail, fields: fields}
}

// carryOut decides an act into the log. It returns the refusal where there is no room.
func (m *Machine) carryOut(a *act) *wire.Error {
	body := m.actBody(a)
	if e := m.noRoom(seg.RecordHeader+len(body), a.purpose()); e != nil {
		return e
	}
	m.decide(m.actRecord(a), body)
	return nil
}

// decideAct is carryOut of an act for which there is room.
func (m *Machine) decideAct(a *act) { m.decide(m.actRecord(a), m.actBody(a)) }

// purpose says which space an act may take: not the last stretch, where it makes something, or where a client can have any
// number of it.
func (a *act) purpose() purpose {
	switch a.kind {
	case seg.KindCreateTenant, seg.KindCreateStream, seg.KindRefusedAccess, seg.KindCreateGroup, seg.KindCheckpoint, seg.KindArchive, seg.KindRestored:
		return data
	}
	return admin
}

// actSize returns what an act takes in the log, as the first of its tenant or a later one.
func (m *Machine) actSize(a *act) int { return seg.RecordHeader + len(m.actBody(a)) }

func (m *Machine) actRecord(a *act) *seg.Record {
	r := &seg.Record{Kind: a.kind, Flags: seg.FlagAudit, Tenant: a.tenant, Stream: a.stream, Count: 1}
	t := m.state.tenants[a.tenant]
	if t != nil {
		r.First = t.end(t.audit)
	}
	switch {
	case a.kind == seg.KindCreateTenant:
	case t != nil:
		r.Position = t.position + 1
	default: // the server's own, which comes into being with its first act
		r.Position = 1
	}
	return r
}

// actBody returns the body of an act's entry: its audit event, and what apply needs.
func (m *Machine) actBody(a *act) []byte {
	e := auditEvent{
		Time: timeText(m.clock.now), Act: a.verb, From: a.from, Stream: a.name, StreamID: a.stream, Detail: a.detail,
	}
	var chain [sha256.Size]byte
	if t := m.state.tenants[a.tenant]; t != nil {
		e.Seq, chain = uint64(t.end(t.audit)), t.chain
	}
	e.Prev = hex.EncodeToString(chain[:])
	p, err := json.Marshal(e)
	if err != nil {
		panic("engine: an audit event cannot be encoded: " + err.Error())
	}
	return append(wire.AppendEvent(nil, wire.Offset(e.Seq), p, m.clock.now), a.fields...)
}

// applyAct carries out an administrative act, and notes its audit event.
func (s *state) applyAct(r *seg.Record, at seg.Extent, geo seg.Geometry) error {
	event, fields, audited := r.AuditEvent()
	d := &decoder{p: fields}
	t, err := s.actor(r, d)
	if err != nil {
		return err
	}
	if r.Stream != 0 && r.Kind != seg.KindCreateStream {
		err = s.applyToStream(r, t, d)
	} else if r.Kind == seg.KindCreateStream {
		err = s.applyCreateStream(r, t, d)
	} else if r.Kind == seg.KindConfirmClock {
		s.skew = wire.Span(d.u64())
	} else if r.Kind == seg.KindCheckpoint {
		err = s.applyCheckpoint(r, t, d)
	} else if r.Kind == seg.KindDropCheckpoint {
		err = s.applyDropCheckpoint(t, d)
	} else if r.Kind == seg.KindArchive {
		err = s.applyArchive(t, d)
	} else if r.Kind == seg.KindRestored {
		err = s.applyRestored(r, t)
	}
	if err == nil && d.bad {
		err = errMisfit
	}
	if err != nil || !audited {
		return err
	}
	if err := s.noteAct(r, t, event, at, geo); err != nil || r.Kind != seg.KindCheckpoint {
		return err
	}
	t.freeze() // with the event that tells of it
	return nil
}

// actor finds the tenant whose log an act belongs to, or makes it.
func (s *state) actor(r *seg.Record, d *decoder) (*tenant, error) {
	if r.Kind == seg.KindCreateTenant {
		return s.applyCreateTenant(r, d)
	}
	if r.Tenant == serverTenant && s.tenants[serverTenant] == nil {
		s.newTenant(&tenant{id: serverTenant, name: "$server", created: r.Commit})
	}
	return s.advance(r)
}

// applyToStream carries out an act on a stream that exists.
func (s *state) applyToStream(r *seg.Record, t *tenant, d *decoder) error {
	x, err := s.known(r, t)
	if err != nil {
		return err
	}
	x.lsn = r.LSN
	switch r.Kind {
	case seg.KindDeleteStream:
		x.deleted, x.purge = true, wire.Time(d.u64())
	case seg.KindUndeleteStream:
		x.deleted, x.purge = false, 0
	case seg.KindPurgeStream:
		s.removeStream(x, r)
	case seg.KindSetRetention:
		x.retention, x.minRetention = d.optU32(), d.u32()
	case seg.KindSetHold:
		return x.applySetHold(r, d)
	case seg.KindReleaseHold:
		return x.applyReleaseHold(d)
	case seg.KindCreateGroup:
		return x.applyCreateGroup(r, d, s)
	case seg.KindUpdateGroup, seg.KindDeleteGroup, seg.KindUnpark:
		return x.applyToGroup(r, d, s)
	}
	return nil
}

// noteAct adds an act's event to its tenant's audit stream.
func (s *state) noteAct(r *seg.Record, t *tenant, event []byte, at seg.Extent, geo seg.Geometry) error {
	e, rest, ok := wire.NextEvent(event)
	x := t.audit
	if !ok || len(rest) > 0 || e.Offset != r.First || r.Count != 1 {
		return fmt.Errorf("%w: audit event %d of tenant %d", errMisfit, r.First, r.Tenant)
	}
	if err := s.follows(x, r.First); err != nil {
		return err
	}
	x.extend(r, event, at, geo)
	t.chain = sha256.Sum256(e.Data)
	return nil
}

// refusedAccess counts accesses that were refused, of one kind, within one minute. The first of them is told in the audit
// stream at once and the others together when the minute is over, so that a hostile client cannot fill the disk.
type refusedAccess struct {
	tenant wire.TenantID
	op     wire.Op
	reason string
	minute wire.Time
	others int    // beside the first
	from   string // of the last of them
}

// auditRefusal notes that a request was refused for what it tried to reach.
func (m *Machine) auditRefusal(r *Request, reason string) {
	t := m.state.tenants[r.Msg.Tenant]
	if t == nil || t.health != sound {
		return
	}
	minute := m.clock.now / wire.Time(Minute)
	for i := range m.refused {
		f := &m.refused[i]
		if f.tenant == t.id && f.op == r.Msg.Body.Op() && f.reason == reason && f.minute == minute {
			f.others, f.from = f.others+1, r.From
			m.cfg.hit(ProbeRefusalCoalesced)
			return
		}
	}
	f := refusedAccess{tenant: t.id, op: r.Msg.Body.Op(), reason: reason, minute: minute, from: r.From}
	if m.tellRefusal(&f, 1) {
		m.refused = append(m.refused, f)
	}
}

// tellRefusal puts refused accesses into the audit stream, where there is room.
func (m *Machine) tellRefusal(f *refusedAccess, count int) bool {
	e := m.carryOut(&act{
		kind: seg.KindRefusedAccess, verb: "access.refused", from: f.from, tenant: f.tenant,
		detail: struct {
			Op     string `json:"op"`
			Reason string `json:"reason"`
			Count  int    `json:"count"`
		}{f.op.String(), f.reason, count},
	})
	if e != nil {
		return false
	}
	m.stats.RefusedAccesses += uint64(count)
	return true
}

// tellRefusals tells of the refused accesses whose minute is over.
func (m *Machine) tellRefusals() {
	minute := m.clock.now / wire.Time(Minute)
	kept := m.refused[:0]
	for _, f := range m.refused {
		if f.minute == minute || f.others > 0 && !m.tellRefusal(&f, f.others) {
			kept = append(kept, f)
		}
	}
	clear(m.refused[len(kept):])
	m.refused = kept
}
