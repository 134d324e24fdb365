package object_test

import (
	"errors"
	"iter"
	"slices"
	"testing"

	"github.com/kimberlitedb/kimberlite-go/engine/seg"
	"github.com/kimberlitedb/kimberlite-go/internal/objectstest"
	"github.com/kimberlitedb/kimberlite-go/sim/object"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

func alive(string) error { return nil }

func TestConformance(t *testing.T) {
	for _, locks := range []bool{false, true} {
		objectstest.Run(t, func(*testing.T) seg.Objects {
			s := object.New()
			s.Locks = locks
			return s.Mount(alive)
		})
	}
}

func TestLocks(t *testing.T) {
	now := wire.Time(1_000_000_000_000_000)
	var s *object.Store
	objectstest.RunLocked(t, now, func(*testing.T) seg.Locker {
		s = object.New()
		s.Locks, s.Now = true, func() wire.Time { return now }
		return s.Mount(alive)
	})
	store := s.Mount(nil)
	if err := store.PutLocked("b", []byte("secret"), now+5); err != nil {
		t.Fatal(err)
	}
	if err := store.Put("b", []byte("x")); err != nil {
		t.Fatal(err)
	}
	if got := s.Search([]byte("secret")); !slices.Equal(got, []string{"b"}) {
		t.Errorf("what was replaced is in %q", got)
	}
	now += 5
	if err := store.Remove("b"); err != nil {
		t.Errorf("remove when the lock is over: %v", err)
	}
	if got := s.Search([]byte("secret")); len(got) > 0 {
		t.Errorf("what was removed is in %q", got)
	}
}

// Faults do what they say, and the caller is told nothing of what has happened.
func TestFaultsOfRequests(t *testing.T) {
	away := errors.Join(seg.ErrUnavailable)
	for name, c := range map[string]struct {
		verdict  object.Verdict
		new, old string // what is there after a put, where there was nothing and where there was "before"
	}{
		"refused":    {object.Verdict{Err: away}, "", "before"},
		"unanswered": {object.Verdict{Err: away, Done: true}, "after", "after"},
		"cut":        {object.Verdict{Err: away, Part: 3}, "aft", "before"},
	} {
		t.Run(name, func(t *testing.T) {
			s := object.New()
			outside, store := s.Mount(nil), s.Mount(alive)
			if err := outside.Put("old", []byte("before")); err != nil {
				t.Fatal(err)
			}
			s.Hook = func(object.Op) object.Verdict { return c.verdict }
			for name, want := range map[string]string{"new": c.new, "old": c.old} {
				if err := store.Put(name, []byte("after")); !errors.Is(err, seg.ErrUnavailable) {
					t.Errorf("put %s: %v", name, err)
				}
				if got, err := outside.Get(name); string(got) != want || (err != nil) != (want == "") {
					t.Errorf("%s is %q, %v; want %q", name, got, err, want)
				}
			}
			if data, err := store.Get("old"); data != nil || !errors.Is(err, seg.ErrUnavailable) {
				t.Errorf("get: %q, %v", data, err)
			}
			if err := store.Remove("old"); !errors.Is(err, seg.ErrUnavailable) {
				t.Errorf("remove: %v", err)
			}
			if _, err := outside.Get("old"); errors.Is(err, seg.ErrNotExist) != c.verdict.Done {
				t.Errorf("after remove: %v", err)
			}
		})
	}
}

// A crash strikes before a request arrives, or behind it: the store is another machine.
func TestACrashStopsTheJobAndNotTheStore(t *testing.T) {
	for stops, want := range map[int][]string{0: nil, 1: {"a"}, 2: {"a"}, 3: {"a", "b"}} {
		s := object.New()
		var errs []error
		next, stop := iter.Pull(func(yield func(string) bool) {
			crashed := false
			store := s.Mount(func(what string) error {
				if crashed = crashed || !yield(what); crashed {
					return seg.ErrCrashed
				}
				return nil
			})
			errs = append(errs, store.Put("a", nil), store.Put("b", nil), store.Put("c", nil))
		})
		var seen []string
		for range stops + 1 {
			what, _ := next()
			seen = append(seen, what)
		}
		stop()
		if got := s.Mount(nil); !lists(got, want) {
			t.Errorf("after a crash at %q: not %q", seen, want)
		}
		for i, err := range errs {
			if done := i < stops/2; done != (err == nil) || !done && !errors.Is(err, seg.ErrCrashed) {
				t.Errorf("put %d at %q: %v", i, seen, err)
			}
		}
	}
}

func lists(store seg.Objects, want []string) bool {
	got, err := store.List("")
	return err == nil && slices.Equal(got, want)
}
