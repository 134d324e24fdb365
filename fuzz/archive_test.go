package fuzz

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"reflect"
	"runtime"
	"testing"

	"github.com/kimberlitedb/kimberlite-go/engine/archive"
	"github.com/kimberlitedb/kimberlite-go/engine/proof"
	"github.com/kimberlitedb/kimberlite-go/engine/seg"
	"github.com/kimberlitedb/kimberlite-go/sim/disk"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// FuzzProofTree: whatever is a tree is written as it was, and grows.
func FuzzProofTree(f *testing.F) {
	var tree proof.Tree
	for i := range 8 {
		f.Add(tree.AppendTo(nil))
		tree.Append(proof.Hash{byte(i)})
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		tree, rest, err := proof.DecodeTree(p)
		if err != nil {
			return
		}
		if !bytes.Equal(append(tree.AppendTo(nil), rest...), p) {
			t.Fatal("it is written in another way")
		}
		size := tree.Size()
		for i := range 5 {
			tree.Append(proof.Hash{byte(i)})
			tree.Root()
		}
		if tree.Size() != size+5 {
			t.Fatal("it has not grown")
		}
	})
}

// FuzzArchiveIndex: whatever passes for an index of an archive has sections within bounds, in order, and is read as it is written.
func FuzzArchiveIndex(f *testing.F) {
	x := &archive.Index{Checkpoint: wire.CheckpointID{1}, Sections: []archive.Section{
		{Stream: 3, First: 2, Next: 5, Start: 6, Length: 100}, {Stream: 3, First: 5, Next: 7, Length: 64, Gone: proof.Retention}, {Stream: 9, Next: 1, Length: 1},
	}}
	f.Add(x.Encode())
	f.Add([]byte("{\"format\":1,\"checkpoint\":\"00000000000000000000000000000001\"}\n{\"first\":0,\"next\":576460752303423489,\"length\":32,\"gone\":\"purge\"}\n"))
	f.Fuzz(func(t *testing.T, p []byte) {
		x, err := archive.DecodeIndex(p)
		if err != nil {
			return
		}
		for i := range x.Sections {
			s := &x.Sections[i]
			if s.Start < 0 || s.Length <= 0 || s.Start+s.Length > archive.MaxBlob || s.First >= s.Next || s.Gone != "" && uint64(s.Next-s.First) > uint64(s.Length) {
				t.Fatalf("%+v", s)
			}
		}
		again, err := archive.DecodeIndex(x.Encode())
		if err != nil || !reflect.DeepEqual(again, x) {
			t.Fatalf("%+v\n%+v\n%v", again, x, err)
		}
	})
}

// FuzzArchiveBlob: whatever bytes a blob has, it does not expand to more than it may, and takes little memory for that.
func FuzzArchiveBlob(f *testing.F) {
	const most = 1 << 16
	var k archive.Packer
	_, p, err := k.Pack(bytes.Repeat([]byte("blob "), 100))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(p)
	f.Add([]byte{0x28, 0xb5, 0x2f, 0xfd, 0xa0, 0, 0, 0, 0x0f, 3, 0, 0x80, 1})
	if _, p, err = k.Pack(make([]byte, 2*most)); err != nil {
		f.Fatal(err)
	}
	f.Add(p)
	f.Fuzz(func(t *testing.T, p []byte) {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		raw, err := k.Unpack(archive.Blob{Digest: sha256.Sum256(p), Size: len(p)}, p, most)
		runtime.ReadMemStats(&after)
		if err == nil && len(raw) > most {
			t.Fatalf("%d bytes", len(raw))
		}
		if n := after.TotalAlloc - before.TotalAlloc; n > 16<<20+8*uint64(len(p)) {
			t.Fatalf("%d bytes allocated for a blob of %d", n, len(p))
		}
	})
}

const checkpointStore = seg.StoreID(7)

// castagnoliOf writes the checksum of what follows it.
func castagnoliOf(p []byte) {
	binary.LittleEndian.PutUint32(p, crc32.Checksum(p[4:], crc32.MakeTable(crc32.Castagnoli)))
}

// whole returns a file of a disk.
func whole(t testing.TB, fs seg.Files, name string) []byte {
	t.Helper()
	file, err := fs.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	n, _ := file.Size()
	p := make([]byte, n)
	if _, err := file.ReadAt(p, 0); err != nil {
		t.Fatal(err)
	}
	return p
}

// FuzzCheckpointFile: whatever stands behind a checksum that is right, a checkpoint's file is read or damaged, and its parts are parts of it.
func FuzzCheckpointFile(f *testing.F) {
	id := wire.CheckpointID{1}
	fs := disk.New(512).Mount()
	if err := seg.WriteCheckpoint(fs, checkpointStore, id, &seg.Checkpoint{Note: []byte("note"), Manifest: []byte("manifest"), Trees: []byte("trees"), State: []byte("state")}); err != nil {
		f.Fatal(err)
	}
	p := whole(f, fs, seg.CheckpointName(id))
	f.Add(p[36:])
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, parts []byte) {
		q := append(bytes.Clone(p[:36]), parts...)
		castagnoliOf(q)
		c, err := seg.ReadCheckpoint(oneFile{name: seg.CheckpointName(id), p: q}, checkpointStore, id)
		if err != nil {
			if !errors.Is(err, seg.ErrDamaged) {
				t.Fatal(err)
			}
			return
		}
		if n := len(c.Note) + len(c.Manifest) + len(c.Trees) + len(c.State); n+4*8 != len(parts) {
			t.Fatalf("%d bytes of %d", n, len(parts))
		}
	})
}

// FuzzLeavesFile: whatever an index of leaves says behind checksums that are right, all that it leads to can be read, or is damaged.
func FuzzLeavesFile(f *testing.F) {
	id := wire.CheckpointID{1}
	fs := disk.New(512).Mount()
	err := seg.WriteLeaves(fs, checkpointStore, id, func(w *seg.LeafWriter) error {
		return errors.Join(w.Stream(1, 10), w.Add(proof.Hash{1}), w.Add(proof.Hash{2}), w.Stream(3, 0), w.Add(proof.Hash{3}))
	})
	if err != nil {
		f.Fatal(err)
	}
	p := whole(f, fs, seg.LeavesName(id))
	start := len(p) - 16 - 2*32 - 12
	f.Add(p[start+12 : len(p)-16])
	f.Fuzz(func(t *testing.T, index []byte) {
		q := binary.LittleEndian.AppendUint64(bytes.Clone(p[:start]), uint64(len(index)))
		q = append(append(append(q, 0, 0, 0, 0), index...), p[len(p)-16:]...)
		binary.LittleEndian.PutUint32(q[start+8:], crc32.Checksum(index, crc32.MakeTable(crc32.Castagnoli)))
		l, err := seg.OpenLeaves(oneFile{name: seg.LeavesName(id), p: q}, checkpointStore, id)
		if err != nil {
			if !errors.Is(err, seg.ErrDamaged) {
				t.Fatal(err)
			}
			return
		}
		defer l.Close()
		for at := 0; at+32 <= len(index); at += 32 {
			stream := wire.StreamID(binary.LittleEndian.Uint64(index[at:]))
			first, next := l.Of(stream)
			leaves, err := l.Read(nil, stream, first, next)
			if err != nil && !errors.Is(err, seg.ErrDamaged) || err == nil && uint64(len(leaves)) != uint64(next-first) {
				t.Fatalf("%d leaves from %d up to %d, %v", len(leaves), first, next, err)
			}
		}
		if err := l.Check(); err != nil && !errors.Is(err, seg.ErrDamaged) {
			t.Fatal(err)
		}
	})
}
