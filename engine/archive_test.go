package engine_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/kimberlitedb/kimberlite-go/engine"
	"github.com/kimberlitedb/kimberlite-go/engine/archive"
	"github.com/kimberlitedb/kimberlite-go/engine/proof"
	"github.com/kimberlitedb/kimberlite-go/engine/seg"
	"github.com/kimberlitedb/kimberlite-go/sim/disk"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// objects is an archive in memory.
type objects map[string][]byte

func (o objects) Put(name string, data []byte) error {
	if err := seg.CheckPut(name, len(data)); err != nil {
		return err
	}
	o[name] = bytes.Clone(data)
	return nil
}

func (o objects) Get(name string) ([]byte, error) {
	if p, ok := o[name]; ok {
		return bytes.Clone(p), nil
	}
	return nil, seg.ErrNotExist
}

func (o objects) Stat(name string) (int64, error) {
	p, err := o.Get(name)
	return int64(len(p)), err
}

func (o objects) List(prefix string) ([]string, error) {
	return slices.DeleteFunc(slices.Sorted(maps.Keys(o)), func(name string) bool { return !strings.HasPrefix(name, prefix) }), nil
}

func (o objects) Remove(name string) error {
	delete(o, name)
	return nil
}

// size returns how many bytes there are.
func (o objects) size() (n int) {
	for _, p := range o {
		n += len(p)
	}
	return n
}

// archiving is a rig whose tenant 1 has two streams, a table, and an archive in memory.
type archivingRig struct {
	*rig
	t      *testing.T
	at     objects
	orders wire.StreamID
	mail   wire.StreamID
	n      int
}

func newArchiving(t *testing.T) *archivingRig {
	cfg := smallConfig()
	cfg.SealBlock, cfg.MergeFiles, cfg.MaxSealed = 1<<10, 2, 1<<20
	cfg.Signers, cfg.Archives = []proof.Signer{testSigner(t)}, []string{"mem"}
	cfg.RetentionDay, cfg.RetentionGrain, cfg.SweepInterval, cfg.ForgetEvery = 10*engine.Second, engine.Second, 2*engine.Second, engine.Second
	a := &archivingRig{rig: newRig(t, cfg), t: t, at: objects{}}
	a.objects = a.at
	a.orders, a.mail = a.create(1, "orders"), a.create(1, "mail")
	a.create(2, "others")
	return a
}

// fill appends so many events to both streams, and to that of another tenant.
func (a *archivingRig) fill(n int) {
	for range n {
		a.append(1, a.orders, fmt.Sprintf("order %d %x", a.n, sha256.Sum256([]byte{byte(a.n)})))
		a.append(1, a.mail, fmt.Sprintf("mail %d", a.n), fmt.Sprintf("and %d", a.n))
		a.append(2, 3, "other")
		a.n++
	}
}

// checkpoint cuts a checkpoint and waits until it is kept.
func (a *archivingRig) checkpoint(label string) wire.Position {
	a.t.Helper()
	b, ok := a.call(1, &wire.Checkpoint{Of: 1, Label: wire.Some(label)}).(*wire.CheckpointReply)
	if !ok {
		a.t.Fatalf("%+v", a.last.Msg.Body)
	}
	a.pass(1)
	return b.Position
}

// send sends a checkpoint to the archive.
func (a *archivingRig) send(label string) {
	a.t.Helper()
	if _, ok := a.call(1, &wire.ArchiveCheckpoint{Of: 1, Ref: wire.CheckpointRef{Label: label}, Destination: "mem"}).(*wire.ArchiveCheckpointReply); !ok {
		a.t.Fatalf("%+v", a.last.Msg.Body)
	}
	a.pass(2)
	b := a.info(label)
	if len(b.Archives) == 0 || !b.Archives[0].Done {
		a.t.Fatalf("%+v", b.Archives)
	}
}

func (a *archivingRig) info(label string) *wire.GetCheckpointReply {
	a.t.Helper()
	b, ok := a.callRich(1, &wire.GetCheckpoint{Of: 1, Ref: wire.CheckpointRef{Label: label}, Limit: 100}).(*wire.GetCheckpointReply)
	if !ok {
		a.t.Fatalf("%+v", a.last.Msg.Body)
	}
	return b
}

// opened opens a checkpoint of the archive, and verifies all of it.
func (a *archivingRig) opened(label string) *archive.Checkpoint {
	a.t.Helper()
	keys := testKeys(a.t)
	box := &archive.Box{Objects: a.at}
	places, err := box.Find("")
	if err != nil {
		a.t.Fatal(err)
	}
	for _, p := range places {
		c, err := box.Open(p, keys)
		if err != nil {
			a.t.Fatal(err)
		}
		if c.Note.Label != label {
			continue
		}
		for i := range c.Manifest.Streams {
			if v := c.Verify(&c.Manifest.Streams[i]); v.Err != nil {
				a.t.Fatal(v.Err)
			}
		}
		if _, err := c.VerifyTables(); err != nil {
			a.t.Fatal(err)
		}
		return c
	}
	a.t.Fatalf("there is no %q in the archive", label)
	return nil
}

