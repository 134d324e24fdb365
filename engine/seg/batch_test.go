package seg_test

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"github.com/kimberlitedb/kimberlite-go/engine/seg"
	"github.com/kimberlitedb/kimberlite-go/sim/disk"
	"github.com/kimberlitedb/kimberlite-go/wire"
	"pgregory.net/rapid"
)

const testStore seg.StoreID = 0x0123456789abcdef

var geometry = seg.Geometry{Align: 512, SegmentSize: 8 << 10}

// entry is a record of an append with a body of so many bytes, none of them zero.
func entry(lsn seg.LSN, body int) seg.Record {
	return seg.Record{
		LSN: lsn, Kind: seg.KindAppend, Count: 1, Tenant: 1, Position: wire.Position(lsn), Commit: wire.Time(lsn), Stream: 2,
		First: wire.Offset(lsn), Body: bytes.Repeat([]byte{0xff}, body),
	}
}

func appendRecord(p []byte, r *seg.Record) []byte {
	start := len(p)
	p = append(seg.BeginRecord(p, r), r.Body...)
	seg.FinishRecord(p, start)
	return p
}

// batchAt is a batch of records with bodies of so many bytes, as it lies on disk.
func batchAt(geo seg.Geometry, at seg.Address, first, durable seg.LSN, bodies ...int) ([]byte, []seg.Record) {
	p := make([]byte, seg.BatchHeader)
	var records []seg.Record
	for i, n := range bodies {
		r := entry(first+seg.LSN(i), n)
		p = appendRecord(p, &r)
		records = append(records, r)
	}
	length := len(p) - seg.BatchHeader
	seg.PutBatch(p, testStore, &seg.Batch{
		Address: at, First: first, Count: uint32(len(bodies)), Length: uint32(length), Durable: durable, Clock: int64(first),
	})
	return append(p, make([]byte, geo.BatchSize(length)-int64(len(p)))...), records
}

func same(a, b seg.Record) bool {
	body := bytes.Equal(a.Body, b.Body)
	a.Body, b.Body = nil, nil
	return body && a.LSN == b.LSN && a.Kind == b.Kind && a.Flags == b.Flags && a.Count == b.Count && a.Tenant == b.Tenant &&
		a.Position == b.Position && a.Commit == b.Commit && a.Stream == b.Stream && a.First == b.First
}

func TestRecordRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := seg.Record{
			LSN: seg.LSN(rapid.Uint64().Draw(t, "lsn")), Kind: seg.Kind(rapid.Byte().Draw(t, "kind")), Flags: rapid.Byte().Draw(t, "flags"),
			Count: rapid.Uint32().Draw(t, "count"), Tenant: wire.TenantID(rapid.Uint64().Draw(t, "tenant")),
			Position: wire.Position(rapid.Uint64().Draw(t, "position")), Commit: wire.Time(rapid.Int64().Draw(t, "commit")),
			Stream: wire.StreamID(rapid.Uint64().Draw(t, "stream")), First: wire.Offset(rapid.Uint64().Draw(t, "first")),
			Body: rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "body"),
		}
		before := rapid.SliceOfN(rapid.Byte(), 0, 20).Draw(t, "before")
		p := appendRecord(bytes.Clone(before), &want)[len(before):]
		behind := rapid.SliceOfN(rapid.Byte(), 0, 20).Draw(t, "behind")
		for name, read := range map[string]func([]byte, *seg.Record) (int, error){"parse": seg.ParseRecord, "check": seg.CheckRecord} {
			var got seg.Record
			if n, err := read(append(bytes.Clone(p), behind...), &got); err != nil || n != len(p) || !same(got, want) {
				t.Fatalf("%s: %d bytes of %d, %v:\n%+v\n%+v", name, n, len(p), err, got, want)
			}
		}
		var r seg.Record
		if _, err := seg.ParseRecord(p[:rapid.IntRange(0, len(p)-1).Draw(t, "cut")], &r); !errors.Is(err, seg.ErrDamaged) {
			t.Fatalf("a part of a record: %v", err)
		}
	})
}

func TestEventsOfARecord(t *testing.T) {
	events := wire.AppendEvent(wire.AppendEvent(nil, 4, []byte("abc"), 1), 5, nil, 2)
	for _, c := range []struct {
		name  string
		flags uint8
		skip  int
	}{
		{"salt", 0, 16},
		{"salt and key", seg.FlagKey, 32},
	} {
		r := seg.Record{Flags: c.flags, Count: 2, Body: append(make([]byte, c.skip), events...)}
		if !bytes.Equal(r.Events(), events) || r.DataBytes() != 3 {
			t.Errorf("%s: %d bytes of events, %d of data", c.name, len(r.Events()), r.DataBytes())
		}
		if got := seg.AppendOverhead(c.flags != 0); got != seg.RecordHeader+c.skip {
			t.Errorf("%s: overhead %d", c.name, got)
		}
		if r.Body = r.Body[:c.skip-1]; r.Events() != nil {
			t.Errorf("%s: events in half a salt", c.name)
		}
	}
}

func TestBatchRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := seg.Batch{
			Address: seg.Address(rapid.Uint64().Draw(t, "at")), First: seg.LSN(rapid.Uint64().Draw(t, "first")),
			Count: rapid.Uint32().Draw(t, "count"), Length: rapid.Uint32().Draw(t, "length"),
			Durable: seg.LSN(rapid.Uint64().Draw(t, "durable")), Clock: rapid.Int64().Draw(t, "clock"),
		}
		p := bytes.Repeat([]byte{0xff}, seg.BatchHeader) // what was there before must not matter
		seg.PutBatch(p, testStore, &want)
		if got, err := seg.ParseBatch(p, testStore, want.Address); err != nil || got != want {
			t.Fatalf("%v:\n%+v\n%+v", err, got, want)
		}
		for name, err := range map[string]error{
			"another store":   second(seg.ParseBatch(p, testStore+1, want.Address)),
			"another address": second(seg.ParseBatch(p, testStore, want.Address+512)),
			"a part":          second(seg.ParseBatch(p[:seg.BatchHeader-1], testStore, want.Address)),
		} {
			if !errors.Is(err, seg.ErrDamaged) {
				t.Fatalf("%s: %v", name, err)
			}
		}
	})
}

func second[T any](_ T, err error) error { return err }

func TestLastOfABatch(t *testing.T) {
	for _, c := range []struct {
		name  string
		batch seg.Batch
		want  seg.LSN
	}{
		{"three", seg.Batch{First: 5, Count: 3}, 7},
		{"one", seg.Batch{First: 5, Count: 1}, 5},
		{"commit mark", seg.Batch{First: 5}, 4},
	} {
		if got := c.batch.Last(); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
}

// No single damaged bit in a batch's header or records goes unseen, and none makes a walk or a scan loop or panic.
func TestEveryDamagedByteOfABatchIsFound(t *testing.T) {
	at := geometry.First(3)
	whole, _ := batchAt(geometry, at, 10, 9, 3, 100, 0)
	b, err := seg.ParseBatch(whole, testStore, at)
	if err != nil || b.CheckRecords(whole[seg.BatchHeader:]) != nil {
		t.Fatal("the batch is not whole")
	}
	for i := range seg.BatchHeader + int(b.Length) {
		for bit := range 8 {
			p := bytes.Clone(whole)
			p[i] ^= 1 << bit
			b, err := seg.ParseBatch(p, testStore, at)
			if err == nil {
				err = b.CheckRecords(p[seg.BatchHeader:])
			}
			if !errors.Is(err, seg.ErrDamaged) {
				t.Fatalf("bit %d of byte %d: %v", bit, i, err)
			}
		}
	}
}

func TestRecordsMustFitTheirBatch(t *testing.T) {
	at := geometry.First(0)
	p, _ := batchAt(geometry, at, 1, 0, 10, 20)
	whole, err := seg.ParseBatch(p, testStore, at)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		change func(*seg.Batch)
	}{
		{"first", func(b *seg.Batch) { b.First++ }},
		{"fewer", func(b *seg.Batch) { b.Count-- }},
		{"more", func(b *seg.Batch) { b.Count++ }},
		{"shorter", func(b *seg.Batch) { b.Length-- }},
		{"longer", func(b *seg.Batch) { b.Length++ }},
		{"longer than there is", func(b *seg.Batch) { b.Length = 1 << 31 }},
	} {
		b := whole
		if c.change(&b); b.CheckRecords(p[seg.BatchHeader:]) == nil {
			t.Errorf("%s: not seen", c.name)
		}
	}
}

// walk returns every record of a walk, and how often it met damage.
func walk(w *seg.Walker) (records []seg.Record, damaged int) {
	for {
		var r seg.Record
		ok, err := w.Next(&r)
		switch {
		case err != nil:
			damaged++
		case !ok:
			return records, damaged
		default:
			records = append(records, r)
		}
	}
}

// piece draws a run of batches of one segment. Many of them end at an aligned boundary, or just before one.
func piece(t *rapid.T) (p []byte, at seg.Address, records []seg.Record, starts []int) {
	at = geometry.First(uint64(rapid.IntRange(0, 3).Draw(t, "segment")))
	lsn := seg.LSN(1)
	for range rapid.IntRange(1, 5).Draw(t, "batches") {
		bodies := rapid.SliceOfN(rapid.IntRange(0, 700), 0, 4).Draw(t, "bodies")
		if k := len(bodies); k > 0 && rapid.Bool().Draw(t, "snug") {
			size := seg.BatchHeader
			for _, n := range bodies {
				size += seg.RecordHeader + n
			}
			short := rapid.IntRange(0, 16).Draw(t, "short") // of the boundary, behind the records
			bodies[k-1] += int(geometry.Up(int64(size+short))) - size - short
		}
		b, r := batchAt(geometry, at+seg.Address(len(p)), lsn, lsn-1, bodies...)
		starts = append(starts, len(p))
		p, records, lsn = append(p, b...), append(records, r...), lsn+seg.LSN(len(r))
	}
	return p, at, records, starts
}

