package engine

import (
	"github.com/kimberlitedb/kimberlite-go/engine/seg"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// A read as of a position ends where the stream ended then. A job finds that out, from the positions that the entries say; then the
// read is like any other.

// readAsOf reads what a stream had at a position.
func (m *Machine) readAsOf(rd *read, at wire.Position, fx []Effect) []Effect {
	s := rd.stream
	// That the log has got so far is a fact too: after a crash another entry may be at the position, one that goes on with this stream.
	rd.after = max(rd.after, s.tenant.lsn)
	switch t := s.tenant; {
	case at > t.position:
		m.cfg.hit(ProbePositionAhead)
		return m.refuse(rd.req, wire.PositionAhead, t.lsn, fx, "position %d is ahead of the tenant's log, which ends at %d", at, t.position)
	case at == t.position || s.oldest == s.head:
		return m.startRead(rd, fx)
	}
	m.cfg.hit(ProbeReadAsOf)
	c := m.scopeOfTenant(s.tenant)
	v := m.viewOf(s, cutOff{})
	c.list = []*view{v}
	c.hold(&m.log)
	var id JobID
	id, fx = m.start("bound", boundJob{c, v, at}, fx)
	if m.bounding == nil {
		m.bounding = map[JobID]*read{}
	}
	m.bounding[id] = rd
	m.pinFiles(id)
	return fx
}

// boundJob finds the head of a stream as of a position.
type boundJob struct {
	c  *scope
	v  *view
	at wire.Position
}

type boundResult struct {
	end     wire.Offset
	refusal *wire.Error
}

// Run implements Job.
func (j boundJob) Run(fs seg.Files) any {
	j.c.use(fs)
	defer j.c.rest()
	end, e := j.c.bound(j.v, j.at)
	return boundResult{end, e}
}

// bounded goes on with a read that waited for the head of its stream as of a position.
func (m *Machine) bounded(id JobID, r boundResult, fx []Effect) []Effect {
	rd := m.bounding[id]
	delete(m.bounding, id)
	delete(m.pins, id)
	if r.refusal != nil {
		return m.readEnd(rd, r.refusal, fx)
	}
	rd.end, rd.head = r.end, r.end
	return m.startRead(rd, fx)
}
