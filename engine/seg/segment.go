package seg

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"strconv"
	"strings"
)

// The first block of a segment file says what the file is:
//
//	+-----------+-----------+-------------+--------------+-------------+-----------+------------------+-- zeros --+
//	| crc32c (4)| magic (4) | version (4) | store id (8) | number (8)  | align (4) | segment size (8) |           |
//	+-----------+-----------+-------------+--------------+-------------+-----------+------------------+-----------+
//
// The checksum covers the 36 bytes behind itself.
const (
	segmentMagic      = 0x3153424b // "KBS1"
	segmentHeaderSize = 40
	segmentPrefix     = "log-"
	segmentSuffix     = ".seg"
)

// TempSuffix ends the names of files that are not finished; recovery removes them.
const TempSuffix = ".tmp"

// ErrNewerFormat says that a newer version of the program made the data directory.
var ErrNewerFormat = errors.New("made by a newer version of kimberlite")

// SegmentName returns the file name of a log segment.
func SegmentName(number uint64) string {
	return fmt.Sprintf("%s%016x%s", segmentPrefix, number, segmentSuffix)
}

// SegmentNumber parses a segment's file name.
func SegmentNumber(name string) (uint64, bool) {
	return parseName(name, segmentPrefix, segmentSuffix)
}

func parseName(name, prefix, suffix string) (uint64, bool) {
	hex, ok := strings.CutPrefix(name, prefix)
	if !ok {
		return 0, false
	}
	if hex, ok = strings.CutSuffix(hex, suffix); !ok || len(hex) != 16 {
		return 0, false
	}
	n, err := strconv.ParseUint(hex, 16, 64)
	return n, err == nil && hex == strings.ToLower(hex)
}

// PrepareSegment makes a segment file, whole; see PreparePiece.
func PrepareSegment(fs Files, geo Geometry, id StoreID, number uint64) error {
	return PreparePiece(fs, geo, id, number, 0, geo.SegmentSize)
}

// PreparePiece does the part [from, to) of making a segment file: written full of zeros, synced, and only in the end
// given its name, so that a segment that exists is whole and later writes need no space. Parts are done in order; the one
// that begins at 0 begins anew.
//
// On an error nothing of the file is left behind where the disk still allows that, and the next part must begin at 0.
// ErrNoSpace means that a later try may do.
func PreparePiece(fs Files, geo Geometry, id StoreID, number uint64, from, to int64) error {
	name := SegmentName(number)
	err := preparePiece(fs, name+TempSuffix, geo, id, number, from, to)
	if err == nil && to == geo.SegmentSize {
		if err = fs.Rename(name+TempSuffix, name); err == nil {
			err = fs.SyncDir()
		}
	}
	if err != nil {
		return fmt.Errorf("prepare segment %s: %w", name, err)
	}
	return nil
}

func preparePiece(fs Files, tmp string, geo Geometry, id StoreID, number uint64, from, to int64) error {
	open := fs.Open
	if from == 0 {
		open = fs.Create
		if err := fs.Remove(tmp); err != nil && !errors.Is(err, ErrNotExist) {
			return err
		}
	}
	f, err := open(tmp)
	if err != nil {
		return err
	}
	if from == 0 {
		block := make([]byte, geo.Align)
		putSegmentHeader(block, geo, id, number)
		_, err = f.WriteAt(block, 0)
		from = int64(geo.Align)
	}
	if err == nil {
		err = zero(f, from, to)
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		fs.Remove(tmp) // best effort: recovery removes it otherwise
	}
	return err
}

// zeroPiece is how many bytes are zeroed between two syncs: a sync of the log that comes meanwhile waits for no more.
const zeroPiece = 1 << 20

// zero writes zeros over [from, to), and makes them and what was written before durable.
func zero(f File, from, to int64) error {
	zeros := make([]byte, min(to-from, zeroPiece))
	for off := from; off < to; {
		n := min(int64(len(zeros)), to-off)
		if _, err := f.WriteAt(zeros[:n], off); err != nil {
			return err
		}
		if err := f.Sync(); err != nil {
			return err
		}
		off += n
	}
	return nil
}

