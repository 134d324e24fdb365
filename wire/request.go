package wire

import "fmt"

// Op is a request's variant index on the wire. The reply to operation n is response variant n+1.
type Op uint32

// The operations, by their variant index. Numbers between these belong to later features.
const (
	OpHandshake         Op = 0
	OpCreateStream      Op = 1
	OpAppendEvents      Op = 2
	OpQuery             Op = 3
	OpQueryAt           Op = 4
	OpReadEvents        Op = 5
	OpSync              Op = 6
	OpListStreams       Op = 7
	OpStreamInfo        Op = 8
	OpDeleteStream      Op = 9
	OpUndeleteStream    Op = 10
	OpSetRetention      Op = 11
	OpSetHold           Op = 12
	OpReleaseHold       Op = 13
	OpBatchQuery        Op = 14
	OpCheckpoint        Op = 15
	OpListCheckpoints   Op = 16
	OpGetCheckpoint     Op = 17
	OpDeleteCheckpoint  Op = 18
	OpSubscribe         Op = 19
	OpUnsubscribe       Op = 20
	OpCredit            Op = 21
	OpAck               Op = 22
	OpNack              Op = 23
	OpExtendAck         Op = 24
	OpCreateGroup       Op = 25
	OpUpdateGroup       Op = 26
	OpDeleteGroup       Op = 27
	OpListGroups        Op = 28
	OpGroupInfo         Op = 29
	OpParked            Op = 30
	OpExplain           Op = 31
	OpChunkAck          Op = 32
	OpCancelQuery       Op = 33
	OpPing              Op = 34
	OpCreateTenant      Op = 35
	OpListTenants       Op = 36
	OpVerifyAudit       Op = 37
	OpClock             Op = 38
	OpConfirmClock      Op = 39
	OpArchiveCheckpoint Op = 40
	OpRestoreTenant     Op = 41
	OpRestoreInfo       Op = 42

	// OpCount is more than the number of any operation.
	OpCount = int(OpRestoreInfo) + 1
)

// String returns the operation's name, as metrics show it.
func (o Op) String() string {
	switch o {
	case OpHandshake:
		return "Handshake"
	case OpCreateStream:
		return "CreateStream"
	case OpAppendEvents:
		return "AppendEvents"
	case OpQuery:
		return "Query"
	case OpQueryAt:
		return "QueryAt"
	case OpReadEvents:
		return "ReadEvents"
	case OpSync:
		return "Sync"
	case OpListStreams:
		return "ListStreams"
	case OpStreamInfo:
		return "StreamInfo"
	case OpDeleteStream:
		return "DeleteStream"
	case OpUndeleteStream:
		return "UndeleteStream"
	case OpSetRetention:
		return "SetRetention"
	case OpSetHold:
		return "SetHold"
	case OpReleaseHold:
		return "ReleaseHold"
	case OpBatchQuery:
		return "BatchQuery"
	case OpCheckpoint:
		return "Checkpoint"
	case OpListCheckpoints:
		return "ListCheckpoints"
	case OpGetCheckpoint:
		return "GetCheckpoint"
	case OpDeleteCheckpoint:
		return "DeleteCheckpoint"
	case OpSubscribe:
		return "Subscribe"
	case OpUnsubscribe:
		return "Unsubscribe"
	case OpCredit:
		return "Credit"
	case OpAck:
		return "Ack"
	case OpNack:
		return "Nack"
	case OpExtendAck:
		return "ExtendAck"
	case OpCreateGroup:
		return "CreateGroup"
	case OpUpdateGroup:
		return "UpdateGroup"
	case OpDeleteGroup:
		return "DeleteGroup"
	case OpListGroups:
		return "ListGroups"
	case OpGroupInfo:
		return "GroupInfo"
	case OpParked:
		return "Parked"
	case OpExplain:
		return "Explain"
	case OpChunkAck:
		return "ChunkAck"
	case OpCancelQuery:
		return "CancelQuery"
	case OpPing:
		return "Ping"
	case OpCreateTenant:
		return "CreateTenant"
	case OpListTenants:
		return "ListTenants"
	case OpVerifyAudit:
		return "VerifyAudit"
	case OpClock:
		return "Clock"
	case OpConfirmClock:
		return "ConfirmClock"
	case OpArchiveCheckpoint:
		return "ArchiveCheckpoint"
	case OpRestoreTenant:
		return "RestoreTenant"
	case OpRestoreInfo:
		return "RestoreInfo"
	}
	return fmt.Sprintf("Op(%d)", uint32(o))
}

// Request is one decoded request.
//
// Byte slices inside Body alias memory that the Session handed over with the request and never touches again, so they
// may be kept, but not changed.
type Request struct {
	ID       uint64 // chosen by the client, echoed in the reply
	Tenant   TenantID
	Codec    Codec // from version 2 on: how the client prefers the reply to travel
	Body     RequestBody
	Size     int      // bytes of the payload it was decoded from, once expanded; what back-pressure counts
	Features Features // what the client understands, of a decoded request
}

