package sql

import (
	"fmt"

	"github.com/ncruces/go-sqlite3"

	"github.com/kimberlitedb/kimberlite-go/wire"
)

// noteTime keeps when an entry with a number was committed.
func (c *conn) noteTime(number int64, at wire.Position, when wire.Time) (err error) {
	c.own = true
	if c.times == nil {
		if c.times, _, err = c.db.PrepareFlags(`INSERT INTO "$times" VALUES($1, $2, $3)`, sqlite3.PREPARE_PERSISTENT); err != nil {
			return err
		}
	}
	for i, v := range []int64{number, int64(at), int64(when)} {
		if err := c.times.BindInt64(i+1, v); err != nil {
			return err
		}
	}
	return c.times.Exec()
}

// moment returns when the last entry up to a position was committed. A position of which the history is forgotten is refused.
func (c *conn) moment(at wire.Position) (now wire.Time, e *wire.Error) {
	_, now, err := c.lastEntry(func(p wire.Position, _ wire.Time) bool { return p <= at })
	if err != nil {
		return 0, wire.Errorf(wire.InternalError, "the tables as of position %d: %v", at, err)
	}
	kept, err := c.oldest()
	if err != nil {
		return 0, wire.Errorf(wire.InternalError, "the tables as of position %d: %v", at, err)
	}
	if at < kept {
		return 0, wire.Errorf(wire.InvalidOffset, "the history of the tables is kept from position %d on; what they were before is trimmed", kept)
	}
	return now, nil
}

// before returns the position of the last entry that was committed at or before a time; 0 where none was, or none is kept.
func (p *Projection) before(t wire.Time) (wire.Position, error) {
	c, err := p.reader(false)
	if err != nil {
		return 0, err
	}
	defer p.giveBack(c)
	at, _, err := c.lastEntry(func(_ wire.Position, when wire.Time) bool { return when <= t })
	return at, err
}

// lastEntry returns the position and the time of the last entry that is early enough; zeros where none is. Both ascend.
func (c *conn) lastEntry(early func(wire.Position, wire.Time) bool) (at wire.Position, now wire.Time, err error) {
	c.own = true
	s, _, err := c.db.Prepare(`SELECT position, time FROM "$times" WHERE entry = $1`)
	if err != nil {
		return 0, 0, err
	}
	defer s.Close()
	var low, high int64
	for _, end := range []struct {
		text string
		to   *int64
	}{{`SELECT min(entry) FROM "$times"`, &low}, {`SELECT max(entry) + 1 FROM "$times"`, &high}} {
		if err := c.each(end.text, func(r *sqlite3.Stmt) { *end.to = r.ColumnInt64(0) }); err != nil {
			return 0, 0, err
		}
	}
	for low < high {
		middle := low + (high-low)/2
		if err := s.BindInt64(1, middle); err != nil {
			return 0, 0, err
		}
		if !s.Step() {
			return 0, 0, fmt.Errorf("entry %d has no time: %w", middle, s.Err())
		}
		if p, t := wire.Position(s.ColumnInt64(0)), wire.Time(s.ColumnInt64(1)); early(p, t) {
			at, now, low = p, t, middle+1
		} else {
			high = middle
		}
		if err := s.Reset(); err != nil {
			return 0, 0, err
		}
	}
	return at, now, nil
}
