// Package tcp carries the wire protocol over TCP: one goroutine to read and one to write per connection. It decides
// nothing; what arrives goes to a Handler, what it is told to send it sends.
package tcp

import (
	"errors"
	"net"
	"sync"
	"syscall"
	"time"

	"github.com/kimberlitedb/kimberlite-go/engine"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// Handler is told what happens on connections. Its methods are called from the connections' goroutines and may block;
// a connection that waits in them is not read from.
type Handler interface {
	// Opened comes first for a connection.
	Opened(*Conn)
	// Received hands over requests, in order.
	Received(*Conn, []*wire.Request)
	// Faulted says that what followed cannot be decoded; nothing more is received.
	Faulted(*Conn, *wire.Fault)
	// Sent says that messages that count for so many bytes have left; 0 says that a part of one has.
	Sent(c *Conn, bytes int)
	// Closed comes last.
	Closed(*Conn)
}

// Conn is one connection.
type Conn struct {
	ID   engine.ConnID
	From string // the peer's address

	server  *Server
	handler Handler
	nc      net.Conn
	raw     syscall.RawConn
	session *wire.Session

	mu      sync.Mutex // guards what follows
	queue   []wire.Message
	waiting int           // what the queue counts for, in bytes
	packs   bool          // something in the queue is to be compressed
	flying  bool          // somebody encodes and writes; buf, rest and counted are theirs
	closing bool          // no reply is queued any more; the connection closes when all have left
	paused  chan struct{} // not nil while reading is paused; closed to resume

	wake    chan struct{} // hands flying over to the writer
	quit    chan struct{} // closed when the connection is
	once    sync.Once
	buf     []byte // encoded replies
	rest    []byte // the part of buf that has not left
	counted int    // what the replies in buf count for
	encoded []wire.Message
}

// Sizes in bytes.
const (
	minRead    = 4 << 10   // a connection that sends little holds little
	maxRead    = 64 << 10  // what one read takes at most
	direct     = 64 << 10  // what is written by whoever queued it; more is left to the writer
	packInline = 1 << 10   // what is compressed by whoever queued it; likewise
	chunk      = 1 << 20   // what is encoded at a time, give or take a reply
	piece      = 256 << 10 // what one write takes
	keepSpace  = 64 << 10  // a write buffer that has grown beyond is shared with others
)

// slow is how long a write takes for the handler to be told of the part that has left.
const slow = time.Second

// flushTimeout is how long a connection that is being closed may take to read what was sent to it.
const flushTimeout = 5 * time.Second

// Send queues a message. Flush must follow.
func (c *Conn) Send(m wire.Message) {
	c.mu.Lock()
	if !c.closing {
		c.queue = append(c.queue, m)
		n := engine.Weight(m)
		c.waiting += n
		c.packs = c.packs || n > packInline && c.session.Packs(m)
	}
	c.mu.Unlock()
}

// Flush writes what is queued, as far as that can be done without waiting, and leaves the rest to the writer. It returns
// what has left at once; for the rest the handler is told.
func (c *Conn) Flush() (sent int) {
	c.mu.Lock()
	if c.flying || (len(c.queue) == 0 && !c.closing) {
		c.mu.Unlock()
		return 0
	}
	c.flying = true
	if c.waiting > direct || c.packs {
		c.mu.Unlock()
		c.handOver()
		return 0
	}
	c.takeLocked()
	c.mu.Unlock()
	c.encode()
	n := c.tryWrite(c.rest)
	c.server.out.Add(uint64(n))
	c.rest = c.rest[n:]
	if len(c.rest) > 0 {
		c.handOver()
		return 0
	}
	sent, c.counted = c.counted, 0
	if !c.landed() {
		c.handOver()
	}
	return sent
}

// Pause stops reading, or resumes it.
func (c *Conn) Pause(paused bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case paused && c.paused == nil:
		c.paused = make(chan struct{})
	case !paused && c.paused != nil:
		close(c.paused)
		c.paused = nil
	}
}

// Finish closes the connection when all that was queued has left, at the latest after a few seconds. Flush must follow.
func (c *Conn) Finish() {
	c.mu.Lock()
	c.closing = true
	c.mu.Unlock()
	c.nc.SetWriteDeadline(time.Now().Add(flushTimeout)) // an error means that it is closed already
}

