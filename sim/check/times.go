package check

import (
	"sort"

	"github.com/kimberlitedb/kimberlite-go/sim/model"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// committed checks a commit time against the others of its tenant, by position.
func (s *Suite) committed(c *model.Call, p wire.Position, t wire.Time) {
	tenant := s.M.Tenant(int(c.Tenant))
	list := tenant.Times
	i := sort.Search(len(list), func(i int) bool { return list[i].Position >= p })
	s.Saw(Times, len(list) > 0)
	switch {
	case p == 0:
		s.Fail(Contract, "%s: acknowledged without a position", where(c))
	case i < len(list) && list[i].Position == p:
		s.Fail(Durable, "%s: position %d of the tenant's log was given twice", where(c), p)
	case i < len(list) && list[i].Time < t:
		s.Fail(Times, "%s: position %d is committed at %d, and position %d at %d", where(c), p, t, list[i].Position, list[i].Time)
	case i > 0 && list[i-1].Time > t:
		s.Fail(Times, "%s: position %d is committed at %d, and position %d at %d", where(c), p, t, list[i-1].Position, list[i-1].Time)
	}
	list = append(list, model.Commit{})
	copy(list[i+1:], list[i:])
	list[i] = model.Commit{Position: p, Time: t}
	tenant.Times = list
}