// restoring is a checkpoint that is to be restored.
func restoring(c *archive.Checkpoint) *engine.Restoring {
	from := &engine.Restoring{State: c.State, Records: c.Records}
	if there, _ := c.Dumped(); there {
		from.Tables = c.Tables
	}
	return from
}

// restored makes a data directory of a checkpoint and opens it.
func (a *archivingRig) restored(c *archive.Checkpoint) (*rig, *engine.Restored) {
	a.t.Helper()
	d := disk.New(512)
	cfg := a.cfg
	cfg.Store = 0x1234
	report, err := engine.Restore(d.Mount(), cfg, a.now.Wall, restoring(c))
	if err != nil {
		a.t.Fatal(err)
	}
	r := &rig{t: a.t, d: d, cfg: cfg, now: a.now, hashes: map[seg.LSN][32]byte{}, due: map[uint64]seg.LSN{}}
	if err := r.open(); err != nil {
		a.t.Fatal(err)
	}
	return r, &report[0]
}

func TestAnArchivedCheckpointIsVerifiedAndRestored(t *testing.T) {
	a := newArchiving(t)
	a.callRich(1, &wire.Query{SQL: "CREATE TABLE t (a)"})
	a.callRich(1, &wire.Query{SQL: "INSERT INTO t VALUES (1), (2)"})
	a.fill(40)
	a.checkpoint("first")
	want := map[wire.StreamID][]wire.Event{}
	for _, s := range []wire.StreamID{a.orders, a.mail, 1<<63 | 1, 3<<62 | 1} {
		events, _ := a.read(1, s, 0)
		want[s] = events
	}
	at := a.info("first").Info.Position
	a.fill(40)
	a.callRich(1, &wire.Query{SQL: "DELETE FROM t"})
	a.send("first")

	c := a.opened("first")
	r, report := a.restored(c)
	if report.Position != at || report.Gone != 0 || report.Streams != 2 {
		t.Errorf("%+v", report)
	}
	for s, events := range want {
		if s == 1<<63|1 { // the audit stream: the event of the checkpoint is its last one
			for len(events) > int(a.info("first").Streams[2].Head) {
				events = events[:len(events)-1]
			}
		}
		got, stop := r.read(1, s, 0)
		if stop != 0 || fmt.Sprint(got) != fmt.Sprint(events) {
			t.Errorf("stream %d has %d events, want %d", s, len(got), len(events))
		}
	}
	b, ok := r.callRich(1, &wire.Query{SQL: "SELECT count(*), (SELECT count(*) FROM t AS OF POSITION 4) FROM t"}).(*wire.QueryReply)
	if !ok {
		b, ok = r.callRich(1, &wire.Query{SQL: "SELECT count(*) FROM t"}).(*wire.QueryReply)
	}
	if !ok || b.Rows[0][0].Int != 2 {
		t.Errorf("%+v", r.last.Msg.Body)
	}
	r.append(1, a.orders, "more")
	if report := r.checked(); report.Damaged() {
		t.Errorf("%+v", report.Findings)
	}
	if _, stop := r.read(2, 3, 0); stop == 0 {
		t.Error("another tenant is there")
	}
}

func TestALaterCheckpointBringsOnlyWhatIsNew(t *testing.T) {
	a := newArchiving(t)
	a.fill(400)
	a.checkpoint("first")
	a.send("first")
	before := a.at.size()
	a.fill(4)
	a.checkpoint("second")
	a.send("second")
	if grown := a.at.size() - before; grown*10 > before {
		t.Errorf("the archive has grown by %d bytes, from %d", grown, before)
	}
	first, second := a.opened("first"), a.opened("second")
	for i := range second.Manifest.Streams {
		if err := second.Extends(&second.Manifest.Streams[i], &first.Manifest.Streams[i]); err != nil {
			t.Error(err)
		}
	}
	if second.Manifest.Previous != first.ID.String() {
		t.Error("the trees of the second have not grown from those of the first")
	}
}

