package sql

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/ncruces/go-sqlite3"
)

// functionNames are the functions that statements may call: those whose result follows from their arguments, and from the
// entry that the statement is in.
var functionNames = names(`
	abs char coalesce concat concat_ws format glob hex if ifnull iif instr length like likelihood likely lower ltrim max min nullif
	octet_length printf quote random randomblob replace round rtrim sign soundex substr substring trim typeof unhex unicode unistr
	unistr_quote unlikely upper zeroblob
	date time datetime julianday strftime unixepoch timediff current_date current_time current_timestamp
	avg count group_concat string_agg sum total median percentile percentile_cont percentile_disc
	row_number rank dense_rank percent_rank cume_dist ntile lag lead first_value last_value nth_value
	acos acosh asin asinh atan atan2 atanh ceil ceiling cos cosh degrees exp floor ln log log10 log2 mod pi pow power radians
	sin sinh sqrt tan tanh trunc
	json jsonb json_array jsonb_array json_array_length json_error_position json_extract jsonb_extract -> ->> json_insert
	jsonb_insert json_object jsonb_object json_patch jsonb_patch json_pretty json_remove jsonb_remove json_replace jsonb_replace
	json_set jsonb_set json_type json_valid json_quote json_group_array jsonb_group_array json_group_object jsonb_group_object
	json_each json_tree json_array_insert jsonb_array_insert
`)

func names(list string) map[string]bool {
	m := map[string]bool{}
	for _, name := range strings.Fields(list) {
		m[name] = true
	}
	return m
}

// functions puts our own functions in the place of those of SQLite that ask the clock or the dice.
func (c *conn) functions() error {
	err := errors.Join(
		c.db.CreateFunction("$position", 0, sqlite3.INNOCUOUS, func(ctx sqlite3.Context, _ ...sqlite3.Value) { ctx.ResultInt64(int64(c.position)) }),
		c.db.CreateFunction("random", 0, sqlite3.INNOCUOUS, func(ctx sqlite3.Context, _ ...sqlite3.Value) { ctx.ResultInt64(int64(c.chance().Uint64())) }),
		c.db.CreateFunction("randomblob", 1, sqlite3.INNOCUOUS, c.randomBlob),
	)
	for name, layout := range map[string]string{"current_date": time.DateOnly, "current_time": time.TimeOnly, "current_timestamp": time.DateTime} { //det:order-free: each for itself
		err = errors.Join(err, c.db.CreateFunction(name, 0, sqlite3.INNOCUOUS|sqlite3.DETERMINISTIC, func(ctx sqlite3.Context, _ ...sqlite3.Value) {
			ctx.ResultText(time.Unix(0, int64(c.now)).UTC().Format(layout))
		}))
	}
	for name, places := range dateFunctions { //det:order-free: each for itself
		err = errors.Join(err, c.db.CreateFunction(name, -1, sqlite3.INNOCUOUS|sqlite3.DETERMINISTIC, func(ctx sqlite3.Context, args ...sqlite3.Value) {
			c.date(ctx, name, places, args)
		}))
	}
	return err
}

// chance returns the random numbers of the statement under way.
func (c *conn) chance() *rand.ChaCha8 {
	if c.random == nil {
		var s [32]byte
		copy(s[:], c.seed[:])
		c.random = rand.NewChaCha8(s)
	}
	return c.random
}

func (c *conn) randomBlob(ctx sqlite3.Context, args ...sqlite3.Value) {
	n := max(1, args[0].Int64())
	if n > maxValue {
		ctx.ResultError(sqlite3.TOOBIG)
		return
	}
	p := make([]byte, 0, n+8)
	for int64(len(p)) < n {
		p = binary.LittleEndian.AppendUint64(p, c.chance().Uint64())
	}
	ctx.ResultBlob(p[:n])
}

// dateFunctions are SQLite's, with the places of the arguments that are times.
var dateFunctions = map[string][]int{
	"date": {0}, "time": {0}, "datetime": {0}, "julianday": {0}, "unixepoch": {0}, "strftime": {1}, "timediff": {0, 1},
}

// nowLayout is how a time is written for SQLite's date functions.
const nowLayout = "2006-01-02 15:04:05.000"

// date computes a date function as SQLite does, with the entry's time for now. A connection of its own does it, where
// SQLite's functions still are what they are.
func (c *conn) date(ctx sqlite3.Context, name string, places []int, args []sqlite3.Value) {
	list := make([]any, 0, len(args)+1)
	for _, a := range args {
		list = append(list, argument(a))
	}
	now := time.Unix(0, int64(c.now)).UTC().Format(nowLayout)
	if len(list) == places[0] { // without a time it is now
		list = append(list, now)
	}
	for i, a := range list {
		text, ok := a.(string)
		switch {
		case !ok:
		case slices.Contains(places, i) && strings.EqualFold(text, "now"):
			list[i] = now
		case strings.EqualFold(text, "localtime"), strings.EqualFold(text, "utc"):
			ctx.ResultError(errors.New("the modifiers localtime and utc are not available: the result would depend on where the server is"))
			return
		}
	}
	if err := c.evaluate(ctx, name, list); err != nil {
		ctx.ResultError(err)
	}
}

func argument(v sqlite3.Value) any {
	switch v.Type() {
	case sqlite3.INTEGER:
		return v.Int64()
	case sqlite3.FLOAT:
		return v.Float()
	case sqlite3.TEXT:
		return v.Text()
	case sqlite3.BLOB:
		return v.Blob(nil)
	}
	return nil
}

// evaluate calls a function of SQLite on the connection for dates.
func (c *conn) evaluate(ctx sqlite3.Context, name string, args []any) error {
	if c.dates == nil {
		db, err := sqlite3.Open(":memory:")
		if err != nil {
			return err
		}
		c.dates = db
	}
	s, _, err := c.dates.Prepare("SELECT " + name + "(" + strings.TrimSuffix(strings.Repeat("?,", len(args)), ",") + ")")
	if err != nil {
		return err
	}
	defer s.Close()
	for i, a := range args {
		switch a := a.(type) {
		case int64:
			err = s.BindInt64(i+1, a)
		case float64:
			err = s.BindFloat(i+1, a)
		case string:
			err = s.BindText(i+1, a)
		case []byte:
			err = s.BindBlob(i+1, a)
		}
		if err != nil {
			return err
		}
	}
	if s.Step() {
		switch v := s.ColumnValue(0); v.Type() {
		case sqlite3.INTEGER:
			ctx.ResultInt64(v.Int64())
		case sqlite3.FLOAT:
			ctx.ResultFloat(v.Float())
		case sqlite3.TEXT:
			ctx.ResultText(v.Text())
		}
	}
	return s.Err()
}
