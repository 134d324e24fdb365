package engine

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"github.com/kimberlitedb/kimberlite-go/engine/archive"
	"github.com/kimberlitedb/kimberlite-go/engine/proof"
	"github.com/kimberlitedb/kimberlite-go/engine/seg"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// The events of a tenant that arrives come piece by piece: a job reads some records, and the machine puts them into the log, with the
// position, commit time and offsets that they had. The state tells how far each stream is, so that a restart goes on from there. Whoever opens
// an archive anew verifies all of it anew.

// intake is the running side of tenants that arrive. One job is at work at a time, beside one that verifies.
type intake struct {
	asked    *restoreAsk
	running  bool
	of       wire.TenantID       // the tenant under way
	open     *archive.Checkpoint // of it, verified; nil where it has to be opened
	line     int                 // of its streams, where it goes on
	retryAt  wire.Time           // monotonic; the log has no room before
	troubles []intakeTrouble
}

// intakeTrouble is why a tenant does not go on arriving.
type intakeTrouble struct {
	tenant  wire.TenantID
	why     string
	failed  int       // times in a row
	retryAt wire.Time // monotonic
}

// intakeRetry is how long the machine waits for room in the log.
const intakeRetry = Second / 20

// turnTo takes up a tenant.
func (k *intake) turnTo(id wire.TenantID, open *archive.Checkpoint) {
	if !k.running {
		k.of, k.open, k.line = id, open, 0
	}
}

// source is an archive with a checkpoint, for jobs.
type source struct {
	where   string
	place   archive.Place
	keys    proof.Keys
	objects seg.Objects
}

func (m *Machine) sourceOf(b *bringing) source {
	return source{where: b.source, place: b.place, keys: m.cfg.Trusted}
}

// Destination implements ArchiveJob.
func (s source) Destination() string { return s.where }

// verified opens the checkpoint, and verifies all of it. It returns what it has found of each stream.
func (s source) verified() (c *archive.Checkpoint, list []archive.Verdict, err error) {
	box := &archive.Box{Objects: s.objects}
	if err := box.Check(); err != nil {
		return nil, nil, err
	}
	if c, err = box.Open(s.place, s.keys); err != nil {
		return nil, nil, err
	}
	for i := range c.Manifest.Streams {
		v := c.Verify(&c.Manifest.Streams[i])
		if v.Err != nil {
			return nil, nil, v.Err
		}
		list = append(list, v)
	}
	return c, list, nil
}

// pieceJob reads a piece of a checkpoint.
type pieceJob struct {
	source
	tenant wire.TenantID
	open   *archive.Checkpoint // nil where it is to be opened
	line   int                 // of the manifest's streams, where it goes on
	next   []wire.Offset       // in those from there on
	most   int                 // bytes
}

// pieceResult is what it has read.
type pieceResult struct {
	tenant  wire.TenantID
	open    *archive.Checkpoint
	records []seg.Record
	line    int // where it goes on
	end     bool
	err     error
}

// In implements ArchiveJob.
func (j pieceJob) In(objects seg.Objects) Job {
	j.objects = objects
	return j
}

// Run implements Job.
func (j pieceJob) Run(seg.Files) any {
	r := pieceResult{tenant: j.tenant, line: j.line}
	if j.open == nil {
		j.open, _, r.err = j.verified()
	} else {
		j.open = j.open.In(&archive.Box{Objects: j.objects})
	}
	if r.err != nil {
		return r
	}
	r.open = j.open
	if len(j.open.Manifest.Streams)-j.line != len(j.next) {
		r.err = fmt.Errorf("the manifest of checkpoint %s has other streams now: %w", j.place.ID, errMisfit)
		return r
	}
	for _, next := range j.next {
		if r.err = j.stream(&r, next); errors.Is(r.err, errEnough) {
			r.err = nil
			return r
		} else if r.err != nil {
			return r
		}
		r.line++
	}
	r.end = true
	return r
}

