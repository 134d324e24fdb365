package client_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kimberlitedb/kimberlite-go/client"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// A connection that breaks after an append was sent leaves its outcome unknown. Sending it again could append twice.
func TestAppendInFlightIsNotRepeated(t *testing.T) {
	f := serve(t, func(n int, p *peer) {
		if n == 0 {
			p.next()
			return
		}
		for r := p.next(); r != nil; r = p.next() {
			if r.Body.Op() != wire.OpPing {
				t.Errorf("a %T came again", r.Body)
			}
			p.reply(r.ID, &wire.PingReply{})
		}
	})
	c := dial(t, f.addr())
	_, err := c.Append(within(t), 1, [][]byte{[]byte("x")})
	if !errors.Is(err, client.ErrUnknownOutcome) {
		t.Errorf("err = %v", err)
	}
	if err := c.Ping(within(t)); err != nil {
		t.Error(err)
	}
}

func TestReadInFlightIsRepeated(t *testing.T) {
	f := serve(t, func(n int, p *peer) {
		if r := p.next(); n == 3 {
			p.reply(r.ID, &wire.ReadEventsReply{HeadOffset: 5, OldestOffset: 5})
			p.next()
		}
	})
	c := dial(t, f.addr())
	page, err := c.Read(within(t), 1, 0)
	if err != nil || page.Head != 5 {
		t.Errorf("%+v, %v", page, err)
	}
}

// What the socket did not take was not carried out, so it is sent on the next connection; what it took is not.
func TestUnsentAppendsMoveToTheNextConnection(t *testing.T) {
	var mu sync.Mutex
	moved := map[byte]bool{}
	f := serve(t, func(n int, p *peer) {
		if n == 0 {
			for range 2 {
				p.next()
			}
			return // with the rest unread or not even sent
		}
		for r := p.next(); r != nil; r = p.next() {
			mu.Lock()
			moved[r.Body.(*wire.AppendEvents).Events[0][0]] = true
			mu.Unlock()
			p.reply(r.ID, &wire.AppendEventsReply{Count: 1})
		}
	})
	c := dial(t, f.addr())
	event := make([]byte, 1<<20)
	const count = 12 // more than the sockets hold
	var flights []*client.Pending
	for i := range byte(count) {
		event[0] = i
		flights = append(flights, c.AppendAsync(within(t), 1, [][]byte{event}))
	}
	unknown := 0
	var outcomes []error
	for _, p := range flights {
		_, err := p.Wait(within(t))
		outcomes = append(outcomes, err)
	}
	mu.Lock()
	defer mu.Unlock()
	for i, err := range outcomes {
		switch {
		case err == nil && moved[byte(i)]:
		case errors.Is(err, client.ErrUnknownOutcome) && !moved[byte(i)]:
			unknown++
		default:
			t.Errorf("append %d: %v, moved: %v", i, err, moved[byte(i)])
		}
	}
	if unknown < 2 || len(moved) == 0 {
		t.Errorf("%d outcomes unknown, %d appends moved", unknown, len(moved))
	}
}

func TestWaitEndsWithContextAndMayGoOn(t *testing.T) {
	answer := make(chan struct{})
	f := serve(t, func(_ int, p *peer) {
		r := p.next()
		<-answer
		p.reply(r.ID, &wire.AppendEventsReply{FirstOffset: 4, Count: 1})
		p.next()
	})
	c := dial(t, f.addr())
	p := c.AppendAsync(within(t), 1, [][]byte{nil})
	ctx, cancel := context.WithTimeout(within(t), 10*time.Millisecond)
	defer cancel()
	_, err := p.Wait(ctx)
	if !errors.Is(err, client.ErrUnknownOutcome) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("err = %v", err)
	}
	close(answer)
	if done, err := p.Wait(within(t)); err != nil || done.FirstOffset != 4 {
		t.Errorf("%+v, %v", done, err)
	}
}

// The reply to a call that was given up must not be taken for another's.
func TestReplyAfterGivingUpIsDropped(t *testing.T) {
	answer := make(chan struct{})
	f := serve(t, func(_ int, p *peer) {
		a := p.next()
		<-answer
		p.reply(a.ID, &wire.Error{Code: wire.InternalError})
		p.reply(p.next().ID, &wire.PingReply{})
		p.next()
	})
	c := dial(t, f.addr())
	ctx, cancel := context.WithTimeout(within(t), 10*time.Millisecond)
	defer cancel()
	if err := c.Ping(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("err = %v", err)
	}
	close(answer)
	if err := c.Ping(within(t)); err != nil {
		t.Error(err)
	}
}

// switchboard is a dialer that fails while it is down.
type switchboard struct {
	mu   sync.Mutex // guards down
	down bool
}

func (o *switchboard) set(down bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.down = down
}

func (o *switchboard) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.down {
		return nil, errors.New("no route")
	}
	return (&net.Dialer{}).DialContext(ctx, network, addr)
}

