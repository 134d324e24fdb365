package wire

// Response answers the request with the same id.
type Response struct {
	RequestID uint64
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
	Stream        StreamID
	Name          string
	Class         DataClass
	Placement     Placement
	RetentionDays Option[uint32]
	Created       Time // commit time
	OldestOffset  Offset
	HeadOffset    Offset
	Bytes         uint64       // event data, headers left out
	FirstTime     Option[Time] // event time of the oldest event
	LastTime      Option[Time] // event time of the newest event
	Deleted       bool
	PurgeDate     Option[Time]
}

// ListStreamsReply is one page of streams.
type ListStreamsReply struct {
	Streams []StreamDescription
	More    bool
}

// StreamInfoReply describes one stream.
type StreamInfoReply struct{ Info StreamDescription }

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

func (*Error) isResponse()             {}
func (*HandshakeReply) isResponse()    {}
func (*CreateStreamReply) isResponse() {}
func (*AppendEventsReply) isResponse() {}
func (*QueryReply) isResponse()        {}
func (*ReadEventsReply) isResponse()   {}
func (*SyncReply) isResponse()         {}
func (*ListStreamsReply) isResponse()  {}
func (*StreamInfoReply) isResponse()   {}
func (*PingReply) isResponse()         {}
func (*CreateTenantReply) isResponse() {}
func (*ListTenantsReply) isResponse()  {}
