package main

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"github.com/kimberlitedb/kimberlite-go/sim"
	"github.com/kimberlitedb/kimberlite-go/sim/plan"
	"github.com/kimberlitedb/kimberlite-go/sim/world"
)

// often is at which runs of a batch the run is made twice.
const often = 16

// many runs seeds one after another and stops at the first that fails.
func (o *options) many(base uint64) int {
	if !o.hashes {
		fmt.Printf("sim %s base=%#x\n", sim.Version(), base)
	}
	var b sim.Batch
	began, failures := time.Now(), 0
	for i := 0; i < o.n || time.Since(began) < o.soak; i++ {
		p := plan.Draw(base+uint64(i), o.ops)
		from := time.Now()
		r := o.watched(p, func() *world.Result {
			if i%often == 0 && !o.hashes {
				return sim.Twice(p)
			}
			return sim.Run(p)
		})
		if o.hashes {
			fmt.Printf("%#x %016x %x\n", p.Seed, r.Trace.Hash, r.State[:8])
		}
		if r.Failure != nil && o.failures > 1 {
			fmt.Printf("FAIL %s seed %#x\n", r.Failure.Name(), p.Seed)
			if failures++; failures == o.failures {
				return exitCorrect
			}
			continue
		}
		if code := verdict(r); code != 0 {
			sim.Report(os.Stdout, p, r, time.Since(from))
			if r.Failure != nil {
				o.failed(p, r)
			}
			return code
		}
		b.Add(r)
	}
	if failures > 0 {
		return exitCorrect
	}
	if o.hashes {
		return 0
	}
	o.summary(&b, time.Since(began))
	if b.Runs >= sim.GateSize && !b.Gate(os.Stdout) {
		return exitLack
	}
	return 0
}

func (o *options) summary(b *sim.Batch, took time.Duration) {
	s := took.Seconds()
	fmt.Printf("runs    %d (%d ended at damage that was reported)\n", b.Runs, b.Stuck)
	fmt.Printf("time    %.0f s simulated in %.1f s   %.0f seeds/min   %.0f client ops/s   %.0f recoveries/min\n", float64(b.Simulated)/1e9, s,
		float64(b.Runs)/s*60, float64(b.Ops)/s, float64(b.Recoveries)/s*60)
	fmt.Printf("total   client ops %d   crashes %d (%d in recovery)   recoveries %d   syncs %d\n", b.Ops, b.Crashes, b.Nested, b.Recoveries, b.Commits)
	fmt.Printf("checks  %s\n", sim.Checks(&b.Counts))
	fmt.Printf("faults  %s\n", sim.Faults(b.Faults))
	fmt.Printf("probes  %s\n", sim.Probes(&b.Probes))
	fmt.Printf("hash    %016x\n", b.Hash)
}

// self runs this program again.
func self(args ...string) ([]byte, error) {
	path, err := os.Executable()
	if err != nil {
		return nil, err
	}
	return exec.Command(path, args...).Output()
}

// twoProcesses compares the hashes of many seeds over two processes.
func (o *options) twoProcesses(base uint64) int {
	args := []string{"-hashes", "-n", strconv.Itoa(o.double), "-base", strconv.FormatUint(base, 10), "-ops", strconv.Itoa(o.ops)}
	first, err := self(args...)
	if err != nil {
		fmt.Printf("%s", first)
		return usage(fmt.Errorf("a run failed: %w", err))
	}
	second, err := self(args...)
	if err != nil {
		return usage(fmt.Errorf("a run failed: %w", err))
	}
	if line, a, b, differ := difference(first, second); differ {
		fmt.Printf("FAIL 29 same: two processes differ at run %d\n  %s\n  %s\n", line, a, b)
		return exitCorrect
	}
	fmt.Printf("double  %d seeds from %#x are the same in two processes\n", o.double, base)
	return 0
}

// compare shows the first record in which two processes differ on one seed.
func (o *options) compare() int {
	if _, err := parse(o.diff); err != nil {
		return usage(err)
	}
	if err := os.MkdirAll(o.out, 0o755); err != nil {
		return usage(err)
	}
	var texts [2][]byte
	for i := range texts {
		path := filepath.Join(o.out, fmt.Sprintf("diff.%d.trace", i))
		if _, err := self("-seed", o.diff, "-records", path, "-shrink", "0", "-ops", strconv.Itoa(o.ops)); err != nil {
			fmt.Fprintln(os.Stderr, "sim: the run failed, which is compared all the same:", err)
		}
		var err error
		if texts[i], err = os.ReadFile(path); err != nil {
			return usage(err)
		}
	}
	if line, a, b, differ := difference(texts[0], texts[1]); differ {
		fmt.Printf("FAIL 29 same: record %d differs\n  %s\n  %s\n", line, a, b)
		return exitCorrect
	}
	fmt.Printf("diff    %d records are the same in two processes\n", bytes.Count(texts[0], []byte("\n")))
	return 0
}

// difference returns the first line in which two texts differ.
func difference(x, y []byte) (line int, a, b string, differ bool) {
	sx, sy := bufio.NewScanner(bytes.NewReader(x)), bufio.NewScanner(bytes.NewReader(y))
	for {
		line++
		okx, oky := sx.Scan(), sy.Scan()
		if !okx && !oky {
			return line, "", "", false
		}
		if okx != oky || sx.Text() != sy.Text() {
			return line, sx.Text(), sy.Text(), true
		}
	}
}
