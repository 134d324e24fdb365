package client

import (
	"context"
	"math"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/kimberlitedb/kimberlite-go/wire"
)

// Executed is what has become of a statement that writes.
type Executed struct {
	RowsAffected uint64
	Position     Position // of the statement in the tenant's log; QueryAt there sees what it has done
}

// Once is given among the arguments of Query or Exec, or to Batch, and carries the statement out once under its key, however often it is
// sent: the client sends it again by itself when the connection breaks. Another statement under the key is an error
// that matches ErrInvalidRequest.
func Once(k Key) StatementOption { return StatementOption{key: wire.Some(k.wire())} }

// Within has the server end a query that takes longer, with an error that matches ErrTimeout. It looks at that four times a
// second. It has no effect on a statement that writes, or on a batch. A context with a deadline ends a query, too; this one also counts
// where the client is gone without the server's knowing.
func Within(d time.Duration) StatementOption {
	return StatementOption{timeout: uint32(min(max(d.Milliseconds(), 1), math.MaxUint32))}
}

// StatementOption is a setting of one statement. It is given among its arguments, and is none of them.
type StatementOption struct {
	key     wire.Option[wire.Key]
	timeout uint32 // in milliseconds; 0 is none
}

// Query runs an SQL statement and returns its rows, which come while they are read: see Rows. Ctx is that of all of it;
// where it ends before the last row has come, the query ends at the server too. The parameters $1, $2 and so on of the text,
// or its question marks, take args in their order: nil, integers, floats, booleans, strings, []byte, time.Time, pointers to
// those, and whatever implements driver.Valuer.
//
// A query sees every statement that was acknowledged before it was asked, by whomever. When the connection breaks before
// something of the result has come, it is sent again if its text begins with SELECT, VALUES or EXPLAIN, or with WITH and
// has no word of a statement that writes, or if it has Once among its arguments. Any other one fails with ErrUnknownOutcome
// then.
func (c *Client) Query(ctx context.Context, text string, args ...any) (*Rows, error) {
	params, o, err := arguments(text, args)
	if err != nil {
		return nil, err
	}
	return c.rows(ctx, &wire.Query{SQL: text, Params: params, IdempotencyKey: o.key, TimeoutMS: o.timeout})
}

// QueryAt runs an SQL query as Query does, and sees the tables as they were behind a position of the tenant's log. A
// position beyond its end is an error that matches ErrPositionAhead.
func (c *Client) QueryAt(ctx context.Context, at Position, text string, args ...any) (*Rows, error) {
	params, o, err := arguments(text, args)
	if err != nil {
		return nil, err
	}
	return c.rows(ctx, &wire.QueryAt{SQL: text, Params: params, Position: at, TimeoutMS: o.timeout})
}

// Exec runs an SQL statement that writes, and returns once it is on stable storage and carried out. Its args are those of
// Query. A client with WithAutoKeys gives it a key if it has none.
func (c *Client) Exec(ctx context.Context, text string, args ...any) (Executed, error) {
	params, o, err := arguments(text, args)
	if err != nil {
		return Executed{}, err
	}
	if c.cfg.autoKeys && !o.key.Set {
		o.key = wire.Some(NewKey().wire())
	}
	reply, err := c.do(ctx, &wire.Query{SQL: text, Params: params, IdempotencyKey: o.key})
	if err != nil {
		return Executed{}, err
	}
	r := reply.(*wire.QueryReply)
	return Executed{RowsAffected: r.RowsAffected, Position: r.Position}, nil
}

// arguments sorts the parameters of a statement from its options. It refuses what would end the connection.
func arguments(text string, args []any) (params []wire.Value, o StatementOption, err error) {
	if !utf8.ValidString(text) {
		return nil, o, invalid("the statement is not UTF-8")
	}
	for _, a := range args {
		if option, ok := a.(StatementOption); ok {
			if option.key.Set {
				o.key = option.key
			} else {
				o.timeout = option.timeout
			}
			continue
		}
		v, err := parameter(a)
		if err != nil {
			return nil, o, invalid("parameter %d: %v", len(params)+1, err)
		}
		params = append(params, v)
	}
	if len(params) > wire.MaxParams {
		return nil, o, invalid("the statement has %d parameters; at most %d are allowed", len(params), wire.MaxParams)
	}
	if size := sizeOf(text, params); size > wire.MaxPayload-frameRoom {
		return nil, o, invalid("the statement and its parameters take %d bytes; a request has at most %d", size, wire.MaxPayload-frameRoom)
	}
	return params, o, nil
}

// sizeOf returns about how many bytes a statement takes in a request; no less.
func sizeOf(text string, params []wire.Value) int {
	size := len(text)
	for _, v := range params {
		size += 16 + len(v.Text) + len(v.Bytes)
	}
	return size
}

// reads reports whether a statement certainly changes nothing.
func reads(text string) bool {
	verb := strings.TrimLeft(text, " \t\r\n")
	if end := strings.IndexFunc(verb, func(c rune) bool { return c < 'A' || c > 'z' }); end >= 0 {
		verb = verb[:end]
	}
	switch strings.ToUpper(verb) {
	case "SELECT", "VALUES", "EXPLAIN":
		return true
	case "WITH": // what it is of follows later
		text = strings.ToUpper(text)
		return !slices.ContainsFunc([]string{"INSERT", "UPDATE", "DELETE", "REPLACE"}, func(v string) bool { return strings.Contains(text, v) })
	}
	return false
}
