package seg_test

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/kimberlitedb/kimberlite-go/engine/seg"
	"github.com/kimberlitedb/kimberlite-go/sim/disk"
	"github.com/kimberlitedb/kimberlite-go/wire"
	"pgregory.net/rapid"
)

// parts seals a history as files of so many records each, from number 1 on, and returns their indexes.
func (h *history) parts(t interface{ Fatal(...any) }, fs seg.Files, target int, cuts ...int) (list []*seg.SealedIndex) {
	slices.Sort(cuts)
	cuts = slices.Compact(slices.DeleteFunc(cuts, func(n int) bool { return n == 0 || n == len(h.items) }))
	from := 0
	for i, to := range append(cuts, len(h.items)) {
		must(h.seal(fs, uint64(1+i), from, to, target))(t)
		list = append(list, must(seg.ReadSealedIndex(fs, testStore, uint64(1+i)))(t))
		from = to
	}
	return list
}

// Merging what was sealed apart holds what sealing everything at once does, whatever the sizes of blocks.
func TestMergeOfPartsIsTheWhole(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := drawHistory(t)
		targets := rapid.SampledFrom([]int{1, 64, 500, 2000, seg.DefaultTarget})
		cuts := rapid.SliceOfN(rapid.IntRange(0, len(h.items)), 0, 4).Draw(t, "cuts")
		h.lose(t)
		fs := disk.New(512).Mount()
		inputs := h.parts(t, fs, targets.Draw(t, "input"), cuts...)
		info := must(seg.Merge(fs, head(100, 1, max(1, len(h.items)), targets.Draw(t, "output")), inputs, plain()))(t)
		x := wantFile(t, fs, 100, h.sorted(nil), h.gone()...)
		if x.SealedInfo != info {
			t.Fatalf("written as %+v, read as %+v", info, x.SealedInfo)
		}
	})
}

// What sections and records are judged to be dropped is gone, the rest is there.
func TestMergeDropsWhatItIsTold(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := drawHistory(t)
		h.lose(t)
		fs := disk.New(512).Mount()
		inputs := h.parts(t, fs, rapid.SampledFrom([]int{64, 500, 2000}).Draw(t, "input"), len(h.items)/2)
		before := map[seg.Key]seg.LSN{}
		for _, k := range slices.SortedFunc(maps.Keys(h.next), seg.Key.Compare) {
			before[k] = seg.LSN(rapid.IntRange(0, len(h.items)+1).Draw(t, fmt.Sprint("before", k)))
		}
		how := plain()
		how.Judge = func(s *seg.Section) seg.Verdict {
			switch {
			case s.LastLSN < before[s.Key]:
				return seg.Drop
			case s.FirstLSN >= before[s.Key]:
				return seg.Keep
			}
			return seg.Sift
		}
		how.Sift = func(r *seg.Record, raw []byte) []byte {
			if r.LSN < before[seg.Key{Tenant: r.Tenant, Stream: r.Stream}] {
				return nil
			}
			return raw
		}
		must(seg.Merge(fs, head(100, 1, max(1, len(h.items)), 500), inputs, how))(t)
		stays := func(it item) bool { return it.sum.LSN >= before[it.key] }
		lost := slices.DeleteFunc(h.gone(), func(it item) bool { return !stays(it) })
		wantFile(t, fs, 100, slices.DeleteFunc(h.sorted(nil), func(it item) bool { return !stays(it) }), lost...)
	})
}

// No byte of what was dropped or cut out is in the new file, nor left behind on the disk with the old ones gone.
func TestMergeLeavesNoTraceOfWhatItDrops(t *testing.T) {
	for _, target := range []int{64, 400, 5000, seg.DefaultTarget} {
		h, secret := newHistory(), []byte("PATIENT-0042")
		for i := range 60 {
			h.append(seg.Key{Tenant: 1, Stream: wire.StreamID(1 + i%4)}, byte(i), 50)
			r := seg.Record{Kind: seg.KindAppend, Count: 2, First: h.next[seg.Key{Tenant: 1, Stream: 2}], Body: make([]byte, seg.SaltSize)}
			r.Body = wire.AppendEvent(wire.AppendEvent(r.Body, r.First, secret, 1), r.First+1, []byte("stays"), 2)
			h.next[seg.Key{Tenant: 1, Stream: 2}] += 2
			h.add(seg.Key{Tenant: 1, Stream: 2}, r)
		}
		d := disk.New(512)
		inputs := h.parts(t, d.Mount(), target, 40, 80)
		how := plain()
		how.Judge = func(s *seg.Section) seg.Verdict { return seg.Sift }
		how.Sift = func(r *seg.Record, raw []byte) []byte {
			switch {
			case !bytes.Contains(raw, secret):
				return raw
			case r.LSN%4 == 0:
				return nil
			}
			cut := *r // the second event alone
			cut.First, cut.Count = r.First+1, 1
			cut.Body = wire.AppendEvent(bytes.Clone(r.Body[:seg.SaltSize]), cut.First, []byte("stays"), 2)
			return appendRecord(nil, &cut)
		}
		must(seg.Merge(d.Mount(), head(9, 1, len(h.items), target), inputs, how))(t)
		for _, x := range inputs {
			if err := d.Mount().Remove(seg.SealedName(x.Number)); err != nil {
				t.Fatal(err)
			}
		}
		if err := d.Mount().SyncDir(); err != nil {
			t.Fatal(err)
		}
		x := must(seg.ReadSealedIndex(d.Mount(), testStore, 9))(t)
		items, _ := held(t, d.Mount(), x)
		if len(items) != 90 || x.Events != 90 || slices.ContainsFunc(items, func(it item) bool { return bytes.Contains(it.raw, secret) }) {
			t.Errorf("%d records with %d events in blocks of %d", len(items), x.Events, target)
		}
		if found := d.Search(secret); len(found) > 0 {
			t.Errorf("the secret is in %q", found)
		}
		if damage, err := checkSealed(d.Mount(), 9); err != nil || len(damage) > 0 {
			t.Errorf("%v, %v", damage, err)
		}
	}
}

