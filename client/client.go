package client

import (
	"context"
	"slices"
	"sync"

	"github.com/kimberlitedb/kimberlite-go/wire"
)

// The words of the protocol, as package wire defines them.
type (
	Offset   = wire.Offset
	Position = wire.Position
	StreamID = wire.StreamID
	TenantID = wire.TenantID
)

// wanted is the shape of messages that every client asks for.
var wanted = wire.Features{RichEvents: true, TypedValues: true, ExtendedErrors: true, LZ4: true, Zstd: true}

// Client is a connection to a server, made again when it breaks. Its methods may be called by many goroutines. The
// owner must Close it.
type Client struct {
	addr    string
	cfg     config
	life    context.Context // ends with Close
	end     context.CancelFunc
	stopped chan struct{} // closed when run has returned
	demand  chan struct{} // wakes run where there is no link but a call

	mu      sync.Mutex // guards what follows
	link    *link      // nil while there is no connection
	calls   []*call    // not answered, in the order of sending
	bytes   int        // in their frames
	lastID  uint64
	blocked []chan struct{} // callers that wait for room, in order
	outage  error           // why there is no connection, once an attempt has failed
	closed  bool
	packs   wire.Packer
	request wire.Request      // being encoded
	batch   wire.AppendEvents // its body, for an append
}

// Dial connects to a server and makes itself known. It tries once: a server that cannot be reached is an error that
// matches ErrUnavailable.
func Dial(ctx context.Context, addr string, options ...Option) (*Client, error) {
	cfg, err := configure(options)
	if err != nil {
		return nil, err
	}
	c := &Client{addr: addr, cfg: cfg, stopped: make(chan struct{}), demand: make(chan struct{}, 1)}
	l, err := c.dial(ctx)
	if err != nil {
		return nil, err
	}
	c.life, c.end = context.WithCancel(context.Background())
	c.attach(l)
	go c.run(l)
	return c, nil
}

// Close ends the connection and waits for the client's goroutines. Calls that are not answered fail with ErrClosed, and
// those whose effect is then unknown with ErrUnknownOutcome too; so wait for what matters first. It returns nil.
func (c *Client) Close() error {
	c.mu.Lock()
	c.closed = true
	l := c.link
	c.mu.Unlock()
	c.end()
	if l != nil {
		l.fail(ErrClosed)
	}
	<-c.stopped
	return nil
}

// Ping asks the server for a sign of life.
func (c *Client) Ping(ctx context.Context) error {
	_, err := c.do(ctx, &wire.Ping{})
	return err
}

// Sync returns once everything that the server decided before is on stable storage. What was acknowledged always is.
func (c *Client) Sync(ctx context.Context) error {
	_, err := c.do(ctx, &wire.Sync{})
	return err
}

// do makes a request of the client's tenant and waits for the reply.
func (c *Client) do(ctx context.Context, body wire.RequestBody) (wire.ResponseBody, error) {
	return c.start(ctx, c.cfg.tenant, body).wait(ctx)
}

// start makes a request. The body must not be changed until it is answered.
func (c *Client) start(ctx context.Context, tenant TenantID, body wire.RequestBody) *call {
	k := &call{c: c, op: body.Op()}
	if repeatable(body) {
		k.again = body
	}
	if err := c.admit(ctx); err != nil {
		k.finish(nil, err)
		return k
	}
	c.post(k, tenant, body)
	return k
}

// repeatable reports whether a request may be sent again when it is not known whether it was carried out. One that
// changes something may not: it could undo what somebody else has done in between.
func repeatable(body wire.RequestBody) bool {
	switch b := body.(type) {
	case *wire.ReadEvents, *wire.ListStreams, *wire.StreamInfo, *wire.ListTenants, *wire.VerifyAudit, *wire.Clock,
		*wire.ListGroups, *wire.GroupInfo, *wire.Explain, *wire.ListCheckpoints, *wire.GetCheckpoint, *wire.ArchiveCheckpoint, *wire.RestoreTenant, *wire.RestoreInfo, *wire.Ping, *wire.Sync, *wire.CreateTenant:
		return true
	case *wire.Parked:
		return b.Action == wire.ParkedList
	case *wire.Query:
		return reads(b.SQL)
	case *wire.BatchQuery:
		return readsAll(b)
	case *wire.QueryAt:
		return true
	}
	return false
}

