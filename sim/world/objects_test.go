package world

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/kimberlitedb/kimberlite-go/engine"
	"github.com/kimberlitedb/kimberlite-go/engine/seg"
	"github.com/kimberlitedb/kimberlite-go/sim/fault"
	"github.com/kimberlitedb/kimberlite-go/sim/plan"
)

// errand is a job that puts two objects and keeps what it was told.
type errand struct {
	store seg.Objects
	told  *[]error
}

func (e errand) Destination() string { return "anywhere" }

func (e errand) In(store seg.Objects) engine.Job { return errand{store, e.told} }

func (e errand) Run(seg.Files) any {
	for _, name := range []string{"a", "b"} {
		*e.told = append(*e.told, e.store.Put(name, []byte("data")))
	}
	return nil
}

// run carries an errand out up to a stop, and says where it stopped and what is in the store then.
func run(t *testing.T, stops int, faults ...fault.Fault) (seen, names []string, told []error, w *World) {
	t.Helper()
	p := plan.Draw(1, 10)
	p.Rates, p.Faults = nil, faults
	w = New(p)
	task := newTask(w.disk.files(), nil, func(fs seg.Files, g *gate) { w.objects.lend(errand{told: &told}, g).Run(fs) })
	for range stops {
		what, more := task.resume()
		if !more {
			break
		}
		if w.stopLatency(what) < 500_000 {
			t.Errorf("nothing is so near as %q was", what)
		}
		seen = append(seen, what)
	}
	task.stop()
	names, err := w.objects.store.Mount(nil).List("")
	if err != nil {
		t.Fatal(err)
	}
	return seen, names, told, w
}

func TestAJobStopsOnTheWayToTheStoreAndBack(t *testing.T) {
	seen, names, told, _ := run(t, 10)
	if got := strings.Join(seen, " "); got != "object-put object-put-answer object-put object-put-answer" {
		t.Errorf("it stopped at %s", got)
	}
	if !slices.Equal(names, []string{"a", "b"}) || errors.Join(told...) != nil {
		t.Errorf("%q, %v", names, told)
	}
}

func TestAJobThatIsCutOffHasDoneWhatArrived(t *testing.T) {
	for stops, want := range []string{"", "", "a", "a", "a b"} {
		_, names, told, _ := run(t, stops)
		if got := strings.Join(names, " "); got != want {
			t.Errorf("after %d stops there is %q", stops, got)
		}
		if stops > 0 && !errors.Is(told[len(told)-1], seg.ErrCrashed) {
			t.Errorf("after %d stops it was told %v", stops, told)
		}
	}
}

func TestTheWayToTheStoreFails(t *testing.T) {
	for kind, want := range map[string]string{"store-error": "b", "store-timeout": "a b", "store-partial": "a b", "store-slow": "a b"} {
		_, names, told, w := run(t, 10, fault.Fault{Kind: kind, At: "store", K: 1})
		if got := strings.Join(names, " "); got != want && !(kind == "store-partial" && got == "b") {
			t.Errorf("%s: there is %q", kind, got)
		}
		if failed := kind != "store-slow"; errors.Is(told[0], seg.ErrUnavailable) != failed || told[1] != nil {
			t.Errorf("%s: it was told %v", kind, told)
		}
		if c := w.in.Count(kind); c.Injected != 1 || c.Observed != 1 {
			t.Errorf("%s: %+v", kind, c)
		}
	}
}
