package engine

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/kimberlitedb/kimberlite-go/engine/proof"
	"github.com/kimberlitedb/kimberlite-go/engine/seg"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// A checkpoint is kept behind its cut: a job hashes the events that have come since the checkpoint before it, so that the tree of
// each stream grows, signs what comes of that, and writes it into a file with the cut. An entry then says that it is kept, and the
// state lets go of the cut. After a crash in between the job is done again. Events that are gone by then, as retention, a purge or
// damage has taken them, are told in the manifest.

// keeping is what there is of the running side of checkpoints. One job is at work at a time.
type keeping struct {
	running bool
	retryAt wire.Time // monotonic, after a failure
	pin     JobID     // the job's
	untidy  bool      // there may be files of checkpoints that are deleted
	trouble map[wire.CheckpointID]notKept
}

// notKept is why a checkpoint is not kept, and when that was tried.
type notKept struct {
	why string
	at  wire.Time // monotonic
}

// keepRetry is how long the machine waits after a failure before it tries again.
const keepRetry = 5 * Second

// keepOn has a job keep the next checkpoint, or remove the files of those that are deleted, where there is any.
func (m *Machine) keepOn(fx []Effect) []Effect {
	k := &m.keeping
	if k.running || m.clock.mono < k.retryAt {
		return fx
	}
	if k.untidy {
		k.untidy = false
		return m.keepBy("tidy-checkpoints", m.state.tidyJob(), fx)
	}
	t, c, d, fx := m.nextCut(fx)
	if c == nil {
		return fx
	}
	return m.keepCheckpoint(t, c, d, fx)
}

// nextCut returns the next checkpoint that is to be kept, with its tables: of each tenant its first, since the later ones go on from it; of several tenants
// the one that was not tried for the longest time. One whose tables are not ready has them carried on.
func (m *Machine) nextCut(fx []Effect) (of *tenant, next *checkpoint, tables dumping, _ []Effect) {
	if m.state.cuts == 0 {
		return nil, nil, tables, fx
	}
	for _, t := range m.state.order {
		i := slices.IndexFunc(t.checkpoints, func(c *checkpoint) bool { return !c.kept })
		if i < 0 {
			continue
		}
		c := t.checkpoints[i]
		d, ready, more := m.dumpOf(t, c.cut.statements, fx)
		if fx = more; !ready {
			continue
		}
		if next == nil || m.keeping.trouble[c.id].at < m.keeping.trouble[next.id].at {
			of, next, tables = t, c, d
		}
	}
	return of, next, tables, fx
}

// keepBy starts a job once what was decided so far is durable. Until it ends no file is removed that it may read.
func (m *Machine) keepBy(name string, job Job, fx []Effect) []Effect {
	m.job++
	m.keeping.running, m.keeping.pin = true, m.job
	m.pinFiles(m.job)
	return m.after(m.state.lsn, &StartJob{Job: m.job, Name: name, Run: job}, fx)
}

// rest takes up that the job has ended.
func (k *keeping) rest(m *Machine, failed bool) {
	delete(m.pins, k.pin)
	if k.running = false; failed {
		k.retryAt = m.clock.mono + wire.Time(keepRetry)
	}
}

// keepCheckpoint has a job keep a checkpoint.
func (m *Machine) keepCheckpoint(t *tenant, c *checkpoint, d dumping, fx []Effect) []Effect {
	j := keepJob{store: m.store, tenant: t.id, of: c, signers: m.cfg.Signers, scope: m.scopeOfTenant(t), tables: d}
	for _, p := range t.checkpoints {
		if p.kept && p.position < c.position {
			j.before = append(j.before, p)
		}
	}
	for _, s := range t.streams {
		j.scope.list = append(j.scope.list, m.viewOf(s, cutOff{}))
	}
	j.scope.hold(&m.log)
	if c.cut.raw != nil {
		m.cfg.hit(ProbeCheckpointAgain)
	}
	return m.keepBy("keep-checkpoint", j, fx)
}

// keepJob keeps a checkpoint.
type keepJob struct {
	store   seg.StoreID
	tenant  wire.TenantID
	of      *checkpoint
	before  []*checkpoint // kept ones of the tenant, ascending; the trees of the last one whose file is whole grow
	scope   *scope        // its list is all streams of the tenant, by id
	signers []proof.Signer
	tables  dumping
}

