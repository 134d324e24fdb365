package check

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"

	"github.com/kimberlitedb/kimberlite-go/engine/archive"
	"github.com/kimberlitedb/kimberlite-go/engine/proof"
	"github.com/kimberlitedb/kimberlite-go/engine/seg"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// listing is a checkpoint in an archive as it was when all of it was verified, or its blobs were counted.
type listing struct {
	index [32]byte // SHA-256 of its index
	whole bool     // verified
	blobs []archive.Blob
	cp    *archive.Checkpoint // where it was verified
}

// Listed returns the checkpoints that the archives list: those with a whole note. One whose note a store has cut short, and said so, is
// not listed: nobody's key has signed that.
func (x *Archives) Listed(store seg.Objects, cut func(name string) bool) (list []archive.Place) {
	box := archive.Box{Objects: store}
	places, err := box.Find("")
	if err != nil {
		x.suite.FailPart(Checkpoint, "archive", "the archives cannot be listed: %v", err)
	}
	for _, p := range places {
		if !cut(p.Note()) {
			list = append(list, p)
		}
	}
	return list
}

// Present judges that all blobs are there that the listed checkpoints name. It is cheap enough to be done at every change.
func (x *Archives) Present(store seg.Objects, cut func(name string) bool) {
	if x.cuts.off || x.suite.Failed != nil {
		return
	}
	for _, p := range x.Listed(store, cut) {
		l, err := x.listing(store, p)
		if err != nil {
			x.suite.FailPart(Checkpoint, "archive", "checkpoint %s of position %d of tenant %d is listed, and %v", p.ID, p.Position, p.Tenant, err)
			return
		}
		for _, b := range l.blobs {
			x.suite.Saw(Checkpoint, true)
			if size, err := store.Stat(archive.BlobName(b.Digest)); err != nil || size != int64(b.Size) {
				x.suite.FailPart(Checkpoint, "archive", "checkpoint %s of position %d of tenant %d is listed, and of its blob %s %d bytes are there, not %d: %v", p.ID, p.Position, p.Tenant, b.Digest, size, b.Size, err)
				return
			}
		}
	}
}

// listing returns what is known of a listed checkpoint with the index that it has now.
func (x *Archives) listing(store seg.Objects, p archive.Place) (listing, error) {
	text, err := store.Get(p.Index())
	if err != nil {
		return listing{}, err
	}
	l := x.seen[p]
	if sum := sha256.Sum256(text); sum != l.index {
		index, err := archive.DecodeIndex(text)
		if err != nil {
			return l, err
		}
		l = listing{index: sum, blobs: []archive.Blob{index.Manifest, index.State}}
		for _, s := range index.Sections {
			if s.Blob != l.blobs[len(l.blobs)-1] {
				l.blobs = append(l.blobs, s.Blob)
			}
		}
		x.seen[p] = l
	}
	return l, nil
}

// Verify judges all listed checkpoints that were not verified as they are: the note, all that it commits to, and that this is what was
// written. It returns them, by tenant and position.
func (x *Archives) Verify(store seg.Objects, cut func(name string) bool) (list []*archive.Checkpoint) {
	var last *archive.Checkpoint
	for _, p := range x.Listed(store, cut) {
		if x.cuts.quiet() {
			return nil
		}
		l, err := x.listing(store, p)
		if err == nil && !l.whole {
			l.cp, err = x.verify(store, p, last)
			l.whole = true
			x.seen[p] = l
		}
		if err != nil {
			x.suite.FailPart(Checkpoint, "archive", "checkpoint %s of position %d of tenant %d is in the archive, and %v", p.ID, p.Position, p.Tenant, err)
			return nil
		}
		last, list = l.cp, append(list, l.cp)
	}
	for _, a := range x.all {
		there := slices.ContainsFunc(list, func(cp *archive.Checkpoint) bool { return cp.ID == a.ID })
		if !x.cuts.quiet() {
			x.suite.mustPart(Checkpoint, "archive", a.done == 0 || there, "the log says that checkpoint %s of tenant %d is in %s, and it is not", a.ID, a.Tenant, a.To)
		}
	}
	return list
}

