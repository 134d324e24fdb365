// Command crash kills the real server again and again, in the middle of real load on a real disk, and checks what the
// clients were told against what is there afterwards: with the model and the rules of the simulator, and its check of
// every stream's history for linearizability.
//
//	go run ./internal/crash -rounds 10
package main

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/kimberlitedb/kimberlite-go/sim/check"
	"github.com/kimberlitedb/kimberlite-go/sim/model"
	"github.com/kimberlitedb/kimberlite-go/sim/plan"
	"github.com/kimberlitedb/kimberlite-go/sim/rng"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

func main() {
	rounds := flag.Int("rounds", 10, "how often the server is killed")
	clients := flag.Int("clients", 8, "connections that load it")
	seed := flag.Uint64("seed", uint64(time.Now().UnixNano()), "of what the clients do; when they do it is up to the machine")
	flag.Parse()
	if err := run(*rounds, *clients, *seed); err != nil {
		fmt.Fprintf(os.Stderr, "FAIL %v\nseed %d\n", err, *seed)
		os.Exit(1)
	}
}

// trial is one run: a data directory, a model of it, and the clients.
type trial struct {
	mu     sync.Mutex // guards what follows, and all that the suite and the model hold
	suite  *check.Suite
	ops    int
	orders int
	conns  int
	began  time.Time

	seed uint64
	addr string // of the server that runs now
}

// config bounds what the clients do.
var config = plan.Config{Tenants: 2, Streams: 32, MaxBatchBytes: 1 << 20, MaxBatchEvents: 1000}

// streams of a tenant that one round uses: few, so that the clients meet, and others in the next round, so that no
// history grows too long to be checked.
const streams = 6

func run(rounds, clients int, seed uint64) error {
	dir, err := os.MkdirTemp("", "kimberlite-crash-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	binary, err := build(dir)
	if err != nil {
		return err
	}
	t := &trial{suite: check.New(model.New(rng.Source(seed), &config)), began: time.Now(), seed: seed}
	t.suite.Now, t.suite.Faulty = t.now, func() bool { return true }
	random := rand.New(rand.NewPCG(seed, 1))
	for round := range rounds {
		if err := t.round(binary, dir, clients, round, random); err != nil {
			return fmt.Errorf("round %d: %w", round+1, err)
		}
	}
	if err := t.readBack(binary, dir); err != nil {
		return err
	}
	t.report(rounds)
	return nil
}

// round runs the server under load and kills it. One time in four it is killed while it starts, too.
func (t *trial) round(binary, dir string, clients, round int, random *rand.Rand) error {
	if random.IntN(4) == 0 {
		s, err := launch(binary, dir)
		if err != nil {
			return err
		}
		time.Sleep(time.Duration(random.IntN(60)) * time.Millisecond)
		s.kill()
	}
	s, err := launch(binary, dir)
	if err != nil {
		return err
	}
	if t.addr, err = s.ready(); err != nil {
		return err
	}
	var load sync.WaitGroup
	for i := range clients {
		load.Go(func() { t.work(i, round) })
	}
	time.Sleep(time.Duration(50+random.IntN(500)) * time.Millisecond)
	s.kill()
	load.Wait()
	return t.failed()
}

// readBack reads every stream once more, and checks the whole.
func (t *trial) readBack(binary, dir string) error {
	s, err := launch(binary, dir)
	if err != nil {
		return err
	}
	defer s.kill()
	if t.addr, err = s.ready(); err != nil {
		return err
	}
	for _, tenant := range t.suite.M.Tenants {
		if err := t.readTenant(tenant); err != nil {
			return err
		}
	}
	return t.failed()
}

func (t *trial) readTenant(tenant *model.Tenant) error {
	p, err := t.dial(-1, tenant)
	if err != nil {
		return err
	}
	defer p.nc.Close()
	for _, st := range tenant.Streams {
		if st.ID == 0 {
			continue
		}
		var next, head wire.Offset
		for more := true; more; more = next < head {
			b := &wire.ReadEvents{Stream: st.ID, FromOffset: next, MaxBytes: 1 << 20}
			if err := p.call(&model.Call{Stream: st, Body: b}); err != nil {
				return fmt.Errorf("read %s back: %w", st.Name, err)
			}
			r, ok := p.last.Reply.(*wire.ReadEventsReply)
			if !ok {
				return fmt.Errorf("read %s back at %d: %+v", st.Name, next, p.last.Reply)
			}
			next, head = r.NextOffset.Or(next), r.HeadOffset
		}
		t.mu.Lock()
		t.suite.Final(st, head)
		t.suite.Linearizable(st, t.now())
		t.mu.Unlock()
	}
	return nil
}

func (t *trial) now() int64 { return int64(time.Since(t.began)) }

// failed returns the rule that is broken, if one is.
func (t *trial) failed() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.suite.Failed != nil {
		return t.suite.Failed
	}
	return nil
}

// report says what was checked. A run without acknowledged appends or unknown outcomes proves nothing.
func (t *trial) report(rounds int) {
	done, unknown, there := 0, 0, 0
	for _, a := range t.suite.M.Appends {
		switch {
		case a.Outcome == model.Done:
			done++
		case a.Outcome == model.Unknown && a.Placed:
			there++
			unknown++
		case a.Outcome == model.Unknown:
			unknown++
		}
	}
	fmt.Printf("crash: %d kills, %d requests, %d appends acknowledged and all there, %d of unknown outcome of which %d happened\n",
		rounds, t.ops, done, unknown, there)
	for i, c := range t.suite.Counts {
		if c.Evaluated > 0 {
			fmt.Printf("  %-14s %7d evaluations, %7d of something that could be wrong\n", check.Invariant(i), c.Evaluated, c.Real)
		}
	}
	if done == 0 || unknown == 0 {
		fmt.Fprintln(os.Stderr, "FAIL this run proves nothing: raise -rounds")
		os.Exit(1)
	}
}

var errOrder = errors.New("a reply came out of order")

// path of the data directory below the run's.
func data(dir string) string { return filepath.Join(dir, "data") }
