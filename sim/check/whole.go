package check

import (
	"github.com/kimberlitedb/kimberlite-go/sim/model"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// whole checks that of every append in a stream all events are there, side by side.
func (s *Suite) whole(st *model.Stream, head wire.Offset) {
	for o, w := range st.Owners {
		if w.Append == nil || wire.Offset(o) >= head || w.Append.Excused {
			continue
		}
		end := w.Append.First + wire.Offset(len(w.Append.Events))
		s.Saw(Whole, len(w.Append.Events) > 1)
		if end > head && !st.Shaky {
			s.Fail(Whole, "stream %s: operation %d appended %d events at %d, and the head is %d", st.Name, w.Append.Key.Op,
				len(w.Append.Events), w.Append.First, head)
			return
		}
	}
}
