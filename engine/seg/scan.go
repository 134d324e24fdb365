package seg

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Extent is a piece [Start, End) of the log within one segment.
type Extent struct{ Start, End Address }

// Finding is something that a scan met in the log: a whole batch, or damage.
type Finding struct {
	Extent
	Damaged bool   // bytes that are neither zeros nor a whole batch, or that cannot be read
	Batch   Batch  // where not Damaged
	Records []byte // where not Damaged: the batch's records; the visitor may keep them
}

// Scan visits what lies in the log from an address on, in order, and returns the last segment that exists. It verifies
// every checksum. After damage it looks for the next batch at every aligned boundary, so that the visitor can tell a
// torn tail (nothing follows) from corruption (the log goes on).
//
// A read that fails is damage too: what cannot be read is reported, not skipped. Scan fails only where the directory
// cannot be listed, a segment is missing or cannot be opened, a newer format is met, the process crashes, or the visitor
// fails.
func Scan(fs Files, m Manifest, from Address, visit func(Finding) error) (last uint64, err error) {
	last, err = lastSegment(fs, m.First)
	if err != nil {
		return 0, err
	}
	for n := m.Geometry.Segment(from); n <= last; n++ {
		if err := ScanSegment(fs, m, n, from, visit); err != nil {
			return last, err
		}
	}
	return last, nil
}

// ScanSegment is Scan over one segment, from an address on.
func ScanSegment(fs Files, m Manifest, number uint64, from Address, visit func(Finding) error) error {
	s := scanner{geo: m.Geometry, id: m.Store, number: number, visit: visit}
	return s.segment(fs, m.Geometry.Offset(max(m.Geometry.First(number), from)))
}

// lastSegment finds the greatest segment. They must be there without a gap from the first on.
func lastSegment(fs Files, first uint64) (uint64, error) {
	last, missing, err := Segments(fs, first)
	if err != nil {
		return 0, err
	}
	if len(missing) > 0 {
		return 0, fmt.Errorf("%s is missing: put it back from a copy of the data directory", SegmentName(missing[0]))
	}
	return last, nil
}

// maxMissing is how many segments may be missing before the directory is not worth a look.
const maxMissing = 1 << 10

// Segments returns the number of the last segment and those that are missing from the first live one on: the first
// itself where there is none.
func Segments(fs Files, first uint64) (last uint64, missing []uint64, err error) {
	names, err := fs.List()
	if err != nil {
		return 0, nil, fmt.Errorf("list data directory: %w", err)
	}
	next := first
	for _, name := range names { // ascending, since numbers have a fixed width
		n, ok := SegmentNumber(name)
		if !ok || n < first {
			continue
		}
		if n-next > maxMissing {
			return 0, nil, fmt.Errorf("%s and %d others are missing: put them back from a copy of the data directory", SegmentName(next), n-next-1)
		}
		for ; next < n; next++ {
			missing = append(missing, next)
		}
		last, next = n, n+1
	}
	if next == first {
		return first, []uint64{first}, nil
	}
	return last, missing, nil
}

type scanner struct {
	geo    Geometry
	id     StoreID
	number uint64
	visit  func(Finding) error

	p          []byte // the segment
	unreadable []bool // by block
}

func (s *scanner) segment(fs Files, off int64) error {
	if err := s.read(fs); err != nil {
		return err
	}
	if !s.unreadable[0] {
		err := checkSegmentHeader(s.p, s.geo, s.id, s.number)
		if errors.Is(err, ErrNewerFormat) {
			return fmt.Errorf("%s: %w", SegmentName(s.number), err)
		}
	}
	damaged := off // start of the damage not yet reported; equal to off where there is none
	for off < s.geo.SegmentSize {
		b, size := s.batch(off)
		if size == 0 && s.blank(off) {
			size = int64(s.geo.Align)
		} else if size == 0 {
			off += int64(s.geo.Align)
			continue
		}
		if err := s.flush(damaged, off); err != nil {
			return err
		}
		if b != nil {
			if err := s.visit(*b); err != nil {
				return err
			}
		}
		off += size
		damaged = off
	}
	return s.flush(damaged, off)
}

// flush reports damage at [from, to), if any.
func (s *scanner) flush(from, to int64) error {
	if from >= to {
		return nil
	}
	return s.visit(Finding{Extent: s.extent(from, to), Damaged: true})
}

