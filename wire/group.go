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

func appendGroupEvents(dst []byte, b *GroupEvents) []byte {
	dst = appendCount(appendNumber(dst, b.Subscription), len(b.Deliveries))
	for i := range b.Deliveries {
		d := &b.Deliveries[i]
		dst = append(appendU32(appendNumber(dst, d.ID), d.Attempt), d.Event...)
	}
	return dst
}

func (d *decoder) groupEvents() *GroupEvents {
	b := &GroupEvents{Subscription: SubscriptionID(d.u64()), Deliveries: vec[Delivery](d, DeliveryOverhead+EventOverhead)}
	for i := range b.Deliveries {
		b.Deliveries[i] = Delivery{ID: DeliveryID(d.u64()), Attempt: d.u32(), Event: d.encodedEvent()}
	}
	return b
}

func (d *decoder) encodedEvent() EncodedEvent {
	_, rest, ok := NextEvent(d.rest)
	if !ok {
		d.fail(errShort)
		return nil
	}
	n := len(d.rest) - len(rest)
	e := d.rest[:n:n]
	d.rest = rest
	return e
}

// groupRequest decodes the requests of consumer groups.
func (d *decoder) groupRequest(op Op) RequestBody {
	switch op {
	case OpAck:
		m := &Ack{Subscription: SubscriptionID(d.u64()), Deliveries: numbers[DeliveryID](d)}
		if d.more() {
			m.Cumulative = d.boolean()
		}
		return m
	case OpNack:
		m := &Nack{Subscription: SubscriptionID(d.u64()), Deliveries: numbers[DeliveryID](d), Delay: d.u64()}
		if d.more() {
			m.Park = d.boolean()
		}
		return m
	case OpExtendAck:
		return &ExtendAck{Subscription: SubscriptionID(d.u64()), Deliveries: numbers[DeliveryID](d), Deadline: d.u64()}
	case OpCreateGroup:
		return &CreateGroup{Stream: StreamID(d.u64()), Name: d.str(), FromOffset: Offset(d.u64()),
			FromTimestamp: optNumber[Time](d), Settings: d.groupSettings()}
	case OpUpdateGroup:
		m := &UpdateGroup{Stream: StreamID(d.u64()), Name: d.str()}
		if d.boolean() {
			m.Paused = Some(d.boolean())
		}
		m.SeekOffset, m.SeekTimestamp, m.Settings = optNumber[Offset](d), optNumber[Time](d), d.groupSettings()
		return m
	case OpDeleteGroup:
		return &DeleteGroup{Stream: StreamID(d.u64()), Name: d.str()}
	case OpListGroups:
		return &ListGroups{Stream: StreamID(d.u64()), After: d.u64(), Limit: d.u32()}
	case OpGroupInfo:
		return &GroupInfo{Stream: StreamID(d.u64()), Name: d.str()}
	case OpParked:
		return &Parked{Stream: StreamID(d.u64()), Name: d.str(), Action: ParkedAction(d.variant(uint32(ParkedDrop) + 1)),
			Offsets: numbers[Offset](d), From: Offset(d.u64()), Limit: d.u32()}
	}
	return &Explain{Stream: StreamID(d.u64()), Name: d.str()}
}

func appendGroupRequest(dst []byte, body RequestBody) ([]byte, bool) {
	switch m := body.(type) {
	case *Ack:
		dst = appendNumbers(appendNumber(dst, m.Subscription), m.Deliveries)
		if m.Cumulative {
			dst = appendBool(dst, true)
		}
		return dst, true
	case *Nack:
		dst = appendNumber(appendNumbers(appendNumber(dst, m.Subscription), m.Deliveries), m.Delay)
		if m.Park {
			dst = appendBool(dst, true)
		}
		return dst, true
	case *ExtendAck:
		return appendNumber(appendNumbers(appendNumber(dst, m.Subscription), m.Deliveries), m.Deadline), true
	case *CreateGroup:
		dst = appendNumber(appendBytes(appendNumber(dst, m.Stream), m.Name), m.FromOffset)
		return appendGroupSettings(appendOptNumber(dst, m.FromTimestamp), &m.Settings), true
	case *UpdateGroup:
		dst = appendBool(appendBytes(appendNumber(dst, m.Stream), m.Name), m.Paused.Set)
		if m.Paused.Set {
			dst = appendBool(dst, m.Paused.Value)
		}
		return appendGroupSettings(appendOptNumber(appendOptNumber(dst, m.SeekOffset), m.SeekTimestamp), &m.Settings), true
	case *DeleteGroup:
		return appendBytes(appendNumber(dst, m.Stream), m.Name), true
	case *ListGroups:
		return appendU32(appendNumber(appendNumber(dst, m.Stream), m.After), m.Limit), true
	case *GroupInfo:
		return appendBytes(appendNumber(dst, m.Stream), m.Name), true
	case *Parked:
		dst = appendU32(appendBytes(appendNumber(dst, m.Stream), m.Name), uint32(m.Action))
		return appendU32(appendNumber(appendNumbers(dst, m.Offsets), m.From), m.Limit), true
	case *Explain:
		return appendBytes(appendNumber(dst, m.Stream), m.Name), true
	}
	return dst, false
}

