package engine_test

import (
	"github.com/kimberlitedb/kimberlite-go/engine"
	"github.com/kimberlitedb/kimberlite-go/engine/seg"
	"github.com/kimberlitedb/kimberlite-go/sim/disk"
	"github.com/kimberlitedb/kimberlite-go/wire"
	"pgregory.net/rapid"
)

// rig is a machine on a simulated disk, and all that it needs around it.
type rig struct {
	t   rapid.TB
	d   *disk.Disk
	cfg engine.Config
	now engine.Instant

	m      *engine.Machine
	report *engine.Report
	fs     seg.Files
	log    *seg.Log
	dead   bool // the disk failed: the process is gone

	seq     uint64
	last    *engine.Reply
	written []written            // every batch, in order
	hashes  map[seg.LSN][32]byte // of the state when an entry was decided
	due     map[uint64]seg.LSN   // requests that are not answered, and the entry they made
	acked   seg.LSN
	pushed  func(*engine.Push)          // takes pushes; may be nil
	objects seg.Objects                 // the archive, wherever it is said to be
	later   func(*engine.StartJob) bool // takes jobs that are to be run later; may be nil
}

// written is a batch that the machine wrote.
type written struct {
	seg.Batch
	records []byte
}

// smallConfig makes segments and batches small, so that everything happens often.
func smallConfig() engine.Config {
	cfg := engine.DefaultConfig()
	cfg.Store, cfg.Dev = 0x5707e, true
	cfg.Geometry = seg.Geometry{Align: 512, SegmentSize: 16 << 10}
	cfg.MaxBatch, cfg.MaxBatchBytes, cfg.MaxBatchEvents = 4<<10, 3000, 20
	cfg.Cache, cfg.SnapshotEvery = 4<<10, 8<<10
	cfg.SealBlock = 0
	return cfg
}

func newRig(t rapid.TB, cfg engine.Config) *rig {
	t.Helper()
	r := &rig{
		t: t, d: disk.New(512), cfg: cfg, hashes: map[seg.LSN][32]byte{}, due: map[uint64]seg.LSN{},
		now: engine.Instant{Wall: 1_700_000_000_000_000_000},
	}
	if err := r.open(); err != nil {
		t.Fatal(err)
	}
	r.note()
	return r
}

// open starts the machine again, in a new process. Where that fails there is none.
func (r *rig) open() error {
	r.d.ProcessCrash()
	r.fs, r.dead = r.d.Mount(), false
	var err error
	r.m, r.report, err = engine.Open(r.fs, r.cfg)
	if err != nil {
		r.dead = true
		return err
	}
	r.log = seg.NewLog(r.fs, r.m.Geometry())
	clear(r.due)
	return nil
}

// note keeps the hash of the state.
func (r *rig) note() { r.hashes[r.m.Stats().LSN] = r.m.Hash() }

// step runs a command, and carries out what it leads to. A write that fails ends the process.
func (r *rig) step(c engine.Command) {
	r.now.Mono += 1000
	r.now.Wall += 1000
	for _, e := range r.m.Step(r.now, c, nil) {
		if r.dead {
			return
		}
		switch e := e.(type) {
		case *engine.Write:
			r.write(e)
		case *engine.Sync:
			r.dead = r.dead || r.log.Sync() != nil
			if !r.dead {
				r.step(engine.Synced{Upto: e.Upto})
			}
		case *engine.Reply:
			r.reply(e)
		case *engine.Push:
			if r.pushed != nil {
				r.pushed(e)
			}
		case *engine.StartJob:
			if r.later == nil || !r.later(e) {
				r.run(e)
			}
		case *engine.Halt:
			r.dead = true
		}
	}
}

// run carries out a job.
func (r *rig) run(e *engine.StartJob) {
	run := e.Run
	if a, ok := run.(engine.ArchiveJob); ok {
		run = a.In(r.objects)
	}
	if result := run.Run(r.fs); !r.dead {
		r.step(engine.JobDone{Job: e.Job, Result: result})
	}
}

func (r *rig) write(e *engine.Write) {
	b, err := seg.ParseBatch(e.Data, r.cfg.Store, e.At)
	if err != nil {
		r.t.Fatalf("the machine writes a batch at %d that is none: %v", e.At, err)
	}
	r.written = append(r.written, written{b, e.Data[seg.BatchHeader : seg.BatchHeader+b.Length]})
	r.dead = r.dead || r.log.Write(e.At, e.Data) != nil
}

func (r *rig) reply(e *engine.Reply) {
	r.last = e
	r.acked = max(r.acked, r.due[e.Seq])
	delete(r.due, e.Seq)
}

// request asks for one operation of a tenant.
func (r *rig) request(tenant wire.TenantID, body wire.RequestBody) {
	r.ask(&wire.Request{Tenant: tenant, Body: body})
}

