package engine

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"

	"github.com/kimberlitedb/kimberlite-go/engine/archive"
	"github.com/kimberlitedb/kimberlite-go/engine/proof"
	"github.com/kimberlitedb/kimberlite-go/engine/seg"
	"github.com/kimberlitedb/kimberlite-go/engine/sql"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// A checkpoint is sent to an archive piece by piece, by jobs: each takes what a few blobs hold, so that what retention and purges take
// away in between does not go on its way, and so that the machine knows how far it is. What an earlier checkpoint of the tenant has
// brought there is not sent again. The note comes last: before it, nobody finds the checkpoint.

// sending is how far a checkpoint has got into an archive. A job works on a copy, which takes its place where the job has succeeded.
type sending struct {
	begun  bool
	there  map[wire.StreamID][]archive.Section // that an earlier checkpoint has brought
	index  archive.Index
	line   int            // of the manifest's streams, where it goes on
	next   wire.Offset    // in that one
	raw    []byte         // of the next blob
	filled int            // sections of it, at the end of the index
	draft  []proof.Digest // blobs that it names, and what an earlier sending of the checkpoint has left
	sent   uint64         // bytes
	events uint64         // of the checkpoint that are there
	wants  wire.Offset    // the statements that the tables are to be behind, which are next
	tabled bool           // the tables are there, or gone
}

// clone returns a copy that changes by itself.
func (s *sending) clone() *sending {
	c := *s
	c.index.Sections, c.index.Tables, c.raw, c.draft = slices.Clone(s.index.Sections), slices.Clone(s.index.Tables), slices.Clone(s.raw), slices.Clone(s.draft)
	return &c
}

// sendJob sends a piece of a checkpoint.
type sendJob struct {
	store   seg.StoreID
	tenant  wire.TenantID
	of      *checkpoint
	to      string
	lock    wire.Time // 0 for none
	now     wire.Time
	leaving leaving
	scope   *scope // its list is all streams of the tenant, by id
	leaves  []leafFile
	target  int // bytes of records of a blob
	share   int // and of what the job takes
	state   *sending
	tables  dumping // once they are wanted
	objects seg.Objects
}

type sendResult struct {
	tenant wire.TenantID
	id     wire.CheckpointID
	to     string
	lock   wire.Time
	state  *sending
	done   bool
	met    []Probe
	err    error
}

// archived returns what is asked for.
func (r *sendResult) archived() archived { return archived{r.id, r.to, r.lock, false} }

// Destination implements ArchiveJob.
func (j sendJob) Destination() string { return j.to }

// In implements ArchiveJob.
func (j sendJob) In(objects seg.Objects) Job {
	j.objects = objects
	return j
}

// Run implements Job.
func (j sendJob) Run(fs seg.Files) any {
	j.scope.use(fs)
	defer j.scope.rest()
	r := sendResult{tenant: j.tenant, id: j.of.id, to: j.to, lock: j.lock, state: j.state}
	s := sender{sendJob: j, sending: j.state.clone(), fs: fs, box: archive.Box{Objects: j.objects}}
	if j.lock > j.now { // else it would be over already
		s.box.Lock = j.lock
	}
	defer s.rest()
	done, err := s.send()
	if r.err = err; err == nil {
		r.state, r.done = s.sending, done
	}
	r.met = append(s.met, j.scope.met...)
	return r
}

// sender is a sendJob at work.
type sender struct {
	sendJob
	*sending
	fs   seg.Files
	box  archive.Box
	to   *archive.Parcel
	man  *proof.Manifest
	file *seg.Checkpoint
	open []*seg.Leaves
	room int // bytes of records that the job may still take
	met  []Probe
}

// errEnough says that a job has done its share.
var errEnough = errors.New("engine: enough")

// send goes on. It returns true when all is there.
func (s *sender) send() (done bool, err error) {
	if s.file, err = seg.ReadCheckpoint(s.fs, s.store, s.of.id); err != nil {
		return false, err
	}
	if s.man, err = proof.DecodeManifest(s.file.Manifest); err != nil {
		return false, fmt.Errorf("checkpoint %s: %w: %w", s.of.id, seg.ErrDamaged, err)
	}
	if !s.begun {
		if err := s.begin(); err != nil {
			return false, err
		}
	}
	s.to = s.box.Parcel(s.place(), s.draft)
	s.room = s.share
	for s.line < len(s.man.Streams) {
		line := &s.man.Streams[s.line]
		s.next = max(s.next, line.Base)
		if err := s.stream(line); errors.Is(err, errEnough) {
			return false, s.deliver()
		} else if err != nil {
			return false, fmt.Errorf("stream %q: %w", line.Name, err)
		}
		s.line, s.next = s.line+1, 0
	}
	if s.man.Tables != nil && !s.tabled {
		if s.wants == 0 {
			s.wants = s.man.Statements
			return false, errors.Join(s.flush(), s.deliver())
		}
		if err := s.dump(); err != nil {
			return false, err
		}
	}
	return true, s.finish()
}

