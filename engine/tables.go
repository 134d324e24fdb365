package engine

import (
	"crypto/sha256"
	"fmt"
	"slices"

	"github.com/kimberlitedb/kimberlite-go/engine/seg"
	"github.com/kimberlitedb/kimberlite-go/engine/sql"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// tables is the running side of a tenant's SQL: the projection of its statements, and who waits for it. It is made when it
// is first needed, out of the tenant's stream $sql, and stays until the server ends.
//
// Statements are carried out by one job at a time, in the order of the log, as soon as they are decided; nobody is told of
// what is not durable. Queries run beside that and beside each other, each on a snapshot.
type tables struct {
	tenant *tenant
	db     *sql.Projection // while a job carries out statements, that job's; queries may use it all the time
	next   wire.Offset     // of $sql: the first statement that is not carried out
	chain  [sha256.Size]byte
	names  []string    // of tables and views, as they are at next
	busy   bool        // statements are read, or carried out
	broken *wire.Error // why there is nothing to be had from it any more
	began  wire.Time   // monotonic: when it was made, while statements from before then are not carried out

	loading  bool      // a snapshot is taken up
	since    uint64    // bytes of statements, about, since the last snapshot
	size     uint64    // of that, in bytes
	unusable []uint64  // snapshots
	retry    wire.Time // monotonic: no read before then, since one has failed; 0 at any time
	unread   patience

	pending   []pending   // statements that were decided since it was made and are not carried out for certain; ascending
	writes    []*sqlWrite // that are not carried out, ascending offsets
	questions []*question // that wait until a statement is carried out, or for room
	waits     bool        // it is among those whose questions wait
	req       *Request    // its reads are made as this one
}

// sqlWrite is a statement whose outcome a client waits for.
type sqlWrite struct {
	req      *Request
	offset   wire.Offset
	position wire.Position
}

// question is a query under way, or the question what had become of a statement.
type question struct {
	req        *Request
	at         bool // it is a QueryAt
	upto       wire.Offset
	position   wire.Position // the tenant's when it was asked
	ask        *sql.Question
	together   []*sql.Question            // those of a batch, ask the first of them; nil of a query by itself
	remembered wire.Option[wire.Position] // instead: the outcome of this one
	lsn        seg.LSN                    // what its answer may reveal
	seen       wire.Position              // that its answer shows
	tables     *tables
	stream     *streamed   // nil where it is answered whole
	working    bool        // a job is at it
	ended      *wire.Error // that is its answer, once the job has stopped
	began      wire.Time   // monotonic
	limit      wire.Span   // it may take

	looked   bool                     // for the streams that it may name
	scope    *scope                   // those streams; nil without any
	since    wire.Time                // as retention sees the engine clock, when they were first looked at
	cut      map[wire.StreamID]cutOff // those whose expired events were cut off since
	trimming bool                     // it waits for that
	pin      JobID                    // its first job
}

// tableCheck is what the log says of the tables at a point: what must come of the statements up to there.
type tableCheck struct {
	upto  wire.Offset
	chain [sha256.Size]byte // of the digests of all outcomes
}

// claim is a name that a statement may give to a table, while it is not known whether it did.
type claim struct {
	offset wire.Offset
	name   string
}

// head returns the offset behind the last statement that was decided.
func (l *tables) head() wire.Offset {
	if l.tenant.sql == nil {
		return 0
	}
	return l.tenant.sql.head
}

// tablesOf returns a tenant's running side, which it makes where there is none.
func (m *Machine) tablesOf(t *tenant) *tables {
	l := m.tables[t.id]
	if l == nil {
		ask := &wire.Request{Tenant: t.id, Features: wire.Features{RichEvents: true}, Body: &wire.ReadEvents{Stream: sqlStream(t.id)}}
		l = &tables{tenant: t, req: &Request{Msg: ask}}
		if m.tables == nil {
			m.tables = map[wire.TenantID]*tables{}
		}
		m.tables[t.id] = l
	}
	return l
}

// keep has a question wait, behind the others of its tenant.
func (m *Machine) keep(l *tables, q *question) {
	l.questions = append(l.questions, q)
	m.enlist(l)
}

// enlist puts tables among those whose questions wait, if any do.
func (m *Machine) enlist(l *tables) {
	if len(l.questions) > 0 && !l.waits {
		l.waits = true
		m.waiting = append(m.waiting, l)
	}
}

// carryOn starts what can be started: queries whose time has come, and the next statements.
func (m *Machine) carryOn(l *tables, fx []Effect) []Effect {
	if l.broken != nil {
		return m.giveUp(l, l.broken, fx)
	}
	if l.db == nil {
		db, err := sql.Open()
		if err != nil {
			return m.breakDown(l, wire.Errorf(wire.InternalError, "the tables cannot be opened: %v", err), fx)
		}
		l.db = db
		fx = m.loadTables(l, fx)
	}
	if l.loading {
		return fx
	}
	m.ready(l)
	waiting := l.questions
	l.questions = nil // answer may come back here
	for _, q := range waiting {
		if q.upto > l.next || q.trimming || len(m.questions) >= m.cfg.MaxQueries || !m.may(q) {
			m.keep(l, q)
			continue
		}
		fx = m.answer(l, q, fx)
	}
	if l.busy || l.next >= l.head() || l.retry != 0 {
		return fx
	}
	return m.fetchStatements(l, fx)
}

// answer has a job answer a question.
func (m *Machine) answer(l *tables, q *question, fx []Effect) []Effect {
	var ready bool
	if fx, ready = m.look(l, q, fx); !ready {
		return fx
	}
	var job Job
	if q.stream != nil {
		job = m.takeChunk(q)
	} else {
		job = queryJob{l.db, q.scope, q.ask, q.together, q.remembered}
	}
	q.working = true
	var id JobID
	id, fx = m.start("query", job, fx)
	m.pin(q, id)
	if m.questions == nil {
		m.questions = map[JobID]*question{}
	}
	m.questions[id] = q
	return fx
}

// queryJob answers a question.
type queryJob struct {
	db         *sql.Projection
	scope      *scope
	ask        *sql.Question
	together   []*sql.Question
	remembered wire.Option[wire.Position]
}

type queryResult struct {
	result  *sql.Result
	results []*sql.Result // of questions that were asked together
	outcome *sql.Outcome
	refusal *wire.Error
}

// Run implements Job.
func (j queryJob) Run(fs seg.Files) any {
	j.scope.use(fs)
	defer j.scope.rest()
	if j.remembered.Set {
		o, err := j.db.Remembered(j.remembered.Value)
		if err != nil {
			return queryResult{refusal: wire.Errorf(wire.InternalError, "%v", err)}
		}
		return queryResult{outcome: o}
	}
	if len(j.together) > 0 {
		list, e := j.db.QueryAll(j.together)
		return queryResult{results: list, refusal: e}
	}
	r, e := j.db.Query(j.ask)
	return queryResult{result: r, refusal: e}
}

// answered hands the answer of a question out, once everything that it may reveal is durable.
func (m *Machine) answered(id JobID, r queryResult, fx []Effect) []Effect {
	q := m.questions[id]
	delete(m.questions, id)
	q.working = false
	switch {
	case r.outcome != nil:
		fx = m.replyOutcome(q.req, q.remembered.Value, r.outcome, q.lsn, fx)
	case q.remembered.Set:
		fx = m.reply(q.req, r.refusal, q.lsn, fx)
	case q.ended != nil:
		fx = m.closeQuestion(q, q.ended, fx)
	case len(q.together) > 0:
		q.lsn = max(q.lsn, q.tables.tenant.lsn) // it may tell of what was decided meanwhile
		fx = m.leaveQuestion(q, m.answerTogether(q, r, fx))
	case r.refusal != nil:
		q.lsn = max(q.lsn, q.tables.tenant.lsn) // likewise
		fx = m.closeQuestion(q, r.refusal, fx)
	default:
		q.saw(r.result.Position)
		fx = m.closeQuestion(q, &wire.QueryReply{At: q.at, Columns: r.result.Columns, Rows: r.result.Rows, Size: r.result.Size, Position: q.seen, Trimmed: q.trimmed()}, fx)
	}
	return m.endTurn(m.askOn(fx))
}

// replyOutcome tells what has become of a statement that writes.
func (m *Machine) replyOutcome(r *Request, at wire.Position, o *sql.Outcome, after seg.LSN, fx []Effect) []Effect {
	if len(o.Parts) > 0 {
		return m.replyParts(r, at, o.Parts, after, fx)
	}
	if o.Err != nil {
		return m.reply(r, m.missingStream(r, o.Err), after, fx)
	}
	b := &wire.QueryReply{Columns: o.Columns, Rows: o.Rows, Size: o.Size, RowsAffected: o.Affected, Position: at}
	if !o.Returns {
		b.Columns, b.Rows = rowsAffected(o, at)
	}
	return m.reply(r, b, after, fx)
}

// rowsAffected is the result of a statement that has none of its own.
func rowsAffected(o *sql.Outcome, at wire.Position) (columns []string, rows [][]wire.Value) {
	return []string{"rows_affected", "log_offset"}, [][]wire.Value{{{Kind: wire.BigInt, Int: int64(o.Affected)}, {Kind: wire.BigInt, Int: int64(at)}}}
}

// statementsAtOnce is how many bytes of statements a job carries out.
const statementsAtOnce = 1 << 20

// fetchStatements reads the next statements, and has a job carry them out.
func (m *Machine) fetchStatements(l *tables, fx []Effect) []Effect {
	rd := m.reading(l.tenant.sql, l.next, statementsAtOnce)
	rd.req = l.req
	if c := l.tenant.checked; c.upto > l.next { // the outcome there is known
		rd.end = min(rd.end, c.upto)
	}
	l.busy = true
	rd.then = func(b wire.ResponseBody, fx []Effect) []Effect {
		l.busy = false
		switch b := b.(type) {
		case *wire.ReadEventsReply:
			if first, any := b.Events.First(); any && first == l.next {
				l.busy = true
				l.unread.worked()
				var id JobID
				id, fx = m.start("apply-sql", applyJob{l.db, b.Events}, fx)
				if m.applying == nil {
					m.applying = map[JobID]*tables{}
				}
				m.applying[id] = l
				return fx
			}
			return m.breakDown(l, wire.Errorf(wire.DataCorrupted, "statement %d of stream %s is not where it should be; run `kimberlite doctor` on the data directory", l.next, sqlName), fx)
		case *wire.Error:
			return m.unreadStatements(l, b, fx)
		}
		return fx
	}
	return m.readOn(rd, fx)
}

// unreadStatements takes up that statements could not be read. Where the disk does not give them for long, those who wait are
// told so; who asks later has it tried again.
func (m *Machine) unreadStatements(l *tables, e *wire.Error, fx []Effect) []Effect {
	if e.Code == wire.DataCorrupted {
		return m.breakDown(l, e, fx)
	}
	l.retry = m.clock.mono + wire.Time(readRetry)
	if pass, _ := l.unread.failed(e.Code); pass {
		return m.giveUp(l, e, fx)
	}
	return fx
}

// applyJob carries out statements.
type applyJob struct {
	db     *sql.Projection
	events wire.EventRange
}

type applyResult struct {
	outcomes []*sql.Outcome
	names    []string
	bytes    uint64 // of the entries
	err      error
}

// Run implements Job.
func (j applyJob) Run(seg.Files) any {
	var entries []*sql.Entry
	bytes := uint64(0)
	for e := range j.events.All {
		bytes += uint64(len(e.Data))
		entry, err := sql.Decode(e.Data, e.Timestamp)
		if err != nil {
			return applyResult{err: err}
		}
		entries = append(entries, entry)
	}
	outcomes, err := j.db.Apply(entries)
	return applyResult{outcomes, j.db.Names(), bytes, err}
}

// applied goes on behind statements that are carried out.
func (m *Machine) applied(id JobID, r applyResult, fx []Effect) []Effect {
	l := m.applying[id]
	delete(m.applying, id)
	l.busy = false
	if r.err != nil {
		return m.endBatch(m.breakDown(l, wire.Errorf(wire.InternalError, "%v", r.err), fx))
	}
	first := l.next
	l.names = r.names
	l.since += r.bytes + uint64(len(r.outcomes))*statementCost
	for _, o := range r.outcomes {
		h := sha256.New()
		h.Write(l.chain[:])
		h.Write(o.Digest[:])
		h.Sum(l.chain[:0])
		l.next++
		if c := l.tenant.checked; c.upto == l.next && c.chain != l.chain {
			return m.endBatch(m.breakDown(l, wire.Errorf(wire.InternalError,
				"the statements of the tenant, carried out again up to the one before offset %d of stream %s, have another outcome than before", l.next, sqlName), fx))
		}
	}
	l.carriedOut()
	m.tellNames(l)
	fx = m.snapshotTables(l, m.replyWrites(l, first, r.outcomes, fx))
	return m.endTurn(m.carryOn(l, fx))
}

func (m *Machine) replyWrites(l *tables, first wire.Offset, outcomes []*sql.Outcome, fx []Effect) []Effect {
	n := 0
	for ; n < len(l.writes) && l.writes[n].offset < l.next; n++ {
		w := l.writes[n]
		fx = m.replyOutcome(w.req, w.position, outcomes[w.offset-first], l.tenant.sql.lsn, fx)
	}
	clear(l.writes[:n])
	l.writes = l.writes[n:]
	return fx
}

// outcomesAtOnce is after how many statements the log says what has come of them.
const outcomesAtOnce = 256

// tellNames has the log say which tables there are and what has come of the statements: where the names are others, and
// now and then. A replay must come to the same.
func (m *Machine) tellNames(l *tables) {
	t := l.tenant
	if l.next <= t.checked.upto || slices.Equal(l.names, t.tables) && len(t.claims) == 0 && l.next-t.checked.upto < outcomesAtOnce {
		return
	}
	body := append([]byte(nil), l.chain[:]...)
	body = putNumbers(body, uint64(len(l.names)))
	for _, name := range l.names {
		body = appendString(body, name)
	}
	if m.noRoom(seg.RecordHeader+len(body), admin) != nil {
		return // it is told with the next statements
	}
	m.cfg.hit(ProbeOutcomesTold)
	m.decide(&seg.Record{Kind: seg.KindTables, Tenant: t.id, Stream: sqlStream(t.id), First: l.next}, body)
}

// breakDown ends a tenant's SQL. The rest of the tenant goes on.
func (m *Machine) breakDown(l *tables, why *wire.Error, fx []Effect) []Effect {
	l.broken = why
	return m.giveUp(l, why, fx)
}

// giveUp refuses all who wait. A statement that writes stays in the log: whoever sends it again does so with its key.
func (m *Machine) giveUp(l *tables, why *wire.Error, fx []Effect) []Effect {
	after := m.state.lsn
	for _, w := range l.writes {
		fx = m.refuse(w.req, wire.QueryExecutionError, after, fx, "the statement is in the log at position %d, and what came of it cannot be told: %s", w.position, why.Message)
	}
	questions := l.questions
	l.writes, l.questions = nil, nil
	for _, q := range questions {
		switch {
		case q.remembered.Set:
			fx = m.reply(q.req, why, after, fx)
		case l.broken == nil && q.stream != nil && q.stream.open: // it has all that it needs
			m.keep(l, q)
		default:
			q.lsn = max(q.lsn, after)
			fx = m.closeQuestion(q, why, fx)
		}
	}
	return fx
}

// tableStats counts what there is of SQL.
func (m *Machine) tableStats(s *Stats) {
	s.Asked, s.Cursors, s.Tables = m.asked, m.cursors, len(m.tables)
	for _, l := range m.tables { //det:order-free: sums
		s.Unapplied += uint64(l.head() - l.next)
		if l.broken != nil {
			s.Broken++
		}
	}
}

// retryTables goes on with tables whose statements could not be read.
func (m *Machine) retryTables(fx []Effect) []Effect {
	for _, t := range m.state.order {
		if l := m.tables[t.id]; l != nil && l.retry != 0 && m.clock.mono >= l.retry {
			l.retry = 0
			fx = m.carryOn(l, fx)
		}
	}
	return fx
}

// Close gives back what the machine holds beyond Go's memory. Nothing may be asked of it afterwards.
func (m *Machine) Close() {
	for _, l := range m.tables { //det:order-free: each for itself
		if l.db != nil {
			l.db.Close()
		}
	}
}

// applyTables takes up what the log says of the tables that there are.
func (s *state) applyTables(r *seg.Record) error {
	d := decoder{p: r.Body}
	var c tableCheck
	copy(c.chain[:], d.take(sha256.Size))
	names := make([]string, d.count(4))
	for i := range names {
		names[i] = d.string()
	}
	t := s.tenants[r.Tenant]
	if s.holed && (t == nil || t.sql == nil) {
		return nil // a hole has swallowed the statements
	}
	if d.bad || t == nil || t.sql == nil || r.Stream != t.sql.id {
		return fmt.Errorf("%w: tables of tenant %d", errMisfit, r.Tenant)
	}
	c.upto = r.First
	t.checked, t.tables = c, names
	t.claims = slices.DeleteFunc(slices.Clone(t.claims), func(c claim) bool { return c.offset < r.First })
	return nil
}

// encodeTables writes what the state knows of a tenant's tables, for a snapshot.
func (t *tenant) encodeTables(p []byte) []byte {
	p = putNumbers(p, uint64(len(t.tables)))
	for _, name := range t.tables {
		p = appendString(p, name)
	}
	p = putNumbers(p, uint64(len(t.claims)))
	for _, c := range t.claims {
		p = appendString(putNumbers(p, uint64(c.offset)), c.name)
	}
	return t.forgot.encode(append(putNumbers(p, uint64(t.checked.upto)), t.checked.chain[:]...))
}

func (t *tenant) decodeTables(d *decoder, version uint32) {
	for range d.count(4) {
		t.tables = append(t.tables, d.string())
	}
	for range d.count(12) {
		t.claims = append(t.claims, claim{wire.Offset(d.u64()), d.string()})
	}
	t.checked.upto = wire.Offset(d.u64())
	copy(t.checked.chain[:], d.take(sha256.Size))
	if version >= forgetVersion {
		t.forgot.decode(d)
	}
}

// claimName notes which tables an entry may make.
func (t *tenant) claimName(r *seg.Record) {
	e, _, ok := wire.NextEvent(r.Events())
	if !ok {
		return
	}
	if entry, err := sql.Decode(e.Data, e.Timestamp); err == nil {
		t.claims = slices.Clip(t.claims)
		for _, name := range entry.Names() {
			t.claims = append(t.claims, claim{r.First, name})
		}
	}
}

// table reports whether a name is that of a table or view, or may become one's.
func (t *tenant) table(name string) bool {
	name = wire.Fold(name)
	return slices.ContainsFunc(t.tables, func(n string) bool { return wire.Fold(n) == name }) ||
		slices.ContainsFunc(t.claims, func(c claim) bool { return wire.Fold(c.name) == name })
}
