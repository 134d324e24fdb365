package engine

import (
	"slices"

	"github.com/kimberlitedb/kimberlite-go/engine/seg"
	"github.com/kimberlitedb/kimberlite-go/engine/sql"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// A statement that writes is an entry of its tenant's log, an event of the system stream $sql: durable first, and then
// carried out by a job, in the order of the log. A statement that reads is a job too. See tables.go for both.

// sqlName is the name of the stream that a tenant's statements are in.
const sqlName = "$sql"

// sqlStream returns the id of the stream that a tenant's statements are in.
func sqlStream(t wire.TenantID) wire.StreamID { return systemStreams | 1<<62 | wire.StreamID(t) }

// query carries out one SQL statement.
func (m *Machine) query(r *Request, b *wire.Query, fx []Effect) []Effect {
	s, e := sql.Parse(b.SQL)
	if e != nil {
		return m.reply(r, e, 0, fx)
	}
	if s.Writes {
		return m.execute(r, b, &s, fx)
	}
	t, fx := m.tenantOf(r, fx)
	if t == nil {
		return fx
	}
	return m.ask(r, t, &s, b.Params, false, fx)
}

// queryAt carries out one SQL query as of a position.
func (m *Machine) queryAt(r *Request, b *wire.QueryAt, fx []Effect) []Effect {
	s, e := sql.Parse(b.SQL)
	switch {
	case e != nil:
		return m.reply(r, e, 0, fx)
	case s.Writes:
		return m.refuse(r, wire.QueryExecutionError, 0, fx, "the past cannot be changed: %s is for Query", s.Verb)
	case s.Past():
		return m.refuse(r, wire.QueryExecutionError, 0, fx, "the request has a position, and the statement an AS OF; leave one away")
	}
	s.Position = wire.Some(b.Position)
	t, fx := m.tenantOf(r, fx)
	if t == nil {
		return fx
	}
	return m.ask(r, t, &s, b.Params, true, fx)
}

// tenantOf returns the tenant of a request about its tables. Where there is none, or a hole in the log may hide some of its
// statements, the request is refused.
func (m *Machine) tenantOf(r *Request, fx []Effect) (*tenant, []Effect) {
	t := m.state.tenants[r.Msg.Tenant]
	switch {
	case t == nil:
		return nil, m.noTenant(r, fx)
	case t.health != sound:
		return nil, m.readOnly(r, t, fx)
	}
	return t, fx
}

// execute decides a statement that writes. In dev mode one that makes a table or view makes a missing tenant too.
func (m *Machine) execute(r *Request, b *wire.Query, s *sql.Statement, fx []Effect) []Effect {
	id := r.Msg.Tenant
	t := m.state.tenants[id]
	if t == nil && (!m.cfg.Dev || s.Makes == "" || id == serverTenant || id > maxTenant) {
		return m.noTenant(r, fx)
	}
	if s.Makes != "" {
		if why := badName(s.Makes); why != "" {
			return m.refuse(r, wire.InvalidRequest, 0, fx, "table name: %s", why)
		}
	}
	e := &sql.Entry{Position: 1, SQL: s.Text, Params: b.Params, Makes: s.Makes, Key: b.IdempotencyKey, Limits: m.sqlLimits(r, m.pages(s))}
	if t != nil {
		if t.health != sound {
			return m.readOnly(r, t, fx)
		}
		if fx, done := m.executedBefore(r, t, e, fx); done {
			return fx
		}
		if x := m.named(t, s.Makes); s.Makes != "" && x != nil {
			return m.reply(r, taken(x), x.lsn, fx)
		}
		e.Position = t.position + 1
	}
	if s.Chance {
		m.rng.Read(e.Seed[:])
	}
	return m.decideEntry(r, t, e, fx)
}

// decideEntry puts a statement into the log, behind the making of its tenant where that is missing.
func (m *Machine) decideEntry(r *Request, t *tenant, e *sql.Entry, fx []Effect) []Effect {
	event := e.Encode()
	if most := m.cfg.MaxBatchBytes; len(event) > most {
		return m.refuse(r, wire.QueryExecutionError, 0, fx, "the statement and its parameters take %d bytes; at most %d are allowed", len(event), most)
	}
	if e.Key.Set {
		if why := m.limit(); why != nil {
			return m.reply(r, why, 0, fx)
		}
	}
	room := seg.AppendOverhead(e.Key.Set) + wire.EventOverhead + len(event)
	first := newTenantAct(r, r.Msg.Tenant, firstUseName)
	if t == nil {
		room += m.actSize(first) + m.geo.Align
	}
	if why := m.noRoom(room, data); why != nil {
		return m.reply(r, why, m.state.lsn, fx)
	}
	if t == nil {
		m.cfg.hit(ProbeTenantByFirstUse)
		m.decideAct(first)
		t = m.state.tenants[r.Msg.Tenant]
	}
	offset := m.logEntry(t, e, event)
	m.stats.SQLWrites++
	l := m.tablesOf(t)
	l.writes = append(l.writes, &sqlWrite{req: r, offset: offset, position: t.position})
	return m.carryOn(l, fx)
}

// logEntry puts a statement into the log and applies it to the state, which knows of its tables' names alone.
func (m *Machine) logEntry(t *tenant, e *sql.Entry, event []byte) wire.Offset {
	rec := seg.Record{Kind: seg.KindAppend, Tenant: t.id, Stream: sqlStream(t.id), Position: t.position + 1, Count: 1}
	if t.sql != nil {
		rec.First = t.sql.head
	}
	body := make([]byte, seg.SaltSize, seg.SaltSize+16+wire.EventOverhead+len(event))
	m.rng.Read(body)
	if e.Key.Set {
		rec.Flags |= seg.FlagKey
		body = append(body, e.Key.Value[:]...)
	}
	if len(e.Names()) > 0 {
		rec.Flags |= seg.FlagMakes
	}
	if e.Trim.Set {
		rec.Flags |= seg.FlagForgets
	}
	m.decide(&rec, wire.AppendEvent(body, rec.First, event, m.clock.now))
	l := m.tablesOf(t)
	l.pending = append(l.pending, pending{rec.First, rec.Position})
	return rec.First
}

// executedBefore answers a statement whose key the tenant remembers: as soon as its outcome is known.
func (m *Machine) executedBefore(r *Request, t *tenant, e *sql.Entry, fx []Effect) ([]Effect, bool) {
	if !e.Key.Set || t.sql == nil {
		return fx, false
	}
	k := t.sql.keys.find(e.Key.Value)
	if k == nil || m.state.limits.stale(k, m.clock.now) {
		return fx, false
	}
	if k.digest != e.Content() {
		m.cfg.hit(ProbeKeyReused)
		return m.refuse(r, wire.InvalidRequest, k.lsn, fx,
			"the idempotency key belongs to another statement, at position %d; use a new key for another one", k.position), true
	}
	m.cfg.hit(ProbeDuplicateStatement)
	m.stats.Duplicates++
	l := m.tablesOf(t)
	m.keep(l, &question{req: r, upto: k.first + 1, lsn: t.lsn, tables: l, remembered: wire.Some(k.position)})
	return m.carryOn(l, fx), true
}

// ask has a query answered once everything that was decided before it is carried out.
func (m *Machine) ask(r *Request, t *tenant, s *sql.Statement, params []wire.Value, at bool, fx []Effect) []Effect {
	if e := m.ahead(t, s); e != nil {
		return m.reply(r, e, t.lsn, fx)
	}
	streaming, window, timeout := flow(r.Msg.Body)
	if v := max(r.Msg.Features.Version, 1); streaming && v < 3 {
		return m.refuse(r, wire.UnsupportedVersion, 0, fx, "streamed results need protocol version 3; this connection has agreed on %d", v)
	}
	if e := m.crowded(); e != nil {
		return m.reply(r, e, m.state.lsn, fx)
	}
	m.stats.Queries++
	q := &question{req: r, at: at, ask: m.questionOf(r, s, params), limit: wire.Span(timeout) * millisecond}
	if streaming {
		m.stream(q, window)
	}
	return m.enquire(m.tablesOf(t), q, fx)
}

// ahead refuses a query as of a position that there is not yet, or as of a checkpoint that there is not.
func (m *Machine) ahead(t *tenant, s *sql.Statement) *wire.Error {
	if e := t.settle(s); e != nil {
		return e
	}
	if !s.Position.Set || s.Position.Value <= t.position {
		return nil
	}
	m.cfg.hit(ProbePositionAhead)
	return wire.Errorf(wire.PositionAhead, "position %d is ahead of the tenant's log, which ends at %d", s.Position.Value, t.position)
}

// crowded refuses a query where too many wait.
func (m *Machine) crowded() *wire.Error {
	if m.asked < m.cfg.MaxQuestions {
		return nil
	}
	return wire.Errorf(wire.RateLimited, "%d queries wait or are under way; try again when some of them are done", m.asked)
}

// questionOf returns what a query of a request asks the tables.
func (m *Machine) questionOf(r *Request, s *sql.Statement, params []wire.Value) *sql.Question {
	q := &sql.Question{
		SQL: s.Text, Params: slices.Clone(params), At: s.Position, Time: s.Time, Now: m.clock.now,
		Steps: m.cfg.SQLSteps, Bytes: uint64(r.room()), Stop: &sql.Stop{},
	}
	if s.Chance {
		m.rng.Read(q.Seed[:])
	}
	return q
}

// enquire has a question answered once everything that was decided before it is carried out.
func (m *Machine) enquire(l *tables, q *question, fx []Effect) []Effect {
	q.upto, q.position, q.lsn = l.head(), l.tenant.position, l.tenant.lsn
	if q.tables, q.began = l, m.clock.mono; q.limit == 0 || q.limit > m.cfg.QueryTime {
		q.limit = m.cfg.QueryTime
	}
	m.asked++
	m.keep(l, q)
	return m.carryOn(l, fx)
}

// maxResult leaves room in a frame for what surrounds a result.
const maxResult = wire.MaxPayload - 4096

func (m *Machine) sqlLimits(r *Request, pages uint64) sql.Limits {
	return sql.Limits{Steps: m.cfg.SQLSteps, Pages: pages, Bytes: uint64(r.room())}
}
