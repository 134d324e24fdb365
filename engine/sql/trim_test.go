package sql_test

import (
	"bytes"
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/kimberlitedb/kimberlite-go/engine/sql"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

const day = 86_400_000_000_000

// trimEntry returns an entry that forgets what was committed up to a position.
func trimEntry(position, upto int) *sql.Entry {
	e := entry(position, "")
	e.Trim = wire.Some(sql.Trim{Upto: wire.Time(upto) * day, Keys: math.MaxInt64})
	return e
}

// Once history is forgotten, positions before it are refused, and all others are what they were.
func TestTrimForgetsThePastAlone(t *testing.T) {
	if raced {
		t.Skip("nothing runs at the same time, and it would take minutes")
	}
	rapid.Check(t, func(t *rapid.T) {
		whole, trimmed := open(t), open(t)
		defer func() { whole.Close(); trimmed.Close() }()
		n, kept := rapid.IntRange(1, 30).Draw(t, "statements"), 0
		for i := range n {
			e := drawEntry(t, i+1)
			if i > 0 && rapid.IntRange(0, 9).Draw(t, "trim") == 0 {
				upto := rapid.IntRange(0, i).Draw(t, "upto")
				e, kept = trimEntry(i+1, upto), max(kept, upto)
			}
			one, err := trimmed.Apply([]*sql.Entry{e})
			if err != nil {
				t.Fatal(err)
			}
			if e.Trim.Set { // to the other it is an entry that does nothing
				e = entry(i+1, "INSERT INTO nowhere VALUES (1)")
			}
			other, err := whole.Apply([]*sql.Entry{e})
			if err != nil || !reflect.DeepEqual(one, other) && one[0].Err != nil {
				t.Fatalf("%s: %+v, and %+v, %v", e.SQL, one[0], other[0], err)
			}
			if rapid.IntRange(0, 4).Draw(t, "snapshot") == 0 {
				q := restored(t, trimmed)
				trimmed.Close()
				trimmed = q
			}
		}
		for _, at := range []int{max(0, kept-1), kept, rapid.IntRange(0, n).Draw(t, "position")} {
			for _, text := range questions()[:9] {
				then, e1 := ask(whole, text, wire.Some(wire.Position(at)), 0)
				again, e2 := ask(trimmed, text, wire.Some(wire.Position(at)), 0)
				switch {
				case at < kept:
					if e2 == nil || e2.Code != wire.InvalidOffset || !strings.Contains(e2.Message, fmt.Sprintf("from position %d on", kept)) {
						t.Fatalf("%s as of position %d, before %d: %v, %v", text, at, kept, again, e2)
					}
				case !reflect.DeepEqual(e1, e2) || e1 == nil && !reflect.DeepEqual(then, again):
					t.Fatalf("%s as of position %d: %v %v, and %v %v", text, at, then, e1, again, e2)
				}
			}
		}
	})
}

// What is deleted, and of whose history nothing is kept, is in no page.
func TestTrimmedRowsAreInNoPage(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := open(t)
		defer p.Close()
		n := 0
		apply := func(text string) {
			n++
			e := entry(n, text)
			if text == "" {
				e = trimEntry(n, n-1)
			}
			if o, err := p.Apply([]*sql.Entry{e}); err != nil || o[0].Err != nil {
				t.Fatalf("%.200s: %v, %v", text, err, o)
			}
		}
		apply("CREATE TABLE kept (id INTEGER PRIMARY KEY, s TEXT)")
		apply("CREATE TABLE t (id INTEGER PRIMARY KEY, s TEXT UNIQUE, n INT)")
		apply("CREATE TABLE u (s TEXT PRIMARY KEY) WITHOUT ROWID")
		markers := map[int]string{}
		for i := range rapid.IntRange(1, 60).Draw(t, "rows") {
			markers[i] = fmt.Sprintf("marker-%d-%s", i, strings.Repeat("x", rapid.SampledFrom([]int{1, 40, 400, 3000, 9000}).Draw(t, "length")))
			id := rapid.IntRange(0, 1<<20).Draw(t, "id")<<7 | i
			apply(fmt.Sprintf("INSERT INTO t VALUES (%d, '%s', %d)", id, markers[i], i))
			apply(fmt.Sprintf("INSERT INTO u VALUES ('%s')", markers[i]))
			apply(fmt.Sprintf("INSERT INTO kept VALUES (%d, 'kept %d')", id, i))
		}
		for i, marker := range markers { //det:order-free: rapid draws nothing here
			if i%3 == 0 {
				apply(fmt.Sprintf("UPDATE t SET n = n + 1 WHERE s = '%s'", marker))
			}
			if i%4 > 0 {
				apply(fmt.Sprintf("DELETE FROM u WHERE s = '%s'", marker))
			}
		}
		apply("DELETE FROM t WHERE n % 2 = 0")
		if rapid.Bool().Draw(t, "drop") {
			apply("DROP TABLE t")
		} else {
			apply("DELETE FROM t")
		}
		apply("DELETE FROM u")
		apply("")
		all := bytes.Join(pagesOf(p), nil)
		if i := bytes.Index(all, []byte("marker")); i >= 0 {
			t.Fatalf("page %d, at %d: %q", i/sql.PageSize, i%sql.PageSize, all[i:i+20])
		}
	})
}

func pagesOf(p *sql.Projection) (list [][]byte) {
	for page := range p.Image().Pages() {
		list = append(list, bytes.Clone(page))
	}
	return list
}

// Tables that are full can forget history, and be written again then.
func TestFullTablesForget(t *testing.T) {
	p := open(t)
	defer p.Close()
	n := 0
	apply := func(text string, pages uint64) *wire.Error {
		n++
		e := entry(n, text)
		if text == "" {
			e = trimEntry(n, n-1)
		}
		e.Limits.Pages = pages
		o, err := p.Apply([]*sql.Entry{e})
		if err != nil {
			t.Fatal(err)
		}
		return o[0].Err
	}
	const fill = "INSERT INTO t (s) VALUES (hex(zeroblob(1000)))"
	if e := apply("CREATE TABLE t (id INTEGER PRIMARY KEY, s TEXT)", 100); e != nil {
		t.Fatal(e.Message)
	}
	full := func() (rows int) {
		for apply(fill, 100) == nil {
			rows++
		}
		return rows
	}
	first := full()
	if e := apply("DELETE FROM t", 110); e != nil { // the reserve
		t.Fatal(e.Message)
	}
	if again := full(); again > first/4 {
		t.Fatalf("%d rows, and %d beside their history", first, again)
	}
	if e := apply("", 100); e != nil {
		t.Fatal(e.Message)
	}
	if again := full(); again < first*3/4 {
		t.Fatalf("%d rows, and %d when the history was forgotten", first, again)
	}
}
