package client_test

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"

	"github.com/kimberlitedb/kimberlite-go/client"
	"github.com/kimberlitedb/kimberlite-go/internal/hosttest"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// codes returns the code of each result, 0 for those that were carried out.
func codes(b *client.Batched) (list []wire.Code) {
	for _, r := range b.Results {
		e := &client.Error{}
		errors.As(r.Err, &e)
		list = append(list, e.Code)
	}
	return list
}

func batch(t testing.TB, c *client.Client, statements []client.Statement, options ...client.BatchOption) *client.Batched {
	t.Helper()
	b, err := c.Batch(within(t), statements, options...)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func count(t testing.TB, c *client.Client, query string) int64 {
	t.Helper()
	n, err := client.Collect[int64](c.Query(within(t), query))
	if err != nil || len(n) != 1 {
		t.Fatalf("%s: %v, %v", query, n, err)
	}
	return n[0]
}

// A batch means the same on every version: in order, each statement sees those before it.
func TestBatchesOnEveryVersion(t *testing.T) {
	addr := hosttest.Server(t)
	n := 0
	everyShape(t, func(t *testing.T, options ...client.Option) {
		c := dial(t, addr, options...)
		n++
		table := fmt.Sprintf("t%d", n)
		on := func(text string, args ...any) client.Statement {
			return client.SQL(strings.ReplaceAll(text, "$t", table), args...)
		}
		b := batch(t, c, []client.Statement{
			on("CREATE TABLE $t (id INTEGER PRIMARY KEY, n INTEGER CHECK (n < 10))"), on("INSERT INTO $t VALUES (?, ?) RETURNING id", 1, 1),
			on("INSERT INTO $t VALUES (2, 10)"), on("SELECT * FROM $t"), on("SELECT $1", nil),
		})
		if got := codes(b); !reflect.DeepEqual(got, []wire.Code{0, 0, wire.ConstraintViolation, 0, 0}) {
			t.Fatalf("%v: %v", got, b.Err())
		}
		if err := b.Err(); !errors.Is(err, client.ErrConstraintViolation) || !strings.HasPrefix(err.Error(), "statement 3: ") {
			t.Errorf("%v", err)
		}
		if ids, err := client.Collect[int64](b.Results[1].Rows, nil); err != nil || !reflect.DeepEqual(ids, []int64{1}) {
			t.Errorf("%v, %v", ids, err)
		}
		b = batch(t, c, []client.Statement{on("INSERT INTO $t VALUES (3, 3)"), on("INSERT INTO $t VALUES (3, 3)"), on("DELETE FROM $t")}, client.StopOnError())
		if got := codes(b); !reflect.DeepEqual(got, []wire.Code{0, wire.ConstraintViolation, wire.QueryExecutionError}) {
			t.Errorf("%v", got)
		}
		if done, err := b.Results[0].Executed(); err != nil || done.RowsAffected != 1 || done.Position != b.Position {
			t.Errorf("%+v, %v; %d", done, err, b.Position)
		}
		b = batch(t, c, []client.Statement{on("DELETE FROM $t"), on("SELECT count(*) FROM $t"), on("INSERT INTO $t VALUES (4, 40)"), on("SELECT 1")}, client.Atomic())
		if got := codes(b); got[2] != wire.ConstraintViolation || b.Results[0].Err == nil || b.Results[1].Err == nil || b.Results[3].Err == nil {
			t.Errorf("%v", got)
		}
		if err := b.Err(); !errors.Is(err, client.ErrConstraintViolation) || !strings.HasPrefix(err.Error(), "statement 3: ") {
			t.Errorf("%v", err)
		}
		b = batch(t, c, []client.Statement{on("UPDATE $t SET n = 9"), on("SELECT sum(n) FROM $t")}, client.Atomic())
		if sum, err := client.Collect[int64](b.Results[1].Rows, b.Err()); err != nil || sum[0] != 18 || b.Results[1].Rows.Position() != b.Position {
			t.Errorf("%v, %v", sum, err)
		}
	})
}

// What a batch is refused for as a whole is the error of the call, and the connection goes on.
func TestRefusedBatches(t *testing.T) {
	c := dial(t, hosttest.Server(t))
	one := client.SQL("SELECT 1")
	for name, refused := range map[string]func() (*client.Batched, error){
		"no statements": func() (*client.Batched, error) { return c.Batch(within(t), nil) },
		"1,001":         func() (*client.Batched, error) { return c.Batch(within(t), make([]client.Statement, 1001)) },
		"not UTF-8":     func() (*client.Batched, error) { return c.Batch(within(t), []client.Statement{client.SQL("\xff")}) },
		"no value": func() (*client.Batched, error) {
			return c.Batch(within(t), []client.Statement{client.SQL("SELECT ?", c)})
		},
		"a key inside": func() (*client.Batched, error) {
			return c.Batch(within(t), []client.Statement{client.SQL("SELECT 1", client.Once(client.NewKey()))})
		},
		"one that large": func() (*client.Batched, error) {
			return c.Batch(within(t), []client.Statement{one, client.SQL(strings.Repeat(" ", 17<<20))})
		},
		"parameters": func() (*client.Batched, error) {
			return c.Batch(within(t), []client.Statement{client.SQL("x", make([]any, 30_000)...), client.SQL("x", make([]any, 30_000)...),
				client.SQL("x", make([]any, 30_000)...), client.SQL("x", make([]any, 30_000)...), client.SQL("x", make([]any, 30_000)...)})
		},
	} {
		if b, err := refused(); !errors.Is(err, client.ErrInvalidRequest) {
			t.Errorf("%s: %v, %v", name, b, err)
		}
	}
	exec(t, c, "CREATE TABLE t (a TEXT)")
	large := strings.Repeat("x", 3<<20)
	if _, err := c.Batch(within(t), []client.Statement{client.SQL("INSERT INTO t VALUES ($1)", large), client.SQL("INSERT INTO t VALUES ($1)", large)}, client.Atomic()); err == nil {
		t.Error("an entry of 6 MiB is taken")
	}
	if n := count(t, c, "SELECT count(*) FROM t"); n != 0 {
		t.Errorf("%d rows", n)
	}
}

// Results that do not fit into one reply are refused, statement by statement; what a refused one was to write is not written.
func TestResultsOfABatchAreBounded(t *testing.T) {
	c := dial(t, hosttest.Server(t))
	exec(t, c, "CREATE TABLE t (a TEXT)")
	big := client.SQL("SELECT hex(zeroblob(4000000))")
	b := batch(t, c, []client.Statement{big, big, client.SQL("INSERT INTO t VALUES ('x') RETURNING hex(zeroblob(4000000))"), client.SQL("INSERT INTO t VALUES ('y')")})
	if got := codes(b); !reflect.DeepEqual(got, []wire.Code{0, wire.ResultTooLarge, wire.ResultTooLarge, 0}) {
		t.Errorf("%v: %v", got, b.Err())
	}
	if n := count(t, c, "SELECT count(*) FROM t"); n != 1 {
		t.Errorf("%d rows", n)
	}
	if b := batch(t, c, []client.Statement{client.SQL("DELETE FROM t"), big, big}, client.Atomic()); !errors.Is(b.Results[2].Err, client.ErrResultTooLarge) {
		t.Errorf("%v", b.Err())
	}
	if b := batch(t, c, []client.Statement{big, big}, client.Atomic()); !errors.Is(b.Results[1].Err, client.ErrResultTooLarge) {
		t.Errorf("%v", b.Err())
	}
	many := make([]client.Statement, 1000)
	for i := range many {
		many[i] = client.SQL("SELECT * FROM " + strings.Repeat("n", 12_000)) // the message has the name
	}
	many[999] = client.SQL("INSERT INTO t VALUES ('z')")
	if b := batch(t, c, many); b.Results[998].Err == nil || b.Results[999].Err != nil || len(b.Results[0].Err.Error()) > 1300 {
		t.Errorf("%v", b.Results[999].Err)
	}
}

// An atomic batch of another client is seen whole or not at all; requests behind a batch on the same connection see all of it.
func TestBatchesAreOrdered(t *testing.T) {
	c := dial(t, hosttest.Server(t))
	exec(t, c, "CREATE TABLE t (n INTEGER)")
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 20 {
				b, err := c.Batch(within(t), []client.Statement{client.SQL("INSERT INTO t VALUES (1)"), client.SQL("INSERT INTO t VALUES (-1)")}, client.Atomic())
				if err != nil || b.Err() != nil {
					t.Errorf("%v, %v", b, err)
				}
				if n := count(t, c, "SELECT coalesce(sum(n), 0) FROM t"); n != 0 {
					t.Errorf("the sum is %d", n)
				}
			}
		})
	}
	wg.Wait()
	b := batch(t, c, []client.Statement{client.SQL("SELECT count(*) FROM t"), client.SQL("SELECT count(*) FROM t AS OF POSITION 2")}, client.Atomic())
	if n, err := client.Collect[int64](b.Results[0].Rows, b.Err()); err != nil || n[0] != 160 || b.Position != 81 {
		t.Errorf("%v, %v at %d", n, err, b.Position)
	}
}

// A batch that is sent again under its key is not carried out again, statement by statement or as a whole.
func TestBatchesAreCarriedOutOnce(t *testing.T) {
	c := dial(t, hosttest.Server(t))
	exec(t, c, "CREATE TABLE t (n INTEGER)")
	statements := []client.Statement{client.SQL("INSERT INTO t VALUES (1), (2)"), client.SQL("SELECT count(*) FROM t"), client.SQL("INSERT INTO t VALUES (3) RETURNING n")}
	for _, options := range [][]client.BatchOption{{client.Atomic()}, {client.StopOnError()}} {
		exec(t, c, "DELETE FROM t")
		options = append(options, client.Once(client.NewKey()))
		first := batch(t, c, statements, options...)
		again := batch(t, c, statements, options...)
		if first.Err() != nil || again.Err() != nil || first.Position != again.Position {
			t.Errorf("%+v, %v, and then %+v, %v", first, first.Err(), again, again.Err())
		}
		if done, err := again.Results[0].Executed(); err != nil || done.RowsAffected != 2 {
			t.Errorf("%+v, %v", done, err)
		}
		if n := count(t, c, "SELECT count(*) FROM t"); n != 3 {
			t.Errorf("%d rows", n)
		}
	}
}
