package loop_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/kimberlitedb/kimberlite-go/engine"
	"github.com/kimberlitedb/kimberlite-go/engine/loop"
	"github.com/kimberlitedb/kimberlite-go/engine/seg"
	"github.com/kimberlitedb/kimberlite-go/internal/script"
	"github.com/kimberlitedb/kimberlite-go/sim/disk"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

func TestScripts(t *testing.T) {
	script.Run(t, "../../testdata/script/loop/*.txt", func(t *testing.T) script.Runner {
		return (&play{t: t, fs: disk.New(512).Mount(), unsent: map[engine.ConnID][]int{}}).run
	})
}

// play is a loop over a machine on a simulated disk, and a driver that prints what it is told.
type play struct {
	t      *testing.T
	fs     seg.Files
	l      *loop.Loop
	log    *seg.Log
	now    engine.Instant
	upto   seg.LSN // of the sync in flight
	jobs   []*engine.StartJob
	unseen []*engine.StartJob      // that make segments
	unsent map[engine.ConnID][]int // what replies count for until sent comes
	out    strings.Builder
}

func (p *play) run(c *script.Command) string {
	p.out.Reset()
	conn := engine.ConnID(c.Int("conn", 1))
	if r := request(c); r != nil {
		list := make([]*wire.Request, c.Int("times", 1))
		for i := range list {
			list[i] = &wire.Request{Tenant: 1, Body: r}
			if c.Has("v") {
				list[i].Features = wire.Features{}.In(uint16(c.Int("v", 1)))
			}
		}
		p.l.Receive(p.now, conn, list)
		return p.out.String()
	}
	switch c.Name {
	case "start":
		p.start(c)
	case "connect":
		p.l.Open(p.now, conn, "test")
	case "run":
		if more := p.l.Run(p.now); more {
			p.out.WriteString("more\n")
		}
	case "synced":
		if p.upto == 0 {
			return "(nothing is being written)"
		}
		p.l.Complete(engine.Synced{Upto: p.upto})
		p.upto = 0
	case "io-failed":
		p.l.Complete(engine.IOFailed{Err: errors.New("input/output error")})
	case "job":
		j := p.jobs[0]
		p.jobs = p.jobs[1:]
		p.l.Complete(engine.JobDone{Job: j.Job, Result: j.Run.Run(p.fs)})
	case "sent":
		p.sent(conn, c.Int("replies", len(p.unsent[conn])))
	case "fault":
		f := &wire.Fault{Reason: wire.FaultDecode, Err: errors.New("bool is neither 0 nor 1")}
		if c.Has("id") {
			f.Request = wire.Some(uint64(c.Int("id", 0)))
		}
		p.l.Fault(p.now, conn, f)
	case "closed":
		p.l.Closed(p.now, conn)
	case "tick":
		p.now.Mono += wire.Time(c.Span("after", 0))
		p.now.Wall += wire.Time(c.Span("after", 0))
		p.l.Tick(p.now)
	case "shutdown":
		p.l.Shutdown(p.now)
	case "state":
		fmt.Fprintf(&p.out, "conns %d queued %d quiet %t\n", p.l.Conns(), p.l.Queued(), p.l.Quiet())
	default:
		c.Fail("unknown command %s", c.Name)
	}
	for _, j := range p.unseen {
		p.l.Complete(engine.JobDone{Job: j.Job, Result: j.Run.Run(p.fs)})
	}
	p.unseen = nil
	return p.out.String()
}

// request returns the request that a command stands for, if it is one.
func request(c *script.Command) wire.RequestBody {
	switch c.Name {
	case "handshake":
		return &wire.Handshake{ClientVersion: uint16(c.Int("version", 1))}
	case "create":
		return &wire.CreateStream{Name: c.Text("name", "")}
	case "append":
		return &wire.AppendEvents{Stream: 1, Events: [][]byte{[]byte(c.Text("event", "x"))}}
	case "read":
		return &wire.ReadEvents{Stream: 1, FromOffset: wire.Offset(c.Int("from", 0)), MaxBytes: uint64(c.Int("bytes", 1))}
	case "subscribe":
		return &wire.Subscribe{Stream: 1, CreditEvents: 1000, CreditBytes: 1 << 20}
	case "ping":
		return &wire.Ping{}
	}
	return nil
}

