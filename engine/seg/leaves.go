package seg

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"sort"

	"github.com/kimberlitedb/kimberlite-go/wire"
)

// A file of leaves has the hashes of the events that have come since the checkpoint before: they stay when the events go.
//
//	leaves-<checkpoint id>.kbl   header | chunks of each stream … | index | trailer
//
// Header and trailer are
//
//	+-----------+-----------+-------------+--------------+--------------------+
//	| crc32c (4)| magic (4) | version (4) | store id (8) | checkpoint id (16) |
//	+-----------+-----------+-------------+--------------+--------------------+
//	+-----------+-----------+---------------------------+
//	| crc32c (4)| magic (4) | where the index begins (8)|
//	+-----------+-----------+---------------------------+
//
// A chunk is a checksum and the hashes of chunkLeaves events in a row, or of fewer at the end of a stream. The index has for each stream, in
// ascending order,
//
//	+------------+------------------+-----------+------------------------+
//	| stream (8) | first offset (8) | count (8) | where they begin (8)   |
//	+------------+------------------+-----------+------------------------+
//
// behind its length (8) and a checksum (4) of what follows. The checksums of header and trailer cover what follows in them.
const (
	leavesMagic   = 0x314c424b // "KBL1"
	leavesEnd     = 0x3146424b // "KBF1"
	leavesHeader  = 36
	leavesTrailer = 16
	leavesPrefix  = "leaves-"
	leavesSuffix  = ".kbl"
	leafRun       = 32
	chunkLeaves   = 1024
	chunkSize     = 4 + chunkLeaves*sha256.Size
)

// LeavesName returns the name of the file of leaves of a checkpoint.
func LeavesName(id wire.CheckpointID) string { return leavesPrefix + id.String() + leavesSuffix }

// ParseLeavesName parses such a name.
func ParseLeavesName(name string) (id wire.CheckpointID, ok bool) {
	if len(name) != len(leavesPrefix)+2*len(id)+len(leavesSuffix) {
		return id, false
	}
	id, err := wire.ParseCheckpointID(name[len(leavesPrefix) : len(name)-len(leavesSuffix)])
	return id, err == nil && LeavesName(id) == name
}

// run is where the leaves of a stream are.
type run struct {
	stream wire.StreamID
	first  wire.Offset
	count  uint64
	at     uint64
}

// LeafWriter takes the leaves of a checkpoint, stream by stream, in ascending order of ids and offsets.
type LeafWriter struct {
	f     File
	at    uint64
	chunk []byte
	runs  []run
}

// WriteLeaves writes a file of leaves durably, in the place of one that is there.
func WriteLeaves(fs Files, store StoreID, id wire.CheckpointID, fill func(*LeafWriter) error) error {
	err := writeFile(fs, LeavesName(id), func(f File) error {
		h := make([]byte, leavesHeader)
		binary.LittleEndian.PutUint32(h[4:], leavesMagic)
		binary.LittleEndian.PutUint32(h[8:], FormatVersion)
		binary.LittleEndian.PutUint64(h[12:], uint64(store))
		copy(h[20:], id[:])
		binary.LittleEndian.PutUint32(h, crc32.Checksum(h[4:], castagnoli))
		w := &LeafWriter{f: f}
		if err := w.put(h); err != nil {
			return err
		}
		if err := fill(w); err != nil {
			return err
		}
		return w.finish()
	})
	if err != nil {
		return fmt.Errorf("write leaves of checkpoint %s: %w", id, err)
	}
	return nil
}

// Stream begins with the leaves of a stream, from an offset on.
func (w *LeafWriter) Stream(id wire.StreamID, first wire.Offset) error {
	err := w.flush()
	w.runs = append(w.runs, run{stream: id, first: first, at: w.at})
	return err
}

// Add adds the leaf of the stream's next event.
func (w *LeafWriter) Add(leaf [sha256.Size]byte) error {
	if len(w.chunk) == 0 {
		w.chunk = append(w.chunk, 0, 0, 0, 0)
	}
	w.chunk = append(w.chunk, leaf[:]...)
	w.runs[len(w.runs)-1].count++
	if len(w.chunk) == chunkSize {
		return w.flush()
	}
	return nil
}

func (w *LeafWriter) flush() error {
	if len(w.chunk) == 0 {
		return nil
	}
	binary.LittleEndian.PutUint32(w.chunk, crc32.Checksum(w.chunk[4:], castagnoli))
	err := w.put(w.chunk)
	w.chunk = w.chunk[:0]
	return err
}

func (w *LeafWriter) put(p []byte) error {
	_, err := w.f.WriteAt(p, int64(w.at))
	w.at += uint64(len(p))
	return err
}

func (w *LeafWriter) finish() error {
	if err := w.flush(); err != nil {
		return err
	}
	start := w.at
	p := make([]byte, 12, 12+len(w.runs)*leafRun+leavesTrailer)
	for _, r := range w.runs {
		for _, n := range []uint64{uint64(r.stream), uint64(r.first), r.count, r.at} {
			p = binary.LittleEndian.AppendUint64(p, n)
		}
	}
	binary.LittleEndian.PutUint64(p, uint64(len(p)-12))
	binary.LittleEndian.PutUint32(p[8:], crc32.Checksum(p[12:], castagnoli))
	t := make([]byte, leavesTrailer)
	binary.LittleEndian.PutUint32(t[4:], leavesEnd)
	binary.LittleEndian.PutUint64(t[8:], start)
	binary.LittleEndian.PutUint32(t, crc32.Checksum(t[4:], castagnoli))
	return w.put(append(p, t...))
}

