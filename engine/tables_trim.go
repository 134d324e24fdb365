package engine

import (
	"fmt"
	"math"
	"slices"

	"github.com/kimberlitedb/kimberlite-go/engine/seg"
	"github.com/kimberlitedb/kimberlite-go/engine/sql"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// The history of a tenant's tables is kept for ever, unless the stream $sql has a retention. Then an entry of it forgets, now and
// then, what was committed too long ago: it has its place among the statements, so that every replay forgets the same at the same
// point, and queries of positions before are refused from there on. The statements themselves are still needed: only once
// two snapshots of the tables are behind the entry, which have nothing of what is forgotten, the oldest offset moves, and
// the next sweep takes the statements out of all files.

// forgetting is what the log says of a tenant's last entry that forgets history.
type forgetting struct {
	next   wire.Offset // behind it; 0 without one
	upto   wire.Time   // the last time that is forgotten
	commit wire.Time
	idle   uint64 // how many entries there are at the end of $sql that forget, and no statement behind them
}

// isSQL reports whether a stream is that of its tenant's statements.
func (s *stream) isSQL() bool { return s == s.tenant.sql }

// managedOrSQL is managed for requests about how long events are kept: statements are let go of too.
func (m *Machine) managedOrSQL(r *Request, id wire.StreamID, fx []Effect) (*stream, []Effect) {
	if s := m.owned(r, id); s != nil && s.isSQL() && s.tenant.health == sound {
		return s, fx
	}
	return m.managed(r, id, fx)
}

// forgetDue returns when something of a tenant's statements is to be forgotten, or let go of; never where nothing is.
func (m *Machine) forgetDue(s *stream) wire.Time {
	f := s.tenant.forgot
	switch {
	case len(s.holds) > 0 || s.oldest == s.head:
		return never
	case s.owing():
		return s.trimAfter
	case !s.retention.Set || uint64(s.head-s.oldest) <= f.idle:
		return never
	}
	due := m.daysFrom(s.firstTime, s.retention.Value)
	if f.next > 0 && due != never {
		due = max(due, f.commit+wire.Time(m.cfg.ForgetEvery))
	}
	return max(due, s.trimAfter)
}

// owing reports whether statements are there whose history is forgotten.
func (s *stream) owing() bool { return s.tenant.forgot.next > 0 && s.firstTime <= s.tenant.forgot.upto }

// forget forgets what is due, and lets go of statements that nothing needs any more.
func (m *Machine) forgetTables(s *stream, fx []Effect) []Effect {
	if s.tenant.health != sound || len(s.holds) > 0 {
		m.lookAt(s, m.clock.now+wire.Time(Minute))
		return fx
	}
	l := m.tablesOf(s.tenant)
	switch {
	case l.broken != nil: // nothing is let go of, since nobody can tell what would be left
		m.lookAt(s, m.clock.now+wire.Time(Minute))
		return fx
	case s.owing():
		if m.withoutForgotten(l) {
			return m.letGoStatements(s, fx)
		}
		fx = m.carryOn(l, fx) // it may not be in use
	default:
		m.forgetNow(s)
		fx = m.carryOn(l, fx)
	}
	m.lookAt(s, m.clock.now+wire.Time(forgetRetry))
	return fx
}

// forgetRetry is after what time the machine looks again whether statements can be let go of.
const forgetRetry = Second

// forgetNow puts an entry into the log that forgets what is too old. Where there is no room it is tried again.
func (m *Machine) forgetNow(s *stream) {
	span := m.daysFrom(0, s.retention.Value)
	now := m.grain()
	if span == never || now < span || s.firstTime > now-span {
		return
	}
	t := s.tenant
	e := &sql.Entry{Position: t.position + 1, Trim: wire.Some(sql.Trim{Upto: now - span, Keys: math.MaxInt64})}
	if len(s.keys.list) > 0 {
		e.Trim.Value.Keys = s.keys.list[0].position
	}
	event := e.Encode()
	if m.noRoom(seg.AppendOverhead(false)+wire.EventOverhead+len(event), admin) != nil {
		return
	}
	m.cfg.hit(ProbeHistoryForgotten)
	m.logEntry(t, e, event)
}

// withoutForgotten reports whether the tables, and two snapshots of them, are behind the last entry that forgets.
func (m *Machine) withoutForgotten(l *tables) bool {
	if l.db == nil || l.loading || l.next < l.tenant.forgot.next {
		return false
	}
	n := 0
	for _, t := range m.layout.man.Tables {
		if t.Tenant == l.tenant.id && t.Next >= l.tenant.forgot.next && !slices.Contains(l.unusable, t.Number) {
			n++
		}
	}
	return n == seg.MaxTables
}

// remembers reports whether snapshots are missing that have nothing of what is forgotten.
func (m *Machine) remembers(l *tables) bool {
	return l.next >= l.tenant.forgot.next && l.tenant.sql != nil && l.tenant.sql.owing() && !m.withoutForgotten(l)
}

// letGoStatements moves the oldest offset of a tenant's statements over those that are forgotten.
func (m *Machine) letGoStatements(s *stream, fx []Effect) []Effect {
	if m.trims[s.id] != nil {
		return fx
	}
	upto := s.tenant.forgot.upto
	rd := m.reading(s, s.oldest, maxReadSize)
	rd.only, rd.foundTime = true, upto
	m.seek(rd, upto+1)
	if m.trims == nil {
		m.trims = map[wire.StreamID]*trim{}
	}
	m.trims[s.id] = &trim{upto: upto, read: rd}
	rd.then = func(b wire.ResponseBody, fx []Effect) []Effect {
		delete(m.trims, s.id)
		s.trimAfter = m.clock.now + wire.Time(forgetRetry) // where there is no room now
		if _, failed := b.(*wire.Error); failed {
			s.trimAfter = m.clock.now + wire.Time(trimRetry)
		} else if rd.next > s.oldest && len(s.holds) == 0 && m.logTrim(s, rd) == nil {
			s.trimAfter = 0
		}
		m.watch(s)
		return fx
	}
	return m.readOn(rd, fx)
}

// applyForgetting takes up that an entry forgets history, or that it is a statement.
func (t *tenant) applyForgetting(r *seg.Record) error {
	if r.Flags&seg.FlagForgets == 0 {
		t.forgot.idle = 0
		return nil
	}
	e, _, ok := wire.NextEvent(r.Events())
	if !ok {
		return errMisfit
	}
	entry, err := sql.Decode(e.Data, e.Timestamp)
	if err != nil || !entry.Trim.Set {
		return fmt.Errorf("%w: an entry that forgets nothing", errMisfit)
	}
	t.forgot = forgetting{r.First + 1, entry.Trim.Value.Upto, r.Commit, t.forgot.idle + 1}
	return nil
}

func (f *forgetting) encode(p []byte) []byte {
	return putNumbers(p, uint64(f.next), uint64(f.upto), uint64(f.commit), f.idle)
}

func (f *forgetting) decode(d *decoder) {
	*f = forgetting{wire.Offset(d.u64()), wire.Time(d.u64()), wire.Time(d.u64()), d.u64()}
}

// reservePart says how much of the pages of a tenant's tables is kept for statements that delete rows: one part in so many.
const reservePart = 64

// pages returns how many pages a statement may take up. Where the tables are full, rows can still be deleted and tables dropped: that
// takes pages too, since the rows go into the history, those of a table all at once before their own pages are free.
func (m *Machine) pages(s *sql.Statement) uint64 {
	n := m.cfg.SQLPages
	switch s.Verb {
	case "DELETE":
		return n + max(n/reservePart, 16)
	case "DROP":
		return 2*n + max(n/reservePart, 16)
	}
	return n
}
