package sql

import (
	"fmt"

	"github.com/ncruces/go-sqlite3"

	"github.com/kimberlitedb/kimberlite-go/wire"
)

// Trim says how much of the tables' history an entry forgets. The tables stay as they are; what they were before the last entry that is
// too old can be asked no more, and no row is kept that nobody can ask for. What that one left can be: so were the tables later on.
type Trim struct {
	Upto wire.Time     // what was committed up to then is too old
	Keys wire.Position // outcomes of statements with a key are kept from here on, however old
}

// trim carries out an entry that forgets history. It does so whatever limits there are, since it frees space.
func (p *Projection) trim(e *Entry) error {
	if err := p.unlimited(); err != nil {
		return err
	}
	w := p.writer
	if err := p.settleTimes(); err != nil {
		return err
	}
	last, _, err := w.lastEntry(func(x committed) bool { return x.time <= e.Trim.Value.Upto })
	if err != nil || last.number < 0 {
		return err
	}
	kept := last.position
	if err := w.forgetShapes(kept); err != nil {
		return err
	}
	p.defined++
	w.forget()
	return w.exec(`DELETE FROM "$times" WHERE row < %d; DELETE FROM "$keyed" WHERE position < %d; DELETE FROM "$schema" WHERE "to" <= %d; UPDATE "$state" SET kept = %[3]d;
DELETE FROM "$sequences" WHERE generation NOT IN (SELECT generation FROM "$schema" WHERE kind = 'table')
OR "from" < (SELECT max("from") FROM "$sequences" AS later WHERE later.generation = "$sequences".generation AND later."from" <= %[3]d)`,
		last.number/timesAtOnce, min(kept, e.Trim.Value.Keys), kept)
}

// forgetShapes drops the rows of the history that are of no position from one on, and the history of tables that nobody can ask
// for any more.
func (c *conn) forgetShapes(kept wire.Position) error {
	type shape struct {
		generation int64
		seen       bool // its table can be asked for
	}
	var list []shape
	err := c.each(fmt.Sprintf(`SELECT generation, max("to" IS NULL OR "to" > %d) FROM "$schema" WHERE kind = 'table' GROUP BY generation ORDER BY generation`, kept), func(r *sqlite3.Stmt) {
		list = append(list, shape{r.ColumnInt64(0), r.ColumnBool(1)})
	})
	for _, s := range list {
		if err != nil {
			break
		}
		if s.seen {
			err = c.exec(`DELETE FROM "$h%d" WHERE "$to" <= %d`, s.generation, kept)
		} else {
			err = c.exec(`DROP TABLE "$h%d"`, s.generation)
		}
	}
	return err
}

// oldest returns the first position that can be asked for.
func (c *conn) oldest() (kept wire.Position, err error) {
	err = c.each(`SELECT kept FROM "$state"`, func(r *sqlite3.Stmt) { kept = wire.Position(r.ColumnInt64(0)) })
	return kept, err
}
