package disk_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/kimberlitedb/kimberlite-go/engine/seg"
	"github.com/kimberlitedb/kimberlite-go/internal/filestest"
	"github.com/kimberlitedb/kimberlite-go/sim/disk"
	"github.com/kimberlitedb/kimberlite-go/sim/rng"
)

func TestConformance(t *testing.T) {
	filestest.Run(t, func(*testing.T) seg.Files { return disk.New(512).Mount() })
}

// lossy are the ways in which power is lost.
var lossy = []disk.Loss{{}, {Torn: true}, {Torn: true, Garbage: true}}

func file(t *testing.T, fs seg.Files, name string, content []byte) seg.File {
	t.Helper()
	f, err := fs.Create(name)
	if err == nil {
		_, err = f.WriteAt(content, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func sync(t *testing.T, f seg.File, fs seg.Files) {
	t.Helper()
	if err := errors.Join(f.Sync(), fs.SyncDir()); err != nil {
		t.Fatal(err)
	}
}

func content(t *testing.T, d *disk.Disk, name string) []byte {
	t.Helper()
	f, err := d.Mount().Open(name)
	if err != nil {
		return nil
	}
	n, _ := f.Size()
	p := make([]byte, n)
	f.ReadAt(p, 0)
	return p
}

func TestSyncedBytesSurviveEveryLoss(t *testing.T) {
	want := bytes.Repeat([]byte("abcdefgh"), 512)
	for seed := range 200 {
		d := disk.New(512)
		fs := d.Mount()
		f := file(t, fs, "a", want)
		sync(t, f, fs)
		d.PowerLoss(rng.Source(seed).Stream("x"), lossy[seed%3])
		if got := content(t, d, "a"); !bytes.Equal(got, want) {
			t.Fatalf("seed %d: %d bytes differ", seed, len(got))
		}
	}
}

// Unsynced sectors meet every fate, each by itself, and the sectors around them none.
func TestUnsyncedSectorsMeetEveryFate(t *testing.T) {
	old, new := bytes.Repeat([]byte{1}, 4*512), bytes.Repeat([]byte{2}, 2*512)
	fates := map[[2]byte]int{}
	for seed := range 600 {
		d := disk.New(512)
		fs := d.Mount()
		f := file(t, fs, "a", old)
		sync(t, f, fs)
		f.WriteAt(new, 512)
		d.PowerLoss(rng.Source(seed).Stream("x"), lossy[2])
		got := content(t, d, "a")
		if len(got) != len(old) || !bytes.Equal(got[:512], old[:512]) || !bytes.Equal(got[3*512:], old[3*512:]) {
			t.Fatalf("seed %d: synced sectors changed", seed)
		}
		fates[[2]byte{fate(got[512:1024]), fate(got[1024:1536])}]++
	}
	if len(fates) != 9 {
		t.Fatalf("fates of two sectors: %v", fates)
	}
}

// fate is 1 for old, 2 for new and 3 for garbage.
func fate(p []byte) byte {
	if all := bytes.Repeat(p[:1], len(p)); bytes.Equal(p, all) && p[0] <= 2 {
		return p[0]
	}
	return 3
}

func TestNamesNeedTheDirectorySynced(t *testing.T) {
	kept := map[bool]int{}
	for seed := range 100 {
		d := disk.New(512)
		fs := d.Mount()
		f := file(t, fs, "a", []byte("x"))
		if err := f.Sync(); err != nil {
			t.Fatal(err)
		}
		d.PowerLoss(rng.Source(seed).Stream("x"), disk.Loss{})
		kept[content(t, d, "a") != nil]++
	}
	if kept[true] == 0 || kept[false] == 0 {
		t.Fatalf("kept %d, lost %d", kept[true], kept[false])
	}
}

// A rename is undone as a whole: either name is there, never both and never none.
func TestRenameIsAtomic(t *testing.T) {
	for seed := range 100 {
		d := disk.New(512)
		fs := d.Mount()
		sync(t, file(t, fs, "a", []byte("new")), fs)
		sync(t, file(t, fs, "b", []byte("old")), fs)
		if err := fs.Rename("a", "b"); err != nil {
			t.Fatal(err)
		}
		d.PowerLoss(rng.Source(seed).Stream("x"), disk.Loss{})
		a, b := string(content(t, d, "a")), string(content(t, d, "b"))
		if !(a == "new" && b == "old") && !(a == "" && b == "new") {
			t.Fatalf("seed %d: a %q, b %q", seed, a, b)
		}
	}
}

// After a failed sync the pages look written and are not; a sync that succeeds later does not write them.
func TestFailedSyncLosesItsPages(t *testing.T) {
	broken := errors.New("broken")
	d := disk.New(512)
	fs := d.Mount()
	f := file(t, fs, "a", bytes.Repeat([]byte{1}, 512))
	sync(t, f, fs)
	f.WriteAt(bytes.Repeat([]byte{2}, 512), 0)
	d.Hook = func(op disk.Op) disk.Verdict { return disk.Verdict{Err: broken} }
	if err := f.Sync(); !errors.Is(err, broken) {
		t.Fatal(err)
	}
	d.Hook = nil
	sync(t, f, fs)
	d.ProcessCrash()
	if got := content(t, d, "a"); got[0] != 2 {
		t.Error("the page cache forgot the write")
	}
	d.PowerLoss(rng.Source(1).Stream("x"), disk.Loss{})
	if got := content(t, d, "a"); got[0] != 1 {
		t.Error("the bytes of a failed sync reached the disk")
	}
}

func TestCrashKillsMountsAndChangesNothing(t *testing.T) {
	d := disk.New(512)
	fs := d.Mount()
	f := file(t, fs, "a", []byte("x"))
	sync(t, f, fs)
	d.ProcessCrash()
	_, created := fs.Create("b")
	_, wrote := f.WriteAt([]byte("y"), 0)
	_, listed := fs.List()
	for name, err := range map[string]error{
		"create": created, "write": wrote, "list": listed, "sync": f.Sync(), "remove": fs.Remove("a"), "rename": fs.Rename("a", "c"),
		"sync-dir": fs.SyncDir(), "close": f.Close(),
	} {
		if !errors.Is(err, seg.ErrCrashed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got := string(content(t, d, "a")); got != "x" {
		t.Errorf("a is %q", got)
	}
}

func TestFullDiskRefusesAndHeals(t *testing.T) {
	d := disk.New(512)
	d.Capacity = 1000
	fs := d.Mount()
	f := file(t, fs, "a", make([]byte, 900))
	if _, err := f.WriteAt(make([]byte, 200), 900); !errors.Is(err, seg.ErrNoSpace) {
		t.Fatalf("beyond the capacity: %v", err)
	}
	if _, err := f.WriteAt(make([]byte, 900), 0); err != nil {
		t.Fatalf("within the file: %v", err)
	}
	if err := fs.Remove("a"); err != nil {
		t.Fatal(err)
	}
	file(t, fs, "b", make([]byte, 1000))
}

func TestRotIsInTheLedger(t *testing.T) {
	for _, kind := range []disk.DamageKind{disk.Rotten, disk.Unreadable} {
		d := disk.New(512)
		fs := d.Mount()
		want := bytes.Repeat([]byte{1}, 1024)
		f := file(t, fs, "a", want)
		sync(t, f, fs)
		damage, ok := d.Rot(rng.Source(1).Stream("x"), kind, func(string) bool { return true })
		if !ok || len(d.Ledger()) != 1 || d.Ledger()[0] != damage {
			t.Fatalf("%s: ledger %v", kind, d.Ledger())
		}
		p := make([]byte, 512)
		_, err := f.ReadAt(p, damage.Off)
		if kind == disk.Rotten && (err != nil || bytes.Equal(p, want[:512])) {
			t.Errorf("rot is not seen: %v", err)
		}
		if kind == disk.Unreadable && err == nil {
			t.Error("an unreadable sector was read")
		}
		f.WriteAt(want[:512], damage.Off)
		if _, err := f.ReadAt(p, damage.Off); err != nil || !bytes.Equal(p, want[:512]) {
			t.Errorf("%s: writing did not heal: %v", kind, err)
		}
	}
}
