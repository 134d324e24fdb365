package check

import (
	"fmt"
	"maps"
	"slices"
	"sort"

	"github.com/kimberlitedb/kimberlite-go/engine/seg"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// streams is what the log says of the streams of a tenant with tables.
type streams struct {
	made map[wire.StreamID]wire.Position
	logs map[wire.StreamID]*streamLog
	acts []wire.Position // of the tenant, ascending; each is an audit event
}

// streamLog is what it says of one.
type streamLog struct {
	events []StreamEvent
	trims  []trim // ascending
}

// trim is a move of the oldest offset.
type trim struct {
	lsn    seg.LSN
	oldest wire.Offset
}

// StreamNames are the names of the clerk's streams. The second has a retention.
var StreamNames = [2]string{"orders", "Line-Items.2"}

// entry notes an entry of the tenant's log, or a move of an oldest offset.
func (s *streams) entry(r *seg.Record) {
	if s.made == nil {
		s.made, s.logs = map[wire.StreamID]wire.Position{}, map[wire.StreamID]*streamLog{}
	}
	if r.Position > 0 || r.Kind == seg.KindCreateTenant {
		s.cut(r.Position)
	}
	if _, _, ok := r.AuditEvent(); ok {
		s.acts = append(s.acts, r.Position)
	}
	switch r.Kind {
	case seg.KindCreateStream:
		s.made[r.Stream] = r.Position
	case seg.KindTrim:
		l := s.log(r.Stream)
		l.trims = slices.DeleteFunc(l.trims, func(t trim) bool { return t.lsn >= r.LSN })
		l.trims = append(l.trims, trim{r.LSN, r.First})
	case seg.KindAppend:
		l := s.log(r.Stream)
		for p := r.Events(); len(p) > 0; {
			e, rest, ok := wire.NextEvent(p)
			if !ok {
				return
			}
			p = rest
			n, region, _ := ParseStreamData(e.Data)
			l.events = append(l.events, StreamEvent{Offset: e.Offset, Time: e.Timestamp, Position: r.Position, N: n, Region: region})
		}
	}
}

// cut forgets what is at a position and behind it: it is written anew.
func (s *streams) cut(at wire.Position) {
	maps.DeleteFunc(s.made, func(_ wire.StreamID, p wire.Position) bool { return p >= at })
	s.acts = slices.DeleteFunc(s.acts, func(p wire.Position) bool { return p >= at })
	for _, l := range s.logs { //det:order-free: each for itself
		l.events = l.events[:sort.Search(len(l.events), func(i int) bool { return l.events[i].Position >= at })]
	}
}

func (s *streams) log(id wire.StreamID) *streamLog {
	if s.logs[id] == nil {
		s.logs[id] = &streamLog{}
	}
	return s.logs[id]
}

func (l *streamLog) oldest() wire.Offset {
	if n := len(l.trims); n > 0 {
		return l.trims[n-1].oldest
	}
	return 0
}

// Recovered notes up to where a recovery has found the log.
func (x *Tables) Recovered(lsn seg.LSN) {
	for _, l := range x.streams.logs { //det:order-free: each for itself
		l.trims = slices.DeleteFunc(l.trims, func(t trim) bool { return t.lsn > lsn })
	}
}

// Oldest returns the oldest offset of a stream, as the log has it now.
func (x *Tables) Oldest(id wire.StreamID) wire.Offset {
	if l := x.streams.logs[id]; l != nil {
		return l.oldest()
	}
	return 0
}

// SomeEvent returns an event of a stream, if there is one.
func (x *Tables) SomeEvent(id wire.StreamID, draw func(int) int) (e StreamEvent) {
	if l := x.streams.logs[id]; l != nil && len(l.events) > 0 {
		e = l.events[draw(len(l.events))]
	}
	return e
}

// StreamAsk is a question about a stream, or about one beside a table.
type StreamAsk struct {
	Stream wire.StreamID
	Name   string
	Query  *StreamQuery
	Table  wire.Option[int] // it is joined with this one instead
	System string           // or it is about this system stream
}

// SQL returns its text.
func (a *StreamAsk) SQL() string {
	switch {
	case a.System != "":
		return fmt.Sprintf(`SELECT count(*), max(position) FROM "%s"`, a.System)
	case a.Table.Set:
		return fmt.Sprintf(`SELECT s."offset", t.id FROM "%s" AS s JOIN t%d AS t ON t.id = s.data->>'n' ORDER BY 1, 2`, a.Name, a.Table.Value)
	}
	return a.Query.SQL(a.Name)
}

// rows returns what a question gives as of a position, where events before an offset are gone, or why it is refused.
func (x *Tables) streamRows(a *StreamAsk, p wire.Position, oldest wire.Offset) (rows [][]wire.Value, hidden bool, code wire.Code) {
	if a.System != "" {
		return x.systemRows(a.System, p, oldest)
	}
	made, ok := x.streams.made[a.Stream]
	if !ok || made > p {
		return nil, false, wire.TableNotFound
	}
	var events []StreamEvent
	if l := x.streams.logs[a.Stream]; l != nil {
		for _, e := range l.events {
			if e.Position <= p && e.Offset >= oldest {
				events = append(events, e)
			}
			hidden = hidden || e.Position <= p && e.Offset < oldest
		}
	}
	if !a.Table.Set {
		return a.Query.Rows(events), hidden && len(a.Query.Terms) == 0 && a.Query.Limit != 0, 0
	}
	t, _ := x.at(p)
	table := t.tables[a.Table.Value]
	if table == nil {
		return nil, false, wire.TableNotFound
	}
	for _, e := range events {
		if _, there := table.rows[e.N]; there {
			rows = append(rows, []wire.Value{integer(int64(e.Offset)), integer(e.N)})
		}
	}
	return rows, false, 0
}

// systemRows returns how many events of a system stream there are, and the position of the last.
func (x *Tables) systemRows(name string, p wire.Position, oldest wire.Offset) (rows [][]wire.Value, hidden bool, code wire.Code) {
	places := x.streams.acts
	if name == "$sql" {
		places = slices.Sorted(maps.Keys(x.entries))
	}
	n := sort.Search(len(places), func(i int) bool { return places[i] > p })
	if n == 0 {
		return nil, false, wire.TableNotFound
	}
	gone := min(n, int(oldest))
	last := wire.Value{}
	if n > gone {
		last = integer(int64(places[n-1]))
	}
	return [][]wire.Value{{integer(int64(n - gone)), last}}, gone > 0, 0
}

// answeredStream judges the answer to a question about streams.
func (x *Tables) answeredStream(rule Invariant, f *Flow, reply wire.ResponseBody) {
	if x.off || x.suite.Holes || x.suite.Failed != nil {
		return
	}
	a, at, floor, p := f.Ask, f.At, f.Floor, f.At.Value
	if at.Set && rule == Answers {
		rule = Past
	}
	text := a.SQL()
	if e, refused := reply.(*wire.Error); refused {
		if e.Code == wire.InvalidOffset && at.Set {
			x.Forgotten(p, e)
		} else if !x.excused(e) && at.Set {
			_, _, want := x.streamRows(a, p, x.Oldest(a.Stream))
			x.suite.must(rule, e.Code == want, "%s as of position %d is refused with %s: %s; expected is %s", text, p, e.Code, e.Message, want)
		} else if !x.excused(e) {
			x.suite.must(rule, e.Code == wire.TableNotFound || e.Code == wire.TenantNotFound, "%s is refused with %s: %s", text, e.Code, e.Message)
		}
		return
	}
	b := reply.(*wire.QueryReply)
	if !at.Set {
		p = b.Position
		x.suite.must(rule, p >= floor, "%s sees position %d, and position %d was acknowledged before", text, p, floor)
	}
	x.suite.must(rule, b.Position == p, "%s as of position %d sees position %d", text, p, b.Position)
	x.showed(rule, a, at.Set, p, f.Oldest, b)
}

// showed judges rows: they are those that were there when one of the offsets from one on was the oldest.
func (x *Tables) showed(rule Invariant, a *StreamAsk, past bool, p wire.Position, from wire.Offset, b *wire.QueryReply) {
	equal := func(got, want [][]wire.Value) bool { return equal(got, want) }
	if a.System == "" && !a.Table.Set {
		equal = a.Query.Equal
	}
	var want [][]wire.Value
	var code wire.Code
	upto := x.Oldest(a.Stream)
	for oldest := from; oldest <= max(from, upto); oldest++ {
		rows, hidden, refused := x.streamRows(a, p, oldest)
		if refused == 0 && equal(b.Rows, rows) && (b.Trimmed || !hidden || !past) && !(b.Trimmed && (oldest == 0 || !past)) {
			x.suite.must(rule, true, "")
			return
		}
		want, code = rows, refused
	}
	x.suite.must(rule, false, "%s as of position %d, with an oldest event from %d to %d, gives %v, trimmed is %t; expected is %v, refusal %s", a.SQL(), p, from, upto, b.Rows, b.Trimmed, want, code)
}
