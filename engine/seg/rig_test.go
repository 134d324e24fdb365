package seg_test

import (
	"bytes"
	"testing"

	"github.com/kimberlitedb/kimberlite-go/engine/seg"
	"github.com/kimberlitedb/kimberlite-go/sim/disk"
)

var small = seg.Geometry{Align: 512, SegmentSize: 4 << 10}

// encode returns a batch of records with bodies of such sizes, padded as on disk, and where its records begin.
func encode(geo seg.Geometry, at seg.Address, first seg.LSN, bodies ...int) (p []byte, starts []int) {
	p = make([]byte, seg.BatchHeader)
	for i, size := range bodies {
		starts = append(starts, len(p))
		p = seg.BeginRecord(p, &seg.Record{LSN: first + seg.LSN(i), Kind: seg.KindAppend, Tenant: 1, Stream: 2, Count: 1})
		p = append(p, bytes.Repeat([]byte{byte(first) + byte(i)}, size)...)
		seg.FinishRecord(p, starts[i])
	}
	records := len(p) - seg.BatchHeader
	seg.PutBatch(p, testStore, &seg.Batch{
		Address: at, First: first, Count: uint32(len(bodies)), Length: uint32(records), Durable: first - 1, Clock: int64(first),
	})
	return append(p, make([]byte, geo.BatchSize(records)-int64(len(p)))...), starts
}

// wholeSize returns a body with which a batch of one record leaves so many bytes of its last block for padding.
func wholeSize(geo seg.Geometry, blocks, padding int) int {
	return blocks*geo.Align - padding - seg.BatchHeader - seg.RecordHeader
}

// segments makes a disk with so many empty segments.
func segments(t testing.TB, geo seg.Geometry, n int) *disk.Disk {
	t.Helper()
	d := disk.New(512)
	for i := range n {
		if err := seg.PrepareSegment(d.Mount(), geo, testStore, uint64(i)); err != nil {
			t.Fatal(err)
		}
	}
	return d
}

// put overwrites bytes of a file, durably.
func put(t testing.TB, fs seg.Files, name string, off int64, p []byte) {
	t.Helper()
	f, err := fs.Open(name)
	if err == nil {
		defer f.Close()
		if _, err = f.WriteAt(p, off); err == nil {
			err = f.Sync()
		}
	}
	if err != nil {
		t.Fatal(err)
	}
}

// get returns the content of a file; nil where there is none.
func get(fs seg.Files, name string) []byte {
	f, err := fs.Open(name)
	if err != nil {
		return nil
	}
	defer f.Close()
	size, _ := f.Size()
	p := make([]byte, size)
	f.ReadAt(p, 0)
	return p
}

// log is a small log: batches at addresses.
type log struct {
	d       *disk.Disk
	geo     seg.Geometry
	batches []logPiece
}

type logPiece struct {
	seg.Extent
	first seg.LSN
	count int
	used  int // bytes without the padding
}

// newLog writes six batches into two segments: of one record, of three, a commit mark, one that fills its blocks to the
// last byte but the padding that there must be, one behind a block of zeros, and one in the next segment.
func newLog(t testing.TB) *log {
	l := &log{d: segments(t, small, 2), geo: small}
	at := small.First(0)
	lsn := seg.LSN(1)
	for i, bodies := range [][]int{{30}, {0, 100, 1}, {}, {wholeSize(small, 2, 8)}, {7}, {40, 50}} {
		switch i {
		case 4:
			at += seg.Address(small.Align)
		case 5:
			at = small.First(1)
		}
		p, _ := encode(small, at, lsn, bodies...)
		put(t, l.d.Mount(), seg.SegmentName(small.Segment(at)), small.Offset(at), p)
		used := len(p)
		for p[used-1] == 0 {
			used--
		}
		l.batches = append(l.batches, logPiece{
			Extent: seg.Extent{Start: at, End: at + seg.Address(len(p))}, first: lsn, count: len(bodies), used: used,
		})
		at, lsn = at+seg.Address(len(p)), lsn+seg.LSN(len(bodies))
	}
	return l
}

// scan returns what a scan of the whole log finds.
func scan(t testing.TB, fs seg.Files, geo seg.Geometry) (found []seg.Finding) {
	t.Helper()
	m := seg.Manifest{Store: testStore, Geometry: geo}
	_, err := seg.Scan(fs, m, geo.First(0), func(f seg.Finding) error {
		found = append(found, f)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}
