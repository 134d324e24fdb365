package engine

import (
	"github.com/kimberlitedb/kimberlite-go/engine/seg"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// Instant is the driver's reading of its two clocks when it calls Step.
type Instant struct {
	Wall wire.Time // the system's time of day; may jump
	Mono wire.Time // nanoseconds since some moment before; never goes back within a process
}

// ConnID names a connection. Ids are never reused within a process.
type ConnID uint64

// JobID names a job that the machine started.
type JobID uint64

// Command is what drives the machine.
type Command interface{ isCommand() }

// Request asks for one operation. The machine answers every request with exactly one Reply.
type Request struct {
	Conn ConnID
	Seq  uint64 // the driver's own number for it, given back with the reply
	From string // the peer's address, kept with administrative acts
	Msg  *wire.Request

	series *series // it is a statement of a batch, which takes the answer
}

// EndBatch closes a group of requests: what they decided is written now, or when the sync in flight is done.
type EndBatch struct{}

// Synced says that the Write and Sync up to an LSN are done.
type Synced struct{ Upto seg.LSN }

// IOFailed says that a Write or Sync failed. It is final.
type IOFailed struct{ Err error }

// JobDone hands a job's outcome back.
type JobDone struct {
	Job    JobID
	Result any // what Job.Run returned
}

// Dismiss says that a connection will be closed by the server. Its subscriptions end with a word about it.
type Dismiss struct{ Conn ConnID }

// Hangup says that a connection is gone.
type Hangup struct{ Conn ConnID }

// Drained says how many bytes wait for a connection that was choked.
type Drained struct {
	Conn   ConnID
	Unsent int
}

// Tick lets time pass: commit marks, retries of jobs. Once in 250 ms is often enough.
type Tick struct{}

func (*Request) isCommand() {}
func (EndBatch) isCommand() {}
func (Synced) isCommand()   {}
func (IOFailed) isCommand() {}
func (JobDone) isCommand()  {}
func (Dismiss) isCommand()  {}
func (Hangup) isCommand()   {}
func (Drained) isCommand()  {}
func (Tick) isCommand()     {}
