// Package world is one simulated run: a server that lives, crashes and lives again, clients, a network, a disk and
// clocks, all on one agenda of events. Nothing in it depends on anything but the plan.
package world

import (
	"crypto/sha256"
	"fmt"
	"strings"

	"github.com/kimberlitedb/kimberlite-go/engine"
	"github.com/kimberlitedb/kimberlite-go/engine/loop"
	"github.com/kimberlitedb/kimberlite-go/engine/proof"
	"github.com/kimberlitedb/kimberlite-go/engine/seg"
	"github.com/kimberlitedb/kimberlite-go/sim/check"
	"github.com/kimberlitedb/kimberlite-go/sim/client"
	"github.com/kimberlitedb/kimberlite-go/sim/fault"
	"github.com/kimberlitedb/kimberlite-go/sim/model"
	"github.com/kimberlitedb/kimberlite-go/sim/network"
	"github.com/kimberlitedb/kimberlite-go/sim/plan"
	"github.com/kimberlitedb/kimberlite-go/sim/rng"
	"github.com/kimberlitedb/kimberlite-go/sim/trace"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// World is one run.
type World struct {
	plan    *plan.Plan
	source  rng.Source
	in      *fault.Injector
	trace   *trace.Trace
	suite   *check.Suite
	model   *model.Model
	net     *network.Net
	disk    *storage
	objects *objects
	clock   clock
	server  *server // nil between two lives
	agenda  agenda
	now     int64
	phase   phase
	limit   int64 // when the present phase must be over
	// farewell is when every client appends once more, since by then the server must have got over the faults.
	farewell int64

	clients    []*client.Client
	keeper     *client.Keeper
	listener   *client.Listener
	crew       *client.Crew
	groups     *check.Groups
	clerk      *client.Clerk
	tables     *check.Tables
	hoarder    *client.Hoarder
	notary     *client.Notary
	cuts       *check.Checkpoints
	archivist  *client.Archivist
	archives   *check.Archives
	readers    []*reader
	at         points
	cpu        *rng.Rand
	latency    *rng.Rand
	restart    *rng.Rand
	scratch    []byte
	packers    wire.Packers
	signer     proof.Signer // of checkpoints
	probes     [engine.ProbeCount]int
	history    history
	done       bool
	stuck      bool // damage keeps the server from starting, as it should
	lastErr    error
	lastHash   [sha256.Size]byte
	lives      int
	crashes    int
	nested     int // crashes in recovery
	halts      int
	refusals   int // recoveries that failed
	recoveries int
	faults     int // of connections
	bytes      uint64
	syncs      int
	reasons    map[string]int
}

// phase is a part of a run.
type phase int

const (
	chaos   phase = iota // faults and operations
	healing              // faults have ended, operations go on to their end
	reading              // after one more restart everything is read back
	resting              // everybody has left
)

// crashPoints are the two ways in which a process ends at a place.
type crashPoints struct{ process, power *fault.Point }

// points are the places of faults that are not the network's or the disk's.
type points struct {
	write, sync, reply, start, job, recovery crashPoints
	lost, pause, partition, step, freeze     *fault.Point
}

// New prepares the run of a plan.
func New(p *plan.Plan) *World {
	source := rng.Source(p.Seed)
	in := fault.Random(source, p.Rates)
	if p.Rates == nil {
		in = fault.Planned(source, p.Faults)
	}
	m := model.New(source, &p.Config)
	w := &World{
		plan: p, source: source, in: in, trace: trace.New(), model: m, suite: check.New(m), reasons: map[string]int{},
		cpu: source.Stream("cpu"), latency: source.Stream("disk.latency"), restart: source.Stream("restart"),
		limit: chaosLimit, packers: wire.Alone(), signer: signer(),
	}
	crash := func(at string) crashPoints { return crashPoints{in.Point("process", at), in.Point("power", at)} }
	w.at = points{
		write: crash("write"), sync: crash("sync"), reply: crash("reply"), start: crash("start"), job: crash("job"), recovery: crash("recovery"),
		lost: in.Point("lost-reply", "reply"), pause: in.Point("pause", "tick"), partition: in.Point("partition", "tick"),
		step: in.Point("step", "tick"), freeze: in.Point("freeze", "tick"),
	}
	w.suite.Now = w.Now
	w.suite.Damaged = w.damaged
	w.groups = check.NewGroups(w.suite, client.CrewTenant)
	w.groups.Stored = func(id wire.StreamID) wire.Offset { return w.history.heads[id] }
	w.groups.Damaged = func() bool { return len(w.disk.disk.Ledger()) > 0 }
	w.tables = check.NewTables(w.suite, client.ClerkTenant, w.keyWindow(), int64(w.engineConfig().RetentionDay))
	w.cuts = check.NewCheckpoints(w.suite, w.engineConfig().MaxCuts)
	w.cuts.Store, w.cuts.Spoilt = w.store(), func(c *check.Cut) bool { return w.disk.ruined(seg.CheckpointName(c.ID)) }
	w.cuts.Lossy = func() bool { return len(w.disk.disk.Ledger()) > 0 }
	if p.Config.Notary == 0 {
		w.cuts.Leave()
	}
	w.archives = check.NewArchives(w.suite, w.cuts)
	w.archives.Rot = func() bool { return len(w.disk.disk.Ledger()) > 0 }
	w.net = network.New(source, in, p.Config.Fragment, p.Config.Window, w.Now, w.after)
	w.disk = newStorage(w)
	w.objects = newObjects(w)
	w.suite.Faulty = w.disk.faulty
	w.clock.drift = int64(p.Config.DriftPPM)
	w.history.init()
	w.populate()
	return w
}

// signer returns what signs the notes of checkpoints.
func signer() proof.Signer {
	list, err := proof.Signers([]byte(check.CheckpointKey))
	if err != nil {
		panic("world: the key does not sign: " + err.Error())
	}
	return list[0]
}

// populate makes the clients.
func (w *World) populate() {
	shared := &client.Shared{}
	for i, spec := range w.plan.Clients {
		var ops []plan.Op
		for _, op := range w.plan.Ops {
			if op.Client == i {
				ops = append(ops, op)
			}
		}
		w.clients = append(w.clients, client.New(w, w.suite, w.source, shared, i, &w.plan.Config, spec, ops))
	}
	w.keeper = client.NewKeeper(w, w.suite, w.source, len(w.clients), &w.plan.Config)
	w.listener = client.NewListener(w, w.keeper, w.source, len(w.clients)+1)
	w.crew = client.NewCrew(w, w.suite, w.source, len(w.clients)+2, w.plan.Config.Crew)
	w.clerk = client.NewClerk(w, w.suite, w.tables, w.source, len(w.clients)+6, &w.plan.Config)
	w.hoarder = client.NewHoarder(w, w.suite, w.source, len(w.clients)+8, &w.plan.Config)
	w.clerk.Cuts = w.cuts
	w.notary = client.NewNotary(w, w.suite, w.cuts, w.source, len(w.clients)+9, &w.plan.Config)
	w.archivist = client.NewArchivist(w, w.suite, w.archives, w.cuts, w.source, len(w.clients)+12, &w.plan.Config)
}

// Limits of the phases, in simulated nanoseconds.
const (
	chaosLimit   = 900_000_000_000
	healSpan     = 40_000_000_000
	healLimit    = 180_000_000_000
	archiveLimit = 330_000_000_000 // behind that, since the server waits up to five minutes before it tries again
	readLimit    = 120_000_000_000
	restSpan     = 30_000_000_000
)

// Run lets the run happen.
func (w *World) Run() {
	w.after(0, w.boot)
	for _, c := range w.clients {
		w.after(w.net.Latency(), c.Pump)
	}
	if w.plan.Config.Keeper > 0 {
		w.after(w.net.Latency(), w.keeper.Pump)
		w.after(w.net.Latency(), w.listener.Pump)
	}
	w.after(w.net.Latency(), w.crew.Pump)
	w.after(w.net.Latency(), w.clerk.Pump)
	if w.plan.Config.Hoarder > 0 {
		w.after(w.net.Latency(), w.hoarder.Pump)
	}
	if w.plan.Config.Notary > 0 {
		w.after(w.net.Latency(), w.notary.Pump)
	}
	if w.plan.Config.Archivist > 0 {
		w.after(w.net.Latency(), w.archivist.Pump)
	}
	for !w.done && !w.stuck && w.suite.Failed == nil {
		e, ok := w.agenda.next()
		if !ok {
			break
		}
		w.now = e.at
		e.do()
		w.progress()
	}
	if w.server != nil && !w.server.gone {
		w.end()
	}
}

// progress moves on to the next phase when the present one is over.
func (w *World) progress() {
	switch w.phase {
	case chaos:
		if w.quietClients(w.plan.Config.Drain) || w.now > w.limit {
			w.heal()
		}
	case healing:
		if w.now < w.farewell {
			return
		}
		if w.farewell != 0 {
			w.farewell = 0
			for _, c := range w.clients {
				c.Append()
			}
		}
		if w.quietClients(true) && w.keeper.Idle() && w.listener.Idle() && w.crew.Idle() && w.clerk.Idle() && w.hoarder.Idle() && w.notary.Idle() && w.archivist.Idle() {
			w.keeper.Leave()
			w.listener.Leave()
			w.crew.Leave()
			w.clerk.Leave()
			w.hoarder.Leave()
			w.notary.Leave()
			w.archivist.Leave()
			w.readBack()
		} else if w.now > w.limit && (w.archivist.Idle() || w.now > w.limit+archiveLimit) {
			w.late("operations")
		}
	case reading:
		if w.haveRead() {
			w.rest()
		} else if w.now > w.limit {
			w.late("reading back")
		}
	case resting:
		// Something may expire just then; it does not last.
		over, most := w.now-w.limit, restSpan+w.plan.Config.Sweep
		calm := w.server == nil || !w.server.opened || over > 0 && w.server.leaks() == nil && (over > most || w.swept())
		if over > 0 && calm || over > most+restSpan {
			w.finish()
		}
	}
}

func (w *World) late(what string) {
	calls, queued := 0, 0
	for _, c := range w.clients {
		n, q := c.Waiting()
		calls, queued = calls+n, queued+q
	}
	var behind []string
	for _, c := range w.clients {
		if sub := c.Behind(); sub != nil {
			behind = append(behind, fmt.Sprintf("%s is due event %d of %d, with credit for %d and %d bytes", sub, sub.Next, sub.Stream.Head, sub.Events, sub.Bytes))
		}
	}
	if h := w.listener.Behind(); h != "" {
		behind = append(behind, h)
	}
	for _, b := range []string{w.crew.Behind(), w.clerk.Behind(), w.hoarder.Behind(), w.notary.Behind(), w.archivist.Behind()} {
		if b != "" {
			behind = append(behind, b)
		}
	}
	state := "down"
	if s := w.server; s != nil && s.opened {
		state = fmt.Sprintf("up, idle %t, full %t", s.m.Idle(), s.m.Full())
	} else if w.lastErr != nil {
		state = "down: " + w.lastErr.Error()
	}
	w.suite.Fail(check.Live, "%s did not end within %d s after the faults: %d requests in flight, %d operations not sent, server %s%s", what,
		healLimit/1_000_000_000, calls, queued, state, strings.Join(append([]string{""}, behind...), "; "))
}

// quietClients reports whether all clients have sent everything, and with replies, have been answered.
func (w *World) quietClients(replies bool) bool {
	for _, c := range w.clients {
		if !c.Issued() || (replies && !c.Idle()) {
			return false
		}
	}
	return true
}

// heal ends all faults. From here on everything pending must end in bounded time.
func (w *World) heal() {
	w.note("heal", 0, 0, 0)
	w.phase, w.limit, w.farewell = healing, w.now+healLimit, w.now+healSpan
	w.after(healSpan, func() {})
	w.in.Heal()
	w.keeper.Finish()
	w.listener.Finish()
	w.crew.Finish()
	w.clerk.Finish()
	w.hoarder.Finish()
	w.notary.Finish()
	w.archivist.Finish()
	w.net.Unblock()
	w.disk.heal()
	if w.clock.frozen > w.now {
		w.clock.frozen = w.now
	}
	w.clock.offset = 0 // somebody sets the clock right, of the server that runs too
	if s := w.server; s != nil {
		s.clock.offset = 0
	}
	for _, c := range w.clients {
		if !c.Issued() {
			c.Retire()
		}
	}
}

// Now implements client.World.
func (w *World) Now() int64 { return w.now }

// After implements client.World.
func (w *World) After(span int64, do func()) { w.after(span, do) }

func (w *World) after(span int64, do func()) { w.agenda.add(w.now+span, do) }

// Note implements client.World.
func (w *World) Note(kind string, client int, a, b uint64) { w.note(kind, uint64(client), a, b) }

func (w *World) note(kind string, a, b, c uint64) {
	w.trace.Add(trace.Record{Time: w.now, Kind: kind, A: a, B: b, C: c})
}

// Observe implements client.World.
func (w *World) Observe(kind string) { w.in.Observe(kind) }

// Dial implements client.World.
func (w *World) Dial(index int, end network.End, done func(*network.Conn)) {
	w.after(w.net.Latency(), func() {
		s := w.server
		switch {
		case !w.net.Reachable(index):
			w.after(1_000_000_000, func() { done(nil) })
		case s == nil || !s.opened || s.gone || s.paused > w.now:
			done(nil)
		default:
			s.last++
			p := &peer{s: s, id: s.last, session: wire.NewSession(w.packers), asked: map[uint64]wire.StreamID{}}
			p.conn = w.net.Connect(index, end, p)
			s.peers[p.id] = p
			w.note("accept", uint64(p.id), uint64(index), 0)
			s.loop.Open(s.now(), p.id, "client")
			done(p.conn)
		}
	})
}

// crash ends a life of the server. A power loss takes with it what was not synced.
func (w *World) crash(s *server, kind string) {
	w.note("crash-"+kind, uint64(s.number), uint64(len(s.order)), 0)
	w.crashes++
	w.end()
	if kind == "power" {
		w.disk.power()
	} else {
		w.disk.process()
	}
	w.objects.crashed()
	for id := engine.ConnID(1); id <= s.last; id++ {
		if p := s.peers[id]; p != nil {
			p.gone = true
			if kind == "power" && w.restart.Coin() {
				p.conn.Vanish(network.Server)
			} else {
				p.conn.Abort(network.Server)
			}
		}
	}
	w.after(w.restart.Log(1_000_000, 3_000_000_000), w.boot)
}

// end stops everything that the server's process was doing.
func (w *World) end() {
	s := w.server
	s.gone, w.server = true, nil
	if s.m != nil {
		w.lastHash = s.m.Hash()
		w.clock.offset, w.clock.frozen, w.clock.stood = s.clock.offset, s.clock.frozen, s.clock.stood
	}
	w.disk.dead = true
	for _, id := range s.order {
		s.tasks[id].stop()
	}
	if s.m != nil {
		s.m.Close()
	}
	if s.log != nil {
		s.log.Close() // an error means that the disk is gone, which it is
	}
	w.disk.dead = false
}

// tick lets what happens now and then to machines happen, four times a second.
func (w *World) tick() {
	s := w.server
	if rand, ok := w.at.pause.Fire(); ok {
		s.paused = w.now + rand.Log(1_000_000, 10_000_000_000)
		w.in.Observe("pause")
	}
	if rand, ok := w.at.partition.Fire(); ok {
		w.net.Block(rand.N(len(w.clients)), rand.N(2), w.now+rand.Log(10_000_000, 30_000_000_000))
	}
	if rand, ok := w.at.step.Fire(); ok {
		step := rand.Log(1_000_000, 90*24*3600*1_000_000_000)
		if rand.Coin() {
			step = -step
		}
		s.clock.offset += step
		w.in.Observe("step")
	}
	if rand, ok := w.at.freeze.Fire(); ok {
		s.clock.freeze(w.now, w.now+rand.Log(100_000_000, 100_000_000_000))
		w.in.Observe("freeze")
	}
	w.disk.tick()
}

func (w *World) engineConfig() engine.Config {
	c, p := engine.DefaultConfig(), &w.plan.Config
	c.Store = w.store()
	c.Geometry = seg.Geometry{Align: p.Align, SegmentSize: p.SegmentSize}
	w.source.Numbered("engine", uint64(w.lives)).Fill(c.Seed[:])
	c.Dev = p.Dev
	c.MaxBatch, c.MaxBacklog, c.Cache, c.SnapshotEvery = p.MaxBatch, p.MaxBacklog, p.Cache, p.SnapshotEvery
	c.MaxBatchBytes, c.MaxBatchEvents = p.MaxBatchBytes, p.MaxBatchEvents
	c.MaxDiskReads = 2 // so that some wait
	c.MaxPushed = p.MaxUnsent
	chunks := w.source.Stream("chunks") // the same for every life
	c.ChunkBytes, c.MaxCursors, c.CursorWait = int(chunks.Log(16, 4<<10)), 1+chunks.N(2), wire.Span(chunks.Log(1_000_000, 1_000_000_000))
	c.AckPatience = engine.Hour // what outlives its connection shall be seen at rest
	if chunks.Coin() {
		c.QueryTime, c.AckPatience = wire.Span(chunks.Log(2_000_000_000, 300_000_000_000)), wire.Span(chunks.Log(500_000_000, 60_000_000_000))
	}
	if p.Day > 0 {
		c.RetentionDay, c.RetentionGrain = wire.Span(p.Day), wire.Span(p.Grain)
		c.KeysPerStream, c.KeyAge, c.Keys = p.KeysPerStream, wire.Span(p.KeyAge), p.Keys
	}
	if p.TablesEvery > 0 {
		c.TablesEvery = uint64(p.TablesEvery)
	}
	if p.MaxCuts > 0 {
		c.MaxCuts = p.MaxCuts
	}
	c.Signers = []proof.Signer{w.signer}
	if p.Archivist > 0 {
		c.Archives, c.ArchiveBlob, c.ArchiveShare = []string{client.ArchivePlace, client.ArchivePlace + "/b", client.ArchivePlace + "/b/c"}, p.ArchiveBlob, p.ArchiveShare
	}
	if p.Forget > 0 {
		c.ForgetEvery = wire.Span(p.Forget)
	}
	if p.Hoarder > 0 {
		c.SQLPages = uint64(p.SQLPages)
		if w.source.Numbered("sql-steps", uint64(w.lives)).Coin() {
			c.SQLSteps = fewSteps
		}
	}
	c.SealBlock, c.MergeFiles, c.MaxSealed, c.SweepInterval = p.SealBlock, max(2, p.MergeFiles), 1<<20, wire.Span(max(1, p.Sweep))
	c.Probe = func(x engine.Probe) { w.probes[x]++ }
	return c
}

// fewSteps is how many steps a statement may take in lives of a server that allows few: not enough for the hoarder's longest.
const fewSteps = 40_000

func (w *World) store() seg.StoreID { return seg.StoreID(rng.Mix(w.plan.Seed)) }

func (w *World) loopConfig() loop.Config {
	c, p := loop.DefaultConfig(), &w.plan.Config
	c.MaxInflight, c.MaxUnsent, c.Group, c.Share = p.MaxInflight, p.MaxUnsent, p.Group, p.Share
	c.MaxReceived = 2 * p.MaxUnsent
	return c
}

// diskLatency draws how long a use of a file takes. At rest that may be long, so that something happens while a sweep is under way.
func (w *World) diskLatency() int64 {
	if w.phase == resting {
		return w.latency.Log(10_000, 30_000_000)
	}
	if rand, ok := w.disk.slow.Fire(); ok {
		w.in.Observe("slow")
		return rand.Log(10_000_000, 20_000_000_000)
	}
	if w.plan.Config.FastDisk {
		return w.latency.Between(1_000, 20_000)
	}
	return w.latency.Log(10_000, 1_000_000)
}

// syncLatency draws how long a sync takes.
func (w *World) syncLatency() int64 { return w.diskLatency() + w.diskLatency() }

func hashOf(m *engine.Machine) []byte {
	h := m.Hash()
	return h[:]
}

// keyWindow returns which keys of the clerk's statements are remembered, where nobody else uses any.
func (w *World) keyWindow() check.KeyWindow {
	c := w.engineConfig()
	return check.KeyWindow{Count: min(c.KeysPerStream, c.Keys), Age: uint64(c.KeyAge)}
}
