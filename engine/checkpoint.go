package engine

import (
	"fmt"
	"slices"

	"github.com/kimberlitedb/kimberlite-go/engine/seg"
	"github.com/kimberlitedb/kimberlite-go/engine/sql"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// A checkpoint is a position of its tenant's log, under a name: everything is read as of it that can be read as of a position,
// and nobody who writes waits. The entry that cuts it is an act; checkpoint_cut.go has what the state notes at that moment, and
// checkpoint_keep.go how it comes into a file, with the proof of what it holds.

// checkpoint is what the state knows of a checkpoint. It never changes: a change puts another one in its place.
type checkpoint struct {
	id       wire.CheckpointID
	label    string // empty without one
	folded   string // the label, to compare
	position wire.Position
	commit   wire.Time
	lsn      seg.LSN
	kept     bool
	digest   [32]byte // SHA-256 of its signed note, once it is kept
	cut      *cut     // until then
}

// leafFile is a file with the hashes of the events between two checkpoints. All of a tenant stay up to its newest kept checkpoint, since
// each goes on from those before; also where the checkpoint itself was deleted.
type leafFile struct {
	id       wire.CheckpointID
	position wire.Position
}

// checkpoint cuts a checkpoint of the tenant.
func (m *Machine) checkpoint(r *Request, b *wire.Checkpoint, fx []Effect) []Effect {
	t, fx := m.checkpointed(r, b.Of, fx)
	if t == nil {
		return fx
	}
	switch {
	case t.health != sound:
		return m.readOnly(r, t, fx)
	case len(t.checkpoints) >= wire.MaxCheckpoints:
		return m.refuse(r, wire.QuotaExceeded, t.lsn, fx, "the tenant has %d checkpoints, and no more are allowed; delete some", len(t.checkpoints))
	case m.state.cuts >= m.cfg.MaxCuts || t.unkept() > m.cfg.MaxCuts/2: // one tenant must not take what all have
		m.cfg.hit(ProbeCheckpointsWait)
		return m.refuse(r, wire.RateLimited, m.state.lsn, fx, "%d checkpoints wait until their proofs are written, %d of them of this tenant; try again when some of them are", m.state.cuts, t.unkept())
	}
	if b.Label.Set {
		if why := badName(b.Label.Value); why != "" {
			return m.refuse(r, wire.InvalidRequest, 0, fx, "label: %s", why)
		}
		if c := t.labelled(b.Label.Value); c != nil {
			m.cfg.hit(ProbeCheckpointTaken)
			return m.refuse(r, wire.CheckpointAlreadyExists, t.lsn, fx, "checkpoint %q exists, at position %d with id %s; labels are unique ignoring case", c.label, c.position, c.id)
		}
	}
	var id wire.CheckpointID
	m.rng.Read(id[:])
	if e := m.carryOut(checkpointAct(r, seg.KindCheckpoint, "checkpoint.create", id, b.Label.Value)); e != nil {
		return m.reply(r, e, m.state.lsn, fx)
	}
	m.cfg.hit(ProbeCheckpointCut)
	m.stats.Checkpoints++
	return m.reply(r, &wire.CheckpointReply{ID: id, Position: t.position, Time: t.commit}, m.state.lsn, fx)
}

// checkpointed finds the tenant that a request about checkpoints is about.
func (m *Machine) checkpointed(r *Request, of wire.TenantID, fx []Effect) (*tenant, []Effect) {
	if of != r.Msg.Tenant {
		return nil, m.refuse(r, wire.InvalidRequest, 0, fx, "the request is of tenant %d, and names tenant %d", r.Msg.Tenant, of)
	}
	t := m.state.tenants[of]
	if t == nil {
		return nil, m.noTenant(r, fx)
	}
	return t, fx
}

func checkpointAct(r *Request, kind seg.Kind, verb string, id wire.CheckpointID, label string) *act {
	detail := struct {
		ID    string `json:"checkpoint"`
		Label string `json:"label,omitempty"`
	}{id.String(), label}
	fields := id[:]
	if kind == seg.KindCheckpoint {
		fields = appendString(id[:len(id):len(id)], label)
	}
	return &act{kind: kind, verb: verb, from: r.From, tenant: r.Msg.Tenant, detail: detail, fields: fields}
}

// deleteCheckpoint deletes a checkpoint. Nothing else goes with it.
func (m *Machine) deleteCheckpoint(r *Request, b *wire.DeleteCheckpoint, fx []Effect) []Effect {
	t, c, fx := m.meant(r, b.Of, b.Ref, fx)
	if c == nil {
		return fx
	}
	if t.health != sound {
		return m.readOnly(r, t, fx)
	}
	if e := m.carryOut(checkpointAct(r, seg.KindDropCheckpoint, "checkpoint.delete", c.id, c.label)); e != nil {
		return m.reply(r, e, m.state.lsn, fx)
	}
	m.cfg.hit(ProbeCheckpointDeleted)
	m.keeping.untidy = true
	delete(m.keeping.trouble, c.id)
	delete(m.weights, c.id)
	return m.reply(r, &wire.DeleteCheckpointReply{Position: t.position}, m.state.lsn, fx)
}

// meant finds the checkpoint that a request is about.
func (m *Machine) meant(r *Request, of wire.TenantID, ref wire.CheckpointRef, fx []Effect) (*tenant, *checkpoint, []Effect) {
	t, fx := m.checkpointed(r, of, fx)
	if t == nil {
		return nil, nil, fx
	}
	c := t.find(ref)
	if c == nil {
		return nil, nil, m.noCheckpoint(r, t, ref, fx)
	}
	return t, c, fx
}

// noCheckpoint refuses a request about a checkpoint that is not there.
func (m *Machine) noCheckpoint(r *Request, t *tenant, ref wire.CheckpointRef, fx []Effect) []Effect {
	m.cfg.hit(ProbeCheckpointMissing)
	return m.reply(r, noCheckpoint(t, ref.String()), t.lsn, fx)
}

func noCheckpoint(t *tenant, name string) *wire.Error {
	return wire.Errorf(wire.CheckpointNotFound, "tenant %d has no checkpoint %q", t.id, clip(name))
}

// settle finds the position of the checkpoint that a statement names, if it does.
func (t *tenant) settle(s *sql.Statement) *wire.Error {
	if s.Checkpoint == "" {
		return nil
	}
	ref := wire.CheckpointRef{Label: s.Checkpoint}
	c := t.find(ref)
	if id, err := wire.ParseCheckpointID(s.Checkpoint); c == nil && err == nil {
		c = t.find(wire.CheckpointRef{ID: id})
	}
	if c == nil {
		return noCheckpoint(t, s.Checkpoint)
	}
	s.Position = wire.Some(c.position)
	return nil
}

// find returns the checkpoint that a reference names, nil where there is none.
func (t *tenant) find(ref wire.CheckpointRef) *checkpoint {
	if ref.Label != "" {
		return t.labelled(ref.Label)
	}
	return t.numbered(ref.ID)
}

func (t *tenant) labelled(label string) *checkpoint {
	folded := wire.Fold(label)
	i := slices.IndexFunc(t.checkpoints, func(c *checkpoint) bool { return c.label != "" && c.folded == folded })
	if i < 0 {
		return nil
	}
	return t.checkpoints[i]
}

func (t *tenant) numbered(id wire.CheckpointID) *checkpoint {
	if i := t.place(id); i >= 0 {
		return t.checkpoints[i]
	}
	return nil
}

// unkept returns how many checkpoints of the tenant wait until they are kept.
func (t *tenant) unkept() (n int) {
	for _, c := range t.checkpoints {
		if !c.kept {
			n++
		}
	}
	return n
}

func (t *tenant) place(id wire.CheckpointID) int {
	return slices.IndexFunc(t.checkpoints, func(c *checkpoint) bool { return c.id == id })
}

func (s *state) applyCheckpoint(r *seg.Record, t *tenant, d *decoder) error {
	c := &checkpoint{position: r.Position, commit: r.Commit, lsn: r.LSN}
	copy(c.id[:], d.take(uint64(len(c.id))))
	c.label = d.string()
	c.folded = wire.Fold(c.label)
	if d.bad || t.numbered(c.id) != nil {
		return fmt.Errorf("%w: checkpoint of tenant %d", errMisfit, t.id)
	}
	list := slices.Clip(t.checkpoints)
	if old := t.labelled(c.label); old != nil && s.holed {
		s.dropCheckpoint(t, t.place(old.id)) // a hole in the log has swallowed its deletion
		list = t.checkpoints
	}
	t.checkpoints = append(list, c)
	s.cuts++
	return nil
}

func (s *state) applyDropCheckpoint(t *tenant, d *decoder) error {
	var id wire.CheckpointID
	copy(id[:], d.take(uint64(len(id))))
	if i := t.place(id); i >= 0 {
		s.dropCheckpoint(t, i)
	} else if !s.holed {
		return fmt.Errorf("%w: no checkpoint %s of tenant %d", errMisfit, id, t.id)
	}
	return nil
}

func (s *state) dropCheckpoint(t *tenant, i int) {
	if !t.checkpoints[i].kept {
		s.cuts--
	}
	id := t.checkpoints[i].id
	t.checkpoints = slices.Delete(slices.Clone(t.checkpoints), i, i+1)
	t.archives = slices.Clone(t.archives)
	for i := range t.archives {
		if a := &t.archives[i]; a.id == id && !a.done { // what was sent of it so far is there
			a.done = true
			s.unsent--
		}
	}
	t.forgetArchives(id)
	newest := wire.Position(0)
	for _, c := range t.checkpoints {
		if c.kept {
			newest = c.position
		}
	}
	for len(t.leaves) > 0 && t.leaves[len(t.leaves)-1].position > newest {
		t.leaves = t.leaves[: len(t.leaves)-1 : len(t.leaves)-1]
	}
}

// forgetArchives forgets where a checkpoint that is no more was sent, but for places that no other one was sent to: what is removed has to
// leave them too.
func (t *tenant) forgetArchives(id wire.CheckpointID) {
	t.archives = slices.DeleteFunc(slices.Clone(t.archives), func(a archived) bool {
		return a.id == id && slices.ContainsFunc(t.archives, func(b archived) bool { return b.to == a.to && b.id != id })
	})
}

// applyKeepCheckpoint takes up that a checkpoint has its file. It may have been deleted meanwhile.
func (s *state) applyKeepCheckpoint(r *seg.Record) error {
	d := decoder{p: r.Body}
	var id wire.CheckpointID
	var digest [32]byte
	copy(id[:], d.take(uint64(len(id))))
	copy(digest[:], d.take(uint64(len(digest))))
	t := s.tenants[r.Tenant]
	if d.bad || t == nil && !s.holed {
		return fmt.Errorf("%w: keeping of a checkpoint of tenant %d", errMisfit, r.Tenant)
	}
	if t == nil || t.place(id) < 0 {
		return nil
	}
	i := t.place(id)
	c := *t.checkpoints[i]
	if !c.kept {
		s.cuts--
		t.leaves = append(slices.Clip(t.leaves), leafFile{id, c.position})
	}
	c.kept, c.digest, c.cut = true, digest, nil
	t.checkpoints = slices.Clone(t.checkpoints)
	t.checkpoints[i] = &c
	return nil
}