type keepResult struct {
	tenant wire.TenantID
	of     *checkpoint
	grown  wire.CheckpointID // whose trees have grown; zeros for none
	digest [sha256.Size]byte
	bytes  uint64 // of event data
	met    []Probe
	err    error
}

// Run implements Job.
func (j keepJob) Run(fs seg.Files) any {
	j.scope.use(fs)
	defer j.scope.rest()
	r := keepResult{tenant: j.tenant, of: j.of}
	file := &seg.Checkpoint{State: j.of.cut.encode()}
	s, ok := thaw(file.State)
	if !ok {
		r.err = fmt.Errorf("the cut of checkpoint %s: %w", j.of.id, seg.ErrDamaged)
		return r
	}
	old, err := j.grown(fs)
	if err != nil {
		r.err = err
		return r
	}
	r.grown = old.id
	man := &proof.Manifest{Head: j.head(s.order[0], &old, file.State)}
	j.digest(&man.Head)
	err = seg.WriteLeaves(fs, j.store, j.of.id, func(w *seg.LeafWriter) error {
		for _, x := range s.order[0].streams {
			g := j.growing(x, &old, w)
			if err := g.grow(); err != nil {
				return err
			}
			r.met = append(r.met, g.met...)
			man.Streams = append(man.Streams, g.line)
			r.bytes += g.line.Bytes
			file.Trees = g.tree.AppendTo(binary.LittleEndian.AppendUint64(file.Trees, uint64(x.id)))
		}
		return nil
	})
	if err == nil {
		file.Manifest = man.Encode()
		file.Note, err = j.note(file.Manifest).Sign(j.signers...)
	}
	if err == nil {
		err = seg.WriteCheckpoint(fs, j.store, j.of.id, file)
	}
	r.digest, r.err, r.met = sha256.Sum256(file.Note), err, append(r.met, j.scope.met...)
	return r
}

// head returns the first line of the manifest.
func (j keepJob) head(t *tenant, old *grown, state []byte) proof.Head {
	h := proof.Head{
		Checkpoint: j.of.id.String(), Label: j.of.label, Tenant: t.id, Name: t.name, Position: j.of.position, Time: j.of.commit,
		State: sha256.Sum256(state), Outcomes: t.checked.chain, Told: t.checked.upto,
	}
	if t.sql != nil {
		h.Statements = t.sql.head
	}
	if old.lines != nil {
		h.Previous = old.id.String()
	}
	return h
}

// digest has the head of the manifest tell of the tables, or why it cannot.
func (j keepJob) digest(h *proof.Head) {
	if h.Statements == 0 {
		return
	}
	sum := sha256.New()
	if err := j.tables.take(j.of.position, func(item []byte) error {
		sum.Write(item)
		return nil
	}); err != nil {
		h.TablesGone = err.Error()
		return
	}
	d := proof.Digest(sum.Sum(nil))
	h.Tables = &d
}

// note returns what is to be signed.
func (j keepJob) note(manifest []byte) *proof.Note {
	n := &proof.Note{Store: j.store, Tenant: j.tenant, ID: j.of.id, Label: j.of.label, Position: j.of.position, Time: j.of.commit}
	n.Lines, n.Root = proof.LinesRoot(manifest)
	return n
}

// grown is an earlier checkpoint, whose trees grow.
type grown struct {
	id    wire.CheckpointID
	lines map[wire.StreamID]*proof.Stream // nil without one
	trees map[wire.StreamID]proof.Tree
}

// grown returns the newest of the earlier checkpoints whose file is whole.
func (j keepJob) grown(fs seg.Files) (g grown, err error) {
	for _, c := range slices.Backward(j.before) {
		file, err := seg.ReadCheckpoint(fs, j.store, c.id)
		if err == nil {
			g, err = growFrom(c.id, file)
		}
		if err == nil {
			return g, nil
		}
		if !hurt(err) {
			return g, err
		}
	}
	return grown{}, nil
}

