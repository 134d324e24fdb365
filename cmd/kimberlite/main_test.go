package main

import (
	"errors"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"kimberlite": main})
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(e *testscript.Env) error {
			wd, err := os.Getwd()
			e.Setenv("PROOFS", wd+"/../../testdata/proof")
			e.Setenv("QUAKES", wd+"/../../testdata/earthquakes.jsonl")
			e.Setenv("GORACE", "atexit_sleep_ms=10") // a second for each of the many commands, otherwise
			return err
		},
		Cmds:      map[string]func(*testscript.TestScript, bool, []string){"exits": exits, "await": await},
		Condition: condition,
	})
}

// exits runs a command and checks its exit code: exits CODE COMMAND [ARG...].
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits code command [arg...]")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			ts.Fatalf("%v", err)
		}
		got = exit.ExitCode()
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// await waits for the ready file of a server and points KIMBERLITE_SERVER at it: await FILE.
func await(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: await file")
	}
	deadline := time.Now().Add(30 * time.Second)
	for {
		if addr, err := os.ReadFile(ts.MkAbs(args[0])); err == nil {
			ts.Setenv("KIMBERLITE_SERVER", strings.TrimSpace(string(addr)))
			ts.Check(os.Remove(ts.MkAbs(args[0])))
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("the server is not ready")
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func condition(name string) (bool, error) {
	if name == "root" {
		return os.Geteuid() == 0, nil
	}
	return false, errors.New("unknown condition " + name)
}
