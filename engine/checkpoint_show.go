package engine

import (
	"fmt"
	"sort"

	"github.com/kimberlitedb/kimberlite-go/engine/proof"
	"github.com/kimberlitedb/kimberlite-go/engine/seg"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// What a checkpoint holds is in its cut, and once it is kept in its file; a job looks. How much of that is still there follows from
// how far the streams are cut off by now, so it is found anew when something has been removed.

// weighed is the bytes of event data of a checkpoint that were still there at the last removal.
type weighed struct {
	bytes uint64
	asOf  seg.LSN
}

// remaining is what is left of a tenant's streams, for a job.
type remaining struct {
	stream wire.StreamID
	cut    uint64 // bytes of its event data before the oldest event
}

// lookJob looks at checkpoints.
type lookJob struct {
	store  seg.StoreID
	tenant wire.TenantID
	list   []*checkpoint
	left   []remaining // ascending
	asOf   seg.LSN
	page   *wire.GetCheckpoint // a page of the streams of the first one; may be nil
}

type lookResult struct {
	tenant  wire.TenantID
	sizes   map[wire.CheckpointID]uint64
	asOf    seg.LSN
	note    string
	streams []wire.CheckpointStream
	more    bool
	bad     *checkpoint // one that could not be read
	err     error       // why; that it is damaged only where that holds of all that could not
}

// looking is who waits for a job that looks at checkpoints.
type looking func(lookResult, []Effect) []Effect

// inspect has a job look at checkpoints of a tenant.
func (m *Machine) inspect(t *tenant, list []*checkpoint, page *wire.GetCheckpoint, then looking, fx []Effect) []Effect {
	j := lookJob{store: m.store, tenant: t.id, list: list, left: make([]remaining, len(t.streams)), asOf: t.removed, page: page}
	for i, s := range t.streams {
		j.left[i] = remaining{s.id, s.cut}
	}
	var id JobID
	id, fx = m.start("look-at-checkpoints", j, fx)
	if m.lookings == nil {
		m.lookings = map[JobID]looking{}
	}
	m.lookings[id] = then
	return fx
}

// Run implements Job.
func (j lookJob) Run(fs seg.Files) any {
	r := lookResult{tenant: j.tenant, sizes: map[wire.CheckpointID]uint64{}, asOf: j.asOf}
	for i, c := range j.list {
		file, err := c.read(fs, j.store)
		var s state
		if err == nil {
			var ok bool
			if s, ok = thaw(file.State); !ok {
				err = seg.ErrDamaged
			}
		}
		if err == nil && i == 0 && j.page != nil {
			r.note = string(file.Note)
			r.streams, r.more, err = pageOfStreams(file, &s, j.page)
		}
		if err != nil {
			if r.err == nil || hurt(r.err) {
				r.bad, r.err = c, err
			}
			continue
		}
		r.sizes[c.id] = weigh(s.order[0], j.left)
	}
	return r
}

// pageOfStreams returns a page of the streams of a checkpoint.
func pageOfStreams(file *seg.Checkpoint, s *state, b *wire.GetCheckpoint) (list []wire.CheckpointStream, more bool, err error) {
	limit := int(min(b.Limit, wire.MaxListPage))
	man := &proof.Manifest{}
	if len(file.Manifest) > 0 {
		if man, err = proof.DecodeManifest(file.Manifest); err != nil {
			return nil, false, fmt.Errorf("%w: %w", seg.ErrDamaged, err)
		}
	}
	for i, x := range s.order[0].streams {
		if x.id <= b.After {
			continue
		}
		if len(list) == limit {
			return list, true, nil
		}
		c := wire.CheckpointStream{Stream: x.id, Name: x.name, Base: x.oldest, Oldest: x.oldest, Head: x.head, Bytes: x.bytes - x.cut}
		if i < len(man.Streams) {
			c.Base, c.Root = man.Streams[i].Base, man.Streams[i].Root[:]
		}
		list = append(list, c)
	}
	return list, false, nil
}

// read returns what there is of a checkpoint, of which the state alone before it is kept.
func (c *checkpoint) read(fs seg.Files, store seg.StoreID) (*seg.Checkpoint, error) {
	if c.kept {
		return seg.ReadCheckpoint(fs, store, c.id)
	}
	return &seg.Checkpoint{State: c.cut.encode()}, nil
}

// weigh returns how many bytes of event data of a tenant as it was are still there.
func weigh(t *tenant, left []remaining) (bytes uint64) {
	for _, x := range t.streams {
		i := sort.Search(len(left), func(i int) bool { return left[i].stream >= x.id })
		if i == len(left) || left[i].stream != x.id {
			continue // it is purged
		}
		if cut := max(x.cut, left[i].cut); x.bytes > cut {
			bytes += x.bytes - cut
		}
	}
	return bytes
}

// looked gives those who wait what a job has seen of checkpoints.
func (m *Machine) looked(id JobID, r lookResult, fx []Effect) []Effect {
	then := m.lookings[id]
	delete(m.lookings, id)
	if m.weights == nil {
		m.weights = map[wire.CheckpointID]weighed{}
	}
	t := m.state.tenants[r.tenant]
	for id, bytes := range r.sizes { //det:order-free: each has its own place
		if t.place(id) >= 0 && m.weights[id].asOf <= r.asOf { // another job may have begun later and ended earlier
			m.weights[id] = weighed{bytes, r.asOf}
		}
	}
	return then(r, fx)
}

// describe describes a checkpoint that has so many bytes of event data.
func (c *checkpoint) describe(bytes uint64) wire.CheckpointInfo {
	return wire.CheckpointInfo{ID: c.id, Label: wire.Option[string]{Set: c.label != "", Value: c.label}, Position: c.position, Time: c.commit, Size: bytes}
}

// listCheckpoints answers with all checkpoints of a tenant, once those are looked at whose size may have changed.
func (m *Machine) listCheckpoints(r *Request, b *wire.ListCheckpoints, fx []Effect) []Effect {
	t, fx := m.checkpointed(r, b.Of, fx)
	if t == nil {
		return fx
	}
	list, after, sizes := t.checkpoints, t.lsn, make([]uint64, len(t.checkpoints))
	reply := func(l lookResult, fx []Effect) []Effect {
		if l.err != nil && !hurt(l.err) { // the size of one that is damaged nobody can tell
			return m.reply(r, unreadCheckpoint(l.bad, l.err), after, fx)
		}
		b := &wire.ListCheckpointsReply{Checkpoints: make([]wire.CheckpointInfo, len(list))}
		for i, c := range list {
			if bytes, looked := l.sizes[c.id]; looked {
				sizes[i] = bytes
			}
			b.Checkpoints[i] = c.describe(sizes[i])
		}
		return m.reply(r, b, after, fx)
	}
	var unknown []*checkpoint
	for i, c := range list {
		w, known := m.weights[c.id]
		if sizes[i] = w.bytes; !known || w.asOf != t.removed {
			unknown = append(unknown, c)
		}
	}
	if len(unknown) == 0 {
		return reply(lookResult{}, fx)
	}
	return m.inspect(t, unknown, nil, reply, fx)
}

// getCheckpoint answers with one checkpoint, and a page of the streams that it has.
func (m *Machine) getCheckpoint(r *Request, b *wire.GetCheckpoint, fx []Effect) []Effect {
	t, c, fx := m.meant(r, b.Of, b.Ref, fx)
	if c == nil {
		return fx
	}
	after := max(t.lsn, m.state.lsn) // that it is kept is outside the tenant's log
	return m.inspect(t, []*checkpoint{c}, b, func(l lookResult, fx []Effect) []Effect {
		switch {
		case t.place(c.id) < 0: // it was deleted meanwhile
			return m.noCheckpoint(r, t, b.Ref, fx)
		case l.err != nil:
			return m.reply(r, unreadCheckpoint(c, l.err), after, fx)
		}
		return m.reply(r, &wire.GetCheckpointReply{
			Info: c.describe(l.sizes[c.id]), Note: l.note, Trouble: m.keeping.trouble[c.id].why, Archives: m.describeArchives(t, c), Streams: l.streams, More: l.more,
		}, after, fx)
	}, fx)
}

// unreadCheckpoint says that a checkpoint's file does not give what it should.
func unreadCheckpoint(c *checkpoint, err error) *wire.Error {
	if hurt(err) {
		return wire.Errorf(wire.DataCorrupted, "the file of checkpoint %s is damaged; run `kimberlite doctor` on the data directory", c.id)
	}
	return wire.Errorf(wire.StorageError, "the file of checkpoint %s cannot be read: %v", c.id, err)
}
