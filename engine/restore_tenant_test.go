package engine_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/kimberlitedb/kimberlite-go/engine"
	"github.com/kimberlitedb/kimberlite-go/engine/archive"
	"github.com/kimberlitedb/kimberlite-go/engine/proof"
	"github.com/kimberlitedb/kimberlite-go/engine/seg"
	"github.com/kimberlitedb/kimberlite-go/sim/disk"
	"github.com/kimberlitedb/kimberlite-go/sim/rng"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// newRestoring is an archiving rig that trusts its own checkpoints.
func newRestoring(t *testing.T) *archivingRig {
	a := newArchiving(t)
	keys, err := proof.Verifiers([]byte(testKey))
	if err != nil {
		t.Fatal(err)
	}
	a.cfg.Trusted = keys
	if err := a.open(); err != nil {
		t.Fatal(err)
	}
	return a
}

// bring is a request to restore a checkpoint of the archive as tenant 7.
func (a *archivingRig) bring(label string) *wire.RestoreTenant {
	a.t.Helper()
	p := a.opened(label).Place
	return &wire.RestoreTenant{Of: 7, Source: "mem", Store: uint64(p.Store), Tenant: p.Tenant, Position: p.Position, Checkpoint: p.ID, Name: wire.Some("copy")}
}

// brought restores a checkpoint as tenant 7, and waits until it is all there.
func (a *archivingRig) brought(label string) *wire.RestoreInfoReply {
	a.t.Helper()
	if _, ok := a.call(7, a.bring(label)).(*wire.RestoreTenantReply); !ok {
		a.t.Fatalf("%+v", a.last.Msg.Body)
	}
	return a.arrived()
}

// arrived waits until tenant 7 is all there.
func (r *rig) arrived() *wire.RestoreInfoReply {
	r.t.Helper()
	for range 200 {
		b, ok := r.call(7, &wire.RestoreInfo{Of: 7}).(*wire.RestoreInfoReply)
		if !ok {
			r.t.Fatalf("%+v", r.last.Msg.Body)
		}
		if b.Done {
			return b
		}
		r.pass(1)
	}
	r.t.Fatalf("tenant 7 does not arrive: %+v", r.last.Msg.Body)
	return nil
}

// shown is what a tenant shows of a stream as of a position: its events with their positions.
func (r *rig) shown(tenant wire.TenantID, s wire.StreamID, at wire.Position) (list []string) {
	r.t.Helper()
	for from := wire.Offset(0); ; {
		b, ok := r.callRich(tenant, &wire.ReadEvents{Stream: s, FromOffset: from, MaxBytes: 1 << 20, AsOf: wire.Some(at)}).(*wire.ReadEventsReply)
		if !ok {
			return append(list, fmt.Sprintf("%+v", r.last.Msg.Body))
		}
		if b.Events.Count == 0 {
			return list
		}
		for e := range b.Events.All {
			list = append(list, fmt.Sprintf("%d %s %d %d", e.Offset, e.Data, e.Timestamp, e.Checksum))
		}
		from = b.NextOffset.Value
	}
}

// filled is a rig with a checkpoint in its archive, of a tenant that has a bit of everything.
func filled(t *testing.T, n int) *archivingRig {
	a := newRestoring(t)
	a.callRich(1, &wire.Query{SQL: "CREATE TABLE t (a)"})
	a.callRich(1, &wire.Query{SQL: "INSERT INTO t VALUES (1), (2)"})
	a.call(1, &wire.SetHold{Stream: a.mail, Name: "audit", Reason: "of 2026"})
	a.fill(n)
	a.call(1, &wire.CreateGroup{Stream: a.orders, Name: "billing"})
	a.call(1, &wire.AppendEvents{Stream: a.orders, Events: [][]byte{[]byte("keyed")}, IdempotencyKey: wire.Some(wire.Key{1})})
	gone := a.create(1, "gone")
	a.append(1, gone, "soon")
	a.call(1, &wire.DeleteStream{Stream: gone, RetentionOverride: wire.Some(uint32(0))})
	a.pass(3)
	a.checkpoint("first")
	a.send("first")
	return a
}

