package client_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kimberlitedb/kimberlite-go/client"
	"github.com/kimberlitedb/kimberlite-go/wire"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestHandshakeCarriesTenantTokenAndCapabilities(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	got := make(chan *wire.Request, 1)
	var group sync.WaitGroup
	group.Go(func() {
		nc, err := ln.Accept()
		if err != nil {
			return
		}
		defer nc.Close()
		p := &peer{nc: nc, session: wire.NewSession(wire.Alone())}
		r := p.next()
		p.reply(r.ID, &wire.HandshakeReply{ServerVersion: 1})
		got <- r
	})
	dial(t, ln.Addr().String(), client.WithTenant(7), client.WithToken("secret"))
	group.Wait()
	r := <-got
	hello := r.Body.(*wire.Handshake)
	if r.Tenant != 7 || hello.AuthToken.Value != "secret" || hello.ClientVersion != wire.MaxVersion || len(hello.Capabilities) != 5 {
		t.Errorf("handshake of tenant %d: %+v", r.Tenant, hello)
	}
}

func TestDialOfNobodyIsUnavailable(t *testing.T) {
	f := serve(t, acknowledge)
	f.stop()
	_, err := client.Dial(within(t), f.addr())
	if !errors.Is(err, client.ErrUnavailable) {
		t.Errorf("err = %v", err)
	}
}

func TestDialEndsWithContext(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0") // accepts, never answers
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	ctx, cancel := context.WithTimeout(within(t), 20*time.Millisecond)
	defer cancel()
	_, err = client.Dial(ctx, ln.Addr().String())
	if !errors.Is(err, client.ErrUnavailable) {
		t.Errorf("err = %v", err)
	}
}

func TestDialRefusedByHandshake(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	var group sync.WaitGroup
	group.Go(func() {
		nc, err := ln.Accept()
		if err != nil {
			return
		}
		defer nc.Close()
		p := &peer{nc: nc, session: wire.NewSession(wire.Alone())}
		p.reply(p.next().ID, &wire.Error{Code: wire.AuthenticationFailed, Message: "no such token"})
	})
	_, err = client.Dial(within(t), ln.Addr().String())
	group.Wait()
	if !errors.Is(err, client.ErrAuthenticationFailed) || !strings.Contains(err.Error(), "no such token") {
		t.Errorf("err = %v", err)
	}
}

func TestErrorsMatchTheirSentinels(t *testing.T) {
	f := serve(t, func(_ int, p *peer) {
		p.reply(p.next().ID, &wire.Error{Code: wire.OffsetMismatch, Message: "expected 1, is 3", CurrentOffset: wire.Some(wire.Offset(3))})
		p.reply(p.next().ID, &wire.Error{Code: wire.StorageFull, Message: "disk full"})
		p.next()
	})
	c := dial(t, f.addr())
	_, err := c.Append(within(t), 1, [][]byte{nil}, client.ExpectOffset(1))
	var e *client.Error
	if !errors.Is(err, client.ErrOffsetMismatch) || !errors.As(err, &e) || e.CurrentOffset != wire.Some(wire.Offset(3)) {
		t.Errorf("err = %#v", err)
	}
	if errors.Is(err, client.ErrStreamNotFound) || errors.Is(err, client.ErrUnknownOutcome) {
		t.Errorf("%v matches other sentinels", err)
	}
	if err := c.Ping(within(t)); !errors.Is(err, client.ErrStorageFull) || !errors.As(err, &e) || !e.Retryable {
		t.Errorf("err = %#v", err)
	}
}

func TestPipelineKeepsOrder(t *testing.T) {
	c := dial(t, serve(t, acknowledge).addr())
	event := []byte("0")
	var flights []*client.Pending
	for range 10_000 {
		flights = append(flights, c.AppendAsync(within(t), 1, [][]byte{event, event}))
	}
	for i, p := range flights {
		done, err := p.Wait(within(t))
		if err != nil || done.FirstOffset != client.Offset(2*i) || done.Count != 2 {
			t.Fatalf("append %d: %+v, %v", i, done, err)
		}
	}
}

