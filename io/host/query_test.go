package host_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/kimberlitedb/kimberlite-go/wire"
)

// query sends a statement, and fails unless it is carried out.
func (p *peer) query(sql string, params ...wire.Value) *wire.QueryReply {
	p.t.Helper()
	r, ok := p.call(&wire.Query{SQL: sql, Params: params}).(*wire.QueryReply)
	if !ok {
		p.t.Fatalf("%s: %+v", sql, p.last)
	}
	return r
}

// An unmodified client of version 1 gets the five kinds of values that it knows, and the columns that it relies on.
func TestVersionOneSpeaksSQL(t *testing.T) {
	h := start(t, t.TempDir())
	defer h.Close()
	p := connect(t, h)
	p.query("CREATE TABLE v (i INTEGER, s TEXT, b BOOLEAN, t TIMESTAMP, n TEXT, d REAL, x BLOB)")
	values := []wire.Value{
		{Kind: wire.BigInt, Int: -1 << 63}, {Kind: wire.Text, Text: "ä"}, {Kind: wire.Boolean, Int: 1}, {Kind: wire.Timestamp, Int: 1_700_000_000_000_000_000}, {},
	}
	r := p.query("INSERT INTO v (i, s, b, t, n, d, x) VALUES ($1, $2, $3, $4, $5, 1.5, x'00ff')", values...)
	if !slices.Equal(r.Columns, []string{"rows_affected", "log_offset"}) || r.Rows[0][0].Kind != wire.BigInt || r.Rows[0][0].Int != 1 {
		t.Fatalf("%+v", r)
	}
	at := wire.Position(r.Rows[0][1].Int)
	p.query("DELETE FROM v")
	want := append(values, wire.Value{Kind: wire.Text, Text: "1.5"}, wire.Value{Kind: wire.Text, Text: "AP8="})
	then, ok := p.call(&wire.QueryAt{SQL: "SELECT * FROM v", Position: at}).(*wire.QueryReply)
	if !ok || len(then.Rows) != 1 || !slices.EqualFunc(then.Rows[0], want, func(a, b wire.Value) bool { return a.Kind == b.Kind && a.Int == b.Int && a.Text == b.Text }) {
		t.Fatalf("%+v", p.last)
	}
	if now := p.query("SELECT * FROM v"); len(now.Rows) != 0 {
		t.Fatalf("%+v", now)
	}
}

// Tables are there after a stop and a start, and statements of the past too.
func TestTablesOverAStop(t *testing.T) {
	dir := t.TempDir()
	h := start(t, dir)
	p := connect(t, h)
	p.query("CREATE TABLE c (id INTEGER PRIMARY KEY, n INTEGER)")
	for i := range 300 {
		p.query("INSERT INTO c (n) VALUES ($1)", wire.Value{Kind: wire.BigInt, Int: int64(i)})
	}
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	h = start(t, dir)
	defer h.Close()
	p = connect(t, h)
	if r := p.query("SELECT count(*), sum(n) FROM c"); r.Rows[0][0].Int != 300 || r.Rows[0][1].Int != 300*299/2 {
		t.Fatalf("%+v", r)
	}
	if r := p.query("SELECT count(*) FROM c AS OF POSITION 101"); r.Rows[0][0].Int != 100 {
		t.Fatalf("%+v", r)
	}
}

// A result that no frame can hold is refused, one that just fits is not, and the connection lives on.
func TestLargeResults(t *testing.T) {
	h := start(t, t.TempDir())
	defer h.Close()
	p := connect(t, h)
	p.query("CREATE TABLE l (s TEXT)")
	const text = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d) SELECT hex(zeroblob(50000)) FROM n"
	if r := p.query(fmt.Sprintf(text, 120)); len(r.Rows) != 120 {
		t.Fatalf("%d rows", len(r.Rows))
	}
	if e, ok := p.call(&wire.Query{SQL: fmt.Sprintf(text, 200)}).(*wire.Error); !ok || e.Code.V1() != wire.ResultTooLarge.V1() {
		t.Fatalf("%+v", p.last)
	}
	p.query("SELECT 1")
}
