package sql

import (
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/ncruces/go-sqlite3"

	"github.com/kimberlitedb/kimberlite-go/wire"
)

// bind gives a statement its parameters. $1 and ?1 are numbers; a bare ? is the next one.
func (s *prepared) bind(params []wire.Value) *wire.Error {
	switch {
	case s.misfit != nil:
		return s.misfit
	case s.count != len(params):
		return wire.Errorf(wire.QueryExecutionError, "the statement has %d parameters, and %d are given", s.count, len(params))
	}
	for i, n := range s.numbers {
		if err := bindValue(s.Stmt, i+1, params[n-1]); err != nil {
			return wire.Errorf(wire.QueryExecutionError, "parameter %d: %v", n, err)
		}
	}
	return nil
}

// parameters finds out which parameter stands at each place.
func (s *prepared) parameters() {
	s.numbers = make([]int, s.BindCount())
	bare, named := false, ""
	for i := range s.numbers {
		name := s.BindName(i + 1)
		if name == "" { // ?, or a number that none of the others reaches
			s.numbers[i], bare = i+1, true
			s.count = max(s.count, i+1)
			continue
		}
		n, err := strconv.Atoi(name[1:])
		if strings.HasPrefix(name, ":") || strings.HasPrefix(name, "@") || err != nil || n < 1 {
			s.misfit = wire.Errorf(wire.QueryExecutionError, "parameter %s: parameters have numbers here; write $1, $2 and so on", name)
			return
		}
		if named == "" && !strings.HasPrefix(name, "?") {
			named = name
		}
		s.numbers[i], s.count = n, max(s.count, n)
	}
	if bare && named != "" {
		s.misfit = wire.Errorf(wire.QueryExecutionError, "parameters are written as ? and as %s; use one of them", named)
	}
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
	boolean   bool // integers 0 and 1 are booleans
	timestamp bool // integers are times
}

func columnsOf(s *sqlite3.Stmt) (list []column, names []string) {
	for i := range s.ColumnCount() {
		declared := strings.ToUpper(s.ColumnDeclType(i))
		names = append(names, strings.ToValidUTF8(s.ColumnName(i), "\uFFFD"))
		list = append(list, column{boolean: strings.HasPrefix(declared, "BOOL"), timestamp: strings.HasPrefix(declared, "TIMESTAMP")})
	}
	return list, names
}

// read puts what stands in a column of the present row into a value that is NULL. Texts that are not UTF-8 are bytes: a text on the
// wire is.
func (c *column) read(s *sqlite3.Stmt, i int, v *wire.Value) {
	switch s.ColumnType(i) {
	case sqlite3.INTEGER:
		v.Int = s.ColumnInt64(i)
		switch {
		case c.boolean && (v.Int == 0 || v.Int == 1):
			v.Kind = wire.Boolean
		case c.timestamp:
			v.Kind = wire.Timestamp
		default:
			v.Kind = wire.BigInt
		}
	case sqlite3.FLOAT:
		v.Kind, v.Float = wire.Double, s.ColumnFloat(i)
	case sqlite3.TEXT:
		if text := s.ColumnText(i); utf8.ValidString(text) {
			v.Kind, v.Text = wire.Text, text
			return
		}
		v.Kind, v.Bytes = wire.Bytes, s.ColumnBlob(i, nil)
	case sqlite3.BLOB:
		v.Kind, v.Bytes = wire.Bytes, s.ColumnBlob(i, nil)
	}
}

// size returns about what a value takes on the wire, in bytes; no less.
func size(v wire.Value) int { return 16 + (len(v.Text)+len(v.Bytes))*4/3 }

// rowSize returns the same of a row.
func rowSize(row []wire.Value) int {
	n := 8
	for i := range row {
		n += size(row[i])
	}
	return n
}