// Leaves reads a file of leaves.
type Leaves struct {
	f    File
	runs []run // ascending
	buf  []byte
}

// OpenLeaves opens a file of leaves. It fails with ErrDamaged where it is not that file. The caller closes it.
func OpenLeaves(fs Files, store StoreID, id wire.CheckpointID) (*Leaves, error) {
	f, err := fs.Open(LeavesName(id))
	if err == nil {
		l := &Leaves{f: f}
		if err = l.open(store, id); err == nil {
			return l, nil
		}
		f.Close()
	}
	return nil, fmt.Errorf("open leaves of checkpoint %s: %w", id, err)
}

func (l *Leaves) open(store StoreID, id wire.CheckpointID) error {
	size, err := l.f.Size()
	if err != nil {
		return err
	}
	if size < leavesHeader+12+leavesTrailer {
		return ErrDamaged
	}
	h, t := make([]byte, leavesHeader), make([]byte, leavesTrailer)
	if err := errors.Join(readFull(l.f, h, 0), readFull(l.f, t, size-leavesTrailer)); err != nil {
		return err
	}
	start := binary.LittleEndian.Uint64(t[8:])
	switch end := uint64(size - leavesTrailer); {
	case binary.LittleEndian.Uint32(h) != crc32.Checksum(h[4:], castagnoli), binary.LittleEndian.Uint32(h[4:]) != leavesMagic,
		binary.LittleEndian.Uint64(h[12:]) != uint64(store), wire.CheckpointID(h[20:36]) != id,
		binary.LittleEndian.Uint32(t) != crc32.Checksum(t[4:], castagnoli), binary.LittleEndian.Uint32(t[4:]) != leavesEnd,
		start < leavesHeader || start > end || end-start < 12 || (end-start-12)%leafRun != 0:
		return ErrDamaged
	case binary.LittleEndian.Uint32(h[8:]) > FormatVersion:
		return ErrNewerFormat
	}
	p := make([]byte, uint64(size-leavesTrailer)-start)
	if err := readFull(l.f, p, int64(start)); err != nil {
		return err
	}
	if binary.LittleEndian.Uint64(p) != uint64(len(p)-12) || binary.LittleEndian.Uint32(p[8:]) != crc32.Checksum(p[12:], castagnoli) {
		return ErrDamaged
	}
	for p = p[12:]; len(p) > 0; p = p[leafRun:] {
		n := func(i int) uint64 { return binary.LittleEndian.Uint64(p[8*i:]) }
		r := run{wire.StreamID(n(0)), wire.Offset(n(1)), n(2), n(3)}
		if k := len(l.runs); k > 0 && l.runs[k-1].stream >= r.stream || !r.within(start) {
			return ErrDamaged
		}
		l.runs = append(l.runs, r)
	}
	return nil
}

// Check reads all leaves. It fails with ErrDamaged where one of them is not what was written.
func (l *Leaves) Check() error {
	for _, r := range l.runs {
		for o := r.first; o < r.first+wire.Offset(r.count); o += chunkLeaves {
			if _, err := l.Read(nil, r.stream, o, o+1); err != nil {
				return err
			}
		}
	}
	return nil
}

// within reports whether the leaves of a run lie between the header and the index, and whether their offsets are some.
func (r *run) within(end uint64) bool {
	if r.at < leavesHeader || r.at > end || r.count > (end-r.at)/sha256.Size || uint64(r.first)+r.count < r.count {
		return false
	}
	return (r.count+chunkLeaves-1)/chunkLeaves*(chunkSize-chunkLeaves*sha256.Size)+r.count*sha256.Size <= end-r.at
}

// Close closes the file.
func (l *Leaves) Close() error { return l.f.Close() }

// Of returns which leaves of a stream there are: of the offsets from first on, up to next. They are equal where there are none.
func (l *Leaves) Of(stream wire.StreamID) (first, next wire.Offset) {
	i := sort.Search(len(l.runs), func(i int) bool { return l.runs[i].stream >= stream })
	if i == len(l.runs) || l.runs[i].stream != stream {
		return 0, 0
	}
	return l.runs[i].first, l.runs[i].first + wire.Offset(l.runs[i].count)
}

// Read appends the leaves of a stream from an offset on, up to another. It fails with ErrDamaged where
// they are not there, or not what was written.
func (l *Leaves) Read(dst [][sha256.Size]byte, stream wire.StreamID, from, to wire.Offset) ([][sha256.Size]byte, error) {
	i := sort.Search(len(l.runs), func(i int) bool { return l.runs[i].stream >= stream })
	if i == len(l.runs) || l.runs[i].stream != stream || from < l.runs[i].first || uint64(to-l.runs[i].first) > l.runs[i].count {
		return dst, ErrDamaged
	}
	r := l.runs[i]
	for o := uint64(from - r.first); o < uint64(to-r.first); {
		chunk := o / chunkLeaves
		n := min(r.count-chunk*chunkLeaves, chunkLeaves)
		if l.buf == nil {
			l.buf = make([]byte, chunkSize)
		}
		p := l.buf[:4+n*sha256.Size]
		if err := readFull(l.f, p, int64(r.at+chunk*chunkSize)); err != nil {
			return dst, err
		}
		if binary.LittleEndian.Uint32(p) != crc32.Checksum(p[4:], castagnoli) {
			return dst, ErrDamaged
		}
		for end := min(uint64(to-r.first), chunk*chunkLeaves+n); o < end; o++ {
			dst = append(dst, [sha256.Size]byte(p[4+(o-chunk*chunkLeaves)*sha256.Size:]))
		}
	}
	return dst, nil
}
