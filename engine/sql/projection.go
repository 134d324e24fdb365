package sql

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sort"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/ncruces/go-sqlite3"
	"github.com/ncruces/go-sqlite3/vfs/mvcc"

	"github.com/kimberlitedb/kimberlite-go/wire"
)

// Projection is the tables of a tenant. Apply is called by one goroutine at a time; queries may run beside it and beside
// each other.
type Projection struct {
	name    string // of the database, in this process
	writer  *conn
	pages   uint64            // that the database may have
	things  map[string]*thing // replaced, never changed
	defined uint64            // counts the statements that have changed it
	last    int64             // the greatest id and generation that there ever was in $schema
	next    int64             // the number of the next entry
	times   times             // of the last entries
	views   []*thing          // that the entries under way have made
	counts  bool              // there may be tables with AUTOINCREMENT
	counted map[int64]int64   // what they have counted up to, by generation, where that is noted for certain

	parsed     *Statement // what was parsed last
	parsedText string

	mu       sync.Mutex
	position wire.Position       // of the last entry that queries see
	schema   uint64              // another one whenever the tables are of another kind
	idle     []*conn             // for queries
	mentions map[string][]string // by a view's name, folded: the names in its text, in all that it has had
	cursors  []*Cursor           // that are open
	closed   bool
}

// incarnation makes the names of databases unique: those of the mvcc file system are the process's.
var incarnation atomic.Uint64

