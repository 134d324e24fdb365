package sim

import (
	"time"

	"github.com/kimberlitedb/kimberlite-go/sim/check"
	"github.com/kimberlitedb/kimberlite-go/sim/plan"
)

// Shrink leaves out of a failing plan what it can while the same rule stays broken, and stops after a time. The plan must
// name its faults.
func Shrink(p *plan.Plan, rule check.Invariant, limit time.Duration) *plan.Plan {
	s := shrinker{rule: rule, deadline: time.Now().Add(limit), best: p.Clone()}
	for before := -1; before != s.size() && s.inTime(); {
		before = s.size()
		s.clients()
		s.ops()
		s.faults()
	}
	return s.best
}

type shrinker struct {
	rule     check.Invariant
	deadline time.Time
	best     *plan.Plan
}

func (s *shrinker) size() int    { return len(s.best.Ops) + len(s.best.Faults) }
func (s *shrinker) inTime() bool { return time.Now().Before(s.deadline) }

// try takes a smaller plan if it fails in the same way.
func (s *shrinker) try(p *plan.Plan) bool {
	r := Run(p)
	if r.Failure == nil || r.Failure.Rule != s.rule {
		return false
	}
	s.best = p
	return true
}

// clients leaves out all operations of one client after another.
func (s *shrinker) clients() {
	for i := range s.best.Clients {
		p := s.best.Clone()
		p.Ops = nil
		for _, op := range s.best.Ops {
			if op.Client != i {
				p.Ops = append(p.Ops, op)
			}
		}
		if len(p.Ops) < len(s.best.Ops) && s.inTime() {
			s.try(p)
		}
	}
}

func (s *shrinker) ops() {
	s.cut(func() int { return len(s.best.Ops) }, func(p *plan.Plan, from, to int) {
		p.Ops = append(p.Ops[:from], p.Ops[to:]...)
	})
}

func (s *shrinker) faults() {
	s.cut(func() int { return len(s.best.Faults) }, func(p *plan.Plan, from, to int) {
		p.Faults = append(p.Faults[:from], p.Faults[to:]...)
	})
}

// cut leaves out pieces of a list, from the end, half of it at first and single elements at last.
func (s *shrinker) cut(size func() int, remove func(p *plan.Plan, from, to int)) {
	for piece := size(); piece > 0; piece /= 2 {
		for to := size(); to > 0 && s.inTime(); {
			from := max(0, to-piece)
			p := s.best.Clone()
			remove(p, from, to)
			s.try(p)
			to = min(from, size())
		}
	}
}
