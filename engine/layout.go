package engine

import (
	"math"
	"slices"

	"github.com/kimberlitedb/kimberlite-go/engine/seg"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// layout is the files of the data directory, which the manifest names. Jobs make new files; a change of the manifest
// then makes them live and lets go of others. Changes are made one after the other, and each is tried until it succeeds:
// after a failure nobody knows which manifest is on disk, but both name only files that are whole. Files that are let go
// of are removed when no read that began before can use them any more.
type layout struct {
	man      seg.Manifest       // the last one that is known to be on disk
	sealed   []*seg.SealedIndex // of the sealed files that it names, in that order; nil for one that cannot be read
	changes  []change           // to be made, in order
	swapping bool               // the first of them is being made
	retryAt  wire.Time          // monotonic; not before then again
	dropped  []dropped          // to be removed, in order
	removing bool
}

// change is a change of the manifest.
type change struct {
	edit func(*seg.Manifest)
	done func() // once it is on disk; may be nil
}

// dropped is files that the manifest does not name any more.
type dropped struct {
	names []string
	after JobID // reads up to this one may use them
}

// layoutRetry is how long the machine waits after a failure before it tries again.
const layoutRetry = Second

// change puts a change of the manifest into the queue.
func (m *Machine) change(c change, fx []Effect) []Effect {
	m.layout.changes = append(m.layout.changes, c)
	return m.arrange(fx)
}

// arrange makes the next change, and removes what nobody uses any more.
func (m *Machine) arrange(fx []Effect) []Effect {
	l := &m.layout
	if m.clock.mono < l.retryAt {
		return fx
	}
	if len(l.changes) > 0 && !l.swapping {
		l.swapping = true
		_, fx = m.start("manifest", manifestJob{l.next()}, fx)
	}
	if len(l.dropped) > 0 && !l.removing && m.oldestRead() > l.dropped[0].after {
		l.removing = true
		_, fx = m.start("remove", removeJob{l.dropped[0].names}, fx)
	}
	return fx
}

// next returns the manifest with the first change made.
func (l *layout) next() seg.Manifest {
	man := l.man
	man.Snapshots, man.Sealed, man.Tables = slices.Clone(man.Snapshots), slices.Clone(man.Sealed), slices.Clone(man.Tables)
	l.changes[0].edit(&man)
	return man
}

// oldestRead returns the read or query at the disk that began first, a number above all where there is none.
func (m *Machine) oldestRead() JobID {
	oldest := JobID(math.MaxUint64)
	for id := range m.reads { //det:order-free: the least of all
		oldest = min(oldest, id)
	}
	for id := range m.pins { //det:order-free: the least of all
		oldest = min(oldest, id)
	}
	return oldest
}

// manifestJob replaces the manifest.
type manifestJob struct{ man seg.Manifest }

type manifestResult struct {
	man seg.Manifest
	err error
}

func (j manifestJob) Run(fs seg.Files) any {
	return manifestResult{j.man, seg.WriteManifest(fs, j.man)}
}

func (m *Machine) manifestDone(r manifestResult, fx []Effect) []Effect {
	l := &m.layout
	l.swapping = false
	if r.err != nil {
		m.cfg.hit(ProbeManifestFailed)
		l.retryAt = m.clock.mono + wire.Time(layoutRetry)
		return fx
	}
	if names := r.man.Dropped(l.man); len(names) > 0 {
		if m.oldestRead() <= m.job {
			m.cfg.hit(ProbeFilesPinned)
		}
		l.dropped = append(l.dropped, dropped{names, m.job})
	}
	l.man = r.man
	c := l.changes[0]
	l.changes = l.changes[1:]
	if c.done != nil {
		c.done()
	}
	return m.maintain(fx)
}

// removeJob removes files.
type removeJob struct{ names []string }

type removeResult struct{ err error }

func (j removeJob) Run(fs seg.Files) any { return removeResult{seg.Remove(fs, j.names)} }

func (m *Machine) removeDone(r removeResult, fx []Effect) []Effect {
	l := &m.layout
	l.removing = false
	if r.err != nil {
		l.retryAt = m.clock.mono + wire.Time(layoutRetry)
		return fx
	}
	l.dropped = l.dropped[1:]
	return m.maintain(fx)
}

// busy reports whether a change or a removal is under way or waits.
func (l *layout) busy() bool { return len(l.changes) > 0 || len(l.dropped) > 0 }
