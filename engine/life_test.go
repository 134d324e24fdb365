package engine_test

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"slices"
	"testing"

	"github.com/kimberlitedb/kimberlite-go/engine"
	"github.com/kimberlitedb/kimberlite-go/sim/model"
	"github.com/kimberlitedb/kimberlite-go/wire"
	"pgregory.net/rapid"
)

// life is a rig beside a dumb model of what happens to streams: a list of events each, and the rules of the protocol.
type life struct {
	*rig
	streams []*living // all that ever were
	acts    uint64    // of the tenant, each an audit event
	decided wire.Time // when the last request was: the rig's wall clock, which the engine clock follows
}

type living struct {
	id      wire.StreamID
	name    string
	events  []wire.Event
	oldest  int
	days    wire.Option[uint32]
	least   uint32
	holds   []string
	deleted bool
	purge   wire.Time
	purged  bool
	keys    []remembered
}

// remembered is a keyed append as its client knows it.
type remembered struct {
	key     wire.Key
	content string
	reply   wire.AppendEventsReply
}

// String keeps the logs of rapid short.
func (x *living) String() string { return fmt.Sprintf("stream %d %s", x.id, x.name) }

// GoString does, too.
func (x *living) GoString() string { return x.String() }

const lifeKeys = 3

func newLife(t *rapid.T) *life {
	cfg := smallConfig()
	cfg.RetentionDay, cfg.KeysPerStream, cfg.KeyAge = engine.Second, lifeKeys, 20*engine.Second
	l := &life{rig: newRig(t, cfg), acts: 1}
	l.call(1, &wire.CreateTenant{Name: "tenant"})
	return l
}

// at is the engine clock of the last decision.
func (l *life) at() wire.Time { return l.decided }

// do carries out a request. A purge that was due then has been decided at the latest when its stream was named.
func (l *life) do(body wire.RequestBody) wire.ResponseBody {
	l.decided = l.now.Wall + 1000
	for _, x := range l.streams {
		x.purged = x.purged || x.deleted && len(x.holds) == 0 && x.purge <= l.decided
	}
	return l.callRich(1, body)
}

// expired returns the first offset of a stream that has not expired at the last decision.
func (l *life) expired(x *living) int {
	upto := l.at() - l.at()%wire.Time(engine.Second) - wire.Time(x.days.Value)*wire.Time(engine.Second)
	o := x.oldest
	for x.days.Set && !x.deleted && len(x.holds) == 0 && o < len(x.events) && x.events[o].Timestamp <= upto {
		o++
	}
	return o
}

func (l *life) pick(t *rapid.T) *living {
	if len(l.streams) == 0 {
		return nil
	}
	return rapid.SampledFrom(l.streams).Draw(t, "stream")
}

// refused reports whether a reply is a refusal with a code, and fails where it is one with another.
func (l *life) refused(b wire.ResponseBody, want wire.Code) bool {
	l.t.Helper()
	e, is := b.(*wire.Error)
	if is && e.Code != want {
		l.t.Fatalf("refused with %v: %s", e.Code, e.Message)
	}
	return is
}

// expect fails unless a request about a stream is refused as its condition says, and reports whether it is.
func (l *life) expect(x *living, b wire.ResponseBody, whileDeleted bool) bool {
	l.t.Helper()
	switch {
	case x.purged:
		if !l.refused(b, wire.StreamNotFound) {
			l.t.Fatalf("%v is purged and answers %+v", x, b)
		}
		return false
	case x.deleted && !whileDeleted:
		if !l.refused(b, wire.StreamDeleted) {
			l.t.Fatalf("%v is deleted and answers %+v", x, b)
		}
		return false
	}
	return true
}

func (l *life) create(t *rapid.T) {
	name := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "name")
	b := &wire.CreateStream{Name: name}
	if rapid.Bool().Draw(t, "retained") {
		b.RetentionDays = wire.Some(uint32(rapid.IntRange(1, 20).Draw(t, "days")))
	}
	reply := l.do(b)
	taken := slices.ContainsFunc(l.streams, func(x *living) bool { return x.name == name && !x.purged })
	if l.refused(reply, wire.StreamAlreadyExists) != taken {
		t.Fatalf("the name %s is taken: %t, and the answer %+v", name, taken, reply)
	}
	if !taken {
		l.streams = append(l.streams, &living{id: reply.(*wire.CreateStreamReply).Stream, name: name, days: b.RetentionDays})
		l.acts++
	}
}

