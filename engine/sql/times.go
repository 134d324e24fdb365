package sql

import (
	"encoding/binary"
	"fmt"

	"github.com/ncruces/go-sqlite3"

	"github.com/kimberlitedb/kimberlite-go/wire"
)

// When entries were committed is kept by many of them in one row of $times: a row for each costs a quarter of a short statement.
//
//	+--------------+----------+-- ... --+
//	| position (8) | time (8) | the next |
//	+--------------+----------+-- ... --+
//
// Row n has the entries from n·timesAtOnce on; those that there are not yet are zeros. It has its full length when its first entry
// is carried out, so that pages are taken at the same entry at every replay, and is written over once for all entries of a transaction.

const (
	// timesAtOnce is how many entries are in a row: four rows fill a page.
	timesAtOnce = 63
	timesSize   = 16
)

// times is the row of $times that the next entry belongs to.
type times struct {
	row   [timesAtOnce * timesSize]byte
	ahead bool // of the database
}

func (t *times) put(i int64, at wire.Position, when wire.Time) {
	p := t.row[i*timesSize:]
	binary.BigEndian.PutUint64(p, uint64(at))
	binary.BigEndian.PutUint64(p[8:], uint64(when))
	t.ahead = true
}

func (t *times) at(i int64) (wire.Position, wire.Time) {
	p := t.row[i*timesSize:]
	return wire.Position(binary.BigEndian.Uint64(p)), wire.Time(binary.BigEndian.Uint64(p[8:]))
}

// count returns how many entries are in the row.
func (t *times) count() (n int64) {
	for ; n < timesAtOnce; n++ {
		if at, _ := t.at(n); at == 0 {
			break
		}
	}
	return n
}

// noteTime keeps when the next entry was committed.
func (p *Projection) noteTime(at wire.Position, when wire.Time) error {
	i := p.next % timesAtOnce
	if i == 0 {
		if err := p.writer.beginTimes(p.next / timesAtOnce); err != nil {
			return err
		}
		p.times = times{}
	}
	p.times.put(i, at, when)
	if i == timesAtOnce-1 {
		if err := p.writeTimes(p.next / timesAtOnce); err != nil {
			return err
		}
	}
	p.next++
	return nil
}

// settleTimes has the database know when the entries so far were committed.
func (p *Projection) settleTimes() error {
	if !p.times.ahead {
		return nil
	}
	return p.writeTimes((p.next - 1) / timesAtOnce)
}

func (p *Projection) writeTimes(row int64) error {
	s, err := p.writer.ours(&p.writer.putTimes, `UPDATE "$times" SET entries = ?2 WHERE row = ?1`)
	if err != nil {
		return err
	}
	if err := s.BindInt64(1, row); err != nil {
		return err
	}
	if err := s.BindBlob(2, p.times.row[:]); err != nil {
		return err
	}
	p.times.ahead = false
	return s.Exec()
}

// beginTimes takes the room of a row.
func (c *conn) beginTimes(row int64) error {
	s, err := c.ours(&c.addTimes, fmt.Sprintf(`INSERT INTO "$times" VALUES(?1, zeroblob(%d))`, timesAtOnce*timesSize))
	if err != nil {
		return err
	}
	if err := s.BindInt64(1, row); err != nil {
		return err
	}
	return s.Exec()
}

// moment returns when the last entry up to a position was committed. A position of which the history is forgotten is refused.
func (c *conn) moment(at wire.Position) (wire.Time, *wire.Error) {
	last, kept, err := c.lastEntry(func(e committed) bool { return e.position <= at })
	switch {
	case err != nil:
		return 0, wire.Errorf(wire.InternalError, "the tables as of position %d: %v", at, err)
	case at < kept:
		return 0, wire.Errorf(wire.InvalidOffset, "the history of the tables is kept from position %d on; what they were before is trimmed", kept)
	}
	return last.time, nil
}

// before returns the position of the last entry that was committed at or before a time; 0 where none was, or none is kept.
func (p *Projection) before(t wire.Time) (wire.Position, error) {
	c, err := p.reader(false)
	if err != nil {
		return 0, err
	}
	defer p.giveBack(c)
	last, _, err := c.lastEntry(func(e committed) bool { return e.time <= t })
	return last.position, err
}

