package engine

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"

	"github.com/kimberlitedb/kimberlite-go/engine/seg"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// Report says what recovery found.
type Report struct {
	Fresh       bool    // the data directory was made
	Snapshot    seg.LSN // replay began here; 0 without a snapshot
	LSN         seg.LSN // of the last entry
	Batches     int     // replayed
	Bytes       int64   // replayed
	Leftovers   int     // unfinished files removed
	Torn        []Damage
	Holes       []Hole
	Scars       []Damage // that lost nothing: no entry is missing, or a copy is whole
	BadSnapshot []string // names of snapshots that could not be used
	BadSealed   []string // sealed files whose index is damaged, and how
	CopiedTail  bool     // the last batch was not known to be durable and was written again
}

// Damage is a piece of a file that is not what it should be.
type Damage struct {
	File   string
	Offset int64
	Length int64
}

// Hole is a run of entries that are gone although they were durable.
type Hole struct {
	First, Last seg.LSN
	Damage      []Damage // where they were
}

// Open recovers the machine from a data directory, or makes the directory where it is empty. It is a job: straight-line
// work over Files, ended by errors after a crash. Nothing may be told to a client before it returns.
//
// What a crash has left of an unfinished write is set aside and the log goes on behind the last whole batch. A last batch
// that no later header vouches for is written a second time, further on, and synced: after a failed sync the page cache
// may show bytes that never reached the disk.
func Open(fs seg.Files, cfg Config) (*Machine, *Report, error) {
	m, err := seg.ReadManifest(fs)
	if errors.Is(err, seg.ErrNoManifest) {
		return create(fs, cfg)
	}
	if err != nil {
		return nil, nil, explain(err)
	}
	// A process that crashed between a rename and its SyncDir has left a name that this one sees and a loss of power would
	// take away, and with it all that is written into the file from here on.
	if err := fs.SyncDir(); err != nil {
		return nil, nil, fmt.Errorf("sync data directory: %w", err)
	}
	r := recovery{fs: fs, cfg: &cfg, man: m}
	if r.report.Leftovers, err = seg.RemoveLeftovers(fs, m); err != nil {
		return nil, nil, err
	}
	if r.report.Leftovers > 0 {
		cfg.hit(ProbeRecoveryTempRemoved)
	}
	if err := r.run(); err != nil {
		return nil, nil, explain(err)
	}
	if r.untidy, err = r.state.untidy(fs); err != nil {
		return nil, nil, err
	}
	return r.machine(), &r.report, nil
}

// explain adds what to do about an error that the user can do something about.
func explain(err error) error {
	switch {
	case errors.Is(err, seg.ErrNewerFormat):
		return fmt.Errorf("%w: use that version, or another data directory", err)
	case errors.Is(err, seg.ErrDamaged):
		return fmt.Errorf("%w: run `kimberlite doctor` on the data directory", err)
	}
	return err
}

// create makes a data directory: the first segment, and then the manifest that makes it one.
func create(fs seg.Files, cfg Config) (*Machine, *Report, error) {
	names, err := fs.List()
	if err != nil {
		return nil, nil, fmt.Errorf("list data directory: %w", err)
	}
	for _, name := range names {
		if n, ok := seg.SegmentNumber(name); ok && n == 0 {
			if err := removeBlank(fs, cfg); err != nil {
				return nil, nil, err
			}
		} else if ok {
			return nil, nil, fmt.Errorf("the directory has log segments but no %s: put it back from a copy", seg.ManifestName)
		}
	}
	man := seg.Manifest{Store: cfg.Store, Geometry: cfg.Geometry}
	if err := seg.PrepareSegment(fs, man.Geometry, man.Store, 0); err != nil {
		return nil, nil, err
	}
	if err := seg.WriteManifest(fs, man); err != nil {
		return nil, nil, err
	}
	cfg.hit(ProbeRecoveryEmpty)
	r := recovery{fs: fs, cfg: &cfg, man: man, state: newState(), end: man.Geometry.First(0), report: Report{Fresh: true}}
	return r.machine(), &r.report, nil
}

// removeBlank removes a first segment that an unfinished create has left behind. One that holds anything stays.
func removeBlank(fs seg.Files, cfg Config) error {
	blank, err := seg.Blank(fs, 0)
	if err != nil {
		return err
	}
	if !blank {
		return fmt.Errorf("the directory has a log but no %s: put it back from a copy", seg.ManifestName)
	}
	return fs.Remove(seg.SegmentName(0))
}

