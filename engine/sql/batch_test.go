package sql_test

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/kimberlitedb/kimberlite-go/engine/sql"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// A batch does and shows what its statements do and show one after the other, where all of them are carried out; and nothing
// where one of them is not.
func TestABatchIsItsStatements(t *testing.T) {
	if raced {
		t.Skip("nothing runs at the same time, and it would take minutes")
	}
	done, failed := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		whole, single := open(t), open(t)
		defer whole.Close()
		defer single.Close()
		var before []*sql.Entry
		tables := []string{"CREATE TABLE t0 (id INTEGER PRIMARY KEY, n INTEGER, s TEXT)", "CREATE TABLE t1 (id INTEGER PRIMARY KEY, n)", "CREATE TABLE t2 (id INTEGER, n)"}
		for i, text := range append(tables, statements(t, 1, 5)...) {
			before = append(before, entry(i+1, text))
		}
		texts := statements(t, 1, 5)
		apply(t, single, before...)
		apply(t, whole, before...)
		together := apply(t, whole, batch(100, texts))[0]
		if len(together.Parts) != len(texts) {
			t.Fatalf("%d statements, and %d parts", len(texts), len(together.Parts))
		}
		for i, text := range texts {
			if strings.Contains(text, "random") || strings.Contains(text, "position") {
				return // another seed, and other positions
			}
			alone := oneByOne(t, single, 100+i, text)
			if failure := together.Err; alone.Err != nil {
				if failed++; failure == nil || failure.Code != alone.Err.Code || together.Parts[i].Err != failure {
					t.Fatalf("%q: %+v; statement %d alone: %v", texts, together, i+1, alone.Err)
				}
				nothingHasChanged(t, whole, before)
				return
			}
			if together.Err == nil {
				together.Parts[i].Size, together.Parts[i].Digest, alone.Size = 0, alone.Digest, 0
				if !reflect.DeepEqual(together.Parts[i], alone) {
					t.Fatalf("%q: statement %d: %+v, and alone %+v", texts, i+1, together.Parts[i], alone)
				}
			}
		}
		if done++; together.Err != nil {
			t.Fatalf("%q: %v, and one after the other nothing fails", texts, together.Err)
		}
		same(t, whole, single, texts)
	})
	if done < 5 || failed < 5 { // usual are 24 and 70
		t.Errorf("%d batches were carried out, and %d failed", done, failed)
	}
}

func apply(t rapid.TB, p *sql.Projection, entries ...*sql.Entry) []*sql.Outcome {
	t.Helper()
	outcomes, err := p.Apply(entries)
	if err != nil {
		t.Fatal(err)
	}
	return outcomes
}

// oneByOne runs a statement by itself, at the time of position 100.
func oneByOne(t *rapid.T, p *sql.Projection, position int, text string) *sql.Outcome {
	if s, e := sql.Parse(text); e == nil && !s.Writes {
		r, e := ask(p, text, wire.Option[wire.Position]{}, entry(100, "").Time)
		if e != nil {
			return &sql.Outcome{Err: e}
		}
		return &sql.Outcome{Returns: true, Columns: r.Columns, Rows: r.Rows}
	}
	e := entry(position, text)
	e.Time = entry(100, "").Time
	return apply(t, p, e)[0]
}

func nothingHasChanged(t *rapid.T, p *sql.Projection, before []*sql.Entry) {
	fresh := open(t)
	defer fresh.Close()
	apply(t, fresh, before...)
	same(t, p, fresh, nil)
}

// same compares what two projections show at present, but for positions.
func same(t *rapid.T, a, b *sql.Projection, texts []string) {
	for _, q := range questions() {
		if strings.Contains(q, "position") {
			continue
		}
		r1, e1 := ask(a, q, wire.Option[wire.Position]{}, 1)
		r2, e2 := ask(b, q, wire.Option[wire.Position]{}, 1)
		if (e1 == nil) != (e2 == nil) || e1 == nil && !reflect.DeepEqual(r1.Rows, r2.Rows) {
			t.Fatalf("%q: %s: %v %v, and %v %v", texts, q, r1, e1, r2, e2)
		}
	}
}

