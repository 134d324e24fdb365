package check

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"

	"github.com/kimberlitedb/kimberlite-go/engine/seg"
	"github.com/kimberlitedb/kimberlite-go/sim/model"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// PastAsk is a request about checkpoints or about the past, as it was sent.
type PastAsk struct {
	Tenant wire.TenantID
	Body   wire.RequestBody
	Bad    bool // it must be refused for its form
	from   seg.LSN
	known  wire.Position
	// Count, if set, is the stream whose events Body counts, as of a checkpoint or as of At.
	Count wire.StreamID
	Ref   wire.Option[wire.CheckpointRef]
	At    wire.Position
}

// Sent notes a request that is about to be sent.
func (x *Checkpoints) Sent(a *PastAsk) {
	a.from = x.last
	if t := x.tenants[a.Tenant]; t != nil {
		a.known = t.position
	}
	if b, ok := a.Body.(*wire.Checkpoint); ok {
		x.asked[tag{a.Tenant, b.Label.Value}]++
	}
}

// Answered judges the reply to a request.
func (x *Checkpoints) Answered(a *PastAsk, reply wire.ResponseBody) {
	if x.quiet() {
		return
	}
	if e, refused := reply.(*wire.Error); refused {
		x.refused(a, e)
		return
	}
	if !x.suite.must(Contract, !a.Bad, "%+v was accepted with %T", a.Body, reply) {
		return
	}
	switch b := reply.(type) {
	case *wire.CheckpointReply:
		c := x.find(b.ID)
		label := a.Body.(*wire.Checkpoint).Label.Value
		if x.suite.must(Checkpoint, c != nil && c.Tenant == a.Tenant && c.Position == b.Position && c.Time == b.Time && c.Label == label && c.lsn > a.from && !c.acked,
			"checkpoint %q of tenant %d is acknowledged as %+v, in the log is %+v", label, a.Tenant, *b, c) {
			c.acked = true
		}
	case *wire.ListCheckpointsReply:
		x.listed(a, b)
	case *wire.GetCheckpointReply:
		x.got(a, a.Body.(*wire.GetCheckpoint), b)
	case *wire.DeleteCheckpointReply:
		x.dropped(a, b)
	case *wire.ReadEventsReply:
		x.read(a, a.Body.(*wire.ReadEvents), b)
	case *wire.QueryReply:
		x.counted(a, b)
	}
}

// refused judges a refusal: the reason was there at one moment.
func (x *Checkpoints) refused(a *PastAsk, e *wire.Error) {
	ok, rule := false, Checkpoint
	switch e.Code {
	case wire.InvalidRequest:
		ok, rule = a.Bad, Contract
	case wire.TenantNotFound:
		t := x.tenants[a.Tenant]
		ok, rule = t == nil || t.made > a.from, Refusal
	case wire.CheckpointAlreadyExists:
		label := a.Body.(*wire.Checkpoint).Label.Value
		ok = label != "" && x.once(a.from, func(at seg.LSN) bool { return x.named(a.Tenant, wire.CheckpointRef{Label: label}, at) != nil })
	case wire.CheckpointNotFound:
		ref, named := a.ref()
		ok = named && x.once(a.from, func(at seg.LSN) bool { return x.named(a.Tenant, ref, at) == nil })
	case wire.RateLimited:
		_, cut := a.Body.(*wire.Checkpoint)
		ok = !cut || x.once(a.from, func(at seg.LSN) bool { return x.crowded(a.Tenant, at) })
	case wire.StorageFull, wire.StorageError:
		ok, rule = x.suite.Faulty(), Contract
	case wire.DataCorrupted:
		ok = x.suite.Faulty()
	case wire.Timeout, wire.Cancelled:
		ok = a.Count > 0
	case wire.TableNotFound:
		s := x.stream(a.Tenant, a.Count)
		ok, rule = s == nil || s.made > a.from || !a.Ref.Set && a.At < s.at || a.Ref.Set && x.once(a.from, func(at seg.LSN) bool {
			c := x.named(a.Tenant, a.Ref.Value, at)
			return c != nil && c.Position < s.at
		}), Past
	default:
		ok, rule = x.unread(a, e)
	}
	x.suite.must(rule, ok, "tenant %d: %T %+v is refused with %s: %s", a.Tenant, a.Body, a.Body, e.Code, e.Message)
}

