package client_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kimberlitedb/kimberlite-go/client"
	"github.com/kimberlitedb/kimberlite-go/internal/hosttest"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// series is a query of so many rows.
func series(rows int) string {
	return fmt.Sprintf("WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < %d) SELECT n, 'row ' || n FROM s", rows)
}

// walk reads rows to their end, and counts them.
func walk(t testing.TB, rows *client.Rows, seen func(n int)) int {
	t.Helper()
	n := 0
	for rows.Next() {
		n++
		var i int
		var text string
		if err := rows.Scan(&i, &text); err != nil || i != n || text != "row "+strconv.Itoa(n) {
			t.Fatalf("row %d is %d, %q, %v", n, i, text, err)
		}
		if seen != nil {
			seen(n)
		}
	}
	return n
}

// A result of any size is read in little memory, at the server and here: what is in memory meanwhile is that of both, which
// are one process. ROWS sets another number of rows.
func TestALargeResultTakesLittleMemory(t *testing.T) {
	most := 1_000_000
	if s := os.Getenv("ROWS"); s != "" {
		most, _ = strconv.Atoi(s)
	}
	c := dial(t, hosttest.Server(t))
	exec(t, c, "CREATE TABLE t (n INTEGER)") // makes the tenant
	for range walk(t, query(t, c, series(1000)), nil) {
	}
	before, peak := heap(), uint64(0)
	began := time.Now()
	rows := query(t, c, series(most))
	n := walk(t, rows, func(n int) {
		if n%100_000 == 0 {
			peak = max(peak, heap())
		}
	})
	if n != most || rows.Err() != nil {
		t.Fatalf("%d rows, %v", n, rows.Err())
	}
	grown := int64(peak) - int64(before)
	t.Logf("%d rows in %v; the heap grew by %d KiB at most", n, time.Since(began), grown>>10)
	if grown > 32<<20 {
		t.Errorf("the heap grew by %d bytes", grown)
	}
}

// heap returns how much of the heap is in use.
func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func query(t testing.TB, c *client.Client, text string, args ...any) *client.Rows {
	t.Helper()
	rows, err := c.Query(t.Context(), text, args...)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return rows
}

// A query that takes for ever ends when its context does: before its first row, and in the middle. So does one that is closed.
// The server is free for others then.
func TestACancelledQueryEndsAtTheServer(t *testing.T) {
	const endless = "WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s) SELECT "
	c := dial(t, hosttest.Server(t))
	exec(t, c, "CREATE TABLE t (n INTEGER)")
	for i := range 20 { // more than may be at work
		ctx, cancel := context.WithCancel(t.Context())
		switch i % 3 {
		case 0:
			time.AfterFunc(time.Millisecond, cancel)
			if _, err := c.Query(ctx, endless+"count(*) FROM s"); !errors.Is(err, context.Canceled) {
				t.Fatalf("before the first row: %v", err)
			}
		case 1:
			rows, err := c.Query(ctx, endless+"n FROM s")
			if err != nil {
				t.Fatal(err)
			}
			for n := 0; rows.Next(); n++ {
				if n == 10_000 {
					cancel()
				}
			}
			if !errors.Is(rows.Err(), context.Canceled) {
				t.Fatalf("in the middle: %v", rows.Err())
			}
		case 2:
			rows, err := c.Query(ctx, endless+"n FROM s")
			if err != nil || !rows.Next() {
				t.Fatal(err)
			}
			rows.Close()
			if rows.Next() || rows.Err() != nil {
				t.Fatalf("a row of a closed result, or %v", rows.Err())
			}
		}
		cancel()
	}
	if got, err := client.Collect[int](c.Query(within(t), "SELECT 7")); err != nil || len(got) != 1 {
		t.Errorf("%v, %v", got, err)
	}
}

