package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/kimberlitedb/kimberlite-go/client"
	"github.com/kimberlitedb/kimberlite-go/engine/sql"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// found is what was found: a statement, or an append to a stream.
type found interface{ print(*app) error }

// entry returns what is at a position.
func (b *bisect) entry(ctx context.Context, at client.Position) (found, error) {
	s, err := b.statement(ctx, at)
	if err != nil && !errors.Is(err, client.ErrStreamNotFound) { // before the first statement there is no $sql
		return nil, err
	}
	if s != nil {
		return s, nil
	}
	names, err := b.streams(ctx)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if e, err := b.appended(ctx, name, at); err != nil || e != nil {
			return e, err
		}
	}
	return nil, fmt.Errorf("position %d is that of no statement, and of no event of the streams in the query", at)
}

// streams returns the names of the streams that the query may name, in its own text or in those of views.
func (b *bisect) streams(ctx context.Context) (names []string, _ error) {
	rows, err := b.c.Query(ctx, `SELECT name, sql FROM "$tables" WHERE kind = 'view'`)
	if err != nil {
		return nil, err
	}
	views := map[string][]string{}
	for rows.Next() {
		var name, text string
		if err := rows.Scan(&name, &text); err != nil {
			return nil, err
		}
		views[wire.Fold(name)] = sql.Mentions(text)
	}
	list, seen := sql.Mentions(b.query), map[string]bool{}
	for i := 0; i < len(list); i++ {
		name := list[i]
		if seen[name] {
			continue
		}
		seen[name] = true
		list = append(list, views[name]...)
		if name == statementsStream || !mayBeStream(name) {
			continue
		}
		info, err := b.c.StreamByName(ctx, name)
		if err != nil && !errors.Is(err, client.ErrStreamNotFound) {
			return nil, err
		}
		if err == nil && !info.Deleted {
			names = append(names, info.Name)
		}
	}
	return names, nil
}

// mayBeStream reports whether there can be a stream of a name.
func mayBeStream(name string) bool {
	other := func(c rune) bool {
		return !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '_' || c == '-' || c == '.')
	}
	return name == "$audit" || name != "" && len(name) <= wire.MaxName && strings.IndexFunc(name, other) < 0
}

// next returns the first position behind one, up to another, at which there is an event of one of some streams; 0 where there
// is none.
func (b *bisect) next(ctx context.Context, names []string, behind, upto client.Position) (first client.Position, _ error) {
	for _, name := range names {
		rows, err := b.c.QueryAt(ctx, upto, "SELECT min(position) FROM "+quoteName(name)+" WHERE position > $1", int64(behind))
		if errors.Is(err, client.ErrTableNotFound) {
			continue
		}
		if err != nil {
			return 0, err
		}
		for values := range rows.All() {
			if p, ok := values[0].(int64); ok && (first == 0 || client.Position(p) < first) {
				first = client.Position(p)
			}
		}
	}
	return first, nil
}

// quoteName writes a name as SQL takes it; no name of a stream has a quotation mark in it.
func quoteName(name string) string { return `"` + name + `"` }

// appendAt is an append to a stream: its first event, and how many there are.
type appendAt struct {
	Position client.Position `json:"position"`
	Time     string          `json:"time"`
	Stream   string          `json:"stream"`
	Offset   client.Offset   `json:"offset"`
	Events   int64           `json:"events"`
}

// appended returns the append to a stream at a position, nil where there is none.
func (b *bisect) appended(ctx context.Context, name string, at client.Position) (*appendAt, error) {
	rows, err := b.c.QueryAt(ctx, at, `SELECT "offset", timestamp, count(*) OVER () FROM `+quoteName(name)+` WHERE position = $1 ORDER BY "offset" LIMIT 1`, int64(at))
	if errors.Is(err, client.ErrTableNotFound) {
		return nil, nil
	}
	if err != nil || !rows.Next() {
		return nil, err
	}
	var offset int64
	var when time.Time
	e := &appendAt{Position: at, Stream: name}
	if err := rows.Scan(&offset, &when, &e.Events); err != nil {
		return nil, err
	}
	e.Offset, e.Time = client.Offset(offset), stamp(when)
	return e, nil
}

func (e *appendAt) print(a *app) error {
	position := strconv.FormatUint(uint64(e.Position), 10)
	if a.format != formatTable {
		return printOne(a.stdout, a.format, nil, row{value: e, raw: []byte(position)})
	}
	offset := strconv.FormatUint(uint64(e.Offset), 10)
	return printFacts(a.stdout, []fact{
		{"position", position}, {"time", e.Time}, {"stream", e.Stream}, {"offset", offset}, {"events", strconv.FormatInt(e.Events, 10)},
	})
}
