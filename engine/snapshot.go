package engine

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"

	"github.com/kimberlitedb/kimberlite-go/engine/seg"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// A snapshot bounds the replay after a restart. The state is captured at the end of a batch, which copies a few words
// per stream; a job writes it out once that batch is durable, and then has the manifest name it.
type snapshotting struct {
	running bool
	due     seg.Address        // take the next one when the log has got here
	list    []seg.SnapshotMark // live ones, newest first
	retryAt wire.Time          // monotonic, after a failure
}

// capture is the state at one LSN, for a job. It shares with the machine only what never changes.
type capture struct {
	lsn        seg.LSN
	next       seg.Address // where the log goes on
	clock      wire.Time
	lastStream wire.StreamID
	holed      bool
	skew       wire.Span
	limits     keyLimits
	removed    seg.LSN
	swept      seg.LSN
	sweptAt    wire.Time
	unsweptAt  wire.Time
	tenants    []tenant
	streams    []stream // by tenant, ascending ids
}

func (m *Machine) capture() *capture {
	c := m.state.capture()
	c.next, c.clock = m.log.next, m.clock.now
	return c
}

func (s *state) capture() *capture {
	c := &capture{
		lsn: s.lsn, lastStream: s.lastStream, holed: s.holed, skew: s.skew, limits: s.limits,
		removed: s.removed, swept: s.swept, sweptAt: s.sweptAt, unsweptAt: s.unsweptAt,
		tenants: make([]tenant, 0, len(s.order)), streams: make([]stream, 0, len(s.streams)),
	}
	for _, t := range s.order {
		c.tenants = append(c.tenants, *t)
		for _, x := range t.streams {
			y := *x
			if n := len(y.index); n > 0 { // the last element may change
				y.index, y.tail = y.index[:n-1:n-1], []entry{y.index[n-1]}
			}
			for _, g := range x.groups { // they may change
				y.groupBytes = g.encode(y.groupBytes)
			}
			c.streams = append(c.streams, y)
		}
	}
	return c
}

// snapshotIfDue captures the state behind the last batch that waits for the disk. A busy log always has one that gathers:
// it is closed early, or a snapshot would have to wait until the load ends.
func (m *Machine) snapshotIfDue(fx []Effect) []Effect {
	s := &m.snap
	if s.running || m.log.next < s.due || m.clock.mono < s.retryAt || len(s.list) > 0 && s.list[0].LSN == m.state.lsn {
		return fx // never over one that is live
	}
	return m.snapshot(fx)
}

// snapshot captures the state and has a job write it out, once everything in it is durable.
func (m *Machine) snapshot(fx []Effect) []Effect {
	l, s := &m.log, &m.snap
	if l.open != nil {
		m.closeBatch()
	}
	s.running, s.due = true, l.next+seg.Address(m.cfg.SnapshotEvery)
	m.job++
	return m.after(m.state.lsn, &StartJob{Job: m.job, Name: "snapshot", Run: snapshotJob{m.store, m.capture()}}, fx)
}

type snapshotJob struct {
	store seg.StoreID
	state *capture
}

type snapshotResult struct {
	mark seg.SnapshotMark
	err  error
}

func (j snapshotJob) Run(fs seg.Files) any {
	return snapshotResult{seg.SnapshotMark{LSN: j.state.lsn, Next: j.state.next}, seg.WriteSnapshot(fs, j.store, j.state.lsn, j.state.encode())}
}

func (m *Machine) snapshotDone(r snapshotResult, fx []Effect) []Effect {
	s := &m.snap
	if r.err != nil {
		m.cfg.hit(ProbeSnapshotFailed)
		s.running, s.retryAt, s.due = false, m.clock.mono+wire.Time(Second), m.log.next
		return fx
	}
	list := append([]seg.SnapshotMark{r.mark}, s.list[:min(len(s.list), seg.MaxSnapshots-1)]...)
	return m.change(change{
		edit: func(man *seg.Manifest) { man.Snapshots = list },
		done: func() {
			m.cfg.hit(ProbeSnapshotWritten)
			m.stats.Snapshots++
			s.running, s.list = false, list
		},
	}, fx)
}

// encode writes the captured state. Numbers are little-endian, strings stand behind a u32 length, lists behind a u64
// count:
//
//	next address | clock
//	lsn | last stream id | holed (1) | confirmed skew | limits of keys: per stream, age, total
//	last removal | swept up to | when | since when something waits for a sweep
//	tenants: id | name | created | position | commit | health (1) | hash of the last audit event (32)
//	         | names of tables | claims: offset, name | checked: offset, hash of outcomes (32)
//	         | forgotten: next, up to, commit, idle
//	         | files of leaves: id (16), position | last removal | when
//	         | pruned: destination, upto, when | archives: checkpoint (16), destination, done (1)
//	         | checkpoints: id (16) | label | position | commit | lsn | kept (1) | hash of its note (32) | length of its cut | cut
//	streams: id | tenant | name | class (4) | placement | created | retention: set (1) days (4) | least days (4)
//	         | deleted (1) | purge date | oldest | head | bytes | bytes cut | first time | last time | lsn | lost: from, to
//	         | holds: name, reason, set | keys: key (16), digest (16), first, count, commit, position, lsn
//	         | last group id | groups; see group.encode
//	index of each stream: first offset, bytes before, latest event time, start, end
//	origins of the tenants that have one: tenant; see origin.encode
func (c *capture) encode() []byte {
	p := putNumbers(nil, uint64(c.next), uint64(c.clock))
	p = c.encodeState(p)
	for i := range c.streams {
		x := &c.streams[i]
		p = putNumbers(p, uint64(len(x.index)+len(x.tail)))
		for _, e := range x.index {
			p = e.encode(p)
		}
		for _, e := range x.tail {
			p = e.encode(p)
		}
	}
	return c.encodeOrigins(p)
}

