package sql_test

import (
	"testing"

	"github.com/kimberlitedb/kimberlite-go/engine/sql"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// hungry takes far more memory than a connection may.
const hungry = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 4000) SELECT count(*) FROM (SELECT DISTINCT hex(zeroblob(100000)) || i FROM n)"

// A query that runs out of memory is refused, and the next one is answered.
func TestHungryQueriesAreRefused(t *testing.T) {
	p := open(t)
	defer p.Close()
	for range 2 {
		_, e := p.Query(&sql.Question{SQL: hungry, Steps: 100_000_000, Bytes: 1 << 20})
		if e == nil || e.Code != wire.QuotaExceeded {
			t.Fatalf("%v", e)
		}
	}
	if _, e := ask(p, "SELECT 1", wire.Option[wire.Position]{}, 0); e != nil {
		t.Fatal(e)
	}
}

// A statement that runs out of memory changes nothing; those around it do, at a replay too.
func TestHungryStatementsAreRefused(t *testing.T) {
	var outcomes [2][]*sql.Outcome
	for i := range outcomes {
		p := open(t)
		defer p.Close()
		all := []*sql.Entry{entry(1, "CREATE TABLE t (n)"), entry(2, "INSERT INTO t VALUES (1)"), entry(3, "INSERT INTO t "+hungry), entry(4, "INSERT INTO t VALUES (2)")}
		for _, e := range all {
			e.Limits.Steps = 100_000_000
		}
		var err error
		if outcomes[i], err = p.Apply(all); err != nil {
			t.Fatal(err)
		}
		if e := outcomes[i][2].Err; e == nil || e.Code != wire.QuotaExceeded {
			t.Fatalf("%v", e)
		}
		r, e := ask(p, "SELECT sum(n), count(*) FROM t", wire.Option[wire.Position]{}, 0)
		if e != nil || r.Rows[0][0].Int != 3 || r.Rows[0][1].Int != 2 {
			t.Fatalf("%v %v", r, e)
		}
	}
	for i := range outcomes[0] {
		if outcomes[0][i].Digest != outcomes[1][i].Digest {
			t.Errorf("statement %d has another outcome the second time", i+1)
		}
	}
}