// same compares tenant 7 with tenant 1 as of the checkpoint.
func (a *archivingRig) same(r *rig, b *wire.RestoreInfoReply) {
	a.t.Helper()
	at := a.info("first").Info.Position
	if len(b.Streams) != 4 {
		a.t.Fatalf("%+v", b)
	}
	for _, s := range b.Streams {
		want, got := a.shown(1, s.Was, at), r.shown(7, s.Is, at)
		if fmt.Sprint(want) != fmt.Sprint(got) || len(want) == 0 {
			a.t.Errorf("stream %d, now %d:\n%v\nwant\n%v", s.Was, s.Is, got, want)
		}
		was := a.call(1, &wire.ReadEvents{Stream: s.Was, MaxBytes: 1 << 20, AsOf: wire.Some(at - 3)})
		is := r.call(7, &wire.ReadEvents{Stream: s.Is, MaxBytes: 1 << 20, AsOf: wire.Some(at - 3)})
		if fmt.Sprint(was) != fmt.Sprint(is) {
			a.t.Errorf("stream %d, now %d, before the end:\n%v\nwant\n%v", s.Was, s.Is, is, was)
		}
	}
	info := func(r *rig, t wire.TenantID, s wire.StreamID) wire.StreamDescription {
		d := r.call(t, &wire.StreamInfo{Stream: s}).(*wire.StreamInfoReply).Info
		d.Stream = 0
		return d
	}
	for _, s := range b.Streams[:2] {
		if want, got := info(a.rig, 1, s.Was), info(r, 7, s.Is); fmt.Sprintf("%+v", want) != fmt.Sprintf("%+v", got) {
			a.t.Errorf("stream %d is %+v, want %+v", s.Is, got, want)
		}
	}
}

func TestACheckpointBecomesATenantOfARunningServer(t *testing.T) {
	a := filled(t, 40)
	b := a.brought("first")
	a.same(a.rig, b)
	if b.Events != 40*3+1+2+9 || b.Streams[0].Was != a.orders || b.Streams[0].Is == a.orders || b.Streams[0].Is <= a.mail {
		t.Errorf("%+v", b)
	}
	orders := b.Streams[0].Is
	events, _ := a.read(7, 1<<63|7, 0)
	var last struct {
		Act    string
		Detail struct {
			Checkpoint string
			Streams    []struct{ Was, Is wire.StreamID }
		}
	}
	if err := json.Unmarshal(events[len(events)-1].Data, &last); err != nil || last.Act != "tenant.restore" ||
		len(last.Detail.Streams) != 2 || last.Detail.Streams[0].Is != orders || last.Detail.Checkpoint != a.info("first").Info.ID.String() {
		t.Errorf("%v %+v", err, last)
	}
	if v := a.call(7, &wire.VerifyAudit{}).(*wire.VerifyAuditReply); v.Break.Set || v.Events != uint64(len(events)) {
		t.Errorf("%+v", v)
	}
	if q, ok := a.callRich(7, &wire.Query{SQL: "SELECT count(*) FROM t"}).(*wire.QueryReply); !ok || q.Rows[0][0].Int != 2 {
		t.Errorf("%+v", a.last.Msg.Body)
	}
	if q, ok := a.callRich(7, &wire.Query{SQL: "SELECT count(*) FROM orders"}).(*wire.QueryReply); !ok || q.Rows[0][0].Int != 41 {
		t.Errorf("%+v", a.last.Msg.Body)
	}
	again := a.call(7, &wire.AppendEvents{Stream: orders, Events: [][]byte{[]byte("keyed")}, IdempotencyKey: wire.Some(wire.Key{1})})
	if r, ok := again.(*wire.AppendEventsReply); !ok || !r.Duplicate || r.FirstOffset != 40 {
		t.Errorf("%+v", again)
	}
	if g, ok := a.call(7, &wire.ListGroups{Stream: orders}).(*wire.ListGroupsReply); !ok || len(g.Groups) != 1 {
		t.Errorf("%+v", a.last.Msg.Body)
	}
	if e, held := a.call(7, &wire.DeleteStream{Stream: b.Streams[1].Is}).(*wire.Error); !held || e.Code != wire.Held {
		t.Errorf("%+v", a.last.Msg.Body)
	}
	if _, ok := a.call(7, a.bring("first")).(*wire.RestoreTenantReply); !ok {
		t.Errorf("asked again: %+v", a.last.Msg.Body)
	}
	a.append(7, orders, "more")
	if others, _ := a.read(2, 3, 0); len(others) != 40 {
		t.Errorf("another tenant has %d events", len(others))
	}
	a.goesOn(7, orders)
}

