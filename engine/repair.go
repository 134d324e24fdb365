package engine

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/kimberlitedb/kimberlite-go/engine/seg"
)

// RepairPlan is what can be set right in a data directory that no server uses. A plan changes nothing before Apply, and
// Apply deletes nothing: what it replaces it first copies to a file whose name begins with seg.KeptPrefix.
type RepairPlan struct {
	Steps []RepairStep // in order; none where nothing can be done
	cfg   *Config
	man   seg.Manifest
}

// RepairStep is one step of a plan.
type RepairStep struct {
	Does string // in words
	do   func(fs seg.Files, man *seg.Manifest) error
}

// PlanRepair looks at a data directory and plans what can be set right:
//
//   - a manifest that is damaged or gone is made anew from the segments, snapshots, sealed files and snapshots of tables that are
//     there;
//   - a sealed file whose index is damaged is written anew from its blocks.
//
// Damaged blocks, batches and snapshots have nothing to be made from; Check names what is lost with them. It fails where a
// manifest is needed and the files contradict each other or do not suffice.
func PlanRepair(fs seg.Files, cfg Config) (*RepairPlan, error) {
	p := &RepairPlan{cfg: &cfg}
	man, err := seg.ReadManifest(fs)
	switch {
	case errors.Is(err, seg.ErrDamaged), errors.Is(err, seg.ErrNoManifest):
		if man, err = findManifest(fs); err != nil {
			return nil, fmt.Errorf("the manifest cannot be made anew: %w", err)
		}
		tables := ""
		if n := len(man.Tables); n > 0 {
			tables = fmt.Sprintf(", and %d snapshots of tables", n)
		}
		p.Steps = append(p.Steps, RepairStep{
			Does: fmt.Sprintf("write a new %s that names the log from %s on, %d snapshots and %d sealed files%s; a damaged one is kept as %s",
				seg.ManifestName, seg.SegmentName(man.First), len(man.Snapshots), len(man.Sealed), tables, seg.KeptPrefix+seg.ManifestName),
			do: func(fs seg.Files, man *seg.Manifest) error {
				if err := seg.KeepAside(fs, seg.ManifestName); err != nil && !errors.Is(err, seg.ErrNotExist) {
					return err
				}
				return seg.WriteManifest(fs, *man)
			},
		})
	case err != nil:
		return nil, err
	}
	p.man = man
	for i, mark := range man.Sealed {
		_, err := seg.ReadSealedIndex(fs, man.Store, mark.Number)
		if err == nil || errors.Is(err, seg.ErrNotExist) {
			continue
		}
		if !hurt(err) {
			return nil, err
		}
		x, damage, err := seg.RebuildIndex(fs, man.Store, mark.Number, seg.Summarize)
		if err != nil {
			continue // Check says why
		}
		lost := 0
		for _, d := range damage {
			if d.Part == seg.SealedBlockPart {
				lost++
			}
		}
		name := seg.SealedName(mark.Number)
		p.Steps = append(p.Steps, RepairStep{
			Does: fmt.Sprintf("write %s anew from its blocks, with the %d events in them; %d pieces of it cannot be read, and it is kept as %s",
				name, x.Events, lost, seg.KeptPrefix+name),
			do: func(fs seg.Files, man *seg.Manifest) error { return resealed(fs, man, i, x, cfg.SealBlock) },
		})
	}
	return p, nil
}

// Apply carries the plan out. After a crash the directory is as before a step or behind it, and a new plan goes on.
func (p *RepairPlan) Apply(fs seg.Files) error {
	for _, s := range p.Steps {
		if err := s.do(fs, &p.man); err != nil {
			return fmt.Errorf("%s: %w", s.Does, err)
		}
	}
	return nil
}

