package check

import (
	"github.com/kimberlitedb/kimberlite-go/sim/model"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// dense checks that every offset below a stream's head has an event that somebody sent.
func (s *Suite) dense(st *model.Stream, head wire.Offset) {
	for o := range head {
		if _, lost := st.LostAt(o); lost {
			continue
		}
		if !s.must(Dense, st.Owner(o).Append != nil, "stream %s offset %d of %d holds nothing that anybody sent", st.Name, o, head) {
			return
		}
	}
}
