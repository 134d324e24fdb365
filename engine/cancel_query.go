package engine

import (
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// is reports whether a question is the one that a request on its connection names.
func (q *question) is(r *Request, id uint64) bool {
	return q.req.Conn == r.Conn && q.req.Msg.ID == id && q.req.Msg.Tenant == r.Msg.Tenant
}

// cancelQuery ends a query of the connection, wherever it stands.
func (m *Machine) cancelQuery(r *Request, b *wire.CancelQuery, fx []Effect) []Effect {
	list := m.asking(func(q *question) bool { return q.is(r, b.Query) })
	for _, q := range list {
		m.cfg.hit(ProbeQueryCancelled)
		m.stats.Cancelled++
		fx = m.endQuestion(q, wire.Errorf(wire.Cancelled, "the query was cancelled"), fx)
	}
	return m.reply(r, &wire.CancelQueryReply{Cancelled: len(list) > 0}, 0, fx)
}

// asking returns the questions under way that are not about to end, of those that match: first those that wait.
func (m *Machine) asking(match func(*question) bool) (list []*question) {
	if m.asked == 0 {
		return nil
	}
	for _, l := range m.waiting {
		for _, q := range l.questions {
			if q.ask != nil && match(q) {
				list = append(list, q)
			}
		}
	}
	for _, q := range m.questions { //det:order-free: those at work are only told to stop
		if q.ask != nil && q.ended == nil && match(q) {
			list = append(list, q)
		}
	}
	return list
}

// endQuestion answers a question with an error: at once where it waits, else as soon as its job has stopped.
func (m *Machine) endQuestion(q *question, why *wire.Error, fx []Effect) []Effect {
	if q.working {
		q.ended = why
		q.ask.Stop.Stop()
		return fx
	}
	q.tables.questions = withoutQuestion(q.tables.questions, q)
	return m.closeQuestion(q, why, fx)
}

func withoutQuestion(list []*question, q *question) []*question {
	kept := list[:0]
	for _, o := range list {
		if o != q {
			kept = append(kept, o)
		}
	}
	clear(list[len(kept):])
	return kept
}

// abandon ends the queries of a connection that is gone.
func (m *Machine) abandon(conn ConnID, fx []Effect) []Effect {
	for _, q := range m.asking(func(q *question) bool { return q.req.Conn == conn }) {
		m.cfg.hit(ProbeQueryAbandoned)
		fx = m.endQuestion(q, wire.Errorf(wire.Cancelled, "the connection is gone"), fx)
	}
	return fx
}

// dismissQueries ends the streamed queries of a connection that is about to be closed: they would wait for acknowledgements
// that do not come any more.
func (m *Machine) dismissQueries(conn ConnID, fx []Effect) []Effect {
	for _, q := range m.asking(func(q *question) bool { return q.req.Conn == conn && q.stream != nil }) {
		fx = m.endQuestion(q, wire.Errorf(wire.ShuttingDown, "the server is being stopped; connect again and ask once more"), fx)
	}
	return fx
}

// overtime ends the queries that have taken longer than they may.
func (m *Machine) overtime(fx []Effect) []Effect {
	for _, q := range m.asking(func(q *question) bool { return m.late(q) != nil }) {
		why := m.late(q)
		if why == nil {
			continue // the end of another one has made room for it
		}
		if why.Code == wire.Timeout {
			m.cfg.hit(ProbeQueryTimedOut)
			m.stats.TimedOut++
		} else {
			m.cfg.hit(ProbeCursorRefused)
		}
		fx = m.endQuestion(q, why, fx)
	}
	return fx
}

// late says which limit of time a question has passed, if any.
func (m *Machine) late(q *question) *wire.Error {
	if took := wire.Span(m.clock.mono - q.began); took > q.limit {
		whose := "the server's"
		if q.limit < m.cfg.QueryTime {
			whose = "its own"
		}
		return wire.Errorf(wire.Timeout, "the query takes longer than %d ms, %s limit", q.limit/millisecond, whose)
	}
	s := q.stream
	switch {
	case s == nil || q.working || m.may(q):
		return nil
	case s.next == 0 && m.cursors >= m.cfg.MaxCursors && wire.Span(m.clock.mono-q.began) > m.cfg.CursorWait:
		return wire.Errorf(wire.RateLimited, "%d streamed queries are open; try again when some of them are done", m.cursors)
	case s.next == 0 || wire.Span(m.clock.mono-s.moved) <= m.cfg.AckPatience:
		return nil
	}
	return wire.Errorf(wire.Timeout, "the query waits for longer than %d ms for its connection, or for an acknowledgement: of %d chunks, %d are acknowledged",
		m.cfg.AckPatience/millisecond, s.next, s.acked)
}

const millisecond = Second / 1000
