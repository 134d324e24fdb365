package engine

import (
	"fmt"
	"slices"

	"github.com/kimberlitedb/kimberlite-go/engine/seg"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// A sweep takes the bytes of what retention and purges have removed out of every file: the log goes on in a new segment,
// two snapshots are taken behind that, so that everything before can be sealed, and the sealed files that still hold some
// are written anew. Copies of torn writes go too, since nobody can tell what they hold. An entry says when it is done.
type sweeping struct {
	active bool
	target seg.LSN     // everything removed by entries before this one goes
	alive  *survivors  // what was left then: what is removed meanwhile is the next sweep's, or this one would never end
	from   seg.Address // the segment behind the one that it began in
	rolled bool        // the log has got there
	rested bool        // nothing is left to do but to remove copies of torn writes
}

// sweepDue reports whether a sweep is to begin: something was removed, and the last sweep is half the interval ago, so
// that there is as much time to carry it out.
func (m *Machine) sweepDue() bool {
	return m.state.removed > m.state.swept && wire.Span(m.clock.now-m.state.sweptAt) >= m.cfg.SweepInterval/2
}

// sweepOn begins a sweep that is due, and goes on with it up to the snapshots. It returns true while nothing else is to be
// done.
func (m *Machine) sweepOn(fx []Effect) ([]Effect, bool) {
	s, l := &m.sweep, &m.log
	if !s.active {
		if !m.sweepDue() || !m.sweepEntry(0) {
			return fx, false
		}
		m.cfg.hit(ProbeSweepBegun)
		*s = sweeping{active: true, target: m.state.lsn, alive: m.survivors(), from: m.geo.Address(m.geo.Segment(l.open.at)+1, 0)}
	}
	if s.rolled = s.rolled || l.next >= s.from; !s.rolled {
		if m.geo.Segment(l.next) >= l.last {
			l.hurried = true
			return m.prepare(m.endBatch(fx)), true
		}
		if l.open != nil {
			m.closeBatch()
		}
		l.next, s.rolled = max(l.next, s.from), true
	}
	l.hurried = false
	old := 0 // snapshots from before
	for _, mark := range m.snap.list {
		if mark.Next < s.from {
			old++
		}
	}
	if len(m.snap.list) == seg.MaxSnapshots && old == 0 {
		return fx, false
	}
	if m.snap.running || m.clock.mono < m.snap.retryAt {
		return fx, true
	}
	if n := len(m.snap.list); n > 0 && m.snap.list[0].LSN == m.state.lsn && !m.sweepEntry(0) {
		return fx, true // there is no room to tell two snapshots apart
	}
	return m.endBatch(m.snapshot(fx)), true
}

// sweepRest goes on with a sweep when all segments before it are sealed.
func (m *Machine) sweepRest(fx []Effect) []Effect {
	alive := m.sweep.alive
	for i, x := range m.layout.sealed {
		if x != nil && slices.ContainsFunc(x.Sections, func(s seg.Section) bool { return alive.judge(&s) != seg.Keep }) {
			return m.merge(i, 1, alive, true, fx)
		}
	}
	if !m.sweep.rested {
		m.sealing.running = true
		_, fx = m.start("sweep", sweepJob{}, fx)
		return fx
	}
	if m.sweepEntry(m.sweep.target) {
		m.cfg.hit(ProbeSwept)
		m.stats.Sweeps++
		m.sweep = sweeping{}
		fx = m.endBatch(fx)
	}
	return fx
}

// sweepJob removes the copies of torn writes.
type sweepJob struct{}

type sweepResult struct{ err error }

func (sweepJob) Run(fs seg.Files) any { return sweepResult{seg.RemoveTorn(fs)} }

func (m *Machine) sweepDone(r sweepResult, fx []Effect) []Effect {
	if r.err != nil {
		return m.sealFailed(sealed{err: r.err}, fx)
	}
	m.sealing.running, m.sweep.rested = false, true
	return m.maintain(fx)
}

// sweepEntry puts into the log that a sweep begins, or that everything removed by entries before one is gone. It returns
// false where there is no room.
func (m *Machine) sweepEntry(upto seg.LSN) bool {
	body := putNumbers(nil, uint64(upto))
	if m.noRoom(seg.RecordHeader+len(body), admin) != nil {
		return false
	}
	m.decide(&seg.Record{Kind: seg.KindSweep}, body)
	return true
}

func (s *state) applySweep(r *seg.Record) error {
	d := decoder{p: r.Body}
	upto := seg.LSN(d.u64())
	if d.bad || upto > r.LSN {
		return fmt.Errorf("%w: sweep", errMisfit)
	}
	if upto > 0 {
		s.swept, s.sweptAt, s.unsweptAt = upto, r.Commit, r.Commit
	}
	return nil
}

// unswept returns how long something that was removed has waited for a sweep; 0 where nothing does.
func (m *Machine) unswept() wire.Span {
	if m.state.removed <= m.state.swept {
		return 0
	}
	return wire.Span(m.clock.now - m.state.unsweptAt)
}