func TestWalkerVisitsExactlyTheRecords(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p, at, want, _ := piece(t)
		for _, verify := range []bool{false, true} {
			got, damaged := walk(seg.NewWalker(geometry, testStore, p, at, verify))
			if damaged > 0 || !slices.EqualFunc(got, want, same) {
				t.Fatalf("met %d records of %d and %d times damage", len(got), len(want), damaged)
			}
		}
		// A walk may begin at any record, and end behind any.
		if len(want) == 0 {
			return
		}
		i := rapid.IntRange(0, len(want)-1).Draw(t, "from")
		j := rapid.IntRange(i, len(want)-1).Draw(t, "to")
		from, to := place(p, want[i]), place(p, want[j])+seg.RecordHeader+len(want[j].Body)
		got, damaged := walk(seg.NewWalker(geometry, testStore, p[from:to], at+seg.Address(from), true))
		if damaged > 0 || !slices.EqualFunc(got, want[i:j+1], same) {
			t.Fatalf("records %d to %d: met %d, and %d times damage", i, j, len(got), damaged)
		}
	})
}

// place finds a record's bytes.
func place(p []byte, r seg.Record) int { return bytes.Index(p, appendRecord(nil, &r)) }

// Behind damage a walk goes on with the next batch, and invents nothing.
func TestWalkerGoesOnBehindDamage(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p, at, want, starts := piece(t)
		hit := rapid.IntRange(0, len(p)-1).Draw(t, "at")
		p[hit] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
		batch := 0 // the one that is hit
		for batch+1 < len(starts) && starts[batch+1] <= hit {
			batch++
		}
		got, _ := walk(seg.NewWalker(geometry, testStore, p, at, true))
		seen := map[seg.LSN]bool{}
		for _, r := range got {
			if !same(r, want[r.LSN-1]) || seen[r.LSN] {
				t.Fatalf("invented %+v", r)
			}
			seen[r.LSN] = true
		}
		b, _ := seg.ParseBatch(p[starts[batch]:], testStore, at+seg.Address(starts[batch]))
		for _, r := range want {
			start := place(p, r)
			elsewhere := start >= 0 && (start < starts[batch] || batch+1 < len(starts) && start >= starts[batch+1])
			if elsewhere && !seen[r.LSN] {
				t.Fatalf("entry %d is in another batch than the damage at %d (batch %+v), and was not met", r.LSN, hit, b)
			}
		}
	})
}

// A client can put a record that is sound in itself inside an event. Where a sector before it cannot be read, and so is
// zeros to the walk, the record must not be taken for one: it could claim another tenant's stream.
func TestWalkerRefusesRecordsInsideEvents(t *testing.T) {
	at := geometry.First(0)
	forged := entry(1, 50)
	r := entry(1, 1500)
	for off := 0; off+200 < len(r.Body); off += 512 {
		copy(r.Body[512-seg.BatchHeader-seg.RecordHeader+off:], appendRecord(nil, &forged))
	}
	p := appendRecord(make([]byte, seg.BatchHeader), &r)
	length := len(p) - seg.BatchHeader
	seg.PutBatch(p, testStore, &seg.Batch{Address: at, First: 1, Count: 1, Length: uint32(length)})
	p = append(p, make([]byte, int(geometry.BatchSize(length))-len(p))...)
	next, want := batchAt(geometry, at+seg.Address(len(p)), 2, 1, 10)
	p = append(p, next...)
	clear(p[:512])
	for _, from := range []int{0, seg.BatchHeader} {
		got, damaged := walk(seg.NewWalker(geometry, testStore, p[from:], at+seg.Address(from), true))
		if damaged == 0 || !slices.EqualFunc(got, want, same) {
			t.Errorf("from %d: met %+v, and %d times damage", from, got, damaged)
		}
	}
}

// What cannot be read is no part of a batch, even where it would be the zeros that are taken for it.
func TestScanBelievesNothingThatCannotBeRead(t *testing.T) {
	d := segments(t, geometry, 1)
	r := seg.Record{LSN: 1, Kind: seg.KindAppend, Body: make([]byte, 1500)}
	p := appendRecord(make([]byte, seg.BatchHeader), &r)
	length := len(p) - seg.BatchHeader
	seg.PutBatch(p, testStore, &seg.Batch{Address: geometry.First(0), First: 1, Count: 1, Length: uint32(length)})
	put(t, d.Mount(), seg.SegmentName(0), geometry.Offset(geometry.First(0)), p)
	if found := scan(t, d.Mount(), geometry); len(found) != 1 || found[0].Damaged {
		t.Fatalf("%+v", found)
	}
	d.Hook = func(op disk.Op) disk.Verdict {
		if op.Kind == disk.OpRead && op.Off < 1536 && 1024 < op.Off+int64(op.Len) {
			return disk.Verdict{Err: errors.New("input/output error")}
		}
		return disk.Verdict{}
	}
	if found := scan(t, d.Mount(), geometry); len(found) != 1 || !found[0].Damaged {
		t.Errorf("%+v", found)
	}
}
