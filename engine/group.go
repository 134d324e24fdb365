package engine

import (
	"fmt"
	"slices"
	"sort"

	"github.com/kimberlitedb/kimberlite-go/engine/seg"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// A consumer group shares a stream among members. What it remembers is part of the durable state: how far it has got, what
// was acknowledged beyond that, how often which event has failed, and what is parked. An event is settled once it is
// acknowledged, parked or passed over. What is being delivered, by when it must be acknowledged and what waits for a
// while is in memory alone; see consumers.
type group struct {
	id       uint64 // in its stream, never given again
	name     string
	created  wire.Time
	settings groupSettings
	paused   bool
	floor    wire.Offset            // every event before it is settled; floor <= head
	settled  []span                 // beyond the floor, ascending, neither touching each other nor the floor
	attempts map[wire.Offset]uint32 // that have failed, of events that are not settled
	again    []wire.Offset          // ascending; were parked, and are not settled any more
	parked   []parked               // ascending offsets
	reach    wire.Offset            // unsettled events before it may be with a member; none from there on is
	skipped  uint64                 // events that nobody has acknowledged, and nobody can any more
	missed   []miss                 // of them, what no member was told of
	lsn      seg.LSN                // of the last entry about it

	// Of the running machine alone:
	headAtStart wire.Offset // the stream's, when the server was started
	live        *consumers  // nil until a member comes
	gone        bool        // it was deleted, or its stream purged
}

// groupSettings are wire.GroupSettings, all of them present.
type groupSettings struct {
	deadline    uint32 // milliseconds
	maxAttempts uint32
	maxPending  uint32
	lookAhead   uint32
	order       wire.OrderKey
}

// parked is an event that was not acknowledged in the end.
type parked struct {
	offset   wire.Offset
	attempts uint32
	since    wire.Time // commit time
	asked    bool      // a member has asked for it
}

// miss is events that were passed over.
type miss struct {
	span
	reason wire.GapReason
}

var defaultGroup = groupSettings{
	deadline: wire.DefaultAckDeadline, maxAttempts: wire.DefaultMaxAttempts, maxPending: wire.DefaultMaxAckPending, lookAhead: wire.DefaultLookAhead,
}

// with returns the settings with those that are given, or what is wrong with them.
func (g groupSettings) with(s *wire.GroupSettings) (_ groupSettings, why string) {
	set := func(to *uint32, o wire.Option[uint32], name string, least, most uint32) {
		if !o.Set {
			return
		}
		if *to = o.Value; (o.Value < least || o.Value > most) && why == "" {
			why = fmt.Sprintf("%s is %d; give %d to %d", name, o.Value, least, most)
		}
	}
	set(&g.deadline, s.AckDeadline, "the ack deadline in milliseconds", wire.MinAckDeadline, wire.MaxAckDeadline)
	set(&g.maxAttempts, s.MaxAttempts, "max_attempts", 1, 1<<32-1)
	set(&g.maxPending, s.MaxAckPending, "max_ack_pending", 1, wire.MaxLookAhead)
	set(&g.lookAhead, s.LookAhead, "look_ahead", 1, wire.MaxLookAhead)
	if s.Order.Set {
		g.order = s.Order.Value
		if bad := badOrder(g.order); bad != "" && why == "" {
			why = bad
		}
	}
	return g, why
}

// describe returns the settings as the wire has them.
func (g groupSettings) describe() wire.GroupSettings {
	return wire.GroupSettings{
		AckDeadline: wire.Some(g.deadline), MaxAttempts: wire.Some(g.maxAttempts), MaxAckPending: wire.Some(g.maxPending),
		LookAhead: wire.Some(g.lookAhead), Order: wire.Some(g.order),
	}
}

// settingsDetail is what an audit event tells of a group's settings.
type settingsDetail struct {
	Deadline    uint32 `json:"ack_deadline_ms"`
	MaxAttempts uint32 `json:"max_attempts"`
	MaxPending  uint32 `json:"max_ack_pending"`
	LookAhead   uint32 `json:"look_ahead"`
	Order       string `json:"order,omitempty"`
}

func (g groupSettings) detail() settingsDetail {
	return settingsDetail{g.deadline, g.maxAttempts, g.maxPending, g.lookAhead, orderText(g.order)}
}

// groupOf finds the stream and the group that a request is about. Where there is none, the request is refused.
func (m *Machine) groupOf(r *Request, id wire.StreamID, name string, fx []Effect) (*stream, *group, []Effect) {
	s, fx := m.standing(r, id, fx)
	if s == nil {
		return nil, nil, fx
	}
	g := s.group(name)
	if g == nil {
		return nil, nil, m.noGroup(r, s, name, fx)
	}
	return s, g, fx
}

// changeable is groupOf for requests that change the group.
func (m *Machine) changeable(r *Request, id wire.StreamID, name string, fx []Effect) (*stream, *group, []Effect) {
	s, g, fx := m.groupOf(r, id, name, fx)
	if g != nil && s.tenant.health != sound {
		return nil, nil, m.readOnly(r, s.tenant, fx)
	}
	return s, g, fx
}

func (m *Machine) noGroup(r *Request, s *stream, name string, fx []Effect) []Effect {
	return m.refuse(r, wire.GroupNotFound, s.lsn, fx, "stream %q has no consumer group %q; create it first", s.name, clip(name))
}

// group finds a group by name, ignoring ASCII case.
func (s *stream) group(name string) *group {
	for _, g := range s.groups {
		if wire.Fold(g.name) == wire.Fold(name) {
			return g
		}
	}
	return nil
}

// groupByID returns nil where there is none.
func (s *stream) groupByID(id uint64) *group {
	i := sort.Search(len(s.groups), func(i int) bool { return s.groups[i].id >= id })
	if i < len(s.groups) && s.groups[i].id == id {
		return s.groups[i]
	}
	return nil
}

// createGroup makes a group.
func (m *Machine) createGroup(r *Request, b *wire.CreateGroup, fx []Effect) []Effect {
	s, fx := m.managed(r, b.Stream, fx)
	if s == nil {
		return fx
	}
	if s.deleted {
		return m.gone(r, s, s.lsn, fx)
	}
	if why := badName(b.Name); why != "" {
		return m.refuse(r, wire.InvalidRequest, s.lsn, fx, "group name: %s", why)
	}
	settings, why := defaultGroup.with(&b.Settings)
	if why != "" {
		return m.refuse(r, wire.InvalidRequest, s.lsn, fx, "%s", why)
	}
	if g := s.group(b.Name); g != nil {
		return m.groupExists(r, s, g, fx)
	}
	if len(s.groups) >= wire.MaxGroups {
		return m.refuse(r, wire.QuotaExceeded, s.lsn, fx, "stream %q has %d consumer groups; delete some first", s.name, len(s.groups))
	}
	return m.startAt(r, s, b.FromOffset, b.FromTimestamp, fx, func(at wire.Offset, fx []Effect) []Effect {
		if g := s.group(b.Name); g != nil { // meanwhile
			return m.groupExists(r, s, g, fx)
		}
		g := &group{id: s.lastGroup + 1, name: b.Name, settings: settings, floor: at}
		detail := struct {
			Group string      `json:"group"`
			From  wire.Offset `json:"from"`
			settingsDetail
		}{b.Name, at, settings.detail()}
		if e := m.carryOut(about(r.From, s, seg.KindCreateGroup, "group.create", detail, g.encodeSpec())); e != nil {
			return m.reply(r, e, s.lsn, fx)
		}
		m.cfg.hit(ProbeGroupCreated)
		return m.reply(r, &wire.CreateGroupReply{Floor: at, Position: s.tenant.position}, s.lsn, fx)
	})
}

func (m *Machine) groupExists(r *Request, s *stream, g *group, fx []Effect) []Effect {
	return m.refuse(r, wire.GroupAlreadyExists, s.lsn, fx, "stream %q has a consumer group %q; names are unique ignoring case", s.name, g.name)
}

// startAt finds the offset at which a group is to begin, and goes on with that.
func (m *Machine) startAt(r *Request, s *stream, from wire.Offset, since wire.Option[wire.Time], fx []Effect, then func(wire.Offset, []Effect) []Effect) []Effect {
	switch {
	case since.Set:
	case from == wire.EndOffset:
		return then(s.head, fx)
	case from > s.head:
		return m.refuse(r, wire.InvalidOffset, s.lsn, fx, "offset %d is behind the stream's head, %d; begin there or before", from, s.head)
	default:
		return then(max(from, s.oldest), fx)
	}
	rd := m.reading(s, s.oldest, maxReadSize)
	rd.only = true
	rd.then = func(b wire.ResponseBody, fx []Effect) []Effect {
		if e, failed := b.(*wire.Error); failed {
			return m.reply(r, e, rd.after, fx)
		}
		if s.deleted {
			return m.gone(r, s, s.lsn, fx)
		}
		return m.endBatch(then(min(max(rd.next, s.oldest), s.head), fx))
	}
	if rd.next < rd.end {
		m.seek(rd, since.Value)
	}
	return m.readOn(rd, fx)
}

// updateGroup changes a group.
func (m *Machine) updateGroup(r *Request, b *wire.UpdateGroup, fx []Effect) []Effect {
	s, g, fx := m.changeable(r, b.Stream, b.Name, fx)
	if g == nil {
		return fx
	}
	settings, why := g.settings.with(&b.Settings)
	if b.SeekOffset.Set && b.SeekTimestamp.Set {
		why = "both an offset and a time to seek are given; give one"
	}
	if why != "" {
		return m.refuse(r, wire.InvalidRequest, s.lsn, fx, "%s", why)
	}
	if !b.SeekOffset.Set && !b.SeekTimestamp.Set {
		return m.changeGroup(r, s, g, groupChange{paused: b.Paused.Or(g.paused), settings: settings}, fx)
	}
	return m.startAt(r, s, b.SeekOffset.Value, b.SeekTimestamp, fx, func(at wire.Offset, fx []Effect) []Effect {
		if g.gone {
			return m.noGroup(r, s, b.Name, fx)
		}
		m.cfg.hit(ProbeGroupSought)
		return m.changeGroup(r, s, g, groupChange{paused: b.Paused.Or(g.paused), settings: settings, seek: wire.Some(at)}, fx)
	})
}

// groupChange is what becomes of a group.
type groupChange struct {
	paused   bool
	settings groupSettings
	seek     wire.Option[wire.Offset]
}

func (m *Machine) changeGroup(r *Request, s *stream, g *group, c groupChange, fx []Effect) []Effect {
	if c.paused == g.paused && c.settings == g.settings && !c.seek.Set {
		return m.reply(r, &wire.UpdateGroupReply{Floor: g.floor, Position: s.tenant.position}, max(g.lsn, s.lsn), fx)
	}
	detail := struct {
		Group  string       `json:"group"`
		Paused bool         `json:"paused"`
		Floor  wire.Offset  `json:"floor_before"`
		Seek   *wire.Offset `json:"seek,omitempty"`
		settingsDetail
	}{Group: g.name, Paused: c.paused, Floor: g.floor, settingsDetail: c.settings.detail()}
	if c.seek.Set {
		detail.Seek = &c.seek.Value
	}
	reordered := c.settings.order != g.settings.order
	if reordered && !c.seek.Set { // nobody knows what belongs to what is with a member
		if e := m.recall(g); e != nil {
			return m.reply(r, e, s.lsn, fx)
		}
	}
	if e := m.carryOut(about(r.From, s, seg.KindUpdateGroup, "group.update", detail, c.encode(g.id))); e != nil {
		return m.reply(r, e, s.lsn, fx)
	}
	if g.live != nil {
		g.live.begun = g.lsn
	}
	if c.seek.Set || reordered {
		m.restart(g)
	}
	fx = m.reply(r, &wire.UpdateGroupReply{Floor: g.floor, Position: s.tenant.position}, s.lsn, fx)
	return m.deal(g, fx)
}

// deleteGroup deletes a group. Its members are told.
func (m *Machine) deleteGroup(r *Request, b *wire.DeleteGroup, fx []Effect) []Effect {
	s, g, fx := m.changeable(r, b.Stream, b.Name, fx)
	if g == nil {
		return fx
	}
	detail := struct {
		Group string      `json:"group"`
		Floor wire.Offset `json:"floor"`
	}{g.name, g.floor}
	if e := m.carryOut(about(r.From, s, seg.KindDeleteGroup, "group.delete", detail, putNumbers(nil, g.id))); e != nil {
		return m.reply(r, e, s.lsn, fx)
	}
	m.forgetGroup(g)
	fx = m.reply(r, &wire.DeleteGroupReply{Position: s.tenant.position}, s.lsn, fx)
	for g.live != nil && len(g.live.members) > 0 {
		sub := g.live.members[0]
		fx = m.end(sub, fx)
		m.cfg.hit(ProbeSubscriptionClosed)
		why := fmt.Sprintf("consumer group %q was deleted", g.name)
		fx = m.after(s.lsn, sub.push(&wire.SubscriptionClosed{Subscription: sub.id, Code: wire.GroupNotFound, Message: why}), fx)
	}
	return fx
}

// listGroups answers with one page of a stream's groups.
func (m *Machine) listGroups(r *Request, b *wire.ListGroups, fx []Effect) []Effect {
	s, fx := m.standing(r, b.Stream, fx)
	if s == nil {
		return fx
	}
	reply, limit, after := &wire.ListGroupsReply{}, page(b.Limit, wire.MaxListPage), s.lsn
	for _, g := range s.groups {
		if after = max(after, g.lsn); g.id <= b.After {
			continue
		}
		if len(reply.Groups) == limit {
			reply.More = true
			break
		}
		reply.Groups = append(reply.Groups, m.describeGroup(s, g))
	}
	return m.reply(r, reply, after, fx)
}

// groupInfo describes one group.
func (m *Machine) groupInfo(r *Request, b *wire.GroupInfo, fx []Effect) []Effect {
	s, g, fx := m.groupOf(r, b.Stream, b.Name, fx)
	if g == nil {
		return fx
	}
	return m.reply(r, &wire.GroupInfoReply{Info: m.describeGroup(s, g)}, max(s.lsn, g.lsn), fx)
}

func (m *Machine) describeGroup(s *stream, g *group) wire.GroupDescription {
	d := wire.GroupDescription{
		ID: g.id, Name: g.name, Created: g.created, Settings: g.settings.describe(), Paused: g.paused, Floor: g.floor, Head: s.head,
		Lag: g.unsettled(s.head), LagSince: m.lagSince(s, g), Parked: uint64(len(g.parked)), Skipped: g.skipped,
	}
	if l := g.live; l != nil {
		d.Pending, d.Delayed, d.Redelivered, d.Members = uint64(len(l.held)), uint64(l.delayed), l.redelivered, uint32(len(l.members))
	}
	return d
}

// parkedEvents lists a group's parked events, or takes some from among them.
func (m *Machine) parkedEvents(r *Request, b *wire.Parked, fx []Effect) []Effect {
	if b.Action != wire.ParkedList {
		return m.unpark(r, b, fx)
	}
	s, g, fx := m.groupOf(r, b.Stream, b.Name, fx)
	if g == nil {
		return fx
	}
	i, _ := g.findParked(b.From)
	n := min(len(g.parked)-i, page(b.Limit, wire.MaxListPage))
	reply := &wire.ParkedReply{More: i+n < len(g.parked)}
	for _, p := range g.parked[i : i+n] {
		reply.Events = append(reply.Events, wire.ParkedEvent{Offset: p.offset, Attempts: p.attempts, Since: p.since, Asked: p.asked})
	}
	return m.reply(r, reply, max(s.lsn, g.lsn), fx)
}

// unpark has parked events delivered again, or counts them as acknowledged.
func (m *Machine) unpark(r *Request, b *wire.Parked, fx []Effect) []Effect {
	s, g, fx := m.changeable(r, b.Stream, b.Name, fx)
	if g == nil {
		return fx
	}
	if len(b.Offsets) > wire.MaxParkedAtOnce {
		return m.refuse(r, wire.InvalidRequest, s.lsn, fx, "the request names %d parked events; name at most %d, or none for all", len(b.Offsets), wire.MaxParkedAtOnce)
	}
	u := unparking{drop: b.Action == wire.ParkedDrop, offsets: g.parkedAmong(b.Offsets)}
	count := len(u.offsets)
	if count == 0 {
		return m.reply(r, &wire.ParkedReply{}, max(s.lsn, g.lsn), fx)
	}
	detail := struct {
		Group   string        `json:"group"`
		Count   int           `json:"count"`
		Offsets []wire.Offset `json:"offsets,omitempty"`
	}{Group: g.name, Count: count}
	if len(b.Offsets) > 0 {
		detail.Offsets = u.offsets[:min(count, maxOffsetsTold)]
	}
	if g.live == nil && !u.drop { // what members had when the server ended fails first: what is replayed now was not with them
		if e := m.revive(g, s); e != nil {
			return m.reply(r, e, s.lsn, fx)
		}
		m.allBack(g, s)
	}
	if u.all = count == len(g.parked); u.all {
		u.offsets = nil
	}
	verb := "group.replay"
	if u.drop {
		verb = "group.drop"
	}
	if e := m.carryOut(about(r.From, s, seg.KindUnpark, verb, detail, u.encode(g.id))); e != nil {
		return m.reply(r, e, s.lsn, fx)
	}
	m.cfg.hit(ProbeGroupUnparked)
	if !u.drop {
		g.live.replayed(g.again)
		g.live.begun = g.lsn
	}
	fx = m.reply(r, &wire.ParkedReply{Changed: uint64(count)}, s.lsn, fx)
	return m.deal(g, fx)
}

// maxOffsetsTold bounds how many offsets an audit event names.
const maxOffsetsTold = 100

// unparking takes events from among the parked ones.
type unparking struct {
	drop    bool          // they count as acknowledged
	all     bool          // that is parked when it is applied
	offsets []wire.Offset // ascending, unless all
}

// parkedAmong returns those of the offsets that are parked, or of all where none is named, in order.
func (g *group) parkedAmong(offsets []wire.Offset) (list []wire.Offset) {
	if len(offsets) == 0 {
		for _, p := range g.parked {
			list = append(list, p.offset)
		}
		return list
	}
	for _, o := range offsets {
		if _, ok := g.findParked(o); ok {
			list = append(list, o)
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// findParked returns where a parked event is, or would be.
func (g *group) findParked(o wire.Offset) (int, bool) {
	i := sort.Search(len(g.parked), func(i int) bool { return g.parked[i].offset >= o })
	return i, i < len(g.parked) && g.parked[i].offset == o
}

// isSettled reports whether nobody needs to deal with an event.
func (g *group) isSettled(o wire.Offset) bool {
	if o >= g.floor {
		i := sort.Search(len(g.settled), func(i int) bool { return g.settled[i].to > o })
		if i == len(g.settled) || o < g.settled[i].from {
			return false
		}
	}
	_, again := slices.BinarySearch(g.again, o)
	return !again
}

// unsettled returns how many events before a head are not settled.
func (g *group) unsettled(head wire.Offset) uint64 {
	n := uint64(len(g.again))
	if head > g.floor {
		n += uint64(head - g.floor)
	}
	for _, x := range g.settled {
		if x.from < head {
			n -= uint64(min(x.to, head) - x.from)
		}
	}
	return n
}

// oldestUnsettled returns the first event before a head that is not settled.
func (g *group) oldestUnsettled(head wire.Offset) (wire.Offset, bool) {
	switch {
	case len(g.again) > 0 && g.again[0] < g.floor:
		return g.again[0], true
	case g.floor < head: // what the floor touches is not settled
		return g.floor, true
	case len(g.again) > 0:
		return g.again[0], true
	}
	return 0, false
}