// recovery is the state of one recovery, or of one check, which writes nothing.
type recovery struct {
	fs     seg.Files
	cfg    *Config
	man    seg.Manifest
	state  state
	report Report

	clock   wire.Time
	durable seg.LSN                             // the greatest LSN that something vouches for
	start   seg.Address                         // where the scan begins
	end     seg.Address                         // behind the last whole batch
	last    uint64                              // the last segment
	untidy  bool                                // there are files of checkpoints that are no more
	pending *seg.Finding                        // the last whole batch, not applied yet: a copy may follow
	damage  []seg.Extent                        // since that batch
	lostEnd bool                                // the damage is part of the last hole
	each    func(*seg.Record, seg.Extent) error // told of every record applied; may be nil
	whole   []seg.SnapshotMark                  // snapshots, newest first; the damaged ones before them left out
	sealed  []*seg.SealedIndex
	hurt    []uint64 // sealed files with damaged blocks that their index does not tell of
}

func (r *recovery) run() error {
	if err := r.load(); err != nil {
		return err
	}
	if err := r.readSealed(); err != nil {
		return err
	}
	r.end = r.start
	var err error
	if r.last, err = seg.Scan(r.fs, r.man, r.start, r.visit); err != nil {
		return err
	}
	if err := r.finish(); err != nil {
		return err
	}
	if err := r.setAside(); err != nil {
		return err
	}
	if r.pending == nil {
		return nil
	}
	if err := r.copyTail(); err != nil {
		return err
	}
	return r.flush()
}

// finish ends the scan. A last batch that nothing vouches for stays pending. Where the log ends before what something
// vouches for, the rest is a hole, and what lies there is no torn write.
func (r *recovery) finish() error {
	if p := r.pending; p != nil && p.Batch.Count > 0 && p.Batch.Last() > r.durable {
		return nil
	}
	if err := r.flush(); err != nil {
		return err
	}
	if r.state.lsn < r.durable {
		r.hole(r.durable+1, r.end)
		r.lostEnd = true
	}
	return nil
}

// load restores the newest snapshot that is whole, or begins at the log's first entry.
func (r *recovery) load() error {
	r.durable = vouched(r.man)
	for i, mark := range r.man.Snapshots {
		lsn := mark.LSN
		s, next, clock, err := readSnapshot(r.fs, r.man, mark)
		switch {
		case err == nil:
			r.state, r.start, r.clock, r.report.Snapshot = s, next, clock, lsn
			r.state.shed(r.man.Geometry.Address(r.man.First, 0))
			r.whole = r.man.Snapshots[i:]
			r.cfg.hit(ProbeSnapshotUsed)
			return nil
		case errors.Is(err, seg.ErrNewerFormat), errors.Is(err, seg.ErrCrashed):
			return err
		case errors.Is(err, seg.ErrOlderFormat):
			continue
		}
		r.cfg.hit(ProbeSnapshotDamaged)
		r.report.BadSnapshot = append(r.report.BadSnapshot, seg.SnapshotName(lsn))
	}
	if r.man.First > 0 {
		return fmt.Errorf("no snapshot is whole (%s), and the log begins behind them: put one back from a copy of the data directory",
			strings.Join(r.report.BadSnapshot, ", "))
	}
	r.state, r.start = newState(), r.man.Geometry.First(0)
	return nil
}

// vouched returns the LSN up to which a manifest says that the log is durable: it names a snapshot only once that is so.
func vouched(m seg.Manifest) seg.LSN {
	lsn := seg.LSN(0)
	if len(m.Snapshots) > 0 {
		lsn = m.Snapshots[0].LSN
	}
	for _, t := range m.Tables {
		lsn = max(lsn, t.LSN)
	}
	return lsn
}

// visit takes up what the scan finds, in order.
func (r *recovery) visit(f seg.Finding) error {
	if f.Damaged {
		r.damage = append(r.damage, f.Extent)
		return nil
	}
	b := &f.Batch
	r.durable = max(r.durable, b.Durable)
	r.clock = max(r.clock, wire.Time(b.Clock))
	if p := r.pending; p != nil && b.Count > 0 && p.Batch.Count > 0 && b.First == p.Batch.First && b.Count == p.Batch.Count {
		r.cfg.hit(ProbeRecoveryCopyMet) // an earlier recovery wrote it again; the copy is what is known to be on disk
		r.pending = nil
	}
	if err := r.flush(); err != nil {
		return err
	}
	if b.Count > 0 && b.Last() <= r.state.lsn {
		// An earlier recovery, which could not read the snapshot, has copied the tail behind the place where the snapshot
		// says that the log goes on.
		r.cfg.hit(ProbeRecoveryCopyMet)
		r.end = f.End
		return nil
	}
	if b.First > r.state.lsn+1 {
		r.hole(b.First, f.Start)
	} else {
		r.report.Scars = append(r.report.Scars, r.pieces(r.damage)...)
	}
	r.damage = nil
	r.pending, r.end = &f, f.End
	return nil
}

