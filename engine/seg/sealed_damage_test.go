package seg_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"math"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/kimberlitedb/kimberlite-go/engine/seg"
	"github.com/kimberlitedb/kimberlite-go/sim/disk"
	"github.com/kimberlitedb/kimberlite-go/sim/rng"
)

// victim is a small sealed file with several blocks, of one and of several streams, and with a lost range.
type victim struct {
	fs    seg.Files
	whole []byte
	items []item
	x     *seg.SealedIndex
}

func newVictim(t *testing.T) *victim {
	t.Helper()
	h, lost := someHistory(), seg.LSN(8)
	v := &victim{fs: disk.New(512).Mount(), items: h.sorted(func(it item) bool { return it.sum.LSN != lost })}
	must(seg.Seal(v.fs, head(1, 1, len(h.items), 400), func(visit func(seg.Key, seg.Summary, []byte)) error {
		for _, it := range h.items {
			if it.sum.LSN == lost {
				it.raw = nil
			}
			visit(it.key, it.sum, it.raw)
		}
		return nil
	}))(t)
	v.whole = get(v.fs, seg.SealedName(1))
	v.x = must(seg.ReadSealedIndex(v.fs, testStore, 1))(t)
	return v
}

// set replaces the file.
func (v *victim) set(t *testing.T, p []byte) {
	t.Helper()
	if err := v.fs.Remove(seg.SealedName(1)); err != nil {
		t.Fatal(err)
	}
	must(v.fs.Create(seg.SealedName(1)))(t)
	put(t, v.fs, seg.SealedName(1), 0, p)
}

// among reports whether items are some of the victim's, in order.
func (v *victim) among(items []item) bool {
	rest := v.items
	for _, it := range items {
		n := slices.IndexFunc(rest, func(o item) bool { return o.key == it.key && bytes.Equal(o.raw, it.raw) })
		if n < 0 {
			return false
		}
		rest = rest[n+1:]
	}
	return true
}

// Any damaged byte is found, nothing wrong is ever read, and what the byte does not belong to can still be read.
func TestEveryDamagedByteOfASealedFileIsFound(t *testing.T) {
	v := newVictim(t)
	dataEnd := v.x.Blocks[len(v.x.Blocks)-1].End()
	indexStart := v.x.Size - v.x.Index - 104
	for at := range v.whole {
		p := bytes.Clone(v.whole)
		p[at] ^= 0x10
		v.set(t, p)
		x, err := seg.ReadSealedIndex(v.fs, testStore, 1)
		if inside := int64(at) >= indexStart; inside != errors.Is(err, seg.ErrDamaged) || !inside && err != nil {
			t.Fatalf("byte %d: the index is read with %v", at, err)
		}
		if err == nil {
			items, gone := held(t, v.fs, x)
			hit := slices.ContainsFunc(v.x.Blocks, func(b seg.SealedBlock) bool { return b.Offset <= int64(at) && int64(at) < b.End() })
			if !v.among(items) || hit != (len(gone) > 1) {
				t.Fatalf("byte %d: wrong records, or %d sections gone", at, len(gone))
			}
		}
		damage, err := checkSealed(v.fs, 1)
		if err != nil || len(damage) != 1 || damage[0].Start > int64(at) || int64(at) >= damage[0].End {
			t.Fatalf("byte %d: %+v, %v", at, damage, err)
		}
		again, damage, err := seg.RebuildIndex(v.fs, testStore, 1, seg.Summarize)
		if err != nil || again.First != v.x.First || again.Last != v.x.Last {
			t.Fatalf("byte %d: %+v, %v", at, again, err)
		}
		items, _ := held(t, v.fs, again)
		switch {
		case !v.among(items):
			t.Fatalf("byte %d: wrong records", at)
		case int64(at) >= sealedHead && int64(at) < dataEnd:
			if len(items) == len(v.items) || len(damage) != 1 || damage[0].Part != seg.SealedBlockPart {
				t.Fatalf("byte %d: %d items, %+v", at, len(items), damage)
			}
		case int64(at) >= dataEnd && int64(at) < indexStart: // the list of lost ranges
			if len(items) != len(v.items) || len(damage) != 1 {
				t.Fatalf("byte %d: %d items, %+v", at, len(items), damage)
			}
		case !cmp.Equal(again, v.x):
			t.Fatalf("byte %d: %s", at, cmp.Diff(v.x, again))
		}
	}
}

