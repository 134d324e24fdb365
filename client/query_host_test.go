package client_test

import (
	"database/sql"
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/kimberlitedb/kimberlite-go/client"
	"github.com/kimberlitedb/kimberlite-go/internal/hosttest"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// account has a field for each kind of value.
type account struct {
	ID     uint32 `sql:"id"`
	Name   string
	Rate   float64
	Active bool
	Photo  []byte
	Opened time.Time
	Note   *string
}

const accounts = `CREATE TABLE accounts (id INTEGER PRIMARY KEY, name TEXT NOT NULL, rate REAL, active BOOLEAN, photo BLOB,
	opened TIMESTAMP, note TEXT)`

func exec(t testing.TB, c *client.Client, text string, args ...any) client.Executed {
	t.Helper()
	done, err := c.Exec(within(t), text, args...)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return done
}

func TestEveryKindOfValueComesBackAsItWent(t *testing.T) {
	c := dial(t, hosttest.Server(t))
	exec(t, c, accounts)
	note := "regular"
	want := []account{
		{1, "Ada", 1.5, true, []byte{0, 255}, time.Date(2026, 5, 9, 12, 0, 0, 1, time.UTC), &note},
		{2, "Grace", -0.25, false, []byte{}, time.Unix(0, math.MinInt64).UTC(), nil},
	}
	for _, a := range want {
		exec(t, c, "INSERT INTO accounts VALUES ($1, $2, $3, $4, $5, $6, $7)", a.ID, a.Name, a.Rate, a.Active, a.Photo, a.Opened, a.Note)
	}
	got, err := client.Collect[account](c.Query(within(t), "SELECT * FROM accounts ORDER BY id"))
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v\nwant %+v", got, err, want)
	}
	names, err := client.Collect[string](c.Query(within(t), "SELECT name FROM accounts WHERE id > ?", 1))
	if err != nil || !reflect.DeepEqual(names, []string{"Grace"}) {
		t.Errorf("names %q, %v", names, err)
	}
	times, err := client.Collect[time.Time](c.Query(within(t), "SELECT opened FROM accounts WHERE id = 1"))
	if err != nil || !reflect.DeepEqual(times, []time.Time{want[0].Opened}) {
		t.Errorf("times %v, %v", times, err)
	}
}

func TestAQuerySeesThePositionItIsAskedFor(t *testing.T) {
	c := dial(t, hosttest.Server(t))
	exec(t, c, "CREATE TABLE t (n INTEGER)")
	before := exec(t, c, "INSERT INTO t VALUES (1), (2)")
	after := exec(t, c, "DELETE FROM t WHERE n = 1")
	if before.RowsAffected != 2 || after.RowsAffected != 1 || after.Position != before.Position+1 {
		t.Errorf("before %+v, after %+v", before, after)
	}
	for _, x := range []struct {
		at   client.Position
		want []int
	}{{before.Position, []int{1, 2}}, {after.Position, []int{2}}} {
		rows, err := c.QueryAt(within(t), x.at, "SELECT n FROM t ORDER BY n")
		if err != nil {
			t.Fatal(err)
		}
		if rows.Position() != x.at {
			t.Errorf("position %d, want %d", rows.Position(), x.at)
		}
		if got, err := client.Collect[int](rows, nil); err != nil || !reflect.DeepEqual(got, x.want) {
			t.Errorf("as of %d: %v, %v", x.at, got, err)
		}
	}
	rows, err := c.Query(within(t), "SELECT n FROM t")
	if err != nil || rows.Position() != after.Position {
		t.Errorf("now: %+v, %v", rows, err)
	}
	if got, err := client.Collect[int](rows, nil); err != nil || !reflect.DeepEqual(got, []int{2}) {
		t.Errorf("now: %v, %v", got, err)
	}
	if _, err := c.QueryAt(within(t), after.Position+1, "SELECT 1"); !errors.Is(err, client.ErrPositionAhead) {
		t.Errorf("ahead: %v", err)
	}
}