// verify verifies a checkpoint, and that it goes on from the one before.
func (x *Archives) verify(store seg.Objects, p archive.Place, before *archive.Checkpoint) (*archive.Checkpoint, error) {
	c := x.cuts.find(p.ID)
	t := x.cuts.tenants[p.Tenant]
	if c == nil || t == nil || c.kept == 0 || c.Position != p.Position || c.Tenant != p.Tenant || p.Store != x.cuts.Store {
		return nil, fmt.Errorf("the log has %+v", c)
	}
	box := &archive.Box{Objects: store}
	cp, err := box.Open(p, x.keys)
	if err != nil {
		return nil, err
	}
	if _, _, err := openNote(x.cuts.Store, c, string(cp.Signed)); err != nil || sha256.Sum256(cp.Signed) != c.digest {
		return nil, fmt.Errorf("its note is not that of the log: %w", err)
	}
	if err := x.cuts.manifest(t, c, cp.Manifest, &seg.Checkpoint{State: cp.State}); err != nil {
		return nil, err
	}
	for i := range cp.Manifest.Streams {
		line := &cp.Manifest.Streams[i]
		if v := cp.Verify(line); v.Err != nil {
			return nil, v.Err
		}
		if err := x.stream(t.stream(line.ID), c, cp, line); err != nil {
			return nil, fmt.Errorf("stream %d: %w", line.ID, err)
		}
		if before == nil || before.Tenant != p.Tenant || cp.Manifest.Previous == "" && len(line.Absent) > 0 { // it may lack what the earlier one has
			continue
		}
		for j := range before.Manifest.Streams {
			if old := &before.Manifest.Streams[j]; old.ID == line.ID && old.Base == line.Base {
				if err := cp.Extends(line, old); err != nil {
					return nil, err
				}
			}
		}
	}
	return cp, nil
}

// errWritten says that an archive has what was not written so.
var errWritten = errors.New("an event is not the one that was written")

// stream judges what an archive has of a stream: each event as it was written, or its leaf where it may be gone by now.
func (x *Archives) stream(s *logStream, c *Cut, cp *archive.Checkpoint, line *proof.Stream) error {
	var leaves [][32]byte
	add := func(o wire.Offset, leaf [32]byte) error {
		if want := line.Base + wire.Offset(len(leaves)); o != want {
			return fmt.Errorf("event %d follows, expected is %d", o, want)
		}
		leaves = append(leaves, leaf)
		return nil
	}
	missing := false
	err := cp.Walk(line, archive.Visitor{
		Record: func(r *seg.Record) error {
			events, audited := r.Events(), false
			if r.Kind.Act() {
				events, _, audited = r.AuditEvent()
			}
			for len(events) > 0 {
				e, rest, ok := wire.NextEvent(events)
				if !ok || e.Offset >= line.Head || e.Offset >= wire.Offset(len(s.events)) {
					return fmt.Errorf("%w: %+v", errWritten, e)
				}
				w := &s.events[e.Offset]
				if e.Timestamp != w.Timestamp || !bytes.Equal(e.Data, w.Data) || r.Position != w.position || r.LSN != 0 || audited != (line.ID>>62 == 2) {
					return fmt.Errorf("%w: event %d is %+v at position %d, and was %+v at position %d", errWritten, e.Offset, e, r.Position, w.Event, w.position)
				}
				if err := add(e.Offset, w.leaf); err != nil {
					return err
				}
				events = rest
			}
			return nil
		},
		Gone: func(first wire.Offset, list []proof.Hash) error {
			for i, leaf := range list {
				o := first + wire.Offset(i)
				if o >= s.oldest(x.cuts.last) && s.had(x.cuts.last) && !x.suite.Faulty() {
					return fmt.Errorf("event %d has left its leaf, and is still there", o)
				}
				if err := add(o, leaf); err != nil {
					return err
				}
			}
			return nil
		},
		Absent: func(from, to wire.Offset) error {
			for ; from < to; from++ {
				missing = true
				if err := add(from, missingLeaf(s.id, from)); err != nil {
					return err
				}
			}
			return nil
		},
	})
	x.suite.Saw(Checkpoint, len(leaves) > 0)
	switch {
	case err != nil:
		return err
	case line.Base+wire.Offset(len(leaves)) != line.Head:
		return fmt.Errorf("it ends at event %d, and the manifest says %d", line.Base+wire.Offset(len(leaves)), line.Head)
	case treeRoot(leaves) != line.Root:
		return errors.New("the events that were written do not have the root of the manifest")
	case missing:
		return x.cuts.leaves(s, c, line, leaves)
	}
	return nil
}
