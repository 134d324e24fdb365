package seg_test

import (
	"bytes"
	"errors"
	"reflect"
	"testing"

	"github.com/kimberlitedb/kimberlite-go/engine/seg"
	"github.com/kimberlitedb/kimberlite-go/sim/disk"
	"github.com/kimberlitedb/kimberlite-go/sim/rng"
	"pgregory.net/rapid"
)

func TestManifestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		align := 512 << rapid.IntRange(0, 6).Draw(t, "align")
		want := seg.Manifest{
			Store: seg.StoreID(rapid.Uint64().Draw(t, "testStore")), First: rapid.Uint64().Draw(t, "first"),
			Geometry: seg.Geometry{Align: align, SegmentSize: int64(align) * rapid.Int64Range(2, 1<<12).Draw(t, "blocks")},
		}
		for range rapid.IntRange(0, seg.MaxSnapshots).Draw(t, "snapshots") {
			want.Snapshots = append(want.Snapshots, seg.SnapshotMark{LSN: seg.LSN(rapid.Uint64().Draw(t, "lsn")), Next: seg.Address(rapid.Uint64().Draw(t, "next"))})
		}
		for i := range rapid.IntRange(0, 5).Draw(t, "sealed") {
			want.Sealed = append(want.Sealed, seg.SealedMark{
				Number: rapid.Uint64Range(0, 99).Draw(t, "number"), First: seg.LSN(10 * i), Last: seg.LSN(10*i + rapid.IntRange(0, 9).Draw(t, "lsns")),
			})
		}
		want.Next = rapid.Uint64Min(100).Draw(t, "next sealed")
		fs := disk.New(512).Mount()
		if err := seg.WriteManifest(fs, seg.Manifest{Geometry: small}); err != nil {
			t.Fatal(err)
		}
		if err := seg.WriteManifest(fs, want); err != nil {
			t.Fatal(err)
		}
		got, err := seg.ReadManifest(fs)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("got %+v, want %+v, %v", got, want, err)
		}
	})
}

// damages calls try with every way to change one bit of a file, and with every way to cut it or to add to it.
func damages(t *testing.T, d *disk.Disk, name string, try func(fs seg.Files, what string, at int)) {
	t.Helper()
	whole := get(d.Mount(), name)
	attempt := func(what string, at int, p []byte) {
		d := d.Clone()
		fs := d.Mount()
		fs.Remove(name)
		f, err := fs.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		f.WriteAt(p, 0)
		try(fs, what, at)
	}
	for i := range whole {
		for bit := range 8 {
			p := bytes.Clone(whole)
			p[i] ^= 1 << bit
			attempt("a flipped bit in byte", i, p)
		}
		attempt("cut at byte", i, whole[:i])
	}
	attempt("a byte more than", len(whole), append(bytes.Clone(whole), 0))
}

func TestEveryDamageToAManifestIsFound(t *testing.T) {
	d := disk.New(512)
	m := seg.Manifest{Store: testStore, Geometry: small, First: 3, Snapshots: []seg.SnapshotMark{{9, 900}, {7, 700}}, Next: 5, Sealed: []seg.SealedMark{{2, 1, 4}, {4, 5, 6}}}
	if err := seg.WriteManifest(d.Mount(), m); err != nil {
		t.Fatal(err)
	}
	damages(t, d, seg.ManifestName, func(fs seg.Files, what string, at int) {
		if got, err := seg.ReadManifest(fs); !errors.Is(err, seg.ErrDamaged) && !errors.Is(err, seg.ErrNewerFormat) {
			t.Fatalf("%s %d: %+v, %v", what, at, got, err)
		}
	})
}

func TestNoManifest(t *testing.T) {
	if _, err := seg.ReadManifest(disk.New(512).Mount()); !errors.Is(err, seg.ErrNoManifest) {
		t.Fatal(err)
	}
}

// Whenever the power fails while the manifest is replaced, there is the old one or the new one.
func TestTheManifestIsReplacedAllAtOnce(t *testing.T) {
	old, next := seg.Manifest{Store: testStore, Geometry: small}, seg.Manifest{Store: testStore, Geometry: small, Snapshots: []seg.SnapshotMark{{5, 0}}}
	for crash := 1; ; crash++ {
		d := disk.New(512)
		if err := seg.WriteManifest(d.Mount(), old); err != nil {
			t.Fatal(err)
		}
		random := rng.Source(crash).Stream("loss")
		done := crashAt(d, crash, func() { d.PowerLoss(random, disk.Loss{Torn: true, Garbage: true}) })
		werr := seg.WriteManifest(d.Mount(), next)
		d.Hook = nil
		if werr == nil {
			d.PowerLoss(random, disk.Loss{Torn: true, Garbage: true}) // what was said to be done stays
		}
		got, err := seg.ReadManifest(d.Mount())
		if err != nil || len(got.Snapshots) > 1 || werr == nil && len(got.Snapshots) == 0 {
			t.Fatalf("crash at operation %d: %+v, %v; the write said %v", crash, got, err, werr)
		}
		if !*done {
			return
		}
	}
}

func TestSnapshotRoundTrip(t *testing.T) {
	fs := disk.New(512).Mount()
	for _, state := range [][]byte{{}, []byte("state"), bytes.Repeat([]byte("x"), 5000)} {
		if err := seg.WriteSnapshot(fs, testStore, 9, state); err != nil {
			t.Fatal(err)
		}
		if got, _, err := seg.ReadSnapshot(fs, testStore, 9); err != nil || !bytes.Equal(got, state) {
			t.Fatalf("%d bytes, want %d, %v", len(got), len(state), err)
		}
	}
	if _, _, err := seg.ReadSnapshot(fs, testStore+1, 9); !errors.Is(err, seg.ErrDamaged) {
		t.Errorf("of another store: %v", err)
	}
	if err := fs.Rename(seg.SnapshotName(9), seg.SnapshotName(8)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := seg.ReadSnapshot(fs, testStore, 8); !errors.Is(err, seg.ErrDamaged) {
		t.Errorf("under another name: %v", err)
	}
	if _, _, err := seg.ReadSnapshot(fs, testStore, 9); !errors.Is(err, seg.ErrNotExist) {
		t.Errorf("missing: %v", err)
	}
}

func TestEveryDamageToASnapshotIsFound(t *testing.T) {
	d := disk.New(512)
	if err := seg.WriteSnapshot(d.Mount(), testStore, 9, []byte("some state")); err != nil {
		t.Fatal(err)
	}
	damages(t, d, seg.SnapshotName(9), func(fs seg.Files, what string, at int) {
		if _, _, err := seg.ReadSnapshot(fs, testStore, 9); !errors.Is(err, seg.ErrDamaged) {
			t.Fatalf("%s %d: %v", what, at, err)
		}
	})
}