// ask asks for an operation.
func (r *rig) ask(msg *wire.Request) {
	before := r.m.Stats().LSN
	r.seq++
	msg.ID = r.seq
	r.due[r.seq] = 0
	r.step(&engine.Request{Seq: r.seq, Msg: msg})
	if after := r.m.Stats().LSN; after > before && !r.dead {
		if _, waits := r.due[r.seq]; waits {
			r.due[r.seq] = after
		}
		r.note()
	}
}

// call asks for one operation, and has it made durable. It returns the reply.
func (r *rig) call(tenant wire.TenantID, body wire.RequestBody) wire.ResponseBody {
	r.t.Helper()
	r.request(tenant, body)
	r.step(engine.EndBatch{})
	if r.dead || r.last == nil || r.last.Seq != r.seq {
		r.t.Fatalf("request %d has no reply", r.seq)
	}
	return r.last.Msg.Body
}

// callRich is call of a client that understands rich events.
func (r *rig) callRich(tenant wire.TenantID, body wire.RequestBody) wire.ResponseBody {
	r.t.Helper()
	r.ask(&wire.Request{Tenant: tenant, Body: body, Features: wire.Features{RichEvents: true}})
	r.step(engine.EndBatch{})
	if r.dead || r.last == nil || r.last.Seq != r.seq {
		r.t.Fatalf("request %d has no reply", r.seq)
	}
	return r.last.Msg.Body
}

// create makes a stream.
func (r *rig) create(tenant wire.TenantID, name string) wire.StreamID {
	r.t.Helper()
	reply, ok := r.call(tenant, &wire.CreateStream{Name: name}).(*wire.CreateStreamReply)
	if !ok {
		r.t.Fatalf("stream %s: %v", name, r.last.Msg.Body)
	}
	return reply.Stream
}

// append appends one event and has it made durable.
func (r *rig) append(tenant wire.TenantID, s wire.StreamID, events ...string) {
	r.t.Helper()
	if _, ok := r.call(tenant, eventsFor(s, events...)).(*wire.AppendEventsReply); !ok {
		r.t.Fatalf("append to stream %d: %v", s, r.last.Msg.Body)
	}
}

func eventsFor(s wire.StreamID, events ...string) *wire.AppendEvents {
	b := &wire.AppendEvents{Stream: s}
	for _, e := range events {
		b.Events = append(b.Events, []byte(e))
	}
	return b
}

// mark lets the log be idle until a commit mark says that all of it is durable.
func (r *rig) mark() {
	r.now.Mono += wire.Time(2 * engine.Second)
	r.now.Wall += wire.Time(2 * engine.Second)
	r.step(engine.Tick{})
}

// read returns the events of a stream from an offset on, and the code that ended it.
func (r *rig) read(tenant wire.TenantID, s wire.StreamID, from wire.Offset) (events []wire.Event, stop wire.Code) {
	r.t.Helper()
	for {
		switch b := r.call(tenant, &wire.ReadEvents{Stream: s, FromOffset: from, MaxBytes: 1 << 20}).(type) {
		case *wire.Error:
			return events, b.Code
		case *wire.ReadEventsReply:
			if b.Events.Count == 0 {
				return events, 0
			}
			for e := range b.Events.All {
				events = append(events, e)
			}
			from = b.NextOffset.Value
		}
	}
}

// flip damages one bit of a byte of the log.
func (r *rig) flip(at seg.Address, bit byte) (name string, off int64) {
	r.t.Helper()
	geo := r.m.Geometry()
	name, off = seg.SegmentName(geo.Segment(at)), geo.Offset(at)
	change(r.t, r.d.Mount(), name, off, func(p []byte) { p[0] ^= 1 << bit })
	return name, off
}

// change overwrites a byte of a file, durably.
func change(t rapid.TB, fs seg.Files, name string, off int64, how func([]byte)) {
	t.Helper()
	f, err := fs.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	p := make([]byte, 1)
	if _, err = f.ReadAt(p, off); err == nil {
		how(p)
		_, err = f.WriteAt(p, off)
	}
	if err == nil {
		err = f.Sync()
	}
	if err != nil {
		t.Fatal(err)
	}
}

// checked checks the disk as it is now.
func (r *rig) checked() *engine.CheckReport {
	r.t.Helper()
	report, err := engine.Check(readOnly{r.d.Clone().Mount()}, r.cfg)
	if err != nil {
		r.t.Fatalf("check: %v", err)
	}
	return report
}

// readOnly are files of which nothing may be changed.
type readOnly struct{ seg.Files }

func (readOnly) Create(name string) (seg.File, error) { panic("create " + name) }
func (readOnly) Rename(from, _ string) error          { panic("rename " + from) }
func (readOnly) Remove(name string) error             { panic("remove " + name) }
func (readOnly) SyncDir() error                       { panic("sync directory") }

func (fs readOnly) Open(name string) (seg.File, error) {
	f, err := fs.Files.Open(name)
	return readOnlyFile{f}, err
}

type readOnlyFile struct{ seg.File }

func (readOnlyFile) WriteAt([]byte, int64) (int, error) { panic("write") }
func (readOnlyFile) Sync() error                        { panic("sync") }
