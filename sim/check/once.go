package check

import (
	"github.com/kimberlitedb/kimberlite-go/sim/model"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// found learns from an event that was read and whose place nobody knew yet. It must be an append that was sent to this
// stream and not refused.
func (s *Suite) found(st *model.Stream, o wire.Offset, data []byte) {
	a := s.M.Identify(st.Tenant, data)
	if a == nil {
		return // not the first of a batch; the end of the run tells whose it is
	}
	if !s.must(Taint, a.Stream == st, "stream %s offset %d: operation %d was sent to stream %s", st.Name, o, a.Key.Op, a.Stream.Name) {
		return
	}
	if !s.must(Once, a.Outcome != model.Refused, "stream %s offset %d: operation %d was refused and is there", st.Name, o, a.Key.Op) {
		return
	}
	s.place(a, o)
}
