package main

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"time"

	"github.com/kimberlitedb/kimberlite-go/client"
	"github.com/kimberlitedb/kimberlite-go/engine/sql"
	"github.com/kimberlitedb/kimberlite-go/wire"
	"github.com/spf13/cobra"
)

func newBisect(a *app) *cobra.Command {
	o := bisectFlags{}
	cmd := remote(a, &cobra.Command{
		Use:   "bisect QUERY",
		Short: "Find the statement or event that made a condition true",
		Long: `Find the first position of the tenant's log at which a query is true, and the statement that made it so, or the event, where
the query reads streams: a query is true if the first value of its first row is true or a number other than 0. Where its tables
and streams do not exist yet, it is not.

The positions between --from and --to are halved, so that 40 queries find one among a million million. That takes the
query to stay true once it is; whether it does is not looked at. --first-change instead runs the query at every statement and
every append to a stream that it names, and finds the first that changes its rows, whatever they are.`,
		Example: `  kimberlite bisect "SELECT count(*) > 0 FROM accounts WHERE balance < 0"
  kimberlite bisect "SELECT count(*) >= 5 FROM quakes WHERE data->>'mag' >= 7"
  kimberlite bisect "SELECT balance FROM accounts WHERE id = 7" --first-change --from 1200`,
		Args: args(cobra.ExactArgs(1)),
	})
	cmd.Flags().StringVar(&o.from, "from", "0", "position or time at which the query is not true yet")
	cmd.Flags().StringVar(&o.to, "to", "now", "position or time at which it is")
	cmd.Flags().BoolVar(&o.firstChange, "first-change", false, "find the first statement or event that changes the rows of the query")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		b := bisect{}
		if err := o.parse(&b, args[0]); err != nil {
			return usage(cmd, err)
		}
		return a.with(cmd.Context(), func(c *client.Client) error {
			b.c = c
			found, err := b.find(cmd.Context())
			if err != nil {
				return err
			}
			return found.print(a)
		})
	}
	return cmd
}

type bisectFlags struct {
	from, to    string
	firstChange bool
}

func (o *bisectFlags) parse(b *bisect, query string) (err error) {
	b.firstChange = o.firstChange
	parsed, refused := sql.Parse(query)
	switch {
	case refused == nil && parsed.Writes:
		return fmt.Errorf("%s is no query", parsed.Verb)
	case refused == nil && parsed.Past():
		return errors.New("the query is run at many positions; leave its AS OF away")
	}
	b.query, _, _ = sql.Cut(query)
	if b.from, err = parseMoment(o.from, time.Now()); err != nil {
		return fmt.Errorf("--from: %w", err)
	}
	if b.to, err = parseMoment(o.to, time.Now()); err != nil {
		return fmt.Errorf("--to: %w", err)
	}
	return nil
}

// bisect looks for a position.
type bisect struct {
	c           *client.Client
	query       string
	from, to    moment
	firstChange bool
}

// find finds the entry.
func (b *bisect) find(ctx context.Context) (found, error) {
	from, err := b.position(ctx, b.from)
	if err != nil {
		return nil, err
	}
	to, err := b.position(ctx, b.to)
	if err != nil {
		return nil, err
	}
	if from > to {
		return nil, &failure{fmt.Errorf("position %d is not before %d", from, to), exitUsage, "exchange --from and --to"}
	}
	if b.firstChange {
		return b.scan(ctx, from, to)
	}
	return b.halve(ctx, from, to)
}

// position returns the position that a query as of a moment sees.
func (b *bisect) position(ctx context.Context, m moment) (client.Position, error) {
	if m.position.Set {
		return m.position.Value, nil
	}
	s := session{c: b.c, at: m}
	rows, err := s.ask(ctx, "SELECT 1")
	if err != nil {
		return 0, err
	}
	return rows.Position(), rows.Close()
}

// halve finds the first position behind from, up to to, at which the query is true.
func (b *bisect) halve(ctx context.Context, from, to client.Position) (found, error) {
	rows, err := b.rows(ctx, to)
	if err != nil { // also that of a table that is missing
		return nil, err
	}
	now, err := truth(rows, to)
	if err == nil && !now {
		err = &failure{fmt.Errorf("the query is not true at position %d", to), exitNotFound,
			"if it was true in between, give that position with --to, or look at every entry with --first-change"}
	}
	if err != nil {
		return nil, err
	}
	before, err := b.holds(ctx, from)
	if err == nil && before {
		err = &failure{fmt.Errorf("the query is true at position %d already", from), exitNotFound, "begin earlier with --from"}
	}
	for to-from > 1 && err == nil {
		middle := from + (to-from)/2
		if now, err = b.holds(ctx, middle); now {
			to = middle
		} else {
			from = middle
		}
	}
	if err != nil {
		return nil, err
	}
	return b.entry(ctx, to)
}

// scan finds the first entry behind from, up to to, that changes the rows of the query.
func (b *bisect) scan(ctx context.Context, from, to client.Position) (found, error) {
	if _, err := b.rows(ctx, to); err != nil {
		return nil, err
	}
	before, err := b.look(ctx, from)
	if err != nil {
		return nil, err
	}
	names, err := b.streams(ctx)
	if err != nil {
		return nil, err
	}
	for at := from; ; {
		if at, err = b.next(ctx, append(names, statementsStream), at, to); err != nil {
			return nil, err
		}
		if at == 0 {
			break
		}
		rows, err := b.look(ctx, at)
		if err != nil {
			return nil, err
		}
		if !reflect.DeepEqual(rows, before) {
			return b.entry(ctx, at)
		}
	}
	return nil, &failure{fmt.Errorf("no entry behind position %d up to %d changes the rows", from, to), exitNotFound, ""}
}

// rows returns the rows of the query at a position.
func (b *bisect) rows(ctx context.Context, at client.Position) (list [][]any, _ error) {
	r, err := b.c.QueryAt(ctx, at, b.query)
	if err != nil {
		return nil, err
	}
	for values := range r.All() {
		list = append(list, values)
	}
	return list, r.Err()
}

// look returns the rows of the query at a position; none where its tables, or columns of them, do not exist there.
func (b *bisect) look(ctx context.Context, at client.Position) ([][]any, error) {
	rows, err := b.rows(ctx, at)
	switch {
	case missing(err):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("at position %d: %w", at, err)
	}
	return rows, nil
}

// missing reports whether a query failed because it was asked too early in the life of its tables.
func missing(err error) bool {
	var e *client.Error
	return errors.Is(err, client.ErrTableNotFound) || errors.As(err, &e) && e.Code == wire.QueryExecutionError && strings.HasPrefix(e.Message, "no such column")
}

// holds reports whether the query is true at a position.
func (b *bisect) holds(ctx context.Context, at client.Position) (bool, error) {
	rows, err := b.look(ctx, at)
	if err != nil {
		return false, err
	}
	return truth(rows, at)
}

// truth reports whether rows, which a query has at a position, say that it is true.
func truth(rows [][]any, at client.Position) (bool, error) {
	if len(rows) == 0 {
		return false, nil
	}
	switch v := rows[0][0].(type) {
	case nil:
		return false, nil
	case bool:
		return v, nil
	case int64:
		return v != 0, nil
	case float64:
		return v != 0, nil
	}
	return false, &failure{fmt.Errorf("at position %d the query gives %v, which is neither true nor false", at, rows[0][0]), exitUsage,
		"select a condition, such as count(*) > 0"}
}
