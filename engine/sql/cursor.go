package sql

import (
	"context"
	"slices"

	"github.com/ncruces/go-sqlite3"

	"github.com/kimberlitedb/kimberlite-go/wire"
)

// Cursor is a query under way. All of its rows are those of one snapshot, however long it takes to ask for them: it holds a
// connection until it is closed. One goroutine uses it at a time.
type Cursor struct {
	// Position is that of the last entry that the query sees.
	Position wire.Position

	p    *Projection
	c    *conn
	once bool // the connection is of use to no other query
	run  running
	held bool         // the projection knows of it
	kept []wire.Value // the next row, if it has been taken already
	work int          // the steps that there are for each call of Next, as budget counts them
}

// Ask begins a query, or says why not.
func (p *Projection) Ask(q *Question) (*Cursor, *wire.Error) {
	cur := &Cursor{}
	if e := cur.open(p, q); e != nil {
		return nil, e
	}
	cur.held, cur.work = true, int(q.Steps/stepsAtOnce)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cursors = append(p.cursors, cur)
	return cur, nil
}

// open makes a new cursor one of a query, which has run up to its first row. Where it is refused there is nothing to close.
func (cur *Cursor) open(p *Projection, q *Question) *wire.Error {
	if e := cur.snapshot(p, q); e != nil {
		return e
	}
	e := cur.begin(q)
	if e != nil {
		cur.Close()
	}
	return e
}

// begin runs the query up to its first row.
func (cur *Cursor) begin(q *Question) *wire.Error {
	c := cur.c
	c.upto, c.past, c.failed = cur.Position, q.At.Set || q.Time.Set, nil
	if err := cur.p.provide(c, q); err != nil {
		return wire.Errorf(wire.InternalError, "%v", err)
	}
	c.own, c.verb, c.denied, c.missing, c.seed, c.random = false, "SELECT", "", "", q.Seed, nil
	return c.start(&cur.run, q.SQL, q.Params, budget{left: int(q.Steps / stepsAtOnce), stop: q.Stop})
}

// snapshot gives a new cursor a transaction that sees the tables as the question wants them.
func (cur *Cursor) snapshot(p *Projection, q *Question) *wire.Error {
	if q.At.Set || q.Time.Set {
		at, e := p.asOf(q)
		if e != nil {
			return e
		}
		return cur.past(p, q, at)
	}
	c, err := p.reader(false)
	if err != nil {
		return wire.Errorf(wire.InternalError, "%v", err)
	}
	c.now = q.Now
	e := cur.beside(p, q, c)
	if e != nil || cur.c != c {
		p.giveBack(c)
	}
	return e
}

// beside has a new cursor see the tables that a connection sees, beside the streams that the question may name. Where the tables
// are ahead of those, it sees the tables as of the position up to which the streams are known.
func (cur *Cursor) beside(p *Projection, q *Question, c *conn) *wire.Error {
	at := c.seen
	if q.Streams != nil {
		beside, ok := q.Streams.Beside(at)
		if !ok {
			return cur.behind(p, q)
		}
		at = beside
	}
	cur.Position, cur.p, cur.c = at, p, c
	return nil
}

// behind has a new cursor see the tables as of the position up to which the streams are known.
func (cur *Cursor) behind(p *Projection, q *Question) *wire.Error {
	e := cur.past(p, q, q.Streams.Known())
	switch {
	case e == nil:
		cur.c.now = q.Now
	case e.Code == wire.InvalidOffset: // the present cannot be too old
		return wire.Errorf(wire.RateLimited, "the tables have gone on for too long since the query was asked; ask again")
	}
	return e
}

// asOf returns as of which position a question about the past is.
func (p *Projection) asOf(q *Question) (wire.Position, *wire.Error) {
	if q.At.Set {
		return q.At.Value, nil
	}
	at, err := p.before(q.Time.Value)
	if err != nil {
		return 0, wire.Errorf(wire.InternalError, "%v", err)
	}
	if q.Streams == nil {
		return at, nil
	}
	seen, e := q.Streams.Before(q.Time.Value)
	return max(min(at, q.Streams.Known()), seen), e
}

// Columns returns the names of the result's columns.
func (cur *Cursor) Columns() []string { return cur.run.names }

