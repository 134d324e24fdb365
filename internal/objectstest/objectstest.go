// Package objectstest is the conformance suite of seg.Objects: directories, buckets and the simulated store must all pass
// it, so that what is found on the one holds on the others.
package objectstest

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/kimberlitedb/kimberlite-go/engine/seg"
	"github.com/kimberlitedb/kimberlite-go/wire"
	"pgregory.net/rapid"
)

// Run runs the suite. Open must return an empty store each time.
func Run(t *testing.T, open func(t *testing.T) seg.Objects) {
	t.Run("GetReturnsWhatWasPut", func(t *testing.T) { getReturnsWhatWasPut(t, open(t)) })
	t.Run("PutReplaces", func(t *testing.T) { putReplaces(t, open(t)) })
	t.Run("BuffersAreTheCallers", func(t *testing.T) { buffersAreTheCallers(t, open(t)) })
	t.Run("WhatIsMissingIsToldSo", func(t *testing.T) { whatIsMissing(t, open(t)) })
	t.Run("RemoveTakesOneObjectAway", func(t *testing.T) { removeTakesOneAway(t, open(t)) })
	t.Run("ListIsAscending", func(t *testing.T) { listIsAscending(t, open(t)) })
	t.Run("ListIsWhole", func(t *testing.T) { listIsWhole(t, open(t)) })
	t.Run("NamesAreChecked", func(t *testing.T) { namesAreChecked(t, open(t)) })
	t.Run("SizesAreChecked", func(t *testing.T) { sizesAreChecked(t, open(t)) })
	t.Run("BehavesAsMap", func(t *testing.T) { behavesAsMap(t, open(t)) })
}

