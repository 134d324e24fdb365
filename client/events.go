package client

import (
	"context"
	"fmt"
	"iter"
	"math"

	"github.com/kimberlitedb/kimberlite-go/wire"
)

// Sizes of a page.
const (
	pageBytes  = 1 << 20 // event data aimed at
	firstPage  = 1024    // events, before their size is known
	pageEvents = 1 << 16 // at most
)

// Events reads a stream from an offset on, page by page, to its head at the time of the last page. While the events of
// one page are yielded, the next two are on their way. Every event is verified as by Read. An error ends the sequence.
//
// With MaxEvents or MaxBytes the sequence ends after so much in all; the event that reaches the bytes is yielded. With
// Backward it goes down to the oldest event, and pages are asked for one after the other.
func (c *Client) Events(ctx context.Context, stream StreamID, from Offset, options ...ReadOption) iter.Seq2[Event, error] {
	o := ReadOption{}.with(options)
	return func(yield func(Event, error) bool) {
		ask, err := o.request(stream, from)
		if err == nil {
			from, err = c.begin(ctx, stream, from, o)
		}
		switch {
		case err != nil:
		case o.backward:
			err = c.descend(ctx, ask, o, yield)
		default:
			err = c.ascend(ctx, ask, o, from, yield)
		}
		if err != nil {
			yield(Event{}, err)
		}
	}
}

// ascend yields events from an offset up.
func (c *Client) ascend(ctx context.Context, ask *wire.ReadEvents, o ReadOption, from Offset, yield func(Event, error) bool) error {
	s := scan{
		c: c, ctx: ctx, stream: ask.Stream, options: o, next: from, since: ask.FromTimestamp, count: firstPage,
		left: o.mostEvents(), room: o.bytes.Or(math.MaxUint64),
	}
	defer s.drop()
	return s.run(yield)
}

// mostEvents returns how many events are wanted.
func (o ReadOption) mostEvents() uint64 {
	if o.events.Set {
		return uint64(o.events.Value)
	}
	return math.MaxUint64
}

// scan reads ahead. The pages under way are asked for by numbers of events, so that it is known where each begins
// before the one before it has come.
type scan struct {
	c       *Client
	ctx     context.Context
	stream  StreamID
	options ReadOption
	next    Offset                 // where the next page to be asked for begins
	since   wire.Option[wire.Time] // of the first page; nobody knows where the second one begins
	count   uint64                 // how many events it shall have
	left    uint64                 // events to yield
	room    uint64                 // bytes of data to yield
	ahead   []asked
}

// asked is a page under way.
type asked struct {
	*wire.ReadEvents
	*call
}

// outstanding is how many pages are under way.
const outstanding = 2

// run yields events until the head, a limit, or the end of the consumer's interest.
func (s *scan) run(yield func(Event, error) bool) error {
	for s.left > 0 && s.room > 0 {
		ask, r, err := s.page()
		if err != nil {
			return err
		}
		stopped := false
		next, err := verify(ask, r, func(e Event) bool {
			if s.options.ends(&e) {
				stopped = true
				return false
			}
			s.left--
			s.room -= min(s.room, uint64(len(e.Data)))
			stopped = !yield(e, nil) || s.left == 0 || s.room == 0
			return !stopped
		})
		if err != nil || stopped || next >= r.HeadOffset {
			return err
		}
		if r.Events.Count == 0 {
			return fmt.Errorf("stream %d: no event at offset %d, though the head is %d: %w", s.stream, next, r.HeadOffset, ErrDataCorrupted)
		}
	}
	return nil
}

// page returns the next page and asks for those after it.
func (s *scan) page() (*wire.ReadEvents, *wire.ReadEventsReply, error) {
	s.ask(0)
	ask := s.ahead[0]
	s.ahead = s.ahead[1:]
	reply, err := ask.wait(s.ctx)
	if err != nil {
		return nil, nil, err
	}
	r := reply.(*wire.ReadEventsReply)
	s.adapt(r)
	s.since = wire.Option[wire.Time]{}
	if r.NextOffset.Or(0) != ask.FromOffset+Offset(ask.MaxEvents.Value) { // shorter than asked for, or begun later
		s.drop()
		s.next = r.NextOffset.Or(ask.FromOffset)
	}
	if s.next < r.HeadOffset {
		s.ask(r.Events.Count)
	}
	return ask.ReadEvents, r, nil
}

// ask keeps the read-ahead full, as far as events are wanted beyond those at hand.
func (s *scan) ask(atHand int) {
	due := uint64(atHand)
	for _, a := range s.ahead {
		due += uint64(a.MaxEvents.Value)
	}
	for len(s.ahead) < outstanding && due < s.left && !(s.since.Set && len(s.ahead) > 0) {
		n := min(s.count, s.left-due)
		b := &wire.ReadEvents{
			Stream: s.stream, FromOffset: s.next, MaxBytes: min(2*pageBytes, s.room), MaxEvents: wire.Some(uint32(n)),
			FromTimestamp: s.since, AsOf: s.options.asOf,
		}
		s.ahead = append(s.ahead, asked{b, s.c.start(s.ctx, s.c.cfg.tenant, b)})
		s.next += Offset(n)
		due += n
	}
}

// adapt chooses the next pages' number of events by the size of those that came.
func (s *scan) adapt(r *wire.ReadEventsReply) {
	if r.Events.Count > 0 {
		size := max(r.Events.Size/r.Events.Count, 1)
		s.count = uint64(min(max(pageBytes/size, 1), pageEvents))
	}
}

// drop gives up the pages under way.
func (s *scan) drop() {
	for _, a := range s.ahead {
		s.c.forget(a.call)
	}
	s.ahead = nil
}
