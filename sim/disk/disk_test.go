package disk_test

import (
	"bytes"
	"errors"
	"slices"
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

// content returns the bytes of a file, or nil where there is none.
func content(t *testing.T, d *disk.Disk, name string) []byte {
	t.Helper()
	f, err := d.Mount().Open(name)
	if err != nil {
		return nil
	}
	n, _ := f.Size()
	p := make([]byte, n)
	if _, err := f.ReadAt(p, 0); err != nil {
		t.Fatal(err)
	}
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

// A sync that fails has written nothing, but who writes the same bytes again has them synced.
func TestWritingAgainAfterAFailedSync(t *testing.T) {
	broken := errors.New("broken")
	for seed := range 20 {
		for _, again := range []bool{false, true} {
			d := disk.New(512)
			fs := d.Mount()
			f := file(t, fs, "a", bytes.Repeat([]byte{1}, 512))
			sync(t, f, fs)
			f.WriteAt(bytes.Repeat([]byte{2}, 512), 0)
			d.Hook = func(disk.Op) disk.Verdict { return disk.Verdict{Err: broken} }
			if err := f.Sync(); !errors.Is(err, broken) {
				t.Fatal(err)
			}
			d.Hook = nil
			want := byte(1)
			if again {
				f.WriteAt(bytes.Repeat([]byte{2}, 512), 0)
				sync(t, f, fs)
				want = 2
			}
			d.PowerLoss(rng.Source(seed).Stream("x"), lossy[seed%3])
			if got := content(t, d, "a"); got[0] != want {
				t.Errorf("seed %d: written again %v: holds %d", seed, again, got[0])
			}
		}
	}
}

// An operation at which the process dies does not happen.
func TestCrashInTheHookStopsTheOperation(t *testing.T) {
	d := disk.New(512)
	fs := d.Mount()
	f := file(t, fs, "a", []byte("x"))
	d.Hook = func(disk.Op) disk.Verdict { d.ProcessCrash(); return disk.Verdict{} }
	if _, err := f.WriteAt([]byte("y"), 0); !errors.Is(err, seg.ErrCrashed) {
		t.Errorf("write: %v", err)
	}
	if err := d.Mount().Remove("a"); !errors.Is(err, seg.ErrCrashed) {
		t.Errorf("remove: %v", err)
	}
	d.Hook = nil
	if got := string(content(t, d, "a")); got != "x" {
		t.Errorf("a is %q", got)
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
	if n, err := f.WriteAt(make([]byte, 200), 900); n != 100 || !errors.Is(err, seg.ErrNoSpace) {
		t.Fatalf("beyond the capacity: %d, %v", n, err)
	}
	if _, err := f.WriteAt(make([]byte, 900), 0); err != nil {
		t.Fatalf("within the file: %v", err)
	}
	if _, err := fs.Create("b"); !errors.Is(err, seg.ErrNoSpace) {
		t.Fatalf("a file more: %v", err)
	}
	if err := fs.Remove("a"); err != nil {
		t.Fatal(err)
	}
	if d.Used() != 1000 {
		t.Fatalf("a file that is open and has no name holds %d bytes", d.Used())
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	file(t, fs, "b", make([]byte, 1000))
}

// A file keeps its space through a rename while it is open, and a replaced one gives its own back.
func TestSpaceFollowsTheFile(t *testing.T) {
	d := disk.New(512)
	fs := d.Mount()
	f := file(t, fs, "a", make([]byte, 100))
	old := file(t, fs, "b", make([]byte, 50))
	if err := errors.Join(old.Close(), fs.Rename("a", "b")); err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(make([]byte, 10), 100); err != nil {
		t.Fatal(err)
	}
	if d.Used() != 110 {
		t.Errorf("used %d", d.Used())
	}
	file(t, fs, "c", make([]byte, 5))
	if err := fs.Remove("b"); err != nil {
		t.Fatal(err)
	}
	d.ProcessCrash()
	if d.Used() != 5 {
		t.Errorf("a crash left %d bytes in use", d.Used())
	}
	if err := d.Mount().Remove("c"); err != nil || d.Used() != 0 {
		t.Errorf("a dead process's handle holds %d bytes, %v", d.Used(), err)
	}
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

// A sector whose new bytes never reached the disk cannot be read after a loss of power either.
func TestUnreadableUntilTheNewBytesAreSafe(t *testing.T) {
	unread := map[bool]int{}
	for seed := range 50 {
		d := disk.New(512)
		fs := d.Mount()
		f := file(t, fs, "a", bytes.Repeat([]byte{1}, 512))
		sync(t, f, fs)
		if _, ok := d.RotAt(rng.Source(1).Stream("x"), "a", 100, disk.Unreadable); !ok {
			t.Fatal("no damage")
		}
		f.WriteAt(bytes.Repeat([]byte{2}, 512), 0)
		d.PowerLoss(rng.Source(seed).Stream("x"), disk.Loss{})
		f, err := d.Mount().Open("a")
		if err != nil {
			t.Fatal(err)
		}
		p := make([]byte, 512)
		_, err = f.ReadAt(p, 0)
		if err == nil && p[0] != 2 {
			t.Fatal("the damage healed by itself")
		}
		unread[err != nil]++
	}
	if len(unread) != 2 {
		t.Errorf("%v", unread)
	}
}

func TestRotSparesWhatIsNotSynced(t *testing.T) {
	d := disk.New(512)
	fs := d.Mount()
	rand := rng.Source(1).Stream("x")
	if _, ok := d.RotAt(rand, "a", 0, disk.Rotten); ok {
		t.Error("a file that is not there")
	}
	f := file(t, fs, "a", []byte("short"))
	if _, ok := d.RotAt(rand, "a", 0, disk.Rotten); ok {
		t.Error("unsynced bytes")
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	if _, ok := d.RotAt(rand, "a", 0, disk.Rotten); ok {
		t.Error("a file whose name is not safe")
	}
	sync(t, f, fs)
	if damage, ok := d.RotAt(rand, "a", 4, disk.Rotten); !ok || damage != (disk.Damage{Name: "a", Len: 5, Kind: disk.Rotten}) {
		t.Errorf("a short sector: %v", damage)
	}
	if _, ok := d.RotAt(rand, "a", 512, disk.Rotten); ok {
		t.Error("beyond the end")
	}
	f.WriteAt([]byte("SHORT"), 0)
	if _, ok := d.RotAt(rand, "a", 0, disk.Rotten); ok {
		t.Error("overwritten bytes")
	}
	d.Hook = func(disk.Op) disk.Verdict { return disk.Verdict{Err: errors.New("broken")} }
	f.Sync()
	d.Hook = nil
	if _, ok := d.RotAt(rand, "a", 0, disk.Rotten); ok {
		t.Error("bytes that a failed sync has lost")
	}
	d.PowerLoss(rand, disk.Loss{})
	if _, ok := d.RotAt(rand, "a", 0, disk.Rotten); !ok {
		t.Error("what a loss of power left is not synced")
	}
}

// Erased means erased: a file that a loss of power would bring back still holds its bytes.
func TestSearchSeesWhatCouldComeBack(t *testing.T) {
	d := disk.New(512)
	fs := d.Mount()
	content := append(make([]byte, 508), "secret"...) // across two sectors
	f := file(t, fs, "a", content)
	sync(t, f, fs)
	for _, step := range []struct {
		name string
		do   func() error
		want int
	}{
		{"written", func() error { return nil }, 1},
		{"overwritten", func() error { _, err := f.WriteAt(make([]byte, len(content)), 0); return err }, 1},
		{"overwritten and synced", f.Sync, 0},
		{"written again", func() error { _, err := f.WriteAt(content, 0); return errors.Join(err, f.Sync()) }, 1},
		{"removed", func() error { return fs.Remove("a") }, 1},
		{"removed and synced", fs.SyncDir, 0},
	} {
		if err := step.do(); err != nil {
			t.Fatal(err)
		}
		if got := d.Search([]byte("secret")); len(got) != step.want {
			t.Errorf("%s: found in %v", step.name, got)
		}
	}
}

func TestShortReadsAndWritesHappenInPart(t *testing.T) {
	broken := errors.New("broken")
	d := disk.New(512)
	fs := d.Mount()
	f := file(t, fs, "a", []byte("......"))
	d.Hook = func(disk.Op) disk.Verdict { return disk.Verdict{Err: broken, Short: 2} }
	if n, err := f.WriteAt([]byte("abc"), 1); n != 2 || !errors.Is(err, broken) {
		t.Errorf("write: %d, %v", n, err)
	}
	p := make([]byte, 4)
	if n, err := f.ReadAt(p, 0); n != 2 || string(p[:n]) != ".a" || !errors.Is(err, broken) {
		t.Errorf("read: %q, %v", p[:n], err)
	}
	d.Hook = nil
	if got := string(content(t, d, "a")); got != ".ab..." {
		t.Errorf("the file is %q", got)
	}
}

func TestHookSeesNamesAsTheyAreNow(t *testing.T) {
	d := disk.New(512)
	fs := d.Mount()
	f := file(t, fs, "a", []byte("x"))
	if err := fs.Rename("a", "b"); err != nil {
		t.Fatal(err)
	}
	var seen []disk.Op
	d.Hook = func(op disk.Op) disk.Verdict { seen = append(seen, op); return disk.Verdict{} }
	f.WriteAt([]byte("yz"), 7)
	f.Sync()
	want := []disk.Op{{Kind: disk.OpWrite, Name: "b", Off: 7, Len: 2}, {Kind: disk.OpSync, Name: "b"}}
	if !slices.Equal(seen, want) {
		t.Errorf("%+v", seen)
	}
}