// hole notes that the entries before an LSN are gone, and that the log goes on at an address. Where nothing there is
// damaged, a write has never reached the disk, or its place.
func (r *recovery) hole(next seg.LSN, at seg.Address) {
	r.cfg.hit(ProbeRecoveryHole)
	where := r.damage
	if len(where) == 0 {
		gap := seg.Extent{Start: r.end, End: r.end} // up to nobody knows where
		if geo := r.man.Geometry; geo.Segment(at) == geo.Segment(r.end) {
			gap.End = max(at, r.end)
		}
		where = []seg.Extent{gap}
	}
	r.report.Holes = append(r.report.Holes, Hole{r.state.lsn + 1, next - 1, r.pieces(where)})
	r.state.skip(next)
}

// flush applies the pending batch.
func (r *recovery) flush() error {
	p := r.pending
	if p == nil {
		return nil
	}
	r.pending = nil
	r.report.Batches++
	r.report.Bytes += int64(p.End - p.Start)
	at := p.Start + seg.BatchHeader
	var rec seg.Record // one for all, since it does not stay on the stack
	for rest := p.Records; len(rest) > 0; {
		n, err := seg.ParseRecord(rest, &rec)
		if err != nil {
			return err
		}
		e := seg.Extent{Start: at, End: at + seg.Address(n)}
		if err := r.state.apply(&rec, e, r.man.Geometry); err != nil {
			return err
		}
		if r.each != nil {
			if err := r.each(&rec, e); err != nil {
				return err
			}
		}
		rest, at = rest[n:], e.End
	}
	return nil
}

// setAside clears what lies behind the last whole batch: a write that a crash has torn. Nobody was told of it, since
// the batch after an acknowledged one vouches for it, and so does a commit mark a second later.
func (r *recovery) setAside() error {
	for _, e := range r.damage {
		r.cfg.hit(ProbeRecoveryTornTail)
		if err := seg.SetAside(r.fs, r.man.Geometry, e); err != nil {
			return err
		}
	}
	if !r.lostEnd {
		r.report.Torn = r.pieces(r.damage)
	}
	r.damage = nil
	return nil
}

// copyTail writes the pending batch again, behind itself, and makes the copy the one that counts.
func (r *recovery) copyTail() error {
	r.cfg.hit(ProbeRecoveryCopiedTail)
	r.report.CopiedTail = true
	geo, p := r.man.Geometry, r.pending
	size := geo.BatchSize(len(p.Records))
	at := r.end
	if geo.SegmentSize-geo.Offset(at) < size || geo.Offset(at) == 0 {
		r.cfg.hit(ProbeRecoveryTailToNextSegment)
		n := geo.Segment(at-1) + 1
		at = geo.First(n)
		if n > r.last {
			if err := seg.PrepareSegment(r.fs, geo, r.man.Store, n); err != nil {
				return err
			}
			r.last = n
		}
	}
	// The original comes to stable storage first. When power fails before the copy is synced, the copy may be whole and the
	// original torn: that would look like corruption in the middle of the log.
	if err := seg.SyncSegment(r.fs, geo.Segment(p.Start)); err != nil {
		return err
	}
	buf := make([]byte, size)
	copy(buf[seg.BatchHeader:], p.Records)
	p.Batch.Address, p.Batch.Durable = at, r.durable
	seg.PutBatch(buf, r.man.Store, &p.Batch)
	log := seg.NewLog(r.fs, geo)
	defer log.Close()
	if err := log.Write(at, buf); err != nil {
		return err
	}
	if err := log.Sync(); err != nil {
		return err
	}
	p.Extent = seg.Extent{Start: at, End: at + seg.Address(size)}
	r.end = p.End
	return nil
}

// machine makes the machine out of what was recovered.
func (r *recovery) machine() *Machine {
	r.report.LSN = r.state.lsn
	m := &Machine{
		cfg: *r.cfg, store: r.man.Store, geo: r.man.Geometry,
		clock: clock{now: r.clock}, rng: rand.NewChaCha8(r.cfg.Seed), state: r.state,
		log: commit{
			geo: r.man.Geometry, store: r.man.Store, next: r.end, last: r.last,
			durable: r.state.lsn, marked: min(r.durable, r.state.lsn),
		},
		snap:   snapshotting{list: r.whole, due: r.start + seg.Address(r.cfg.SnapshotEvery)},
		layout: layout{man: r.man, sealed: r.sealed}, sealing: sealing{damaged: r.hurt},
	}
	m.keeping.untidy = r.untidy
	m.lastDelivery = wire.DeliveryID(m.rng.Uint64() >> 16) // so that those of another process mean nothing
	for _, s := range m.state.streams {                    //det:order-free: each for itself
		for _, g := range s.groups {
			g.headAtStart = s.head
		}
	}
	m.watchAll()
	return m
}

func (r *recovery) pieces(extents []seg.Extent) []Damage {
	var list []Damage
	for _, e := range extents {
		list = append(list, Damage{
			File: seg.SegmentName(r.man.Geometry.Segment(e.Start)), Offset: r.man.Geometry.Offset(e.Start), Length: int64(e.End - e.Start),
		})
	}
	return list
}
