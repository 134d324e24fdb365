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
	last, kept := int64(-1), wire.Position(0) // of what is too old
	if err := w.each(fmt.Sprintf(`SELECT entry, position FROM "$times" WHERE entry < ifnull((SELECT entry FROM "$times" WHERE time > %d ORDER BY entry LIMIT 1), %d) ORDER BY entry DESC LIMIT 1`, e.Trim.Value.Upto, p.next), func(r *sqlite3.Stmt) {
		last, kept = r.ColumnInt64(0), wire.Position(r.ColumnInt64(1))
	}); err != nil || last < 0 {
		return err
	}
	if err := w.forgetShapes(kept); err != nil {
		return err
	}
	p.defined++
	w.forget()
	return w.exec(`DELETE FROM "$times" WHERE entry < %d; DELETE FROM "$keyed" WHERE position < %d; DELETE FROM "$schema" WHERE "to" <= %d; UPDATE "$state" SET kept = %[3]d`,
		last, min(kept, e.Trim.Value.Keys), kept)
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
