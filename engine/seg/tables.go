package seg

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"iter"
	"slices"

	"github.com/kimberlitedb/kimberlite-go/wire"
)

// A snapshot of a tenant's tables holds the pages of a database, compressed:
//
//	tables-0000000000000000.kbt   header | blocks of pages … | trailer
//
// The header says what the pages are:
//
//	+-----------+-----------+-------------+---------------+--------------+------------+------------+
//	| crc32c (4)| magic (4) | version (4) | page size (4) | store id (8) | number (8) | tenant (8) |
//	+-----------+-----------+-------------+---------------+--------------+------------+------------+
//	| next (8) | lsn (8) | pages (8) | library (4) | reserved (4) | outcomes (32) |
//	+----------+---------+-----------+-------------+--------------+---------------+
//
// Blocks are those of sealed files, of a kind of their own, each of blockPages pages but the last. The trailer ends the file:
//
//	+-----------+-----------+------------+--------------+------------------+
//	| crc32c (4)| magic (4) | blocks (4) | reserved (4) | SHA-256 (32) … |
//	+-----------+-----------+------------+--------------+------------------+
//
// The checksums cover everything after themselves, the hash all pages.
const (
	tablesMagic   = 0x3144424b // "KBD1"
	tablesEnd     = 0x3145424b // "KBE1"
	tablesHeader  = 72 + sha256.Size
	tablesTrailer = 16 + sha256.Size
	tablesPrefix  = "tables-"
	tablesSuffix  = ".kbt"
	blockPages    = 64
)

// TablesName returns the file name of a snapshot of tables.
func TablesName(number uint64) string {
	return fmt.Sprintf("%s%016x%s", tablesPrefix, number, tablesSuffix)
}

// TablesNumber parses the name of a snapshot of tables.
func TablesNumber(name string) (uint64, bool) {
	return parseName(name, tablesPrefix, tablesSuffix)
}

// TablesMark names a live snapshot of a tenant's tables. A manifest that has it vouches for the log up to an entry.
type TablesMark struct {
	Number uint64 // the file's
	Tenant wire.TenantID
	Next   wire.Offset // of the tenant's stream of statements: the first one that is not carried out in it
	LSN    LSN         // of the last entry that may have led to it
}

// compare orders marks by tenant and number.
func (t TablesMark) compare(o TablesMark) int {
	return cmp.Or(cmp.Compare(t.Tenant, o.Tenant), cmp.Compare(t.Number, o.Number))
}

// PutTables makes a snapshot of a tenant's tables live: of the others of the tenant the newest one of which keep says so stays.
func (m *Manifest) PutTables(mark TablesMark, keep func(TablesMark) bool) {
	var list []TablesMark
	older := MaxTables - 1
	for _, t := range slices.Backward(m.Tables) {
		if t.Tenant == mark.Tenant {
			if older == 0 || t.Number >= mark.Number || !keep(t) {
				continue
			}
			older--
		}
		list = append(list, t)
	}
	m.Tables = append(list, mark)
	slices.SortFunc(m.Tables, TablesMark.compare)
}

// MaxTables is how many snapshots of a tenant's tables are kept: the second one is there in case the first rots.
const MaxTables = 2

// TablesHead says what a snapshot of tables is.
type TablesHead struct {
	TablesMark
	Store    StoreID
	PageSize int
	Pages    int
	Library  uint32            // version of the library that has written the pages
	Outcomes [sha256.Size]byte // hash of the outcomes of the statements before Next
	Size     int64             // of the file that was read
}

// valid reports whether a file can be made or read with this head.
func (h *TablesHead) valid() bool {
	return h.PageSize >= 512 && h.PageSize <= 64<<10 && h.Pages >= 1 && h.Pages < 1<<32
}

