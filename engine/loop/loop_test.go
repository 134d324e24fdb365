package loop_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/kimberlitedb/kimberlite-go/engine"
	"github.com/kimberlitedb/kimberlite-go/engine/loop"
	"github.com/kimberlitedb/kimberlite-go/engine/seg"
	"github.com/kimberlitedb/kimberlite-go/sim/disk"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// rig is a loop over a real machine, and a driver that notes what it is told. Syncs and reads finish when the test says
// so; the making of segments by itself.
type rig struct {
	t    *testing.T
	loop *loop.Loop
	fs   seg.Files
	log  *seg.Log
	now  engine.Instant
	ids  uint64 // of requests
	told []string

	sync  *engine.Sync // in flight
	reads []*engine.StartJob
	jobs  []*engine.StartJob // the others
}

// newRig makes a rig with an empty stream 1 of tenant 1, whose events do not stay in memory once they are synced.
func newRig(t *testing.T, limit func(*loop.Config)) *rig {
	t.Helper()
	cfg := engine.DefaultConfig()
	cfg.Dev, cfg.Cache, cfg.MaxBacklog = true, 0, 8<<10
	cfg.Geometry, cfg.MaxBatchBytes, cfg.MaxBatchEvents = seg.Geometry{Align: 512, SegmentSize: 64 << 10}, 4096, 10
	r := &rig{t: t, fs: disk.New(512).Mount(), now: engine.Instant{Wall: wire.Time(1000 * engine.Second)}}
	m, _, err := engine.Open(r.fs, cfg)
	if err != nil {
		t.Fatal(err)
	}
	r.log = seg.NewLog(r.fs, cfg.Geometry)
	bounds := loop.DefaultConfig()
	if limit != nil {
		limit(&bounds)
	}
	r.loop = loop.New(m, r, bounds)
	r.open(99)
	r.receive(99, &wire.CreateStream{Name: "a", Placement: wire.Placement{Global: true}})
	r.run()
	r.synced()
	r.loop.Closed(r.now, 99)
	r.ids, r.told = 0, nil
	return r
}

func (r *rig) Write(w *engine.Write) {
	if err := r.log.Write(w.At, w.Data); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) Sync(s *engine.Sync) { r.sync = s }

func (r *rig) Start(j *engine.StartJob) {
	if j.Name == "read" {
		r.reads = append(r.reads, j)
	} else {
		r.jobs = append(r.jobs, j)
	}
}

func (r *rig) Send(p *engine.Reply, _ wire.Span) {
	r.tell("send %d.%d %s", p.Conn, p.Msg.RequestID, p.Op)
}

func (r *rig) Push(p *engine.Push) { r.tell("push %d %T", p.Conn, p.Msg.Body) }

func (r *rig) Pause(id engine.ConnID, paused bool) { r.tell("pause %d %t", id, paused) }

func (r *rig) Disconnect(id engine.ConnID, why loop.Reason) { r.tell("disconnect %d %s", id, why) }

func (r *rig) Halt(err error) { r.tell("halt %v", err) }

func (r *rig) tell(format string, args ...any) { r.told = append(r.told, fmt.Sprintf(format, args...)) }

func (r *rig) open(id engine.ConnID) { r.loop.Open(r.now, id, "test") }

// receive lets requests arrive, numbered from 1 on over all connections.
func (r *rig) receive(id engine.ConnID, bodies ...wire.RequestBody) {
	var requests []*wire.Request
	for _, b := range bodies {
		r.ids++
		requests = append(requests, &wire.Request{ID: r.ids, Tenant: 1, Body: b})
	}
	r.loop.Receive(r.now, id, requests)
}

// run takes turns until there is nothing to do but wait.
func (r *rig) run() {
	for more := true; more; {
		more = r.loop.Run(r.now)
		for _, j := range r.jobs {
			r.loop.Complete(engine.JobDone{Job: j.Job, Result: j.Run.Run(r.fs)})
			more = true
		}
		r.jobs = nil
	}
}

// synced ends the sync in flight.
func (r *rig) synced() {
	r.t.Helper()
	if r.sync == nil {
		r.t.Fatal("no sync is in flight")
	}
	s := r.sync
	r.sync = nil
	r.loop.Complete(engine.Synced{Upto: s.Upto})
	r.run()
}