// batch parses the whole batch at off, if one is there, and returns its size on disk.
func (s *scanner) batch(off int64) (*Finding, int64) {
	b, err := ParseBatch(s.p[off:], s.id, s.geo.Address(s.number, off))
	if err != nil {
		return nil, 0
	}
	size := s.geo.BatchSize(int(b.Length))
	if off+size > s.geo.SegmentSize {
		return nil, 0
	}
	for block := off / int64(s.geo.Align); block < (off+size)/int64(s.geo.Align); block++ {
		if s.unreadable[block] {
			return nil, 0
		}
	}
	records := s.p[off+BatchHeader : off+BatchHeader+int64(b.Length) : off+BatchHeader+int64(b.Length)]
	if b.CheckRecords(records) != nil {
		return nil, 0
	}
	return &Finding{Extent: s.extent(off, off+size), Batch: b, Records: records}, size
}

var zeroBlock [4096]byte

// blank reports whether the block at off holds only zeros.
func (s *scanner) blank(off int64) bool {
	if s.unreadable[off/int64(s.geo.Align)] {
		return false
	}
	for p := s.p[off : off+int64(s.geo.Align)]; len(p) > 0; {
		n := min(len(p), len(zeroBlock))
		if !bytes.Equal(p[:n], zeroBlock[:n]) {
			return false
		}
		p = p[n:]
	}
	return true
}

// read reads the segment in large pieces, and block by block where that fails.
func (s *scanner) read(fs Files) error {
	s.p = make([]byte, s.geo.SegmentSize)
	s.unreadable = make([]bool, s.geo.SegmentSize/int64(s.geo.Align))
	f, err := fs.Open(SegmentName(s.number))
	if err != nil {
		return fmt.Errorf("open %s: %w", SegmentName(s.number), err)
	}
	defer f.Close()
	piece := max(int64(s.geo.Align), 1<<20)
	for off := int64(0); off < s.geo.SegmentSize; off += piece {
		end := min(off+piece, s.geo.SegmentSize)
		err := readFull(f, s.p[off:end], off)
		for ; err != nil && off < end; off += int64(s.geo.Align) {
			berr := readStubborn(f, s.p[off:off+int64(s.geo.Align)], off)
			if errors.Is(berr, ErrCrashed) {
				return berr
			}
			s.unreadable[off/int64(s.geo.Align)] = berr != nil
		}
		off = end - piece // the pieces stay in step whichever way was taken
	}
	return nil
}

// readTries is how often a read is tried before it counts as failed.
const readTries = 4

// readStubborn is readFull that tries a few times: an error that passes must not make a verdict of damage that stays.
func readStubborn(f File, p []byte, off int64) (err error) {
	for range readTries {
		if err = readFull(f, p, off); err == nil || errors.Is(err, ErrCrashed) {
			return err
		}
	}
	return err
}

func (s *scanner) extent(from, to int64) Extent {
	base := s.geo.Address(s.number, 0)
	return Extent{base + Address(from), base + Address(to)}
}

// TornPrefix begins the names of files that keep what a crash left of unfinished writes.
const TornPrefix = "torn-"

// CopyAside copies an extent of the log durably into a file of its own, what cannot be read of it as zeros, so that the
// bytes can still be looked at when the log holds them no more.
func CopyAside(fs Files, geo Geometry, e Extent) error {
	segment, err := fs.Open(SegmentName(geo.Segment(e.Start)))
	if err == nil {
		defer segment.Close()
		err = copyAside(fs, segment, geo, e)
	}
	if err != nil {
		return fmt.Errorf("set %s at %d aside: %w", SegmentName(geo.Segment(e.Start)), geo.Offset(e.Start), err)
	}
	return nil
}

// SetAside is CopyAside that then writes zeros over the extent, durably too. Recovery does this to a torn tail, so that
// the log ends in zeros again.
func SetAside(fs Files, geo Geometry, e Extent) error {
	segment, err := fs.Open(SegmentName(geo.Segment(e.Start)))
	if err != nil {
		return fmt.Errorf("set aside: %w", err)
	}
	defer segment.Close()
	if err = copyAside(fs, segment, geo, e); err == nil {
		from := geo.Offset(e.Start)
		err = zero(segment, from, from+int64(e.End-e.Start))
	}
	if err != nil {
		return fmt.Errorf("set %s at %d aside: %w", SegmentName(geo.Segment(e.Start)), geo.Offset(e.Start), err)
	}
	return nil
}