// groupReply decodes the replies of consumer groups.
func (d *decoder) groupReply(op Op) ResponseBody {
	switch op {
	case OpAck:
		return &AckReply{Acked: d.u64(), Stale: numbers[DeliveryID](d)}
	case OpNack:
		return &NackReply{Stale: numbers[DeliveryID](d)}
	case OpExtendAck:
		return &ExtendAckReply{Stale: numbers[DeliveryID](d)}
	case OpCreateGroup:
		return &CreateGroupReply{Floor: Offset(d.u64()), Position: Position(d.u64())}
	case OpUpdateGroup:
		return &UpdateGroupReply{Floor: Offset(d.u64()), Position: Position(d.u64())}
	case OpDeleteGroup:
		return &DeleteGroupReply{Position: Position(d.u64())}
	case OpListGroups:
		m := &ListGroupsReply{Groups: vec[GroupDescription](d, minGroup)}
		for i := range m.Groups {
			m.Groups[i] = d.group()
		}
		m.More = d.boolean()
		return m
	case OpGroupInfo:
		return &GroupInfoReply{Info: d.group()}
	case OpParked:
		return d.parkedReply()
	}
	return d.explainReply()
}

func (d *decoder) parkedReply() *ParkedReply {
	m := &ParkedReply{Events: vec[ParkedEvent](d, minParked)}
	for i := range m.Events {
		m.Events[i] = ParkedEvent{Offset: Offset(d.u64()), Attempts: d.u32(), Since: Time(d.u64()), Asked: d.boolean()}
	}
	m.More, m.Changed = d.boolean(), d.u64()
	return m
}

func (d *decoder) explainReply() *ExplainReply {
	m := &ExplainReply{Info: d.group(), Members: vec[MemberDescription](d, minMember)}
	for i := range m.Members {
		m.Members[i] = MemberDescription{Subscription: SubscriptionID(d.u64()), From: d.str(),
			CreditEvents: d.u64(), CreditBytes: int64(d.u64()), Held: d.u64(), Choked: d.boolean()}
	}
	m.Held = vec[HeldDelivery](d, minHeld)
	for i := range m.Held {
		m.Held[i] = HeldDelivery{Delivery: DeliveryID(d.u64()), Offset: Offset(d.u64()), Attempt: d.u32(),
			Subscription: SubscriptionID(d.u64()), HeldFor: d.u64(), Remaining: d.u64()}
	}
	m.Reasons = d.strings()
	return m
}

func appendGroupReply(dst []byte, body ResponseBody) ([]byte, bool) {
	switch m := body.(type) {
	case *AckReply:
		return appendNumbers(appendNumber(appendReplyTo(dst, OpAck), m.Acked), m.Stale), true
	case *NackReply:
		return appendNumbers(appendReplyTo(dst, OpNack), m.Stale), true
	case *ExtendAckReply:
		return appendNumbers(appendReplyTo(dst, OpExtendAck), m.Stale), true
	case *CreateGroupReply:
		return appendNumber(appendNumber(appendReplyTo(dst, OpCreateGroup), m.Floor), m.Position), true
	case *UpdateGroupReply:
		return appendNumber(appendNumber(appendReplyTo(dst, OpUpdateGroup), m.Floor), m.Position), true
	case *DeleteGroupReply:
		return appendNumber(appendReplyTo(dst, OpDeleteGroup), m.Position), true
	case *ListGroupsReply:
		dst = appendCount(appendReplyTo(dst, OpListGroups), len(m.Groups))
		for i := range m.Groups {
			dst = appendGroup(dst, &m.Groups[i])
		}
		return appendBool(dst, m.More), true
	case *GroupInfoReply:
		return appendGroup(appendReplyTo(dst, OpGroupInfo), &m.Info), true
	case *ParkedReply:
		dst = appendCount(appendReplyTo(dst, OpParked), len(m.Events))
		for _, e := range m.Events {
			dst = appendBool(appendNumber(appendU32(appendNumber(dst, e.Offset), e.Attempts), e.Since), e.Asked)
		}
		return appendNumber(appendBool(dst, m.More), m.Changed), true
	case *ExplainReply:
		return appendExplainReply(dst, m), true
	}
	return dst, false
}