// read ends the oldest read from disk.
func (r *rig) read() {
	r.t.Helper()
	if len(r.reads) == 0 {
		r.t.Fatal("nothing is read from disk")
	}
	j := r.reads[0]
	r.reads = r.reads[1:]
	r.loop.Complete(engine.JobDone{Job: j.Job, Result: j.Run.Run(r.fs)})
	r.run()
}

// fill appends so many events of so many bytes, durably.
func (r *rig) fill(events, size int) {
	r.t.Helper()
	r.open(50)
	for range events {
		r.receive(50, add(size))
		r.run()
		r.synced()
	}
	r.loop.Closed(r.now, 50)
	r.ids, r.told = 0, nil
}

// tick lets time pass, and the loop notice.
func (r *rig) tick(span wire.Span) {
	r.now.Mono += wire.Time(span)
	r.now.Wall += wire.Time(span)
	r.loop.Tick(r.now)
	r.run()
}

// want compares what the driver was told since the last time.
func (r *rig) want(lines ...string) {
	r.t.Helper()
	if !slices.Equal(r.told, lines) {
		r.t.Errorf("the driver was told\n  %s\nwant\n  %s", strings.Join(r.told, "\n  "), strings.Join(lines, "\n  "))
	}
	r.told = nil
}

func add(size int) wire.RequestBody {
	return &wire.AppendEvents{Stream: 1, Events: [][]byte{make([]byte, size)}}
}

func ping() wire.RequestBody { return &wire.Ping{} }

func fetch(bytes uint64) wire.RequestBody { return &wire.ReadEvents{Stream: 1, MaxBytes: bytes} }

func TestRepliesKeepTheOrderOfRequests(t *testing.T) {
	r := newRig(t, nil)
	r.fill(1, 10)
	r.open(1)
	r.open(2)
	r.receive(1, fetch(100), ping(), add(1))
	r.run()
	r.receive(2, ping())
	r.run()
	r.synced()
	r.want("send 2.4 Ping") // nobody waits for another connection's read
	r.read()
	r.want("send 1.1 ReadEvents", "send 1.2 Ping", "send 1.3 AppendEvents")
}

func TestReadsFromDiskMayFinishInAnyOrder(t *testing.T) {
	r := newRig(t, nil)
	r.fill(1, 10)
	r.open(1)
	r.receive(1, fetch(100), fetch(100))
	r.run()
	r.reads[0], r.reads[1] = r.reads[1], r.reads[0]
	r.read()
	r.want()
	r.read()
	r.want("send 1.1 ReadEvents", "send 1.2 ReadEvents")
}

func TestFullConnectionIsNotReadFrom(t *testing.T) {
	r := newRig(t, func(c *loop.Config) { c.MaxInflight = 4 })
	r.open(1)
	r.receive(1, add(1), add(1), add(1))
	r.want()
	r.receive(1, add(1), add(1)) // what had arrived by then is taken all the same
	r.want("pause 1 true")
	r.run()
	r.want()
	r.synced()
	r.want("send 1.1 AppendEvents", "send 1.2 AppendEvents", "send 1.3 AppendEvents", "pause 1 false", // half are answered
		"send 1.4 AppendEvents", "send 1.5 AppendEvents")
}

func TestConnectionWithOneRequestAtATimeIsResumed(t *testing.T) {
	r := newRig(t, func(c *loop.Config) { c.MaxInflight = 1 })
	r.open(1)
	r.receive(1, ping())
	r.run()
	r.want("pause 1 true", "send 1.1 Ping", "pause 1 false")
}

func TestRequestsWaitWhileRepliesHaveNotLeft(t *testing.T) {
	r := newRig(t, func(c *loop.Config) { c.MaxUnsent = 200 })
	r.open(1)
	r.open(2)
	r.receive(1, ping(), ping(), ping())
	r.receive(2, ping())
	r.run()
	r.want("send 1.1 Ping", "send 1.2 Ping", "send 2.4 Ping") // 128 each: the third would find 256
	if n := r.loop.Queued(); n != 1 {
		t.Errorf("%d requests are queued", n)
	}
	r.loop.Sent(r.now, 1, 128)
	r.run()
	r.want("send 1.3 Ping")
}