func copyAside(fs Files, segment File, geo Geometry, e Extent) error {
	name := fmt.Sprintf("%s%016x.bin", TornPrefix, uint64(e.Start))
	from := geo.Offset(e.Start)
	return writeFile(fs, name, func(f File) error { return copyBlocks(f, segment, geo, from, from+int64(e.End-e.Start)) })
}

// KeptPrefix begins the names of files that a repair has kept.
const KeptPrefix = "kept-"

// KeepAside copies a file durably to one whose name says that it is kept, what cannot be read of it as zeros.
func KeepAside(fs Files, name string) error {
	src, err := fs.Open(name)
	if err != nil {
		return fmt.Errorf("keep %s: %w", name, err)
	}
	defer src.Close()
	size, err := src.Size()
	if err == nil {
		err = writeFile(fs, KeptPrefix+name, func(f File) error {
			for off := int64(0); off < size; off += searchPiece {
				p := make([]byte, min(searchPiece, size-off))
				if err := readHoles(src, p, off); err != nil {
					return err
				}
				if _, err := f.WriteAt(p, off); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err != nil {
		return fmt.Errorf("keep %s: %w", name, err)
	}
	return nil
}

// RemoveTorn removes durably all that was set aside or kept.
func RemoveTorn(fs Files) error {
	names, err := fs.List()
	if err != nil {
		return fmt.Errorf("list data directory: %w", err)
	}
	names = slices.DeleteFunc(names, func(name string) bool {
		return !strings.HasPrefix(name, TornPrefix) && !strings.HasPrefix(name, KeptPrefix)
	})
	if len(names) == 0 {
		return nil
	}
	return Remove(fs, names)
}

func copyBlocks(dst, src File, geo Geometry, from, to int64) error {
	block := make([]byte, geo.Align)
	for off := from; off < to; off += int64(len(block)) {
		if err := readStubborn(src, block, off); errors.Is(err, ErrCrashed) {
			return err
		} else if err != nil {
			clear(block)
		}
		if _, err := dst.WriteAt(block, off-from); err != nil {
			return err
		}
	}
	return nil
}

// Leftover reports whether a file is what a crash left behind: an unfinished one, or one that the manifest does not name,
// or no longer.
func (m Manifest) Leftover(name string) bool {
	if strings.HasSuffix(name, TempSuffix) {
		return true
	}
	if lsn, ok := SnapshotLSN(name); ok {
		return !slices.ContainsFunc(m.Snapshots, func(s SnapshotMark) bool { return s.LSN == lsn })
	}
	if number, ok := SealedNumber(name); ok {
		return !slices.ContainsFunc(m.Sealed, func(s SealedMark) bool { return s.Number == number })
	}
	if number, ok := TablesNumber(name); ok {
		return !slices.ContainsFunc(m.Tables, func(t TablesMark) bool { return t.Number == number })
	}
	number, ok := SegmentNumber(name)
	return ok && number < m.First
}

// RemoveLeftovers removes them. It returns how many there were.
func RemoveLeftovers(fs Files, m Manifest) (int, error) {
	names, err := fs.List()
	if err != nil {
		return 0, fmt.Errorf("list data directory: %w", err)
	}
	removed := 0
	for _, name := range names {
		if !m.Leftover(name) {
			continue
		}
		if err := fs.Remove(name); err != nil {
			return removed, fmt.Errorf("remove %s: %w", name, err)
		}
		removed++
	}
	return removed, nil
}

// Dropped returns the names of the files that an older manifest names and this one does not.
func (m Manifest) Dropped(old Manifest) (names []string) {
	for n := old.First; n < m.First; n++ {
		names = append(names, SegmentName(n))
	}
	for _, s := range old.Snapshots {
		names = append(names, SnapshotName(s.LSN))
	}
	for _, s := range old.Sealed {
		names = append(names, SealedName(s.Number))
	}
	for _, t := range old.Tables {
		names = append(names, TablesName(t.Number))
	}
	return slices.DeleteFunc(names, func(name string) bool { return !m.Leftover(name) })
}

// Remove removes files durably. One that is not there counts as removed.
func Remove(fs Files, names []string) error {
	for _, name := range names {
		if err := fs.Remove(name); err != nil && !errors.Is(err, ErrNotExist) {
			return fmt.Errorf("remove %s: %w", name, err)
		}
	}
	if err := fs.SyncDir(); err != nil {
		return fmt.Errorf("sync data directory: %w", err)
	}
	return nil
}
