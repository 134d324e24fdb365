package sql_test

import (
	"strings"
	"testing"

	"github.com/kimberlitedb/kimberlite-go/engine/sql"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// A statement that fails has changed nothing, however far it has got; those that are applied together with it have.
func TestAFailedStatementChangesNothing(t *testing.T) {
	for _, c := range []struct {
		name, text string
		code       wire.Code
	}{
		{"fail", "INSERT OR FAIL INTO t VALUES (10), (11), (1)", wire.ConstraintViolation},
		{"update or fail", "UPDATE OR FAIL t SET id = 5 - id", wire.ConstraintViolation},
		{"rollback", "INSERT OR ROLLBACK INTO t VALUES (10), (1)", wire.ConstraintViolation},
		{"abort", "INSERT INTO t VALUES (10), (1)", wire.ConstraintViolation},
		{"deferred", "INSERT INTO late VALUES (1, 77)", wire.ConstraintViolation},
		{"deferred, returning", "INSERT INTO late VALUES (1, 77) RETURNING id", wire.ConstraintViolation},
		{"too large", "INSERT INTO t SELECT id + 10 FROM t RETURNING hex(zeroblob(2000))", wire.ResultTooLarge},
		{"endless", "INSERT INTO t WITH RECURSIVE x(i) AS (SELECT 10 UNION ALL SELECT i + 1 FROM x) SELECT i FROM x", wire.Timeout},
		{"no such function", "INSERT INTO t SELECT nosuch(id) FROM t", wire.QueryExecutionError},
		{"full", "INSERT INTO blobs SELECT zeroblob(100000) FROM t a, t b, t c", wire.QuotaExceeded},
		{"table", "CREATE TABLE t2 AS SELECT nosuch(1) AS id", wire.QueryExecutionError},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := open(t)
			defer p.Close()
			texts := []string{
				"CREATE TABLE t (id INTEGER PRIMARY KEY)", "CREATE TABLE late (id INTEGER PRIMARY KEY, t INTEGER REFERENCES t (id) DEFERRABLE INITIALLY DEFERRED)",
				"CREATE TABLE blobs (b)", "INSERT INTO t VALUES (1), (2), (3)", c.text, "INSERT INTO t VALUES (4)",
			}
			var entries []*sql.Entry
			for i, text := range texts {
				entries = append(entries, entry(i+1, text))
				entries[i].Limits.Pages, entries[i].Limits.Bytes = 100, 4096
				if strings.HasPrefix(text, "CREATE TABLE ") {
					entries[i].Makes = strings.Fields(text)[2]
				}
			}
			outcomes, err := p.Apply(entries)
			if err != nil {
				t.Fatal(err)
			}
			for i, o := range outcomes {
				if failed := o.Err != nil; failed != (i == 4) || failed && o.Err.Code != c.code {
					t.Errorf("%s: %v", texts[i], o.Err)
				}
			}
			for text, want := range map[string]int64{
				"SELECT sum(id) FROM t": 10, "SELECT count(*) FROM late": 0, "SELECT count(*) FROM blobs": 0, `SELECT count(*) FROM "$tables"`: 3,
			} {
				if r, e := ask(p, text, wire.Option[wire.Position]{}, 0); e != nil || r.Rows[0][0].Int != want {
					t.Errorf("%s: %v %v, expected is %d", text, r, e, want)
				}
			}
		})
	}
}

// A query that was asked before is compiled anew where tables have changed.
func TestQueriesSeeNewColumns(t *testing.T) {
	p := open(t)
	defer p.Close()
	for i, text := range []string{"CREATE TABLE t (a)", "INSERT INTO t VALUES (1)", "ALTER TABLE t ADD COLUMN b DEFAULT 2", "ALTER TABLE t DROP COLUMN a"} {
		e := entry(i+1, text)
		e.Makes = "t"
		if o, err := p.Apply([]*sql.Entry{e}); err != nil || o[0].Err != nil {
			t.Fatal(err, o)
		}
		want := []string{"a", "a", "a b", "b"}[i]
		if r, e := ask(p, "SELECT * FROM t", wire.Option[wire.Position]{}, 0); e != nil || strings.Join(r.Columns, " ") != want {
			t.Errorf("after %s: %v %v, expected is %s", text, r, e, want)
		}
	}
}
