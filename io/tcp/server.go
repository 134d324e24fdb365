package tcp

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/kimberlitedb/kimberlite-go/engine"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// Server accepts connections.
type Server struct {
	ln       *net.TCPListener
	handler  Handler
	max      int
	refused  func()
	mu       sync.Mutex // guards conns and last
	conns    map[*Conn]struct{}
	last     engine.ConnID
	served   chan struct{}  // closed when Serve has returned
	routines sync.WaitGroup // of connections; only Serve adds to it
	in, out  atomic.Uint64  // bytes
	large    sync.Pool      // of *[]byte: buffers for large replies, shared by all connections
	packers  packers
}

// Options are a server's settings.
type Options struct {
	MaxConns int    // connections at a time; more are closed at once
	Refused  func() // called for each connection closed at once
}

// Listen opens the port. Serve must follow.
func Listen(addr string, h Handler, o Options) (*Server, error) {
	a, err := net.ResolveTCPAddr("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", addr, err)
	}
	ln, err := net.ListenTCP("tcp", a)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("listen on %s: the port is in use; stop what uses it, or choose another with --listen", addr)
	}
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", addr, err)
	}
	return &Server{
		ln: ln, handler: h, max: o.MaxConns, refused: o.Refused,
		conns: map[*Conn]struct{}{}, served: make(chan struct{}),
	}, nil
}

// Addr returns the address that the server listens on.
func (s *Server) Addr() net.Addr { return s.ln.Addr() }

// Bytes returns how many bytes were received and sent on all connections.
func (s *Server) Bytes() (in, out uint64) { return s.in.Load(), s.out.Load() }

// Compression returns what was compressed and expanded on all connections.
func (s *Server) Compression() Compression { return s.packers.load() }

// Serve accepts connections until Close. A failure to accept one (no more file descriptors, say) is waited out.
func (s *Server) Serve() {
	defer close(s.served)
	for {
		nc, err := s.ln.AcceptTCP()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			time.Sleep(50 * time.Millisecond)
			continue
		}
		s.accept(nc)
	}
}

func (s *Server) accept(nc *net.TCPConn) {
	raw, err := nc.SyscallConn()
	s.mu.Lock()
	full := len(s.conns) >= s.max
	if err != nil || full {
		s.mu.Unlock()
		nc.Close() // nothing was promised to it
		s.refused()
		return
	}
	s.last++
	c := &Conn{
		ID: s.last, From: nc.RemoteAddr().String(), server: s, handler: s.handler, nc: nc, raw: raw,
		session: wire.NewSession(&s.packers), wake: make(chan struct{}, 1), quit: make(chan struct{}),
	}
	s.conns[c] = struct{}{}
	s.mu.Unlock()
	s.handler.Opened(c)
	s.routines.Go(func() {
		c.read()
		s.mu.Lock()
		delete(s.conns, c)
		s.mu.Unlock()
	})
	s.routines.Go(c.write)
}

// Close stops accepting. Connections go on.
func (s *Server) Close() { s.ln.Close() }

// Wait returns when every connection has ended, closing those that are left when the deadline passes. It follows Close.
func (s *Server) Wait(deadline time.Duration) {
	<-s.served // a connection accepted at the last moment counts too
	timer := time.AfterFunc(deadline, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		for c := range s.conns {
			c.Abort()
		}
	})
	s.routines.Wait()
	timer.Stop()
}
