package fuzz

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"runtime"
	"testing"

	"github.com/kimberlitedb/kimberlite-go/engine/seg"
	"github.com/kimberlitedb/kimberlite-go/engine/sql"
	"github.com/kimberlitedb/kimberlite-go/sim/disk"
)

const tablesNumber = 9

// tablesFile returns a snapshot of tables, and its pages.
func tablesFile(t testing.TB) (file []byte, pages [][]byte) {
	t.Helper()
	db, err := sql.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	entries := []*sql.Entry{{Position: 1, SQL: "CREATE TABLE t (a)", Makes: "t"}, {Position: 2, SQL: "INSERT INTO t VALUES (hex(zeroblob(9000)))"}}
	for _, e := range entries {
		e.Limits = sql.Limits{Steps: 1_000_000, Pages: 1000, Bytes: 1 << 20}
	}
	if _, err := db.Apply(entries); err != nil {
		t.Fatal(err)
	}
	image := db.Image()
	for p := range image.Pages() {
		pages = append(pages, bytes.Clone(p))
	}
	head := seg.TablesHead{
		TablesMark: seg.TablesMark{Number: tablesNumber, Tenant: 1, Next: 2, LSN: 3}, Store: sealedStore, PageSize: sql.PageSize,
		Pages: image.Count(), Library: image.Library(),
	}
	fs := disk.New(512).Mount()
	h, err := seg.WriteTables(fs, &head, image.Pages())
	if err != nil {
		t.Fatal(err)
	}
	f, err := fs.Open(seg.TablesName(tablesNumber))
	if err != nil {
		t.Fatal(err)
	}
	file = make([]byte, h.Size)
	if _, err := f.ReadAt(file, 0); err != nil {
		t.Fatal(err)
	}
	return file, pages
}

// FuzzTables: of a snapshot of tables with any bytes changed, either all pages are what was written, or it is damaged. It takes no
// more memory than a whole one, also where its checksums are right.
func FuzzTables(f *testing.F) {
	whole, pages := tablesFile(f)
	f.Add(uint16(0), []byte{}, uint16(len(whole)), false)
	f.Add(uint16(130), []byte("garbage"), uint16(len(whole)), false)
	f.Add(uint16(len(whole)-20), []byte("garbage"), uint16(len(whole)), false)
	f.Add(uint16(56), []byte{0xff, 0xff, 0xff, 0x7f}, uint16(len(whole)), true)
	f.Fuzz(func(t *testing.T, at uint16, change []byte, size uint16, forged bool) {
		p := bytes.Clone(whole[:min(int(size), len(whole))])
		copy(p[min(int(at), len(p)):], change)
		if forged && len(p) > 104 {
			binary.LittleEndian.PutUint32(p, crc32.Checksum(p[4:104], crc32.MakeTable(crc32.Castagnoli)))
		}
		var got [][]byte
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		h, err := seg.ReadTables(oneFile{name: seg.TablesName(tablesNumber), p: p}, sealedStore, tablesNumber, func(page []byte) error {
			got = append(got, bytes.Clone(page))
			return nil
		})
		runtime.ReadMemStats(&after)
		if used := after.TotalAlloc - before.TotalAlloc; used > 8<<20 {
			t.Fatalf("%d bytes were allocated", used)
		}
		switch {
		case errors.Is(err, seg.ErrDamaged), errors.Is(err, seg.ErrNewerFormat):
		case err != nil:
			t.Fatal(err)
		case !bytes.Equal(bytes.Join(got, nil), bytes.Join(pages, nil)) || !forged && h.Next != 2:
			t.Fatalf("%+v: other pages than those that were written", h)
		}
	})
}

// FuzzRestore: whatever pages there are, tables are made of them or they are refused, and go on afterwards.
func FuzzRestore(f *testing.F) {
	_, pages := tablesFile(f)
	f.Add(uint32(0), []byte{})
	f.Add(uint32(18), []byte{3})
	f.Add(uint32(sql.PageSize+3), []byte{0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, at uint32, change []byte) {
		all := bytes.Join(pages, nil)
		copy(all[min(int(at), len(all)):], change)
		db, err := sql.Open()
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		var b sql.Pages
		for ; len(all) > 0; all = all[sql.PageSize:] {
			if err := b.Add(all[:sql.PageSize]); err != nil {
				t.Fatal(err)
			}
		}
		if db.Restore(&b) == nil {
			e := &sql.Entry{Position: 3, SQL: "INSERT INTO t SELECT a FROM t", Limits: sql.Limits{Steps: 100_000, Pages: 1000, Bytes: 1 << 20}}
			_, _ = db.Apply([]*sql.Entry{e}) // an error ends the tenant's SQL
			_, _ = db.Query(&sql.Question{SQL: "SELECT count(*), max(a) FROM t", Steps: 100_000, Bytes: 1 << 20})
		}
		if err := db.Restore(&sql.Pages{}); err != nil {
			t.Fatal(err)
		}
	})
}
