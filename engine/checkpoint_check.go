package engine

import (
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/kimberlitedb/kimberlite-go/engine/proof"
	"github.com/kimberlitedb/kimberlite-go/engine/seg"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// checkpoints verifies the files of checkpoints. It comes behind the log, which says which there are.
func (c *checker) checkpoints() error {
	for _, t := range c.r.state.order {
		for _, l := range t.leaves {
			err := c.leaves(l.id)
			if errors.Is(err, seg.ErrCrashed) || errors.Is(err, seg.ErrNewerFormat) {
				return err
			}
			if err != nil {
				c.badCheckpoint(t, seg.LeavesName(l.id), err)
			}
		}
		for _, x := range t.checkpoints {
			if !x.kept {
				continue
			}
			c.report.Checkpoints++
			err := c.checkpoint(x)
			if errors.Is(err, seg.ErrCrashed) || errors.Is(err, seg.ErrNewerFormat) {
				return err
			}
			if err != nil {
				c.badCheckpoint(t, seg.CheckpointName(x.id), err)
			}
		}
	}
	return nil
}

// badCheckpoint adds a finding about a file of a tenant's checkpoints. It loses no event.
func (c *checker) badCheckpoint(t *tenant, file string, why error) {
	c.add(Finding{Kind: BadCheckpoint, Where: []Damage{c.file(file)}, Detail: fmt.Sprintf("of tenant %d: %v", t.id, why)})
}

// checkpoint verifies what is kept of a checkpoint: its parts are those that its note commits to, and the log has the same note.
func (c *checker) checkpoint(x *checkpoint) error {
	file, err := seg.ReadCheckpoint(c.r.fs, c.r.man.Store, x.id)
	if err != nil {
		return err
	}
	if sha256.Sum256(file.Note) != x.digest {
		return errors.New("its note is not the one that the log tells of")
	}
	note, err := proof.Read(file.Note)
	if err != nil {
		return err
	}
	if lines, root := proof.LinesRoot(file.Manifest); lines != note.Lines || root != note.Root {
		return errors.New("its manifest is not the one that its note commits to")
	}
	man, err := proof.DecodeManifest(file.Manifest)
	if err != nil {
		return err
	}
	if sha256.Sum256(file.State) != man.State {
		return errors.New("its state is not the one that its manifest commits to")
	}
	if _, ok := thaw(file.State); !ok {
		return errors.New("its state is none")
	}
	g, err := growFrom(x.id, file)
	if err != nil {
		return err
	}
	for _, line := range man.Streams {
		if tree := g.trees[line.ID]; proof.Digest(tree.Root()) != line.Root {
			return fmt.Errorf("the tree of stream %q is not the one that its manifest commits to", line.Name)
		}
	}
	return nil
}

// leaves verifies a file of leaves.
func (c *checker) leaves(id wire.CheckpointID) error {
	l, err := seg.OpenLeaves(c.r.fs, c.r.man.Store, id)
	if err != nil {
		return err
	}
	defer l.Close()
	return l.Check()
}