func TestAStatementIsCarriedOutOnceUnderItsKey(t *testing.T) {
	c := dial(t, hosttest.Server(t))
	exec(t, c, "CREATE TABLE t (n INTEGER)")
	key := client.NewKey()
	first := exec(t, c, "INSERT INTO t VALUES ($1)", client.Once(key), 7)
	if again := exec(t, c, "INSERT INTO t VALUES ($1)", client.Once(key), 7); again != first {
		t.Errorf("again %+v, first %+v", again, first)
	}
	if _, err := c.Exec(within(t), "INSERT INTO t VALUES ($1)", client.Once(key), 8); !errors.Is(err, client.ErrInvalidRequest) {
		t.Errorf("another statement: %v", err)
	}
	if got, err := client.Collect[int](c.Query(within(t), "SELECT n FROM t")); err != nil || !reflect.DeepEqual(got, []int{7}) {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestErrorsOfStatementsAreToldApart(t *testing.T) {
	c := dial(t, hosttest.Server(t))
	exec(t, c, "CREATE TABLE t (n INTEGER CONSTRAINT positive CHECK (n > 0))")
	for _, x := range []struct {
		text string
		args []any
		want error
	}{
		{"SELEC 1", nil, client.ErrQueryParse},
		{"SELECT * FROM absent", nil, client.ErrTableNotFound},
		{"SELECT missing FROM t", nil, client.ErrQueryExecution},
		{"CREATE TABLE T (n INTEGER)", nil, client.ErrTableExists},
		{"INSERT INTO t VALUES (-1)", nil, client.ErrConstraintViolation},
		{"SELECT $1", nil, client.ErrQueryExecution},
		{"SELECT \xff", nil, client.ErrInvalidRequest},
		{"SELECT $1", []any{"\xff"}, client.ErrInvalidRequest},
		{"SELECT $1", []any{struct{}{}}, client.ErrInvalidRequest},
		{"SELECT $1", []any{uint64(math.MaxUint64)}, client.ErrInvalidRequest},
		{"SELECT $1", []any{time.Date(3000, 1, 1, 0, 0, 0, 0, time.UTC)}, client.ErrInvalidRequest},
		{"SELECT $1", []any{strings.Repeat("x", wire.MaxPayload)}, client.ErrInvalidRequest},
	} {
		if _, err := c.Query(within(t), x.text, x.args...); !errors.Is(err, x.want) {
			t.Errorf("%.40s: %v, want %v", x.text, err, x.want)
		}
	}
	if _, err := c.Query(within(t), "SELECT 1"); err != nil { // the connection lives
		t.Error(err)
	}
}

func TestScanTakesOnlyWhatFits(t *testing.T) {
	c := dial(t, hosttest.Server(t))
	exec(t, c, "CREATE TABLE t (n INTEGER)")
	rows, err := c.Query(within(t), "SELECT 300, -1, NULL, 'x', 9007199254740993, 2")
	if err != nil || !rows.Next() {
		t.Fatal(err)
	}
	var (
		small uint8
		big   float64
		null  *int
		maybe sql.NullInt64
		text  string
		bytes []byte
		x     any
	)
	for _, to := range [][]any{
		{&small, &x, &x, &x, &x, &x}, {&x, new(uint), &x, &x, &x, &x}, {&x, &x, new(int), &x, &x, &x}, {&x, &x, &x, new(int), &x, &x},
		{&x, &x, &x, &x, &big, &x}, {&x, &x, &x, &x, &x, text}, {&x, &x, &x, &x, &x, new(bool)}, {&x}, {&x, &x, &x, &x, &x, nil},
	} {
		if err := rows.Scan(to...); err == nil {
			t.Errorf("scan into %T succeeds", to)
		}
	}
	if err := rows.Scan(&x, new(int8), &null, &bytes, new(int64), &big); err != nil || null != nil || string(bytes) != "x" || big != 2 {
		t.Errorf("%v %v %q %v", err, null, bytes, big)
	}
	if err := rows.Scan(&x, &x, &maybe, &text, &x, &maybe); err != nil || text != "x" || !maybe.Valid {
		t.Errorf("%v %q", err, text)
	}
	if rows.Next() {
		t.Error("a second row")
	}
	if got, err := client.Collect[int](c.Query(within(t), "SELECT 1, 2")); err == nil {
		t.Errorf("two columns into one int: %v", got)
	}
	if got, err := client.Collect[struct{ *account }](c.Query(within(t), "SELECT 1 AS id")); err == nil {
		t.Errorf("a field behind a nil pointer: %v", got)
	}
	if _, err := client.Collect[account](c.Query(within(t), "SELECT 1 AS other")); err == nil || !strings.Contains(err.Error(), `"other"`) {
		t.Errorf("a column without a field: %v", err)
	}
}
