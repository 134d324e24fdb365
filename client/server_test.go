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
	p.flush()
}

// flush sends what waits, unless there are more requests that arrived together.
func (p *peer) flush() {
	if len(p.arrived) == 0 {
		p.nc.Write(p.out) // a client that is gone is met by next
		p.out = p.out[:0]
	}
}

// push sends a message that nobody asked for, and what waits before it.
func (p *peer) push(body wire.PushBody) {
	p.out = p.session.Append(p.out, &wire.Push{Body: body}, nil)
	p.nc.Write(p.out) // a client that is gone is met by next
	p.out = p.out[:0]
}

// greet answers the handshake as a server that knows no version after the given one.
func (p *peer) greet(version uint16) bool {
	r := p.next()
	if r == nil {
		return false
	}
	hello := *r.Body.(*wire.Handshake)
	hello.ClientVersion = min(hello.ClientVersion, version)
	p.session = wire.NewSession(wire.Alone()) // it goes by the version that a handshake asks for
	p.session.Feed(wire.AppendRequest(nil, &wire.Request{ID: r.ID, Body: &hello}, wire.Features{}), nil)
	answer := *welcome
	answer.ServerVersion = hello.ClientVersion
	p.reply(r.ID, &answer)
	return true
}

// fake is a server whose every connection a script serves.
type fake struct {
	t        testing.TB
	ln       net.Listener
	versions []uint16 // of the first connections; later ones have the last of them
	script   func(n int, p *peer)
	group    sync.WaitGroup
	mu       sync.Mutex // guards conns
	conns    []net.Conn
}

// serve starts a server on loopback. The script is run for each connection, numbered from 0, after the handshake; the
// connection ends when it returns.
func serve(t testing.TB, script func(n int, p *peer)) *fake {
	t.Helper()
	return serveVersions(t, []uint16{wire.MaxVersion}, script)
}

// serveVersions starts a server that knows another version on each connection.
func serveVersions(t testing.TB, versions []uint16, script func(n int, p *peer)) *fake {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &fake{t: t, ln: ln, versions: versions, script: script}
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
			if p.greet(f.versions[min(n, len(f.versions)-1)]) {
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
