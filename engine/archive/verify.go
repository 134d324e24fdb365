package archive

import (
	"errors"
	"fmt"

	"github.com/kimberlitedb/kimberlite-go/engine/proof"
	"github.com/kimberlitedb/kimberlite-go/engine/seg"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// Verdict says what verifying a stream has found.
type Verdict struct {
	Stream string
	Events uint64 // that are there, each as the note commits to it
	Gone   uint64 // that retention, a purge or damage has taken, and whose leaves are as the note commits to them
	Absent uint64 // that were gone before they could be hashed, as the manifest says
	Record int    // the greatest of its records, in bytes
	Err    error  // what is wrong with it; nil where nothing is
}

// errRoot says that a stream is not what the note commits to.
var errRoot = errors.New("its root is not the one that the manifest commits to")

// Verify checks a stream of a checkpoint, event by event.
func (c *Checkpoint) Verify(line *proof.Stream) Verdict {
	v := Verdict{Stream: line.Name}
	tree, err := c.tree(line, line.Head, &v)
	switch {
	case err != nil:
		v.Err = fmt.Errorf("stream %q: %w", line.Name, err)
	case proof.Digest(tree.Root()) != line.Root:
		v.Err = fmt.Errorf("stream %q: %w", line.Name, errRoot)
	}
	return v
}

// Extends checks that a stream of a checkpoint goes on from what it was at an earlier one.
func (c *Checkpoint) Extends(line, earlier *proof.Stream) error {
	if err := line.Follows(earlier); err != nil {
		return fmt.Errorf("stream %q: %w", line.Name, err)
	}
	var v Verdict
	tree, err := c.tree(line, earlier.Head, &v)
	if err != nil {
		return fmt.Errorf("stream %q: %w", line.Name, err)
	}
	if proof.Digest(tree.Root()) != earlier.Root {
		return fmt.Errorf("stream %q: its first %d events are not those of the earlier checkpoint", line.Name, earlier.Size())
	}
	return nil
}

// tree returns the tree of a stream's events before an offset.
func (c *Checkpoint) tree(line *proof.Stream, head wire.Offset, v *Verdict) (tree proof.Tree, err error) {
	next := line.Base
	err = c.leaves(line, v, func(leaf proof.Hash) {
		if next < head {
			tree.Append(leaf)
		}
		next++
	})
	return tree, err
}

// leaves visits the leaves of a stream, in the order of offsets.
func (c *Checkpoint) leaves(line *proof.Stream, v *Verdict, visit func(proof.Hash)) error {
	var hasher proof.Leaves
	var leaves []proof.Hash
	return c.Walk(line, Visitor{
		Record: func(r *seg.Record) (err error) {
			leaves, err = hasher.Of(leaves[:0], r, line.ID)
			v.Events += uint64(len(leaves))
			v.Record = max(v.Record, seg.RecordHeader+len(r.Body))
			for _, leaf := range leaves {
				visit(leaf)
			}
			return err
		},
		Gone: func(_ wire.Offset, list []proof.Hash) error {
			v.Gone += uint64(len(list))
			for _, leaf := range list {
				visit(leaf)
			}
			return nil
		},
		Absent: func(from, to wire.Offset) error {
			v.Absent += uint64(to - from)
			for ; from < to; from++ {
				visit(proof.AbsentLeaf(line.ID, from))
			}
			return nil
		},
	})
}
