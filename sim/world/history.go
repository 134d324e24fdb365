package world

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"

	"github.com/kimberlitedb/kimberlite-go/engine"
	"github.com/kimberlitedb/kimberlite-go/engine/seg"
	"github.com/kimberlitedb/kimberlite-go/sim/check"
	"github.com/kimberlitedb/kimberlite-go/sim/client"
	"github.com/kimberlitedb/kimberlite-go/sim/disk"
	"github.com/kimberlitedb/kimberlite-go/sim/model"
	"github.com/kimberlitedb/kimberlite-go/sim/trace"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// history is what was written to the log, as the driver saw it go by. It tells which loss the disk's damage explains.
type history struct {
	batches []batch // those that count, ascending
	stored  seg.LSN // everything up to here is on stable storage
	hashes  map[seg.LSN][sha256.Size]byte
	sealed  []seg.Section                 // of sealed files, in sectors that the disk has lost
	heads   map[wire.StreamID]wire.Offset // behind the events that are on stable storage
	reached wire.Position                 // the last one of the clerk's tenant that is
}

// batch is one batch of the log.
type batch struct {
	seg.Extent
	first, last seg.LSN // last is first - 1 for a commit mark
	synced      bool
	records     []record
}

// record says whose events a log record holds.
type record struct {
	lsn    seg.LSN
	tenant wire.TenantID
	stream wire.StreamID
	first  wire.Offset
	count  uint32
	at     wire.Position
	oldest wire.Offset // to which that of the stream moves, where it does
}

// oldest returns the oldest offset of a stream, as the log has moved it.
func (h *history) oldest(stream wire.StreamID) (o wire.Offset) {
	for _, b := range h.batches {
		for _, r := range b.records {
			if r.stream == stream {
				o = max(o, r.oldest)
			}
		}
	}
	return o
}

func (h *history) init() { h.hashes = map[seg.LSN][sha256.Size]byte{} }

func (w *World) geometry() seg.Geometry {
	return seg.Geometry{Align: w.plan.Config.Align, SegmentSize: w.plan.Config.SegmentSize}
}

// wrote notes a batch that is about to be written, and the state at its end where nothing was decided behind it.
func (w *World) wrote(s *server, e *engine.Write) {
	w.keep(e.At, e.Data)
	if s.m.Stats().LSN == e.Upto {
		w.history.hashes[e.Upto] = s.m.Hash()
	}
}

// keep notes a batch.
func (w *World) keep(at seg.Address, p []byte) {
	store := w.store()
	h, err := seg.ParseBatch(p, store, at)
	if err != nil {
		return
	}
	b := batch{Extent: seg.Extent{Start: at, End: at + seg.Address(len(p))}, first: h.First, last: h.Last()}
	walk := seg.NewWalker(w.geometry(), store, p, at, false)
	for r := (seg.Record{}); ; {
		ok, err := walk.Next(&r)
		if err != nil || !ok {
			break
		}
		x := record{lsn: r.LSN, tenant: r.Tenant, stream: r.Stream, at: r.Position}
		if r.Kind == seg.KindAppend { // the event of an act is in another stream
			x.first, x.count = r.First, r.Count
		}
		w.tables.Wrote(&r)
		w.cuts.Wrote(&r)
		w.archives.Wrote(&r)
		if r.Kind == seg.KindTrim {
			x.oldest = r.First
		}
		b.records = append(b.records, x)
	}
	w.history.batches = append(w.history.batches, b)
}

// rewrote notes a batch that recovery writes a second time.
func (w *World) rewrote(name string, p []byte, off int64) {
	if n, ok := seg.SegmentNumber(name); ok {
		w.keep(w.geometry().Address(n, off), p)
	}
}

// saved checks that a snapshot of tables is made only of what is on stable storage. It is told what jobs write.
func (w *World) saved(name string, p []byte, off int64) {
	name = strings.TrimSuffix(name, seg.TempSuffix)
	if _, ok := seg.TablesNumber(name); !ok || off > 0 {
		return
	}
	w.suite.Saw(check.State, true)
	if h, err := seg.ParseTables(p); err == nil && h.LSN > w.history.stored {
		w.object("%s is made of entries up to %d, and those up to %d are on stable storage", name, h.LSN, w.history.stored)
	}
}

