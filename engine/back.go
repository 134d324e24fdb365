package engine

import (
	"slices"

	"github.com/kimberlitedb/kimberlite-go/engine/seg"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// A backward read takes the newest events first. It looks through the pieces of the log from the last that matters to the
// first, each from its beginning, since records can be found in that direction only. What is in memory comes before what is
// on disk, so that one job ends the read.

// readBack takes what is in memory and starts a job for the rest.
func (m *Machine) readBack(rd *read, fx []Effect) []Effect {
	m.cfg.hit(ProbeReadBackward)
	if rd.next = min(rd.next, rd.end-1); rd.end == 0 || rd.next < rd.low || rd.low == rd.end {
		return m.readNothing(rd, fx)
	}
	if rd.next < m.unsealed(rd.stream) {
		return m.readBackDone(rd, fx)
	}
	index := rd.stream.index
	index = index[:len(index)-max(0, len(rd.stream.locate(rd.next))-1)]
	memory := seg.Address(0) // everything from here on is in memory
	for i := len(index) - 1; i >= 0 && !rd.done(); i-- {
		at := index[i].at
		var batches []*batch
		batches, memory = m.log.inMemory(at.Start)
		if at.End <= memory {
			break
		}
		at.Start = max(at.Start, memory)
		rd.backFromMemory(m, at, batches)
		if at.Start > index[i].at.Start {
			break
		}
	}
	if _, lost := rd.stream.lostAt(rd.next); rd.done() || lost || len(index) == 0 || index[0].at.Start >= memory {
		return m.readBackDone(rd, fx)
	}
	return m.readDisk(rd, memory, fx)
}

// backFromMemory takes what lies in an extent, which the batches hold, newest first.
func (rd *read) backFromMemory(m *Machine, at seg.Extent, batches []*batch) {
	m.cfg.hit(ProbeReadFromMemory)
	for _, b := range slices.Backward(batches) {
		from, to := max(at.Start, b.at+seg.BatchHeader), min(at.End, b.end())
		if from < to && !rd.done() {
			rd.take(seg.NewWalker(m.geo, m.store, b.buf[from-b.at:to-b.at], from, false))
		}
	}
}

// readBackDone ends a backward read when everything that could hold its events was looked through.
func (m *Machine) readBackDone(rd *read, fx []Effect) []Effect {
	if rd.done() {
		return m.readReply(rd, fx)
	}
	if lost, ok := rd.stream.lostAt(rd.next); ok {
		return m.readStopped(rd, fx, "events %d to %d are lost: the log is damaged there", lost.from, lost.to-1)
	}
	if rd.next < m.unsealed(rd.stream) {
		return m.readSealed(rd, fx)
	}
	return m.readMissed(rd, fx)
}

// takeBack adds the stream's events that a walk meets, last first, from next on down, until a limit is reached or one is
// missing. It returns the first damage that it met.
func (s *selection) takeBack(w *seg.Walker) (damage error) {
	var list []seg.Record
	for {
		var r seg.Record
		ok, err := w.Next(&r)
		if err != nil {
			if damage == nil {
				damage = err
			}
			continue
		}
		if !ok {
			break
		}
		if s.events(&r) != nil && r.First <= s.next && r.First+wire.Offset(r.Count) > s.low {
			list = append(list, r)
		}
	}
	for i := len(list) - 1; i >= 0 && !s.done(); i-- {
		if list[i].First+wire.Offset(list[i].Count) <= s.next {
			break // what is between is missing
		}
		s.recordBack(&list[i])
	}
	return damage
}

// recordBack takes events of one record, last first.
func (s *selection) recordBack(r *seg.Record) {
	var list [][]byte
	p := s.events(r)
	for o := r.First; len(p) > 0 && o <= s.next; o++ {
		_, rest, ok := wire.NextEvent(p)
		if !ok {
			break
		}
		if o >= s.low {
			n := len(p) - len(rest)
			list = append(list, p[:n:n])
		}
		p = rest
	}
	for _, e := range slices.Backward(list) {
		if s.full {
			return
		}
		if s.out.Count > 0 && s.out.Size+len(e) > s.maxSize {
			s.full = true
			return
		}
		s.out.Add(e, 1)
		s.data += uint64(len(e) - wire.EventOverhead)
		s.next--
		s.full = s.data >= s.maxData || s.out.Count >= s.maxEvents
	}
}
