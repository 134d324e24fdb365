package engine

import (
	"github.com/kimberlitedb/kimberlite-go/engine/seg"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// Effect is what the machine asks of its driver. Effects are carried out in the order in which they are returned.
type Effect interface{ isEffect() }

// Write puts a batch on disk. It is followed by its Sync, and no other Write is asked for until that is Synced. The
// driver must not change Data and may keep it; the machine does not touch it either, and serves reads from it.
type Write struct {
	At   seg.Address
	Data []byte
	Upto seg.LSN // the last LSN inside
}

// Sync makes the Write before it durable. The driver answers with Synced, or with IOFailed for either.
type Sync struct{ Upto seg.LSN }

// Reply answers a request. It never precedes the sync that it depends on. It is valid until the driver drops it, and
// immutable.
type Reply struct {
	Conn ConnID
	Seq  uint64
	Op   wire.Op
	// Garbled says that what is answered could not be decoded, so that Op means nothing.
	Garbled bool
	// Close ends the connection after this reply.
	Close bool
	Msg   wire.Response
}

// Push sends a message that answers no request. Like a Reply it never precedes the sync that it depends on, and is
// immutable.
type Push struct {
	Conn ConnID
	Msg  wire.Push
}

// StartJob asks for cold work to be run beside the machine. Its result comes back as JobDone.
type StartJob struct {
	Job  JobID
	Name string // for metrics and logs
	Run  Job
}

// Halt ends the process: it can no longer promise that what it acknowledges is durable. No effect follows.
type Halt struct{ Err error }

func (*Write) isEffect()    {}
func (*Sync) isEffect()     {}
func (*Reply) isEffect()    {}
func (*Push) isEffect()     {}
func (*StartJob) isEffect() {}
func (*Halt) isEffect()     {}

// Job is straight-line work over files. It may only read what it was made with; it shares nothing that changes with the
// machine. It runs on a goroutine in production and as a coroutine in the simulator. A crash ends it by errors from
// Files.
type Job interface{ Run(fs seg.Files) any }

// ArchiveJob is a job that needs an archive beside the files.
type ArchiveJob interface {
	Job
	// Destination says where the archive is.
	Destination() string
	// In returns the job with the archive, which the driver opens. Where that fails, every method of it does.
	In(seg.Objects) Job
}

// messageOverhead is what a message counts for beyond its events, in bytes.
const messageOverhead = 128

// Weight returns what a message counts for until it has left, in bytes.
func Weight(m wire.Message) int {
	switch m := m.(type) {
	case *wire.Response:
		if b, ok := m.Body.(*wire.ReadEventsReply); ok {
			return messageOverhead + b.Events.Size
		}
		if b, ok := m.Body.(*wire.QueryReply); ok {
			return messageOverhead + b.Size
		}
		if b, ok := m.Body.(*wire.BatchQueryReply); ok {
			return messageOverhead + b.Size
		}
	case *wire.Push:
		if b, ok := m.Body.(*wire.SubscriptionEvents); ok {
			return messageOverhead + b.Events.Size
		}
		if b, ok := m.Body.(*wire.QueryChunk); ok {
			return messageOverhead + b.Size
		}
		if b, ok := m.Body.(*wire.GroupEvents); ok {
			return messageOverhead + b.Size()
		}
	}
	return messageOverhead
}

// Code returns the code that a reply tells the client, and false where it is not a refusal.
func (r *Reply) Code() (wire.Code, bool) {
	if e, ok := r.Msg.Body.(*wire.Error); ok {
		return e.Code, true
	}
	return 0, false
}
