package world

import (
	"errors"
	"slices"
	"strings"

	"github.com/kimberlitedb/kimberlite-go/engine/seg"
	"github.com/kimberlitedb/kimberlite-go/sim/disk"
	"github.com/kimberlitedb/kimberlite-go/sim/fault"
	"github.com/kimberlitedb/kimberlite-go/sim/rng"
)

// errIO is what a disk says when it fails.
var errIO = errors.New("input/output error")

// storage is the run's disk, and what goes wrong with it.
type storage struct {
	w      *World
	disk   *disk.Disk
	where  string // who uses the disk now: the log, a job, or recovery
	places map[string]troubles
	dead   bool // the process is being taken down: nothing it does counts
	slow   *fault.Point
	full   *fault.Point
	rot    *fault.Point
	unread *fault.Point
	loss   *rng.Rand
	filled int64 // until when the disk is full
}

// troubles are the faults of one user of the disk.
type troubles struct{ fsync, eio, short *fault.Point }

func newStorage(w *World) *storage {
	s := &storage{
		w: w, disk: disk.New(w.plan.Config.Sector), places: map[string]troubles{}, loss: w.source.Stream("disk.loss"),
		slow: w.in.Point("slow", "disk"), full: w.in.Point("full", "tick"),
		rot: w.in.Point("rot", "tick"), unread: w.in.Point("unreadable", "tick"),
	}
	for _, where := range []string{"log", "job", "recovery"} {
		s.places[where] = troubles{w.in.Point("fsync", where), w.in.Point("eio", where), w.in.Point("short", where)}
	}
	s.disk.Hook = s.verdict
	return s
}

func (s *storage) files() seg.Files { return s.disk.Mount() }

// verdict lets an operation fail now and then.
func (s *storage) verdict(op disk.Op) disk.Verdict {
	if s.dead || s.where == "" {
		return disk.Verdict{}
	}
	t := s.places[s.where]
	switch op.Kind {
	case disk.OpSync, disk.OpSyncDir:
		if _, ok := t.fsync.Fire(); ok {
			s.w.in.Observe("fsync")
			return disk.Verdict{Err: errIO}
		}
	case disk.OpRead, disk.OpWrite:
		if rand, ok := t.short.Fire(); ok {
			s.w.in.Observe("short")
			return disk.Verdict{Err: errIO, Short: rand.N(op.Len)}
		}
		fallthrough
	case disk.OpCreate, disk.OpOpen, disk.OpRename, disk.OpRemove, disk.OpList:
		if _, ok := t.eio.Fire(); ok {
			s.w.in.Observe("eio")
			return disk.Verdict{Err: errIO}
		}
	}
	return disk.Verdict{}
}

// tick lets the disk fill up, rot, or recover.
func (s *storage) tick() {
	now := s.w.now
	if rand, ok := s.full.Fire(); ok {
		s.disk.Capacity = s.disk.Used() + rand.Log(1, s.w.plan.Config.SegmentSize)
		s.filled = now + rand.Log(100_000_000, 30_000_000_000)
		s.w.in.Observe("full")
	}
	if s.filled != 0 && now > s.filled {
		s.disk.Capacity, s.filled = 0, 0
	}
	if rand, ok := s.rot.Fire(); ok {
		s.damage(rand, disk.Rotten, "rot")
	}
	if rand, ok := s.unread.Fire(); ok {
		s.damage(rand, disk.Unreadable, "unreadable")
	}
}

// damage damages a sector. Sectors of the log outnumber all others by far, so one time in four a snapshot is aimed at, and
// one time in four a sealed file, and one time in four a snapshot of tables, where there is one. Of two snapshots seldom both are damaged, since no database outlives
// that.
func (s *storage) damage(rand *rng.Rand, kind disk.DamageKind, name string) {
	rare, aim := rand.N(64) == 0, rand.N(4)
	isSnapshot := func(name string) bool { return strings.HasSuffix(name, ".kbs") && (rare || !s.snapshotRuined()) }
	isSealed := func(name string) bool { return strings.HasSuffix(name, ".kbz") }
	isTables := func(name string) bool { return strings.HasSuffix(name, ".kbt") }
	sealed := s.w.sealedSections()
	d, ok := disk.Damage{}, false
	if s.w.cuts.Any() && rand.N(4) == 0 {
		d, ok = s.disk.Rot(rand, kind, func(name string) bool { return strings.HasSuffix(name, ".kbc") || strings.HasSuffix(name, ".kbl") })
		aim = 4 // nothing else
	}
	switch aim {
	case 0:
		d, ok = s.disk.Rot(rand, kind, isSnapshot)
	case 1:
		d, ok = s.disk.Rot(rand, kind, isSealed)
	case 2:
		d, ok = s.disk.Rot(rand, kind, isTables)
	}
	if !ok {
		d, ok = s.disk.Rot(rand, kind, func(name string) bool {
			return strings.HasSuffix(name, ".seg") || isSnapshot(name) || isSealed(name) || isTables(name) || (rare && name == seg.ManifestName)
		})
	}
	if ok {
		s.w.sealedLost(d, sealed)
		s.w.in.Observe(name)
		s.w.note(name+" "+d.Name, uint64(d.Off), uint64(d.Len), 0)
	}
}

// heal ends all faults of the disk but damage, which lasts.
func (s *storage) heal() { s.disk.Capacity, s.filled = 0, 0 }

func (s *storage) power() {
	s.w.in.Observe("power")
	s.disk.PowerLoss(s.loss, disk.Loss{Torn: s.w.plan.Config.Torn, Garbage: s.w.plan.Config.Garbage})
}

func (s *storage) process() {
	s.w.in.Observe("process")
	s.disk.ProcessCrash()
}

// faulty reports whether anything has gone wrong with the disk so far.
func (s *storage) faulty() bool {
	for _, kind := range []string{"fsync", "eio", "short", "full", "unreadable", "rot"} {
		if s.w.in.Count(kind).Injected > 0 {
			return true
		}
	}
	return false
}

// snapshotRuined reports whether the ledger has damage to a snapshot that is still there.
func (s *storage) snapshotRuined() bool {
	names, _ := s.disk.Clone().Mount().List() // of a copy, which no fault reaches
	return slices.ContainsFunc(names, func(name string) bool { return strings.HasSuffix(name, ".kbs") && s.ruined(name) })
}

// ruined reports whether the ledger has damage to a file.
func (s *storage) ruined(name string) bool {
	for _, d := range s.disk.Ledger() {
		if d.Name == name {
			return true
		}
	}
	return false
}

// hit reports whether the ledger has damage to a piece of the log.
func (s *storage) hit(geo seg.Geometry, e seg.Extent) bool {
	for _, d := range s.disk.Ledger() {
		n, ok := seg.SegmentNumber(d.Name)
		if ok && geo.Address(n, d.Off) < e.End && geo.Address(n, d.Off+d.Len) > e.Start {
			return true
		}
	}
	return false
}