func (l *life) append(t *rapid.T) {
	x := l.pick(t)
	if x == nil {
		return
	}
	b := &wire.AppendEvents{Stream: x.id}
	for i := range rapid.IntRange(1, 4).Draw(t, "events") {
		b.Events = append(b.Events, fmt.Appendf(nil, "%d.%d", rapid.IntRange(0, 2).Draw(t, "content"), i))
	}
	if rapid.Bool().Draw(t, "timed") {
		b.Timestamps.Set = true
		for range b.Events {
			age := rapid.IntRange(-10, 40).Draw(t, "age")
			b.Timestamps.Value = append(b.Timestamps.Value, l.at()-wire.Time(age)*wire.Time(engine.Second)/2)
		}
	}
	if rapid.Bool().Draw(t, "keyed") {
		b.IdempotencyKey = wire.Some(wire.Key{byte(rapid.IntRange(1, 5).Draw(t, "key"))})
	}
	reply := l.do(b)
	if l.expect(x, reply, false) {
		l.appended(x, b, reply)
	}
}

// appended checks the reply to an append on a stream that is there.
func (l *life) appended(x *living, b *wire.AppendEvents, reply wire.ResponseBody) {
	content := fmt.Sprintf("%s %v", b.Events, b.Timestamps)
	if b.IdempotencyKey.Set {
		old := wire.Time(20 * engine.Second)
		i := slices.IndexFunc(x.keys, func(k remembered) bool {
			return k.key == b.IdempotencyKey.Value && l.at()-k.reply.Timestamp < old
		})
		switch {
		case i >= 0 && x.keys[i].content != content:
			if !l.refused(reply, wire.InvalidRequest) {
				l.t.Fatalf("a key was used for other content: %+v", reply)
			}
			return
		case i >= 0:
			want := x.keys[i].reply
			want.Duplicate = true
			if *reply.(*wire.AppendEventsReply) != want {
				l.t.Fatalf("a duplicate was answered with %+v, want %+v", reply, want)
			}
			return
		}
	}
	r, ok := reply.(*wire.AppendEventsReply)
	if !ok || r.Duplicate || r.FirstOffset != wire.Offset(len(x.events)) || r.Count != uint32(len(b.Events)) || r.Timestamp != l.at() {
		l.t.Fatalf("append at %d to %v with %d events: %+v", l.at(), x, len(x.events), reply)
	}
	for i, data := range b.Events {
		e := wire.Event{Offset: wire.Offset(len(x.events)), Data: data, Timestamp: l.at()}
		if b.Timestamps.Set {
			e.Timestamp = b.Timestamps.Value[i]
		}
		x.events = append(x.events, e)
	}
	if b.IdempotencyKey.Set {
		x.keys = slices.DeleteFunc(x.keys, func(k remembered) bool { return l.at()-k.reply.Timestamp >= wire.Time(20*engine.Second) })
		x.keys = append(x.keys[max(0, len(x.keys)-lifeKeys+1):], remembered{b.IdempotencyKey.Value, content, *r})
	}
}

// see reads a stream, so that what has expired is cut off. What nobody has seen to be gone comes back with a longer
// retention, and stays under a hold.
func (l *life) see(x *living) {
	if l.expect(x, l.do(&wire.ReadEvents{Stream: x.id}), false) {
		x.oldest = l.expired(x)
	}
}

func (l *life) delete(t *rapid.T) {
	x := l.pick(t)
	if x == nil {
		return
	}
	b := &wire.DeleteStream{Stream: x.id}
	if rapid.Bool().Draw(t, "overridden") {
		b.RetentionOverride = wire.Some(uint32(rapid.IntRange(0, 10).Draw(t, "days")))
	}
	reply := l.do(b)
	if !l.expect(x, reply, true) {
		return
	}
	if !x.deleted && len(x.holds) > 0 {
		if !l.refused(reply, wire.Held) {
			t.Fatalf("%v is held and was deleted", x)
		}
		return
	}
	if !x.deleted {
		x.deleted, x.purge = true, l.at()+wire.Time(max(b.RetentionOverride.Or(x.days.Or(30)), x.least))*wire.Time(engine.Second)
		l.acts++
	}
	if r, ok := reply.(*wire.DeleteStreamReply); !ok || !r.Deleted || r.PurgeDate != x.purge {
		t.Fatalf("deleting %v until %d: %+v", x, x.purge, reply)
	}
}

