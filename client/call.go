package client

import (
	"context"
	"slices"
	"sync/atomic"

	"github.com/kimberlitedb/kimberlite-go/wire"
)

// call is one request and, in the end, its reply. It is made without a channel: most calls of a busy client are
// answered before anybody waits for them.
type call struct {
	c      *Client
	op     wire.Op
	tenant TenantID
	again  wire.RequestBody               // to send it again although it was sent; nil where that could do it twice
	bound  bool                           // it means something only on the link that it was made for
	sub    *subscription                  // it begins
	chunks *chunks                        // that come before the reply; nil where none do
	then   func(wire.ResponseBody, error) // is called with the outcome; nil for calls that somebody waits for
	keyed  bool                           // the server knows it again, so that it may be sent again although it changes something

	// Guarded by Client.mu.
	id        uint64
	size      int           // of its frame, in bytes
	frame     []byte        // while it waits for a connection; then it was never sent
	shape     wire.Features // of the frame, and of copy
	end       uint64        // where its frame ends among the bytes of the link, otherwise
	copy      []byte        // its frame once more, where it is keyed
	doubt     bool          // it changes something and was sent over a link that broke
	left      bool          // nobody waits for it any more
	cancelled bool          // the server was told to end it
	ready     chan struct{} // closed by finish; made by whoever waits

	state atomic.Uint32     // pending, awaited or finished
	reply wire.ResponseBody // set before finished
	err   error             // set before finished
}

const (
	pending  = iota
	awaited  // ready is made
	finished // reply or err is set
)

// finish ends a call. It must be called once.
func (k *call) finish(reply wire.ResponseBody, err error) {
	k.reply, k.err = reply, err
	if k.then != nil {
		k.then(k.outcome())
	}
	if k.state.Swap(finished) == awaited {
		close(k.ready)
	}
}

// wait returns the reply. Where ctx ends first, a call that was not sent never will be.
func (k *call) wait(ctx context.Context) (wire.ResponseBody, error) {
	if k.state.Load() != finished {
		select {
		case <-k.await():
		case <-ctx.Done():
			if err := k.c.giveUp(ctx, k); err != nil {
				return nil, err
			}
		}
	}
	return k.outcome()
}

// outcome returns what a call has ended with.
func (k *call) outcome() (wire.ResponseBody, error) {
	if e, ok := k.reply.(*wire.Error); ok {
		return nil, answered(e)
	}
	return k.reply, k.err
}

// await returns the channel that is closed when the call ends.
func (k *call) await() <-chan struct{} {
	k.c.mu.Lock()
	defer k.c.mu.Unlock()
	if k.ready == nil {
		k.ready = make(chan struct{})
		if !k.state.CompareAndSwap(pending, awaited) {
			close(k.ready) // finish did not know of it
		}
	}
	return k.ready
}

// giveUp ends a wait and says what became of the call. It returns nil where the call has just ended.
func (c *Client) giveUp(ctx context.Context, k *call) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case k.state.Load() == finished:
		return nil
	case k.frame != nil && !k.doubt:
		err := notSent(ctx, c.outage)
		c.withdraw(k, err)
		return err
	}
	c.cancel(k)
	if k.again != nil || k.chunks != nil && k.chunks.begun {
		k.left = true
		return ctx.Err()
	}
	return k.unknown(ctx.Err())
}

// forget lets go of a call whose reply is not wanted any more.
func (c *Client) forget(k *call) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k.left = true
	if k.frame != nil {
		c.withdraw(k, context.Canceled)
	}
}

// withdraw takes back a call that waits for a connection.
func (c *Client) withdraw(k *call, err error) {
	c.calls = slices.DeleteFunc(c.calls, func(o *call) bool { return o == k })
	c.bytes -= k.size
	k.frame = nil
	c.unblock()
	k.finish(nil, err)
}
