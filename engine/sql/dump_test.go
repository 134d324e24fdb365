package sql_test

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/kimberlitedb/kimberlite-go/engine/sql"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

func dump(t rapid.TB, p *sql.Projection, at int) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := p.Dump(wire.Position(at), nil, func(item []byte) error { b.Write(item); return nil }); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// load loads a dump in pieces of a length.
func load(d []byte, piece int) (*sql.Projection, error) {
	return sql.Load(func(visit func([]byte) error) error {
		for rest := d; len(rest) > 0; rest = rest[min(piece, len(rest)):] {
			if err := visit(bytes.Clone(rest[:min(piece, len(rest))])); err != nil {
				return err
			}
		}
		return nil
	})
}

// drawFull is drawEntry of a program that begins with three tables, and has something in them more often than not.
func drawFull(t *rapid.T, position int) *sql.Entry {
	switch k := position - 1; {
	case k < 3:
		text := rapid.SampledFrom(programs[:6]).Draw(t, "table")
		return entry(position, strings.NewReplacer("%[1]d", fmt.Sprint(k), "%[2]d", fmt.Sprint((k+1)%3)).Replace(text))
	case rapid.IntRange(0, 2).Draw(t, "plain") == 0:
		return drawEntry(t, position)
	}
	text := rapid.SampledFrom([]string{
		"INSERT OR REPLACE INTO t%[1]d (n) VALUES (%[3]d), (2), (%[4]d)", "DELETE FROM t%[1]d WHERE n = %[3]d OR n = 2", "INSERT OR IGNORE INTO t%[1]d (rowid, n) VALUES (%[3]d, %[4]d), (%[4]d, NULL)", "DELETE FROM t%[1]d WHERE n = %[3]d",
		"INSERT OR IGNORE INTO t%[1]d (a, b, n) VALUES (%[3]d, 'x' || %[4]d, 1), (%[4]d, 'X', 2)", "UPDATE t%[1]d SET n = n + 1 WHERE n > %[3]d", "DELETE FROM t%[1]d WHERE rowid > %[3]d",
		"UPDATE OR IGNORE t%[1]d SET a = a + %[3]d WHERE a < %[4]d", "UPDATE t%[1]d SET n = 1 WHERE rowid = %[3]d",
	}).Draw(t, "often")
	number := func(most int) string { return fmt.Sprint(rapid.IntRange(0, most).Draw(t, "number")) }
	return entry(position, strings.NewReplacer("%[1]d", number(2), "%[3]d", number(9), "%[4]d", number(9)).Replace(text))
}

// A dump of a position is the same whenever it is taken, and what is loaded from it goes on as the tables do that it was taken of.
func TestADumpGoesOnAsItsTables(t *testing.T) {
	if raced {
		t.Skip("nothing runs at the same time, and it would take minutes")
	}
	look := append(questions(), "SELECT rowid, * FROM t0", "SELECT rowid, * FROM t1", "SELECT rowid, n FROM t2 WHERE n > 3", `SELECT name FROM "$tables"`)
	rapid.Check(t, func(t *rapid.T) {
		all := open(t)
		defer all.Close()
		n, kept := rapid.IntRange(12, 30).Draw(t, "statements"), 0
		from := rapid.IntRange(0, n).Draw(t, "dumped")
		dumps := make([][]byte, n+1)
		dumps[0] = dump(t, all, 0)
		var loaded *sql.Projection
		for i := 1; i <= n; i++ {
			if i-1 == from {
				var err error
				if loaded, err = load(dumps[from], rapid.IntRange(1, 1000).Draw(t, "piece")); err != nil {
					t.Fatal(err)
				}
				defer loaded.Close()
			}
			e := drawFull(t, i)
			if i > from+1 && rapid.IntRange(0, 9).Draw(t, "trim") == 0 {
				kept = rapid.IntRange(max(kept, from), i-1).Draw(t, "upto")
				e = trimEntry(i, kept)
			}
			one, err := all.Apply([]*sql.Entry{e})
			if err != nil {
				t.Fatal(err)
			}
			looked := i == from || rapid.Bool().Draw(t, "look")
			if looked {
				dumps[i] = dump(t, all, i)
			}
			if loaded == nil {
				continue
			}
			other, err := loaded.Apply([]*sql.Entry{e})
			if err != nil || !reflect.DeepEqual(one, other) {
				t.Fatalf("%s: %+v, and %+v, %v", e.SQL, one[0], other[0], err)
			}
			if !looked {
				continue
			}
			if got := dump(t, loaded, i); !bytes.Equal(got, dumps[i]) {
				t.Fatalf("%s: the dumps are\n%q\nand\n%q", e.SQL, dumps[i], got)
			}
		}
		for i, want := range dumps[kept:] {
			if want == nil {
				continue
			}
			if got := dump(t, all, kept+i); !bytes.Equal(got, want) {
				t.Fatalf("the dump of position %d is\n%q\nand was\n%q", kept+i, got, want)
			}
		}
		if loaded == nil {
			return
		}
		if a, b := all.Names(), loaded.Names(); !reflect.DeepEqual(a, b) {
			t.Fatalf("the names are %q, and %q", a, b)
		}
		at := max(kept, rapid.IntRange(from, n).Draw(t, "position"))
		for _, text := range look {
			for _, when := range []wire.Option[wire.Position]{{}, wire.Some(wire.Position(at))} {
				one, e1 := ask(all, text, when, 0)
				other, e2 := ask(loaded, text, when, 0)
				if !reflect.DeepEqual(e1, e2) || e1 == nil && !reflect.DeepEqual(one, other) {
					t.Fatalf("%s as of %v: %v %v, and %v %v", text, when, one, e1, other, e2)
				}
			}
		}
		if _, e := ask(loaded, "SELECT 1", wire.Some(wire.Position(max(0, from-1))), 0); from > 0 && (e == nil || e.Code != wire.InvalidOffset) {
			t.Fatalf("the history before position %d: %v", from, e)
		}
	})
}

