package fuzz

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"runtime"
	"slices"
	"testing"

	"github.com/kimberlitedb/kimberlite-go/engine/seg"
	"github.com/kimberlitedb/kimberlite-go/sim/disk"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// FuzzSealed: of a sealed file with any bytes changed, whatever an index leads to is what was sealed.
func FuzzSealed(f *testing.F) {
	whole, records := sealed(f)
	f.Add(uint16(0), []byte{}, uint16(len(whole)))
	f.Add(uint16(100), []byte("garbage"), uint16(len(whole)))
	f.Add(uint16(len(whole)-50), []byte("garbage in the trailer"), uint16(len(whole)))
	f.Add(uint16(0), []byte{}, uint16(300))
	f.Fuzz(func(t *testing.T, at uint16, change []byte, size uint16) {
		p := bytes.Clone(whole[:min(int(size), len(whole))])
		copy(p[min(int(at), len(p)):], change)
		fs := oneFile{name: seg.SealedName(sealedNumber), p: p}
		if x, err := seg.ReadSealedIndex(fs, sealedStore, sealedNumber); err == nil {
			readable(t, fs, x, records)
		}
		x, damage, err := seg.RebuildIndex(fs, sealedStore, sealedNumber, seg.Summarize)
		if err != nil {
			t.Fatal(err)
		}
		got := readable(t, fs, x, records)
		if bytes.Equal(p, whole) && (len(got) != len(records) || len(damage) > 0) {
			t.Fatalf("%d records and %+v of a whole file", len(got), damage)
		}
	})
}

// FuzzSealedParts: whatever stands behind checksums that are right, the parsers neither panic nor allocate much.
func FuzzSealedParts(f *testing.F) {
	index, records := sealedIndex(f)
	f.Add(byte(3), byte(0), uint32(len(index)), index)
	f.Add(byte(2), byte(0), uint32(len(index)), index)
	f.Add(byte(1), byte(0), uint32(len(records)), records)
	f.Add(byte(3), byte(0), uint32(5), []byte{0, 0x80, 0x80, 0x80, 4}) // eight million sections, and blocks
	f.Add(byte(3), byte(0), uint32(4), []byte{0x80, 0x80, 0x80, 4})
	f.Add(byte(1), byte(1), uint32(1<<30), []byte{0x28, 0xb5, 0x2f, 0xfd, 0xa0, 0, 0, 0, 1})
	f.Add(byte(1), byte(1), uint32(1<<20), []byte{0x28, 0xb5, 0x2f, 0xfd, 0xa0, 0, 0, 16, 0, 3, 0, 0x80, 1})
	f.Fuzz(func(t *testing.T, kind, codec byte, length uint32, payload []byte) {
		p := file(kind, codec, length, payload)
		fs := oneFile{name: seg.SealedName(sealedNumber), p: p}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := seg.ReadSealedIndex(fs, sealedStore, sealedNumber)
		if err != nil && !errors.Is(err, seg.ErrDamaged) {
			t.Fatal(err)
		}
		x, _, err := seg.RebuildIndex(fs, sealedStore, sealedNumber, seg.Summarize)
		if err != nil && !errors.Is(err, seg.ErrDamaged) {
			t.Fatal(err)
		}
		for i := 0; err == nil && i < len(x.Sections); i++ {
			if s := x.Sections[i]; !s.Lost() && uint64(s.Start)+uint64(s.Length) > uint64(x.Blocks[s.Block].Length) {
				t.Fatalf("%+v is not in %+v", s, x.Blocks[s.Block])
			}
		}
		runtime.ReadMemStats(&after)
		// A section takes 12 bytes at least and becomes 80; the rest is decoders and a buffer to search in.
		if n, most := after.TotalAlloc-before.TotalAlloc, 16<<20+2*uint64(min(length, 64<<20))+64*uint64(len(p)); n > most {
			t.Fatalf("%d bytes allocated for a file of %d and a block of %d", n, len(p), length)
		}
	})
}

const (
	sealedStore  = seg.StoreID(7)
	sealedNumber = 5
)