// stored notes that a batch was synced.
func (w *World) stored(upto seg.LSN) {
	h := &w.history
	w.syncs++
	h.stored = max(h.stored, upto)
	last := &h.batches[len(h.batches)-1]
	last.synced = true
	h.reach(last)
}

// reach notes how far a batch takes streams, now that it is on stable storage.
func (h *history) reach(b *batch) {
	for _, r := range b.records {
		h.heads[r.stream] = max(h.heads[r.stream], r.first+wire.Offset(r.count))
		if r.tenant == client.ClerkTenant {
			h.reached = max(h.reached, r.at)
		}
	}
}

// shown checks that the position which the clerk is told of is on stable storage.
func (w *World) shown(rule check.Invariant, at wire.Position) {
	w.suite.Saw(rule, true)
	if reached := w.history.reached; at > reached && !w.suite.Holes {
		w.suite.Fail(rule, "the clerk is shown position %d, and those up to %d are on stable storage", at, reached)
	}
}

// pushed checks that events which the server pushes are on stable storage.
func (w *World) pushed(stream wire.StreamID, events wire.EventRange) {
	if stream >= 1<<63 || events.Count == 0 {
		return // acts are not noted as events
	}
	first, _ := events.First()
	w.suite.Saw(check.Pushed, true)
	if head := w.history.heads[stream]; first+wire.Offset(events.Count) > head && !w.suite.Holes {
		w.suite.Fail(check.Pushed, "events %d to %d of stream %d are pushed, and those before %d are on stable storage",
			first, int(first)+events.Count-1, stream, head)
	}
}

// recovered checks what recovery made of the log, and what it says is lost.
func (w *World) recovered(s *server, r *engine.Report) {
	w.recoveries++
	if len(r.Torn)+len(r.Holes)+len(r.BadSnapshot)+len(r.BadSealed) > 0 {
		w.trace.Add(trace.Record{Time: w.now, Kind: "report", A: uint64(r.LSN), Note: fmt.Sprintf("torn %v holes %v bad snapshots %v bad sealed %v", r.Torn, r.Holes, r.BadSnapshot, r.BadSealed)})
	}
	w.truncated(r)
	w.tables.Recovered(r.LSN)
	w.cuts.Recovered(r.LSN)
	w.archives.Recovered(r.LSN)
	w.history.heads, w.history.reached = map[wire.StreamID]wire.Offset{}, 0
	for i := range w.history.batches {
		w.history.reach(&w.history.batches[i])
	}
	for _, hole := range r.Holes {
		w.hole(hole)
	}
	h := &w.history
	hash := s.m.Hash()
	if before, ok := h.hashes[r.LSN]; ok && len(r.Holes) == 0 {
		w.suite.Saw(check.State, r.LSN > 0)
		if before != hash {
			w.object("recovery %d: the state at entry %d has hash %x, and had %x when it was decided", s.number, r.LSN, hash[:4], before[:4])
		}
	}
	if len(r.Holes) > 0 {
		clear(h.hashes)
	}
	h.hashes[r.LSN] = hash
	h.stored = r.LSN
	if r.Snapshot > 0 && len(w.disk.disk.Ledger()) == 0 && w.cpu.N(4) == 0 {
		w.replay(s, hash)
	}
}

