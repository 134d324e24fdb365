package seg_test

import (
	"bytes"
	"cmp"
	"errors"
	"slices"
	"testing"

	"github.com/kimberlitedb/kimberlite-go/engine/seg"
	"github.com/kimberlitedb/kimberlite-go/sim/disk"
	"github.com/kimberlitedb/kimberlite-go/sim/rng"
	"github.com/kimberlitedb/kimberlite-go/wire"
	"pgregory.net/rapid"
)

// item is a record as the log has it.
type item struct {
	key seg.Key
	sum seg.Summary
	raw []byte
}

// history is records in the order of the log, and the offsets of its streams.
type history struct {
	items   []item
	next    map[seg.Key]wire.Offset
	missing map[seg.LSN]bool // records that are lost when they are sealed
}

// append adds an append of events with data of such sizes, all bytes of it the fill.
func (h *history) append(k seg.Key, fill byte, sizes ...int) {
	r := seg.Record{Kind: seg.KindAppend, Count: uint32(len(sizes)), First: h.next[k], Body: make([]byte, seg.SaltSize)}
	for i, n := range sizes {
		at := wire.Time(1000*len(h.items) - 7*i)
		r.Body = wire.AppendEvent(r.Body, r.First+wire.Offset(i), bytes.Repeat([]byte{fill}, n), at)
	}
	h.next[k] += wire.Offset(len(sizes))
	h.add(k, r)
}

// admin adds an entry about no stream.
func (h *history) admin(tenant wire.TenantID, body []byte) {
	h.add(seg.Key{Tenant: tenant}, seg.Record{Kind: seg.KindCreateTenant, Body: body})
}

func (h *history) add(k seg.Key, r seg.Record) {
	r.LSN, r.Tenant, r.Stream = seg.LSN(len(h.items)+1), k.Tenant, k.Stream
	raw := appendRecord(nil, &r)
	got, sum := seg.Summarize(&r)
	if got != k {
		panic("a record is filed elsewhere")
	}
	h.items = append(h.items, item{k, sum, raw})
}

func newHistory() *history { return &history{next: map[seg.Key]wire.Offset{}} }

// someHistory is a few streams of two tenants, with small and large records among each other.
func someHistory() *history {
	h := newHistory()
	h.admin(1, []byte("tenant one"))
	h.admin(2, []byte("tenant two"))
	for i := range 12 {
		h.append(seg.Key{Tenant: 1, Stream: wire.StreamID(1 + i%3)}, byte('a'+i), 10+i, 3)
		h.append(seg.Key{Tenant: 2, Stream: 9}, byte('A'+i), 40*(i%4))
	}
	return h
}

// drawHistory is any history.
func drawHistory(t *rapid.T) *history {
	h := newHistory()
	for range rapid.IntRange(0, 60).Draw(t, "records") {
		k := seg.Key{
			Tenant: wire.TenantID(rapid.IntRange(1, 3).Draw(t, "tenant")), Stream: wire.StreamID(rapid.IntRange(0, 5).Draw(t, "stream")),
		}
		if k.Stream == 0 {
			h.admin(k.Tenant, rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(t, "body"))
			continue
		}
		if rapid.IntRange(0, 9).Draw(t, "jump") == 0 {
			h.next[k] += 3
		}
		sizes := rapid.SliceOfN(rapid.OneOf(rapid.IntRange(0, 30), rapid.IntRange(0, 900)), 1, 4).Draw(t, "sizes")
		h.append(k, rapid.Byte().Draw(t, "fill"), sizes...)
	}
	return h
}

// head is a file over so many LSNs.
func head(number uint64, first, last, target int) seg.SealedHead {
	return seg.SealedHead{Store: testStore, Number: number, First: seg.LSN(first), Last: seg.LSN(last), Target: target}
}

// lose has some records lost.
func (h *history) lose(t *rapid.T) {
	h.missing = map[seg.LSN]bool{}
	for _, it := range h.items {
		h.missing[it.sum.LSN] = rapid.IntRange(0, 4).Draw(t, "missing") == 0
	}
}

// gone returns the records that are lost.
func (h *history) gone() []item { return h.sorted(func(it item) bool { return h.missing[it.sum.LSN] }) }

// tells reports whether a section says of itself what is true of one record.
func tells(s seg.Section, it item) bool { return describe(s) == summary([]item{it}) }

// seal writes a part of a history, the items [from, to).
func (h *history) seal(fs seg.Files, number uint64, from, to, target int) (seg.SealedInfo, error) {
	last := max(to, from+1) // a file covers something even where it holds nothing
	return seg.Seal(fs, head(number, from+1, last, target), func(visit func(seg.Key, seg.Summary, []byte)) error {
		for _, it := range h.items[from:to] {
			if h.missing[it.sum.LSN] {
				it.raw = nil
			}
			visit(it.key, it.sum, it.raw)
		}
		return nil
	})
}

// sorted returns the items as a file must hold them.
func (h *history) sorted(keep func(item) bool) (list []item) {
	for _, it := range h.items {
		if keep == nil && !h.missing[it.sum.LSN] || keep != nil && keep(it) {
			list = append(list, it)
		}
	}
	slices.SortStableFunc(list, func(a, b item) int { return cmp.Or(a.key.Compare(b.key), cmp.Compare(a.sum.LSN, b.sum.LSN)) })
	return list
}