// Abort closes the connection at once.
func (c *Conn) Abort() {
	c.once.Do(func() {
		close(c.quit)
		c.nc.Close() // nothing can be done about an error
	})
}

// landed ends a flight: it returns false where more has been queued meanwhile, so that the flight goes on.
func (c *Conn) landed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.queue) > 0 {
		return false
	}
	if c.closing {
		c.Abort()
	}
	c.flying = false
	return true
}

// takeLocked moves queued replies to those being encoded, up to a chunk.
func (c *Conn) takeLocked() {
	n := 0
	for n < len(c.queue) && (n == 0 || c.counted < chunk) {
		c.counted += engine.Weight(c.queue[n])
		n++
	}
	c.encoded = append(c.encoded[:0], c.queue[:n]...)
	clear(c.queue[:n])
	if c.queue = c.queue[n:]; len(c.queue) == 0 {
		c.queue, c.packs = c.queue[:0:0], false
	}
	c.waiting -= c.counted
}

func (c *Conn) encode() {
	c.buf = c.buf[:0]
	var p *wire.Packer
	for i, m := range c.encoded {
		if p == nil && c.session.Packs(m) {
			p = c.server.packers.Borrow()
		}
		c.buf = c.session.Append(c.buf, m, p)
		c.encoded[i] = nil
	}
	if p != nil {
		c.server.packers.Return(p)
	}
	c.rest = c.buf
}

// borrow takes a large buffer for large replies, so that a connection keeps only a small one.
func (c *Conn) borrow() {
	if c.counted <= keepSpace {
		return
	}
	if p, ok := c.server.large.Get().(*[]byte); ok {
		c.buf = *p
	}
}

func (c *Conn) giveBack() {
	if cap(c.buf) > keepSpace {
		large := c.buf
		c.server.large.Put(&large)
		c.buf = nil
	}
}

func (c *Conn) handOver() {
	select {
	case c.wake <- struct{}{}:
	default: // cannot be: there is one flight at a time, and room for one
	}
}

// write is the writer goroutine. It takes over flights that Flush could not end.
func (c *Conn) write() {
	for {
		select {
		case <-c.wake:
		case <-c.quit:
			return
		}
		for {
			if len(c.rest) == 0 {
				c.mu.Lock()
				c.takeLocked()
				c.mu.Unlock()
				c.borrow()
				c.encode()
			}
			if !c.writeOut() {
				c.Abort()
				return
			}
			sent := c.counted
			c.rest, c.counted = nil, 0
			c.giveBack()
			c.handler.Sent(c, sent)
			if c.landed() {
				break
			}
		}
	}
}

// writeOut writes what is encoded, in pieces, so that the handler sees a slow peer take it. It returns false where the
// peer is gone.
func (c *Conn) writeOut() bool {
	for len(c.rest) > 0 {
		began := time.Now()
		n, err := c.nc.Write(c.rest[:min(len(c.rest), piece)])
		c.server.out.Add(uint64(n))
		if err != nil {
			return false
		}
		if c.rest = c.rest[n:]; time.Since(began) > slow {
			c.handler.Sent(c, 0)
		}
	}
	return true
}

// read is the reader goroutine. It ends the connection.
func (c *Conn) read() {
	defer func() {
		c.Abort()
		c.handler.Closed(c)
	}()
	buf := make([]byte, minRead)
	for c.proceed() {
		n, err := c.nc.Read(buf)
		c.server.in.Add(uint64(n))
		requests, fault := c.session.Feed(buf[:n], nil)
		if len(requests) > 0 {
			c.handler.Received(c, requests)
		}
		if fault != nil {
			var f *wire.Fault
			errors.As(fault, &f)
			c.handler.Faulted(c, f)
			<-c.quit // until the requests before it are answered
			return
		}
		if err != nil {
			return
		}
		if n == len(buf) && n < maxRead {
			buf = make([]byte, 2*n)
		}
	}
}

// proceed waits while reading is paused. It returns false once the connection is closed.
func (c *Conn) proceed() bool {
	c.mu.Lock()
	paused := c.paused
	c.mu.Unlock()
	if paused == nil {
		return true
	}
	select {
	case <-paused:
		return true
	case <-c.quit:
		return false
	}
}
