package world

import (
	"bytes"

	"github.com/kimberlitedb/kimberlite-go/engine/seg"
	"github.com/kimberlitedb/kimberlite-go/sim/check"
	"github.com/kimberlitedb/kimberlite-go/sim/client"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// swept reports whether everything that was removed is said to be in no file any more, or should have been by now.
func (w *World) swept() bool {
	s := w.server
	if s == nil || !s.opened {
		return true
	}
	x := s.m.Stats()
	return (w.plan.Config.SealBlock == 0 || x.Unswept == 0) && (w.plan.Config.Archivist == 0 || x.Unpruned == 0)
}

// erased checks that what the keeper knows to be removed is in no file: the log, snapshots, copies and unfinished files as
// they are, sealed files and snapshots of tables expanded.
func (w *World) erased() {
	if w.plan.Config.SealBlock == 0 || w.suite.Holes {
		return
	}
	if left := w.server.m.Stats().Unswept; left > 0 {
		if left > wire.Span(w.plan.Config.Sweep+2*restSpan) {
			w.suite.Fail(check.Expired, "the last sweep was %d s ago, although something was removed since and the interval is %d ms", left/1_000_000_000, w.plan.Config.Sweep/1_000_000)
		}
		return
	}
	purged, expired := w.keeper.Removed(w.history.oldest)
	expired = append(expired, w.tables.Removed(w.history.oldest(check.Statements(client.ClerkTenant)))...)
	if len(purged)+len(expired) == 0 {
		return
	}
	fs := w.disk.disk.Clone().Mount()
	names, _ := fs.List() // of a copy, which no fault reaches
	for _, name := range names {
		content := w.content(fs, name)
		w.absent(check.Deleted, name, content, purged)
		w.absent(check.Expired, name, content, expired)
	}
}

// absent checks that a file holds none of some events.
func (w *World) absent(rule check.Invariant, name string, content []byte, events [][]byte) {
	for _, data := range events {
		w.suite.Saw(rule, true)
		if bytes.Contains(content, data) {
			w.suite.Fail(rule, "%s holds event %q, which is removed, after a sweep", name, data)
			return
		}
	}
}

// content returns what a file holds, of a sealed file the records in the blocks that can be read, of a
// snapshot of tables the pages.
func (w *World) content(fs seg.Files, name string) (p []byte) {
	if number, ok := seg.TablesNumber(name); ok {
		_, err := seg.ReadTables(fs, w.store(), number, func(page []byte) error {
			p = append(p, page...)
			return nil
		})
		if err == nil {
			return p
		}
	}
	number, ok := seg.SealedNumber(name)
	if !ok {
		f, err := fs.Open(name)
		if err != nil {
			return nil
		}
		size, _ := f.Size()
		p = make([]byte, size)
		for off := int64(0); off < size; off += 512 { // what cannot be read stays zeros
			f.ReadAt(p[off:min(off+512, size)], off)
		}
		return p
	}
	x, err := seg.ReadSealedIndex(fs, w.store(), number)
	if err != nil {
		if x, _, err = seg.RebuildIndex(fs, w.store(), number, seg.Summarize); err != nil {
			return nil
		}
	}
	r, err := seg.NewSealedReader(fs, w.store())
	if err != nil {
		return nil
	}
	for _, b := range x.Blocks {
		records, _ := r.Read(number, b, nil)
		p = append(p, records...)
	}
	return p
}
