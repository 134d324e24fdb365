package check

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"slices"
	"sort"
	"strings"

	"github.com/kimberlitedb/kimberlite-go/engine/seg"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// Checkpoints judges checkpoints and reads of the past, of all tenants: by the entries that the driver saw written, and by what
// clients were told. What a request was told must have been so at one moment between when it was sent and when it was answered;
// moments are entries of the log.
type Checkpoints struct {
	suite   *Suite
	most    int // checkpoints that may wait to be kept
	off     bool
	last    seg.LSN // written
	tenants map[wire.TenantID]*cutTenant
	changes []seg.LSN   // entries at which something changes but the heads of streams
	all     []*Cut      // in the order of the log
	asked   map[tag]int // requests for a checkpoint
	Store   seg.StoreID
	Spoilt  func(c *Cut) bool // its file is damaged by the disk
	Lossy   func() bool       // the disk has damaged anything
}

// tag is a label of a tenant.
type tag struct {
	tenant wire.TenantID
	label  string
}

// Cut is a checkpoint that is in the log.
type Cut struct {
	Tenant   wire.TenantID
	ID       wire.CheckpointID
	Label    string
	Position wire.Position
	Time     wire.Time
	lsn      seg.LSN
	dropped  seg.LSN // 0 while it is there
	drop     wire.Position
	kept     seg.LSN // 0 until then
	digest   [32]byte
	acked    bool                       // somebody was told of it
	gone     bool                       // or that it is deleted
	note     string                     // as somebody was told; empty until then
	lines    map[wire.StreamID]wireLine // likewise
}

// wireLine is what is told of a stream's tree.
type wireLine struct {
	base wire.Offset
	root string
}

// cutTenant is what the log says of a tenant.
type cutTenant struct {
	made     seg.LSN
	position wire.Position
	streams  []*logStream // in the order of the log
}

// logStream is what it says of a stream.
type logStream struct {
	id     wire.StreamID
	name   string
	made   seg.LSN
	at     wire.Position // where it was made; 0 for system streams, which begin with their first event
	purged seg.LSN       // 0 while it is there
	flips  []flip        // deletions and their ends
	events []logEvent
	trims  []trim
}

type flip struct {
	lsn     seg.LSN
	deleted bool
}

type logEvent struct {
	wire.Event
	lsn      seg.LSN
	position wire.Position
	before   uint64 // bytes of the stream's data before it
	leaf     [32]byte
}

// NewCheckpoints returns the judge of a run in which so many checkpoints may wait to be kept.
func NewCheckpoints(s *Suite, most int) *Checkpoints {
	return &Checkpoints{suite: s, most: most, tenants: map[wire.TenantID]*cutTenant{}, asked: map[tag]int{}}
}

// Leave ends the judging: what is lost with the log nobody can know.
func (x *Checkpoints) Leave() { x.off = true }

// quiet reports whether nothing is judged any more.
func (x *Checkpoints) quiet() bool { return x.off || x.suite.Holes || x.suite.Failed != nil }

// Now returns the present moment.
func (x *Checkpoints) Now() seg.LSN { return x.last }

// Wrote notes an entry that is written. One that recovery writes a second time is known.
func (x *Checkpoints) Wrote(r *seg.Record) {
	if r.LSN <= x.last || x.off {
		return
	}
	if x.last = r.LSN; r.Kind != seg.KindAppend {
		x.changes = append(x.changes, r.LSN)
	}
	t := x.tenants[r.Tenant]
	if t == nil {
		t = &cutTenant{made: r.LSN}
		x.tenants[r.Tenant] = t
	}
	t.position = max(t.position, r.Position)
	event, fields, audited := r.AuditEvent()
	if audited {
		t.system(wire.StreamID(1<<63)|wire.StreamID(r.Tenant), "$audit", r.LSN).add(r, bytes.Clone(event), nil)
	}
	switch s := t.stream(r.Stream); r.Kind {
	case seg.KindCreateStream:
		e, _, _ := wire.NextEvent(event)
		var act struct{ Stream string }
		json.Unmarshal(e.Data, &act) // the engine has written it
		t.streams = append(t.streams, &logStream{id: r.Stream, name: act.Stream, made: r.LSN, at: r.Position})
	case seg.KindAppend:
		if s == nil {
			s = t.system(r.Stream, "$sql", r.LSN)
		}
		s.add(r, bytes.Clone(r.Events()), r.Body[:seg.SaltSize])
	case seg.KindTrim:
		s.trims = append(s.trims, trim{r.LSN, r.First})
	case seg.KindDeleteStream, seg.KindUndeleteStream:
		s.flips = append(s.flips, flip{r.LSN, r.Kind == seg.KindDeleteStream})
	case seg.KindPurgeStream:
		s.purged = r.LSN
	case seg.KindCheckpoint:
		x.cut(r, fields)
	case seg.KindDropCheckpoint:
		c := x.find(wire.CheckpointID(fields))
		if x.suite.must(Checkpoint, c != nil && c.live(r.LSN), "entry %d deletes checkpoint %x, which is not there", r.LSN, fields) {
			c.dropped, c.drop = r.LSN, r.Position
		}
	case seg.KindKeepCheckpoint:
		if c := x.find(wire.CheckpointID(r.Body)); c != nil && c.live(r.LSN) && c.kept == 0 {
			c.kept, c.digest = r.LSN, [32]byte(r.Body[16:])
		}
	}
}