// truncated takes out of the history what recovery has dropped from the end of the log. What was synced may be missing
// only where the disk has lost it, and only if nothing whole lay behind.
func (w *World) truncated(r *engine.Report) {
	h := &w.history
	whole := false // some later batch is
	for i := len(h.batches) - 1; i >= 0; i-- {
		b := &h.batches[i]
		hit := w.disk.hit(w.geometry(), b.Extent)
		if b.last > r.LSN && b.synced && b.last <= h.stored && !w.elsewhere(i) {
			w.suite.Saw(check.State, true)
			if !hit || whole {
				w.object("recovery %d ends at entry %d, but entries %d to %d were synced and are not damaged", w.lives, r.LSN, b.first, b.last)
				continue
			}
			w.excuse(b.records, true)
			w.keeper.Leave() // what is lost with the log nobody can keep
			w.crew.Leave()
			w.groups.Leave()
			w.clerk.Leave()
			w.hoarder.Leave()
			w.tables.Leave()
			w.notary.Leave()
			w.archivist.Leave()
			w.cuts.Leave()
		}
		whole = whole || (b.synced && !hit)
	}
	for i := range h.batches {
		h.batches[i].synced = h.batches[i].synced || !w.elsewhere(i) // a tail that was copied is safe in its copy only
	}
	h.batches = slices.DeleteFunc(h.batches, func(b batch) bool { return b.last > r.LSN || b.first > r.LSN+1 })
	for lsn := range h.hashes { //det:order-free: deletes by a property of each
		if lsn > r.LSN {
			delete(h.hashes, lsn)
		}
	}
}

// object fails the run because recovery has not restored the durable prefix, unless that is left to the clients to see.
func (w *World) object(format string, args ...any) {
	if !w.plan.Config.Blind {
		w.suite.Fail(check.State, format, args...)
	}
}

// elsewhere reports whether a later batch holds the same entries.
func (w *World) elsewhere(i int) bool {
	for _, c := range w.history.batches[i+1:] {
		if c.first == w.history.batches[i].first && c.last >= c.first {
			return true
		}
	}
	return false
}

// hole checks entries that recovery reports as lost: the disk must have lost them.
func (w *World) hole(hole engine.Hole) {
	w.suite.Holes = true
	w.groups.Leave()
	w.tables.Leave()
	w.cuts.Leave()
	w.suite.Saw(check.State, true)
	var lost []record
	for lsn := hole.First; lsn <= hole.Last; lsn++ {
		found, hit := false, true
		for i := range w.history.batches {
			b := &w.history.batches[i]
			if b.first > lsn || lsn > b.last || !b.synced {
				continue
			}
			found = true
			hit = hit && w.disk.hit(w.geometry(), b.Extent)
			for _, r := range b.records {
				if r.lsn == lsn {
					lost = append(lost, r)
				}
			}
		}
		if found && !hit {
			w.object("recovery %d reports entry %d as lost, but it is not damaged", w.lives, lsn)
			return
		}
	}
	for _, t := range w.model.Tenants {
		t.Shaky = true
	}
	w.excuse(lost, false)
}

// excuse lets go of entries that the disk has lost. Those at the end of the log may be written anew.
func (w *World) excuse(list []record, tail bool) {
	for _, r := range list {
		t := w.tenant(r.tenant)
		if t == nil {
			continue
		}
		t.Shaky, t.Times = true, nil
		st := w.model.ByID[r.stream]
		if st == nil {
			continue
		}
		st.Shaky = true
		if r.count == 0 {
			st.Exists = false
			if tail {
				delete(w.model.ByID, st.ID)
				st.ID = 0
			}
			continue
		}
		st.Head = min(st.Head, r.first)
		if !tail {
			st.Lost = append(st.Lost, model.Span{From: r.first, To: r.first + wire.Offset(r.count)})
			continue
		}
		st.Lose(r.first)
	}
}

func (w *World) tenant(id wire.TenantID) *model.Tenant {
	if id == 0 || int(id) > len(w.model.Tenants) {
		return nil
	}
	return w.model.Tenant(int(id))
}

// damaged reports whether damage on disk explains that an event cannot be read.
func (w *World) damaged(st *model.Stream, o wire.Offset) bool {
	if len(w.disk.disk.Ledger()) == 0 {
		return false
	}
	if _, lost := st.LostAt(o); lost {
		return true
	}
	for i := range w.history.sealed {
		if s := &w.history.sealed[i]; s.Stream == st.ID && s.First <= o && o < s.Next {
			return true
		}
	}
	known := false
	for i := range w.history.batches {
		b := &w.history.batches[i]
		for _, r := range b.records {
			if r.stream == st.ID && r.first <= o && o < r.first+wire.Offset(r.count) {
				if known = true; w.disk.hit(w.geometry(), b.Extent) {
					return true
				}
			}
		}
	}
	return !known
}

