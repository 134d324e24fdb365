package seg

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/kimberlitedb/kimberlite-go/wire"
)

// A checkpoint's file has what is kept of it: its signed note, its manifest, the trees that the next one goes on from, and the
// tenant's state. What they look like is the affair of others:
//
//	+-----------+-----------+-------------+--------------+--------------------+-- 4 times: ---+---------+
//	| crc32c (4)| magic (4) | version (4) | store id (8) | checkpoint id (16) | length (8)    | bytes … |
//	+-----------+-----------+-------------+--------------+--------------------+---------------+---------+
//
// The checksum covers everything after itself. Whether a file is live is what the log says: it is there before an entry tells of
// it, and goes after one.
const (
	checkpointMagic  = 0x3143424b // "KBC1"
	checkpointHeader = 36
	checkpointPrefix = "checkpoint-"
	checkpointSuffix = ".kbc"
)

// Checkpoint is what a checkpoint's file holds.
type Checkpoint struct {
	Note     []byte // signed
	Manifest []byte
	Trees    []byte
	State    []byte
}

// CheckpointName returns the name of a checkpoint's file.
func CheckpointName(id wire.CheckpointID) string {
	return checkpointPrefix + id.String() + checkpointSuffix
}

// ParseCheckpointName parses the name of a checkpoint's file.
func ParseCheckpointName(name string) (id wire.CheckpointID, ok bool) {
	if len(name) != len(checkpointPrefix)+2*len(id)+len(checkpointSuffix) {
		return id, false
	}
	id, err := wire.ParseCheckpointID(name[len(checkpointPrefix) : len(name)-len(checkpointSuffix)])
	return id, err == nil && CheckpointName(id) == name
}

// WriteCheckpoint writes a checkpoint's file durably, in the place of one that is there, and reads it back.
func WriteCheckpoint(fs Files, store StoreID, id wire.CheckpointID, c *Checkpoint) error {
	p := make([]byte, checkpointHeader, checkpointHeader+4*8+len(c.Note)+len(c.Manifest)+len(c.Trees)+len(c.State))
	binary.LittleEndian.PutUint32(p[4:], checkpointMagic)
	binary.LittleEndian.PutUint32(p[8:], FormatVersion)
	binary.LittleEndian.PutUint64(p[12:], uint64(store))
	copy(p[20:], id[:])
	for _, part := range [][]byte{c.Note, c.Manifest, c.Trees, c.State} {
		p = append(binary.LittleEndian.AppendUint64(p, uint64(len(part))), part...)
	}
	binary.LittleEndian.PutUint32(p, crc32.Checksum(p[4:], castagnoli))
	err := writeFile(fs, CheckpointName(id), func(f File) error {
		_, err := f.WriteAt(p, 0)
		return err
	})
	if err == nil {
		_, err = ReadCheckpoint(fs, store, id)
	}
	if err != nil {
		return fmt.Errorf("write checkpoint %s: %w", id, err)
	}
	return nil
}

// ReadCheckpoint returns what a checkpoint's file holds. It fails with ErrDamaged where the file is not that checkpoint.
func ReadCheckpoint(fs Files, store StoreID, id wire.CheckpointID) (*Checkpoint, error) {
	p, err := readFile(fs, CheckpointName(id))
	if err != nil {
		return nil, fmt.Errorf("read checkpoint %s: %w", id, err)
	}
	if len(p) < checkpointHeader ||
		binary.LittleEndian.Uint32(p) != crc32.Checksum(p[4:], castagnoli) ||
		binary.LittleEndian.Uint32(p[4:]) != checkpointMagic ||
		binary.LittleEndian.Uint64(p[12:]) != uint64(store) ||
		wire.CheckpointID(p[20:36]) != id {
		return nil, fmt.Errorf("read checkpoint %s: %w", id, ErrDamaged)
	}
	if binary.LittleEndian.Uint32(p[8:]) > FormatVersion {
		return nil, fmt.Errorf("read checkpoint %s: %w", id, ErrNewerFormat)
	}
	c := &Checkpoint{}
	rest := p[checkpointHeader:]
	for _, part := range []*[]byte{&c.Note, &c.Manifest, &c.Trees, &c.State} {
		if len(rest) < 8 || binary.LittleEndian.Uint64(rest) > uint64(len(rest)-8) {
			return nil, fmt.Errorf("read checkpoint %s: %w", id, ErrDamaged)
		}
		n := binary.LittleEndian.Uint64(rest)
		*part, rest = rest[8:8+n:8+n], rest[8+n:]
	}
	if len(rest) > 0 {
		return nil, fmt.Errorf("read checkpoint %s: %w", id, ErrDamaged)
	}
	return c, nil
}
