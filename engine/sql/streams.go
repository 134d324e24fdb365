package sql

import (
	"maps"
	"math"
	"slices"
	"strings"
	"unicode/utf8"
	"unsafe"

	"github.com/ncruces/go-sqlite3"

	"github.com/kimberlitedb/kimberlite-go/wire"
)

// Streams are the streams that a question may name, as they were when it was asked: a query sees each as a table.
type Streams interface {
	// Names returns the names of those that are there as of a position. No two of them differ in case alone.
	Names(at wire.Position) []string
	// Check says why a stream cannot be read at all; nil where it can.
	Check(name string) *wire.Error
	// Beside returns as of which position the streams are seen beside tables that are as of a position. It returns false
	// where there is none, since the tables are ahead of what is known of the streams.
	Beside(tables wire.Position) (wire.Position, bool)
	// Known returns the last position up to which the streams are known.
	Known() wire.Position
	// Before returns the position of the last entry that is known to have been committed at or before an instant, of those
	// that the streams tell of.
	Before(wire.Time) (wire.Position, *wire.Error)
	// Scan returns a scan of a stream as of a position, or says why it cannot be read. Past says that the question is one as
	// of a past position.
	Scan(name string, at wire.Position, past bool, spend Spend) (Scan, *wire.Error)
}

// Spend counts so many events against a query's budget. It returns false where the query is to end: a scan that is told so
// fails with ErrEnded.
type Spend func(events int) bool

// ErrEnded is how a scan fails that is to end.
var ErrEnded = &wire.Error{Code: wire.Timeout, Message: "the scan was ended"}

// Scan gives the events of a stream.
type Scan interface {
	// Seek begins anew, before the first event of a range.
	Seek(Range) *wire.Error
	// Next moves on to the next event. It returns false behind the last.
	Next() (bool, *wire.Error)
	// Event returns the event that the scan stands on. It is valid until the scan moves.
	Event() *Event
}

// Event is an event of a stream, and the position of the entry that appended it.
type Event struct {
	wire.Event
	Position wire.Position
}

// Range says which events a scan gives: those that lie in all three intervals.
type Range struct {
	Offsets, Times, Positions Interval
	Back                      bool // newest first
	Bare                      bool // of the events, the offsets alone are looked at
}

// Interval is a closed one; it is empty where Low is above High.
type Interval struct{ Low, High int64 }

// Everything is the interval that has all numbers in it.
func Everything() Interval { return Interval{math.MinInt64, math.MaxInt64} }

// Has reports whether a number lies in the interval.
func (i Interval) Has(n int64) bool { return i.Low <= n && n <= i.High }

// Empty reports whether nothing can be in the range.
func (r *Range) Empty() bool {
	return r.Offsets.Low > r.Offsets.High || r.Times.Low > r.Times.High || r.Positions.Low > r.Positions.High
}

// streamSchema is what a stream looks like as a table.
const streamSchema = `CREATE TABLE stream("offset" INTEGER NOT NULL, timestamp TIMESTAMP NOT NULL, data TEXT NOT NULL, checksum INTEGER NOT NULL, position INTEGER NOT NULL)`

// The columns, in that order.
const (
	offsetColumn = iota
	timestampColumn
	dataColumn
	checksumColumn
	positionColumn
)

// boundNames are the columns by which a scan is bounded, as EXPLAIN QUERY PLAN shows them.
var boundNames = map[int]string{-1: `"offset"`, offsetColumn: `"offset"`, timestampColumn: "timestamp", positionColumn: "position"}

// operators are the comparisons by which it is.
var operators = map[sqlite3.IndexConstraintOp]string{
	sqlite3.INDEX_CONSTRAINT_EQ: "=?", sqlite3.INDEX_CONSTRAINT_GT: ">?", sqlite3.INDEX_CONSTRAINT_GE: ">=?",
	sqlite3.INDEX_CONSTRAINT_LT: "<?", sqlite3.INDEX_CONSTRAINT_LE: "<=?",
}

// SystemStream reports whether a name is that of a system stream that queries may read.
func SystemStream(name string) bool { return name == "$audit" || name == "$sql" }

