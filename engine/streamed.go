package engine

import (
	"slices"

	"github.com/kimberlitedb/kimberlite-go/engine/seg"
	"github.com/kimberlitedb/kimberlite-go/engine/sql"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// A streamed query sends its rows as chunks, and then its reply. A job takes one chunk at a time from a cursor, which has one
// snapshot from the first to the last; in between nobody is at work, and the question waits among its tenant's others until
// its window and its connection have room. So a client that reads slowly costs a cursor, and holds up nobody.
//
// A question that is streamed shares the bound on what is pushed to its connection with the subscriptions there.

// streamed is what there is of a question beyond that, where it is streamed.
type streamed struct {
	to     *subscriber
	window uint32
	next   uint32      // sequence of the chunk that comes next
	acked  uint32      // those before are acknowledged; acked <= next <= acked + window
	piece  int         // bytes that the next chunk takes
	cursor *sql.Cursor // while no job has it; nil before the first chunk
	open   bool        // it counts as an open cursor
	moved  wire.Time   // monotonic; when a chunk was sent or acknowledged
}

const (
	// chunkWindow is how many chunks may be unacknowledged where the client does not say.
	chunkWindow = 4
	// maxChunkWindow is how many may be at most.
	maxChunkWindow = 64
	// firstChunk is by how much the first chunk is smaller than the greatest, and chunkGrowth by how much each next one
	// grows: the first row comes soon, and many rows take few chunks.
	firstChunk  = 16
	chunkGrowth = 4
)

// flow is how a query wants to be answered.
func flow(b wire.RequestBody) (streaming bool, window, timeout uint32) {
	switch b := b.(type) {
	case *wire.Query:
		return b.Streaming, b.ChunkWindow, b.TimeoutMS
	case *wire.QueryAt:
		return b.Streaming, b.ChunkWindow, b.TimeoutMS
	}
	return false, 0, 0
}

// stream has a question answered in chunks.
func (m *Machine) stream(q *question, window uint32) {
	if window == 0 {
		window = chunkWindow
	}
	if m.subscribers == nil {
		m.subscribers = map[ConnID]*subscriber{}
	}
	to := m.subscribers[q.req.Conn]
	if to == nil {
		to = &subscriber{conn: q.req.Conn}
		m.subscribers[q.req.Conn] = to
	}
	to.queries = append(to.queries, q)
	q.stream = &streamed{to: to, window: min(window, maxChunkWindow), piece: max(1, m.cfg.ChunkBytes/firstChunk)}
}

// may reports whether a question has room for the next part of its answer.
func (m *Machine) may(q *question) bool {
	s := q.stream
	return s == nil || s.next-s.acked < s.window && (s.next > 0 || m.cursors < m.cfg.MaxCursors) && m.room(s.to)
}

// chunkJob takes the next chunk of a question.
type chunkJob struct {
	db     *sql.Projection
	scope  *scope
	ask    *sql.Question
	cursor *sql.Cursor // nil for the first chunk
	most   int
}

type chunkResult struct {
	cursor  *sql.Cursor // nil where there is nothing more to come
	chunk   wire.QueryChunk
	columns []string
	seen    wire.Position
	refusal *wire.Error
}

// Run implements Job.
func (j chunkJob) Run(fs seg.Files) any {
	j.scope.use(fs)
	defer j.scope.rest()
	cur := j.cursor
	if cur == nil {
		var e *wire.Error
		if cur, e = j.db.Ask(j.ask); e != nil {
			return chunkResult{refusal: e}
		}
	}
	r := chunkResult{columns: cur.Columns(), seen: cur.Position}
	var more bool
	r.chunk.Rows, r.chunk.Size, more, r.refusal = cur.Next(j.most, maxResult)
	if !more || r.refusal != nil {
		cur.Close()
		return r
	}
	r.cursor = cur
	return r
}

// takeChunk returns the job that takes a question's next chunk.
func (m *Machine) takeChunk(q *question) Job {
	s := q.stream
	j := chunkJob{db: q.tables.db, scope: q.scope, ask: q.ask, cursor: s.cursor, most: s.piece}
	s.cursor = nil
	s.to.reading += s.piece
	if s.next > 0 {
		q.scope.settle(m.log.durable)
	}
	return j
}

// chunked sends a chunk, once everything that it may reveal is durable.
func (m *Machine) chunked(id JobID, r chunkResult, fx []Effect) []Effect {
	q := m.questions[id]
	delete(m.questions, id)
	q.working = false
	s := q.stream
	s.cursor = r.cursor
	s.to.reading -= s.piece
	switch {
	case q.ended != nil:
		fx = m.closeQuestion(q, q.ended, fx)
	case r.refusal != nil:
		if s.next == 0 {
			q.lsn = max(q.lsn, q.tables.tenant.lsn) // it may tell of what was decided meanwhile
		}
		fx = m.closeQuestion(q, r.refusal, fx)
	default:
		fx = m.pushChunk(q, r, fx)
	}
	return m.endBatch(m.askOn(m.uncrowd(s.to, fx)))
}

// pushChunk sends a chunk, and behind the last one the reply.
func (m *Machine) pushChunk(q *question, r chunkResult, fx []Effect) []Effect {
	s, chunk := q.stream, &r.chunk
	chunk.Query, chunk.Sequence = q.req.Msg.ID, s.next
	if s.next == 0 {
		q.saw(r.seen)
		chunk.Columns, chunk.Position = r.columns, q.seen
	}
	push := &Push{Conn: q.req.Conn, Msg: wire.Push{Codec: q.req.Msg.Codec, Body: chunk}}
	m.burden(s.to, Weight(&push.Msg))
	fx = m.after(q.lsn, push, fx)
	m.stats.Chunks++
	m.stats.ChunkBytes += uint64(chunk.Size)
	s.next++
	s.moved = m.clock.mono
	if s.cursor == nil {
		return m.closeQuestion(q, &wire.QueryReply{At: q.at, Columns: r.columns, Position: q.seen, Trimmed: q.trimmed()}, fx)
	}
	m.cfg.hit(ProbeChunked)
	if !s.open {
		s.open = true
		m.cursors++
	}
	s.piece = min(chunkGrowth*s.piece, max(1, m.cfg.ChunkBytes))
	if s.next-s.acked == s.window {
		m.cfg.hit(ProbeWindowFull)
	}
	m.keep(q.tables, q) // behind those that wait
	return fx
}

// saw notes which position the answer to a question shows. Where that was decided after the question was asked, the answer
// waits for it.
func (q *question) saw(seen wire.Position) {
	q.seen = seen
	if seen > q.position {
		q.lsn = max(q.lsn, q.tables.tenant.lsn)
	}
	if !q.ask.At.Set && !q.ask.Time.Set {
		q.seen = max(seen, q.position)
	}
}

// closeQuestion answers a question that no job is at, and is not among those that wait. Nothing is left of it.
func (m *Machine) closeQuestion(q *question, b wire.ResponseBody, fx []Effect) []Effect {
	return m.leaveQuestion(q, m.reply(q.req, b, q.lsn, fx))
}

// leaveQuestion lets go of a question that is answered.
func (m *Machine) leaveQuestion(q *question, fx []Effect) []Effect {
	m.asked--
	fx = m.letGo(q, fx)
	s := q.stream
	if s == nil {
		return fx
	}
	if s.open {
		m.cursors--
	}
	s.to.queries = slices.DeleteFunc(s.to.queries, func(o *question) bool { return o == q })
	m.vacate(s.to)
	if s.cursor == nil {
		return fx
	}
	m.closing++
	_, fx = m.start("close-query", closeJob{s.cursor}, fx)
	s.cursor = nil
	return fx
}

// vacate forgets a connection to which nothing is pushed any more.
func (m *Machine) vacate(to *subscriber) {
	if len(to.list) == 0 && len(to.queries) == 0 {
		delete(m.subscribers, to.conn)
	}
}

// closeJob gives back what a cursor has.
type closeJob struct{ cursor *sql.Cursor }

type closeResult struct{}

// Run implements Job.
func (j closeJob) Run(seg.Files) any {
	j.cursor.Close()
	return closeResult{}
}

// askOn goes on with the questions that wait: it was perhaps another tenant's turn.
func (m *Machine) askOn(fx []Effect) []Effect {
	list := m.waiting
	m.waiting = nil
	for _, l := range list {
		l.waits = false
	}
	for _, l := range list {
		if len(l.questions) > 0 {
			fx = m.carryOn(l, fx)
		}
		m.enlist(l)
	}
	return fx
}

// chunkAck makes room in the window of a streamed query. That it has ended meanwhile is no mistake of the client's.
func (m *Machine) chunkAck(r *Request, b *wire.ChunkAck, fx []Effect) []Effect {
	if v := max(r.Msg.Features.Version, 1); v < 3 {
		return m.refuse(r, wire.UnsupportedVersion, 0, fx, "streamed results need protocol version 3; this connection has agreed on %d", v)
	}
	var q *question
	if to := m.subscribers[r.Conn]; to != nil {
		if i := slices.IndexFunc(to.queries, func(q *question) bool { return q.is(r, b.Query) }); i >= 0 {
			q = to.queries[i]
		}
	}
	if q == nil {
		return m.reply(r, &wire.ChunkAckReply{}, 0, fx)
	}
	s := q.stream
	if b.Sequence >= s.next {
		return m.refuse(r, wire.InvalidRequest, 0, fx, "chunk %d of query %d is acknowledged, and %d were sent", b.Sequence, b.Query, s.next)
	}
	before := s.acked
	if b.Sequence >= before {
		s.acked, s.moved = b.Sequence+1, m.clock.mono
	}
	fx = m.reply(r, &wire.ChunkAckReply{Unacknowledged: s.next - s.acked}, 0, fx)
	if s.acked == before {
		return fx
	}
	return m.carryOn(q.tables, fx)
}