// cut takes up a new checkpoint. Somebody has asked for it, and its label was free.
func (x *Checkpoints) cut(r *seg.Record, fields []byte) {
	c := &Cut{Tenant: r.Tenant, ID: wire.CheckpointID(fields), Label: string(fields[20:][:binary.LittleEndian.Uint32(fields[16:])]),
		Position: r.Position, Time: r.Commit, lsn: r.LSN, lines: map[wire.StreamID]wireLine{}}
	n := 1
	for _, o := range x.all {
		x.suite.must(Checkpoint, o.ID != c.ID, "the id of checkpoint %s is given again at entry %d", c.ID, r.LSN)
		if o.Tenant != c.Tenant {
			continue
		}
		x.suite.must(Checkpoint, c.Label == "" || !o.live(r.LSN) || !strings.EqualFold(o.Label, c.Label), "checkpoint %q of tenant %d is cut at position %d, while the one of position %d is %q",
			c.Label, c.Tenant, c.Position, o.Position, o.Label)
		if o.Label == c.Label {
			n++
		}
	}
	x.suite.must(Once, n <= x.asked[tag{c.Tenant, c.Label}], "checkpoint %q of tenant %d is cut %d times, and was asked for %d times", c.Label, c.Tenant, n, x.asked[tag{c.Tenant, c.Label}])
	x.suite.must(Checkpoint, !x.crowded(c.Tenant, r.LSN), "a checkpoint of tenant %d is cut while %d wait to be kept", c.Tenant, x.waiting(r.LSN))
	x.all = append(x.all, c)
}

// Recovered notes up to where a recovery has found the log. What somebody was told of is there.
func (x *Checkpoints) Recovered(lsn seg.LSN) {
	if x.off {
		return
	}
	x.last = min(x.last, lsn)
	x.changes = slices.DeleteFunc(x.changes, func(at seg.LSN) bool { return at > lsn })
	x.all = slices.DeleteFunc(x.all, func(c *Cut) bool {
		if c.dropped > lsn {
			x.told(!c.gone, "checkpoint %s of position %d was said to be deleted, and a crash has undone that", c.ID, c.Position)
			c.dropped, c.drop = 0, 0
		}
		if c.kept > lsn {
			x.told(c.note == "", "checkpoint %s of position %d had a note, and a crash has undone that", c.ID, c.Position)
			c.kept = 0
		}
		x.told(c.lsn <= lsn || !c.acked, "checkpoint %s of position %d was acknowledged, and is gone after a crash", c.ID, c.Position)
		return c.lsn > lsn
	})
	for id, t := range x.tenants { //det:order-free: each for itself
		if t.made > lsn {
			delete(x.tenants, id)
			continue
		}
		t.position = 0
		t.streams = slices.DeleteFunc(t.streams, func(s *logStream) bool { return s.made > lsn })
		for _, s := range t.streams {
			s.recovered(lsn)
			t.position = max(t.position, s.at)
			if n := len(s.events); n > 0 {
				t.position = max(t.position, s.events[n-1].position)
			}
		}
	}
}

// told judges a fact that somebody was told of.
func (x *Checkpoints) told(ok bool, format string, args ...any) {
	if !x.quiet() {
		x.suite.must(Checkpoint, ok, format, args...)
	}
}

func (s *logStream) recovered(lsn seg.LSN) {
	s.events = s.events[:sort.Search(len(s.events), func(i int) bool { return s.events[i].lsn > lsn })]
	s.trims = slices.DeleteFunc(s.trims, func(t trim) bool { return t.lsn > lsn })
	s.flips = slices.DeleteFunc(s.flips, func(f flip) bool { return f.lsn > lsn })
	if s.purged > lsn {
		s.purged = 0
	}
}

// stream returns a stream by its id, nil where there is none.
func (t *cutTenant) stream(id wire.StreamID) *logStream {
	i := slices.IndexFunc(t.streams, func(s *logStream) bool { return s.id == id })
	if i < 0 || id == 0 {
		return nil
	}
	return t.streams[i]
}