const sealedHead = 48

// CheckSealed names the sections that a damaged block held.
func TestCheckSealedNamesWhatIsLost(t *testing.T) {
	v := newVictim(t)
	for i, b := range v.x.Blocks {
		p := bytes.Clone(v.whole)
		p[b.End()-1] ^= 1
		v.set(t, p)
		damage, err := checkSealed(v.fs, 1)
		want := []seg.SealedDamage{{Part: seg.SealedBlockPart, Start: b.Offset, End: b.End()}}
		for _, s := range v.x.Sections {
			if s.Block == int32(i) {
				want[0].Sections = append(want[0].Sections, s)
			}
		}
		if diff := cmp.Diff(want, damage); diff != "" || err != nil {
			t.Errorf("block %d: %v %s", i, err, diff)
		}
	}
}

// Of a file that ends too early everything before the end can be had, and it is never taken for whole.
func TestSealedFileThatEndsTooEarly(t *testing.T) {
	v := newVictim(t)
	for n := range v.whole {
		v.set(t, v.whole[:n])
		if _, err := seg.ReadSealedIndex(v.fs, testStore, 1); !errors.Is(err, seg.ErrDamaged) {
			t.Fatalf("%d bytes: %v", n, err)
		}
		x, damage, err := seg.RebuildIndex(v.fs, testStore, 1, seg.Summarize)
		if err != nil || len(damage) == 0 {
			t.Fatalf("%d bytes: %+v, %v", n, damage, err)
		}
		blocks := 0
		for blocks < len(v.x.Blocks) && v.x.Blocks[blocks].End() <= int64(n) {
			blocks++
		}
		if items, _ := held(t, v.fs, x); !v.among(items) || len(x.Blocks) != blocks {
			t.Fatalf("%d bytes: %d items in %d blocks instead of %d", n, len(items), len(x.Blocks), blocks)
		}
		if damage, err := checkSealed(v.fs, 1); err != nil || len(damage) == 0 {
			t.Fatalf("%d bytes: %+v, %v", n, damage, err)
		}
	}
}

// Every range of bytes cut out, so that whole blocks move: what has moved is found again, or reported.
func TestSealedFileWithAHole(t *testing.T) {
	v := newVictim(t)
	for from := sealedHead; from < len(v.whole); from += 37 {
		for to := from + 1; to < len(v.whole); to += 101 {
			v.set(t, slices.Delete(bytes.Clone(v.whole), from, to))
			if x, err := seg.ReadSealedIndex(v.fs, testStore, 1); err == nil {
				t.Fatalf("[%d, %d): an index of %d bytes", from, to, x.Size)
			}
			x, damage, err := seg.RebuildIndex(v.fs, testStore, 1, seg.Summarize)
			if err != nil || len(damage) == 0 {
				t.Fatalf("[%d, %d): %+v, %v", from, to, damage, err)
			}
			if items, _ := held(t, v.fs, x); !v.among(items) {
				t.Fatalf("[%d, %d): wrong records", from, to)
			}
			cut := func(b seg.SealedBlock) bool { return b.Offset < int64(to) && b.End() > int64(from) }
			if want := slices.DeleteFunc(slices.Clone(v.x.Blocks), cut); len(x.Blocks) < len(want) {
				t.Fatalf("[%d, %d): %d blocks are found instead of %d", from, to, len(x.Blocks), len(want))
			}
		}
	}
}

