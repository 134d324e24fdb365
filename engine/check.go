package engine

import (
	"cmp"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"slices"
	"strings"

	"github.com/kimberlitedb/kimberlite-go/engine/seg"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// CheckReport says what a check of a data directory found.
type CheckReport struct {
	Findings []Finding
	Kept     []string // files in which recoveries have kept unfinished writes, and repairs what they replaced

	LSN         seg.LSN // of the last entry
	Segments    int
	Snapshots   int // named by the manifest
	Tables      int // snapshots of tables, the same
	Checkpoints int // kept ones
	Sealed      int // sealed files
	Batches     int // whole ones
	LogBytes    int64
	SealedSize  int64 // of the sealed files
	Entries     int   // in both
	Events      int   // in both
	EventBytes  int64 // of data
	Tenants     int
	Streams     int
}

// Finding is one thing that is not as it should be.
type Finding struct {
	Kind        FindingKind
	Where       []Damage     // not empty
	First, Last seg.LSN      // entries that are lost; none where First is 0
	Tenants     []TenantLoss // who has lost something, or may have
	Detail      string       // may be empty
}

// FindingKind says what a finding is.
type FindingKind string

// The kinds of findings. The first two are what a crash may leave and the next start tidies up; the others are damage.
const (
	Leftover       FindingKind = "leftover"            // an unfinished file
	TornTail       FindingKind = "torn tail"           // an unfinished write: nobody was told that it is durable
	Corruption     FindingKind = "corruption"          // bytes of the log are not what was written
	MissingSegment FindingKind = "missing segment"     // corruption of the worst kind
	Scar           FindingKind = "scar"                // corruption where nothing lies that counts
	BadSnapshot    FindingKind = "bad snapshot"        // loses nothing, while the log or another one holds the same
	BadTables      FindingKind = "bad tables snapshot" // loses nothing, while $sql is whole or another one holds the same
	BadCheckpoint  FindingKind = "bad checkpoint"      // loses no event, but the proof of what there was
	BadSealed      FindingKind = "bad sealed file"     // bytes of a sealed file are not what was written
	MissingEvents  FindingKind = "missing events"      // no file holds them, and nothing else says why
	BadEvent       FindingKind = "bad event"           // its checksum is not that of its data, although its entry is whole
)

// Damage reports whether findings of a kind are more than what a crash leaves.
func (k FindingKind) Damage() bool { return k != Leftover && k != TornTail }

// TenantLoss is what a finding means for a tenant. Where it spans several findings, each names it.
type TenantLoss struct {
	Tenant  wire.TenantID
	Name    string
	Entries uint64 // lost; 0 where that cannot be told, since nothing later of the tenant is there
	Streams []StreamLoss
}

// StreamLoss is a range [From, To) of lost offsets. It is empty where the making of the stream alone is lost.
type StreamLoss struct {
	Stream   wire.StreamID
	Name     string
	From, To wire.Offset
}

// Damaged reports whether anything is worse than what a crash leaves.
func (r *CheckReport) Damaged() bool {
	return slices.ContainsFunc(r.Findings, func(f Finding) bool { return f.Kind.Damage() })
}

// Check verifies a data directory that no machine uses: every block of every sealed file, and the log from its first
// entry, or from the older snapshot, to its last: every record, every event, and every snapshot against the state that the
// log makes. It changes nothing. Where it cannot go on, it returns
// what it has found until then, and why.
func Check(fs seg.Files, cfg Config) (*CheckReport, error) {
	man, err := seg.ReadManifest(fs)
	if err != nil {
		return &CheckReport{}, err
	}
	c := checker{
		r:       recovery{fs: fs, cfg: &cfg, man: man, state: newState(), start: man.Geometry.First(man.First), durable: vouched(man)},
		tenants: map[wire.TenantID]sight{}, streams: map[wire.StreamID]sight{},
	}
	c.r.each = c.entry
	for _, part := range []func() error{c.files, c.snapshots, c.sealed, c.log, c.covered, c.tables, c.checkpoints} {
		if err = part(); err != nil {
			break
		}
	}
	return c.finish(err == nil), err
}

// checker is the state of one check.
type checker struct {
	r       recovery
	report  CheckReport
	holes   []*Finding // of those that recovery has reported, in order
	tenants map[wire.TenantID]sight
	streams map[wire.StreamID]sight
	whole   []*state // what snapshots hold, ascending; the replay has yet to pass them
	nexts   []seg.Address
	indexes []*seg.SealedIndex
	names   *state   // the newest of them, which knows names that the log may have lost
	last    uint64   // segment
	missing []uint64 // segments before it
}

// sight is the last that was seen of a tenant or a stream: its position or its head, at an entry.
type sight struct {
	lsn seg.LSN
	n   uint64
}

// files looks for what is missing and for what does not belong here.
func (c *checker) files() (err error) {
	if c.last, c.missing, err = seg.Segments(c.r.fs, c.r.man.First); err != nil {
		return err
	}
	names, err := c.r.fs.List()
	if err != nil {
		return fmt.Errorf("list data directory: %w", err)
	}
	for _, name := range names {

		switch {
		case name == seg.SegmentName(c.last+1)+seg.TempSuffix: // is always being made
		case c.r.man.Leftover(name):
			c.add(Finding{Kind: Leftover, Where: []Damage{c.file(name)}})
		case strings.HasPrefix(name, seg.TornPrefix), strings.HasPrefix(name, seg.KeptPrefix):
			c.report.Kept = append(c.report.Kept, name)
		}
	}
	return nil
}

// snapshots reads the snapshots that the manifest names.
func (c *checker) snapshots() error {
	c.report.Snapshots = len(c.r.man.Snapshots)
	for _, mark := range c.r.man.Snapshots {
		lsn := mark.LSN
		s, next, _, err := readSnapshot(c.r.fs, c.r.man, mark)
		switch {
		case err == nil:
			c.whole = append([]*state{&s}, c.whole...)
			c.nexts = append([]seg.Address{next}, c.nexts...)
		case errors.Is(err, seg.ErrNewerFormat), errors.Is(err, seg.ErrCrashed):
			return err
		case !errors.Is(err, seg.ErrOlderFormat):
			c.badSnapshot(lsn, err.Error())
		}
	}
	if n := len(c.whole); n > 0 {
		c.names = c.whole[n-1]
	}
	return nil
}

// begin has the replay begin at the older snapshot.
func (c *checker) begin() {
	r, s := &c.r, c.whole[0]
	r.state, r.start = *s, c.nexts[0]
	r.state.shed(r.man.Geometry.Address(r.man.First, 0))
	c.whole = c.whole[1:]
	for _, t := range s.order {
		c.tenants[t.id] = sight{s.lsn, uint64(t.position)}
		for _, x := range t.streams {
			c.streams[x.id] = sight{s.lsn, uint64(x.head)}
		}
	}
}

func (c *checker) badSnapshot(lsn seg.LSN, detail string) {
	c.add(Finding{Kind: BadSnapshot, Where: []Damage{c.file(seg.SnapshotName(lsn))}, Detail: detail})
}

// log walks through the log, as recovery would from its first entry on.
func (c *checker) log() error {
	r := &c.r
	if r.man.First > 0 {
		if len(c.whole) == 0 {
			return errors.New("no snapshot is whole, and the log begins behind them: put one back from a copy of the data directory")
		}
		c.begin()
		if err := c.earlier(); err != nil {
			return err
		}
	}
	r.end = r.start
	for n := r.man.First; n < r.man.Geometry.Segment(r.start); n++ {
		c.report.Segments++ // earlier has looked at it
	}
	for n := r.man.Geometry.Segment(r.start); n <= c.last; n++ {
		if slices.Contains(c.missing, n) {
			r.damage = append(r.damage, seg.Extent{Start: r.man.Geometry.Address(n, 0), End: r.man.Geometry.Address(n+1, 0)})
			continue
		}
		if err := c.segment(n); err != nil {
			return err
		}
	}
	if err := r.finish(); err != nil {
		return err
	}
	return r.flush()
}

func (c *checker) segment(n uint64) error {
	c.report.Segments++
	err := seg.CheckSegment(c.r.fs, c.r.man, n)
	if errors.Is(err, seg.ErrDamaged) {
		where := Damage{File: seg.SegmentName(n), Length: int64(c.r.man.Geometry.Align)}
		c.add(Finding{Kind: Scar, Where: []Damage{where}, Detail: "the segment's header, which the manifest repeats"})
	} else if err != nil {
		return err
	}
	return seg.ScanSegment(c.r.fs, c.r.man, n, c.r.start, c.r.visit)
}

// entry takes up one entry, which has just been applied.
func (c *checker) entry(r *seg.Record, at seg.Extent) error {
	c.takeHoles()
	c.passSnapshots(r.LSN)
	switch {
	case r.Flags&seg.FlagRestored != 0: // its position is one of the past
	case r.Kind == seg.KindRestoreTenant, r.Kind == seg.KindRestored:
		c.sawRestored(r)
	case r.Kind == seg.KindCreateTenant:
		c.tenants[r.Tenant] = sight{r.LSN, uint64(r.Position)}
	case r.Position > 0:
		c.sawTenant(r.Tenant, r.LSN, r.Position-1, r.Position)
	}
	switch {
	case r.Kind == seg.KindCreateStream && r.Flags&seg.FlagRestored == 0:
		c.streams[r.Stream] = sight{lsn: r.LSN}
	case r.Kind == seg.KindAppend:
		c.sawStream(r.Tenant, r.Stream, r.LSN, r.First, r.First+wire.Offset(r.Count))
	}
	if _, _, ok := r.AuditEvent(); ok {
		c.sawStream(r.Tenant, auditStream(r.Tenant), r.LSN, r.First, r.First+1)
	}
	c.record(r, at)
	c.compare(r.LSN)
	return nil
}

// sawRestored takes up that a tenant begins to come from an archive, or is all there: its streams begin, and end, where the archive has
// them, and their positions too.
func (c *checker) sawRestored(r *seg.Record) {
	t := c.r.state.tenants[r.Tenant]
	if t == nil || t.origin == nil {
		return // its beginning is lost
	}
	c.tenants[t.id] = sight{r.LSN, uint64(t.position)}
	for _, x := range t.streams {
		c.streams[x.id] = sight{r.LSN, uint64(x.head)}
	}
}

// record counts an entry and verifies its events.
func (c *checker) record(r *seg.Record, at seg.Extent) {
	c.report.Entries++
	if r.Kind == seg.KindAppend {
		c.events(r, r.Stream, r.Events(), at)
	}
	if event, _, ok := r.AuditEvent(); ok {
		c.events(r, auditStream(r.Tenant), event, at)
	}
}

// compare holds the state against the snapshot of an entry, if there is one. Behind a hole they may well differ.
func (c *checker) compare(lsn seg.LSN) {
	if len(c.whole) == 0 || c.whole[0].lsn != lsn || c.r.state.holed {
		return
	}
	s := c.whole[0]
	c.whole = c.whole[1:]
	if s.hash() != c.r.state.hash() {
		c.badSnapshot(lsn, "its state is not the one that the log makes")
		c.names = nil
	}
}

// events verifies the events that an entry adds to a stream.
func (c *checker) events(r *seg.Record, stream wire.StreamID, p []byte, at seg.Extent) {
	next := r.First
	end := r.First + wire.Offset(r.Count)
	for ; next < end; next++ {
		e, rest, ok := wire.NextEvent(p)
		if !ok || e.Offset != next {
			c.badEvent(r.Tenant, stream, at, span{next, end}, "its entry does not hold it")
			return
		}
		if crc32.ChecksumIEEE(e.Data) != e.Checksum {
			c.badEvent(r.Tenant, stream, at, span{next, next + 1}, "its checksum is not that of its data")
		}
		c.report.Events++
		c.report.EventBytes += int64(len(e.Data))
		p = rest
	}
}

func (c *checker) badEvent(tenant wire.TenantID, stream wire.StreamID, at seg.Extent, lost span, detail string) {
	f := Finding{Kind: BadEvent, Where: c.r.pieces([]seg.Extent{at}), Detail: detail}
	f.tenant(tenant).Streams = []StreamLoss{{Stream: stream, From: lost.from, To: lost.to}}
	c.add(f)
}

// takeHoles makes findings of the holes that recovery has come upon.
func (c *checker) takeHoles() {
	for _, h := range c.r.report.Holes[len(c.holes):] {
		c.holes = append(c.holes, &Finding{Kind: c.corruption(h.Damage), Where: h.Damage, First: h.First, Last: h.Last})
	}
}

// corruption tells corruption by its worst piece.
func (c *checker) corruption(where []Damage) FindingKind {
	for _, d := range where {
		if d.Length == c.r.man.Geometry.SegmentSize { // headers are never part of it otherwise
			return MissingSegment
		}
	}
	return Corruption
}

// passSnapshots learns what the log has lost from the snapshots of entries that are lost, or lie behind lost ones.
func (c *checker) passSnapshots(before seg.LSN) {
	for len(c.whole) > 0 && c.whole[0].lsn < before {
		s := c.whole[0]
		c.whole = c.whole[1:]
		for _, t := range s.order {
			c.sawTenant(t.id, s.lsn, t.position, t.position)
			for _, x := range t.streams {
				c.sawStream(t.id, x.id, s.lsn, x.head, x.head)
			}
		}
	}
}

// sawTenant takes up that a tenant got from one position to another with an entry. What lies between the first and what
// was last seen of it is lost in a hole.
func (c *checker) sawTenant(id wire.TenantID, lsn seg.LSN, from, to wire.Position) {
	last, known := c.tenants[id]
	if known && lsn <= last.lsn {
		return
	}
	c.tenants[id] = sight{lsn, uint64(to)}
	if known && uint64(from) <= last.n {
		return
	}
	for _, f := range c.between(last.lsn, lsn) {
		f.tenant(id).Entries += uint64(from) - last.n
	}
}

func (c *checker) sawStream(tenant wire.TenantID, id wire.StreamID, lsn seg.LSN, from, to wire.Offset) {
	last, known := c.streams[id]
	if known && lsn <= last.lsn {
		return
	}
	c.streams[id] = sight{lsn, uint64(to)}
	if known && uint64(from) <= last.n || id >= systemStreams && from == 0 { // those have no making that could be lost
		return
	}
	for _, f := range c.between(last.lsn, lsn) {
		f.tenant(tenant).lose(id, wire.Offset(last.n), from)
	}
}

// between returns the holes behind one entry and before another, or part of which is.
func (c *checker) between(after, upto seg.LSN) (list []*Finding) {
	for _, f := range c.holes {
		if after < f.Last && f.First <= upto {
			list = append(list, f)
		}
	}
	return list
}

// tenant returns the finding's entry for a tenant.
func (f *Finding) tenant(id wire.TenantID) *TenantLoss {
	i := slices.IndexFunc(f.Tenants, func(t TenantLoss) bool { return t.Tenant == id })
	if i < 0 {
		i = len(f.Tenants)
		f.Tenants = append(f.Tenants, TenantLoss{Tenant: id})
	}
	return &f.Tenants[i]
}

// lose adds a range of a stream, which goes on where the last one of the stream ends, if there is one.
func (t *TenantLoss) lose(id wire.StreamID, from, to wire.Offset) {
	i := slices.IndexFunc(t.Streams, func(s StreamLoss) bool { return s.Stream == id })
	if i < 0 {
		t.Streams = append(t.Streams, StreamLoss{Stream: id, From: from, To: to})
		return
	}
	t.Streams[i].To = to
}

// finish completes the report. What lies behind the last whole batch means something only where the log was read to its
// end.
func (c *checker) finish(ended bool) *CheckReport {
	c.takeHoles()
	c.passSnapshots(c.r.state.lsn + 1)
	for _, f := range c.holes {
		for _, id := range slices.Sorted(maps.Keys(c.tenants)) { //det:order-free: sorted
			if c.tenants[id].lsn < f.Last {
				f.tenant(id) // nothing later says that it has lost nothing
			}
		}
		c.add(*f)
	}
	for _, d := range c.r.report.Scars {
		f := Finding{Kind: Scar, Where: []Damage{d}}
		if c.corruption(f.Where) == MissingSegment {
			f.Kind = MissingSegment
		}
		c.add(f)
	}
	if ended && len(c.r.damage) > 0 && !c.r.lostEnd {
		c.add(Finding{Kind: TornTail, Where: c.r.pieces(c.r.damage)})
	}
	for i := range c.report.Findings {
		c.name(&c.report.Findings[i])
	}
	c.report.LSN, c.report.Batches, c.report.LogBytes = c.r.state.lsn, c.r.report.Batches, c.r.report.Bytes
	c.report.Tenants, c.report.Streams = len(c.r.state.order), len(c.r.state.streams)-len(c.r.state.order)
	return &c.report
}

// name fills in the names of tenants and streams, in order.
func (c *checker) name(f *Finding) {
	slices.SortFunc(f.Tenants, func(a, b TenantLoss) int { return cmp.Compare(a.Tenant, b.Tenant) })
	for i := range f.Tenants {
		t := &f.Tenants[i]
		for _, s := range []*state{c.names, &c.r.state} {
			if s == nil {
				continue
			}
			if x := s.tenants[t.Tenant]; x != nil && t.Name == "" {
				t.Name = x.name
			}
			for j := range t.Streams {
				if x := s.streams[t.Streams[j].Stream]; x != nil && t.Streams[j].Name == "" {
					t.Streams[j].Name = x.name
				}
			}
		}
	}
}

func (c *checker) add(f Finding) { c.report.Findings = append(c.report.Findings, f) }

// file returns a whole file as damage.
func (c *checker) file(name string) Damage {
	d := Damage{File: name}
	if f, err := c.r.fs.Open(name); err == nil {
		d.Length, _ = f.Size() // for show only
		f.Close()
	}
	return d
}