// unread judges a refusal to read.
func (x *Checkpoints) unread(a *PastAsk, e *wire.Error) (ok bool, rule Invariant) {
	at := a.At
	s := x.stream(a.Tenant, a.Count)
	if b, reads := a.Body.(*wire.ReadEvents); reads {
		at, s = b.AsOf.Value, x.stream(a.Tenant, b.Stream)
	}
	switch e.Code {
	case wire.PositionAhead:
		return at > a.known, Past
	case wire.StreamNotFound:
		return s == nil || x.once(a.from, func(at seg.LSN) bool { return !s.had(at) }), Refusal
	case wire.StreamDeleted:
		return s != nil && x.once(a.from, func(at seg.LSN) bool { return s.deleted(at) }), Deleted
	case wire.InvalidOffset:
		return a.Count > 0 && x.suite.Faulty(), Past
	}
	return false, Contract
}

// ref returns which checkpoint a request means.
func (a *PastAsk) ref() (wire.CheckpointRef, bool) {
	switch b := a.Body.(type) {
	case *wire.GetCheckpoint:
		return b.Ref, true
	case *wire.DeleteCheckpoint:
		return b.Ref, true
	}
	return a.Ref.Value, a.Ref.Set
}

func (x *Checkpoints) stream(t wire.TenantID, id wire.StreamID) *logStream {
	if x.tenants[t] == nil {
		return nil
	}
	return x.tenants[t].stream(id)
}

// is judges what is told of a checkpoint.
func (x *Checkpoints) is(a *PastAsk, c *Cut, i *wire.CheckpointInfo) {
	x.suite.must(Checkpoint, i.ID == c.ID && i.Label.Value == c.Label && i.Label.Set == (c.Label != "") && i.Position == c.Position && i.Time == c.Time,
		"checkpoint %+v of tenant %d is described as %+v", *c, a.Tenant, *i)
	most, least := x.size(c, a.from), x.size(c, x.last)
	if c.lsn > a.from {
		most = x.size(c, c.lsn)
	}
	x.suite.must(Checkpoint, i.Size >= least && i.Size <= most || x.Spoilt(c), "checkpoint %q of position %d of tenant %d is said to have %d bytes, between %d and %d are there",
		c.Label, c.Position, a.Tenant, i.Size, least, most)
	c.acked = true
}

// listed judges a list: it is that of one moment.
func (x *Checkpoints) listed(a *PastAsk, b *wire.ListCheckpointsReply) {
	ok := x.once(a.from, func(at seg.LSN) bool {
		i := 0
		for _, c := range x.all {
			if c.Tenant != a.Tenant || !c.live(at) {
				continue
			}
			if i == len(b.Checkpoints) || b.Checkpoints[i].ID != c.ID {
				return false
			}
			i++
		}
		return i == len(b.Checkpoints)
	})
	if !x.suite.must(Checkpoint, ok, "the list of the checkpoints of tenant %d is that of no moment: %+v", a.Tenant, b.Checkpoints) {
		return
	}
	for i := range b.Checkpoints {
		x.is(a, x.find(b.Checkpoints[i].ID), &b.Checkpoints[i])
	}
}

// dropped judges an acknowledged deletion.
func (x *Checkpoints) dropped(a *PastAsk, b *wire.DeleteCheckpointReply) {
	ref, _ := a.ref()
	i := slices.IndexFunc(x.all, func(c *Cut) bool { return c.Tenant == a.Tenant && c.drop == b.Position })
	if !x.suite.must(Checkpoint, i >= 0 && b.Position > 0, "tenant %d: a deletion is acknowledged at position %d, where there is none", a.Tenant, b.Position) {
		return
	}
	c := x.all[i]
	x.suite.must(Checkpoint, c.dropped > a.from && (ref.Label == "" && c.ID == ref.ID || ref.Label != "" && strings.EqualFold(c.Label, ref.Label)),
		"tenant %d: %s was to be deleted, and %q, %s, is", a.Tenant, ref, c.Label, c.ID)
	c.gone = true
}

