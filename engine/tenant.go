package engine

import (
	"slices"

	"github.com/kimberlitedb/kimberlite-go/engine/seg"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// createTenant makes the tenant that the request names. Making it again under the same name changes nothing.
func (m *Machine) createTenant(r *Request, b *wire.CreateTenant, fx []Effect) []Effect {
	id := r.Msg.Tenant
	if id == serverTenant || id > maxTenant {
		return m.refuse(r, wire.InvalidRequest, 0, fx, "tenant %d cannot exist; choose an id from 1 to %d", id, uint64(maxTenant))
	}
	if why := badName(b.Name); why != "" {
		return m.refuse(r, wire.InvalidRequest, 0, fx, "tenant name: %s", why)
	}
	if t := m.state.tenants[id]; t != nil {
		if t.name == b.Name {
			return m.reply(r, &wire.CreateTenantReply{Tenant: id}, m.state.lsn, fx)
		}
		return m.refuse(r, wire.InvalidRequest, m.state.lsn, fx, "tenant %d exists under the name %q; choose another id", id, t.name)
	}
	if e := m.carryOut(newTenantAct(r, id, b.Name)); e != nil {
		return m.reply(r, e, 0, fx)
	}
	return m.reply(r, &wire.CreateTenantReply{Tenant: id}, m.state.lsn, fx)
}

func newTenantAct(r *Request, id wire.TenantID, name string) *act {
	detail := struct {
		Name string `json:"name"`
	}{name}
	return &act{kind: seg.KindCreateTenant, verb: "tenant.create", from: r.From, tenant: id, detail: detail, fields: appendString(nil, name)}
}

// decide puts an entry with a ready body into the log and applies it.
func (m *Machine) decide(r *seg.Record, body []byte) {
	b, start := m.beginRecord(r, seg.RecordHeader+len(body))
	b.buf = append(b.buf, body...)
	m.finishRecord(r, b, start)
}

func (s *state) applyCreateTenant(r *seg.Record, d *decoder) (*tenant, error) {
	name := d.string()
	if d.bad || s.tenants[r.Tenant] != nil {
		return nil, errMisfit
	}
	t := &tenant{id: r.Tenant, name: name, created: r.Commit, commit: r.Commit}
	s.newTenant(t)
	return t, nil
}

// newTenant adds a tenant and its system streams.
func (s *state) newTenant(t *tenant) {
	s.addTenant(t)
	s.addStream(newSystemStream(t, auditStream(t.id), auditName, t.created, s.lsn+1))
}

func newSystemStream(t *tenant, id wire.StreamID, name string, created wire.Time, lsn seg.LSN) *stream {
	return &stream{id: id, tenant: t, name: name, class: wire.NonPHI, placement: wire.Placement{Global: true}, created: created, changing: changing{lsn: lsn}}
}

// systems returns how many of the tenant's streams are the system's.
func (t *tenant) systems() int {
	if t.sql != nil {
		return 2
	}
	return 1
}

func (s *state) addTenant(t *tenant) {
	t.names = map[string]*stream{}
	s.tenants[t.id] = t
	s.order = slices.Insert(s.order, s.findTenant(t.id), t)
}

// listTenants answers with one page of tenants.
func (m *Machine) listTenants(r *Request, b *wire.ListTenants, fx []Effect) []Effect {
	rest := m.state.order[m.state.findTenant(b.After):]
	if len(rest) > 0 && rest[0].id == b.After {
		rest = rest[1:]
	}
	n := page(b.Limit, len(rest))
	list := make([]wire.TenantDescription, n)
	for i, t := range rest[:n] {
		list[i] = wire.TenantDescription{
			Tenant: t.id, Name: t.name, Created: t.created, Streams: uint64(len(t.streams) - t.systems()), Position: t.position,
		}
	}
	return m.reply(r, &wire.ListTenantsReply{Tenants: list, More: n < len(rest)}, m.state.lsn, fx)
}

// page returns how many of so many things go into one page.
func page(limit uint32, have int) int {
	if limit == 0 || limit > wire.MaxListPage {
		limit = wire.MaxListPage
	}
	return min(int(limit), have)
}