func TestWhatIsGoneLeavesItsLeaves(t *testing.T) {
	a := newArchiving(t)
	a.fill(100)
	a.checkpoint("first")
	a.call(1, &wire.SetRetention{Stream: a.orders, Days: wire.Some(uint32(1))})
	a.call(1, &wire.DeleteStream{Stream: a.mail, RetentionOverride: wire.Some(uint32(1))})
	a.pass(30)
	a.fill2(10)
	a.checkpoint("second")
	a.send("first")
	a.send("second")
	for _, label := range []string{"first", "second"} {
		c := a.opened(label)
		gone := uint64(0)
		for i := range c.Manifest.Streams {
			gone += c.Verify(&c.Manifest.Streams[i]).Gone
		}
		if gone < 100 {
			t.Errorf("%s: %d events are gone", label, gone)
		}
		r, report := a.restored(c)
		if label == "first" && report.Gone < 300 {
			t.Errorf("%+v", report)
		}
		if got := r.checked(); got.Damaged() {
			t.Errorf("%+v", got.Findings)
		}
	}
	for name, p := range a.at {
		if raw, err := new(archive.Packer).Unpack(archive.Blob{Digest: sha256.Sum256(p), Size: len(p)}, p, archive.MaxBlob); err == nil && bytes.Contains(raw, []byte("order 7 ")) {
			t.Errorf("%s has an event that is gone", name)
		}
	}
}

func TestWhatIsRemovedLeavesTheArchive(t *testing.T) {
	a := newArchiving(t)
	a.fill(100)
	a.checkpoint("first")
	a.send("first")
	a.fill(10)
	a.checkpoint("second")
	a.send("second")
	a.call(1, &wire.SetRetention{Stream: a.orders, Days: wire.Some(uint32(1))})
	a.call(1, &wire.DeleteStream{Stream: a.mail, RetentionOverride: wire.Some(uint32(1))})
	a.pass(30)
	if s := a.m.Stats(); s.ArchivesPruned == 0 || s.NotPruned > 0 {
		t.Fatalf("%+v", s)
	}
	for _, label := range []string{"first", "second"} {
		c := a.opened(label)
		gone := uint64(0)
		for i := range c.Manifest.Streams {
			gone += c.Verify(&c.Manifest.Streams[i]).Gone
		}
		if gone < 300 {
			t.Errorf("%s: %d events are gone", label, gone)
		}
	}
	for name, p := range a.at {
		if raw, err := new(archive.Packer).Unpack(archive.Blob{Digest: sha256.Sum256(p), Size: len(p)}, p, archive.MaxBlob); err == nil && (bytes.Contains(raw, []byte("order ")) || bytes.Contains(raw, []byte("mail "))) {
			t.Errorf("%s has an event that is gone", name)
		}
	}
}

func TestALockEndsBeforeSomethingIsToGo(t *testing.T) {
	a := newArchiving(t)
	a.fill(1)
	a.checkpoint("first")
	lock := func(span wire.Span) wire.ResponseBody {
		return a.call(1, &wire.ArchiveCheckpoint{Of: 1, Ref: wire.CheckpointRef{Label: "first"}, Destination: "mem", LockUntil: wire.Some(a.now.Wall + wire.Time(span))})
	}
	a.call(1, &wire.SetRetention{Stream: a.mail, Days: wire.Some(uint32(5))}) // of ten seconds each
	for _, c := range []struct {
		span wire.Span
		ok   bool
	}{{60 * engine.Second, false}, {-engine.Second, false}, {40 * engine.Second, true}} {
		b := lock(c.span)
		e, refused := b.(*wire.Error)
		if refused == c.ok || refused && e.Code != wire.InvalidRequest {
			t.Errorf("a lock for %d: %+v", c.span, b)
		}
	}
	a.pass(2)
	if x := a.info("first").Archives[0]; x.Done || !strings.Contains(x.Trouble, "does not lock") {
		t.Errorf("an archive that cannot lock: %+v", x)
	}
}

func TestDamageToACheckpointIsFound(t *testing.T) {
	for _, what := range []string{"checkpoint-", "leaves-"} {
		a := newArchiving(t)
		a.fill(5)
		a.checkpoint("first")
		if r := a.checked(); r.Damaged() || r.Checkpoints != 1 {
			t.Fatalf("%+v", r)
		}
		names, err := a.fs.List()
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			if strings.HasPrefix(name, what) {
				change(t, a.d.Mount(), name, 60, func(p []byte) { p[0] ^= 1 })
			}
		}
		if r := a.checked(); len(r.Findings) != 1 || r.Findings[0].Kind != engine.BadCheckpoint {
			t.Errorf("%s: %+v", what, r.Findings)
		}
	}
}

func TestGroupsAreRestored(t *testing.T) {
	a := newArchiving(t)
	for range 50 {
		a.append(2, 3, "other")
	}
	if _, ok := a.call(1, &wire.CreateGroup{Stream: a.orders, Name: "billing"}).(*wire.CreateGroupReply); !ok {
		t.Fatalf("%+v", a.last.Msg.Body)
	}
	a.fill(3)
	a.checkpoint("first")
	a.send("first")
	r, _ := a.restored(a.opened("first"))
	b, ok := r.callRich(1, &wire.GroupInfo{Stream: a.orders, Name: "billing"}).(*wire.GroupInfoReply)
	if !ok || b.Info.Name != "billing" {
		t.Errorf("%+v", r.last.Msg.Body)
	}
	r.append(1, a.orders, "more")
	if err := r.open(); err != nil {
		t.Error(err)
	}
}