// goesOn has a tenant that was restored be archived itself.
func (a *archivingRig) goesOn(id wire.TenantID, s wire.StreamID) {
	a.t.Helper()
	a.pass(20)
	if _, ok := a.call(id, &wire.Checkpoint{Of: id, Label: wire.Some("second")}).(*wire.CheckpointReply); !ok {
		a.t.Fatalf("%+v", a.last.Msg.Body)
	}
	a.pass(1)
	a.call(id, &wire.ArchiveCheckpoint{Of: id, Ref: wire.CheckpointRef{Label: "second"}, Destination: "mem"})
	a.pass(2)
	c := a.opened("second")
	if c.Tenant != id {
		a.t.Fatalf("%+v", c.Place)
	}
	err := c.Records(func(r *seg.Record) error {
		if r.Flags&seg.FlagRestored != 0 {
			return errors.New("a record tells that it was restored")
		}
		return nil
	})
	if err != nil {
		a.t.Error(err)
	}
	r, report := a.restored(c)
	if report.Tenant != id || report.Gone != 0 {
		a.t.Errorf("%+v", report)
	}
	want, _ := a.read(id, s, 0)
	if got, _ := r.read(id, s, 0); fmt.Sprint(got) != fmt.Sprint(want) {
		a.t.Errorf("%d events, want %d", len(got), len(want))
	}
	for _, r := range []*rig{r, a.rig} {
		if report := r.checked(); report.Damaged() {
			a.t.Errorf("%+v", report.Findings)
		}
	}
	hash := a.m.Hash()
	if err := a.open(); err != nil || a.m.Hash() != hash {
		a.t.Errorf("the state is another one after a restart: %v", err)
	}
}

// A tenant that was restored is sealed, merged, trimmed and swept like any other.
func TestWhatWasRestoredExpires(t *testing.T) {
	a := filled(t, 60)
	b := a.brought("first")
	a.call(1, &wire.SetRetention{Stream: a.orders, Days: wire.Some(uint32(1))})
	a.call(7, &wire.SetRetention{Stream: b.Streams[0].Is, Days: wire.Some(uint32(1))})
	a.call(7, &wire.ReleaseHold{Stream: b.Streams[1].Is, Name: "audit"})
	a.call(7, &wire.DeleteStream{Stream: b.Streams[1].Is, RetentionOverride: wire.Some(uint32(0))})
	for range 5 {
		a.pass(10)
		a.append(2, 3, strings.Repeat("x", 2000))
	}
	a.pass(20)
	want, got := a.call(1, &wire.StreamInfo{Stream: a.orders}).(*wire.StreamInfoReply).Info, a.call(7, &wire.StreamInfo{Stream: b.Streams[0].Is}).(*wire.StreamInfoReply).Info
	if got.OldestOffset != want.OldestOffset || got.OldestOffset != 61 || got.Bytes != want.Bytes {
		t.Errorf("%+v, want %+v", got, want)
	}
	if files := a.holding("order 7 "); len(files) > 0 {
		t.Errorf("%v have an event that is gone", files)
	}
	if report := a.checked(); report.Damaged() {
		t.Errorf("%+v", report.Findings)
	}
}

