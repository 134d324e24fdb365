package object_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kimberlitedb/kimberlite-go/engine/seg"
	"github.com/kimberlitedb/kimberlite-go/internal/objectstest"
	"github.com/kimberlitedb/kimberlite-go/io/object"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t *testing.T, where string, o object.Options) seg.Objects {
	t.Helper()
	store, err := object.Open(context.Background(), where, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	return store
}

func put(t *testing.T, store seg.Objects, name, data string) {
	t.Helper()
	if err := store.Put(name, []byte(data)); err != nil {
		t.Fatal(err)
	}
}

func list(t *testing.T, store seg.Objects, prefix string) []string {
	t.Helper()
	names, err := store.List(prefix)
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func TestDirectory(t *testing.T) {
	objectstest.Run(t, func(t *testing.T) seg.Objects {
		return open(t, filepath.Join(t.TempDir(), "new", "archive"), object.Options{})
	})
}

func TestPathsAndFileURLsNameTheSameDirectory(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a b")
	put(t, open(t, path, object.Options{}), "a", "x")
	for _, where := range []string{"file://" + path, "file://localhost" + path} {
		if got := list(t, open(t, where, object.Options{}), ""); !slices.Equal(got, []string{"a"}) {
			t.Errorf("%s: %q", where, got)
		}
	}
}

func TestURLsThatNameNothingAreRefused(t *testing.T) {
	for _, where := range []string{"", "file://", "file://elsewhere/dir", "file:///dir?region=x", "file:///tmp/%2e%2e/other", "file:///tmp/.%2e/other", "http://bucket/prefix", "://", "ftp://x"} {
		if _, err := object.Open(t.Context(), where, object.Options{}); err == nil || errors.Is(err, seg.ErrUnavailable) {
			t.Errorf("%q: %v", where, err)
		}
	}
}

func TestReadOnlyMakesAndChangesNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "archive")
	if _, err := object.Open(t.Context(), path, object.Options{ReadOnly: true}); !errors.Is(err, seg.ErrNotExist) {
		t.Errorf("open what is not there: %v", err)
	}
	put(t, open(t, path, object.Options{}), "a", "x")
	store := open(t, path, object.Options{ReadOnly: true})
	if store.Put("b", nil) == nil || store.Remove("a") == nil {
		t.Error("a store that is open for reading was changed")
	}
	if got := list(t, store, ""); !slices.Equal(got, []string{"a"}) {
		t.Errorf("%q", got)
	}
}

