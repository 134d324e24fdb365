package engine_test

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/kimberlitedb/kimberlite-go/engine"
	"github.com/kimberlitedb/kimberlite-go/engine/seg"
	"github.com/kimberlitedb/kimberlite-go/internal/script"
	"github.com/kimberlitedb/kimberlite-go/sim/disk"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

func TestScripts(t *testing.T) {
	script.Run(t, "../testdata/script/engine/*.txt", func(t *testing.T) script.Runner {
		p := &play{t: t, disk: disk.New(512), now: engine.Instant{Wall: wire.Time(1000 * engine.Second)}}
		return p.run
	})
}

// play is a machine on a simulated disk, driven by a script. Jobs that make segments run by themselves and unseen,
// unless the script opens with jobs=manual; other jobs wait for the command job.
type play struct {
	t      *testing.T
	disk   *disk.Disk
	fs     seg.Files
	m      *engine.Machine
	log    *seg.Log
	now    engine.Instant
	manual bool
	jobs   []*engine.StartJob
	upto   seg.LSN         // of the sync in flight
	base   wire.DeliveryID // before the first delivery of the process, so that scripts count from 1
	out    strings.Builder
}

func (p *play) run(c *script.Command) string {
	p.out.Reset()
	if r := p.request(c); r != nil {
		seq, tenant := uint64(c.Int("req", 0)), wire.TenantID(c.Int("tenant", 1))
		if p.m.Full() {
			return fmt.Sprintf("Request %d must wait", seq)
		}
		f := wire.Features{RichEvents: !c.Bool("plain")}
		if c.Has("version") && c.Name != "handshake" || c.Has("conn") {
			f = f.In(uint16(c.Int("version", 3)))
		}
		p.step(&engine.Request{Conn: engine.ConnID(c.Int("conn", 1)), Seq: seq, From: "test", Msg: &wire.Request{
			ID: seq, Tenant: tenant, Body: r, Features: f,
		}})
		return p.out.String()
	}
	switch c.Name {
	case "open":
		p.open(c)
	case "restart":
		p.disk.ProcessCrash()
		p.m.Close()
		p.open(c)
	case "disk":
		p.setDisk(c)
	case "damage":
		p.damage(c)
	case "end-batch":
		p.step(engine.EndBatch{})
	case "synced":
		p.synced(c)
	case "io-failed":
		p.step(engine.IOFailed{Err: errors.New(c.Text("error", "input/output error"))})
	case "drained":
		p.step(engine.Drained{Conn: engine.ConnID(c.Int("conn", 1)), Unsent: c.Int("unsent", 0)})
	case "hangup":
		p.step(engine.Hangup{Conn: engine.ConnID(c.Int("conn", 1))})
	case "dismiss":
		p.step(engine.Dismiss{Conn: engine.ConnID(c.Int("conn", 1))})
	case "tick":
		p.pass(c)
		p.step(engine.Tick{})
	case "job":
		p.job(c)
	case "settle":
		p.settle(c)
	case "stats":
		p.stats(c)
	case "populate":
		p.populate(c.Int("streams", 0))
	case "files":
		names, _ := p.disk.Mount().List()
		return strings.Join(names, "\n")
	default:
		c.Fail("unknown command %s", c.Name)
	}
	return p.out.String()
}