func TestReadsUnderWayCountAsUnsent(t *testing.T) {
	r := newRig(t, func(c *loop.Config) { c.MaxUnsent = 1000 })
	r.fill(1, 10)
	r.open(1)
	r.receive(1, fetch(1000), fetch(1000), fetch(1<<60))
	r.run()
	if len(r.reads) != 1 {
		t.Fatalf("%d reads are under way", len(r.reads))
	}
	r.read() // it has brought less than it might have
	r.want("send 1.1 ReadEvents")
	r.loop.Sent(r.now, 1, 1)
	r.run()
	r.read()
	r.loop.Sent(r.now, 1, 1)
	r.run()
	r.read()
	r.want("send 1.2 ReadEvents", "send 1.3 ReadEvents")
}

func TestConnectionsTakeTurns(t *testing.T) {
	r := newRig(t, func(c *loop.Config) { c.Share, c.Group = 2, 3 })
	r.open(1)
	r.open(2)
	r.receive(1, ping(), ping(), ping(), ping())
	r.receive(2, ping(), ping())
	if !r.loop.Run(r.now) {
		t.Error("a turn with more to do says that there is none")
	}
	r.want("send 1.1 Ping", "send 1.2 Ping", "send 2.5 Ping", "send 2.6 Ping")
	if r.loop.Run(r.now) {
		t.Error("a turn that did everything says that there is more")
	}
	r.want("send 1.3 Ping", "send 1.4 Ping")
}

func TestFullMachineTakesNoRequests(t *testing.T) {
	r := newRig(t, nil)
	r.open(1)
	r.receive(1, add(1))
	r.run()
	r.receive(1, add(4000), add(4000), add(4000)) // more than may wait for the disk
	r.run()
	if n := r.loop.Queued(); n != 1 {
		t.Fatalf("%d requests are queued", n)
	}
	r.synced()
	r.want("send 1.1 AppendEvents")
	r.synced()
	r.want("send 1.2 AppendEvents", "send 1.3 AppendEvents")
	if n := r.loop.Queued(); n != 0 {
		t.Errorf("%d requests are queued although the disk has caught up", n)
	}
}

func TestConnectionThatSaysNothingEnds(t *testing.T) {
	r := newRig(t, nil)
	r.open(1)
	r.tick(10 * engine.Second)
	r.want()
	r.tick(1)
	r.want("disconnect 1 handshake")
	r.tick(engine.Hour)
	r.want() // once
}

func TestIdleConnectionEnds(t *testing.T) {
	r := newRig(t, nil)
	r.open(1)
	r.receive(1, ping())
	r.run()
	r.want("send 1.1 Ping")
	r.loop.Sent(r.now, 1, 128)
	r.tick(15 * engine.Minute)
	r.want()
	r.tick(1)
	r.want("disconnect 1 idle")
}

func TestConnectionThatWaitsForAReplyIsNotIdle(t *testing.T) {
	r := newRig(t, nil)
	r.open(1)
	r.receive(1, add(1))
	r.run()
	r.tick(engine.Hour)
	r.want()
}

func TestConnectionThatTakesNoBytesEnds(t *testing.T) {
	r := newRig(t, nil)
	r.open(1)
	r.receive(1, ping(), ping())
	r.run()
	r.want("send 1.1 Ping", "send 1.2 Ping")
	r.tick(20 * engine.Second)
	r.loop.Sent(r.now, 1, 1) // slow is not stalled
	r.tick(30 * engine.Second)
	r.want()
	r.tick(1)
	r.want("disconnect 1 stalled")
}

// A reply that waits for an earlier one cannot leave: that is our disk's fault, not the client's.
func TestReplyThatWaitsForAnEarlierOneIsNotStalled(t *testing.T) {
	r := newRig(t, nil)
	r.open(1)
	r.receive(1, add(1), ping())
	r.run()
	r.tick(40 * engine.Second)
	r.want()
	r.synced()
	r.want("send 1.1 AppendEvents", "send 1.2 Ping")
	r.tick(30 * engine.Second) // the time to take them counts from here
	r.want()
	r.tick(1)
	r.want("disconnect 1 stalled")
}

