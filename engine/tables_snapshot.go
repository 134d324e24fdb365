package engine

import (
	"errors"
	"fmt"
	"slices"

	"github.com/kimberlitedb/kimberlite-go/engine/seg"
	"github.com/kimberlitedb/kimberlite-go/engine/sql"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// A snapshot of a tenant's tables bounds how many statements are carried out again after a start. The database is captured
// between two statements, which copies nothing; a job writes its pages out once all that led to them is durable, and then has
// the manifest name the file. Two of a tenant are kept. When the tables are first needed a job takes up the newest one that is
// whole; without any, everything is carried out again.

// tabling is the snapshot of tables that is being written.
type tabling struct {
	running bool
	retryAt wire.Time // monotonic, after a failure
}

// tablesRetry is how long the machine waits after a failure before it writes tables out again.
const tablesRetry = 10 * Second

// statementCost is what a statement counts for, in bytes, beside its own: carrying out a short one takes as long as reading
// so many from the disk.
const statementCost = 512

// worth reports whether a snapshot of the tables saves enough: where they are large it must save more. One without what is forgotten
// is worth it in any case.
func (m *Machine) worth(l *tables) bool {
	return l.broken == nil && (l.since >= max(m.cfg.TablesEvery, l.size) || m.remembers(l))
}

// snapshotTables captures a tenant's tables where that is due, and has a job write them out, once everything in them is durable.
// No statement may be under way.
func (m *Machine) snapshotTables(l *tables, fx []Effect) []Effect {
	if m.tabling.running || l.busy || l.loading || !m.worth(l) || m.clock.mono < m.tabling.retryAt {
		return fx
	}
	m.tabling.running = true
	number := uint64(1)
	for _, t := range m.layout.man.Tables {
		number = max(number, t.Number+1)
	}
	image := l.db.Image()
	head := seg.TablesHead{
		TablesMark: seg.TablesMark{Number: number, Tenant: l.tenant.id, Next: l.next, LSN: l.tenant.sql.lsn},
		Store:      m.store, PageSize: sql.PageSize, Pages: image.Count(), Library: image.Library(), Outcomes: l.chain,
	}
	l.since = 0
	m.job++
	return m.after(head.LSN, &StartJob{Job: m.job, Name: "snapshot-tables", Run: saveJob{head, image}}, fx)
}

// saveJob writes a snapshot of tables.
type saveJob struct {
	head  seg.TablesHead
	image *sql.Image
}

type saveResult struct {
	mark seg.TablesMark
	size uint64 // of the file, in bytes
	err  error
}

// Run implements Job.
func (j saveJob) Run(fs seg.Files) any {
	h, err := seg.WriteTables(fs, &j.head, j.image.Pages())
	return saveResult{j.head.TablesMark, uint64(h.Size), err}
}

func (m *Machine) tablesSaved(r saveResult, fx []Effect) []Effect {
	l := m.tables[r.mark.Tenant]
	if r.err != nil {
		m.cfg.hit(ProbeTablesNotSaved)
		m.stats.TablesNotSaved++
		m.tabling = tabling{retryAt: m.clock.mono + wire.Time(tablesRetry)}
		l.since = max(m.cfg.TablesEvery, l.size)
		return fx
	}
	return m.change(change{
		edit: func(man *seg.Manifest) {
			man.PutTables(r.mark, func(t seg.TablesMark) bool { return t.Next <= r.mark.Next && !slices.Contains(l.unusable, t.Number) })
		},
		done: func() {
			m.cfg.hit(ProbeTablesSaved)
			m.stats.TablesSaved++
			m.stats.TablesSavedBytes += r.size
			m.tabling.running, l.size = false, r.size
		},
	}, fx)
}

// saveTables goes on with snapshots of tables that had to wait.
func (m *Machine) saveTables(fx []Effect) []Effect {
	for _, t := range m.state.order {
		if l := m.tables[t.id]; l != nil {
			fx = m.snapshotTables(l, fx)
		}
	}
	return fx
}

// loadTables has a job take up a snapshot of a tenant's tables, where there is one.
func (m *Machine) loadTables(l *tables, fx []Effect) []Effect {
	l.began = m.clock.mono
	j := loadJob{db: l.db, store: m.store, checked: l.tenant.checked}
	for _, t := range slices.Backward(m.layout.man.Tables) {
		if t.Tenant == l.tenant.id && t.Next <= l.head() { // else a hole in the log has swallowed statements
			j.marks = append(j.marks, t)
		}
	}
	if len(j.marks) == 0 {
		return fx
	}
	l.loading = true
	var id JobID
	id, fx = m.start("load-tables", j, fx)
	if m.loading == nil {
		m.loading = map[JobID]*tables{}
	}
	m.loading[id] = l
	return fx
}

// loadJob takes up the first snapshot that is whole and fits the log.
type loadJob struct {
	db      *sql.Projection
	store   seg.StoreID
	marks   []seg.TablesMark // the newest first
	checked tableCheck
}

type loadResult struct {
	head     seg.TablesHead // of the one that was taken up; zero without one
	names    []string
	unusable []uint64 // those that were passed over
	err      error    // nothing can be told now
}

// errOtherTables says that a snapshot is whole, and not of the tables that the log makes.
var errOtherTables = errors.New("its statements had another outcome, or are others, than the log says")

// Run implements Job.
func (j loadJob) Run(fs seg.Files) any {
	var r loadResult
	for _, mark := range j.marks {
		head, err := j.load(fs, mark)
		if err == nil {
			r.head, r.names = head, j.db.Names()
			return r
		}
		if errors.Is(err, seg.ErrCrashed) {
			return loadResult{err: err}
		}
		r.unusable = append(r.unusable, mark.Number)
	}
	if err := j.db.Restore(&sql.Pages{}); err != nil {
		r.err = err
	}
	return r
}

func (j loadJob) load(fs seg.Files, mark seg.TablesMark) (seg.TablesHead, error) {
	var pages sql.Pages
	head, err := seg.ReadTables(fs, j.store, mark.Number, pages.Add)
	if err != nil {
		return head, err
	}
	if !j.checked.allows(&head, mark) {
		return head, errOtherTables
	}
	if err := j.db.Restore(&pages); err != nil {
		return head, err
	}
	if j.db.Next() != mark.Next {
		return head, errOtherTables
	}
	return head, nil
}

// allows reports whether a snapshot is the one that a mark names, and its outcomes are those that the log tells of, if it tells
// of that point.
func (c tableCheck) allows(h *seg.TablesHead, mark seg.TablesMark) bool {
	return h.TablesMark == mark && h.PageSize == sql.PageSize && (c.upto != h.Next || c.chain == h.Outcomes)
}

// loaded goes on from a snapshot of tables, or from the first statement where none is whole.
func (m *Machine) loaded(id JobID, r loadResult, fx []Effect) []Effect {
	l := m.loading[id]
	delete(m.loading, id)
	l.loading = false
	m.stats.TablesUnusable += uint64(len(r.unusable))
	if len(r.unusable) > 0 {
		m.cfg.hit(ProbeTablesUnusable)
	}
	l.unusable = r.unusable
	switch {
	case r.err != nil:
		return m.endBatch(m.breakDown(l, wire.Errorf(wire.InternalError, "the tables cannot be taken up: %v", r.err), fx))
	case r.head.Number == 0 && l.tenant.sql.oldest > 0:
		return m.endBatch(m.breakDown(l, wire.Errorf(wire.DataCorrupted, "no snapshot of the tables is whole, and the statements before offset %d of stream %s are let go of; run `kimberlite doctor` on the data directory", l.tenant.sql.oldest, sqlName), fx))
	case r.head.Number == 0:
		m.cfg.hit(ProbeTablesRebuilt)
		m.stats.TablesRebuilt++
	default:
		m.cfg.hit(ProbeTablesLoaded)
		m.stats.TablesLoaded++
		l.next, l.chain, l.names, l.size = r.head.Next, r.head.Outcomes, r.names, uint64(r.head.Size)
	}
	return m.endTurn(m.carryOn(l, fx))
}

// ready counts how long it took until the tables were as the log says.
func (m *Machine) ready(l *tables) {
	if l.began != 0 && l.next >= l.head() {
		m.stats.TablesLoadTime += wire.Span(m.clock.mono - l.began)
		l.began = 0
	}
}

// tables verifies the snapshots of tables that the manifest names. It comes behind the log, whose statements they follow from.
func (c *checker) tables() error {
	whole := map[wire.TenantID]bool{}
	for _, mark := range c.r.man.Tables {
		c.report.Tables++
		head, err := seg.ReadTables(c.r.fs, c.r.man.Store, mark.Number, func([]byte) error { return nil })
		if errors.Is(err, seg.ErrCrashed) || errors.Is(err, seg.ErrNewerFormat) {
			return err
		}
		t := c.r.state.tenants[mark.Tenant]
		switch {
		case err != nil:
		case t == nil || t.sql == nil || t.sql.head < mark.Next && t.health == sound:
			err = fmt.Errorf("it has statements of tenant %d that the log has not", mark.Tenant)
		case !t.checked.allows(&head, mark):
			err = errOtherTables
		}
		if err != nil {
			c.add(Finding{Kind: BadTables, Where: []Damage{c.file(seg.TablesName(mark.Number))}, Detail: err.Error()})
		} else {
			whole[mark.Tenant] = true
		}
	}
	for _, t := range c.r.state.order {
		if t.sql != nil && t.sql.oldest > 0 && !whole[t.id] {
			f := Finding{Kind: BadTables, Where: []Damage{{File: seg.ManifestName}}, Detail: "statements are let go of, and no snapshot of the tables that they made is whole"}
			f.tenant(t.id).lose(t.sql.id, 0, t.sql.oldest)
			c.add(f)
		}
	}
	return nil
}

// findTables names the newest snapshots of tables that are whole, for a manifest that is made anew.
func findTables(fs seg.Files, man *seg.Manifest, numbers []uint64) {
	for _, n := range numbers {
		if h, err := seg.ReadTables(fs, man.Store, n, func([]byte) error { return nil }); err == nil {
			man.PutTables(h.TablesMark, func(t seg.TablesMark) bool { return t.Next <= h.Next })
		}
	}
}