// request returns the request that a command stands for, if it is one.
func (p *play) request(c *script.Command) wire.RequestBody {
	switch c.Name {
	case "handshake":
		return &wire.Handshake{ClientVersion: uint16(c.Int("version", 1)), Capabilities: c.List("capabilities")}
	case "create":
		b := &wire.CreateStream{Name: name(c), Class: wire.NonPHI, Placement: wire.Placement{Global: true}}
		if c.Has("region") {
			b.Placement = wire.Placement{Region: wire.Region{Kind: wire.RegionCustom, Custom: strings.Repeat("r", c.Int("region", 0))}}
		}
		if c.Has("retention") {
			b.RetentionDays = wire.Some(uint32(c.Int("retention", 0)))
		}
		return b
	case "append":
		return appendBody(c)
	case "query":
		return queryBody(c)
	case "batch":
		return batchBody(c)
	case "read":
		b := &wire.ReadEvents{
			Stream: wire.StreamID(c.Int("stream", 1)), FromOffset: wire.Offset(c.Int("from", 0)), MaxBytes: uint64(c.Int("bytes", 1<<20)),
			Backward: c.Bool("backward"),
		}
		if c.Bool("audit") {
			b.Stream = wire.StreamID(1<<63 + uint64(c.Int("tenant", 1)))
		}
		if c.Has("last") {
			b.FromOffset = wire.EndOffset
		}
		if c.Has("since") {
			b.FromTimestamp = wire.Some(wire.Time(c.Span("since", 0)))
		}
		if c.Has("events") {
			b.MaxEvents = wire.Some(uint32(c.Int("events", 0)))
		}
		if c.Has("at") {
			b.AsOf = wire.Some(wire.Position(c.Int("at", 0)))
		}
		return b
	case "delete":
		b := &wire.DeleteStream{Stream: wire.StreamID(c.Int("stream", 1))}
		if c.Has("days") {
			b.RetentionOverride = wire.Some(uint32(c.Int("days", 0)))
		}
		return b
	case "undelete":
		return &wire.UndeleteStream{Stream: wire.StreamID(c.Int("stream", 1))}
	case "retain":
		b := &wire.SetRetention{Stream: wire.StreamID(c.Int("stream", 1))}
		if c.Has("days") {
			b.Days = wire.Some(uint32(c.Int("days", 0)))
		}
		if c.Has("least") {
			b.MinDays = wire.Some(uint32(c.Int("least", 0)))
		}
		return b
	case "hold":
		return &wire.SetHold{Stream: wire.StreamID(c.Int("stream", 1)), Name: name(c), Reason: c.Text("reason", "")}
	case "release":
		return &wire.ReleaseHold{Stream: wire.StreamID(c.Int("stream", 1)), Name: name(c)}
	case "verify-audit":
		return &wire.VerifyAudit{}
	case "checkpoint", "checkpoints", "checkpoint-info", "delete-checkpoint":
		return p.checkpointBody(c)
	case "clock":
		return &wire.Clock{}
	case "confirm-clock":
		return &wire.ConfirmClock{Wall: p.now.Wall + wire.Time(c.Span("off", 0))}
	case "subscribe":
		return subscribeBody(c)
	case "ack", "nack", "extend", "group", "update-group", "delete-group", "groups", "group-info", "parked", "explain":
		return p.groupBody(c)
	case "unsubscribe":
		return &wire.Unsubscribe{Subscription: wire.SubscriptionID(c.Int("sub", 1))}
	case "credit":
		return &wire.Credit{Subscription: wire.SubscriptionID(c.Int("sub", 1)), Events: uint64(c.Int("events", 0)), Bytes: uint64(c.Int("bytes", 0))}
	case "chunk-ack":
		return &wire.ChunkAck{Query: uint64(c.Int("query", 1)), Sequence: uint32(c.Int("sequence", 0))}
	case "cancel":
		return &wire.CancelQuery{Query: uint64(c.Int("query", 1))}
	case "sync":
		return &wire.Sync{}
	case "ping":
		return &wire.Ping{}
	case "list":
		return &wire.ListStreams{After: wire.StreamID(c.Int("after", 0)), Limit: uint32(c.Int("limit", 0))}
	case "info":
		return &wire.StreamInfo{Stream: wire.StreamID(c.Int("stream", 0)), Name: c.Text("name", "")}
	case "create-tenant":
		return &wire.CreateTenant{Name: name(c)}
	case "list-tenants":
		return &wire.ListTenants{After: wire.TenantID(c.Int("after", 0)), Limit: uint32(c.Int("limit", 0))}
	}
	return nil
}

// queryBody returns the query of a command. Parameters are integers where they look like it, and texts else.
func queryBody(c *script.Command) wire.RequestBody {
	text, key := c.Text("sql", "SELECT 1"), wire.Option[wire.Key]{}
	if c.Has("key") {
		key = wire.Some(wire.Key{byte(c.Int("key", 0))})
	}
	var params []wire.Value
	for _, p := range c.List("params") {
		if n, err := strconv.ParseInt(p, 10, 64); err == nil {
			params = append(params, wire.Value{Kind: wire.BigInt, Int: n})
		} else {
			params = append(params, wire.Value{Kind: wire.Text, Text: p})
		}
	}
	if c.Has("at") {
		return &wire.QueryAt{
			SQL: text, Params: params, Position: wire.Position(c.Int("at", 0)), IdempotencyKey: key,
			Streaming: c.Bool("streaming"), ChunkWindow: uint32(c.Int("window", 0)), TimeoutMS: uint32(c.Int("timeout", 0)),
		}
	}
	return &wire.Query{
		SQL: text, Params: params, IdempotencyKey: key,
		Streaming: c.Bool("streaming"), ChunkWindow: uint32(c.Int("window", 0)), TimeoutMS: uint32(c.Int("timeout", 0)),
	}
}