// sealedSections returns the indexes of all sealed files that can be read, by name.
func (w *World) sealedSections() map[string]*seg.SealedIndex {
	fs := w.disk.disk.Clone().Mount()
	all := map[string]*seg.SealedIndex{}
	names, _ := fs.List() // of a copy, which no fault reaches
	for _, name := range names {
		if number, ok := seg.SealedNumber(name); ok {
			if x, err := seg.ReadSealedIndex(fs, w.store(), number); err == nil {
				all[name] = x
			} else if x, _, err := seg.RebuildIndex(fs, w.store(), number, seg.Summarize); err == nil {
				all[name] = x
			}
		}
	}
	return all
}

// sealedLost notes what damage to a sealed file has taken.
func (w *World) sealedLost(d disk.Damage, files map[string]*seg.SealedIndex) {
	x := files[d.Name]
	if x == nil {
		return
	}
	for _, s := range x.Sections {
		if b := s.Block; b >= 0 && x.Blocks[b].Offset < d.Off+d.Len && d.Off < x.Blocks[b].End() {
			w.history.sealed = append(w.history.sealed, s)
		}
	}
}

// replay recovers a copy of the disk without its snapshots, or from the older one where the log does not reach back to its
// first entry: that must give the same state.
func (w *World) replay(s *server, want [sha256.Size]byte) {
	copied := w.disk.disk.Clone()
	fs := copied.Mount()
	man, err := seg.ReadManifest(fs)
	if err == nil {
		if man.First == 0 {
			man.Snapshots = nil
		} else {
			man.Snapshots = man.Snapshots[1:]
		}
		err = seg.WriteManifest(fs, man)
	}
	if err != nil {
		w.suite.Fail(check.State, "recovery %d: the manifest of a recovered disk: %v", s.number, err)
		return
	}
	c := w.engineConfig()
	c.Probe = nil
	m, _, err := engine.Open(fs, c)
	w.suite.Saw(check.State, true)
	if err != nil {
		w.suite.Fail(check.Live, "recovery %d: the directory opens with its snapshots but not without: %v", s.number, err)
	} else if got := m.Hash(); got != want {
		w.suite.Fail(check.State, "recovery %d: replay from the beginning gives hash %x, snapshot and tail give %x", s.number, got[:4], want[:4])
	}
}

// explains reports whether the disk's damage explains that recovery fails, for ever: the manifest is damaged, and was not
// written anew since, or every snapshot is that it names. What passes, such as a failed read, does not count.
func (w *World) explains() bool {
	if len(w.disk.disk.Ledger()) == 0 {
		return false
	}
	man, err := seg.ReadManifest(w.disk.disk.Clone().Mount())
	if err != nil {
		return w.disk.ruined(seg.ManifestName)
	}
	return man.First > 0 && !slices.ContainsFunc(man.Snapshots, func(s seg.SnapshotMark) bool { return !w.disk.ruined(seg.SnapshotName(s.LSN)) })
}

// bounded checks what waits for a connection.
func (w *World) bounded(p *peer) {
	c := &w.plan.Config
	each := 2*128 + c.MaxBatchBytes + 28
	limit := 30*c.MaxUnsent + c.MaxInflight*each + 2*p.largest
	w.suite.Saw(check.Bounded, p.waiting > c.MaxUnsent/2)
	if p.waiting > limit {
		w.suite.Fail(check.Bounded, "%d bytes of replies wait for a connection, at most %d may", p.waiting, limit)
	}
	if limit := c.MaxUnsent + 4*p.push; p.pushed > limit {
		w.suite.Fail(check.Bounded, "%d bytes of pushes wait for a connection, at most %d may", p.pushed, limit)
	}
}
