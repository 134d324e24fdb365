package sim

import (
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"github.com/kimberlitedb/kimberlite-go/engine"
	"github.com/kimberlitedb/kimberlite-go/sim/check"
	"github.com/kimberlitedb/kimberlite-go/sim/plan"
	"github.com/kimberlitedb/kimberlite-go/sim/trace"
	"github.com/kimberlitedb/kimberlite-go/sim/world"
)

// Version describes the program: its commit, if it was built from one, and the language's version.
func Version() string {
	commit := "unknown"
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				commit = s.Value[:min(12, len(s.Value))]
			}
		}
	}
	return fmt.Sprintf("%s %s %s/%s", commit, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}

// Report writes what a run has shown.
func Report(w io.Writer, p *plan.Plan, r *world.Result, took time.Duration) {
	fmt.Fprintf(w, "sim %s seed=%#x\n", Version(), p.Seed)
	fmt.Fprintf(w, "swarm   %s\n", p.Swarm())
	fmt.Fprintf(w, "time    %.1f s simulated in %.3f s (%.0fx)   client ops %d   crashes %d (%d in recovery)   recoveries %d   syncs %d\n",
		float64(r.Simulated)/1e9, took.Seconds(), float64(r.Simulated)/1e9/max(took.Seconds(), 1e-9), r.Ops, r.Crashes, r.Nested, r.Recoveries, r.Commits)
	fmt.Fprintf(w, "checks  %s\n", Checks(&r.Counts))
	fmt.Fprintf(w, "faults  %s\n", Faults(r.Faults))
	fmt.Fprintf(w, "probes  %s\n", Probes(&r.Probes))
	fmt.Fprintf(w, "hash    trace %016x  state %x\n", r.Trace.Hash, r.State[:8])
	if r.Stuck {
		fmt.Fprintln(w, "note    the disk lost what the server cannot start without, and the server said so")
	}
	if r.Failure != nil {
		fmt.Fprintf(w, "FAIL %v\n", r.Failure)
	}
}

// Checks lists how often each rule had something to be wrong about.
func Checks(counts *[34]check.Count) string {
	var b strings.Builder
	real := 0
	for _, i := range check.All {
		fmt.Fprintf(&b, "%d: %d  ", int(i), counts[i].Real)
		if counts[i].Real > 0 {
			real++
		}
	}
	fmt.Fprintf(&b, "(%d/%d evaluated)", real, len(check.All))
	return b.String()
}

// Faults lists how often each kind of fault was injected and noticed.
func Faults(counts map[string]world.FaultCount) string {
	var b strings.Builder
	for _, kind := range FaultKinds() {
		if c := counts[kind]; c.Injected > 0 {
			fmt.Fprintf(&b, "%s %d/%d  ", kind, c.Injected, c.Observed)
		}
	}
	return strings.TrimSpace(b.String())
}

// FaultKinds lists the kinds of faults there are.
func FaultKinds() []string {
	var list []string
	seen := map[string]bool{}
	for _, name := range plan.FaultPoints() {
		kind, _, _ := strings.Cut(name, "@")
		if !seen[kind] {
			seen[kind] = true
			list = append(list, kind)
		}
	}
	return list
}

// Probes says how many interesting places of the engine were reached, and which were not.
func Probes(hits *[engine.ProbeCount]int) string {
	var missed []string
	for i, n := range hits {
		if n == 0 {
			missed = append(missed, engine.Probe(i).String())
		}
	}
	s := fmt.Sprintf("%d/%d", int(engine.ProbeCount)-len(missed), int(engine.ProbeCount))
	if len(missed) > 0 && len(missed) < int(engine.ProbeCount)/2 {
		s += "   missed: " + strings.Join(missed, " ")
	}
	return s
}

// Shrunk writes what was left of a failing plan, and its story.
func Shrunk(w io.Writer, from, to *plan.Plan, r *world.Result, path string) {
	fmt.Fprintf(w, "  shrunk: %d → %d operations, %d → %d clients, %d → %d faults  → %s\n", len(from.Ops), len(to.Ops), users(from), users(to),
		len(from.Faults), len(to.Faults), path)
	fmt.Fprintf(w, "  story: %s\n", Story(r.Trace.Last()))
	fmt.Fprintf(w, "  repro: make sim SEED=%#x   |   make sim PLAN=%s\n", to.Seed, path)
}

// users counts the clients that do anything.
func users(p *plan.Plan) int {
	active := map[int]bool{}
	for _, op := range p.Ops {
		active[op.Client] = true
	}
	return len(active)
}

// told are the records that a story is made of.
var told = map[string]string{
	"request": "request", "write": "write", "synced": "synced", "crash-power": "power loss", "crash-process": "process crash",
	"recovered": "recovered", "report": "report", "halt": "halt", "recovery-failed": "recovery failed", "disconnected": "disconnected", "heal": "faults end",
	"read-back": "read back", "boot": "start", "job-done": "job done", "fault": "connection fault",
}

// storyLength is how many steps of a story are told.
const storyLength = 16

// Story tells the last interesting steps of a trace in one line.
func Story(records []trace.Record) string {
	var steps []string
	for _, r := range records {
		what, ok := told[r.Kind]
		if !ok {
			continue
		}
		switch r.Kind {
		case "write", "synced", "recovered":
			what = fmt.Sprintf("%s %d", what, max(r.B, r.A*b2u(r.Kind == "synced")))
		case "report":
			what += " " + r.Note
		}
		if n := len(steps); n > 0 && steps[n-1] == what {
			continue
		}
		steps = append(steps, what)
	}
	if len(steps) > storyLength {
		steps = append([]string{"…"}, steps[len(steps)-storyLength:]...)
	}
	return strings.Join(steps, " → ")
}

func b2u(b bool) uint64 {
	if b {
		return 1
	}
	return 0
}
