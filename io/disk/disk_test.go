package disk_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/kimberlitedb/kimberlite-go/engine/seg"
	"github.com/kimberlitedb/kimberlite-go/internal/filestest"
	"github.com/kimberlitedb/kimberlite-go/io/disk"
)

func open(t *testing.T, path string) *disk.Dir {
	t.Helper()
	d, err := disk.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func TestConformance(t *testing.T) {
	filestest.Run(t, func(t *testing.T) seg.Files { return open(t, filepath.Join(t.TempDir(), "new", "data")) })
}

func TestOneOwner(t *testing.T) {
	path := t.TempDir()
	d := open(t, path)
	for name, again := range map[string]func(string) (*disk.Dir, error){"Open": disk.Open, "OpenReadOnly": disk.OpenReadOnly} {
		if _, err := again(path); err == nil || !strings.Contains(err.Error(), "in use") {
			t.Errorf("%s beside an owner: %v", name, err)
		}
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	open(t, path)
}

func TestReadOnlyChangesNothing(t *testing.T) {
	path := t.TempDir()
	d := open(t, path)
	if _, err := d.Create("a"); err != nil {
		t.Fatal(err)
	}
	d.Close()
	r, err := disk.OpenReadOnly(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	f, err := r.Open("a")
	if err != nil {
		t.Fatal(err)
	}
	_, created := r.Create("b")
	_, written := f.WriteAt([]byte("x"), 0)
	for name, err := range map[string]error{"create": created, "write": written, "rename": r.Rename("a", "b"), "remove": r.Remove("a")} {
		if err == nil || !strings.Contains(err.Error(), "for reading only") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A copy may lie where nothing can be written, and doctor may be pointed at a directory that is none of ours.
func TestReadOnlyNeedsNoLockFile(t *testing.T) {
	path := t.TempDir()
	r, err := disk.OpenReadOnly(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if entries, err := os.ReadDir(path); err != nil || len(entries) > 0 {
		t.Errorf("left %v, %v", entries, err)
	}
}

func TestManyMayLook(t *testing.T) {
	path := t.TempDir()
	if err := open(t, path).Close(); err != nil { // leaves a lock file
		t.Fatal(err)
	}
	for range 2 {
		d, err := disk.OpenReadOnly(path)
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
	}
	if _, err := disk.Open(path); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("a server beside them: %v", err)
	}
}

func TestLookingNeedsADirectory(t *testing.T) {
	path := filepath.Join(t.TempDir(), "missing")
	if _, err := disk.OpenReadOnly(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("open: %v", err)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("it was made: %v", err)
	}
}

func TestErrorsAreTheSystemsToo(t *testing.T) {
	d := open(t, t.TempDir())
	_, err := d.Open("a")
	if !errors.Is(err, seg.ErrNotExist) || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing: %v", err)
	}
	if _, err := d.Create("a"); err != nil {
		t.Fatal(err)
	}
	if _, err = d.Create("a"); !errors.Is(err, seg.ErrExist) || !errors.Is(err, os.ErrExist) {
		t.Errorf("taken: %v", err)
	}
}

func TestFullDisk(t *testing.T) {
	if _, err := os.Stat("/dev/full"); err != nil {
		t.Skip("needs /dev/full")
	}
	path := t.TempDir()
	if err := os.Symlink("/dev/full", filepath.Join(path, "a")); err != nil {
		t.Fatal(err)
	}
	f, err := open(t, path).Open("a")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte("x"), 0); !errors.Is(err, seg.ErrNoSpace) || !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("write: %v", err)
	}
}

func TestStrangersAreToldWhatToDo(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root may do everything")
	}
	path := t.TempDir()
	if err := os.Chmod(path, 0o500); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{path, filepath.Join(path, "new")} {
		if _, err := disk.Open(path); !errors.Is(err, os.ErrPermission) || !strings.Contains(err.Error(), "choose another with --data") {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestListHasFilesOnly(t *testing.T) {
	path := t.TempDir()
	if err := os.Mkdir(filepath.Join(path, "lost+found"), 0o700); err != nil {
		t.Fatal(err)
	}
	if names, err := open(t, path).List(); err != nil || len(names) != 0 {
		t.Errorf("%q, %v", names, err)
	}
}

func TestFilesAreForTheOwnerAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "data")
	if _, err := open(t, path).Create("a"); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]os.FileMode{path: 0o700, filepath.Join(path, "a"): 0o600} {
		info, err := os.Stat(name)
		if err != nil || info.Mode().Perm() != want {
			t.Errorf("%s has mode %v, %v", name, info.Mode(), err)
		}
	}
}