// got judges what is told of one checkpoint.
func (x *Checkpoints) got(a *PastAsk, q *wire.GetCheckpoint, b *wire.GetCheckpointReply) {
	c := x.find(b.Info.ID)
	fits := c != nil && x.once(a.from, func(at seg.LSN) bool { return x.named(a.Tenant, q.Ref, at) == c })
	if !x.suite.must(Checkpoint, fits, "tenant %d: %s is described as %+v", a.Tenant, q.Ref, b.Info) {
		return
	}
	x.is(a, c, &b.Info)
	x.suite.must(Checkpoint, b.Trouble == "" || x.suite.Faulty(), "checkpoint %s has trouble without any fault: %s", c.ID, b.Trouble)
	lines := ""
	if b.Note != "" {
		var err error
		lines, _, err = openNote(x.Store, c, b.Note)
		x.suite.must(Checkpoint, err == nil, "the note of checkpoint %s: %v", c.ID, err)
		x.suite.must(Checkpoint, c.kept > 0 && sha256.Sum256([]byte(b.Note)) == c.digest, "the note of checkpoint %s is not that which the log has", c.ID)
	}
	x.suite.must(Checkpoint, b.Note == "" && (c.kept == 0 || c.kept > a.from) || b.Note != "" && (c.note == "" || c.note == b.Note), "the note of checkpoint %s was %q and is %q", c.ID, c.note, b.Note)
	if b.Note != "" {
		c.note = b.Note
	}
	x.page(c, q, b, lines)
}

// page judges a page of a checkpoint's streams.
func (x *Checkpoints) page(c *Cut, q *wire.GetCheckpoint, b *wire.GetCheckpointReply, lines string) {
	all := x.streams(c)
	x.suite.must(Checkpoint, lines == "" || lines == fmt.Sprint(len(all)+1), "the note of checkpoint %s tells of %s lines, and %d streams were there", c.ID, lines, len(all))
	list := slices.DeleteFunc(slices.Clone(all), func(s *logStream) bool { return s.id <= q.After })
	n := min(len(list), int(q.Limit), wire.MaxListPage)
	if !x.suite.must(Checkpoint, len(b.Streams) == n && b.More == (n < len(list)), "checkpoint %s of position %d: %d streams are shown behind %d, more: %t; there are %d, at most %d were asked for",
		c.ID, c.Position, len(b.Streams), q.After, b.More, len(list), q.Limit) {
		return
	}
	for i, s := range list[:n] {
		y, oldest, head := &b.Streams[i], s.oldest(c.lsn), s.head(c.Position)
		x.suite.must(Checkpoint, y.Stream == s.id && y.Name == s.name && y.Oldest == oldest && y.Head == head && y.Bytes == s.bytes(oldest, head) && y.Base <= oldest,
			"checkpoint %s of position %d shows %+v, stream %d %q had events %d to %d, %d bytes", c.ID, c.Position, *y, s.id, s.name, oldest, head, s.bytes(oldest, head))
		kept := b.Note != ""
		x.suite.must(Checkpoint, kept && len(y.Root) == sha256.Size || !kept && len(y.Root) == 0 && y.Base == oldest, "checkpoint %s, kept: %t, shows %+v", c.ID, kept, *y)
		if !kept {
			continue
		}
		line := wireLine{y.Base, string(y.Root)}
		before, told := c.lines[s.id]
		x.suite.must(Checkpoint, !told || before == line, "checkpoint %s shows stream %d from %d with root %x, and showed it from %d with root %x before", c.ID, s.id, line.base, line.root, before.base, before.root)
		c.lines[s.id] = line
	}
}

// read judges a read as of a position: the head is the one of then, and the events are those that were written and are still there.
func (x *Checkpoints) read(a *PastAsk, q *wire.ReadEvents, b *wire.ReadEventsReply) {
	s := x.stream(a.Tenant, q.Stream)
	if !x.suite.mustPart(Checkpoint, "past", s != nil && x.once(a.from, s.had), "tenant %d: stream %d is read, and there is none", a.Tenant, q.Stream) {
		return
	}
	at := q.AsOf.Value
	x.suite.must(Past, at <= x.tenants[a.Tenant].position, "tenant %d: position %d is read, and the log ends at %d", a.Tenant, at, x.tenants[a.Tenant].position)
	oldest, head := b.OldestOffset, s.head(at)
	x.suite.must(Oldest, oldest >= s.oldest(a.from) && oldest <= s.oldest(x.last), "stream %d: the oldest offset is %d, between %d and %d are right", s.id, oldest, s.oldest(a.from), s.oldest(x.last))
	// Where all that there was then is gone, nobody can tell any more where it ended.
	x.suite.mustPart(Checkpoint, "past", b.HeadOffset == head || b.HeadOffset > head && b.HeadOffset <= oldest, "stream %d of tenant %d as of position %d: the head is %d, expected is %d; the oldest event is %d",
		s.id, a.Tenant, at, b.HeadOffset, head, oldest)
	events := make([]wire.Event, head)
	for i := range events {
		events[i] = s.events[i].Event
	}
	want, n := model.Read(events, int(oldest), q), 0
	for e := range b.Events.All {
		if !x.suite.mustPart(Checkpoint, "past", n < len(want), "stream %d as of position %d: %+v yields more than events %v", s.id, at, *q, want) {
			return
		}
		w := &events[want[n]]
		x.suite.mustPart(Checkpoint, "past", e.Offset == w.Offset && e.Timestamp == w.Timestamp && string(e.Data) == string(w.Data), "stream %d as of position %d: %+v yields %+v where %+v was due", s.id, at, *q, e, *w)
		n++
	}
	x.suite.mustPart(Checkpoint, "past", n == len(want) || x.suite.Faulty(), "stream %d as of position %d: %+v yields %d events, %v were due", s.id, at, *q, n, want) // a read ends at damage
}

