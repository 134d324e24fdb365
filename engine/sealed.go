package engine

import (
	"bytes"
	"sort"

	"github.com/kimberlitedb/kimberlite-go/engine/seg"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// A stream's oldest events are in sealed files, and those behind them in the log, which its index covers. What a sealed
// file holds of a stream is in sections, by offset.

// unsealed is stream.unsealed, once the stream's index has let go of what is sealed by now. Whoever uses the index of a
// stream has called it before, in the same step.
func (m *Machine) unsealed(s *stream) wire.Offset {
	s.shed(m.geo.Address(m.layout.man.First, 0))
	return s.unsealed()
}

// shed drops the part of the index that lies before an address: it is sealed.
func (s *stream) shed(from seg.Address) {
	if n := sort.Search(len(s.index), func(i int) bool { return s.index[i].at.Start >= from }); n > 0 {
		s.index = append([]entry(nil), s.index[n:]...)
	}
}

// shed has every stream do so.
func (s *state) shed(from seg.Address) {
	for _, t := range s.order {
		for _, x := range t.streams {
			x.shed(from)
		}
	}
}

// shedAtOnce is how many streams a tick looks at, so that it holds nobody up for long.
const shedAtOnce = 2000

// shedSome lets some streams that nobody reads let go of what is sealed, for the memory's sake.
func (m *Machine) shedSome() {
	from := m.geo.Address(m.layout.man.First, 0)
	for range shedAtOnce {
		s := &m.sealing.shed
		if s.tenant == len(m.state.order) {
			*s = place{}
			return
		}
		if t := m.state.order[s.tenant]; s.stream < len(t.streams) {
			t.streams[s.stream].shed(from)
			s.stream++
		} else {
			*s = place{tenant: s.tenant + 1}
		}
	}
}

// place is where a walk over all streams has got. One that is passed over since others went or came waits for the next.
type place struct{ tenant, stream int }

// unsealed returns the first offset of a stream that is in the log.
func (s *stream) unsealed() wire.Offset {
	if len(s.index) > 0 {
		return s.index[0].first
	}
	return s.head
}

// unsealedBefore returns the bytes of event data before that offset, over the stream's whole life.
func (s *stream) unsealedBefore() uint64 {
	if len(s.index) > 0 {
		return s.index[0].before
	}
	return s.bytes
}

// sealedKey says under which key a stream's events are in sealed files.
func (s *stream) sealedKey() seg.Key {
	if s.id == auditStream(s.tenant.id) {
		return seg.Key{Tenant: s.tenant.id} // its events are part of acts
	}
	return seg.Key{Tenant: s.tenant.id, Stream: s.id}
}

// sections calls visit with the sections that hold events of a stream from an offset on, in order, until it returns false.
func (l *layout) sections(s *stream, from wire.Offset, visit func(*seg.SealedIndex, *seg.Section) bool) {
	l.sectionsOf(s.sealedKey(), from, visit)
}

// sectionsOf does so by their key.
func (l *layout) sectionsOf(key seg.Key, from wire.Offset, visit func(*seg.SealedIndex, *seg.Section) bool) {
	for _, x := range l.sealed {
		if x == nil {
			continue
		}
		list := x.Of(key)
		for i := sort.Search(len(list), func(i int) bool { return list[i].Next > from }); i < len(list); i++ {
			if list[i].Events > 0 && !visit(x, &list[i]) {
				return
			}
		}
	}
}

// piece is a section of a sealed file, for a job.
type piece struct {
	number uint64
	block  seg.SealedBlock
	*seg.Section
}

// maxPieces bounds what one job reads.
const maxPieces = 1 << 10

// forward returns the sections with which a read goes on.
func (l *layout) forward(rd *read) (list []piece) {
	data := uint64(0)
	l.sections(rd.stream, rd.next, func(x *seg.SealedIndex, s *seg.Section) bool {
		if s.Lost() || s.First >= rd.end {
			return false
		}
		list = append(list, piece{x.Number, x.Blocks[s.Block], s})
		data += uint64(s.Data)
		return (data-uint64(list[0].Data) < rd.maxData || rd.seeking) && len(list) < maxPieces
	})
	return list
}

// backward returns the sections with which a backward read goes on, the newest first.
func (l *layout) backward(rd *read) (list []piece) {
	key := rd.stream.sealedKey()
	data := uint64(0)
	for i := len(l.sealed) - 1; i >= 0; i-- {
		x := l.sealed[i]
		if x == nil {
			continue
		}
		of := x.Of(key)
		for k := sort.Search(len(of), func(k int) bool { return of[k].Events > 0 && of[k].First > rd.next }) - 1; k >= 0; k-- {
			switch s := &of[k]; {
			case s.Events == 0:
			case s.Lost() || s.Next <= rd.low:
				return list
			default:
				list = append(list, piece{x.Number, x.Blocks[s.Block], s})
				data += uint64(s.Data)
				if data-uint64(list[0].Data) >= rd.maxData || len(list) == maxPieces {
					return list
				}
			}
		}
	}
	return list
}

// readSealed starts a job that reads from sealed files, or ends the read where they do not hold what comes next.
func (m *Machine) readSealed(rd *read, fx []Effect) []Effect {
	of := m.layout.forward
	if rd.back {
		of = m.layout.backward
	}
	list := of(rd)
	if len(list) == 0 || rd.sought == wire.Some(rd.next) { // a job has looked there, and found nothing
		return m.readMissed(rd, fx)
	}
	if m.waits(rd) {
		return fx
	}
	rd.sought = wire.Some(rd.next)
	m.cfg.hit(ProbeReadSealed)
	return m.readBy(rd, sealedJob{store: m.store, pieces: list, sel: rd.selection, from: rd.searched}, fx)
}

// sealedJob reads events from sealed files.
type sealedJob struct {
	store  seg.StoreID
	pieces []piece
	sel    selection
	from   seg.Address // where the read goes on in the log
}

// Run takes what it can. It goes on behind damage, and the selection takes nothing from there.
func (j sealedJob) Run(fs seg.Files) any {
	result := readResult{sel: j.sel, upto: j.from}
	r, err := seg.NewSealedReader(fs, j.store)
	if err != nil {
		result.trouble = err
		return result
	}
	defer r.Close()
	var buf []byte
	for _, x := range j.pieces {
		if result.sel.done() || result.trouble != nil {
			break
		}
		var p []byte
		if p, result.trouble = r.Read(x.number, x.block, buf); result.trouble != nil {
			break
		}
		part := p[x.Start : x.Start+x.Length]
		if buf = nil; 2*len(part) < len(p) { // a few events must not keep a block in memory that others fill
			buf, part = p, bytes.Clone(part)
		}
		result.trouble = result.sel.take(seg.NewWalker(seg.Geometry{Align: 1}, j.store, part, 0, true))
	}
	return result
}

// seekSealed moves a read to where sealed files say that an event may be whose time is at or after an instant. It
// returns false where all that they hold from there on is older. What a file holds that cannot be read, nobody knows: a client's read stops
// there, and is not given later events in the place of those; one that looks for what has expired goes past it.
func (m *Machine) seekSealed(rd *read) (found bool) {
	s := rd.stream
	at, rest := rd.next, uint64(0) // rest is bytes of event data from the place on
	reach := func(to wire.Offset) {
		for at < to && !found {
			if lost, ok := s.lostAt(at); ok {
				at = lost.to
				continue
			}
			if found = !rd.only; found {
				rd.next = at
			}
			return
		}
	}
	m.layout.sections(s, rd.next, func(_ *seg.SealedIndex, x *seg.Section) bool {
		if x.First >= s.unsealed() {
			return false
		}
		reach(x.First)
		if !found && x.MaxTime >= rd.since {
			found, rd.next = true, x.First
		}
		if at = x.Next; found {
			rest += uint64(x.Data)
		}
		return true
	})
	reach(s.unsealed())
	if found {
		rd.passed = s.unsealedBefore() - min(rest, s.unsealedBefore())
	}
	return found
}
