package client

import (
	"fmt"
	"iter"
	"reflect"
	"strings"

	"github.com/kimberlitedb/kimberlite-go/wire"
)

// Rows is the result of a query.
//
//	rows, err := c.Query(ctx, "SELECT name, balance FROM accounts WHERE balance < $1", 0)
//	defer rows.Close()
//	for rows.Next() {
//		err = rows.Scan(&name, &balance)
//	}
//	err = rows.Err() // of a result that has broken off
//
// The rows come while they are read, on version 3 of the protocol: of a result of any size, a few chunks are in memory, here
// and at the server. All are of one snapshot. Whoever stops before the last one must Close, or end the context of the
// query; else the server keeps the query open for some minutes.
//
// A Rows is used by one goroutine at a time.
type Rows struct {
	columns  []string
	rows     [][]wire.Value // that have come last
	row      int            // of them, behind the current one
	position Position
	affected uint64 // of a statement of a batch that writes
	trimmed  bool
	chunks   *chunks // nil once all have come
	err      error
}

// Columns returns the names of the columns.
func (r *Rows) Columns() []string { return r.columns }

// Position returns the position that the query has seen: QueryAt there gives the same rows.
func (r *Rows) Position() Position { return r.position }

// Trimmed reports whether the query would have seen more, had retention not removed it since. It is known when Next has
// returned false.
func (r *Rows) Trimmed() bool { return r.trimmed }

// Err returns why the result has broken off, nil where Next has returned false behind the last row.
func (r *Rows) Err() error { return r.err }

// Next goes to the next row, at first to the first one, and reports whether there is one. It waits until that has come.
// Where it returns false, Err says whether that was the end.
func (r *Rows) Next() bool {
	for r.row >= len(r.rows) {
		if !r.fetch() {
			return false
		}
	}
	r.row++
	return true
}

// fetch takes up the rows that come next. It returns false where none will.
func (r *Rows) fetch() bool {
	r.rows, r.row = nil, 0
	if r.chunks == nil {
		return false
	}
	chunk, reply, err := r.chunks.take()
	switch {
	case err != nil:
		r.chunks, r.err = nil, err
	case chunk != nil:
		r.rows = chunk.Rows
		if chunk.Sequence == 0 {
			r.columns, r.position = chunk.Columns, chunk.Position
		}
		return true
	default:
		r.chunks, r.rows, r.trimmed = nil, reply.Rows, reply.Trimmed
		if r.position = reply.Position; len(reply.Columns) > 0 {
			r.columns = reply.Columns
		}
	}
	return len(r.rows) > 0
}

// Close ends the query where rows are still to come. It may be called at any time, and returns nil.
func (r *Rows) Close() error {
	if r.chunks != nil {
		r.chunks.leave()
	}
	r.chunks, r.rows, r.row = nil, nil, 0
	return nil
}

// Values returns the current row: nil, int64, float64, bool, string, []byte or time.Time for each column. It must follow a
// Next that was true.
func (r *Rows) Values() []any {
	list := make([]any, len(r.columns))
	for i, v := range r.rows[r.row-1] {
		list[i] = goValue(v)
	}
	return list
}

// Scan copies the current row to where its arguments point, one for each column. It must follow a Next that was true.
//
// An integer goes to any integer that it fits into, and to a float that has it exactly; a Double to a float; a Boolean to a
// bool; a Text to a string or []byte; Bytes to a []byte; a Timestamp to a time.Time. Anything goes to an *any, as Values
// returns it, and to a sql.Scanner. NULL goes to a pointer, a []byte or an any, which is then nil, and to a sql.Scanner.
func (r *Rows) Scan(to ...any) error {
	if len(to) != len(r.columns) {
		return fmt.Errorf("scan %d columns into %d variables", len(r.columns), len(to))
	}
	for i, v := range r.rows[r.row-1] {
		if err := assign(to[i], v); err != nil {
			return fmt.Errorf("column %d, %q: %w", i+1, r.columns[i], err)
		}
	}
	return nil
}

// All yields the rows that are left, as Values returns them. Err says behind it whether all have come.
func (r *Rows) All() iter.Seq[[]any] {
	return func(yield func([]any) bool) {
		for r.Next() {
			if !yield(r.Values()) {
				return
			}
		}
	}
}

// Collect returns the rows of a query, all of them in memory, as structs: of each column the exported field whose tag `sql` has its name, or else whose
// own name it is, ignoring case. A column without a field is an error; a field without a column keeps its zero value. What a field
// takes, Scan tells. Where T is no struct, or is a time.Time, there must be one column.
//
//	accounts, err := client.Collect[Account](c.Query(ctx, "SELECT * FROM accounts"))
func Collect[T any](r *Rows, err error) ([]T, error) {
	if err != nil {
		return nil, err
	}
	defer r.Close()
	fields, err := fieldsOf(reflect.TypeFor[T](), r.columns)
	if err != nil {
		return nil, err
	}
	list := make([]T, 0, len(r.rows)-r.row)
	to := make([]any, len(r.columns))
	for r.Next() {
		var row T
		target := reflect.ValueOf(&row).Elem()
		for i, field := range fields {
			if field == nil {
				to[i] = &row
				continue
			}
			x, err := target.FieldByIndexErr(field) // an embedded pointer may be nil
			if err != nil {
				return nil, err
			}
			to[i] = x.Addr().Interface()
		}
		if err := r.Scan(to...); err != nil {
			return nil, err
		}
		list = append(list, row)
	}
	if r.err != nil {
		return nil, r.err
	}
	return list, nil
}

// fieldsOf returns for each column the field that it goes to, nil for the whole.
func fieldsOf(t reflect.Type, columns []string) ([][]int, error) {
	fields := make([][]int, len(columns))
	if t.Kind() != reflect.Struct || t == timeType || reflect.PointerTo(t).Implements(scannerType) {
		if len(columns) != 1 {
			return nil, fmt.Errorf("%d columns do not fit into %s; collect them into a struct", len(columns), t)
		}
		return fields, nil
	}
	for i, column := range columns {
		for _, f := range reflect.VisibleFields(t) {
			name, tagged := f.Tag.Lookup("sql")
			if f.IsExported() && !f.Anonymous && (tagged && name == column || !tagged && strings.EqualFold(f.Name, column)) {
				fields[i] = f.Index
				break
			}
		}
		if fields[i] == nil {
			return nil, fmt.Errorf("column %d, %q, has no field in %s; add one, or a tag such as `sql:%q`", i+1, column, t, column)
		}
	}
	return fields, nil
}