// RequestBody is one of the request messages below.
type RequestBody interface{ Op() Op }

// Handshake opens a connection: version negotiation, authentication, capabilities.
type Handshake struct {
	ClientVersion uint16
	AuthToken     Option[string]
	Capabilities  []string // tail field
}

// CreateStream makes an empty stream.
type CreateStream struct {
	Name          string
	Class         DataClass
	Placement     Placement
	RetentionDays Option[uint32] // tail field; absent keeps events for ever
}

// AppendEvents appends a batch to a stream, all or nothing.
type AppendEvents struct {
	Stream         StreamID
	Events         [][]byte
	ExpectOffset   Option[Offset] // tail field; the append is refused unless this is the head
	Timestamps     Option[[]Time] // tail field; event times, one per event
	IdempotencyKey Option[Key]    // tail field
}

// Query runs one SQL statement.
type Query struct {
	SQL            string
	Params         []Value
	Streaming      bool        // tail field; the rows come as chunks, see QueryChunk
	ChunkWindow    uint32      // tail field; how many of them may be unacknowledged, 0 leaves it to the server
	IdempotencyKey Option[Key] // tail field
	TimeoutMS      uint32      // tail field; a query that takes longer is ended, 0 leaves it to the server
}

// QueryAt runs one SQL query at a past position of the tenant's log.
type QueryAt struct {
	SQL            string
	Params         []Value
	Position       Position
	Streaming      bool        // tail field, as those of Query
	ChunkWindow    uint32      // tail field
	IdempotencyKey Option[Key] // tail field
	TimeoutMS      uint32      // tail field
}

// ReadEvents reads a stream from an offset. Reading stops once MaxBytes of event data is reached, so that the last
// event may pass it.
//
// FromTimestamp moves the start: forward to the first event from FromOffset on whose event time is at or after it; backward
// to the event before the first one of the stream that is as late, if that comes before FromOffset.
type ReadEvents struct {
	Stream        StreamID
	FromOffset    Offset // inclusive; backward, EndOffset is the last event
	MaxBytes      uint64
	MaxEvents     Option[uint32]   // tail field
	FromTimestamp Option[Time]     // tail field
	Backward      bool             // tail field; newest first
	AsOf          Option[Position] // tail field; only what the stream had at that position of the tenant's log
}

// EndOffset is behind every event.
const EndOffset Offset = 1<<64 - 1

// Sync is answered once everything decided before it is on stable storage.
type Sync struct{}

// ListStreams lists a tenant's streams in the order of their ids.
type ListStreams struct {
	After   StreamID     // list streams with a greater id; 0 starts at the first
	Limit   uint32       // at most this many; 0 means MaxListPage
	Prefix  string       // tail field; only streams whose names begin with it, ignoring ASCII case
	Deleted Option[bool] // tail field; only deleted streams, or only those that are not
	System  bool         // tail field; the system's streams too
}

// StreamInfo asks about one stream, by name if Name is not empty, else by id.
type StreamInfo struct {
	Stream StreamID
	Name   string
}

// DeleteStream deletes a stream softly: it refuses everything from then on, and is purged at its purge date. Deleting
// it again changes nothing.
type DeleteStream struct {
	Stream            StreamID
	RetentionOverride Option[uint32] // days until the purge, instead of the stream's own retention
}

// UndeleteStream brings a deleted stream back that is not purged yet.
type UndeleteStream struct{ Stream StreamID }

// SetRetention changes how long a stream's events are kept, counted from their event times.
type SetRetention struct {
	Stream  StreamID
	Days    Option[uint32] // absent keeps events for ever; at least MinDays
	MinDays Option[uint32] // the least that Days and the time until a purge may be; absent leaves it as it is
}

// SetHold puts a named legal hold on a stream: nothing is cut off or purged until it is released. Setting it again
// changes nothing.
type SetHold struct {
	Stream StreamID
	Name   string // under the rules of stream names
	Reason string // for people, at most MaxReason bytes
}

// ReleaseHold ends a legal hold.
type ReleaseHold struct {
	Stream StreamID
	Name   string
}

// Subscribe has the events of a stream pushed from an offset on: first those that are there, then new ones as soon as they
// are durable. It is for version 3.
//
// An event is pushed only while both credits are above zero; its encoded size, EventOverhead included, is taken from the
// bytes, which the last event may bring below zero.
type Subscribe struct {
	Stream        StreamID
	FromOffset    Offset         // EndOffset is the head as it is now
	Group         Option[string] // a consumer group; the subscription is a member of it, and begins where the group is
	FromTimestamp Option[Time]   // tail field; not before the first event whose event time is at or after it
	CreditEvents  uint64         // tail field
	CreditBytes   uint64         // tail field
}

// Unsubscribe ends a subscription of the connection.
type Unsubscribe struct{ Subscription SubscriptionID }

