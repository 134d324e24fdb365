package client_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"sync"
	"testing"

	"github.com/kimberlitedb/kimberlite-go/client"
	"github.com/kimberlitedb/kimberlite-go/internal/hosttest"
	"github.com/kimberlitedb/kimberlite-go/io/host"
)

// frailDialer opens connections that break after some bytes, more or less anywhere.
type frailDialer struct {
	mu  sync.Mutex // guards rng
	rng *rand.Rand
}

func (d *frailDialer) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	nc, err := (&net.Dialer{}).DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return &frailConn{Conn: nc, write: d.rng.IntN(20_000), read: d.rng.IntN(20_000)}, nil
}

// frailConn takes and gives so many bytes.
type frailConn struct {
	net.Conn
	mu          sync.Mutex // guards what follows
	write, read int
}

var errFrail = errors.New("the connection broke")

func (c *frailConn) Write(p []byte) (int, error) {
	c.mu.Lock()
	n := min(len(p), c.write)
	c.write -= n
	c.mu.Unlock()
	n, err := c.Conn.Write(p[:n])
	if err == nil && n < len(p) {
		err = errors.Join(errFrail, c.Conn.Close())
	}
	return n, err
}

func (c *frailConn) Read(p []byte) (int, error) {
	c.mu.Lock()
	n := min(len(p), c.read)
	c.mu.Unlock()
	if n == 0 {
		return 0, errors.Join(errFrail, c.Conn.Close())
	}
	n, err := c.Conn.Read(p[:n])
	c.mu.Lock()
	c.read -= n
	c.mu.Unlock()
	return n, err
}

// A writer that does what the documentation says when an outcome is unknown stores every event once and in order,
// however often its connection breaks, and readers never notice the breaks.
func TestExactlyOnceOverBreakingConnections(t *testing.T) {
	addr := hosttest.Server(t)
	ctx := within(t)
	frail := &frailDialer{rng: rand.New(rand.NewPCG(1, 2))}
	var c *client.Client
	for err := errFrail; err != nil; { // the handshake may break, too
		c, err = client.Dial(ctx, addr, client.WithDialer(frail.dial))
	}
	t.Cleanup(func() { c.Close() })
	const streams, events = 4, 300
	var group sync.WaitGroup
	var unknown [streams]int
	for s := range streams {
		group.Go(func() {
			id, err := create(ctx, c, fmt.Sprintf("s%d", s))
			for next := client.Offset(0); err == nil && next < events; {
				_, err = c.Append(ctx, id, [][]byte{fmt.Append(nil, next)}, client.ExpectOffset(next))
				next++
				late := unknown[s] > 0 && errors.Is(err, client.ErrOffsetMismatch) // what was in doubt arrived after the head was asked for
				if late || errors.Is(err, client.ErrUnknownOutcome) {
					unknown[s]++
					var info client.StreamInfo
					info, err = c.StreamInfo(ctx, id)
					next = info.Head
				}
			}
			if err != nil {
				t.Errorf("stream %d: %v", s, err)
				return
			}
			count := 0
			for e, err := range c.Events(ctx, id, 0) {
				if err != nil || string(e.Data) != fmt.Sprint(e.Offset) {
					t.Fatalf("stream %d: event %d is %q, %v", s, e.Offset, e.Data, err)
				}
				count++
			}
			if count != events {
				t.Errorf("stream %d has %d events, want %d", s, count, events)
			}
		})
	}
	group.Wait()
	if unknown == [streams]int{} {
		t.Error("no outcome was unknown; the test shows nothing")
	}
}

