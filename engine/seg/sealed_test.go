package seg_test

import (
	"bytes"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/kimberlitedb/kimberlite-go/engine/seg"
	"github.com/kimberlitedb/kimberlite-go/sim/disk"
	"github.com/kimberlitedb/kimberlite-go/wire"
	"pgregory.net/rapid"
)

func TestSealedName(t *testing.T) {
	if got := seg.SealedName(0x2a); got != "sealed-000000000000002a.kbz" {
		t.Error(got)
	}
	for name, want := range map[string]bool{
		"sealed-000000000000002a.kbz": true, "sealed-000000000000002A.kbz": false, "sealed-2a.kbz": false,
		"sealed-000000000000002a.kbz.tmp": false, "log-000000000000002a.seg": false,
	} {
		if n, ok := seg.SealedNumber(name); ok != want || ok && n != 0x2a {
			t.Errorf("%s: %d, %t", name, n, ok)
		}
	}
}

// What is sealed comes back record by record, whatever the size of blocks, and index and totals tell the truth.
func TestSealedRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := drawHistory(t)
		target := rapid.SampledFrom([]int{1, 64, 500, 2000, seg.DefaultTarget}).Draw(t, "target")
		fs := disk.New(512).Mount()
		info := must(h.seal(fs, 7, 0, len(h.items), target))(t)
		want := h.sorted(nil)
		x := wantFile(t, fs, 7, want)
		if x.SealedInfo != info {
			t.Fatalf("written as %+v, read as %+v", info, x.SealedInfo)
		}
		var sum seg.SealedInfo
		for _, it := range want {
			sum.Records, sum.Events, sum.Data, sum.Raw = sum.Records+1, sum.Events+uint64(it.sum.Events), sum.Data+uint64(it.sum.Data), sum.Raw+uint64(len(it.raw))
		}
		if info.Records != sum.Records || info.Events != sum.Events || info.Data != sum.Data || info.Raw != sum.Raw {
			t.Fatalf("%+v instead of %+v", info, sum)
		}
		if p := get(fs, seg.SealedName(7)); info.Size != int64(len(p)) {
			t.Fatalf("%d bytes instead of %d", info.Size, len(p))
		}
		wantBlocks(t, x, target)
	})
}

// wantBlocks fails the test unless blocks are as large as they should be.
func wantBlocks(t *rapid.T, x *seg.SealedIndex, target int) {
	records := make([]uint32, len(x.Blocks))
	for _, s := range x.Sections {
		if !s.Lost() {
			records[s.Block] += s.Records
		}
	}
	for i, b := range x.Blocks {
		if int(b.Ordinal) != i || b.Stored > b.Length || int(b.Length) > target && records[i] != 1 {
			t.Fatalf("block %+v of %d records with a target of %d", b, records[i], target)
		}
	}
}

func TestSealedSizes(t *testing.T) {
	many := newHistory()
	for i := range 9000 {
		many.append(seg.Key{Tenant: wire.TenantID(1 + i%7), Stream: wire.StreamID(1 + i*7919%3000)}, byte(i), 20)
	}
	giant := newHistory()
	giant.append(seg.Key{Tenant: 1, Stream: 1}, 'x', 10)
	giant.append(seg.Key{Tenant: 1, Stream: 1}, 'y', 3<<20, 100)
	giant.append(seg.Key{Tenant: 1, Stream: 1}, 'z', 10)
	random := newHistory()
	for i := range 50 {
		random.admin(1, noise(i, 700))
	}
	wide := newHistory()
	wide.next[seg.Key{Tenant: math.MaxUint64, Stream: math.MaxUint64}] = math.MaxUint64 - 9
	wide.append(seg.Key{Tenant: 1, Stream: 1}, 'a', 0, 0)
	wide.append(seg.Key{Tenant: math.MaxUint64, Stream: math.MaxUint64}, 'b', 1, 2)
	for _, c := range []struct {
		name   string
		h      *history
		target int
		ratio  float64 // at least so many bytes of records to one of the file
	}{
		{"nothing", newHistory(), 100, 0},
		{"thousands of streams", many, seg.DefaultTarget, 2},
		{"thousands of streams in tiny blocks", many, 64, 0.4},
		{"a giant record", giant, seg.DefaultTarget, 100},
		{"what cannot be compressed", random, seg.DefaultTarget, 0.9},
		{"the greatest numbers", wide, 100, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			fs := disk.New(512).Mount()
			info := must(c.h.seal(fs, math.MaxUint64, 0, len(c.h.items), c.target))(t)
			wantFile(t, fs, math.MaxUint64, c.h.sorted(nil))
			if float64(info.Raw) < c.ratio*float64(info.Size) {
				t.Errorf("%d bytes of records take %d", info.Raw, info.Size)
			}
		})
	}
}

// The same records make the same file: a crash and its replay leave nothing to compare.
func TestSealIsDeterministic(t *testing.T) {
	h, fs := someHistory(), disk.New(512).Mount()
	must(h.seal(fs, 1, 0, len(h.items), 300))(t)
	first := get(fs, seg.SealedName(1))
	must(h.seal(fs, 1, 0, len(h.items), 300))(t)
	if !bytes.Equal(first, get(fs, seg.SealedName(1))) {
		t.Error("two files of the same records differ")
	}
}

