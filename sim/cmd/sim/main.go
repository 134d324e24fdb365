// Command sim runs simulated worlds and checks that the database keeps its promises in them.
//
//	sim -seed 0x5eed       one run, the whole story
//	sim -plan file.json    one run from a file
//	sim -n 200 -base 7     many runs; together they must have shown everything
//	sim -soak 10m          many runs, until the time is over
//	sim -diff 0x5eed       two processes run one seed; the first difference is shown
//	sim -double 20         two processes run many seeds; their hashes must be the same
//
// Exit codes: 0 all is well, 2 usage, 3 a panic, 4 something did not end (liveness), 5 a promise was broken
// (correctness), 6 the runs prove too little.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"runtime/pprof"
	"strconv"
	"time"

	"github.com/kimberlitedb/kimberlite-go/sim"
	"github.com/kimberlitedb/kimberlite-go/sim/check"
	"github.com/kimberlitedb/kimberlite-go/sim/plan"
	"github.com/kimberlitedb/kimberlite-go/sim/trace"
	"github.com/kimberlitedb/kimberlite-go/sim/world"
)

const (
	exitUsage   = 2
	exitPanic   = 3
	exitLive    = 4
	exitCorrect = 5
	exitLack    = 6
)

type options struct {
	seed, base, diff   string
	n, ops, double     int
	failures           int
	plan, out, records string
	soak, shrink       time.Duration
	hashes             bool
	profile            string
}

func main() {
	var o options
	flag.StringVar(&o.seed, "seed", "", "run this `seed`")
	flag.IntVar(&o.n, "n", 0, "run so many seeds from -base on")
	flag.StringVar(&o.base, "base", "", "first `seed` of -n, -soak and -double; drawn from the clock and printed where empty")
	flag.StringVar(&o.plan, "plan", "", "run the plan in this `file`")
	flag.DurationVar(&o.soak, "soak", 0, "run seeds until this `time` is over")
	flag.StringVar(&o.diff, "diff", "", "run this `seed` in two processes and show the first difference")
	flag.IntVar(&o.double, "double", 0, "run so many seeds in two processes and compare")
	flag.IntVar(&o.ops, "ops", 1000, "client operations of a run")
	flag.StringVar(&o.out, "out", "out", "`folder` for traces and plans of failed runs")
	flag.DurationVar(&o.shrink, "shrink", 30*time.Second, "how long to shrink a failed run")
	flag.IntVar(&o.failures, "failures", 1, "with -n, stop after so many failed runs; from 2 on they are only listed")
	flag.BoolVar(&o.hashes, "hashes", false, "print the hashes of every run")
	flag.StringVar(&o.records, "records", "", "write all records of the run to this `file`")
	flag.StringVar(&o.profile, "profile", "", "write a CPU profile to this `file`")
	flag.Parse()
	debug.SetGCPercent(400) // a run holds little and allocates much
	os.Exit(o.run())
}

func (o *options) run() int {
	if o.profile != "" {
		f, err := os.Create(o.profile)
		if err != nil {
			return usage(err)
		}
		defer f.Close()
		if err := pprof.StartCPUProfile(f); err != nil {
			return usage(err)
		}
		defer pprof.StopCPUProfile()
	}
	switch {
	case flag.NArg() > 0:
		return usage(fmt.Errorf("unknown argument %q", flag.Arg(0)))
	case o.plan != "":
		p, err := plan.Load(o.plan)
		if err != nil {
			return usage(err)
		}
		return o.one(p)
	case o.seed != "":
		seed, err := parse(o.seed)
		if err != nil {
			return usage(err)
		}
		return o.one(plan.Draw(seed, o.ops))
	case o.diff != "":
		return o.compare()
	}
	base, err := o.first()
	if err != nil {
		return usage(err)
	}
	switch {
	case o.double > 0:
		return o.twoProcesses(base)
	case o.n > 0 || o.soak > 0:
		return o.many(base)
	}
	flag.Usage()
	return exitUsage
}

func usage(err error) int {
	fmt.Fprintln(os.Stderr, "sim:", err)
	return exitUsage
}

func parse(seed string) (uint64, error) {
	n, err := strconv.ParseUint(seed, 0, 64)
	if err != nil {
		return 0, fmt.Errorf("seed %q: a number is needed, such as 0x5eed", seed)
	}
	return n, nil
}

func (o *options) first() (uint64, error) {
	if o.base != "" {
		return parse(o.base)
	}
	return uint64(time.Now().Unix()) << 20, nil
}

// one runs a plan and tells everything about it.
func (o *options) one(p *plan.Plan) int {
	each, done, err := o.recorder()
	if err != nil {
		return usage(err)
	}
	began := time.Now()
	r := o.watched(p, func() *world.Result { return sim.Follow(p, each) })
	took := time.Since(began)
	if err := done(); err != nil {
		return usage(err)
	}
	if o.records == "" && r.Failure == nil {
		r = sim.Twice(p)
	}
	sim.Report(os.Stdout, p, r, took)
	if r.Failure != nil {
		o.failed(p, r)
	}
	return verdict(r)
}

// recorder returns what writes all records into a file, if that was asked for.
func (o *options) recorder() (each func(trace.Record), done func() error, err error) {
	if o.records == "" {
		return nil, func() error { return nil }, nil
	}
	f, err := os.Create(o.records)
	if err != nil {
		return nil, nil, err
	}
	return func(r trace.Record) { fmt.Fprintln(f, r) }, f.Close, nil
}

// failed keeps the trace of a failed run and a smaller plan that fails likewise.
func (o *options) failed(p *plan.Plan, r *world.Result) {
	if err := os.MkdirAll(o.out, 0o755); err != nil {
		fmt.Fprintln(os.Stderr, "sim:", err)
		return
	}
	name := filepath.Join(o.out, strconv.FormatUint(p.Seed, 16))
	f, err := os.Create(name + ".trace")
	if err != nil {
		fmt.Fprintln(os.Stderr, "sim:", err)
		return
	}
	r.Trace.Write(f)
	fmt.Fprintf(f, "FAIL %v\n", r.Failure)
	f.Close()
	full := sim.Record(p, r)
	small := sim.Shrink(full, r.Failure.Rule, o.shrink)
	small.Note = r.Failure.Error()[:min(200, len(r.Failure.Error()))]
	if err := small.Save(name + ".min.json"); err != nil {
		fmt.Fprintln(os.Stderr, "sim:", err)
		return
	}
	again := sim.Run(small)
	if again.Failure != nil {
		fmt.Printf("  fails with %v\n", again.Failure)
	}
	sim.Shrunk(os.Stdout, full, small, again, name+".min.json")
}

func verdict(r *world.Result) int {
	switch {
	case r.Panicked:
		return exitPanic
	case r.Failure != nil && r.Failure.Rule == check.Live:
		return exitLive
	case r.Failure != nil:
		return exitCorrect
	case !sim.Enough(r):
		fmt.Println("LACK this run has shown too little: no commits, recoveries or checks")
		return exitLack
	}
	return 0
}

// patience is how long one run may take in real time. One that takes longer hangs.
const patience = time.Minute

// watched ends the process where a run hangs, since nothing else can end an endless loop.
func (o *options) watched(p *plan.Plan, run func() *world.Result) *world.Result {
	t := time.AfterFunc(patience, func() {
		fmt.Printf("FAIL 31 live: seed %#x hangs\n", p.Seed)
		pprof.Lookup("goroutine").WriteTo(os.Stdout, 2)
		os.Exit(exitLive)
	})
	defer t.Stop()
	return run()
}