// streamed reports whether a name is that of a stream which the query under way may read.
func (c *conn) streamed(name string) bool { return c.modules[wire.Fold(name)] }

// provide has a connection know the streams that a question may name, and no other that it could.
func (p *Projection) provide(c *conn, q *Question) error {
	c.streams = q.Streams
	var names []string
	if q.Streams != nil {
		names = q.Streams.Names(c.upto)
		if slices.ContainsFunc(names, func(name string) bool { return q.Streams.Check(name) != nil }) {
			c.forget() // what is compiled anew asks for the reason
		}
	}
	if len(c.modules) > 0 {
		mentioned := p.Mentioned(q.SQL)
		for _, name := range slices.Sorted(maps.Keys(c.modules)) {
			if _, may := slices.BinarySearch(mentioned, name); !may && len(names) < maxModules {
				names = append(names, name)
			}
		}
	}
	return c.know(names)
}

// maxModules is how many streams a connection goes on knowing that a question does not name.
const maxModules = 64

// know has a connection take names for those of streams, and no others. SQLite takes the module of a name for a table where
// there is no table of the name.
func (c *conn) know(names []string) error {
	if len(names) == 0 && len(c.modules) == 0 {
		return nil
	}
	want := map[string]bool{}
	for _, name := range names {
		if name = wire.Fold(name); !reserved(name) && !tableFunction(name) {
			want[name] = true
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.modules)) {
		if !want[name] {
			if err := c.module(name, nil); err != nil {
				return err
			}
			delete(c.modules, name)
			c.forget() // what names it is to be compiled anew
		}
	}
	for name := range want { //det:order-free: each for itself
		if c.modules[name] {
			continue
		}
		if err := c.module(name, c.streamTable(name)); err != nil {
			return err
		}
		if c.modules == nil {
			c.modules = map[string]bool{}
		}
		c.modules[name] = true
	}
	return nil
}

// module has SQLite know a module, or forget it where nothing makes its tables.
func (c *conn) module(name string, connect sqlite3.VTabConstructor[*streamTable]) error {
	//lint:ignore SA1019 the method in its place needs Go 1.27
	return sqlite3.CreateModule(c.db, name, nil, connect)
}

// streamTable returns what makes the table of a stream.
func (c *conn) streamTable(name string) sqlite3.VTabConstructor[*streamTable] {
	return func(db *sqlite3.Conn, _, _, _ string, _ ...string) (*streamTable, error) {
		if err := db.DeclareVTab(streamSchema); err != nil {
			return nil, err
		}
		return &streamTable{c, name}, db.VTabConfig(sqlite3.VTAB_INNOCUOUS)
	}
}

// fail notes why a stream cannot be read, and has SQLite end the query.
func (c *conn) fail(e *wire.Error) error {
	if e == ErrEnded {
		return sqlite3.INTERRUPT
	}
	if c.failed == nil {
		c.failed = e
	}
	return sqlite3.ERROR
}

// streamTable is a stream as SQLite sees it. It outlives questions: what there is to see comes from the one under way.
type streamTable struct {
	c    *conn
	name string
}

var _ sqlite3.VTab = (*streamTable)(nil)

// manyEvents is how many events a stream is taken to have when a query is planned.
const manyEvents = 1 << 20

// BestIndex implements sqlite3.VTab: comparisons with numbers bound the scan, and the order of the offsets comes by itself.
func (t *streamTable) BestIndex(x *sqlite3.IndexInfo) error {
	if s := t.c.streams; s != nil {
		if e := s.Check(t.name); e != nil {
			return t.c.fail(e)
		}
	}
	rows := int64(manyEvents)
	var bounds []string
	for i, k := range x.Constraint {
		name, op := boundNames[k.Column], operators[k.Op]
		if !k.Usable || name == "" || op == "" {
			continue
		}
		bounds = append(bounds, name+op)
		x.ConstraintUsage[i].ArgvIndex = len(bounds)
		if rows = max(rows/8, 2); k.Op == sqlite3.INDEX_CONSTRAINT_EQ && name == boundNames[offsetColumn] {
			rows, x.IdxFlags = 1, sqlite3.INDEX_SCAN_UNIQUE
		}
	}
	x.IdxStr = strings.Join(bounds, boundsAnd)
	if back, ok := ordered(x.OrderBy); ok {
		x.OrderByConsumed = true
		if back {
			x.IdxNum |= scanBack
		}
	}
	x.EstimatedRows, x.EstimatedCost = rows, 100+10*float64(rows)
	if x.ColumnsUsed&^(1<<offsetColumn) == 0 {
		x.IdxNum |= scanBare
		x.EstimatedCost = 1 + float64(rows)
	}
	return nil
}