// A batch of statements takes several turns. What its connection sends behind it is decided behind all of it, also where a reply
// need not wait for another; other connections go on.
func TestRequestsBehindABatchWait(t *testing.T) {
	r := newRig(t, nil)
	batch := &wire.BatchQuery{Queries: []wire.BatchedQuery{{SQL: "CREATE TABLE t (a)"}, {SQL: "INSERT INTO t VALUES (1)"}, {SQL: "SELECT a FROM t"}}}
	for id := engine.ConnID(1); id <= 3; id++ {
		r.open(id)
	}
	v3 := wire.Features{}.In(3)
	for id := engine.ConnID(1); id <= 2; id++ {
		r.loop.Receive(r.now, id, []*wire.Request{{ID: 1, Tenant: 1, Body: batch, Features: v3}, {ID: 2, Tenant: 1, Body: ping(), Features: v3}})
	}
	r.receive(3, ping())
	r.loop.Run(r.now)
	r.want("send 3.1 Ping")
	if n := r.loop.Queued(); n != 2 {
		t.Errorf("%d requests are queued", n)
	}
	r.loop.Closed(r.now, 2) // in the middle
	r.run()
	r.want("send 1.2 Ping") // the batch is carried out, and not durable
	r.synced()
	if r.sync != nil {
		r.synced()
	}
	r.want("send 1.1 BatchQuery")
	if !r.loop.Quiet() {
		t.Error("something is under way")
	}
}

func TestShutdownAnswersWhatItAccepted(t *testing.T) {
	r := newRig(t, nil)
	r.open(1)
	r.open(2)
	r.receive(1, add(1), ping())
	r.run()
	r.receive(1, ping()) // not with the machine yet
	r.loop.Shutdown(r.now)
	r.want("disconnect 2 shutdown")
	r.receive(1, ping()) // too late
	r.open(3)
	r.want("disconnect 3 shutdown")
	r.run()
	r.synced()
	r.want("send 1.1 AppendEvents", "send 1.2 Ping", "send 1.3 Ping", "disconnect 1 shutdown")
	if !r.loop.Quiet() {
		t.Error("something is under way")
	}
}

func TestFaultAnswersThenDisconnects(t *testing.T) {
	r := newRig(t, nil)
	r.open(1)
	r.receive(1, add(1))
	r.loop.Fault(r.now, 1, &wire.Fault{})
	r.receive(1, ping())
	r.run()
	r.want()
	r.synced()
	r.want("send 1.1 AppendEvents", "disconnect 1 fault")
}

func TestRefusedHandshakeEndsTheConnection(t *testing.T) {
	r := newRig(t, nil)
	r.open(1)
	r.receive(1, &wire.Handshake{ClientVersion: 0}, ping())
	r.run()
	r.want("send 1.1 Handshake", "disconnect 1 refused")
}

func TestClosedConnectionGetsNothing(t *testing.T) {
	r := newRig(t, nil)
	r.open(1)
	r.open(2)
	r.receive(1, add(1))
	r.run()
	r.receive(1, add(1))
	r.loop.Closed(r.now, 1)
	r.synced()
	r.receive(2, &wire.StreamInfo{Stream: 1})
	r.run()
	r.want("send 2.3 StreamInfo")
	if n := r.loop.Conns(); n != 1 {
		t.Errorf("%d connections", n)
	}
	r.receive(1, ping())
	r.loop.Sent(r.now, 1, 128)
	r.loop.Fault(r.now, 1, &wire.Fault{})
	r.run()
	r.want()
}

func TestFailedSyncAnswersNothing(t *testing.T) {
	r := newRig(t, nil)
	r.open(1)
	r.receive(1, add(1), ping())
	r.run()
	r.loop.Complete(engine.IOFailed{Err: errors.New("broken")})
	r.run()
	r.want("halt broken")
	r.receive(1, ping())
	r.run()
	r.want()
}

func TestEndedConnectionGetsNothing(t *testing.T) {
	r := newRig(t, nil)
	r.open(1)
	r.receive(1, ping(), add(1))
	r.run()
	r.want("send 1.1 Ping")
	r.tick(31 * engine.Second)
	r.want("disconnect 1 stalled")
	r.loop.Shutdown(r.now) // does not end it again
	r.synced()
	r.want()
}

func TestReadOfEverythingCountsAsAFrame(t *testing.T) {
	r := newRig(t, nil)
	r.fill(1, 10)
	r.open(1)
	r.receive(1, fetch(^uint64(0)), fetch(1))
	r.run()
	if len(r.reads) != 1 {
		t.Errorf("%d reads are under way", len(r.reads))
	}
}
