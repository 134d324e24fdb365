package main

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"sort"
	"strconv"

	"github.com/kimberlitedb/kimberlite-go/client"
	"github.com/kimberlitedb/kimberlite-go/engine/sql"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// statementsStream is the stream whose events are the tenant's statements that write.
const statementsStream = "$sql"

// statementAt is a statement in the tenant's log, or an atomic batch of them.
type statementAt struct {
	event client.Event
	entry *sql.Entry
}

func (s *statementAt) decode() (err error) {
	if s.entry, err = sql.Decode(s.event.Data, wire.Time(s.event.Timestamp.UnixNano())); err != nil {
		return fmt.Errorf("event %d of %s: %w", s.event.Offset, statementsStream, err)
	}
	return nil
}

// read yields the statements from an offset of their stream on.
func (b *bisect) read(ctx context.Context, stream client.StreamID, from client.Offset, options ...client.ReadOption) iter.Seq2[*statementAt, error] {
	return func(yield func(*statementAt, error) bool) {
		for e, err := range b.c.Events(ctx, stream, from, options...) {
			s := &statementAt{event: e}
			if err == nil {
				err = s.decode()
			}
			if !yield(s, err) || err != nil {
				return
			}
		}
	}
}

// statements yields the statements between two positions, both included.
func (b *bisect) statements(ctx context.Context, from, to client.Position) iter.Seq2[*statementAt, error] {
	return func(yield func(*statementAt, error) bool) {
		stream, err := find(ctx, b.c, statementsStream)
		if err != nil {
			yield(nil, err)
			return
		}
		first, err := b.offset(ctx, stream, from)
		if err != nil {
			yield(nil, err)
			return
		}
		for s, err := range b.read(ctx, stream.ID, first) {
			if err == nil && s.entry.Position > to || !yield(s, err) {
				return
			}
		}
	}
}

// offset finds the first event of the stream of statements whose position is not before one.
func (b *bisect) offset(ctx context.Context, stream client.StreamInfo, at client.Position) (client.Offset, error) {
	var failed error
	n := sort.Search(int(stream.Head-stream.Oldest), func(i int) bool {
		for s, err := range b.read(ctx, stream.ID, stream.Oldest+client.Offset(i), client.MaxEvents(1)) {
			if err != nil {
				failed = err
				return true
			}
			return s.entry.Position >= at
		}
		return true
	})
	return stream.Oldest + client.Offset(n), failed
}

// statement returns the statement at a position, nil where another entry is there.
func (b *bisect) statement(ctx context.Context, at client.Position) (*statementAt, error) {
	for s, err := range b.statements(ctx, at, at) {
		return s, err
	}
	return nil, nil
}

// statementJSON is a statement as JSON.
type statementJSON struct {
	Position client.Position `json:"position"`
	Time     string          `json:"time"`
	Offset   client.Offset   `json:"offset"` // in $sql
	Entry    json.RawMessage `json:"entry"`  // as it stands there
}

// loggedStatement is a statement as its event has it.
type loggedStatement struct {
	SQL    string
	Params []json.RawMessage
}

// statements returns the statements of an entry: one, or those of a batch.
func (s *statementAt) statements() ([]loggedStatement, error) {
	var entry struct {
		loggedStatement
		Batch []loggedStatement
	}
	if err := json.Unmarshal(s.event.Data, &entry); err != nil {
		return nil, err
	}
	if len(entry.Batch) > 0 {
		return entry.Batch, nil
	}
	return []loggedStatement{entry.loggedStatement}, nil
}

func (s *statementAt) print(a *app) error {
	position := strconv.FormatUint(uint64(s.entry.Position), 10)
	if a.format != formatTable {
		return printOne(a.stdout, a.format, nil, row{
			value: statementJSON{s.entry.Position, stamp(s.event.Timestamp), s.event.Offset, s.event.Data},
			raw:   []byte(position),
		})
	}
	facts := []fact{{"position", position}, {"time", stamp(s.event.Timestamp)}}
	statements, err := s.statements()
	if err != nil {
		return err
	}
	for i, x := range statements {
		name := "statement"
		if len(statements) > 1 {
			name = fmt.Sprintf("statement %d", i+1)
		}
		facts = append(facts, fact{name, printable([]byte(x.SQL))})
		for i, p := range x.Params {
			facts = append(facts, fact{fmt.Sprintf("$%d", i+1), string(p)})
		}
	}
	if s.entry.Key.Set {
		facts = append(facts, fact{"key", fmt.Sprintf("%x", s.entry.Key.Value[:])})
	}
	return printFacts(a.stdout, append(facts, fact{"event", fmt.Sprintf("%d of %s", s.event.Offset, statementsStream)}))
}
