package wire

// DecodeRequest decodes the payload of a client's frame. Event data and Bytes parameters alias the payload; nothing
// else does. It allocates no more than a small multiple of the payload's length, whatever the payload holds.
func DecodeRequest(payload []byte, f Features) (*Request, error) {
	d := decoder{rest: payload}
	id, tenant, codec := d.u64(), TenantID(d.u64()), NoCodec
	if f.Version >= 2 {
		if codec = Codec(d.u8()); !f.Allows(codec) {
			d.fail(errCodec)
		}
	}
	op := Op(d.u32())
	var r *Request
	if op == OpAppendEvents {
		r = d.appendEvents()
	} else {
		r = &Request{Body: d.requestBody(op, f)}
	}
	if d.err != nil {
		return nil, d.err
	}
	r.ID, r.Tenant, r.Codec, r.Size, r.Features = id, tenant, codec, len(payload), f
	return r, nil
}

// requestBody decodes every operation but AppendEvents.
func (d *decoder) requestBody(op Op, f Features) RequestBody {
	switch op {
	case OpHandshake:
		return d.handshake()
	case OpCreateStream:
		return d.createStream()
	case OpQuery:
		return d.query(f)
	case OpQueryAt:
		return d.queryAt(f)
	case OpReadEvents:
		return d.readEvents()
	case OpSync:
		return &Sync{}
	case OpListStreams:
		return d.listStreams()
	case OpStreamInfo:
		return &StreamInfo{Stream: StreamID(d.u64()), Name: d.str()}
	case OpDeleteStream:
		return &DeleteStream{Stream: StreamID(d.u64()), RetentionOverride: optU32(d)}
	case OpUndeleteStream:
		return &UndeleteStream{Stream: StreamID(d.u64())}
	case OpSetRetention:
		return &SetRetention{Stream: StreamID(d.u64()), Days: optU32(d), MinDays: optU32(d)}
	case OpSetHold:
		return &SetHold{Stream: StreamID(d.u64()), Name: d.str(), Reason: d.str()}
	case OpReleaseHold:
		return &ReleaseHold{Stream: StreamID(d.u64()), Name: d.str()}
	case OpBatchQuery:
		return d.batchQuery(f)
	case OpCheckpoint, OpListCheckpoints, OpGetCheckpoint, OpDeleteCheckpoint, OpArchiveCheckpoint, OpRestoreTenant, OpRestoreInfo:
		return d.checkpointRequest(op)
	case OpSubscribe:
		return d.subscribe()
	case OpUnsubscribe:
		return &Unsubscribe{Subscription: SubscriptionID(d.u64())}
	case OpCredit:
		return &Credit{Subscription: SubscriptionID(d.u64()), Events: d.u64(), Bytes: d.u64()}
	case OpAck, OpNack, OpExtendAck, OpCreateGroup, OpUpdateGroup, OpDeleteGroup, OpListGroups, OpGroupInfo, OpParked, OpExplain:
		return d.groupRequest(op)
	case OpChunkAck:
		return &ChunkAck{Query: d.u64(), Sequence: d.u32()}
	case OpCancelQuery:
		return &CancelQuery{Query: d.u64()}
	case OpPing:
		return &Ping{}
	case OpCreateTenant:
		return &CreateTenant{Name: d.str()}
	case OpListTenants:
		return &ListTenants{After: TenantID(d.u64()), Limit: d.u32()}
	case OpVerifyAudit:
		return &VerifyAudit{}
	case OpClock:
		return &Clock{}
	case OpConfirmClock:
		return &ConfirmClock{Wall: Time(d.u64())}
	}
	d.fail(errVariant)
	return nil
}

func (d *decoder) handshake() *Handshake {
	m := &Handshake{ClientVersion: d.u16()}
	m.AuthToken = d.optStr()
	if d.more() {
		m.Capabilities = d.strings()
	}
	return m
}

func (d *decoder) createStream() *CreateStream {
	m := &CreateStream{Name: d.str(), Class: d.dataClass(), Placement: d.placement()}
	if d.more() {
		m.RetentionDays = optU32(d)
	}
	return m
}

// appendEvents decodes the operation that servers see most. Its parts live and die together, so a batch of one event
// takes one allocation.
func (d *decoder) appendEvents() *Request {
	m := &struct {
		Request
		body AppendEvents
		one  [1][]byte
	}{}
	m.body.Stream = StreamID(d.u64())
	if n := d.count(minVec); n == 1 {
		m.body.Events = m.one[:]
	} else if n > 1 {
		m.body.Events = make([][]byte, n)
	}
	for i := range m.body.Events {
		m.body.Events[i] = d.bytes()
	}
	if d.more() {
		m.body.ExpectOffset = optNumber[Offset](d)
	}
	if d.more() {
		m.body.Timestamps = d.timestamps()
	}
	if d.more() {
		m.body.IdempotencyKey = optKey(d)
	}
	m.Request.Body = &m.body
	return &m.Request
}

func (d *decoder) timestamps() Option[[]Time] {
	if !d.boolean() {
		return Option[[]Time]{}
	}
	return Some(numbers[Time](d))
}

func (d *decoder) query(f Features) *Query {
	m := &Query{SQL: d.str(), Params: d.params(f)}
	m.Streaming, m.ChunkWindow, m.IdempotencyKey, m.TimeoutMS = d.queryTail()
	return m
}

func (d *decoder) queryAt(f Features) *QueryAt {
	m := &QueryAt{SQL: d.str(), Params: d.params(f), Position: Position(d.u64())}
	m.Streaming, m.ChunkWindow, m.IdempotencyKey, m.TimeoutMS = d.queryTail()
	return m
}

// params decodes a statement's parameters. A Value takes sixteen times the memory of the Null that it may be decoded
// from, so that a frame full of them would cost more than it justifies; no statement has so many.
func (d *decoder) params(f Features) []Value {
	ahead := *d
	if ahead.count(minValue) > MaxParams {
		d.fail(errParams)
		return nil
	}
	return d.values(f)
}

func (d *decoder) queryTail() (streaming bool, window uint32, key Option[Key], timeout uint32) {
	if d.more() {
		streaming = d.boolean()
	}
	if d.more() {
		window = d.u32()
	}
	if d.more() {
		key = optKey(d)
	}
	if d.more() {
		timeout = d.u32()
	}
	return streaming, window, key, timeout
}

func (d *decoder) readEvents() *ReadEvents {
	m := &ReadEvents{Stream: StreamID(d.u64()), FromOffset: Offset(d.u64()), MaxBytes: d.u64()}
	if d.more() {
		m.MaxEvents = optU32(d)
	}
	if d.more() {
		m.FromTimestamp = optNumber[Time](d)
	}
	if d.more() {
		m.Backward = d.boolean()
	}
	if d.more() {
		m.AsOf = optNumber[Position](d)
	}
	return m
}

func (d *decoder) subscribe() *Subscribe {
	m := &Subscribe{Stream: StreamID(d.u64()), FromOffset: Offset(d.u64())}
	m.Group = d.optStr()
	if d.more() {
		m.FromTimestamp = optNumber[Time](d)
	}
	if d.more() {
		m.CreditEvents = d.u64()
	}
	if d.more() {
		m.CreditBytes = d.u64()
	}
	return m
}

func (d *decoder) listStreams() *ListStreams {
	m := &ListStreams{After: StreamID(d.u64()), Limit: d.u32()}
	if d.more() {
		m.Prefix = d.str()
	}
	if d.more() && d.boolean() {
		m.Deleted = Some(d.boolean())
	}
	if d.more() {
		m.System = d.boolean()
	}
	return m
}
