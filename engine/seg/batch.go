package seg

import (
	"encoding/binary"
	"hash/crc32"
)

// Batch is the header of a batch: what one write puts on disk.
//
//	+-----------+-----------+--------------+-------------+---------------+-----------+------------+
//	| crc32c (4)| magic (4) | store id (8) | address (8) | first lsn (8) | count (4) | length (4) |
//	+-----------+-----------+--------------+-------------+---------------+-----------+------------+
//	| durable lsn (8) | engine clock (8) | reserved (8) | records … | zeros up to the alignment    |
//	+-----------------+------------------+--------------+-----------+------------------------------+
//
// The checksum covers the rest of the header; each record has its own. The magic lies where a record has its length,
// and no record is that long, so that a walk through the log tells the two apart. Store id and address tell the bytes
// of a recycled file and of a misdirected write from a batch that belongs here.
//
// Durable is the greatest LSN known to be on stable storage when the batch was written. Damage at or below the greatest
// durable LSN of a log is corruption; damage above it is what a crash leaves of an unfinished write. A batch without
// records is a commit mark: it only says how far the log is durable.
type Batch struct {
	Address Address
	First   LSN // the first record's; of a commit mark, the next to be given
	Count   uint32
	Length  uint32 // bytes of all records
	Durable LSN
	Clock   int64 // the engine clock, ns since the Unix epoch
}

const (
	// BatchHeader is the length of a batch's header, in bytes.
	BatchHeader = 64

	// minPadding is the least number of zeros behind a batch's records: enough for a walk to see that no record follows.
	minPadding = 8

	batchMagic = 0x3142424b // "KBB1"; greater than any record's length
)

// BatchSize returns what a batch with so many bytes of records takes on disk.
func (g Geometry) BatchSize(records int) int64 {
	return g.Up(int64(BatchHeader + records + minPadding))
}

// MaxRecords returns the most bytes of records that a batch can hold: those that fill a segment.
func (g Geometry) MaxRecords() int { return int(g.Room()) - BatchHeader - minPadding }

// Last returns the LSN of the batch's last record, First − 1 for a commit mark.
func (b *Batch) Last() LSN { return b.First + LSN(b.Count) - 1 }

// PutBatch fills in the header of the batch in p, which holds BatchHeader bytes and then all its records.
func PutBatch(p []byte, id StoreID, b *Batch) {
	binary.LittleEndian.PutUint32(p[4:], batchMagic)
	binary.LittleEndian.PutUint64(p[8:], uint64(id))
	binary.LittleEndian.PutUint64(p[16:], uint64(b.Address))
	binary.LittleEndian.PutUint64(p[24:], uint64(b.First))
	binary.LittleEndian.PutUint32(p[32:], b.Count)
	binary.LittleEndian.PutUint32(p[36:], b.Length)
	binary.LittleEndian.PutUint64(p[40:], uint64(b.Durable))
	binary.LittleEndian.PutUint64(p[48:], uint64(b.Clock))
	clear(p[56:BatchHeader])
	binary.LittleEndian.PutUint32(p, crc32.Checksum(p[4:BatchHeader], castagnoli))
}

// ParseBatch reads the batch header at the start of p. It returns ErrDamaged unless the header is whole and belongs to
// this store and address.
func ParseBatch(p []byte, id StoreID, at Address) (Batch, error) {
	if len(p) < BatchHeader ||
		binary.LittleEndian.Uint32(p[4:]) != batchMagic ||
		binary.LittleEndian.Uint32(p) != crc32.Checksum(p[4:BatchHeader], castagnoli) ||
		binary.LittleEndian.Uint64(p[8:]) != uint64(id) ||
		binary.LittleEndian.Uint64(p[16:]) != uint64(at) {
		return Batch{}, ErrDamaged
	}
	return Batch{
		Address: at,
		First:   LSN(binary.LittleEndian.Uint64(p[24:])),
		Count:   binary.LittleEndian.Uint32(p[32:]),
		Length:  binary.LittleEndian.Uint32(p[36:]),
		Durable: LSN(binary.LittleEndian.Uint64(p[40:])),
		Clock:   int64(binary.LittleEndian.Uint64(p[48:])),
	}, nil
}

// CheckRecords verifies every record of a batch in p, which begins behind the header: checksums, consecutive sequence
// numbers, and the total length.
func (b *Batch) CheckRecords(p []byte) error {
	if uint64(b.Length) > uint64(len(p)) {
		return ErrDamaged
	}
	p = p[:b.Length]
	var r Record
	for i := range b.Count {
		n, err := CheckRecord(p, &r)
		if err != nil || r.LSN != b.First+LSN(i) {
			return ErrDamaged
		}
		p = p[n:]
	}
	if len(p) != 0 {
		return ErrDamaged
	}
	return nil
}

// Walker visits the records in a piece of the log that may span several batches of one segment.
type Walker struct {
	geo    Geometry
	id     StoreID
	rest   []byte
	at     Address // of rest's first byte
	verify bool
}

// NewWalker walks p, whose first byte lies at an address where a batch or a record begins. It verifies the records'
// checksums where asked to; bytes that never left memory need none.
func NewWalker(geo Geometry, id StoreID, p []byte, at Address, verify bool) *Walker {
	return &Walker{geo: geo, id: id, rest: p, at: at, verify: verify}
}

// Next parses the next record into r, whose body aliases the walked bytes. It returns false at the end, and ErrDamaged
// where the bytes are neither a record nor a batch; after that the walk goes on with the next whole batch header.
func (w *Walker) Next(r *Record) (bool, error) {
	for len(w.rest) > 0 {
		switch w.word() {
		case batchMagic:
			if _, err := ParseBatch(w.rest, w.id, w.at); err != nil {
				w.resync()
				return false, err
			}
			w.skip(BatchHeader)
		case 0: // padding: only a batch follows it
			w.align()
			if next := w.word(); next != 0 && next != batchMagic {
				// The zeros were damage, and this may be the inside of an event, where a client has put what it likes.
				w.resync()
				return false, ErrDamaged
			}
		default:
			n, err := w.parse(r)
			if err != nil {
				w.resync()
				return false, err
			}
			w.skip(n)
			return true, nil
		}
	}
	return false, nil
}

// resync moves to the next batch header, or to the end. Behind damage nothing else says where a record begins.
func (w *Walker) resync() {
	for w.align(); len(w.rest) > 0; w.align() {
		if _, err := ParseBatch(w.rest, w.id, w.at); err == nil {
			return
		}
	}
}

// align moves to the next aligned boundary.
func (w *Walker) align() { w.skip(int(w.geo.Up(int64(w.at)+1) - int64(w.at))) }

func (w *Walker) parse(r *Record) (int, error) {
	if w.verify {
		return CheckRecord(w.rest, r)
	}
	return ParseRecord(w.rest, r)
}

// word returns what tells padding, batch and record apart: the second word, 0 where even that is padding.
func (w *Walker) word() uint32 {
	if len(w.rest) < 8 {
		return 0
	}
	return binary.LittleEndian.Uint32(w.rest[4:])
}

func (w *Walker) skip(n int) {
	n = min(n, len(w.rest))
	w.rest, w.at = w.rest[n:], w.at+Address(n)
}