// stream reads what is left of a stream, until it is enough.
func (j pieceJob) stream(r *pieceResult, next wire.Offset) error {
	line := &j.open.Manifest.Streams[r.line]
	err := j.open.RecordsFrom(line, next, func(rec *seg.Record) error {
		if rec.First < next && rec.Kind == seg.KindAppend { // its first events had expired
			var cut seg.Record
			if _, err := seg.ParseRecord(rec.Without(int(next-rec.First)), &cut); err != nil {
				return err
			}
			rec = &cut
		}
		n := seg.RecordHeader + len(rec.Body)
		if j.most -= n; j.most < 0 && len(r.records) > 0 {
			return errEnough
		}
		rec.Body = bytes.Clone(rec.Body)
		r.records = append(r.records, *rec)
		return nil
	})
	if err != nil && !errors.Is(err, errEnough) {
		return fmt.Errorf("stream %q: %w", line.Name, err)
	}
	return err
}

// intakeOn goes on with what is brought from archives.
func (m *Machine) intakeOn(fx []Effect) []Effect {
	k := &m.intake
	if m.state.arriving == 0 || k.running || m.clock.mono < k.retryAt {
		return fx
	}
	t := m.nextArriving()
	if t == nil {
		return fx
	}
	if k.of != t.id {
		k.turnTo(t.id, nil)
	}
	j := pieceJob{source: m.sourceOf(&t.origin.bringing), tenant: t.id, open: k.open, line: k.line, most: m.cfg.MaxBatch}
	for _, a := range t.origin.streams[k.line:] {
		j.next = append(j.next, m.state.streams[a.is].head)
	}
	k.running = true
	m.job++
	return m.after(m.state.lsn, &StartJob{Job: m.job, Name: "restore-piece", Run: j}, fx)
}

// nextArriving returns the first tenant that arrives and that nothing holds up: the one under way, if there is one.
func (m *Machine) nextArriving() (next *tenant) {
	for _, t := range m.state.order {
		if t.health != arriving {
			continue
		}
		if y := m.intake.trouble(t.id); y != nil && m.clock.mono < y.retryAt {
			continue
		}
		if t.id == m.intake.of {
			return t
		}
		if next == nil {
			next = t
		}
	}
	return next
}

func (k *intake) trouble(id wire.TenantID) *intakeTrouble {
	i := slices.IndexFunc(k.troubles, func(y intakeTrouble) bool { return y.tenant == id })
	if i < 0 {
		return nil
	}
	return &k.troubles[i]
}

// failed remembers why a tenant does not go on arriving, and when to try again.
func (k *intake) failed(id wire.TenantID, err error, now wire.Time) {
	y := k.trouble(id)
	if y == nil {
		k.troubles = append(k.troubles, intakeTrouble{tenant: id})
		y = &k.troubles[len(k.troubles)-1]
	}
	y.why, y.retryAt = err.Error(), now+wire.Time(min(archiveRetry<<y.failed, archiveRest))
	y.failed = min(y.failed+1, 10)
}

// pieceRead takes up a piece that was read, or could not be.
func (m *Machine) pieceRead(r pieceResult, fx []Effect) []Effect {
	k := &m.intake
	k.running, k.open = false, r.open
	t := m.state.tenants[r.tenant]
	err := r.err
	var room bool
	if err == nil {
		room, err = m.bring(t, r.records)
	}
	if err == nil && room {
		if k.line = r.line; r.end {
			room = m.arrived(t)
		}
	}
	switch {
	case err != nil:
		m.cfg.hit(ProbeRestoreFailed)
		m.stats.NotRestored++
		k.open, k.line = nil, 0
		k.failed(r.tenant, err, m.clock.mono)
	case !room && m.log.prepareErr != nil:
		k.failed(r.tenant, fmt.Errorf("there is no room in the log: %w", m.log.prepareErr), m.clock.mono)
	case !room:
		k.retryAt = m.clock.mono + wire.Time(intakeRetry)
	default:
		k.troubles = slices.DeleteFunc(k.troubles, func(y intakeTrouble) bool { return y.tenant == r.tenant })
	}
	return m.endBatch(m.intakeOn(fx))
}

// bring puts records of an archive into the log. It returns false where there is no room for all of them: what there was none for is
// read again.
func (m *Machine) bring(t *tenant, records []seg.Record) (room bool, _ error) {
	for i := range records {
		r := &records[i]
		t.adopt(r)
		if x, _ := m.state.place(r); x == nil {
			return false, fmt.Errorf("event %d of stream %d is not what follows: %w", r.First, r.Stream, seg.ErrDamaged)
		}
		if !m.log.fits(seg.RecordHeader+len(r.Body), data) || r.Flags&seg.FlagKey != 0 && m.limit() != nil {
			return false, nil
		}
		body := r.Body
		m.decide(r, body)
		m.stats.EventsRestored += uint64(r.Count)
	}
	return true, nil
}

