package client_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/kimberlitedb/kimberlite-go/client"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// ledger is a server that appends a batch once for each key, and forgets to say so at first.
type ledger struct {
	mu   sync.Mutex // guards what follows
	keys map[wire.Key]string
	log  []string
}

// take appends a batch and makes the reply.
func (l *ledger) take(b *wire.AppendEvents) *wire.AppendEventsReply {
	l.mu.Lock()
	defer l.mu.Unlock()
	data := string(bytes.Join(b.Events, []byte(",")))
	if l.keys == nil {
		l.keys = map[wire.Key]string{}
	}
	before, known := l.keys[b.IdempotencyKey.Value]
	if known = known && b.IdempotencyKey.Set; !known {
		l.keys[b.IdempotencyKey.Value] = data
		l.log = append(l.log, data)
	} else if before != data {
		panic(fmt.Sprintf("%q came under the key of %q", data, before))
	}
	return &wire.AppendEventsReply{Count: uint32(len(b.Events)), Duplicate: known}
}

// Appends with keys go on over connections that break at any point, each once and in order.
func TestKeyedAppendsAreSentAgain(t *testing.T) {
	var l ledger
	f := serve(t, func(n int, p *peer) {
		for i := 0; ; i++ {
			r := p.next()
			if r == nil {
				return
			}
			reply := l.take(r.Body.(*wire.AppendEvents))
			if n < 4 && i == 2*n+1 {
				return // it was appended, and nobody hears of it
			}
			p.reply(r.ID, reply)
		}
	})
	c := dial(t, f.addr(), client.WithAutoKeys())
	event := make([]byte, 4)
	var flights []*client.Pending
	for i := range 40 {
		copy(event, fmt.Sprintf("%04d", i)) // the client must have its own copy
		flights = append(flights, c.AppendAsync(within(t), 1, [][]byte{event}))
	}
	duplicates := 0
	for i, p := range flights {
		done, err := p.Wait(within(t))
		if err != nil {
			t.Errorf("append %d: %v", i, err)
		}
		if done.Duplicate {
			duplicates++
		}
	}
	if len(l.log) != 40 || duplicates == 0 {
		t.Errorf("%d batches in the log, %d duplicates", len(l.log), duplicates)
	}
	for i, s := range l.log {
		if s != fmt.Sprintf("%04d", i) {
			t.Fatalf("batch %d is %s", i, s)
		}
	}
}

// Beside appends with keys, those without still fail with an unknown outcome.
func TestOnlyKeyedAppendsAreSentAgain(t *testing.T) {
	f := serve(t, func(n int, p *peer) {
		if n == 0 {
			p.next()
			p.next()
			return
		}
		for r := p.next(); r != nil; r = p.next() {
			if b := r.Body.(*wire.AppendEvents); !b.IdempotencyKey.Set {
				t.Errorf("%q came again", b.Events[0])
			}
			p.reply(r.ID, &wire.AppendEventsReply{Count: 1, Duplicate: true})
		}
	})
	c := dial(t, f.addr())
	bare := c.AppendAsync(within(t), 1, [][]byte{[]byte("bare")})
	keyed := c.AppendAsync(within(t), 1, [][]byte{[]byte("keyed")}, client.IdempotencyKey(client.NewKey()))
	if _, err := bare.Wait(within(t)); !errors.Is(err, client.ErrUnknownOutcome) {
		t.Errorf("bare: %v", err)
	}
	if done, err := keyed.Wait(within(t)); err != nil || !done.Duplicate {
		t.Errorf("keyed: %+v, %v", done, err)
	}
}

// Where the server does not come back, an append that was sent is of unknown outcome, key or not; one that was never
// sent was not carried out.
func TestKeyedAppendIsDoubtfulOnceSent(t *testing.T) {
	for _, end := range []struct {
		name  string
		cause error
		of    func(c *client.Client, o *switchboard)
	}{
		{"patience", client.ErrUnavailable, func(*client.Client, *switchboard) {}},
		{"close", client.ErrClosed, func(c *client.Client, _ *switchboard) { c.Close() }},
	} {
		t.Run(end.name, func(t *testing.T) {
			var o switchboard
			broken := make(chan struct{})
			f := serve(t, func(_ int, p *peer) {
				p.next()
				o.set(true)
				close(broken)
			})
			c := dial(t, f.addr(), client.WithDialer(o.dial), client.WithReconnect(300*time.Millisecond), client.WithAutoKeys())
			sent := c.AppendAsync(within(t), 1, [][]byte{[]byte("sent")})
			<-broken
			ctx, cancel := context.WithTimeout(within(t), 50*time.Millisecond)
			defer cancel()
			if _, err := sent.Wait(ctx); !errors.Is(err, client.ErrUnknownOutcome) || !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("given up: %v", err)
			}
			unsent := c.AppendAsync(within(t), 1, [][]byte{[]byte("unsent")})
			end.of(c, &o)
			if _, err := sent.Wait(within(t)); !errors.Is(err, client.ErrUnknownOutcome) || !errors.Is(err, end.cause) {
				t.Errorf("sent: %v", err)
			}
			if _, err := unsent.Wait(within(t)); errors.Is(err, client.ErrUnknownOutcome) || !errors.Is(err, end.cause) {
				t.Errorf("unsent: %v", err)
			}
		})
	}
}