// RunLocked runs what a store that can lock must do besides. Now is the store's clock.
func RunLocked(t *testing.T, now wire.Time, open func(t *testing.T) seg.Locker) {
	const hour = 3_600_000_000_000
	t.Run("LockedObjectsStay", func(t *testing.T) { lockedObjectsStay(t, open(t), now+hour) })
	t.Run("ReplacedObjectsStayLocked", func(t *testing.T) { replacedObjectsStayLocked(t, open(t), now+hour) })
	t.Run("LocksLieAhead", func(t *testing.T) {
		store := open(t)
		if err := store.PutLocked("a", []byte("x"), now-hour); err == nil {
			t.Error("an object is locked until an hour ago")
		}
	})
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// holds checks what is under a name.
func holds(t *testing.T, store seg.Objects, name, want string) {
	t.Helper()
	got, err := store.Get(name)
	check(t, err)
	size, err := store.Stat(name)
	check(t, err)
	if string(got) != want || size != int64(len(want)) {
		t.Fatalf("%s is %.40q, %d bytes, of which Stat says %d; want %.40q, %d bytes", name, got, len(got), size, want, len(want))
	}
}

// lists checks which names begin with a prefix.
func lists(t *testing.T, store seg.Objects, prefix string, want ...string) {
	t.Helper()
	got, err := store.List(prefix)
	check(t, err)
	if !slices.Equal(got, want) {
		t.Fatalf("list %q: %q, want %q", prefix, got, want)
	}
}

func getReturnsWhatWasPut(t *testing.T, store seg.Objects) {
	for name, want := range map[string]string{
		"empty": "", "one": "x", "a/b/c/d.e-f": "deep", "zeros": strings.Repeat("\x00", 100_000), "most": strings.Repeat("0123456789abcdef", seg.MaxObject/16),
		strings.Repeat(strings.Repeat("n", 127)+"/", 3) + "end": "long name",
	} {
		check(t, store.Put(name, []byte(want)))
		holds(t, store, name, want)
	}
}

func putReplaces(t *testing.T, store seg.Objects) {
	for _, want := range []string{"first", "", "the second is longer", "3"} {
		check(t, store.Put("a/b", []byte(want)))
		holds(t, store, "a/b", want)
		lists(t, store, "", "a/b")
	}
}

func buffersAreTheCallers(t *testing.T, store seg.Objects) {
	data := []byte("hello")
	check(t, store.Put("a", data))
	clear(data)
	got, err := store.Get("a")
	check(t, err)
	clear(got)
	holds(t, store, "a", "hello")
}

func whatIsMissing(t *testing.T, store seg.Objects) {
	check(t, store.Put("a", []byte("x")))
	check(t, store.Put("b/c/d", []byte("x")))
	for _, name := range []string{"z", "y/z", "x/y/z", "a/b", "b", "b/c", "b/c/e", "b/c/d/e"} {
		_, got := store.Get(name)
		_, sized := store.Stat(name)
		for did, err := range map[string]error{"get": got, "stat": sized} {
			if !errors.Is(err, seg.ErrNotExist) || errors.Is(err, seg.ErrUnavailable) {
				t.Errorf("%s %s: %v", did, name, err)
			}
		}
		if err := store.Remove(name); err != nil {
			t.Errorf("remove %s: %v", name, err)
		}
	}
	for _, prefix := range []string{"z", "z/", "a/", "b/c/d/", "b/c/e"} {
		lists(t, store, prefix)
	}
	lists(t, store, "", "a", "b/c/d")
}

func removeTakesOneAway(t *testing.T, store seg.Objects) {
	for _, name := range []string{"a", "a-", "b/c", "b/cc", "d/e/f"} {
		check(t, store.Put(name, []byte(name)))
	}
	check(t, store.Put("a", []byte("once more")))
	for _, name := range []string{"a", "b/c", "d/e/f"} {
		check(t, store.Remove(name))
		if _, err := store.Get(name); !errors.Is(err, seg.ErrNotExist) {
			t.Errorf("%s is there: %v", name, err)
		}
		check(t, store.Remove(name))
	}
	lists(t, store, "", "a-", "b/cc")
	holds(t, store, "b/cc", "b/cc")
	for _, name := range []string{"a", "b/c", "d/e/f"} {
		check(t, store.Put(name, []byte("again")))
		holds(t, store, name, "again")
	}
}

func listIsAscending(t *testing.T, store seg.Objects) {
	want := []string{"a-b/c", "a.b", "a/b", "a/b-c", "a/bc/d", "a0", "ab", "b/a"}
	for i := range want {
		check(t, store.Put(want[(i*5+3)%len(want)], nil)) // in another order
	}
	lists(t, store, "", want...)
	lists(t, store, "a", want[:7]...)
	lists(t, store, "a/", want[2:5]...)
	lists(t, store, "a/b", want[2:5]...)
	lists(t, store, "a/bc", want[4])
	lists(t, store, "a/bc/d", want[4])
	lists(t, store, "a.", want[1])
	lists(t, store, "b/a", want[7])
}

// listIsWhole: servers list a thousand at once.
func listIsWhole(t *testing.T, store seg.Objects) {
	var want []string
	for i := range 1003 {
		name := fmt.Sprintf("blobs/%02x/%04d", i%3, i)
		check(t, store.Put(name, nil))
		want = append(want, name)
	}
	slices.Sort(want)
	lists(t, store, "blobs/", want...)
}

func namesAreChecked(t *testing.T, store seg.Objects) {
	check(t, store.Put("a/b", []byte("x")))
	for _, name := range []string{"", ".", "..", "/", "/a", "a/", "a//b", "../a", "a/../c", "a/./b", ".a", "A", "a b", `a\b`, "a\x00", "uploads~/a", "ä", strings.Repeat("a", 200)} {
		_, got := store.Get(name)
		_, sized := store.Stat(name)
		for did, err := range map[string]error{"put": store.Put(name, nil), "get": got, "stat": sized, "remove": store.Remove(name)} {
			if err == nil || errors.Is(err, seg.ErrNotExist) || errors.Is(err, seg.ErrUnavailable) {
				t.Errorf("%s %q: %v", did, name, err)
			}
		}
	}
	for _, prefix := range []string{"/", "..", "../", "a//", "A", "a/.", "*"} {
		if names, err := store.List(prefix); err == nil || errors.Is(err, seg.ErrUnavailable) {
			t.Errorf("list %q: %q, %v", prefix, names, err)
		}
	}
	lists(t, store, "", "a/b")
}

func sizesAreChecked(t *testing.T, store seg.Objects) {
	if err := store.Put("a", make([]byte, seg.MaxObject+1)); err == nil || errors.Is(err, seg.ErrUnavailable) {
		t.Errorf("put too much: %v", err)
	}
	lists(t, store, "")
}

// behavesAsMap compares a store with a map from names to bytes.
func behavesAsMap(t *testing.T, store seg.Objects) {
	name := rapid.SampledFrom([]string{"a", "b/a", "b/b", "b/c/d", "c-"})
	rapid.Check(t, func(r *rapid.T) {
		old, err := store.List("")
		for _, name := range old {
			err = errors.Join(err, store.Remove(name)) // of the run before
		}
		if err != nil {
			r.Fatal(err)
		}
		model := map[string][]byte{}
		r.Repeat(map[string]func(*rapid.T){
			"put": func(r *rapid.T) {
				a, data := name.Draw(r, "name"), rapid.SliceOfN(rapid.Byte(), 0, 2000).Draw(r, "data")
				if err := store.Put(a, data); err != nil {
					r.Fatal(err)
				}
				model[a] = data
			},
			"get": func(r *rapid.T) {
				a := name.Draw(r, "name")
				got, err := store.Get(a)
				if want, ok := model[a]; ok != (err == nil) || !ok && !errors.Is(err, seg.ErrNotExist) || !bytes.Equal(got, want) {
					r.Fatalf("%s is %q, %v; want %q", a, got, err, want)
				}
			},
			"remove": func(r *rapid.T) {
				a := name.Draw(r, "name")
				if err := store.Remove(a); err != nil {
					r.Fatal(err)
				}
				delete(model, a)
			},
			"": func(r *rapid.T) {
				names, err := store.List("")
				if want := slices.Sorted(maps.Keys(model)); err != nil || !slices.Equal(names, want) {
					r.Fatalf("names %q, %v; want %q", names, err, want)
				}
			},
		})
	})
}

func lockedObjectsStay(t *testing.T, store seg.Locker, until wire.Time) {
	check(t, store.PutLocked("a/b", []byte("x"), until))
	check(t, store.Put("a/c", []byte("y")))
	if err := store.Remove("a/b"); !errors.Is(err, seg.ErrLocked) || errors.Is(err, seg.ErrUnavailable) {
		t.Errorf("remove a locked object: %v", err)
	}
	check(t, store.Remove("a/c"))
	lists(t, store, "", "a/b")
	holds(t, store, "a/b", "x")
}

func replacedObjectsStayLocked(t *testing.T, store seg.Locker, until wire.Time) {
	check(t, store.PutLocked("a", []byte("x"), until))
	check(t, store.Put("a", []byte("y")))
	holds(t, store, "a", "y")
	if err := store.Remove("a"); !errors.Is(err, seg.ErrLocked) {
		t.Errorf("remove what replaced a locked object: %v", err)
	}
	holds(t, store, "a", "y")
}
