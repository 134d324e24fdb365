// Command mutants plants bugs and sees whether the simulator finds them. Each patch in testdata/mutants changes a few
// lines of engine or wire; it is applied to a copy of the repository, and up to 500 seeds are run against it. A patch
// whose name begins with harmless- must survive, every other must be found.
//
// The table credits each mutant to one rule that found it, or to one part of a rule that has several, with the first seed at
// which it did, such that no rule has to be credited with more than ten. A rule that nobody needs would otherwise hide behind a quicker one.
//
// Exit codes: 0 as it should be, 1 not, 2 usage.
package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// bases are the first seeds of the three runs against each mutant, and seeds is how long they are together.
var bases = []uint64{1, 1 << 20, 1 << 40}

const seeds = 500

// perRule is how many mutants one rule may find, so that the others show that they work.
const perRule = 10

func main() {
	dir := flag.String("dir", "testdata/mutants", "`folder` of the patches")
	only := flag.String("only", "", "run only patches whose name contains this `text`")
	flag.Parse()
	if flag.NArg() > 0 {
		flag.Usage()
		os.Exit(2)
	}
	patches, err := filepath.Glob(filepath.Join(*dir, "*.patch"))
	if err != nil || len(patches) == 0 {
		fmt.Fprintln(os.Stderr, "mutants: no patches in", *dir)
		os.Exit(2)
	}
	if !run(patches, *only) {
		os.Exit(1)
	}
}

// mutant is a planted bug and what became of it.
type mutant struct {
	name string
	by   []find // rules that found it, the earliest first
	runs int    // seeds run
	took time.Duration
	err  error
}

// find is the first seed at which a rule found a mutant.
type find struct{ rule, seed string }

func (m *mutant) harmless() bool { return strings.HasPrefix(m.name, "harmless-") }

func run(patches []string, only string) bool {
	var list []*mutant
	for _, patch := range patches {
		name := strings.TrimSuffix(filepath.Base(patch), ".patch")
		if !strings.Contains(name, only) {
			continue
		}
		began := time.Now()
		m := try(patch)
		m.name, m.took = name, time.Since(began)
		list = append(list, m)
		fmt.Fprintf(os.Stderr, "%s: %d seeds, %.0f s\n", name, m.runs, m.took.Seconds())
	}
	credit := assign(list)
	ok := true
	fmt.Printf("%-36s %-9s %-14s %-16s %s\n", "mutant", "fate", "seed", "rule", "found by")
	for i, m := range list {
		fate, mark, found := "survived", "", find{}
		switch {
		case m.err != nil:
			fate, mark = "failed", "  <-- "+m.err.Error()
		case len(m.by) > 0 && m.harmless():
			fate, mark, found = "killed", "  <-- it is harmless", m.by[0]
		case len(m.by) > 0 && credit[i] < 0:
			fate, mark, found = "killed", "  <-- its rules have others enough", m.by[0]
		case len(m.by) > 0:
			fate, found = "killed", m.by[credit[i]]
		case !m.harmless():
			mark = "  <-- nothing found it"
		}
		ok = ok && mark == ""
		fmt.Printf("%-36s %-9s %-14s %-16s %s%s\n", m.name, fate, found.seed, found.rule, m.rules(), mark)
	}
	return ok
}

func (m *mutant) rules() string {
	var list []string
	for _, f := range m.by {
		number, _, _ := strings.Cut(f.rule, " ")
		list = append(list, number)
	}
	return strings.Join(list, " ")
}

// assign credits each mutant to one of the rules that found it, and no rule with more than perRule. It returns the index
// into by, -1 where that cannot be.
func assign(list []*mutant) []int {
	credit := make([]int, len(list))
	for i := range credit {
		credit[i] = -1
	}
	var place func(i int, tried map[string]bool) bool
	place = func(i int, tried map[string]bool) bool {
		for k, f := range list[i].by {
			if tried[f.rule] {
				continue
			}
			tried[f.rule] = true
			var others []int
			for j := range list {
				if credit[j] >= 0 && list[j].by[credit[j]].rule == f.rule {
					others = append(others, j)
				}
			}
			if len(others) < perRule {
				credit[i] = k
				return true
			}
			for _, j := range others {
				before := credit[j]
				if credit[j] = -1; place(j, tried) {
					credit[i] = k
					return true
				}
				credit[j] = before
			}
		}
		return false
	}
	for i, m := range list {
		if !m.harmless() {
			place(i, map[string]bool{})
		}
	}
	return credit
}

// try runs the simulator against a copy of the repository with a patch applied.
func try(patch string) *mutant {
	dir, err := os.MkdirTemp("", "mutant")
	if err != nil {
		return &mutant{err: err}
	}
	defer os.RemoveAll(dir)
	path, err := filepath.Abs(patch)
	if err != nil {
		return &mutant{err: err}
	}
	for _, part := range []string{"engine", "wire", "sim"} {
		if err := os.CopyFS(filepath.Join(dir, part), os.DirFS(part)); err != nil {
			return &mutant{err: fmt.Errorf("copy %s: %w", part, err)}
		}
	}
	for _, file := range []string{"go.mod", "go.sum"} {
		p, err := os.ReadFile(file)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, file), p, 0o644)
		}
		if err != nil {
			return &mutant{err: err}
		}
	}
	bin := filepath.Join(dir, "simulator")
	if out, err := command(dir, "git", "apply", "-C1", path); err != nil {
		return &mutant{err: fmt.Errorf("apply: %w: %s", err, out)}
	}
	if out, err := command(dir, "go", "build", "-o", bin, "./sim/cmd/sim"); err != nil {
		return &mutant{err: fmt.Errorf("build: %w: %s", err, out)}
	}
	return hunt(dir, bin)
}

func command(dir, name string, args ...string) ([]byte, error) {
	c := exec.Command(name, args...)
	c.Dir = dir
	return c.CombinedOutput()
}

var failure = regexp.MustCompile(`(?m)^FAIL (\d+ [a-z-]+) seed (0x[0-9a-f]+)`)

// enough is how many failed runs of one mutant are looked at.
const enough = 24

// hunt runs seeds and notes which rules fail.
func hunt(dir, bin string) *mutant {
	m, failures := &mutant{}, 0
	for i, base := range bases {
		n := seeds / len(bases)
		if i < seeds%len(bases) {
			n++
		}
		out, err := command(dir, bin, "-n", strconv.Itoa(n), "-base", strconv.FormatUint(base, 10), "-failures", strconv.Itoa(enough-failures+1))
		found := failure.FindAllSubmatch(out, -1)
		if err != nil && len(found) == 0 {
			m.err = fmt.Errorf("the simulator failed: %w: %s", err, bytes.TrimSpace(out[max(0, len(out)-300):]))
			return m
		}
		m.runs += n
		for _, f := range found {
			m.note(find{rule: string(f[1]), seed: string(f[2])})
		}
		if failures += len(found); failures >= enough {
			break
		}
	}
	return m
}

func (m *mutant) note(f find) {
	for _, g := range m.by {
		if g.rule == f.rule {
			return
		}
	}
	m.by = append(m.by, f)
}
