package engine

import (
	"fmt"
	"maps"
	"slices"
	"sort"

	"github.com/kimberlitedb/kimberlite-go/engine/seg"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// The entries of consumer groups. To make, change and delete a group, and to replay or drop what is parked, are
// administrative acts. Their bodies are, behind the audit event:
//
//	create    id | name | created | settings | first offset
//	update    id | paused (1) | seek: set (1) offset | settings
//	delete    id
//	unpark    id | drop (1) | all (1) | offsets: count, each
//
// with settings as
//
//	ack deadline in ms (4) | max attempts (4) | max ack pending (4) | look-ahead (4) | order: kind (4) path, prefix bytes (4)
//
// What happens to events is bookkeeping: an entry of its own outside the tenant's log, with the body
//
//	id | flags (1) | reach | acknowledged: count; from, to | failed: count, each | parked: count; offset, asked (1)
//	| passed over: count; from, to, reason (4)
//
// Bit 0 of the flags says that the server has begun anew, so that what is before this reach has failed; bit 1 that members
// were told of what was passed over before.
type moves struct {
	restarted bool
	told      bool
	reach     wire.Offset
	acked     []span
	failed    []wire.Offset
	parked    []parking
	missed    []miss
}

type parking struct {
	offset wire.Offset
	asked  bool
}

const (
	movesRestarted = 1
	movesTold      = 2
)

func (v *moves) encode(id uint64) []byte {
	flags := byte(0)
	if v.restarted {
		flags |= movesRestarted
	}
	if v.told {
		flags |= movesTold
	}
	p := putNumbers(make([]byte, 0, 64+16*len(v.acked)+8*len(v.failed)+9*len(v.parked)), id)
	p = appendSpans(putNumbers(append(p, flags), uint64(v.reach)), v.acked)
	p = putNumbers(p, uint64(len(v.failed)))
	for _, o := range v.failed {
		p = putNumbers(p, uint64(o))
	}
	p = putNumbers(p, uint64(len(v.parked)))
	for _, x := range v.parked {
		p = appendBool(putNumbers(p, uint64(x.offset)), x.asked)
	}
	return appendMisses(p, v.missed)
}

func (d *decoder) moves() (v moves) {
	flags := d.u8()
	v.restarted, v.told = flags&movesRestarted != 0, flags&movesTold != 0
	v.reach, v.acked, v.failed = wire.Offset(d.u64()), d.spans(), d.offsets()
	for range d.count(9) {
		v.parked = append(v.parked, parking{wire.Offset(d.u64()), d.bool()})
	}
	v.missed = d.misses()
	return v
}

func appendSpans(p []byte, list []span) []byte {
	p = putNumbers(p, uint64(len(list)))
	for _, x := range list {
		p = putNumbers(p, uint64(x.from), uint64(x.to))
	}
	return p
}

func (d *decoder) spans() (list []span) {
	for range d.count(16) {
		list = append(list, span{wire.Offset(d.u64()), wire.Offset(d.u64())})
	}
	return list
}

func appendMisses(p []byte, list []miss) []byte {
	p = putNumbers(p, uint64(len(list)))
	for _, x := range list {
		p = putU32(putNumbers(p, uint64(x.from), uint64(x.to)), uint32(x.reason))
	}
	return p
}

func (d *decoder) misses() (list []miss) {
	for range d.count(20) {
		list = append(list, miss{span{wire.Offset(d.u64()), wire.Offset(d.u64())}, wire.GapReason(d.u32())})
	}
	return list
}

func (d *decoder) offsets() (list []wire.Offset) {
	for range d.count(8) {
		list = append(list, wire.Offset(d.u64()))
	}
	return list
}

func (g groupSettings) encode(p []byte) []byte {
	p = putU32(putU32(putU32(putU32(p, g.deadline), g.maxAttempts), g.maxPending), g.lookAhead)
	return putU32(appendString(putU32(p, uint32(g.order.Kind)), g.order.Path), g.order.Bytes)
}

func (d *decoder) groupSettings() groupSettings {
	return groupSettings{
		deadline: d.u32(), maxAttempts: d.u32(), maxPending: d.u32(), lookAhead: d.u32(),
		order: wire.OrderKey{Kind: wire.OrderKind(d.u32()), Path: d.string(), Bytes: d.u32()},
	}
}

func (g *group) encodeSpec() []byte {
	return putNumbers(g.settings.encode(appendString(putNumbers(nil, g.id), g.name)), uint64(g.floor))
}

func (c groupChange) encode(id uint64) []byte {
	p := appendBool(putNumbers(nil, id), c.paused)
	return c.settings.encode(putNumbers(appendBool(p, c.seek.Set), uint64(c.seek.Value)))
}

func (u *unparking) encode(id uint64) []byte {
	p := putNumbers(appendBool(appendBool(putNumbers(nil, id), u.drop), u.all), uint64(len(u.offsets)))
	for _, o := range u.offsets {
		p = putNumbers(p, uint64(o))
	}
	return p
}

// applyCreateGroup makes a group.
func (x *stream) applyCreateGroup(r *seg.Record, d *decoder, s *state) error {
	g := &group{id: d.u64(), name: d.string(), created: r.Commit, settings: d.groupSettings(), floor: wire.Offset(d.u64()), lsn: r.LSN}
	if old := x.group(g.name); old != nil && s.holed {
		x.removeGroup(old) // a hole in the log has swallowed its deletion
	}
	if g.floor > x.head && s.holed {
		g.floor = x.head
	}
	if d.bad || g.id <= x.lastGroup || x.group(g.name) != nil || g.floor > x.head {
		return errMisfit
	}
	x.lastGroup = g.id
	x.groups = append(slices.Clip(x.groups), g)
	return nil
}

func (x *stream) removeGroup(g *group) {
	x.groups = slices.DeleteFunc(slices.Clone(x.groups), func(o *group) bool { return o == g })
}

// applyToGroup carries out an act on a group that exists.
func (x *stream) applyToGroup(r *seg.Record, d *decoder, s *state) error {
	g := x.groupByID(d.u64())
	if g == nil && s.holed {
		return nil // a hole in the log has swallowed its making
	}
	if g == nil || d.bad {
		return fmt.Errorf("%w: act on a consumer group of stream %d", errMisfit, x.id)
	}
	g.lsn = r.LSN
	switch r.Kind {
	case seg.KindUpdateGroup:
		g.paused = d.bool()
		seek := wire.Option[wire.Offset]{Set: d.bool(), Value: wire.Offset(d.u64())}
		g.settings = d.groupSettings()
		if seek.Set {
			g.seek(min(seek.Value, x.head))
		}
	case seg.KindDeleteGroup:
		x.removeGroup(g)
	case seg.KindUnpark:
		u := unparking{drop: d.bool(), all: d.bool(), offsets: d.offsets()}
		g.unpark(&u)
	}
	return nil
}

// seek sets the group to an offset. What is parked stays so.
func (g *group) seek(to wire.Offset) {
	g.floor, g.settled, g.attempts, g.again, g.reach, g.missed = to, nil, nil, nil, 0, nil
	for _, p := range g.parked {
		g.settle(span{p.offset, p.offset + 1})
	}
}

func (g *group) unpark(u *unparking) {
	if u.all {
		u.offsets = nil
		for _, p := range g.parked {
			u.offsets = append(u.offsets, p.offset)
		}
	}
	kept := g.parked[:0]
	for _, p := range g.parked {
		if _, named := slices.BinarySearch(u.offsets, p.offset); !named {
			kept = append(kept, p)
		} else if i, _ := slices.BinarySearch(g.again, p.offset); !u.drop {
			g.again = slices.Insert(g.again, i, p.offset)
		}
	}
	g.parked = kept
}

// applyMoves notes what has happened to a group's events.
func (s *state) applyMoves(r *seg.Record) error {
	x, d := s.streams[r.Stream], decoder{p: r.Body}
	if x == nil && s.holed {
		return nil
	}
	if x == nil || x.tenant.id != r.Tenant {
		return fmt.Errorf("%w: moves of a consumer group of stream %d", errMisfit, r.Stream)
	}
	g, v := x.groupByID(d.u64()), d.moves()
	if g == nil && s.holed {
		return nil
	}
	if g == nil || d.bad || !v.within(x.head) && !s.holed {
		return fmt.Errorf("%w: moves of a consumer group of stream %d", errMisfit, r.Stream)
	}
	if g.lsn = r.LSN; v.within(x.head) { // else a hole has swallowed events, and nobody knows which
		g.apply(&v, r)
	}
	return nil
}

// within reports whether the moves are about events before a head.
func (v *moves) within(head wire.Offset) bool {
	outside := func(x span) bool { return x.from >= x.to || x.to > head }
	return !(v.restarted && v.reach > head) &&
		!slices.ContainsFunc(v.acked, outside) &&
		!slices.ContainsFunc(v.missed, func(x miss) bool { return outside(x.span) }) &&
		!slices.ContainsFunc(v.failed, func(o wire.Offset) bool { return o >= head }) &&
		!slices.ContainsFunc(v.parked, func(p parking) bool { return p.offset >= head })
}

func (g *group) apply(v *moves, r *seg.Record) {
	if g.reach = v.reach; v.restarted {
		g.failAll(r.Commit)
	}
	if v.told {
		g.missed = nil
	}
	for _, o := range v.failed {
		g.fail(o)
	}
	for _, p := range v.parked {
		g.park(p, r.Commit)
	}
	for _, x := range v.acked {
		g.forgetAttempts(x)
		g.settle(x)
	}
	for _, x := range v.missed {
		g.miss(x)
	}
}

// failAll counts a failed attempt of every event that a member may have, and parks those for which it was the last.
func (g *group) failAll(at wire.Time) {
	var list []wire.Offset
	for _, o := range g.again {
		if o < min(g.floor, g.reach) {
			list = append(list, o)
		}
	}
	for o := g.floor; o < g.reach; o++ {
		if !g.isSettled(o) {
			list = append(list, o)
		}
	}
	for _, o := range list {
		if g.fail(o); g.attempts[o] >= g.settings.maxAttempts && len(g.parked) < wire.MaxParked {
			g.park(parking{offset: o}, at)
		}
	}
}

func (g *group) fail(o wire.Offset) {
	if g.attempts == nil {
		g.attempts = map[wire.Offset]uint32{}
	}
	g.attempts[o]++
}

func (g *group) park(p parking, at wire.Time) {
	i, there := g.findParked(p.offset)
	if there {
		return
	}
	g.parked = slices.Insert(g.parked, i, parked{p.offset, g.attempts[p.offset], at, p.asked})
	one := span{p.offset, p.offset + 1}
	g.forgetAttempts(one)
	g.settle(one)
}

// forgetAttempts drops what is known of the failures of events.
func (g *group) forgetAttempts(x span) {
	if uint64(len(g.attempts)) < uint64(x.to-x.from) {
		maps.DeleteFunc(g.attempts, func(o wire.Offset, _ uint32) bool { return x.from <= o && o < x.to })
		return
	}
	for o := x.from; o < x.to && len(g.attempts) > 0; o++ {
		delete(g.attempts, o)
	}
}

// settle notes that events are settled, and moves the floor.
func (g *group) settle(x span) {
	if len(g.again) > 0 {
		g.again = slices.DeleteFunc(g.again, func(o wire.Offset) bool { return x.from <= o && o < x.to })
	}
	if x.from = max(x.from, g.floor); x.from >= x.to {
		return
	}
	i := sort.Search(len(g.settled), func(i int) bool { return g.settled[i].to >= x.from })
	k := i // those that x touches
	for k < len(g.settled) && g.settled[k].from <= x.to {
		x = span{min(x.from, g.settled[k].from), max(x.to, g.settled[k].to)}
		k++
	}
	if x.from > g.floor {
		g.settled = slices.Replace(g.settled, i, k, x)
		return
	}
	g.floor = x.to
	g.settled = slices.Delete(g.settled, i, k)
}

// maxMisses bounds how exactly a group knows what its members were not told of.
const maxMisses = 16

// miss passes over events.
func (g *group) miss(x miss) {
	g.forgetAttempts(x.span)
	before := g.unsettled(x.to)
	g.settle(x.span)
	n := before - g.unsettled(x.to)
	if n == 0 {
		return
	}
	g.skipped += n
	if k := len(g.missed); k > 0 && (g.missed[k-1].to == x.from && g.missed[k-1].reason == x.reason || k == maxMisses) {
		last := &g.missed[k-1]
		last.from, last.to = min(last.from, x.from), max(last.to, x.to)
		return
	}
	g.missed = append(g.missed, x)
}

// cut passes over what retention has removed before an offset.
func (g *group) cut(oldest wire.Offset) {
	n, _ := g.findParked(oldest)
	g.parked = slices.Delete(g.parked, 0, n)
	if first, any := g.oldestUnsettled(oldest); any && first < oldest {
		g.miss(miss{span{first, oldest}, wire.GapRetention})
	}
}

// encode writes a group for a snapshot:
//
//	id | name | created | settings | paused (1) | floor | settled: from, to | failed: offset, attempts (4) | to deliver again: offset
//	| parked: offset, attempts (4), since, asked (1) | reach | passed over in all | not told: from, to, reason (4) | lsn
func (g *group) encode(p []byte) []byte {
	p = g.settings.encode(putNumbers(appendString(putNumbers(p, g.id), g.name), uint64(g.created)))
	p = appendSpans(putNumbers(appendBool(p, g.paused), uint64(g.floor)), g.settled)
	p = putNumbers(p, uint64(len(g.attempts)))
	for _, o := range slices.Sorted(maps.Keys(g.attempts)) {
		p = putU32(putNumbers(p, uint64(o)), g.attempts[o])
	}
	p = putNumbers(p, uint64(len(g.again)))
	for _, o := range g.again {
		p = putNumbers(p, uint64(o))
	}
	p = putNumbers(p, uint64(len(g.parked)))
	for _, x := range g.parked {
		p = appendBool(putNumbers(putU32(putNumbers(p, uint64(x.offset)), x.attempts), uint64(x.since)), x.asked)
	}
	p = appendMisses(putNumbers(p, uint64(g.reach), g.skipped), g.missed)
	return putNumbers(p, uint64(g.lsn))
}

// minGroup is less than what any group takes in a snapshot, in bytes.
const minGroup = 100

func (d *decoder) group() *group {
	g := &group{id: d.u64(), name: d.string(), created: wire.Time(d.u64()), settings: d.groupSettings(), paused: d.bool(),
		floor: wire.Offset(d.u64()), settled: d.spans()}
	for range d.count(12) {
		if g.attempts == nil {
			g.attempts = map[wire.Offset]uint32{}
		}
		o := wire.Offset(d.u64())
		g.attempts[o] = d.u32()
	}
	g.again = d.offsets()
	for range d.count(21) {
		g.parked = append(g.parked, parked{wire.Offset(d.u64()), d.u32(), wire.Time(d.u64()), d.bool()})
	}
	g.reach, g.skipped, g.missed, g.lsn = wire.Offset(d.u64()), d.u64(), d.misses(), seg.LSN(d.u64())
	return g
}

// plausible reports whether a restored group can be one of a stream: the machine relies on it.
func (g *group) plausible(head wire.Offset, s *state) bool {
	if g.lsn > s.lsn || g.floor > head || g.settings.lookAhead == 0 || g.settings.maxPending == 0 {
		return false
	}
	last := g.floor
	for _, y := range g.settled {
		if y.from <= last || y.to <= y.from || y.to > head {
			return false
		}
		last = y.to
	}
	sorted := func(a, b parked) int { return int(a.offset) - int(b.offset) }
	return slices.IsSorted(g.again) && slices.IsSortedFunc(g.parked, sorted)
}