// What a crash leaves of an object has no name, and goes once nobody can be writing it.
func TestLeftoversAreClearedAway(t *testing.T) {
	path := t.TempDir()
	put(t, open(t, path, object.Options{}), "a", "x")
	old, young := filepath.Join(path, "uploads~", "OLD"), filepath.Join(path, "uploads~", "YOUNG")
	for _, name := range []string{old, young} {
		if err := os.WriteFile(name, []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	before := time.Now().Add(-2 * time.Hour)
	if err := os.Chtimes(old, before, before); err != nil {
		t.Fatal(err)
	}
	store := open(t, path, object.Options{})
	if _, err := os.Stat(old); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the old one is there: %v", err)
	}
	if _, err := os.Stat(young); err != nil {
		t.Errorf("the young one is not: %v", err)
	}
	if got := list(t, store, ""); !slices.Equal(got, []string{"a"}) {
		t.Errorf("%q", got)
	}
}

func TestNothingTemporaryIsLeft(t *testing.T) {
	path := t.TempDir()
	store := open(t, path, object.Options{})
	put(t, store, "a", "x")
	put(t, store, "b/c", "x")
	for _, name := range []string{"a/b", "b"} {
		if err := store.Put(name, []byte("x")); err == nil || errors.Is(err, seg.ErrUnavailable) || errors.Is(err, seg.ErrNotExist) {
			t.Errorf("put %s beside a and b/c: %v", name, err)
		}
	}
	entries, err := os.ReadDir(filepath.Join(path, "uploads~"))
	if err != nil || len(entries) > 0 {
		t.Errorf("%v, %v", entries, err)
	}
}

func TestNothingIsReachedThroughLinks(t *testing.T) {
	outside, path := t.TempDir(), t.TempDir()
	if err := os.WriteFile(filepath.Join(outside, "secret"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	store := open(t, path, object.Options{})
	for from, to := range map[string]string{"folder": outside, "file": filepath.Join(outside, "secret")} {
		if err := os.Symlink(to, filepath.Join(path, from)); err != nil {
			t.Skip(err)
		}
	}
	for _, name := range []string{"folder/secret", "file"} {
		if data, err := store.Get(name); err == nil {
			t.Errorf("get %s: %q", name, data)
		}
	}
	if err := store.Put("folder/new", []byte("x")); err == nil {
		t.Error("put through a link")
	}
	store.Remove("folder/secret") // whether this fails does not matter
	if entries, err := os.ReadDir(outside); err != nil || len(entries) != 1 {
		t.Errorf("outside there are %v, %v", entries, err)
	}
	if got := list(t, store, ""); len(got) != 0 {
		t.Errorf("%q", got)
	}
}

func TestFilesOfOthersArePassedOver(t *testing.T) {
	path := t.TempDir()
	store := open(t, path, object.Options{})
	put(t, store, "a/b", "x")
	for _, name := range []string{"README", "a/.DS_Store", "a/b~"} {
		if err := os.WriteFile(filepath.Join(path, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if got := list(t, store, ""); !slices.Equal(got, []string{"a/b"}) {
		t.Errorf("%q", got)
	}
	if err := store.Remove("a/b"); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(path, "a", "b~")); err != nil {
		t.Error(err)
	}
}

func TestEmptyFoldersGo(t *testing.T) {
	path := t.TempDir()
	store := open(t, path, object.Options{})
	put(t, store, "a/b/c", "x")
	put(t, store, "a/d", "x")
	if err := store.Remove("a/b/c"); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(path, "a", "b")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a/b: %v", err)
	}
	if _, err := os.Stat(filepath.Join(path, "a", "d")); err != nil {
		t.Error(err)
	}
}

func TestManyUseADirectoryAtOnce(t *testing.T) {
	path := t.TempDir()
	manyAtOnce(t, open(t, path, object.Options{}), open(t, path, object.Options{}))
}

// manyAtOnce has goroutines put, get, list and remove the same few objects: each is always whole or absent.
func manyAtOnce(t *testing.T, stores ...seg.Objects) {
	var all sync.WaitGroup
	for i := range 4 {
		store, data := stores[i%len(stores)], strings.Repeat(string(rune('a'+i)), 10_000+i)
		all.Go(func() {
			for range 20 {
				for _, name := range []string{"x/a", "x/b"} {
					if err := store.Put(name, []byte(data)); !passes(err) {
						t.Error(err)
					}
					got, err := store.Get(name)
					if !passes(err) && !errors.Is(err, seg.ErrNotExist) {
						t.Error(err)
					}
					if err == nil && (len(got) < 10_000 || string(got) != strings.Repeat(string(got[0]), 10_000+int(got[0]-'a'))) {
						t.Errorf("%s is %d bytes of several", name, len(got))
					}
				}
				_, err := store.List("x/")
				for _, err := range []error{err, store.Remove("x/b")} {
					if !passes(err) {
						t.Error(err)
					}
				}
			}
		})
	}
	all.Wait()
}

func passes(err error) bool { return err == nil || errors.Is(err, seg.ErrUnavailable) }

func TestTheEndOfTheProcessEndsAStore(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	store, err := object.Open(ctx, t.TempDir(), object.Options{})
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	ended(t, store)
	if err := store.Close(); err != nil {
		t.Error(err)
	}
}

// ended checks that a store is one of a process that is about to end.
func ended(t *testing.T, store seg.Objects) {
	t.Helper()
	_, got := store.Get("a")
	_, sized := store.Stat("a")
	_, listed := store.List("")
	for did, err := range map[string]error{"put": store.Put("a", nil), "get": got, "stat": sized, "list": listed, "remove": store.Remove("a")} {
		if !errors.Is(err, seg.ErrCrashed) {
			t.Errorf("%s: %v", did, err)
		}
	}
}
