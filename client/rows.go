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
//	for rows.Next() {
//		err = rows.Scan(&name, &balance)
//	}
//
// A Rows is used by one goroutine at a time.
type Rows struct {
	reply *wire.QueryReply
	row   int // behind the current one
}

// Columns returns the names of the columns.
func (r *Rows) Columns() []string { return r.reply.Columns }

// Position returns the position that the query has seen: QueryAt there gives the same rows.
func (r *Rows) Position() Position { return r.reply.Position }

// Trimmed reports whether the query would have seen more, had retention not removed it since.
func (r *Rows) Trimmed() bool { return r.reply.Trimmed }

// Len returns how many rows there are.
func (r *Rows) Len() int { return len(r.reply.Rows) }

// Next goes to the next row, at first to the first one, and reports whether there is one.
func (r *Rows) Next() bool {
	if r.row >= len(r.reply.Rows) {
		return false
	}
	r.row++
	return true
}

// Values returns the current row: nil, int64, float64, bool, string, []byte or time.Time for each column. It must follow a
// Next that was true.
func (r *Rows) Values() []any {
	list := make([]any, len(r.reply.Columns))
	for i, v := range r.reply.Rows[r.row-1] {
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
	if len(to) != len(r.reply.Columns) {
		return fmt.Errorf("scan %d columns into %d variables", len(r.reply.Columns), len(to))
	}
	for i, v := range r.reply.Rows[r.row-1] {
		if err := assign(to[i], v); err != nil {
			return fmt.Errorf("column %d, %q: %w", i+1, r.reply.Columns[i], err)
		}
	}
	return nil
}

// All yields the rows that are left, as Values returns them.
func (r *Rows) All() iter.Seq[[]any] {
	return func(yield func([]any) bool) {
		for r.Next() {
			if !yield(r.Values()) {
				return
			}
		}
	}
}

// Collect returns the rows of a query as structs: of each column the exported field whose tag `sql` has its name, or else whose
// own name it is, ignoring case. A column without a field is an error; a field without a column keeps its zero value. What a field
// takes, Scan tells. Where T is no struct, or is a time.Time, there must be one column.
//
//	accounts, err := client.Collect[Account](c.Query(ctx, "SELECT * FROM accounts"))
func Collect[T any](r *Rows, err error) ([]T, error) {
	if err != nil {
		return nil, err
	}
	fields, err := fieldsOf(reflect.TypeFor[T](), r.reply.Columns)
	if err != nil {
		return nil, err
	}
	list := make([]T, 0, r.Len()-r.row)
	to := make([]any, len(r.reply.Columns))
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