// The statements of a batch share its limits, and a foreign key that has no row in the end fails all of it.
func TestABatchFailsAsAWhole(t *testing.T) {
	p := open(t)
	defer p.Close()
	apply(t, p, entry(1, "CREATE TABLE t (id INTEGER PRIMARY KEY, up INTEGER REFERENCES t (id) DEFERRABLE INITIALLY DEFERRED)"))
	const many = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000) SELECT count(*) FROM n"
	for i, c := range []struct {
		texts []string
		code  wire.Code
		part  int
	}{
		{[]string{"INSERT INTO t VALUES (1, 2)", "INSERT INTO t VALUES (2, 1)", "DELETE FROM t"}, 0, 0},
		{[]string{"INSERT INTO t VALUES (1, 2)", "SELECT 1"}, wire.ConstraintViolation, 1},
		{[]string{"INSERT INTO t VALUES (7, NULL)", many, many, many}, wire.Timeout, 3},
		{[]string{"INSERT INTO t VALUES (8, NULL) RETURNING hex(zeroblob(300000))", "SELECT hex(zeroblob(300000))"}, wire.ResultTooLarge, 1},
		{[]string{"INSERT INTO t VALUES (9, NULL)", "SELECT 1 AS OF POSITION 1", "SELECT 2"}, wire.QueryExecutionError, 1},
		{[]string{"INSERT OR ROLLBACK INTO t VALUES (9, NULL), (9, NULL)", "SELECT 2"}, wire.ConstraintViolation, 0},
	} {
		e := batch(i+2, c.texts)
		e.Key, e.Limits.Steps = wire.Some(wire.Key{byte(i)}), 1_000_000
		o := apply(t, p, e)[0]
		again, err := p.Remembered(e.Position)
		if err != nil {
			t.Fatal(err)
		}
		if (o.Err == nil) != (c.code == 0) || o.Err != nil && (o.Err.Code != c.code || o.Parts[c.part].Err.Code != c.code) {
			t.Errorf("%q: %v %v", c.texts, o.Err, o.Parts)
		}
		for k, part := range o.Parts {
			if !reflect.DeepEqual(part.Err, again.Parts[k].Err) || part.Affected != again.Parts[k].Affected {
				t.Errorf("%q: statement %d: %v, and later %v", c.texts, k+1, part, again.Parts[k])
			}
		}
	}
	if r, e := ask(p, "SELECT count(*) FROM t", wire.Option[wire.Position]{}, 0); e != nil || r.Rows[0][0].Int != 0 {
		t.Fatalf("%v %v", r, e)
	}
}

// Queries that are asked together see one snapshot, and share their limits.
func TestQueriesTogether(t *testing.T) {
	p := open(t)
	defer p.Close()
	apply(t, p, entry(1, "CREATE TABLE t (n INTEGER)"), entry(2, "INSERT INTO t VALUES (1)"), entry(3, "INSERT INTO t VALUES (2)"))
	question := func(text string, at wire.Option[wire.Position]) *sql.Question {
		return &sql.Question{SQL: text, At: at, Steps: 100_000, Bytes: 1000}
	}
	none := wire.Option[wire.Position]{}
	list, e := p.QueryAll([]*sql.Question{
		question("SELECT count(*) FROM t", none), question("SELECT count(*) FROM t", wire.Some(wire.Position(2))), question("SELECT sum(n) FROM t", none),
	})
	if e != nil || len(list) != 3 || list[0].Rows[0][0].Int != 2 || list[1].Rows[0][0].Int != 1 || list[2].Rows[0][0].Int != 3 || list[1].Position != 2 || list[2].Position != 3 {
		t.Fatalf("%+v %v", list, e)
	}
	big := question("SELECT hex(zeroblob(200))", none)
	if list, e := p.QueryAll([]*sql.Question{big, question("SELECT missing", none)}); len(list) != 1 || e == nil || e.Code != wire.QueryExecutionError {
		t.Fatalf("%+v %v", list, e)
	}
	if list, e := p.QueryAll([]*sql.Question{big, big}); len(list) != 1 || e == nil || e.Code != wire.ResultTooLarge {
		t.Fatalf("%+v %v", list, e)
	}
	slow := question("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 4000) SELECT count(*) FROM n", none)
	if list, e := p.QueryAll([]*sql.Question{slow, slow, slow}); len(list) == 3 || e == nil || e.Code != wire.Timeout {
		t.Fatalf("%+v %v", list, e)
	}
	if _, e := ask(p, "SELECT 1", none, 0); e != nil {
		t.Fatal(e)
	}
}

// A statement by itself is written as it was before there were batches. A batch cannot be read by a program from then: it
// must not take one for a statement without text.
func TestEntriesOfBatchesAreNoStatements(t *testing.T) {
	single := &sql.Entry{Position: 7, SQL: "INSERT INTO t VALUES ($1)", Params: []wire.Value{{Kind: wire.BigInt, Int: 1}}, Limits: sql.Limits{Steps: 1, Pages: 2, Bytes: 3}}
	const want = `{"position":7,"sql":"INSERT INTO t VALUES ($1)","params":[1],"limits":{"steps":1,"pages":2,"bytes":3}}`
	if got := string(single.Encode()); got != want {
		t.Errorf("%s", got)
	}
	for _, e := range []*sql.Entry{batch(1, []string{"DELETE FROM t"}), batch(1, []string{"CREATE TABLE t (a)", "CREATE VIEW v AS SELECT 1"})} {
		if strings.HasPrefix(e.Batch[0].SQL, "CREATE") {
			e.Batch[0].Makes, e.Batch[1].Makes = "t", "v"
		}
		var before struct {
			SQL   string `json:"sql"`
			Makes string `json:"makes"`
		}
		if err := json.Unmarshal(e.Encode(), &before); err == nil {
			t.Errorf("%s is taken for %+v", e.Encode(), before)
		}
		again, err := sql.Decode(e.Encode(), e.Time)
		if err != nil || !reflect.DeepEqual(again, e) {
			t.Errorf("%+v, %v", again, err)
		}
	}
	for _, text := range []string{`{"makes":[]}`, `{"makes":["t"],"sql":"x"}`, `{"batch":[{"sql":"x"}]}`, `{"makes":"t","batch":[{"sql":"x"}]}`, `{"makes":[],"sql":"x","batch":[{"sql":"x"}]}`} {
		if e, err := sql.Decode([]byte(text), 1); err == nil {
			t.Errorf("%s is %+v", text, e)
		}
	}
}
