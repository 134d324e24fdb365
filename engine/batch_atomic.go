package engine

import (
	"slices"

	"github.com/kimberlitedb/kimberlite-go/engine/seg"
	"github.com/kimberlitedb/kimberlite-go/engine/sql"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// batchAtomic carries out statements all together, or none of them. Where one of them writes they are one entry of the log,
// whose outcome has a result for each. Otherwise they are one question: all see the same tables.
func (m *Machine) batchAtomic(r *Request, b *wire.BatchQuery, fx []Effect) []Effect {
	statements := make([]sql.Statement, len(b.Queries))
	writes := false
	for i := range b.Queries {
		s, e := sql.Parse(b.Queries[i].SQL)
		if e != nil {
			return m.failBatch(r, b, i, e, 0, fx)
		}
		statements[i], writes = s, writes || s.Writes
	}
	if !writes {
		t, fx := m.tenantOf(r, fx)
		if t == nil {
			return fx
		}
		return m.askTogether(r, t, b, statements, fx)
	}
	for i := range statements {
		if e := unfit(&statements[i]); e != nil {
			return m.failBatch(r, b, i, e, 0, fx)
		}
	}
	return m.executeTogether(r, b, statements, fx)
}

// unfit says why a statement cannot be one of several in an entry, as far as its text shows it.
func unfit(s *sql.Statement) *wire.Error {
	if s.Past() {
		return wire.Errorf(wire.QueryExecutionError, "AS OF is not for an atomic batch that writes: its statements see what those before them have done")
	}
	if s.Makes != "" {
		if why := badName(s.Makes); why != "" {
			return wire.Errorf(wire.InvalidRequest, "table name: %s", why)
		}
	}
	return nil
}

// executeTogether decides statements of which one writes, as one entry.
func (m *Machine) executeTogether(r *Request, b *wire.BatchQuery, statements []sql.Statement, fx []Effect) []Effect {
	e := &sql.Entry{Position: 1, Key: b.IdempotencyKey, Limits: m.sqlLimits(r, m.cfg.SQLPages)}
	for i := range statements {
		e.Batch = append(e.Batch, sql.Batched{SQL: statements[i].Text, Params: b.Queries[i].Params, Makes: statements[i].Makes})
	}
	id := r.Msg.Tenant
	t := m.state.tenants[id]
	if t == nil && (len(e.Names()) == 0 || id == serverTenant || id > maxTenant) { // others are made in dev mode
		return m.noTenant(r, fx)
	}
	if t != nil {
		if fx, done := m.executedBefore(r, t, e, fx); done {
			return fx
		}
		for i := range statements {
			if x := m.named(t, statements[i].Makes); statements[i].Makes != "" && x != nil {
				return m.failBatch(r, b, i, taken(x), x.lsn, fx)
			}
		}
		e.Position = t.position + 1
	}
	if slices.ContainsFunc(statements, func(s sql.Statement) bool { return s.Chance }) {
		m.rng.Read(e.Seed[:])
	}
	return m.decideEntry(r, t, e, fx)
}

// taken says that a stream has the name of a table that is to be made.
func taken(x *stream) *wire.Error {
	return wire.Errorf(wire.TableAlreadyExists, "stream %q exists with id %d; streams and tables share their names", x.name, x.id)
}

// askTogether has queries answered that all see the same tables.
func (m *Machine) askTogether(r *Request, t *tenant, b *wire.BatchQuery, statements []sql.Statement, fx []Effect) []Effect {
	var list []*sql.Question
	stop := &sql.Stop{}
	for i := range statements {
		if e := m.ahead(t, &statements[i]); e != nil {
			return m.failBatch(r, b, i, e, t.lsn, fx)
		}
		q := m.questionOf(r, &statements[i], b.Queries[i].Params)
		q.Stop = stop
		list = append(list, q)
	}
	if e := m.crowded(); e != nil {
		return m.reply(r, e, m.state.lsn, fx)
	}
	m.stats.Queries += uint64(len(list))
	return m.enquire(m.tablesOf(t), &question{req: r, ask: list[0], together: list}, fx)
}

// answerTogether hands the answers of queries out that were asked together.
func (m *Machine) answerTogether(q *question, r queryResult, fx []Effect) []Effect {
	b := &wire.BatchQueryReply{Position: q.position}
	if r.refusal != nil {
		return m.failBatch(q.req, q.req.Msg.Body.(*wire.BatchQuery), len(r.results), r.refusal, q.lsn, fx)
	}
	for i, x := range r.results {
		b.Results = append(b.Results, wire.BatchedResult{Columns: x.Columns, Rows: x.Rows})
		if b.Size += x.Size; !q.together[i].At.Set && !q.together[i].Time.Set {
			b.Position = max(b.Position, x.Position)
		}
	}
	return m.reply(q.req, b, q.lsn, fx)
}

// failBatch answers an atomic batch of which a statement has failed before anything was done.
func (m *Machine) failBatch(r *Request, b *wire.BatchQuery, failed int, why *wire.Error, after seg.LSN, fx []Effect) []Effect {
	m.cfg.hit(ProbeBatchFailed)
	reply := &wire.BatchQueryReply{Size: leastResult * len(b.Queries)}
	for i := range b.Queries {
		reply.Results = append(reply.Results, wire.BatchedResult{Err: briefly(sql.Undone(i, failed, why))})
	}
	return m.reply(r, reply, after, fx)
}

// replyParts tells what has become of an atomic batch that writes.
func (m *Machine) replyParts(r *Request, at wire.Position, parts []*sql.Outcome, after seg.LSN, fx []Effect) []Effect {
	reply := &wire.BatchQueryReply{Position: at}
	for _, o := range parts {
		result := wire.BatchedResult{}
		switch {
		case o.Err != nil:
			result.Err = briefly(m.missingStream(r, o.Err))
			reply.Size += leastResult
		case o.Returns:
			result.Columns, result.Rows = o.Columns, o.Rows
		default:
			result.Columns, result.Rows = rowsAffected(o, at)
		}
		reply.Size += o.Size + sql.ColumnsSize(result.Columns)
		reply.Results = append(reply.Results, result)
	}
	if parts[0].Err != nil {
		m.cfg.hit(ProbeBatchRolledBack)
	}
	return m.reply(r, reply, after, fx)
}
