package engine

import (
	"errors"
	"fmt"
	"slices"

	"github.com/kimberlitedb/kimberlite-go/engine/seg"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// A checkpoint is sent to an archive because somebody has asked for it: that is an act, and goes on behind a restart. archive_send.go has
// what is sent.

// archived is a checkpoint that is in an archive, or is to be. It stays when the checkpoint is deleted here, before all of it was sent
// too: what is removed has to leave the archive.
type archived struct {
	id   wire.CheckpointID
	to   string
	lock wire.Time // until then the archive lets nobody remove what was sent; 0 for no lock
	done bool      // nothing more of it is to be sent
}

// maxArchives is how many of these a tenant may have.
const maxArchives = 2 * wire.MaxCheckpoints

// archiving is the running side: one job is at work at a time.
type archiving struct {
	running  bool
	pin      JobID
	tenant   wire.TenantID // whose checkpoint is being sent
	of       archived      // what the sending is of
	sending  *sending      // nil before the first piece
	troubles []archiveTrouble
}

// archiveTrouble is why something does not go on.
type archiveTrouble struct {
	id      wire.CheckpointID
	to      string
	why     string
	failed  int       // times in a row
	retryAt wire.Time // monotonic
}

// The machine waits after a failure before it tries again: twice as long each time, up to archiveRest.
const (
	archiveRetry = Second
	archiveRest  = 5 * Minute
)

// archiveCheckpoint has a checkpoint sent to an archive. What is there already is not sent again.
func (m *Machine) archiveCheckpoint(r *Request, b *wire.ArchiveCheckpoint, fx []Effect) []Effect {
	t, c, fx := m.meant(r, b.Of, b.Ref, fx)
	if c == nil {
		return fx
	}
	switch {
	case t.health != sound:
		return m.readOnly(r, t, fx)
	case b.Destination == "" || len(b.Destination) > wire.MaxDestination:
		return m.refuse(r, wire.InvalidRequest, 0, fx, "the destination has %d bytes; give 1 to %d", len(b.Destination), wire.MaxDestination)
	case !m.cfg.allowed(b.Destination):
		m.cfg.hit(ProbeArchiveRefused)
		m.auditRefusal(r, "archive that is not allowed")
		return m.refuse(r, wire.PermissionDenied, m.state.lsn, fx, "this server does not send checkpoints to %q; start it with --archive and that place", clip(b.Destination))
	case len(t.archives) >= maxArchives:
		return m.refuse(r, wire.QuotaExceeded, t.lsn, fx, "the tenant has sent %d checkpoints to archives, and no more are allowed", len(t.archives))
	}
	a := archived{c.id, b.Destination, b.LockUntil.Or(0), false}
	if e := m.unlockable(t, c, a.lock); e != nil {
		m.cfg.hit(ProbeLockRefused)
		return m.reply(r, e, t.lsn, fx)
	}
	if slices.Contains(t.archives, a) { // it is under way
		return m.reply(r, &wire.ArchiveCheckpointReply{Position: t.position}, t.lsn, fx)
	}
	detail := struct {
		ID    string `json:"checkpoint"`
		Label string `json:"label,omitempty"`
		To    string `json:"destination"`
		Lock  string `json:"lock_until,omitempty"`
	}{c.id.String(), c.label, a.to, lockText(a.lock)}
	fields := putNumbers(appendString(c.id[:len(c.id):len(c.id)], a.to), uint64(a.lock))
	if e := m.carryOut(&act{kind: seg.KindArchive, verb: "checkpoint.archive", from: r.From, tenant: t.id, detail: detail, fields: fields}); e != nil {
		return m.reply(r, e, m.state.lsn, fx)
	}
	m.cfg.hit(ProbeArchiveAsked)
	return m.reply(r, &wire.ArchiveCheckpointReply{Position: t.position}, m.state.lsn, fx)
}

func lockText(t wire.Time) string {
	if t == 0 {
		return ""
	}
	return timeText(t)
}

// leaving is the first day on which something of a checkpoint is to be gone.
type leaving struct {
	at     wire.Time // never where nothing is known to go
	stream string
	why    string
}

// firstLeaving returns that of a checkpoint of a tenant.
func (m *Machine) firstLeaving(t *tenant, c *checkpoint) leaving {
	first := leaving{at: never}
	for _, s := range t.streams {
		if s.created > c.commit {
			continue
		}
		if s.deleted && s.purge < first.at {
			first = leaving{s.purge, s.name, "is deleted, and is to be purged"}
		}
		if s.retention.Set && s.oldest < s.head {
			if d := m.daysFrom(s.firstTime, s.retention.Value); d < first.at {
				first = leaving{d, s.name, "has a retention, by which its oldest event is to go"}
			}
		}
	}
	return first
}

// refuses says why nothing of a checkpoint may be locked until an instant, or nothing.
func (l leaving) refuses(until wire.Time) *wire.Error {
	if until <= l.at {
		return nil
	}
	return wire.Errorf(wire.InvalidRequest, "the lock would end %s, and stream %q %s %s; end it before", timeText(until), l.stream, l.why, purgeText(l.at))
}

// unlockable says why what a checkpoint has must not be locked until an instant, or nothing.
func (m *Machine) unlockable(t *tenant, c *checkpoint, until wire.Time) *wire.Error {
	switch {
	case until == 0:
		return nil
	case until <= m.clock.now:
		return wire.Errorf(wire.InvalidRequest, "the lock would end %s, which is past", timeText(until))
	}
	return m.firstLeaving(t, c).refuses(until)
}

// errNoRoom says that what was done cannot be told to the log.
var errNoRoom = errors.New("there is no room in the log to say so")

// archiveOn has a job send the next piece of what is to be sent.
func (m *Machine) archiveOn(fx []Effect) []Effect {
	k := &m.archiving
	if k.running {
		return fx
	}
	if t, to := m.nextPrune(); t != nil {
		if k.tenant == t.id { // what it goes on from may be other blobs then; two destinations may be one place
			k.of, k.sending = archived{}, nil
		}
		return m.pruneArchive(t, to, fx)
	}
	if m.state.unsent == 0 {
		return fx
	}
	t, c, a := m.nextArchive()
	if c == nil {
		return fx
	}
	if k.sending == nil || k.of != a {
		k.tenant, k.of, k.sending = t.id, a, &sending{}
	} else {
		m.cfg.hit(ProbeArchiveGoesOn)
	}
	d, ready, fx := m.dumpOf(t, k.sending.wants, fx)
	if !ready {
		return fx
	}
	j := sendJob{
		store: m.store, tenant: t.id, of: c, to: a.to, lock: a.lock, now: m.clock.now, leaving: m.firstLeaving(t, c), scope: m.scopeOfTenant(t),
		target: m.cfg.ArchiveBlob, share: m.cfg.ArchiveShare, state: k.sending, tables: d,
	}
	for _, s := range t.streams {
		j.scope.list = append(j.scope.list, m.viewOf(s, cutOff{}))
	}
	j.scope.hold(&m.log)
	for _, l := range t.leaves {
		if l.position <= c.position {
			j.leaves = append(j.leaves, l)
		}
	}
	k.running = true
	m.job++
	k.pin = m.job
	m.pinFiles(m.job)
	return m.after(m.state.lsn, &StartJob{Job: m.job, Name: "archive-checkpoint", Run: j}, fx)
}

// nextArchive returns the first checkpoint that is to be sent and that nothing holds up: the one under way, if there is one.
func (m *Machine) nextArchive() (of *tenant, next *checkpoint, a archived) {
	for _, t := range m.state.order {
		for _, x := range t.archives {
			c := t.numbered(x.id)
			if x.done || c == nil || !c.kept {
				continue
			}
			if y := m.archiving.trouble(x.id, x.to); y != nil && m.clock.mono < y.retryAt {
				continue
			}
			if x == m.archiving.of {
				return t, c, x
			}
			if next == nil {
				of, next, a = t, c, x
			}
		}
	}
	return of, next, a
}

func (k *archiving) trouble(id wire.CheckpointID, to string) *archiveTrouble {
	i := slices.IndexFunc(k.troubles, func(y archiveTrouble) bool { return y.id == id && y.to == to })
	if i < 0 {
		return nil
	}
	return &k.troubles[i]
}

// pieceSent takes up that a piece is sent, or could not be.
func (m *Machine) pieceSent(r sendResult, fx []Effect) []Effect {
	k := &m.archiving
	delete(m.pins, k.pin)
	k.running = false
	for _, p := range r.met {
		m.cfg.hit(p)
	}
	m.stats.ArchivedBytes += r.state.sent - k.sending.sent
	k.sending = r.state
	if r.err != nil {
		m.cfg.hit(ProbeArchiveFailed)
		m.stats.NotArchived++
		k.failed(r, m.clock.mono)
		return m.arrange(m.endBatch(m.archiveOn(fx)))
	}
	k.troubles = slices.DeleteFunc(k.troubles, func(y archiveTrouble) bool { return y.id == r.id && y.to == r.to })
	t := m.state.tenants[r.tenant]
	if !r.done || t == nil || !slices.Contains(t.archives, r.archived()) {
		return m.arrange(m.endBatch(m.archiveOn(fx)))
	}
	body := putNumbers(appendString(r.id[:len(r.id):len(r.id)], r.to), uint64(r.lock))
	if e := m.noRoom(seg.RecordHeader+len(body), admin); e != nil {
		r.err = errNoRoom
		k.failed(r, m.clock.mono)
		return m.arrange(m.endBatch(fx))
	}
	m.decide(&seg.Record{Kind: seg.KindArchived, Tenant: t.id}, body)
	m.cfg.hit(ProbeArchived)
	m.stats.Archived++
	m.stats.LastArchived = m.clock.now
	k.of, k.sending = archived{}, nil
	return m.arrange(m.endBatch(m.archiveOn(fx)))
}

// failed remembers why something does not go on, and when to try again.
func (k *archiving) failed(r sendResult, now wire.Time) {
	y := k.trouble(r.id, r.to)
	if y == nil {
		k.troubles = append(k.troubles, archiveTrouble{id: r.id, to: r.to})
		y = &k.troubles[len(k.troubles)-1]
	}
	y.why, y.retryAt = r.err.Error(), now+wire.Time(min(archiveRetry<<y.failed, archiveRest))
	y.failed = min(y.failed+1, 10)
}

// describeArchives tells where a checkpoint was sent, and how far that is.
func (m *Machine) describeArchives(t *tenant, c *checkpoint) (list []wire.ArchiveInfo) {
	for _, a := range t.archives {
		if a.id != c.id {
			continue
		}
		x := wire.ArchiveInfo{Destination: a.to, Done: a.done}
		if y := m.archiving.trouble(a.id, a.to); y != nil && !a.done {
			x.Trouble = y.why
		}
		if k := &m.archiving; k.of == a && k.sending != nil {
			x.Sent, x.Events = k.sending.sent, k.sending.events
		}
		list = append(list, x)
	}
	return list
}

func (s *state) applyArchive(t *tenant, d *decoder) error {
	a := archived{}
	copy(a.id[:], d.take(uint64(len(a.id))))
	a.to, a.lock = d.string(), wire.Time(d.u64())
	if d.bad || t.place(a.id) < 0 && !s.holed {
		return fmt.Errorf("%w: archive of tenant %d", errMisfit, t.id)
	}
	if t.place(a.id) < 0 {
		return nil
	}
	list := slices.Clone(t.archives)
	i := slices.IndexFunc(list, func(x archived) bool { return x.id == a.id && x.to == a.to })
	if i >= 0 && !list[i].done {
		s.unsent--
	}
	if i >= 0 { // it is looked at again
		list = slices.Delete(list, i, i+1)
	}
	list = append(list, a)
	s.unsent++
	t.archives = list
	return nil
}

func (s *state) applyArchived(r *seg.Record) error {
	d := decoder{p: r.Body}
	a := archived{}
	copy(a.id[:], d.take(uint64(len(a.id))))
	a.to, a.lock = d.string(), wire.Time(d.u64())
	t := s.tenants[r.Tenant]
	if d.bad || t == nil && !s.holed {
		return fmt.Errorf("%w: archive of tenant %d", errMisfit, r.Tenant)
	}
	if t == nil {
		return nil
	}
	if i := slices.Index(t.archives, a); i >= 0 {
		t.archives = slices.Clone(t.archives)
		t.archives[i].done = true
		s.unsent--
	}
	return nil
}