// batchBody returns the batch of a command: statements that a vertical bar parts.
func batchBody(c *script.Command) wire.RequestBody {
	b := &wire.BatchQuery{StopOnError: c.Bool("stop"), Atomic: c.Bool("atomic")}
	if c.Has("key") {
		b.IdempotencyKey = wire.Some(wire.Key{byte(c.Int("key", 0))})
	}
	for text := range strings.SplitSeq(c.Text("sql", ""), "|") {
		b.Queries = append(b.Queries, wire.BatchedQuery{SQL: strings.TrimSpace(text)})
	}
	for range c.Int("more", 0) {
		b.Queries = append(b.Queries, b.Queries[0])
	}
	if c.Bool("empty") {
		b.Queries = nil
	}
	return b
}

func subscribeBody(c *script.Command) wire.RequestBody {
	b := &wire.Subscribe{
		Stream: wire.StreamID(c.Int("stream", 1)), FromOffset: wire.Offset(c.Int("from", 0)),
		CreditEvents: uint64(c.Int("events", 100)), CreditBytes: uint64(c.Int("bytes", 1<<20)),
	}
	if c.Has("last") {
		b.FromOffset = wire.EndOffset
	}
	if c.Has("since") {
		b.FromTimestamp = wire.Some(wire.Time(c.Span("since", 0)))
	}
	if c.Has("group") {
		b.Group = wire.Some(c.Text("group", ""))
	}
	if c.Bool("audit") {
		b.Stream = wire.StreamID(1<<63 + uint64(c.Int("tenant", 1)))
	}
	return b
}

// name returns a name, or one of a length.
func name(c *script.Command) string {
	if c.Has("name-length") {
		return strings.Repeat("n", c.Int("name-length", 0))
	}
	return c.Text("name", "")
}

func appendBody(c *script.Command) wire.RequestBody {
	b := &wire.AppendEvents{Stream: wire.StreamID(c.Int("stream", 1))}
	for _, e := range c.List("events") {
		b.Events = append(b.Events, []byte(e))
	}
	for range c.Int("count", 0) {
		b.Events = append(b.Events, bytes.Repeat([]byte("x"), c.Int("size", 1)))
	}
	if c.Has("expect") {
		b.ExpectOffset = wire.Some(wire.Offset(c.Int("expect", 0)))
	}
	if c.Has("key") {
		b.IdempotencyKey = wire.Some(wire.Key{byte(c.Int("key", 0))})
	}
	if c.Has("times") {
		b.Timestamps = wire.Some([]wire.Time{})
	}
	for _, s := range c.List("times") {
		if s == "" {
			break // times="" gives none, although it gives the field
		}
		d, err := time.ParseDuration(s)
		if err != nil {
			c.Fail("%v", err)
		}
		b.Timestamps.Value = append(b.Timestamps.Value, wire.Time(d))
	}
	return b
}