// system returns a system stream, which begins with its first event.
func (t *cutTenant) system(id wire.StreamID, name string, lsn seg.LSN) *logStream {
	s := t.stream(id)
	if s == nil {
		s = &logStream{id: id, name: name, made: lsn}
		t.streams = append(t.streams, s)
	}
	return s
}

// add takes up events. Without a salt they are those of acts.
func (s *logStream) add(r *seg.Record, events, salt []byte) {
	for len(events) > 0 {
		e, rest, ok := wire.NextEvent(events)
		if !ok {
			return
		}
		x := logEvent{Event: e, lsn: r.LSN, position: r.Position, leaf: leafOf(s.id, r, e.Offset, events[:len(events)-len(rest)], salt)}
		if n := len(s.events); n > 0 {
			x.before = s.events[n-1].before + uint64(len(s.events[n-1].Data))
		}
		s.events, events = append(s.events, x), rest
	}
}

// head returns where the stream ended at a position.
func (s *logStream) head(at wire.Position) wire.Offset {
	return wire.Offset(sort.Search(len(s.events), func(i int) bool { return s.events[i].position > at }))
}

// oldest returns the oldest offset at a moment.
func (s *logStream) oldest(at seg.LSN) (o wire.Offset) {
	for _, t := range s.trims {
		if t.lsn <= at {
			o = t.oldest
		}
	}
	return o
}

// bytes returns how many bytes of data there are in a range of offsets.
func (s *logStream) bytes(from, to wire.Offset) uint64 {
	return s.upto(to) - s.upto(min(from, to))
}

func (s *logStream) upto(o wire.Offset) uint64 {
	if o == 0 {
		return 0
	}
	e := &s.events[o-1]
	return e.before + uint64(len(e.Data))
}

// had reports whether the stream is there at a moment, deleted or not.
func (s *logStream) had(at seg.LSN) bool { return s.made <= at && (s.purged == 0 || s.purged > at) }

// deleted reports whether it is deleted at a moment.
func (s *logStream) deleted(at seg.LSN) (d bool) {
	for _, f := range s.flips {
		if f.lsn <= at {
			d = f.deleted
		}
	}
	return d
}

// live reports whether the checkpoint is there at a moment.
func (c *Cut) live(at seg.LSN) bool { return c.lsn <= at && (c.dropped == 0 || c.dropped > at) }

// find returns a checkpoint that is in the log, nil where there is none.
func (x *Checkpoints) find(id wire.CheckpointID) *Cut {
	i := slices.IndexFunc(x.all, func(c *Cut) bool { return c.ID == id })
	if i < 0 {
		return nil
	}
	return x.all[i]
}

// named returns the checkpoint of a tenant that a request means at a moment, nil where there is none.
func (x *Checkpoints) named(t wire.TenantID, ref wire.CheckpointRef, at seg.LSN) *Cut {
	for _, c := range x.all {
		if c.Tenant == t && c.live(at) && (ref.Label == "" && c.ID == ref.ID || ref.Label != "" && strings.EqualFold(c.Label, ref.Label)) {
			return c
		}
	}
	return nil
}

// waiting returns how many checkpoints wait to be kept at a moment.
func (x *Checkpoints) waiting(at seg.LSN) (n int) {
	for _, c := range x.all {
		if c.live(at) && (c.kept == 0 || c.kept > at) {
			n++
		}
	}
	return n
}

// crowded reports whether so many checkpoints wait at a moment, all together or of a tenant, that the tenant may cut none.
func (x *Checkpoints) crowded(t wire.TenantID, at seg.LSN) bool {
	own := 0
	for _, c := range x.all {
		if c.Tenant == t && c.live(at) && (c.kept == 0 || c.kept > at) {
			own++
		}
	}
	return x.waiting(at) >= x.most || own > x.most/2
}

// once reports whether something was so at a moment from one on until now.
func (x *Checkpoints) once(from seg.LSN, so func(at seg.LSN) bool) bool {
	if so(from) {
		return true
	}
	for _, at := range x.changes[sort.Search(len(x.changes), func(i int) bool { return x.changes[i] > from }):] {
		if so(at) {
			return true
		}
	}
	return false
}

// streams returns the streams that a checkpoint has, by id.
func (x *Checkpoints) streams(c *Cut) (list []*logStream) {
	for _, s := range x.tenants[c.Tenant].streams {
		if s.had(c.lsn) {
			list = append(list, s)
		}
	}
	slices.SortFunc(list, func(a, b *logStream) int { return cmp.Compare(a.id, b.id) })
	return list
}

// size returns how many bytes of a checkpoint's events are there at a moment.
func (x *Checkpoints) size(c *Cut, at seg.LSN) (n uint64) {
	for _, s := range x.tenants[c.Tenant].streams {
		if s.had(c.lsn) && s.had(at) {
			n += s.bytes(max(s.oldest(c.lsn), s.oldest(at)), s.head(c.Position))
		}
	}
	return n
}
