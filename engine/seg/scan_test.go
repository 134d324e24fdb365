package seg_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/kimberlitedb/kimberlite-go/engine/seg"
	"github.com/kimberlitedb/kimberlite-go/sim/disk"
	"github.com/kimberlitedb/kimberlite-go/sim/rng"
)

// verdicts shows findings in one line each.
func verdicts(found []seg.Finding) (list []string) {
	for _, f := range found {
		if f.Damaged {
			list = append(list, fmt.Sprintf("damaged [%d, %d)", f.Start, f.End))
		} else {
			list = append(list, fmt.Sprintf("batch [%d, %d) %d+%d", f.Start, f.End, f.Batch.First, f.Batch.Count))
		}
	}
	return list
}

// expected shows what a scan of the log finds where the blocks of the batches named are damaged.
func (l *log) expected(damaged func(i int) bool) (list []string) {
	for i, b := range l.batches {
		if damaged(i) {
			list = append(list, fmt.Sprintf("damaged [%d, %d)", b.Start, b.End))
		} else {
			list = append(list, fmt.Sprintf("batch [%d, %d) %d+%d", b.Start, b.End, b.first, b.count))
		}
	}
	return list
}

func TestScanFindsEveryBatch(t *testing.T) {
	l := newLog(t)
	found := scan(t, l.d.Mount(), small)
	if got, want := verdicts(found), l.expected(func(int) bool { return false }); !slices.Equal(got, want) {
		t.Fatalf("got %q\nwant %q", got, want)
	}
	for _, f := range found {
		if err := f.Batch.CheckRecords(f.Records); err != nil || uint32(len(f.Records)) != f.Batch.Length {
			t.Errorf("batch at %d: %d bytes of records, %v", f.Start, len(f.Records), err)
		}
	}
}

// Any damaged byte of any batch is found, and costs that batch alone.
func TestScanFindsEveryDamagedByte(t *testing.T) {
	l := newLog(t)
	name := func(a seg.Address) string { return seg.SegmentName(small.Segment(a)) }
	for i, b := range l.batches {
		for at := b.Start; at < b.Start+seg.Address(b.used); at++ {
			off := small.Offset(at)
			old := get(l.d.Mount(), name(at))[off]
			put(t, l.d.Mount(), name(at), off, []byte{old ^ 0x40})
			got := verdicts(scan(t, l.d.Mount(), small))
			put(t, l.d.Mount(), name(at), off, []byte{old})
			// Of a batch of two blocks the second may be taken for what it is by itself: zeros.
			if want := l.expected(func(j int) bool { return j == i }); !slices.Equal(got, want) {
				t.Fatalf("byte %d of batch %d: got %q\nwant %q", at-b.Start, i, got, want)
			}
		}
	}
}

// A sector that cannot be read is damage too, and so is the part of a file that is missing.
func TestScanReportsWhatCannotBeRead(t *testing.T) {
	l := newLog(t)
	l.d.Hook = func(op disk.Op) disk.Verdict {
		b := l.batches[3]
		if op.Kind == disk.OpRead && op.Name == seg.SegmentName(0) &&
			op.Off < small.Offset(b.Start)+512 && op.Off+int64(op.Len) > small.Offset(b.Start) {
			return disk.Verdict{Err: errors.New("input/output error")}
		}
		return disk.Verdict{}
	}
	got := verdicts(scan(t, l.d.Mount(), small))
	if want := l.expected(func(j int) bool { return j == 3 }); !slices.Equal(got, want) {
		t.Fatalf("got %q\nwant %q", got, want)
	}
}

// Whatever a crash leaves of the last batch, the scan takes it as damage or as nothing, or as the whole batch.
func TestScanOfATornTail(t *testing.T) {
	p, _ := encode(small, small.First(0), 1, 700, 20)
	used := len(bytes.TrimRight(p, "\x00"))
	garbage := make([]byte, len(p))
	rng.Source(1).Stream("garbage").Fill(garbage)
	for _, behind := range [][]byte{make([]byte, len(p)), garbage} {
		for n := 0; n <= len(p); n++ {
			d := segments(t, small, 1)
			torn := append(bytes.Clone(p[:n]), behind[n:]...)
			put(t, d.Mount(), seg.SegmentName(0), small.Offset(small.First(0)), torn)
			found := scan(t, d.Mount(), small)
			whole := len(found) > 0 && !found[0].Damaged
			if whole != bytes.Equal(torn[:used], p[:used]) {
				t.Fatalf("%d bytes of %d: %q", n, used, verdicts(found))
			}
			if blank := len(bytes.TrimLeft(torn, "\x00")) == 0; blank != (len(found) == 0) {
				t.Fatalf("%d bytes of %d: %q", n, used, verdicts(found))
			}
		}
	}
}

