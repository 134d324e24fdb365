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
	trouble  error // the first that jobs met, in what the read wants or beside it
	selection
}

// selection gathers the events of one read. It is a value that a job may carry along.
type selection struct {
	of        wire.StreamID
	next      wire.Offset // the next event to take
	end       wire.Offset // none from here on
	maxData   uint64      // stop once so many bytes of data are taken
	maxSize   int         // never take more encoded bytes than that
	maxEvents int
	data      uint64
	out       wire.EventRange
	full      bool // a limit has ended it
}

// maxReadSize leaves room in a frame for what surrounds the events.
const maxReadSize = wire.MaxPayload - 256

// read answers with the events from an offset on. Reading stops once max_bytes of data is reached.
func (m *Machine) read(r *Request, b *wire.ReadEvents, fx []Effect) []Effect {
	s := m.owned(r, b.Stream)
	if s == nil {
		return m.missing(r, b.Stream, fx)
	}
	if b.FromTimestamp.Set || b.Backward {
		return m.refuse(r, wire.InvalidRequest, s.lsn, fx, "reading from a timestamp or backward is not available yet; read forward from an offset")
	}
	rd := &read{req: r, stream: s, head: s.head, after: s.lsn, selection: selection{
		of: s.id, next: b.FromOffset, end: s.head, maxData: b.MaxBytes, maxSize: maxReadSize,
		maxEvents: int(b.MaxEvents.Or(wire.MaxPayload)),
	}}
	if s.lsn > m.log.durable {
		m.cfg.hit(ProbeReadUndurable)
	}
	if b.FromOffset >= s.head || b.MaxBytes == 0 || rd.maxEvents == 0 {
		m.cfg.hit(ProbeReadEmpty)
		return m.readReply(rd, fx)
	}
	return m.readOn(rd, fx)
}

// readOn takes what is in memory, or starts a job for what is not, until the read is full or at its end.
func (m *Machine) readOn(rd *read, fx []Effect) []Effect {
	for !rd.done() {
		if lost, ok := rd.stream.lostAt(rd.next); ok {
			return m.readStopped(rd, fx, "events %d to %d are lost: the log is damaged there; read on from %d", lost.from, lost.to-1, lost.to)
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
		if rd.next == before {
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

// readDisk starts a job that reads up to an address, from which on everything is in memory. Where too many are under way
// already, the read waits for one of them to end: every job holds a file open, and a client may ask for thousands.
func (m *Machine) readDisk(rd *read, upto seg.Address, fx []Effect) []Effect {
	if len(m.reads) >= m.cfg.MaxDiskReads {
		m.cfg.hit(ProbeReadWaitsForOthers)
		m.queued = append(m.queued, rd)
		return fx
	}
	index := rd.stream.locate(rd.next)
	if len(m.reads) == 0 {
		m.reads = map[JobID]*read{}
	}
	m.cfg.hit(ProbeReadFromDisk)
	m.stats.DiskReads++
	id, fx := m.start("read", readJob{
		geo: m.geo, store: m.store, from: rd.searched, upto: upto, sel: rd.selection,
		index: index[: len(index)-1 : len(index)-1], last: index[len(index)-1],
	}, fx)
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
	for _, e := range append(slices.Clip(j.index), j.last) {
		e.at = seg.Extent{Start: max(e.at.Start, j.from), End: min(e.at.End, j.upto)}
		if e.at.Start >= e.at.End || j.sel.done() {
			continue
		}
		p, err := r.Read(e.at)
		note(err)
		before := j.sel.next
		note(j.sel.take(seg.NewWalker(j.geo, j.store, p, e.at.Start, true)))
		if j.sel.next > before {
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
	fx = m.readOn(rd, fx)
	for len(m.queued) > 0 && len(m.reads) < m.cfg.MaxDiskReads {
		next := m.queued[0]
		m.queued = m.queued[1:]
		fx = m.readOn(next, fx)
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
	return m.refuse(rd.req, wire.DataCorrupted, rd.after, fx, format, args...)
}

// readFailed ends a read that the disk refused, in the same way.
func (m *Machine) readFailed(rd *read, fx []Effect) []Effect {
	if rd.out.Count > 0 {
		return m.readReply(rd, fx)
	}
	return m.refuse(rd.req, wire.StorageError, rd.after, fx, "the disk cannot be read at event %d: %v", rd.next, rd.trouble)
}

func (m *Machine) readReply(rd *read, fx []Effect) []Effect {
	if rd.full && rd.out.Count == rd.maxEvents {
		m.cfg.hit(ProbeReadCutByEvents)
	} else if rd.full {
		m.cfg.hit(ProbeReadCutByBytes)
	}
	b := &wire.ReadEventsReply{Events: rd.out, OldestOffset: rd.stream.oldest, HeadOffset: rd.head}
	if rd.out.Count > 0 {
		b.NextOffset = wire.Some(rd.next)
	}
	return m.reply(rd.req, b, rd.after, fx)
}

func (s *selection) done() bool { return s.full || s.next >= s.end }

// take adds the stream's events that a walk meets, in order from next on, until a limit is reached. It returns the
// first damage that it met; the walk went on behind it.
func (s *selection) take(w *seg.Walker) (damage error) {
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
		if r.Kind == seg.KindAppend && r.Stream == s.of && r.First+wire.Offset(r.Count) > s.next {
			if r.First > s.next {
				return damage // a hole lies between
			}
			s.record(&r)
		}
	}
	return damage
}

// record takes events of one append: the whole of it where that stays below every limit, else one by one.
func (s *selection) record(r *seg.Record) {
	p := r.Events()
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
