package engine

import (
	"fmt"
	"slices"
	"strings"

	"github.com/kimberlitedb/kimberlite-go/engine/seg"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// createStream makes an empty stream. In dev mode it makes a missing tenant too.
func (m *Machine) createStream(r *Request, b *wire.CreateStream, fx []Effect) []Effect {
	if why := badName(b.Name); why != "" {
		return m.refuse(r, wire.InvalidRequest, 0, fx, "stream name: %s", why)
	}
	if n := len(b.Placement.Region.Custom); n > wire.MaxName {
		return m.refuse(r, wire.InvalidRequest, 0, fx, "the region's name has %d bytes; at most %d are allowed", n, wire.MaxName)
	}
	if b.RetentionDays.Set {
		return m.refuse(r, wire.InvalidRequest, 0, fx, "retention is not available yet; create the stream without retention_days")
	}
	t := m.state.tenants[r.Msg.Tenant]
	if t == nil && !(m.cfg.Dev && r.Msg.Tenant != 0) {
		return m.noTenant(r, fx)
	}
	if t != nil && t.health != sound {
		return m.readOnly(r, t, fx)
	}
	if t != nil {
		if s := t.stream(b.Name); s != nil {
			m.cfg.hit(ProbeDuplicateStream)
			return m.refuse(r, wire.StreamAlreadyExists, s.lsn, fx, "stream %q exists with id %d; names are unique ignoring case", s.name, s.id)
		}
	}
	rec := seg.Record{Kind: seg.KindCreateStream, Tenant: r.Msg.Tenant, Stream: m.state.lastStream + 1, Position: 1}
	body := appendActor(appendStreamSpec(nil, b), r)
	room := seg.RecordHeader + len(body)
	if t == nil {
		// The tenant's own entry is no longer than that, and the two may come to lie in two batches.
		room += seg.RecordHeader + len(body) + len(firstUseName) + m.geo.Align
	}
	if code, text, full := m.noRoom(room); full {
		return m.refuse(r, code, m.state.lsn, fx, "%s", text)
	}
	if t == nil {
		m.cfg.hit(ProbeTenantByFirstUse)
		m.addTenant(r, r.Msg.Tenant, firstUseName)
		t = m.state.tenants[r.Msg.Tenant]
	}
	rec.Position = t.position + 1
	m.decide(&rec, body)
	return m.reply(r, &wire.CreateStreamReply{Stream: rec.Stream}, m.state.lsn, fx)
}

// firstUseName is the name of a tenant that nobody created.
const firstUseName = "dev"

func (s *state) applyCreateStream(r *seg.Record) error {
	d := decoder{p: r.Body}
	spec := d.streamSpec()
	d.actor()
	t, err := s.advance(r)
	if err != nil {
		return err
	}
	if d.bad || s.streams[r.Stream] != nil || t.stream(spec.Name) != nil {
		return errMisfit
	}
	s.addStream(&stream{
		id: r.Stream, tenant: t, name: spec.Name, class: spec.Class, placement: spec.Placement, created: r.Commit, lsn: r.LSN,
	})
	return nil
}

func (s *state) addStream(x *stream) {
	s.lastStream = max(s.lastStream, x.id)
	s.streams[x.id] = x
	x.tenant.streams = slices.Insert(x.tenant.streams, x.tenant.after(x.id), x)
	x.tenant.names[fold(x.name)] = x
}

// listStreams answers with one page of a tenant's streams.
func (m *Machine) listStreams(r *Request, b *wire.ListStreams, fx []Effect) []Effect {
	t := m.state.tenants[r.Msg.Tenant]
	if t == nil {
		return m.noTenant(r, fx)
	}
	rest := t.streams[t.after(b.After):]
	n := page(b.Limit, len(rest))
	list := make([]wire.StreamDescription, n)
	for i, s := range rest[:n] {
		list[i] = s.describe()
	}
	return m.reply(r, &wire.ListStreamsReply{Streams: list, More: n < len(rest)}, m.state.lsn, fx)
}

// streamInfo describes one stream, by name or id.
func (m *Machine) streamInfo(r *Request, b *wire.StreamInfo, fx []Effect) []Effect {
	t := m.state.tenants[r.Msg.Tenant]
	if t == nil {
		return m.noTenant(r, fx)
	}
	s := m.state.streams[b.Stream]
	if b.Name != "" {
		s = t.stream(b.Name)
	}
	if s == nil || s.tenant != t {
		if b.Name != "" {
			return m.refuse(r, wire.StreamNotFound, m.state.lsn, fx, "stream %q does not exist in tenant %d", clip(b.Name), t.id)
		}
		return m.noStream(r, b.Stream, fx)
	}
	return m.reply(r, &wire.StreamInfoReply{Info: s.describe()}, s.lsn, fx)
}

func (s *stream) describe() wire.StreamDescription {
	d := wire.StreamDescription{
		Stream: s.id, Name: s.name, Class: s.class, Placement: s.placement, Created: s.created,
		OldestOffset: s.oldest, HeadOffset: s.head, Bytes: s.bytes,
	}
	if s.oldest < s.head {
		d.FirstTime, d.LastTime = wire.Some(s.firstTime), wire.Some(s.lastTime)
	}
	return d
}

// owned finds the stream that a request may touch: a stream of another tenant is not found.
func (m *Machine) owned(r *Request, id wire.StreamID) *stream {
	if s := m.state.streams[id]; s != nil && s.tenant.id == r.Msg.Tenant {
		return s
	}
	return nil
}

// missing refuses a request about a stream that owned did not find.
func (m *Machine) missing(r *Request, id wire.StreamID, fx []Effect) []Effect {
	if m.state.tenants[r.Msg.Tenant] == nil {
		return m.noTenant(r, fx)
	}
	return m.noStream(r, id, fx)
}

func (m *Machine) noTenant(r *Request, fx []Effect) []Effect {
	return m.refuse(r, wire.TenantNotFound, m.state.lsn, fx, "tenant %d does not exist; create it first", r.Msg.Tenant)
}

func (m *Machine) noStream(r *Request, id wire.StreamID, fx []Effect) []Effect {
	return m.refuse(r, wire.StreamNotFound, m.state.lsn, fx, "stream %d does not exist in tenant %d", id, r.Msg.Tenant)
}

func (m *Machine) readOnly(r *Request, t *tenant, fx []Effect) []Effect {
	m.cfg.hit(ProbeTenantReadOnly)
	return m.refuse(r, wire.DataCorrupted, m.state.lsn, fx,
		"tenant %d is read-only: the log is damaged where its entries may have been; run `kimberlite doctor` on the data directory", t.id)
}

// badName says what is wrong with a name, or nothing.
func badName(name string) string {
	switch {
	case name == "":
		return "is empty; give 1 to 256 characters of letters, digits, '_', '-', '.'"
	case len(name) > wire.MaxName:
		return fmt.Sprintf("has %d characters; at most %d are allowed", len(name), wire.MaxName)
	case name[0] == '$':
		return "begins with '$', which is the system's"
	}
	bad := strings.IndexFunc(name, func(c rune) bool {
		return !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '_' || c == '-' || c == '.')
	})
	if bad >= 0 {
		return fmt.Sprintf("%q has a character other than letters, digits, '_', '-', '.'", clip(name))
	}
	return ""
}

// clip shortens what a client sent for an error message.
func clip(s string) string {
	if len(s) <= wire.MaxName {
		return s
	}
	return s[:wire.MaxName] + "…"
}
