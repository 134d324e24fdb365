package wire

import "fmt"

// A consumer group shares a stream among members. Each event goes to one member at a time, as a delivery, which the member
// acknowledges, gives back, or lets run out.

// DeliveryID names one delivery of one event. Later ones of a subscription are greater.
type DeliveryID uint64

// GroupSettings are settings of a consumer group. An absent one has its default when the group is made, and stays as it is
// when the group is changed.
type GroupSettings struct {
	AckDeadline   Option[uint32] // milliseconds from a delivery until it counts as failed; MinAckDeadline to MaxAckDeadline
	MaxAttempts   Option[uint32] // deliveries of an event before it is parked; 1 or more
	MaxAckPending Option[uint32] // deliveries to all members that may be unacknowledged; 1 to MaxLookAhead
	LookAhead     Option[uint32] // how far behind the floor events may be delivered; 1 to MaxLookAhead
	Order         Option[OrderKey]
}

// The limits and defaults of a group's settings. Times are in milliseconds.
const (
	MinAckDeadline       = 100
	MaxAckDeadline       = 12 * 60 * 60 * 1000
	DefaultAckDeadline   = 30_000
	DefaultMaxAttempts   = 10
	DefaultMaxAckPending = 1_000
	DefaultLookAhead     = 10_000
	MaxLookAhead         = 100_000
	// MaxNackDelay is the longest delay of a Nack.
	MaxNackDelay = 7 * 24 * 60 * 60 * 1000
	// MaxGroups is how many groups a stream may have.
	MaxGroups = 256
	// MaxParked is how many parked events a group may have.
	MaxParked = 10_000
	// MaxParkedAtOnce is how many parked events one request may name.
	MaxParkedAtOnce = 1_000
)

// OrderKey says by what events belong together: of those with the same key at most one is delivered and unacknowledged, and
// they are delivered in the order of the stream.
type OrderKey struct {
	Kind  OrderKind
	Path  string // with OrderJSON, a JSON Pointer (RFC 6901) such as "/customer/id"
	Bytes uint32 // with OrderPrefix, how many from the beginning of the data; 1 to MaxOrderPrefix
}

// MaxOrderPath and MaxOrderPrefix bound order keys, in bytes.
const (
	MaxOrderPath   = 256
	MaxOrderPrefix = 256
)

// OrderKind is the variant index of an order key.
type OrderKind uint32

// The kinds.
const (
	OrderNone   OrderKind = iota // nothing belongs together
	OrderJSON                    // by a value in the data, which is JSON; events without it belong to nothing
	OrderPrefix                  // by the first bytes of the data; shorter data is its own key
)

// Ack acknowledges deliveries to a subscription of the connection. Those that it no longer holds change nothing, and are
// named in the reply; where it holds none of them, the reply is StaleDelivery.
type Ack struct {
	Subscription SubscriptionID
	Deliveries   []DeliveryID
	Cumulative   bool // tail field; all deliveries to the subscription up to each of them
}

// Nack gives deliveries back, which count as failed attempts: their events are delivered again, after a delay.
type Nack struct {
	Subscription SubscriptionID
	Deliveries   []DeliveryID
	Delay        uint64 // milliseconds, at most MaxNackDelay; forgotten when the server ends
	Park         bool   // tail field; park the events instead
}

// ExtendAck moves the deadline of deliveries.
type ExtendAck struct {
	Subscription SubscriptionID
	Deliveries   []DeliveryID
	Deadline     uint64 // milliseconds from now, at most MaxAckDeadline
}

// CreateGroup makes a consumer group of a stream.
type CreateGroup struct {
	Stream        StreamID
	Name          string       // under the rules of stream names
	FromOffset    Offset       // the first event to deliver; EndOffset is the head as it is now
	FromTimestamp Option[Time] // instead: the first event whose event time is at or after it
	Settings      GroupSettings
}

// UpdateGroup changes a group. What is absent stays.
type UpdateGroup struct {
	Stream        StreamID
	Name          string
	Paused        Option[bool]
	SeekOffset    Option[Offset] // go on from there, whatever was acknowledged; EndOffset is the head as it is now
	SeekTimestamp Option[Time]   // instead: from the first event whose event time is at or after it
	Settings      GroupSettings
}

// DeleteGroup deletes a group and what it remembers.
type DeleteGroup struct {
	Stream StreamID
	Name   string
}

// ListGroups lists a stream's groups in the order of their ids.
type ListGroups struct {
	Stream StreamID
	After  uint64 // list groups with a greater id
	Limit  uint32 // at most this many; 0 means MaxListPage
}

// GroupInfo asks about one group.
type GroupInfo struct {
	Stream StreamID
	Name   string
}

// Parked lists a group's parked events, or does something about them.
type Parked struct {
	Stream  StreamID
	Name    string
	Action  ParkedAction
	Offsets []Offset // for ParkedReplay and ParkedDrop, at most MaxParkedAtOnce; none means all
	From    Offset   // for ParkedList: those from here on
	Limit   uint32   // for ParkedList; 0 means MaxListPage
}

// ParkedAction is what Parked does.
type ParkedAction uint32

// The actions.
const (
	ParkedList   ParkedAction = iota
	ParkedReplay              // deliver them again; attempts count from 1
	ParkedDrop                // they count as acknowledged
)

// String returns the action in one lower-case word.
func (a ParkedAction) String() string {
	switch a {
	case ParkedList:
		return "list"
	case ParkedReplay:
		return "replay"
	case ParkedDrop:
		return "drop"
	}
	return fmt.Sprintf("ParkedAction(%d)", uint32(a))
}

