package sql

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
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
	name   string // of the database, in this process
	writer *conn
	pages  uint64 // that the database may have
	things map[string]*thing
	last   int64 // the greatest id and generation in $schema

	mu       sync.Mutex
	position wire.Position // of the last entry that queries see
	times    []moment      // of all entries, ascending
	idle     []*conn       // for queries
	closed   bool
}

// moment says when an entry was committed.
type moment struct {
	time     wire.Time
	position wire.Position
}

// incarnation makes the names of databases unique: those of the mvcc file system are the process's.
var incarnation atomic.Uint64

// Open returns empty tables.
func Open() (*Projection, error) {
	p := &Projection{name: "kimberlite-" + strconv.FormatUint(incarnation.Add(1), 10), things: map[string]*thing{}}
	mvcc.Create(p.name, mvcc.NewSnapshot(""))
	w, err := connect(p.name, true)
	if err == nil {
		p.writer = w
		err = w.exec("%s", catalog)
	}
	if err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

// Close gives the memory back. Queries that run come to their end by themselves.
func (p *Projection) Close() {
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

// Entry is a statement of the log that writes.
type Entry struct {
	Position wire.Position
	Time     wire.Time // of its commit
	SQL      string
	Params   []wire.Value
	Makes    string                // the table or view that it may make; see Statement
	Key      wire.Option[wire.Key] // its outcome is remembered
	Seed     [SeedSize]byte        // of its random numbers
	Limits   Limits
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
	Digest   [sha256.Size]byte
}

// Apply carries out entries in the order of the log. An error is the projection's own, which is of no use any more.
func (p *Projection) Apply(entries []*Entry) ([]*Outcome, error) {
	outcomes, err := p.applyAll(entries)
	if err != nil {
		return nil, fmt.Errorf("apply entries: %w", err)
	}
	return outcomes, nil
}

// applyAll applies each entry in a transaction of its own: where SQLite runs out of something it rolls back all of it.
func (p *Projection) applyAll(entries []*Entry) ([]*Outcome, error) {
	outcomes := make([]*Outcome, len(entries))
	for i, e := range entries {
		o, err := p.apply(e)
		if err != nil {
			return nil, fmt.Errorf("position %d: %w", e.Position, err)
		}
		o.sum()
		outcomes[i] = o
	}
	return outcomes, nil
}

// apply carries out one entry: whole, or not at all.
func (p *Projection) apply(e *Entry) (*Outcome, error) {
	w := p.writer
	w.position, w.now, w.random = e.Position, e.Time, generator(e.Seed)
	if err := p.limit(e.Limits.Pages); err != nil {
		return nil, err
	}
	if err := w.exec("BEGIN IMMEDIATE"); err != nil {
		return nil, err
	}
	before, last := maps.Clone(p.things), p.last
	o := p.carryOut(e)
	if o.Err == nil {
		return o, nil
	}
	p.things, p.last = before, last
	return p.undo(e, o.Err)
}

// carryOut runs an entry's statement and commits what it has done. Where SQLite's library panics, the writer is broken.
func (p *Projection) carryOut(e *Entry) (o *Outcome) {
	defer func() {
		if why := recover(); why != nil {
			p.writer.broken = true
			o = &Outcome{Err: broken(why)}
		}
	}()
	o = p.attempt(e)
	if o.Err == nil {
		if err := p.remember(e, o); err != nil {
			o.Err = p.writer.fault(err, "")
		}
	}
	if o.Err == nil {
		o.Err = p.commit(e)
	}
	return o
}

// undo has an entry that has failed leave nothing but that.
func (p *Projection) undo(e *Entry, why *wire.Error) (*Outcome, error) {
	if p.writer.broken {
		if err := p.renew(); err != nil {
			return nil, err
		}
	}
	if !p.writer.db.GetAutocommit() {
		if err := p.writer.exec("ROLLBACK"); err != nil {
			return nil, err
		}
	}
	o := &Outcome{Err: why}
	if err := p.limit(math.MaxUint32 - 1); err != nil { // that it has failed is told, however full the tables are
		return nil, err
	}
	if err := p.remember(e, o); err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.passed(e)
	return o, nil
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

// generator returns the random numbers of a statement.
func generator(seed [SeedSize]byte) *rand.ChaCha8 {
	var s [32]byte
	copy(s[:], seed[:])
	return rand.NewChaCha8(s)
}

// commit has queries see what an entry has done. It is refused where a deferred foreign key has no row.
func (p *Projection) commit(e *Entry) *wire.Error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.writer.exec("COMMIT"); err != nil {
		return p.writer.fault(err, "")
	}
	p.passed(e)
	return nil
}

func (p *Projection) passed(e *Entry) {
	p.position = e.Position
	p.times = append(p.times, moment{e.Time, e.Position})
}

// remember keeps the outcome of an entry that has a key, for those who send it again.
func (p *Projection) remember(e *Entry, o *Outcome) error {
	if !e.Key.Set {
		return nil
	}
	code, message := wire.Code(0), ""
	if o.Err != nil {
		code, message = o.Err.Code, o.Err.Message
	}
	return p.writer.exec(`INSERT INTO "$keyed" VALUES(%d, %d, %d, %s)`, e.Position, o.Affected, code, quoteText(message))
}

// Remembered returns the outcome of an entry that has a key. What it has returned as rows is not kept.
func (p *Projection) Remembered(at wire.Position) (o *Outcome, err error) {
	c, _, err := p.reader(false)
	if err != nil {
		return nil, err
	}
	defer p.giveBack(c)
	err = c.each(fmt.Sprintf(`SELECT affected, code, message FROM "$keyed" WHERE position = %d`, at), func(r *sqlite3.Stmt) {
		o = &Outcome{Affected: uint64(r.ColumnInt64(0))}
		if code := wire.Code(r.ColumnInt(1)); code != 0 {
			o.Err = &wire.Error{Code: code, Message: r.ColumnText(2)}
		}
	})
	if err == nil && o == nil {
		err = fmt.Errorf("the outcome of position %d is not known", at)
	}
	return o, err
}

// attempt runs an entry's statement.
func (p *Projection) attempt(e *Entry) *Outcome {
	s, refused := Parse(e.SQL)
	if refused == nil && !s.Writes {
		refused = wire.Errorf(wire.QueryExecutionError, "the statement writes nothing")
	}
	if refused != nil {
		return &Outcome{Err: refused}
	}
	if t := p.things[wire.Fold(s.alters)]; t != nil && t.kind == "table" {
		if err := p.writer.end(t); err != nil {
			return &Outcome{Err: p.writer.fault(err, "")}
		}
	}
	o := p.run(&s, e)
	if o.Err == nil && p.writer.defines() {
		o.Err = p.redefine(&s)
		p.writer.forget()
	}
	return o
}

func (p *Projection) run(s *Statement, e *Entry) *Outcome {
	w := p.writer
	w.own, w.verb, w.denied = false, s.Verb, ""
	defer func() { w.own = true }()
	before := w.db.TotalChanges()
	r, refused := w.query(s.Text, e.Params, budget{left: int(e.Limits.Steps / stepsAtOnce)}, int(e.Limits.Bytes))
	o := &Outcome{Returns: len(r.Columns) > 0, Columns: r.Columns, Rows: r.Rows, Size: r.Size, Err: refused}
	if refused == nil && w.db.TotalChanges() > before && !w.defines() {
		o.Affected = uint64(w.db.Changes())
	}
	return o
}

// redefine notes what a statement has made, altered or dropped.
func (p *Projection) redefine(s *Statement) *wire.Error {
	found := map[string]*thing{}
	var list []*thing
	err := p.writer.each(`SELECT name, type, tbl_name, sql FROM main.sqlite_schema WHERE type <> 'trigger' AND name NOT LIKE 'sqlite\_%' ESCAPE '\' AND name NOT LIKE '$%' ORDER BY rowid`, func(r *sqlite3.Stmt) {
		t := &thing{name: r.ColumnText(0), kind: r.ColumnText(1), table: r.ColumnText(2), sql: r.ColumnText(3)}
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
	t.id = p.last
	if t.kind == "table" && t.generation == 0 {
		t.generation = t.id
		if e := p.writer.begin(t); e != nil {
			return e
		}
	}
	p.things[wire.Fold(t.name)] = t
	err := p.writer.exec(`INSERT INTO "$schema" VALUES(%d, %s, %s, %s, %s, %d, "$position"(), NULL)`,
		t.id, quoteText(t.name), quoteText(t.kind), quoteText(t.table), quoteText(t.sql), t.generation)
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
	h := sha256.New()
	text := func(s string) { fmt.Fprintf(h, "%d:%s", len(s), s) }
	if o.Err != nil {
		fmt.Fprintf(h, "error %d", o.Err.Code)
	}
	fmt.Fprintf(h, "%d %d %d ", o.Affected, len(o.Columns), len(o.Rows))
	for _, name := range o.Columns {
		text(name)
	}
	for _, row := range o.Rows {
		for _, v := range row {
			fmt.Fprintf(h, "%d %d %x ", v.Kind, v.Int, v.Float)
			text(v.Text)
			text(string(v.Bytes))
		}
	}
	h.Sum(o.Digest[:0])
}
