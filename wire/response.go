package wire

import "fmt"

// Response answers the request with the same id.
type Response struct {
	RequestID uint64
	Codec     Codec // how it prefers to travel; the client is not told
	Body      ResponseBody
}

// ResponseBody is one of the reply messages below.
type ResponseBody interface{ isResponse() }

// Error is a refusal or a failure.
type Error struct {
	Code          Code
	Message       string
	CurrentOffset Option[Offset] // tail field; the head, with OffsetMismatch
	Retryable     bool           // tail field; set from the code's table entry when encoding
}

// Errorf returns an error with a code and a message for people.
func Errorf(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// HandshakeReply accepts a connection.
type HandshakeReply struct {
	ServerVersion uint16
	Authenticated bool
	Capabilities  []string
}

// CreateStreamReply names the new stream.
type CreateStreamReply struct{ Stream StreamID }

// AppendEventsReply acknowledges a durable append.
type AppendEventsReply struct {
	FirstOffset Offset
	Count       uint32
	Timestamp   Time     // tail field; the commit time
	Position    Position // tail field
	Duplicate   bool     // tail field
}

// QueryReply holds a statement's result.
type QueryReply struct {
	At           bool // the answer to QueryAt
	Size         int  // about what the rows take on the wire, in bytes, where the sender says so; not sent
	Columns      []string
	Rows         [][]Value
	RowsAffected uint64   // tail field
	Position     Position // tail field
	Trimmed      bool     // tail field
}

// ReadEventsReply holds a range of events.
type ReadEventsReply struct {
	Events       EventRange
	NextOffset   Option[Offset]
	OldestOffset Offset // tail field
	HeadOffset   Offset // tail field
}

// SyncReply says that everything decided before it is durable.
type SyncReply struct{ Success bool }

// StreamDescription is what ListStreams and StreamInfo tell of a stream.
type StreamDescription struct {
	Stream           StreamID
	Name             string
	Class            DataClass
	Placement        Placement
	RetentionDays    Option[uint32]
	Created          Time // commit time
	OldestOffset     Offset
	HeadOffset       Offset
	Bytes            uint64       // data of the events that can be read, headers left out
	FirstTime        Option[Time] // event time of the oldest event
	LastTime         Option[Time] // event time of the newest event
	Deleted          bool
	PurgeDate        Option[Time] // of a deleted stream
	MinRetentionDays uint32
	Holds            []HoldDescription // in the order in which they were set
}

// HoldDescription is what is told of a legal hold.
type HoldDescription struct {
	Name   string
	Reason string
	Set    Time // commit time
}

// ListStreamsReply is one page of streams.
type ListStreamsReply struct {
	Streams []StreamDescription
	More    bool
}

// StreamInfoReply describes one stream.
type StreamInfoReply struct{ Info StreamDescription }

// DeleteStreamReply says until when the stream can be brought back.
type DeleteStreamReply struct {
	Deleted   bool
	PurgeDate Time     // when its data is physically deleted; the greatest Time is never
	Position  Position // tail field; the tenant's log, with the deletion
}

// UndeleteStreamReply says that the stream is there. Restored is false where it was not deleted.
type UndeleteStreamReply struct {
	Restored bool
	Position Position
}

// SetRetentionReply acknowledges a change of retention.
type SetRetentionReply struct{ Position Position }

// SetHoldReply acknowledges a legal hold.
type SetHoldReply struct{ Position Position }

// ReleaseHoldReply acknowledges the end of a legal hold.
type ReleaseHoldReply struct{ Position Position }

// SubscribeReply names the subscription. Its pushes follow.
type SubscribeReply struct{ Subscription SubscriptionID }

// UnsubscribeReply ends a subscription. No push of it follows.
type UnsubscribeReply struct{ Next Offset } // the first event that was not sent

// CreditReply shows the balance after a grant.
type CreditReply struct {
	Events uint64
	Bytes  int64 // below zero by what the last event passed it
}

// ChunkAckReply says how many chunks of the query are unacknowledged: none where it has ended.
type ChunkAckReply struct{ Unacknowledged uint32 }

// CancelQueryReply says whether there was such a query. It is then answered with an error, if it has not been answered.
type CancelQueryReply struct{ Cancelled bool }

// PingReply is a sign of life.
type PingReply struct{}

// CreateTenantReply names the tenant made.
type CreateTenantReply struct{ Tenant TenantID }

// TenantDescription is what ListTenants tells of a tenant.
type TenantDescription struct {
	Tenant   TenantID
	Name     string
	Created  Time // commit time
	Streams  uint64
	Position Position
}

// ListTenantsReply is one page of tenants.
type ListTenantsReply struct {
	Tenants []TenantDescription
	More    bool
}

// VerifyAuditReply is the verdict on a tenant's audit stream.
type VerifyAuditReply struct {
	Events  uint64         // how many events the stream has
	Hash    []byte         // SHA-256 of the last one, which commits to all before it; empty without events
	Break   Option[Offset] // the first event that is not what the chain says
	Message string         // why, where Break is set
}

// ClockReply shows the engine clock.
type ClockReply struct {
	Now     Time // the engine clock
	Wall    Time // the server's wall clock
	Trusted bool // whether the engine clock follows the wall clock
}

// ConfirmClockReply shows the engine clock after a confirmation.
type ConfirmClockReply struct{ Now Time }

func (*Error) isResponse()               {}
func (*HandshakeReply) isResponse()      {}
func (*CreateStreamReply) isResponse()   {}
func (*AppendEventsReply) isResponse()   {}
func (*QueryReply) isResponse()          {}
func (*ReadEventsReply) isResponse()     {}
func (*SyncReply) isResponse()           {}
func (*ListStreamsReply) isResponse()    {}
func (*StreamInfoReply) isResponse()     {}
func (*DeleteStreamReply) isResponse()   {}
func (*UndeleteStreamReply) isResponse() {}
func (*SetRetentionReply) isResponse()   {}
func (*SetHoldReply) isResponse()        {}
func (*ReleaseHoldReply) isResponse()    {}
func (*SubscribeReply) isResponse()      {}
func (*UnsubscribeReply) isResponse()    {}
func (*CreditReply) isResponse()         {}
func (*ChunkAckReply) isResponse()       {}
func (*CancelQueryReply) isResponse()    {}
func (*PingReply) isResponse()           {}
func (*CreateTenantReply) isResponse()   {}
func (*ListTenantsReply) isResponse()    {}
func (*VerifyAuditReply) isResponse()    {}
func (*ClockReply) isResponse()          {}
func (*ConfirmClockReply) isResponse()   {}