// A server that breaks the protocol is not given the append again.
func TestKeyedAppendIsDoubtfulAfterAViolation(t *testing.T) {
	f := serve(t, func(_ int, p *peer) {
		if r := p.next(); r != nil {
			p.reply(r.ID, &wire.PingReply{})
			p.next()
		}
	})
	c := dial(t, f.addr(), client.WithAutoKeys())
	_, err := c.Append(within(t), 1, [][]byte{nil})
	if !errors.Is(err, client.ErrProtocol) || !errors.Is(err, client.ErrUnknownOutcome) {
		t.Errorf("err = %v", err)
	}
}

// A change of a stream is not made again: it could undo what somebody else has done since.
func TestChangesInFlightAreNotRepeated(t *testing.T) {
	for name, change := range changes {
		t.Run(name, func(t *testing.T) {
			f := serve(t, func(n int, p *peer) {
				if r := p.next(); n > 0 && r != nil {
					t.Errorf("a %T came again", r.Body)
				}
			})
			c := dial(t, f.addr())
			if err := change.do(within(t), c); !errors.Is(err, client.ErrUnknownOutcome) {
				t.Errorf("err = %v", err)
			}
		})
	}
}

// What is sent again is what was sent, although the buffers that it was written from have been used for others since.
func TestResentFramesAreTheSame(t *testing.T) {
	arrived := make(chan struct{})
	var again []string
	done := make(chan struct{})
	f := serve(t, func(n int, p *peer) {
		if n == 0 {
			for range 6 {
				p.next()
				arrived <- struct{}{}
			}
			return
		}
		for range 6 {
			r := p.next()
			again = append(again, string(r.Body.(*wire.AppendEvents).Events[0]))
			p.reply(r.ID, &wire.AppendEventsReply{Count: 1})
		}
		close(done)
	})
	c := dial(t, f.addr(), client.WithAutoKeys())
	var flights []*client.Pending
	for i := range 6 {
		flights = append(flights, c.AppendAsync(within(t), 1, [][]byte{fmt.Append(nil, i)}))
		<-arrived
	}
	for _, p := range flights {
		if _, err := p.Wait(within(t)); err != nil {
			t.Error(err)
		}
	}
	<-done
	if got := fmt.Sprint(again); got != "[0 1 2 3 4 5]" {
		t.Error(got)
	}
}

// Close leaves the outcome of what is under way unknown, key or not.
func TestCloseLeavesKeyedAppendsInDoubt(t *testing.T) {
	arrived := make(chan struct{})
	f := serve(t, func(_ int, p *peer) {
		p.next()
		close(arrived)
		p.next()
	})
	c := dial(t, f.addr(), client.WithAutoKeys())
	p := c.AppendAsync(within(t), 1, [][]byte{nil})
	<-arrived
	c.Close()
	if _, err := p.Wait(within(t)); !errors.Is(err, client.ErrUnknownOutcome) || !errors.Is(err, client.ErrClosed) {
		t.Errorf("err = %v", err)
	}
}

// deafConn takes the handshake and nothing else.
type deafConn struct {
	net.Conn
	writes int
}

func (c *deafConn) Write(p []byte) (int, error) {
	if c.writes++; c.writes > 1 {
		return 0, errFrail
	}
	return c.Conn.Write(p)
}

// A doubt is not forgotten over a second connection that took nothing.
func TestDoubtOutlivesLaterConnections(t *testing.T) {
	f := serve(t, func(n int, p *peer) {
		if n == 0 {
			p.next() // which was sent, then
		}
	})
	var conns int
	c := dial(t, f.addr(), client.WithAutoKeys(), client.WithReconnect(100*time.Millisecond), client.WithDialer(
		func(ctx context.Context, network, addr string) (net.Conn, error) {
			nc, err := (&net.Dialer{}).DialContext(ctx, network, addr)
			if conns++; conns > 1 && err == nil {
				nc = &deafConn{Conn: nc}
			}
			return nc, err
		}))
	_, err := c.Append(within(t), 1, [][]byte{nil})
	if !errors.Is(err, client.ErrUnknownOutcome) || !errors.Is(err, client.ErrUnavailable) {
		t.Errorf("err = %v", err)
	}
}
