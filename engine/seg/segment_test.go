package seg_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/kimberlitedb/kimberlite-go/engine/seg"
	"github.com/kimberlitedb/kimberlite-go/sim/disk"
	"github.com/kimberlitedb/kimberlite-go/sim/rng"
	"github.com/leanovate/gopter"
	"github.com/leanovate/gopter/gen"
	"github.com/leanovate/gopter/prop"
)

func TestGeometryLaws(t *testing.T) {
	laws := gopter.NewProperties(nil)
	geometry := func(align, blocks int) seg.Geometry {
		return seg.Geometry{Align: 512 << align, SegmentSize: int64(512<<align) * int64(blocks)}
	}
	aligns, blocks := gen.IntRange(0, 5), gen.IntRange(2, 1<<15)
	laws.Property("an address is its segment and its offset", prop.ForAll(
		func(align, n int, at uint64) bool {
			g, a := geometry(align, n), seg.Address(at)
			return g.Address(g.Segment(a), g.Offset(a)) == a && 0 <= g.Offset(a) && g.Offset(a) < g.SegmentSize
		}, aligns, blocks, gen.UInt64Range(0, 1<<50)))
	laws.Property("a segment and an offset are an address", prop.ForAll(
		func(align, n int, number uint32, part float64) bool {
			g := geometry(align, n)
			off := int64(part * float64(g.SegmentSize-1))
			a := g.Address(uint64(number), off)
			return g.Segment(a) == uint64(number) && g.Offset(a) == off
		}, aligns, blocks, gen.UInt32(), gen.Float64Range(0, 1)))
	laws.Property("Up is the next boundary, and stays there", prop.ForAll(
		func(align int, n int64) bool {
			g := geometry(align, 2)
			up := g.Up(n)
			return up >= n && up-n < int64(g.Align) && up%int64(g.Align) == 0 && g.Up(up) == up
		}, aligns, gen.Int64Range(0, 1<<50)))
	laws.Property("the first batch lies behind the header block, and the largest fills the rest", prop.ForAll(
		func(align, n int, number uint32) bool {
			g := geometry(align, n)
			return g.Segment(g.First(uint64(number))) == uint64(number) && g.Offset(g.First(uint64(number))) == int64(g.Align) &&
				g.BatchSize(g.MaxRecords()) == g.Room() && g.BatchSize(g.MaxRecords()+1) > g.Room()
		}, aligns, blocks, gen.UInt32()))
	laws.Property("names and numbers are one another", prop.ForAll(
		func(n uint64) bool {
			number, segment := seg.SegmentNumber(seg.SegmentName(n))
			lsn, snapshot := seg.SnapshotLSN(seg.SnapshotName(seg.LSN(n)))
			_, mixed := seg.SegmentNumber(seg.SnapshotName(seg.LSN(n)))
			return segment && number == n && snapshot && lsn == seg.LSN(n) && !mixed
		}, gen.UInt64()))
	laws.TestingRun(t)
}

func TestOtherNamesAreNoSegments(t *testing.T) {
	for _, name := range []string{
		"", "log-.seg", "log-1.seg", "log-000000000000000g.seg", "log-000000000000000A.seg", "log-+00000000000000a.seg",
		"log-0000000000000000.seg.tmp", "xlog-0000000000000000.seg", "log-00000000000000000.seg",
	} {
		if n, ok := seg.SegmentNumber(name); ok {
			t.Errorf("%q is segment %d", name, n)
		}
	}
}

// A segment that has its name is whole, whenever the power failed, and an attempt after that makes it.
func TestASegmentThatExistsIsWhole(t *testing.T) {
	whole := get(segments(t, small, 1).Mount(), seg.SegmentName(0))
	if len(bytes.TrimLeft(whole[512:], "\x00")) != 0 || int64(len(whole)) != small.SegmentSize {
		t.Fatal("a new segment is not blank")
	}
	for crash := 1; ; crash++ {
		d := disk.New(512)
		random := rng.Source(crash).Stream("loss")
		done := crashAt(d, crash, func() { d.PowerLoss(random, disk.Loss{Torn: true, Garbage: true}) })
		var err error
		fs := d.Mount()
		for from := int64(0); from < small.SegmentSize && err == nil; from += 1024 {
			err = seg.PreparePiece(fs, small, testStore, 0, from, from+1024)
		}
		d.Hook = nil
		if got := get(d.Mount(), seg.SegmentName(0)); got != nil && !bytes.Equal(got, whole) {
			t.Fatalf("crash at operation %d: a segment that is not whole (%v)", crash, err)
		}
		if !*done {
			if err != nil {
				t.Fatal(err)
			}
			return
		}
		if get(d.Mount(), seg.SegmentName(0)) != nil {
			continue
		}
		if err := seg.PrepareSegment(d.Mount(), small, testStore, 0); err != nil || !bytes.Equal(get(d.Mount(), seg.SegmentName(0)), whole) {
			t.Fatalf("crash at operation %d: the next attempt fails: %v", crash, err)
		}
	}
}

// Without space nothing is left behind, and space is given back.
func TestASegmentWithoutSpaceLeavesNothing(t *testing.T) {
	d := disk.New(512)
	d.Capacity = small.SegmentSize - 1
	err := seg.PrepareSegment(d.Mount(), small, testStore, 0)
	names, _ := d.Mount().List()
	if !errors.Is(err, seg.ErrNoSpace) || len(names) != 0 || d.Used() != 0 {
		t.Fatalf("%v, left %q, %d bytes", err, names, d.Used())
	}
}

func TestBlank(t *testing.T) {
	d := segments(t, small, 1)
	if blank, err := seg.Blank(d.Mount(), 0); !blank || err != nil {
		t.Errorf("a new segment: %t, %v", blank, err)
	}
	put(t, d.Mount(), seg.SegmentName(0), small.SegmentSize-1, []byte{1})
	if blank, err := seg.Blank(d.Mount(), 0); blank || err != nil {
		t.Errorf("a segment with a byte in it: %t, %v", blank, err)
	}
}
