package engine

import (
	"github.com/kimberlitedb/kimberlite-go/engine/seg"
	"github.com/kimberlitedb/kimberlite-go/wire"
	"slices"
)

// createTenant makes the tenant that the request names. Making it again under the same name changes nothing.
func (m *Machine) createTenant(r *Request, b *wire.CreateTenant, fx []Effect) []Effect {
	id := r.Msg.Tenant
	if id == 0 {
		return m.refuse(r, wire.InvalidRequest, 0, fx, "tenant 0 cannot exist; choose an id from 1 on")
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
	if code, text, ok := m.addTenant(r, id, b.Name); !ok {
		return m.refuse(r, code, 0, fx, "%s", text)
	}
	return m.reply(r, &wire.CreateTenantReply{Tenant: id}, m.state.lsn, fx)
}

// addTenant decides a new tenant into the log. It returns false and why where there is no room.
func (m *Machine) addTenant(r *Request, id wire.TenantID, name string) (wire.Code, string, bool) {
	body := appendActor(appendString(nil, name), r)
	n := seg.RecordHeader + len(body)
	if code, text, full := m.noRoom(n); full {
		return code, text, false
	}
	m.decide(&seg.Record{Kind: seg.KindCreateTenant, Tenant: id}, body)
	return 0, "", true
}

// decide puts an entry with a ready body into the log and applies it.
func (m *Machine) decide(r *seg.Record, body []byte) {
	b, start := m.beginRecord(r, seg.RecordHeader+len(body))
	b.buf = append(b.buf, body...)
	m.finishRecord(r, b, start)
}

func (s *state) applyCreateTenant(r *seg.Record) error {
	d := decoder{p: r.Body}
	name := d.string()
	d.actor()
	if d.bad || s.tenants[r.Tenant] != nil {
		return errMisfit
	}
	s.addTenant(&tenant{id: r.Tenant, name: name, created: r.Commit, commit: r.Commit})
	return nil
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
			Tenant: t.id, Name: t.name, Created: t.created, Streams: uint64(len(t.streams)), Position: t.position,
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
