package seg_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/kimberlitedb/kimberlite-go/engine/seg"
	"github.com/kimberlitedb/kimberlite-go/sim/disk"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

var testCheckpoint = wire.CheckpointID{7}

// leaf is that of an event in a test.
func leaf(stream wire.StreamID, o wire.Offset) [sha256.Size]byte {
	return sha256.Sum256([]byte{byte(stream), byte(o), byte(o >> 8)})
}

// writeLeaves writes those of streams 1, 3, 5 …, so many of each, from offset 10 on.
func writeLeaves(t interface{ Fatal(...any) }, fs seg.Files, counts ...int) {
	err := seg.WriteLeaves(fs, testStore, testCheckpoint, func(w *seg.LeafWriter) error {
		for i, n := range counts {
			stream := wire.StreamID(2*i + 1)
			if err := w.Stream(stream, 10); err != nil {
				return err
			}
			for o := range wire.Offset(n) {
				if err := w.Add(leaf(stream, 10+o)); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestLeavesAreReadAsTheyWereWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		counts := rapid.SliceOfN(rapid.SampledFrom([]int{0, 1, 2, 1023, 1024, 1025, 3000}), 0, 4).Draw(t, "counts")
		fs := disk.New(512).Mount()
		writeLeaves(t, fs, counts...)
		l, err := seg.OpenLeaves(fs, testStore, testCheckpoint)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		for i, n := range counts {
			stream := wire.StreamID(2*i + 1)
			first, next := l.Of(stream)
			if next-first != wire.Offset(n) || n > 0 && first != 10 {
				t.Fatalf("stream %d has leaves %d up to %d", stream, first, next)
			}
			from := rapid.IntRange(0, n).Draw(t, "from")
			to := rapid.IntRange(from, n).Draw(t, "to")
			got, err := l.Read(nil, stream, 10+wire.Offset(from), 10+wire.Offset(to))
			if err != nil || len(got) != to-from {
				t.Fatalf("%d leaves, %v", len(got), err)
			}
			for k := range got {
				if got[k] != leaf(stream, wire.Offset(10+from+k)) {
					t.Fatalf("another leaf at %d", from+k)
				}
			}
			for _, bad := range [][2]wire.Offset{{9, 10}, {10, next + 1}, {next, next + 1}, {^wire.Offset(0), 0}} {
				if got, err := l.Read(nil, stream, bad[0], bad[1]); err == nil {
					t.Fatalf("%d leaves of offsets that there are not, %d", len(got), bad)
				}
			}
		}
		if first, next := l.Of(2); first != next {
			t.Fatal("another stream has leaves")
		}
		if _, err := l.Read(nil, 99, 10, 11); !errors.Is(err, seg.ErrDamaged) {
			t.Fatal(err)
		}
	})
}

// rewrite puts other bytes into a file.
func rewrite(t testing.TB, fs seg.Files, name string, p []byte) {
	t.Helper()
	if err := fs.Remove(name); err != nil {
		t.Fatal(err)
	}
	f, err := fs.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	if len(p) > 0 {
		put(t, fs, name, 0, p)
	}
}

// readLeaves reads all leaves that there are.
func readLeaves(fs seg.Files) (all [][sha256.Size]byte, err error) {
	l, err := seg.OpenLeaves(fs, testStore, testCheckpoint)
	if err != nil {
		return nil, err
	}
	defer l.Close()
	for _, stream := range []wire.StreamID{1, 3, 5} {
		first, next := l.Of(stream)
		if all, err = l.Read(all, stream, first, next); err != nil && first != next {
			return nil, err
		}
	}
	return all, nil
}

// Whatever byte of a file of leaves is damaged, and wherever it is cut, that is found.
func TestEveryDamagedByteOfLeavesIsFound(t *testing.T) {
	fs, name := disk.New(512).Mount(), seg.LeavesName(testCheckpoint)
	writeLeaves(t, fs, 3, 0, 2)
	whole := content(t, fs, name)
	if all, err := readLeaves(fs); err != nil || len(all) != 5 {
		t.Fatal(err)
	}
	for at := range whole {
		p := bytes.Clone(whole)
		p[at] ^= 0x10
		rewrite(t, fs, name, p)
		if _, err := readLeaves(fs); !errors.Is(err, seg.ErrDamaged) {
			t.Fatalf("byte %d: %v", at, err)
		}
		rewrite(t, fs, name, whole[:at])
		if _, err := readLeaves(fs); !errors.Is(err, seg.ErrDamaged) {
			t.Fatalf("cut at %d: %v", at, err)
		}
	}
	rewrite(t, fs, name, whole)
	if _, err := seg.OpenLeaves(fs, testStore+1, testCheckpoint); !errors.Is(err, seg.ErrDamaged) {
		t.Errorf("leaves of another store: %v", err)
	}
}

// An index that is damaged in a way that its checksum does not see leads nowhere.
func TestAnIndexOfLeavesThatLiesIsDamaged(t *testing.T) {
	fs, name := disk.New(512).Mount(), seg.LeavesName(testCheckpoint)
	writeLeaves(t, fs, 3, 2)
	whole := content(t, fs, name)
	table := crc32.MakeTable(crc32.Castagnoli)
	index := len(whole) - 16 - 2*32
	for _, c := range []struct {
		name  string
		field int
		value uint64
	}{
		{"out of order", 0, 3}, {"a place before the leaves", 3, 0}, {"a place behind them", 3, uint64(len(whole))}, {"a huge place", 3, 1<<64 - 1},
		{"one leaf more than there is room for", 2, 6}, {"very many", 2, 1 << 60}, {"offsets that overflow", 1, 1<<64 - 2},
	} {
		p := bytes.Clone(whole)
		binary.LittleEndian.PutUint64(p[index+8*c.field:], c.value)
		binary.LittleEndian.PutUint32(p[index-4:], crc32.Checksum(p[index:len(p)-16], table))
		rewrite(t, fs, name, p)
		if _, err := seg.OpenLeaves(fs, testStore, testCheckpoint); !errors.Is(err, seg.ErrDamaged) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func TestEveryDamagedByteOfACheckpointIsFound(t *testing.T) {
	fs, name := disk.New(512).Mount(), seg.CheckpointName(testCheckpoint)
	want := seg.Checkpoint{Note: []byte("note"), Manifest: []byte("manifest"), Trees: nil, State: []byte("state")}
	if err := seg.WriteCheckpoint(fs, testStore, testCheckpoint, &want); err != nil {
		t.Fatal(err)
	}
	got, err := seg.ReadCheckpoint(fs, testStore, testCheckpoint)
	if err != nil || string(got.Note) != "note" || string(got.Manifest) != "manifest" || len(got.Trees) > 0 || string(got.State) != "state" {
		t.Fatalf("%+v, %v", got, err)
	}
	whole := content(t, fs, name)
	for at := range whole {
		p := bytes.Clone(whole)
		p[at] ^= 0x10
		rewrite(t, fs, name, p)
		if _, err := seg.ReadCheckpoint(fs, testStore, testCheckpoint); !errors.Is(err, seg.ErrDamaged) {
			t.Fatalf("byte %d: %v", at, err)
		}
		rewrite(t, fs, name, whole[:at])
		if _, err := seg.ReadCheckpoint(fs, testStore, testCheckpoint); !errors.Is(err, seg.ErrDamaged) {
			t.Fatalf("cut at %d: %v", at, err)
		}
	}
	rewrite(t, fs, name, append(slices.Clone(whole), 0))
	if _, err := seg.ReadCheckpoint(fs, testStore, testCheckpoint); !errors.Is(err, seg.ErrDamaged) {
		t.Errorf("one byte more: %v", err)
	}
	rewrite(t, fs, name, whole)
	if _, err := seg.ReadCheckpoint(fs, testStore, wire.CheckpointID{8}); !errors.Is(err, seg.ErrNotExist) {
		t.Errorf("another checkpoint: %v", err)
	}
	if _, err := seg.ReadCheckpoint(fs, testStore+1, testCheckpoint); !errors.Is(err, seg.ErrDamaged) {
		t.Errorf("one of another store: %v", err)
	}
}

func TestNamesOfCheckpointFiles(t *testing.T) {
	for _, id := range []wire.CheckpointID{{}, {1, 2, 3}, {15: 255}} {
		if got, ok := seg.ParseCheckpointName(seg.CheckpointName(id)); !ok || got != id {
			t.Error(seg.CheckpointName(id))
		}
		if got, ok := seg.ParseLeavesName(seg.LeavesName(id)); !ok || got != id {
			t.Error(seg.LeavesName(id))
		}
		if _, ok := seg.ParseLeavesName(seg.CheckpointName(id)); ok {
			t.Error("a checkpoint is a file of leaves")
		}
		if _, ok := seg.ParseCheckpointName(seg.CheckpointName(id) + "x"); ok {
			t.Error("a longer name is that of a checkpoint")
		}
	}
	if _, ok := seg.ParseCheckpointName("checkpoint-0000000000000000000000000000000A.kbc"); ok {
		t.Error("capitals are taken")
	}
}