// open opens the machine, small by default so that everything comes about soon.
func (p *play) open(c *script.Command) {
	cfg := engine.DefaultConfig()
	cfg.Store = 7
	cfg.Geometry = seg.Geometry{Align: 512, SegmentSize: int64(c.Int("segment", 16<<10))}
	cfg.MaxBatchBytes, cfg.MaxBatchEvents = c.Int("max-bytes", 2048), c.Int("max-events", 10)
	cfg.MaxBatch = c.Int("batch", 4096)
	cfg.Cache = c.Int("cache", 1<<20)
	cfg.MaxDiskReads = c.Int("disk-reads", 10)
	cfg.MaxPushed = c.Int("pushed", cfg.MaxPushed)
	cfg.ChunkBytes, cfg.MaxQueries, cfg.MaxCursors = c.Int("chunk", cfg.ChunkBytes), c.Int("queries", cfg.MaxQueries), c.Int("cursors", cfg.MaxCursors)
	cfg.SnapshotEvery = int64(c.Int("snapshot", 1<<20))
	cfg.RetentionDay = wire.Span(c.Span("day", 24*time.Hour))
	cfg.KeysPerStream, cfg.Keys = c.Int("keys", 100), c.Int("all-keys", 100)
	cfg.KeyAge = wire.Span(c.Span("key-age", time.Hour))
	cfg.SealBlock, cfg.MergeFiles = c.Int("seal", 0), c.Int("merge", 2)
	cfg.SweepInterval = wire.Span(c.Span("sweep", 24*time.Hour))
	cfg.MaxCuts, cfg.Signers = c.Int("cuts", cfg.MaxCuts), []note.Signer{testSigner(p.t)}
	cfg.Dev = !c.Has("serve") || !c.Bool("serve")
	p.manual = c.Text("jobs", "auto") == "manual"
	p.now.Mono, p.jobs, p.upto, p.base = 0, nil, 0, 0
	p.fs = p.disk.Mount()
	m, report, err := engine.Open(p.fs, cfg)
	if err != nil {
		fmt.Fprintf(&p.out, "error: %v\n", err)
		return
	}
	p.m, p.log = m, seg.NewLog(p.fs, m.Geometry())
	fmt.Fprintln(&p.out, describeReport(report))
	p.step(engine.Tick{}) // as drivers do, so that the clock starts here
}

func describeReport(r *engine.Report) string {
	if r.Fresh {
		return "Report{Fresh}"
	}
	s := fmt.Sprintf("Report{Snapshot:%d LSN:%d Batches:%d", r.Snapshot, r.LSN, r.Batches)
	for _, d := range r.Torn {
		s += fmt.Sprintf(" Torn:%s@%d+%d", d.File, d.Offset, d.Length)
	}
	for _, h := range r.Holes {
		s += fmt.Sprintf(" Hole:%d-%d", h.First, h.Last)
		for _, d := range h.Damage {
			s += fmt.Sprintf("(%s@%d+%d)", d.File, d.Offset, d.Length)
		}
	}
	for _, name := range r.BadSnapshot {
		s += " BadSnapshot:" + name
	}
	if r.Leftovers > 0 {
		s += fmt.Sprintf(" Leftovers:%d", r.Leftovers)
	}
	if r.CopiedTail {
		s += " CopiedTail"
	}
	return s + "}"
}

// populate makes so many streams, unseen.
func (p *play) populate(streams int) {
	for i := range streams {
		p.step(&engine.Request{Msg: &wire.Request{Tenant: 1, Body: &wire.CreateStream{Name: fmt.Sprintf("stream-%d", i)}}})
		p.step(engine.EndBatch{})
		p.step(engine.Synced{Upto: p.upto})
	}
	p.upto = 0
	p.out.Reset()
}

// damage overwrites a byte of a file, as rot does.
func (p *play) damage(c *script.Command) {
	f, err := p.disk.Mount().Open(c.Text("file", seg.SegmentName(0)))
	if err != nil {
		c.Fail("%v", err)
		return
	}
	at := int64(c.Int("at", 0))
	var b [1]byte
	f.ReadAt(b[:], at)
	b[0] ^= 0x55
	f.WriteAt(b[:], at)
	f.Sync()
}

// pass lets time pass on the clocks: after= on both, wall= and mono= on one alone.
func (p *play) pass(c *script.Command) {
	after := c.Span("after", 0)
	p.now.Wall += wire.Time(after + c.Span("wall", 0))
	p.now.Mono += wire.Time(after + c.Span("mono", 0))
}

// synced does the sync in flight.
func (p *play) synced(c *script.Command) {
	if p.upto == 0 {
		p.out.WriteString("(nothing is being written)\n")
		return
	}
	if err := p.log.Sync(); err != nil {
		c.Fail("%v", err)
	}
	upto := p.upto
	p.upto = 0
	p.step(engine.Synced{Upto: upto})
}

// job runs the oldest job, or all and those that they lead to, unseen.
func (p *play) job(c *script.Command) {
	n := 0
	for all := c.Bool("all"); n == 0 || all; n++ {
		if len(p.jobs) == 0 {
			break
		}
		j := p.jobs[0]
		p.jobs = p.jobs[1:]
		p.finish(j)
	}
	if n == 0 {
		p.out.WriteString("(no job waits)\n")
	} else if c.Bool("all") {
		p.out.Reset()
		fmt.Fprintf(&p.out, "(%d jobs)\n", n)
	}
}

