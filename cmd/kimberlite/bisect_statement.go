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

// statementAt is a statement in the tenant's log.
type statementAt struct {
	event client.Event
	entry *sql.Entry
}

func newStatementAt(e client.Event) (*statementAt, error) {
	entry, err := sql.Decode(e.Data, wire.Time(e.Timestamp.UnixNano()))
	if err != nil {
		return nil, fmt.Errorf("event %d of %s: %w", e.Offset, statementsStream, err)
	}
	return &statementAt{e, entry}, nil
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
		for e, err := range b.c.Events(ctx, stream.ID, first) {
			var s *statementAt
			if err == nil {
				s, err = newStatementAt(e)
			}
			if err == nil && s.entry.Position > to || !yield(s, err) || err != nil {
				return
			}
		}
	}
}

// offset finds the first event of the stream of statements whose position is not before one.
func (b *bisect) offset(ctx context.Context, stream client.StreamInfo, at client.Position) (client.Offset, error) {
	var failed error
	n := sort.Search(int(stream.Head-stream.Oldest), func(i int) bool {
		for e, err := range b.c.Events(ctx, stream.ID, stream.Oldest+client.Offset(i), client.MaxEvents(1)) {
			if err != nil {
				failed = err
				return true
			}
			s, err := newStatementAt(e)
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

// statement returns the statement at a position.
func (b *bisect) statement(ctx context.Context, at client.Position) (*statementAt, error) {
	for s, err := range b.statements(ctx, at, at) {
		return s, err
	}
	return nil, fmt.Errorf("position %d is that of no statement", at)
}

// statementJSON is a statement as JSON.
type statementJSON struct {
	Position client.Position `json:"position"`
	Time     string          `json:"time"`
	Offset   client.Offset   `json:"offset"` // in $sql
	Entry    json.RawMessage `json:"entry"`  // as it stands there
}

func (s *statementAt) print(a *app) error {
	position := strconv.FormatUint(uint64(s.entry.Position), 10)
	if a.format != formatTable {
		return printOne(a.stdout, a.format, nil, row{
			value: statementJSON{s.entry.Position, stamp(s.event.Timestamp), s.event.Offset, s.event.Data},
			raw:   []byte(position),
		})
	}
	facts := []fact{{"position", position}, {"time", stamp(s.event.Timestamp)}, {"statement", printable([]byte(s.entry.SQL))}}
	var entry struct{ Params []json.RawMessage }
	if err := json.Unmarshal(s.event.Data, &entry); err != nil {
		return err
	}
	for i, p := range entry.Params {
		facts = append(facts, fact{fmt.Sprintf("$%d", i+1), string(p)})
	}
	if s.entry.Key.Set {
		facts = append(facts, fact{"key", fmt.Sprintf("%x", s.entry.Key.Value[:])})
	}
	return printFacts(a.stdout, append(facts, fact{"event", fmt.Sprintf("%d of %s", s.event.Offset, statementsStream)}))
}