func TestSealedWriterRefusesDisorder(t *testing.T) {
	k := seg.Key{Tenant: 2, Stream: 2}
	for _, c := range []struct {
		name string
		key  seg.Key
		lsn  seg.LSN
	}{
		{"the same lsn again", k, 5}, {"an earlier lsn", k, 4}, {"an earlier stream", seg.Key{Tenant: 2, Stream: 1}, 6},
		{"an earlier tenant", seg.Key{Tenant: 1, Stream: 3}, 6}, {"an lsn behind the range", k, 11},
		{"another stream's lsn before the range", seg.Key{Tenant: 3}, 1},
	} {
		for _, target := range []int{1, 1 << 10} { // the record before in a block that is written, or in this one
			fs := disk.New(512).Mount()
			w := must(seg.CreateSealed(fs, head(1, 2, 10, target)))(t)
			if err := w.Add(k, seg.Summary{LSN: 5}, make([]byte, 64)); err != nil {
				t.Fatal(err)
			}
			if err := w.Add(c.key, seg.Summary{LSN: c.lsn}, make([]byte, 64)); err == nil {
				t.Errorf("%s is accepted", c.name)
			}
			w.Abort()
			if names, _ := fs.List(); len(names) > 0 {
				t.Errorf("%s: %q is left", c.name, names)
			}
		}
	}
	for _, h := range []seg.SealedHead{head(1, 5, 4, 10), head(1, 1, 2, 0), head(1, 1, 2, 1<<30)} {
		if _, err := seg.CreateSealed(disk.New(512).Mount(), h); err == nil {
			t.Errorf("%+v is accepted", h)
		}
	}
}

// Records without bytes stay lost ranges, wherever they are: in the index and in one that is made again.
func TestSealKeepsLostRanges(t *testing.T) {
	outer := t
	rapid.Check(t, func(t *rapid.T) {
		h := drawHistory(t)
		h.lose(t)
		fs := disk.New(512).Mount()
		info := must(h.seal(fs, 3, 0, len(h.items), rapid.SampledFrom([]int{64, 500, seg.DefaultTarget}).Draw(t, "target")))(t)
		if want := uint64(len(h.items) - len(h.gone())); info.Records != want {
			t.Fatalf("%d records instead of %d", info.Records, want)
		}
		x := wantFile(t, fs, 3, h.sorted(nil), h.gone()...)
		put(outer, fs, seg.SealedName(3), info.Size-1, []byte{0xee}) // the trailer is gone
		again, damage, err := seg.RebuildIndex(fs, testStore, 3, seg.Summarize)
		if err != nil || len(damage) != 1 || damage[0].Part != seg.SealedTrailerPart {
			t.Fatalf("%v, %v", damage, err)
		}
		if diff := cmp.Diff(x, again, cmpopts.EquateEmpty()); diff != "" {
			t.Fatal(diff)
		}
	})
}

// A crash at any operation leaves no file of that name, or the whole file; and it is there once Seal has returned.
func TestSealIsAllOrNothing(t *testing.T) {
	h := someHistory()
	work := func(fs seg.Files) error {
		_, err := h.seal(fs, 4, 0, len(h.items), 200)
		return err
	}
	crashes(t, disk.New(512), work, func(fs seg.Files, done bool) {
		if get(fs, seg.SealedName(4)) != nil {
			wantFile(t, fs, 4, h.sorted(nil))
		} else if done {
			t.Fatal("the file is gone")
		}
	})
}

// Any operation that fails, fails the whole; and what was made so far is removed.
func TestSealCleansUp(t *testing.T) {
	h := someHistory()
	broken := errors.New("input/output error")
	for op := 1; ; op++ {
		d, n, failed := disk.New(512), op, disk.OpKind("")
		d.Hook = func(o disk.Op) disk.Verdict {
			if n--; n == 0 {
				failed = o.Kind
				return disk.Verdict{Err: broken}
			}
			return disk.Verdict{}
		}
		_, err := h.seal(d.Mount(), 4, 0, len(h.items), 200)
		if failed == "" {
			if err != nil || op < 6 {
				t.Fatalf("%d operations, %v", op, err)
			}
			return
		}
		if !errors.Is(err, broken) {
			t.Errorf("%s fails: %v", failed, err)
		}
		names, _ := d.Mount().List()
		var want []string
		if failed == disk.OpSyncDir {
			want = []string{seg.SealedName(4)}
		}
		if !slices.Equal(names, want) {
			t.Errorf("%s fails: %q is left", failed, names)
		}
	}
}

// noise is bytes that cannot be compressed.
func noise(seed, n int) []byte {
	p, state := make([]byte, n), uint64(seed)*0x9e3779b97f4a7c15+1
	for i := range p {
		state ^= state << 13
		state ^= state >> 7
		state ^= state << 17
		p[i] = byte(state >> 32)
	}
	return p
}

func TestSummarize(t *testing.T) {
	body := make([]byte, seg.SaltSize)
	for i, at := range []wire.Time{-30, -5, -8} {
		body = wire.AppendEvent(body, wire.Offset(4+i), []byte(strings.Repeat("x", i)), at)
	}
	r := seg.Record{LSN: 9, Kind: seg.KindAppend, Tenant: 1, Stream: 2, First: 4, Count: 3, Body: body}
	k, s := seg.Summarize(&r)
	if want := (seg.Summary{LSN: 9, First: 4, Events: 3, Data: 3, MaxTime: -5}); s != want || k != (seg.Key{Tenant: 1, Stream: 2}) {
		t.Errorf("%+v of %+v", s, k)
	}
	r.Kind = seg.KindCreateStream // an act, which tells of itself in an event
	r.Count, r.Body = 1, append(wire.AppendEvent(nil, 4, []byte("audit"), 6), "the rest"...)
	k, s = seg.Summarize(&r)
	if want := (seg.Summary{LSN: 9, First: 4, Events: 1, Data: 5, MaxTime: 6}); s != want || k != (seg.Key{Tenant: 1}) {
		t.Errorf("%+v of %+v", s, k)
	}
	r.Count = 0 // one without
	if _, s := seg.Summarize(&r); s != (seg.Summary{LSN: 9}) {
		t.Errorf("%+v of an entry without events", s)
	}
}
