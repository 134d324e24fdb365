package world

import (
	"fmt"
	"slices"

	"github.com/kimberlitedb/kimberlite-go/engine"
	"github.com/kimberlitedb/kimberlite-go/engine/archive"
	"github.com/kimberlitedb/kimberlite-go/engine/seg"
	"github.com/kimberlitedb/kimberlite-go/sim/check"
	"github.com/kimberlitedb/kimberlite-go/sim/disk"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// restores is how many checkpoints a run restores at rest.
const restores = 3

// restored restores checkpoints of the archives, each onto a disk of its own: the newest, and some others.
func (o *objects) restored(list []*archive.Checkpoint) {
	for n := 0; n < restores && len(list) > 0 && o.w.suite.Failed == nil; n++ {
		i := len(list) - 1
		if n > 0 {
			i = o.looks.N(len(list))
		}
		if err := o.restore(list[i]); err != nil {
			o.w.suite.FailPart(check.Checkpoint, "restore", "checkpoint %s of position %d of tenant %d is not restored: %v", list[i].ID, list[i].Position, list[i].Tenant, err)
		}
		list = append(list[:i:i], list[i+1:]...)
	}
}

// restore restores a checkpoint, and has judged what it serves then.
func (o *objects) restore(c *archive.Checkpoint) error {
	cfg := o.w.engineConfig()
	cfg.Probe, cfg.RetentionDay, cfg.Store = nil, engine.Day, cfg.Store+1
	d := disk.New(512)
	from := &engine.Restoring{State: c.State, Records: c.Records}
	if there, _ := c.Dumped(); there {
		from.Tables = c.Tables
	}
	if _, err := c.VerifyTables(); err != nil {
		return fmt.Errorf("tables: %w", err)
	}
	report, err := engine.Restore(d.Mount(), cfg, 0, from)
	if err != nil {
		return err
	}
	found, err := engine.Check(d.Clone().Mount(), cfg)
	if err != nil || slices.ContainsFunc(found.Findings, func(f engine.Finding) bool { return f.Kind.Damage() && !o.w.archives.Forgotten(c, f) }) {
		return fmt.Errorf("the check of the directory finds %+v: %w", found.Findings, err)
	}
	b := &bench{d: d, now: engine.Instant{Wall: c.Manifest.Time}}
	b.fs = d.Mount()
	if b.m, _, err = engine.Open(b.fs, cfg); err != nil {
		return err
	}
	defer b.m.Close()
	b.log = seg.NewLog(b.fs, b.m.Geometry())
	defer b.log.Close()
	o.w.archives.Restored(c, &report[0], b.ask, o.w.tables)
	return b.err
}

// bench is a machine for which everything happens at once.
type bench struct {
	d    *disk.Disk
	fs   seg.Files
	m    *engine.Machine
	log  *seg.Log
	now  engine.Instant
	seq  uint64
	last *engine.Reply
	err  error
}

// ask asks for one operation of a tenant. It returns nil where there is no reply.
func (b *bench) ask(t wire.TenantID, body wire.RequestBody) wire.ResponseBody {
	b.seq++
	b.last = nil
	b.step(&engine.Request{Seq: b.seq, Msg: &wire.Request{ID: b.seq, Tenant: t, Body: body, Features: wire.Features{RichEvents: true}}})
	b.step(engine.EndBatch{})
	if b.last == nil || b.last.Seq != b.seq {
		return nil
	}
	return b.last.Msg.Body
}

// step runs a command, and carries out what it leads to.
func (b *bench) step(c engine.Command) {
	b.now.Mono += 1000
	b.now.Wall += 1000
	for _, e := range b.m.Step(b.now, c, nil) {
		switch e := e.(type) {
		case *engine.Write:
			b.fail(b.log.Write(e.At, e.Data))
		case *engine.Sync:
			b.fail(b.log.Sync())
			b.step(engine.Synced{Upto: e.Upto})
		case *engine.Reply:
			b.last = e
		case *engine.StartJob:
			b.step(engine.JobDone{Job: e.Job, Result: e.Run.Run(b.fs)})
		case *engine.Halt:
			b.fail(e.Err)
		}
	}
}

func (b *bench) fail(err error) {
	if b.err == nil {
		b.err = err
	}
}