func (l *life) undelete(t *rapid.T) {
	x := l.pick(t)
	if x == nil {
		return
	}
	reply := l.do(&wire.UndeleteStream{Stream: x.id})
	if !l.expect(x, reply, true) {
		return
	}
	if r, ok := reply.(*wire.UndeleteStreamReply); !ok || r.Restored != x.deleted {
		t.Fatalf("undeleting %v, deleted %t: %+v", x, x.deleted, reply)
	}
	if x.deleted {
		x.deleted = false
		l.acts++
	}
}

func (l *life) retain(t *rapid.T) {
	x := l.pick(t)
	if x == nil {
		return
	}
	l.see(x)
	b := &wire.SetRetention{Stream: x.id}
	if rapid.IntRange(0, 3).Draw(t, "for ever") > 0 {
		b.Days = wire.Some(uint32(rapid.IntRange(0, 20).Draw(t, "days")))
	}
	if rapid.Bool().Draw(t, "bounded") {
		b.MinDays = wire.Some(uint32(rapid.IntRange(0, 5).Draw(t, "least")))
	}
	reply := l.do(b)
	if !l.expect(x, reply, false) {
		return
	}
	least := b.MinDays.Or(x.least)
	bad := b.Days.Set && (b.Days.Value == 0 || b.Days.Value < least)
	if l.refused(reply, wire.InvalidRequest) != bad {
		t.Fatalf("%+v with at least %d: %+v", b, x.least, reply)
	}
	if !bad && (b.Days != x.days || least != x.least) {
		x.days, x.least = b.Days, least
		l.acts++
	}
}

func (l *life) hold(t *rapid.T) {
	x := l.pick(t)
	if x == nil {
		return
	}
	l.see(x)
	name := rapid.SampledFrom([]string{"h", "i"}).Draw(t, "hold")
	held := slices.Contains(x.holds, name)
	if rapid.Bool().Draw(t, "release") {
		reply := l.do(&wire.ReleaseHold{Stream: x.id, Name: name})
		if !l.expect(x, reply, true) {
			return
		}
		if l.refused(reply, wire.InvalidRequest) == held {
			t.Fatalf("release of %s of %v: %+v", name, x, reply)
		}
		if held {
			x.holds = slices.DeleteFunc(x.holds, func(h string) bool { return h == name })
			l.acts++
		}
		return
	}
	if reply := l.do(&wire.SetHold{Stream: x.id, Name: name}); l.expect(x, reply, true) && !held {
		x.holds = append(x.holds, name)
		l.acts++
	}
}

func (l *life) look(t *rapid.T) {
	x := l.pick(t)
	if x == nil {
		return
	}
	b := &wire.ReadEvents{Stream: x.id, MaxBytes: uint64(rapid.IntRange(0, 30).Draw(t, "bytes")), Backward: rapid.Bool().Draw(t, "back")}
	b.FromOffset = wire.Offset(rapid.IntRange(0, len(x.events)+1).Draw(t, "from"))
	if rapid.Bool().Draw(t, "few") {
		b.MaxEvents = wire.Some(uint32(rapid.IntRange(0, 4).Draw(t, "events")))
	}
	if rapid.Bool().Draw(t, "since") {
		b.FromTimestamp = wire.Some(l.at() - wire.Time(rapid.IntRange(-5, 30).Draw(t, "age"))*wire.Time(engine.Second)/2)
	}
	reply := l.do(b)
	if !l.expect(x, reply, false) {
		return
	}
	x.oldest = l.expired(x)
	r, ok := reply.(*wire.ReadEventsReply)
	if !ok {
		t.Fatalf("reading %v: %+v", x, reply)
	}
	var want, got []wire.Offset
	for _, o := range model.Read(x.events, x.oldest, b) {
		want = append(want, wire.Offset(o))
	}
	for e := range r.Events.All {
		got = append(got, e.Offset)
		if w := x.events[e.Offset]; string(w.Data) != string(e.Data) || w.Timestamp != e.Timestamp {
			t.Fatalf("event %d is %+v, want %+v", e.Offset, e, w)
		}
	}
	if !slices.Equal(got, want) || r.OldestOffset != wire.Offset(x.oldest) || r.HeadOffset != wire.Offset(len(x.events)) {
		t.Fatalf("%+v of %v with oldest %d: got %v, want %v; %d to %d", b, x, x.oldest, got, want, r.OldestOffset, r.HeadOffset)
	}
	next := wire.Option[wire.Offset]{}
	if n := len(want); n > 0 && !b.Backward {
		next = wire.Some(want[n-1] + 1)
	} else if n > 0 && want[n-1] > wire.Offset(x.oldest) {
		next = wire.Some(want[n-1] - 1)
	}
	if r.NextOffset != next {
		t.Fatalf("%+v of %v: next is %v, want %v", b, x, r.NextOffset, next)
	}
}

