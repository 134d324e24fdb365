package engine

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/kimberlitedb/kimberlite-go/engine/seg"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// origin is where a tenant was brought from, or is being brought from.
type origin struct {
	bringing
	begun   wire.Time
	streams []arrival // ascending, by both ids
	holed   bool      // a hole in the log may have swallowed some of what was brought
	events  uint64    // that were brought, once all are there
}

// arrival is a stream of a tenant that was brought from an archive.
type arrival struct {
	was   wire.StreamID
	is    wire.StreamID
	head  wire.Offset // what follows is what the checkpoint has
	bytes uint64
	last  wire.Time // event time of its newest event
}

// find returns what a stream has become.
func (o *origin) find(was wire.StreamID) *arrival {
	i, ok := slices.BinarySearchFunc(o.streams, was, func(a arrival, id wire.StreamID) int { return cmp.Compare(a.was, id) })
	if !ok {
		return nil
	}
	return &o.streams[i]
}

// end returns the offset behind the last event of one of the tenant's streams, be it there already or not.
func (t *tenant) end(x *stream) wire.Offset {
	if t.health != arriving {
		return x.head
	}
	i, ok := slices.BinarySearchFunc(t.origin.streams, x.id, func(a arrival, id wire.StreamID) int { return cmp.Compare(a.is, id) })
	if !ok {
		return x.head
	}
	return t.origin.streams[i].head
}

// place finds the stream that a restored record belongs to, and its events; nil where it does not fit there.
func (s *state) place(r *seg.Record) (x *stream, events []byte) {
	t := s.tenants[r.Tenant]
	if t == nil || t.health != arriving {
		return nil, nil
	}
	if r.Kind.Act() {
		events, _, _ = r.AuditEvent()
		x = t.audit
	} else if r.Kind == seg.KindAppend {
		if x, events = s.streams[r.Stream], r.Events(); x == t.audit {
			return nil, nil
		}
	}
	if x == nil || x.tenant != t || r.Count == 0 || r.First < x.head || r.First+wire.Offset(r.Count) > t.end(x) {
		return nil, nil
	}
	for i, rest := wire.Offset(0), events; ; i++ {
		if i == wire.Offset(r.Count) && len(rest) == 0 {
			return x, events
		}
		e, more, ok := wire.NextEvent(rest)
		if !ok || e.Offset != r.First+i {
			return nil, nil
		}
		rest = more
	}
}

// applyArrived adds a restored record to its stream.
func (s *state) applyArrived(r *seg.Record, at seg.Extent, geo seg.Geometry) error {
	x, events := s.place(r)
	if x == nil && s.holed {
		s.orphan(r)
		return nil
	}
	if x == nil {
		return fmt.Errorf("%w: restored offset %d of stream %d", errMisfit, r.First, r.Stream)
	}
	o := x.tenant.origin
	if x.head == x.oldest && !o.holed {
		x.oldest, x.head = r.First, r.First // what was before has left the archive
	}
	x.extend(r, events, at, geo)
	x.tenant.lsn = r.LSN
	if r.Kind == seg.KindAppend && r.Flags&seg.FlagKey != 0 && !s.limits.old(r.Commit, o.begun) && !s.limits.full(s.keys) {
		s.remember(x, r)
	}
	return nil
}

// orphan takes up a restored record whose tenant has lost its beginning in a hole. Neither that tenant nor its streams may come into being
// again: files hold what was brought under their ids.
func (s *state) orphan(r *seg.Record) {
	if s.tenants[r.Tenant] == nil {
		s.newTenant(&tenant{id: r.Tenant, name: recoveredName(uint64(r.Tenant)), created: r.Commit, commit: r.Commit, lsn: r.LSN, health: holed})
	}
	if r.Stream < systemStreams {
		s.lastStream = max(s.lastStream, r.Stream)
	}
}

// old reports whether a key of an instant is not remembered any more at another one.
func (l keyLimits) old(commit, now wire.Time) bool { return l.age > 0 && uint64(now-commit) >= l.age }

// full reports whether another key would push one of some stream out.
func (l keyLimits) full(keys int) bool { return l.total > 0 && uint64(keys) >= l.total }

// applyRestored has a tenant go on from where its checkpoint was cut: all that is left of it is there.
func (s *state) applyRestored(r *seg.Record, t *tenant) error {
	if t.health != arriving {
		if s.holed {
			return nil
		}
		return fmt.Errorf("%w: tenant %d does not arrive", errMisfit, t.id)
	}
	o := *t.origin
	for _, a := range o.streams {
		x := s.streams[a.is]
		if x == nil {
			continue
		}
		o.events += x.events()
		x.arrive(&a, o.holed)
		x.lsn = r.LSN
	}
	t.origin, t.health = &o, sound
	s.arriving--
	return nil
}

// events returns how many events of a stream there are.
func (s *stream) events() uint64 {
	n := uint64(s.head - s.oldest)
	for _, l := range s.lost {
		n -= uint64(l.to - l.from)
	}
	return n
}

// arrive has a stream be as the checkpoint has it. What has left the archive at its end is lost, or expired where nothing is before it.
func (s *stream) arrive(a *arrival, holed bool) {
	switch {
	case s.head == a.head:
	case s.head == s.oldest && !holed:
		s.oldest = a.head
	default:
		s.lost = append(s.lost, span{s.head, a.head})
	}
	s.head, s.lastTime = a.head, a.last
	more := a.bytes - s.bytes // of those that have left, before the oldest or in between
	s.bytes, s.cut = a.bytes, min(s.cut+more, a.bytes)
	s.index = slices.Clone(s.index) // a capture may have it
	for i := range s.index {
		s.index[i].before += more
	}
	for _, g := range s.groups {
		g.cut(s.oldest)
	}
}

// encodeOrigins writes where tenants were brought from, for a snapshot.
func (c *capture) encodeOrigins(p []byte) []byte {
	for i := range c.tenants {
		if t := &c.tenants[i]; t.origin != nil {
			p = t.origin.encode(putNumbers(p, uint64(t.id)))
		}
	}
	return p
}

// encode writes an origin:
//
//	source | store | tenant | position | checkpoint (16) | label | from | begun | holed (1) | events | streams: id there, id here, head, bytes, last time
func (o *origin) encode(p []byte) []byte {
	p = appendBool(putNumbers(o.bringing.encode(p), uint64(o.begun)), o.holed)
	p = putNumbers(p, o.events, uint64(len(o.streams)))
	for _, a := range o.streams {
		p = putNumbers(p, uint64(a.was), uint64(a.is), uint64(a.head), a.bytes, uint64(a.last))
	}
	return p
}

func (s *state) decodeOrigin(d *decoder) {
	t := s.tenants[wire.TenantID(d.u64())]
	o := &origin{bringing: d.bringing(), begun: wire.Time(d.u64()), holed: d.bool(), events: d.u64()}
	for range d.count(5 * 8) {
		o.streams = append(o.streams, arrival{wire.StreamID(d.u64()), wire.StreamID(d.u64()), wire.Offset(d.u64()), d.u64(), wire.Time(d.u64())})
	}
	if d.bad || t == nil || t.origin != nil {
		d.bad = true
		return
	}
	if t.origin = o; t.health == arriving {
		s.arriving++
	}
}

// plausibleOrigin reports whether a tenant that arrives has what it needs for that.
func (t *tenant) plausibleOrigin() bool {
	if t.health != arriving {
		return true
	}
	return t.origin != nil && !slices.ContainsFunc(t.streams, func(x *stream) bool { return t.end(x) < x.head })
}