// What is put in the place of a record must be a record, with its key and LSN.
func TestMergeRefusesAForeignRecord(t *testing.T) {
	h, fs := someHistory(), disk.New(512).Mount()
	inputs := h.parts(t, fs, 400)
	for name, change := range map[string]func(r *seg.Record, raw []byte) []byte{
		"half a record":  func(_ *seg.Record, raw []byte) []byte { return raw[:len(raw)-1] },
		"a record twice": func(_ *seg.Record, raw []byte) []byte { return slices.Concat(raw, raw) },
		"another lsn":    func(r *seg.Record, _ []byte) []byte { r.LSN++; return appendRecord(nil, r) },
		"another stream": func(r *seg.Record, _ []byte) []byte { r.Stream++; return appendRecord(nil, r) },
	} {
		how := plain()
		how.Judge = func(*seg.Section) seg.Verdict { return seg.Sift }
		how.Sift = func(r *seg.Record, raw []byte) []byte {
			if r.LSN != 3 {
				return raw
			}
			return change(r, raw)
		}
		if _, err := seg.Merge(fs, head(9, 1, len(h.items), 400), inputs, how); err == nil {
			t.Errorf("%s is accepted", name)
		}
		if names, _ := fs.List(); len(names) != 1 {
			t.Errorf("%s: %q is left", name, names)
		}
	}
}

// Full blocks of one stream are carried over as they are, but for one that takes in a small one before it.
func TestMergeCopiesFullBlocks(t *testing.T) {
	const target, perBlock = 2000, 11
	for _, c := range []struct {
		inputs        []int // records
		copied, small int
	}{
		{[]int{24, 24, 24, 24, 24}, 2 + 4, 1}, // a small block at the end of each joins the next one, but the last
		{[]int{29, 29, 29}, 3 * 2, 0},         // more than half a block is copied too
		{[]int{4, 4, 22}, 2, 0},               // and what two small ones make stays alone
	} {
		h, fs := newHistory(), disk.New(512).Mount()
		k := seg.Key{Tenant: 1, Stream: 1}
		var cuts []int
		for _, n := range c.inputs {
			for range n {
				r := seg.Record{Kind: seg.KindAppend, Count: 1, First: h.next[k]}
				r.Body = wire.AppendEvent(noise(len(h.items), seg.SaltSize), r.First, noise(len(h.items), 60), 1)
				h.next[k]++
				h.add(k, r)
			}
			cuts = append(cuts, len(h.items))
		}
		parts := h.parts(t, fs, target, cuts...)
		must(seg.Merge(fs, head(99, 1, len(h.items), target), parts, plain()))(t)
		x := wantFile(t, fs, 99, h.sorted(nil))
		merged, copied, small := get(fs, seg.SealedName(99)), 0, 0
		for _, b := range x.Blocks {
			payload := merged[b.End()-int64(b.Stored) : b.End()]
			if b.Length > perBlock*150 && slices.ContainsFunc(parts, func(in *seg.SealedIndex) bool {
				return bytes.Contains(get(fs, seg.SealedName(in.Number)), payload)
			}) {
				copied++
			}
			if b.Length < target/2 {
				small++
			}
			if b.Length > 2*target {
				t.Errorf("a block of %d bytes", b.Length)
			}
		}
		if copied != c.copied || small != c.small {
			t.Errorf("%d: of %d blocks %d are copied and %d small", c.inputs, len(x.Blocks), copied, small)
		}
	}
}