// Next returns the rows that come next, at least one where there is any, until they take most bytes or a little more, and
// never more than limit. Each time it may take as many steps as the question has. More says that there are others behind
// them. After an error the cursor is of no use but to be closed.
func (cur *Cursor) Next(most, limit int) (rows [][]wire.Value, n int, more bool, e *wire.Error) {
	if cur.kept != nil {
		rows, n, cur.kept = [][]wire.Value{cur.kept}, rowSize(cur.kept), nil
	}
	if n < most {
		cur.c.budget.left = cur.work
		next, size, _, refused := cur.c.fetch(&cur.run, nil, most-n)
		rows, n, e = append(rows, next...), n+size, refused
	}
	if last := len(rows) - 1; n > limit && e == nil {
		cur.kept = rows[last]
		one := rowSize(cur.kept)
		if rows, n = rows[:last], n-one; one > limit {
			e = wire.Errorf(wire.ResultTooLarge, "one row of the result is larger than %d bytes; select less of it", limit)
		}
	}
	return rows, n, cur.kept != nil || cur.run.more, e
}

// Close ends the query.
func (cur *Cursor) Close() {
	if cur.held {
		cur.p.mu.Lock()
		cur.p.cursors = slices.DeleteFunc(cur.p.cursors, func(o *Cursor) bool { return o == cur })
		cur.p.mu.Unlock()
	}
	cur.c.finish(&cur.run) // an error was told when it arose
	cur.c.own = true
	if cur.once {
		cur.c.close()
		return
	}
	cur.p.giveBack(cur.c)
}

// running is a client's statement that is being run.
type running struct {
	text    string
	s       *prepared // nil before and after
	bulky   bool      // its parameters take memory
	more    bool      // it stands on a row
	columns []column
	names   []string // of the columns; shared, and never changed
}

// bulk is the length of a parameter, in bytes, that a statement does not keep until it is run again.
const bulk = 4096

// start runs a statement up to its first row.
func (c *conn) start(r *running, text string, params []wire.Value, b budget) (e *wire.Error) {
	defer c.panicked(&e)
	s, err := c.prepare(text)
	if err != nil {
		return c.fault(err, text)
	}
	if e := s.bind(params); e != nil {
		return e
	}
	r.bulky = slices.ContainsFunc(params, func(v wire.Value) bool { return len(v.Text)+len(v.Bytes) > bulk })
	c.budget = b
	if c.writer {
		s.Status(sqlite3.STMTSTATUS_VM_STEP, true) // so that the budget counts from 0
	}
	c.db.SetInterrupt(&c.budget)
	r.text, r.s = text, s
	e = c.step(r) // first: where the schema has changed, it compiles the statement anew
	if !s.ran {
		s.ran = true
		s.columns, s.names = columnsOf(s.Stmt)
	}
	r.columns, r.names = s.columns, s.names
	return e
}

// fetch takes rows until they take most bytes, into an empty list that may have room. Without any row there is no list.
func (c *conn) fetch(r *running, list [][]wire.Value, most int) (rows [][]wire.Value, n int, more bool, e *wire.Error) {
	defer c.panicked(&e)
	if r.more {
		rows = list
	}
	for r.more && e == nil && (n < most || len(rows) == 0) {
		row := make([]wire.Value, len(r.columns))
		for i := range r.columns {
			r.columns[i].read(r.s.Stmt, i, &row[i])
		}
		n += rowSize(row)
		rows = append(rows, row)
		e = c.step(r)
	}
	return rows, n, r.more, e
}

// step goes on to the next row, or says why it cannot.
func (c *conn) step(r *running) *wire.Error {
	c.budget.asked = true // the library asks before each row, whatever that takes
	r.more = r.s.Step()
	if err := r.s.Err(); err != nil {
		return c.fault(err, r.text)
	}
	return nil
}

// finish lets go of a statement, so that it can be run again.
func (c *conn) finish(r *running) (e *wire.Error) {
	if r.s == nil {
		return nil
	}
	defer c.panicked(&e)
	s := r.s
	r.s = nil
	c.db.SetInterrupt(context.Background())
	if err := s.Reset(); err != nil {
		e = c.fault(err, r.text)
	}
	if !r.bulky {
		return e
	}
	if err := s.ClearBindings(); err != nil && e == nil {
		e = c.fault(err, r.text)
	}
	return e
}

// panicked makes a refusal of a panic: SQLite's library panics where it runs out of memory. Then the connection is of no use
// any more.
func (c *conn) panicked(e **wire.Error) {
	if why := recover(); why != nil {
		c.broken = true
		*e = broken(why)
	}
}
