package archive

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/kimberlitedb/kimberlite-go/engine/proof"
	"github.com/kimberlitedb/kimberlite-go/engine/seg"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// Prove returns the proof of what the checkpoint has at an offset of a stream: the event, the leaf of one that is gone, or that there never
// was any. It reads the whole stream, and fails where that is not what was signed.
func (c *Checkpoint) Prove(line *proof.Stream, o wire.Offset) (*proof.Inclusion, error) {
	if o < line.Base || o >= line.Head {
		return nil, fmt.Errorf("stream %q: the checkpoint has events %d up to %d of it, and not %d", line.Name, line.Base, line.Head, o)
	}
	path, err := proof.InclusionPath(uint64(o-line.Base), line.Size())
	if err != nil {
		return nil, err
	}
	var leaf *proof.Digest
	next := line.Base
	take := func(l proof.Hash) {
		if path.Append(l); next == o {
			d := proof.Digest(l)
			leaf = &d
		}
		next++
	}
	var v Verdict
	if err := c.leaves(line, &v, take); err != nil {
		return nil, fmt.Errorf("stream %q: %w", line.Name, err)
	}
	if proof.Digest(path.Root()) != line.Root {
		return nil, fmt.Errorf("stream %q: %w", line.Name, errRoot)
	}
	event, err := c.shown(line, o)
	if err != nil {
		return nil, fmt.Errorf("stream %q: %w", line.Name, err)
	}
	if absent, _ := line.Missing(o); absent || event != nil {
		leaf = nil
	}
	hashes, err := path.Hashes()
	if err != nil {
		return nil, err
	}
	shown, err := c.show(line)
	if err != nil {
		return nil, err
	}
	return proof.NewInclusion(c.Signed, shown, o, event, leaf, hashes), nil
}

// shown returns the event at an offset, nil where it is gone.
func (c *Checkpoint) shown(line *proof.Stream, o wire.Offset) (shown *proof.Shown, err error) {
	err = c.Walk(line, Visitor{
		Record: func(r *seg.Record) error {
			if o < r.First || o-r.First >= wire.Offset(r.Count) {
				return nil
			}
			at := r.First
			return proof.Events(r, line.ID, func(e *proof.Event) {
				if at == o {
					shown = e.Show()
				}
				at++
			})
		},
		Gone:   func(wire.Offset, []proof.Hash) error { return nil },
		Absent: func(wire.Offset, wire.Offset) error { return nil },
	})
	return shown, err
}

// show returns the line of a stream.
func (c *Checkpoint) show(line *proof.Stream) (*proof.Line, error) {
	return proof.LinesOf(c.Manifest).Show(c.number(line))
}

// number returns the number of a stream's line.
func (c *Checkpoint) number(line *proof.Stream) int {
	i, _ := slices.BinarySearchFunc(c.Manifest.Streams, line.ID, func(s proof.Stream, id wire.StreamID) int { return cmp.Compare(s.ID, id) })
	return 1 + i
}

// ProveSince returns the proof that the checkpoint goes on from an earlier one of the same tenant, in a stream or in all of them. It reads
// the streams, and fails where they are not what was signed, or do not go on.
func (c *Checkpoint) ProveSince(earlier *Checkpoint, only ...wire.StreamID) (*proof.Consistency, error) {
	if earlier.Store != c.Store || earlier.Tenant != c.Tenant || earlier.Position >= c.Position {
		return nil, fmt.Errorf("checkpoint %s at position %d of tenant %d does not come before %s at position %d of tenant %d",
			earlier.ID, earlier.Position, earlier.Tenant, c.ID, c.Position, c.Tenant)
	}
	p := &proving{earlier, c, proof.LinesOf(earlier.Manifest), proof.LinesOf(c.Manifest)}
	sides := [2]proof.Side{{Note: string(earlier.Signed)}, {Note: string(c.Signed)}}
	for i, lines := range []*proof.Lines{p.before, p.after} {
		head, err := lines.Show(0)
		if err != nil {
			return nil, err
		}
		sides[i].Head = *head
	}
	ids := only
	if len(ids) == 0 {
		ids = both(earlier.Manifest, c.Manifest)
	}
	pairs := []proof.Pair{}
	for _, id := range ids {
		pair, err := p.pair(id)
		if err != nil {
			return nil, fmt.Errorf("stream %d: %w", id, err)
		}
		pairs = append(pairs, *pair)
	}
	return proof.NewConsistency(sides[0], sides[1], pairs), nil
}

// both returns the ids of the streams of two manifests, ascending.
func both(a, b *proof.Manifest) (ids []wire.StreamID) {
	x, y := a.Streams, b.Streams
	for len(x) > 0 || len(y) > 0 {
		switch {
		case len(y) == 0 || len(x) > 0 && x[0].ID < y[0].ID:
			ids, x = append(ids, x[0].ID), x[1:]
		case len(x) == 0 || y[0].ID < x[0].ID:
			ids, y = append(ids, y[0].ID), y[1:]
		default:
			ids, x, y = append(ids, x[0].ID), x[1:], y[1:]
		}
	}
	return ids
}

// proving is the making of a proof about two checkpoints.
type proving struct {
	earlier, later *Checkpoint
	before, after  *proof.Lines
}

// pair returns what is shown of a stream.
func (p *proving) pair(id wire.StreamID) (*proof.Pair, error) {
	pair := &proof.Pair{Path: []proof.Digest{}}
	before, after := p.earlier.Manifest.Stream(id), p.later.Manifest.Stream(id)
	var err error
	if before != nil {
		if pair.Earlier, err = p.before.Show(p.earlier.number(before)); err != nil {
			return nil, err
		}
	}
	if after != nil {
		if pair.Later, err = p.after.Show(p.later.number(after)); err != nil {
			return nil, err
		}
	}
	if before != nil && after != nil {
		pair.Path, err = p.later.since(after, before)
	}
	return pair, err
}

// since returns the path from the tree of a stream at an earlier checkpoint to its tree at this one.
func (c *Checkpoint) since(line, earlier *proof.Stream) ([]proof.Digest, error) {
	if err := line.Follows(earlier); err != nil {
		return nil, fmt.Errorf("%q: %w", line.Name, err)
	}
	path, err := proof.ConsistencyPath(earlier.Size(), line.Size())
	if err != nil {
		return nil, err
	}
	var v Verdict
	var past proof.Tree
	take := func(leaf proof.Hash) {
		if path.Append(leaf); past.Size() < earlier.Size() {
			past.Append(leaf)
		}
	}
	if err := c.leaves(line, &v, take); err != nil {
		return nil, fmt.Errorf("%q: %w", line.Name, err)
	}
	if proof.Digest(path.Root()) != line.Root {
		return nil, fmt.Errorf("%q: %w", line.Name, errRoot)
	}
	if proof.Digest(past.Root()) != earlier.Root {
		return nil, fmt.Errorf("%q: its first %d events are not those of the earlier checkpoint", line.Name, earlier.Size())
	}
	return path.Hashes()
}
