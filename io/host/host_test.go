package host_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"testing"
	"time"

	"github.com/kimberlitedb/kimberlite-go/io/host"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// peer is a client made of the codec alone.
type peer struct {
	t     testing.TB
	nc    net.Conn
	s     *wire.ClientSession
	f     wire.Features
	id    uint64
	in    []wire.Message
	last  wire.Message
	codec wire.Codec
	buf   [64 << 10]byte

	packer wire.Packer
}

func start(t testing.TB, dir string, change ...func(*host.Config)) *host.Host {
	t.Helper()
	cfg := host.DefaultConfig(dir)
	cfg.Listen, cfg.Admin, cfg.Engine.Dev = "127.0.0.1:0", "127.0.0.1:0", true
	cfg.Log = slog.New(slog.DiscardHandler)
	for _, f := range change {
		f(&cfg)
	}
	h, err := host.Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func connect(t testing.TB, h *host.Host) *peer {
	t.Helper()
	nc, err := net.Dial("tcp", h.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	return &peer{t: t, nc: nc, s: wire.NewClientSession(wire.Alone())}
}

// send writes requests in one piece.
func (p *peer) send(bodies ...wire.RequestBody) {
	p.t.Helper()
	var buf []byte
	for _, b := range bodies {
		p.id++
		buf = wire.PackRequest(buf, &wire.Request{ID: p.id, Tenant: 1, Codec: p.codec, Body: b}, p.f, &p.packer)
	}
	if _, err := p.nc.Write(buf); err != nil {
		p.t.Fatal(err)
	}
}

// upgrade shakes hands for a version.
func (p *peer) upgrade(version uint16) {
	p.t.Helper()
	hello := &wire.Handshake{ClientVersion: version, Capabilities: wire.Features{LZ4: true, Zstd: true}.Capabilities()}
	if r, ok := p.call(hello).(*wire.HandshakeReply); !ok || r.ServerVersion != version {
		p.t.Fatalf("handshake: %+v", r)
	}
	p.f = wire.Agree(hello)
	p.s.SetFeatures(p.f)
}

// next returns the next reply's body.
func (p *peer) next() wire.ResponseBody {
	p.t.Helper()
	return p.nextMessage().(*wire.Response).Body
}

// nextMessage returns what the server sends next.
func (p *peer) nextMessage() wire.Message {
	p.t.Helper()
	for len(p.in) == 0 {
		n, err := p.nc.Read(p.buf[:])
		if err != nil {
			p.t.Fatal(err)
		}
		if p.in, err = p.s.Feed(p.buf[:n], p.in); err != nil {
			p.t.Fatal(err)
		}
	}
	p.last = p.in[0]
	p.in = p.in[1:]
	return p.last
}

func (p *peer) call(b wire.RequestBody) wire.ResponseBody {
	p.t.Helper()
	p.send(b)
	return p.next()
}

func TestAppendReadRestart(t *testing.T) {
	dir := t.TempDir()
	h := start(t, dir)
	p := connect(t, h)
	s := p.call(&wire.CreateStream{Name: "orders"}).(*wire.CreateStreamReply).Stream
	for i := range 100 {
		a := p.call(&wire.AppendEvents{Stream: s, Events: [][]byte{fmt.Appendf(nil, "event %d", i)}}).(*wire.AppendEventsReply)
		if a.FirstOffset != wire.Offset(i) {
			t.Fatalf("offset %d, want %d", a.FirstOffset, i)
		}
	}
	for restart := range 2 {
		r := p.call(&wire.ReadEvents{Stream: s, MaxBytes: 1 << 20}).(*wire.ReadEventsReply)
		if r.Events.Count != 100 || r.HeadOffset != 100 {
			t.Fatalf("restart %d: read %d events of %d", restart, r.Events.Count, r.HeadOffset)
		}
		if err := h.Close(); err != nil {
			t.Fatal(err)
		}
		h = start(t, dir)
		p = connect(t, h)
	}
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	h.Wait(canceled())
}

func canceled() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

func BenchmarkAppendOne(b *testing.B) {
	h := start(b, b.TempDir())
	p := connect(b, h)
	s := p.call(&wire.CreateStream{Name: "orders"}).(*wire.CreateStreamReply).Stream
	e := [][]byte{make([]byte, 256)}
	b.ResetTimer()
	for range b.N {
		p.call(&wire.AppendEvents{Stream: s, Events: e})
	}
	b.StopTimer()
	shown, _ := h.Snapshot()
	b.ReportMetric(float64(shown.Fsync.Sum)/float64(shown.Fsync.Count), "ns/fsync")
	h.Close()
}

func BenchmarkAppendPipelined(b *testing.B) {
	h := start(b, b.TempDir())
	p := connect(b, h)
	s := p.call(&wire.CreateStream{Name: "orders"}).(*wire.CreateStreamReply).Stream
	body := &wire.AppendEvents{Stream: s, Events: [][]byte{make([]byte, 256)}}
	hundred := make([]wire.RequestBody, 100)
	for i := range hundred {
		hundred[i] = body
	}
	b.ResetTimer()
	began := time.Now()
	out := 0
	for i := 0; i < b.N; i += 100 {
		for out > 900 {
			p.next()
			out--
		}
		p.send(hundred...)
		out += 100
	}
	for ; out > 0; out-- {
		p.next()
	}
	b.ReportMetric(float64(b.N)/time.Since(began).Seconds(), "appends/s")
	b.StopTimer()
	h.Close()
}