// A block that belongs elsewhere is not taken for the one that should be there.
func TestSealedBlockThatBelongsElsewhere(t *testing.T) {
	v := newVictim(t)
	h := someHistory()
	must(h.seal(v.fs, 2, 0, len(h.items), 400))(t)
	other := get(v.fs, seg.SealedName(2))
	a, b := v.x.Blocks[1], v.x.Blocks[2]
	swapped := slices.Concat(v.whole[:a.Offset], v.whole[b.Offset:b.End()], v.whole[a.Offset:a.End()], v.whole[b.End():])
	for name, p := range map[string][]byte{
		"blocks of another file":  slices.Concat(v.whole[:a.Offset], other[a.Offset:a.End()], v.whole[a.End():]),
		"blocks that are swapped": swapped,
	} {
		v.set(t, p)
		x := must(seg.ReadSealedIndex(v.fs, testStore, 1))(t)
		if items, gone := held(t, v.fs, x); !v.among(items) || len(gone) < 2 {
			t.Errorf("%s: %d sections are gone", name, len(gone))
		}
		if damage, err := checkSealed(v.fs, 1); err != nil || len(damage) == 0 || damage[0].Part != seg.SealedBlockPart {
			t.Errorf("%s: %+v, %v", name, damage, err)
		}
	}
	v.set(t, other)
	if _, err := seg.ReadSealedIndex(v.fs, testStore, 1); !errors.Is(err, seg.ErrDamaged) {
		t.Errorf("another file: %v", err)
	}
	v.set(t, v.whole)
	if _, err := seg.ReadSealedIndex(v.fs, testStore+1, 1); !errors.Is(err, seg.ErrDamaged) {
		t.Errorf("another store: %v", err)
	}
}

// Behind damage that is longer than what is searched at once the next block is found, wherever it begins.
func TestRebuildSearchesFar(t *testing.T) {
	for more := range 12 {
		h, fs := newHistory(), disk.New(512).Mount()
		h.admin(1, noise(1, 1<<20-200+8*more))
		h.admin(1, noise(2, 50))
		b := h.parts(t, fs, 1)[0].Blocks[0]
		put(t, fs, seg.SealedName(1), b.Offset+100, []byte("damage"))
		x, damage, err := seg.RebuildIndex(fs, testStore, 1, seg.Summarize)
		if err != nil || len(damage) != 1 || damage[0].Start != b.Offset || damage[0].End != b.End() || len(x.Blocks) != 1 {
			t.Fatalf("%d bytes: %+v, %v", b.Length, damage, err)
		}
	}
}

// Of two blocks of one length the wrong one is told by its ordinal alone.
func TestSealedBlocksThatAreSwapped(t *testing.T) {
	h, v := newHistory(), &victim{fs: disk.New(512).Mount()}
	for i := range 4 {
		h.admin(1, noise(i, 200))
	}
	v.items = h.items
	v.x = h.parts(t, v.fs, 1)[0]
	a, b, whole := v.x.Blocks[1], v.x.Blocks[2], get(v.fs, seg.SealedName(1))
	if a.Stored != b.Stored {
		t.Fatalf("blocks of %d and %d bytes", a.Stored, b.Stored)
	}
	v.set(t, slices.Concat(whole[:a.Offset], whole[b.Offset:b.End()], whole[a.Offset:a.End()], whole[b.End():]))
	if items, gone := held(t, v.fs, v.x); len(items) != 2 || len(gone) != 2 {
		t.Errorf("%d records can be read", len(items))
	}
	if damage, err := checkSealed(v.fs, 1); err != nil || len(damage) == 0 || damage[0].Start != b.Offset || damage[0].End != b.End() {
		t.Errorf("%+v, %v", damage, err)
	}
}

// A trailer whose checksum is right is damage as well, if it says something that is not so.
func TestTrailerThatLies(t *testing.T) {
	v := newVictim(t)
	for field, by := range map[string]struct {
		at   int
		more uint64
	}{
		"store id": {16, 1}, "number": {24, 1}, "first lsn": {32, 1}, "last lsn": {40, math.MaxUint64}, "index offset": {48, 1},
		"index length": {56, 1}, "sections": {64, 1}, "records": {72, 1}, "events": {80, 1}, "data": {88, 1}, "raw": {96, 1},
	} {
		p := bytes.Clone(v.whole)
		trailer := p[len(p)-104:]
		binary.LittleEndian.PutUint64(trailer[by.at:], binary.LittleEndian.Uint64(trailer[by.at:])+by.more)
		binary.LittleEndian.PutUint32(trailer, crc32.Checksum(trailer[4:], crc32.MakeTable(crc32.Castagnoli)))
		v.set(t, p)
		if _, err := seg.ReadSealedIndex(v.fs, testStore, 1); !errors.Is(err, seg.ErrDamaged) {
			t.Errorf("%s: %v", field, err)
		}
	}
}

