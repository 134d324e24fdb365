package sql_test

import (
	"hash/crc32"
	"slices"

	"github.com/kimberlitedb/kimberlite-go/engine/sql"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// fakeStreams are streams in memory.
type fakeStreams struct {
	streams map[string][]sql.Event // by folded name
	known   wire.Position
	pending []wire.Position // of statements that are not carried out
	passed  int             // events that scans gave
	bare    int             // of them, those without their data
}

func (f *fakeStreams) Check(string) *wire.Error { return nil }

func (f *fakeStreams) Names(wire.Position) (names []string) {
	for name := range f.streams {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func (f *fakeStreams) Known() wire.Position { return f.known }

func (f *fakeStreams) Beside(tables wire.Position) (wire.Position, bool) {
	for _, p := range f.pending {
		if p > tables {
			return p - 1, true
		}
	}
	return f.known, tables <= f.known
}

func (f *fakeStreams) Before(t wire.Time) (at wire.Position, _ *wire.Error) {
	for _, s := range f.streams {
		for _, e := range s {
			if e.Timestamp <= t {
				at = max(at, e.Position)
			}
		}
	}
	return at, nil
}

func (f *fakeStreams) Scan(name string, at wire.Position, _ bool, spend sql.Spend) (sql.Scan, *wire.Error) {
	return &fakeScan{f: f, all: f.streams[name], at: at, spend: spend}, nil
}

// fakeScan looks at every event.
type fakeScan struct {
	f     *fakeStreams
	all   []sql.Event
	at    wire.Position
	spend sql.Spend
	r     sql.Range
	next  int
	event *sql.Event
}

func (s *fakeScan) Seek(r sql.Range) *wire.Error {
	s.r, s.next = r, 0
	if r.Back {
		s.next = len(s.all) - 1
	}
	return nil
}

func (s *fakeScan) Next() (bool, *wire.Error) {
	for s.next >= 0 && s.next < len(s.all) {
		e := &s.all[s.next]
		if s.next++; s.r.Back {
			s.next -= 2
		}
		if e.Position > s.at || !s.r.Offsets.Has(int64(e.Offset)) || !s.r.Times.Has(int64(e.Timestamp)) || !s.r.Positions.Has(int64(e.Position)) {
			continue
		}
		if !s.spend(1) {
			return false, sql.ErrEnded
		}
		s.f.passed++
		s.event = e
		if s.r.Bare {
			s.f.bare++
			s.event = &sql.Event{Event: wire.Event{Offset: e.Offset}}
		}
		return true, nil
	}
	return false, nil
}

func (s *fakeScan) Event() *sql.Event { return s.event }

func fakeEvent(offset int, t wire.Time, position int, data string) sql.Event {
	return sql.Event{
		Event:    wire.Event{Offset: wire.Offset(offset), Data: []byte(data), Timestamp: t, Checksum: crc32.ChecksumIEEE([]byte(data))},
		Position: wire.Position(position),
	}
}
