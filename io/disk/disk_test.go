package disk_test

import (
	"os"
	"path/filepath"
	"strings"
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
	filestest.Run(t, func(t *testing.T) seg.Files { return open(t, filepath.Join(t.TempDir(), "data")) })
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
		if err == nil {
			t.Errorf("%s succeeded", name)
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

func TestNamesStayInTheDirectory(t *testing.T) {
	d := open(t, t.TempDir())
	for _, name := range []string{"", ".", "..", "../a", "a/b", `a\b`, "lock"} {
		if _, err := d.Create(name); err == nil {
			t.Errorf("created %q", name)
		}
		if err := d.Remove(name); err == nil {
			t.Errorf("removed %q", name)
		}
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
