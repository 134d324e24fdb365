package check

import (
	"math"
	"sort"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/kimberlitedb/kimberlite-go/sim/model"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// Limits of one history. One that is larger, or undecided in that time, proves nothing and is counted so.
const (
	maxHistory   = 3000
	linearBudget = 5 * time.Second
)

// step is what one operation did to a stream, or saw of it. The stream's state is its head alone: which event lies
// where is checked elsewhere, and is fixed once written.
type step struct {
	append bool
	at     wire.Offset // the head that it met
	count  wire.Offset // events appended
}

var linearModel = porcupine.Model{
	Init: func() any { return wire.Offset(0) },
	Step: func(state, input, _ any) (bool, any) {
		head, in := state.(wire.Offset), input.(step)
		if head != in.at {
			return false, state
		}
		return true, head + in.count
	},
}

// Linearizable checks the history of a stream that was read completely at the end, so that every append of unknown
// outcome is known to be there or not.
func (s *Suite) Linearizable(st *model.Stream, end int64) {
	history := past(st, end)
	if st.Shaky || len(history) > maxHistory {
		s.Saw(Linear, false)
		return
	}
	result := porcupine.Illegal
	if tighten(history) {
		result = porcupine.CheckOperationsTimeout(linearModel, history, linearBudget)
	}
	s.Saw(Linear, len(history) > 1 && result != porcupine.Unknown)
	if result == porcupine.Illegal {
		s.Fail(Linear, "stream %s: a history of %d operations is not linearizable", st.Name, len(history))
	}
}

// past returns what happened to a stream, in the order of the heads that were met; reads come before the append that met
// the same head.
func past(st *model.Stream, end int64) []porcupine.Operation {
	var history []porcupine.Operation
	for _, c := range st.Ops {
		if in, ok := observed(c); ok {
			history = append(history, porcupine.Operation{ClientId: c.Order, Input: in, Call: c.Sent, Return: c.Returned})
		}
	}
	var last *model.Append
	for _, w := range st.Owners { // the events of an append lie side by side
		if a := w.Append; a != nil && a.Outcome != model.Done && a != last {
			last = a
			in := step{append: true, at: a.First, count: wire.Offset(len(a.Events))}
			history = append(history, porcupine.Operation{ClientId: 1<<30 + int(a.First), Input: in, Call: a.Sent, Return: end})
		}
	}
	sort.SliceStable(history, func(i, j int) bool { return history[i].Input.(step).before(history[j].Input.(step)) })
	return history
}

func (x step) before(y step) bool {
	if x.at != y.at {
		return x.at < y.at
	}
	return !x.append && y.append
}

// tighten narrows down when each operation took effect: not before an operation that met a smaller head was sent, and
// not after one that met a greater head was answered. It returns false where that leaves no time. The checker would find
// the same, much more slowly.
func tighten(history []porcupine.Operation) bool {
	each := func(i, step int, visit func(group []porcupine.Operation)) {
		for i >= 0 && i < len(history) {
			j := i
			for j >= 0 && j < len(history) && sameStep(history[i], history[j]) {
				j += step
			}
			visit(history[min(i, j+1):max(i+1, j)])
			i = j
		}
	}
	low, high := int64(math.MinInt64), int64(math.MaxInt64)
	each(0, 1, func(group []porcupine.Operation) {
		next := low
		for i := range group {
			next = max(next, group[i].Call)
			group[i].Call = max(group[i].Call, low)
		}
		low = next
	})
	each(len(history)-1, -1, func(group []porcupine.Operation) {
		next := high
		for i := range group {
			next = min(next, group[i].Return)
			group[i].Return = min(group[i].Return, high)
		}
		high = next
	})
	for i := range history {
		op := &history[i]
		if op.Call > op.Return {
			return false
		}
		// Of those sent at one time the checker shall try the one that met the smallest head first.
		op.Call, op.Return = op.Call<<rankBits+int64(i), op.Return<<rankBits+1<<rankBits-1
	}
	return true
}

const rankBits = 12 // maxHistory fits

func sameStep(x, y porcupine.Operation) bool {
	a, b := x.Input.(step), y.Input.(step)
	return a.at == b.at && a.append == b.append
}

// observed returns what a call that was answered saw or did.
func observed(c *model.Call) (step, bool) {
	switch b := c.Reply.(type) {
	case *wire.AppendEventsReply:
		return step{append: true, at: b.FirstOffset, count: wire.Offset(b.Count)}, true
	case *wire.ReadEventsReply:
		return step{at: b.HeadOffset}, true
	case *wire.StreamInfoReply:
		return step{at: b.Info.HeadOffset}, true
	case *wire.Error:
		return step{at: b.CurrentOffset.Value}, b.Code == wire.OffsetMismatch
	}
	return step{}, false
}
