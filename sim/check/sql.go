package check

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/kimberlitedb/kimberlite-go/engine/seg"
	"github.com/kimberlitedb/kimberlite-go/engine/sql"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// Tables judges SQL: what statements have done, and what queries see at any position, is what a small model says of the
// statements that are in the log. The model knows the statements of Program alone; it has maps for tables.
type Tables struct {
	suite    *Suite
	tenant   wire.TenantID
	keys     KeyWindow
	day      wire.Time // of retention
	entries  map[wire.Position]logged
	streams  streams
	sent     map[int]*sending // by number
	order    int              // of the last that was sent
	off      bool
	streamed [SQLNames]bool // names that streams were given
}

// KeyWindow says which keys of a stream are remembered: of the last Count statements that had one, none for as long as Age
// nanoseconds. 0 is without a limit.
type KeyWindow struct {
	Count int
	Age   uint64
}

// logged is an entry in the log: a statement, or an atomic batch.
type logged struct {
	entry *sql.Entry
	list  []loggedText
	n     int // the number of the first
}

// loggedText is a statement of an entry, without its number.
type loggedText struct {
	text   string
	params []wire.Value
}

func newLogged(e *sql.Entry) logged {
	l := logged{entry: e}
	list := e.Batch
	if len(list) == 0 {
		list = []sql.Batched{{SQL: e.SQL, Params: e.Params}}
	}
	for i, b := range list {
		n, text := number(b.SQL)
		if i == 0 {
			l.n = n
		}
		l.list = append(l.list, loggedText{text, b.Params})
	}
	return l
}

// params returns those of all statements.
func (l logged) params() (list []wire.Value) {
	for _, s := range l.list {
		list = append(list, s.params...)
	}
	return list
}

// NewTables returns the judge of a tenant's tables.
func NewTables(s *Suite, tenant wire.TenantID, keys KeyWindow, day int64) *Tables {
	return &Tables{suite: s, tenant: tenant, keys: keys, day: wire.Time(day), entries: map[wire.Position]logged{}, sent: map[int]*sending{}}
}

// Leave ends the judging: what is lost with the log nobody can know.
func (x *Tables) Leave() { x.off = true }

// Wrote notes that an entry of a tenant's log is written. What was at its position before, and behind it, is not there any
// more.
func (x *Tables) Wrote(r *seg.Record) {
	if r.Tenant != x.tenant {
		return
	}
	x.streams.entry(r)
	x.named(r)
	at := r.Position
	if at == 0 {
		return
	}
	maps.DeleteFunc(x.entries, func(p wire.Position, _ logged) bool { return p >= at })
	e, _, ok := wire.NextEvent(r.Events())
	if !ok {
		return
	}
	if entry, err := sql.Decode(e.Data, e.Timestamp); err == nil && entry.Position == at {
		x.entries[at] = newLogged(entry)
		x.once(at)
		x.ordered(at)
		if t := entry.Trim; t.Set {
			x.suite.must(Early, entry.Time-t.Value.Upto >= x.day, "the entry at position %d, of %d, forgets what was committed up to %d, less than a day before", at, entry.Time, t.Value.Upto)
		}
	}
}

// ContestedName returns a name that tables of the program have, and streams want; in another case.
func ContestedName(k int) string { return fmt.Sprintf("N%d", k) }

// named judges that a stream is not given the name that a table has.
func (x *Tables) named(r *seg.Record) {
	event, _, ok := r.AuditEvent()
	if r.Kind != seg.KindCreateStream || !ok || x.off || x.suite.Holes || x.suite.Failed != nil {
		return
	}
	e, _, _ := wire.NextEvent(event)
	var act struct{ Stream string }
	if json.Unmarshal(e.Data, &act) != nil {
		return
	}
	for k := range SQLNames {
		if act.Stream == ContestedName(k) {
			t, _ := x.at(r.Position - 1)
			x.suite.must(Answers, !t.taken[k], "stream %s is made at position %d, where a table of the name is", act.Stream, r.Position)
			x.streamed[k] = true
		}
	}
}

// stolen reports whether a statement makes a table with a name that a stream has, or had before a crash.
func (x *Tables) stolen(text string) bool {
	p := writePhrases[text]
	return p.template == sqlName && x.streamed[p.table]
}

// once judges that a statement is not in the log a second time, while its key is remembered.
func (x *Tables) once(at wire.Position) {
	l := x.entries[at]
	if !l.entry.Key.Set || x.off || x.suite.Holes || x.suite.Failed != nil {
		return
	}
	since := 0 // statements with a key between the two
	for _, p := range slices.Backward(slices.Sorted(maps.Keys(x.entries))) {
		o := x.entries[p]
		if p >= at || !o.entry.Key.Set {
			continue
		}
		if o.entry.Key == l.entry.Key {
			stale := x.keys.Age > 0 && uint64(l.entry.Time-o.entry.Time) >= x.keys.Age
			x.suite.must(Once, stale || x.keys.Count > 0 && since >= x.keys.Count,
				"statement %d is in the log at position %d and again at %d; with %d keys in between, its key was remembered", l.n, p, at, since)
			return
		}
		since++
	}
}

