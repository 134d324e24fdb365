package check

import (
	"hash/crc32"

	"github.com/kimberlitedb/kimberlite-go/sim/model"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// begin fixes where a subscription from the end has begun: not before the head as it was known.
func (s *Suite) begin(sub *model.Subscription, o wire.Offset) {
	if sub.Next != wire.EndOffset {
		return
	}
	sub.Next = o
	s.must(Pushed, o >= sub.Floor || sub.Stream.Shaky, "%s: begins at %d, and the head was known to be %d", sub, o, sub.Floor)
}

// Unsubscribed checks where a subscription says that it ends. Pushes before it may be lost with nothing but the connection.
func (s *Suite) Unsubscribed(sub *model.Subscription, next wire.Offset) {
	s.begin(sub, next)
	s.must(Pushed, next == sub.Next || s.Holes || s.Damaged(sub.Stream, sub.Next), "%s: ended before event %d, and %d was due", sub, next, sub.Next)
}

// Refused checks a refusal that is not the answer to a call.
func (s *Suite) Refused(e *wire.Error, want wire.Code) {
	s.must(Contract, e.Code == want, "refused with %s: %s; it should have been %s", e.Code, e.Message, want)
}

// Agreed checks a handshake's reply.
func (s *Suite) Agreed(f wire.Features, b *wire.HandshakeReply) {
	s.must(Contract, b.ServerVersion == f.Version, "the server has agreed on version %d, and should on %d", b.ServerVersion, f.Version)
}

// Subscribed checks events that were pushed: each is the next one, sound, as it was appended, and paid for.
func (s *Suite) Subscribed(sub *model.Subscription, b *wire.SubscriptionEvents) {
	s.must(Contract, b.Events.Count > 0, "%s: a push without events", sub)
	for e := range b.Events.All {
		if s.Failed != nil {
			return
		}
		s.begin(sub, e.Offset)
		if !s.must(Pushed, e.Offset == sub.Next, "%s: event %d came where %d was due", sub, e.Offset, sub.Next) ||
			!s.must(Credit, sub.Events > 0 && sub.Bytes > 0, "%s: event %d came with credit for %d events and %d bytes", sub, e.Offset, sub.Events, sub.Bytes) ||
			!s.must(Pushed, e.Checksum == crc32.ChecksumIEEE(e.Data), "%s: event %d does not match its checksum", sub, e.Offset) {
			return
		}
		sub.Next++
		sub.Events--
		sub.Bytes -= int64(len(e.Data) + wire.EventOverhead)
		if w := sub.Stream.Owner(e.Offset); w.Append != nil {
			s.present(sub.Stream, e.Offset, w, e.Data)
		} else {
			s.found(sub.Stream, e.Offset, e.Data)
		}
	}
	s.learn(sub.Stream, sub.Next, model.FromRead)
}

// CaughtUp checks that a subscription was sent everything before a word that it was.
func (s *Suite) CaughtUp(sub *model.Subscription, b *wire.CaughtUp) {
	s.begin(sub, b.Offset)
	s.must(Pushed, b.Offset == sub.Next, "%s: caught up at %d, and %d was due", sub, b.Offset, sub.Next)
	s.must(Credit, sub.Events > 0 && sub.Bytes > 0, "%s: told that it has caught up with credit for %d events and %d bytes", sub, sub.Events, sub.Bytes)
}

// Gap checks that events are passed over for a reason: streams of the plan keep theirs for ever.
func (s *Suite) Gap(sub *model.Subscription, b *wire.Gap) {
	s.must(Pushed, b.From == sub.Next && b.To > b.From, "%s: a gap from %d to %d where %d was due", sub, b.From, b.To, sub.Next)
	s.must(Pushed, b.Reason == wire.GapDamage && (s.Holes || s.Damaged(sub.Stream, b.From)), "%s: events %d to %d are passed over (%s), and nothing is wrong with them",
		sub, b.From, b.To, b.Reason)
	sub.Next = b.To
}