// Explain asks why a group's events are, or are not, being delivered.
type Explain struct {
	Stream StreamID
	Name   string
}

func (*Ack) Op() Op         { return OpAck }
func (*Nack) Op() Op        { return OpNack }
func (*ExtendAck) Op() Op   { return OpExtendAck }
func (*CreateGroup) Op() Op { return OpCreateGroup }
func (*UpdateGroup) Op() Op { return OpUpdateGroup }
func (*DeleteGroup) Op() Op { return OpDeleteGroup }
func (*ListGroups) Op() Op  { return OpListGroups }
func (*GroupInfo) Op() Op   { return OpGroupInfo }
func (*Parked) Op() Op      { return OpParked }
func (*Explain) Op() Op     { return OpExplain }

// AckReply says that the acknowledgements are durable.
type AckReply struct {
	Acked uint64       // deliveries
	Stale []DeliveryID // those named that the subscription does not hold
}

// NackReply says that the deliveries are given back.
type NackReply struct{ Stale []DeliveryID }

// ExtendAckReply says that the deadlines are moved.
type ExtendAckReply struct{ Stale []DeliveryID }

// CreateGroupReply says where the group begins.
type CreateGroupReply struct {
	Floor    Offset
	Position Position
}

// UpdateGroupReply acknowledges the change of a group.
type UpdateGroupReply struct {
	Floor    Offset
	Position Position
}

// DeleteGroupReply acknowledges the deletion of a group.
type DeleteGroupReply struct{ Position Position }

// ListGroupsReply is one page of groups.
type ListGroupsReply struct {
	Groups []GroupDescription
	More   bool
}

// GroupInfoReply describes one group.
type GroupInfoReply struct{ Info GroupDescription }

// GroupDescription is what is told of a group. An event is settled once it is acknowledged, parked or passed over.
type GroupDescription struct {
	ID          uint64 // unique in its stream, never given again
	Name        string
	Created     Time          // commit time
	Settings    GroupSettings // all of them present
	Paused      bool
	Floor       Offset       // every event before it is settled
	Head        Offset       // the stream's
	Lag         uint64       // events that are not settled
	LagSince    Option[Time] // about the event time of the oldest of them
	Pending     uint64       // deliveries that are not acknowledged
	Delayed     uint64       // events that were given back with a delay, which runs
	Parked      uint64       // events
	Skipped     uint64       // events that were passed over, since they have expired or cannot be read
	Redelivered uint64       // deliveries since the server was started that were not an event's first
	Members     uint32
}

// ParkedReply lists parked events, or says how many of them were replayed or dropped.
type ParkedReply struct {
	Events  []ParkedEvent // ascending offsets
	More    bool
	Changed uint64
}

// ParkedEvent is an event that a group does not deliver any more.
type ParkedEvent struct {
	Offset   Offset
	Attempts uint32
	Since    Time // commit time
	Asked    bool // a member has asked for it; else the attempts ran out
}

// ExplainReply says what a group does and why.
type ExplainReply struct {
	Info    GroupDescription
	Members []MemberDescription
	Held    []HeldDelivery // at most MaxHeldTold, the oldest first
	Reasons []string       // for people: what is delivered, or what it waits for
}

// MaxHeldTold is how many deliveries Explain tells of.
const MaxHeldTold = 100

// MemberDescription is what Explain tells of a member of a group.
type MemberDescription struct {
	Subscription SubscriptionID
	From         string // the peer's address
	CreditEvents uint64
	CreditBytes  int64
	Held         uint64 // deliveries that it has not acknowledged
	Choked       bool   // it does not take what was pushed
}

// HeldDelivery is what Explain tells of a delivery that is not acknowledged.
type HeldDelivery struct {
	Delivery     DeliveryID
	Offset       Offset
	Attempt      uint32
	Subscription SubscriptionID
	HeldFor      uint64 // milliseconds
	Remaining    uint64 // milliseconds until its deadline
}

func (*AckReply) isResponse()         {}
func (*NackReply) isResponse()        {}
func (*ExtendAckReply) isResponse()   {}
func (*CreateGroupReply) isResponse() {}
func (*UpdateGroupReply) isResponse() {}
func (*DeleteGroupReply) isResponse() {}
func (*ListGroupsReply) isResponse()  {}
func (*GroupInfoReply) isResponse()   {}
func (*ParkedReply) isResponse()      {}
func (*ExplainReply) isResponse()     {}

// GroupEvents are deliveries to a member of a group.
type GroupEvents struct {
	Subscription SubscriptionID
	Deliveries   []Delivery
}

// Delivery hands one event to a member of a group.
type Delivery struct {
	ID      DeliveryID
	Attempt uint32 // 1 for the first delivery of an event
	Event   EncodedEvent
}

// Size returns what the deliveries take when they are encoded, in bytes.
func (g *GroupEvents) Size() int {
	n := 0
	for i := range g.Deliveries {
		n += DeliveryOverhead + len(g.Deliveries[i].Event)
	}
	return n
}

// DeliveryOverhead is what a delivery takes beyond its encoded event, in bytes.
const DeliveryOverhead = 12

// EncodedEvent is one event, encoded as AppendEvent does.
type EncodedEvent []byte

// Decode returns the event. Its data aliases the encoding.
func (e EncodedEvent) Decode() Event {
	decoded, _, _ := NextEvent(e)
	return decoded
}

func (*GroupEvents) variant() uint32 { return pushGroupEvents }