// Credit grants a subscription of the connection more events and bytes. A balance is at most MaxCredit.
type Credit struct {
	Subscription SubscriptionID
	Events       uint64
	Bytes        uint64
}

// MaxCredit is the greatest balance of a subscription, of events as of bytes. What is granted beyond it is lost.
const MaxCredit = 1 << 40

// ChunkAck acknowledges the chunks of a streamed query of the connection, up to one of them. It is for version 3.
type ChunkAck struct {
	Query    uint64 // the id of its request
	Sequence uint32
}

// CancelQuery ends a query of the connection, streamed or not.
type CancelQuery struct{ Query uint64 } // the id of its request

// Ping asks for a sign of life.
type Ping struct{}

// CreateTenant makes the tenant that the request names.
type CreateTenant struct{ Name string }

// ListTenants lists the tenants in the order of their ids.
type ListTenants struct {
	After TenantID // list tenants with a greater id
	Limit uint32   // at most this many; 0 means MaxListPage
}

// VerifyAudit has the server check the hash chain of the tenant's audit stream.
type VerifyAudit struct{}

// Clock asks for the engine clock.
type Clock struct{}

// ConfirmClock says that the server's wall clock is right although the engine clock does not believe it.
type ConfirmClock struct {
	Wall Time // the wall clock that somebody has seen; it must still show about that
}

func (*Handshake) Op() Op      { return OpHandshake }
func (*CreateStream) Op() Op   { return OpCreateStream }
func (*AppendEvents) Op() Op   { return OpAppendEvents }
func (*Query) Op() Op          { return OpQuery }
func (*QueryAt) Op() Op        { return OpQueryAt }
func (*ReadEvents) Op() Op     { return OpReadEvents }
func (*Sync) Op() Op           { return OpSync }
func (*ListStreams) Op() Op    { return OpListStreams }
func (*StreamInfo) Op() Op     { return OpStreamInfo }
func (*DeleteStream) Op() Op   { return OpDeleteStream }
func (*UndeleteStream) Op() Op { return OpUndeleteStream }
func (*SetRetention) Op() Op   { return OpSetRetention }
func (*SetHold) Op() Op        { return OpSetHold }
func (*ReleaseHold) Op() Op    { return OpReleaseHold }
func (*Subscribe) Op() Op      { return OpSubscribe }
func (*Unsubscribe) Op() Op    { return OpUnsubscribe }
func (*Credit) Op() Op         { return OpCredit }
func (*ChunkAck) Op() Op       { return OpChunkAck }
func (*CancelQuery) Op() Op    { return OpCancelQuery }
func (*Ping) Op() Op           { return OpPing }
func (*CreateTenant) Op() Op   { return OpCreateTenant }
func (*ListTenants) Op() Op    { return OpListTenants }
func (*VerifyAudit) Op() Op    { return OpVerifyAudit }
func (*Clock) Op() Op          { return OpClock }
func (*ConfirmClock) Op() Op   { return OpConfirmClock }

// DataClass says how sensitive a stream's events are.
type DataClass uint32

// The data classes.
const (
	PHI DataClass = iota
	NonPHI
	Deidentified
)

// String returns the class's name as the protocol writes it.
func (c DataClass) String() string {
	switch c {
	case PHI:
		return "PHI"
	case NonPHI:
		return "NonPHI"
	case Deidentified:
		return "Deidentified"
	}
	return fmt.Sprintf("DataClass(%d)", uint32(c))
}

// Placement says where a stream's events may be kept.
type Placement struct {
	Global bool // everywhere; Region is then its zero value
	Region Region
}

// Region is a named region. Custom is used only by RegionCustom.
type Region struct {
	Kind   RegionKind
	Custom string
}

// RegionKind is the variant index of a region.
type RegionKind uint32

// The regions.
const (
	USEast1 RegionKind = iota
	APSoutheast2
	RegionCustom
)

// ValueKind is the variant index of a SQL value. Double and Bytes travel only where both sides know typed values.
type ValueKind uint32

// The kinds of SQL values.
const (
	Null ValueKind = iota
	BigInt
	Text
	Boolean
	Timestamp
	Double
	Bytes
)

// String returns the kind's name.
func (k ValueKind) String() string {
	switch k {
	case Null:
		return "Null"
	case BigInt:
		return "BigInt"
	case Text:
		return "Text"
	case Boolean:
		return "Boolean"
	case Timestamp:
		return "Timestamp"
	case Double:
		return "Double"
	case Bytes:
		return "Bytes"
	}
	return fmt.Sprintf("ValueKind(%d)", uint32(k))
}

// Value is a SQL parameter or a cell of a result.
type Value struct {
	Kind  ValueKind
	Int   int64   // BigInt, Timestamp (ns since the epoch), Boolean (0 or 1)
	Float float64 // Double
	Text  string  // Text
	Bytes []byte  // Bytes
}
