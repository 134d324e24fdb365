package engine

import (
	"encoding/binary"
	"fmt"

	"github.com/kimberlitedb/kimberlite-go/engine/seg"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// append appends a batch of events to a stream, all or nothing, in order.
func (m *Machine) append(r *Request, b *wire.AppendEvents, fx []Effect) []Effect {
	s := m.owned(r, b.Stream)
	switch {
	case s == nil:
		return m.missing(r, b.Stream, fx)
	case s.system():
		return m.denied(r, s, fx)
	case s.deleted:
		return m.gone(r, s, s.lsn, fx)
	}
	size, why := m.measure(b)
	if why != "" {
		return m.refuse(r, wire.InvalidRequest, s.lsn, fx, "%s", why)
	}
	if s.tenant.health != sound {
		return m.readOnly(r, s.tenant, fx)
	}
	if fx, done := m.again(r, b, s, fx); done {
		return fx
	}
	if b.ExpectOffset.Set && b.ExpectOffset.Value != s.head {
		return m.mismatch(r, b, s, fx)
	}
	if b.IdempotencyKey.Set {
		if e := m.limit(); e != nil {
			return m.reply(r, e, s.lsn, fx)
		}
	}
	n := seg.AppendOverhead(b.IdempotencyKey.Set) + size
	if e := m.noRoom(n, data); e != nil {
		return m.reply(r, e, s.lsn, fx)
	}
	if m.log.flying != nil {
		m.cfg.hit(ProbeAppendWaitsForSync)
	}
	first := s.head
	m.logAppend(s, b, n)
	if s.oldest == first {
		m.watch(s)
	}
	m.stats.Appends++
	m.stats.Events += uint64(len(b.Events))
	m.stats.EventBytes += uint64(size - len(b.Events)*wire.EventOverhead)
	slot := m.slot(r)
	slot.appended = wire.AppendEventsReply{
		FirstOffset: first, Count: uint32(len(b.Events)), Timestamp: m.clock.now, Position: s.tenant.position,
	}
	slot.reply.Msg.Body = &slot.appended
	return m.after(m.state.lsn, &slot.reply, fx)
}

// measure returns the size of the encoded events, or what is wrong with the request.
func (m *Machine) measure(b *wire.AppendEvents) (size int, why string) {
	switch n := len(b.Events); {
	case n == 0:
		return 0, "the batch is empty; append at least one event"
	case n > m.cfg.MaxBatchEvents:
		return 0, fmt.Sprintf("the batch has %d events; at most %d are allowed, so split it", n, m.cfg.MaxBatchEvents)
	case b.Timestamps.Set && len(b.Timestamps.Value) != n:
		return 0, fmt.Sprintf("the batch has %d events and %d timestamps; give one for each event, or none", n, len(b.Timestamps.Value))
	}
	for _, e := range b.Events {
		size += len(e)
	}
	if size > m.cfg.MaxBatchBytes {
		return 0, fmt.Sprintf("the batch has %d bytes; at most %d are allowed, so split it", size, m.cfg.MaxBatchBytes)
	}
	limit := m.clock.now + wire.Time(m.cfg.FutureLimit)
	for i, t := range b.Timestamps.Value {
		if t > limit {
			return 0, fmt.Sprintf("the timestamp of event %d is %d, more than %d hours ahead of the server's clock; timestamps are nanoseconds since 1970",
				i, t, m.cfg.FutureLimit/Hour)
		}
	}
	return size + len(b.Events)*wire.EventOverhead, ""
}

// mismatch refuses an append that expected another head. The refusal waits until the append that moved the head is
// durable.
func (m *Machine) mismatch(r *Request, b *wire.AppendEvents, s *stream, fx []Effect) []Effect {
	m.stats.OffsetMismatches++
	m.cfg.hit(ProbeOffsetMismatch)
	if s.lsn > m.log.durable {
		m.cfg.hit(ProbeMismatchOnUndurable)
	}
	return m.reply(r, &wire.Error{
		Code:          wire.OffsetMismatch,
		Message:       fmt.Sprintf("expected %d, is %d", b.ExpectOffset.Value, s.head),
		CurrentOffset: wire.Some(s.head),
	}, s.lsn, fx)
}

// logAppend puts the events into the log, in the layout in which they will be read, and applies them.
func (m *Machine) logAppend(s *stream, b *wire.AppendEvents, n int) {
	rec := seg.Record{
		Kind: seg.KindAppend, Tenant: s.tenant.id, Stream: s.id, Position: s.tenant.position + 1,
		First: s.head, Count: uint32(len(b.Events)),
	}
	if b.IdempotencyKey.Set {
		rec.Flags |= seg.FlagKey
	}
	if b.Timestamps.Set {
		rec.Flags |= seg.FlagTimed
	}
	batch, start := m.beginRecord(&rec, n)
	p := batch.buf
	p = binary.LittleEndian.AppendUint64(p, m.rng.Uint64())
	p = binary.LittleEndian.AppendUint64(p, m.rng.Uint64())
	if b.IdempotencyKey.Set {
		p = append(p, b.IdempotencyKey.Value[:]...)
	}
	t := rec.Commit
	for i, e := range b.Events {
		if b.Timestamps.Set {
			t = b.Timestamps.Value[i]
		}
		p = wire.AppendEvent(p, rec.First+wire.Offset(i), e, t)
	}
	batch.buf = p
	m.finishRecord(&rec, batch, start)
}

func (s *state) applyAppend(r *seg.Record, at seg.Extent, geo seg.Geometry) error {
	events := r.Events()
	if _, _, ok := wire.NextEvent(events); r.Count == 0 || !ok {
		return fmt.Errorf("%w: append without events", errMisfit)
	}
	t, err := s.advance(r)
	if err != nil {
		return err
	}
	x, err := s.known(r, t)
	if err != nil {
		return err
	}
	if err := s.follows(x, r.First); err != nil {
		return err
	}
	x.extend(r, events, at, geo)
	if x == t.sql {
		if err := t.applyForgetting(r); err != nil {
			return err
		}
		if r.Flags&seg.FlagMakes != 0 {
			t.claimName(r)
		}
	}
	if r.Flags&seg.FlagKey != 0 {
		s.remember(x, r)
	}
	return nil
}

// follows checks that an offset is the next of a stream, or a later one where a hole in the log may have swallowed some.
func (s *state) follows(x *stream, first wire.Offset) error {
	if first != x.head && (!s.holed || first < x.head) {
		return fmt.Errorf("%w: offset %d of stream %d after %d", errMisfit, first, x.id, x.head)
	}
	return nil
}

// extend adds the encoded events of a record, of which there is at least one, to a stream.
func (s *stream) extend(r *seg.Record, events []byte, at seg.Extent, geo seg.Geometry) {
	if r.First > s.head {
		s.lost = append(s.lost, span{s.head, r.First})
	}
	first, rest, _ := wire.NextEvent(events)
	if s.oldest == r.First {
		s.firstTime = first.Timestamp
	}
	latest, size := first.Timestamp, uint64(len(first.Data))
	for e, ok := first, true; len(rest) > 0; {
		if e, rest, ok = wire.NextEvent(rest); !ok {
			break
		}
		latest, size = max(latest, e.Timestamp), size+uint64(len(e.Data))
	}
	s.note(r.First, latest, at, geo)
	s.lastTime = wire.LastEventTime(events)
	s.head = r.First + wire.Offset(r.Count)
	s.bytes += size
	s.lsn = r.LSN
}

// note adds a record to the index: to its last entry, while that stays short and within its segment.
func (s *stream) note(first wire.Offset, latest wire.Time, at seg.Extent, geo seg.Geometry) {
	if n := len(s.index); n > 0 {
		last := &s.index[n-1]
		latest = max(latest, last.latest)
		if at.End-last.at.Start <= entrySpan && geo.Segment(at.Start) == geo.Segment(last.at.Start) {
			last.at.End, last.latest = at.End, latest
			return
		}
	}
	s.index = append(s.index, entry{first, s.bytes, latest, at})
}