// encodeState writes the part that follows from the log's entries alone, wherever they lie.
func (c *capture) encodeState(p []byte) []byte {
	p = putNumbers(p, uint64(c.lsn), uint64(c.lastStream))
	p = appendBool(p, c.holed)
	p = putNumbers(p, uint64(c.skew), c.limits.perStream, c.limits.age, c.limits.total,
		uint64(c.removed), uint64(c.swept), uint64(c.sweptAt), uint64(c.unsweptAt), uint64(len(c.tenants)))
	for i := range c.tenants {
		p = c.tenants[i].encode(p)
		p = c.tenants[i].encodeCheckpoints(p)
	}
	p = putNumbers(p, uint64(len(c.streams)))
	for i := range c.streams {
		p = c.streams[i].encode(p)
	}
	return p
}

func (t *tenant) encode(p []byte) []byte {
	p = appendString(putNumbers(p, uint64(t.id)), t.name)
	p = putNumbers(p, uint64(t.created), uint64(t.position), uint64(t.commit))
	return t.encodeTables(append(append(p, byte(t.health)), t.chain[:]...))
}

func (s *stream) encode(p []byte) []byte {
	p = appendString(putNumbers(p, uint64(s.id), uint64(s.tenant.id)), s.name)
	p = appendPlacement(binary.LittleEndian.AppendUint32(p, uint32(s.class)), s.placement)
	p = putU32(appendOptU32(putNumbers(p, uint64(s.created)), s.retention), s.minRetention)
	p = putNumbers(appendBool(p, s.deleted), uint64(s.purge), uint64(s.oldest), uint64(s.head), s.bytes, s.cut,
		uint64(s.firstTime), uint64(s.lastTime), uint64(s.lsn), uint64(len(s.lost)))
	for _, l := range s.lost {
		p = putNumbers(p, uint64(l.from), uint64(l.to))
	}
	p = putNumbers(p, uint64(len(s.holds)))
	for _, h := range s.holds {
		p = putNumbers(appendString(appendString(p, h.name), h.reason), uint64(h.set))
	}
	p = putNumbers(s.keys.encode(p), s.lastGroup, uint64(len(s.groups)))
	return append(p, s.groupBytes...)
}

func putNumbers(p []byte, numbers ...uint64) []byte {
	for _, n := range numbers {
		p = binary.LittleEndian.AppendUint64(p, n)
	}
	return p
}

// Hash identifies the durable state: two machines fed the same entries have the same one, wherever the entries lie and
// whenever they were applied.
func (m *Machine) Hash() [32]byte { return m.state.hash() }

func (s *state) hash() [32]byte { return s.capture().hash() }

func (c *capture) hash() [32]byte { return sha256.Sum256(c.encodeOrigins(c.encodeState(nil))) }

// restore reads what encode of a format version wrote. It returns false where that is not a snapshot.
func (s *state) restore(p []byte, version uint32) (next seg.Address, clock wire.Time, ok bool) {
	d := decoder{p: p}
	next, clock = seg.Address(d.u64()), wire.Time(d.u64())
	s.lsn, s.lastStream, s.holed = seg.LSN(d.u64()), wire.StreamID(d.u64()), d.bool()
	s.skew, s.limits = wire.Span(d.u64()), keyLimits{d.u64(), d.u64(), d.u64()}
	s.removed, s.swept, s.sweptAt = seg.LSN(d.u64()), seg.LSN(d.u64()), wire.Time(d.u64())
	s.unsweptAt = wire.Time(d.u64())
	for range d.count(37 + sha256.Size) {
		t := decodeTenant(&d, version)
		if version >= checkpointsVersion {
			s.decodeCheckpoints(&d, t)
		}
		s.addTenant(t)
	}
	var streams []*stream // in the order of the snapshot
	for range d.count(minStream) {
		x := s.decodeStream(&d, version)
		if x == nil {
			return 0, 0, false
		}
		streams = append(streams, x)
	}
	for _, x := range streams {
		x.index = make([]entry, d.count(40))
		for i := range x.index {
			x.index[i] = entry{
				wire.Offset(d.u64()), d.u64(), wire.Time(d.u64()), seg.Extent{Start: seg.Address(d.u64()), End: seg.Address(d.u64())},
			}
		}
	}
	for len(d.p) > 0 && !d.bad {
		s.decodeOrigin(&d)
	}
	s.orderKeys()
	return next, clock, !d.bad
}

