package seg

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// A snapshot file holds the engine's state at one LSN. What the state looks like is the engine's affair:
//
//	+-----------+-----------+-------------+--------------+---------+------------+---------+
//	| crc32c (4)| magic (4) | version (4) | store id (8) | lsn (8) | length (8) | state … |
//	+-----------+-----------+-------------+--------------+---------+------------+---------+
//
// The checksum covers everything after itself.
const (
	snapshotMagic  = 0x3150424b // "KBP1"
	snapshotHeader = 36
	snapshotPrefix = "snap-"
	snapshotSuffix = ".kbs"
)

// SnapshotName returns the file name of the snapshot at an LSN.
func SnapshotName(lsn LSN) string {
	return fmt.Sprintf("%s%016x%s", snapshotPrefix, uint64(lsn), snapshotSuffix)
}

// SnapshotLSN parses a snapshot's file name.
func SnapshotLSN(name string) (LSN, bool) {
	n, ok := parseName(name, snapshotPrefix, snapshotSuffix)
	return LSN(n), ok
}

// WriteSnapshot writes a snapshot durably. It does not become live until a manifest names it.
func WriteSnapshot(fs Files, id StoreID, lsn LSN, state []byte) error {
	h := make([]byte, snapshotHeader)
	binary.LittleEndian.PutUint32(h[4:], snapshotMagic)
	binary.LittleEndian.PutUint32(h[8:], FormatVersion)
	binary.LittleEndian.PutUint64(h[12:], uint64(id))
	binary.LittleEndian.PutUint64(h[20:], uint64(lsn))
	binary.LittleEndian.PutUint64(h[28:], uint64(len(state)))
	sum := crc32.Update(crc32.Checksum(h[4:], castagnoli), castagnoli, state)
	binary.LittleEndian.PutUint32(h, sum)
	err := writeFile(fs, SnapshotName(lsn), func(f File) error {
		if _, err := f.WriteAt(h, 0); err != nil {
			return err
		}
		_, err := f.WriteAt(state, snapshotHeader)
		return err
	})
	if err != nil {
		return fmt.Errorf("write snapshot %d: %w", lsn, err)
	}
	return nil
}

// oldestSnapshot is the first format version whose snapshots can be read.
const oldestSnapshot = 3

// ErrOlderFormat says that an older version of the program wrote a snapshot, in which the state looks different. Its log
// is whole from the first entry on.
var ErrOlderFormat = errors.New("made by an older version of kimberlite")

// ReadSnapshot returns the state in a snapshot and the format version in which it is written, or an error: ErrDamaged where
// the file is not that snapshot.
func ReadSnapshot(fs Files, id StoreID, lsn LSN) (state []byte, version uint32, err error) {
	p, err := readFile(fs, SnapshotName(lsn))
	if err != nil {
		return nil, 0, fmt.Errorf("read snapshot %d: %w", lsn, err)
	}
	if len(p) < snapshotHeader ||
		binary.LittleEndian.Uint32(p) != crc32.Checksum(p[4:], castagnoli) ||
		binary.LittleEndian.Uint32(p[4:]) != snapshotMagic ||
		binary.LittleEndian.Uint64(p[12:]) != uint64(id) ||
		binary.LittleEndian.Uint64(p[20:]) != uint64(lsn) ||
		binary.LittleEndian.Uint64(p[28:]) != uint64(len(p)-snapshotHeader) {
		return nil, 0, fmt.Errorf("read snapshot %d: %w", lsn, ErrDamaged)
	}
	switch version = binary.LittleEndian.Uint32(p[8:]); {
	case version > FormatVersion:
		return nil, 0, fmt.Errorf("read snapshot %d: %w", lsn, ErrNewerFormat)
	case version < oldestSnapshot:
		return nil, 0, fmt.Errorf("read snapshot %d: %w", lsn, ErrOlderFormat)
	}
	return p[snapshotHeader:], version, nil
}
