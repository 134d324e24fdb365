package host_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/kimberlitedb/kimberlite-go/engine"
	"github.com/kimberlitedb/kimberlite-go/io/host"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// ended waits until the server closes the connection, and reports whether it sent something before.
func (p *peer) ended() (silent bool) {
	p.t.Helper()
	p.nc.SetReadDeadline(time.Now().Add(20 * time.Second))
	n, err := p.nc.Read(p.buf[:])
	if errors.Is(err, os.ErrDeadlineExceeded) {
		p.t.Fatal("the connection was not closed")
	}
	return n == 0
}

// raw writes bytes as they are and returns the next reply.
func (p *peer) raw(b []byte) wire.ResponseBody {
	p.t.Helper()
	if _, err := p.nc.Write(b); err != nil {
		p.t.Fatal(err)
	}
	return p.next()
}

// metric reads one metric's value off the admin port.
func metric(t testing.TB, h *host.Host, name string) string {
	t.Helper()
	r, err := http.Get("http://" + h.AdminAddr() + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

func TestGarbageClosesWithoutAReplyAndIsCounted(t *testing.T) {
	h := start(t, t.TempDir())
	defer h.Close()
	frame := wire.AppendRequest(nil, &wire.Request{ID: 1, Tenant: 1, Body: &wire.Sync{}}, wire.Features{})
	for reason, bad := range map[string][]byte{
		"magic":   []byte("GET / HTTP/1.1\r\n\r\n"),
		"version": append([]byte{0x56, 0x44, 0x42, 0x20, 0, 9}, frame[6:]...),
		"length":  append([]byte{0x56, 0x44, 0x42, 0x20, 0, 1, 0xff, 0xff, 0xff, 0xff}, frame[10:]...),
		"crc":     append(append([]byte{}, frame[:len(frame)-1]...), 0x55),
		"decode":  wire.AppendFrame(nil, []byte{1, 2, 3}),
	} {
		p := connect(t, h)
		if _, err := p.nc.Write(bad); err != nil {
			t.Fatal(err)
		}
		if !p.ended() {
			t.Errorf("%s: the server answered", reason)
		}
		if got := metric(t, h, fmt.Sprintf("kimberlite_wire_faults_total{reason=%q}", reason)); got != "1" {
			t.Errorf("%s: counted %q times", reason, got)
		}
	}
}

// Requests before a fault were sent in good faith: they are answered.
func TestRequestsBeforeAFaultAreAnswered(t *testing.T) {
	h := start(t, t.TempDir())
	defer h.Close()
	p := connect(t, h)
	good := wire.AppendRequest(nil, &wire.Request{ID: 7, Tenant: 1, Body: &wire.CreateStream{Name: "a"}}, wire.Features{})
	if _, err := p.nc.Write(append(good, "garbage that is long enough"...)); err != nil {
		t.Fatal(err)
	}
	if _, ok := p.next().(*wire.CreateStreamReply); !ok {
		t.Fatal("the stream was not created")
	}
	if !p.ended() {
		t.Fatal("the server sent more than the reply")
	}
}

func TestSilentClientsAreClosedInTime(t *testing.T) {
	h := start(t, t.TempDir(), func(c *host.Config) {
		c.Loop.HandshakeTimeout, c.Loop.IdleTimeout = engine.Second/2, engine.Second/2
	})
	defer h.Close()
	silent, half, idle := connect(t, h), connect(t, h), connect(t, h)
	half.nc.Write([]byte{0x56, 0x44})
	idle.call(&wire.CreateStream{Name: "a"})
	if !silent.ended() || !half.ended() || !idle.ended() {
		t.Fatal("a client that sent nothing was answered")
	}
	if got := metric(t, h, `kimberlite_disconnects_total{reason="handshake"}`); got != "2" {
		t.Errorf("handshake timeouts: %q", got)
	}
	if got := metric(t, h, `kimberlite_disconnects_total{reason="idle"}`); got != "1" {
		t.Errorf("idle timeouts: %q", got)
	}
}

// A client that sends one byte at a time and one that never reads hold nobody up, and the latter is closed.
func TestSlowClientsHoldNobodyUp(t *testing.T) {
	h := start(t, t.TempDir(), func(c *host.Config) { c.Loop.StallTimeout = engine.Second })
	defer h.Close()
	p := connect(t, h)
	s := p.call(&wire.CreateStream{Name: "a"}).(*wire.CreateStreamReply).Stream
	big := make([]byte, 1<<20)
	for range 8 {
		p.call(&wire.AppendEvents{Stream: s, Events: [][]byte{big}})
	}
	deaf := connect(t, h)
	for range 64 {
		deaf.send(&wire.ReadEvents{Stream: s, MaxBytes: 8 << 20})
	}
	slow := connect(t, h)
	frame := wire.AppendRequest(nil, &wire.Request{ID: 1, Tenant: 1, Body: &wire.AppendEvents{Stream: s, Events: [][]byte{[]byte("x")}}}, wire.Features{})
	last := len(frame) - 1
	for i := range last {
		if _, err := slow.nc.Write(frame[i : i+1]); err != nil {
			t.Fatal(err)
		}
		if a, ok := p.call(&wire.AppendEvents{Stream: s, Events: [][]byte{[]byte("y")}}).(*wire.AppendEventsReply); !ok || a.FirstOffset != wire.Offset(8+i) {
			t.Fatalf("byte %d: %+v", i, a)
		}
	}
	if a, ok := slow.raw(frame[last:]).(*wire.AppendEventsReply); !ok || a.FirstOffset != wire.Offset(8+last) {
		t.Fatalf("the slow client got %+v", a)
	}
	for metric(t, h, `kimberlite_disconnects_total{reason="stalled"}`) != "1" {
		p.call(&wire.Sync{})
	}
}

func TestConnectionsBeyondTheLimitAreClosed(t *testing.T) {
	h := start(t, t.TempDir(), func(c *host.Config) { c.MaxConns = 2 })
	defer h.Close()
	for range 2 {
		connect(t, h).call(&wire.Sync{})
	}
	if !connect(t, h).ended() {
		t.Fatal("served beyond the limit")
	}
	if got := metric(t, h, "kimberlite_connections_refused_total"); got != "1" {
		t.Errorf("refused: %q", got)
	}
}

// What was accepted before a shutdown is answered before the connection ends, and what was answered is kept.
func TestShutdownFinishesWhatItAccepted(t *testing.T) {
	dir := t.TempDir()
	h := start(t, dir)
	p := connect(t, h)
	s := p.call(&wire.CreateStream{Name: "a"}).(*wire.CreateStreamReply).Stream
	for range 100 {
		p.send(&wire.AppendEvents{Stream: s, Events: [][]byte{[]byte("x")}})
	}
	p.next() // the server has begun
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	for {
		n, err := p.nc.Read(p.buf[:])
		if err != nil {
			break
		}
		if p.in, err = p.s.Feed(p.buf[:n], p.in); err != nil {
			t.Fatal(err)
		}
	}
	answered := 1 + len(p.in)
	h = start(t, dir)
	defer h.Close()
	if r := connect(t, h).call(&wire.ReadEvents{Stream: s, MaxBytes: 1 << 20}).(*wire.ReadEventsReply); r.Events.Count != answered {
		t.Fatalf("%d appends were answered, and %d are there", answered, r.Events.Count)
	}
}

func TestSecondOwnerAndPortInUseAreSaidClearly(t *testing.T) {
	dir := t.TempDir()
	h := start(t, dir)
	defer h.Close()
	_, err := host.Start(host.DefaultConfig(dir))
	if err == nil || !strings.Contains(err.Error(), "in use by another kimberlite") {
		t.Errorf("second owner: %v", err)
	}
	cfg := host.DefaultConfig(t.TempDir())
	cfg.Listen = h.Addr()
	_, err = host.Start(cfg)
	if err == nil || !strings.Contains(err.Error(), "--listen") {
		t.Errorf("port in use: %v", err)
	}
}

func TestManyConnections(t *testing.T) {
	const n = 2000
	h := start(t, t.TempDir())
	defer h.Close()
	s := connect(t, h).call(&wire.CreateStream{Name: "a"}).(*wire.CreateStreamReply).Stream
	peers := make([]*peer, n)
	for i := range peers {
		nc, err := net.Dial("tcp", h.Addr())
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		peers[i] = &peer{t: t, nc: nc, s: wire.NewClientSession(wire.Alone())}
		peers[i].send(&wire.AppendEvents{Stream: s, Events: [][]byte{[]byte("x")}})
	}
	seen := map[wire.Offset]bool{}
	for _, p := range peers {
		seen[p.next().(*wire.AppendEventsReply).FirstOffset] = true
	}
	if len(seen) != n {
		t.Fatalf("%d offsets for %d appends", len(seen), n)
	}
}
