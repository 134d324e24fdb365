package sql

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/ncruces/go-sqlite3"

	"github.com/kimberlitedb/kimberlite-go/wire"
)

// counts reports whether a table may have AUTOINCREMENT.
func (t *thing) counts() bool {
	return t.kind == "table" && strings.Contains(strings.ToUpper(t.sql), "AUTOINCREMENT")
}

// noteSequences keeps what AUTOINCREMENT has counted up to in each table, where an entry has changed that. SQLite counts also for rows
// that it does not add, so that triggers could not tell.
func (p *Projection) noteSequences(e *Entry) error {
	if !p.counts {
		return nil
	}
	s, err := p.writer.ours(&p.writer.counted, `SELECT name, seq FROM sqlite_sequence`)
	if err != nil {
		return err
	}
	for s.Step() {
		t, seq := p.things[wire.Fold(s.ColumnText(0))], s.ColumnInt64(1)
		if t == nil || seq == p.counted[t.generation] {
			continue
		}
		if err := p.noteSequence(e, t, seq); err != nil {
			return errors.Join(err, s.Reset())
		}
	}
	return errors.Join(s.Err(), s.Reset())
}

func (p *Projection) noteSequence(e *Entry, t *thing, seq int64) error {
	s, err := p.writer.ours(&p.writer.addCounted, `INSERT INTO "$sequences" SELECT ?1, ?2, ?3
WHERE ?3 > ifnull((SELECT seq FROM "$sequences" WHERE generation = ?1 ORDER BY "from" DESC LIMIT 1), 0)`)
	if err != nil {
		return err
	}
	for i, v := range []int64{t.generation, int64(e.Position), seq} {
		if err := s.BindInt64(i+1, v); err != nil {
			return err
		}
	}
	p.counted[t.generation] = seq
	return s.Exec()
}

// sequence returns what AUTOINCREMENT had counted up to in a table, as of a position.
func (c *conn) sequence(t *thing, at wire.Position) (seq int64, err error) {
	err = c.each(fmt.Sprintf(`SELECT seq FROM "$sequences" WHERE generation = %d AND "from" <= %d ORDER BY "from" DESC LIMIT 1`, t.generation, at), func(r *sqlite3.Stmt) {
		seq = r.ColumnInt64(0)
	})
	return seq, err
}

// modernize has a database of a program that could not dump tables keep what dumps need: they can be taken of positions from its own
// last entry on.
func (p *Projection) modernize() error {
	w := p.writer
	old := true
	if err := w.each(`SELECT 1 FROM pragma_table_info('$state') WHERE name = 'dumps'`, func(*sqlite3.Stmt) { old = false }); err != nil || !old {
		return err
	}
	if err := w.do(beginWriting); err != nil {
		return err
	}
	err := w.exec(`ALTER TABLE "$schema" ADD COLUMN place INTEGER;
UPDATE "$schema" SET place = (SELECT m.rowid FROM sqlite_schema AS m WHERE m.name = "$schema".name AND m.type = kind) WHERE "to" IS NULL;
CREATE TABLE "$sequences"(generation INTEGER, "from" INTEGER, seq INTEGER, PRIMARY KEY(generation, "from")) WITHOUT ROWID;
CREATE TABLE "$count"(id INTEGER PRIMARY KEY AUTOINCREMENT); DROP TABLE "$count";
ALTER TABLE "$state" ADD COLUMN dumps INTEGER; UPDATE "$state" SET dumps = %d`, p.position)
	for _, name := range slices.Sorted(maps.Keys(p.things)) {
		if t := p.things[name]; t.kind == "table" && err == nil {
			err = w.modernize(t)
		}
	}
	if err == nil {
		err = p.noteSequences(&Entry{Position: p.position})
	}
	if err != nil {
		return err
	}
	return w.do(commit)
}

// modernize has the history of a table keep the rows' ids.
func (c *conn) modernize(t *thing) error {
	s, err := c.shapeOf(t.name)
	if err != nil || !s.hidden() {
		return err
	}
	return c.exec(`ALTER TABLE "$h%[1]d" ADD COLUMN "$row" INTEGER; DROP TRIGGER "$i%[1]d"; DROP TRIGGER "$u%[1]d"; DROP TRIGGER "$d%[1]d"; %[2]s`, t.generation, s.triggers(t))
}
