package engine

import (
	"container/heap"
	"fmt"
	"sort"

	"github.com/kimberlitedb/kimberlite-go/engine/seg"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// Retention hides events once their event time lies longer back than the stream's retention, by the engine clock in whole
// grains. It moves the oldest offset over the expired events at the stream's beginning, and nothing else: an old event
// behind a young one stays until that one goes. Every move is a log entry, so that no restart takes it back. It is made
// when a read would otherwise see what has expired, and by the tick.

// setRetention changes how long a stream's events are kept.
func (m *Machine) setRetention(r *Request, b *wire.SetRetention, fx []Effect) []Effect {
	s, fx := m.managedOrSQL(r, b.Stream, fx)
	if s == nil {
		return fx
	}
	if s.deleted {
		return m.gone(r, s, s.lsn, fx)
	}
	least := b.MinDays.Or(s.minRetention)
	if why := badRetention(b.Days, least); why != "" {
		return m.refuse(r, wire.InvalidRequest, s.lsn, fx, "%s", why)
	}
	if b.Days == s.retention && least == s.minRetention {
		return m.reply(r, &wire.SetRetentionReply{Position: s.tenant.position}, s.lsn, fx)
	}
	detail := retentionDetail{optional(b.Days), least, optional(s.retention)}
	fields := putU32(appendOptU32(nil, b.Days), least)
	if e := m.carryOut(about(r.From, s, seg.KindSetRetention, "stream.retain", detail, fields)); e != nil {
		return m.reply(r, e, s.lsn, fx)
	}
	s.trimAfter = 0
	m.watch(s)
	return m.reply(r, &wire.SetRetentionReply{Position: s.tenant.position}, s.lsn, fx)
}

// retentionDetail is what an audit event tells of a change of retention; null is for ever.
type retentionDetail struct {
	Days    *uint32 `json:"days"`
	MinDays uint32  `json:"min_days"`
	Before  *uint32 `json:"days_before"`
}

func optional(o wire.Option[uint32]) *uint32 {
	if !o.Set {
		return nil
	}
	return &o.Value
}

// badRetention says what is wrong with a retention, or nothing.
func badRetention(days wire.Option[uint32], least uint32) string {
	switch {
	case days.Set && days.Value == 0:
		return "a retention of 0 days keeps nothing; give at least 1, or none to keep events for ever"
	case days.Set && days.Value < least:
		return fmt.Sprintf("a retention of %d days is below the stream's minimum of %d", days.Value, least)
	}
	return ""
}

// deadline is when something of a stream is due to be cut off or purged.
type deadline struct {
	at     wire.Time
	stream wire.StreamID
}

// deadlines is a heap. A deadline that no longer holds stays in it until it is due.
type deadlines []deadline

func (d deadlines) Len() int { return len(d) }
func (d deadlines) Less(i, j int) bool {
	return d[i].at < d[j].at || d[i].at == d[j].at && d[i].stream < d[j].stream
}
func (d deadlines) Swap(i, j int) { d[i], d[j] = d[j], d[i] }

// Push implements heap.Interface.
func (d *deadlines) Push(x any) { *d = append(*d, x.(deadline)) }

// Pop implements heap.Interface.
func (d *deadlines) Pop() any {
	old := *d
	x := old[len(old)-1]
	*d = old[:len(old)-1]
	return x
}

// watch has the tick look at a stream when something of it is due.
func (m *Machine) watch(s *stream) {
	at := m.dueAt(s)
	if at == never || s.tenant.health == arriving || s.watched != 0 && s.watched <= at {
		return
	}
	m.lookAt(s, at)
}

// lookAt has the tick look at a stream at a time.
func (m *Machine) lookAt(s *stream, at wire.Time) {
	s.watched = at
	heap.Push(&m.due, deadline{at, s.id})
}

// watchAll watches every stream that recovery has found.
func (m *Machine) watchAll() {
	for _, t := range m.state.order {
		for _, s := range t.streams {
			m.watch(s)
		}
	}
}

// dueAt returns when the next thing of a stream is cut off or purged, never where nothing is.
func (m *Machine) dueAt(s *stream) wire.Time {
	switch {
	case s.isSQL():
		return m.forgetDue(s)
	case len(s.holds) > 0:
		return never
	case s.deleted:
		return s.purge
	case !s.retention.Set || s.oldest == s.head:
		return never
	}
	return max(m.daysFrom(s.firstTime, s.retention.Value), s.trimAfter)
}

// purgeDue reports whether a stream's purge date is reached.
func (m *Machine) purgeDue(s *stream) bool {
	return s.deleted && len(s.holds) == 0 && s.purge <= m.clock.now && s.tenant.health == sound
}

// grain is the engine clock as retention sees it.
func (m *Machine) grain() wire.Time { return m.clock.now - m.clock.now%wire.Time(m.cfg.RetentionGrain) }

// expiredUpto returns the greatest event time that has expired in a stream, and whether anything of it can.
func (m *Machine) expiredUpto(s *stream, now wire.Time) (wire.Time, bool) {
	if !s.retention.Set || s.isSQL() || s.deleted || len(s.holds) > 0 || s.tenant.health != sound {
		return 0, false
	}
	span := m.daysFrom(0, s.retention.Value)
	if span == never || now < span {
		return 0, false
	}
	return now - span, true
}

// overdue reports whether a stream's oldest event has expired at an instant.
func (m *Machine) overdue(s *stream, now wire.Time) bool {
	upto, ok := m.expiredUpto(s, now)
	return ok && s.oldest < s.head && s.firstTime <= upto
}

// expireAtOnce is how many streams a tick looks at, so that it holds nobody up for long.
const expireAtOnce = 256

// expire cuts off and purges what is due.
func (m *Machine) expire(fx []Effect) []Effect {
	for range expireAtOnce {
		if len(m.due) == 0 || m.due[0].at > m.clock.now {
			break
		}
		s := m.state.streams[heap.Pop(&m.due).(deadline).stream]
		if s == nil {
			continue
		}
		s.watched = 0
		switch {
		case m.purgeDue(s):
			if !m.purge(s) { // there is no room now
				m.lookAt(s, m.clock.now+wire.Time(Second))
			}
		case s.isSQL() && m.dueAt(s) <= m.grain():
			fx = m.forgetTables(s, fx)
		case s.trimAfter <= m.clock.now && m.overdue(s, m.grain()):
			fx = m.trim(s, nil, fx)
		case m.dueAt(s) <= m.clock.now: // within the grain, or not to be touched
			m.lookAt(s, m.clock.now+wire.Time(m.cfg.RetentionGrain))
		default:
			m.watch(s)
		}
	}
	return fx
}

// overdueSpan returns how long the removal that has waited longest is overdue.
func (m *Machine) overdueSpan() wire.Span {
	if len(m.due) == 0 || m.due[0].at > m.clock.now {
		return 0
	}
	return wire.Span(m.clock.now - m.due[0].at)
}

// trim is the search for a stream's first event that has not expired.
type trim struct {
	upto    wire.Time // the greatest event time that has
	read    *read
	waiting []*read
}

// wait has a read, if not nil, wait for the end of the search.
func (t *trim) wait(rd *read) {
	if rd != nil {
		t.waiting = append(t.waiting, rd)
	}
}

// trimRetry is how long a search that met damage waits before the next.
const trimRetry = Minute

// trim moves a stream's oldest offset over what has expired. It looks only at the piece of the log in which the first
// event that stays must be. A read that waits for it, if not nil, goes on afterwards.
func (m *Machine) trim(s *stream, waiting *read, fx []Effect) []Effect {
	if t := m.trims[s.id]; t != nil {
		t.wait(waiting)
		return fx
	}
	upto, _ := m.expiredUpto(s, m.grain())
	rd := m.reading(s, s.oldest, maxReadSize)
	rd.only = true
	m.seek(rd, upto+1)
	rd.foundTime = upto
	t := &trim{upto: upto, read: rd}
	t.wait(waiting)
	if m.trims == nil {
		m.trims = map[wire.StreamID]*trim{}
	}
	m.trims[s.id] = t
	rd.then = func(b wire.ResponseBody, fx []Effect) []Effect { return m.trimmed(s, t, b, fx) }
	return m.readOn(rd, fx)
}

// trimmed ends a search: the oldest offset moves, and the reads that waited for it go on.
func (m *Machine) trimmed(s *stream, t *trim, b wire.ResponseBody, fx []Effect) []Effect {
	delete(m.trims, s.id)
	e, failed := b.(*wire.Error)
	if failed {
		s.trimAfter = m.clock.now + wire.Time(trimRetry)
	}
	floor, noRoom := s.oldest, (*wire.Error)(nil)
	if upto, ok := m.expiredUpto(s, m.grain()); ok && upto >= t.upto && t.read.next > s.oldest {
		floor, noRoom = t.read.next, m.logTrim(s, t.read)
	}
	m.watch(s)
	for _, rd := range t.waiting {
		if failed && e.Code == wire.StorageError && rd.next <= t.read.next { // it may pass, and show what has expired
			fx = m.readEnd(rd, e, fx)
			continue
		}
		upto, expires := m.expiredUpto(s, rd.now)
		rd.cut = !expires || upto <= t.upto // else retention was shortened, or the clock has gone on
		rd.hidden, rd.noRoom = floor, noRoom
		fx = m.startRead(rd, fx)
	}
	return fx
}

// logTrim puts the move of a stream's oldest offset into the log, or returns why there is no room; then the tick tries
// again.
func (m *Machine) logTrim(s *stream, rd *read) *wire.Error {
	body := putNumbers(nil, rd.passed, uint64(rd.foundTime))
	if e := m.noRoom(seg.RecordHeader+len(body), admin); e != nil {
		return e
	}
	m.cfg.hit(ProbeTrimmed)
	m.stats.Trims++
	m.stats.EventsRemoved += uint64(rd.next - s.oldest)
	m.stats.BytesRemoved += rd.passed - s.cut
	m.decide(&seg.Record{Kind: seg.KindTrim, Tenant: s.tenant.id, Stream: s.id, First: rd.next}, body)
	m.cutGroups(s)
	return nil
}

// applyTrim moves a stream's oldest offset. The body has how many bytes of event data lie before it, over the stream's
// whole life, and the event time of the event there.
func (s *state) applyTrim(r *seg.Record) error {
	x := s.streams[r.Stream]
	if x == nil && s.holed {
		return nil // of a stream whose making is lost, and all that was in it until then
	}
	d := decoder{p: r.Body}
	cut, first := d.u64(), wire.Time(d.u64())
	if x == nil || d.bad || x.tenant.id != r.Tenant || r.First <= x.oldest || r.First > x.head && !s.holed {
		return fmt.Errorf("%w: trim of stream %d to %d", errMisfit, r.Stream, r.First)
	}
	if r.First > x.head {
		x.lost = append(x.lost, span{x.head, r.First})
		x.head = r.First
	}
	x.oldest, x.cut, x.firstTime, x.lsn = r.First, min(cut, x.bytes), first, r.LSN
	s.remove(x.tenant, r)
	for len(x.lost) > 0 && x.lost[0].to <= x.oldest {
		x.lost = x.lost[1:]
	}
	for _, g := range x.groups {
		g.cut(x.oldest)
	}
	return nil
}

// seek makes a read begin at the first event whose event time is at or after an instant. It starts where the index says
// that everything before is older.
func (m *Machine) seek(rd *read, since wire.Time) {
	s := rd.stream
	rd.seeking, rd.since = true, since
	if rd.next < m.unsealed(s) && m.seekSealed(rd) {
		return
	}
	i := sort.Search(len(s.index), func(i int) bool { return s.index[i].latest >= since })
	if i == len(s.index) {
		rd.next, rd.passed = max(rd.next, s.head), s.bytes
		return
	}
	if e := s.index[i]; e.first >= rd.next {
		rd.next, rd.passed = e.first, e.before
	} else if in := s.locate(rd.next); len(in) > 0 && in[0].first <= rd.next {
		rd.next, rd.passed = in[0].first, in[0].before
	}
}
