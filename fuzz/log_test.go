package fuzz

import (
	"bytes"
	"errors"
	"testing"

	"github.com/kimberlitedb/kimberlite-go/engine/seg"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// FuzzRecord: whatever passes for a record encodes to the same bytes, and its events can be walked.
func FuzzRecord(f *testing.F) {
	body := wire.AppendEvent(make([]byte, seg.SaltSize), 4, []byte("event"), 5)
	for _, r := range []seg.Record{
		{LSN: 1, Kind: seg.KindCreateTenant, Tenant: 1, Body: []byte("body")},
		{LSN: 2, Kind: seg.KindAppend, Tenant: 1, Position: 2, Commit: 3, Stream: 4, First: 4, Count: 1, Body: body},
	} {
		p := append(seg.BeginRecord(nil, &r), r.Body...)
		seg.FinishRecord(p, 0)
		f.Add(p)
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		var r seg.Record
		n, err := seg.ParseRecord(p, &r)
		if err != nil {
			if !errors.Is(err, seg.ErrDamaged) {
				t.Fatal(err)
			}
			return
		}
		events := 0
		for e, rest, ok := wire.NextEvent(r.Events()); ok; e, rest, ok = wire.NextEvent(rest) {
			events += len(e.Data) + wire.EventOverhead
		}
		if events > len(r.Body) {
			t.Fatalf("%d bytes of events in a body of %d", events, len(r.Body))
		}
		if _, err := seg.CheckRecord(p, &r); err != nil {
			return
		}
		q := append(seg.BeginRecord(nil, &r), r.Body...)
		seg.FinishRecord(q, 0)
		// The reserved bytes are covered by the checksum, but are not part of a record.
		if p[18]|p[19] == 0 && !bytes.Equal(q, p[:n]) {
			t.Fatalf("%x encodes as %x", p[:n], q)
		}
	})
}

// FuzzScan: a scan of a segment with any bytes in it ends, covers every block that is not blank exactly once, and calls
// whole only what is; and a walk through the same bytes ends too.
func FuzzScan(f *testing.F) {
	geo := seg.Geometry{Align: 512, SegmentSize: 4 << 10}
	man := seg.Manifest{Store: 7, Geometry: geo}
	f.Add(uint16(0), []byte{}, uint16(9))
	f.Add(uint16(200), []byte("garbage"), uint16(3))
	f.Add(uint16(4000), []byte("garbage at the end"), uint16(3))
	f.Add(uint16(1000), bytes.Repeat([]byte{0xff}, 1500), uint16(700))
	f.Fuzz(func(t *testing.T, at uint16, change []byte, size uint16) {
		p := segment(geo, man.Store, int(size)%1000)
		copy(p[int(at)%len(p):], change)
		fs := oneFile{name: seg.SegmentName(0), p: p}
		end := geo.First(0)
		err := seg.ScanSegment(fs, man, 0, 0, func(g seg.Finding) error {
			if g.Start < end || g.End <= g.Start || geo.Offset(g.Start)%512 != 0 || int64(g.End) > geo.SegmentSize {
				t.Fatalf("finding [%d, %d) behind %d", g.Start, g.End, end)
			}
			if len(bytes.Trim(p[end:g.Start], "\x00")) > 0 {
				t.Fatalf("[%d, %d) is not blank, and is not reported", end, g.Start)
			}
			end = g.End
			if !g.Damaged && g.Batch.CheckRecords(g.Records) != nil {
				t.Fatalf("the batch at %d is not whole", g.Start)
			}
			return nil
		})
		if err != nil && !errors.Is(err, seg.ErrNewerFormat) {
			t.Fatal(err)
		}
		if err == nil && len(bytes.Trim(p[end:], "\x00")) > 0 {
			t.Fatalf("what follows %d is not blank, and is not reported", end)
		}
		for _, verify := range []bool{true, false} {
			steps := 0
			w := seg.NewWalker(geo, man.Store, p[geo.Align:], geo.First(0), verify)
			for ok, err := true, error(nil); ok || err != nil; steps++ {
				var r seg.Record
				if ok, err = w.Next(&r); steps > len(p) {
					t.Fatal("a walk does not end")
				}
			}
		}
	})
}

// segment returns a segment with three batches of records with bodies of such a size, as far as they fit.
func segment(geo seg.Geometry, id seg.StoreID, size int) []byte {
	p := make([]byte, geo.Align, geo.SegmentSize)
	for i := range seg.LSN(3) {
		b := make([]byte, seg.BatchHeader)
		for j := range seg.LSN(2) {
			start := len(b)
			b = append(seg.BeginRecord(b, &seg.Record{LSN: 1 + 2*i + j, Kind: seg.KindAppend, Count: 1}), bytes.Repeat([]byte{9}, size)...)
			seg.FinishRecord(b, start)
		}
		length := len(b) - seg.BatchHeader
		if int64(len(p))+geo.BatchSize(length) > geo.SegmentSize {
			break
		}
		seg.PutBatch(b, id, &seg.Batch{Address: seg.Address(len(p)), First: 1 + 2*i, Count: 2, Length: uint32(length)})
		p = append(p, append(b, make([]byte, geo.BatchSize(length)-int64(len(b)))...)...)
	}
	return p[:geo.SegmentSize]
}

// oneFile is a directory with one file that is only read.
type oneFile struct {
	seg.Files
	name string
	p    []byte
}

func (o oneFile) Open(name string) (seg.File, error) {
	if name != o.name {
		return nil, seg.ErrNotExist
	}
	return readerFile{Reader: bytes.NewReader(o.p)}, nil
}

type readerFile struct {
	*bytes.Reader
	seg.File
}

func (f readerFile) ReadAt(p []byte, off int64) (int, error) { return f.Reader.ReadAt(p, off) }
func (f readerFile) Size() (int64, error)                    { return f.Reader.Size(), nil }
func (f readerFile) Close() error                            { return nil }
