package engine

import (
	"errors"
	"slices"

	"github.com/kimberlitedb/kimberlite-go/engine/seg"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// read is a ReadEvents under way. It takes events from the log's newest part, which is in memory, or from the disk, for
// which a job runs and the machine goes on afterwards.
type read struct {
	req    *Request
	stream *stream
	head   wire.Offset // when it was decided; the reply says so, and no event from there on is read
	after  seg.LSN     // what must be durable before the reply
	// searched is where the read goes on in the log: jobs have taken what lies before it. It is where a batch begins.
	searched seg.Address
	sought   wire.Option[wire.Offset]                   // the last offset that a job looked for in sealed files
	trouble  error                                      // the first that jobs met, in what the read wants or beside it
	oldest   wire.Offset                                // the reply says so
	now      wire.Time                                  // as retention sees the engine clock, when it was decided
	cut      bool                                       // what had expired when it was decided is cut off, or could not be
	hidden   wire.Offset                                // no event before it is shown: they have expired
	noRoom   *wire.Error                                // why the log does not say so
	then     func(wire.ResponseBody, []Effect) []Effect // takes the outcome, where it is not for a client
	selection
}

// selection gathers the events of one read. It is a value that a job may carry along.
type selection struct {
	of        wire.StreamID
	next      wire.Offset // the next event to take
	low       wire.Offset // take none before it
	end       wire.Offset // none from here on
	maxData   uint64      // stop once so many bytes of data are taken
	maxSize   int         // never take more encoded bytes than that
	maxEvents int
	data      uint64
	out       wire.EventRange
	full      bool // a limit has ended it
	back      bool // newest first

	seeking   bool // pass over events until one is from since or later
	since     wire.Time
	only      bool      // end there
	passed    uint64    // bytes of the stream's event data before next, while seeking
	foundTime wire.Time // event time of the event that was sought
}

// maxReadSize leaves room in a frame for what surrounds the events.
const maxReadSize = wire.MaxPayload - 256

// read answers with the events from an offset on, or back from it. Reading stops once max_bytes of data is reached.
func (m *Machine) read(r *Request, b *wire.ReadEvents, fx []Effect) []Effect {
	s, fx := m.standing(r, b.Stream, fx)
	if s == nil {
		return fx
	}
	if s.lsn > m.log.durable {
		m.cfg.hit(ProbeReadUndurable)
	}
	rd := m.reading(s, b.FromOffset, b.MaxBytes)
	rd.req, rd.back, rd.maxEvents = r, b.Backward, int(b.MaxEvents.Or(wire.MaxPayload))
	if b.AsOf.Set {
		return m.readAsOf(rd, b.AsOf.Value, fx)
	}
	return m.startRead(rd, fx)
}

// reading returns a read of a stream as it is now.
func (m *Machine) reading(s *stream, from wire.Offset, maxData uint64) *read {
	return &read{stream: s, head: s.head, after: s.lsn, now: m.grain(), selection: selection{
		of: s.id, next: from, low: s.oldest, end: s.head, maxData: maxData, maxSize: maxReadSize, maxEvents: wire.MaxPayload,
	}}
}

// startRead begins a read, once what had expired when it was decided is cut off.
func (m *Machine) startRead(rd *read, fx []Effect) []Effect {
	s := rd.stream
	if s.deleted {
		return m.readEnd(rd, nil, fx)
	}
	if !rd.cut && m.overdue(s, rd.now) {
		m.cfg.hit(ProbeTrimAwaited)
		return m.trim(s, rd, fx)
	}
	rd.oldest, rd.after = max(rd.low, s.oldest), max(rd.after, s.lsn)
	rd.low = max(rd.oldest, rd.hidden)
	b := rd.req.Msg.Body.(*wire.ReadEvents)
	switch {
	case !rd.back && !rd.req.Msg.Features.RichEvents && rd.next < rd.low:
		m.cfg.hit(ProbeReadBelowOldest)
		return m.readRefused(rd, wire.InvalidOffset, fx, "offset %d is below the stream's oldest, %d, since retention removed what was before; read from there", rd.next, rd.low)
	case rd.maxData == 0 || rd.maxEvents == 0:
		return m.readNothing(rd, fx)
	case rd.low > rd.oldest && rd.next < rd.low:
		return m.readRefused(rd, rd.noRoom.Code, fx, "events before %d have expired, and there is no room to record that; read on from %d, or free space", rd.low, rd.low)
	case b.FromTimestamp.Set:
		return m.readSince(rd, b.FromTimestamp.Value, fx)
	case rd.back:
		return m.readBack(rd, fx)
	}
	if rd.next = max(rd.next, rd.low); rd.next >= rd.end {
		return m.readNothing(rd, fx)
	}
	return m.readOn(rd, fx)
}

func (m *Machine) readNothing(rd *read, fx []Effect) []Effect {
	m.cfg.hit(ProbeReadEmpty)
	return m.readReply(rd, fx)
}

// readSince starts a read at the first event that is from an instant or later; backward, at the one before that.
func (m *Machine) readSince(rd *read, since wire.Time, fx []Effect) []Effect {
	m.cfg.hit(ProbeReadSought)
	if !rd.back {
		if rd.next = max(rd.next, rd.low); rd.next >= rd.end {
			return m.readNothing(rd, fx)
		}
		rd.low = rd.next
		if m.seek(rd, since); rd.next >= rd.end {
			return m.readNothing(rd, fx)
		}
		return m.readOn(rd, fx)
	}
	sought := m.reading(rd.stream, rd.low, maxReadSize)
	sought.low, sought.end, sought.head, sought.only = rd.low, rd.end, rd.head, true
	m.seek(sought, since)
	sought.then = func(b wire.ResponseBody, fx []Effect) []Effect {
		if _, failed := b.(*wire.Error); failed {
			return m.readEnd(rd, b, fx)
		}
		if sought.next <= rd.low {
			return m.readNothing(rd, fx)
		}
		rd.next = min(rd.next, sought.next-1)
		return m.readBack(rd, fx)
	}
	return m.readOn(sought, fx)
}

// readOn takes what is in memory, or starts a job for what is not, until the read is full or at its end.
func (m *Machine) readOn(rd *read, fx []Effect) []Effect {
	for !rd.done() {
		if lost, ok := rd.stream.lostAt(rd.next); ok && rd.seeking && (rd.then != nil || lost.to <= rd.low) {
			rd.next = min(lost.to, rd.end) // what is lost has expired with what was before it
			continue
		} else if ok {
			return m.readStopped(rd, fx, "events %d to %d are lost: the log is damaged there; read on from %d", lost.from, lost.to-1, lost.to)
		}
		if rd.next < m.unsealed(rd.stream) {
			return m.readSealed(rd, fx)
		}
		before := rd.next
		for _, e := range rd.stream.locate(rd.next) {
			at := seg.Extent{Start: max(e.at.Start, rd.searched), End: e.at.End}
			batches, from := m.log.inMemory(at.Start)
			if at.Start < min(at.End, from) {
				return m.readDisk(rd, from, fx)
			}
			if rd.fromMemory(m, at, batches); rd.done() {
				break
			}
			if _, gap := rd.stream.lostAt(rd.next); gap {
				break
			}
		}
		if rd.next == before && !rd.done() {
			return m.readMissed(rd, fx)
		}
	}
	return m.readReply(rd, fx)
}

// fromMemory takes what lies in an extent, which the batches hold.
func (rd *read) fromMemory(m *Machine, at seg.Extent, batches []*batch) {
	m.cfg.hit(ProbeReadFromMemory)
	for i, b := range batches {
		from, to := max(at.Start, b.at+seg.BatchHeader), min(at.End, b.end())
		if b.at >= at.End || rd.done() {
			return
		}
		if i > 0 {
			m.cfg.hit(ProbeReadAcrossBatches)
		}
		if from < to {
			rd.take(seg.NewWalker(m.geo, m.store, b.buf[from-b.at:to-b.at], from, false))
		}
	}
}

// readDisk starts a job that reads up to an address, from which on everything is in memory.
func (m *Machine) readDisk(rd *read, upto seg.Address, fx []Effect) []Effect {
	if m.waits(rd) {
		return fx
	}
	index := rd.stream.locate(rd.next)
	if rd.back {
		index = rd.stream.index[:len(rd.stream.index)-len(index)+1]
	}
	m.cfg.hit(ProbeReadFromDisk)
	return m.readBy(rd, readJob{
		geo: m.geo, store: m.store, from: rd.searched, upto: upto, sel: rd.selection,
		index: index[: len(index)-1 : len(index)-1], last: index[len(index)-1],
	}, fx)
}

// waits has a read wait for another one to end where too many are at the disk: every job holds a file open, and a client
// may ask for thousands.
func (m *Machine) waits(rd *read) bool {
	if len(m.reads) < m.cfg.MaxDiskReads {
		return false
	}
	m.cfg.hit(ProbeReadWaitsForOthers)
	m.queued = append(m.queued, rd)
	return true
}

// readBy starts a job for a read. Until it ends, no file that it may use is removed.
func (m *Machine) readBy(rd *read, job Job, fx []Effect) []Effect {
	if len(m.reads) == 0 {
		m.reads = map[JobID]*read{}
	}
	m.stats.DiskReads++
	id, fx := m.start("read", job, fx)
	m.reads[id] = rd
	return fx
}

// readJob reads events from log segments.
type readJob struct {
	geo   seg.Geometry
	store seg.StoreID
	index []entry     // elements that never change
	last  entry       // the index's last element, which may
	from  seg.Address // nothing before it
	upto  seg.Address // nothing from here on
	sel   selection
}

type readResult struct {
	sel     selection
	upto    seg.Address // the job's
	trouble error       // the first that it met
	across  bool        // it took events from more than one segment
}

// Run takes what it can. What is damaged or cannot be read may be other events than those asked for, so the job goes on
// behind it, and the machine sees whether any of its own are missing.
func (j readJob) Run(fs seg.Files) any {
	r := seg.NewReader(fs, j.geo)
	defer r.Close()
	result := readResult{upto: j.upto}
	var from seg.Address // of the extent that events were taken from last
	note := func(err error) {
		if result.trouble == nil {
			result.trouble = err
		}
	}
	list := append(slices.Clip(j.index), j.last)
	if j.sel.back {
		slices.Reverse(list)
	}
	for _, e := range list {
		e.at = seg.Extent{Start: max(e.at.Start, j.from), End: min(e.at.End, j.upto)}
		if e.at.Start >= e.at.End || j.sel.done() {
			continue
		}
		p, err := r.Read(e.at)
		note(err)
		before := j.sel.next
		note(j.sel.take(seg.NewWalker(j.geo, j.store, p, e.at.Start, true)))
		if j.sel.next != before {
			result.across = result.across || from != 0 && j.geo.Segment(from) != j.geo.Segment(e.at.Start)
			from = e.at.Start
		}
	}
	result.sel = j.sel
	return result
}

// readDone goes on with a read whose job has come back, and with those that waited for that.
func (m *Machine) readDone(id JobID, r readResult, fx []Effect) []Effect {
	rd := m.reads[id]
	delete(m.reads, id)
	rd.selection, rd.searched = r.sel, r.upto
	if r.across {
		m.cfg.hit(ProbeReadAcrossSegments)
	}
	if rd.trouble == nil {
		rd.trouble = r.trouble
	}
	if rd.back {
		fx = m.readBackDone(rd, fx)
	} else {
		fx = m.readOn(rd, fx)
	}
	for len(m.queued) > 0 && len(m.reads) < m.cfg.MaxDiskReads {
		next := m.queued[0]
		m.queued = m.queued[1:]
		if next.back {
			fx = m.readBack(next, fx)
		} else {
			fx = m.readOn(next, fx)
		}
	}
	return fx
}

// readMissed ends a read that has found all there is before its end.
func (m *Machine) readMissed(rd *read, fx []Effect) []Effect {
	switch {
	case rd.trouble == nil:
		return m.readStopped(rd, fx, "event %d is not where the index says; run `kimberlite doctor` on the data directory", rd.next)
	case errors.Is(rd.trouble, seg.ErrDamaged):
		return m.readStopped(rd, fx, "event %d is damaged on disk; run `kimberlite doctor` on the data directory", rd.next)
	}
	return m.readFailed(rd, fx)
}

// readStopped ends a read at damage: with what was read before it, or with DataCorrupted where that is nothing.
func (m *Machine) readStopped(rd *read, fx []Effect, format string, args ...any) []Effect {
	m.cfg.hit(ProbeReadDamaged)
	if rd.out.Count > 0 {
		return m.readReply(rd, fx)
	}
	return m.readRefused(rd, wire.DataCorrupted, fx, format, args...)
}

func (m *Machine) readRefused(rd *read, c wire.Code, fx []Effect, format string, args ...any) []Effect {
	return m.readEnd(rd, wire.Errorf(c, format, args...), fx)
}

// readFailed ends a read that the disk refused, in the same way.
func (m *Machine) readFailed(rd *read, fx []Effect) []Effect {
	if rd.out.Count > 0 {
		return m.readReply(rd, fx)
	}
	return m.readRefused(rd, wire.StorageError, fx, "the disk cannot be read at event %d: %v", rd.next, rd.trouble)
}

func (m *Machine) readReply(rd *read, fx []Effect) []Effect {
	if rd.full && rd.out.Count == rd.maxEvents {
		m.cfg.hit(ProbeReadCutByEvents)
	} else if rd.full && !rd.only {
		m.cfg.hit(ProbeReadCutByBytes)
	}
	b := &wire.ReadEventsReply{Events: rd.out, OldestOffset: rd.oldest, HeadOffset: rd.head}
	if rd.out.Count > 0 && !(rd.back && rd.next+1 == rd.oldest) {
		b.NextOffset = wire.Some(rd.next)
	}
	return m.readEnd(rd, b, fx)
}

// readEnd hands the outcome of a read to whoever wants it. What is deleted by now is told to nobody.
func (m *Machine) readEnd(rd *read, b wire.ResponseBody, fx []Effect) []Effect {
	if rd.then != nil {
		return rd.then(b, fx)
	}
	if s := rd.stream; s.deleted {
		m.cfg.hit(ProbeReadDeletedMeanwhile)
		return m.gone(rd.req, s, max(rd.after, s.lsn), fx)
	}
	return m.reply(rd.req, b, rd.after, fx)
}

// done reports whether a selection has all that it wants. A backward one is below its lowest event at the end: that may
// be before 0.
func (s *selection) done() bool {
	if s.back {
		return s.full || s.next+1 == s.low
	}
	return s.full || s.next >= s.end
}

// take adds the stream's events that a walk meets, from next on in the selection's direction, until a limit is reached. It
// returns damage that it met; the walk went on behind it.
func (s *selection) take(w *seg.Walker) error {
	if s.back {
		return s.takeBack(w)
	}
	return s.takeOn(w)
}

func (s *selection) takeOn(w *seg.Walker) (damage error) {
	var r seg.Record
	for !s.done() {
		ok, err := w.Next(&r)
		if err != nil {
			damage = err
			continue
		}
		if !ok {
			return damage
		}
		if events := s.events(&r); events != nil && r.First+wire.Offset(r.Count) > s.next {
			if r.First > s.next {
				return damage // a hole lies between
			}
			s.record(&r, events)
		}
	}
	return damage
}

// events returns the encoded events that a record adds to the stream, nil where it adds none.
func (s *selection) events(r *seg.Record) []byte {
	if r.Kind == seg.KindAppend && r.Stream == s.of {
		return r.Events()
	}
	if s.of >= systemStreams && s.of == auditStream(r.Tenant) {
		if event, _, ok := r.AuditEvent(); ok {
			return event
		}
	}
	return nil
}

// pass passes over the events of a record that are not from the instant that is sought, or later.
func (s *selection) pass(r *seg.Record, p []byte) {
	for range s.next - r.First {
		_, p, _ = wire.NextEvent(p)
	}
	for len(p) > 0 && s.next < s.end {
		e, rest, ok := wire.NextEvent(p)
		if !ok {
			return
		}
		if s.next >= s.low && e.Timestamp >= s.since {
			s.seeking, s.full, s.foundTime = false, s.only, e.Timestamp
			return
		}
		s.passed += uint64(len(e.Data))
		s.next++
		p = rest
	}
}

// record takes events of one append: the whole of it where that stays below every limit, else one by one.
func (s *selection) record(r *seg.Record, p []byte) {
	if s.seeking {
		if s.pass(r, p); s.seeking || s.full {
			return
		}
	}
	skip := s.next - r.First
	for range skip {
		_, p, _ = wire.NextEvent(p)
	}
	n := int(r.Count) - int(skip)
	data := uint64(len(p) - n*wire.EventOverhead)
	if s.data+data < s.maxData && s.out.Size+len(p) <= s.maxSize && s.out.Count+n < s.maxEvents && s.next+wire.Offset(n) <= s.end {
		s.add(p, n, data)
		return
	}
	rest, taken := p, 0
	data = 0
	for taken < n && !s.full && s.next+wire.Offset(taken) < s.end {
		e, after, _ := wire.NextEvent(rest)
		used := len(p) - len(after)
		if s.out.Count > 0 || taken > 0 {
			if s.out.Size+used > s.maxSize {
				s.full = true
				break
			}
		}
		taken, rest = taken+1, after
		data += uint64(len(e.Data))
		s.full = s.data+data >= s.maxData || s.out.Count+taken >= s.maxEvents
	}
	s.add(p[:len(p)-len(rest):len(p)-len(rest)], taken, data)
}

func (s *selection) add(p []byte, n int, data uint64) {
	if n > 0 {
		s.out.Add(p, n)
		s.data += data
		s.next += wire.Offset(n)
	}
}
