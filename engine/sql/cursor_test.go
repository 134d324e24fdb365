package sql_test

import (
	"fmt"
	"testing"

	"github.com/kimberlitedb/kimberlite-go/engine/sql"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// begin begins a query.
func begin(t *testing.T, p *sql.Projection, text string, steps uint64) *sql.Cursor {
	t.Helper()
	cur, e := p.Ask(&sql.Question{SQL: text, Steps: steps})
	if e != nil {
		t.Fatalf("%s: %v", text, e)
	}
	return cur
}

// A piece is never larger than the limit: a row that would pass it begins the next one. A row that is larger by itself is refused.
func TestPiecesKeepWithinTheirLimit(t *testing.T) {
	p := open(t)
	defer p.Close()
	cur := begin(t, p, `SELECT 1, zeroblob(10) UNION ALL SELECT 2, zeroblob(700) UNION ALL SELECT 3, zeroblob(700) UNION ALL SELECT 4, zeroblob(10)`, 1e6)
	defer cur.Close()
	got := ""
	for more := true; more; {
		rows, size, next, e := cur.Next(500, 1000)
		if more = next; e != nil || len(rows) == 0 || size > 1000 {
			t.Fatalf("%d rows of %d bytes, %v", len(rows), size, e)
		}
		for _, row := range rows {
			got += fmt.Sprint(row[0].Int)
		}
		got += " "
	}
	if got != "1 2 3 4 " {
		t.Errorf("pieces %q", got)
	}
	big := begin(t, p, `SELECT zeroblob(10) UNION ALL SELECT zeroblob(1000)`, 1e6)
	defer big.Close()
	if _, _, _, e := big.Next(500, 1000); e == nil || e.Code != wire.ResultTooLarge {
		t.Errorf("a row beyond the limit: %v", e)
	}
}

// Each piece may take as many steps as a statement; a query that gives nothing for longer is ended.
func TestEachPieceHasItsSteps(t *testing.T) {
	p := open(t)
	defer p.Close()
	const series = "WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < 100000) SELECT n FROM s"
	cur := begin(t, p, series, 100_000)
	defer cur.Close()
	n := 0
	for more := true; more; {
		rows, _, next, e := cur.Next(24*1000, 1<<20)
		if more = next; e != nil {
			t.Fatalf("behind %d rows: %v", n, e)
		}
		n += len(rows)
	}
	if n != 100_000 {
		t.Errorf("%d rows", n)
	}
	if _, e := p.Query(&sql.Question{SQL: series, Steps: 100_000, Bytes: 1 << 30}); e == nil || e.Code != wire.Timeout {
		t.Errorf("at once: %v", e)
	}
}

// Tables may be closed while a query is open between two pieces.
func TestClosingClosesCursors(t *testing.T) {
	p := open(t)
	begin(t, p, "SELECT 1 UNION ALL SELECT 2", 1e6).Next(1, 1000)
	cur := begin(t, p, "SELECT 1 UNION ALL SELECT 2", 1e6)
	cur.Next(1, 1000)
	cur.Close()
	p.Close()
	p.Close()
}
