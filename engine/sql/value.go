package sql

import (
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/ncruces/go-sqlite3"

	"github.com/kimberlitedb/kimberlite-go/wire"
)

// bind gives a statement its parameters. $1 and ?1 are numbers; a bare ? is the next one.
func bind(s *sqlite3.Stmt, params []wire.Value) *wire.Error {
	numbers, e := parameters(s)
	if e != nil {
		return e
	}
	most := 0
	for _, n := range numbers {
		most = max(most, n)
	}
	if most != len(params) {
		return wire.Errorf(wire.QueryExecutionError, "the statement has %d parameters, and %d are given", most, len(params))
	}
	for i, n := range numbers {
		if err := bindValue(s, i+1, params[n-1]); err != nil {
			return wire.Errorf(wire.QueryExecutionError, "parameter %d: %v", n, err)
		}
	}
	return nil
}

// parameters returns which parameter stands at each place of a statement.
func parameters(s *sqlite3.Stmt) ([]int, *wire.Error) {
	list := make([]int, s.BindCount())
	bare := false
	for i := range list {
		name := s.BindName(i + 1)
		if name == "" { // ?, or a number that none of the others reaches
			list[i], bare = i+1, true
			continue
		}
		n, err := strconv.Atoi(name[1:])
		if strings.HasPrefix(name, ":") || strings.HasPrefix(name, "@") || err != nil || n < 1 {
			return nil, wire.Errorf(wire.QueryExecutionError, "parameter %s: parameters have numbers here; write $1, $2 and so on", name)
		}
		list[i] = n
	}
	if bare && len(list) > 0 {
		for i := range list {
			if s.BindName(i+1) != "" && !strings.HasPrefix(s.BindName(i+1), "?") {
				return nil, wire.Errorf(wire.QueryExecutionError, "parameters are written as ? and as %s; use one of them", s.BindName(i+1))
			}
		}
	}
	return list, nil
}

func bindValue(s *sqlite3.Stmt, i int, v wire.Value) error {
	switch v.Kind {
	case wire.BigInt, wire.Boolean, wire.Timestamp:
		return s.BindInt64(i, v.Int)
	case wire.Text:
		return s.BindText(i, v.Text)
	case wire.Double:
		return s.BindFloat(i, v.Float)
	case wire.Bytes:
		if len(v.Bytes) == 0 {
			return s.BindZeroBlob(i, 0)
		}
		return s.BindBlob(i, v.Bytes)
	}
	return s.BindNull(i)
}

// column says what the values of a result's column are.
type column struct {
	name      string
	boolean   bool // integers 0 and 1 are booleans
	timestamp bool // integers are times
}

func columnsOf(s *sqlite3.Stmt) []column {
	list := make([]column, s.ColumnCount())
	for i := range list {
		declared := strings.ToUpper(s.ColumnDeclType(i))
		list[i] = column{
			name:      strings.ToValidUTF8(s.ColumnName(i), "\uFFFD"),
			boolean:   strings.HasPrefix(declared, "BOOL"),
			timestamp: strings.HasPrefix(declared, "TIMESTAMP"),
		}
	}
	return list
}

// value returns what stands in a column of the present row. Texts that are not UTF-8 are bytes: a text on the wire is.
func (c *column) value(s *sqlite3.Stmt, i int) wire.Value {
	switch s.ColumnType(i) {
	case sqlite3.INTEGER:
		n := s.ColumnInt64(i)
		switch {
		case c.boolean && (n == 0 || n == 1):
			return wire.Value{Kind: wire.Boolean, Int: n}
		case c.timestamp:
			return wire.Value{Kind: wire.Timestamp, Int: n}
		}
		return wire.Value{Kind: wire.BigInt, Int: n}
	case sqlite3.FLOAT:
		return wire.Value{Kind: wire.Double, Float: s.ColumnFloat(i)}
	case sqlite3.TEXT:
		if text := s.ColumnText(i); utf8.ValidString(text) {
			return wire.Value{Kind: wire.Text, Text: text}
		}
		return wire.Value{Kind: wire.Bytes, Bytes: s.ColumnBlob(i, nil)}
	case sqlite3.BLOB:
		return wire.Value{Kind: wire.Bytes, Bytes: s.ColumnBlob(i, nil)}
	}
	return wire.Value{}
}

// size returns about what a value takes on the wire, in bytes; no less.
func size(v wire.Value) int { return 16 + (len(v.Text)+len(v.Bytes))*4/3 }