// sealed returns a sealed file with several blocks, and its records.
func sealed(tb testing.TB) (p []byte, records [][]byte) {
	tb.Helper()
	fs := disk.New(512).Mount()
	head := seg.SealedHead{Store: sealedStore, Number: sealedNumber, First: 1, Last: 40, Target: 300}
	_, err := seg.Seal(fs, head, func(visit func(seg.Key, seg.Summary, []byte)) error {
		for i := range seg.LSN(40) {
			r := seg.Record{LSN: 1 + i, Kind: seg.KindAppend, Tenant: 1, Stream: wire.StreamID(1 + i%3), First: wire.Offset(i / 3), Count: 1}
			r.Body = wire.AppendEvent(make([]byte, seg.SaltSize), r.First, bytes.Repeat([]byte{byte(i)}, int(i)), wire.Time(i))
			raw := append(seg.BeginRecord(nil, &r), r.Body...)
			seg.FinishRecord(raw, 0)
			key, sum := seg.Summarize(&r)
			if i == 20 {
				raw = nil
			} else {
				records = append(records, raw)
			}
			visit(key, sum, raw)
		}
		return nil
	})
	if err != nil {
		tb.Fatal(err)
	}
	f, err := fs.Open(seg.SealedName(sealedNumber))
	if err != nil {
		tb.Fatal(err)
	}
	size, _ := f.Size()
	p = make([]byte, size)
	if _, err := f.ReadAt(p, 0); err != nil {
		tb.Fatal(err)
	}
	return p, records
}

// readable returns the records that an index leads to, each of which must be one of those that were sealed.
func readable(t *testing.T, fs seg.Files, x *seg.SealedIndex, records [][]byte) (got [][]byte) {
	t.Helper()
	r, err := seg.NewSealedReader(fs, sealedStore)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for _, s := range x.Sections {
		if s.Lost() {
			continue
		}
		block, err := r.Read(x.Number, x.Blocks[s.Block], nil)
		if err != nil {
			continue
		}
		for p := block[s.Start : s.Start+s.Length]; len(p) > 0; {
			var record seg.Record
			n, err := seg.CheckRecord(p, &record)
			if err != nil || !slices.ContainsFunc(records, func(raw []byte) bool { return bytes.Equal(raw, p[:n]) }) {
				t.Fatalf("%x is not a record that was sealed (%v)", p, err)
			}
			got, p = append(got, p[:n]), p[n:]
		}
	}
	return got
}

// sealedIndex returns an encoded index and a block of records, both as they were before compression.
func sealedIndex(tb testing.TB) (index, records []byte) {
	tb.Helper()
	_, all := sealed(tb)
	records = slices.Concat(all[0], all[3], all[6])
	// One block of 99 bytes; two sections: places, then tenant … max time as the index lists its columns.
	index = []byte{1, 99, 2, 1, 0, 1, 0, 1, 1, 100, 100, 1, 1, 0, 0, 20, 20, 0, 0, 0, 0, 0, 0, 2, 2, 4, 4}
	return index, records
}

// file returns a sealed file with one block, of any kind and content, which the trailer calls the index if it is one.
// All its checksums are right.
func file(kind, codec byte, length uint32, payload []byte) []byte {
	block := words(nil, 0x3143424b)
	block = binary.LittleEndian.AppendUint64(block, uint64(sealedStore))
	block = binary.LittleEndian.AppendUint64(block, sealedNumber)
	block = binary.LittleEndian.AppendUint32(block, 0)
	block = append(block, kind, codec, 0, 0)
	block = binary.LittleEndian.AppendUint32(block, length)
	block = append(binary.LittleEndian.AppendUint32(block, uint32(len(payload))), payload...)
	block = sum(block)

	p := sum(headWords(0x315a424b))
	offset, size := len(p), len(block)
	if kind != 3 {
		offset, size = len(p)+len(block), 0
	}
	p = append(p, block...)
	trailer := headWords(0x3154424b)
	for _, v := range []int{offset, size, 2, 2, 2, 0, 200} {
		trailer = binary.LittleEndian.AppendUint64(trailer, uint64(v))
	}
	return append(p, sum(trailer)...)
}

// headWords is what a header and a trailer begin with.
func headWords(magic uint32) []byte {
	p := words(nil, magic)
	p = binary.LittleEndian.AppendUint32(p, 1)
	p = binary.LittleEndian.AppendUint32(p, 300)
	for _, v := range []uint64{uint64(sealedStore), sealedNumber, 1, 40} {
		p = binary.LittleEndian.AppendUint64(p, v)
	}
	return p
}

// words appends room for a checksum and a magic.
func words(p []byte, magic uint32) []byte {
	return binary.LittleEndian.AppendUint32(append(p, 0, 0, 0, 0), magic)
}

func sum(p []byte) []byte {
	binary.LittleEndian.PutUint32(p, crc32.Checksum(p[4:], crc32.MakeTable(crc32.Castagnoli)))
	return p
}
