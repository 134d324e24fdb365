// Package seg knows how the database lies on disk: records in batches in log segments, the manifest that names what is
// live, and snapshots of the state. It turns values into bytes and bytes into verdicts; it decides nothing about what
// the records mean.
//
// The log is one sequence of batches over all tenants and streams:
//
//	log-0000000000000000.seg   header block | batch | batch | … | zeros
//	log-0000000000000001.seg   header block | batch | …
//
// Segment files are written full of zeros before use. A batch starts on an aligned boundary, never crosses a segment and
// is never rewritten, so that no sector with acknowledged bytes is ever written again. An Address counts the bytes of
// all segments in order.
package seg

import "hash/crc32"

// castagnoli is the polynomial of every checksum in this package (CRC-32C); event data has its own, IEEE, from the wire.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// LSN is a log sequence number: an entry's place among all entries of all tenants. Entries count from 1.
type LSN uint64

// StoreID tells one data directory's bytes from another's. It is random and never leaves the server, so that no client
// can forge a batch inside an event.
type StoreID uint64

// Address is a byte's place in the log: segment number × segment size + offset in the file.
type Address uint64

// FormatVersion is the version of everything in this package. A directory with a greater one is refused.
const FormatVersion = 7

// Geometry is what is fixed when a data directory is made.
type Geometry struct {
	Align       int   // bytes; batches start at its multiples; a power of two, 512 to 1 Mi
	SegmentSize int64 // bytes; a multiple of Align, at most 1 Gi
}

// Address returns the address of an offset in a segment.
func (g Geometry) Address(segment uint64, off int64) Address {
	return Address(segment*uint64(g.SegmentSize) + uint64(off))
}

// Segment returns the number of the segment that holds an address.
func (g Geometry) Segment(a Address) uint64 { return uint64(a) / uint64(g.SegmentSize) }

// Offset returns an address's offset in its segment.
func (g Geometry) Offset(a Address) int64 { return int64(uint64(a) % uint64(g.SegmentSize)) }

// Up rounds n up to the alignment.
func (g Geometry) Up(n int64) int64 { return (n + int64(g.Align) - 1) &^ (int64(g.Align) - 1) }

// Room returns how many bytes of batches fit into an empty segment.
func (g Geometry) Room() int64 { return g.SegmentSize - int64(g.Align) }

// First returns the address of a segment's first batch, behind the header block.
func (g Geometry) First(segment uint64) Address { return g.Address(segment, int64(g.Align)) }

// The greatest geometry: a scan holds a segment in memory.
const (
	maxAlign       = 1 << 20
	maxSegmentSize = 1 << 30
)

func (g Geometry) valid() bool {
	return g.Align >= 512 && g.Align <= maxAlign && g.Align&(g.Align-1) == 0 &&
		g.SegmentSize >= 2*int64(g.Align) && g.SegmentSize <= maxSegmentSize && g.SegmentSize%int64(g.Align) == 0
}