// describe compares what is told of a stream. What has expired may be told for as long as the tick needs.
func (l *life) describe(t *rapid.T) {
	x := l.pick(t)
	if x == nil {
		return
	}
	reply := l.do(&wire.StreamInfo{Stream: x.id})
	if !l.expect(x, reply, true) {
		return
	}
	d := reply.(*wire.StreamInfoReply).Info
	size := 0
	for _, e := range x.events[d.OldestOffset:] {
		size += len(e.Data)
	}
	if d.Name != x.name || d.OldestOffset < wire.Offset(x.oldest) || d.OldestOffset > wire.Offset(l.expired(x)) || d.HeadOffset != wire.Offset(len(x.events)) || d.RetentionDays != x.days ||
		d.MinRetentionDays != x.least || len(d.Holds) != len(x.holds) || d.Deleted != x.deleted || d.Bytes != uint64(size) ||
		d.PurgeDate.Set != x.deleted || x.deleted && d.PurgeDate.Value != x.purge {
		t.Fatalf("%+v described as %+v, with %d bytes", *x, d, size)
	}
}

func (l *life) pass(t *rapid.T) {
	span := wire.Time(rapid.IntRange(0, 5000).Draw(t, "ms")) * 1_000_000
	l.now.Wall += span
	l.now.Mono += span
	l.step(engine.Tick{})
	for _, x := range l.streams {
		l.see(x) // the tick may have cut off something, or waits for the next whole second
	}
}

// reopen starts the machine again, in a new process, and has it replay the log once more without its snapshots.
func (l *life) reopen(*rapid.T) {
	before := l.m.Hash()
	if err := l.open(); err != nil {
		l.t.Fatal(err)
	}
	if l.m.Hash() != before {
		l.t.Fatal("the state is another one after a restart")
	}
	if report := l.checked(); report.Damaged() {
		l.t.Fatalf("damage: %s", describeAll(report))
	}
}

// audit reads the whole audit stream: one event for each act, each with the hash of the one before it.
func (l *life) audit(t *rapid.T) {
	prev := fmt.Sprintf("%064x", 0)
	var n uint64
	for from, more := wire.Offset(0), true; more; {
		r := l.call(1, &wire.ReadEvents{Stream: 1<<63 | 1, FromOffset: from, MaxBytes: 1 << 20}).(*wire.ReadEventsReply)
		for e := range r.Events.All {
			var a struct {
				Seq  uint64
				Act  string
				Prev string
			}
			if err := json.Unmarshal(e.Data, &a); err != nil || a.Prev != prev || a.Seq != n {
				t.Fatalf("audit event %d is %s, behind %s", n, e.Data, prev)
			}
			if a.Act != "stream.purge" {
				l.acts--
			}
			prev = fmt.Sprintf("%x", sha256.Sum256(e.Data))
			n++
		}
		from, more = r.NextOffset.Value, r.NextOffset.Set && r.NextOffset.Value < r.HeadOffset
	}
	if l.acts != 0 {
		t.Fatalf("%d acts have no audit event", int64(l.acts))
	}
	v := l.call(1, &wire.VerifyAudit{}).(*wire.VerifyAuditReply)
	if v.Break.Set || v.Events < n || fmt.Sprintf("%x", v.Hash) != prev && v.Events == n {
		t.Fatalf("the audit stream of %d events with hash %s is %+v", n, prev, v)
	}
}

func TestStreamsLiveByTheRules(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := newLife(t)
		t.Repeat(map[string]func(*rapid.T){
			"create": l.create, "append": l.append, "append more": l.append, "delete": l.delete, "undelete": l.undelete,
			"retain": l.retain, "hold": l.hold, "look": l.look, "look again": l.look, "describe": l.describe, "pass": l.pass,
			"reopen": l.reopen,
		})
		l.audit(t)
	})
}
