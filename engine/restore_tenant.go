package engine

import (
	"errors"
	"fmt"

	"github.com/kimberlitedb/kimberlite-go/engine/archive"
	"github.com/kimberlitedb/kimberlite-go/engine/proof"
	"github.com/kimberlitedb/kimberlite-go/engine/seg"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// A checkpoint of an archive can be restored into a server that runs, as a tenant that is not there yet. A job verifies all of it first. Then
// one entry makes the tenant, as the checkpoint's state has it, but for its id, its name, the ids of its streams, and its events: it
// arrives. Jobs read those piece by piece, and each becomes an entry again; see restore_piece.go. The last entry is an act, with which
// the tenant goes on where it stopped. Nothing is answered of a tenant that arrives, and nothing of it expires.

// restoreAsk is a RestoreTenant whose checkpoint is being verified.
type restoreAsk struct {
	to       wire.TenantID
	waiting  []*Request // for the beginning
	bring    bringing
	name     string // of the new tenant; empty for that of the old one
	verified *archiveVerified
}

// maxRestoreAsks is how many requests may wait for one beginning: a client that has lost its connection asks again.
const maxRestoreAsks = 16

// bringing is what of which archive is brought.
type bringing struct {
	source string
	place  archive.Place
	label  string // of the checkpoint, once that is known
	from   string // the address of who has asked
}

// same reports whether two are of the same checkpoint in the same place.
func (b *bringing) same(c *bringing) bool { return b.source == c.source && b.place == c.place }

// restoreTenant restores a checkpoint as a new tenant. It is answered when the beginning of that is durable.
func (m *Machine) restoreTenant(r *Request, b *wire.RestoreTenant, fx []Effect) []Effect {
	ask := &restoreAsk{to: b.Of, waiting: []*Request{r}, name: b.Name.Or(""), bring: bringing{
		source: b.Source, from: r.From, place: archive.Place{Store: seg.StoreID(b.Store), Tenant: b.Tenant, Position: b.Position, ID: b.Checkpoint},
	}}
	if e := m.unrestorable(r, b); e != nil {
		m.cfg.hit(ProbeRestoreRefused)
		return m.reply(r, e, m.state.lsn, fx)
	}
	if t := m.state.tenants[b.Of]; t != nil {
		if t.origin != nil && t.origin.same(&ask.bring) {
			return m.reply(r, &wire.RestoreTenantReply{Position: b.Position}, m.state.lsn, fx)
		}
		return m.refuse(r, wire.InvalidRequest, m.state.lsn, fx, "tenant %d exists under the name %q; choose another id", t.id, t.name)
	}
	if a := m.intake.asked; a != nil && a.to == b.Of && a.bring.same(&ask.bring) && a.name == ask.name && len(a.waiting) < maxRestoreAsks {
		a.waiting = append(a.waiting, r)
		return fx
	} else if a != nil {
		return m.refuse(r, wire.RateLimited, m.state.lsn, fx, "a checkpoint is being verified for tenant %d; try again when that is done", a.to)
	}
	m.intake.asked = ask
	j := verifyArchiveJob{source: m.sourceOf(&ask.bring), older: b.AcceptOlder, most: m.maxEntry()}
	_, fx = m.start("verify-archive", j, fx)
	return fx
}

// unrestorable says why a request to restore cannot be carried out, whatever the archive has, or nothing.
func (m *Machine) unrestorable(r *Request, b *wire.RestoreTenant) *wire.Error {
	switch {
	case b.Of != r.Msg.Tenant:
		return wire.Errorf(wire.InvalidRequest, "the request is of tenant %d, and names tenant %d", r.Msg.Tenant, b.Of)
	case b.Of == serverTenant || b.Of > maxTenant:
		return wire.Errorf(wire.InvalidRequest, "tenant %d cannot exist; choose an id from 1 to %d", b.Of, uint64(maxTenant))
	case b.Tenant == serverTenant:
		return wire.Errorf(wire.InvalidRequest, "checkpoints of tenant 0, which is the server itself, cannot be restored as another")
	case b.Source == "" || len(b.Source) > wire.MaxDestination:
		return wire.Errorf(wire.InvalidRequest, "the source has %d bytes; give 1 to %d", len(b.Source), wire.MaxDestination)
	case !m.cfg.allowed(b.Source):
		return wire.Errorf(wire.PermissionDenied, "this server does not restore from %q; start it with --archive and that place, or one above it", clip(b.Source))
	case m.cfg.Trusted == nil:
		return wire.Errorf(wire.PermissionDenied, "this server trusts no key that signs checkpoints")
	}
	if b.Name.Set {
		if why := badName(b.Name.Value); why != "" {
			return wire.Errorf(wire.InvalidRequest, "tenant name: %s", why)
		}
	}
	return nil
}

// verifyArchiveJob verifies all of a checkpoint, before anything of it is restored.
type verifyArchiveJob struct {
	source
	older bool // it is restored although there is a later one
	most  int  // bytes that an entry may take
}

// archiveVerified is a checkpoint that is what was signed.
type archiveVerified struct {
	tenant  *tenant // as its state has it
	label   string
	state   []byte
	deleted map[wire.StreamID]wire.Time // by a later checkpoint; when they are to be purged
	open    *archive.Checkpoint
	refused *wire.Error // why it is not restored
}

// In implements ArchiveJob.
func (j verifyArchiveJob) In(objects seg.Objects) Job {
	j.objects = objects
	return j
}

// Run implements Job.
func (j verifyArchiveJob) Run(seg.Files) any {
	v := &archiveVerified{}
	c, verdicts, err := j.verified()
	if err != nil {
		v.refused = refusedArchive(err)
		return v
	}
	s, ok := thaw(c.State)
	if !ok || !s.acceptable(c.Manifest) {
		v.refused = wire.Errorf(wire.DataCorrupted, "the state of checkpoint %s is not one that this server can use", c.ID)
		return v
	}
	v.tenant, v.label, v.state, v.open = s.order[0], c.Note.Label, c.State, c
	if v.refused = j.unfit(c, verdicts); v.refused != nil {
		return v
	}
	v.deleted, err = j.deletedSince(c)
	if err != nil {
		v.refused = refusedArchive(err)
	}
	return v
}

// unfit says why what is in a checkpoint cannot be brought into a log, or nothing.
func (j verifyArchiveJob) unfit(c *archive.Checkpoint, verdicts []archive.Verdict) *wire.Error {
	for i, v := range verdicts {
		line := &c.Manifest.Streams[i]
		if v.Record > j.most {
			return tooLarge(fmt.Sprintf("an entry of stream %q has %d bytes", line.Name, v.Record), j.most)
		}
		if line.ID == sqlStream(c.Tenant) && (line.Base > 0 || v.Gone+v.Absent > 0) {
			return wire.Errorf(wire.InvalidRequest, "the first statements of the tenant's tables are gone, and without them the tables cannot be made; make a data directory of the checkpoint: kimberlite restore --into")
		}
	}
	return nil
}

// errOlder says that an archive has a later checkpoint.
var errOlder = errors.New("restore that one, or accept the older one")

// deletedSince returns the streams that were deleted later, as far as the archive knows it.
func (j verifyArchiveJob) deletedSince(c *archive.Checkpoint) (map[wire.StreamID]wire.Time, error) {
	box := &archive.Box{Objects: j.objects}
	later, err := box.Find(j.place.TenantPrefix())
	if err != nil {
		return nil, err
	}
	if len(later) == 0 || later[len(later)-1].Position <= c.Position {
		return nil, nil
	}
	last := later[len(later)-1]
	if !j.older {
		return nil, fmt.Errorf("the archive has a later checkpoint of the tenant, %s at position %d: %w", last.ID, last.Position, errOlder)
	}
	newer, err := box.Open(last, j.keys)
	if err != nil {
		return nil, err
	}
	return newer.DeletedSince(c)
}

// refusedArchive is what a client is told of a checkpoint that cannot be restored.
func refusedArchive(err error) *wire.Error {
	code := wire.DataCorrupted
	switch {
	case errors.Is(err, errOlder):
		code = wire.InvalidRequest
	case errors.Is(err, seg.ErrUnavailable), errors.Is(err, seg.ErrCrashed):
		code = wire.StorageError
	case errors.Is(err, seg.ErrNotExist):
		code = wire.CheckpointNotFound
	}
	return wire.Errorf(code, "nothing was restored: %v", err)
}

func tooLarge(what string, most int) *wire.Error {
	return wire.Errorf(wire.InvalidRequest, "%s, and an entry of this server at most %d; make a data directory of the checkpoint: kimberlite restore --into", what, most)
}

// acceptable reports whether the state of a checkpoint can be that of a tenant here: the machine relies on it.
func (s *state) acceptable(man *proof.Manifest) bool {
	t := s.order[0]
	if len(man.Streams) != len(t.streams) || t.health > holed {
		return false
	}
	for i, x := range t.streams {
		if man.Streams[i].ID != x.id || man.Streams[i].Head != x.head || x.oldest > x.head || x.cut > x.bytes || x != t.stream(x.name) {
			return false
		}
		if x.system() && x != t.audit && x != t.sql {
			return false
		}
		for j, g := range x.groups {
			g.lsn = 0
			if g.id > x.lastGroup || j > 0 && g.id <= x.groups[j-1].id || !g.plausible(x.head, s) {
				return false
			}
		}
	}
	return true
}

// archiveChecked takes up that a checkpoint was verified, or is refused.
func (m *Machine) archiveChecked(v *archiveVerified, fx []Effect) []Effect {
	m.intake.asked.verified = v
	return m.endBatch(m.beginRestore(fx))
}

// beginRestore makes the tenant of a checkpoint that was verified, where there is one, once the log has room.
func (m *Machine) beginRestore(fx []Effect) []Effect {
	a := m.intake.asked
	if a == nil || a.verified == nil {
		return fx
	}
	v := a.verified
	e := v.refused
	if e == nil {
		e = m.untimely(v, a.to)
	}
	var body []byte
	if e == nil {
		a.bring.label = v.label
		if a.name == "" {
			a.name = v.tenant.name
		}
		body = m.restoreBody(a)
		n := seg.RecordHeader + len(body)
		if most := m.maxEntry(); n > most {
			e = tooLarge(fmt.Sprintf("the state of the checkpoint takes %d bytes", n), most)
		} else if m.log.short(n) {
			return fx // the next tick tries again
		} else {
			e = m.noRoom(n, data)
		}
	}
	m.intake.asked = nil
	if e != nil {
		m.cfg.hit(ProbeRestoreRefused)
		return m.answerAll(a, e, fx)
	}
	m.decide(&seg.Record{Kind: seg.KindRestoreTenant, Tenant: a.to}, body)
	m.cfg.hit(ProbeRestoreBegun)
	m.intake.turnTo(a.to, v.open)
	return m.intakeOn(m.answerAll(a, &wire.RestoreTenantReply{Position: v.tenant.position}, fx))
}

// answerAll answers everybody who waits for the beginning.
func (m *Machine) answerAll(a *restoreAsk, b wire.ResponseBody, fx []Effect) []Effect {
	for _, r := range a.waiting {
		fx = m.reply(r, b, m.state.lsn, fx)
	}
	return fx
}

// untimely says why a checkpoint cannot become a tenant now, or nothing.
func (m *Machine) untimely(v *archiveVerified, id wire.TenantID) *wire.Error {
	if t := m.state.tenants[id]; t != nil {
		return wire.Errorf(wire.InvalidRequest, "tenant %d exists under the name %q; choose another id", id, t.name)
	}
	if v.tenant.commit > m.clock.now { // the tenant's commit times would go back
		return wire.Errorf(wire.InvalidRequest, "the checkpoint was cut %s, and this server's clock shows %s; see kimberlite clock", timeText(v.tenant.commit), timeText(m.clock.now))
	}
	return nil
}

// restoreBody returns the body of the entry with which a tenant begins to arrive:
//
//	source | store | tenant | position | checkpoint (16) | label | from | name | id of its first stream
//	| streams that were deleted later: id there, purge date | length of the state | state
func (m *Machine) restoreBody(a *restoreAsk) []byte {
	n, deleted := uint64(0), []byte(nil)
	for _, x := range a.verified.tenant.streams {
		if purge, later := a.verified.deleted[x.id]; later {
			n, deleted = n+1, putNumbers(deleted, uint64(x.id), uint64(purge))
		}
	}
	p := a.bring.encode(nil)
	p = append(putNumbers(appendString(p, a.name), uint64(m.state.lastStream+1), n), deleted...)
	return append(putNumbers(p, uint64(len(a.verified.state))), a.verified.state...)
}

func (b *bringing) encode(p []byte) []byte {
	p = putNumbers(appendString(p, b.source), uint64(b.place.Store), uint64(b.place.Tenant), uint64(b.place.Position))
	return appendString(appendString(append(p, b.place.ID[:]...), b.label), b.from)
}

func (d *decoder) bringing() bringing {
	b := bringing{source: d.string(), place: archive.Place{Store: seg.StoreID(d.u64()), Tenant: wire.TenantID(d.u64()), Position: wire.Position(d.u64())}}
	copy(b.place.ID[:], d.take(uint64(len(b.place.ID))))
	b.label, b.from = d.string(), d.string()
	return b
}

// applyRestoreTenant makes a tenant as a checkpoint has it, without its events.
func (s *state) applyRestoreTenant(r *seg.Record) error {
	d := &decoder{p: r.Body}
	o := &origin{bringing: d.bringing(), begun: r.Commit}
	name, next := d.string(), wire.StreamID(d.u64())
	deleted := map[wire.StreamID]wire.Time{}
	for range d.count(16) {
		deleted[wire.StreamID(d.u64())] = wire.Time(d.u64())
	}
	cut, ok := thaw(d.take(d.u64()))
	if d.bad || !ok || s.tenants[r.Tenant] != nil {
		return fmt.Errorf("%w: restoring of tenant %d", errMisfit, r.Tenant)
	}
	t := cut.order[0]
	list := t.streams
	t.id, t.name, t.health, t.lsn, t.origin = r.Tenant, name, arriving, r.LSN, o
	t.streams, t.audit, t.sql = nil, nil, nil
	s.addTenant(t)
	s.arriving++
	for _, x := range list {
		a := arrival{was: x.id, head: x.head, bytes: x.bytes, last: x.lastTime}
		switch {
		case x.name == auditName && x.system():
			a.is = auditStream(t.id)
		case x.system():
			a.is = sqlStream(t.id)
		default:
			a.is = next
			next++
		}
		if purge, later := deleted[x.id]; later && len(x.holds) == 0 {
			x.deleted, x.purge = true, purge
		}
		x.id, x.head, x.bytes, x.lost, x.lsn = a.is, x.oldest, x.cut, nil, r.LSN
		for _, g := range x.groups {
			g.lsn = r.LSN
		}
		o.streams = append(o.streams, a)
		s.addStream(x)
	}
	return nil
}
