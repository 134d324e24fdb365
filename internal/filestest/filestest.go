// Package filestest is the conformance suite of seg.Files: the real disk and the simulated one must both pass it, so
// that what is found on the one holds on the other.
package filestest

import (
	"bytes"
	"errors"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/kimberlitedb/kimberlite-go/engine/seg"
	"pgregory.net/rapid"
)

// Run runs the suite. Open must return an empty directory each time.
func Run(t *testing.T, open func(t *testing.T) seg.Files) {
	t.Run("CreateRefusesATakenName", func(t *testing.T) { createRefusesATakenName(t, open(t)) })
	t.Run("OpenNeedsAFile", func(t *testing.T) { openNeedsAFile(t, open(t)) })
	t.Run("ReadEndsWithTheFile", func(t *testing.T) { readEndsWithTheFile(t, open(t)) })
	t.Run("WriteBehindTheEndFillsWithZeros", func(t *testing.T) { writeBehindTheEnd(t, open(t)) })
	t.Run("RenameReplaces", func(t *testing.T) { renameReplaces(t, open(t)) })
	t.Run("RemoveTakesTheNameAway", func(t *testing.T) { removeTakesTheNameAway(t, open(t)) })
	t.Run("ListIsAscending", func(t *testing.T) { listIsAscending(t, open(t)) })
	t.Run("HandlesShareTheFile", func(t *testing.T) { handlesShareTheFile(t, open(t)) })
	t.Run("HandlesOutliveNames", func(t *testing.T) { handlesOutliveNames(t, open(t)) })
	t.Run("ClosedFilesRefuse", func(t *testing.T) { closedFilesRefuse(t, open(t)) })
	t.Run("NegativeOffsetsAreRefused", func(t *testing.T) { negativeOffsetsAreRefused(t, open(t)) })
	t.Run("NamesStayInTheDirectory", func(t *testing.T) { namesStayInTheDirectory(t, open(t)) })
	t.Run("BehavesAsBytes", func(t *testing.T) { behavesAsBytes(t, open(t)) })
	t.Run("BehavesAsNames", func(t *testing.T) { behavesAsNames(t, open(t)) })
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
	}{{0, 5, "hello", nil}, {5, 0, "", nil}, {9, 0, "", nil}, {1, 3, "ell", nil}, {3, 10, "lo", io.EOF}, {5, 1, "", io.EOF}, {99, 1, "", io.EOF}} {
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

// handlesOutliveNames: a file that is renamed, replaced or removed stays what it is for whoever has it open.
func handlesOutliveNames(t *testing.T, fs seg.Files) {
	put(t, fs, "a", "first")
	put(t, fs, "b", "second")
	a, b := must(fs.Open("a"))(t), must(fs.Open("b"))(t)
	check(t, fs.Rename("a", "b"))
	must(a.WriteAt([]byte("F"), 0))(t)
	if got := get(t, fs, "b"); got != "First" {
		t.Errorf("the renamed file is %q", got)
	}
	check(t, fs.Remove("b"))
	for want, f := range map[string]seg.File{"First": a, "second": b} {
		p := make([]byte, len(want))
		must(f.ReadAt(p, 0))(t)
		must(f.WriteAt(p, int64(len(p))))(t)
		check(t, f.Sync())
		if size := must(f.Size())(t); string(p) != want || size != 2*int64(len(p)) {
			t.Errorf("%q without a name: %q, size %d", want, p, size)
		}
		check(t, f.Close())
	}
	if got := must(fs.List())(t); len(got) != 0 {
		t.Errorf("names are left: %q", got)
	}
}

func closedFilesRefuse(t *testing.T, fs seg.Files) {
	f := must(fs.Create("a"))(t)
	must(f.WriteAt([]byte("x"), 0))(t)
	check(t, f.Close())
	_, read := f.ReadAt(make([]byte, 1), 0)
	_, written := f.WriteAt([]byte("y"), 0)
	_, sized := f.Size()
	for name, err := range map[string]error{"read": read, "write": written, "size": sized, "sync": f.Sync(), "close": f.Close()} {
		if err == nil || err == io.EOF {
			t.Errorf("%s of a closed file: %v", name, err)
		}
	}
	if got := get(t, fs, "a"); got != "x" {
		t.Errorf("the file is %q", got)
	}
}

func negativeOffsetsAreRefused(t *testing.T, fs seg.Files) {
	f := must(fs.Create("a"))(t)
	defer f.Close()
	if n, err := f.WriteAt([]byte("x"), -1); n != 0 || err == nil {
		t.Errorf("write: %d, %v", n, err)
	}
	if n, err := f.ReadAt(make([]byte, 1), -1); n != 0 || err == nil || err == io.EOF {
		t.Errorf("read: %d, %v", n, err)
	}
}

func namesStayInTheDirectory(t *testing.T, fs seg.Files) {
	put(t, fs, "a", "x")
	for _, name := range []string{"", ".", "..", "../b", "a/b", "/b", `a\b`, "lock"} {
		_, created := fs.Create(name)
		_, opened := fs.Open(name)
		for did, err := range map[string]error{
			"create": created, "open": opened, "rename to": fs.Rename("a", name), "rename from": fs.Rename(name, "b"), "remove": fs.Remove(name),
		} {
			if err == nil || errors.Is(err, seg.ErrNotExist) {
				t.Errorf("%s %q: %v", did, name, err)
			}
		}
	}
	if got := must(fs.List())(t); !slices.Equal(got, []string{"a"}) {
		t.Errorf("%q", got)
	}
}

// behavesAsBytes compares a file with a slice of bytes under random writes and reads.
func behavesAsBytes(t *testing.T, fs seg.Files) {
	rapid.Check(t, func(r *rapid.T) {
		removed := fs.Remove("a") // of the run before
		f, err := fs.Create("a")
		if err != nil {
			r.Fatal(removed, err)
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
			"read": func(r *rapid.T) {
				off := rapid.IntRange(0, 7000).Draw(r, "off")
				p := make([]byte, rapid.IntRange(1, 2000).Draw(r, "size"))
				want := model[min(off, len(model)):min(off+len(p), len(model))]
				n, err := f.ReadAt(p, int64(off))
				if !bytes.Equal(p[:n], want) || (err == io.EOF) != (n < len(p)) || (err != nil && err != io.EOF) {
					r.Fatalf("read %d bytes at %d of %d: %d, %v", len(p), off, len(model), n, err)
				}
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
			},
		})
	})
}