// Statements returns the id of the stream that a tenant's statements are in.
func Statements(t wire.TenantID) wire.StreamID { return 3<<62 | wire.StreamID(t) }

// Marker returns a text that no other statement has.
func Marker(n int) string { return fmt.Sprintf("text %d.", n) }

// kept returns the first position that can be asked for, where entries up to one are carried out.
func (x *Tables) kept(upto wire.Position) (first wire.Position) {
	for _, p := range slices.Sorted(maps.Keys(x.entries)) {
		if p > upto {
			break
		}
		if t := x.entries[p].entry.Trim; t.Set {
			first = max(first, x.before(t.Value.Upto))
		}
	}
	return first
}

// before returns the position of the last entry that was committed at or before a time.
func (x *Tables) before(t wire.Time) (last wire.Position) {
	for _, p := range slices.Sorted(maps.Keys(x.entries)) {
		if x.entries[p].entry.Time <= t {
			last = p
		}
	}
	return last
}

// Forgotten judges that a position is refused, since the history is not kept so long.
func (x *Tables) Forgotten(at wire.Position, e *wire.Error) {
	if x.off || x.suite.Holes || x.suite.Failed != nil {
		return
	}
	first := x.kept(math.MaxUint64)
	x.suite.must(Past, at < first, "position %d is said to be trimmed: %s; the history is kept from position %d on", at, e.Message, first)
}

// Removed returns texts that were in the statements before an offset, which the log has let go of, and can be asked for no more.
func (x *Tables) Removed(oldest wire.Offset) (list [][]byte) {
	if x.off || x.suite.Holes || oldest == 0 {
		return nil
	}
	first, there := x.kept(math.MaxUint64), map[string]bool{}
	note := func(v wire.Value) { there[v.Text] = true }
	var texts []string
	for i, p := range slices.Sorted(maps.Keys(x.entries)) {
		for _, v := range x.entries[p].params() {
			if wire.Offset(i) >= oldest {
				note(v)
			} else if strings.HasPrefix(v.Text, "text ") {
				texts = append(texts, v.Text)
			}
		}
		if p < first {
			continue
		}
		t, _ := x.at(p)
		for _, table := range t.tables { //det:order-free: a set
			for _, r := range table.rows { //det:order-free: the same
				note(r.s)
			}
		}
	}
	for _, s := range texts {
		if !there[s] {
			list = append(list, []byte(s))
		}
	}
	return list
}

// number splits a statement's number, which stands in a comment before it, from the rest.
func number(text string) (n int, rest string) {
	if _, err := fmt.Sscanf(text, "/* %d */", &n); err != nil {
		return 0, text
	}
	_, rest, _ = strings.Cut(text, "*/ ")
	return n, rest
}

// at returns what there is at a position, and what has come of the statements of the last entry up to there.
func (x *Tables) at(p wire.Position) (t *tables, last []result) {
	t = &tables{tables: map[int]*table{}, views: map[int]bool{}, taken: map[int]bool{}}
	for _, q := range slices.Sorted(maps.Keys(x.entries)) {
		if q > p {
			break
		}
		l := x.entries[q]
		t.now = l.entry.Time
		last = t.applyAll(l.list)
	}
	return t, last
}

// result is what comes of a statement or query.
type result struct {
	code     wire.Code // of the refusal; 0 without one
	affected uint64
	columns  []string // nil where nobody looks at them
	rows     [][]wire.Value
}

// Executed judges the reply to a statement with a number that writes. It may be in the log twice, where it was sent again
// and its key had been forgotten.
func (x *Tables) Executed(n int, reply wire.ResponseBody) {
	if x.off || x.suite.Holes || x.suite.Failed != nil {
		return
	}
	places := x.places(n)
	switch b := reply.(type) {
	case *wire.Error:
		x.failed(n, places, b)
	case *wire.QueryReply:
		if x.suite.must(Durable, slices.Contains(places, b.Position), "statement %d is acknowledged at position %d, and is in the log at %v", n, b.Position, places) {
			x.done(n, b)
		}
	}
}

// failed judges a statement that was refused.
func (x *Tables) failed(n int, places []wire.Position, e *wire.Error) {
	if len(places) == 0 || x.excused(e) {
		return
	}
	ok, want := false, []wire.Code(nil)
	for _, p := range places {
		_, r := x.at(p)
		ok, want = ok || r[0].code == e.Code, append(want, r[0].code)
	}
	l := x.entries[places[0]]
	x.suite.must(Answers, ok, "statement %d at %v (%s) is refused with %s: %s; expected is one of %v", n, places, l, e.Code, e.Message, want)
}

