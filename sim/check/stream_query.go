package check

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/kimberlitedb/kimberlite-go/wire"
)

// StreamQuery is a query of a stream whose answer a model computes by looking at every event. Events have as data what
// StreamData makes.
type StreamQuery struct {
	Kind  int // what is selected
	Terms []StreamTerm
	Or    bool // one of the terms is enough
	Order int  // 0 none, 1 by the offset, 2 back, 3 by the position, 4 back, with the offset behind it
	Limit int  // -1 for none
}

// StreamEvent is an event as the model knows it.
type StreamEvent struct {
	Offset   wire.Offset
	Time     wire.Time
	Position wire.Position
	N        int64
	Region   string
}

// StreamData returns the data of an event.
func StreamData(n int64, region string) string { return fmt.Sprintf(`{"n":%d,"region":%q}`, n, region) }

// ParseStreamData reads it.
func ParseStreamData(data []byte) (n int64, region string, ok bool) {
	var d struct {
		N      int64
		Region string
	}
	err := json.Unmarshal(data, &d)
	return d.N, d.Region, err == nil
}

// StreamTerm is a comparison of a column with a number.
type StreamTerm struct {
	Column int // of streamColumns
	Op     int // of streamOps
	Value  int64
	Half   bool // and a half more
	Text   bool // it is written as a text
	Null   bool // it is NULL instead
}

var (
	streamColumns = []string{`"offset"`, "timestamp", "position", "data->>'n'", "rowid"}
	streamOps     = []string{"=", "<", "<=", ">", ">="}
	streamRegions = []string{"eu", "us", "ap"}
)

// What a query selects.
const (
	selectOffsets = iota
	selectAll
	selectCount
	selectEnds
	selectGroups
	selectPairs
	selectKinds
)

// Region returns the name of a region.
func Region(n int) string { return streamRegions[n%len(streamRegions)] }

// DrawStreamQuery draws a query whose bounds lie about an event.
func DrawStreamQuery(draw func(int) int, about StreamEvent) *StreamQuery {
	q := &StreamQuery{Kind: draw(selectKinds), Or: draw(6) == 0, Order: draw(5), Limit: -1}
	for range draw(4) {
		t := StreamTerm{Column: draw(len(streamColumns)), Op: draw(len(streamOps))}
		switch near := int64(draw(5)) - 2; t.Column {
		case 1:
			t.Value = int64(about.Time) + near
		case 2:
			t.Value = int64(about.Position) + near
		case 3:
			t.Value = int64(draw(10))
		default:
			t.Value = int64(about.Offset) + near
		}
		t.Half, t.Text, t.Null = t.Column != 1 && draw(8) == 0, t.Column != 3 && draw(8) == 0, draw(20) == 0
		q.Terms = append(q.Terms, t)
	}
	if q.Order > 0 && q.Kind <= selectAll && draw(2) == 0 {
		q.Limit = draw(4)
	}
	return q
}

// WholeStream returns the query of all that there is of a stream.
func WholeStream() *StreamQuery { return &StreamQuery{Kind: selectAll, Order: 1, Limit: -1} }

// SQL returns the text for a stream.
func (q *StreamQuery) SQL(stream string) string {
	from := fmt.Sprintf(`"%s"`, stream)
	where := q.where()
	switch q.Kind {
	case selectCount:
		return "SELECT count(*) FROM " + from + where
	case selectEnds:
		return `SELECT min("offset"), max("offset"), max(position), sum("offset") FROM ` + from + where
	case selectGroups:
		return "SELECT data->>'region' AS r, count(*), sum(data->>'n') FROM " + from + where + " GROUP BY r ORDER BY r"
	case selectPairs:
		return fmt.Sprintf(`SELECT a."offset", b."offset" FROM (SELECT * FROM %s%s) AS a JOIN %s AS b ON b."offset" = a."offset" + 1 ORDER BY 1`, from, where, from)
	}
	text := `SELECT "offset"`
	if q.Kind == selectAll {
		text = `SELECT "offset", timestamp, data, position`
	}
	text += " FROM " + from + where + []string{"", ` ORDER BY "offset"`, ` ORDER BY "offset" DESC`, ` ORDER BY position, "offset"`, ` ORDER BY position DESC, "offset" DESC`}[q.Order]
	if q.Limit >= 0 {
		text += fmt.Sprintf(" LIMIT %d", q.Limit)
	}
	return text
}

