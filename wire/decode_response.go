package wire

// DecodeResponse decodes the payload of a server's frame. Event data and Bytes values alias the payload, except that
// without rich events the range of a read is built anew: the wire then carries the data alone, so offsets count from 0,
// event times are 0 and checksums are computed here. Offsets and checksums of rich events are passed on unverified.
func DecodeResponse(payload []byte, f Features) (*Response, error) {
	d := decoder{rest: payload}
	r := &Response{RequestID: d.u64()}
	r.Body = d.responseBody(d.u32(), f)
	if d.err != nil {
		return nil, d.err
	}
	return r, nil
}

func (d *decoder) responseBody(variant uint32, f Features) ResponseBody {
	if variant == errorVariant {
		return d.errorReply()
	}
	switch op := Op(variant - 1); op {
	case OpHandshake:
		return &HandshakeReply{ServerVersion: d.u16(), Authenticated: d.boolean(), Capabilities: d.strings()}
	case OpCreateStream:
		return &CreateStreamReply{Stream: StreamID(d.u64())}
	case OpAppendEvents:
		return d.appendEventsReply()
	case OpQuery, OpQueryAt:
		return d.queryReply(op == OpQueryAt, f)
	case OpReadEvents:
		return d.readEventsReply(f)
	case OpSync:
		return &SyncReply{Success: d.boolean()}
	case OpListStreams:
		return &ListStreamsReply{Streams: d.streams(), More: d.boolean()}
	case OpStreamInfo:
		return &StreamInfoReply{Info: d.stream()}
	case OpDeleteStream:
		return d.deleteStreamReply()
	case OpUndeleteStream:
		return &UndeleteStreamReply{Restored: d.boolean(), Position: Position(d.u64())}
	case OpSetRetention:
		return &SetRetentionReply{Position: Position(d.u64())}
	case OpSetHold:
		return &SetHoldReply{Position: Position(d.u64())}
	case OpReleaseHold:
		return &ReleaseHoldReply{Position: Position(d.u64())}
	case OpBatchQuery:
		return d.batchQueryReply(f)
	case OpCheckpoint, OpListCheckpoints, OpGetCheckpoint, OpDeleteCheckpoint, OpArchiveCheckpoint, OpRestoreTenant, OpRestoreInfo:
		return d.checkpointReply(op)
	case OpSubscribe:
		return &SubscribeReply{Subscription: SubscriptionID(d.u64())}
	case OpUnsubscribe:
		return &UnsubscribeReply{Next: Offset(d.u64())}
	case OpCredit:
		return &CreditReply{Events: d.u64(), Bytes: int64(d.u64())}
	case OpAck, OpNack, OpExtendAck, OpCreateGroup, OpUpdateGroup, OpDeleteGroup, OpListGroups, OpGroupInfo, OpParked, OpExplain:
		return d.groupReply(op)
	case OpChunkAck:
		return &ChunkAckReply{Unacknowledged: d.u32()}
	case OpCancelQuery:
		return &CancelQueryReply{Cancelled: d.boolean()}
	case OpPing:
		return &PingReply{}
	case OpCreateTenant:
		return &CreateTenantReply{Tenant: TenantID(d.u64())}
	case OpListTenants:
		return &ListTenantsReply{Tenants: d.tenants(), More: d.boolean()}
	case OpVerifyAudit:
		return &VerifyAuditReply{Events: d.u64(), Hash: d.bytes(), Break: optNumber[Offset](d), Message: d.str()}
	case OpClock:
		return &ClockReply{Now: Time(d.u64()), Wall: Time(d.u64()), Trusted: d.boolean()}
	case OpConfirmClock:
		return &ConfirmClockReply{Now: Time(d.u64())}
	}
	d.fail(errVariant)
	return nil
}

// errorReply takes any code: one from a later server must not end the connection.
func (d *decoder) errorReply() *Error {
	m := &Error{Code: Code(d.u32()), Message: d.str()}
	if d.more() {
		m.CurrentOffset = optNumber[Offset](d)
	}
	if d.more() {
		m.Retryable = d.boolean()
	}
	return m
}

