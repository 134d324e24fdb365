package engine

import (
	"crypto/sha256"
	"encoding/binary"
	"strings"

	"github.com/kimberlitedb/kimberlite-go/engine/seg"
	"github.com/kimberlitedb/kimberlite-go/engine/sql"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// A batch of statements is carried out in one of two ways. An atomic one is one entry of the log, or, where all of its
// statements read, one question; see batch_atomic.go. Any other is a series: each statement is decided by itself, as if it
// had come alone, once what has become of the one before it is known. Nobody waits for the disk in between: the reply alone
// waits, for all that it reveals, and what the statements have decided is written together, unless somebody waits for it before.
// Until a series has ended nothing else of its connection is decided.

// series is a batch under way whose statements are decided one by one.
type series struct {
	req      *Request
	ask      *wire.BatchQuery
	results  []wire.BatchedResult // of the statements that have one
	size     int                  // of the results
	position wire.Position        // behind what they have written and seen
	after    seg.LSN              // what they reveal
}

// batchQuery carries out a batch of statements.
func (m *Machine) batchQuery(r *Request, b *wire.BatchQuery, fx []Effect) []Effect {
	switch n := len(b.Queries); {
	case n == 0:
		return m.refuse(r, wire.InvalidRequest, 0, fx, "the batch is empty; give at least one statement")
	case n > wire.MaxBatchQueries:
		return m.refuse(r, wire.InvalidRequest, 0, fx, "the batch has %d statements; at most %d are allowed", n, wire.MaxBatchQueries)
	}
	t := m.state.tenants[r.Msg.Tenant]
	switch {
	case t == nil && !m.cfg.Dev:
		return m.noTenant(r, fx)
	case t != nil && t.health != sound:
		return m.readOnly(r, t, fx)
	}
	m.stats.SQLBatches++
	if b.Atomic {
		return m.batchAtomic(r, b, fx)
	}
	x := &series{req: r, ask: b}
	if m.series == nil {
		m.series = map[ConnID]*series{}
	}
	m.series[r.Conn] = x
	m.turns = append(m.turns, x)
	return fx
}

// Busy reports whether a series of a connection is under way. The driver must give no request of it to the machine then.
func (m *Machine) Busy(conn ConnID) bool { return m.series[conn] != nil }

// Released returns the connections whose series have ended since it was last called.
func (m *Machine) Released() []ConnID {
	list := m.released
	m.released = nil
	return list
}

// takeTurns decides the next statements of series, as long as there is room for them.
func (m *Machine) takeTurns(fx []Effect) []Effect {
	for len(m.turns) > 0 && !m.Full() {
		x := m.turns[0]
		m.turns = m.turns[1:]
		if m.series[x.req.Conn] == x {
			fx = m.turn(x, fx)
		}
	}
	return fx
}

// endTurn writes what was decided. While series go on it is gathered, unless somebody waits for it: a series has its statements
// written together.
func (m *Machine) endTurn(fx []Effect) []Effect {
	if stalled := m.Full(); len(m.series) > 0 && !stalled && !m.log.wanted() {
		return fx
	}
	return m.endBatch(fx)
}

// turn decides the next statement of a series, or ends it.
func (m *Machine) turn(x *series, fx []Effect) []Effect {
	i := len(x.results)
	failed := i > 0 && x.results[i-1].Err != nil
	if i == len(x.ask.Queries) || failed && x.ask.StopOnError {
		return m.endSeries(x, fx)
	}
	q := &x.ask.Queries[i]
	body := &wire.Query{SQL: q.SQL, Params: q.Params, IdempotencyKey: x.key(i)}
	msg := *x.req.Msg
	msg.Body = body
	return m.query(&Request{Conn: x.req.Conn, Seq: x.req.Seq, From: x.req.From, Msg: &msg, series: x}, body, fx)
}

// key returns the key of a statement, where the batch has one.
func (x *series) key(i int) wire.Option[wire.Key] {
	if !x.ask.IdempotencyKey.Set {
		return wire.Option[wire.Key]{}
	}
	h := sha256.New()
	h.Write(x.ask.IdempotencyKey.Value[:])
	h.Write(binary.LittleEndian.AppendUint32(nil, uint32(i)))
	return wire.Some(wire.Key(h.Sum(nil)))
}

// conclude takes the answer to the statement of a series that is under way.
func (m *Machine) conclude(x *series, b wire.ResponseBody, after seg.LSN) {
	result := wire.BatchedResult{}
	x.after = max(x.after, after)
	room := x.room() + leastResult
	switch b := b.(type) {
	case *wire.QueryReply:
		result.Columns, result.Rows = b.Columns, b.Rows
		x.position = max(x.position, b.Position)
		if size := b.Size + sql.ColumnsSize(b.Columns); size <= room {
			x.size += size
			break
		}
		result = wire.BatchedResult{Err: wire.Errorf(wire.ResultTooLarge,
			"the statement was carried out, and the names of its columns have no room in the reply; send fewer statements at a time")}
		x.size += leastResult
	case *wire.Error:
		result.Err = briefly(b)
		x.size += leastResult
	}
	x.results = append(x.results, result)
	m.turns = append(m.turns, x)
}

// leastResult is how many bytes of the reply are kept for each statement: for a refusal, or for what has no rows.
const leastResult = 1200

// briefly returns an error as it stands in a batch: with a code, and a message that has room there.
func briefly(e *wire.Error) *wire.Error {
	const most = leastResult - 100
	message := e.Message
	if len(message) > most {
		message = strings.ToValidUTF8(message[:most], "") + "…"
	}
	return &wire.Error{Code: e.Code, Message: message}
}

// room returns how many bytes the rows of the next statement may take.
func (x *series) room() int {
	return maxResult - x.size - leastResult*(len(x.ask.Queries)-len(x.results))
}

// room returns how many bytes the rows that answer a request may take.
func (r *Request) room() int {
	if r.series != nil {
		return r.series.room()
	}
	return maxResult
}

// endSeries answers a batch.
func (m *Machine) endSeries(x *series, fx []Effect) []Effect {
	m.leaveSeries(x.req.Conn)
	n := len(x.results)
	if n < len(x.ask.Queries) {
		m.cfg.hit(ProbeBatchStopped)
	}
	for i := n; i < len(x.ask.Queries); i++ {
		x.results = append(x.results, wire.BatchedResult{Err: sql.Undone(i, n-1, nil)})
		x.size += leastResult
	}
	return m.reply(x.req, &wire.BatchQueryReply{Size: x.size, Results: x.results, Position: x.position}, x.after, fx)
}

// leaveSeries ends what a connection has under way, behind the statement that is decided.
func (m *Machine) leaveSeries(conn ConnID) {
	delete(m.series, conn)
	m.released = append(m.released, conn)
}