// An index that is whole and says something else than the blocks is damage, to CheckSealed and to Merge.
func TestIndexThatDisagreesIsDamage(t *testing.T) {
	h, fs := someHistory(), disk.New(512).Mount()
	w := must(seg.CreateSealed(fs, head(1, 1, len(h.items), 300)))(t)
	for i, it := range h.sorted(nil) {
		if i == 5 {
			it.sum.Events++
		}
		if err := w.Add(it.key, it.sum, it.raw); err != nil {
			t.Fatal(err)
		}
	}
	must(w.Finish())(t)
	if damage, err := checkSealed(fs, 1); err != nil || len(damage) != 1 || damage[0].Part != seg.SealedIndexPart {
		t.Errorf("%+v, %v", damage, err)
	}
	x := must(seg.ReadSealedIndex(fs, testStore, 1))(t)
	if _, err := seg.Merge(fs, head(2, 1, len(h.items), seg.DefaultTarget), []*seg.SealedIndex{x}, plain()); !errors.Is(err, seg.ErrDamaged) {
		t.Errorf("merged with %v", err)
	}
}

// What cannot be read is damage; what a newer program wrote is not; and a crash is neither.
func TestSealedFileThatCannotBeRead(t *testing.T) {
	v := newVictim(t)
	b := v.x.Blocks[1]
	d := disk.New(512)
	must(d.Mount().Create(seg.SealedName(1)))(t)
	put(t, d.Mount(), seg.SealedName(1), 0, v.whole)
	d.Hook = func(op disk.Op) disk.Verdict {
		if op.Kind == disk.OpRead && op.Off < b.End() && op.Off+int64(op.Len) > b.Offset {
			return disk.Verdict{Err: errors.New("input/output error")}
		}
		return disk.Verdict{}
	}
	if damage, err := checkSealed(d.Mount(), 1); err != nil || len(damage) == 0 {
		t.Errorf("%+v, %v", damage, err)
	}
	for op := 1; ; op++ {
		crashed := crashAt(d, op, d.ProcessCrash)
		_, err := checkSealed(d.Mount(), 1)
		if !*crashed {
			break
		}
		if !errors.Is(err, seg.ErrCrashed) {
			t.Errorf("crash at operation %d: %v", op, err)
		}
	}
	for _, at := range []int{0, len(v.whole) - 104} {
		p := bytes.Clone(v.whole)
		part := p[at : at+sealedHead]
		if at > 0 {
			part = p[at:]
		}
		binary.LittleEndian.PutUint32(part[8:], seg.FormatVersion+1)
		binary.LittleEndian.PutUint32(part, crc32.Checksum(part[4:], crc32.MakeTable(crc32.Castagnoli)))
		v.set(t, p)
		if _, err := checkSealed(v.fs, 1); !errors.Is(err, seg.ErrNewerFormat) {
			t.Errorf("at %d: %v", at, err)
		}
	}
	if _, err := seg.ReadSealedIndex(v.fs, testStore, 77); !errors.Is(err, seg.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
}

func plain() seg.Merging { return seg.Merging{Summarize: seg.Summarize} }

// Wherever a sector cannot be read, a rebuilt index leads to every block that lies beside it.
func TestRebuildBesideAnUnreadableSector(t *testing.T) {
	h := someHistory()
	for _, target := range []int{64, 600, 4000} {
		d := disk.New(512)
		must(h.seal(d.Mount(), 3, 0, len(h.items), target))(t)
		x := must(seg.ReadSealedIndex(d.Mount(), testStore, 3))(t)
		for off := int64(0); off < x.Size; off += 512 {
			d := d.Clone()
			if _, ok := d.RotAt(rng.Source(1).Stream("rot"), seg.SealedName(3), off, disk.Unreadable); !ok {
				t.Fatalf("no sector at %d", off)
			}
			var want []seg.Section
			for _, s := range x.Sections {
				if b := x.Blocks[s.Block]; b.End() <= off || b.Offset >= off+512 {
					want = append(want, s)
				}
			}
			got, _, err := seg.RebuildIndex(d.Mount(), testStore, 3, seg.Summarize)
			if err != nil {
				t.Fatal(err)
			}
			var have []seg.Section
			for _, s := range got.Sections {
				s.Block = int32(got.Blocks[s.Block].Ordinal)
				have = append(have, s)
			}
			if !slices.Equal(have, want) {
				t.Fatalf("target %d, sector %d: %d sections, want %d", target, off, len(have), len(want))
			}
		}
	}
}