// dump sends the tables. It does so at once, as a dump cannot be gone on with; blobs that are there are not sent again.
func (s *sender) dump() error {
	s.index.Tables, s.tabled = nil, true
	var failed error
	sum := sha256.New()
	c := archive.Cutter{Put: func(piece []byte) error {
		var b archive.Blob
		if b, failed = s.to.Add(piece); failed == nil {
			s.index.Add(b, len(piece))
		}
		return failed
	}}
	err := s.tables.take(s.of.position, func(item []byte) error {
		sum.Write(item)
		if !sql.Fleeting(item) {
			return c.Add(item)
		}
		return errors.Join(c.Flush(), c.Add(item), c.Flush())
	})
	if err == nil {
		err = c.Flush()
	}
	switch {
	case failed != nil:
		return failed
	case s.tables.db != nil && err != nil && !errors.Is(err, sql.ErrForgotten):
		return err
	case err == nil && proof.Digest(sum.Sum(nil)) != *s.man.Tables:
		err = errors.New("they are others now than when the checkpoint was kept")
	}
	if err != nil {
		s.met = append(s.met, ProbeArchiveNoTables)
		s.index.Tables, s.index.TablesGone = nil, err.Error()
		return nil
	}
	s.index.Statements = s.man.Statements
	s.met = append(s.met, ProbeArchiveTables)
	return nil
}

func (s *sender) place() archive.Place {
	return archive.Place{Store: s.store, Tenant: s.tenant, Position: s.of.position, ID: s.of.id}
}

// begin makes the archive one, and finds what an earlier checkpoint of the tenant has brought there.
func (s *sender) begin() error {
	if l, ok := s.objects.(seg.Locker); ok && l.LockedUnasked() > 0 {
		if e := s.leaving.refuses(s.now + wire.Time(l.LockedUnasked())); e != nil {
			return fmt.Errorf("the bucket locks whatever is put into it: %s", e.Message)
		}
	}
	if err := s.box.Begin(); err != nil {
		return err
	}
	places, err := s.box.Find(s.place().TenantPrefix())
	if err != nil {
		return err
	}
	s.there, s.begun = map[wire.StreamID][]archive.Section{}, true
	s.index.Checkpoint = s.of.id
	if s.draft, err = s.box.Drafted(s.place()); err != nil {
		return err
	}
	for _, p := range slices.Backward(places) {
		if p.Position > s.of.position || p.ID == s.of.id || s.lock != 0 { // what is there may be locked for a shorter time
			continue
		}
		x, err := s.box.Index(p)
		if errors.Is(err, seg.ErrUnavailable) || errors.Is(err, seg.ErrCrashed) {
			return err
		}
		if err != nil {
			continue // it is damaged: it is as if it were not there
		}
		for _, c := range x.Sections {
			s.there[c.Stream] = append(s.there[c.Stream], c)
		}
		s.met = append(s.met, ProbeArchiveGrows)
		break
	}
	return nil
}

// stream sends what is left of a stream.
func (s *sender) stream(line *proof.Stream) error {
	v := s.scope.numbered(line.ID)
	low, reason := line.Head, proof.Purge
	if v != nil {
		low, reason = min(v.low, line.Head), proof.Retention
	}
	s.again(line, low)
	if err := s.gone(line, low, reason); err != nil || v == nil || s.next >= line.Head {
		return err
	}
	err := s.scope.records(v, s.next, line.Head, func(r *seg.Record) error {
		if s.room <= 0 {
			return errEnough
		}
		if r.First < s.next { // its first events have expired
			var cut seg.Record
			if _, err := seg.ParseRecord(r.Without(int(s.next-r.First)), &cut); err != nil {
				return err
			}
			r = &cut
		}
		if err := s.gone(line, r.First, proof.Lost); err != nil {
			return err
		}
		return s.record(line, r)
	})
	if err != nil {
		return err
	}
	return s.gone(line, line.Head, proof.Lost)
}

// again takes over what is there already of a stream, as far as that is to be there.
func (s *sender) again(line *proof.Stream, low wire.Offset) {
	for _, c := range s.there[line.ID] {
		absent, until := line.Missing(s.next)
		if absent {
			s.next = until
			_, until = line.Missing(s.next)
		}
		if c.First < s.next {
			continue
		}
		if c.First > s.next || c.Next > until || c.Next > line.Head || c.Gone == "" && c.First < low {
			return
		}
		s.index.Sections = slices.Insert(s.index.Sections, len(s.index.Sections)-s.filled, c)
		s.count(&c)
		s.next = c.Next
	}
}

