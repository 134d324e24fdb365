package main

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/kimberlitedb/kimberlite-go/client"
)

// parseParam reads the value of a parameter: its kind is named before a colon, or shows by itself.
func parseParam(s string) (any, error) {
	kind, rest, _ := strings.Cut(s, ":")
	switch kind {
	case "text":
		return rest, nil
	case "bytes":
		p, err := hex.DecodeString(rest)
		if err != nil {
			return nil, fmt.Errorf("%q are not hexadecimal digits, such as bytes:00ff", rest)
		}
		return p, nil
	case "time":
		t, err := time.Parse(time.RFC3339Nano, rest)
		if err != nil {
			return nil, fmt.Errorf("%q is not a time, such as time:2026-05-09T12:00:00Z", rest)
		}
		return t, nil
	}
	switch s {
	case "null":
		return nil, nil
	case "true", "false":
		return s == "true", nil
	}
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		return n, nil
	}
	if strings.Trim(s, "+-.0123456789eE") == "" { // neither names such as Infinity, nor hexadecimal
		if f, err := strconv.ParseFloat(s, 64); err == nil {
			return f, nil
		}
	}
	return s, nil
}

// printSoon is after how long the rows that are there are shown, although more may come at once.
const printSoon = 200 * time.Millisecond

// print prints the rows of a result as they come, and returns how many there are. That of a statement that writes, and has no
// RETURNING, is a row of rows_affected and log_offset. Where the result breaks off, what came of it is printed.
func (s *session) print(r *client.Rows) (n uint64, err error) {
	shape := rowShape{format: s.format, names: distinct(r.Columns())}
	header := r.Columns()
	if s.format == formatTable {
		header = slices.Clone(header)
		for i, name := range header {
			header[i] = printable([]byte(name))
		}
	}
	p := newPrinter(s.stdout, s.format, header...)
	shown := time.Now()
	for r.Next() {
		n++
		if err := p.print(shape.row(r.Values())); err != nil {
			return n, err
		}
		if now := time.Now(); now.Sub(shown) > printSoon {
			shown = now
			p.csv.Flush() // its error comes back below
			if err := s.stdout.Flush(); err != nil {
				return n, err
			}
		}
	}
	if r.Err() != nil { // no JSON array is closed whose end is missing
		return n, errors.Join(r.Err(), p.flush(), s.stdout.Flush())
	}
	return n, p.close()
}

// rowShape makes rows of values, in the shape that the format needs.
type rowShape struct {
	format format
	names  []string // as JSON has them
}

func (s *rowShape) row(values []any) row {
	switch s.format {
	case formatTable, formatCSV:
		return row{cells: s.cells(values)}
	case formatRaw:
		return row{raw: rawRow(values)}
	}
	return row{value: jsonRow{s.names, values}}
}

// cells writes values for a table or for CSV.
func (s *rowShape) cells(values []any) []string {
	cells := make([]string, len(values))
	for i, v := range values {
		switch v := v.(type) {
		case nil:
			if s.format == formatTable {
				cells[i] = "NULL"
			}
		case []byte:
			cells[i] = "x'" + hex.EncodeToString(v) + "'"
		default:
			if cells[i] = plain(v); s.format == formatTable {
				cells[i] = printable([]byte(cells[i]))
			}
		}
	}
	return cells
}

// plain writes a value other than NULL and bytes.
func plain(v any) string {
	switch v := v.(type) {
	case float64:
		return strconv.FormatFloat(v, 'g', -1, 64)
	case time.Time:
		return stamp(v)
	}
	return fmt.Sprint(v)
}

func rawRow(values []any) (line []byte) {
	for i, v := range values {
		if i > 0 {
			line = append(line, '\t')
		}
		switch v := v.(type) {
		case nil:
		case []byte:
			line = append(line, v...)
		default:
			line = append(line, plain(v)...)
		}
	}
	return line
}

// jsonRow is a row as a JSON object whose members have the order of the columns.
type jsonRow struct {
	names  []string
	values []any
}

// MarshalJSON implements json.Marshaler.
func (r jsonRow) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	for i, name := range r.names {
		b.WriteByte("{,"[min(i, 1)])
		if err := enc.Encode(name); err != nil {
			return nil, err
		}
		b.WriteByte(':')
		if err := enc.Encode(jsonValue(r.values[i])); err != nil {
			return nil, err
		}
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// jsonValue returns what stands for a value in JSON.
func jsonValue(v any) any {
	switch v := v.(type) {
	case []byte:
		return map[string]string{"base64": base64.StdEncoding.EncodeToString(v)}
	case time.Time:
		return stamp(v)
	case float64:
		if math.IsInf(v, 0) || math.IsNaN(v) {
			return plain(v)
		}
	}
	return v
}

// distinct numbers names that come again, so that an object has each once.
func distinct(names []string) []string {
	list, seen := make([]string, len(names)), map[string]bool{}
	for i, name := range names {
		list[i] = name
		for n := 2; seen[list[i]]; n++ {
			list[i] = fmt.Sprintf("%s:%d", name, n)
		}
		seen[list[i]] = true
	}
	return list
}