// writeFile makes a file under a temporary name, fills and syncs it, gives it its name and makes that durable too.
// Whatever had the name before is replaced, all at once.
func writeFile(fs Files, name string, fill func(File) error) error {
	tmp := name + TempSuffix
	if err := fs.Remove(tmp); err != nil && !errors.Is(err, ErrNotExist) {
		return err
	}
	f, err := fs.Create(tmp)
	if err != nil {
		return err
	}
	if err = fill(f); err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		fs.Remove(tmp) // best effort: recovery removes it otherwise
		return err
	}
	if err := fs.Rename(tmp, name); err != nil {
		return err
	}
	return fs.SyncDir()
}

func putSegmentHeader(p []byte, geo Geometry, id StoreID, number uint64) {
	binary.LittleEndian.PutUint32(p[4:], segmentMagic)
	binary.LittleEndian.PutUint32(p[8:], FormatVersion)
	binary.LittleEndian.PutUint64(p[12:], uint64(id))
	binary.LittleEndian.PutUint64(p[20:], number)
	binary.LittleEndian.PutUint32(p[28:], uint32(geo.Align))
	binary.LittleEndian.PutUint64(p[32:], uint64(geo.SegmentSize))
	binary.LittleEndian.PutUint32(p, crc32.Checksum(p[4:segmentHeaderSize], castagnoli))
}

// checkSegmentHeader verifies a segment's first block. Damage to it loses nothing, since the manifest holds the same.
func checkSegmentHeader(p []byte, geo Geometry, id StoreID, number uint64) error {
	if binary.LittleEndian.Uint32(p) != crc32.Checksum(p[4:segmentHeaderSize], castagnoli) ||
		binary.LittleEndian.Uint32(p[4:]) != segmentMagic {
		return ErrDamaged
	}
	if binary.LittleEndian.Uint32(p[8:]) > FormatVersion {
		return ErrNewerFormat
	}
	want := make([]byte, segmentHeaderSize)
	putSegmentHeader(want, geo, id, number)
	if string(want[12:]) != string(p[12:segmentHeaderSize]) {
		return ErrDamaged
	}
	return nil
}

// SegmentHead returns what a segment's header block says of the directory that it belongs to.
func SegmentHead(fs Files, number uint64) (StoreID, Geometry, error) {
	f, err := fs.Open(SegmentName(number))
	if err != nil {
		return 0, Geometry{}, fmt.Errorf("open %s: %w", SegmentName(number), err)
	}
	defer f.Close()
	p := make([]byte, segmentHeaderSize)
	if err := readStubborn(f, p, 0); err != nil {
		return 0, Geometry{}, fmt.Errorf("read %s: %w", SegmentName(number), err)
	}
	geo := Geometry{Align: int(binary.LittleEndian.Uint32(p[28:])), SegmentSize: int64(binary.LittleEndian.Uint64(p[32:]))}
	id := StoreID(binary.LittleEndian.Uint64(p[12:]))
	if err := checkSegmentHeader(p, geo, id, number); err != nil {
		return 0, Geometry{}, fmt.Errorf("read %s: %w", SegmentName(number), err)
	}
	if !geo.valid() {
		return 0, Geometry{}, fmt.Errorf("read %s: %w", SegmentName(number), ErrDamaged)
	}
	return id, geo, nil
}

// CheckSegment verifies a segment's header block. Damage to it loses nothing.
func CheckSegment(fs Files, m Manifest, number uint64) error {
	f, err := fs.Open(SegmentName(number))
	if err != nil {
		return fmt.Errorf("open %s: %w", SegmentName(number), err)
	}
	defer f.Close()
	p := make([]byte, segmentHeaderSize)
	if err := readFull(f, p, 0); errors.Is(err, ErrCrashed) {
		return err
	} else if err != nil {
		return ErrDamaged
	}
	return checkSegmentHeader(p, m.Geometry, m.Store, number)
}

// Blank reports whether a segment holds nothing behind its header block.
func Blank(fs Files, number uint64) (bool, error) {
	p, err := readFile(fs, SegmentName(number))
	if err != nil {
		return false, fmt.Errorf("read %s: %w", SegmentName(number), err)
	}
	if len(p) < segmentHeaderSize {
		return true, nil
	}
	align := int(binary.LittleEndian.Uint32(p[28:]))
	return len(bytes.TrimLeft(p[min(len(p), align):], "\x00")) == 0, nil
}
