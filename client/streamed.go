package client

import (
	"context"
	"errors"
	"fmt"
	"sort"

	"github.com/kimberlitedb/kimberlite-go/wire"
)

// chunks are what comes of a streamed query. The server sends no more of them than a window until they are acknowledged, and
// each is when its rows are taken up: so much of a result is in memory, however large it is.
type chunks struct {
	c     *Client
	ctx   context.Context
	call  *call
	watch func() bool   // ends the watch over ctx
	wake  chan struct{} // has room for one: a chunk has come

	// Guarded by Client.mu.
	begun bool // a chunk has come, so that the query cannot be asked again
	link  *link
	next  uint32 // sequence of the chunk that is due
	inbox []*wire.QueryChunk
}

// rows makes a request that is answered with a result, streamed where the server can do that.
func (c *Client) rows(ctx context.Context, ask wire.RequestBody) (*Rows, error) {
	for {
		s := &chunks{c: c, ctx: ctx, wake: make(chan struct{}, 1)}
		if err := s.open(ask); err != nil {
			return nil, err
		}
		s.watch = context.AfterFunc(ctx, s.abandon)
		r := &Rows{chunks: s}
		if r.fetch() || r.err == nil {
			return r, nil
		}
		if !errors.Is(r.err, errShuttingDown) || !repeatable(ask) || !s.parted() {
			return nil, r.err
		}
	}
}

// errCancelled is what the server answers to a query that was cancelled.
var errCancelled = &Error{Code: wire.Cancelled}

// errShuttingDown is what a server that is being stopped answers to queries. It hangs up then.
var errShuttingDown = &Error{Code: wire.ShuttingDown}

// open asks the query.
func (s *chunks) open(ask wire.RequestBody) error {
	c := s.c
	s.call = &call{c: c, op: ask.Op(), chunks: s}
	if repeatable(ask) {
		s.call.again = ask
	}
	if err := c.admit(s.ctx); err != nil {
		return err
	}
	f := c.cfg.asks()
	if c.link != nil {
		f = c.link.features
	}
	setStreaming(ask, f)
	c.post(s.call, c.cfg.tenant, ask)
	return nil
}

// setStreaming says in a query whether it is to be streamed.
func setStreaming(ask wire.RequestBody, f wire.Features) {
	switch b := ask.(type) {
	case *wire.Query:
		b.Streaming = f.Version >= 3
	case *wire.QueryAt:
		b.Streaming = f.Version >= 3
	}
}

// take returns the next chunk, or the reply behind the last one.
func (s *chunks) take() (*wire.QueryChunk, *wire.QueryReply, error) {
	for {
		over := s.call.state.Load() == finished // what has come before that is in the inbox
		if chunk := s.pop(); chunk != nil {
			return chunk, nil, nil
		}
		if over {
			s.watch()
			reply, err := s.call.outcome()
			if ended := s.ctx.Err(); ended != nil && errors.Is(err, errCancelled) {
				err = ended // that is why
			}
			if err != nil {
				return nil, nil, err
			}
			return nil, reply.(*wire.QueryReply), nil
		}
		select {
		case <-s.wake:
		case <-s.call.await():
		case <-s.ctx.Done():
			if err := s.c.giveUp(s.ctx, s.call); err != nil {
				return nil, nil, err
			}
		}
	}
}

// pop takes a chunk out of the inbox, and acknowledges it where there are more to come.
func (s *chunks) pop() *wire.QueryChunk {
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(s.inbox) == 0 {
		return nil
	}
	chunk := s.inbox[0]
	s.inbox[0] = nil
	s.inbox = s.inbox[1:]
	if s.call.state.Load() != finished {
		c.tellLocked(s.link, &wire.ChunkAck{Query: s.call.id, Sequence: chunk.Sequence})
	}
	return chunk
}

// leave ends the query, if it has not ended.
func (s *chunks) leave() {
	s.watch()
	s.abandon()
}

// abandon ends at the server a query of which something has come. Nothing more of it is kept.
func (s *chunks) abandon() {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	if s.begun && s.call.state.Load() != finished {
		s.inbox, s.call.left = nil, true
		s.c.cancel(s.call)
	}
}

// parted waits until the link that a query was refused on has broken, and reports whether it has.
func (s *chunks) parted() bool {
	if s.link == nil {
		return false
	}
	select {
	case <-s.link.broken:
		return true
	case <-s.ctx.Done():
	case <-s.c.life.Done():
	}
	return false
}

// cancel ends a query at the server, where that knows how to. mu is held.
func (c *Client) cancel(k *call) {
	if l := c.link; l != nil && l.cancels && !k.cancelled && (k.op == wire.OpQuery || k.op == wire.OpQueryAt) {
		k.cancelled = true
		c.tellLocked(l, &wire.CancelQuery{Query: k.id})
	}
}

// chunked hands a chunk to its query. mu is held.
func (c *Client) chunked(l *link, b *wire.QueryChunk) error {
	i := sort.Search(len(c.calls), func(i int) bool { return c.calls[i].id >= b.Query })
	if i >= len(c.calls) || c.calls[i].id != b.Query || c.calls[i].frame != nil || c.calls[i].chunks == nil {
		return fmt.Errorf("%w: a chunk of query %d, which is not in flight", ErrProtocol, b.Query)
	}
	k := c.calls[i]
	s := k.chunks
	if b.Sequence != s.next {
		return fmt.Errorf("%w: chunk %d of query %d where chunk %d is due", ErrProtocol, b.Sequence, b.Query, s.next)
	}
	s.next++
	s.begun, s.link, l.heard = true, l, true
	if k.left {
		return nil
	}
	s.inbox = append(s.inbox, b)
	select {
	case s.wake <- struct{}{}:
	default: // it is awake already
	}
	return nil
}