// What retention has taken from the archive since is not there, and its place is known.
func TestWhatHasLeftTheArchiveIsNotRestored(t *testing.T) {
	a := newRestoring(t)
	a.fill(100)
	a.checkpoint("first")
	a.send("first")
	a.call(1, &wire.SetRetention{Stream: a.orders, Days: wire.Some(uint32(1))})
	a.pass(8)
	a.fill(10)
	a.pass(8)
	a.call(1, &wire.DeleteStream{Stream: a.mail, RetentionOverride: wire.Some(uint32(0))})
	a.pass(10)
	b := a.brought("first")
	for _, s := range b.Streams[:2] {
		i := a.call(7, &wire.StreamInfo{Stream: s.Is}).(*wire.StreamInfoReply).Info
		if i.OldestOffset != i.HeadOffset || i.Bytes != 0 {
			t.Errorf("%+v", i)
		}
		a.append(7, s.Is, "goes on")
	}
	if report := a.checked(); report.Damaged() {
		t.Errorf("%+v", report.Findings)
	}
}

// What has left the archive before something that is there has expired, and what expires later is counted right.
func TestTheRestIsRestored(t *testing.T) {
	for _, block := range []int{0, 1 << 10} {
		a := newRestoring(t)
		a.cfg.SealBlock = block
		if err := a.open(); err != nil {
			t.Fatal(err)
		}
		a.restoresTheRest()
	}
}

func (a *archivingRig) restoresTheRest() {
	t := a.t
	a.fill(60)
	a.pass(9)
	a.fill(60)
	a.checkpoint("first")
	a.call(1, &wire.SetRetention{Stream: a.orders, Days: wire.Some(uint32(1))})
	a.checkpoint("second")
	a.pass(1)
	a.send("first")
	a.send("second")
	ask := a.bring("first")
	ask.AcceptOlder = true
	if _, ok := a.call(7, ask).(*wire.RestoreTenantReply); !ok {
		t.Fatalf("%+v", a.last.Msg.Body)
	}
	now := a.arrived().Streams[0].Is
	info := func(tenant wire.TenantID, s wire.StreamID) wire.StreamDescription {
		d := a.call(tenant, &wire.StreamInfo{Stream: s}).(*wire.StreamInfoReply).Info
		d.Stream, d.RetentionDays = 0, wire.Option[uint32]{}
		return d
	}
	want, got := info(1, a.orders), info(7, now)
	if fmt.Sprint(want) != fmt.Sprint(got) || want.OldestOffset != 60 {
		t.Errorf("%+v, want %+v", got, want)
	}
	a.pass(3)
	for tenant, s := range map[wire.TenantID]wire.StreamID{1: a.orders, 7: now} {
		a.append(tenant, s, "late")
		a.call(tenant, &wire.SetRetention{Stream: s, Days: wire.Some(uint32(1))})
	}
	a.pass(6)
	if want, got := info(1, a.orders), info(7, now); got.OldestOffset != 120 || got.OldestOffset != want.OldestOffset || got.Bytes != want.Bytes {
		t.Errorf("%+v, want %+v", got, want)
	}
}