// Every subset of the sectors of the last batch.
func TestScanOfATailWithoutSomeSectors(t *testing.T) {
	p, _ := encode(small, small.First(0), 1, 1200, 200)
	sectors := len(p) / 512
	for kept := range 1 << sectors {
		d := segments(t, small, 1)
		for i := range sectors {
			if kept>>i&1 == 1 {
				put(t, d.Mount(), seg.SegmentName(0), small.Offset(small.First(0))+int64(512*i), p[512*i:512*(i+1)])
			}
		}
		found := scan(t, d.Mount(), small)
		whole := len(found) == 1 && !found[0].Damaged
		if whole != (kept == 1<<sectors-1) || (len(found) == 0) != (kept == 0) {
			t.Fatalf("sectors %b: %q", kept, verdicts(found))
		}
	}
}

// A recycled file's old bytes and a misdirected write are not taken for batches.
func TestScanRefusesWhatBelongsElsewhere(t *testing.T) {
	for _, c := range []struct {
		name      string
		testStore seg.StoreID
		at        seg.Address
	}{{"another store", testStore + 1, small.First(0)}, {"another place", testStore, small.First(0) + 512}, {"another segment", testStore, small.First(1)}} {
		d := segments(t, small, 2)
		p, _ := encode(small, c.at, 1, 10)
		b, err := seg.ParseBatch(p, testStore, c.at)
		if err != nil {
			t.Fatal(err)
		}
		seg.PutBatch(p, c.testStore, &b)
		put(t, d.Mount(), seg.SegmentName(0), small.Offset(small.First(0)), p)
		if found := scan(t, d.Mount(), small); len(found) != 1 || !found[0].Damaged {
			t.Errorf("%s: %q", c.name, verdicts(found))
		}
	}
}

func TestScanNeedsEverySegment(t *testing.T) {
	l := newLog(t)
	m := seg.Manifest{Store: testStore, Geometry: small}
	visit := func(seg.Finding) error { return nil }
	if err := l.d.Mount().Remove(seg.SegmentName(0)); err != nil {
		t.Fatal(err)
	}
	if _, err := seg.Scan(l.d.Mount(), m, small.First(0), visit); err == nil {
		t.Error("a missing first segment is accepted")
	}
	m.First = 1
	if last, err := seg.Scan(l.d.Mount(), m, small.First(1), visit); err != nil || last != 1 {
		t.Errorf("last %d, %v", last, err)
	}
	stop := errors.New("stop")
	if _, err := seg.Scan(l.d.Mount(), m, small.First(1), func(seg.Finding) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("the visitor's error comes back as %v", err)
	}
}

// A crash at any operation leaves the bytes of the torn tail in the segment, or in a file of their own.
func TestSetAsideLosesNothing(t *testing.T) {
	torn := bytes.Repeat([]byte("unfinished"), 100)[:700]
	e := seg.Extent{Start: small.First(0) + 512, End: small.First(0) + 512*4}
	ops := 0
	for crash := 1; ; crash++ {
		d := segments(t, small, 1)
		put(t, d.Mount(), seg.SegmentName(0), small.Offset(e.Start), torn)
		random := rng.Source(crash).Stream("loss")
		done := crashAt(d, crash, func() { d.PowerLoss(random, disk.Loss{Torn: true}) })
		err := seg.SetAside(d.Mount(), small, e)
		d.Hook = nil
		fs := d.Mount()
		inLog := bytes.Contains(get(fs, seg.SegmentName(0)), torn)
		aside := bytes.Contains(get(fs, fmt.Sprintf("%s%016x.bin", seg.TornPrefix, uint64(e.Start))), torn)
		if !inLog && !aside {
			t.Fatalf("crash at operation %d: the bytes are gone (%v)", crash, err)
		}
		if !*done {
			if err != nil || inLog || len(scan(t, fs, small)) != 0 {
				t.Fatalf("without a crash: %v, in the log %t", err, inLog)
			}
			ops = crash
			break
		}
	}
	if ops < 5 {
		t.Fatalf("only %d operations", ops)
	}
}

// crashAt has something happen at the n-th operation from now on. The result says whether it did.
func crashAt(d *disk.Disk, n int, crash func()) *bool {
	done := false
	d.Hook = func(disk.Op) disk.Verdict {
		if n--; n == 0 {
			done = true
			crash()
		}
		return disk.Verdict{}
	}
	return &done
}

func TestRemoveLeftovers(t *testing.T) {
	d := disk.New(512)
	fs := d.Mount()
	keep := []string{"MANIFEST", seg.SegmentName(0), seg.SnapshotName(7), "notes.txt", seg.TornPrefix + "1.bin"}
	gone := []string{"MANIFEST.tmp", seg.SegmentName(1) + ".tmp", seg.SnapshotName(8), seg.SnapshotName(7) + ".tmp"}
	for _, name := range append(slices.Clone(keep), gone...) {
		if _, err := fs.Create(name); err != nil {
			t.Fatal(err)
		}
	}
	n, err := seg.RemoveLeftovers(fs, seg.Manifest{Snapshots: []seg.SnapshotMark{{LSN: 7}}})
	left, _ := fs.List()
	slices.Sort(keep)
	if err != nil || n != len(gone) || !slices.Equal(left, keep) {
		t.Errorf("removed %d, left %q, %v", n, left, err)
	}
}
