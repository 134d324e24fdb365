package client_test

import (
	"context"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/kimberlitedb/kimberlite-go/client"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// welcome is a handshake's reply by a server that knows everything.
var welcome = &wire.HandshakeReply{ServerVersion: wire.MaxVersion, Authenticated: true, Capabilities: wire.Features{LZ4: true, Zstd: true}.Capabilities()}

// peer is the server's end of one connection, after the handshake.
type peer struct {
	nc      net.Conn
	session *wire.Session
	arrived []*wire.Request
	out     []byte
	buf     [64 << 10]byte
}

// next returns the next request, or nil once the connection has ended.
func (p *peer) next() *wire.Request {
	for len(p.arrived) == 0 {
		n, err := p.nc.Read(p.buf[:])
		if p.arrived, _ = p.session.Feed(p.buf[:n], nil); err != nil && len(p.arrived) == 0 {
			return nil
		}
	}
	r := p.arrived[0]
	p.arrived = p.arrived[1:]
	return r
}

// reply sends a reply. Those to requests that arrived together leave together.
func (p *peer) reply(id uint64, body wire.ResponseBody) {
	p.out = p.session.Append(p.out, &wire.Response{RequestID: id, Body: body}, nil)
	if len(p.arrived) == 0 {
		p.nc.Write(p.out) // a client that is gone is met by next
		p.out = p.out[:0]
	}
}

// fake is a server whose every connection a script serves.
type fake struct {
	t      testing.TB
	ln     net.Listener
	script func(n int, p *peer)
	group  sync.WaitGroup
	mu     sync.Mutex // guards conns
	conns  []net.Conn
}

// serve starts a server on loopback. The script is run for each connection, numbered from 0, after the handshake; the
// connection ends when it returns.
func serve(t testing.TB, script func(n int, p *peer)) *fake {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &fake{t: t, ln: ln, script: script}
	f.group.Go(f.accept)
	t.Cleanup(f.stop)
	return f
}

func (f *fake) addr() string { return f.ln.Addr().String() }

func (f *fake) stop() {
	f.ln.Close()
	f.mu.Lock()
	for _, nc := range f.conns {
		nc.Close()
	}
	f.mu.Unlock()
	f.group.Wait()
}

func (f *fake) accept() {
	for n := 0; ; n++ {
		nc, err := f.ln.Accept()
		if err != nil {
			return
		}
		f.mu.Lock()
		f.conns = append(f.conns, nc)
		f.mu.Unlock()
		f.group.Go(func() {
			defer nc.Close()
			p := &peer{nc: nc, session: wire.NewSession(wire.Alone())}
			if hello := p.next(); hello != nil {
				p.reply(hello.ID, welcome)
				f.script(n, p)
			}
		})
	}
}

// acknowledge answers appends and pings until the connection ends.
func acknowledge(_ int, p *peer) {
	head := wire.Offset(0)
	for r := p.next(); r != nil; r = p.next() {
		switch b := r.Body.(type) {
		case *wire.AppendEvents:
			p.reply(r.ID, &wire.AppendEventsReply{FirstOffset: head, Count: uint32(len(b.Events)), Timestamp: 1, Position: 1})
			head += wire.Offset(len(b.Events))
		default:
			p.reply(r.ID, &wire.PingReply{})
		}
	}
}

func dial(t testing.TB, addr string, options ...client.Option) *client.Client {
	t.Helper()
	c, err := client.Dial(within(t), addr, options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// within bounds a test, generously.
func within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}