func TestADumpOfForgottenHistoryIsRefused(t *testing.T) {
	p := open(t)
	defer p.Close()
	if _, err := p.Apply([]*sql.Entry{entry(1, "CREATE TABLE t (n)"), entry(2, "INSERT INTO t VALUES (1)"), trimEntry(3, 2), entry(4, "DELETE FROM t")}); err != nil {
		t.Fatal(err)
	}
	nothing := func([]byte) error { return nil }
	if err := p.Dump(1, nil, nothing); !errors.Is(err, sql.ErrForgotten) {
		t.Error(err)
	}
	if err := p.Dump(2, nil, nothing); err != nil {
		t.Error(err)
	}
	stop := &sql.Stop{}
	stop.Stop()
	if err := p.Dump(2, stop, nothing); !errors.Is(err, sql.ErrStopped) {
		t.Error(err)
	}
	full := errors.New("full")
	if err := p.Dump(2, nil, func([]byte) error { return full }); !errors.Is(err, full) {
		t.Error(err)
	}
}

// What is no dump is refused, and makes nothing of what it says.
func TestWhatIsNoDumpIsRefused(t *testing.T) {
	p := open(t)
	defer p.Close()
	o, err := p.Apply([]*sql.Entry{
		entry(1, "CREATE TABLE t (n INT, s TEXT, g TEXT AS (s || n) STORED)"), entry(2, "INSERT INTO t VALUES (1, 'one'), (2.5, x'00'), (NULL, NULL)"),
		entry(3, "CREATE INDEX i ON t (n)"), entry(4, "CREATE VIEW v AS SELECT n FROM t"), entry(5, "CREATE TABLE c (id INTEGER PRIMARY KEY AUTOINCREMENT, at TEXT AS (date('now')) STORED)"),
	})
	for i := range o {
		if o[i].Err != nil || err != nil {
			t.Fatal(o[i].Err, err)
		}
	}
	whole := dump(t, p, 5)
	for n := range whole {
		if q, err := load(whole[:n], 100); err == nil {
			q.Close()
			t.Fatalf("%d of %d bytes are loaded", n, len(whole))
		}
	}
	for _, c := range []struct{ old, new string }{
		{"CREATE TABLE t (n", "CREATE TABLE u (n"}, {"CREATE VIEW v AS SELECT n FROM t", "CREATE VIEW v AS SELECT n FROM t"[:31] + ";"},
		{"CREATE INDEX i ON t (n)", "DROP TABLE t           "}, {"\x03one", "\x03two"}, {"CREATE VIEW v AS SELECT n FROM t", "CREATE VIEW v AS SELECT 1;DELETE"},
	} {
		q, err := load(bytes.Replace(whole, []byte(c.old), []byte(c.new), 1), 100)
		if err == nil {
			q.Close()
			t.Errorf("%q for %q is loaded", c.new, c.old)
		} else if !errors.Is(err, sql.ErrNoDump) {
			t.Errorf("%q for %q: %v", c.new, c.old, err)
		}
	}
	if o, err := p.Apply([]*sql.Entry{entry(6, "INSERT INTO c VALUES (7)")}); err != nil || o[0].Err != nil {
		t.Fatal(o[0].Err, err)
	}
	q, err := load(dump(t, p, 6), 100) // the time of its row is known
	if err != nil {
		t.Fatal(err)
	}
	q.Close()
	if _, err := p.Apply([]*sql.Entry{entry(7, "DROP TABLE t")}); err != nil {
		t.Fatal(err)
	}
	if _, err := load(dump(t, p, 7), 100); err == nil || !strings.Contains(err.Error(), "computed from others") {
		t.Errorf("%v", err)
	}
}
