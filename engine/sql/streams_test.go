package sql_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/kimberlitedb/kimberlite-go/engine/sql"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// streamed returns tables, and streams beside them: each has n events with the JSON {"n":offset%7}, and event times that are
// ten times the offset.
func streamed(t testing.TB, n int, statements ...string) (*sql.Projection, *fakeStreams) {
	p := open(t)
	t.Cleanup(p.Close)
	f := &fakeStreams{streams: map[string][]sql.Event{}, known: wire.Position(len(statements) + n)}
	for _, name := range []string{"orders", "line-items.2", "ünïcode", "$audit", "select"} {
		for i := range n {
			f.streams[name] = append(f.streams[name], fakeEvent(i, wire.Time(10*i), len(statements)+1+i/2, fmt.Sprintf(`{"n":%d}`, i%7)))
		}
	}
	for i, text := range statements {
		o, err := p.Apply([]*sql.Entry{entry(i+1, text)})
		if err != nil || o[0].Err != nil {
			t.Fatal(text, err, o)
		}
	}
	return p, f
}

// rowsOf returns the answer to a query as text, or its refusal.
func rowsOf(p *sql.Projection, f *fakeStreams, text string, params ...wire.Value) string {
	f.passed, f.bare = 0, 0
	q := &sql.Question{SQL: text, Params: params, Steps: 50_000_000, Bytes: 1 << 20, Streams: f}
	r, e := p.Query(q)
	if e != nil {
		return e.Code.String() + ": " + e.Message
	}
	var rows []string
	for _, row := range r.Rows {
		var list []string
		for _, v := range row {
			list = append(list, strings.TrimSpace(fmt.Sprint(v.Int, v.Text)))
		}
		rows = append(rows, strings.Join(list, ","))
	}
	return strings.Join(rows, " ")
}

// However a stream is named, it is the one that is meant; and where something else is, that.
func TestNamesOfStreams(t *testing.T) {
	p, f := streamed(t, 20,
		"CREATE TABLE t (id INTEGER PRIMARY KEY, orders INTEGER)", "INSERT INTO t VALUES (1, 2), (3, 4)",
		`CREATE VIEW v AS SELECT count(*) AS c FROM orders WHERE "offset" >= 5`, "CREATE VIEW w AS SELECT c FROM v",
		"ALTER TABLE t RENAME COLUMN id TO key", "ALTER TABLE t RENAME TO u", "CREATE TABLE t (key INTEGER, orders INTEGER)", "INSERT INTO t SELECT * FROM u")
	for text, want := range map[string]string{
		`SELECT count(*) FROM orders`:                                                   "20",
		`SELECT count(*) FROM ORDERS`:                                                   "20",
		`SELECT count(*) FROM "Orders"`:                                                 "20",
		`SELECT count(*) FROM [orders] AS o`:                                            "20",
		`SELECT count(*) FROM 'orders'`:                                                 "20",
		`SELECT count(*) FROM main.orders`:                                              "20",
		`SELECT count(*) FROM temp.orders`:                                              "20",
		`SELECT count(*) FROM "line-items.2" JOIN [Line-Items.2] AS b USING ("offset")`: "20",
		`SELECT count(*) FROM "ünïcode"`:                                                "20",
		`SELECT count(*) FROM "select"`:                                                 "20",
		`SELECT count(*) FROM "$audit"`:                                                 "20",
		`SELECT count(*) FROM "$sql"`:                                                   "TableNotFound: no such table: $sql",
		`SELECT count(*) FROM "$schema"`:                                                "QueryExecutionError: $schema is the system's",
		`SELECT orders FROM t ORDER BY 1`:                                               "2 4",
		`SELECT count(*) FROM t AS orders`:                                              "2",
		`SELECT orders.key FROM t AS orders ORDER BY 1`:                                 "1 3",
		`WITH orders (a) AS (VALUES (7)) SELECT a FROM orders`:                          "7",
		`WITH orders AS (SELECT count(*) AS n FROM main.orders) SELECT n FROM orders`:   "20",
		`SELECT c FROM v`:                                                               "15",
		`SELECT * FROM w`:                                                               "15",
		`SELECT absent FROM orders`:                                                     "QueryExecutionError: no such column: absent, at line 1, column 8",
		`SELECT count(*) FROM orders(1)`:                                                "QueryExecutionError: too many arguments on orders() - max 0",
		`SELECT rowid FROM orders WHERE rowid = 3`:                                      "3",
		`SELECT count(*) FROM pragma_table_info('t')`:                                   "QueryExecutionError: the tables of SQLite itself are not available; see the table \"$tables\"",
		`SELECT value FROM json_each('[5]')`:                                            "5",
		`SELECT count(*) FROM orders JOIN t ON "offset" = key`:                          "2",
		`SELECT count(*) FROM t WHERE orders IN (SELECT "offset" FROM orders)`:          "2",
		`SELECT max(position) FROM orders WHERE data->>'n' = 6`:                         "15",
	} {
		if got := rowsOf(p, f, text); got != want {
			t.Errorf("%s gives %s, expected is %s", text, got, want)
		}
	}
	if got := rowsOf(p, &fakeStreams{}, "SELECT count(*) FROM orders"); got != "TableNotFound: no such table: orders" {
		t.Errorf("a stream that is no more: %s", got)
	}
	if got := rowsOf(p, f, "SELECT count(*) FROM orders"); got != "20" {
		t.Errorf("a stream that is there again: %s", got)
	}
}