func (d *decoder) appendEventsReply() *AppendEventsReply {
	m := &AppendEventsReply{FirstOffset: Offset(d.u64()), Count: d.u32()}
	if d.more() {
		m.Timestamp = Time(d.u64())
	}
	if d.more() {
		m.Position = Position(d.u64())
	}
	if d.more() {
		m.Duplicate = d.boolean()
	}
	return m
}

func (d *decoder) queryReply(at bool, f Features) *QueryReply {
	m := &QueryReply{At: at, Columns: d.strings(), Rows: d.rows(f)}
	if d.more() {
		m.RowsAffected = d.u64()
	}
	if d.more() {
		m.Position = Position(d.u64())
	}
	if d.more() {
		m.Trimmed = d.boolean()
	}
	return m
}

func (d *decoder) rows(f Features) [][]Value {
	rows := vec[[]Value](d, minVec)
	for i := range rows {
		rows[i] = d.values(f)
	}
	return rows
}

func (d *decoder) readEventsReply(f Features) *ReadEventsReply {
	m := &ReadEventsReply{}
	if f.RichEvents {
		m.Events = d.richEvents()
	} else {
		m.Events = d.plainEvents()
	}
	m.NextOffset = optNumber[Offset](d)
	if d.more() {
		m.OldestOffset = Offset(d.u64())
	}
	if d.more() {
		m.HeadOffset = Offset(d.u64())
	}
	return m
}

// richEvents walks the events once, so that EventRange.All never meets a broken one.
func (d *decoder) richEvents() (r EventRange) {
	n := d.count(EventOverhead)
	chunk := d.rest
	for range n {
		_, rest, ok := NextEvent(d.rest)
		if !ok {
			d.fail(errShort)
			return r
		}
		d.rest = rest
	}
	if size := len(chunk) - len(d.rest); size > 0 {
		r.Add(chunk[:size:size], n)
	}
	return r
}

func (d *decoder) plainEvents() (r EventRange) {
	n := d.count(minVec)
	if n == 0 {
		return r
	}
	first, size := d.rest, 0
	for range n {
		size += EventOverhead + len(d.bytes())
	}
	if d.err != nil {
		return r
	}
	chunk := make([]byte, 0, size)
	events := decoder{rest: first}
	for i := range n {
		chunk = AppendEvent(chunk, Offset(i), events.bytes(), 0)
	}
	r.Add(chunk, n)
	return r
}

func (d *decoder) streams() []StreamDescription {
	v := vec[StreamDescription](d, minStream)
	for i := range v {
		v[i] = d.stream()
	}
	return v
}

func (d *decoder) stream() StreamDescription {
	return StreamDescription{
		Stream:           StreamID(d.u64()),
		Name:             d.str(),
		Class:            d.dataClass(),
		Placement:        d.placement(),
		RetentionDays:    optU32(d),
		Created:          Time(d.u64()),
		OldestOffset:     Offset(d.u64()),
		HeadOffset:       Offset(d.u64()),
		Bytes:            d.u64(),
		FirstTime:        optNumber[Time](d),
		LastTime:         optNumber[Time](d),
		Deleted:          d.boolean(),
		PurgeDate:        optNumber[Time](d),
		MinRetentionDays: d.u32(),
		Holds:            d.holds(),
	}
}

func (d *decoder) holds() []HoldDescription {
	v := vec[HoldDescription](d, minHold)
	for i := range v {
		v[i] = HoldDescription{Name: d.str(), Reason: d.str(), Set: Time(d.u64())}
	}
	return v
}

func (d *decoder) deleteStreamReply() *DeleteStreamReply {
	m := &DeleteStreamReply{Deleted: d.boolean(), PurgeDate: Time(d.u64())}
	if d.more() {
		m.Position = Position(d.u64())
	}
	return m
}

func (d *decoder) tenants() []TenantDescription {
	v := vec[TenantDescription](d, minTenant)
	for i := range v {
		v[i] = TenantDescription{
			Tenant:   TenantID(d.u64()),
			Name:     d.str(),
			Created:  Time(d.u64()),
			Streams:  d.u64(),
			Position: Position(d.u64()),
		}
	}
	return v
}
