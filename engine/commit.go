package engine

import (
	"errors"
	"fmt"
	"sort"

	"github.com/kimberlitedb/kimberlite-go/engine/seg"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// commit is the group commit. Records gather in the open batch. Where nothing is being written, the end of a group of
// requests closes the batch and writes it; otherwise it grows until the sync in flight is done. One write is in flight
// at any time, so that a crash can tear the last batch only. Replies wait in the batch that they depend on.
//
// The same batches are the log's newest part in memory, from which reads are served.
type commit struct {
	geo     seg.Geometry
	store   seg.StoreID
	next    seg.Address // where the next batch begins, unless its segment has no room
	last    uint64      // the last segment that is prepared
	durable seg.LSN     // everything up to here is on stable storage
	marked  seg.LSN     // what is durable according to a header that is durable itself; marked <= durable

	open    *batch    // gathers; holds at least one record where not nil
	closed  []*batch  // wait for the disk, in order
	flying  *batch    // being written
	backlog int       // bytes in those three
	wrote   wire.Time // monotonic time of the last write

	preparing  bool        // a job makes a part of the next segment
	preparedTo int64       // how far the next segment is made, in bytes
	prepareDue seg.Address // where the log gets to before the next part is made
	prepareErr error       // why the last one failed
	hurried    bool        // the next part is made at once
	retryAt    wire.Time   // monotonic; not before then again

	memory      []*batch // the newest batches, ascending, the three above included
	memoryBytes int
}

// batch is one batch. Its bytes are only ever appended to, and never touched once it is being written, but for its
// header, which no reader looks at.
type batch struct {
	at      seg.Address
	first   seg.LSN
	count   uint32
	buf     []byte  // header, then records
	covered seg.LSN // the durable LSN in its header, once written
	waiting []Effect

	additions []addition      // in order, to streams with an audience
	awaited   []*subscription // that wait until it is durable
	groups    []*group        // the same
}

func (b *batch) last() seg.LSN    { return b.first + seg.LSN(b.count) - 1 }
func (b *batch) end() seg.Address { return b.at + seg.Address(len(b.buf)) }

// grow makes room for n more bytes, and for a batch's padding.
func (b *batch) grow(n int) {
	if need := len(b.buf) + n; need > cap(b.buf) {
		b.buf = append(make([]byte, 0, max(need, 2*cap(b.buf))), b.buf...)
	}
}

// after emits an effect once everything up to an LSN is durable.
func (m *Machine) after(lsn seg.LSN, e Effect, fx []Effect) []Effect {
	l := &m.log
	if lsn <= l.durable {
		return append(fx, e)
	}
	b := l.holding(lsn)
	b.waiting = append(b.waiting, e)
	return fx
}

// wanted reports whether anybody waits for what was decided and is not being written.
func (l *commit) wanted() bool {
	b := l.open
	return len(l.closed) > 0 || b != nil && len(b.waiting)+len(b.additions)+len(b.awaited)+len(b.groups) > 0
}

// holding returns the batch that an LSN is in, which is decided and not durable.
func (l *commit) holding(lsn seg.LSN) *batch {
	b := l.flying
	if l.open != nil && lsn >= l.open.first {
		return l.open
	}
	for _, c := range l.closed {
		if lsn >= c.first {
			b = c
		}
	}
	return b
}

// maxAdmin is more than what the entries of one request other than an append may take: names are limited.
const maxAdmin = 16 << 10

// purpose says what an entry is for. The last stretch of the space that is prepared is kept for what frees space, and for
// what must be told: deletions, retention, holds and their releases, audit.
type purpose uint8

const (
	data purpose = iota
	admin
)

// reserve returns how many bytes of the last prepared segment are kept.
func (l *commit) reserve() int64 { return l.geo.Up(min(256<<10, l.geo.SegmentSize/16)) }

// maxEntry returns the most bytes that the entries of one request may take.
func (m *Machine) maxEntry() int {
	n := m.cfg.MaxBatchBytes + m.cfg.MaxBatchEvents*wire.EventOverhead + seg.AppendOverhead(true)
	return min(max(n, maxAdmin+m.geo.Align), m.geo.MaxRecords())
}

// short reports that a record of n bytes would have to wait for the next segment, which is on its way.
func (l *commit) short(n int) bool { return l.prepareErr == nil && !l.fits(n, data) }

// fits reports whether a record of n bytes has room in segments that exist.
func (l *commit) fits(n int, p purpose) bool {
	at := l.next
	if l.open != nil {
		at = l.open.at + seg.Address(l.geo.BatchSize(len(l.open.buf)-seg.BatchHeader))
	}
	kept := int64(0)
	if p == data {
		kept = l.reserve()
	}
	return l.geo.Segment(at) < l.last || l.left(at) >= l.geo.BatchSize(n)+kept
}

// left returns the bytes from an address to the end of its segment; none where the segment is not prepared.
func (l *commit) left(at seg.Address) int64 {
	if l.geo.Segment(at) > l.last {
		return 0
	}
	return l.geo.SegmentSize - l.geo.Offset(at)
}

// begin returns the batch that takes a record of n bytes, for which fits holds, and counts the record.
func (m *Machine) begin(n int) *batch {
	l := &m.log
	if b := l.open; b != nil {
		size := len(b.buf) - seg.BatchHeader + n
		if len(b.buf)+n <= m.cfg.MaxBatch && l.left(b.at) >= l.geo.BatchSize(size) {
			return b
		}
		m.closeBatch()
		m.cfg.hit(ProbeBatchClosedBehindSync)
	}
	if l.left(l.next) < l.geo.BatchSize(n) {
		l.next = l.geo.First(l.geo.Segment(l.next) + 1)
		m.cfg.hit(ProbeBatchRollsSegment)
	} else if l.geo.Offset(l.next) == 0 {
		l.next = l.geo.First(l.geo.Segment(l.next))
	}
	size := l.geo.BatchSize(n)
	if k := len(l.memory); k > 0 {
		size = max(size, int64(len(l.memory[k-1].buf))) // the last one is a good guess
	}
	l.open = &batch{at: l.next, first: m.state.lsn + 1, buf: make([]byte, seg.BatchHeader, size)}
	l.memory = append(l.memory, l.open)
	return l.open
}

// closeBatch ends the open batch and queues it for the disk.
func (m *Machine) closeBatch() {
	l := &m.log
	l.next = l.open.at + seg.Address(l.geo.BatchSize(len(l.open.buf)-seg.BatchHeader))
	l.closed = append(l.closed, l.open)
	l.open = nil
}

// endBatch writes what was decided, unless a sync is in flight.
func (m *Machine) endBatch(fx []Effect) []Effect {
	if m.log.flying != nil {
		return fx
	}
	return m.write(fx)
}

// write sends the next batch to the disk, if there is one.
func (m *Machine) write(fx []Effect) []Effect {
	l := &m.log
	if len(l.closed) == 0 {
		if l.open == nil {
			return fx
		}
		m.closeBatch()
	}
	l.flying, l.closed = l.closed[0], l.closed[1:]
	fx = m.snapshotIfDue(fx)
	fx = m.put(l.flying, fx)
	return m.prepare(fx)
}

// put seals a batch and emits its Write and Sync.
func (m *Machine) put(b *batch, fx []Effect) []Effect {
	l := &m.log
	records := len(b.buf) - seg.BatchHeader
	size := int(l.geo.BatchSize(records))
	b.covered = l.durable
	l.memoryBytes += size
	l.backlog += size - records
	seg.PutBatch(b.buf, m.store, &seg.Batch{
		Address: b.at, First: b.first, Count: b.count, Length: uint32(records), Durable: l.durable, Clock: int64(m.clock.now),
	})
	n := len(b.buf)
	b.grow(size - n)
	if cap(b.buf) > 2*size { // it stays in memory for long
		b.buf = append(make([]byte, 0, size), b.buf...)
	}
	b.buf = b.buf[:size]
	clear(b.buf[n:])
	l.wrote = m.clock.mono
	m.stats.Batches++
	m.stats.BatchBytes += uint64(size)
	return append(fx, &Write{At: b.at, Data: b.buf, Upto: b.last()}, &Sync{Upto: b.last()})
}

// synced releases what waited for the batch in flight and writes the next one.
func (m *Machine) synced(c Synced, fx []Effect) []Effect {
	l := &m.log
	b := l.flying
	if b == nil || c.Upto != b.last() {
		panic("engine: synced what was not being written")
	}
	l.durable, l.marked, l.flying = b.last(), b.covered, nil
	l.backlog -= len(b.buf)
	fx = append(fx, b.waiting...)
	b.waiting = nil
	fx = m.publish(b, m.write(fx))
	m.forget()
	return m.endBatch(fx) // retention may have moved
}

// forget drops the oldest batches from memory until the rest fits its budget.
func (m *Machine) forget() {
	l := &m.log
	n := 0
	for ; l.memoryBytes > m.cfg.Cache && n < len(l.memory) && l.memory[n].last() <= l.durable && l.memory[n] != l.flying; n++ {
		l.memoryBytes -= len(l.memory[n].buf)
		l.memory[n] = nil
	}
	l.memory = l.memory[n:]
}

// mark writes a commit mark into a log that has been idle: everything is durable, and a later recovery shall know.
func (m *Machine) mark(fx []Effect) []Effect {
	l := &m.log
	idle := l.flying == nil && l.open == nil
	if !idle || l.marked == l.durable || wire.Span(m.clock.mono-l.wrote) < m.cfg.MarkAfter || !l.fits(0, admin) {
		return fx
	}
	m.cfg.hit(ProbeCommitMark)
	m.stats.Marks++
	m.begin(0)
	return m.write(fx)
}

// beginRecord makes room for a record of n bytes, for which fits holds, and writes its header into the open batch. The
// caller appends the body to the batch and calls finishRecord with the same batch and start.
func (m *Machine) beginRecord(r *seg.Record, n int) (b *batch, start int) {
	if r.LSN = m.state.lsn + 1; r.Flags&seg.FlagRestored == 0 {
		r.Commit = m.clock.now
	}
	b = m.begin(n)
	b.grow(n)
	start = len(b.buf)
	b.buf = seg.BeginRecord(b.buf, r)
	return b, start
}

// finishRecord completes the record and applies it.
func (m *Machine) finishRecord(r *seg.Record, b *batch, start int) {
	seg.FinishRecord(b.buf, start)
	b.count++
	m.log.backlog += len(b.buf) - start
	r.Body = b.buf[start+seg.RecordHeader : len(b.buf) : len(b.buf)]
	at := seg.Extent{Start: b.at + seg.Address(start), End: b.end()}
	if err := m.state.apply(r, at, m.geo); err != nil {
		panic("engine: an entry just decided does not apply: " + err.Error())
	}
	m.addTo(b, r, start)
}

// inMemory returns the batches in memory that hold bytes at or behind an address, and the address from which on
// everything is in memory.
func (l *commit) inMemory(at seg.Address) ([]*batch, seg.Address) {
	if len(l.memory) == 0 {
		return nil, l.next
	}
	i := sort.Search(len(l.memory), func(i int) bool { return l.memory[i].end() > at })
	return l.memory[i:], l.memory[0].at
}

// prepareJob makes a part of a log segment.
type prepareJob struct {
	geo      seg.Geometry
	store    seg.StoreID
	number   uint64
	from, to int64
}

type prepareResult struct {
	to  int64
	err error
}

func (j prepareJob) Run(fs seg.Files) any {
	return prepareResult{j.to, seg.PreparePiece(fs, j.geo, j.store, j.number, j.from, j.to)}
}

const (
	// prepareRetry is how long the machine waits before it tries again to make a segment.
	prepareRetry = Second
	// preparePieces is into how many parts the making of a segment is cut. A sync of the log that comes while one is
	// made waits for no more than that one.
	preparePieces = 64
)

// prepare keeps one segment ready ahead of the one in use. It makes it in parts, each when the log has grown by half as
// much, so that the disk is busy with it evenly, and done when half of the segment in use is left; or at once where
// requests wait for it.
func (m *Machine) prepare(fx []Effect) []Effect {
	l := &m.log
	if l.preparing || m.geo.Segment(l.next) < l.last || (l.prepareErr != nil && m.clock.mono < l.retryAt) {
		return fx
	}
	if l.preparedTo > 0 && l.next < l.prepareDue && l.prepareErr == nil && !l.hurried && l.fits(m.maxEntry(), data) {
		return fx
	}
	piece := m.geo.Up(max(1, m.geo.SegmentSize/preparePieces))
	to := min(l.preparedTo+piece, m.geo.SegmentSize)
	l.preparing, l.prepareDue = true, l.next+seg.Address(piece/2)
	_, fx = m.start("prepare-segment", prepareJob{m.geo, m.store, l.last + 1, l.preparedTo, to}, fx)
	return fx
}

func (m *Machine) prepared(r prepareResult, fx []Effect) []Effect {
	l := &m.log
	l.preparing = false
	if r.err != nil {
		l.prepareErr, l.retryAt, l.preparedTo = r.err, m.clock.mono+wire.Time(prepareRetry), 0
		return fx
	}
	if l.preparedTo = r.to; r.to == m.geo.SegmentSize {
		if l.prepareErr != nil {
			m.cfg.hit(ProbeStorageHealed)
		}
		l.prepareErr, l.preparedTo = nil, 0
		l.last++
	}
	return m.prepare(fx)
}

// noRoom returns the refusal of a record of n bytes that cannot be taken, nil where it can.
func (m *Machine) noRoom(n int, p purpose) *wire.Error {
	if most := m.geo.MaxRecords(); n > most {
		return &wire.Error{
			Code:    wire.InvalidRequest,
			Message: fmt.Sprintf("the request takes %d bytes in the log, and a log segment of this server holds %d; send less at a time", n, most),
		}
	}
	if m.log.fits(n, p) {
		if p == admin && !m.log.fits(n, data) {
			m.cfg.hit(ProbeReserveUsed)
		}
		return nil
	}
	m.stats.Refused++
	m.cfg.hit(ProbeStorageFull)
	err := m.log.prepareErr
	if err == nil || errors.Is(err, seg.ErrNoSpace) {
		return &wire.Error{Code: wire.StorageFull, Message: "the disk is full; reads and deletions go on, and appends will when space is freed"}
	}
	return &wire.Error{Code: wire.StorageError, Message: "the next log segment cannot be made; see the server's log"}
}