// With keys there is nothing to find out: the client sends again what may have been lost, the server knows it again.
func TestKeyedExactlyOnceOverBreakingConnections(t *testing.T) {
	addr := hosttest.Server(t)
	ctx := within(t)
	frail := &frailDialer{rng: rand.New(rand.NewPCG(3, 4))}
	var c *client.Client
	for err := errFrail; err != nil; {
		c, err = client.Dial(ctx, addr, client.WithDialer(frail.dial), client.WithAutoKeys())
	}
	t.Cleanup(func() { c.Close() })
	id, err := create(ctx, c, "s")
	if err != nil {
		t.Fatal(err)
	}
	const events = 1000
	window := make([]*client.Pending, 16)
	duplicates := 0
	wait := func(p *client.Pending) {
		if p == nil {
			return
		}
		done, err := p.Wait(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if done.Duplicate {
			duplicates++
		}
	}
	for i := range events {
		wait(window[i%len(window)])
		window[i%len(window)] = c.AppendAsync(ctx, id, [][]byte{fmt.Append(nil, i)})
	}
	for _, p := range window {
		wait(p)
	}
	count := 0
	for e, err := range dial(t, addr).Events(ctx, id, 0) {
		if err != nil || string(e.Data) != fmt.Sprint(e.Offset) {
			t.Fatalf("event %d is %q, %v", e.Offset, e.Data, err)
		}
		count++
	}
	if count != events || duplicates == 0 {
		t.Errorf("%d events, %d duplicates", count, duplicates)
	}
}

// create makes a stream, whether or not a first attempt whose outcome is unknown made it.
func create(ctx context.Context, c *client.Client, name string) (client.StreamID, error) {
	for {
		id, err := c.CreateStream(ctx, name)
		if errors.Is(err, client.ErrStreamExists) {
			info, err := c.StreamByName(ctx, name)
			return info.ID, err
		}
		if !errors.Is(err, client.ErrUnknownOutcome) {
			return id, err
		}
	}
}

func TestListsArePagedThrough(t *testing.T) {
	c := dial(t, hosttest.Server(t))
	ctx := within(t)
	const streams = 2500 // more than two pages
	var group sync.WaitGroup
	for part := range 50 {
		group.Go(func() {
			for i := part; i < streams; i += 50 {
				if _, err := c.CreateStream(ctx, fmt.Sprintf("s%d", i)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	last, count := client.StreamID(0), 0
	for s, err := range c.Streams(ctx) {
		if err != nil || s.ID <= last {
			t.Fatalf("stream %d after %d, %v", s.ID, last, err)
		}
		last = s.ID
		count++
	}
	if count != streams {
		t.Errorf("%d streams, want %d", count, streams)
	}
	if err := c.CreateTenant(ctx, 9, "nine"); err != nil {
		t.Error(err)
	}
	var names []string
	for tenant, err := range c.Tenants(ctx) {
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, fmt.Sprintf("%d %s %d", tenant.ID, tenant.Name, tenant.Streams))
	}
	if got := fmt.Sprint(names); got != "[1 dev 2500 9 nine 0]" {
		t.Error(got)
	}
}

// The client goes on with a server that was restarted, at the same address, over the same data.
func TestClientOutlivesServerRestart(t *testing.T) {
	dir := t.TempDir()
	addr, stop, err := hosttest.Start(dir)
	if err != nil {
		t.Fatal(err)
	}
	c := dial(t, addr)
	ctx := within(t)
	id, err := c.CreateStream(ctx, "orders")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Append(ctx, id, [][]byte{[]byte("before")}); err != nil {
		t.Fatal(err)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	cfg := host.DefaultConfig(dir)
	cfg.Listen, cfg.Admin, cfg.Log = addr, "", slog.New(slog.NewTextHandler(io.Discard, nil))
	h, err := host.Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	done, err := c.Append(ctx, id, [][]byte{[]byte("after")})
	if errors.Is(err, client.ErrUnknownOutcome) { // it was sent into the dead connection
		done, err = c.Append(ctx, id, [][]byte{[]byte("after")}, client.ExpectOffset(1))
	}
	if err != nil || done.FirstOffset != 1 {
		t.Errorf("%+v, %v", done, err)
	}
	page, err := c.Read(ctx, id, 0, client.MaxEvents(1))
	if err != nil || len(page.Events) != 1 || string(page.Events[0].Data) != "before" || page.Next != 1 || page.Head != 2 {
		t.Errorf("%+v, %v", page, err)
	}
}
