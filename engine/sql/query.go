package sql

import (
	"sort"
	"sync/atomic"

	"github.com/ncruces/go-sqlite3"

	"github.com/kimberlitedb/kimberlite-go/wire"
)

// Question is a query. It sees the tables as of a position, or as they are.
type Question struct {
	SQL    string // as Statement.Text has it
	Params []wire.Value
	At     wire.Option[wire.Position]
	Time   wire.Option[wire.Time] // instead: as of the last entry committed at or before it
	Now    wire.Time              // for a query of the tables as they are; others see the time of the last entry that they see
	Seed   [SeedSize]byte         // of its random numbers
	Steps  uint64                 // of SQLite's virtual machine, at most
	Bytes  uint64                 // of the result, at most
	Stop   *Stop                  // may be nil
}

// Stop ends a query from elsewhere.
type Stop struct{ stopped atomic.Bool }

// Stop has the query end soon.
func (s *Stop) Stop() { s.stopped.Store(true) }

// Stopped reports whether it was called.
func (s *Stop) Stopped() bool { return s.stopped.Load() }

// Result is what a query has found.
type Result struct {
	Columns  []string
	Rows     [][]wire.Value
	Size     int           // about what the rows take on the wire, in bytes; no less
	Position wire.Position // of the last entry that it has seen

	err *wire.Error
}

// Query answers a question, or says why not.
func (p *Projection) Query(q *Question) (*Result, *wire.Error) {
	if q.At.Set || q.Time.Set {
		return p.past(q)
	}
	c, position, err := p.reader(false)
	if err != nil {
		return nil, wire.Errorf(wire.InternalError, "%v", err)
	}
	c.now = q.Now
	r := c.answer(q)
	r.Position = position
	p.giveBack(c)
	return r, r.err
}

// answer runs a query within a transaction that has begun.
func (c *conn) answer(q *Question) *Result {
	c.own, c.verb, c.denied, c.missing, c.random = false, "SELECT", "", "", generator(q.Seed)
	r := c.query(q.SQL, q.Params, budget{left: int(q.Steps / stepsAtOnce), stop: q.Stop}, int(q.Bytes))
	c.own = true
	return r
}

// query runs a client's statement and gathers its rows. SQLite's library panics where it runs out of memory: then the
// connection is of no use any more.
func (c *conn) query(text string, params []wire.Value, b budget, most int) (r *Result) {
	defer func() {
		if why := recover(); why != nil {
			c.broken = true
			r = &Result{err: broken(why)}
		}
	}()
	return c.run(text, params, b, most)
}

func (c *conn) run(text string, params []wire.Value, b budget, most int) *Result {
	s, err := c.prepare(text)
	if err != nil {
		return &Result{err: c.fault(err, text)}
	}
	if e := bind(s, params); e != nil {
		return &Result{err: e}
	}
	c.budget = b
	s.Status(sqlite3.STMTSTATUS_VM_STEP, true) // so that the budget counts from 0
	old := c.db.SetInterrupt(&c.budget)
	r := c.gather(s, most)
	c.db.SetInterrupt(old)
	if err := s.Reset(); err != nil && r.err == nil {
		r.err = c.fault(err, text)
	}
	if err := s.ClearBindings(); err != nil && r.err == nil {
		r.err = c.fault(err, text)
	}
	return r
}

func (c *conn) gather(s *sqlite3.Stmt, most int) *Result {
	r := &Result{}
	more := s.Step() // first: where the schema has changed, it compiles the statement anew
	columns := columnsOf(s)
	for _, x := range columns {
		r.Columns = append(r.Columns, x.name)
	}
	for ; more; more = s.Step() {
		row := make([]wire.Value, len(columns))
		r.Size += 8
		for i := range columns {
			row[i] = columns[i].value(s, i)
			r.Size += size(row[i])
		}
		if r.Size > most {
			r.err = wire.Errorf(wire.ResultTooLarge, "the result is larger than %d bytes; add a LIMIT", most)
			break
		}
		r.Rows = append(r.Rows, row)
	}
	return r
}

// reader returns a connection with a transaction that sees the tables as they are, and as of which position that is. A fresh
// one was used for nothing before.
func (p *Projection) reader(fresh bool) (c *conn, _ wire.Position, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := len(p.idle); n > 0 && !fresh {
		c, p.idle = p.idle[n-1], p.idle[:n-1]
	} else if c, err = connect(p.name, false); err != nil {
		return nil, 0, err
	}
	if err = c.exec(`BEGIN; SELECT 1 FROM "$schema" LIMIT 1`); err != nil { // the snapshot is taken by the first read
		c.close()
		return nil, 0, err
	}
	return c, p.position, nil
}

// giveBack ends a connection's transaction and keeps it for the next query.
func (p *Projection) giveBack(c *conn) {
	if c.broken {
		c.close()
		return
	}
	err := c.exec("ROLLBACK")
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil || p.closed {
		c.close()
		return
	}
	p.idle = append(p.idle, c)
}

// before returns the position of the last entry that was committed at or before a time.
func (p *Projection) before(t wire.Time) wire.Position {
	p.mu.Lock()
	defer p.mu.Unlock()
	i := sort.Search(len(p.times), func(i int) bool { return p.times[i].time > t })
	if i == 0 {
		return 0
	}
	return p.times[i-1].position
}

// timeOf returns when the last entry up to a position was committed.
func (p *Projection) timeOf(at wire.Position) wire.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	i := sort.Search(len(p.times), func(i int) bool { return p.times[i].position > at })
	if i == 0 {
		return 0
	}
	return p.times[i-1].time
}
