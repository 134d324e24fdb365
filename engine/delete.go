package engine

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/kimberlitedb/kimberlite-go/engine/seg"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// defaultPurgeDays is how long a deleted stream can be brought back where nothing else says so.
const defaultPurgeDays = 30

// never is the purge date of what is not purged at any time that can be told.
const never = wire.Time(math.MaxInt64)

// deleteStream deletes a stream softly. Deleting it again changes nothing.
func (m *Machine) deleteStream(r *Request, b *wire.DeleteStream, fx []Effect) []Effect {
	s, fx := m.managed(r, b.Stream, fx)
	if s == nil {
		return fx
	}
	if s.deleted {
		return m.reply(r, &wire.DeleteStreamReply{Deleted: true, PurgeDate: s.purge, Position: s.tenant.position}, s.lsn, fx)
	}
	if len(s.holds) > 0 {
		m.cfg.hit(ProbeHeld)
		return m.refuse(r, wire.Held, s.lsn, fx, "stream %q is under legal hold (%s); it can be deleted once every hold is released", s.name, s.heldBy())
	}
	days := max(b.RetentionOverride.Or(s.retention.Or(defaultPurgeDays)), s.minRetention)
	purge := m.daysFrom(m.clock.now, days)
	detail := struct {
		Purge string `json:"purge_date"`
	}{timeText(purge)}
	if e := m.carryOut(about(r.From, s, seg.KindDeleteStream, "stream.delete", detail, putNumbers(nil, uint64(purge)))); e != nil {
		return m.reply(r, e, s.lsn, fx)
	}
	m.watch(s)
	fx = m.reply(r, &wire.DeleteStreamReply{Deleted: true, PurgeDate: purge, Position: s.tenant.position}, s.lsn, fx)
	return m.silence(s, wire.StreamDeleted, fmt.Sprintf("stream %q was deleted", s.name), s.lsn, fx)
}

// undeleteStream brings a deleted stream back that is not purged yet.
func (m *Machine) undeleteStream(r *Request, b *wire.UndeleteStream, fx []Effect) []Effect {
	s, fx := m.managed(r, b.Stream, fx)
	if s == nil {
		return fx
	}
	if !s.deleted {
		return m.reply(r, &wire.UndeleteStreamReply{Position: s.tenant.position}, s.lsn, fx)
	}
	m.cfg.hit(ProbeUndeleted)
	if e := m.carryOut(about(r.From, s, seg.KindUndeleteStream, "stream.undelete", nil, nil)); e != nil {
		return m.reply(r, e, s.lsn, fx)
	}
	m.watch(s)
	return m.reply(r, &wire.UndeleteStreamReply{Restored: true, Position: s.tenant.position}, s.lsn, fx)
}

// purge removes a deleted stream for ever. It returns false where there is no room to say so; it is tried again then.
func (m *Machine) purge(s *stream) bool {
	detail := struct {
		Events uint64 `json:"events"`
		Bytes  uint64 `json:"bytes"`
	}{uint64(s.head - s.oldest), s.bytes - s.cut}
	if m.carryOut(about("", s, seg.KindPurgeStream, "stream.purge", detail, nil)) != nil {
		return false
	}
	for _, g := range s.groups {
		m.forgetGroup(g)
	}
	m.cfg.hit(ProbePurged)
	m.stats.Purges++
	m.stats.EventsRemoved += detail.Events
	m.stats.BytesRemoved += detail.Bytes
	return true
}

// removeStream takes a stream out of the state. Whoever still holds it sees that it is deleted.
func (s *state) removeStream(x *stream, r *seg.Record) {
	x.deleted = true
	s.remove(x.tenant, r)
	s.forgetKeys(x)
	delete(s.streams, x.id)
	delete(x.tenant.names, wire.Fold(x.name))
	i := x.tenant.after(x.id) - 1
	x.tenant.streams = slices.Delete(x.tenant.streams, i, i+1)
}

// managed finds the stream that an act is about, deleted or not. Where it may not be touched, the request is refused.
func (m *Machine) managed(r *Request, id wire.StreamID, fx []Effect) (*stream, []Effect) {
	s := m.owned(r, id)
	switch {
	case s == nil:
		return nil, m.missing(r, id, fx)
	case s.system():
		return nil, m.denied(r, s, fx)
	case s.tenant.health != sound:
		return nil, m.readOnly(r, s.tenant, fx)
	}
	return s, fx
}

// denied refuses to change one of the system's streams.
func (m *Machine) denied(r *Request, s *stream, fx []Effect) []Effect {
	m.cfg.hit(ProbeSystemStream)
	m.auditRefusal(r, "system stream")
	return m.refuse(r, wire.PermissionDenied, m.state.lsn, fx, "%s is written by the server alone", s.name)
}

// gone refuses a request about a deleted stream.
func (m *Machine) gone(r *Request, s *stream, after seg.LSN, fx []Effect) []Effect {
	m.cfg.hit(ProbeStreamDeleted)
	return m.reply(r, goneError(s), after, fx)
}

func goneError(s *stream) *wire.Error {
	return wire.Errorf(wire.StreamDeleted, "stream %q is deleted and will be purged %s; undelete it before, or use another one", s.name, purgeText(s.purge))
}

func purgeText(t wire.Time) string {
	if t == never {
		return "never"
	}
	return "at " + timeText(t)
}

func timeText(t wire.Time) string { return time.Unix(0, int64(t)).UTC().Format(time.RFC3339Nano) }

// daysFrom returns the time so many days after another, or never.
func (m *Machine) daysFrom(t wire.Time, days uint32) wire.Time {
	span := int64(m.cfg.RetentionDay)
	if int64(days) > (math.MaxInt64-max(0, int64(t)))/span {
		return never
	}
	return t + wire.Time(int64(days)*span)
}

func (s *stream) heldBy() string {
	names := make([]string, len(s.holds))
	for i, h := range s.holds {
		names[i] = fmt.Sprintf("%q", h.name)
	}
	return strings.Join(names, ", ")
}
