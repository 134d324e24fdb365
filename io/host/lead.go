package host

import (
	"time"

	"github.com/kimberlitedb/kimberlite-go/engine"
	"github.com/kimberlitedb/kimberlite-go/engine/loop"
	"github.com/kimberlitedb/kimberlite-go/engine/seg"
	"github.com/kimberlitedb/kimberlite-go/io/admin"
	"github.com/kimberlitedb/kimberlite-go/io/tcp"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// leader is what belongs to whoever leads: the loop and the state of its driver. It implements loop.Driver by noting
// what is to be done after the turn.
type leader struct {
	h       *Host
	machine *engine.Machine
	loop    *loop.Loop
	log     *seg.Log
	conns   map[engine.ConnID]*tcp.Conn
	events  []event
	dirty   []*tcp.Conn  // to be flushed
	flight  flight       // to be committed; write is nil where there is none
	more    bool         // the loop has more to do
	busy    bool         // this turn has much to do: batches go to the disk goroutine at once
	took    admin.Timing // of commits; touched by whoever commits, which is one at a time
	meter   admin.Snapshot
	shown   engine.Stats // when watch last looked
}

func (l *leader) init(h *Host, m *engine.Machine) {
	l.h, l.machine, l.conns = h, m, map[engine.ConnID]*tcp.Conn{}
	l.meter.Disconnects = map[string]uint64{}
	l.loop = loop.New(m, l, h.cfg.Loop)
	l.log = seg.NewLog(h.dir, m.Geometry())
}

// many is how many requests make a turn busy: the disk should not wait until they are decided and answered.
const many = 64

// turn takes what has arrived through the loop and carries out what it decides. A batch is committed here where nothing
// else is to be done meanwhile, which the reader of a lone request (alone) always supposes; else by the disk goroutine.
func (h *Host) turn(alone bool) {
	l := &h.lead
	began := time.Now()
	l.events = h.collect(l.events)
	now := h.now()
	arrived := 0
	for i := range l.events {
		arrived += len(l.events[i].requests)
		l.event(now, &l.events[i])
		l.events[i] = event{}
	}
	l.busy = !alone && arrived > many
	l.more = l.loop.Run(now)
	l.meter.Busy += time.Since(began)
	l.flush(now)
	for l.flight.write != nil {
		f := l.flight
		l.flight = flight{}
		if !alone && !h.quiet() {
			h.syncs <- f
			return
		}
		l.loop.Complete(h.commit(f))
		now = h.now()
		l.more = l.loop.Run(now)
		l.flush(now)
	}
}

// quiet reports whether nothing has arrived since the turn began.
func (h *Host) quiet() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.inbox) == 0 && !h.lead.more
}

// event tells the loop what happened.
func (l *leader) event(now engine.Instant, e *event) {
	switch e.kind {
	case opened:
		l.conns[e.conn.ID] = e.conn
		l.meter.Opened++
		l.loop.Open(now, e.conn.ID, e.conn.From)
	case received:
		l.loop.Receive(now, e.conn.ID, e.requests)
	case faulted:
		l.meter.Faults[e.fault.Reason]++
		l.loop.Fault(now, e.conn.ID, e.fault)
	case sent:
		l.loop.Sent(now, e.conn.ID, e.bytes)
	case closed:
		delete(l.conns, e.conn.ID)
		l.loop.Closed(now, e.conn.ID)
	case done:
		l.loop.Complete(e.done)
	case tick:
		l.loop.Tick(now)
		l.watch()
	case shutdown:
		l.loop.Shutdown(now)
	case stats:
		e.stats <- l.snapshot()
	case refused:
		l.meter.Refused++
	}
}

// watch logs what an operator must know when it begins and when it ends.
func (l *leader) watch() {
	was, is := l.shown, l.machine.Stats()
	l.shown = is
	log := l.h.log
	switch {
	case is.Trouble != nil && was.Trouble == nil:
		log.Error("no room for the next log segment: appends will be refused when this one is full; free or add disk space", "error", is.Trouble)
	case is.Trouble == nil && was.Trouble != nil:
		log.Info("there is room for the log again")
	}
	if is.Refused > 0 && was.Refused == 0 {
		log.Error("requests are refused for want of disk space")
	}
	switch doubts, did := is.ClockDoubt != 0, was.ClockDoubt != 0; {
	case doubts && !did:
		log.Warn("the system's clock is not believed; set it right", "ahead", time.Duration(is.ClockDoubt).String())
	case did && !doubts:
		log.Info("the system's clock is believed again")
	}
}

// flush writes replies out.
func (l *leader) flush(now engine.Instant) {
	for i, c := range l.dirty {
		l.dirty[i] = nil
		if n := c.Flush(); n > 0 {
			l.loop.Sent(now, c.ID, n)
		}
	}
	l.dirty = l.dirty[:0]
	l.more = l.more || l.loop.Eased()
}

// Write implements loop.Driver.
func (l *leader) Write(w *engine.Write) {
	l.flight.write = w
	l.meter.Batch.Observe(uint64(len(w.Data)))
}

// Sync implements loop.Driver.
func (l *leader) Sync(s *engine.Sync) {
	l.flight.sync = s
	if l.busy {
		l.h.syncs <- l.flight // there is room: one batch is in flight at any time
		l.flight = flight{}
	}
}

// Start implements loop.Driver.
func (l *leader) Start(j *engine.StartJob) { l.h.runJob(j) }

// Send implements loop.Driver.
func (l *leader) Send(r *engine.Reply, took wire.Span) {
	l.meter.Reply(r, took)
	if c := l.conns[r.Conn]; c != nil {
		c.Send(&r.Msg)
		l.touch(c)
	}
}

// Push implements loop.Driver.
func (l *leader) Push(p *engine.Push) {
	if c := l.conns[p.Conn]; c != nil {
		c.Send(&p.Msg)
		l.touch(c)
	}
}

// Pause implements loop.Driver.
func (l *leader) Pause(id engine.ConnID, paused bool) {
	if c := l.conns[id]; c != nil {
		c.Pause(paused)
	}
}

// Disconnect implements loop.Driver.
func (l *leader) Disconnect(id engine.ConnID, why loop.Reason) {
	c := l.conns[id]
	if c == nil {
		return
	}
	l.meter.Disconnects[string(why)]++
	if why == loop.ReasonStalled {
		c.Abort()
		return
	}
	c.Finish()
	l.touch(c)
}

// Halt implements loop.Driver.
func (l *leader) Halt(err error) {
	l.h.log.Error("stopped: a write or fsync has failed", "error", err)
	l.h.dead.Store(true)
	l.h.halt <- err // there is one halt, and room for it
}

// touch notes that a connection must be flushed.
func (l *leader) touch(c *tcp.Conn) {
	if n := len(l.dirty); n == 0 || l.dirty[n-1] != c {
		l.dirty = append(l.dirty, c)
	}
}

// snapshot is what the metrics show.
func (l *leader) snapshot() admin.Snapshot {
	s := l.meter.Clone()
	s.Engine = l.machine.Stats()
	s.Conns, s.Queued = l.loop.Conns(), l.loop.Queued()
	s.BytesIn, s.BytesOut = l.h.server.Bytes()
	packed := l.h.server.Compression()
	s.Packed, s.Unpacked, s.Lag = packed.Packed, packed.Unpacked, l.machine.Lag()
	s.Fsync = l.took.Load()
	s.Recovery = l.h.Recovery
	s.OldestEvent = time.Duration(l.machine.OldestAge())
	s.Groups, s.OtherGroups = l.machine.Groups(admin.MaxGroups)
	s.Halted = l.machine.Halted() != nil
	return s
}
