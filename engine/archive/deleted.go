package archive

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/kimberlitedb/kimberlite-go/engine/proof"
	"github.com/kimberlitedb/kimberlite-go/engine/seg"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// errNoAudit says that a checkpoint has no audit stream, which every tenant has.
var errNoAudit = errors.New("the checkpoint has no audit stream")

// DeletedSince returns the streams that were deleted since an earlier checkpoint of the same tenant, and not brought back, with the time at
// which each is purged. The audit stream tells, which is verified first. What its records say beside their events is not: nobody has signed it.
func (c *Checkpoint) DeletedSince(earlier *Checkpoint) (map[wire.StreamID]wire.Time, error) {
	deleted := map[wire.StreamID]wire.Time{}
	err := c.actsSince(earlier, func(e *wire.Event, r *seg.Record) error { return note(deleted, e, r) })
	return deleted, err
}

// PurgedSince returns the streams of which the audit stream tells that they were purged since an earlier checkpoint of the same tenant. Of
// others a later checkpoint must have a line.
func (c *Checkpoint) PurgedSince(earlier *Checkpoint) (map[wire.StreamID]bool, error) {
	purged := map[wire.StreamID]bool{}
	err := c.actsSince(earlier, func(e *wire.Event, _ *seg.Record) error {
		act, err := parseAct(e)
		if err == nil && act.Act == "stream.purge" {
			purged[act.Stream] = true
		}
		return err
	})
	return purged, err
}

// actsSince visits the audit events since an earlier checkpoint, once it has verified all of them.
func (c *Checkpoint) actsSince(earlier *Checkpoint, visit func(*wire.Event, *seg.Record) error) error {
	var line *proof.Stream
	for i := range c.Manifest.Streams {
		if c.Manifest.Streams[i].Name == "$audit" {
			line = &c.Manifest.Streams[i]
		}
	}
	if line == nil {
		return errNoAudit
	}
	if v := c.Verify(line); v.Err != nil {
		return v.Err
	}
	return c.Walk(line, Visitor{
		Record: func(r *seg.Record) error {
			event, _, ok := r.AuditEvent()
			if r.Position <= earlier.Position || !ok {
				return nil
			}
			e, _, ok := wire.NextEvent(event)
			if !ok {
				return nil
			}
			return visit(&e, r)
		},
		Gone:   func(wire.Offset, []proof.Hash) error { return nil },
		Absent: func(wire.Offset, wire.Offset) error { return nil },
	})
}

// auditAct is what audit events tell of acts on streams.
type auditAct struct {
	Act    string        `json:"act"`
	Stream wire.StreamID `json:"stream_id"`
	Detail struct {
		Purge string `json:"purge_date"`
	} `json:"detail"`
}

func parseAct(e *wire.Event) (act auditAct, err error) {
	if err = json.Unmarshal(e.Data, &act); err != nil {
		err = fmt.Errorf("audit event %d: %w", e.Offset, err)
	}
	return act, err
}

// note takes up what an audit event tells of deletions.
func note(deleted map[wire.StreamID]wire.Time, e *wire.Event, r *seg.Record) error {
	act, err := parseAct(e)
	if err != nil {
		return err
	}
	switch act.Act {
	case "stream.delete":
		t, err := time.Parse(time.RFC3339Nano, act.Detail.Purge)
		if err != nil {
			return fmt.Errorf("audit event %d: %w", e.Offset, err)
		}
		deleted[act.Stream] = wire.Time(t.UnixNano())
	case "stream.purge":
		deleted[act.Stream] = r.Commit
	case "stream.undelete":
		delete(deleted, act.Stream)
	}
	return nil
}