// committed says when an entry was.
type committed struct {
	number   int64
	position wire.Position
	time     wire.Time
}

// lastEntry returns the last entry that is early enough, of those from the first position on that can be asked for, which it returns too.
// Where none is, the number is -1. Positions and times both ascend.
func (c *conn) lastEntry(early func(committed) bool) (last committed, kept wire.Position, err error) {
	last.number = -1
	if kept, err = c.oldest(); err != nil {
		return last, kept, err
	}
	var low, high int64
	for _, end := range []struct {
		text string
		to   *int64
	}{{`SELECT min(row) FROM "$times"`, &low}, {`SELECT max(row) + 1 FROM "$times"`, &high}} {
		if err := c.each(end.text, func(r *sqlite3.Stmt) { *end.to = r.ColumnInt64(0) }); err != nil {
			return last, kept, err
		}
	}
	for low < high {
		middle := low + (high-low)/2
		t, err := c.readTimes(middle)
		if err != nil {
			return last, kept, err
		}
		if e := t.entry(middle, 0); !early(e) {
			high = middle
			continue
		}
		low = middle + 1
		for i := range t.count() {
			if e := t.entry(middle, i); early(e) && e.position >= kept {
				last = e
			}
		}
	}
	return last, kept, nil
}

func (t *times) entry(row, i int64) committed {
	at, when := t.at(i)
	return committed{row*timesAtOnce + i, at, when}
}

// readTimes returns a row of $times.
func (c *conn) readTimes(row int64) (t times, err error) {
	n := 0
	err = c.each(fmt.Sprintf(`SELECT entries FROM "$times" WHERE row = %d`, row), func(r *sqlite3.Stmt) { n = copy(t.row[:], r.ColumnRawBlob(0)) })
	if err == nil && n != len(t.row) {
		err = fmt.Errorf("row %d of the entries' times has %d bytes", row, n)
	}
	return t, err
}

// recallTimes learns from the database how many entries there were, and the position of the last.
func (p *Projection) recallTimes() error {
	if err := p.gatherTimes(); err != nil {
		return err
	}
	row := int64(-1)
	err := p.writer.each(`SELECT row FROM "$times" ORDER BY row DESC LIMIT 1`, func(r *sqlite3.Stmt) { row = r.ColumnInt64(0) })
	if err != nil || row < 0 {
		return err
	}
	if p.times, err = p.writer.readTimes(row); err != nil {
		return err
	}
	n := p.times.count()
	if n == 0 {
		return fmt.Errorf("row %d of the entries' times is empty", row)
	}
	p.next = row*timesAtOnce + n
	p.position, _ = p.times.at(n - 1)
	return nil
}

// firstTime keeps when an entry was committed that is the first to be known. Where others come before it in a row, it stands there too.
func (p *Projection) firstTime(e committed) error {
	if e.number%timesAtOnce != 0 {
		if err := p.writer.beginTimes(e.number / timesAtOnce); err != nil {
			return err
		}
		for k := range e.number % timesAtOnce {
			p.times.put(k, e.position, e.time)
		}
	}
	p.next = e.number
	return p.noteTime(e.position, e.time)
}

// gatherTimes has rows of many entries in the place of those of one each, as snapshots had them at first.
func (p *Projection) gatherTimes() error {
	w, former := p.writer, false
	err := w.each(`SELECT 1 FROM pragma_table_info('$times') WHERE name = 'time'`, func(*sqlite3.Stmt) { former = true })
	if err != nil || !former {
		return err
	}
	var list []committed
	err = w.each(`SELECT entry, position, time FROM "$times" ORDER BY entry`, func(r *sqlite3.Stmt) {
		list = append(list, committed{r.ColumnInt64(0), wire.Position(r.ColumnInt64(1)), wire.Time(r.ColumnInt64(2))})
	})
	if err == nil {
		err = w.exec(`BEGIN IMMEDIATE; DROP TABLE "$times"; %s`, timesTable)
	}
	if err != nil {
		return err
	}
	for i, e := range list {
		if i == 0 {
			err = p.firstTime(e)
		} else {
			p.next = e.number
			err = p.noteTime(e.position, e.time)
		}
		if err != nil {
			return err
		}
	}
	if err := p.settleTimes(); err != nil {
		return err
	}
	return w.exec("COMMIT")
}
