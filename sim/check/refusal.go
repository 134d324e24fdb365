package check

import (
	"github.com/kimberlitedb/kimberlite-go/sim/model"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// head checks a head that a client was told against those told before it asked, and notes it: it must stay true.
func (s *Suite) head(c *model.Call, head wire.Offset, from model.Source) {
	st := c.Stream
	rule := told[c.Told]
	s.Saw(rule, c.Floor > 0)
	if head < c.Floor && !st.Shaky {
		s.Fail(rule, "%s: the head is %d, but was known to be %d before", where(c), head, c.Floor)
	}
	s.Saw(Reads, true)
	last := s.heads[headKey{c.Conn, st}]
	if head < last.head && c.Order > last.order {
		s.Fail(Reads, "%s: the head went from %d back to %d within a session", where(c), last.head, head)
	}
	if c.Order > last.order { // replies may come in any order
		s.heads[headKey{c.Conn, st}] = knownHead{head, c.Order}
	}
	s.learn(st, head, from)
}

// told says which rule is broken where a head that somebody was told turns out wrong, by how it was told: an append that
// was acknowledged is gone, a read has shown what was not durable, or a refusal has.
var told = map[model.Source]Invariant{model.FromAppend: Durable, model.FromRead: Reads, model.FromRefusal: Refusal}

// learn notes that somebody was told of a head.
func (s *Suite) learn(st *model.Stream, head wire.Offset, from model.Source) {
	if head > st.Head {
		st.Head, st.Told = head, from
	}
}

// missing checks a refusal because something does not exist: nobody can have been told before that it does.
func (s *Suite) missing(c *model.Call, e *wire.Error) {
	if c.Stream == nil {
		t := s.M.Tenant(int(c.Tenant))
		s.must(Refusal, !c.Known || t.Shaky, "%s: %s, but tenant %d was known to exist", where(c), e.Code, c.Tenant)
		return
	}
	s.must(Refusal, !c.Known || c.Stream.Shaky || c.Stream.Tenant.Shaky, "%s: %s, but the stream was known to exist", where(c), e.Code)
	if t := c.Stream.Tenant; t.Shaky && e.Code == wire.TenantNotFound {
		t.Exists = false // damage has taken it
	}
}

// created notes that a stream exists under an id. It is the same for ever, and no other stream's. Where a hole in the log
// may have swallowed the stream, it may have been made anew.
func (s *Suite) created(st *model.Stream, id wire.StreamID) {
	if other := s.M.ByID[id]; !s.must(Refusal, other == nil || other == st, "stream id %d was given to %s and to %s", id, nameOf(other), st.Name) {
		return
	}
	if !s.must(Refusal, st.ID == 0 || st.ID == id || st.Tenant.Shaky, "stream %s had id %d and has id %d", st.Name, st.ID, id) {
		return
	}
	if st.ID != 0 && st.ID != id {
		delete(s.M.ByID, st.ID)
		st.Lose(0)
		st.Head, st.Shaky = 0, true
	}
	st.ID, st.Exists, st.Tenant.Exists = id, true, true
	s.M.ByID[id] = st
}

func nameOf(st *model.Stream) string {
	if st == nil {
		return "nobody"
	}
	return st.Name
}

// described checks what a client was told about one stream.
func (s *Suite) described(c *model.Call, d *wire.StreamDescription) {
	st := c.Stream
	if st == nil || d.Name != st.Name && !st.Shaky {
		s.Fail(Contract, "%s: described as %q", where(c), d.Name)
		return
	}
	s.created(st, d.Stream)
	s.head(c, d.HeadOffset, model.FromRead)
}

// listed checks a page of streams: all are the tenant's own, in order.
func (s *Suite) listed(c *model.Call, b *wire.ListStreamsReply) {
	t := s.M.Tenant(int(c.Tenant))
	var last wire.StreamID
	for i := range b.Streams {
		d := &b.Streams[i]
		s.must(Contract, d.Stream > last, "%s: stream %d is listed after %d", where(c), d.Stream, last)
		last = d.Stream
		found := false
		for _, st := range t.Streams {
			if st.Name == d.Name {
				found = true
				s.created(st, d.Stream)
			}
		}
		s.must(Taint, found || t.Shaky, "%s: stream %q is not the tenant's", where(c), d.Name)
	}
}