// Open returns empty tables.
func Open() (*Projection, error) {
	p := &Projection{name: "kimberlite-" + strconv.FormatUint(incarnation.Add(1), 10), things: map[string]*thing{}}
	if err := p.replace(mvcc.NewSnapshot("")); err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

// Close gives the memory back, that of cursors too. No cursor may be at work.
func (p *Projection) Close() {
	p.mu.Lock()
	cursors := p.cursors
	p.mu.Unlock()
	for _, cur := range slices.Clone(cursors) {
		cur.Close()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return
	}
	p.closed = true
	mvcc.Delete(p.name)
	for _, c := range p.idle {
		c.close()
	}
	p.idle = nil
	if p.writer != nil {
		p.writer.close()
	}
}

// Limits are those in force when an entry was decided.
type Limits struct {
	Steps uint64 `json:"steps"` // of SQLite's virtual machine, for one statement
	Pages uint64 `json:"pages"` // of 4 KiB, for all tables of the tenant
	Bytes uint64 `json:"bytes"` // of what RETURNING gives
}

// Entry is a statement of the log that writes, or several that are carried out together, or one that forgets history.
type Entry struct {
	Position wire.Position
	Time     wire.Time // of its commit
	SQL      string
	Params   []wire.Value
	Makes    string                // the table or view that it may make; see Statement
	Batch    []Batched             // instead of the three before: statements that are carried out together, or not at all
	Key      wire.Option[wire.Key] // its outcome is remembered
	Seed     [SeedSize]byte        // of its random numbers
	Limits   Limits                // of all statements together
	Trim     wire.Option[Trim]     // instead of statements
}

// SeedSize is the length of the seed of a statement's random numbers, in bytes.
const SeedSize = 16

// Outcome is what has become of an entry. It follows from the entries up to it.
type Outcome struct {
	Returns  bool // the statement has result columns
	Columns  []string
	Rows     [][]wire.Value
	Size     int // about what the rows take on the wire, in bytes; no less
	Affected uint64
	Err      *wire.Error // why it has changed nothing
	Parts    []*Outcome  // of an entry with several statements: of each of them, where it has failed too

	failed int // which of several statements, where Err is set
	Digest [sha256.Size]byte
}

// Apply carries out entries in the order of the log, each whole or not at all. Queries see them together. An error is the
// projection's own, which is of no use any more.
func (p *Projection) Apply(entries []*Entry) ([]*Outcome, error) {
	outcomes, lost, err := p.together(entries)
	if lost != nil && err == nil {
		outcomes, err = p.apart(entries)
	}
	if err != nil {
		return nil, fmt.Errorf("apply entries: %w", err)
	}
	for _, o := range outcomes {
		o.sum()
	}
	return outcomes, nil
}

// apart applies each entry in a transaction of its own: where one has to be given up, nothing else is lost with it.
func (p *Projection) apart(entries []*Entry) (outcomes []*Outcome, err error) {
	for i := range entries {
		list, lost, err := p.together(entries[i : i+1])
		if lost != nil && err == nil {
			list, err = p.failed(entries[i], entries[i].failure(lost))
		}
		if err != nil {
			return nil, err
		}
		outcomes = append(outcomes, list...)
	}
	return outcomes, nil
}

// together applies entries in one transaction, unless it has to be given up: then lost is the outcome of the one
// that has failed, and none is applied.
func (p *Projection) together(entries []*Entry) (outcomes []*Outcome, lost *Outcome, err error) {
	things, last, next, times := p.things, p.last, p.next, p.times
	p.views = nil
	if err := p.writer.do(beginWriting); err != nil {
		return nil, nil, err
	}
	outcomes = make([]*Outcome, len(entries))
	fresh := make([]Outcome, len(entries))
	for i, e := range entries {
		if outcomes[i], lost, err = p.apply(e, &fresh[i]); err != nil {
			return nil, nil, fmt.Errorf("position %d: %w", e.Position, err)
		}
		if lost != nil {
			p.things, p.last, p.next, p.times = things, last, next, times
			clear(p.counted)
			return nil, lost, p.giveUp()
		}
	}
	return outcomes, nil, p.commit(entries)
}

// giveUp ends a transaction that cannot be gone on with. The limit of pages is set anew: SQLite takes none below what the database has,
// and it had more in the transaction.
func (p *Projection) giveUp() error {
	p.pages = 0
	switch {
	case p.writer.broken:
		return p.renew()
	case p.writer.db.GetAutocommit():
		p.writer.forget() // statements may be prepared for tables that are gone again
		return nil
	}
	p.writer.forget()
	return p.writer.do(rollback)
}

// failed has an entry that had its transaction given up leave nothing but that.
func (p *Projection) failed(e *Entry, lost *Outcome) ([]*Outcome, error) {
	o := &Outcome{Err: lost.Err, Parts: lost.Parts, failed: lost.failed}
	if err := p.writer.do(beginWriting); err != nil {
		return nil, err
	}
	if err := p.noteFailed(e, o); err != nil {
		return nil, err
	}
	return []*Outcome{o}, p.commit([]*Entry{e})
}

// apply carries out one entry: whole, or not at all. It makes its outcome of a fresh one. Where the transaction cannot be gone on
// with, lost is what has come of it.
func (p *Projection) apply(e *Entry, fresh *Outcome) (o, lost *Outcome, err error) {
	w := p.writer
	w.position, w.now, w.seed, w.random = e.Position, e.Time, e.Seed, nil
	if err := p.limit(e.Limits.Pages); err != nil {
		return nil, nil, err
	}
	if e.Trim.Set {
		if err := p.trim(e); err != nil {
			return nil, nil, err
		}
		return fresh, nil, p.note(e, fresh)
	}
	var s *Statement // of a batch none
	if len(e.Batch) == 0 {
		var refused *wire.Error
		if s, refused = p.parseAlone(e.SQL); refused != nil {
			fresh.Err = refused
			return fresh, nil, p.noteFailed(e, fresh)
		}
	}
	clean := true // a failure leaves nothing
	if s != nil && s.whole {
		clean = p.carryOut(s, e, fresh)
	} else if clean, err = p.saved(s, e, fresh); err != nil {
		return nil, nil, err
	}
	switch {
	case fresh.Err == nil:
		return fresh, nil, nil
	case !clean:
		return nil, fresh, nil
	}
	o = e.failure(fresh)
	return o, nil, p.noteFailed(e, o)
}

// saved carries out an entry of which a part may be done when it fails: that is undone, where it still can be.
func (p *Projection) saved(s *Statement, e *Entry, o *Outcome) (clean bool, err error) {
	w, things, last := p.writer, p.things, p.last
	if err := w.do(savepoint); err != nil {
		return false, err
	}
	if p.carryOut(s, e, o); o.Err == nil {
		return true, w.do(release)
	}
	if w.broken || w.db.GetAutocommit() {
		return false, nil
	}
	p.things, p.last = things, last
	clear(p.counted)
	if s == nil {
		w.forget() // statements may be prepared for tables that are gone again
	}
	return true, errors.Join(w.do(rollbackTo), w.do(release))
}

// carryOut runs an entry's statement, or all of a batch, and notes what has come of it. Clean says that a failure has left nothing. Where SQLite's
// library panics, the writer is broken.
func (p *Projection) carryOut(s *Statement, e *Entry, o *Outcome) (clean bool) {
	defer p.writer.panicked(&o.Err)
	if s == nil {
		*o = *p.attemptAll(e)
	} else {
		p.attempt(s, e, o)
	}
	if o.Err != nil {
		return !p.writer.broken && !p.writer.db.GetAutocommit()
	}
	o.Err = p.complete(e, o)
	return false
}

// complete sees to what a statement that was run leaves open.
func (p *Projection) complete(e *Entry, o *Outcome) *wire.Error {
	if e := p.writer.unresolved(); e != nil {
		return e
	}
	err := p.noteSequences(e)
	if err == nil {
		err = p.note(e, o)
	}
	if err != nil {
		return p.writer.fault(err, "")
	}
	return nil
}

// unresolved says whether a row is missing that a deferred foreign key needs at the end of a statement.
func (c *conn) unresolved() *wire.Error {
	missing, _, err := c.db.Status(sqlite3.DBSTATUS_DEFERRED_FKS, false)
	switch {
	case err != nil:
		return c.fault(err, "")
	case missing != 0:
		return wire.Errorf(wire.ConstraintViolation, "FOREIGN KEY constraint failed")
	}
	return nil
}

// renew opens another connection for writing in the place of one that is broken. What that had not committed is gone.
func (p *Projection) renew() (err error) {
	p.writer.close()
	p.pages = 0
	p.writer, err = connect(p.name, true)
	return err
}

// limit bounds the pages of the database.
func (p *Projection) limit(pages uint64) error {
	if pages == p.pages {
		return nil
	}
	p.pages = pages
	return p.writer.exec("PRAGMA max_page_count = %d", pages)
}

// commit has queries see what entries have done.
func (p *Projection) commit(entries []*Entry) error {
	if err := p.settleTimes(); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.writer.do(commit); err != nil {
		return err
	}
	for _, e := range entries {
		p.position = e.Position
	}
	p.schema = p.defined
	p.overtaken()
	p.publish(p.views)
	return nil
}

// attempt runs an entry's statement, and says in a new outcome what has come of it.
func (p *Projection) attempt(s *Statement, e *Entry, o *Outcome) {
	if t := p.things[wire.Fold(s.alters)]; t != nil && t.kind == "table" {
		if err := p.writer.end(t); err != nil {
			o.Err = p.writer.fault(err, "")
			return
		}
	}
	if s.Verb == "ALTER" { // SQLite compiles all views anew, and there may be streams in them
		if err := p.writer.know(p.unknown(s)); err != nil {
			o.Err = p.writer.fault(err, "")
			return
		}
		defer func() { _ = p.writer.know(nil) }() // to forget a module cannot fail
	}
	p.run(s, e, o)
	if o.Err == nil && p.writer.defines() {
		o.Err = p.redefine(s)
		p.writer.forget()
	}
}

// parseAlone is parse for a statement that is an entry by itself, and so must write.
func (p *Projection) parseAlone(text string) (*Statement, *wire.Error) {
	s, refused := p.parse(text)
	if refused == nil && !s.Writes {
		return nil, wire.Errorf(wire.QueryExecutionError, "the statement writes nothing")
	}
	return s, refused
}

// parse is Parse, which is not done again for the statement before.
func (p *Projection) parse(text string) (*Statement, *wire.Error) {
	if p.parsed == nil || p.parsedText != text {
		s, refused := Parse(text)
		if refused != nil {
			return nil, refused
		}
		p.parsed, p.parsedText = &s, text
	}
	return p.parsed, nil
}

func (p *Projection) run(s *Statement, e *Entry, o *Outcome) {
	w := p.writer
	w.own, w.verb, w.denied = false, s.Verb, ""
	defer func() { w.own = true }()
	before := w.db.TotalChanges()
	o.Columns, o.Rows, o.Size, o.Err = w.query(s.Text, e.Params, budget{left: int(e.Limits.Steps / stepsAtOnce)}, int(e.Limits.Bytes))
	o.Returns = len(o.Columns) > 0
	if o.Err == nil && w.db.TotalChanges() > before && !w.defines() {
		o.Affected = uint64(w.db.Changes())
	}
}

// redefine notes what a statement has made, altered or dropped.
func (p *Projection) redefine(s *Statement) *wire.Error {
	p.things = maps.Clone(p.things)
	p.defined++
	clear(p.counted)
	found := map[string]*thing{}
	var list []*thing
	err := p.writer.each(`SELECT name, type, tbl_name, sql, rowid FROM main.sqlite_schema WHERE type <> 'trigger' AND name NOT LIKE 'sqlite\_%' ESCAPE '\' AND name NOT LIKE '$%' ORDER BY rowid`, func(r *sqlite3.Stmt) {
		t := &thing{name: r.ColumnText(0), kind: r.ColumnText(1), table: r.ColumnText(2), sql: r.ColumnText(3), place: r.ColumnInt64(4)}
		found[wire.Fold(t.name)], list = t, append(list, t)
	})
	if err != nil {
		return p.writer.fault(err, "")
	}
	for _, name := range slices.Sorted(maps.Keys(p.things)) {
		old, now := p.things[name], found[name]
		if now != nil && wire.Fold(s.alters) != name {
			if now.sql == old.sql && now.kind == old.kind {
				continue
			}
			now.generation = old.generation // only what it says of other tables has changed
		}
		delete(p.things, name)
		if err := p.writer.exec(`UPDATE "$schema" SET "to" = "$position"() WHERE id = %d`, old.id); err != nil {
			return p.writer.fault(err, "")
		}
	}
	for _, t := range list {
		if p.things[wire.Fold(t.name)] != nil {
			continue
		}
		if e := p.define(t, s); e != nil {
			return e
		}
	}
	return nil
}

// define notes a table, view or index that has come into being, or is another one now.
func (p *Projection) define(t *thing, s *Statement) *wire.Error {
	if t.kind != "index" && wire.Fold(t.name) != wire.Fold(s.Makes) && wire.Fold(t.name) != wire.Fold(s.alters) && s.Verb == "CREATE" {
		return wire.Errorf(wire.QueryParseError, "the name of the new %s is not written plainly: write CREATE %s name", t.kind, strings.ToUpper(t.kind))
	}
	p.last++
	if err := p.writer.exec(`UPDATE "$state" SET last = %d`, p.last); err != nil {
		return p.writer.fault(err, "")
	}
	t.id = p.last
	if t.kind == "table" && t.generation == 0 {
		t.generation = t.id
		if e := p.writer.begin(t); e != nil {
			return e
		}
	}
	p.things[wire.Fold(t.name)] = t
	if t.kind == "view" {
		p.views = append(p.views, t)
	}
	p.counts = p.counts || t.counts()
	err := p.writer.exec(`INSERT INTO "$schema" VALUES(%d, %s, %s, %s, %s, %d, "$position"(), NULL, %d)`,
		t.id, quoteText(t.name), quoteText(t.kind), quoteText(t.table), quoteText(t.sql), t.generation, t.place)
	if err != nil {
		return p.writer.fault(err, "")
	}
	return nil
}

// Names returns the names of all tables and views, in ascending order.
func (p *Projection) Names() (list []string) {
	for _, t := range p.things { //det:order-free: sorted below
		if t.kind != "index" {
			list = append(list, t.name)
		}
	}
	sort.Strings(list)
	return list
}

// sum computes the digest of an outcome.
func (o *Outcome) sum() {
	var most [256]byte // without much of a result nothing is allocated
	b := most[:0]
	text := func(s string) {
		b = append(strconv.AppendInt(b, int64(len(s)), 10), ':')
		b = append(b, s...)
	}
	number := func(n int64) { b = append(strconv.AppendInt(b, n, 10), ' ') }
	if o.Err != nil {
		b = strconv.AppendUint(append(b, "error "...), uint64(o.Err.Code), 10)
	}
	for _, part := range o.Parts {
		part.sum()
		b = append(b, part.Digest[:]...)
	}
	if len(o.Parts) > 0 {
		b = append(b, "failed "...)
		number(int64(o.failed))
	}
	b = append(strconv.AppendUint(b, o.Affected, 10), ' ')
	number(int64(len(o.Columns)))
	number(int64(len(o.Rows)))
	for _, name := range o.Columns {
		text(name)
	}
	for _, row := range o.Rows {
		for _, v := range row {
			number(int64(v.Kind))
			number(v.Int)
			b = append(strconv.AppendFloat(b, v.Float, 'x', -1, 64), ' ')
			text(v.Text)
			text(string(v.Bytes))
		}
	}
	o.Digest = sha256.Sum256(b)
}
