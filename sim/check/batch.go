package check

import (
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/kimberlitedb/kimberlite-go/wire"
)

// Batch is a batch of statements that was sent. Each has a number, one more than the one before it.
type Batch struct {
	First      int // number of the first statement
	Statements []Statement
	Stop       bool
	Atomic     bool
}

// Statement is a statement of a batch: one of the program, or Broken.
type Statement struct {
	Text   string
	Params []wire.Value
	Writes bool
	At     wire.Option[wire.Position] // of a query: as of when
}

// Broken is no statement.
const Broken = `SELEC 1`

// sending is where a statement was sent.
type sending struct {
	conn  int
	order int    // over all that was sent
	times int    // so often; the others say where it was first
	batch *Batch // that it is of, if any
}

// Sent notes that a statement with a number is sent on a connection, or a batch of them with the number of its first, for the
// first time or again.
func (x *Tables) Sent(n, conn int, b *Batch) {
	if s := x.sent[n]; s != nil {
		s.times++
		return
	}
	x.order++
	s := &sending{conn: conn, order: x.order, times: 1, batch: b}
	x.sent[n] = s
	if b != nil {
		for i := range b.Statements {
			x.sent[n+i] = s
		}
	}
}

// ordered judges that the statement at a position is in the log behind what its connection has sent before it, and before what it
// has sent later. One that was sent again may be anywhere.
func (x *Tables) ordered(at wire.Position) {
	l := x.entries[at]
	s := x.sent[l.n]
	if s == nil || s.times > 1 || x.off || x.suite.Holes || x.suite.Failed != nil {
		return
	}
	for _, p := range slices.Sorted(maps.Keys(x.entries)) {
		o := x.entries[p]
		other := x.sent[o.n]
		if p >= at || other == nil || other.conn != s.conn || other.times > 1 {
			continue
		}
		behind := other.order < s.order || other.order == s.order && o.n < l.n
		x.suite.Saw(Batches, s.batch != nil || other.batch != nil)
		if !behind {
			x.suite.Fail(Batches, "statement %d is in the log at position %d, and statement %d, which its connection sent before, at %d", o.n, p, l.n, at)
		}
	}
}

// Batched judges the reply to a batch. From a position on is what its sender knew to be there.
func (x *Tables) Batched(b *Batch, floor wire.Position, reply wire.ResponseBody) {
	if x.off || x.suite.Holes || x.suite.Failed != nil {
		return
	}
	if e, refused := reply.(*wire.Error); refused {
		if places := x.places(b.First); len(places) > 0 && b.Atomic {
			x.suite.must(Batches, x.excused(e), "the batch of statement %d is in the log at %v, and is refused with %s: %s", b.First, places, e.Code, e.Message)
		}
		return
	}
	r := reply.(*wire.BatchQueryReply)
	if !x.suite.must(Batches, len(r.Results) == len(b.Statements), "the batch of statement %d has %d statements and %d results", b.First, len(b.Statements), len(r.Results)) {
		return
	}
	switch {
	case !b.Atomic:
		x.oneByOne(b, floor, r)
	case slices.ContainsFunc(b.Statements, func(s Statement) bool { return s.Writes }):
		x.together(b, floor, r)
	default:
		x.askedTogether(b, floor, r)
	}
}

// places returns the positions at which a statement is in the log, or the batch whose first it is.
func (x *Tables) places(n int) (list []wire.Position) {
	for _, p := range slices.Sorted(maps.Keys(x.entries)) {
		if x.entries[p].n == n {
			list = append(list, p)
		}
	}
	return list
}

// undone reports whether a result says that the statement was not run, or rolled back, since another one has failed.
func undone(r *wire.BatchedResult, how string) bool {
	return r.Err != nil && r.Err.Code == wire.QueryExecutionError && strings.HasPrefix(r.Err.Message, how+": ")
}

// oneByOne judges a batch whose statements are carried out one after the other: each sees what those before it have done, and
// nothing follows the first that fails where it is to end there.
func (x *Tables) oneByOne(b *Batch, floor wire.Position, r *wire.BatchQueryReply) {
	failed := false
	for i := range b.Statements {
		n, result := b.First+i, &r.Results[i]
		if b.Stop && failed {
			x.suite.must(Batches, undone(result, "not run") && (x.sent[n].times > 1 || len(x.places(n)) == 0),
				"statement %d follows one that has failed; its result is %v, and it is in the log at %v", n, result.Err, x.places(n))
			continue
		}
		if !x.suite.must(Batches, !undone(result, "not run") && !undone(result, "rolled back"), "statement %d: %v", n, result.Err) {
			return
		}
		failed = failed || result.Err != nil
		if s := &b.Statements[i]; s.Writes {
			floor = x.wrote(n, floor, result)
		} else {
			floor = x.read(n, s, floor, r.Position, result)
		}
	}
}

