package sql

import (
	"slices"
	"sync/atomic"

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
	Steps  uint64                 // of SQLite's virtual machine, at most, for each part of the answer
	Bytes  uint64                 // of the result, at most
	Stop   *Stop                  // may be nil

	Streams Streams // that it may name; nil where there are none
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

	one [1][]wire.Value // room for the row of a short one
}

// Query answers a question whole, or says why not.
func (p *Projection) Query(q *Question) (*Result, *wire.Error) {
	var cur Cursor
	if e := cur.open(p, q); e != nil {
		return nil, e
	}
	defer cur.Close()
	r := &Result{Columns: cur.run.names, Position: cur.Position}
	var e *wire.Error
	if r.Rows, r.Size, e = cur.c.whole(&cur.run, r.one[:0], int(q.Bytes)); e != nil {
		return nil, e
	}
	return r, nil
}

// query runs a client's statement and gathers its rows. Beside an error there are the columns, where they are known.
func (c *conn) query(text string, params []wire.Value, b budget, most int) (names []string, rows [][]wire.Value, size int, e *wire.Error) {
	var run running
	if e = c.start(&run, text, params, b); e == nil {
		rows, size, e = c.whole(&run, nil, most)
	}
	if ended := c.finish(&run); e == nil {
		e = ended
	}
	return run.names, rows, size, e
}

// whole gathers all rows of a statement, if they take no more than most bytes, in a list that may have room already.
func (c *conn) whole(run *running, list [][]wire.Value, most int) (rows [][]wire.Value, size int, e *wire.Error) {
	rows, size, more, e := c.fetch(run, list, most)
	if e == nil && (more || size > most) {
		e = wire.Errorf(wire.ResultTooLarge, "the result is larger than %d bytes; add a LIMIT, or stream it (`streaming` in Query, on protocol version 3)", most)
	}
	if e != nil {
		return nil, 0, e
	}
	return rows, size, nil
}

// reader returns a connection with a transaction that sees the tables as they are. A fresh one was used for nothing before.
func (p *Projection) reader(fresh bool) (c *conn, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := len(p.idle); n > 0 && !fresh {
		c, p.idle = p.idle[n-1], p.idle[:n-1]
	} else if c, err = connect(p.name, false); err != nil {
		return nil, err
	}
	if err = c.look(p.position, p.schema); err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

// look has a connection see the tables as they are. What it sees already it goes on seeing: a transaction that has ended
// nothing is not begun again.
func (c *conn) look(position wire.Position, schema uint64) error {
	if c.reading && c.seen == position {
		return nil
	}
	if err := c.lookAway(); err != nil {
		return err
	}
	if c.schema != schema {
		c.forget()
	}
	c.reading, c.seen, c.schema = true, position, schema
	if err := c.do(begin); err != nil {
		return err
	}
	return c.do(firstRead)
}

// lookAway ends a connection's transaction, and with it what keeps former pages of the tables in memory.
func (c *conn) lookAway() error {
	if !c.reading {
		return nil
	}
	c.reading = false
	return c.do(rollback)
}

// maxIdle is how many connections are kept for later queries.
const maxIdle = 8

// giveBack keeps a connection for the next query.
func (p *Projection) giveBack(c *conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var err error
	if c.seen != p.position && !c.broken {
		err = c.lookAway()
	}
	if c.broken || err != nil || p.closed || len(p.idle) >= maxIdle {
		c.close()
		return
	}
	p.idle = append(p.idle, c)
}

// overtaken has the connections that wait for queries see nothing, since the tables are others now.
func (p *Projection) overtaken() {
	p.idle = slices.DeleteFunc(p.idle, func(c *conn) bool {
		err := c.lookAway()
		if err != nil {
			c.close()
		}
		return err != nil
	})
}
