package main

import (
	"bytes"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/kimberlitedb/kimberlite-go/io/host"
)

const quakes = "../../testdata/earthquakes.jsonl"

// relay passes connections on to a server and breaks each after some bytes in either direction, the first ones early.
type relay struct {
	ln    net.Listener
	to    string
	rng   *rand.Rand
	group sync.WaitGroup
	cuts  int
}

func newRelay(t *testing.T, to string, seed uint64) *relay {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{ln: ln, to: to, rng: rand.New(rand.NewPCG(seed, 0))}
	r.group.Go(r.accept)
	return r
}

func (r *relay) accept() {
	for {
		nc, err := r.ln.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", r.to)
		if err != nil {
			nc.Close()
			return
		}
		r.cuts++
		up, down := 1000+r.rng.Int64N(600_000), 1000+r.rng.Int64N(600_000)
		if r.rng.IntN(2) == 0 {
			down = 60 + r.rng.Int64N(1000) // replies are lost while requests arrive
		}
		r.group.Go(func() { pass(server, nc, up) })
		r.group.Go(func() { pass(nc, server, down) })
	}
}

// pass carries some bytes and then ends both connections.
func pass(to, from net.Conn, limit int64) {
	io.CopyN(to, from, limit) // its end is the point
	to.Close()
	from.Close()
}

// An import over connections that break at any place stores every line once, with its time, and says so.
func TestImportIsExactOverBreakingConnections(t *testing.T) {
	file, err := os.ReadFile(quakes)
	if err != nil {
		t.Fatal(err)
	}
	for seed := range uint64(3) {
		cfg := host.DefaultConfig(t.TempDir())
		cfg.Listen, cfg.Admin, cfg.Engine.Dev, cfg.Log = "127.0.0.1:0", "", true, slog.New(slog.DiscardHandler)
		h, err := host.Start(cfg)
		if err != nil {
			t.Fatal(err)
		}
		r := newRelay(t, h.Addr(), seed)
		cmd := []string{"import", "quakes", quakes, "--timestamp-field", "time", "--timestamp-unit", "ms", "-o", "raw"}
		var out, diag bytes.Buffer
		code, runs := exitFailed, 0
		for ; code != exitOK && runs < 200; runs++ { // it may give up, and then goes on when it is run again
			out.Reset()
			code = run(append(cmd, "--server", r.ln.Addr().String()), nil, &out, &diag)
		}
		if code != exitOK || strings.TrimSpace(out.String()) != "1707" {
			t.Errorf("seed %d: exit code %d after %d runs, %s\n%s", seed, code, runs, out.String(), diag.String())
		}
		r.ln.Close()
		r.group.Wait()
		t.Logf("seed %d: %d connections, %d runs", seed, r.cuts, runs)

		// Running it once more compares every byte and every time.
		out.Reset()
		if code := run(append(cmd, "--server", h.Addr()), nil, &out, &diag); code != exitOK {
			t.Errorf("seed %d: %s", seed, diag.String())
		}
		out.Reset()
		if code := run([]string{"read", "quakes", "-o", "raw", "--server", h.Addr()}, nil, &out, &diag); code != exitOK || !bytes.Equal(out.Bytes(), file) {
			t.Errorf("seed %d: what is stored is not the file", seed)
		}
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	}
}