func decodeTenant(d *decoder, version uint32) *tenant {
	t := &tenant{id: wire.TenantID(d.u64()), name: d.string(), created: wire.Time(d.u64()),
		position: wire.Position(d.u64()), commit: wire.Time(d.u64()), health: health(d.u8())}
	copy(t.chain[:], d.take(sha256.Size))
	if version >= tablesVersion {
		t.decodeTables(d, version)
	}
	return t
}

// minStream is the least that a stream takes in a snapshot, in bytes.
const minStream = 134

// errNoState says that a snapshot is whole, and what it holds is not the state of its entry.
var errNoState = errors.New("it holds no state of that entry")

// readSnapshot restores the state in the snapshot of an entry: where the log goes on from it, and the engine clock. It
// fails with errNoState, or as seg.ReadSnapshot does.
func readSnapshot(fs seg.Files, man seg.Manifest, mark seg.SnapshotMark) (s state, next seg.Address, clock wire.Time, err error) {
	p, version, err := seg.ReadSnapshot(fs, man.Store, mark.LSN)
	if err != nil {
		return s, 0, 0, err
	}
	s = newState()
	next, clock, ok := s.restore(p, version)
	if !ok || s.lsn != mark.LSN || next != mark.Next || !s.plausible(next, man.Geometry) {
		return s, 0, 0, errNoState
	}
	return s, next, clock, nil
}

// plausible reports whether a restored state can be that of a log up to an address: the machine relies on it. A snapshot
// has a checksum, but what wrote it may have been wrong.
func (s *state) plausible(next seg.Address, geo seg.Geometry) bool {
	if geo.Offset(next)%int64(geo.Align) != 0 || len(s.order) != len(s.tenants) {
		return false
	}
	streams := 0
	for _, t := range s.order {
		if t.health > arriving || t.audit == nil || t.audit.id != auditStream(t.id) || !t.plausibleOrigin() {
			return false
		}
		for _, c := range t.checkpoints {
			if _, whole := thaw(c.cut.bytes()); !whole && !c.kept {
				return false
			}
		}
		streams += len(t.streams)
		for _, x := range t.streams {
			if !x.plausible(s, next, geo) {
				return false
			}
		}
	}
	return streams == len(s.streams) // or two have one id
}

func (x *stream) plausible(s *state, next seg.Address, geo seg.Geometry) bool {
	if x.lsn > s.lsn || x.oldest > x.head || x.cut > x.bytes || len(x.keys.place) != len(x.keys.list) {
		return false
	}
	last := entry{}
	for i, e := range x.index {
		within := e.at.Start < e.at.End && e.at.End <= next && geo.Segment(e.at.Start) == geo.Segment(e.at.End-1)
		if !within || e.first >= x.head || i > 0 && (e.first <= last.first || e.at.Start < last.at.End) {
			return false
		}
		last = e
	}
	for i, g := range x.groups {
		if g.id > x.lastGroup || i > 0 && g.id <= x.groups[i-1].id || !g.plausible(x.tenant.end(x), s) {
			return false
		}
	}
	return true
}

const (
	// groupsVersion is the first format whose snapshots have consumer groups.
	groupsVersion = 4
	// tablesVersion is the first format whose snapshots have the names of tables.
	tablesVersion = 5
	// forgetVersion is the first format whose snapshots know what of the tables' history is forgotten.
	forgetVersion = 6
	// checkpointsVersion is the first format whose snapshots have checkpoints.
	checkpointsVersion = 7
)

func (s *state) decodeStream(d *decoder, version uint32) *stream {
	x := &stream{id: wire.StreamID(d.u64()), tenant: s.tenants[wire.TenantID(d.u64())], name: d.string(),
		class: wire.DataClass(d.u32()), placement: d.placement(), created: wire.Time(d.u64()), changing: changing{
			retention: d.optU32(), minRetention: d.u32(), deleted: d.bool(), purge: wire.Time(d.u64()),
			oldest: wire.Offset(d.u64()), head: wire.Offset(d.u64()), bytes: d.u64(), cut: d.u64(),
			firstTime: wire.Time(d.u64()), lastTime: wire.Time(d.u64()), lsn: seg.LSN(d.u64())}}
	for range d.count(16) {
		x.lost = append(x.lost, span{wire.Offset(d.u64()), wire.Offset(d.u64())})
	}
	for range d.count(16) {
		x.holds = append(x.holds, hold{name: d.string(), reason: d.string(), set: wire.Time(d.u64())})
	}
	x.keys.decode(d)
	if version >= groupsVersion {
		x.lastGroup = d.u64()
		for range d.count(minGroup) {
			x.groups = append(x.groups, d.group())
		}
	}
	if d.bad || x.tenant == nil {
		return nil
	}
	s.addStream(x)
	return x
}

func (e entry) encode(p []byte) []byte {
	return putNumbers(p, uint64(e.first), e.before, uint64(e.latest), uint64(e.at.Start), uint64(e.at.End))
}