func growFrom(id wire.CheckpointID, file *seg.Checkpoint) (grown, error) {
	man, err := proof.DecodeManifest(file.Manifest)
	if err != nil {
		return grown{}, fmt.Errorf("%w: %w", seg.ErrDamaged, err)
	}
	g := grown{id, map[wire.StreamID]*proof.Stream{}, map[wire.StreamID]proof.Tree{}}
	rest := file.Trees
	for i := range man.Streams {
		line := &man.Streams[i]
		if len(rest) < 8 || wire.StreamID(binary.LittleEndian.Uint64(rest)) != line.ID {
			return grown{}, fmt.Errorf("trees of checkpoint %s: %w", id, seg.ErrDamaged)
		}
		var t proof.Tree
		if t, rest, err = proof.DecodeTree(rest[8:]); err != nil || t.Size() != line.Size() || proof.Digest(t.Root()) != line.Root {
			return grown{}, fmt.Errorf("trees of checkpoint %s: %w", id, seg.ErrDamaged)
		}
		g.lines[line.ID], g.trees[line.ID] = line, t
	}
	if len(rest) > 0 {
		return grown{}, fmt.Errorf("trees of checkpoint %s: %w", id, seg.ErrDamaged)
	}
	return g, nil
}

// growing is a stream whose tree grows up to where it ended at the checkpoint.
type growing struct {
	scope  *scope
	view   *view // nil where the stream is purged
	of     *stream
	audit  wire.StreamID
	line   proof.Stream
	tree   proof.Tree
	next   wire.Offset // of the next leaf
	to     *seg.LeafWriter
	hasher proof.Leaves
	leaves []proof.Hash // of one record
	met    []Probe
}

func (j keepJob) growing(x *stream, old *grown, to *seg.LeafWriter) *growing {
	g := &growing{scope: j.scope, of: x, audit: auditStream(j.tenant), to: to, view: j.scope.numbered(x.id), line: proof.Stream{
		ID: x.id, Name: x.name, Class: x.class.String(), Base: x.oldest, Oldest: x.oldest, Head: x.head, Bytes: x.bytes - x.cut,
	}}
	if line := old.lines[x.id]; line != nil {
		g.line.Base, g.line.Absent, g.tree = line.Base, slices.Clone(line.Absent), old.trees[x.id]
		g.met = append(g.met, ProbeCheckpointGrows)
	}
	g.next = g.line.Base + wire.Offset(g.tree.Size())
	return g
}

// numbered returns the view of a stream, nil where there is none. The list is in the order of ids.
func (c *scope) numbered(id wire.StreamID) *view {
	i, found := slices.BinarySearchFunc(c.list, id, func(v *view, id wire.StreamID) int { return cmp.Compare(v.id, id) })
	if !found {
		return nil
	}
	return c.list[i]
}

// grow adds the leaves of the events that have come since.
func (g *growing) grow() error {
	head := g.of.head
	if err := g.to.Stream(g.of.id, g.next); err != nil {
		return err
	}
	if g.view == nil {
		if err := g.miss(head, proof.Purge); err != nil {
			return err
		}
	} else {
		if err := g.miss(min(g.view.low, head), proof.Retention); err != nil {
			return err
		}
		if err := g.scope.records(g.view, g.next, head, g.record); err != nil {
			return fmt.Errorf("stream %q: %w", g.of.name, err)
		}
		if err := g.miss(head, proof.Lost); err != nil {
			return err
		}
	}
	g.line.Root = proof.Digest(g.tree.Root())
	return nil
}

// record adds the leaves of a record's events.
func (g *growing) record(r *seg.Record) (err error) {
	if g.leaves, err = g.hasher.Of(g.leaves[:0], r, g.audit); err != nil {
		return err
	}
	if err := g.miss(min(r.First, g.of.head), proof.Lost); err != nil {
		return err
	}
	for i, leaf := range g.leaves {
		if o := r.First + wire.Offset(i); o != g.next || o >= g.of.head {
			continue
		}
		if err := g.add(leaf); err != nil {
			return err
		}
	}
	return nil
}

func (g *growing) add(leaf proof.Hash) error {
	g.tree.Append(leaf)
	g.next++
	return g.to.Add(leaf)
}

// miss adds the leaves of events that are gone, up to an offset.
func (g *growing) miss(upto wire.Offset, reason string) error {
	if g.next >= upto {
		return nil
	}
	g.met = append(g.met, ProbeCheckpointAbsent)
	g.line.Absent = append(g.line.Absent, proof.Absent{From: g.next, To: upto, Reason: reason})
	for g.next < upto {
		if err := g.add(proof.AbsentLeaf(g.of.id, g.next)); err != nil {
			return err
		}
	}
	return nil
}