func appendExplainReply(dst []byte, m *ExplainReply) []byte {
	dst = appendGroup(appendReplyTo(dst, OpExplain), &m.Info)
	dst = appendCount(dst, len(m.Members))
	for _, x := range m.Members {
		dst = appendNumber(appendBytes(appendNumber(dst, x.Subscription), x.From), x.CreditEvents)
		dst = appendBool(appendNumber(appendNumber(dst, x.CreditBytes), x.Held), x.Choked)
	}
	dst = appendCount(dst, len(m.Held))
	for _, x := range m.Held {
		dst = appendU32(appendNumber(appendNumber(dst, x.Delivery), x.Offset), x.Attempt)
		dst = appendNumber(appendNumber(appendNumber(dst, x.Subscription), x.HeldFor), x.Remaining)
	}
	return appendStrings(dst, m.Reasons)
}

func (d *decoder) group() GroupDescription {
	return GroupDescription{
		ID: d.u64(), Name: d.str(), Created: Time(d.u64()), Settings: d.groupSettings(), Paused: d.boolean(),
		Floor: Offset(d.u64()), Head: Offset(d.u64()), Lag: d.u64(), LagSince: optNumber[Time](d),
		Pending: d.u64(), Delayed: d.u64(), Parked: d.u64(), Skipped: d.u64(), Redelivered: d.u64(), Members: d.u32(),
	}
}

func appendGroup(dst []byte, g *GroupDescription) []byte {
	dst = appendNumber(appendBytes(appendNumber(dst, g.ID), g.Name), g.Created)
	dst = appendBool(appendGroupSettings(dst, &g.Settings), g.Paused)
	dst = appendOptNumber(appendNumber(appendNumber(appendNumber(dst, g.Floor), g.Head), g.Lag), g.LagSince)
	for _, n := range [...]uint64{g.Pending, g.Delayed, g.Parked, g.Skipped, g.Redelivered} {
		dst = appendNumber(dst, n)
	}
	return appendU32(dst, g.Members)
}

func (d *decoder) groupSettings() GroupSettings {
	s := GroupSettings{AckDeadline: optU32(d), MaxAttempts: optU32(d), MaxAckPending: optU32(d), LookAhead: optU32(d)}
	if d.boolean() {
		s.Order = Some(d.orderKey())
	}
	return s
}

func appendGroupSettings(dst []byte, s *GroupSettings) []byte {
	dst = appendOptU32(appendOptU32(dst, s.AckDeadline), s.MaxAttempts)
	dst = appendOptU32(appendOptU32(dst, s.MaxAckPending), s.LookAhead)
	dst = appendBool(dst, s.Order.Set)
	if s.Order.Set {
		dst = appendOrderKey(dst, s.Order.Value)
	}
	return dst
}

func (d *decoder) orderKey() OrderKey {
	k := OrderKey{Kind: OrderKind(d.variant(uint32(OrderPrefix) + 1))}
	switch k.Kind {
	case OrderJSON:
		k.Path = d.str()
	case OrderPrefix:
		k.Bytes = d.u32()
	}
	return k
}

func appendOrderKey(dst []byte, k OrderKey) []byte {
	dst = appendU32(dst, uint32(k.Kind))
	switch k.Kind {
	case OrderJSON:
		return appendBytes(dst, k.Path)
	case OrderPrefix:
		return appendU32(dst, k.Bytes)
	}
	return dst
}

func numbers[T number](d *decoder) []T {
	v := vec[T](d, 8)
	for i := range v {
		v[i] = T(d.u64())
	}
	return v
}

func appendNumbers[T number](dst []byte, v []T) []byte {
	dst = appendCount(dst, len(v))
	for _, n := range v {
		dst = appendNumber(dst, n)
	}
	return dst
}

// Least encoded sizes, in bytes.
const (
	minGroup  = 8 + minVec + 8 + 5 + 1 + 3*8 + 1 + 5*8 + 4
	minParked = 8 + 4 + 8 + 1
	minMember = 8 + minVec + 3*8 + 1
	minHeld   = 2*8 + 4 + 3*8
)
