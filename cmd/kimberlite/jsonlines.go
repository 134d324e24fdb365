package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/kimberlitedb/kimberlite-go/client"
)

// source is a file of JSON lines, each with a time in one of its fields if one is named.
type source struct {
	path  string
	field string
	unit  unit
}

// check reads the whole file and says what is wrong with it, or how many bytes it has.
func (s *source) check() (size int64, err error) {
	l, err := s.open()
	if err != nil {
		return 0, err
	}
	defer l.close()
	for {
		_, ok, err := l.next()
		if err != nil || !ok {
			return l.read, err
		}
	}
}

// open begins to read the file. The caller closes the lines.
func (s *source) open() (*lines, error) {
	f, err := os.Open(s.path)
	if err != nil {
		return nil, err
	}
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() { // it is read more than once
		f.Close()
		return nil, errors.Join(err, fmt.Errorf("%s is not a regular file", s.path))
	}
	return &lines{source: s, file: f, r: bufio.NewReaderSize(f, 64<<10)}, nil
}

// lines reads a source.
type lines struct {
	*source
	file   *os.File
	r      *bufio.Reader
	number int   // of the last line read, from 1
	read   int64 // bytes
	ahead  *line // read already
}

// line is one line that is not blank.
type line struct {
	number int
	data   []byte
	time   time.Time // zero where the source has no field for it
	end    int64     // bytes of the file up to its end
}

func (l *lines) close() { l.file.Close() } // it was only read

// next returns the next line that is not blank, or false at the end.
func (l *lines) next() (line, bool, error) {
	if x := l.ahead; x != nil {
		l.ahead = nil
		return *x, true, nil
	}
	data, err := l.nextData()
	if err != nil || data == nil {
		return line{}, false, err
	}
	x := line{number: l.number, data: data, end: l.read}
	if x.time, err = l.parse(data); err != nil {
		return line{}, false, l.wrong(err)
	}
	return x, true, nil
}

// skip passes over lines that are not blank.
func (l *lines) skip(n int) error {
	for range n {
		if _, err := l.nextData(); err != nil {
			return err
		}
	}
	return nil
}

// batch is the lines of one append.
type batch struct {
	events [][]byte
	times  []time.Time
	end    int64 // bytes of the file up to its end
}

// batch returns the lines of the next append, none at the end.
func (l *lines) batch() (b batch, err error) {
	for size := 0; len(b.events) < linesPerBatch; {
		x, ok, err := l.next()
		if err != nil || !ok {
			return b, err
		}
		if size += len(x.data); size > bytesPerBatch && len(b.events) > 0 {
			l.ahead = &x
			break
		}
		b.events, b.times, b.end = append(b.events, x.data), append(b.times, x.time), x.end
	}
	return b, nil
}

// nextData returns the bytes of the next line that is not blank, nil at the end.
func (l *lines) nextData() ([]byte, error) {
	for {
		data, n, err := readLine(l.r)
		if errors.Is(err, io.EOF) {
			return nil, nil
		}
		l.number++
		l.read += n
		if err != nil {
			return nil, l.wrong(err)
		}
		if len(bytes.TrimSpace(data)) > 0 {
			return data, nil
		}
	}
}

func (l *lines) wrong(err error) error {
	return &failure{fmt.Errorf("%s, line %d: %w", l.path, l.number, err), exitFailed, "correct the file and import it again"}
}

// parse checks a line and returns its time.
func (l *lines) parse(data []byte) (time.Time, error) {
	if l.field == "" {
		if !json.Valid(data) {
			return time.Time{}, errors.New("is not JSON")
		}
		return time.Time{}, nil
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(data, &fields); err != nil {
		return time.Time{}, fmt.Errorf("is not a JSON object: %w", err)
	}
	value, ok := fields[l.field]
	if !ok {
		return time.Time{}, fmt.Errorf("has no field %q", l.field)
	}
	t, err := l.unit.parse(value)
	if err != nil {
		return time.Time{}, fmt.Errorf("field %q: %w", l.field, err)
	}
	return t, nil
}

// differs says in what a line is not an event, or nothing.
func (x *line) differs(e *client.Event) string {
	switch {
	case !bytes.Equal(x.data, e.Data):
		return fmt.Sprintf("the file has %s, the stream %s", excerpt(x.data), excerpt(e.Data))
	case !x.time.IsZero() && !x.time.Equal(e.Timestamp):
		return fmt.Sprintf("the file has the time %s, the stream %s", stamp(x.time), stamp(e.Timestamp))
	}
	return ""
}

// excerpt shows the beginning of an event.
func excerpt(data []byte) string {
	const most = 60
	if len(data) <= most {
		return fmt.Sprintf("%q", data)
	}
	return fmt.Sprintf("%q… (%d bytes)", data[:most], len(data))
}
