package engine

import (
	"errors"
	"math"
	"slices"
	"sort"

	"github.com/kimberlitedb/kimberlite-go/engine/seg"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// block is a piece of a stream that is read at once: a section of a sealed file, or what an element of the index covers.
type block struct {
	first  wire.Offset
	next   wire.Offset // where the next block begins
	latest wire.Time   // no event in it is later
	whole  bool        // every event from first on, up to next, is there, as far as can be known without reading it
	at     seg.Extent  // in the log
	file   *seg.SealedIndex
	part   *seg.Section // in that file, where it is sealed
}

// blocksOf returns the blocks of a stream, in order. What no block holds is lost.
func (c *scope) blocksOf(v *view) []block {
	if v.blocks != nil || v.low == v.head {
		return v.blocks
	}
	unsealed := v.head
	if len(v.index) > 0 {
		unsealed = v.index[0].first
	} else if v.last != (entry{}) {
		unsealed = v.last.first
	}
	sealed := layout{sealed: c.sealed}
	sealed.sectionsOf(v.key, v.low, func(x *seg.SealedIndex, s *seg.Section) bool {
		if s.First >= unsealed {
			return false
		}
		if !s.Lost() {
			whole := uint64(s.Events) == uint64(s.Next-s.First)
			next := min(s.Next, unsealed) // what a recovery has copied is in the log once more
			v.blocks = append(v.blocks, block{first: s.First, next: next, latest: s.MaxTime, whole: whole, file: x, part: s})
		}
		return true
	})
	if v.last != (entry{}) {
		list := append(slices.Clip(v.index), v.last)
		for i, e := range list {
			next := v.head
			if i+1 < len(list) {
				next = list[i+1].first
			}
			v.blocks = append(v.blocks, block{first: e.first, next: next, latest: e.latest, whole: true, at: e.at})
		}
	}
	for i := range v.blocks {
		b := &v.blocks[i]
		b.whole = b.whole && !slices.ContainsFunc(v.lost, func(l span) bool { return l.from < b.next && b.first < l.to })
	}
	return v.blocks
}

// block returns the block that an offset is in, nil where none is.
func (c *scope) block(v *view, o wire.Offset) *block {
	list := c.blocksOf(v)
	i := sort.Search(len(list), func(i int) bool { return list[i].first > o }) - 1
	if i < 0 || o >= list[i].next {
		return nil
	}
	return &list[i]
}

// logged is an event, and what the entry that it is in says.
type logged struct {
	offset   wire.Offset
	time     wire.Time
	position wire.Position
	commit   wire.Time
	stream   wire.StreamID
	data     []byte
	checksum uint32
	kind     seg.Kind
}

// loaded is a block that was read.
type loaded struct {
	block   *block
	events  []logged // ascending offsets
	trouble error    // that reading it has met
	buf     []byte
}

// has reports whether the block of an offset is loaded.
func (l *loaded) has(o wire.Offset) bool {
	return l.block != nil && l.block.first <= o && o < l.block.next
}

// find returns an event, nil where it is missing.
func (l *loaded) find(o wire.Offset) *logged {
	if len(l.events) == 0 || o < l.events[0].offset {
		return nil
	}
	if i := o - l.events[0].offset; i < wire.Offset(len(l.events)) && l.events[i].offset == o {
		return &l.events[i]
	}
	i := sort.Search(len(l.events), func(i int) bool { return l.events[i].offset >= o })
	if i == len(l.events) || l.events[i].offset != o {
		return nil
	}
	return &l.events[i]
}

// readers are the files that a job has open for a scope.
type readers struct {
	fs     seg.Files
	log    *seg.Reader
	blocks *seg.SealedReader
}

// use has a scope, if there is one, read through the files of a job.
func (c *scope) use(fs seg.Files) {
	if c != nil {
		c.fs = fs
	}
}

// rest closes the files, before the job ends.
func (c *scope) rest() {
	if c == nil {
		return
	}
	if c.log != nil {
		c.log.Close()
	}
	if c.blocks != nil {
		c.blocks.Close()
	}
	c.readers = readers{}
}

// settle lets go of the log in memory once all of it is durable: a query that lasts long would keep much of it.
func (c *scope) settle(durable seg.LSN) {
	if c != nil && durable >= c.decided {
		c.memory, c.recent = nil, math.MaxUint64
	}
}

// load reads a block.
func (c *scope) load(v *view, b *block, into *loaded) {
	*into = loaded{block: b, events: into.events[:0], buf: into.buf}
	into.buf = c.walk(b, into.buf, into.note, func(w *seg.Walker) { into.take(v, w) })
}

// walk visits the records of a block, by walkers, and notes what it cannot read. It may use the memory of buf, and returns what it
// has used instead.
func (c *scope) walk(b *block, buf []byte, note func(error), visit func(*seg.Walker)) []byte {
	if b.part != nil {
		return c.walkSealed(b, buf, note, visit)
	}
	if disk := (seg.Extent{Start: b.at.Start, End: min(b.at.End, c.recent)}); disk.Start < disk.End {
		c.hit(ProbeQueryScansLog)
		if c.log == nil {
			c.log = seg.NewReader(c.fs, c.geo)
		}
		p, err := c.log.Read(disk)
		note(err)
		visit(seg.NewWalker(c.geo, c.store, p, disk.Start, true))
	}
	i := sort.Search(len(c.memory), func(i int) bool { return c.memory[i].end() > max(b.at.Start, c.recent) })
	for ; i < len(c.memory) && c.memory[i].at < b.at.End; i++ {
		h := c.memory[i]
		from, to := max(b.at.Start, h.at+seg.BatchHeader), min(b.at.End, h.end())
		if from < to {
			c.hit(ProbeQueryScansMemory)
			visit(seg.NewWalker(c.geo, c.store, h.p[from-h.at:to-h.at], from, false))
		}
	}
	return buf
}

func (c *scope) walkSealed(b *block, buf []byte, note func(error), visit func(*seg.Walker)) []byte {
	c.hit(ProbeQueryScansSealed)
	if c.blocks == nil {
		r, err := seg.NewSealedReader(c.fs, c.store)
		if err != nil {
			note(err)
			return buf
		}
		c.blocks = r
	}
	p, err := c.blocks.Read(b.file.Number, b.file.Blocks[b.part.Block], buf)
	if err != nil {
		note(err)
		return buf
	}
	visit(seg.NewWalker(seg.Geometry{Align: 1}, c.store, p[b.part.Start:b.part.Start+b.part.Length], 0, true))
	return p
}

// records visits the records of a view that have events from an offset on and before another, in order and each once. What cannot
// be read is passed over; it returns the first error of the disk that does not say that what it holds is damaged.
func (c *scope) records(v *view, from, to wire.Offset, visit func(*seg.Record) error) (failed error) {
	of := selection{of: v.id}
	note := func(err error) {
		if err != nil && failed == nil && !hurt(err) {
			failed = err
		}
	}
	var buf []byte
	next := from
	for _, b := range c.blocksOf(v) {
		if b.next <= from || b.first >= to || failed != nil {
			continue
		}
		buf = c.walk(&b, buf, note, func(w *seg.Walker) {
			var r seg.Record
			for failed == nil {
				ok, err := w.Next(&r)
				if note(err); err != nil {
					continue
				}
				if !ok {
					return
				}
				if of.events(&r) == nil || r.First >= to || r.First+wire.Offset(r.Count) <= next {
					continue // of others, or a recovery has written it twice
				}
				next = r.First + wire.Offset(r.Count)
				if err := visit(&r); err != nil {
					failed = err
				}
			}
		})
	}
	return failed
}

func (l *loaded) note(err error) {
	if l.trouble == nil {
		l.trouble = err
	}
}

// take adds the events of a view that a walk meets.
func (l *loaded) take(v *view, w *seg.Walker) {
	of := selection{of: v.id}
	var r seg.Record
	for {
		ok, err := w.Next(&r)
		if err != nil {
			l.note(err)
			continue
		}
		if !ok {
			return
		}
		p := of.events(&r)
		for p != nil {
			e, rest, ok := wire.NextEvent(p)
			if !ok {
				break
			}
			p = rest
			if n := len(l.events); n > 0 && e.Offset <= l.events[n-1].offset {
				continue // a recovery has written it twice
			}
			l.events = append(l.events, logged{
				offset: e.Offset, time: e.Timestamp, position: r.Position, commit: r.Commit, stream: r.Stream, data: e.Data, checksum: e.Checksum, kind: r.Kind,
			})
		}
	}
}

// behind returns the offset of the first event that is not among those by which a stream begins: in says of an event whether it
// is, and is so of none behind one of which it is not. Where events are lost just there, nobody can tell.
func (c *scope) behind(v *view, in func(*logged) bool) (wire.Offset, *wire.Error) {
	if v.low == v.head {
		return v.low, nil
	}
	list := c.blocksOf(v)
	var at loaded
	var failed *wire.Error
	begins := func(i int) bool { // the block does so with an event that is not
		e, missing := c.event(v, &at, max(list[i].first, v.low), nil)
		if missing != nil {
			failed = missing
			return true
		}
		return !in(e)
	}
	n := len(list)
	if n > 0 && begins(n-1) && failed == nil { // most often it is about the newest
		n = sort.Search(n-1, func(i int) bool { return failed != nil || begins(i) })
	}
	switch {
	case failed != nil:
		return 0, failed
	case n == 0 && (len(list) == 0 || list[0].first > v.low): // those before it may be among them
		return 0, c.missing(v, v.low, nil)
	case n == 0:
		return v.low, nil
	}
	b := &list[n-1]
	from := max(b.first, v.low)
	if _, missing := c.event(v, &at, from, nil); missing != nil {
		return 0, missing
	}
	i := sort.Search(len(at.events), func(i int) bool { return at.events[i].offset >= from && !in(&at.events[i]) })
	if i < len(at.events) {
		end := at.events[i].offset
		if i > 0 && at.events[i-1].offset >= from && at.events[i-1].offset+1 < end { // those between may be among them
			return 0, c.missing(v, at.events[i-1].offset+1, at.trouble)
		}
		return end, nil
	}
	last, next := at.events[len(at.events)-1].offset+1, v.head
	if n < len(list) {
		next = list[n].first
	}
	if last < next { // what follows it may be missing
		return 0, c.missing(v, last, at.trouble)
	}
	return last, nil
}

// missing says why there is no event at an offset.
func (c *scope) missing(v *view, o wire.Offset, trouble error) *wire.Error {
	for _, l := range v.lost {
		if l.from <= o && o < l.to {
			return wire.Errorf(wire.DataCorrupted, "events %d to %d of stream %q are lost: the log is damaged there", l.from, l.to-1, v.name)
		}
	}
	switch {
	case trouble == nil:
		return wire.Errorf(wire.DataCorrupted, "event %d of stream %q is not where the index says; run `kimberlite doctor` on the data directory", o, v.name)
	case errors.Is(trouble, seg.ErrDamaged):
		return wire.Errorf(wire.DataCorrupted, "event %d of stream %q is damaged on disk; run `kimberlite doctor` on the data directory", o, v.name)
	}
	return wire.Errorf(wire.StorageError, "the disk cannot be read at event %d of stream %q: %v", o, v.name, trouble)
}
