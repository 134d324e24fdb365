// Package hosttest starts real servers for tests.
package hosttest

import (
	"errors"
	"log"
	"log/slog"
	"os"
	"testing"

	"github.com/kimberlitedb/kimberlite-go/io/host"
)

// Start starts a server over a directory, as "kimberlite dev" does. It returns the server's address and a function that ends
// it.
func Start(dir string) (addr string, stop func() error, err error) {
	cfg := host.DefaultConfig(dir)
	cfg.Listen, cfg.Admin, cfg.Engine.Dev, cfg.Log = "127.0.0.1:0", "", true, slog.New(slog.DiscardHandler)
	h, err := host.Start(cfg)
	if err != nil {
		return "", nil, err
	}
	return h.Addr(), h.Close, nil
}

// Server starts a server that ends with the test, and returns its address.
func Server(t testing.TB) string {
	t.Helper()
	addr, stop, err := Start(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
	return addr
}

// Example starts a server for an example: it stands for one that runs elsewhere, such as "kimberlite dev".
func Example() (addr string, stop func()) {
	dir, err := os.MkdirTemp("", "kimberlite")
	if err != nil {
		log.Fatal(err)
	}
	addr, end, err := Start(dir)
	if err != nil {
		log.Fatal(err)
	}
	return addr, func() {
		if err := errors.Join(end(), os.RemoveAll(dir)); err != nil {
			log.Fatal(err)
		}
	}
}