// wrote judges a statement of a batch that writes, and returns the position behind which the next one is carried out.
func (x *Tables) wrote(n int, floor wire.Position, r *wire.BatchedResult) wire.Position {
	places := x.places(n)
	switch {
	case r.Err != nil:
		x.failed(n, places, r.Err)
	case !x.suite.must(Durable, len(places) > 0, "statement %d of a batch is acknowledged, and not in the log", n):
		return floor
	default:
		p := places[len(places)-1]
		if said, ok := loggedAt(r); ok {
			p = said
		}
		if x.suite.must(Durable, slices.Contains(places, p), "statement %d is acknowledged at position %d, and is in the log at %v", n, p, places) {
			_, want := x.at(p)
			x.shows(n, p, r, want[0])
		}
	}
	if len(places) != 1 || x.sent[n].times > 1 {
		return floor
	}
	x.suite.must(Batches, places[0] > floor, "statement %d of a batch is in the log at position %d, and what comes before it reaches %d", n, places[0], floor)
	return max(floor, places[0])
}

// loggedAt returns the position that a result has as log_offset.
func loggedAt(r *wire.BatchedResult) (wire.Position, bool) {
	if len(r.Columns) != 2 || r.Columns[0] != "rows_affected" || len(r.Rows) != 1 {
		return 0, false
	}
	return wire.Position(r.Rows[0][1].Int), true
}

// shows judges what a statement that was carried out at a position gives. Of one that was sent again no rows are kept.
func (x *Tables) shows(n int, at wire.Position, r *wire.BatchedResult, want result) {
	rows := want.rows
	if _, affected := loggedAt(r); affected && (len(want.rows) == 0 || x.sent[n].times > 1) {
		rows = [][]wire.Value{{integer(int64(want.affected)), integer(int64(at))}}
	}
	x.suite.must(Batches, want.code == 0 && equal(r.Rows, rows), "statement %d of a batch, carried out at position %d, gives %v; expected is %v, refusal %s", n, at, r.Rows, rows, want.code)
}

// read judges a query of a batch. It has seen some position from one on, up to the one that the batch has reached; it returns
// the first that it may be.
func (x *Tables) read(n int, s *Statement, from, upto wire.Position, r *wire.BatchedResult) wire.Position {
	switch {
	case r.Err != nil && x.excused(r.Err):
		return from
	case s.Text == Broken:
		x.suite.must(Batches, r.Err != nil && r.Err.Code == wire.QueryParseError, "statement %d is none, and gives %v", n, r.Err)
		return from
	case s.At.Set && r.Err != nil && r.Err.Code == wire.PositionAhead:
		x.suite.must(Batches, s.At.Value > from, "statement %d: position %d is said to be ahead, and position %d is there", n, s.At.Value, from)
		return from
	case s.At.Set && r.Err != nil && r.Err.Code == wire.InvalidOffset:
		x.Forgotten(s.At.Value, r.Err)
		return from
	case s.At.Set && s.At.Value < x.kept(from):
		x.suite.Fail(Past, "statement %d is answered as of position %d, and the history is kept from position %d on", n, s.At.Value, x.kept(from))
		return from
	case s.At.Set:
		x.suite.must(Batches, x.gives(s, s.At.Value, r), "statement %d: %s as of position %d gives %v %v", n, s.Text, s.At.Value, r.Rows, r.Err)
		return from
	}
	for _, p := range append([]wire.Position{from}, slices.Sorted(maps.Keys(x.entries))...) {
		known := r.Err == nil // else nobody says what it has seen
		if p >= from && (p <= upto || !known) && x.gives(s, p, r) {
			x.suite.Saw(Batches, true)
			return p
		}
	}
	x.suite.Fail(Batches, "statement %d: %s %s gives %v %v, which is so at no position from %d to %d", n, s.Text, describe(s.Params), r.Rows, r.Err, from, upto)
	return from
}