// done judges a statement that was acknowledged.
func (x *Tables) done(n int, b *wire.QueryReply) {
	l := x.entries[b.Position]
	_, all := x.at(b.Position)
	want := all[0]
	x.suite.must(Answers, want.code == 0 && b.RowsAffected == want.affected, "statement %d at position %d (%s) has affected %d rows; expected are %d, refusal %s",
		n, b.Position, l, b.RowsAffected, want.affected, want.code)
	if len(b.Columns) > 0 && b.Columns[0] != "rows_affected" {
		x.suite.must(Answers, equal(b.Rows, want.rows), "statement %d at position %d (%s) returns %v, expected is %v", n, b.Position, l, b.Rows, want.rows)
	}
}

// excused reports whether a refusal says nothing about the statement.
func (x *Tables) excused(e *wire.Error) bool {
	switch e.Code {
	case wire.StorageFull, wire.StorageError, wire.DataCorrupted:
		return x.suite.Faulty()
	case wire.RateLimited, wire.Timeout, wire.Cancelled:
		return true
	case wire.QueryExecutionError:
		return x.suite.Faulty() && strings.Contains(e.Message, "cannot be told")
	}
	return false
}

// answered judges the answer to a query by a rule, or by that of the past. From a position on is what the asker knows to be there; at is the position that was
// asked for, if one was.
func (x *Tables) answered(rule Invariant, text string, params []wire.Value, at wire.Option[wire.Position], floor wire.Position, reply wire.ResponseBody) {
	if x.off || x.suite.Holes || x.suite.Failed != nil {
		return
	}
	p := at.Value
	if at.Set && rule == Answers {
		rule = Past
	}
	if e, refused := reply.(*wire.Error); refused {
		if !x.excused(e) && at.Set {
			t, _ := x.at(p)
			want := t.query(text, params)
			x.suite.must(rule, e.Code == want.code, "%s as of position %d is refused with %s: %s; expected is %s", text, p, e.Code, e.Message, want.code)
		} else if !x.excused(e) {
			x.suite.must(rule, e.Code == wire.TableNotFound || e.Code == wire.QueryExecutionError || e.Code == wire.TenantNotFound, "%s is refused with %s: %s", text, e.Code, e.Message)
		}
		return
	}
	b := reply.(*wire.QueryReply)
	if !at.Set {
		p = b.Position
		x.suite.must(rule, p >= floor, "%s sees position %d, and position %d was acknowledged before", text, p, floor)
	}
	x.suite.must(rule, b.Position == p, "%s as of position %d sees position %d", text, p, b.Position)
	if at.Set {
		first := x.kept(floor)
		x.suite.must(rule, p >= first, "%s as of position %d is answered, and the history is kept from position %d on", text, p, first)
	}
	t, _ := x.at(p)
	want := t.query(text, params)
	if queryPhrases[text].template == sqlClock && !at.Set && len(b.Rows) > 0 && want.code == 0 {
		want.rows[0][0] = b.Rows[0][0] // the present is later than the last statement
	}
	if !x.suite.must(rule, want.code == 0 && equal(b.Rows, want.rows), "%s %s as of position %d gives %v, expected is %v, refusal %s", text, describe(params), p, b.Rows, want.rows, want.code) {
		return
	}
	x.suite.must(rule, want.columns == nil || slices.Equal(b.Columns, want.columns), "%s as of position %d has the columns %v, expected are %v", text, p, b.Columns, want.columns)
}

// Ahead judges that a position is said not to be there, to somebody who knows of another one.
func (x *Tables) Ahead(at, known wire.Position) {
	if x.off || x.suite.Holes || x.suite.Failed != nil {
		return
	}
	x.suite.must(Past, at > known, "position %d is said to be ahead, and position %d was acknowledged before", at, known)
}

// String tells an entry.
func (l logged) String() string {
	var list []string
	for _, s := range l.list {
		list = append(list, s.text+" "+describe(s.params))
	}
	return strings.Join(list, "; ")
}

func describe(values []wire.Value) string {
	list := make([]string, len(values))
	for i, v := range values {
		list[i] = fmt.Sprint(v.Int, v.Text)
	}
	return "[" + strings.Join(list, " ") + "]"
}

func equal(a, b [][]wire.Value) bool {
	return slices.EqualFunc(a, b, func(a, b []wire.Value) bool {
		return slices.EqualFunc(a, b, func(a, b wire.Value) bool {
			return a.Kind == b.Kind && a.Int == b.Int && a.Text == b.Text && a.Float == b.Float && string(a.Bytes) == string(b.Bytes)
		})
	})
}
