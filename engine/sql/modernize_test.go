package sql

import (
	"bytes"
	"errors"
	"testing"

	"github.com/kimberlitedb/kimberlite-go/wire"
)

// age takes from a database what programs did not keep that could not dump tables.
func (p *Projection) age() error {
	w := p.writer
	if err := w.know([]string{"a_stream"}); err != nil { // SQLite looks into views when it drops columns
		return err
	}
	defer func() { _ = w.know(nil) }() // to forget a module cannot fail
	for _, t := range p.things {       //det:order-free: each for itself
		if t.kind != "table" {
			continue
		}
		s, err := w.shapeOf(t.name)
		if err != nil {
			return err
		}
		if !s.hidden() {
			continue
		}
		s.alias = "none"
		if err := w.exec(`DROP TRIGGER "$i%[1]d"; DROP TRIGGER "$u%[1]d"; DROP TRIGGER "$d%[1]d"; ALTER TABLE "$h%[1]d" DROP COLUMN "$row"; %[2]s`, t.generation, s.triggers(t)); err != nil {
			return err
		}
	}
	return w.exec(`DROP VIEW "$tables"; ALTER TABLE "$schema" DROP COLUMN place; ALTER TABLE "$state" DROP COLUMN dumps; DROP TABLE "$sequences";
CREATE VIEW "$tables" AS SELECT name, kind, table_name, sql, "from" AS position FROM "$schema" WHERE "to" IS NULL`)
}

// Tables of a program that could not dump them can be dumped from then on, and go on as they are.
func TestOldTablesCanBeDumped(t *testing.T) {
	texts := []string{
		"CREATE TABLE plain (n UNIQUE, s TEXT)", "CREATE TABLE counted (id INTEGER PRIMARY KEY AUTOINCREMENT, n)", "CREATE TABLE w (a, b, PRIMARY KEY (b, a)) WITHOUT ROWID",
		"CREATE INDEX i ON plain (s)", "CREATE VIEW v AS SELECT * FROM a_stream", "INSERT INTO plain VALUES (1, 'a'), (2, 'b'), (3, 'c')", "DELETE FROM plain WHERE n = 2",
		"INSERT INTO counted VALUES (7, 1)", "DELETE FROM counted", "INSERT INTO w VALUES (1, 2)", // here it becomes an old one
		"DELETE FROM plain WHERE n = 1", "INSERT INTO plain VALUES (4, 'd')", "INSERT INTO counted (n) VALUES (2)", "UPDATE w SET a = 5",
		"ALTER TABLE plain ADD COLUMN x DEFAULT 4", "UPDATE plain SET n = n + 10", "DROP TABLE counted",
	}
	const old = 10
	whole, aged := new(Projection), new(Projection)
	for _, p := range []**Projection{&whole, &aged} {
		q, err := Open()
		if err != nil {
			t.Fatal(err)
		}
		defer q.Close()
		*p = q
	}
	for i, text := range texts {
		if i == old {
			if err := aged.age(); err != nil {
				t.Fatal(err)
			}
			aged = again(t, aged)
			defer aged.Close()
		}
		for _, p := range []*Projection{whole, aged} {
			o, err := p.Apply([]*Entry{{Position: wire.Position(i + 1), Time: wire.Time(i + 1), SQL: text, Limits: Limits{Steps: 1 << 20, Pages: 1000, Bytes: 1 << 20}}})
			if err != nil || o[0].Err != nil {
				t.Fatal(text, o, err)
			}
		}
	}
	aged = again(t, aged)
	defer aged.Close()
	for at := wire.Position(1); int(at) <= len(texts); at++ {
		var one, other bytes.Buffer
		if err := whole.Dump(at, nil, func(p []byte) error { one.Write(p); return nil }); err != nil {
			t.Fatal(err)
		}
		err := aged.Dump(at, nil, func(p []byte) error { other.Write(p); return nil })
		switch {
		case at < old:
			if !errors.Is(err, ErrForgotten) {
				t.Errorf("position %d: %v", at, err)
			}
		case err != nil || !bytes.Equal(one.Bytes(), other.Bytes()):
			t.Errorf("position %d: %v, the dumps are\n%q\nand\n%q", at, err, one.Bytes(), other.Bytes())
		}
		r, e := aged.Query(&Question{SQL: "SELECT count(*) FROM plain", At: wire.Some(at), Steps: 1 << 20, Bytes: 1 << 20})
		if want := []int64{0, 0, 0, 0, 0, 3, 2, 2, 2, 2, 1, 2, 2, 2, 2, 2, 2}[at-1]; e != nil || r.Rows[0][0].Int != want {
			t.Errorf("position %d: %v %v, want %d", at, r, e, want)
		}
	}
}

// again takes tables up from a snapshot of them.
func again(t *testing.T, p *Projection) *Projection {
	var pages Pages
	for page := range p.Image().Pages() {
		if err := pages.Add(page); err != nil {
			t.Fatal(err)
		}
	}
	q, err := Open()
	if err == nil {
		err = q.Restore(&pages)
	}
	if err != nil {
		t.Fatal(err)
	}
	return q
}
