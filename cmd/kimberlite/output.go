package main

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
)

// printer prints rows one by one, in the format asked for. Close must follow the last one.
type printer struct {
	w      io.Writer
	format format
	header []string
	table  *tabwriter.Writer
	csv    *csv.Writer
	json   *json.Encoder
	buf    bytes.Buffer
	rows   int
}

// row is one thing to print, in every shape.
type row struct {
	cells []string // as the table's header
	value any      // as JSON
	raw   []byte
}

// tableRows is how many rows a table aligns at a time, so that a long one is printed as it comes.
const tableRows = 500

func newPrinter(w io.Writer, f format, header ...string) *printer {
	p := &printer{w: w, format: f, header: header, table: tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)}
	p.csv = csv.NewWriter(w)
	p.json = json.NewEncoder(&p.buf)
	p.json.SetEscapeHTML(false)
	return p
}

// print prints a row.
func (p *printer) print(r row) error {
	p.rows++
	switch p.format {
	case formatRaw:
		_, err := p.w.Write(append(r.raw, '\n'))
		return err
	case formatTable:
		return p.line(r.cells)
	case formatCSV:
		if p.rows == 1 {
			p.csv.Write(p.header) // its error comes back below
		}
		return p.csv.Write(r.cells)
	}
	p.buf.Reset()
	if err := p.json.Encode(r.value); err != nil {
		return err
	}
	if p.format == formatJSONL {
		_, err := p.w.Write(p.buf.Bytes())
		return err
	}
	before := ",\n"
	if p.rows == 1 {
		before = "[\n"
	}
	_, err := fmt.Fprintf(p.w, "%s%s", before, bytes.TrimSuffix(p.buf.Bytes(), []byte("\n")))
	return err
}

func (p *printer) line(cells []string) error {
	if p.rows == 1 {
		fmt.Fprintln(p.table, strings.Join(p.header, "\t")) // its error comes back below
	}
	if _, err := fmt.Fprintln(p.table, strings.Join(cells, "\t")); err != nil {
		return err
	}
	if p.rows%tableRows == 0 {
		return p.table.Flush()
	}
	return nil
}

// flush writes out what waits.
func (p *printer) flush() error {
	p.csv.Flush()
	return errors.Join(p.csv.Error(), p.table.Flush())
}

// close ends the output.
func (p *printer) close() error {
	switch {
	case p.format == formatTable:
		return p.flush()
	case p.format == formatCSV:
		if p.rows == 0 { // a reader wants to know the columns all the same
			p.csv.Write(p.header) // its error comes back below
		}
		return p.flush()
	case p.format == formatJSON && p.rows == 0:
		_, err := io.WriteString(p.w, "[]\n")
		return err
	case p.format == formatJSON:
		_, err := io.WriteString(p.w, "\n]\n")
		return err
	}
	return nil
}

// printOne prints a single thing; as JSON it is an object, not a list.
func printOne(w io.Writer, f format, header []string, r row) error {
	if f == formatJSON {
		f = formatJSONL
	}
	p := newPrinter(w, f, header...)
	if err := p.print(r); err != nil {
		return err
	}
	return p.close()
}

// fact is a line about one thing that has too many properties for a row.
type fact struct{ name, value string }

// printFacts prints a thing on many lines.
func printFacts(w io.Writer, facts []fact) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, f := range facts {
		fmt.Fprintf(t, "%s\t%s\n", f.name, f.value) // its error comes back below
	}
	return t.Flush()
}

// stamp writes a time as everywhere in the output; nothing for none.
func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339Nano)
}
