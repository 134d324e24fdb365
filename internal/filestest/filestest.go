// Package filestest is the conformance suite of seg.Files: the real disk and the simulated one must both pass it, so
// that what is found on the one holds on the other.
package filestest

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"testing"

	"github.com/kimberlitedb/kimberlite-go/engine/seg"
	"pgregory.net/rapid"
)

// Run runs the suite. Open returns an empty directory each time.
func Run(t *testing.T, open func(t *testing.T) seg.Files) {
	t.Run("CreateRefusesATakenName", func(t *testing.T) { createRefusesATakenName(t, open(t)) })
	t.Run("OpenNeedsAFile", func(t *testing.T) { openNeedsAFile(t, open(t)) })
	t.Run("ReadEndsWithTheFile", func(t *testing.T) { readEndsWithTheFile(t, open(t)) })
	t.Run("WriteBehindTheEndFillsWithZeros", func(t *testing.T) { writeBehindTheEnd(t, open(t)) })
	t.Run("RenameReplaces", func(t *testing.T) { renameReplaces(t, open(t)) })
	t.Run("RemoveTakesTheNameAway", func(t *testing.T) { removeTakesTheNameAway(t, open(t)) })
	t.Run("ListIsAscending", func(t *testing.T) { listIsAscending(t, open(t)) })
	t.Run("HandlesShareTheFile", func(t *testing.T) { handlesShareTheFile(t, open(t)) })
	t.Run("BehavesAsBytes", func(t *testing.T) { behavesAsBytes(t, open) })
}

func must[T any](v T, err error) func(t *testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// put makes a file with some content, synced.
func put(t *testing.T, fs seg.Files, name, content string) {
	t.Helper()
	f := must(fs.Create(name))(t)
	must(f.WriteAt([]byte(content), 0))(t)
	check(t, f.Sync())
	check(t, f.Close())
}

// get returns a file's content.
func get(t *testing.T, fs seg.Files, name string) string {
	t.Helper()
	f := must(fs.Open(name))(t)
	defer f.Close()
	p := make([]byte, must(f.Size())(t))
	if _, err := f.ReadAt(p, 0); err != nil && err != io.EOF {
		t.Fatal(err)
	}
	return string(p)
}

func createRefusesATakenName(t *testing.T, fs seg.Files) {
	put(t, fs, "a", "x")
	if _, err := fs.Create("a"); !errors.Is(err, seg.ErrExist) {
		t.Fatalf("created twice: %v", err)
	}
	if got := get(t, fs, "a"); got != "x" {
		t.Fatalf("the file became %q", got)
	}
}

func openNeedsAFile(t *testing.T, fs seg.Files) {
	if _, err := fs.Open("a"); !errors.Is(err, seg.ErrNotExist) {
		t.Errorf("open: %v", err)
	}
	if err := fs.Remove("a"); !errors.Is(err, seg.ErrNotExist) {
		t.Errorf("remove: %v", err)
	}
	if err := fs.Rename("a", "b"); !errors.Is(err, seg.ErrNotExist) {
		t.Errorf("rename: %v", err)
	}
}

func readEndsWithTheFile(t *testing.T, fs seg.Files) {
	put(t, fs, "a", "hello")
	f := must(fs.Open("a"))(t)
	defer f.Close()
	for _, c := range []struct {
		off  int64
		size int
		want string
		err  error
	}{{0, 5, "hello", nil}, {1, 3, "ell", nil}, {3, 10, "lo", io.EOF}, {5, 1, "", io.EOF}, {99, 1, "", io.EOF}} {
		p := make([]byte, c.size)
		n, err := f.ReadAt(p, c.off)
		if string(p[:n]) != c.want || (err != nil) != (c.err != nil) || (err != nil && err != io.EOF) {
			t.Errorf("%d bytes at %d: %q, %v", c.size, c.off, p[:n], err)
		}
	}
}

func writeBehindTheEnd(t *testing.T, fs seg.Files) {
	put(t, fs, "a", "hello")
	f := must(fs.Open("a"))(t)
	must(f.WriteAt([]byte("!"), 8))(t)
	check(t, f.Close())
	if got := get(t, fs, "a"); got != "hello\x00\x00\x00!" {
		t.Fatalf("%q", got)
	}
}

func renameReplaces(t *testing.T, fs seg.Files) {
	put(t, fs, "a", "new")
	put(t, fs, "b", "old")
	check(t, fs.Rename("a", "b"))
	check(t, fs.SyncDir())
	if got := get(t, fs, "b"); got != "new" {
		t.Errorf("b is %q", got)
	}
	if _, err := fs.Open("a"); !errors.Is(err, seg.ErrNotExist) {
		t.Errorf("a is still there: %v", err)
	}
}

func removeTakesTheNameAway(t *testing.T, fs seg.Files) {
	put(t, fs, "a", "old")
	check(t, fs.Remove("a"))
	put(t, fs, "a", "new")
	check(t, fs.SyncDir())
	if got := get(t, fs, "a"); got != "new" {
		t.Fatalf("a is %q", got)
	}
}

func listIsAscending(t *testing.T, fs seg.Files) {
	want := []string{"B", "a", "a-1", "log-00", "log-01"}
	for _, name := range []string{"log-01", "a", "B", "log-00", "a-1"} {
		put(t, fs, name, "")
	}
	if got := must(fs.List())(t); !slices.Equal(got, want) {
		t.Fatalf("%q", got)
	}
}

func handlesShareTheFile(t *testing.T, fs seg.Files) {
	put(t, fs, "a", "....")
	one, two := must(fs.Open("a"))(t), must(fs.Open("a"))(t)
	defer one.Close()
	must(two.WriteAt([]byte("x"), 2))(t)
	check(t, two.Close())
	p := make([]byte, 4)
	must(one.ReadAt(p, 0))(t)
	if string(p) != "..x." {
		t.Fatalf("%q", p)
	}
}

// behavesAsBytes compares a file with a slice of bytes under random writes and reads.
func behavesAsBytes(t *testing.T, open func(t *testing.T) seg.Files) {
	fs, files := open(t), 0
	rapid.Check(t, func(r *rapid.T) {
		files++
		f, err := fs.Create(string(rune('a'+files%26)) + "-" + rapid.StringMatching("[a-z]{8}").Draw(r, "name"))
		if errors.Is(err, seg.ErrExist) {
			r.Skip()
		}
		if err != nil {
			r.Fatal(err)
		}
		defer f.Close()
		var model []byte
		r.Repeat(map[string]func(*rapid.T){
			"write": func(r *rapid.T) {
				off := rapid.IntRange(0, 5000).Draw(r, "off")
				p := rapid.SliceOfN(rapid.Byte(), 0, 1500).Draw(r, "bytes")
				if n, err := f.WriteAt(p, int64(off)); err != nil || n != len(p) {
					r.Fatal(n, err)
				}
				if grow := off + len(p) - len(model); grow > 0 && len(p) > 0 {
					model = append(model, make([]byte, grow)...)
				}
				copy(model[min(off, len(model)):], p)
			},
			"sync": func(r *rapid.T) {
				if err := f.Sync(); err != nil {
					r.Fatal(err)
				}
			},
			"": func(r *rapid.T) {
				size, err := f.Size()
				if err != nil || size != int64(len(model)) {
					r.Fatalf("size %d, want %d, %v", size, len(model), err)
				}
				p := make([]byte, len(model))
				if n, err := f.ReadAt(p, 0); n != len(p) || (err != nil && err != io.EOF) || !bytes.Equal(p, model) {
					r.Fatalf("read %d of %d bytes, %v", n, len(p), err)
				}
			},
		})
	})
}
