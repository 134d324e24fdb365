package engine

import (
	"fmt"
	"math/rand/v2"

	"github.com/kimberlitedb/kimberlite-go/engine/seg"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// Machine is the database. Open makes one. It is not safe for concurrent use.
type Machine struct {
	cfg   Config
	store seg.StoreID
	geo   seg.Geometry
	clock clock
	rng   *rand.ChaCha8

	state         state
	log           commit
	reads         map[JobID]*read         // waiting for their job
	trims         map[wire.StreamID]*trim // searches for expired events under way
	verifying     map[JobID]*verification // waiting for their job
	verifications int                     // under way
	due           deadlines
	refused       []refusedAccess // of this minute
	queued        []*read         // waiting until fewer do
	job           JobID           // the last one given
	snap          snapshotting
	layout        layout
	sealing       sealing
	sweep         sweeping
	slots         []replySlot // replies not handed out yet
	subs          map[wire.SubscriptionID]*subscription
	subscribers   map[ConnID]*subscriber
	lastSub       wire.SubscriptionID // the last one given
	running       []*group            // consumer groups that had a member
	lastDelivery  wire.DeliveryID     // the last one given
	keying        map[JobID]keying    // waiting for their job
	retrying      []*subscription     // whose read has failed
	tables        map[wire.TenantID]*tables
	applying      map[JobID]*tables   // waiting for their job
	questions     map[JobID]*question // the same
	waiting       []*tables           // that have questions which wait, or had
	loading       map[JobID]*tables   // the same
	tabling       tabling
	pins          map[JobID]bool  // queries and others that may use files; by their first job
	bounding      map[JobID]*read // waiting for their job
	keeping       keeping         // of checkpoints
	archiving     archiving
	intake        intake            // of tenants that arrive
	lookings      map[JobID]looking // waiting for their job
	weights       map[wire.CheckpointID]weighed
	asked         int                // questions that wait or are under way
	series        map[ConnID]*series // batches under way whose statements are decided one by one
	turns         []*series          // whose next statement can be decided; those that have ended may still be in it
	released      []ConnID           // whose series have ended
	cursors       int                // streamed ones of them that wait between two chunks, or did
	closing       int                // jobs that close a cursor
	stats         Stats
	err           error // why it halted
}

// Stats counts what the machine did since it was opened, and shows what it holds now.
type Stats struct {
	Appends             uint64 // accepted
	Events              uint64 // in accepted appends
	EventBytes          uint64 // their data
	OffsetMismatches    uint64
	Batches             uint64 // written
	BatchBytes          uint64 // written, padding included
	Marks               uint64 // commit marks among them
	DiskReads           uint64 // reads that needed a job
	Snapshots           uint64
	Refused             uint64 // for want of space
	Duplicates          uint64 // appends answered from a stream's idempotency keys
	Trims               uint64 // moves of a stream's oldest offset
	Purges              uint64 // of deleted streams
	EventsRemoved       uint64 // by both
	BytesRemoved        uint64 // of event data, by both
	RefusedAccesses     uint64 // told in audit streams
	Sealed              uint64 // log segments sealed
	Merges              uint64 // of sealed files
	SealedBytes         uint64 // written into sealed files
	Rewritten           uint64 // of those, when they were merged
	Sweeps              uint64 // that have ended
	Pushes              uint64 // of events, to subscriptions
	PushedEvents        uint64
	PushedBytes         uint64 // of encoded events
	CreditStalls        uint64 // times that a subscription fell behind for want of credit
	Gaps                uint64 // told to subscriptions
	Deliveries          uint64 // to members of consumer groups
	Redeliveries        uint64 // of them, those that were not an event's first
	Acks                uint64 // of deliveries
	GroupParked         uint64 // events
	SQLWrites           uint64 // statements that became entries
	Queries             uint64 // statements that read
	Scanned             uint64 // events of streams that they have looked at
	SQLBatches          uint64 // batches of both
	Chunks              uint64 // of streamed ones
	ChunkBytes          uint64 // of rows in them
	Cancelled           uint64 // queries, by their client
	TimedOut            uint64 // queries, by their limit of time
	Checkpoints         uint64 // cut
	Archived            uint64 // checkpoints that were sent to an archive, all of them
	ArchivedBytes       uint64 // sent to archives
	ArchivesPruned      uint64 // times that what is removed was taken out of an archive
	EventsPruned        uint64
	NotPruned           uint64 // times that it could not be
	NotArchived         uint64 // times that a piece of one could not be sent
	Restored            uint64 // tenants that were restored from archives, all of them
	EventsRestored      uint64
	NotRestored         uint64 // times that a piece of one could not be
	CheckpointsKept     uint64
	CheckpointsNotKept  uint64    // times that one could not be
	KeepTime            wire.Span // from the cut until a checkpoint was kept, of all of them
	LastKept            wire.Time // when that was for the last time
	LastCheckpointBytes uint64    // event data in the last one
	LastArchived        wire.Time // when all of a checkpoint was in an archive for the last time
	TablesSaved         uint64    // snapshots of tables written
	TablesSavedBytes    uint64
	TablesNotSaved      uint64    // snapshots of tables that could not be written
	TablesLoaded        uint64    // snapshots of tables taken up
	TablesUnusable      uint64    // snapshots of tables that were passed over
	TablesRebuilt       uint64    // times that none was whole
	TablesLoadTime      wire.Span // until tables were as the log says, since they were first needed

	Tenants    int
	Streams    int
	LSN        seg.LSN // decided
	Durable    seg.LSN
	Backlog    int       // bytes waiting for the disk
	Memory     int       // bytes of the log kept for reads
	Segment    uint64    // in use
	ClockDoubt wire.Span // wall clock minus engine clock, while it is not believed
	ReadOnly   int       // tenants that a hole in the log has made read-only
	Keys       int       // idempotency keys remembered
	Overdue    wire.Span // of the cut-off or purge that has waited longest
	Trouble    error     // why the next log segment cannot be made, while that is so

	Subscriptions int
	Subscribers   int // connections with subscriptions

	Asked     int    // queries that wait or are under way
	Cursors   int    // streamed ones of them that are open between two chunks
	Unapplied uint64 // statements that are decided and not carried out, of tenants whose SQL is in use
	Tables    int    // tenants whose SQL is in use
	Broken    int    // of them, those whose SQL has ended

	Arriving int       // tenants that are being restored from archives
	Unkept   int       // checkpoints that wait until they are kept
	Unsent   int       // archives that do not have all of a checkpoint that was asked for
	Unpruned wire.Span // how long something that was removed has been in an archive; 0 where nothing is

	SealedFiles int
	SealedSize  int64     // of them, in bytes
	Segments    uint64    // live ones of the log
	Unswept     wire.Span // since the last sweep, while something that was removed is still in a file
}

// Step carries out one command at an instant and appends the effects to fx. It never panics on anything that a client
// sent. After a Halt it does nothing.
func (m *Machine) Step(now Instant, c Command, fx []Effect) []Effect {
	if m.err != nil {
		return fx
	}
	m.advance(now)
	fx = m.carry(c, fx)
	if len(m.turns) == 0 || m.err != nil {
		return fx
	}
	fx = m.takeTurns(fx)
	if _, grouped := c.(*Request); grouped {
		return fx
	}
	return m.endTurn(fx)
}

// carry carries out one command, but for what it leads to in batches of statements.
func (m *Machine) carry(c Command, fx []Effect) []Effect {
	switch c := c.(type) {
	case *Request:
		return m.request(c, fx)
	case EndBatch:
		return m.endBatch(fx)
	case Synced:
		return m.synced(c, fx)
	case IOFailed:
		return m.halt(c.Err, fx)
	case JobDone:
		return m.jobDone(c, fx)
	case Dismiss:
		return m.dismiss(c, fx)
	case Hangup:
		return m.hangup(c, fx)
	case Drained:
		return m.drained(c, fx)
	case Tick:
		return m.tick(fx)
	}
	panic(fmt.Sprintf("engine: unknown command %T", c))
}

// request dispatches a request to its handler, in protocol order.
func (m *Machine) request(r *Request, fx []Effect) []Effect {
	if m.arrives(r) {
		return m.refuse(r, wire.ProjectionLag, m.state.lsn, fx, "tenant %d is being restored from an archive; it can be used once all of it is there", r.Msg.Tenant)
	}
	switch b := r.Msg.Body.(type) {
	case *wire.Handshake:
		return m.handshake(r, b, fx)
	case *wire.CreateStream:
		return m.createStream(r, b, fx)
	case *wire.AppendEvents:
		return m.append(r, b, fx)
	case *wire.Query:
		return m.query(r, b, fx)
	case *wire.QueryAt:
		return m.queryAt(r, b, fx)
	case *wire.ReadEvents:
		return m.read(r, b, fx)
	case *wire.Sync:
		return m.sync(r, fx)
	case *wire.ListStreams:
		return m.listStreams(r, b, fx)
	case *wire.StreamInfo:
		return m.streamInfo(r, b, fx)
	case *wire.DeleteStream:
		return m.deleteStream(r, b, fx)
	case *wire.UndeleteStream:
		return m.undeleteStream(r, b, fx)
	case *wire.SetRetention:
		return m.setRetention(r, b, fx)
	case *wire.SetHold:
		return m.setHold(r, b, fx)
	case *wire.ReleaseHold:
		return m.releaseHold(r, b, fx)
	case *wire.BatchQuery:
		return m.batchQuery(r, b, fx)
	case *wire.Checkpoint:
		return m.checkpoint(r, b, fx)
	case *wire.ListCheckpoints:
		return m.listCheckpoints(r, b, fx)
	case *wire.GetCheckpoint:
		return m.getCheckpoint(r, b, fx)
	case *wire.DeleteCheckpoint:
		return m.deleteCheckpoint(r, b, fx)
	case *wire.Subscribe:
		return m.subscribe(r, b, fx)
	case *wire.Unsubscribe:
		return m.unsubscribe(r, b, fx)
	case *wire.Credit:
		return m.credit(r, b, fx)
	case *wire.Ack:
		return m.ack(r, b, fx)
	case *wire.Nack:
		return m.nack(r, b, fx)
	case *wire.ExtendAck:
		return m.extendAck(r, b, fx)
	case *wire.CreateGroup:
		return m.createGroup(r, b, fx)
	case *wire.UpdateGroup:
		return m.updateGroup(r, b, fx)
	case *wire.DeleteGroup:
		return m.deleteGroup(r, b, fx)
	case *wire.ListGroups:
		return m.listGroups(r, b, fx)
	case *wire.GroupInfo:
		return m.groupInfo(r, b, fx)
	case *wire.Parked:
		return m.parkedEvents(r, b, fx)
	case *wire.Explain:
		return m.explain(r, b, fx)
	case *wire.ChunkAck:
		return m.chunkAck(r, b, fx)
	case *wire.CancelQuery:
		return m.cancelQuery(r, b, fx)
	case *wire.Ping:
		return m.reply(r, &wire.PingReply{}, 0, fx)
	case *wire.CreateTenant:
		return m.createTenant(r, b, fx)
	case *wire.ListTenants:
		return m.listTenants(r, b, fx)
	case *wire.VerifyAudit:
		return m.verifyAudit(r, fx)
	case *wire.Clock:
		return m.showClock(r, fx)
	case *wire.ConfirmClock:
		return m.confirmClock(r, b, fx)
	case *wire.ArchiveCheckpoint:
		return m.archiveCheckpoint(r, b, fx)
	case *wire.RestoreTenant:
		return m.restoreTenant(r, b, fx)
	case *wire.RestoreInfo:
		return m.restoreInfo(r, b, fx)
	}
	panic(fmt.Sprintf("engine: unknown request %T", r.Msg.Body))
}

// Full reports that requests must wait: too many bytes wait for the disk, or for the next segment. Commands other than
// Request go on.
func (m *Machine) Full() bool {
	if m.log.backlog >= m.cfg.MaxBacklog {
		return true
	}
	if m.log.short(m.maxEntry()) {
		m.cfg.hit(ProbeBatchWaitsForSegment)
		return true
	}
	return false
}

// Idle reports that nothing is being written and no job is under way.
func (m *Machine) Idle() bool {
	return m.log.flying == nil && m.log.open == nil && len(m.reads) == 0 && len(m.verifying) == 0 && len(m.keying) == 0 && len(m.applying) == 0 && len(m.questions) == 0 && len(m.series) == 0 && m.closing == 0 && len(m.bounding) == 0 && len(m.lookings) == 0 && !m.keeping.running && !m.keeping.untidy && !m.archiving.running && m.intake.asked == nil && !m.intake.running && m.state.arriving == 0 && m.state.unsent == 0 && m.state.cuts == 0 && len(m.loading) == 0 && !m.tabling.running && !m.snap.running && !m.log.preparing &&
		!m.sealing.running && !m.layout.busy() && !m.sweep.active
}

// Halted returns why the machine halted, or nil.
func (m *Machine) Halted() error { return m.err }

// Geometry returns the data directory's geometry, which the driver needs to place writes.
func (m *Machine) Geometry() seg.Geometry { return m.geo }

// Now returns the engine clock.
func (m *Machine) Now() wire.Time { return m.clock.now }

// Stats returns the counters.
func (m *Machine) Stats() Stats {
	s := m.stats
	s.Tenants, s.Streams = len(m.state.order), len(m.state.streams)-m.state.systems
	if m.state.tenants[serverTenant] != nil {
		s.Tenants--
	}
	s.Keys, s.Overdue = m.state.keys, m.overdueSpan()
	s.LSN, s.Durable = m.state.lsn, m.log.durable
	s.Backlog, s.Memory = m.log.backlog, m.log.memoryBytes
	s.Segment = m.geo.Segment(m.log.next)
	s.ClockDoubt, s.Trouble = m.clock.doubt, m.log.prepareErr
	s.Subscriptions = len(m.subs)
	for _, to := range m.subscribers { //det:order-free: a count
		if len(to.list) > 0 {
			s.Subscribers++
		}
	}
	s.Segments, s.Unswept = m.log.last+1-m.layout.man.First, m.unswept()
	for _, x := range m.layout.sealed {
		if x != nil {
			s.SealedFiles, s.SealedSize = s.SealedFiles+1, s.SealedSize+x.Size
		}
	}
	for _, t := range m.state.order {
		if t.health == doubtful || t.health == holed {
			s.ReadOnly++
		}
	}
	m.tableStats(&s)
	s.Arriving = m.state.arriving
	s.Unkept, s.Unsent, s.Unpruned = m.state.cuts, m.state.unsent, m.unpruned()
	return s
}

// Lag returns how many durable events the subscription that is furthest behind has not been sent. It looks at every
// subscription.
func (m *Machine) Lag() wire.Offset {
	lag := wire.Offset(0)
	for _, sub := range m.subs { //det:order-free: a maximum
		if sub.group != nil {
			continue
		}
		if d := sub.stream.audience.durable.Or(0); d > sub.next {
			lag = max(lag, d-sub.next)
		}
	}
	return lag
}

// OldestAge returns the age of the oldest event that can be read, by its event time and the engine clock; 0 without
// events. It looks at every stream.
func (m *Machine) OldestAge() wire.Span {
	oldest := m.clock.now
	for _, t := range m.state.order {
		for _, s := range t.streams {
			if s.oldest < s.head && !s.deleted {
				oldest = min(oldest, s.firstTime)
			}
		}
	}
	return wire.Span(m.clock.now - oldest)
}

func (m *Machine) advance(now Instant) {
	doubted := m.clock.doubt != 0
	m.clock.advance(now, m.state.skew, &m.cfg)
	if doubts := m.clock.doubt != 0; doubts && !doubted {
		m.cfg.hit(ProbeClockDoubted)
	} else if doubted && !doubts {
		m.cfg.hit(ProbeClockTrustedAgain)
	}
}

// tick lets time pass.
func (m *Machine) tick(fx []Effect) []Effect {
	fx = m.expire(fx)
	m.tellRefusals()
	fx = m.endBatch(m.lapse(m.overtime(m.intakeOn(m.beginRestore(m.archiveOn(m.keepOn(m.saveTables(m.retryTables(m.retryReads(fx))))))))))
	fx = m.mark(fx)
	fx = m.prepare(fx)
	m.shedSome()
	return m.maintain(fx)
}

func (m *Machine) jobDone(c JobDone, fx []Effect) []Effect {
	switch r := c.Result.(type) {
	case prepareResult:
		return m.prepared(r, fx)
	case manifestResult:
		return m.manifestDone(r, fx)
	case removeResult:
		return m.removeDone(r, fx)
	case sealResult:
		return m.sealDone(r, fx)
	case mergeResult:
		return m.mergeDone(r, fx)
	case sweepResult:
		return m.sweepDone(r, fx)
	case verifyResult:
		return m.verifyDone(c.Job, r, fx)
	case snapshotResult:
		return m.snapshotDone(r, fx)
	case applyResult:
		return m.applied(c.Job, r, fx)
	case loadResult:
		return m.loaded(c.Job, r, fx)
	case saveResult:
		return m.tablesSaved(r, fx)
	case queryResult:
		return m.answered(c.Job, r, fx)
	case chunkResult:
		return m.chunked(c.Job, r, fx)
	case lookResult:
		return m.endBatch(m.looked(c.Job, r, fx))
	case pruneResult:
		return m.archivePruned(r, fx)
	case sendResult:
		return m.pieceSent(r, fx)
	case *archiveVerified:
		return m.archiveChecked(r, fx)
	case pieceResult:
		return m.pieceRead(r, fx)
	case keepResult:
		return m.checkpointKept(r, fx)
	case tidyResult:
		return m.tidied(r, fx)
	case boundResult:
		return m.arrange(m.endBatch(m.bounded(c.Job, r, fx)))
	case closeResult:
		m.closing--
		return m.askOn(fx)
	case orderResult:
		return m.keysFound(c.Job, r, fx)
	case readResult:
		return m.arrange(m.endBatch(m.readDone(c.Job, r, fx))) // it may have moved an oldest offset, or kept files
	}
	panic(fmt.Sprintf("engine: unknown job result %T", c.Result))
}

func (m *Machine) start(name string, job Job, fx []Effect) (JobID, []Effect) {
	m.job++
	return m.job, append(fx, &StartJob{Job: m.job, Name: name, Run: job})
}

// halt stops the machine: what was not acknowledged stays so.
func (m *Machine) halt(err error, fx []Effect) []Effect {
	m.cfg.hit(ProbeIOFailed)
	m.err = err
	return append(fx, &Halt{Err: err})
}

// sync answers once everything decided so far is durable.
func (m *Machine) sync(r *Request, fx []Effect) []Effect {
	return m.reply(r, &wire.SyncReply{Success: true}, m.state.lsn, fx)
}

// handshake agrees on a version and on capabilities. What the capabilities mean for the shape of messages is the
// session's affair.
func (m *Machine) handshake(r *Request, b *wire.Handshake, fx []Effect) []Effect {
	if r.Seq != 0 {
		return m.refuse(r, wire.InvalidRequest, 0, fx, "a handshake must be the first request of a connection")
	}
	if b.ClientVersion == 0 {
		fx = m.refuse(r, wire.InvalidRequest, 0, fx, "client version 0 does not exist; the lowest is 1")
		fx[len(fx)-1].(*Reply).Close = true
		return fx
	}
	return m.reply(r, &wire.HandshakeReply{
		ServerVersion: min(b.ClientVersion, wire.MaxVersion),
		Authenticated: true,
		Capabilities:  capabilities(),
	}, 0, fx)
}

// capabilities returns what the server can do, for handshakes.
func capabilities() []string {
	return append([]string{
		"append", "read", "sync", "idempotency_key", "from_timestamp", "backward", "retention", "delete", "hold", "audit", "subscribe", "consumer_group", "sql", "batch_query", "streaming", "checkpoint",
	}, wire.Features{RichEvents: true, TypedValues: true, ExtendedErrors: true, LZ4: true, Zstd: true}.Capabilities()...)
}
