package check

import (
	"bytes"

	"github.com/kimberlitedb/kimberlite-go/sim/model"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// acknowledged checks what an append was answered, and notes that from now on its events must be there.
func (s *Suite) acknowledged(c *model.Call, b *wire.AppendEventsReply) {
	a := c.Append
	if a == nil {
		s.Fail(Contract, "%s: bad input was acknowledged at %d", where(c), b.FirstOffset)
		return
	}
	s.must(Dense, int(b.Count) == len(a.Events), "%s: %d events acknowledged, %d were sent", where(c), b.Count, len(a.Events))
	s.met(c, b)
	s.committed(c, b.Position, b.Timestamp)
	a.Outcome, a.Acked, a.Commit = model.Done, s.Now(), b.Timestamp
	s.must(told[c.Told], b.FirstOffset >= c.Floor || c.Stream.Shaky,
		"%s: acknowledged at offset %d, but the head was known to be %d", where(c), b.FirstOffset, c.Floor)
	s.place(a, b.FirstOffset)
	c.Stream.Exists = true
	s.learn(c.Stream, b.FirstOffset+wire.Offset(len(a.Events)), model.FromAppend)
}

// place notes where an append lies. It can lie in one place only, and nothing else can lie there.
func (s *Suite) place(a *model.Append, first wire.Offset) bool {
	if a.Placed {
		return s.must(Once, a.First == first, "operation %d attempt %d on stream %s is at offset %d and at %d",
			a.Key.Op, a.Key.Attempt, a.Stream.Name, a.First, first)
	}
	a.Placed, a.First = true, first
	for i := range a.Events {
		o := first + wire.Offset(i)
		if w := a.Stream.Owner(o); w.Append != nil {
			rule := Reads
			if w.Append.Outcome == model.Done {
				rule = Durable
			}
			s.Fail(rule, "stream %s offset %d: was event %d of operation %d (attempt %d), is event %d of operation %d (attempt %d)",
				a.Stream.Name, o, w.Index, w.Append.Key.Op, w.Append.Key.Attempt, i, a.Key.Op, a.Key.Attempt)
			return false
		}
		a.Stream.Own(o, model.Owner{Append: a, Index: i})
	}
	s.Saw(Durable, true)
	return true
}

// present checks an event that was read against the one that is known to be there.
func (s *Suite) present(st *model.Stream, o wire.Offset, w model.Owner, data []byte) bool {
	rule := Durable
	if w.Append.Outcome != model.Done {
		rule = Once
	}
	return s.must(rule, bytes.Equal(w.Append.Events[w.Index], data),
		"stream %s offset %d: event %d of operation %d (attempt %d) reads as %d other bytes", st.Name, o, w.Index, w.Append.Key.Op,
		w.Append.Key.Attempt, len(data))
}

// Final checks a stream that was read from its beginning to its head once all faults had ended: data holds its events,
// nil where damage was reported instead.
func (s *Suite) Final(st *model.Stream, head wire.Offset) {
	for o, w := range st.Owners {
		if w.Append == nil || w.Append.Outcome != model.Done || w.Append.Excused {
			continue
		}
		if _, lost := st.LostAt(wire.Offset(o)); lost {
			continue
		}
		if !s.must(Durable, wire.Offset(o) < head, "tenant %d stream %s offset %d (client %d operation %d) acknowledged at %.3f s, missing at the end: the head is %d",
			st.Tenant.ID, st.Name, o, w.Append.Client, w.Append.Key.Op, float64(w.Append.Acked)/1e9, head) {
			return
		}
	}
	s.must(told[st.Told], head >= st.Head || st.Shaky, "stream %s: the head is %d at the end, and was said to be %d", st.Name, head, st.Head)
	s.dense(st, head)
	s.whole(st, head)
}