// A query has a limit of time of its own, if it says so, for all of its rows.
func TestAQueryEndsWithinItsTime(t *testing.T) {
	c := dial(t, hosttest.Server(t))
	exec(t, c, "CREATE TABLE t (n INTEGER)")
	for _, what := range []string{"count(*)", "n"} {
		rows, err := c.Query(within(t), "WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s) SELECT "+what+" FROM s", client.Within(50*time.Millisecond))
		for err == nil && rows.Next() {
		}
		if err == nil {
			err = rows.Err()
		}
		if !errors.Is(err, client.ErrTimeout) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// All rows are those of one snapshot, and the position says of which.
func TestAStreamedResultIsOfOneSnapshot(t *testing.T) {
	c := dial(t, hosttest.Server(t))
	exec(t, c, "CREATE TABLE t (n INTEGER, s TEXT)")
	filled := exec(t, c, "INSERT INTO t "+series(50_000))
	rows := query(t, c, "SELECT n, s FROM t ORDER BY n")
	n := walk(t, rows, func(n int) {
		if n == 1 {
			exec(t, c, "UPDATE t SET n = -n")
		}
	})
	if n != 50_000 || rows.Err() != nil || rows.Position() != filled.Position {
		t.Errorf("%d rows as of %d, %v", n, rows.Position(), rows.Err())
	}
	past, err := c.QueryAt(t.Context(), filled.Position, "SELECT n, s FROM t ORDER BY n")
	if err != nil {
		t.Fatal(err)
	}
	if n := walk(t, past, nil); n != 50_000 || past.Err() != nil || past.Position() != filled.Position {
		t.Errorf("as of then: %d rows, %v", n, past.Err())
	}
}

// Where streaming is not available, a result that fits into a frame comes all the same, and one that does not says how it would.
func TestEarlierVersionsGetResultsWhole(t *testing.T) {
	addr := hosttest.Server(t)
	exec(t, dial(t, addr), "CREATE TABLE t (n INTEGER)")
	for v := 1; v <= 2; v++ {
		c := dial(t, addr, client.WithProtocolVersion(v))
		if n := walk(t, query(t, c, series(50_000)), nil); n != 50_000 {
			t.Errorf("version %d: %d rows", v, n)
		}
		if _, err := c.Query(within(t), series(1_000_000)); !errors.Is(err, client.ErrResultTooLarge) && v > 1 {
			t.Errorf("version %d: %v", v, err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
		if _, err := c.Query(ctx, "WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s) SELECT count(*) FROM s"); err == nil {
			t.Error("an endless query has an end")
		}
		cancel()
		if err := c.Ping(within(t)); err != nil {
			t.Error(err)
		}
	}
}

// A connection that breaks before the first row is no matter; behind it, the result breaks off.
func TestAStreamedQueryOverABreakingConnection(t *testing.T) {
	chunk := func(q uint64, n uint32, rows ...[]wire.Value) *wire.QueryChunk {
		b := &wire.QueryChunk{Query: q, Sequence: n, Rows: rows}
		if n == 0 {
			b.Columns, b.Position = []string{"n"}, 7
		}
		return b
	}
	row := func(n int64) []wire.Value { return []wire.Value{{Kind: wire.BigInt, Int: n}} }
	var acks atomic.Int64
	f := serve(t, func(n int, p *peer) {
		r := p.next()
		if n == 0 || r == nil {
			return
		}
		p.push(chunk(r.ID, 0, row(1), row(2)))
		if n == 1 {
			p.push(chunk(r.ID, 1, row(3)))
			p.reply(r.ID, &wire.QueryReply{Columns: []string{"n"}, Rows: [][]wire.Value{row(4)}, Position: 7})
			r = p.next()
		}
		for ; r != nil; r = p.next() {
			if a, ok := r.Body.(*wire.ChunkAck); ok {
				acks.Add(1)
				if n == 2 && a.Sequence == 0 {
					return // in the middle
				}
				p.reply(r.ID, &wire.ChunkAckReply{})
			} else if _, ok := r.Body.(*wire.Query); ok && n == 1 {
				return
			}
		}
	})
	c := dial(t, f.addr())
	rows := query(t, c, "SELECT n FROM t")
	got := 0
	for rows.Next() {
		got++
	}
	if got != 4 || rows.Err() != nil || rows.Position() != 7 {
		t.Errorf("%d rows, %v", got, rows.Err())
	}
	rows = query(t, c, "SELECT n FROM t") // over the third connection
	got = 0
	for rows.Next() {
		got++
	}
	if got != 2 || rows.Err() == nil {
		t.Errorf("%d rows of a result that broke off, and %v", got, rows.Err())
	}
	if _, err := client.Collect[int](rows, nil); err == nil {
		t.Error("what broke off is collected as if it were whole")
	}
}

// A server that stops says so to streamed queries, and the next one answers.
func TestAQueryGoesOnAtTheNextServer(t *testing.T) {
	f := serve(t, func(n int, p *peer) {
		for r := p.next(); r != nil; r = p.next() {
			if n == 0 {
				p.reply(r.ID, &wire.Error{Code: wire.ShuttingDown})
				return
			}
			p.reply(r.ID, &wire.QueryReply{Columns: []string{"n"}, Rows: [][]wire.Value{{{Kind: wire.BigInt, Int: 1}}}})
		}
	})
	if got, err := client.Collect[int](dial(t, f.addr()).Query(within(t), "SELECT 1")); err != nil || len(got) != 1 {
		t.Errorf("%v, %v", got, err)
	}
}

// BenchmarkFirstRow measures how long the first row of a result takes that has a million.
func BenchmarkFirstRow(b *testing.B) {
	c := dial(b, hosttest.Server(b))
	exec(b, c, "CREATE TABLE t (n INTEGER PRIMARY KEY, s TEXT)")
	exec(b, c, "INSERT INTO t "+series(1_000_000))
	for _, x := range []struct{ name, text string }{{"table", "SELECT n, s FROM t"}, {"past", "SELECT n, s FROM t AS OF POSITION 2"}} {
		b.Run(x.name, func(b *testing.B) {
			for b.Loop() {
				rows := query(b, c, x.text)
				if !rows.Next() {
					b.Fatal(rows.Err())
				}
				rows.Close()
			}
		})
	}
}
