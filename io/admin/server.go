package admin

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Source tells what the metrics show. It returns false once the server has stopped.
type Source interface{ Snapshot() (Snapshot, bool) }

// Server is the admin port.
type Server struct {
	http    http.Server
	ln      net.Listener
	serving sync.WaitGroup
}

// Listen opens the admin port and serves it until Close.
func Listen(addr string, source Source) (*Server, error) {
	ln, err := net.Listen("tcp", addr)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("listen on %s: the port is in use; choose another with --admin, or none with --admin ''", addr)
	}
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", addr, err)
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(&collector{source}, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { answer(w, true, "") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		s, running := source.Snapshot()
		answer(w, running && !s.Halted, "stopped: what is acknowledged could no longer be kept safe; see the log and restart")
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	s := &Server{ln: ln, http: http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}}
	s.serving.Go(func() { s.http.Serve(ln) }) // returns on Close, with an error that says so
	return s, nil
}

// Addr returns the address that the server listens on.
func (s *Server) Addr() string { return s.ln.Addr().String() }

// Close stops serving at once.
func (s *Server) Close() {
	s.http.Close() // connections are dropped: nothing is lost with them
	s.serving.Wait()
}

// answer says "ok", or why not with status 503.
func answer(w http.ResponseWriter, good bool, why string) {
	if !good {
		http.Error(w, why, http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, "ok")
}