// start opens the machine. Nothing of the log stays in memory, so that reads of what is durable need the disk.
func (p *play) start(c *script.Command) {
	cfg := engine.DefaultConfig()
	cfg.Geometry = seg.Geometry{Align: 512, SegmentSize: 64 << 10}
	cfg.MaxBatchBytes, cfg.MaxBatchEvents, cfg.Cache, cfg.Dev = 4096, 10, 0, true
	cfg.MarkAfter = 1000 * engine.Hour
	cfg.MaxBacklog = c.Int("backlog", cfg.MaxBacklog)
	cfg.MaxPushed = c.Int("pushed", cfg.MaxPushed)
	m, _, err := engine.Open(p.fs, cfg)
	if err != nil {
		p.t.Fatal(err)
	}
	limits := loop.DefaultConfig()
	limits.PingTimeout = wire.Span(c.Span("ping", 30*time.Second))
	limits.MaxInflight = c.Int("inflight", limits.MaxInflight)
	limits.MaxUnsent = c.Int("unsent", limits.MaxUnsent)
	limits.Group = c.Int("group", limits.Group)
	limits.Share = c.Int("share", limits.Share)
	p.l, p.log = loop.New(m, p, limits), seg.NewLog(p.fs, m.Geometry())
}

// sent says that the oldest replies of a connection have left.
func (p *play) sent(conn engine.ConnID, replies int) {
	n := 0
	for _, size := range p.unsent[conn][:replies] {
		n += size
	}
	p.unsent[conn] = p.unsent[conn][replies:]
	p.l.Sent(p.now, conn, n)
}

// Write implements loop.Driver.
func (p *play) Write(w *engine.Write) {
	if err := p.log.Write(w.At, w.Data); err != nil {
		p.t.Fatal(err)
	}
	fmt.Fprintf(&p.out, "Write{Upto:%d}\n", w.Upto)
}

// Sync implements loop.Driver.
func (p *play) Sync(s *engine.Sync) {
	p.upto = s.Upto
	fmt.Fprintf(&p.out, "Sync{Upto:%d}\n", s.Upto)
}

// Start implements loop.Driver.
func (p *play) Start(j *engine.StartJob) {
	if j.Name == "prepare-segment" {
		p.unseen = append(p.unseen, j)
		return
	}
	p.jobs = append(p.jobs, j)
	fmt.Fprintf(&p.out, "Start{%s}\n", j.Name)
}

// Send implements loop.Driver.
func (p *play) Send(r *engine.Reply, _ wire.Span) {
	p.unsent[r.Conn] = append(p.unsent[r.Conn], engine.Weight(&r.Msg))
	fmt.Fprintf(&p.out, "Send{Conn:%d Req:%d %s", r.Conn, r.Seq, strings.TrimPrefix(fmt.Sprintf("%T", r.Msg.Body), "*wire."))
	switch b := r.Msg.Body.(type) {
	case *wire.AppendEventsReply:
		fmt.Fprintf(&p.out, " First:%d", b.FirstOffset)
	case *wire.ReadEventsReply:
		for e := range b.Events.All {
			fmt.Fprintf(&p.out, " %d:%s", e.Offset, e.Data)
		}
	case *wire.Error:
		fmt.Fprintf(&p.out, " %s", b.Code)
	}
	p.out.WriteString("}\n")
}

// Push implements loop.Driver.
func (p *play) Push(e *engine.Push) {
	p.unsent[e.Conn] = append(p.unsent[e.Conn], engine.Weight(&e.Msg))
	fmt.Fprintf(&p.out, "Push{Conn:%d %s}\n", e.Conn, strings.TrimPrefix(fmt.Sprintf("%T", e.Msg.Body), "*wire."))
}

// Pause implements loop.Driver.
func (p *play) Pause(conn engine.ConnID, paused bool) {
	fmt.Fprintf(&p.out, "Pause{Conn:%d %t}\n", conn, paused)
}

// Disconnect implements loop.Driver.
func (p *play) Disconnect(conn engine.ConnID, why loop.Reason) {
	fmt.Fprintf(&p.out, "Disconnect{Conn:%d %s}\n", conn, why)
}

// Halt implements loop.Driver.
func (p *play) Halt(err error) { fmt.Fprintf(&p.out, "Halt{%v}\n", err) }