// WriteTables writes a snapshot of tables durably, page by page, and reads it back. It does not become live until a manifest
// names it. It returns what it has read.
func WriteTables(fs Files, h *TablesHead, pages iter.Seq[[]byte]) (TablesHead, error) {
	if !h.valid() {
		return TablesHead{}, fmt.Errorf("write snapshot of tables %d: %d pages of %d bytes are not possible", h.Number, h.Pages, h.PageSize)
	}
	pack, err := newPacker(h.Store, h.Number)
	if err != nil {
		return TablesHead{}, err
	}
	w := tablesWriter{h: h, pack: pack, sum: sha256.New()}
	err = writeFile(fs, TablesName(h.Number), func(f File) error {
		w.file = f
		return w.write(pages)
	})
	var got TablesHead
	if err == nil {
		got, err = ReadTables(fs, h.Store, h.Number, func([]byte) error { return nil })
	}
	if err != nil {
		return TablesHead{}, fmt.Errorf("write snapshot of tables %d: %w", h.Number, err)
	}
	return got, nil
}

// digest is a hash that is being computed.
type digest interface {
	Write(p []byte) (int, error)
	Sum(p []byte) []byte
}

// tablesWriter is a file under way.
type tablesWriter struct {
	h     *TablesHead
	file  File
	pack  packer
	sum   digest
	block []byte // pages that are not written
	out   []byte
	count uint32 // of blocks written
	size  int64
}

func (w *tablesWriter) write(pages iter.Seq[[]byte]) error {
	if err := w.put(w.h.encode()); err != nil {
		return err
	}
	n := 0
	for page := range pages {
		n++
		w.sum.Write(page)
		w.block = append(w.block, page...)
		if len(w.block) < blockPages*w.h.PageSize {
			continue
		}
		if err := w.cut(); err != nil {
			return err
		}
	}
	if n != w.h.Pages || (len(w.block)%w.h.PageSize) != 0 {
		return fmt.Errorf("there are %d pages instead of %d", n, w.h.Pages)
	}
	if err := w.cut(); err != nil {
		return err
	}
	p := make([]byte, 16, tablesTrailer)
	binary.LittleEndian.PutUint32(p[4:], tablesEnd)
	binary.LittleEndian.PutUint32(p[8:], w.count)
	p = w.sum.Sum(p)
	binary.LittleEndian.PutUint32(p, crc32.Checksum(p[4:], castagnoli))
	return w.put(p)
}

// cut ends the block that is being filled, if anything is in it.
func (w *tablesWriter) cut() error {
	if len(w.block) == 0 {
		return nil
	}
	w.out, _ = w.pack.pack(w.out[:0], w.count, pageBlock, w.block)
	w.count++
	w.block = w.block[:0]
	return w.put(w.out)
}

func (w *tablesWriter) put(p []byte) error {
	_, err := w.file.WriteAt(p, w.size)
	w.size += int64(len(p))
	return err
}

func (h *TablesHead) encode() []byte {
	p := make([]byte, 72, tablesHeader)
	binary.LittleEndian.PutUint32(p[4:], tablesMagic)
	binary.LittleEndian.PutUint32(p[8:], FormatVersion)
	binary.LittleEndian.PutUint32(p[12:], uint32(h.PageSize))
	for i, v := range []uint64{uint64(h.Store), h.Number, uint64(h.Tenant), uint64(h.Next), uint64(h.LSN), uint64(h.Pages)} {
		binary.LittleEndian.PutUint64(p[16+8*i:], v)
	}
	binary.LittleEndian.PutUint32(p[64:], h.Library)
	p = append(p, h.Outcomes[:]...)
	binary.LittleEndian.PutUint32(p, crc32.Checksum(p[4:], castagnoli))
	return p
}

// ParseTables reads the header of a snapshot of tables. It returns ErrDamaged unless p begins with one that is whole.
func ParseTables(p []byte) (h TablesHead, err error) {
	if len(p) < tablesHeader {
		return h, ErrDamaged
	}
	p = p[:tablesHeader]
	if binary.LittleEndian.Uint32(p) != crc32.Checksum(p[4:], castagnoli) || binary.LittleEndian.Uint32(p[4:]) != tablesMagic {
		return h, ErrDamaged
	}
	if binary.LittleEndian.Uint32(p[8:]) > FormatVersion {
		return h, ErrNewerFormat
	}
	word := func(i int) uint64 { return binary.LittleEndian.Uint64(p[16+8*i:]) }
	h = TablesHead{
		TablesMark: TablesMark{Number: word(1), Tenant: wire.TenantID(word(2)), Next: wire.Offset(word(3)), LSN: LSN(word(4))},
		Store:      StoreID(word(0)), PageSize: int(binary.LittleEndian.Uint32(p[12:])), Pages: int(word(5)),
		Library: binary.LittleEndian.Uint32(p[64:]), Outcomes: [sha256.Size]byte(p[72:]),
	}
	if !h.valid() {
		return h, ErrDamaged
	}
	return h, nil
}

