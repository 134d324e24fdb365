package engine_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/kimberlitedb/kimberlite-go/engine"
	"github.com/kimberlitedb/kimberlite-go/engine/seg"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// twoTenants is a log of two tenants, of which the first has two streams. It returns the streams.
func twoTenants(t *testing.T, cfg engine.Config) (r *rig, orders, bills, other wire.StreamID) {
	t.Helper()
	r = newRig(t, cfg)
	orders, bills, other = r.create(1, "orders"), r.create(1, "bills"), r.create(2, "orders")
	for i := range 6 {
		r.append(1, orders, fmt.Sprintf("order %d", i), "and one more")
		r.append(1, bills, fmt.Sprintf("bill %d", i))
		r.append(2, other, fmt.Sprintf("other %d", i))
	}
	r.mark()
	return r, orders, bills, other
}

// batchOf finds the batch with the append of an offset.
func (r *rig) batchOf(s wire.StreamID, o wire.Offset) written {
	r.t.Helper()
	for _, b := range slices.Backward(r.written) {
		for p := b.records; len(p) > 0; {
			var rec seg.Record
			n, err := seg.CheckRecord(p, &rec)
			if err != nil {
				r.t.Fatal(err)
			}
			if rec.Kind == seg.KindAppend && rec.Stream == s && rec.First <= o && o < rec.First+wire.Offset(rec.Count) {
				return b
			}
			p = p[n:]
		}
	}
	r.t.Fatalf("no batch holds offset %d of stream %d", o, s)
	return written{}
}

// describe is a finding in a line.
func describe(f engine.Finding) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s", f.Kind)
	if f.Kind == engine.Leftover {
		fmt.Fprintf(&b, " %s", f.Where[0].File)
	}
	if f.First > 0 {
		fmt.Fprintf(&b, ", entries %d-%d", f.First, f.Last)
	}
	for _, t := range f.Tenants {
		fmt.Fprintf(&b, "; %s lost %d", t.Name, t.Entries)
		for _, s := range t.Streams {
			fmt.Fprintf(&b, ", %s %d-%d", s.Name, s.From, s.To)
		}
	}
	if f.Detail != "" {
		fmt.Fprintf(&b, " (%s)", f.Detail)
	}
	return b.String()
}

func describeAll(r *engine.CheckReport) string {
	var lines []string
	for _, f := range r.Findings {
		lines = append(lines, describe(f))
	}
	return strings.Join(lines, "\n")
}

func TestCheckOfAWholeDirectoryFindsNothing(t *testing.T) {
	r, _, _, _ := twoTenants(t, smallConfig())
	report := r.checked()
	if len(report.Findings) > 0 || report.Damaged() {
		t.Fatalf("found:\n%s", describeAll(report))
	}
	want := engine.CheckReport{
		LSN: 23, Segments: report.Segments, Batches: len(r.written), Entries: 23, Events: 24 + 5, Tenants: 2, Streams: 3, Snapshots: report.Snapshots,
		EventBytes: 6 * int64(len("order 0")+len("and one more")+len("bill 0")+len("other 0")), LogBytes: report.LogBytes,
	}
	if report.EventBytes <= want.EventBytes {
		t.Errorf("the bytes of audit events are not counted in %d", report.EventBytes)
	}
	want.EventBytes = report.EventBytes
	if fmt.Sprint(*report) != fmt.Sprint(want) || report.LogBytes < 512*int64(len(r.written)) {
		t.Errorf("counts %+v, want %+v", *report, want)
	}
}

// One damaged byte costs one batch. The check says whose, as far as what follows tells.
func TestCheckNamesWhatIsLost(t *testing.T) {
	cfg := smallConfig()
	cfg.SnapshotEvery = 1 << 40
	for _, c := range []struct {
		name string
		at   func(r *rig, orders, bills, other wire.StreamID) written
		want string
	}{
		{"in the middle", func(r *rig, orders, _, _ wire.StreamID) written { return r.batchOf(orders, 4) },
			"corruption, entries 12-12; dev lost 1, orders 4-6"},
		{"the last of a tenant", func(r *rig, _, _, other wire.StreamID) written { return r.batchOf(other, 5) },
			"corruption, entries 23-23; dev lost 0; dev lost 0"},
		{"the last but two", func(r *rig, orders, _, _ wire.StreamID) written { return r.batchOf(orders, 10) },
			"corruption, entries 21-21; dev lost 1"},
		{"the making of a stream", func(r *rig, _, _, _ wire.StreamID) written { return r.written[1] },
			"corruption, entries 3-3; dev lost 1, $recovered-2 0-0"},
		{"the making of a tenant", func(r *rig, _, _, _ wire.StreamID) written { return r.written[2] },
			"corruption, entries 4-5; $recovered-2 lost 1, $recovered-3 0-0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, orders, bills, other := twoTenants(t, cfg)
			b := c.at(r, orders, bills, other)
			name, off := r.flip(b.Address+70, 3)
			report := r.checked()
			if got := describeAll(report); got != c.want || !report.Damaged() {
				t.Fatalf("got  %s\nwant %s", got, c.want)
			}
			where := report.Findings[0].Where
			if len(where) != 1 || where[0].File != name || off < where[0].Offset || off >= where[0].Offset+where[0].Length {
				t.Errorf("damage at %s %d reported at %v", name, off, where)
			}
		})
	}
}

