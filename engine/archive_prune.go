package engine

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/kimberlitedb/kimberlite-go/engine/archive"
	"github.com/kimberlitedb/kimberlite-go/engine/seg"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// What retention and purges remove leaves the archives too, within the same time as the files: a job takes it out of every checkpoint of
// the tenant that is there, and an entry says so. A stream under a legal hold loses nothing, here as there.

// pruned is up to where removals have left an archive of a tenant.
type pruned struct {
	to   string
	upto seg.LSN   // what entries before this one have removed is not in it
	at   wire.Time // when that was
}

// pruneJob takes what is removed out of an archive.
type pruneJob struct {
	store   seg.StoreID
	tenant  wire.TenantID
	to      string
	upto    seg.LSN
	left    *survivors
	objects seg.Objects
}

type pruneResult struct {
	tenant wire.TenantID
	to     string
	upto   seg.LSN
	events uint64
	err    error
}

// Destination implements ArchiveJob.
func (j pruneJob) Destination() string { return j.to }

// In implements ArchiveJob.
func (j pruneJob) In(objects seg.Objects) Job {
	j.objects = objects
	return j
}

// Run implements Job.
func (j pruneJob) Run(seg.Files) any {
	box := archive.Box{Objects: j.objects}
	r := pruneResult{tenant: j.tenant, to: j.to, upto: j.upto}
	prefix := archive.Place{Store: j.store, Tenant: j.tenant}.TenantPrefix()
	r.events, r.err = box.Prune(prefix, func(id wire.StreamID) (wire.Offset, bool) {
		return j.left.oldest(seg.Key{Tenant: j.tenant, Stream: id})
	})
	return r
}

// nextPrune returns an archive that something removed is in, once it is time to take it out.
func (m *Machine) nextPrune() (*tenant, string) {
	for _, t := range m.state.order {
		if t.removed == 0 {
			continue
		}
		for _, a := range t.archives {
			p := t.prunedTo(a.to)
			if m.underWay(a) || p.upto > t.removed || wire.Span(m.clock.now-p.at) < m.cfg.SweepInterval/2 {
				continue
			}
			if y := m.archiving.trouble(wire.CheckpointID{}, pruneOf(t, a.to)); y == nil || m.clock.mono >= y.retryAt {
				return t, a.to
			}
		}
	}
	return nil, ""
}

// underWay reports whether a checkpoint is being sent, and gets on. What is removed leaves the archive behind that.
func (m *Machine) underWay(a archived) bool {
	k := &m.archiving
	return !a.done && k.of == a && k.trouble(a.id, a.to) == nil
}

// pruneOf names the pruning of an archive among troubles.
func pruneOf(t *tenant, to string) string { return fmt.Sprintf("%d in %s", t.id, to) }

// prunedTo returns up to where removals have left an archive.
func (t *tenant) prunedTo(to string) pruned {
	if i := slices.IndexFunc(t.pruned, func(p pruned) bool { return p.to == to }); i >= 0 {
		return t.pruned[i]
	}
	return pruned{to: to}
}

// pruneArchive has a job take what is removed out of an archive.
func (m *Machine) pruneArchive(t *tenant, to string, fx []Effect) []Effect {
	m.archiving.running = true
	m.job++
	m.archiving.pin = m.job
	j := pruneJob{store: m.store, tenant: t.id, to: to, upto: m.state.lsn + 1, left: m.survivors()}
	return m.after(m.state.lsn, &StartJob{Job: m.job, Name: "prune-archive", Run: j}, fx)
}

// archivePruned has the log say that an archive is pruned.
func (m *Machine) archivePruned(r pruneResult, fx []Effect) []Effect {
	k := &m.archiving
	k.running = false
	t := m.state.tenants[r.tenant]
	failure := sendResult{to: pruneOf(t, r.to), err: r.err}
	if r.err == nil {
		body := putNumbers(appendString(nil, r.to), uint64(r.upto))
		if e := m.noRoom(seg.RecordHeader+len(body), admin); e == nil {
			m.decide(&seg.Record{Kind: seg.KindPruned, Tenant: t.id}, body)
			k.troubles = slices.DeleteFunc(k.troubles, func(y archiveTrouble) bool { return y.to == failure.to })
			m.cfg.hit(ProbeArchivePruned)
			m.stats.ArchivesPruned++
			m.stats.EventsPruned += r.events
			return m.endBatch(m.archiveOn(fx))
		}
		failure.err = errNoRoom
	}
	m.cfg.hit(ProbePruneFailed)
	m.stats.NotPruned++
	k.failed(failure, m.clock.mono)
	return m.endBatch(m.archiveOn(fx))
}

func (s *state) applyPruned(r *seg.Record) error {
	d := decoder{p: r.Body}
	p := pruned{to: d.string(), upto: seg.LSN(d.u64()), at: r.Commit}
	t := s.tenants[r.Tenant]
	if d.bad || t == nil && !s.holed {
		return fmt.Errorf("%w: pruning of an archive of tenant %d", errMisfit, r.Tenant)
	}
	if t == nil {
		return nil
	}
	t.pruned = append(slices.DeleteFunc(slices.Clone(t.pruned), func(x pruned) bool { return x.to == p.to }), p)
	slices.SortFunc(t.pruned, func(a, b pruned) int { return cmp.Compare(a.to, b.to) })
	return nil
}

// unpruned returns how long something that was removed has been in an archive; 0 where nothing is. It looks at every archive.
func (m *Machine) unpruned() (longest wire.Span) {
	for _, t := range m.state.order {
		for _, a := range t.archives {
			if p := t.prunedTo(a.to); t.removed >= p.upto && t.removed > 0 {
				longest = max(longest, wire.Span(m.clock.now-max(t.removedAt, p.at)))
			}
		}
	}
	return longest
}
