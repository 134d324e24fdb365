package engine

import (
	"fmt"
	"sort"
	"strings"
	"time"

	"github.com/kimberlitedb/kimberlite-go/engine/seg"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// explain says what a consumer group does and why: who holds what, and what it waits for.
func (m *Machine) explain(r *Request, b *wire.Explain, fx []Effect) []Effect {
	s, g, fx := m.groupOf(r, b.Stream, b.Name, fx)
	if g == nil {
		return fx
	}
	m.cfg.hit(ProbeExplained)
	reply := &wire.ExplainReply{Info: m.describeGroup(s, g), Reasons: m.reasons(s, g)}
	if l := g.live; l != nil {
		for _, sub := range l.members {
			reply.Members = append(reply.Members, wire.MemberDescription{
				Subscription: sub.id, From: sub.req.From, CreditEvents: sub.events, CreditBytes: sub.bytes,
				Held: uint64(len(l.heldBy(sub))), Choked: sub.to.choked,
			})
		}
		held := l.heldBy(nil)
		for _, it := range held[:min(len(held), wire.MaxHeldTold)] {
			reply.Held = append(reply.Held, m.describeHeld(it))
		}
	}
	return m.reply(r, reply, max(s.lsn, g.lsn), fx)
}

func (m *Machine) describeHeld(it *item) wire.HeldDelivery {
	d := wire.HeldDelivery{
		Delivery: it.id, Offset: it.offset, Attempt: it.attempt,
		HeldFor: toMillis(m.clock.mono - it.since), Remaining: toMillis(max(0, it.at-m.clock.mono)),
	}
	if it.member != nil {
		d.Subscription = it.member.id
	}
	return d
}

func toMillis(t wire.Time) uint64 { return uint64(t) / uint64(Second/1000) }

// reasons says in sentences why a group's events are, or are not, being delivered. What stops everything comes first.
func (m *Machine) reasons(s *stream, g *group) (list []string) {
	say := func(format string, args ...any) { list = append(list, fmt.Sprintf(format, args...)) }
	l := g.live
	unsettled := g.unsettled(s.head)
	if g.paused {
		say("the group is paused: nothing is delivered until it is resumed")
	}
	if l == nil || len(l.members) == 0 {
		say("the group has no member: nothing is delivered until one subscribes")
	}
	if s.tenant.health != sound {
		say("the tenant is read-only, since the log is damaged: nothing can be acknowledged; run `kimberlite doctor` on the data directory")
	}
	if l != nil {
		m.obstacles(s, l, say)
	}
	if n := len(g.parked); n > 0 {
		say("%s parked after %d failed attempts or on request: replay or drop what is parked", countOf(n, "event is", "events are"), g.settings.maxAttempts)
		if n >= wire.MaxParked {
			say("no more events can be parked: those that fail are tried again once a second")
		}
	}
	if g.skipped > 0 {
		say("%s passed over since retention had removed what was not acknowledged, or since it cannot be read", countOf(int(g.skipped), "event was", "events were"))
	}
	switch {
	case unsettled == 0:
		say("the group has caught up: every event before the head, %d, is settled", s.head)
	case len(list) == 0:
		say("events are being delivered")
	}
	return list
}

func countOf(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// obstacles says what holds up a group that has had members.
func (m *Machine) obstacles(s *stream, l *consumers, say func(string, ...any)) {
	g := l.group
	if l.stuck != nil {
		say("the log has no room for the group's progress (%s: %s)", l.stuck.Code, l.stuck.Message)
	}
	if l.retryAt != 0 {
		say("the disk does not give event %d; it is read again in %s", l.awaitedOffset(), spanText(l.retryAt-m.clock.mono))
	}
	if len(l.held) >= int(g.settings.maxPending) {
		say("max_ack_pending is reached: %d deliveries are not acknowledged", len(l.held))
	} else if len(l.held) > 0 {
		say("%s not acknowledged", countOf(len(l.held), "delivery is", "deliveries are"))
	}
	if held := l.heldBy(nil); len(held) > 0 {
		m.sayHeld(held[0], say)
	}
	if l.delayed > 0 {
		say("%s given back with a delay; the next timer ends in %s", countOf(l.delayed, "event was", "events were"), spanText(l.timers[0].at-m.clock.mono))
	}
	if l.next >= l.limit() && l.next < s.head {
		say("look_ahead is reached: event %d is not settled, and nothing from %d on is delivered before it is", g.floor, l.limit())
	}
	if blocked := l.blockedKeys(); len(blocked) > 0 {
		say("events wait for an earlier one of their key: %s", strings.Join(blocked, ", "))
	}
	if g.unsettled(s.head) > uint64(len(l.held)+l.delayed) {
		m.sayCredit(l, say)
	}
}

// awaitedOffset returns the offset of the event that is to be read next.
func (l *consumers) awaitedOffset() wire.Offset {
	if len(l.ready) > 0 {
		return l.ready[0].offset
	}
	return l.next
}

func (m *Machine) sayHeld(it *item, say func(string, ...any)) {
	who := "a member that is gone"
	if it.member != nil {
		who = fmt.Sprintf("subscription %d from %s", it.member.id, it.member.req.From)
	}
	say("the oldest is event %d, attempt %d, with %s for %s; its deadline is in %s", it.offset, it.attempt, who, spanText(m.clock.mono-it.since), spanText(it.at-m.clock.mono))
}

// sayCredit says what keeps members from taking events.
func (m *Machine) sayCredit(l *consumers, say func(string, ...any)) {
	without, choked, late := 0, 0, 0
	for _, sub := range l.members {
		if sub.late {
			late++
		}
		switch {
		case sub.to.choked:
			choked++
		case sub.events == 0 || sub.bytes <= 0:
			without++
		}
	}
	if without > 0 {
		say("%d of %d members have no credit", without, len(l.members))
	}
	if late > 0 {
		say("%d of %d members have let a deadline pass since they were last heard of, and get events only where no other takes them", late, len(l.members))
	}
	if choked > 0 {
		say("%d of %d members do not take what was sent to them", choked, len(l.members))
	}
}

// maxKeysTold bounds how many keys an explanation names.
const maxKeysTold = 5

// blockedKeys tells of the keys for which most events wait.
func (l *consumers) blockedKeys() (list []string) {
	var keys []string
	for k, queue := range l.keys { //det:order-free: sorted below
		if len(queue) > 1 {
			keys = append(keys, k)
		}
	}
	sort.Slice(keys, func(i, j int) bool {
		a, b := len(l.keys[keys[i]]), len(l.keys[keys[j]])
		return a > b || a == b && keys[i] < keys[j]
	})
	for _, k := range keys[:min(len(keys), maxKeysTold)] {
		queue := l.keys[k]
		list = append(list, fmt.Sprintf("%s behind event %d with key %.64q", countOf(len(queue)-1, "event", "events"), queue[0].offset, k))
	}
	if len(keys) > maxKeysTold {
		list = append(list, fmt.Sprintf("and %d more keys", len(keys)-maxKeysTold))
	}
	return list
}

// spanText returns a span as people write it, to the millisecond, and nothing below zero.
func spanText(t wire.Time) string {
	return time.Duration(max(0, t)).Round(time.Millisecond).String()
}

// lagSince returns about the event time of the oldest event that is not settled.
func (m *Machine) lagSince(s *stream, g *group) wire.Option[wire.Time] {
	o, any := g.oldestUnsettled(s.head)
	if !any {
		return wire.Option[wire.Time]{}
	}
	if l := g.live; l != nil && l.items[o] != nil && l.items[o].time != 0 {
		return wire.Some(l.items[o].time)
	}
	return wire.Some(m.timeAbout(s, o))
}

// timeAbout returns about the event time of an event, as far as the indexes tell: the greatest one of the piece before.
func (m *Machine) timeAbout(s *stream, o wire.Offset) wire.Time {
	at := s.firstTime
	if o >= m.unsealed(s) {
		i := sort.Search(len(s.index), func(i int) bool { return s.index[i].first > o })
		if i > 1 {
			return s.index[i-2].latest
		}
		return at
	}
	m.layout.sections(s, s.oldest, func(_ *seg.SealedIndex, x *seg.Section) bool {
		if x.Next > o {
			return false
		}
		at = x.MaxTime
		return true
	})
	return at
}