// keyed reports whether the server would know a request again by its key.
func keyed(body wire.RequestBody) bool {
	switch b := body.(type) {
	case *wire.AppendEvents:
		return b.IdempotencyKey.Set
	case *wire.Query:
		return b.IdempotencyKey.Set
	case *wire.BatchQuery:
		return b.IdempotencyKey.Set
	}
	return false
}

// admit locks mu once there is room for another call.
func (c *Client) admit(ctx context.Context) error {
	c.mu.Lock()
	for !c.closed && c.room() <= 0 {
		turn := make(chan struct{})
		c.blocked = append(c.blocked, turn)
		c.mu.Unlock()
		select {
		case <-turn:
			c.mu.Lock()
		case <-ctx.Done():
			c.mu.Lock()
			c.leave(turn)
			outage := c.outage
			c.mu.Unlock()
			return notSent(ctx, outage)
		}
	}
	if c.closed {
		c.mu.Unlock()
		return ErrClosed
	}
	return nil
}

// room returns how many more calls may be in flight.
func (c *Client) room() int {
	if c.bytes >= maxBytes {
		return 0
	}
	return c.cfg.maxInflight - len(c.calls)
}

// maxBytes is how much may be unanswered, give or take a request: a few of the largest batches.
const maxBytes = 16 << 20

// leave ends a wait for room. A turn that was given already goes to the next.
func (c *Client) leave(turn chan struct{}) {
	for i, b := range c.blocked {
		if b == turn {
			c.blocked = append(c.blocked[:i], c.blocked[i+1:]...)
			return
		}
	}
	c.unblock()
}

// unblock lets in as many waiting callers as there is room for; all of them once the client is closed.
func (c *Client) unblock() {
	n := min(len(c.blocked), max(c.room(), 0))
	if c.closed {
		n = len(c.blocked)
	}
	for _, turn := range c.blocked[:n] {
		close(turn)
	}
	c.blocked = c.blocked[n:]
}

// post sends a call, or keeps its frame until there is a connection. mu is held on entry and released on return; the
// body is not needed any more then.
func (c *Client) post(k *call, tenant TenantID, body wire.RequestBody) {
	c.queue(k, tenant, body)
	c.push(k)
	c.mu.Unlock()
}

// queue puts a call's frame among those to be sent. mu is held.
func (c *Client) queue(k *call, tenant TenantID, body wire.RequestBody) {
	c.lastID++
	k.id, k.keyed = c.lastID, keyed(body)
	c.request = wire.Request{ID: k.id, Tenant: tenant, Codec: c.cfg.codec, Body: body}
	if l := c.link; l != nil {
		k.shape = l.features
		before := len(l.out)
		l.out = wire.PackRequest(l.out, &c.request, k.shape, c.packer())
		k.size = len(l.out) - before
		l.queued += uint64(k.size)
		k.end = l.queued
	} else {
		k.shape = c.cfg.asks()
		k.frame = wire.PackRequest(nil, &c.request, k.shape, c.packer())
		k.size = len(k.frame)
	}
	if k.keyed {
		k.copy = k.encoded()
	}
	k.tenant = tenant
	c.calls = append(c.calls, k)
	c.bytes += k.size
}

// packer returns what compresses requests, nil where they are not to be. mu is held.
func (c *Client) packer() *wire.Packer {
	if c.cfg.codec == wire.NoCodec {
		return nil
	}
	return &c.packs
}

// encoded returns a copy of the frame that post has just made.
func (k *call) encoded() []byte {
	if k.frame != nil {
		return k.frame
	}
	out := k.c.link.out
	return slices.Clone(out[len(out)-k.size:])
}

// push sets off the sending of the last call. A lone small one is written at once: handing over to another goroutine
// would take longer than the write. Others wait for the writer, so that one write takes many.
func (c *Client) push(k *call) {
	l := c.link
	switch {
	case l == nil:
		select {
		case c.demand <- struct{}{}:
		default: // run is awake already
		}
	case l.writing:
	case len(c.calls) == 1 && k.size <= maxInline:
		l.routines.Add(1)
		c.flush(l)
		l.routines.Done()
		if len(l.out) > 0 {
			l.rouse()
		}
	default:
		l.rouse()
	}
}

// maxInline is the greatest frame that a caller writes itself, in bytes. A socket with nothing in flight takes so much
// without blocking.
const maxInline = 16 << 10
