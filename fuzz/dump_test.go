package fuzz

import (
	"bytes"
	"math"
	"testing"

	"github.com/kimberlitedb/kimberlite-go/engine/sql"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// dumpOf returns a dump of tables.
func dumpOf(t testing.TB, p *sql.Projection) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := p.Dump(math.MaxInt64, nil, func(item []byte) error { b.Write(item); return nil }); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// FuzzDump has tables loaded from whatever there is: it is refused, or makes tables that can be dumped, and loaded again.
func FuzzDump(f *testing.F) {
	p, err := sql.Open()
	if err != nil {
		f.Fatal(err)
	}
	defer p.Close()
	for i, text := range []string{
		"CREATE TABLE t (n INT, s TEXT)", "INSERT INTO t VALUES (1, 'one'), (2.5, x'00'), (NULL, NULL)", "CREATE INDEX i ON t (n)", "CREATE VIEW v AS SELECT n FROM t",
		"CREATE TABLE c (a TEXT PRIMARY KEY, g INT AS (a || 1) STORED) WITHOUT ROWID", "INSERT INTO c VALUES ('x'), ('y')", "CREATE TABLE a (id INTEGER PRIMARY KEY AUTOINCREMENT)",
	} {
		e := &sql.Entry{Position: wire.Position(i + 1), SQL: text, Limits: sql.Limits{Steps: 1_000_000, Pages: 1000, Bytes: 1 << 20}}
		if o, err := p.Apply([]*sql.Entry{e}); err != nil || o[0].Err != nil {
			f.Fatal(err, o)
		}
		f.Add(dumpOf(f, p))
	}
	load := func(dump []byte) (*sql.Projection, error) {
		return sql.Load(func(visit func([]byte) error) error { return visit(dump) })
	}
	f.Fuzz(func(t *testing.T, dump []byte) {
		q, err := load(dump)
		if err != nil {
			return
		}
		defer q.Close()
		again, err := load(dumpOf(t, q))
		if err != nil {
			t.Fatal(err)
		}
		again.Close()
	})
}