// Streams whose names are those of SQLite's own tables and functions are not in their way.
func TestStreamsAreNotInTheWayOfSQLite(t *testing.T) {
	p, f := streamed(t, 3, "CREATE TABLE t (a)")
	for _, name := range []string{"sqlite_schema", "sqlite_master", "pragma_table_list", "json_each", "json_tree", "count"} {
		f.streams[name] = f.streams["orders"]
	}
	for text, want := range map[string]string{
		`SELECT count(*) FROM sqlite_schema`:                        "QueryExecutionError: the tables of SQLite itself are not available; see the table \"$tables\"",
		`SELECT sql FROM sqlite_master`:                             "QueryExecutionError: the tables of SQLite itself are not available; see the table \"$tables\"",
		`SELECT name FROM pragma_table_list`:                        "QueryExecutionError: the tables of SQLite itself are not available; see the table \"$tables\"",
		`SELECT value FROM json_each('[5]') JOIN orders LIMIT 1`:    "5",
		`SELECT count(*) FROM count`:                                "3",
		`SELECT count(*) FROM json_tree('{"a":1}') WHERE key = 'a'`: "1",
	} {
		if got := rowsOf(p, f, text); got != want {
			t.Errorf("%s gives %s, expected is %s", text, got, want)
		}
	}
}

// What bounds a scan is pushed down, and no more events are looked at than it takes.
func TestBoundsArePushedDown(t *testing.T) {
	p, f := streamed(t, 100)
	for _, c := range []struct {
		text         string
		rows         string
		passed, bare int
	}{
		{`SELECT count(*) FROM orders`, "100", 100, 100},
		{`SELECT max("offset") FROM orders`, "99", 1, 1},
		{`SELECT min("offset") FROM orders`, "0", 1, 1},
		{`SELECT max(position) FROM orders`, "50", 1, 0},
		{`SELECT "offset" FROM orders ORDER BY "offset" DESC LIMIT 2`, "99 98", 2, 2},
		{`SELECT "offset" FROM orders ORDER BY position DESC, "offset" DESC LIMIT 1`, "99", 1, 0},
		{`SELECT count(*) FROM orders WHERE "offset" >= 10 AND "offset" < 20`, "10", 10, 10},
		{`SELECT count(*) FROM orders WHERE "offset" BETWEEN 10 AND 20`, "11", 11, 11},
		{`SELECT count(*) FROM orders WHERE timestamp > 100 AND timestamp <= 200`, "10", 10, 0},
		{`SELECT count(*) FROM orders WHERE position = 3`, "2", 2, 0},
		{`SELECT count(*) FROM orders WHERE "offset" IN (3, 5, 300)`, "2", 2, 2},
		{`SELECT count(*) FROM orders WHERE "offset" = 1 OR "offset" = 2`, "2", 2, 2},
		{`SELECT count(*) FROM orders WHERE "offset" > 9223372036854775807`, "0", 0, 0},
		{`SELECT count(*) FROM orders WHERE "offset" < -9223372036854775808`, "0", 0, 0},
		{`SELECT count(*) FROM orders WHERE "offset" <= 1e300 AND "offset" >= -1e300`, "100", 100, 100},
		{`SELECT count(*) FROM orders WHERE "offset" >= 97.5`, "2", 3, 3},
		{`SELECT count(*) FROM orders WHERE "offset" >= '98'`, "2", 100, 100},
		{`SELECT count(*) FROM orders WHERE "offset" = NULL`, "0", 0, 0},
		{`SELECT count(*) FROM orders WHERE "offset" > x'00'`, "0", 100, 100},
		{`SELECT count(*) FROM orders a JOIN orders b ON b."offset" = a."offset" + 1 WHERE a."offset" < 5`, "5", 10, 10},
		{`SELECT count(*) FROM orders a LEFT JOIN "line-items.2" b ON b."offset" = a."offset" AND b."offset" < 3 WHERE a."offset" < 5`, "5", 8, 8},
	} {
		if got := rowsOf(p, f, c.text); got != c.rows || f.passed != c.passed || f.bare != c.bare {
			t.Errorf("%s gives %s after %d events, %d of them bare; expected are %s, %d and %d", c.text, got, f.passed, f.bare, c.rows, c.passed, c.bare)
		}
	}
	plan := rowsOf(p, f, `EXPLAIN QUERY PLAN SELECT data FROM orders WHERE "offset" >= $1 AND timestamp < $2`, wire.Value{Kind: wire.BigInt, Int: 1}, wire.Value{Kind: wire.Timestamp, Int: 2})
	if want := `SCAN orders VIRTUAL TABLE INDEX 0:"offset">=? AND timestamp<?`; !strings.Contains(plan, want) {
		t.Errorf("the plan is %s", plan)
	}
}

