package sql_test

import (
	"reflect"
	"testing"

	"pgregory.net/rapid"

	"github.com/kimberlitedb/kimberlite-go/engine/sql"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// restored returns tables made from a snapshot of others.
func restored(t rapid.TB, p *sql.Projection) *sql.Projection {
	var pages sql.Pages
	for page := range p.Image().Pages() {
		if err := pages.Add(page); err != nil {
			t.Fatal(err)
		}
	}
	q := open(t)
	if err := q.Restore(&pages); err != nil {
		t.Fatal(err)
	}
	return q
}

func hash(t rapid.TB, p *sql.Projection) [32]byte {
	h, err := p.Hash()
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// Tables that were put away and taken up again, however often, are those of who has carried out everything at once: what comes of
// statements, the rows, and every past position.
func TestSnapshotAndTailIsReplay(t *testing.T) {
	if raced {
		t.Skip("nothing runs at the same time, and it would take minutes")
	}
	rapid.Check(t, func(t *rapid.T) {
		whole, pieces := open(t), open(t)
		defer func() { whole.Close(); pieces.Close() }()
		n := rapid.IntRange(1, 30).Draw(t, "statements")
		for i := range n {
			e := drawEntry(t, i+1)
			if rapid.Bool().Draw(t, "keyed") {
				e.Key = wire.Some(wire.Key{byte(i)})
			}
			if rapid.IntRange(0, 9).Draw(t, "tight") == 0 {
				e.Limits.Pages = 30
			}
			one, err := whole.Apply([]*sql.Entry{e})
			if err != nil {
				t.Fatal(err)
			}
			other, err := pieces.Apply([]*sql.Entry{e})
			if err != nil || !reflect.DeepEqual(one, other) {
				t.Fatalf("%s: %+v, and %+v, %v", e.SQL, one[0], other[0], err)
			}
			if rapid.IntRange(0, 4).Draw(t, "snapshot") == 0 {
				q := restored(t, pieces)
				pieces.Close()
				pieces = q
			}
		}
		if a, b := hash(t, whole), hash(t, pieces); a != b {
			t.Fatalf("the hash is %x, and %x", a, b)
		}
		for range 3 {
			at := rapid.IntRange(0, n).Draw(t, "position")
			for _, text := range questions() {
				then, e1 := ask(whole, text, wire.Some(wire.Position(at)), 0)
				again, e2 := ask(pieces, text, wire.Some(wire.Position(at)), 0)
				if !reflect.DeepEqual(e1, e2) || e1 == nil && !reflect.DeepEqual(then, again) {
					t.Fatalf("%s as of position %d: %v %v, and %v %v", text, at, then, e1, again, e2)
				}
			}
		}
	})
}

// A query as of a time sees the last entry that was committed by then, in tables that were taken up again too.
func TestTimesAreKept(t *testing.T) {
	p := open(t)
	defer p.Close()
	entries := []*sql.Entry{entry(3, "CREATE TABLE t (n)")}
	for i := 2; i < 40; i++ {
		entries = append(entries, entry(3*i, "INSERT INTO t VALUES (1)"))
	}
	if _, err := p.Apply(entries); err != nil {
		t.Fatal(err)
	}
	q := restored(t, p)
	defer q.Close()
	for _, tables := range []*sql.Projection{p, q} {
		for day := range 130 {
			r, e := tables.Query(&sql.Question{SQL: "SELECT count(*) FROM t", Time: wire.Some(wire.Time(day) * 86_400_000_000_000), Steps: 1_000_000, Bytes: 1000})
			switch last := min(day/3, 39); {
			case last == 0:
				if e == nil || e.Code != wire.TableNotFound {
					t.Fatalf("day %d: %v, %v", day, r, e)
				}
			case e != nil || r.Position != wire.Position(3*last) || r.Rows[0][0].Int != int64(last-1):
				t.Fatalf("day %d: %+v, %v", day, r, e)
			}
		}
	}
}

// Pages that are no database are refused, and the projection is of use afterwards.
func TestRestoreOfGarbage(t *testing.T) {
	p := open(t)
	defer p.Close()
	for _, fill := range []byte{0, 13, 255} {
		var pages sql.Pages
		page := make([]byte, sql.PageSize)
		for i := range page {
			page[i] = fill
		}
		if err := pages.Add(page); err != nil {
			t.Fatal(err)
		}
		if err := p.Restore(&pages); err == nil {
			t.Fatalf("a page of bytes %d is restored", fill)
		}
	}
	if err := p.Restore(&sql.Pages{}); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Apply([]*sql.Entry{entry(1, "CREATE TABLE t (n)")}); err != nil {
		t.Fatal(err)
	}
}
