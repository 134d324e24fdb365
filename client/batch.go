package client

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/kimberlitedb/kimberlite-go/wire"
)

// Statement is a statement of a batch. Its arguments are those of Query.
type Statement struct {
	Text string
	Args []any
}

// SQL returns a statement of a batch.
func SQL(text string, args ...any) Statement { return Statement{text, args} }

// BatchOption is a setting of a batch: Atomic, StopOnError or Once.
type BatchOption interface{ apply(*wire.BatchQuery) }

type batchOption func(*wire.BatchQuery)

func (o batchOption) apply(b *wire.BatchQuery) { o(b) }

func (o StatementOption) apply(b *wire.BatchQuery) {
	if o.key.Set { // a limit of time is for a query by itself
		b.IdempotencyKey = o.key
	}
}

// Atomic carries out all statements of a batch, or none. They are one entry of the tenant's log, and a query in it sees what
// the statements before it have done.
func Atomic() BatchOption { return batchOption(func(b *wire.BatchQuery) { b.Atomic = true }) }

// StopOnError runs no statement of a batch behind one that fails. What was carried out before stays.
func StopOnError() BatchOption {
	return batchOption(func(b *wire.BatchQuery) { b.StopOnError = true })
}

// Batched has the results of a batch, one for each statement, in their order.
type Batched struct {
	Results []BatchResult
	// Position is behind what the batch has written and seen: QueryAt there sees it. It is 0 where that is nothing.
	Position Position
}

// BatchResult is the result of a statement of a batch.
type BatchResult struct {
	// Rows are those of a query or of RETURNING. A statement that writes, and returns none, has one row of rows_affected and
	// log_offset; Executed reads it. Rows is nil where Err is not.
	Rows *Rows
	// Err says why the statement has failed, or was not run.
	Err error
}

// Batch runs SQL statements in their order in one request. Each sees what those before it have done. One that fails keeps the
// others from nothing, unless StopOnError or Atomic is given: its error is that of its own result, and Batched.Err returns the
// first. The error that Batch itself returns says that there are no results.
//
// With Once a batch may be sent again: an atomic one is carried out once, and so is each statement that writes of any other.
// The client sends it again by itself when the connection breaks, also where all statements begin with SELECT, VALUES or
// EXPLAIN. What was carried out before is told without the rows that it gave. A client with WithAutoKeys gives a batch a key if it
// has none.
func (c *Client) Batch(ctx context.Context, statements []Statement, options ...BatchOption) (*Batched, error) {
	body := &wire.BatchQuery{Queries: make([]wire.BatchedQuery, len(statements))}
	for _, o := range options {
		o.apply(body)
	}
	if err := fill(body, statements); err != nil {
		return nil, err
	}
	if c.cfg.autoKeys && !body.IdempotencyKey.Set && !readsAll(body) {
		body.IdempotencyKey = wire.Some(NewKey().wire())
	}
	reply, err := c.do(ctx, body)
	if err != nil {
		return nil, err
	}
	return batched(reply.(*wire.BatchQueryReply), body.Atomic), nil
}

// fill gives a batch its statements. It refuses what would end the connection.
func fill(b *wire.BatchQuery, statements []Statement) error {
	size, params := 0, 0
	for i, s := range statements {
		list, o, err := arguments(s.Text, s.Args)
		switch {
		case err != nil:
			return fmt.Errorf("statement %d: %w", i+1, err)
		case o != (StatementOption{}):
			return invalid("statement %d has a key or a limit of time of its own; a batch has one key, and no limit", i+1)
		}
		b.Queries[i] = wire.BatchedQuery{SQL: s.Text, Params: list}
		params += len(list)
		size += sizeOf(s.Text, list) + 16
	}
	if params > wire.MaxBatchParams {
		return invalid("the batch has %d parameters; at most %d are allowed", params, wire.MaxBatchParams)
	}
	if size > wire.MaxPayload-frameRoom {
		return invalid("the statements and their parameters take %d bytes; a request has at most %d", size, wire.MaxPayload-frameRoom)
	}
	return nil
}

// readsAll reports whether a batch certainly changes nothing.
func readsAll(b *wire.BatchQuery) bool {
	return !slices.ContainsFunc(b.Queries, func(q wire.BatchedQuery) bool { return !reads(q.SQL) })
}

func batched(reply *wire.BatchQueryReply, atomic bool) *Batched {
	b := &Batched{Position: reply.Position, Results: make([]BatchResult, len(reply.Results))}
	for i, r := range reply.Results {
		if r.Err != nil {
			b.Results[i].Err = answered(&wire.Error{Code: r.Err.Code, Message: r.Err.Message, Retryable: r.Err.Code.Retryable()})
			continue
		}
		rows := &Rows{columns: r.Columns, rows: r.Rows}
		if atomic {
			rows.position = reply.Position
		}
		if len(r.Rows) == 1 && len(r.Rows[0]) == 2 && slices.Equal(r.Columns, []string{"rows_affected", "log_offset"}) {
			rows.affected, rows.position = uint64(r.Rows[0][0].Int), Position(r.Rows[0][1].Int)
		}
		b.Results[i].Rows = rows
	}
	return b
}

// Executed returns what has become of a statement that writes and has no RETURNING.
func (r BatchResult) Executed() (Executed, error) {
	if r.Err != nil {
		return Executed{}, r.Err
	}
	return Executed{RowsAffected: r.Rows.affected, Position: r.Rows.position}, nil
}

// Failed returns the index of the first statement that failed, or -1. Of an atomic batch that is the statement for which the
// others were rolled back.
func (b *Batched) Failed() int {
	return slices.IndexFunc(b.Results, func(r BatchResult) bool { return r.Err != nil && !r.consequence() })
}

// Err returns why the first statement failed that did, with its number, or nil.
func (b *Batched) Err() error {
	i := b.Failed()
	if i < 0 {
		return nil
	}
	return fmt.Errorf("statement %d: %w", i+1, b.Results[i].Err)
}

// consequence reports whether the statement itself has not failed: it was rolled back, or not run, since another one has.
func (r BatchResult) consequence() bool {
	e, ok := r.Err.(*Error)
	return ok && e.Code == wire.QueryExecutionError && (strings.HasPrefix(e.Message, "rolled back: ") || strings.HasPrefix(e.Message, "not run: "))
}