// A snapshot behind the damage knows names and heads that the log has lost.
func TestCheckLearnsFromSnapshots(t *testing.T) {
	r, _, _, other := twoTenants(t, smallConfig())
	for range 30 {
		r.append(1, 1, strings.Repeat("x", 500))
	}
	if r.checked().Snapshots == 0 {
		t.Fatal("no snapshot")
	}
	r.flip(r.written[1].Address, 0)
	r.flip(r.batchOf(other, 5).Address+64, 7)
	// The audit event of the lost stream may have been in either hole, since nothing lies between to tell.
	want := "corruption, entries 3-3; dev lost 1, bills 0-0, $audit 2-3\ncorruption, entries 23-23; dev lost 0, $audit 2-3; dev lost 1, orders 5-6"
	if got := describeAll(r.checked()); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// Where the log ends before a snapshot that the manifest names, the rest is lost, however little is left to show it.
func TestCheckMissesTheEndThatASnapshotVouchesFor(t *testing.T) {
	for _, spoilt := range []bool{false, true} {
		r, _, _, _ := twoTenants(t, smallConfig())
		var snapshot seg.LSN
		for snapshot != r.m.Stats().LSN {
			r.append(1, 1, strings.Repeat("x", 500))
			man, err := seg.ReadManifest(r.d.Mount())
			if err != nil {
				t.Fatal(err)
			}
			if len(man.Snapshots) > 0 {
				snapshot = man.Snapshots[0].LSN
			}
		}
		b := r.written[len(r.written)-1]
		r.flip(b.Address, 0)
		want := fmt.Sprintf("corruption, entries %d-%d; dev lost 1, orders", snapshot, snapshot)
		if spoilt {
			change(t, r.d.Mount(), seg.SnapshotName(snapshot), 40, func(p []byte) { p[0]++ })
			want = fmt.Sprintf("corruption, entries %d-%d; dev lost 0; dev lost 0", snapshot, snapshot)
		}
		report := r.checked()
		if got := describeAll(report); !strings.Contains(got, want) {
			t.Errorf("got  %s\nwant %s", got, want)
		}
		if err := r.open(); err != nil {
			t.Fatal(err)
		}
		if spoilt && (len(r.report.Holes) != 1 || r.report.Holes[0].Last != snapshot || len(r.report.Torn) > 0) {
			t.Errorf("recovery reports %+v", r.report)
		}
		if r.m.Stats().LSN != snapshot {
			t.Errorf("the log goes on behind entry %d, not %d", r.m.Stats().LSN, snapshot)
		}
	}
}

func TestCheckFindsBadSnapshots(t *testing.T) {
	r, _, _, _ := twoTenants(t, smallConfig())
	for range 60 {
		r.append(1, 1, strings.Repeat("x", 500))
	}
	fs := r.d.Mount()
	man, err := seg.ReadManifest(fs)
	if err != nil || len(man.Snapshots) != 2 {
		t.Fatal(man, err)
	}
	change(t, fs, seg.SnapshotName(man.Snapshots[0].LSN), 50, func(p []byte) { p[0] ^= 1 })
	state, _, err := seg.ReadSnapshot(fs, man.Store, man.Snapshots[1].LSN)
	if err != nil {
		t.Fatal(err)
	}
	state[24]++ // the last stream's id: as well formed as before
	if err := seg.WriteSnapshot(fs, man.Store, man.Snapshots[1].LSN, state); err != nil {
		t.Fatal(err)
	}
	report := r.checked()
	want := fmt.Sprintf("bad snapshot (read snapshot %d: seg: damaged)\nbad snapshot (its state is not the one that the log makes)", man.Snapshots[0].LSN)
	if got := describeAll(report); got != want || !report.Damaged() || report.Findings[1].Where[0].Length == 0 {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestCheckFindsWhatIsNoDamage(t *testing.T) {
	r, orders, _, _ := twoTenants(t, smallConfig())
	r.append(1, orders, "not vouched for")
	r.flip(r.written[len(r.written)-1].Address+100, 0)
	fs := r.d.Mount()
	for _, name := range []string{"MANIFEST.tmp", seg.SnapshotName(7), seg.TornPrefix + "x.bin"} {
		if f, err := fs.Create(name); err != nil || f.Close() != nil {
			t.Fatal(err)
		}
	}
	report := r.checked()
	if got, want := describeAll(report), "leftover MANIFEST.tmp\nleftover snap-0000000000000007.kbs\ntorn tail"; got != want || report.Damaged() {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if len(report.Kept) != 1 {
		t.Errorf("kept %q", report.Kept)
	}
}

func TestCheckGoesOnBehindAMissingSegment(t *testing.T) {
	cfg := smallConfig()
	cfg.SnapshotEvery = 1 << 40
	r, orders, _, _ := twoTenants(t, cfg)
	for r.m.Stats().Segment < 3 {
		r.append(1, orders, strings.Repeat("x", 400))
	}
	r.mark()
	if err := r.d.Mount().Remove(seg.SegmentName(1)); err != nil {
		t.Fatal(err)
	}
	report := r.checked()
	if len(report.Findings) != 1 || report.Findings[0].Kind != engine.MissingSegment || report.Findings[0].Where[0].File != seg.SegmentName(1) {
		t.Fatalf("found\n%s", describeAll(report))
	}
	if f := report.Findings[0]; len(f.Tenants) != 2 || f.Tenants[0].Entries != uint64(f.Last-f.First+1) {
		t.Errorf("found\n%s", describeAll(report))
	}
	if err := r.open(); err == nil || !strings.Contains(err.Error(), seg.SegmentName(1)) {
		t.Errorf("opened without it: %v", err)
	}
}

func TestCheckFindsScars(t *testing.T) {
	r, orders, _, _ := twoTenants(t, smallConfig())
	mark := r.written[len(r.written)-1]
	r.append(1, orders, "more")
	r.mark()
	r.flip(mark.Address+8, 0)
	change(t, r.d.Mount(), seg.SegmentName(0), 20, func(p []byte) { p[0]++ })
	report := r.checked()
	want := "scar (the segment's header, which the manifest repeats)\nscar"
	if got := describeAll(report); got != want {
		t.Fatalf("got  %s\nwant %s", got, want)
	}
	if err := r.open(); err != nil || len(r.report.Holes)+len(r.report.Torn) > 0 {
		t.Errorf("%v, %+v", err, r.report)
	}
}

// An event's own checksum is the client's proof, from the append to the last reader. An entry that is whole may still
// hold an event that is not.
func TestCheckVerifiesEveryEvent(t *testing.T) {
	r, orders, _, _ := twoTenants(t, smallConfig())
	b := r.batchOf(orders, 6)
	rebuild(t, r, b, func(rec *seg.Record) { rec.Events()[20] ^= 1 })
	want := "bad event; dev lost 0, orders 6-7 (its checksum is not that of its data)"
	report := r.checked()
	if got := describeAll(report); got != want || !report.Damaged() {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// rebuild changes the first record of a batch, and makes its checksum fit again.
func rebuild(t *testing.T, r *rig, b written, how func(*seg.Record)) {
	t.Helper()
	p := append(make([]byte, seg.BatchHeader), b.records...)
	var rec seg.Record
	n, err := seg.ParseRecord(p[seg.BatchHeader:], &rec)
	if err != nil {
		t.Fatal(err)
	}
	how(&rec)
	seg.FinishRecord(p[:seg.BatchHeader+n], seg.BatchHeader)
	seg.PutBatch(p, r.cfg.Store, &b.Batch)
	log := seg.NewLog(r.d.Mount(), r.m.Geometry())
	if err := log.Write(b.Address, p); err != nil {
		t.Fatal(err)
	}
	if err := log.Sync(); err != nil {
		t.Fatal(err)
	}
}

func TestCheckNeedsADataDirectory(t *testing.T) {
	r := newRig(t, smallConfig())
	fs := r.d.Mount()
	change(t, fs, seg.ManifestName, 30, func(p []byte) { p[0]++ })
	if _, err := engine.Check(fs, r.cfg); err == nil || !strings.Contains(err.Error(), "manifest") {
		t.Errorf("with a damaged manifest: %v", err)
	}
	if err := fs.Remove(seg.ManifestName); err != nil {
		t.Fatal(err)
	}
	if _, err := engine.Check(fs, r.cfg); err == nil {
		t.Error("without a manifest")
	}
}

// A snapshot tells which of two holes has swallowed what, and what of one hole came before it and what after.
func TestCheckTellsHolesApart(t *testing.T) {
	r, orders, _, other := twoTenants(t, smallConfig())
	for range 30 {
		r.append(1, orders, strings.Repeat("x", 500))
	}
	r.append(2, other, "the end")
	r.mark()
	man, err := seg.ReadManifest(r.d.Mount())
	if err != nil || len(man.Snapshots) == 0 {
		t.Fatal(man, err)
	}
	snapshot := man.Snapshots[0].LSN
	var first wire.Offset // of the entry after the snapshot
	for _, b := range r.written {
		if b.First == snapshot || b.First == snapshot+1 {
			r.flip(b.Address, 0)
		}
		if b.First == snapshot+1 {
			var rec seg.Record
			if _, err := seg.CheckRecord(b.records, &rec); err != nil || rec.Stream != orders {
				t.Fatal(rec, err)
			}
			first = rec.First
		}
	}
	r.flip(r.batchOf(other, 5).Address, 0)
	want := fmt.Sprintf("corruption, entries 23-23; dev lost 1, orders 5-6\ncorruption, entries %d-%d; dev lost 2, orders %d-%d",
		snapshot, snapshot+1, first-1, first+1)
	if got := describeAll(r.checked()); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}