// count counts the events of a section.
func (s *sending) count(c *archive.Section) {
	if c.Gone == "" {
		s.events += uint64(c.Next - c.First)
	}
}

// record adds a record to the next blob.
func (s *sender) record(line *proof.Stream, r *seg.Record) error {
	raw := archive.Bare(r)
	s.room -= len(raw)
	return s.add(line.ID, r.First, r.First+wire.Offset(r.Count), raw, "")
}

// add adds a piece of a stream to the next blob, which is sent when it is full.
func (s *sender) add(stream wire.StreamID, first, next wire.Offset, raw []byte, gone string) error {
	if len(s.raw)+len(raw) > s.target {
		if err := s.flush(); err != nil {
			return err
		}
	}
	list := s.index.Sections
	if n := len(list); s.filled > 0 && list[n-1].Stream == stream && list[n-1].Next == first && list[n-1].Gone == gone {
		list[n-1].Next, list[n-1].Length = next, list[n-1].Length+len(raw)
	} else {
		s.index.Sections = append(list, archive.Section{Stream: stream, First: first, Next: next, Start: len(s.raw), Length: len(raw), Gone: gone})
		s.filled++
	}
	s.raw, s.next = append(s.raw, raw...), next
	return nil
}

// gone adds the leaves of events that are gone, up to an offset, but for those of which there never were any.
func (s *sender) gone(line *proof.Stream, upto wire.Offset, reason string) error {
	for s.next < upto {
		absent, until := line.Missing(s.next)
		if until = min(until, upto); absent {
			s.next = until
			continue
		}
		s.met = append(s.met, ProbeArchiveLeaves)
		until = min(until, s.next+1024)
		leaves, err := s.leavesOf(line.ID, s.next, until)
		if err != nil {
			return err
		}
		var raw bytes.Buffer
		for i := range leaves {
			raw.Write(leaves[i][:])
		}
		if err := s.add(line.ID, s.next, until, raw.Bytes(), reason); err != nil {
			return err
		}
	}
	return nil
}

// leavesOf returns leaves from the files that keep them.
func (s *sender) leavesOf(stream wire.StreamID, from, to wire.Offset) (list []proof.Hash, err error) {
	for i := 0; from < to && i < len(s.leaves); i++ {
		if i == len(s.open) {
			l, err := seg.OpenLeaves(s.fs, s.store, s.leaves[i].id)
			if err != nil {
				return nil, err
			}
			s.open = append(s.open, l)
		}
		if first, next := s.open[i].Of(stream); first <= from && from < next {
			if list, err = s.open[i].Read(list, stream, from, min(to, next)); err != nil {
				return nil, err
			}
			from = min(to, next)
		}
	}
	if from < to {
		return nil, fmt.Errorf("the leaf of event %d is not kept: %w", from, seg.ErrDamaged)
	}
	return list, nil
}

func (s *sender) rest() {
	for _, l := range s.open {
		l.Close()
	}
}

// flush sends the next blob.
func (s *sender) flush() error {
	if len(s.raw) == 0 {
		return nil
	}
	b, err := s.to.Add(s.raw)
	if err != nil {
		return err
	}
	list := s.index.Sections[len(s.index.Sections)-s.filled:]
	for i := range list {
		list[i].Blob = b
		s.count(&list[i])
	}
	s.raw, s.filled = s.raw[:0], 0
	return nil
}

// deliver has the archive keep the blobs that the job has made.
func (s *sender) deliver() error {
	err := s.to.Send()
	s.draft, s.sent = s.to.Names, s.sent+s.to.Sent
	return err
}

// finish sends what a checkpoint has beside its events, and then has it found. What an earlier sending of it has left goes.
func (s *sender) finish() (err error) {
	if err := s.flush(); err != nil {
		return err
	}
	if s.index.Manifest, err = s.to.Add(s.file.Manifest); err != nil {
		return err
	}
	if s.index.State, err = s.to.Add(s.file.State); err != nil {
		return err
	}
	if err := s.deliver(); err != nil {
		return err
	}
	index := s.index.Encode()
	if err := s.box.Write(s.place().Index(), index); err != nil {
		return err
	}
	s.sent += uint64(len(index) + len(s.file.Note))
	if err := s.box.Seal(s.place().Note(), s.file.Note); err != nil {
		return err
	}
	if err := s.box.Clear(s.place(), s.draft); !errors.Is(err, seg.ErrLocked) {
		return err
	}
	return nil // the next pruning looks at the draft
}

// allowed reports whether the server's settings let it send to a destination. What is below another one is not allowed with it: it may
// lie inside the archive there, and so would show a tenant what others have sent.
func (c *Config) allowed(to string) bool { return slices.Contains(c.Archives, to) }