// Data that is no UTF-8 is a blob, and an empty event an empty text.
func TestDataOfEvents(t *testing.T) {
	p, f := streamed(t, 0)
	f.streams["orders"], f.known = []sql.Event{fakeEvent(0, 1, 1, ""), fakeEvent(1, 2, 1, "\xff\x00"), fakeEvent(2, 3, 1, "a\x00b")}, 1
	if got, want := rowsOf(p, f, "SELECT typeof(data) || hex(data), checksum FROM orders"), "0text,0 0blobFF00,3539857293 0text610062,367556721"; got != want {
		t.Errorf("%s, expected is %s", got, want)
	}
}

// A query sees streams up to the first statement that its tables do not show, or tables of then where they are ahead.
func TestStreamsAndTablesAreOfOnePosition(t *testing.T) {
	p, f := streamed(t, 10, "CREATE TABLE t (a)", "INSERT INTO t VALUES (1)")
	ask := func(text string) (string, wire.Position) {
		r, e := p.Query(&sql.Question{SQL: text, Steps: 1_000_000, Bytes: 1 << 20, Streams: f})
		if e != nil {
			t.Fatal(e)
		}
		return fmt.Sprint(r.Rows[0][0].Int, r.Rows[0][1].Int), r.Position
	}
	const text = "SELECT (SELECT count(*) FROM orders), (SELECT count(*) FROM t)"
	f.known = 7
	if got, at := ask(text); got != "10 1" || at != 7 {
		t.Errorf("%s at %d", got, at)
	}
	f.pending = []wire.Position{2, 5}
	if got, at := ask(text); got != "4 1" || at != 4 {
		t.Errorf("before a pending statement: %s at %d", got, at)
	}
	f.pending, f.known = nil, 1
	if got, at := ask(text); got != "0 0" || at != 1 {
		t.Errorf("behind the tables: %s at %d", got, at)
	}
}

// Scans count against the budget, and end where nobody waits for them any more.
func TestScansEnd(t *testing.T) {
	p, f := streamed(t, 1000)
	const text = "SELECT count(*) FROM orders a, orders b WHERE a.data > b.data"
	if _, e := p.Query(&sql.Question{SQL: text, Steps: 20_000, Bytes: 1 << 20, Streams: f}); e == nil || e.Code != wire.Timeout {
		t.Error(e)
	}
	stop := &sql.Stop{}
	stop.Stop()
	if _, e := p.Query(&sql.Question{SQL: text, Steps: 1 << 40, Bytes: 1 << 20, Streams: f, Stop: stop}); e == nil || !strings.Contains(e.Message, "cancelled") {
		t.Error(e)
	}
	if got := rowsOf(p, f, "SELECT count(*) FROM orders"); got != "1000" {
		t.Error(got)
	}
}

// Statements that write see no streams, and neither do those that were compiled for queries.
func TestWritersSeeNoStreams(t *testing.T) {
	p, f := streamed(t, 5, "CREATE TABLE t (a)", "CREATE VIEW v AS SELECT data FROM orders")
	if got := rowsOf(p, f, "SELECT count(*) FROM v"); got != "5" {
		t.Error(got)
	}
	for i, text := range []string{
		"INSERT INTO t SELECT data FROM orders", "INSERT INTO t SELECT data FROM v", "DELETE FROM orders", `INSERT INTO orders VALUES (1, 2, 3, 4, 5)`,
		`UPDATE orders SET data = 1`, "DROP TABLE orders", "ALTER TABLE orders RENAME TO other", "CREATE INDEX i ON orders (data)", "CREATE TABLE c AS SELECT * FROM orders",
	} {
		o, err := p.Apply([]*sql.Entry{entry(10+i, text)})
		if err != nil || o[0].Err == nil || o[0].Err.Code != wire.TableNotFound {
			t.Errorf("%s: %v %+v", text, err, o)
		}
	}
	if _, e := p.Query(&sql.Question{SQL: "SELECT count(*) FROM (SELECT 1 FROM orders LIMIT 3)", Steps: 1_000_000, Bytes: 1 << 20, Streams: f}); e != nil {
		t.Error(e)
	}
}

// A query with thousands of names is answered.
func TestThousandsOfNames(t *testing.T) {
	p, f := streamed(t, 2)
	for i := range 200 {
		f.streams[fmt.Sprintf("s%d", i)] = f.streams["orders"]
	}
	var b strings.Builder
	for i := range 1900 {
		fmt.Fprintf(&b, ", 1 AS \"s%d\"", i)
	}
	if got := rowsOf(p, f, "SELECT count(*) FROM (SELECT 1 AS a"+b.String()+") JOIN s7"); got != "2" {
		t.Error(got)
	}
	if got := rowsOf(p, f, "SELECT count(*) FROM orders"); got != "2" {
		t.Error(got)
	}
}