// setDisk sets what room the disk has, and whether it can be read.
func (p *play) setDisk(c *script.Command) {
	p.disk.Capacity = int64(c.Int("capacity", 0))
	p.disk.Hook = nil
	if c.Bool("unreadable") {
		p.disk.Hook = func(op disk.Op) (v disk.Verdict) {
			if op.Kind == disk.OpRead {
				v.Err = errors.New("input/output error")
			}
			return v
		}
	}
}

// settle lets the disk and all jobs finish, whatever follows from that. It shows the replies alone.
func (p *play) settle(c *script.Command) {
	for p.step(engine.EndBatch{}); p.upto != 0 || len(p.jobs) > 0; {
		if p.upto != 0 {
			p.synced(c)
		}
		if len(p.jobs) > 0 {
			j := p.jobs[0]
			p.jobs = p.jobs[1:]
			p.finish(j)
		}
	}
	lines := strings.SplitAfter(p.out.String(), "\n")
	p.out.Reset()
	for _, line := range lines {
		if strings.HasPrefix(line, "Reply") || strings.HasPrefix(line, "Push{") && strings.Contains(line, " Query:") {
			p.out.WriteString(line)
		}
	}
}

func (p *play) finish(j *engine.StartJob) {
	p.step(engine.JobDone{Job: j.Job, Result: j.Run.Run(p.fs)})
}

func (p *play) stats(c *script.Command) {
	s := p.m.Stats()
	fmt.Fprintf(&p.out, "LSN:%d Durable:%d Backlog:%d Segment:%d Streams:%d Tenants:%d Full:%t Now:%s",
		s.LSN, s.Durable, s.Backlog, s.Segment, s.Streams, s.Tenants, p.m.Full(), clock(p.m.Now()))
	if s.ClockDoubt != 0 {
		fmt.Fprintf(&p.out, " Doubt:%s", time.Duration(s.ClockDoubt))
	}
	if s.Asked+s.Cursors > 0 || c.Bool("queries") {
		fmt.Fprintf(&p.out, " Asked:%d Cursors:%d Idle:%t", s.Asked, s.Cursors, p.m.Idle())
	}
	if s.ReadOnly != 0 {
		fmt.Fprintf(&p.out, " ReadOnly:%d", s.ReadOnly)
	}
	p.out.WriteString("\n")
}

// clock shows a time as the span since the epoch, which is short in these scripts.
func clock(t wire.Time) string { return time.Duration(t).String() }

// step runs a command and shows its effects.
func (p *play) step(cmd engine.Command) {
	var unseen []*engine.StartJob
	for _, e := range p.m.Step(p.now, cmd, nil) {
		switch e := e.(type) {
		case *engine.Write:
			if err := p.log.Write(e.At, e.Data); err != nil {
				p.t.Fatal(err)
			}
			geo := p.m.Geometry()
			fmt.Fprintf(&p.out, "Write{At:%d:%d Size:%d Upto:%d}\n", geo.Segment(e.At), geo.Offset(e.At), len(e.Data), e.Upto)
		case *engine.Sync:
			p.upto = e.Upto
			fmt.Fprintf(&p.out, "Sync{Upto:%d}\n", e.Upto)
		case *engine.Reply:
			fmt.Fprintln(&p.out, p.describeReply(e))
		case *engine.Push:
			fmt.Fprintf(&p.out, "Push{Conn:%d %s}\n", e.Conn, p.describePush(e.Msg.Body))
		case *engine.Halt:
			fmt.Fprintf(&p.out, "Halt{%v}\n", e.Err)
		case *engine.StartJob:
			if (e.Name == "prepare-segment" || e.Name == "manifest" || e.Name == "remove") && !p.manual {
				unseen = append(unseen, e)
				continue
			}
			p.jobs = append(p.jobs, e)
			fmt.Fprintf(&p.out, "StartJob{%s}\n", e.Name)
		}
	}
	for _, j := range unseen {
		p.finish(j)
	}
}