func TestManyGoroutinesShareAClient(t *testing.T) {
	c := dial(t, serve(t, acknowledge).addr(), client.WithMaxInflight(8))
	ctx := within(t)
	var group sync.WaitGroup
	var seen [3200]atomic.Bool
	for range 32 {
		group.Go(func() {
			for range 100 {
				done, err := c.Append(ctx, 1, [][]byte{[]byte("x")})
				if err != nil || seen[done.FirstOffset].Swap(true) {
					t.Errorf("%+v, %v", done, err)
				}
			}
		})
	}
	group.Wait()
}

func TestMaxInflightIsKept(t *testing.T) {
	ready := make(chan struct{})
	f := serve(t, func(_ int, p *peer) {
		a, b := p.next(), p.next()
		p.nc.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
		if third := p.next(); third != nil {
			t.Errorf("a third request was sent")
		}
		p.nc.SetReadDeadline(time.Time{})
		close(ready)
		p.reply(a.ID, &wire.PingReply{})
		p.reply(b.ID, &wire.PingReply{})
		acknowledge(0, p)
	})
	c := dial(t, f.addr(), client.WithMaxInflight(2))
	var group sync.WaitGroup
	for range 3 {
		group.Go(func() {
			if err := c.Ping(within(t)); err != nil {
				t.Error(err)
			}
		})
	}
	ctx, cancel := context.WithCancel(within(t))
	group.Go(func() {
		<-ready
		cancel()
	})
	c.Ping(ctx) // one of the four gives up or is answered; it must not cost another its turn
	group.Wait()
}

func TestCloseEndsEverything(t *testing.T) {
	arrived := make(chan struct{}, 2)
	f := serve(t, func(_ int, p *peer) {
		for p.next() != nil {
			arrived <- struct{}{}
		}
	})
	c := dial(t, f.addr())
	p := c.AppendAsync(within(t), 1, [][]byte{nil})
	<-arrived
	ping := make(chan error, 1)
	go func() { ping <- c.Ping(context.Background()) }()
	<-arrived
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if _, err := p.Wait(within(t)); !errors.Is(err, client.ErrUnknownOutcome) || !errors.Is(err, client.ErrClosed) {
		t.Errorf("append: %v", err)
	}
	if err := <-ping; !errors.Is(err, client.ErrClosed) || errors.Is(err, client.ErrUnknownOutcome) {
		t.Errorf("ping: %v", err)
	}
	if err := c.Sync(within(t)); !errors.Is(err, client.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
	c.Close()
}

// What would make the server close the connection is refused before it is sent.
func TestUnsendableIsRefusedHere(t *testing.T) {
	c := dial(t, serve(t, acknowledge).addr())
	ctx := within(t)
	_, name := c.CreateStream(ctx, "\xff")
	_, region := c.CreateStream(ctx, "x", client.WithRegion(wire.Region{Kind: wire.RegionCustom, Custom: "\xff"}))
	_, size := c.Append(ctx, 1, [][]byte{make([]byte, 9<<20), make([]byte, 9<<20)})
	_, year := c.Append(ctx, 1, [][]byte{nil}, client.Timestamps(time.Date(3000, 1, 1, 0, 0, 0, 0, time.UTC)))
	for _, err := range []error{name, region, size, year, c.CreateTenant(ctx, 1, "")} {
		if !errors.Is(err, client.ErrInvalidRequest) {
			t.Errorf("err = %v", err)
		}
	}
	if err := c.Ping(ctx); err != nil {
		t.Error(err)
	}
}

func TestMisuseOfOptions(t *testing.T) {
	for _, o := range []client.Option{
		client.WithMaxInflight(0), client.WithToken("\xff"),
		client.WithProtocolVersion(0), client.WithProtocolVersion(wire.MaxVersion + 1), client.WithCompression(9),
	} {
		if c, err := client.Dial(within(t), "127.0.0.1:1", o); err == nil || errors.Is(err, client.ErrUnavailable) {
			t.Errorf("%v, %v", c, err)
		}
	}
}
