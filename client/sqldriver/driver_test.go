package sqldriver_test

import (
	"context"
	"database/sql"
	"errors"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kimberlitedb/kimberlite-go/client"
	"github.com/kimberlitedb/kimberlite-go/client/sqldriver"
	"github.com/kimberlitedb/kimberlite-go/internal/hosttest"
)

func open(t *testing.T, name string) *sql.DB {
	t.Helper()
	db, err := sql.Open("kimberlite", name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

func within(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func mustExec(t *testing.T, db *sql.DB, text string, args ...any) {
	t.Helper()
	if _, err := db.ExecContext(within(t), text, args...); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
}

func TestValuesComeBackAsTheyWent(t *testing.T) {
	db := open(t, "kimberlite://"+hosttest.Server(t)+"?tenant=3&compression=zstd&timeout=5s")
	if err := db.PingContext(within(t)); err != nil {
		t.Fatal(err)
	}
	mustExec(t, db, "CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT, rate REAL, ok BOOLEAN, photo BLOB, since TIMESTAMP, note TEXT)")
	since := time.Date(2026, 5, 9, 12, 0, 0, 1, time.UTC)
	insert, err := db.PrepareContext(within(t), "INSERT INTO t VALUES ($1, $2, $3, $4, $5, $6, $7)")
	if err != nil {
		t.Fatal(err)
	}
	defer insert.Close()
	done, err := insert.ExecContext(within(t), 7, "Ada", 1.5, true, []byte{0, 255}, since, nil)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := done.RowsAffected(); n != 1 || err != nil {
		t.Errorf("%d rows, %v", n, err)
	}
	if _, err := done.LastInsertId(); err == nil || !strings.Contains(err.Error(), "RETURNING") {
		t.Errorf("the last id: %v", err)
	}
	type row struct {
		id    int
		name  string
		rate  float64
		ok    bool
		photo []byte
		since time.Time
		note  sql.NullString
	}
	want := row{7, "Ada", 1.5, true, []byte{0, 255}, since, sql.NullString{}}
	var got row
	err = db.QueryRowContext(within(t), "SELECT * FROM t WHERE id = ?", 7).Scan(&got.id, &got.name, &got.rate, &got.ok, &got.photo, &got.since, &got.note)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestQueriesOfThePast(t *testing.T) {
	db := open(t, "kimberlite://"+hosttest.Server(t))
	mustExec(t, db, "CREATE TABLE t (n INTEGER)")
	var affected, position client.Position
	if err := db.QueryRowContext(within(t), "INSERT INTO t VALUES (1), (2)").Scan(&affected, &position); err != nil || affected != 2 {
		t.Fatalf("%d, %v", affected, err)
	}
	mustExec(t, db, "DELETE FROM t")
	past := sqldriver.At(within(t), position)
	var n int
	if err := db.QueryRowContext(past, "SELECT count(*) FROM t").Scan(&n); err != nil || n != 2 {
		t.Errorf("then: %d, %v", n, err)
	}
	if err := db.QueryRowContext(within(t), "SELECT count(*) FROM t").Scan(&n); err != nil || n != 0 {
		t.Errorf("now: %d, %v", n, err)
	}
	if _, err := db.ExecContext(past, "DROP TABLE t"); err == nil {
		t.Error("the past was changed")
	}
}

func TestAKeyAmongTheArguments(t *testing.T) {
	db := open(t, "kimberlite://"+hosttest.Server(t))
	mustExec(t, db, "CREATE TABLE t (n INTEGER)")
	once := client.Once(client.NewKey())
	for range 3 {
		mustExec(t, db, "INSERT INTO t VALUES ($1)", once, 1)
	}
	var n int
	if err := db.QueryRowContext(within(t), "SELECT count(*) FROM t").Scan(&n); err != nil || n != 1 {
		t.Errorf("%d rows, %v", n, err)
	}
}

func TestWhatIsRefused(t *testing.T) {
	db := open(t, "kimberlite://"+hosttest.Server(t))
	mustExec(t, db, "CREATE TABLE here (n INTEGER)")
	if _, err := db.BeginTx(within(t), nil); err == nil || !strings.Contains(err.Error(), "every statement is one of its own") {
		t.Errorf("begin: %v", err)
	}
	if _, err := db.QueryContext(within(t), "SELECT :a", sql.Named("a", 1)); err == nil || !strings.Contains(err.Error(), "write $1") {
		t.Errorf("a named parameter: %v", err)
	}
	if _, err := db.QueryContext(within(t), "SELECT * FROM t"); !errors.Is(err, client.ErrTableNotFound) {
		t.Errorf("no table: %v", err)
	}
	if _, err := db.QueryContext(within(t), "SELECT $1", struct{}{}); err == nil {
		t.Error("a struct is a value")
	}
}

// The connections of a DB are one of the client, which many goroutines share.
func TestGoroutinesShareADatabase(t *testing.T) {
	db := open(t, "kimberlite://"+hosttest.Server(t))
	mustExec(t, db, "CREATE TABLE t (n INTEGER)")
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			if _, err := db.ExecContext(within(t), "INSERT INTO t VALUES ($1)", i); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	var n int
	if err := db.QueryRowContext(within(t), "SELECT count(DISTINCT n) FROM t").Scan(&n); err != nil || n != 20 {
		t.Errorf("%d rows, %v", n, err)
	}
}

func TestConnectionOfOnesOwn(t *testing.T) {
	c, err := sqldriver.Driver{}.Open("kimberlite://" + hosttest.Server(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}

func TestDataSourceNames(t *testing.T) {
	for _, name := range []string{
		"", "kimberlite://", "kimberlite:127.0.0.1", "postgres://127.0.0.1", "kimberlite://h/path", "kimberlite://h#x", "kimberlite://s3cret@h",
		"kimberlite://u:s3cret@h", "kimberlite://:s3cret@h:x", "kimberlite://:s3cret@h?tenant=x", "kimberlite://:s3cret@h?tenants=1",
		"kimberlite://:s3cret@h?compression=gzip", "kimberlite://:s3cret@h?timeout=5", "kimberlite://:s3cret@h?%zz", "\x00:s3cret@",
	} {
		db, err := sql.Open("kimberlite", name)
		if err == nil {
			db.Close()
			t.Errorf("%q is a data source name", name)
		} else if strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%q: the error has the token: %v", name, err)
		}
	}
}

// Rows come while they are read, and end when their context does.
func TestALargeResultIsStreamed(t *testing.T) {
	db := open(t, "kimberlite://"+hosttest.Server(t))
	mustExec(t, db, "CREATE TABLE t (n INTEGER)")
	const endless = "WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s) SELECT n FROM s"
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	rows, err := db.QueryContext(ctx, endless)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	n := 0
	for rows.Next() {
		if n++; n == 1_000_000 { // more than a frame holds
			cancel()
		}
	}
	if n < 1_000_000 || !errors.Is(rows.Err(), context.Canceled) {
		t.Errorf("%d rows, %v", n, rows.Err())
	}
	rows, err = db.QueryContext(t.Context(), endless)
	if err != nil || !rows.Next() {
		t.Fatal(err)
	}
	if err := rows.Close(); err != nil {
		t.Error(err)
	}
	if err := db.PingContext(within(t)); err != nil {
		t.Error(err)
	}
}
