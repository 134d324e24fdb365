package engine

import (
	"slices"
	"sort"
	"strings"

	"github.com/kimberlitedb/kimberlite-go/engine/seg"
	"github.com/kimberlitedb/kimberlite-go/engine/sql"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

var _ sql.Streams = (*scope)(nil)

// Names implements sql.Streams.
func (c *scope) Names(at wire.Position) (names []string) {
	for _, v := range c.list {
		there := true
		if v.refused == nil {
			there, v.refused = c.there(v, at)
		}
		if there || v.refused != nil {
			names = append(names, v.name)
		}
	}
	return names
}

// Check implements sql.Streams.
func (c *scope) Check(name string) *wire.Error {
	if v := c.find(name); v != nil {
		return v.refused
	}
	return nil
}

// Known implements sql.Streams.
func (c *scope) Known() wire.Position { return c.known }

// Beside implements sql.Streams: the streams are seen up to the first statement that the tables do not show.
func (c *scope) Beside(tables wire.Position) (wire.Position, bool) {
	if tables > c.known {
		c.hit(ProbeQueryBehindTables)
		return 0, false
	}
	i := sort.Search(len(c.pending), func(i int) bool { return c.pending[i].position > tables })
	if i < len(c.pending) {
		c.hit(ProbeQueryBeforePending)
		return c.pending[i].position - 1, true
	}
	return c.known, true
}

// Before implements sql.Streams.
func (c *scope) Before(t wire.Time) (at wire.Position, _ *wire.Error) {
	for _, v := range c.list {
		if v.refused != nil || v.created > t {
			continue
		}
		if made, ok, e := c.made(v); e != nil {
			return 0, e
		} else if ok && !v.system {
			at = max(at, made)
		}
		end, e := c.behind(v, func(e *logged) bool { return e.commit <= t })
		if e != nil {
			return 0, e
		}
		if end > v.low {
			var b loaded
			e, missing := c.event(v, &b, end-1, nil)
			if missing != nil {
				return 0, missing
			}
			at = max(at, e.position)
		}
	}
	return at, nil
}

func (c *scope) find(name string) *view {
	name = wire.Fold(name)
	i, ok := slices.BinarySearchFunc(c.list, name, func(v *view, name string) int { return strings.Compare(wire.Fold(v.name), name) })
	if !ok {
		return nil
	}
	return c.list[i]
}

// Scan implements sql.Streams.
func (c *scope) Scan(name string, at wire.Position, past bool, spend sql.Spend) (sql.Scan, *wire.Error) {
	v := c.find(name)
	switch {
	case v == nil:
		return nil, wire.Errorf(wire.TableNotFound, "no such table: %s", name)
	case v.refused != nil:
		return nil, v.refused
	}
	end, e := c.bound(v, at)
	if e != nil {
		return nil, e
	}
	return &streamScan{c: c, v: v, end: end, past: past, spend: spend}, nil
}

// bound returns the offset behind a stream's last event whose entry is at or before a position.
func (c *scope) bound(v *view, at wire.Position) (wire.Offset, *wire.Error) {
	if at >= c.known {
		return v.head, nil
	}
	if end, ok := v.bounds[at]; ok {
		return end, nil
	}
	end, e := c.behind(v, func(e *logged) bool { return e.position <= at })
	if e != nil {
		return 0, e
	}
	if v.bounds == nil {
		v.bounds = map[wire.Position]wire.Offset{}
	}
	if len(v.bounds) < maxBounds {
		v.bounds[at] = end
	}
	return end, nil
}

// maxBounds bounds what a view remembers.
const maxBounds = 1 << 10

// there reports whether a stream is there as of a position.
func (c *scope) there(v *view, at wire.Position) (bool, *wire.Error) {
	if at >= c.known {
		return true, nil
	}
	end, e := c.bound(v, at)
	switch {
	case e != nil:
		return false, e
	case end > v.low:
		return true, nil
	case v.system: // it begins with its first event, and before what history keeps nothing can be asked
		return v.low > 0, nil
	}
	made, ok, e := c.made(v)
	return !ok || made <= at, e
}

// made returns the position at which a stream was made, where the audit stream tells.
func (c *scope) made(v *view) (wire.Position, bool, *wire.Error) {
	if v.system {
		return 0, false, nil
	}
	from, e := c.behind(c.audit, func(e *logged) bool { return e.commit < v.created })
	if e != nil {
		return 0, false, e
	}
	var b loaded
	for o := from; o < c.audit.head; o++ {
		e, missing := c.event(c.audit, &b, o, nil)
		if missing != nil {
			return 0, false, missing
		}
		if e.kind == seg.KindCreateStream && e.stream == v.id {
			return e.position, true, nil
		}
		if e.commit > v.created {
			break
		}
	}
	return 0, false, nil // an old log does not tell
}

// hit notes that a job has passed an interesting place.
func (c *scope) hit(p Probe) {
	if !slices.Contains(c.met, p) {
		c.met = append(c.met, p)
	}
}

// streamScan reads the events of a stream.
type streamScan struct {
	c     *scope
	v     *view
	end   wire.Offset // behind the last event as of the query's position
	past  bool
	spend sql.Spend

	r       sql.Range
	from    wire.Offset // what is left of the range: [from, to)
	to      wire.Offset
	at      loaded
	bare    wire.Offset // up to there no event is missing, and none is looked at; backward from there on
	counted int         // events that are not spent yet
	event   sql.Event
}

var _ sql.Scan = (*streamScan)(nil)

// Seek implements sql.Scan.
func (s *streamScan) Seek(r sql.Range) *wire.Error {
	s.r, s.from, s.to = r, s.v.low, s.end
	if why := s.v.noRoom; why != nil && r.Offsets.Low < int64(s.v.low) { // what is hidden may be seen again
		return wire.Errorf(why.Code, "events before %d of stream %q have expired, and there is no room to record that; ask for later ones, or free space", s.v.low, s.v.name)
	}
	if s.past && s.v.low > 0 && r.Offsets.Low < int64(s.v.low) && r.Offsets.High >= 0 {
		s.c.trimmed = true
		s.c.hit(ProbeQueryTrimmed)
	}
	if r.Offsets.High < 0 {
		s.to = s.from
	} else {
		s.from, s.to = max(s.from, wire.Offset(max(r.Offsets.Low, 0))), min(s.to, wire.Offset(r.Offsets.High)+1)
	}
	if r.Positions.Low > 0 {
		from, e := s.c.bound(s.v, wire.Position(r.Positions.Low-1))
		if e != nil {
			return e
		}
		s.from = max(s.from, from)
	}
	if r.Positions.High >= 0 {
		to, e := s.c.bound(s.v, wire.Position(r.Positions.High))
		if e != nil {
			return e
		}
		s.to = min(s.to, to)
	} else {
		s.to = s.from
	}
	s.bare = s.from
	if r.Back {
		s.bare = s.to
	}
	if !s.more() {
		s.c.hit(ProbeQueryNothingToRead)
	}
	return nil
}

// more reports whether something is left of the range.
func (s *streamScan) more() bool { return s.from < s.to }

// Next implements sql.Scan.
func (s *streamScan) Next() (bool, *wire.Error) {
	for s.more() {
		o := s.from
		if s.r.Back {
			o = s.to - 1
		}
		if s.r.Bare && s.r.Times == sql.Everything() {
			if ok, e := s.sure(o); e != nil || ok {
				s.event.Offset = o
				s.step()
				return ok, e
			}
		}
		if !s.at.has(o) {
			if jumped := s.jump(o); jumped {
				continue
			}
			if !s.settle() {
				return false, sql.ErrEnded
			}
		}
		e, missing := s.c.event(s.v, &s.at, o, s)
		if missing != nil {
			return false, missing
		}
		s.step()
		if s.r.Times.Has(int64(e.time)) {
			s.event = sql.Event{Event: wire.Event{Offset: e.offset, Data: e.data, Timestamp: e.time, Checksum: e.checksum}, Position: e.position}
			return true, nil
		}
	}
	if !s.settle() {
		return false, sql.ErrEnded
	}
	return false, nil
}

// Event implements sql.Scan.
func (s *streamScan) Event() *sql.Event { return &s.event }

// step leaves one event behind.
func (s *streamScan) step() {
	if s.r.Back {
		s.to--
	} else {
		s.from++
	}
}

// spendAtOnce is how many events are counted against the budget together.
const spendAtOnce = 1000

// settle spends what was looked at. It returns false where the query is to end.
func (s *streamScan) settle() bool {
	n := s.counted
	s.counted = 0
	s.c.scanned += uint64(n)
	return s.spend(n)
}

// sure reports whether the event at an offset is there for certain, by what the indexes say.
func (s *streamScan) sure(o wire.Offset) (bool, *wire.Error) {
	if s.counted++; s.counted >= spendAtOnce && !s.settle() {
		return false, sql.ErrEnded
	}
	if s.r.Back && o >= s.bare || !s.r.Back && o < s.bare {
		return true, nil
	}
	b := s.c.block(s.v, o)
	if b == nil || !b.whole {
		return false, nil
	}
	s.c.hit(ProbeQueryReadsNoBlock)
	if s.bare = b.next; s.r.Back {
		s.bare = b.first
	}
	return true, nil
}

// jump passes over a block in which nothing is young enough. It returns false where the block of an offset is to be read.
func (s *streamScan) jump(o wire.Offset) bool {
	b := s.c.block(s.v, o)
	if b == nil || !b.whole || int64(b.latest) >= s.r.Times.Low {
		return false
	}
	s.c.hit(ProbeQueryPassesBlock)
	if s.r.Back {
		s.to = max(b.first, s.from)
	} else {
		s.from = min(b.next, s.to)
	}
	return true
}

// Event returns the event of a view at an offset, from the block that is loaded, or that of the offset.
func (c *scope) event(v *view, at *loaded, o wire.Offset, s *streamScan) (*logged, *wire.Error) {
	if !at.has(o) {
		b := c.block(v, o)
		if b == nil {
			return nil, c.missing(v, o, nil)
		}
		c.load(v, b, at)
		if s != nil {
			s.counted += len(at.events)
		}
	}
	if e := at.find(o); e != nil {
		return e, nil
	}
	return nil, c.missing(v, o, at.trouble)
}