// behavesAsNames compares a directory with a map from names to the bytes of files.
func behavesAsNames(t *testing.T, fs seg.Files) {
	name := rapid.SampledFrom([]string{"a", "b", "c", "d"})
	rapid.Check(t, func(r *rapid.T) {
		for _, old := range must(fs.List())(t) {
			check(t, fs.Remove(old)) // of the run before
		}
		model, made := map[string]string{}, 0
		same := func(r *rapid.T, err error, legal bool, refusal error) {
			r.Helper()
			if legal && err != nil || !legal && !errors.Is(err, refusal) {
				r.Fatal(err)
			}
		}
		r.Repeat(map[string]func(*rapid.T){
			"create": func(r *rapid.T) {
				a := name.Draw(r, "name")
				_, taken := model[a]
				f, err := fs.Create(a)
				same(r, err, !taken, seg.ErrExist)
				if taken {
					return
				}
				made++
				model[a] = strings.Repeat("x", made)
				if _, err := f.WriteAt([]byte(model[a]), 0); err != nil {
					r.Fatal(err)
				}
				same(r, f.Close(), true, nil)
			},
			"rename": func(r *rapid.T) {
				from, to := name.Draw(r, "from"), name.Draw(r, "to")
				content, ok := model[from]
				same(r, fs.Rename(from, to), ok, seg.ErrNotExist)
				if ok {
					delete(model, from)
					model[to] = content
				}
			},
			"remove": func(r *rapid.T) {
				a := name.Draw(r, "name")
				_, ok := model[a]
				same(r, fs.Remove(a), ok, seg.ErrNotExist)
				delete(model, a)
			},
			"sync": func(r *rapid.T) { same(r, fs.SyncDir(), true, nil) },
			"": func(r *rapid.T) {
				names, err := fs.List()
				if err != nil || !slices.Equal(names, slices.Sorted(maps.Keys(model))) {
					r.Fatalf("names %q, want %v, %v", names, model, err)
				}
				for _, a := range names {
					if got := get(t, fs, a); got != model[a] {
						r.Fatalf("%s is %q, want %q", a, got, model[a])
					}
				}
			},
		})
	})
}
