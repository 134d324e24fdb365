package check

import (
	"github.com/kimberlitedb/kimberlite-go/sim/model"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// met checks an append that succeeded against what it expected.
func (s *Suite) met(c *model.Call, b *wire.AppendEventsReply) {
	expect := c.Body.(*wire.AppendEvents).ExpectOffset
	s.Saw(Expectation, expect.Set)
	if expect.Set && expect.Value != b.FirstOffset {
		s.Fail(Expectation, "%s: expected %d and was appended at %d", where(c), expect.Value, b.FirstOffset)
	}
}

// mismatched checks a refusal because of the offset, and learns the head from it.
func (s *Suite) mismatched(c *model.Call, e *wire.Error) {
	b, ok := c.Body.(*wire.AppendEvents)
	if !s.must(Contract, ok && b.ExpectOffset.Set && e.CurrentOffset.Set, "%s: OffsetMismatch without an expectation or an offset", where(c)) {
		return
	}
	s.must(Expectation, e.CurrentOffset.Value != b.ExpectOffset.Value, "%s: expected %d, is %d, and was refused", where(c),
		b.ExpectOffset.Value, e.CurrentOffset.Value)
	s.head(c, e.CurrentOffset.Value, model.FromRefusal)
}