// adopt has a record of an archive be of a tenant here. Streams that were purged before the checkpoint are none.
func (t *tenant) adopt(r *seg.Record) {
	r.Tenant, r.Flags = t.id, r.Flags|seg.FlagRestored
	if a := t.origin.find(r.Stream); a != nil {
		r.Stream = a.is
	} else {
		r.Stream = 0
	}
}

// arrived has a tenant go on from where its checkpoint was cut. It returns false where there is no room to say so.
func (m *Machine) arrived(t *tenant) bool {
	a := t.restoredAct()
	if !m.log.fits(m.actSize(a), data) {
		return false
	}
	m.decideAct(a)
	m.cfg.hit(ProbeRestored)
	m.stats.Restored++
	m.intake.of, m.intake.open, m.intake.line = 0, nil, 0
	for _, x := range t.streams {
		m.watch(x)
		for _, g := range x.groups {
			g.headAtStart = x.head
		}
	}
	return true
}

// restoredAct returns the act that tells where a tenant was brought from, and what the ids of its streams have become.
func (t *tenant) restoredAct() *act {
	type renumbered struct {
		Was wire.StreamID `json:"was"`
		Is  wire.StreamID `json:"is"`
	}
	o := t.origin
	detail := struct {
		Source     string        `json:"source"`
		Store      string        `json:"store"`
		Tenant     wire.TenantID `json:"tenant"`
		Checkpoint string        `json:"checkpoint"`
		Label      string        `json:"label,omitempty"`
		Position   wire.Position `json:"position"`
		Name       string        `json:"name"`
		Streams    []renumbered  `json:"streams"`
	}{o.source, fmt.Sprintf("%016x", uint64(o.place.Store)), o.place.Tenant, o.place.ID.String(), o.label, o.place.Position, t.name, []renumbered{}}
	for _, a := range o.streams {
		if a.was < systemStreams {
			detail.Streams = append(detail.Streams, renumbered{a.was, a.is})
		}
	}
	return &act{kind: seg.KindRestored, verb: "tenant.restore", from: o.from, tenant: t.id, detail: detail}
}

// restoreInfo tells how far a tenant is that is restored, and what the ids of its streams have become.
func (m *Machine) restoreInfo(r *Request, b *wire.RestoreInfo, fx []Effect) []Effect {
	t := m.state.tenants[b.Of]
	switch {
	case b.Of != r.Msg.Tenant:
		return m.refuse(r, wire.InvalidRequest, 0, fx, "the request is of tenant %d, and names tenant %d", r.Msg.Tenant, b.Of)
	case t == nil && m.intake.asked != nil && m.intake.asked.to == b.Of:
		return m.reply(r, &wire.RestoreInfoReply{}, m.state.lsn, fx) // it is being verified
	case t == nil:
		return m.noTenant(r, fx)
	case t.origin == nil:
		return m.refuse(r, wire.InvalidRequest, m.state.lsn, fx, "tenant %d was not restored from an archive", t.id)
	}
	reply := &wire.RestoreInfoReply{Done: t.health != arriving, Events: t.origin.events, Streams: make([]wire.RestoredStream, len(t.origin.streams))}
	for i, a := range t.origin.streams {
		reply.Streams[i] = wire.RestoredStream{Was: a.was, Is: a.is}
		if x := m.state.streams[a.is]; x != nil && !reply.Done {
			reply.Events += x.events()
		}
	}
	if y := m.intake.trouble(t.id); y != nil {
		reply.Trouble = y.why
	}
	return m.reply(r, reply, t.lsn, fx)
}

// arrives refuses a request about a tenant that is not all there yet.
func (m *Machine) arrives(r *Request) bool {
	if m.state.arriving == 0 {
		return false
	}
	if t := m.state.tenants[r.Msg.Tenant]; t == nil || t.health != arriving {
		return false
	}
	switch r.Msg.Body.(type) {
	case *wire.Handshake, *wire.Ping, *wire.Sync, *wire.ListTenants, *wire.Clock, *wire.ConfirmClock, *wire.RestoreTenant, *wire.RestoreInfo:
		return false
	}
	return true
}
