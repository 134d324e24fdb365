package client

import (
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sort"
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
	features wire.Features
	cancels  bool          // the server knows CancelQuery
	wake     chan struct{} // has room for one: rouses the writer
	broken   chan struct{} // closed by fail
	once     sync.Once
	err      error          // why it broke; set before broken is closed
	routines sync.WaitGroup // the reader, and callers that write
	batch    []done         // the reader's alone

	// Guarded by Client.mu.
	out     []byte // frames to write
	flying  []byte // frames being written, or whose write failed
	spare   []byte // becomes out when out becomes flying
	writing bool
	roused  bool   // wake is full
	queued  uint64 // bytes that were ever put into out
	written uint64 // bytes that the socket took
	heard   bool   // a call was answered
	subs    map[wire.SubscriptionID]*subscription
}

func newLink(nc net.Conn, s *wire.ClientSession, f wire.Features) *link {
	return &link{nc: nc, session: s, features: f, wake: make(chan struct{}, 1), broken: make(chan struct{})}
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
	var messages []wire.Message
	for {
		n, err := l.nc.Read(buf)
		var fault error
		messages, fault = l.session.Feed(buf[:n], messages[:0])
		switch odd := c.deliver(l, messages); {
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
		clear(messages)
		if n == len(buf) && n < maxRead {
			buf = make([]byte, 2*n)
		}
	}
}

// deliver ends the calls that were answered, and hands pushes to their subscriptions. What is not due is an error.
func (c *Client) deliver(l *link, messages []wire.Message) (odd error) {
	if len(messages) == 0 {
		return nil
	}
	c.mu.Lock()
	l.batch = l.batch[:0]
	for i := 0; i < len(messages) && odd == nil; i++ {
		switch m := messages[i].(type) {
		case *wire.Response:
			odd = c.answered(l, m)
		case *wire.Push:
			odd = c.pushed(l, m)
		}
	}
	l.heard = l.heard || len(l.batch) > 0
	c.unblock()
	c.mu.Unlock()
	for _, d := range l.batch {
		d.call.finish(d.reply, nil)
	}
	clear(l.batch)
	return odd
}

// done is a call and its reply.
type done struct {
	call  *call
	reply wire.ResponseBody
}

// answered takes out the call that a reply is to. mu is held.
func (c *Client) answered(l *link, r *wire.Response) error {
	i, err := c.due(l, r)
	if err != nil {
		return err
	}
	k := c.calls[i]
	c.bytes -= k.size
	if i == 0 {
		c.calls[0] = nil
		c.calls = c.calls[1:]
	} else {
		c.calls = slices.Delete(c.calls, i, i+1)
	}
	if b, ok := r.Body.(*wire.SubscribeReply); ok {
		if k.left {
			c.tellLocked(l, &wire.Unsubscribe{Subscription: b.Subscription})
		} else {
			l.begin(k.sub, b.Subscription)
		}
	}
	if k.chunks != nil {
		k.chunks.link = l
	}
	l.batch = append(l.batch, done{k, r.Body})
	return nil
}

// due returns the place of the call that a reply is to. On version 1 that is the oldest one; later versions answer in any
// order.
func (c *Client) due(l *link, r *wire.Response) (int, error) {
	i := 0
	if l.features.Version >= 2 && len(c.calls) > 0 && c.calls[0].id != r.RequestID {
		i = sort.Search(len(c.calls), func(i int) bool { return c.calls[i].id >= r.RequestID })
	}
	switch {
	case i >= len(c.calls) || c.calls[i].frame != nil:
		return 0, fmt.Errorf("%w: reply to request %d, which is not in flight", ErrProtocol, r.RequestID)
	case c.calls[i].id != r.RequestID:
		return 0, fmt.Errorf("%w: reply to request %d where that to %d is due", ErrProtocol, r.RequestID, c.calls[i].id)
	case !answers(r.Body, c.calls[i].op):
		return 0, fmt.Errorf("%w: a %T answers request %d, of operation %d", ErrProtocol, r.Body, r.RequestID, c.calls[i].op)
	}
	return i, nil
}

// answers reports whether a reply is of the kind that a request gets.
func answers(b wire.ResponseBody, op wire.Op) (ok bool) {
	switch b.(type) {
	case *wire.Error:
		return true
	case *wire.AppendEventsReply:
		return op == wire.OpAppendEvents
	case *wire.QueryReply:
		return op == wire.OpQuery || op == wire.OpQueryAt
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
	case *wire.BatchQueryReply:
		return op == wire.OpBatchQuery
	case *wire.CheckpointReply:
		return op == wire.OpCheckpoint
	case *wire.ListCheckpointsReply:
		return op == wire.OpListCheckpoints
	case *wire.GetCheckpointReply:
		return op == wire.OpGetCheckpoint
	case *wire.DeleteCheckpointReply:
		return op == wire.OpDeleteCheckpoint
	case *wire.ArchiveCheckpointReply:
		return op == wire.OpArchiveCheckpoint
	case *wire.RestoreTenantReply:
		return op == wire.OpRestoreTenant
	case *wire.RestoreInfoReply:
		return op == wire.OpRestoreInfo
	case *wire.SubscribeReply:
		return op == wire.OpSubscribe
	case *wire.UnsubscribeReply:
		return op == wire.OpUnsubscribe
	case *wire.CreditReply:
		return op == wire.OpCredit
	case *wire.AckReply:
		return op == wire.OpAck
	case *wire.NackReply:
		return op == wire.OpNack
	case *wire.ExtendAckReply:
		return op == wire.OpExtendAck
	case *wire.CreateGroupReply:
		return op == wire.OpCreateGroup
	case *wire.UpdateGroupReply:
		return op == wire.OpUpdateGroup
	case *wire.DeleteGroupReply:
		return op == wire.OpDeleteGroup
	case *wire.ListGroupsReply:
		return op == wire.OpListGroups
	case *wire.GroupInfoReply:
		return op == wire.OpGroupInfo
	case *wire.ParkedReply:
		return op == wire.OpParked
	case *wire.ExplainReply:
		return op == wire.OpExplain
	case *wire.ChunkAckReply:
		return op == wire.OpChunkAck
	case *wire.CancelQueryReply:
		return op == wire.OpCancelQuery
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
