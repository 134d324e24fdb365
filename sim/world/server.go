package world

import (
	"errors"
	"fmt"

	"github.com/kimberlitedb/kimberlite-go/engine"
	"github.com/kimberlitedb/kimberlite-go/engine/loop"
	"github.com/kimberlitedb/kimberlite-go/engine/seg"
	"github.com/kimberlitedb/kimberlite-go/sim/check"
	"github.com/kimberlitedb/kimberlite-go/sim/network"
	"github.com/kimberlitedb/kimberlite-go/sim/trace"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// server is one life of the server's process. It implements loop.Driver.
type server struct {
	w        *World
	number   int
	clock    clock
	fs       seg.Files
	opened   bool
	m        *engine.Machine
	loop     *loop.Loop
	log      *seg.Log
	tasks    map[engine.JobID]*task // recovery is 0
	order    []engine.JobID         // of tasks, ascending
	peers    map[engine.ConnID]*peer
	listened map[wire.SubscriptionID]wire.StreamID
	dirty    []*peer // to be flushed after the turn
	last     engine.ConnID
	flight   flight
	given    []given // buffers given away lately
	turns    bool    // a turn is scheduled
	paused   int64   // until when the process gets no time
	doom     string  // how the process ends once the turn is over
	gone     bool
}

// flight is a batch on its way to the disk.
type flight struct {
	write *engine.Write
	sync  *engine.Sync
}

// given is a buffer that the machine gave away and must not touch.
type given struct {
	p   []byte
	sum uint64
}

// boot begins a new life of the process: recovery, as a task.
func (w *World) boot() {
	w.lives++
	s := &server{w: w, number: w.lives, clock: w.clock, tasks: map[engine.JobID]*task{}, peers: map[engine.ConnID]*peer{}, listened: map[wire.SubscriptionID]wire.StreamID{}}
	s.clock.boot = w.now
	s.fs = w.disk.files()
	w.server = s
	w.note("boot", uint64(s.number), 0, 0)
	w.disk.where = "recovery"
	var (
		m      *engine.Machine
		report *engine.Report
		err    error
	)
	t := newTask(s.fs, w.rewrote, func(fs seg.Files, _ *gate) { m, report, err = engine.Open(fs, w.engineConfig()) })
	s.add(0, t)
	s.advance(0, t, func() {
		if err != nil {
			s.failed(err)
			return
		}
		s.start(m, report)
	})
}

// failed ends a life whose recovery failed.
func (s *server) failed(err error) {
	w := s.w
	w.note("recovery-failed", uint64(s.number), 0, 0)
	w.refusals++
	w.lastErr = err
	if w.explains() {
		w.stuck = true
		w.end()
		return
	}
	s.doom = "process"
	s.settle()
}

// start begins to serve.
func (s *server) start(m *engine.Machine, report *engine.Report) {
	w := s.w
	s.opened, s.m = true, m
	s.log = seg.NewLog(s.fs, m.Geometry())
	s.loop = loop.New(m, s, w.loopConfig())
	w.groups.Crashed()
	w.note("recovered", uint64(s.number), uint64(report.LSN), trace.Sum(hashOf(m)))
	w.recovered(s, report)
	s.tick()
}

// now reads the clocks.
func (s *server) now() engine.Instant { return s.clock.read(s.w.now) }

func (s *server) tick() {
	if s.gone {
		return
	}
	s.loop.Tick(s.now())
	s.cursors()
	s.wake()
	s.settle()
	s.w.after(250_000_000, func() {
		if !s.gone {
			s.w.tick()
			s.tick()
		}
	})
}

// cursors judges that every cursor is of a query that a connection waits for. A job may be about to close one.
func (s *server) cursors() {
	n := s.m.Stats().Cursors
	if n == 0 || len(s.tasks) > 0 || s.doom != "" {
		return
	}
	waiting := 0
	for _, p := range s.peers { //det:order-free: a sum
		waiting += p.queries
	}
	s.w.suite.Saw(check.Live, true)
	if n > waiting {
		s.w.suite.Fail(check.Live, "%d cursors are open, and connections wait for %d queries", n, waiting)
	}
}

// wake schedules a turn.
func (s *server) wake() {
	if s.turns || s.gone {
		return
	}
	s.turns = true
	wait := s.w.cpu.Between(500, 20_000)
	if s.paused > s.w.now {
		wait += s.paused - s.w.now
	}
	s.w.after(wait, func() {
		s.turns = false
		if !s.gone {
			s.turn()
		}
	})
}

// turn lets the loop work on what has come in. A batch is written at once, or while more comes in.
func (s *server) turn() {
	more := s.loop.Run(s.now())
	s.flush()
	for s.doom == "" && s.flight.sync != nil && s.w.cpu.Chance(s.w.plan.Config.Inline) {
		s.inline()
		more = s.loop.Run(s.now())
		s.flush()
	}
	if s.flight.sync != nil && s.doom == "" {
		s.launch()
	}
	if more {
		s.wake()
	}
	s.settle()
}

// settle ends the process if something has doomed it.
func (s *server) settle() {
	if s.doom != "" && !s.gone {
		s.w.crash(s, s.doom)
	}
}

// strike lets a crash happen after an effect.
func (s *server) strike(p crashPoints) {
	if s.doom != "" {
		return
	}
	if _, ok := p.process.Fire(); ok {
		s.doom = "process"
	} else if _, ok := p.power.Fire(); ok {
		s.doom = "power"
	}
}

// Write implements loop.Driver.
func (s *server) Write(e *engine.Write) {
	if s.doom != "" {
		return
	}
	s.w.note("write", uint64(e.At), uint64(e.Upto), trace.Sum(e.Data))
	if s.flight.write != nil {
		s.w.suite.Fail(check.Contract, "a write was asked for while another was in flight")
	}
	s.flight.write = e
	s.given = append(s.given, given{e.Data, trace.Sum(e.Data)})
	s.w.wrote(s, e)
}

// Sync implements loop.Driver.
func (s *server) Sync(e *engine.Sync) {
	if s.doom == "" {
		s.flight.sync = e
	}
}

// Start implements loop.Driver.
func (s *server) Start(e *engine.StartJob) {
	if s.doom != "" {
		return
	}
	w := s.w
	w.note("start", uint64(e.Job), 0, 0)
	var result any
	t := newTask(s.fs, w.saved, func(fs seg.Files, g *gate) { result = w.objects.lend(e.Run, g).Run(fs) })
	s.add(e.Job, t)
	s.strike(w.at.start)
	w.after(w.diskLatency(), func() {
		if s.gone {
			return
		}
		s.advance(e.Job, t, func() {
			w.note("job-done", uint64(e.Job), 0, 0)
			s.loop.Complete(engine.JobDone{Job: e.Job, Result: result})
			s.wake()
		})
	})
}

func (s *server) add(id engine.JobID, t *task) {
	s.tasks[id] = t
	s.order = append(s.order, id)
}

// advance runs a task on, one use of a file at a time, and calls done at its end.
func (s *server) advance(id engine.JobID, t *task, done func()) {
	w := s.w
	if s.gone {
		return
	}
	w.disk.where = "job"
	points := w.at.job
	if id == 0 {
		w.disk.where, points = "recovery", w.at.recovery
	}
	what, more := t.resume()
	if !more {
		delete(s.tasks, id)
		for i, o := range s.order {
			if o == id {
				s.order = append(s.order[:i], s.order[i+1:]...)
				break
			}
		}
		done()
		return
	}
	w.note(what, uint64(id), 0, 0)
	s.strike(points)
	if s.doom != "" {
		if id == 0 {
			w.nested++
		}
		s.settle()
		return
	}
	w.after(w.stopLatency(what), func() { s.advance(id, t, done) })
}

// Send implements loop.Driver.
func (s *server) Send(r *engine.Reply, took wire.Span) {
	p := s.peers[r.Conn]
	if s.doom != "" || p == nil {
		return
	}
	if b, ok := r.Msg.Body.(*wire.SubscribeReply); ok {
		s.listened[b.Subscription] = p.asked[r.Msg.RequestID]
	}
	if r.Op == wire.OpQuery || r.Op == wire.OpQueryAt {
		p.queries--
	}
	if p.clerk {
		switch b := r.Msg.Body.(type) {
		case *wire.QueryReply:
			s.w.shown(check.Answers, b.Position)
		case *wire.BatchQueryReply:
			s.w.shown(check.Batches, b.Position)
		}
	}
	s.w.groups.Replied(uint64(r.Conn), &r.Msg, s.now().Mono)
	p.send(&r.Msg)
	s.strike(s.w.at.reply)
}

// Push implements loop.Driver.
func (s *server) Push(e *engine.Push) {
	p := s.peers[e.Conn]
	if s.doom != "" || p == nil {
		return
	}
	if b, ok := e.Msg.Body.(*wire.SubscriptionEvents); ok {
		s.w.pushed(s.listened[b.Subscription], b.Events)
		if first, some := b.Events.First(); some {
			s.w.keeper.Emitted(s.listened[b.Subscription], first)
		}
	}
	switch b := e.Msg.Body.(type) {
	case *wire.QueryChunk:
		s.w.shown(check.Streamed, b.Position)
	case *wire.GroupEvents:
		s.w.groups.Delivered(uint64(e.Conn), b, s.now().Mono)
	case *wire.Gap:
		s.w.groups.Told(b)
	case *wire.SubscriptionClosed:
		s.w.groups.Dismissed(b.Subscription)
	}
	p.send(&e.Msg)
	s.strike(s.w.at.reply)
}

// Pause implements loop.Driver.
func (s *server) Pause(id engine.ConnID, paused bool) {
	p := s.peers[id]
	if s.doom != "" || p == nil {
		return
	}
	p.paused = paused
	if !paused {
		p.conn.Resume(network.Server)
	}
}

// Disconnect implements loop.Driver.
func (s *server) Disconnect(id engine.ConnID, why loop.Reason) {
	p := s.peers[id]
	if s.doom != "" || p == nil {
		return
	}
	s.w.groups.Ended(uint64(id))
	s.w.note("disconnect", uint64(id), uint64(len(why)), 0)
	p.finish(why)
}

// Halt implements loop.Driver.
func (s *server) Halt(err error) {
	s.w.note("halt", uint64(s.number), 0, 0)
	s.w.halts++
	if s.doom == "" {
		s.doom = "process"
	}
}

// inline writes and syncs while nothing else happens.
func (s *server) inline() {
	f := s.flight
	s.flight = flight{}
	err := s.write(f)
	if s.doom == "" && err == nil {
		err = s.sync(f)
	}
	s.complete(f, err)
}

// launch writes and syncs while other things happen.
func (s *server) launch() {
	f, w := s.flight, s.w
	s.flight = flight{}
	w.after(w.diskLatency(), func() {
		if s.gone {
			return
		}
		err := s.write(f)
		if s.doom != "" || err != nil {
			s.complete(f, err)
			return
		}
		w.after(w.syncLatency(), func() {
			if s.gone {
				return
			}
			s.complete(f, s.sync(f))
		})
	})
}

func (s *server) write(f flight) error {
	s.w.disk.where = "log"
	err := s.log.Write(f.write.At, f.write.Data)
	s.strike(s.w.at.write)
	return err
}

func (s *server) sync(f flight) error {
	s.w.disk.where = "log"
	err := s.log.Sync()
	if err == nil {
		s.w.stored(f.sync.Upto)
	}
	s.strike(s.w.at.sync)
	return err
}

// complete tells the loop how a write went.
func (s *server) complete(f flight, err error) {
	if s.doom != "" {
		s.settle()
		return
	}
	s.w.suite.Saw(check.Buffers, true)
	for _, g := range s.given {
		if trace.Sum(g.p) != g.sum {
			s.w.suite.Fail(check.Buffers, "a batch of %d bytes was changed after it was given away", len(g.p))
		}
	}
	if len(s.given) > 4 {
		s.given = append(s.given[:0], s.given[1:]...)
	}
	if err != nil {
		s.w.note("io-failed", uint64(f.sync.Upto), 0, 0)
		s.loop.Complete(engine.IOFailed{Err: err})
	} else {
		s.w.note("synced", uint64(f.sync.Upto), 0, 0)
		s.loop.Complete(engine.Synced{Upto: f.sync.Upto})
	}
	s.wake()
}

// flush sends what the turn has queued.
func (s *server) flush() {
	if s.doom != "" {
		return
	}
	for i := 0; i < len(s.dirty); i++ { // flushing may close connections, which touches none
		p := s.dirty[i]
		p.dirty = false
		p.flush()
	}
	s.dirty = s.dirty[:0]
	if s.loop.Eased() {
		s.wake()
	}
}

// leaks says what is still held, once nothing should be.
func (s *server) leaks() error {
	var errs []error
	if !s.loop.Quiet() {
		errs = append(errs, errors.New("the loop is not quiet"))
	}
	if len(s.tasks) > 0 {
		errs = append(errs, fmt.Errorf("%d jobs are under way", len(s.tasks)))
	}
	if n := s.m.Stats().Subscriptions; n > 0 {
		errs = append(errs, fmt.Errorf("there are %d subscriptions", n))
	}
	if x := s.m.Stats(); x.Asked+x.Cursors > 0 {
		errs = append(errs, fmt.Errorf("there are %d queries, and %d cursors", x.Asked, x.Cursors))
	}
	if n := s.loop.Conns(); n > 0 {
		errs = append(errs, fmt.Errorf("%d connections are open", n))
	}
	return errors.Join(errs...)
}