// must returns what a call has returned, and fails the test on an error: must(f())(t).
func must[T any](v T, err error) func(interface{ Fatal(...any) }) T {
	return func(t interface{ Fatal(...any) }) T {
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// held is what an index leads to: the records of each section, and sections that cannot be read.
func held(t interface{ Fatal(...any) }, fs seg.Files, x *seg.SealedIndex) (items []item, unreadable []seg.Section) {
	r := must(seg.NewSealedReader(fs, testStore))(t)
	defer r.Close()
	var block []byte
	for _, s := range x.Sections {
		if s.Lost() {
			unreadable = append(unreadable, s)
			continue
		}
		p, err := r.Read(x.Number, x.Blocks[s.Block], block)
		if errors.Is(err, seg.ErrDamaged) {
			unreadable = append(unreadable, s)
			continue
		}
		block = must(p, err)(t)
		got := split(t, block[s.Start:s.Start+s.Length])
		if sum := summary(got); sum != describe(s) || len(got) != int(s.Records) {
			t.Fatal("section", describe(s), "holds", sum)
		}
		items = append(items, got...)
	}
	return items, unreadable
}

// split parses records.
func split(t interface{ Fatal(...any) }, p []byte) (items []item) {
	for len(p) > 0 {
		var r seg.Record
		n, err := seg.CheckRecord(p, &r)
		if err != nil {
			t.Fatal(err)
		}
		k, sum := seg.Summarize(&r)
		items = append(items, item{k, sum, bytes.Clone(p[:n])})
		p = p[n:]
	}
	return items
}

// gist is what a section must say of its records.
type gist struct {
	key               seg.Key
	events, data      uint32
	first, next       wire.Offset
	firstLSN, lastLSN seg.LSN
	maxTime           wire.Time
}

func describe(s seg.Section) gist {
	return gist{s.Key, s.Events, s.Data, s.First, s.Next, s.FirstLSN, s.LastLSN, s.MaxTime}
}

// summary sums up records the slow way.
func summary(items []item) gist {
	g := gist{key: items[0].key, firstLSN: items[0].sum.LSN, lastLSN: items[len(items)-1].sum.LSN}
	for _, it := range items {
		if it.sum.Events == 0 {
			continue
		}
		if g.events == 0 {
			g.first, g.maxTime = it.sum.First, it.sum.MaxTime
		}
		g.events += it.sum.Events
		g.data += it.sum.Data
		g.next = it.sum.First + wire.Offset(it.sum.Events)
		g.maxTime = max(g.maxTime, it.sum.MaxTime)
	}
	return g
}

func sameItems(a, b []item) bool {
	return slices.EqualFunc(a, b, func(a, b item) bool { return a.key == b.key && a.sum == b.sum && bytes.Equal(a.raw, b.raw) })
}

// check returns the damage that CheckSealed finds.
func checkSealed(fs seg.Files, number uint64) (damage []seg.SealedDamage, err error) {
	_, err = seg.CheckSealed(fs, testStore, number, seg.Summarize, func(d seg.SealedDamage) error {
		damage = append(damage, d)
		return nil
	})
	return damage, err
}

// wantFile fails the test unless a file is whole and holds these items, and its index can be made again.
func wantFile(t interface {
	Fatal(...any)
	Fatalf(string, ...any)
}, fs seg.Files, number uint64, want []item, lost ...item) *seg.SealedIndex {
	x := must(seg.ReadSealedIndex(fs, testStore, number))(t)
	if got, gone := held(t, fs, x); !sameItems(got, want) || !slices.EqualFunc(gone, lost, tells) {
		t.Fatalf("%d records and %d lost ones instead of %d and %d", len(got), len(gone), len(want), len(lost))
	}
	damage, err := checkSealed(fs, number)
	if err != nil || len(damage) > 0 {
		t.Fatalf("damage in a whole file: %v, %v", damage, err)
	}
	return x
}

// losses are ways in which power is lost.
var losses = []disk.Loss{{}, {Torn: true}, {Torn: true, Garbage: true}, {Torn: true, Garbage: true, Unordered: true}}

// crashes runs work on copies of a disk, with a loss of power at each operation in turn, and looks at what is left: how
// says whether work had returned without an error.
func crashes(t *testing.T, start *disk.Disk, work func(seg.Files) error, look func(fs seg.Files, done bool)) {
	t.Helper()
	for _, how := range losses {
		for op := 1; ; op++ {
			d := start.Clone()
			random := rng.Source(op).Stream("loss")
			crashed := crashAt(d, op, func() { d.PowerLoss(random, how) })
			err := work(d.Mount())
			d.Hook = nil
			if *crashed && !errors.Is(err, seg.ErrCrashed) {
				t.Fatalf("crash at operation %d: %v", op, err)
			}
			if !*crashed {
				if err != nil || op < 5 {
					t.Fatalf("%d operations, %v", op, err)
				}
				d.PowerLoss(random, how)
			}
			look(d.Mount(), err == nil)
			if !*crashed {
				break
			}
		}
	}
}