// checkpointKept has the log say that a checkpoint is kept.
func (m *Machine) checkpointKept(r keepResult, fx []Effect) []Effect {
	m.keeping.rest(m, r.err != nil)
	for _, p := range r.met {
		m.cfg.hit(p)
	}
	t := m.state.tenants[r.tenant]
	if r.err != nil {
		m.cfg.hit(ProbeCheckpointNotKept)
		m.stats.CheckpointsNotKept++
		m.keeping.note(t, r.of.id, r.err.Error(), m.clock.mono)
		return m.arrange(m.endBatch(fx))
	}
	switch {
	case t == nil || t.place(r.of.id) < 0: // it was deleted meanwhile
		m.keeping.untidy = true
		return m.arrange(m.endBatch(m.keepOn(fx)))
	case r.grown != (wire.CheckpointID{}) && !slices.ContainsFunc(t.leaves, func(l leafFile) bool { return l.id == r.grown }):
		m.cfg.hit(ProbeCheckpointAgain) // so were the leaves that it goes on from: it is done again, without them
		return m.arrange(m.endBatch(m.keepOn(fx)))
	}
	body := append(r.of.id[:len(r.of.id):len(r.of.id)], r.digest[:]...)
	if e := m.noRoom(seg.RecordHeader+len(body), admin); e != nil {
		m.keeping.rest(m, true)
		m.keeping.note(t, r.of.id, e.Message, m.clock.mono)
		return m.arrange(m.endBatch(fx))
	}
	m.decide(&seg.Record{Kind: seg.KindKeepCheckpoint, Tenant: t.id}, body)
	m.cfg.hit(ProbeCheckpointKept)
	m.stats.CheckpointsKept++
	m.stats.KeepTime += wire.Span(m.clock.now - r.of.commit)
	m.stats.LastKept, m.stats.LastCheckpointBytes = m.clock.now, r.bytes
	delete(m.keeping.trouble, r.of.id)
	return m.arrange(m.endBatch(m.keepOn(fx)))
}

// note remembers why a checkpoint is not kept, unless it was deleted meanwhile.
func (k *keeping) note(t *tenant, id wire.CheckpointID, why string, now wire.Time) {
	if t == nil || t.place(id) < 0 {
		return
	}
	if k.trouble == nil {
		k.trouble = map[wire.CheckpointID]notKept{}
	}
	k.trouble[id] = notKept{why, now}
}

// tidyJob removes the files of checkpoints that are deleted, and those that a crash has left.
type tidyJob struct{ live map[string]bool }

type tidyResult struct {
	removed int
	err     error
}

func (s *state) tidyJob() tidyJob {
	live := map[string]bool{}
	for _, t := range s.order {
		for _, c := range t.checkpoints {
			live[seg.CheckpointName(c.id)] = true
			if !c.kept { // it may be about to be
				live[seg.LeavesName(c.id)] = true
			}
		}
		for _, l := range t.leaves {
			live[seg.LeavesName(l.id)] = true
		}
	}
	return tidyJob{live}
}

// untidy reports whether there are files of checkpoints that are no more.
func (s *state) untidy(fs seg.Files) (bool, error) {
	old, err := s.tidyJob().old(fs)
	if err != nil {
		return false, fmt.Errorf("list data directory: %w", err)
	}
	return len(old) > 0, nil
}

// old returns the names of those files.
func (j tidyJob) old(fs seg.Files) (old []string, err error) {
	names, err := fs.List()
	for _, name := range names {
		_, file := seg.ParseCheckpointName(name)
		_, leaves := seg.ParseLeavesName(name)
		if (file || leaves) && !j.live[name] {
			old = append(old, name)
		}
	}
	return old, err
}

// Run implements Job.
func (j tidyJob) Run(fs seg.Files) any {
	old, err := j.old(fs)
	if err == nil && len(old) > 0 {
		err = seg.Remove(fs, old)
	}
	return tidyResult{len(old), err}
}

func (m *Machine) tidied(r tidyResult, fx []Effect) []Effect {
	m.keeping.rest(m, r.err != nil)
	if r.err != nil {
		m.keeping.untidy = true
	} else if r.removed > 0 {
		m.cfg.hit(ProbeCheckpointsTidied)
	}
	return m.arrange(m.endBatch(m.keepOn(fx)))
}