// Damage met in a merge becomes lost ranges that stay, or fails the merge, as the caller says. It is told once a block.
func TestMergeCarriesDamageOn(t *testing.T) {
	for _, target := range []int{64, 400} { // one section in a block, which is copied; several
		h, d := someHistory(), disk.New(512)
		fs := d.Mount()
		inputs := h.parts(t, fs, target, 13)
		in := inputs[0]
		second := func(s seg.Section) bool { return target == 64 || s.Start > 0 }
		n := in.Sections[1+slices.IndexFunc(in.Sections[1:], second)].Block
		bad := in.Blocks[n]
		put(t, fs, seg.SealedName(1), bad.End()-1, []byte{get(fs, seg.SealedName(1))[bad.End()-1] ^ 1})
		var gone []seg.Section
		for _, s := range in.Sections {
			if s.Block == n {
				gone = append(gone, s)
			}
		}
		if several := len(gone) > 1; several != (target == 400) {
			t.Fatalf("%d sections in a block", len(gone))
		}

		how, stop := plain(), errors.New("stop")
		if _, err := seg.Merge(fs, head(9, 1, len(h.items), 100), inputs, how); !errors.Is(err, seg.ErrDamaged) {
			t.Errorf("without a callback: %v", err)
		}
		how.Damaged = func(uint64, []seg.Section, error) error { return stop }
		if _, err := seg.Merge(fs, head(9, 1, len(h.items), 100), inputs, how); !errors.Is(err, stop) {
			t.Errorf("the callback's error comes back as %v", err)
		}
		told := 0
		how.Damaged = func(number uint64, lost []seg.Section, err error) error {
			if told++; number != 1 || !slices.Equal(lost, gone) || !errors.Is(err, seg.ErrDamaged) {
				t.Errorf("told of file %d, %+v, %v", number, lost, err)
			}
			return nil
		}
		must(seg.Merge(fs, head(9, 1, len(h.items), 100), inputs, how))(t)
		if told != 1 {
			t.Errorf("told %d times", told)
		}
		lostIn := func(number uint64) []seg.Section {
			x := must(seg.ReadSealedIndex(fs, testStore, number))(t)
			items, lost := held(t, fs, x)
			want := h.sorted(func(it item) bool {
				return !slices.ContainsFunc(gone, func(s seg.Section) bool {
					return s.Key == it.key && s.FirstLSN <= it.sum.LSN && it.sum.LSN <= s.LastLSN
				})
			})
			if !sameItems(items, want) {
				t.Errorf("%d records instead of %d", len(items), len(want))
			}
			if damage, err := checkSealed(fs, number); err != nil || len(damage) > 0 {
				t.Errorf("%+v, %v", damage, err)
			}
			return lost
		}
		same := func(a, b seg.Section) bool { return describe(a) == describe(b) && a.Records == b.Records && a.Lost() }
		if lost := lostIn(9); !slices.EqualFunc(lost, gone, same) {
			t.Errorf("lost %+v instead of %+v", lost, gone)
		}

		// A second merge carries them on, and drops those that it is told to.
		merged := []*seg.SealedIndex{must(seg.ReadSealedIndex(fs, testStore, 9))(t)}
		must(seg.Merge(fs, head(10, 1, len(h.items), 100), merged, plain()))(t)
		if lost := lostIn(10); !slices.EqualFunc(lost, gone, same) {
			t.Errorf("lost %+v instead of %+v", lost, gone)
		}
		drop := plain()
		drop.Judge = func(s *seg.Section) seg.Verdict {
			if s.Lost() && s.Key == gone[0].Key {
				return seg.Drop
			}
			return seg.Keep
		}
		must(seg.Merge(fs, head(11, 1, len(h.items), 100), merged, drop))(t)
		if lost := lostIn(11); len(lost) != len(gone)-1 {
			t.Errorf("lost %+v", lost)
		}
	}
}

func TestMergeRefusesInputsInDisorder(t *testing.T) {
	h, fs := someHistory(), disk.New(512).Mount()
	in := h.parts(t, fs, 400, 13)
	for name, inputs := range map[string][]*seg.SealedIndex{"in disorder": {in[1], in[0]}, "the same twice": {in[0], in[0]}} {
		if _, err := seg.Merge(fs, head(9, 1, len(h.items), 400), inputs, plain()); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	wide := *in[1]
	wide.First = 13
	if _, err := seg.Merge(fs, head(9, 1, len(h.items), 400), []*seg.SealedIndex{in[0], &wide}, plain()); err == nil {
		t.Error("ranges that overlap are accepted")
	}
	if _, err := seg.Merge(fs, head(9, 2, len(h.items), 400), in, plain()); err == nil {
		t.Error("an input that begins before the new file's range is accepted")
	}
}

// A crash at any operation of a merge leaves the inputs, and no new file or the whole one.
func TestMergeIsAllOrNothing(t *testing.T) {
	h, d := someHistory(), disk.New(512)
	inputs := h.parts(t, d.Mount(), 400, 13)
	work := func(fs seg.Files) error {
		how := plain()
		how.Damaged = func(_ uint64, _ []seg.Section, err error) error {
			t.Errorf("damage: %v", err)
			return nil
		}
		_, err := seg.Merge(fs, head(9, 1, len(h.items), 300), inputs, how)
		return err
	}
	crashes(t, d, work, func(fs seg.Files, done bool) {
		for _, x := range inputs {
			if damage, err := checkSealed(fs, x.Number); err != nil || len(damage) > 0 {
				t.Fatalf("an input: %+v, %v", damage, err)
			}
		}
		if get(fs, seg.SealedName(9)) != nil {
			wantFile(t, fs, 9, h.sorted(nil))
		} else if done {
			t.Fatal("the file is gone")
		}
	})
}
