package sql_test

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/kimberlitedb/kimberlite-go/engine/sql"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// programs are statements of which random programs are made. %[1]d is a table's number, %[2]d another one's; %[3]d and %[4]d
// are any.
var programs = []string{
	`CREATE TABLE t%[1]d (id INTEGER PRIMARY KEY, n INTEGER CHECK (n <> 13), s TEXT COLLATE NOCASE UNIQUE, ok BOOLEAN)`,
	`CREATE TABLE t%[1]d (a INT, b TEXT COLLATE NOCASE, n INTEGER, PRIMARY KEY (b, a)) WITHOUT ROWID`,
	`CREATE TABLE t%[1]d (id INTEGER PRIMARY KEY, n INTEGER REFERENCES t%[2]d (id) ON DELETE CASCADE ON UPDATE CASCADE)`,
	`CREATE TABLE t%[1]d (id INTEGER PRIMARY KEY AUTOINCREMENT, n ANY, g INT AS (n + 1) STORED) STRICT`,
	`CREATE TABLE t%[1]d (id INTEGER PRIMARY KEY, n INTEGER REFERENCES t%[2]d (id) DEFERRABLE INITIALLY DEFERRED)`,
	`CREATE TABLE t%[1]d (n REAL, at TIMESTAMP DEFAULT CURRENT_TIMESTAMP)`,
	`CREATE TABLE t%[1]d AS SELECT * FROM t%[2]d`, `CREATE TABLE t%[1]d (n INT, k INT, b INT, t INT, PRIMARY KEY (k, b))`,
	`DROP TABLE t%[1]d`, `DROP TABLE IF EXISTS t%[1]d`,
	`CREATE VIEW v%[1]d AS SELECT n, count(*) AS c FROM t%[1]d GROUP BY n`,
	`CREATE VIEW v%[1]d AS SELECT 1 AS c, 2 AS n FROM t%[2]d`, `CREATE VIEW v%[1]d AS SELECT * FROM v%[2]d`, `DROP VIEW v%[1]d`,
	`CREATE INDEX i%[1]d ON t%[1]d (n)`, `CREATE UNIQUE INDEX i%[1]d ON t%[1]d (n)`, `DROP INDEX i%[1]d`,
	`ALTER TABLE t%[1]d ADD COLUMN e%[2]d INTEGER DEFAULT %[3]d`, `ALTER TABLE t%[1]d DROP COLUMN e%[2]d`,
	`ALTER TABLE t%[1]d RENAME COLUMN n TO m`, `ALTER TABLE t%[1]d RENAME COLUMN m TO n`, `ALTER TABLE t%[1]d RENAME TO t%[2]d`,
	`INSERT INTO t%[1]d (n) VALUES (%[3]d)`, `INSERT INTO t%[1]d (n) VALUES (%[3]d), (%[4]d), (%[3]d + 2)`,
	`INSERT INTO t%[1]d (id, n) VALUES (%[3]d, %[4]d)`, `INSERT INTO t%[1]d (id, s) VALUES (%[3]d, 'S' || %[4]d), (%[4]d, 's' || %[3]d)`,
	`INSERT INTO t%[1]d (a, b, n) VALUES (%[3]d, 'x', %[4]d), (%[4]d, 'X', 1) RETURNING a, b`,
	`INSERT INTO t%[1]d (id, n) VALUES (%[3]d, 7) ON CONFLICT (id) DO UPDATE SET n = n + excluded.n`,
	`INSERT OR IGNORE INTO t%[1]d (id, n) SELECT id + 1, n FROM t%[2]d`,
	`REPLACE INTO t%[1]d (id, n, s) VALUES (%[3]d, %[4]d, 's' || %[4]d)`, `REPLACE INTO t%[1]d (a, b) VALUES (%[3]d, 'X')`,
	`INSERT OR FAIL INTO t%[1]d (id, n) VALUES (%[3]d, 1), (%[4]d, 2), (%[3]d, 3)`, `INSERT OR ROLLBACK INTO t%[1]d (id, n) VALUES (%[3]d, 1), (%[3]d, 2)`,
	`INSERT INTO t%[1]d (id, n) VALUES (%[3]d, %[4]d) RETURNING id, n`, `UPDATE OR FAIL t%[1]d SET id = id - 1 WHERE id > %[3]d`,
	`INSERT INTO t%[1]d (n) WITH RECURSIVE x(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM x) SELECT i FROM x`,
	`UPDATE t%[1]d SET n = n + %[3]d WHERE n > %[4]d`, `UPDATE OR REPLACE t%[1]d SET id = id + %[3]d`, `UPDATE t%[1]d SET id = %[3]d WHERE id = %[4]d`,
	`UPDATE OR IGNORE t%[1]d SET a = a + 1, b = upper(b)`, `UPDATE t%[1]d SET n = random() %% 100, ok = NOT ok RETURNING n`,
	`DELETE FROM t%[1]d WHERE n < %[3]d`, `DELETE FROM t%[1]d WHERE id IN (SELECT id FROM t%[2]d)`, `DELETE FROM t%[1]d`,
	`INSERT INTO t%[1]d (n) VALUES (date('now')), (%[3]d.5), (x'00ff'), (NULL)`, `INSERT OR IGNORE INTO t%[1]d (rowid, n) VALUES (%[3]d, %[4]d), (%[4]d, -0.0)`,
	`UPDATE OR IGNORE t%[1]d SET rowid = rowid + %[3]d`, `DELETE FROM t%[1]d WHERE rowid > %[3]d`, `CREATE INDEX j%[1]d ON t%[1]d (n DESC) WHERE n > %[3]d`,
}