// resealed writes a sealed file anew.
func resealed(fs seg.Files, man *seg.Manifest, i int, x *seg.SealedIndex, block int) error {
	old := man.Sealed[i]
	if err := seg.KeepAside(fs, seg.SealedName(old.Number)); err != nil {
		return err
	}
	head := seg.SealedHead{Store: man.Store, Number: man.Next, First: old.First, Last: old.Last, Target: block}
	if _, err := seg.Merge(fs, head, []*seg.SealedIndex{x}, seg.Merging{Summarize: seg.Summarize}); err != nil {
		return err
	}
	man.Sealed[i].Number = head.Number
	man.Next++
	if err := seg.WriteManifest(fs, *man); err != nil {
		return err
	}
	return seg.Remove(fs, []string{seg.SealedName(old.Number)})
}

// findManifest makes a manifest from the files that are there.
func findManifest(fs seg.Files) (man seg.Manifest, err error) {
	names, err := fs.List()
	if err != nil {
		return man, fmt.Errorf("list data directory: %w", err)
	}
	var snapshots []seg.LSN
	var files, tables []uint64
	first, known, last := uint64(0), false, uint64(0)
	for _, name := range names {
		if n, ok := seg.SegmentNumber(name); ok {
			store, geo, err := seg.SegmentHead(fs, n)
			if errors.Is(err, seg.ErrNewerFormat) || errors.Is(err, seg.ErrCrashed) {
				return man, err
			}
			if err == nil && man.Store == 0 {
				man.Store, man.Geometry = store, geo
			}
			if !known || n != last+1 {
				first = n // of those that follow each other up to the last one
			}
			known, last = true, n
		} else if lsn, ok := seg.SnapshotLSN(name); ok {
			snapshots = append(snapshots, lsn)
		} else if n, ok := seg.SealedNumber(name); ok {
			files = append(files, n)
		} else if n, ok := seg.TablesNumber(name); ok {
			tables = append(tables, n)
		}
	}
	if !known || man.Store == 0 {
		return man, errors.New("no log segment says which directory this is")
	}
	man.First = first
	findSnapshots(fs, &man, snapshots, last)
	findTables(fs, &man, tables)
	if first > 0 && len(man.Snapshots) == 0 {
		return man, errors.New("the log does not reach back to its first entry, and no snapshot is whole")
	}
	return man, findSealed(fs, &man, files)
}

// findSnapshots names the newest snapshots that are whole, and from which the log goes on.
func findSnapshots(fs seg.Files, man *seg.Manifest, list []seg.LSN, last uint64) {
	for _, lsn := range slices.Backward(list) {
		p, version, err := seg.ReadSnapshot(fs, man.Store, lsn)
		s := newState()
		next, _, ok := s.restore(p, version)
		n := man.Geometry.Segment(next)
		if err == nil && ok && n >= man.First && n <= last+1 && len(man.Snapshots) < seg.MaxSnapshots {
			man.Snapshots = append(man.Snapshots, seg.SnapshotMark{LSN: lsn, Next: next})
		}
	}
}

// findSealed names the sealed files of a manifest. Of two that hold the same entries the later one has been made of the
// other.
func findSealed(fs seg.Files, man *seg.Manifest, files []uint64) error {
	for _, n := range slices.Backward(files) {
		man.Next = max(man.Next, n+1)
		h, err := seg.ReadSealedHead(fs, man.Store, n)
		if err != nil {
			return fmt.Errorf("%s does not say what it holds: %w", seg.SealedName(n), err)
		}
		mark := seg.SealedMark{Number: n, First: h.First, Last: h.Last}
		known := false
		for _, other := range man.Sealed {
			if mark.First > other.Last || other.First > mark.Last {
				continue
			}
			if known = other.First <= mark.First && mark.Last <= other.Last; !known {
				return fmt.Errorf("%s and %s hold some entries both, and others not", seg.SealedName(n), seg.SealedName(other.Number))
			}
			break
		}
		if !known {
			man.Sealed = append(man.Sealed, mark)
		}
	}
	slices.SortFunc(man.Sealed, func(a, b seg.SealedMark) int { return cmp.Compare(a.First, b.First) })
	return nil
}
