package client

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"time"

	"github.com/kimberlitedb/kimberlite-go/wire"
)

const (
	connectTimeout = 10 * time.Second      // of one attempt, handshake included
	minDelay       = 20 * time.Millisecond // between two attempts
	maxDelay       = 2 * time.Second
)

// outage is what run remembers of connections that were of no use.
type outage struct {
	since time.Time     // since when calls have waited in vain; zero while none does
	delay time.Duration // before the next attempt
}

// run owns the connections: it is the writer of each, waits for its reader, and makes the next one.
func (c *Client) run(l *link) {
	defer close(c.stopped)
	o := outage{delay: minDelay}
	for l != nil {
		l.routines.Go(func() { c.read(l) })
		c.write(l)
		if c.detach(l) {
			o = outage{delay: minDelay}
		} else { // a server that accepts and hangs up is no better than none; calls that come now have their own chance
			c.setback(&o, fmt.Errorf("%w: connection to %s: %v", ErrUnavailable, c.addr, l.err))
		}
		l = c.connect(&o)
	}
}

// attach makes a link the client's and queues on it what waits.
func (c *Client) attach(l *link) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.link, c.outage = l, nil
	if c.closed { // Close saw no link to break
		l.fail(ErrClosed)
	}
	c.part(l)
	for _, k := range c.calls {
		if k.shape != l.features {
			k.reshape(l.features)
			c.bytes += len(k.frame) - k.size
			k.size = len(k.frame)
		}
		l.out = append(l.out, k.frame...)
		l.queued += uint64(k.size)
		k.frame, k.end = nil, l.queued
	}
	if len(l.out) > 0 {
		l.rouse()
	}
}

// part ends the calls that a link's server is too old for. mu is held.
func (c *Client) part(l *link) {
	c.calls = slices.DeleteFunc(c.calls, func(k *call) bool {
		err := k.unfit(l.features)
		if err != nil {
			c.bytes -= k.size
			k.frame = nil
			k.finish(nil, err)
		}
		return err != nil
	})
	c.unblock()
}

// reshape encodes a frame that waits anew, for a server of another version.
func (k *call) reshape(f wire.Features) {
	r, err := wire.DecodeFrame(k.frame, k.shape)
	if err != nil {
		panic("client: a frame of its own cannot be decoded: " + err.Error())
	}
	r.Codec = k.c.cfg.codec // which version 1 does not carry
	if k.chunks != nil {
		setStreaming(r.Body, f)
	}
	k.frame, k.shape = wire.AppendRequest(nil, r, f), f
	if k.keyed {
		k.copy = k.frame
	}
}

// detach takes a broken link from the client, ends the calls that must not be sent again and keeps the others. It
// reports whether the link was of any use.
func (c *Client) detach(l *link) bool {
	c.mu.Lock()
	c.link = nil
	c.mu.Unlock()
	l.routines.Wait()

	c.mu.Lock()
	for _, s := range l.subs {
		s.lose()
	}
	l.subs = nil
	lost, fates := c.settle(l)
	c.unblock()
	c.mu.Unlock()
	for i, k := range lost {
		k.finish(nil, fates[i])
	}
	return l.heard
}

// settle parts the calls of a broken link: those to be sent again get their frames back, the others are returned with
// the errors that end them.
func (c *Client) settle(l *link) (lost []*call, fates []error) {
	unsent := append(l.flying, l.out...) // what the socket did not take, and perhaps some that it did
	begin := l.queued - uint64(len(unsent))
	keep := c.calls[:0:0]
	for _, k := range c.calls {
		if fate := c.fate(k, l); fate != nil {
			c.bytes -= k.size
			lost, fates = append(lost, k), append(fates, fate)
			continue
		}
		switch {
		case k.frame != nil: // it came after the link was gone
		case k.keyed:
			k.frame = k.copy
		case k.end > l.written:
			k.frame = slices.Clone(unsent[k.end-uint64(k.size)-begin : k.end-begin])
		default:
			k.frame = wire.AppendRequest(nil, &wire.Request{ID: k.id, Tenant: k.tenant, Codec: c.cfg.codec, Body: k.again}, k.shape)
		}
		keep = append(keep, k)
	}
	c.calls = keep
	return lost, fates
}

// fate returns the error that a broken link ends a call with, nil if it is to be sent again. What the socket took only
// in part was not carried out: a server does nothing about a part of a frame.
func (c *Client) fate(k *call, l *link) error {
	sent := k.frame == nil && k.end <= l.written
	k.doubt = k.doubt || sent && k.again == nil
	broken := fmt.Errorf("connection to %s: %w", c.addr, l.err)
	over := c.closed || sent && errors.Is(l.err, ErrProtocol)
	if k.chunks != nil && k.chunks.begun {
		k.doubt = false
		return broken
	}
	switch {
	case k.doubt && (over || !k.keyed):
		return k.unknown(broken)
	case k.bound:
		return broken
	case c.closed:
		return ErrClosed
	case k.left || over:
		return broken
	}
	return nil
}

// connect returns a new link once a call wants one, or nil once the client is closed.
func (c *Client) connect(o *outage) *link {
	for c.wanted() {
		l, err := c.dial(c.life)
		if err == nil {
			c.attach(l)
			return l
		}
		c.setback(o, err)
	}
	c.refuse(ErrClosed)
	return nil
}

