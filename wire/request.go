package wire

import "fmt"

// Op is a request's variant index on the wire. The reply to operation n is response variant n+1.
type Op uint32

// The operations, by their variant index. Numbers between these belong to later features.
const (
	OpHandshake    Op = 0
	OpCreateStream Op = 1
	OpAppendEvents Op = 2
	OpQuery        Op = 3
	OpQueryAt      Op = 4
	OpReadEvents   Op = 5
	OpSync         Op = 6
	OpListStreams  Op = 7
	OpStreamInfo   Op = 8
	OpPing         Op = 34
	OpCreateTenant Op = 35
	OpListTenants  Op = 36
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
	case OpPing:
		return "Ping"
	case OpCreateTenant:
		return "CreateTenant"
	case OpListTenants:
		return "ListTenants"
	}
	return fmt.Sprintf("Op(%d)", uint32(o))
}

// Request is one decoded request.
//
// Byte slices inside Body alias memory that the Session handed over with the request and never touches again, so they
// may be kept, but not changed.
type Request struct {
	ID     uint64 // chosen by the client, echoed in the reply
	Tenant TenantID
	Body   RequestBody
	Size   int // bytes of the payload it was decoded from; what back-pressure counts
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
	Streaming      bool        // tail field
	ChunkWindow    uint32      // tail field
	IdempotencyKey Option[Key] // tail field
}

// QueryAt runs one SQL query at a past position of the tenant's log.
type QueryAt struct {
	SQL            string
	Params         []Value
	Position       Position
	Streaming      bool        // tail field
	ChunkWindow    uint32      // tail field
	IdempotencyKey Option[Key] // tail field
}

// ReadEvents reads a stream from an offset. Reading stops once MaxBytes of event data is reached, so that the last
// event may pass it.
type ReadEvents struct {
	Stream        StreamID
	FromOffset    Offset
	MaxBytes      uint64
	MaxEvents     Option[uint32] // tail field
	FromTimestamp Option[Time]   // tail field
	Backward      bool           // tail field
}

// Sync is answered once everything decided before it is on stable storage.
type Sync struct{}

// ListStreams lists a tenant's streams in the order of their ids.
type ListStreams struct {
	After StreamID // list streams with a greater id; 0 starts at the first
	Limit uint32   // at most this many; 0 means MaxListPage
}

// StreamInfo asks about one stream, by name if Name is not empty, else by id.
type StreamInfo struct {
	Stream StreamID
	Name   string
}

// Ping asks for a sign of life.
type Ping struct{}

// CreateTenant makes the tenant that the request names.
type CreateTenant struct{ Name string }

// ListTenants lists the tenants in the order of their ids.
type ListTenants struct {
	After TenantID // list tenants with a greater id
	Limit uint32   // at most this many; 0 means MaxListPage
}

func (*Handshake) Op() Op    { return OpHandshake }
func (*CreateStream) Op() Op { return OpCreateStream }
func (*AppendEvents) Op() Op { return OpAppendEvents }
func (*Query) Op() Op        { return OpQuery }
func (*QueryAt) Op() Op      { return OpQueryAt }
func (*ReadEvents) Op() Op   { return OpReadEvents }
func (*Sync) Op() Op         { return OpSync }
func (*ListStreams) Op() Op  { return OpListStreams }
func (*StreamInfo) Op() Op   { return OpStreamInfo }
func (*Ping) Op() Op         { return OpPing }
func (*CreateTenant) Op() Op { return OpCreateTenant }
func (*ListTenants) Op() Op  { return OpListTenants }

// DataClass says how sensitive a stream's events are.
type DataClass uint32

// The data classes.
const (
	PHI DataClass = iota
	NonPHI
	Deidentified
)

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

// Value is a SQL parameter or a cell of a result.
type Value struct {
	Kind  ValueKind
	Int   int64   // BigInt, Timestamp (ns since the epoch), Boolean (0 or 1)
	Float float64 // Double
	Text  string  // Text
	Bytes []byte  // Bytes
}
