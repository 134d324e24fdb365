package sqldriver

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"

	"github.com/kimberlitedb/kimberlite-go/client"
)

// at is the key of a context's position.
type at struct{}

// At returns a context whose queries see the tables as they were behind a position of the tenant's log.
func At(ctx context.Context, position client.Position) context.Context {
	return context.WithValue(ctx, at{}, position)
}

// conn is a connection.
type conn struct{ c *client.Client }

var (
	_ driver.Pinger            = (*conn)(nil)
	_ driver.QueryerContext    = (*conn)(nil)
	_ driver.ExecerContext     = (*conn)(nil)
	_ driver.ConnBeginTx       = (*conn)(nil)
	_ driver.NamedValueChecker = (*conn)(nil)
	_ driver.StmtQueryContext  = (*stmt)(nil)
	_ driver.StmtExecContext   = (*stmt)(nil)
)

// Ping implements driver.Pinger.
func (c *conn) Ping(ctx context.Context) error { return c.c.Ping(ctx) }

// Close implements driver.Conn. The client stays, for the other connections.
func (c *conn) Close() error { return nil }

var errBegin = errors.New("kimberlite: there are no transactions of several statements; every statement is one of its own")

// Begin implements driver.Conn. It fails.
func (c *conn) Begin() (driver.Tx, error) { return nil, errBegin }

// BeginTx implements driver.ConnBeginTx. It fails.
func (c *conn) BeginTx(context.Context, driver.TxOptions) (driver.Tx, error) { return nil, errBegin }

// CheckNamedValue implements driver.NamedValueChecker: what the client takes passes.
func (c *conn) CheckNamedValue(v *driver.NamedValue) (err error) {
	if v.Name != "" {
		return fmt.Errorf("kimberlite: parameter %s: parameters have numbers here; write $1, $2 and so on", v.Name)
	}
	if _, ok := v.Value.(client.StatementOption); ok {
		return nil
	}
	v.Value, err = driver.DefaultParameterConverter.ConvertValue(v.Value)
	return err
}

// QueryContext implements driver.QueryerContext.
func (c *conn) QueryContext(ctx context.Context, text string, args []driver.NamedValue) (driver.Rows, error) {
	var r *client.Rows
	var err error
	if position, past := ctx.Value(at{}).(client.Position); past {
		r, err = c.c.QueryAt(ctx, position, text, values(args)...)
	} else {
		r, err = c.c.Query(ctx, text, values(args)...)
	}
	if err != nil {
		return nil, err
	}
	return rows{r}, nil
}

var errPast = errors.New("kimberlite: Exec changes the present; its context is one of At")

// ExecContext implements driver.ExecerContext.
func (c *conn) ExecContext(ctx context.Context, text string, args []driver.NamedValue) (driver.Result, error) {
	if ctx.Value(at{}) != nil {
		return nil, errPast
	}
	done, err := c.c.Exec(ctx, text, values(args)...)
	if err != nil {
		return nil, err
	}
	return result(done.RowsAffected), nil
}

func values(args []driver.NamedValue) []any {
	list := make([]any, len(args))
	for i, a := range args {
		list[i] = a.Value
	}
	return list
}

// Prepare implements driver.Conn. The server keeps what it has compiled by its text.
func (c *conn) Prepare(text string) (driver.Stmt, error) { return &stmt{c, text}, nil }

// stmt is a statement's text.
type stmt struct {
	*conn
	text string
}

// NumInput implements driver.Stmt: the server counts the parameters.
func (s *stmt) NumInput() int { return -1 }

// QueryContext implements driver.StmtQueryContext.
func (s *stmt) QueryContext(ctx context.Context, args []driver.NamedValue) (driver.Rows, error) {
	return s.conn.QueryContext(ctx, s.text, args)
}

// ExecContext implements driver.StmtExecContext.
func (s *stmt) ExecContext(ctx context.Context, args []driver.NamedValue) (driver.Result, error) {
	return s.conn.ExecContext(ctx, s.text, args)
}

// Query implements driver.Stmt.
func (s *stmt) Query(args []driver.Value) (driver.Rows, error) {
	return s.QueryContext(context.Background(), numbered(args))
}

// Exec implements driver.Stmt.
func (s *stmt) Exec(args []driver.Value) (driver.Result, error) {
	return s.ExecContext(context.Background(), numbered(args))
}

func numbered(args []driver.Value) []driver.NamedValue {
	list := make([]driver.NamedValue, len(args))
	for i, a := range args {
		list[i] = driver.NamedValue{Ordinal: i + 1, Value: a}
	}
	return list
}

// result is how many rows a statement has inserted, changed or deleted.
type result uint64

// RowsAffected implements driver.Result.
func (r result) RowsAffected() (int64, error) { return int64(r), nil }

// LastInsertId implements driver.Result. It fails.
func (r result) LastInsertId() (int64, error) {
	return 0, errors.New("kimberlite: there is no last id; query the statement with RETURNING id")
}

// rows are those of a query.
type rows struct{ r *client.Rows }

// Columns implements driver.Rows.
func (r rows) Columns() []string { return r.r.Columns() }

// Close implements driver.Rows.
func (r rows) Close() error { return r.r.Close() }

// Next implements driver.Rows.
func (r rows) Next(to []driver.Value) error {
	if !r.r.Next() {
		if err := r.r.Err(); err != nil {
			return err
		}
		return io.EOF
	}
	for i, v := range r.r.Values() {
		to[i] = v
	}
	return nil
}