func TestABadArchiveIsRefusedByName(t *testing.T) {
	a := filled(t, 40)
	whole, ask := maps.Clone(a.at), a.bring("first")
	refused := func(what string, code wire.Code, why string) {
		t.Helper()
		e, ok := a.call(7, ask).(*wire.Error)
		if !ok || e.Code != code || !strings.Contains(e.Message, why) {
			t.Errorf("%s: %+v", what, a.last.Msg.Body)
		}
		if e, ok := a.call(7, &wire.RestoreInfo{Of: 7}).(*wire.Error); !ok || e.Code != wire.TenantNotFound {
			t.Errorf("%s: %+v", what, a.last.Msg.Body)
		}
		clear(a.at)
		maps.Copy(a.at, whole)
	}
	c := a.opened("first")
	blob := archive.BlobName(c.Index.Sections[0].Digest)
	a.at[blob][len(a.at[blob])/2] ^= 1
	refused("a block", wire.DataCorrupted, blob)
	delete(a.at, blob)
	refused("no block", wire.CheckpointNotFound, blob)
	a.at[c.Place.Note()][10] ^= 1
	refused("a note", wire.DataCorrupted, "signature")
	delete(a.at, c.Place.Note())
	refused("no note", wire.CheckpointNotFound, "note")
	for _, f := range []func(*wire.RestoreTenant){
		func(b *wire.RestoreTenant) { b.Source = "elsewhere" },
		func(b *wire.RestoreTenant) { b.Source = "" },
		func(b *wire.RestoreTenant) { b.Of = 8 },
		func(b *wire.RestoreTenant) { b.Tenant = 0 },
		func(b *wire.RestoreTenant) { b.Name = wire.Some("$x") },
		func(b *wire.RestoreTenant) { b.Position++ },
		func(b *wire.RestoreTenant) { b.Checkpoint[0]++ },
	} {
		bad := *ask
		f(&bad)
		if e, ok := a.call(7, &bad).(*wire.Error); !ok {
			t.Errorf("%+v: %+v", bad, e)
		}
	}
	if e, ok := a.call(2, &wire.RestoreTenant{Of: 2, Source: "mem", Tenant: 1}).(*wire.Error); !ok || e.Code != wire.InvalidRequest {
		t.Errorf("a tenant that is there: %+v", a.last.Msg.Body)
	}
	a.cfg.Trusted = nil
	if err := a.open(); err != nil {
		t.Fatal(err)
	}
	refused("no key", wire.PermissionDenied, "trusts no key")
}

func TestAnOlderCheckpointIsRestoredWhereThatIsAccepted(t *testing.T) {
	a := newRestoring(t)
	a.fill(5)
	a.checkpoint("first")
	a.send("first")
	a.call(1, &wire.DeleteStream{Stream: a.mail})
	a.checkpoint("second")
	a.send("second")
	ask := a.bring("first")
	if e, ok := a.call(7, ask).(*wire.Error); !ok || e.Code != wire.InvalidRequest || !strings.Contains(e.Message, "later checkpoint") {
		t.Fatalf("%+v", a.last.Msg.Body)
	}
	ask.AcceptOlder = true
	if _, ok := a.call(7, ask).(*wire.RestoreTenantReply); !ok {
		t.Fatalf("%+v", a.last.Msg.Body)
	}
	b := a.arrived()
	if _, stop := a.read(7, b.Streams[1].Is, 0); stop != wire.StreamDeleted {
		t.Errorf("what was deleted later: %s", stop)
	}
}

// A tenant that arrives is not there for anybody, and nothing happens to it until it is.
func TestATenantThatArrivesIsLeftAlone(t *testing.T) {
	a := filled(t, 40)
	a.call(1, &wire.SetRetention{Stream: a.orders, Days: wire.Some(uint32(1))})
	a.checkpoint("second")
	a.send("second")
	ask := a.bring("second")
	ask.AcceptOlder = true
	away := &unreachable{objects: a.at, gets: 1 << 30}
	a.objects = away
	before := a.d.Clone()
	a.call(7, ask)
	away.gets = 1<<30 - away.gets - 1 // all that verifying and reading it take, but one
	a.d = before
	if err := a.open(); err != nil {
		t.Fatal(err)
	}
	if _, ok := a.call(7, ask).(*wire.RestoreTenantReply); !ok {
		t.Fatalf("%+v", a.last.Msg.Body)
	}
	a.pass(20)
	for _, b := range []wire.RequestBody{&wire.ListStreams{}, &wire.CreateStream{Name: "x"}, &wire.VerifyAudit{}, &wire.Query{SQL: "SELECT 1"}, &wire.Checkpoint{Of: 7}} {
		if e, ok := a.call(7, b).(*wire.Error); !ok || e.Code != wire.ProjectionLag || !e.Code.Retryable() {
			t.Errorf("%T: %+v", b, a.last.Msg.Body)
		}
	}
	i := a.call(7, &wire.RestoreInfo{Of: 7}).(*wire.RestoreInfoReply)
	if i.Done || i.Trouble == "" {
		t.Errorf("%+v", i)
	}
	if err := a.open(); err != nil {
		t.Fatal(err)
	}
	a.pass(20)
	if report := a.checked(); report.Damaged() {
		t.Errorf("%+v", report.Findings)
	}
	a.objects = a.at
	b := a.arrived()
	a.pass(2)
	if i := a.call(7, &wire.StreamInfo{Stream: b.Streams[0].Is}).(*wire.StreamInfoReply).Info; i.OldestOffset != i.HeadOffset {
		t.Errorf("%+v", i)
	}
}

