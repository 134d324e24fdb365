package engine

import (
	"cmp"
	"slices"

	"github.com/kimberlitedb/kimberlite-go/wire"
)

// GroupStats is what metrics show of a consumer group.
type GroupStats struct {
	Tenant      wire.TenantID
	Stream      string
	Group       string
	Lag         uint64    // events that are not settled
	LagSpan     wire.Span // about the age of the oldest of them, by its event time and the engine clock
	Pending     int       // deliveries that are not acknowledged
	OldestHeld  wire.Span // how long the oldest of them has been with its member
	Parked      int       // events
	Delayed     int       // events that were given back with a delay, which runs
	Members     int
	Redelivered uint64 // deliveries since the server was started that were not an event's first
}

// Groups returns the consumer groups that lag most, up to a count, and the others in one. It looks at every stream.
func (m *Machine) Groups(most int) (list []GroupStats, others GroupStats) {
	type place struct {
		s   *stream
		g   *group
		lag uint64
	}
	var all []place
	for _, t := range m.state.order {
		for _, s := range t.streams {
			for _, g := range s.groups {
				if !s.deleted {
					all = append(all, place{s, g, g.unsettled(s.head)})
				}
			}
		}
	}
	slices.SortStableFunc(all, func(a, b place) int { return cmp.Compare(b.lag, a.lag) })
	for i, x := range all {
		st := m.groupStats(x.s, x.g)
		if i < most {
			list = append(list, st)
			continue
		}
		others.Lag, others.Pending, others.Parked = others.Lag+st.Lag, others.Pending+st.Pending, others.Parked+st.Parked
		others.Delayed, others.Members = others.Delayed+st.Delayed, others.Members+st.Members
		others.Redelivered += st.Redelivered
		others.LagSpan, others.OldestHeld = max(others.LagSpan, st.LagSpan), max(others.OldestHeld, st.OldestHeld)
	}
	return list, others
}

func (m *Machine) groupStats(s *stream, g *group) GroupStats {
	st := GroupStats{Tenant: s.tenant.id, Stream: s.name, Group: g.name, Lag: g.unsettled(s.head), Parked: len(g.parked)}
	if since := m.lagSince(s, g); since.Set {
		st.LagSpan = wire.Span(max(0, m.clock.now-since.Value))
	}
	l := g.live
	if l == nil {
		return st
	}
	st.Pending, st.Delayed, st.Members, st.Redelivered = len(l.held), l.delayed, len(l.members), l.redelivered
	for _, it := range l.held { //det:order-free: a maximum
		st.OldestHeld = max(st.OldestHeld, wire.Span(m.clock.mono-it.since))
	}
	return st
}
