package check

import (
	"hash/crc32"

	"github.com/kimberlitedb/kimberlite-go/sim/model"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// read checks a range of events: every limit kept, every byte as it was sent, and nothing that a crash could undo.
func (s *Suite) read(c *model.Call, b *wire.ReadEventsReply) {
	q := c.Body.(*wire.ReadEvents)
	n := wire.Offset(b.Events.Count)
	s.head(c, b.HeadOffset, model.FromRead)
	want := wire.Option[wire.Offset]{}
	if n > 0 {
		want = wire.Some(q.FromOffset + n)
	}
	s.must(Contract, b.NextOffset == want, "%s: %d events from %d, and the next offset is %v", where(c), n, q.FromOffset, b.NextOffset)
	s.must(Contract, n == 0 || q.FromOffset+n <= b.HeadOffset, "%s: read to %d, beyond the head %d", where(c), q.FromOffset+n, b.HeadOffset)
	some := q.FromOffset < b.HeadOffset && q.MaxBytes > 0 && q.MaxEvents.Or(1) > 0
	s.must(Contract, (n > 0) == some, "%s: %d events from %d with head %d, at most %d bytes", where(c), n, q.FromOffset, b.HeadOffset, q.MaxBytes)
	s.must(Contract, !q.MaxEvents.Set || uint32(n) <= q.MaxEvents.Value, "%s: %d events, at most %d were asked for", where(c), n, q.MaxEvents.Value)
	s.events(c, q, b)
}

func (s *Suite) events(c *model.Call, q *wire.ReadEvents, b *wire.ReadEventsReply) {
	o, data, last := q.FromOffset, uint64(0), 0
	for e := range b.Events.All {
		if s.Failed != nil {
			return
		}
		if c.Features.RichEvents {
			s.rich(c, o, &e)
		}
		if s.Saw(Reads, true); s.Failed == nil {
			if w := c.Stream.Owner(o); w.Append != nil {
				s.present(c.Stream, o, w, e.Data)
			} else {
				s.found(c.Stream, o, e.Data)
			}
		}
		last = len(e.Data)
		data += uint64(last)
		o++
	}
	s.must(Contract, data == 0 || data-uint64(last) < q.MaxBytes, "%s: %d bytes read, at most %d were asked for", where(c), data, q.MaxBytes)
}

// rich checks what only a client with rich events sees.
func (s *Suite) rich(c *model.Call, o wire.Offset, e *wire.Event) {
	s.must(Dense, e.Offset == o, "%s: event %d came where %d was due", where(c), e.Offset, o)
	s.must(Reads, e.Checksum == crc32.ChecksumIEEE(e.Data), "%s: event %d does not match its checksum", where(c), o)
	w := c.Stream.Owner(o)
	switch {
	case w.Append == nil:
	case len(w.Append.Times) > 0:
		s.must(Reads, e.Timestamp == w.Append.Times[w.Index], "%s: event %d has time %d, sent with %d", where(c), o, e.Timestamp, w.Append.Times[w.Index])
	case w.Append.Outcome == model.Done:
		s.must(Reads, e.Timestamp == w.Append.Commit, "%s: event %d has time %d, committed at %d", where(c), o, e.Timestamp, w.Append.Commit)
	}
}