// boundsAnd stands between two bounds.
const boundsAnd = " AND "

// What a plan's number says of a scan.
const (
	scanBack = 1 << iota
	scanBare
)

// ordered reports whether rows in the order of the offsets, or back, are in an order that is asked for. Positions never
// decrease from one event to the next.
func ordered(by []sqlite3.IndexOrderBy) (back, ok bool) {
	for i, o := range by {
		if i > 0 && o.Desc != back {
			return false, false
		}
		back = o.Desc
		switch o.Column {
		case offsetColumn, -1: // whatever follows decides nothing
			return back, true
		case positionColumn:
		default:
			return false, false
		}
	}
	return back, len(by) > 0
}

// Open implements sqlite3.VTab.
func (t *streamTable) Open() (sqlite3.VTabCursor, error) {
	c := t.c
	if c.streams == nil || !c.modules[t.name] {
		return nil, c.fail(wire.Errorf(wire.TableNotFound, "no such table: %s", t.name))
	}
	scan, e := c.streams.Scan(t.name, c.upto, c.past, c.budget.spend)
	if e != nil {
		return nil, c.fail(e)
	}
	return &streamCursor{c: c, scan: scan}, nil
}

// streamCursor is a scan as SQLite sees it.
type streamCursor struct {
	c     *conn
	scan  Scan
	event *Event // nil behind the last
}

var _ sqlite3.VTabCursor = (*streamCursor)(nil)

// Filter implements sqlite3.VTabCursor.
func (k *streamCursor) Filter(number int, bounds string, values ...sqlite3.Value) error {
	r := Range{Offsets: Everything(), Times: Everything(), Positions: Everything(), Back: number&scanBack != 0, Bare: number&scanBare != 0}
	for _, v := range values {
		var bound string
		bound, bounds, _ = strings.Cut(bounds, boundsAnd)
		at := strings.IndexAny(bound, "<=>")
		interval := &r.Offsets
		switch bound[:at] {
		case boundNames[timestampColumn]:
			interval = &r.Times
		case boundNames[positionColumn]:
			interval = &r.Positions
		}
		interval.bound(bound[at:], v)
	}
	k.event = nil
	if r.Empty() {
		return nil
	}
	if e := k.scan.Seek(r); e != nil {
		return k.c.fail(e)
	}
	return k.Next()
}

// bound narrows an interval to what a comparison lets pass; SQLite itself makes every comparison once more. A text may stand
// for a number: it bounds nothing.
func (i *Interval) bound(op string, v sqlite3.Value) {
	switch v.Type() {
	case sqlite3.INTEGER:
		n := v.Int64()
		switch op {
		case ">?":
			if n == math.MaxInt64 {
				*i = nothing()
				return
			}
			i.Low = max(i.Low, n+1)
		case ">=?":
			i.Low = max(i.Low, n)
		case "<?":
			if n == math.MinInt64 {
				*i = nothing()
				return
			}
			i.High = min(i.High, n-1)
		case "<=?":
			i.High = min(i.High, n)
		default:
			i.Low, i.High = max(i.Low, n), min(i.High, n)
		}
	case sqlite3.FLOAT:
		f := v.Float()
		if op[0] != '<' {
			i.Low = max(i.Low, whole(math.Floor(f)))
		}
		if op[0] != '>' {
			i.High = min(i.High, whole(math.Ceil(f)))
		}
	case sqlite3.NULL:
		*i = nothing()
	}
}

