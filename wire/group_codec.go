package wire

// How the messages of consumer groups travel.

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

// Least encoded sizes, in bytes.
const (
	minGroup  = 8 + minVec + 8 + 5 + 1 + 3*8 + 1 + 5*8 + 4
	minParked = 8 + 4 + 8 + 1
	minMember = 8 + minVec + 3*8 + 1
	minHeld   = 2*8 + 4 + 3*8
)