// setback lets some time pass before the next attempt. Where that is hopeless, or the client's patience is at its end,
// the calls that wait fail instead.
func (c *Client) setback(o *outage, err error) {
	c.mu.Lock()
	c.outage = err
	waiting := len(c.calls) > 0
	c.mu.Unlock()
	switch {
	case !waiting:
		o.since = time.Time{}
	case o.since.IsZero():
		o.since = time.Now()
	}
	if hopeless(err) || waiting && time.Since(o.since) >= c.cfg.patience {
		*o = outage{delay: minDelay}
		c.refuse(err)
		return
	}
	c.pause(&o.delay)
}

// hopeless reports whether connecting again would end in the same way.
func hopeless(err error) bool {
	var e *Error
	return errors.As(err, &e) && !e.Retryable || errors.Is(err, ErrProtocol)
}

// wanted waits until there is a call. It returns false once the client is closed.
func (c *Client) wanted() bool {
	for {
		c.mu.Lock()
		calls, closed := len(c.calls), c.closed
		c.mu.Unlock()
		if calls > 0 || closed {
			return !closed
		}
		select {
		case <-c.demand:
		case <-c.life.Done():
		}
	}
}

// refuse ends all calls. None of them is on a link.
func (c *Client) refuse(err error) {
	c.mu.Lock()
	calls := c.calls
	c.calls, c.bytes = nil, 0
	for _, k := range calls {
		k.frame = nil
	}
	c.unblock()
	c.mu.Unlock()
	for _, k := range calls {
		if k.doubt {
			k.finish(nil, k.unknown(err))
		} else {
			k.finish(nil, err)
		}
	}
}

// pause lets some time pass, half of it at random so that many clients do not come back at once, and doubles it for
// the next time.
func (c *Client) pause(delay *time.Duration) {
	t := time.NewTimer(*delay/2 + rand.N(*delay/2))
	defer t.Stop()
	select {
	case <-t.C:
	case <-c.life.Done():
	}
	*delay = min(2**delay, maxDelay)
}

// dial opens a connection and shakes hands.
func (c *Client) dial(ctx context.Context) (*link, error) {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	nc, err := c.cfg.dial(ctx, "tcp", c.addr)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	stop := context.AfterFunc(ctx, func() { nc.SetDeadline(time.Unix(1, 0)) }) // ends what the handshake waits for
	s, f, can, err := c.handshake(nc)
	if !stop() && err == nil {
		err = fmt.Errorf("%w: %w", ErrUnavailable, ctx.Err())
	}
	if err != nil {
		nc.Close() // it is given up, whatever this says
		return nil, err
	}
	l := newLink(nc, s, f)
	l.cancels = slices.Contains(can, "streaming")
	return l, nil
}

// handshake agrees on the version and shape of messages, and returns the server's capabilities too.
func (c *Client) handshake(nc net.Conn) (*wire.ClientSession, wire.Features, []string, error) {
	var none wire.Features
	hello := &wire.Handshake{ClientVersion: c.cfg.version, AuthToken: c.cfg.token, Capabilities: wanted.Capabilities()}
	frame := wire.AppendRequest(nil, &wire.Request{Tenant: c.cfg.tenant, Body: hello}, wire.Features{})
	if _, err := nc.Write(frame); err != nil {
		return nil, none, nil, fmt.Errorf("%w: handshake with %s: %w", ErrUnavailable, c.addr, err)
	}
	s := wire.NewClientSession(wire.Alone()) // only its reader uses it
	buf := make([]byte, 4<<10)
	for {
		n, err := nc.Read(buf)
		replies, fault := s.Feed(buf[:n], nil)
		switch {
		case fault != nil:
			return nil, none, nil, fmt.Errorf("handshake with %s: %w: %w", c.addr, ErrProtocol, fault)
		case len(replies) > 1:
			return nil, none, nil, fmt.Errorf("handshake with %s: %w: %d replies to one request", c.addr, ErrProtocol, len(replies))
		case len(replies) == 1:
			f, err := c.welcome(replies[0].(*wire.Response)) // nothing else travels in version 1
			s.SetFeatures(f)
			if err != nil {
				return nil, none, nil, err
			}
			return s, f, replies[0].(*wire.Response).Body.(*wire.HandshakeReply).Capabilities, nil
		case err != nil:
			return nil, none, nil, fmt.Errorf("%w: handshake with %s: %w", ErrUnavailable, c.addr, err)
		}
	}
}

// welcome checks the server's reply to a handshake, and returns what is agreed on: the lower version of both, and codecs
// that both know.
func (c *Client) welcome(r *wire.Response) (f wire.Features, err error) {
	switch b := r.Body.(type) {
	case *wire.Error:
		return f, answered(b)
	case *wire.HandshakeReply:
		if r.RequestID == 0 && b.ServerVersion >= 1 && b.ServerVersion <= c.cfg.version {
			theirs := wire.FeaturesOf(b.Capabilities)
			f = wanted
			f.LZ4, f.Zstd = f.LZ4 && theirs.LZ4, f.Zstd && theirs.Zstd
			return f.In(b.ServerVersion), nil
		}
		return f, fmt.Errorf("handshake with %s: %w: reply %d of version %d", c.addr, ErrProtocol, r.RequestID, b.ServerVersion)
	}
	return f, fmt.Errorf("handshake with %s: %w: answered by a %T", c.addr, ErrProtocol, r.Body)
}