// questions are what every position is asked.
func questions() (list []string) {
	for k := range 3 {
		list = append(list, fmt.Sprintf("SELECT *, quote(n) FROM t%d ORDER BY 1, 2, 3", k), fmt.Sprintf("SELECT count(*), sum(n), max(n) FROM t%d", k),
			fmt.Sprintf("SELECT 1 FROM t%d", k), fmt.Sprintf("SELECT count(*) FROM v%d WHERE EXISTS (SELECT 1 FROM t%d)", k, (k+1)%3),
			fmt.Sprintf("SELECT * FROM v%d ORDER BY 1, 2", k), fmt.Sprintf("SELECT a.n FROM t%d a JOIN t%d b ON a.n = b.n ORDER BY 1", k, (k+1)%3))
	}
	return append(list, `SELECT name, kind, table_name, sql, position FROM "$tables" ORDER BY position, name`, "SELECT date('now'), 1")
}

func open(t rapid.TB) *sql.Projection {
	p, err := sql.Open()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func entry(position int, text string) *sql.Entry {
	return &sql.Entry{
		Position: wire.Position(position), Time: wire.Time(position) * 86_400_000_000_000, SQL: text, Seed: [sql.SeedSize]byte{byte(position), 1},
		Limits: sql.Limits{Steps: 100_000, Pages: 1000, Bytes: 1 << 20},
	}
}

func ask(p *sql.Projection, text string, at wire.Option[wire.Position], now wire.Time) (*sql.Result, *wire.Error) {
	return p.Query(&sql.Question{SQL: text, At: at, Now: now, Steps: 1_000_000, Bytes: 1 << 20})
}

// A query as of a position is the same query of tables that were fed the entries up to it, and no others.
func TestThePastIsWhatItWas(t *testing.T) {
	if raced {
		t.Skip("nothing runs at the same time, and it would take minutes")
	}
	seen := map[string]int{}
	rapid.Check(t, func(t *rapid.T) {
		all := open(t)
		defer all.Close()
		fresh := open(t)
		defer fresh.Close()
		n := rapid.IntRange(1, 30).Draw(t, "statements")
		entries := make([]*sql.Entry, n)
		for i := range entries {
			entries[i] = drawEntry(t, i+1)
		}
		outcomes, err := all.Apply(entries)
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range outcomes {
			if seen["statements"]++; o.Err == nil {
				seen["carried out"]++
			}
		}
		for i, e := range entries {
			again, err := fresh.Apply([]*sql.Entry{e})
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(again[0], outcomes[i]) {
				t.Fatalf("%s: %+v, and %+v", e.SQL, again[0], outcomes[i])
			}
			for _, text := range questions() {
				compare(t, all, fresh, text, e)
			}
		}
	})
	if seen["carried out"]*4 < seen["statements"] {
		t.Errorf("%v: too little was carried out", seen)
	}
}

// statement draws a statement of a program.
func statement(t *rapid.T) string {
	number := func(name string, most int) string { return strconv.Itoa(rapid.IntRange(0, most).Draw(t, name)) }
	text := rapid.SampledFrom(programs).Draw(t, "statement")
	return strings.NewReplacer("%[1]d", number("table", 2), "%[2]d", number("other", 2), "%[3]d", number("a", 20), "%[4]d", number("b", 20), "%%", "%").Replace(text)
}

// statements draws several statements, some of which read.
func statements(t *rapid.T, least, most int) (list []string) {
	for range rapid.IntRange(least, most).Draw(t, "statements") {
		if rapid.IntRange(0, 3).Draw(t, "reads") == 0 {
			list = append(list, rapid.SampledFrom(questions()).Draw(t, "question"))
		} else {
			list = append(list, statement(t))
		}
	}
	return list
}

// batch returns an entry with several statements.
func batch(position int, texts []string) *sql.Entry {
	e := entry(position, "")
	for _, text := range texts {
		e.Batch = append(e.Batch, sql.Batched{SQL: text})
	}
	return e
}

// drawEntry draws an entry of a random program: a statement, or a batch.
func drawEntry(t *rapid.T, position int) *sql.Entry {
	if rapid.IntRange(0, 3).Draw(t, "alone") == 0 {
		return batch(position, statements(t, 2, 4))
	}
	return entry(position, statement(t))
}

func compare(t *rapid.T, all, fresh *sql.Projection, text string, e *sql.Entry) {
	then, e1 := ask(all, text, wire.Some(e.Position), 0)
	now, e2 := ask(fresh, text, wire.Option[wire.Position]{}, e.Time)
	switch {
	case (e1 == nil) != (e2 == nil), e1 != nil && e1.Code != e2.Code:
		t.Fatalf("%s as of position %d: %v, and then %v", text, e.Position, e1, e2)
	case e1 == nil && !(reflect.DeepEqual(then.Columns, now.Columns) && reflect.DeepEqual(then.Rows, now.Rows)):
		t.Fatalf("%s as of position %d: %v %v, and then %v %v", text, e.Position, then.Columns, then.Rows, now.Columns, now.Rows)
	}
}

// A table that is named with its schema would be read as of now, also where no column of it is read.
func TestThePastHasNoSchemas(t *testing.T) {
	p := open(t)
	defer p.Close()
	_, err := p.Apply([]*sql.Entry{
		entry(1, "CREATE TABLE t (id INTEGER PRIMARY KEY, n INTEGER)"), entry(2, "INSERT INTO t VALUES (1, 1)"),
		entry(3, "CREATE VIEW v AS SELECT 1 AS one FROM main.t"), entry(4, "DELETE FROM t"), entry(5, "DROP VIEW v"),
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		text   string
		at     wire.Position
		refuse bool
	}{
		{"SELECT 1 FROM t", 2, false}, {"SELECT n FROM t AS main", 2, false}, {"SELECT 'main.t' FROM t", 2, false},
		{"SELECT 1 FROM main.t", 2, true}, {`SELECT n FROM "MAIN" . t`, 2, true}, {"SELECT 2 FROM t, main.t", 2, true},
		{"SELECT one FROM v", 4, true}, {"SELECT 1 FROM v", 4, true}, {"SELECT 1 FROM t", 5, false},
	} {
		r, e := ask(p, c.text, wire.Some(c.at), 0)
		if refused := e != nil && strings.Contains(e.Message, "named together with its schema"); refused != c.refuse || !refused && e != nil {
			t.Errorf("%s as of position %d: %v, %v", c.text, c.at, r, e)
		}
		if e == nil && c.at == 2 && len(r.Rows) != 1 || e == nil && c.at == 5 && len(r.Rows) != 0 {
			t.Errorf("%s as of position %d: %v", c.text, c.at, r.Rows)
		}
	}
}

// Columns may have the names that the history's tables have for theirs.
func TestThePastOfColumnsNamedAsItsOwn(t *testing.T) {
	p := open(t)
	defer p.Close()
	for i, text := range []string{
		"CREATE TABLE t (k INT, k0 INT, b INT, t INT)", "CREATE TABLE w (k0 INT, k INT, b INT, t INT, PRIMARY KEY (k, k0)) WITHOUT ROWID",
		"INSERT INTO t VALUES (1, 2, 3, 4)", "INSERT INTO w VALUES (1, 2, 3, 4)", "UPDATE t SET k = 7", "UPDATE w SET k = 7",
		"ALTER TABLE t ADD COLUMN e", "ALTER TABLE w ADD COLUMN e", "DROP TABLE t", "DROP TABLE w",
	} {
		if o, err := p.Apply([]*sql.Entry{entry(i+1, text)}); err != nil || o[0].Err != nil {
			t.Errorf("%s: %v, %v", text, o, err)
		}
	}
	for at, want := range map[wire.Position]string{4: "t 1 w 2", 5: "t 7 w 2", 6: "t 7 w 7", 8: "t 7 w 7"} { //det:order-free: each for itself
		r, e := ask(p, "SELECT 't ' || t.k || ' w ' || w.k FROM t, w", wire.Some(at), 0)
		if e != nil || len(r.Rows) != 1 || r.Rows[0][0].Text != want {
			t.Errorf("position %d: %v, %v, want %s", at, r, e, want)
		}
	}
}
