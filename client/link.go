package client

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync"

	"github.com/kimberlitedb/kimberlite-go/wire"
)

// link is one connection.
//
// Callers append frames to out, under the client's mu. Whoever sets writing takes all of it and writes; meanwhile
// more gathers for the next write. The reader matches replies with calls.
type link struct {
	nc       net.Conn
	session  *wire.ClientSession
	wake     chan struct{} // has room for one: rouses the writer
	broken   chan struct{} // closed by fail
	once     sync.Once
	err      error          // why it broke; set before broken is closed
	routines sync.WaitGroup // the reader, and callers that write
	batch    []*call        // the reader's alone

	// Guarded by Client.mu.
	out     []byte // frames to write
	flying  []byte // frames being written, or whose write failed
	spare   []byte // becomes out when out becomes flying
	writing bool
	roused  bool   // wake is full
	queued  uint64 // bytes that were ever put into out
	written uint64 // bytes that the socket took
	heard   bool   // a call was answered
}

func newLink(nc net.Conn, s *wire.ClientSession) *link {
	return &link{nc: nc, session: s, wake: make(chan struct{}, 1), broken: make(chan struct{})}
}

// fail breaks the link.
func (l *link) fail(err error) {
	l.once.Do(func() {
		l.err = err
		close(l.broken)
		l.nc.Close() // it is given up, whatever this says
	})
}

// rouse wakes the writer. mu is held.
func (l *link) rouse() {
	if !l.roused {
		l.roused = true
		l.wake <- struct{}{}
	}
}

// maxSpare is the greatest buffer that is kept for later writes, in bytes.
const maxSpare = 1 << 20

// flush writes what is queued. mu is held on entry and on return, but not meanwhile.
func (c *Client) flush(l *link) {
	l.writing = true
	l.flying, l.out, l.spare = l.out, l.spare[:0], nil
	p := l.flying
	c.mu.Unlock()
	n, err := l.nc.Write(p)
	c.mu.Lock()
	l.writing = false
	l.written += uint64(n)
	if err != nil {
		l.fail(err)
		return
	}
	if l.flying = nil; cap(p) <= maxSpare {
		l.spare = p
	}
}

// write is the link's writer.
func (c *Client) write(l *link) {
	for {
		select {
		case <-l.wake:
		case <-l.broken:
			return
		}
		c.mu.Lock()
		l.roused = false
		for len(l.out) > 0 && !l.writing && !l.isBroken() {
			c.flush(l)
		}
		c.mu.Unlock()
	}
}

func (l *link) isBroken() bool {
	select {
	case <-l.broken:
		return true
	default:
		return false
	}
}

var errHangup = errors.New("closed by the server")

// Sizes of the reader's buffer, in bytes.
const (
	minRead = 16 << 10
	maxRead = 256 << 10
)

// read is the link's reader.
func (c *Client) read(l *link) {
	buf := make([]byte, minRead)
	var replies []*wire.Response
	for {
		n, err := l.nc.Read(buf)
		var fault error
		replies, fault = l.session.Feed(buf[:n], replies[:0])
		switch odd := c.deliver(l, replies); {
		case odd != nil:
			l.fail(odd)
			return
		case fault != nil:
			l.fail(fmt.Errorf("%w: %w", ErrProtocol, fault))
			return
		case errors.Is(err, io.EOF):
			l.fail(errHangup)
			return
		case err != nil:
			l.fail(err)
			return
		}
		clear(replies)
		if n == len(buf) && n < maxRead {
			buf = make([]byte, 2*n)
		}
	}
}

// deliver ends the calls that were answered. On version 1 replies come in the order of the requests; anything else is
// an error, and ends no call.
func (c *Client) deliver(l *link, replies []*wire.Response) (odd error) {
	if len(replies) == 0 {
		return nil
	}
	c.mu.Lock()
	n := 0
	for n < len(replies) && odd == nil {
		if odd = c.mismatch(n, replies[n]); odd == nil {
			c.bytes -= c.calls[n].size
			n++
		}
	}
	l.heard = l.heard || n > 0
	l.batch = append(l.batch[:0], c.calls[:n]...)
	clear(c.calls[:n])
	c.calls = c.calls[n:]
	c.unblock()
	c.mu.Unlock()
	for i, k := range l.batch {
		k.finish(replies[i].Body, nil)
	}
	clear(l.batch)
	return odd
}

// mismatch says why a reply cannot be that of the call in place i.
func (c *Client) mismatch(i int, r *wire.Response) error {
	switch {
	case i >= len(c.calls) || c.calls[i].frame != nil:
		return fmt.Errorf("%w: reply to request %d, which is not in flight", ErrProtocol, r.RequestID)
	case c.calls[i].id != r.RequestID:
		return fmt.Errorf("%w: reply to request %d where that to %d is due", ErrProtocol, r.RequestID, c.calls[i].id)
	case !answers(r.Body, c.calls[i].op):
		return fmt.Errorf("%w: a %T answers request %d, of operation %d", ErrProtocol, r.Body, r.RequestID, c.calls[i].op)
	}
	return nil
}

// answers reports whether a reply is of the kind that a request gets.
func answers(b wire.ResponseBody, op wire.Op) (ok bool) {
	switch b.(type) {
	case *wire.Error:
		return true
	case *wire.AppendEventsReply:
		return op == wire.OpAppendEvents
	case *wire.ReadEventsReply:
		return op == wire.OpReadEvents
	case *wire.CreateStreamReply:
		return op == wire.OpCreateStream
	case *wire.SyncReply:
		return op == wire.OpSync
	case *wire.ListStreamsReply:
		return op == wire.OpListStreams
	case *wire.StreamInfoReply:
		return op == wire.OpStreamInfo
	case *wire.DeleteStreamReply:
		return op == wire.OpDeleteStream
	case *wire.UndeleteStreamReply:
		return op == wire.OpUndeleteStream
	case *wire.SetRetentionReply:
		return op == wire.OpSetRetention
	case *wire.SetHoldReply:
		return op == wire.OpSetHold
	case *wire.ReleaseHoldReply:
		return op == wire.OpReleaseHold
	case *wire.PingReply:
		return op == wire.OpPing
	case *wire.CreateTenantReply:
		return op == wire.OpCreateTenant
	case *wire.ListTenantsReply:
		return op == wire.OpListTenants
	case *wire.VerifyAuditReply:
		return op == wire.OpVerifyAudit
	case *wire.ClockReply:
		return op == wire.OpClock
	case *wire.ConfirmClockReply:
		return op == wire.OpConfirmClock
	}
	return false
}