func (p *play) describePush(body wire.PushBody) string {
	switch b := body.(type) {
	case *wire.GroupEvents:
		s := fmt.Sprintf("Sub:%d", b.Subscription)
		for i := range b.Deliveries {
			d := &b.Deliveries[i]
			if p.base == 0 {
				p.base = d.ID - 1
			}
			e := d.Event.Decode()
			s += fmt.Sprintf(" #%d:%d:%s", d.ID-p.base, e.Offset, short(e.Data))
			if d.Attempt > 1 {
				s += fmt.Sprintf("(%d)", d.Attempt)
			}
		}
		return s
	case *wire.SubscriptionEvents:
		s := fmt.Sprintf("Sub:%d", b.Subscription)
		for e := range b.Events.All {
			s += fmt.Sprintf(" %d:%s", e.Offset, short(e.Data))
		}
		return s
	case *wire.QueryChunk:
		return fmt.Sprintf("Query:%d Chunk:%d%s", b.Query, b.Sequence, describeQuery(&wire.QueryReply{Columns: b.Columns, Rows: b.Rows, Position: b.Position}))
	case *wire.SubscriptionClosed:
		return fmt.Sprintf("Sub:%d Closed %s %q", b.Subscription, b.Code, b.Message)
	case *wire.CaughtUp:
		return fmt.Sprintf("Sub:%d CaughtUp:%d", b.Subscription, b.Offset)
	case *wire.Gap:
		return fmt.Sprintf("Sub:%d Gap:[%d,%d) %s", b.Subscription, b.From, b.To, b.Reason)
	}
	return fmt.Sprintf("%T", body)
}

// short is an event's data as scripts show it.
func short(data []byte) string {
	if len(data) > 8 {
		return fmt.Sprintf("%.1s×%d", data, len(data))
	}
	return string(data)
}

func (p *play) describeReply(r *engine.Reply) string {
	s := fmt.Sprintf("Reply{Req:%d", r.Seq)
	if r.Msg.RequestID != r.Seq {
		s += fmt.Sprintf(" ID:%d", r.Msg.RequestID)
	}
	if r.Close {
		s += " Close"
	}
	if g := p.describeGroupReply(r.Msg.Body); g != "" {
		return s + g + "}"
	}
	return s + describeBody(r.Msg.Body) + "}"
}

func describeBody(body wire.ResponseBody) string {
	switch b := body.(type) {
	case *wire.Error:
		s := fmt.Sprintf(" Code:%s", b.Code)
		if b.CurrentOffset.Set {
			s += fmt.Sprintf(" Current:%d", b.CurrentOffset.Value)
		}
		return s + fmt.Sprintf(" %q", b.Message)
	case *wire.HandshakeReply:
		return fmt.Sprintf(" Version:%d Authenticated:%t Capabilities:%v", b.ServerVersion, b.Authenticated, b.Capabilities)
	case *wire.CreateStreamReply:
		return fmt.Sprintf(" Stream:%d", b.Stream)
	case *wire.AppendEventsReply:
		s := fmt.Sprintf(" First:%d Count:%d Position:%d At:%s", b.FirstOffset, b.Count, b.Position, clock(b.Timestamp))
		if b.Duplicate {
			s += " Duplicate"
		}
		return s
	case *wire.DeleteStreamReply:
		return fmt.Sprintf(" Deleted:%t Purge:%s Position:%d", b.Deleted, clock(b.PurgeDate), b.Position)
	case *wire.UndeleteStreamReply:
		return fmt.Sprintf(" Restored:%t Position:%d", b.Restored, b.Position)
	case *wire.SetRetentionReply:
		return fmt.Sprintf(" Position:%d", b.Position)
	case *wire.SetHoldReply:
		return fmt.Sprintf(" Position:%d", b.Position)
	case *wire.ReleaseHoldReply:
		return fmt.Sprintf(" Position:%d", b.Position)
	case *wire.VerifyAuditReply:
		if b.Break.Set {
			return fmt.Sprintf(" Events:%d Break:%d %q", b.Events, b.Break.Value, b.Message)
		}
		return fmt.Sprintf(" Events:%d Whole", b.Events)
	case *wire.CheckpointReply, *wire.ListCheckpointsReply, *wire.GetCheckpointReply, *wire.DeleteCheckpointReply:
		return describeCheckpoints(b)
	case *wire.ClockReply:
		return fmt.Sprintf(" Now:%s Wall:%s Trusted:%t", clock(b.Now), clock(b.Wall), b.Trusted)
	case *wire.ConfirmClockReply:
		return fmt.Sprintf(" Now:%s", clock(b.Now))
	case *wire.ReadEventsReply:
		return describeRead(b)
	case *wire.SubscribeReply:
		return fmt.Sprintf(" Sub:%d", b.Subscription)
	case *wire.UnsubscribeReply:
		return fmt.Sprintf(" Next:%d", b.Next)
	case *wire.CreditReply:
		return fmt.Sprintf(" Events:%d Bytes:%d", b.Events, b.Bytes)
	case *wire.QueryReply:
		return describeQuery(b)
	case *wire.BatchQueryReply:
		return describeBatch(b)
	case *wire.ChunkAckReply:
		return fmt.Sprintf(" Unacknowledged:%d", b.Unacknowledged)
	case *wire.CancelQueryReply:
		return fmt.Sprintf(" Cancelled:%t", b.Cancelled)
	case *wire.SyncReply:
		return fmt.Sprintf(" Success:%t", b.Success)
	case *wire.PingReply:
		return " Ping"
	case *wire.StreamInfoReply:
		return describeStream(&b.Info)
	case *wire.ListStreamsReply:
		if n := len(b.Streams); n > 10 {
			return fmt.Sprintf(" %d streams, the last%s More:%t", n, describeStream(&b.Streams[n-1]), b.More)
		}
		s := ""
		for i := range b.Streams {
			s += describeStream(&b.Streams[i])
		}
		return s + fmt.Sprintf(" More:%t", b.More)
	case *wire.CreateTenantReply:
		return fmt.Sprintf(" Tenant:%d", b.Tenant)
	case *wire.ListTenantsReply:
		s := ""
		for _, t := range b.Tenants {
			s += fmt.Sprintf(" %d:%s(streams %d, position %d)", t.Tenant, t.Name, t.Streams, t.Position)
		}
		return s + fmt.Sprintf(" More:%t", b.More)
	}
	return fmt.Sprintf(" %T", body)
}

