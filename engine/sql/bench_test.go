package sql

import (
	"fmt"
	"testing"

	"github.com/ncruces/go-sqlite3"

	"github.com/kimberlitedb/kimberlite-go/wire"
)

// The bare library has the same statements prepared, in a database in memory without history, authorizer or budget. Compare
// with
//
//	go test ./engine/sql -run xxx -bench 'Lookup|Insert|Update' -count 5

const (
	benchRows   = 10_000
	benchTable  = `CREATE TABLE accounts (id INTEGER PRIMARY KEY, owner TEXT, balance INTEGER)`
	benchInsert = `INSERT INTO accounts (id, owner, balance) VALUES ($1, $2, $3)`
	benchUpdate = `UPDATE accounts SET balance = balance + $2 WHERE id = $1`
	benchLookup = `SELECT owner, balance FROM accounts WHERE id = $1`
)

func bigInt(n int) wire.Value { return wire.Value{Kind: wire.BigInt, Int: int64(n)} }

func benchParams(n int) []wire.Value {
	return []wire.Value{bigInt(n), {Kind: wire.Text, Text: "somebody"}, bigInt(n)}
}

// benchGroup is how many statements are applied together, as those are that come while others are on their way to the disk.
const benchGroup = 64

// benchTables returns a projection with rows, and how to carry out one more statement: with the others of a group.
func benchTables(b *testing.B, rows int) (*Projection, func(text string, params ...wire.Value)) {
	p, err := Open()
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(p.Close)
	at := wire.Position(0)
	var group []*Entry
	apply := func() {
		outcomes, err := p.Apply(group)
		if err != nil {
			b.Fatal(err)
		}
		for _, o := range outcomes {
			if o.Err != nil {
				b.Fatal(o.Err)
			}
		}
		group = group[:0]
	}
	do := func(text string, params ...wire.Value) {
		at++
		group = append(group, &Entry{Position: at, Time: wire.Time(at), SQL: text, Params: params, Makes: "accounts", Limits: Limits{Steps: 1e9, Pages: 1 << 20, Bytes: 1 << 20}})
		if len(group) == benchGroup {
			apply()
		}
	}
	do(benchTable)
	for i := range rows {
		do(benchInsert, benchParams(i)...)
	}
	apply()
	return p, do
}

// bareTables returns the same of the bare library.
func bareTables(b *testing.B, rows int) *sqlite3.Conn {
	db, err := sqlite3.Open(":memory:")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { db.Close() })
	if err := db.Exec(benchTable); err != nil {
		b.Fatal(err)
	}
	s := bare(b, db, benchInsert)
	for i := range rows {
		bareRun(b, s, benchParams(i))
	}
	return db
}

func bare(b *testing.B, db *sqlite3.Conn, text string) *sqlite3.Stmt {
	s, _, err := db.Prepare(text)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { s.Close() })
	return s
}

// bareRun carries a prepared statement out and takes what it returns.
func bareRun(b *testing.B, s *sqlite3.Stmt, params []wire.Value) (row []wire.Value) {
	for i, v := range params {
		if err := bindValue(s, i+1, v); err != nil {
			b.Fatal(err)
		}
	}
	for s.Step() {
		row = make([]wire.Value, s.ColumnCount())
		for i := range row {
			(&column{}).read(s, i, &row[i])
		}
	}
	if err := s.Reset(); err != nil {
		b.Fatal(err)
	}
	return row
}

func BenchmarkLookup(b *testing.B) {
	p, _ := benchTables(b, benchRows)
	i := 0
	for b.Loop() {
		i++
		r, e := p.Query(&Question{SQL: benchLookup, Params: []wire.Value{bigInt(i % benchRows)}, Steps: 1e9, Bytes: 1 << 20})
		if e != nil || len(r.Rows) != 1 {
			b.Fatal(e, r)
		}
	}
}

func BenchmarkLookupBare(b *testing.B) {
	s := bare(b, bareTables(b, benchRows), benchLookup)
	i := 0
	for b.Loop() {
		i++
		if row := bareRun(b, s, []wire.Value{bigInt(i % benchRows)}); len(row) != 2 {
			b.Fatal(row)
		}
	}
}

func BenchmarkLookupPast(b *testing.B) {
	p, _ := benchTables(b, benchRows)
	i := 0
	for b.Loop() {
		i++
		r, e := p.Query(&Question{SQL: benchLookup, Params: []wire.Value{bigInt(i % benchRows)}, At: wire.Some(wire.Position(benchRows + 1)), Steps: 1e9, Bytes: 1 << 20})
		if e != nil || len(r.Rows) != 1 {
			b.Fatal(e, r)
		}
	}
}

func BenchmarkInsert(b *testing.B) {
	_, do := benchTables(b, 0)
	i := 0
	for b.Loop() {
		i++
		do(benchInsert, benchParams(i)...)
	}
}

func BenchmarkInsertBare(b *testing.B) {
	s := bare(b, bareTables(b, 0), benchInsert)
	i := 0
	for b.Loop() {
		i++
		bareRun(b, s, benchParams(i))
	}
}

func BenchmarkUpdate(b *testing.B) {
	_, do := benchTables(b, benchRows)
	i := 0
	for b.Loop() {
		i++
		do(benchUpdate, bigInt(i%benchRows), bigInt(1))
	}
}

func BenchmarkUpdateBare(b *testing.B) {
	s := bare(b, bareTables(b, benchRows), benchUpdate)
	i := 0
	for b.Loop() {
		i++
		bareRun(b, s, []wire.Value{bigInt(i % benchRows), bigInt(1)})
	}
}

// ExampleProjection_Query is what most callers want.
func ExampleProjection_Query() {
	p, err := Open()
	if err != nil {
		panic(err)
	}
	defer p.Close()
	limits := Limits{Steps: 1_000_000, Pages: 1000, Bytes: 1 << 20}
	_, err = p.Apply([]*Entry{
		{Position: 1, SQL: "CREATE TABLE t (a INTEGER)", Makes: "t", Limits: limits},
		{Position: 2, SQL: "INSERT INTO t VALUES (1)", Limits: limits},
	})
	if err != nil {
		panic(err)
	}
	now, _ := p.Query(&Question{SQL: "SELECT count(*) FROM t", Steps: 1_000_000, Bytes: 1 << 20})
	then, _ := p.Query(&Question{SQL: "SELECT count(*) FROM t", At: wire.Some(wire.Position(1)), Steps: 1_000_000, Bytes: 1 << 20})
	fmt.Println(now.Rows[0][0].Int, then.Rows[0][0].Int)
	// Output: 1 0
}