// fill2 appends to the stream that is left.
func (a *archivingRig) fill2(n int) {
	for range n {
		a.append(1, a.orders, fmt.Sprintf("late order %d", a.n))
		a.n++
	}
}

func TestAnArchiveProvesEventsAndThatNothingHasChanged(t *testing.T) {
	a := newArchiving(t)
	a.fill(100)
	a.checkpoint("first")
	a.send("first")
	keys := testKeys(t)
	early := a.opened("first")
	d, err := early.Prove(early.Manifest.Stream(a.orders), 7)
	if err != nil {
		t.Fatal(err)
	}
	a.call(1, &wire.SetRetention{Stream: a.orders, Days: wire.Some(uint32(1))})
	a.call(1, &wire.DeleteStream{Stream: a.mail, RetentionOverride: wire.Some(uint32(1))})
	a.pass(30)
	a.fill2(10)
	a.create(1, "news")
	a.checkpoint("second")
	a.send("second")
	first, second := a.opened("first"), a.opened("second")

	in, err := d.Verify(keys)
	if err != nil || !strings.HasPrefix(string(in.Event.Data), "order 7 ") || in.Note.Label != "first" {
		t.Fatalf("%+v, %v", in, err)
	}
	// It is gone by now, and whoever has kept the first proof proves it of the second checkpoint too.
	gone, err := second.Prove(second.Manifest.Stream(a.orders), 7)
	if err != nil {
		t.Fatal(err)
	}
	if in, err = gone.Verify(keys); err != nil || in.Event != nil || in.Absent != "" {
		t.Fatalf("%+v, %v", in, err)
	}
	if err := gone.Attach(d.Event); err != nil {
		t.Fatal(err)
	}
	if in, err = gone.Verify(keys); err != nil || in.Note.Label != "second" {
		t.Fatalf("%+v, %v", in, err)
	}
	audit, err := second.Prove(second.Manifest.Stream(1<<63|1), 2)
	if err != nil {
		t.Fatal(err)
	}
	if in, err = audit.Verify(keys); err != nil || !strings.Contains(string(in.Event.Data), "stream.create") {
		t.Fatalf("%+v, %v", in, err)
	}

	c, err := second.ProveSince(first)
	if err != nil {
		t.Fatal(err)
	}
	x, err := c.Verify(keys)
	if err != nil || !x.Whole || len(x.Streams) != 4 || x.Streams[1].Later != nil || x.Streams[2].Earlier != nil {
		t.Fatalf("%+v, %v", x, err)
	}
	if c, err = second.ProveSince(first, a.orders); err != nil {
		t.Fatal(err)
	}
	if x, err = c.Verify(keys); err != nil || x.Whole || len(x.Streams) != 1 {
		t.Fatalf("%+v, %v", x, err)
	}
	if _, err := first.ProveSince(second); err == nil {
		t.Error("an earlier checkpoint goes on from a later one")
	}
}

// Where all checkpoints before were deleted, trees begin anew, and nothing is proven of what came before.
func TestTreesThatBeginAnewAreNotCompared(t *testing.T) {
	a := newArchiving(t)
	a.fill(100)
	a.checkpoint("first")
	a.send("first")
	a.call(1, &wire.SetRetention{Stream: a.orders, Days: wire.Some(uint32(1))})
	a.pass(30)
	a.call(1, &wire.DeleteCheckpoint{Of: 1, Ref: wire.CheckpointRef{Label: "first"}})
	a.pass(1)
	a.fill(10)
	a.checkpoint("second")
	a.send("second")
	first, second := a.opened("first"), a.opened("second")
	if _, err := second.ProveSince(first); !errors.Is(err, proof.ErrBase) {
		t.Error(err)
	}
	if err := second.Extends(second.Manifest.Stream(a.orders), first.Manifest.Stream(a.orders)); !errors.Is(err, proof.ErrBase) {
		t.Error(err)
	}
	// A tree that has begun anew where the old one did holds the same: whoever signs cannot let it begin anew in order to change it.
	if err := second.Extends(second.Manifest.Stream(a.mail), first.Manifest.Stream(a.mail)); err != nil || second.Manifest.Previous != "" {
		t.Error(err)
	}
}

func testKeys(t *testing.T) proof.Keys {
	t.Helper()
	keys, err := proof.Verifiers([]byte(testKey))
	if err != nil {
		t.Fatal(err)
	}
	return keys
}