func describeQuery(b *wire.QueryReply) string {
	s := fmt.Sprintf(" Position:%d", b.Position)
	if b.RowsAffected > 0 {
		s += fmt.Sprintf(" Affected:%d", b.RowsAffected)
	}
	if b.Trimmed {
		s += " Trimmed"
	}
	return s + describeRows(b.Columns, b.Rows)
}

func describeBatch(b *wire.BatchQueryReply) string {
	s := fmt.Sprintf(" Position:%d", b.Position)
	for i, r := range b.Results {
		if s += fmt.Sprintf(" | %d:", i+1); r.Err != nil {
			s += fmt.Sprintf(" %s %q", r.Err.Code, r.Err.Message)
		} else {
			s += describeRows(r.Columns, r.Rows)
		}
	}
	return s
}

func describeRows(columns []string, rows [][]wire.Value) string {
	s := " [" + strings.Join(columns, " ") + "]"
	for _, row := range rows {
		s += " ("
		for i, v := range row {
			if i > 0 {
				s += ", "
			}
			switch v.Kind {
			case wire.Null:
				s += "NULL"
			case wire.Text:
				s += v.Text
			case wire.Double:
				s += fmt.Sprint(v.Float)
			case wire.Bytes:
				s += fmt.Sprintf("%x", v.Bytes)
			default:
				s += fmt.Sprint(v.Int)
			}
		}
		s += ")"
	}
	return s
}

func describeStream(d *wire.StreamDescription) string {
	s := fmt.Sprintf(" %d:%s[%d,%d) %dB", d.Stream, d.Name, d.OldestOffset, d.HeadOffset, d.Bytes)
	if d.FirstTime.Set {
		s += fmt.Sprintf(" %s–%s", clock(d.FirstTime.Value), clock(d.LastTime.Value))
	}
	if d.RetentionDays.Set {
		s += fmt.Sprintf(" Days:%d", d.RetentionDays.Value)
	}
	for _, h := range d.Holds {
		s += " Held:" + h.Name
	}
	if d.Deleted {
		s += " Purge:" + clock(d.PurgeDate.Value)
	}
	return s
}

func describeRead(b *wire.ReadEventsReply) string {
	s := ""
	for e := range b.Events.All {
		s += fmt.Sprintf(" %d:%s@%s", e.Offset, short(e.Data), clock(e.Timestamp))
	}
	if b.NextOffset.Set {
		s += fmt.Sprintf(" Next:%d", b.NextOffset.Value)
	}
	return s + fmt.Sprintf(" Oldest:%d Head:%d", b.OldestOffset, b.HeadOffset)
}