func (q *StreamQuery) where() string {
	if len(q.Terms) == 0 {
		return ""
	}
	var list []string
	for _, t := range q.Terms {
		value := fmt.Sprint(t.Value)
		if t.Half {
			value += ".5"
		}
		if t.Text {
			value = "'" + value + "'"
		}
		if t.Null {
			value = "NULL"
		}
		list = append(list, streamColumns[t.Column]+" "+streamOps[t.Op]+" "+value)
	}
	if q.Or {
		return " WHERE " + strings.Join(list, " OR ")
	}
	return " WHERE " + strings.Join(list, " AND ")
}

// Rows returns what the query gives on events, in order where it has one, and else by offset.
func (q *StreamQuery) Rows(events []StreamEvent) (rows [][]wire.Value) {
	list := slices.DeleteFunc(slices.Clone(events), func(e StreamEvent) bool { return !q.holds(&e) })
	if q.Order == 2 || q.Order == 4 {
		slices.Reverse(list)
	}
	if q.Limit >= 0 {
		list = list[:min(q.Limit, len(list))]
	}
	switch q.Kind {
	case selectCount:
		return [][]wire.Value{{integer(int64(len(list)))}}
	case selectEnds:
		return q.ends(list)
	case selectGroups:
		return q.groups(list)
	case selectPairs:
		slices.SortFunc(list, func(a, b StreamEvent) int { return cmp.Compare(a.Offset, b.Offset) })
		for _, e := range list {
			if e.Offset < events[len(events)-1].Offset {
				rows = append(rows, []wire.Value{integer(int64(e.Offset)), integer(int64(e.Offset) + 1)})
			}
		}
		return rows
	}
	for _, e := range list {
		row := []wire.Value{integer(int64(e.Offset))}
		if q.Kind == selectAll {
			row = append(row, wire.Value{Kind: wire.Timestamp, Int: int64(e.Time)}, wire.Value{Kind: wire.Text, Text: StreamData(e.N, e.Region)}, integer(int64(e.Position)))
		}
		rows = append(rows, row)
	}
	return rows
}

func (q *StreamQuery) ends(list []StreamEvent) [][]wire.Value {
	if len(list) == 0 {
		return [][]wire.Value{{{}, {}, {}, {}}}
	}
	least, most, last, sum := list[0].Offset, list[0].Offset, list[0].Position, wire.Offset(0)
	for _, e := range list {
		least, most, last, sum = min(least, e.Offset), max(most, e.Offset), max(last, e.Position), sum+e.Offset
	}
	return [][]wire.Value{{integer(int64(least)), integer(int64(most)), integer(int64(last)), integer(int64(sum))}}
}

func (q *StreamQuery) groups(list []StreamEvent) (rows [][]wire.Value) {
	for _, r := range slices.Sorted(slices.Values(streamRegions)) {
		n, sum := int64(0), int64(0)
		for _, e := range list {
			if e.Region == r {
				n, sum = n+1, sum+e.N
			}
		}
		if n > 0 {
			rows = append(rows, []wire.Value{{Kind: wire.Text, Text: r}, integer(n), integer(sum)})
		}
	}
	return rows
}

// Equal reports whether rows are those that the query gives. Without an order they may come in any.
func (q *StreamQuery) Equal(got, want [][]wire.Value) bool {
	if q.Kind <= selectAll && q.Order == 0 {
		got = slices.Clone(got)
		slices.SortStableFunc(got, func(a, b []wire.Value) int { return cmp.Compare(a[0].Int, b[0].Int) })
	}
	return equal(got, want)
}

func (q *StreamQuery) holds(e *StreamEvent) bool {
	if len(q.Terms) == 0 {
		return true
	}
	for i := range q.Terms {
		if q.Terms[i].holds(e) == q.Or {
			return q.Or
		}
	}
	return !q.Or
}

func (t *StreamTerm) holds(e *StreamEvent) bool {
	if t.Null {
		return false
	}
	n := int64(e.Offset)
	switch t.Column {
	case 1:
		n = int64(e.Time)
	case 2:
		n = int64(e.Position)
	case 3:
		n = e.N
	}
	c := cmp.Compare(n, t.Value)
	if t.Half && c == 0 {
		c = -1
	}
	switch streamOps[t.Op] {
	case "=":
		return c == 0
	case "<":
		return c < 0
	case "<=":
		return c <= 0
	case ">":
		return c > 0
	}
	return c >= 0
}