// An append that was given up before it was sent is not sent later.
func TestAppendIsWithdrawnWhileThereIsNoConnection(t *testing.T) {
	broken := make(chan struct{})
	f := serve(t, func(n int, p *peer) {
		if n == 0 {
			p.next()
			close(broken)
			return
		}
		for r := p.next(); r != nil; r = p.next() {
			if b, ok := r.Body.(*wire.AppendEvents); ok && string(b.Events[0]) == "withdrawn" {
				t.Error("the withdrawn append was sent")
			}
			p.reply(r.ID, &wire.AppendEventsReply{Count: 1})
		}
	})
	var o switchboard
	c := dial(t, f.addr(), client.WithDialer(o.dial))
	o.set(true)
	if _, err := c.Append(within(t), 1, [][]byte{[]byte("lost")}); !errors.Is(err, client.ErrUnknownOutcome) {
		t.Errorf("err = %v", err)
	}
	<-broken
	ctx, cancel := context.WithTimeout(within(t), 50*time.Millisecond)
	defer cancel()
	_, err := c.Append(ctx, 1, [][]byte{[]byte("withdrawn")})
	if !errors.Is(err, client.ErrUnavailable) || !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, client.ErrUnknownOutcome) {
		t.Errorf("err = %v", err)
	}
	waiting := c.AppendAsync(within(t), 1, [][]byte{[]byte("patient")})
	o.set(false)
	if _, err := waiting.Wait(within(t)); err != nil {
		t.Error(err)
	}
}

func TestPatienceEnds(t *testing.T) {
	f := serve(t, func(int, *peer) {})
	var o switchboard
	c := dial(t, f.addr(), client.WithDialer(o.dial), client.WithReconnect(0))
	o.set(true)
	for range 3 {
		if _, err := c.StreamByName(context.Background(), "x"); !errors.Is(err, client.ErrUnavailable) {
			t.Errorf("err = %v", err)
		}
	}
	if _, err := c.Append(context.Background(), 1, [][]byte{nil}); !errors.Is(err, client.ErrUnavailable) || errors.Is(err, client.ErrUnknownOutcome) {
		t.Errorf("err = %v", err)
	}
}

// A request that every connection breaks over is not sent for ever.
func TestPatienceEndsOverConnectionsOfNoUse(t *testing.T) {
	var conns atomic.Int32
	f := serve(t, func(_ int, p *peer) {
		conns.Add(1)
		p.next()
	})
	c := dial(t, f.addr(), client.WithReconnect(50*time.Millisecond))
	if err := c.Ping(context.Background()); !errors.Is(err, client.ErrUnavailable) {
		t.Errorf("err = %v", err)
	}
	if n := conns.Load(); n < 2 || n > 8 {
		t.Errorf("%d connections", n)
	}
}

func TestCloseWhileThereIsNoConnection(t *testing.T) {
	f := serve(t, func(int, *peer) {})
	var o switchboard
	c := dial(t, f.addr(), client.WithDialer(o.dial))
	o.set(true)
	ping := make(chan error, 1)
	go func() { ping <- c.Ping(context.Background()) }()
	p := c.AppendAsync(within(t), 1, [][]byte{nil})
	c.Close()
	if err := <-ping; !errors.Is(err, client.ErrClosed) {
		t.Errorf("ping: %v", err)
	}
	if _, err := p.Wait(within(t)); !errors.Is(err, client.ErrClosed) && !errors.Is(err, client.ErrUnknownOutcome) {
		t.Errorf("append: %v", err)
	}
}

// A server that breaks the protocol is not believed: reads fail, and an append's outcome is unknown.
func TestProtocolViolations(t *testing.T) {
	for _, test := range []struct {
		name   string
		answer func(p *peer, r *wire.Request)
	}{
		{"unknown id", func(p *peer, r *wire.Request) { p.reply(r.ID+1, &wire.PingReply{}) }},
		{"unsolicited", func(p *peer, r *wire.Request) { p.reply(0, &wire.PingReply{}) }},
		{"other kind", func(p *peer, r *wire.Request) { p.reply(r.ID, &wire.CreateTenantReply{}) }},
		{"garbage", func(p *peer, r *wire.Request) { fmt.Fprint(p.nc, "HTTP/1.1 400 Bad Request\r\n\r\n") }},
		{"damaged", func(p *peer, r *wire.Request) {
			frame := p.session.Append(nil, &wire.Response{RequestID: r.ID, Body: &wire.PingReply{}}, nil)
			frame[len(frame)-1] ^= 1
			p.nc.Write(frame)
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := serve(t, func(n int, p *peer) {
				if n > 1 {
					acknowledge(n, p)
					return
				}
				if r := p.next(); r != nil {
					test.answer(p, r)
					p.next()
				}
			})
			c := dial(t, f.addr())
			if err := c.Ping(within(t)); !errors.Is(err, client.ErrProtocol) {
				t.Errorf("ping: %v", err)
			}
			_, err := c.Append(within(t), 1, [][]byte{nil})
			if !errors.Is(err, client.ErrProtocol) || !errors.Is(err, client.ErrUnknownOutcome) {
				t.Errorf("append: %v", err)
			}
			if err := c.Ping(within(t)); err != nil {
				t.Errorf("afterwards: %v", err)
			}
		})
	}
}