// gives reports whether a query gives a result at a position.
func (x *Tables) gives(s *Statement, at wire.Position, r *wire.BatchedResult) bool {
	t, _ := x.at(at)
	want := t.query(s.Text, s.Params)
	if r.Err != nil {
		return r.Err.Code == want.code
	}
	if queryPhrases[s.Text].template == sqlClock && !s.At.Set && len(r.Rows) > 0 && want.code == 0 {
		want.rows[0][0] = r.Rows[0][0] // the present is later than the last statement
	}
	return want.code == 0 && equal(r.Rows, want.rows)
}

// together judges a batch that is one entry: all of it is done, or nothing.
func (x *Tables) together(b *Batch, floor wire.Position, r *wire.BatchQueryReply) {
	broken := slices.IndexFunc(b.Statements, func(s Statement) bool { return s.Text == Broken })
	places := x.places(b.First)
	if broken >= 0 {
		x.suite.must(Batches, len(places) == 0, "a batch that cannot be one is in the log at %v", places)
		x.rolledBack(b, r, broken, wire.QueryParseError)
		return
	}
	at := r.Position
	if failed := slices.IndexFunc(r.Results, func(o wire.BatchedResult) bool { return o.Err != nil && o.Err.Code == wire.TableAlreadyExists }); at == 0 && failed >= 0 && x.stolen(b.Statements[failed].Text) {
		x.suite.must(Batches, len(places) == 0, "a batch that makes a table with the name of a stream is in the log at %v", places)
		x.rolledBack(b, r, failed, wire.TableAlreadyExists)
		return
	}
	if !x.suite.must(Durable, slices.Contains(places, at), "the batch of statement %d is answered at position %d, and is in the log at %v", b.First, at, places) {
		return
	}
	if x.sent[b.First].times == 1 {
		x.suite.must(Batches, at > floor, "the batch of statement %d is at position %d, and position %d was acknowledged before", b.First, at, floor)
	}
	_, want := x.at(at)
	if failed := slices.IndexFunc(want, func(w result) bool { return w.code != 0 }); failed >= 0 {
		x.rolledBack(b, r, failed, want[failed].code)
		return
	}
	for i := range want {
		if !x.suite.must(Batches, r.Results[i].Err == nil, "statement %d of an atomic batch at position %d: %v; expected are %v", b.First+i, at, r.Results[i].Err, want[i].rows) {
			return
		}
		x.shows(b.First+i, at, &r.Results[i], want[i])
	}
}

// rolledBack judges the results of an atomic batch of which a statement has failed.
func (x *Tables) rolledBack(b *Batch, r *wire.BatchQueryReply, failed int, code wire.Code) {
	for i := range r.Results {
		o := &r.Results[i]
		ok := i < failed && undone(o, "rolled back") || i > failed && undone(o, "not run") || i == failed && o.Err != nil && o.Err.Code == code
		x.suite.must(Batches, ok, "statement %d of an atomic batch, whose statement %d fails with %s: %v %v", b.First+i, b.First+failed, code, o.Err, o.Rows)
	}
}

// forgotten reports whether a query is refused since its position is not kept.
func (x *Tables) forgotten(s *Statement, e *wire.Error) bool {
	return e.Code == wire.InvalidOffset && s.At.Set && s.At.Value < x.kept(math.MaxUint64)
}

// askedTogether judges an atomic batch that only reads: all queries of the present see the same.
func (x *Tables) askedTogether(b *Batch, floor wire.Position, r *wire.BatchQueryReply) {
	failed := slices.IndexFunc(r.Results, func(o wire.BatchedResult) bool { return o.Err != nil && !undone(&o, "rolled back") })
	if failed >= 0 {
		if e := r.Results[failed].Err; !x.excused(e) {
			ok := e.Code == wire.TableNotFound || e.Code == wire.PositionAhead && b.Statements[failed].At.Set || x.forgotten(&b.Statements[failed], e) || e.Code == wire.QueryParseError && b.Statements[failed].Text == Broken
			x.suite.must(Batches, ok, "statement %d: %v", b.First+failed, e)
		}
		x.rolledBack(b, r, failed, r.Results[failed].Err.Code)
		return
	}
	x.suite.must(Batches, r.Position >= floor, "the batch of statement %d has seen position %d, and position %d was acknowledged before", b.First, r.Position, floor)
	for i := range b.Statements {
		s := &b.Statements[i]
		at := s.At.Or(r.Position)
		x.suite.must(Batches, x.gives(s, at, &r.Results[i]), "statement %d, asked together with others at position %d: %s %s gives %v %v", b.First+i, at, s.Text, describe(s.Params), r.Results[i].Rows, r.Results[i].Err)
	}
}
