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
	if why := badRetention(b.RetentionDays, 0); why != "" {
		return m.refuse(r, wire.InvalidRequest, 0, fx, "%s", why)
	}
	id := r.Msg.Tenant
	t := m.state.tenants[id]
	if id == serverTenant || id > maxTenant || t == nil && !m.cfg.Dev {
		return m.noTenant(r, fx)
	}
	if t != nil && t.health != sound {
		return m.readOnly(r, t, fx)
	}
	if t != nil {
		if s := m.named(t, b.Name); s != nil {
			return m.taken(r, s, fx)
		}
		if t.table(b.Name) {
			return m.refuse(r, wire.StreamAlreadyExists, t.lsn, fx, "a table or view named %q exists, or is being made; streams and tables share their names", b.Name)
		}
	}
	a, first := newStreamAct(r, m.state.lastStream+1, b), newTenantAct(r, id, firstUseName)
	room := m.actSize(a)
	if t == nil {
		room += m.actSize(first) + m.geo.Align // the two may come to lie in two batches
	}
	if e := m.noRoom(room, data); e != nil {
		return m.reply(r, e, m.state.lsn, fx)
	}
	if t == nil {
		m.cfg.hit(ProbeTenantByFirstUse)
		m.decideAct(first)
	}
	m.decideAct(a)
	return m.reply(r, &wire.CreateStreamReply{Stream: a.stream}, m.state.lsn, fx)
}

func newStreamAct(r *Request, id wire.StreamID, b *wire.CreateStream) *act {
	detail := struct {
		Class string  `json:"data_class"`
		Days  *uint32 `json:"retention_days"`
	}{b.Class.String(), optional(b.RetentionDays)}
	return &act{
		kind: seg.KindCreateStream, verb: "stream.create", from: r.From, tenant: r.Msg.Tenant, stream: id, name: b.Name, detail: detail,
		fields: appendStreamSpec(nil, b),
	}
}

// taken refuses to make a stream whose name another one has.
func (m *Machine) taken(r *Request, s *stream, fx []Effect) []Effect {
	m.cfg.hit(ProbeDuplicateStream)
	if s.deleted {
		return m.refuse(r, wire.StreamAlreadyExists, s.lsn, fx, "stream %q with id %d is deleted and keeps its name until it is purged %s", s.name, s.id, purgeText(s.purge))
	}
	return m.refuse(r, wire.StreamAlreadyExists, s.lsn, fx, "stream %q exists with id %d; names are unique ignoring case", s.name, s.id)
}

// firstUseName is the name of a tenant that nobody created.
const firstUseName = "dev"

func (s *state) applyCreateStream(r *seg.Record, t *tenant, d *decoder) error {
	spec := d.streamSpec()
	if old := t.stream(spec.Name); old != nil && s.holed {
		s.removeStream(old, r) // a hole in the log has swallowed its purge
	}
	if d.bad || s.streams[r.Stream] != nil || t.stream(spec.Name) != nil {
		return errMisfit
	}
	s.addStream(&stream{
		id: r.Stream, tenant: t, name: spec.Name, class: spec.Class, placement: spec.Placement, created: r.Commit,
		changing: changing{retention: spec.RetentionDays, lsn: r.LSN},
	})
	return nil
}

func (s *state) addStream(x *stream) {
	switch x.id {
	case auditStream(x.tenant.id):
		x.tenant.audit = x
	case sqlStream(x.tenant.id):
		x.tenant.sql = x
	}
	if x.system() {
		s.systems++
	} else {
		s.lastStream = max(s.lastStream, x.id)
	}
	s.streams[x.id] = x
	x.tenant.streams = slices.Insert(x.tenant.streams, x.tenant.after(x.id), x)
	x.tenant.names[wire.Fold(x.name)] = x
}

// listStreams answers with one page of a tenant's streams.
func (m *Machine) listStreams(r *Request, b *wire.ListStreams, fx []Effect) []Effect {
	t := m.state.tenants[r.Msg.Tenant]
	if t == nil {
		return m.noTenant(r, fx)
	}
	reply := &wire.ListStreamsReply{}
	limit, prefix := page(b.Limit, wire.MaxListPage), wire.Fold(b.Prefix)
	for _, s := range t.streams[t.after(b.After):] {
		if s.system() && !b.System || b.Deleted.Set && s.deleted != b.Deleted.Value || !strings.HasPrefix(wire.Fold(s.name), prefix) {
			continue
		}
		if len(reply.Streams) == limit {
			reply.More = true
			break
		}
		reply.Streams = append(reply.Streams, s.describe())
	}
	return m.reply(r, reply, m.state.lsn, fx)
}

// streamInfo describes one stream, by name or id.
func (m *Machine) streamInfo(r *Request, b *wire.StreamInfo, fx []Effect) []Effect {
	t := m.state.tenants[r.Msg.Tenant]
	if t == nil {
		return m.noTenant(r, fx)
	}
	if b.Name == "" {
		if s := m.owned(r, b.Stream); s != nil {
			return m.reply(r, &wire.StreamInfoReply{Info: s.describe()}, s.lsn, fx)
		}
		return m.missing(r, b.Stream, fx)
	}
	s := m.named(t, b.Name)
	if s == nil {
		return m.refuse(r, wire.StreamNotFound, m.state.lsn, fx, "stream %q does not exist in tenant %d", clip(b.Name), t.id)
	}
	return m.reply(r, &wire.StreamInfoReply{Info: s.describe()}, s.lsn, fx)
}

func (s *stream) describe() wire.StreamDescription {
	d := wire.StreamDescription{
		Stream: s.id, Name: s.name, Class: s.class, Placement: s.placement, Created: s.created,
		RetentionDays: s.retention, MinRetentionDays: s.minRetention, Holds: s.describeHolds(),
		OldestOffset: s.oldest, HeadOffset: s.head, Bytes: s.bytes - s.cut, Deleted: s.deleted,
	}
	if s.deleted {
		d.PurgeDate = wire.Some(s.purge)
	}
	if s.oldest < s.head {
		d.FirstTime, d.LastTime = wire.Some(s.firstTime), wire.Some(s.lastTime)
	}
	return d
}

// owned finds the stream that a request may touch: a stream of another tenant is not found. One whose purge date has come
// is purged at that.
func (m *Machine) owned(r *Request, id wire.StreamID) *stream {
	s := m.state.streams[id]
	if s == nil {
		return nil
	}
	if s.tenant.id != r.Msg.Tenant {
		m.auditRefusal(r, "stream of another tenant")
		return nil
	}
	return m.present(s)
}

// standing finds the stream that a request is about and that is not deleted. Where there is none, the request is refused.
func (m *Machine) standing(r *Request, id wire.StreamID, fx []Effect) (*stream, []Effect) {
	s := m.owned(r, id)
	switch {
	case s == nil:
		return nil, m.missing(r, id, fx)
	case s.deleted:
		return nil, m.gone(r, s, s.lsn, fx)
	}
	return s, fx
}

// named finds a tenant's stream by name, in the same way.
func (m *Machine) named(t *tenant, name string) *stream {
	s := t.stream(name)
	if s == nil {
		return nil
	}
	return m.present(s)
}

func (m *Machine) present(s *stream) *stream {
	if m.purgeDue(s) && m.purge(s) {
		return nil
	}
	return s
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
