package engine

import (
	"math"
	"slices"
	"sort"
	"strings"

	"github.com/kimberlitedb/kimberlite-go/engine/seg"
	"github.com/kimberlitedb/kimberlite-go/engine/sql"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// A query sees the streams of its tenant as tables. When its turn comes, the machine captures whatever reading the streams
// that it may name needs: what never changes, and copies of the rest. Its job reads from that, block by block; see
// scan_block.go. Until the query ends no file that it may use is removed.

// scope is the streams that a question may name, as they are at a position of the tenant's log. A job uses it, and nobody else
// until that is done.
type scope struct {
	geo     seg.Geometry
	store   seg.StoreID
	known   wire.Position // the tenant's
	pending []pending     // statements that were not carried out for certain; ascending
	sealed  []*seg.SealedIndex
	memory  []held      // the log from an address on, as far as the streams are in it
	recent  seg.Address // that address
	decided seg.LSN     // the last entry in it
	list    []*view     // ascending folded names
	audit   *view       // of the tenant
	lsn     seg.LSN     // of the last entry about them

	readers
	scanned uint64 // events that scans have looked at
	trimmed bool   // retention has hidden what a query of the past would have seen
	met     []Probe
}

// pending is a statement that may not be carried out yet.
type pending struct {
	offset   wire.Offset // in $sql
	position wire.Position
}

// carriedOut forgets the statements before the next.
func (l *tables) carriedOut() {
	n := 0
	for n < len(l.pending) && l.pending[n].offset < l.next {
		n++
	}
	l.pending = l.pending[n:]
}

// held is a piece of the log in memory.
type held struct {
	at seg.Address
	p  []byte
}

func (h *held) end() seg.Address { return h.at + seg.Address(len(h.p)) }

// view is a stream in a scope.
type view struct {
	id      wire.StreamID
	name    string
	system  bool
	key     seg.Key
	created wire.Time
	refused *wire.Error // why it cannot be read: it is deleted, or damaged where a question about it begins
	low     wire.Offset // no event before it is shown
	noRoom  *wire.Error // why the log does not say so of those that have expired; nil where it does
	head    wire.Offset
	lost    []span
	index   []entry
	last    entry // the last element of the index, where it has any
	blocks  []block
	bounds  map[wire.Position]wire.Offset // what bound has found
}

// maxStreams is how many streams a query may name. Names of columns that are those of streams too count.
const maxStreams = 256

// mentioned returns the streams that a question may name; their purge is done where it is due.
func (m *Machine) mentioned(l *tables, q *question) (list []*stream, e *wire.Error) {
	for _, name := range l.db.Mentioned(q.texts()...) {
		s := m.named(l.tenant, name)
		if s == nil || s.system() && !sql.SystemStream(s.name) {
			continue
		}
		if list = append(list, s); len(list) > maxStreams {
			return nil, wire.Errorf(wire.QueryExecutionError, "the query names more than %d streams", maxStreams)
		}
	}
	return list, nil
}

// look captures the streams that a question may name, once what had expired when it was first looked at is cut off. It
// returns false where the question waits for that, or is refused.
func (m *Machine) look(l *tables, q *question, fx []Effect) ([]Effect, bool) {
	if q.looked || q.remembered.Set {
		return fx, true
	}
	list, e := m.mentioned(l, q)
	if e != nil {
		return m.refuseQuestion(q, e, fx), false
	}
	if q.since == 0 {
		q.since = m.grain()
	}
	for _, s := range list {
		if _, cut := q.cut[s.id]; !cut && m.overdue(s, q.since) {
			return m.awaitTrim(l, q, s, fx), false
		}
	}
	if q.looked = true; len(list) == 0 {
		return fx, true
	}
	q.scope = m.scopeOf(l, q, list)
	q.lsn = max(q.lsn, q.scope.lsn)
	q.ask.Streams = q.scope
	for _, one := range q.together {
		one.Streams = q.scope
	}
	return fx, true
}

// texts returns the queries that a question consists of.
func (q *question) texts() []string {
	if len(q.together) == 0 {
		return []string{q.ask.SQL}
	}
	list := make([]string, len(q.together))
	for i, one := range q.together {
		list[i] = one.SQL
	}
	return list
}

// refuseQuestion refuses a question that is not among those that wait.
func (m *Machine) refuseQuestion(q *question, e *wire.Error, fx []Effect) []Effect {
	if len(q.together) > 0 {
		return m.leaveQuestion(q, m.answerTogether(q, queryResult{refusal: e}, fx))
	}
	return m.closeQuestion(q, e, fx)
}

// cutOff is how far what had expired of a stream is cut off, for a question.
type cutOff struct {
	low    wire.Offset // no event before it is shown
	noRoom *wire.Error // why the log does not say so; nil where it does
}

// awaitTrim has a question wait until what has expired of a stream is cut off.
func (m *Machine) awaitTrim(l *tables, q *question, s *stream, fx []Effect) []Effect {
	m.cfg.hit(ProbeQueryAwaitsTrim)
	rd := m.reading(s, s.oldest, 0) // it reads nothing
	rd.req, rd.now = l.req, q.since
	rd.then = func(b wire.ResponseBody, fx []Effect) []Effect {
		if q.trimming = false; !slices.Contains(l.questions, q) {
			return fx // it has ended meanwhile
		}
		if e, failed := b.(*wire.Error); failed {
			l.questions = withoutQuestion(l.questions, q)
			return m.refuseQuestion(q, e, fx)
		}
		if q.cut == nil {
			q.cut = map[wire.StreamID]cutOff{}
		}
		q.cut[s.id] = cutOff{rd.low, rd.noRoom}
		return m.carryOn(l, fx)
	}
	q.trimming = true
	m.keep(l, q)
	return m.trim(s, rd, fx)
}

// scopeOf captures streams.
func (m *Machine) scopeOf(l *tables, q *question, list []*stream) *scope {
	t := l.tenant
	c := m.scopeOfTenant(t)
	c.pending = slices.Clone(l.pending)
	for _, s := range list {
		c.list = append(c.list, m.viewOf(s, q.cut[s.id]))
		c.lsn = max(c.lsn, s.lsn)
	}
	slices.SortFunc(c.list, func(a, b *view) int { return strings.Compare(wire.Fold(a.name), wire.Fold(b.name)) })
	if audit := c.find(auditName); audit != nil {
		c.audit = audit
	}
	c.hold(&m.log)
	return c
}

// scopeOfTenant returns a scope of a tenant without streams.
func (m *Machine) scopeOfTenant(t *tenant) *scope {
	c := &scope{
		decided: m.state.lsn,
		geo:     m.geo, store: m.store, known: t.position, sealed: slices.Clone(m.layout.sealed), lsn: t.lsn, audit: m.viewOf(t.audit, cutOff{}),
	}
	_, c.recent = m.log.inMemory(0)
	return c
}

// viewOf captures a stream.
func (m *Machine) viewOf(s *stream, cut cutOff) *view {
	m.unsealed(s)
	v := &view{
		id: s.id, name: s.name, system: s.system(), key: s.sealedKey(), created: s.created, low: max(s.oldest, cut.low), head: s.head,
		lost: slices.Clone(s.lost),
	}
	if v.low > s.oldest {
		v.noRoom = cut.noRoom
	}
	if n := len(s.index); n > 0 {
		v.index, v.last = s.index[:n-1:n-1], s.index[n-1]
	}
	if s.deleted {
		v.refused = goneError(s)
	}
	return v
}

// hold captures the part of the log in memory that the streams may be in.
func (c *scope) hold(l *commit) {
	from := seg.Address(math.MaxUint64)
	for _, v := range append(slices.Clip(c.list), c.audit) {
		i := sort.Search(len(v.index), func(i int) bool { return v.index[i].at.End > c.recent })
		if i < len(v.index) {
			from = min(from, v.index[i].at.Start)
		} else if v.last.at.End > c.recent {
			from = min(from, v.last.at.Start)
		}
	}
	if from == math.MaxUint64 {
		return
	}
	batches, _ := l.inMemory(max(from, c.recent))
	for _, b := range batches {
		c.memory = append(c.memory, held{b.at, b.buf})
	}
}

// pin keeps the files that a question's scope names until it has ended. It is called with the id of each of its jobs.
func (m *Machine) pin(q *question, id JobID) {
	if q.scope == nil || q.pin != 0 {
		return
	}
	q.pin = id
	m.pinFiles(id)
}

// pinFiles keeps the files that there are, for what has begun with a job.
func (m *Machine) pinFiles(id JobID) {
	if m.pins == nil {
		m.pins = map[JobID]bool{}
	}
	m.pins[id] = true
}

// trimmed reports whether retention has hidden what the query of a question about the past would have seen.
func (q *question) trimmed() bool { return q.scope != nil && q.scope.trimmed }

// letGo takes up what a question has read, once it has ended, and lets go of the files.
func (m *Machine) letGo(q *question, fx []Effect) []Effect {
	if q.scope == nil {
		return fx
	}
	delete(m.pins, q.pin)
	m.stats.Scanned += q.scope.scanned
	for _, p := range q.scope.met {
		m.cfg.hit(p)
	}
	q.scope = nil
	return m.arrange(fx)
}

// missingStream returns why a statement that writes has failed; of a stream, which it cannot read, it says so.
func (m *Machine) missingStream(r *Request, e *wire.Error) *wire.Error {
	told := &wire.Error{Code: e.Code, Message: e.Message}
	name, ok := strings.CutPrefix(e.Message, "no such table: ")
	t := m.state.tenants[r.Msg.Tenant]
	name, _, _ = strings.Cut(strings.TrimPrefix(name, "main."), ", at line")
	if ok && t != nil && t.stream(name) != nil {
		told.Message += "; it is a stream, and statements that write cannot read streams: they must come to the same when events are gone"
	}
	return told
}
