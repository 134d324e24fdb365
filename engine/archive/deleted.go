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
	var line *proof.Stream
	for i := range c.Manifest.Streams {
		if c.Manifest.Streams[i].Name == "$audit" {
			line = &c.Manifest.Streams[i]
		}
	}
	if line == nil {
		return nil, errNoAudit
	}
	if v := c.Verify(line); v.Err != nil {
		return nil, v.Err
	}
	deleted := map[wire.StreamID]wire.Time{}
	err := c.Walk(line, Visitor{
		Record: func(r *seg.Record) error {
			if r.Position <= earlier.Position {
				return nil
			}
			event, _, ok := r.AuditEvent()
			if !ok {
				return nil
			}
			e, _, ok := wire.NextEvent(event)
			if !ok {
				return nil
			}
			return note(deleted, &e, r)
		},
		Gone:   func(wire.Offset, []proof.Hash) error { return nil },
		Absent: func(wire.Offset, wire.Offset) error { return nil },
	})
	return deleted, err
}

// note takes up what an audit event tells of deletions.
func note(deleted map[wire.StreamID]wire.Time, e *wire.Event, r *seg.Record) error {
	var act struct {
		Act    string        `json:"act"`
		Stream wire.StreamID `json:"stream_id"`
		Detail struct {
			Purge string `json:"purge_date"`
		} `json:"detail"`
	}
	if err := json.Unmarshal(e.Data, &act); err != nil {
		return fmt.Errorf("audit event %d: %w", e.Offset, err)
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
