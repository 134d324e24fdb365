package archive

import (
	"github.com/kimberlitedb/kimberlite-go/engine/proof"
	"github.com/kimberlitedb/kimberlite-go/engine/seg"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// In returns the checkpoint as another box reads it. What is in the blobs is held against the same digests.
func (c *Checkpoint) In(box *Box) *Checkpoint {
	again := *c
	again.box = box
	return &again
}

// RecordsFrom visits the records that a checkpoint has of a stream's events from an offset on, in the order of offsets; the first may begin
// before. It says nothing of what is gone.
func (c *Checkpoint) RecordsFrom(line *proof.Stream, from wire.Offset, visit func(*seg.Record) error) error {
	sections := c.Index.of(line.ID)
	for i := range sections {
		s := &sections[i]
		if s.Next <= from || s.Gone != "" {
			continue
		}
		err := c.section(s, Visitor{Record: func(r *seg.Record) error {
			if r.First+wire.Offset(r.Count) <= from {
				return nil
			}
			return visit(r)
		}})
		if err != nil {
			return err
		}
	}
	return nil
}