func nothing() Interval { return Interval{math.MaxInt64, math.MinInt64} }

// whole returns the integer that a number without fraction is, or the one nearest to it.
func whole(f float64) int64 {
	switch {
	case f >= 1<<63:
		return math.MaxInt64
	case f < -1<<63:
		return math.MinInt64
	}
	return int64(f)
}

// Next implements sqlite3.VTabCursor.
func (k *streamCursor) Next() error {
	ok, e := k.scan.Next()
	if e != nil {
		k.event = nil
		return k.c.fail(e)
	}
	k.event = nil
	if ok {
		k.event = k.scan.Event()
	}
	return nil
}

// EOF implements sqlite3.VTabCursor.
func (k *streamCursor) EOF() bool { return k.event == nil }

// RowID implements sqlite3.VTabCursor.
func (k *streamCursor) RowID() (int64, error) { return int64(k.event.Offset), nil }

// Column implements sqlite3.VTabCursor.
func (k *streamCursor) Column(ctx sqlite3.Context, n int) error {
	switch e := k.event; n {
	case offsetColumn:
		ctx.ResultInt64(int64(e.Offset))
	case timestampColumn:
		ctx.ResultInt64(int64(e.Timestamp))
	case dataColumn:
		if utf8.Valid(e.Data) {
			// SQLite copies it at once. A string of its own, for each column of each event, is most of the garbage of a query.
			ctx.ResultText(unsafe.String(unsafe.SliceData(e.Data), len(e.Data))) // an empty one is no NULL
		} else {
			ctx.ResultBlob(e.Data)
		}
	case checksumColumn:
		ctx.ResultInt64(int64(e.Checksum))
	case positionColumn:
		ctx.ResultInt64(int64(e.Position))
	}
	return nil
}

// spend counts events, as if each was a step of the virtual machine.
func (b *budget) spend(events int) bool {
	b.events += events
	b.left -= b.events / stepsAtOnce
	b.events %= stepsAtOnce
	return b.left > 0 && !(b.stop != nil && b.stop.Stopped())
}

// Mentions returns the names that a text may name tables by, folded and ascending.
func Mentions(text string) []string {
	var list []string
	for _, t := range scan(text) {
		if name, ok := t.name(); ok {
			list = append(list, wire.Fold(name))
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// Mentioned returns the names that queries may name tables by, folded: those in their texts, and those in the texts of the views
// that they may name, past ones too. They ascend.
func (p *Projection) Mentioned(texts ...string) (list []string) {
	for _, text := range texts {
		list = append(list, Mentions(text)...)
	}
	if len(texts) > 1 {
		slices.Sort(list)
		list = slices.Compact(list)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.mentions) == 0 {
		return list
	}
	seen := map[string]bool{}
	for _, name := range list {
		seen[name] = true
	}
	for i := 0; i < len(list); i++ {
		for _, name := range p.mentions[list[i]] {
			if !seen[name] {
				seen[name] = true
				list = append(list, name)
			}
		}
	}
	slices.Sort(list)
	return list
}

// publish has queries know which names a view mentions. The lock is held.
func (p *Projection) publish(views []*thing) {
	for _, t := range views {
		if p.mentions == nil {
			p.mentions = map[string][]string{}
		}
		name := wire.Fold(t.name)
		all := append(slices.Clone(p.mentions[name]), Mentions(t.sql)...)
		slices.Sort(all)
		p.mentions[name] = slices.Compact(all)
	}
}

// unknown returns the names in the texts of views that no table or view has, but for that which a statement is about: they may be
// those of streams.
func (p *Projection) unknown(s *Statement) (list []string) {
	for _, name := range slices.Sorted(maps.Keys(p.things)) {
		if t := p.things[name]; t.kind == "view" {
			list = append(list, Mentions(t.sql)...)
		}
	}
	slices.Sort(list)
	return slices.DeleteFunc(slices.Compact(list), func(name string) bool { return p.things[name] != nil || name == wire.Fold(s.alters) })
}
