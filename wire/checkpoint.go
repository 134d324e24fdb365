package wire

import (
	"encoding/hex"
	"errors"
	"slices"
)

// A checkpoint freezes a tenant at a position of its log, without stopping anybody who writes.

// CheckpointID names a checkpoint, for ever and everywhere: a random u128 in its little-endian wire form. Zeros name none.
type CheckpointID [16]byte

// String returns the id as 32 hexadecimal digits, the most significant first.
func (id CheckpointID) String() string {
	slices.Reverse(id[:])
	return hex.EncodeToString(id[:])
}

// ParseCheckpointID reads what String has written.
func ParseCheckpointID(s string) (id CheckpointID, err error) {
	if len(s) != 2*len(id) {
		return id, errors.New("a checkpoint's id has 32 hexadecimal digits")
	}
	if _, err := hex.Decode(id[:], []byte(s)); err != nil {
		return CheckpointID{}, errors.New("a checkpoint's id has 32 hexadecimal digits")
	}
	slices.Reverse(id[:])
	return id, nil
}

// Checkpoint cuts a checkpoint of the tenant.
type Checkpoint struct {
	Of    TenantID       // the request's
	Label Option[string] // under the rules of stream names; unique in the tenant, ignoring ASCII case
}

// ListCheckpoints lists a tenant's checkpoints in the order of their positions.
type ListCheckpoints struct{ Of TenantID } // the request's

// CheckpointRef says which checkpoint is meant: by label if Label is not empty, else by id.
type CheckpointRef struct {
	ID    CheckpointID
	Label string
}

// String returns the label, or else the id.
func (r CheckpointRef) String() string {
	if r.Label != "" {
		return r.Label
	}
	return r.ID.String()
}

// GetCheckpoint asks about one checkpoint, and for a page of its streams.
type GetCheckpoint struct {
	Of    TenantID // the request's
	Ref   CheckpointRef
	After StreamID // streams with a greater id
	Limit uint32   // at most so many streams; 0 means none
}

// DeleteCheckpoint deletes a checkpoint.
type DeleteCheckpoint struct {
	Of  TenantID // the request's
	Ref CheckpointRef
}

// ArchiveCheckpoint has the server send a checkpoint to an archive: a directory or a bucket. It is answered at once; GetCheckpoint
// tells how far that is. Asking again changes nothing, unless the archive has lost something: then that is sent again.
type ArchiveCheckpoint struct {
	Of          TenantID // the request's
	Ref         CheckpointRef
	Destination string       // at most MaxDestination bytes; one that the server's settings allow
	LockUntil   Option[Time] // tail field; until then the archive lets nobody remove what was sent
}

// RestoreTenant restores a checkpoint of an archive as a tenant that does not exist yet. All of it is verified first. It is answered when
// the beginning is durable; RestoreInfo tells how far the rest is. Asking again for the same changes nothing.
type RestoreTenant struct {
	Of          TenantID // the new one; the request's
	Source      string   // the archive, as ArchiveCheckpoint's Destination; at most MaxDestination bytes
	Store       uint64   // what follows names the checkpoint, as its note does
	Tenant      TenantID
	Position    Position
	Checkpoint  CheckpointID
	Name        Option[string] // of the new tenant; without it that of the old one
	AcceptOlder bool           // restore it although the archive has a later one of the tenant
}

// RestoreInfo asks how far a tenant is that is being restored, or was.
type RestoreInfo struct{ Of TenantID } // the request's

// MaxDestination bounds where an archive is, in bytes.
const MaxDestination = 1024

func (*Checkpoint) Op() Op        { return OpCheckpoint }
func (*ListCheckpoints) Op() Op   { return OpListCheckpoints }
func (*GetCheckpoint) Op() Op     { return OpGetCheckpoint }
func (*DeleteCheckpoint) Op() Op  { return OpDeleteCheckpoint }
func (*ArchiveCheckpoint) Op() Op { return OpArchiveCheckpoint }
func (*RestoreTenant) Op() Op     { return OpRestoreTenant }
func (*RestoreInfo) Op() Op       { return OpRestoreInfo }

// MaxCheckpoints is how many checkpoints a tenant may have.
const MaxCheckpoints = 10_000

// CheckpointReply says what was cut.
type CheckpointReply struct {
	ID       CheckpointID
	Position Position // of its entry in the tenant's log; the checkpoint has everything up to that
	Time     Time     // commit time of the entry
}

// CheckpointInfo describes a checkpoint.
type CheckpointInfo struct {
	ID       CheckpointID
	Label    Option[string]
	Position Position
	Time     Time
	Size     uint64 // bytes of event data in it that are still there
}

// ListCheckpointsReply is all checkpoints of a tenant.
type ListCheckpointsReply struct{ Checkpoints []CheckpointInfo }

// GetCheckpointReply describes one checkpoint.
type GetCheckpointReply struct {
	Info     CheckpointInfo
	Note     string        // the signed note; empty until the checkpoint is kept
	Trouble  string        // why it is not kept yet, where that has failed
	Archives []ArchiveInfo // that it was sent to, or is being sent to
	Streams  []CheckpointStream
	More     bool // there are more streams
}

// ArchiveInfo says how far a checkpoint has got into an archive.
type ArchiveInfo struct {
	Destination string
	Done        bool
	Sent        uint64 // bytes that were sent since the server began with it
	Events      uint64 // of the checkpoint that the archive has; all of them once it is done
	Trouble     string // why it does not go on, where that has failed; the server tries again
}

// CheckpointStream is a stream as a checkpoint has it.
type CheckpointStream struct {
	Stream StreamID
	Name   string
	Base   Offset // the tree's first leaf is this event
	Oldest Offset
	Head   Offset
	Bytes  uint64 // of event data from Oldest on
	Root   []byte // of the stream's tree, SHA-256; empty until the checkpoint is kept
}

// ArchiveCheckpointReply says that it is in the log that a checkpoint is to be archived.
type ArchiveCheckpointReply struct{ Position Position }

// RestoreTenantReply says that a tenant begins to come.
type RestoreTenantReply struct{ Position Position } // of its log, once it is there; an act comes behind

// RestoreInfoReply says how far a tenant is.
type RestoreInfoReply struct {
	Done    bool   // it can be used
	Events  uint64 // that are there
	Trouble string // why it does not go on, where that has failed; the server tries again
	Streams []RestoredStream
}

// RestoredStream says what the id of a stream has become.
type RestoredStream struct {
	Was StreamID // in the checkpoint, and in its proofs
	Is  StreamID
}

// DeleteCheckpointReply says that a checkpoint is gone.
type DeleteCheckpointReply struct{ Position Position }

func (*CheckpointReply) isResponse()        {}
func (*ListCheckpointsReply) isResponse()   {}
func (*GetCheckpointReply) isResponse()     {}
func (*DeleteCheckpointReply) isResponse()  {}
func (*ArchiveCheckpointReply) isResponse() {}
func (*RestoreTenantReply) isResponse()     {}
func (*RestoreInfoReply) isResponse()       {}