// counted judges the number of a stream's events as of a checkpoint or position, of a stream that keeps them all.
func (x *Checkpoints) counted(a *PastAsk, b *wire.QueryReply) {
	s, at := x.stream(a.Tenant, a.Count), a.At
	if a.Ref.Set {
		at = b.Position
		x.suite.must(Past, x.once(a.from, func(m seg.LSN) bool { c := x.named(a.Tenant, a.Ref.Value, m); return c != nil && c.Position == at }),
			"tenant %d: a query as of checkpoint %s sees position %d", a.Tenant, a.Ref.Value, at)
	}
	ok := s != nil && len(b.Rows) == 1 && b.Position == at && equal(b.Rows, [][]wire.Value{{integer(int64(s.head(at)))}})
	x.suite.mustPart(Checkpoint, "past", ok, "tenant %d: stream %d as of position %d has %v events, as of position %d", a.Tenant, a.Count, at, b.Rows, b.Position)
}

// Cuts returns the checkpoints of a tenant that are there now.
func (x *Checkpoints) Cuts(t wire.TenantID) (list []*Cut) {
	for _, c := range x.all {
		if c.Tenant == t && c.live(x.last) {
			list = append(list, c)
		}
	}
	return list
}

// Reach returns the position that a tenant's log has reached, and the streams that it has.
func (x *Checkpoints) Reach(t wire.TenantID) (at wire.Position, streams []wire.StreamID, names []string) {
	if l := x.tenants[t]; l != nil {
		at = l.position
		for _, s := range l.streams {
			streams, names = append(streams, s.id), append(names, s.name)
		}
	}
	return at, streams, names
}

// Since reports whether a checkpoint was there all the time since a moment.
func (x *Checkpoints) Since(c *Cut, from seg.LSN) bool { return c.live(from) && c.live(x.last) }

// Absent judges that a tenant is said to have no such checkpoint.
func (x *Checkpoints) Absent(c *Cut, from seg.LSN, e *wire.Error) {
	if !x.quiet() {
		x.suite.must(Checkpoint, !x.Since(c, from), "tenant %d: checkpoint %q of position %d is said not to be there: %s", c.Tenant, c.Label, c.Position, e.Message)
	}
}

// Any reports whether there are checkpoints.
func (x *Checkpoints) Any() bool { return !x.off && len(x.all) > 0 }

// AsOf draws the end of a query as of a checkpoint: it is named by its label, in another case perhaps, or by its id.
func (c *Cut) AsOf(draw func(int) int) string {
	name := c.ID.String()
	if c.Label != "" && draw(3) > 0 {
		name = c.Label
		if draw(2) == 0 {
			name = strings.ToLower(name)
		}
	}
	return " AS OF CHECKPOINT '" + name + "'"
}

// Len returns how many events a stream ever had.
func (x *Checkpoints) Len(t wire.TenantID, id wire.StreamID) int {
	if s := x.stream(t, id); s != nil {
		return len(s.events)
	}
	return 0
}

// Times returns the event times of the first and the last event of a stream, in their order.
func (x *Checkpoints) Times(t wire.TenantID, id wire.StreamID) (first, last wire.Time) {
	if s := x.stream(t, id); s != nil && len(s.events) > 0 {
		a, b := s.events[0].Timestamp, s.events[len(s.events)-1].Timestamp
		return min(a, b), max(a, b)
	}
	return 0, 0
}