// ReadTables reads a snapshot of tables and hands each page out, which is only valid until page returns. What it has handed out
// is worth something only where it returns no error; ErrDamaged says that the file is not what was written, and ErrUnreadable
// that the disk does not give it, however often.
func ReadTables(fs Files, id StoreID, number uint64, page func([]byte) error) (h TablesHead, err error) {
	f, err := fs.Open(TablesName(number))
	if err == nil {
		defer f.Close()
		r := tablesReader{file: f, sum: sha256.New()}
		if r.size, err = f.Size(); err == nil {
			h, err = r.read(id, number, page)
		}
	}
	if err != nil {
		return h, fmt.Errorf("read snapshot of tables %d: %w", number, err)
	}
	return h, nil
}

type tablesReader struct {
	file File
	size int64
	off  int64
	sum  digest
}

// next returns the next bytes of the file. A file that is too short is damaged.
func (r *tablesReader) next(n int) ([]byte, error) {
	if r.size-r.off < int64(n) {
		return nil, ErrDamaged
	}
	p := make([]byte, n)
	var err error
	for range readTries {
		if err = readFull(r.file, p, r.off); err == nil || errors.Is(err, ErrCrashed) {
			break
		}
	}
	if err != nil && !errors.Is(err, ErrCrashed) {
		err = fmt.Errorf("%w: %w", ErrUnreadable, err)
	}
	r.off += int64(n)
	return p, err
}

func (r *tablesReader) read(id StoreID, number uint64, page func([]byte) error) (h TablesHead, err error) {
	p, err := r.next(tablesHeader)
	if err != nil {
		return h, err
	}
	h, err = ParseTables(p)
	if err == nil && (h.Store != id || h.Number != number) {
		err = ErrDamaged
	}
	if err != nil {
		return h, err
	}
	h.Size = r.size
	unpack, err := newUnpacker()
	if err != nil {
		return h, err
	}
	defer unpack.zstd.Close()
	blocks := uint32((h.Pages + blockPages - 1) / blockPages)
	var content []byte
	for i := range blocks {
		if content, err = r.block(&h, i, unpack, content); err != nil {
			return h, err
		}
		r.sum.Write(content)
		for rest := content; len(rest) > 0; rest = rest[h.PageSize:] {
			if err := page(rest[:h.PageSize]); err != nil {
				return h, err
			}
		}
	}
	if p, err = r.next(tablesTrailer); err != nil {
		return h, err
	}
	if binary.LittleEndian.Uint32(p) != crc32.Checksum(p[4:], castagnoli) || binary.LittleEndian.Uint32(p[4:]) != tablesEnd ||
		binary.LittleEndian.Uint32(p[8:]) != blocks || [sha256.Size]byte(p[16:]) != [sha256.Size]byte(r.sum.Sum(nil)) || r.off != r.size {
		return h, ErrDamaged
	}
	return h, nil
}

// block returns the pages of a block, in dst where that is large enough.
func (r *tablesReader) block(h *TablesHead, ordinal uint32, u unpacker, dst []byte) ([]byte, error) {
	p, err := r.next(sealedBlockHead)
	if err != nil {
		return nil, err
	}
	b, ok := parseBlockHead(p, h.Store, h.Number)
	want := min(blockPages, h.Pages-int(ordinal)*blockPages) * h.PageSize
	if !ok || b.kind != pageBlock || b.ordinal != ordinal || int(b.length) != want {
		return nil, ErrDamaged
	}
	payload, err := r.next(int(b.stored))
	if err != nil {
		return nil, err
	}
	if crc32.Update(crc32.Checksum(p[4:], castagnoli), castagnoli, payload) != binary.LittleEndian.Uint32(p) {
		return nil, ErrDamaged
	}
	return u.unpack(dst, b, payload)
}