// unreachable is an archive that cannot be reached any more after so many objects.
type unreachable struct {
	objects
	gets int
}

func (u *unreachable) Get(name string) ([]byte, error) {
	if u.gets--; u.gets < 0 {
		return nil, seg.ErrUnavailable
	}
	return u.objects.Get(name)
}

// A crash at any use of the disk while a tenant is restored: in the end it is all there, once, and nobody else has lost anything.
func TestACrashAnywhereInARestore(t *testing.T) {
	a := filled(t, 60)
	a.mark()
	base, ask := a.d.Clone(), a.bring("first")
	run := func(r *rig) {
		if r.open() != nil {
			return
		}
		r.request(7, ask)
		r.step(engine.EndBatch{})
		for i := 0; i < 60 && !r.dead && (i < 3 || !r.m.Idle()); i++ {
			r.mark()
		}
	}
	count := 0
	d := base.Clone()
	d.Hook = func(disk.Op) disk.Verdict { count++; return disk.Verdict{} }
	run(a.copyOf(d))
	resumed := 0
	losses, step := rng.Source(1).Stream("losses"), 1+count/150
	for n := 0; n < count; n += step {
		how := []string{"process", "power", "torn", "garbage", "unordered"}[n/step%5]
		d, left := base.Clone(), n
		r := a.copyOf(d)
		d.Hook = func(disk.Op) disk.Verdict {
			if left--; left >= 0 {
				return disk.Verdict{}
			}
			if d.Hook, r.dead = nil, true; how == "process" {
				d.ProcessCrash()
			} else {
				d.PowerLoss(losses, disk.Loss{Torn: how != "power", Garbage: how == "garbage", Unordered: how == "unordered"})
			}
			return disk.Verdict{}
		}
		run(r)
		d.Hook = nil
		again := a.copyOf(d)
		if report := again.checked(); report.Damaged() {
			t.Errorf("%+v", report.Findings)
		}
		if again.open() == nil && again.m.Stats().Arriving > 0 {
			resumed++
		}
		run(again)
		if again.dead {
			t.Fatalf("after a crash (%s) at use %d of %d of the disk it does not start", how, n, count)
		}
		a.same(again, again.arrived())
		hash := again.m.Hash()
		if report := again.checked(); report.Damaged() {
			t.Errorf("%+v", report.Findings)
		}
		if err := again.open(); err != nil || again.m.Hash() != hash {
			t.Errorf("the state is another one: %v", err)
		}
		if t.Failed() {
			t.Fatalf("after a crash (%s) at use %d of %d of the disk", how, n, count)
		}
	}
	if resumed < 10 {
		t.Errorf("of %d uses of the disk, the crash was in the middle of the restore %d times", count, resumed)
	}
}

// Where the first statements are gone, nothing says what the tables were.
func TestForgottenStatementsAreRefused(t *testing.T) {
	a := newRestoring(t)
	a.callRich(1, &wire.Query{SQL: "CREATE TABLE t (a)"})
	a.call(1, &wire.SetRetention{Stream: 3<<62 | 1, Days: wire.Some(uint32(1))})
	for range 50 {
		a.pass(10)
		a.callRich(1, &wire.Query{SQL: "INSERT INTO t VALUES (1), (2)"})
	}
	if i := a.call(1, &wire.StreamInfo{Stream: 3<<62 | 1}).(*wire.StreamInfoReply).Info; i.OldestOffset == 0 {
		t.Fatalf("nothing is forgotten: %+v", i)
	}
	a.checkpoint("first")
	a.send("first")
	if e, ok := a.call(7, a.bring("first")).(*wire.Error); !ok || !strings.Contains(e.Message, "first statements") {
		t.Errorf("%+v", a.last.Msg.Body)
	}
}
