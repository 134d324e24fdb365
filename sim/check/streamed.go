package check

import (
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// Flow is what a client has seen of a query: the chunks of a streamed one, and how it ended.
type Flow struct {
	Text     string
	Params   []wire.Value
	At       wire.Option[wire.Position]
	Floor    wire.Position // that its asker knew of
	Ask      *StreamAsk    // where it is about a stream
	Oldest   wire.Offset   // of that, as its asker knew
	Cancels  bool          // it was to be cancelled
	Streamed bool
	Lingers  bool   // its chunks are not acknowledged
	Window   uint32 // 0 leaves it to the server

	Next     uint32 // chunk that is due
	Acked    uint32 // chunks before it are acknowledged, or that is on its way
	Position wire.Position
	columns  []string
	rows     [][]wire.Value

	answer    wire.ResponseBody              // nil until it is answered
	cancelled wire.Option[wire.ResponseBody] // what a CancelQuery of it was answered with
}

// serverWindow is the window of a query that names none.
const serverWindow = 4

// Chunk judges a chunk: it is the next one, and the window has room for it.
func (x *Tables) Chunk(f *Flow, b *wire.QueryChunk) {
	if x.suite.Failed != nil {
		return
	}
	window := f.Window
	if window == 0 {
		window = serverWindow
	}
	x.suite.must(Streamed, f.Streamed && f.answer == nil, "%s: chunk %d of a query that is not streamed, or is answered", f.Text, b.Sequence)
	x.suite.must(Streamed, b.Sequence == f.Next, "%s: chunk %d where %d is due", f.Text, b.Sequence, f.Next)
	x.suite.must(Streamed, b.Sequence-f.Acked < window, "%s: chunk %d with a window of %d, and %d are acknowledged", f.Text, b.Sequence, window, f.Acked)
	first := b.Sequence == 0
	x.suite.must(Streamed, first == (len(b.Columns) > 0) && (first || b.Position == 0 && len(b.Rows) > 0), "%s: chunk %d has the columns %v, the position %d and %d rows",
		f.Text, b.Sequence, b.Columns, b.Position, len(b.Rows))
	if first {
		f.columns, f.Position = b.Columns, b.Position
	}
	f.Next++
	f.rows = append(f.rows, b.Rows...)
}

// Ended judges the answer to a query. That of a streamed one, together with its chunks, is what the model says of the query.
func (x *Tables) Ended(f *Flow, reply wire.ResponseBody) {
	f.answer = reply
	x.agree(f)
	if !f.Streamed {
		x.ended(Answers, f, reply)
		return
	}
	b, done := reply.(*wire.QueryReply)
	if !done {
		if f.Next > 0 {
			x.brokenOff(f, reply.(*wire.Error))
		} else {
			x.ended(Streamed, f, reply)
		}
		return
	}
	x.suite.must(Streamed, f.Next > 0 && len(b.Rows) == 0, "%s: answered with %d rows behind %d chunks", f.Text, len(b.Rows), f.Next)
	x.suite.must(Streamed, b.Position == f.Position, "%s: the chunks are as of position %d, and the answer of %d", f.Text, f.Position, b.Position)
	x.ended(Streamed, f, &wire.QueryReply{At: b.At, Columns: f.columns, Rows: f.rows, Position: f.Position, Trimmed: b.Trimmed})
}

// ended judges a whole answer.
func (x *Tables) ended(rule Invariant, f *Flow, reply wire.ResponseBody) {
	if f.Ask != nil {
		x.answeredStream(rule, f, reply)
		return
	}
	x.answered(rule, f.Text, f.Params, f.At, f.Floor, reply)
}

// brokenOff judges the chunks of a query that has not come to its end.
func (x *Tables) brokenOff(f *Flow, e *wire.Error) {
	if x.off || x.suite.Holes || x.suite.Failed != nil {
		return
	}
	x.suite.must(Streamed, x.excused(e), "%s: breaks off with %s: %s", f.Text, e.Code, e.Message)
	if f.Ask != nil {
		return
	}
	t, _ := x.at(f.Position)
	want := t.query(f.Text, f.Params)
	if queryPhrases[f.Text].template == sqlClock {
		return // the present is later than the last statement
	}
	x.suite.must(Streamed, want.code == 0 && len(f.rows) <= len(want.rows) && equal(f.rows, want.rows[:min(len(f.rows), len(want.rows))]),
		"%s %s as of position %d gives %v before it breaks off, expected is %v, refusal %s", f.Text, describe(f.Params), f.Position, f.rows, want.rows, want.code)
}

// CancelAnswered notes what became of a CancelQuery.
func (x *Tables) CancelAnswered(f *Flow, reply wire.ResponseBody) {
	f.cancelled = wire.Some(reply)
	x.agree(f)
}

// agree judges that a query is answered with Cancelled if and only if somebody was told that it would be.
func (x *Tables) agree(f *Flow) {
	if f.answer == nil || x.suite.Failed != nil {
		return
	}
	e, refused := f.answer.(*wire.Error)
	cancelled := refused && e.Code == wire.Cancelled
	x.suite.must(Streamed, !cancelled || f.Cancels, "%s: answered with %v, which nobody wanted", f.Text, f.answer)
	if b, ok := f.cancelled.Value.(*wire.CancelQueryReply); ok {
		x.suite.must(Streamed, b.Cancelled == cancelled, "%s: a CancelQuery was answered with %t, and the query with %v", f.Text, b.Cancelled, f.answer)
	}
}
