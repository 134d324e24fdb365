package wire

import (
	"bytes"

	"pgregory.net/rapid"
)

// Generators of messages that survive a round trip under the features that they are given.

type choice[T any] func(*rapid.T) T

func oneOf[T any](t *rapid.T, choices ...choice[T]) T {
	return choices[rapid.IntRange(0, len(choices)-1).Draw(t, "choice")](t)
}

func list[T any](t *rapid.T, one choice[T]) []T {
	return rapid.SliceOfN(rapid.Custom(one), 0, 5).Draw(t, "list")
}

func maybe[T any](t *rapid.T, one choice[T]) Option[T] {
	if !drawBool(t) {
		return Option[T]{}
	}
	return Some(one(t))
}

func drawBool(t *rapid.T) bool          { return rapid.Bool().Draw(t, "bool") }
func drawU32(t *rapid.T) uint32         { return rapid.Uint32().Draw(t, "u32") }
func drawNumber[T number](t *rapid.T) T { return T(rapid.Uint64().Draw(t, "number")) }
func drawString(t *rapid.T) string      { return rapid.String().Draw(t, "string") }
func drawBytes(t *rapid.T) []byte {
	p := rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(t, "bytes")
	if len(p) > 0 && rapid.IntRange(0, 3).Draw(t, "long") == 0 {
		p = bytes.Repeat(p, rapid.IntRange(1, 60).Draw(t, "times")) // worth compressing
	}
	return p
}
func drawKey(t *rapid.T) (k Key) {
	copy(k[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "key"))
	return k
}
func drawTimes(t *rapid.T) []Time { return list(t, drawNumber[Time]) }

func drawFeatures(t *rapid.T) Features {
	f := Features{RichEvents: drawBool(t), TypedValues: drawBool(t), ExtendedErrors: drawBool(t), LZ4: drawBool(t), Zstd: drawBool(t)}
	return f.In(drawVersion(t))
}

func drawVersion(t *rapid.T) uint16 { return rapid.Uint16Range(1, MaxVersion).Draw(t, "version") }

// drawCodec draws a codec that may be used, none in version 1.
func drawCodec(f Features) choice[Codec] {
	allowed := []Codec{NoCodec}
	for c := range Codec(CodecCount) {
		if f.Allows(c) {
			allowed = append(allowed, c)
		}
	}
	return func(t *rapid.T) Codec { return rapid.SampledFrom(allowed).Draw(t, "codec") }
}

func drawClass(t *rapid.T) DataClass {
	return DataClass(rapid.Uint32Max(uint32(Deidentified)).Draw(t, "class"))
}

func drawPlacement(t *rapid.T) Placement {
	if drawBool(t) {
		return Placement{Global: true}
	}
	r := Region{Kind: RegionKind(rapid.Uint32Max(uint32(RegionCustom)).Draw(t, "region"))}
	if r.Kind == RegionCustom {
		r.Custom = drawString(t)
	}
	return Placement{Region: r}
}

func drawValue(f Features) choice[Value] {
	last := Timestamp
	if f.TypedValues {
		last = Bytes
	}
	return func(t *rapid.T) Value {
		v := Value{Kind: ValueKind(rapid.Uint32Max(uint32(last)).Draw(t, "kind"))}
		switch v.Kind {
		case BigInt, Timestamp:
			v.Int = rapid.Int64().Draw(t, "int")
		case Boolean:
			v.Int = rapid.Int64Range(0, 1).Draw(t, "boolean")
		case Text:
			v.Text = drawString(t)
		case Double:
			v.Float = rapid.Float64().Draw(t, "double")
		case Bytes:
			v.Bytes = drawBytes(t)
		}
		return v
	}
}

func drawRequest(f Features) choice[*Request] {
	value := drawValue(f)
	body := []choice[RequestBody]{
		func(t *rapid.T) RequestBody {
			return &Handshake{uint16(drawU32(t)), maybe(t, drawString), list(t, drawString)}
		},
		func(t *rapid.T) RequestBody {
			return &CreateStream{drawString(t), drawClass(t), drawPlacement(t), maybe(t, drawU32)}
		},
		func(t *rapid.T) RequestBody {
			return &AppendEvents{drawNumber[StreamID](t), list(t, drawBytes), maybe(t, drawNumber[Offset]),
				maybe(t, drawTimes), maybe(t, drawKey)}
		},
		func(t *rapid.T) RequestBody {
			return &Query{drawString(t), list(t, value), drawBool(t), drawU32(t), maybe(t, drawKey), drawU32(t)}
		},
		func(t *rapid.T) RequestBody {
			return &QueryAt{drawString(t), list(t, value), drawNumber[Position](t), drawBool(t), drawU32(t),
				maybe(t, drawKey), drawU32(t)}
		},
		func(t *rapid.T) RequestBody {
			return &ReadEvents{drawNumber[StreamID](t), drawNumber[Offset](t), drawNumber[uint64](t),
				maybe(t, drawU32), maybe(t, drawNumber[Time]), drawBool(t), maybe(t, drawNumber[Position])}
		},
		func(t *rapid.T) RequestBody { return &Sync{} },
		func(t *rapid.T) RequestBody {
			return &ListStreams{drawNumber[StreamID](t), drawU32(t), drawString(t), maybe(t, drawBool), drawBool(t)}
		},
		func(t *rapid.T) RequestBody { return &StreamInfo{drawNumber[StreamID](t), drawString(t)} },
		func(t *rapid.T) RequestBody { return &DeleteStream{drawNumber[StreamID](t), maybe(t, drawU32)} },
		func(t *rapid.T) RequestBody { return &UndeleteStream{drawNumber[StreamID](t)} },
		func(t *rapid.T) RequestBody {
			return &SetRetention{drawNumber[StreamID](t), maybe(t, drawU32), maybe(t, drawU32)}
		},
		func(t *rapid.T) RequestBody { return &SetHold{drawNumber[StreamID](t), drawString(t), drawString(t)} },
		func(t *rapid.T) RequestBody { return &ReleaseHold{drawNumber[StreamID](t), drawString(t)} },
		func(t *rapid.T) RequestBody {
			query := func(t *rapid.T) BatchedQuery { return BatchedQuery{drawString(t), list(t, value)} }
			return &BatchQuery{list(t, query), drawBool(t), drawBool(t), maybe(t, drawKey)}
		},
		func(t *rapid.T) RequestBody {
			return &Subscribe{drawNumber[StreamID](t), drawNumber[Offset](t), maybe(t, drawString),
				maybe(t, drawNumber[Time]), drawNumber[uint64](t), drawNumber[uint64](t)}
		},
		func(t *rapid.T) RequestBody { return &Unsubscribe{drawNumber[SubscriptionID](t)} },
		func(t *rapid.T) RequestBody {
			return &Credit{drawNumber[SubscriptionID](t), drawNumber[uint64](t), drawNumber[uint64](t)}
		},
		func(t *rapid.T) RequestBody {
			return &Ack{drawNumber[SubscriptionID](t), list(t, drawNumber[DeliveryID]), drawBool(t)}
		},
		func(t *rapid.T) RequestBody {
			return &Nack{drawNumber[SubscriptionID](t), list(t, drawNumber[DeliveryID]), drawNumber[uint64](t), drawBool(t)}
		},
		func(t *rapid.T) RequestBody {
			return &ExtendAck{drawNumber[SubscriptionID](t), list(t, drawNumber[DeliveryID]), drawNumber[uint64](t)}
		},
		func(t *rapid.T) RequestBody {
			return &CreateGroup{drawNumber[StreamID](t), drawString(t), drawNumber[Offset](t), maybe(t, drawNumber[Time]), drawSettings(t)}
		},
		func(t *rapid.T) RequestBody {
			return &UpdateGroup{drawNumber[StreamID](t), drawString(t), maybe(t, drawBool), maybe(t, drawNumber[Offset]),
				maybe(t, drawNumber[Time]), drawSettings(t)}
		},
		func(t *rapid.T) RequestBody { return &DeleteGroup{drawNumber[StreamID](t), drawString(t)} },
		func(t *rapid.T) RequestBody {
			return &ListGroups{drawNumber[StreamID](t), drawNumber[uint64](t), drawU32(t)}
		},
		func(t *rapid.T) RequestBody { return &GroupInfo{drawNumber[StreamID](t), drawString(t)} },
		func(t *rapid.T) RequestBody {
			return &Parked{drawNumber[StreamID](t), drawString(t), ParkedAction(rapid.Uint32Max(uint32(ParkedDrop)).Draw(t, "action")),
				list(t, drawNumber[Offset]), drawNumber[Offset](t), drawU32(t)}
		},
		func(t *rapid.T) RequestBody { return &Explain{drawNumber[StreamID](t), drawString(t)} },
		func(t *rapid.T) RequestBody { return &ChunkAck{drawNumber[uint64](t), drawU32(t)} },
		func(t *rapid.T) RequestBody { return &CancelQuery{drawNumber[uint64](t)} },
		func(t *rapid.T) RequestBody { return &Ping{} },
		func(t *rapid.T) RequestBody { return &CreateTenant{drawString(t)} },
		func(t *rapid.T) RequestBody { return &ListTenants{drawNumber[TenantID](t), drawU32(t)} },
		func(t *rapid.T) RequestBody { return &VerifyAudit{} },
		func(t *rapid.T) RequestBody { return &Checkpoint{drawNumber[TenantID](t), maybe(t, drawString)} },
		func(t *rapid.T) RequestBody { return &ListCheckpoints{drawNumber[TenantID](t)} },
		func(t *rapid.T) RequestBody {
			return &GetCheckpoint{drawNumber[TenantID](t), drawRef(t), drawNumber[StreamID](t), drawU32(t)}
		},
		func(t *rapid.T) RequestBody { return &DeleteCheckpoint{drawNumber[TenantID](t), drawRef(t)} },
		func(t *rapid.T) RequestBody {
			return &ArchiveCheckpoint{drawNumber[TenantID](t), drawRef(t), drawString(t), maybe(t, drawNumber[Time])}
		},
		func(t *rapid.T) RequestBody {
			return &RestoreTenant{drawNumber[TenantID](t), drawString(t), drawNumber[uint64](t), drawNumber[TenantID](t), drawNumber[Position](t),
				CheckpointID(drawKey(t)), maybe(t, drawString), drawBool(t)}
		},
		func(t *rapid.T) RequestBody { return &RestoreInfo{drawNumber[TenantID](t)} },
		func(t *rapid.T) RequestBody { return &Clock{} },
		func(t *rapid.T) RequestBody { return &ConfirmClock{drawNumber[Time](t)} },
	}
	return func(t *rapid.T) *Request {
		return &Request{ID: drawNumber[uint64](t), Tenant: drawNumber[TenantID](t), Codec: drawCodec(f)(t), Body: oneOf(t, body...)}
	}
}

func drawRestored(t *rapid.T) RestoredStream {
	return RestoredStream{drawNumber[StreamID](t), drawNumber[StreamID](t)}
}

func drawSettings(t *rapid.T) GroupSettings {
	return GroupSettings{maybe(t, drawU32), maybe(t, drawU32), maybe(t, drawU32), maybe(t, drawU32), maybe(t, drawOrder)}
}

func drawOrder(t *rapid.T) OrderKey {
	k := OrderKey{Kind: OrderKind(rapid.Uint32Max(uint32(OrderPrefix)).Draw(t, "order"))}
	switch k.Kind {
	case OrderJSON:
		k.Path = drawString(t)
	case OrderPrefix:
		k.Bytes = drawU32(t)
	}
	return k
}

func drawGroup(t *rapid.T) GroupDescription {
	n := drawNumber[uint64]
	return GroupDescription{n(t), drawString(t), drawNumber[Time](t), drawSettings(t), drawBool(t), drawNumber[Offset](t),
		drawNumber[Offset](t), n(t), maybe(t, drawNumber[Time]), n(t), n(t), n(t), n(t), n(t), drawU32(t)}
}

func drawParked(t *rapid.T) ParkedEvent {
	return ParkedEvent{drawNumber[Offset](t), drawU32(t), drawNumber[Time](t), drawBool(t)}
}

func drawMember(t *rapid.T) MemberDescription {
	return MemberDescription{drawNumber[SubscriptionID](t), drawString(t), drawNumber[uint64](t), drawNumber[int64](t),
		drawNumber[uint64](t), drawBool(t)}
}

func drawHeld(t *rapid.T) HeldDelivery {
	return HeldDelivery{drawNumber[DeliveryID](t), drawNumber[Offset](t), drawU32(t), drawNumber[SubscriptionID](t),
		drawNumber[uint64](t), drawNumber[uint64](t)}
}

func drawDelivery(t *rapid.T) Delivery {
	return Delivery{drawNumber[DeliveryID](t), drawU32(t), AppendEvent(nil, drawNumber[Offset](t), drawBytes(t), drawNumber[Time](t))}
}

func drawRange(f Features) choice[EventRange] {
	return func(t *rapid.T) (r EventRange) {
		var chunk []byte
		data := list(t, drawBytes)
		for i, d := range data {
			if f.RichEvents {
				chunk = AppendEvent(chunk, drawNumber[Offset](t), d, drawNumber[Time](t))
			} else {
				chunk = AppendEvent(chunk, Offset(i), d, 0)
			}
		}
		if len(data) > 0 {
			r.Add(chunk, len(data))
		}
		return r
	}
}

func drawError(f Features) choice[ResponseBody] {
	last := OffsetMismatch
	if f.ExtendedErrors {
		last = CodeCount - 1
	}
	return func(t *rapid.T) ResponseBody {
		code := Code(rapid.Uint32Max(uint32(last)).Draw(t, "code"))
		return &Error{code, drawString(t), maybe(t, drawNumber[Offset]), code.Retryable()}
	}
}

func drawStream(t *rapid.T) StreamDescription {
	return StreamDescription{drawNumber[StreamID](t), drawString(t), drawClass(t), drawPlacement(t), maybe(t, drawU32),
		drawNumber[Time](t), drawNumber[Offset](t), drawNumber[Offset](t), drawNumber[uint64](t),
		maybe(t, drawNumber[Time]), maybe(t, drawNumber[Time]), drawBool(t), maybe(t, drawNumber[Time]), drawU32(t),
		list(t, drawHold)}
}

func drawHold(t *rapid.T) HoldDescription {
	return HoldDescription{drawString(t), drawString(t), drawNumber[Time](t)}
}

func drawTenant(t *rapid.T) TenantDescription {
	return TenantDescription{drawNumber[TenantID](t), drawString(t), drawNumber[Time](t), drawNumber[uint64](t),
		drawNumber[Position](t)}
}

func drawRef(t *rapid.T) CheckpointRef { return CheckpointRef{CheckpointID(drawKey(t)), drawString(t)} }

func drawCheckpoint(t *rapid.T) CheckpointInfo {
	return CheckpointInfo{CheckpointID(drawKey(t)), maybe(t, drawString), drawNumber[Position](t), drawNumber[Time](t), drawNumber[uint64](t)}
}

func drawArchive(t *rapid.T) ArchiveInfo {
	return ArchiveInfo{drawString(t), drawBool(t), drawNumber[uint64](t), drawNumber[uint64](t), drawString(t)}
}

func drawCheckpointStream(t *rapid.T) CheckpointStream {
	return CheckpointStream{drawNumber[StreamID](t), drawString(t), drawNumber[Offset](t), drawNumber[Offset](t), drawNumber[Offset](t),
		drawNumber[uint64](t), drawBytes(t)}
}

func drawBatchedResult(f Features) choice[BatchedResult] {
	row := func(t *rapid.T) []Value { return list(t, drawValue(f)) }
	return func(t *rapid.T) BatchedResult {
		if drawBool(t) {
			e := drawError(f)(t).(*Error)
			return BatchedResult{Err: &Error{Code: e.Code, Message: e.Message}}
		}
		return BatchedResult{Columns: list(t, drawString), Rows: list(t, row)}
	}
}

func drawResponse(f Features) choice[*Response] {
	row := func(t *rapid.T) []Value { return list(t, drawValue(f)) }
	body := []choice[ResponseBody]{
		drawError(f),
		func(t *rapid.T) ResponseBody {
			return &HandshakeReply{uint16(drawU32(t)), drawBool(t), list(t, drawString)}
		},
		func(t *rapid.T) ResponseBody { return &CreateStreamReply{drawNumber[StreamID](t)} },
		func(t *rapid.T) ResponseBody {
			return &AppendEventsReply{drawNumber[Offset](t), drawU32(t), drawNumber[Time](t), drawNumber[Position](t),
				drawBool(t)}
		},
		func(t *rapid.T) ResponseBody {
			return &QueryReply{
				At: drawBool(t), Columns: list(t, drawString), Rows: list(t, row), RowsAffected: drawNumber[uint64](t),
				Position: drawNumber[Position](t), Trimmed: drawBool(t),
			}
		},
		func(t *rapid.T) ResponseBody {
			return &ReadEventsReply{drawRange(f)(t), maybe(t, drawNumber[Offset]), drawNumber[Offset](t),
				drawNumber[Offset](t)}
		},
		func(t *rapid.T) ResponseBody { return &SyncReply{drawBool(t)} },
		func(t *rapid.T) ResponseBody { return &ListStreamsReply{list(t, drawStream), drawBool(t)} },
		func(t *rapid.T) ResponseBody { return &StreamInfoReply{drawStream(t)} },
		func(t *rapid.T) ResponseBody {
			return &DeleteStreamReply{drawBool(t), drawNumber[Time](t), drawNumber[Position](t)}
		},
		func(t *rapid.T) ResponseBody { return &UndeleteStreamReply{drawBool(t), drawNumber[Position](t)} },
		func(t *rapid.T) ResponseBody { return &SetRetentionReply{drawNumber[Position](t)} },
		func(t *rapid.T) ResponseBody { return &SetHoldReply{drawNumber[Position](t)} },
		func(t *rapid.T) ResponseBody { return &ReleaseHoldReply{drawNumber[Position](t)} },
		func(t *rapid.T) ResponseBody {
			return &BatchQueryReply{Results: list(t, drawBatchedResult(f)), Position: drawNumber[Position](t)}
		},
		func(t *rapid.T) ResponseBody { return &SubscribeReply{drawNumber[SubscriptionID](t)} },
		func(t *rapid.T) ResponseBody { return &UnsubscribeReply{drawNumber[Offset](t)} },
		func(t *rapid.T) ResponseBody { return &CreditReply{drawNumber[uint64](t), drawNumber[int64](t)} },
		func(t *rapid.T) ResponseBody {
			return &AckReply{drawNumber[uint64](t), list(t, drawNumber[DeliveryID])}
		},
		func(t *rapid.T) ResponseBody { return &NackReply{list(t, drawNumber[DeliveryID])} },
		func(t *rapid.T) ResponseBody { return &ExtendAckReply{list(t, drawNumber[DeliveryID])} },
		func(t *rapid.T) ResponseBody {
			return &CreateGroupReply{drawNumber[Offset](t), drawNumber[Position](t)}
		},
		func(t *rapid.T) ResponseBody {
			return &UpdateGroupReply{drawNumber[Offset](t), drawNumber[Position](t)}
		},
		func(t *rapid.T) ResponseBody { return &DeleteGroupReply{drawNumber[Position](t)} },
		func(t *rapid.T) ResponseBody { return &ListGroupsReply{list(t, drawGroup), drawBool(t)} },
		func(t *rapid.T) ResponseBody { return &GroupInfoReply{drawGroup(t)} },
		func(t *rapid.T) ResponseBody {
			return &ParkedReply{list(t, drawParked), drawBool(t), drawNumber[uint64](t)}
		},
		func(t *rapid.T) ResponseBody {
			return &ExplainReply{drawGroup(t), list(t, drawMember), list(t, drawHeld), list(t, drawString)}
		},
		func(t *rapid.T) ResponseBody { return &ChunkAckReply{drawU32(t)} },
		func(t *rapid.T) ResponseBody { return &CancelQueryReply{drawBool(t)} },
		func(t *rapid.T) ResponseBody { return &PingReply{} },
		func(t *rapid.T) ResponseBody { return &CreateTenantReply{drawNumber[TenantID](t)} },
		func(t *rapid.T) ResponseBody { return &ListTenantsReply{list(t, drawTenant), drawBool(t)} },
		func(t *rapid.T) ResponseBody {
			return &CheckpointReply{CheckpointID(drawKey(t)), drawNumber[Position](t), drawNumber[Time](t)}
		},
		func(t *rapid.T) ResponseBody { return &ListCheckpointsReply{list(t, drawCheckpoint)} },
		func(t *rapid.T) ResponseBody {
			return &GetCheckpointReply{drawCheckpoint(t), drawString(t), drawString(t), list(t, drawArchive), list(t, drawCheckpointStream), drawBool(t)}
		},
		func(t *rapid.T) ResponseBody { return &ArchiveCheckpointReply{drawNumber[Position](t)} },
		func(t *rapid.T) ResponseBody { return &RestoreTenantReply{drawNumber[Position](t)} },
		func(t *rapid.T) ResponseBody {
			return &RestoreInfoReply{drawBool(t), drawNumber[uint64](t), drawString(t), list(t, drawRestored)}
		},
		func(t *rapid.T) ResponseBody { return &DeleteCheckpointReply{drawNumber[Position](t)} },
		func(t *rapid.T) ResponseBody {
			return &VerifyAuditReply{drawNumber[uint64](t), drawBytes(t), maybe(t, drawNumber[Offset]), drawString(t)}
		},
		func(t *rapid.T) ResponseBody {
			return &ClockReply{drawNumber[Time](t), drawNumber[Time](t), drawBool(t)}
		},
		func(t *rapid.T) ResponseBody { return &ConfirmClockReply{drawNumber[Time](t)} },
	}
	return func(t *rapid.T) *Response {
		return &Response{RequestID: drawNumber[uint64](t), Codec: drawCodec(f)(t), Body: oneOf(t, body...)}
	}
}

func drawPush(f Features) choice[*Push] {
	id := drawNumber[SubscriptionID]
	body := []choice[PushBody]{
		func(t *rapid.T) PushBody { return &SubscriptionEvents{id(t), drawRange(f)(t)} },
		func(t *rapid.T) PushBody { return &SubscriptionClosed{id(t), Code(drawU32(t)), drawString(t)} },
		func(t *rapid.T) PushBody { return &GroupEvents{id(t), list(t, drawDelivery)} },
		func(t *rapid.T) PushBody {
			row := func(t *rapid.T) []Value { return list(t, drawValue(f)) }
			return &QueryChunk{Query: drawNumber[uint64](t), Sequence: drawU32(t), Columns: list(t, drawString), Rows: list(t, row),
				Position: drawNumber[Position](t)}
		},
		func(t *rapid.T) PushBody { return &CaughtUp{id(t), drawNumber[Offset](t)} },
		func(t *rapid.T) PushBody {
			return &Gap{id(t), drawNumber[Offset](t), drawNumber[Offset](t), GapReason(drawU32(t))}
		},
		func(t *rapid.T) PushBody { return &PushPing{} },
	}
	return func(t *rapid.T) *Push { return &Push{Codec: drawCodec(f)(t), Body: oneOf(t, body...)} }
}

// drawMessage draws what a server of that version may send.
func drawMessage(f Features) choice[Message] {
	return func(t *rapid.T) Message {
		if f.Version >= 3 && drawBool(t) {
			return drawPush(f)(t)
		}
		return drawResponse(f)(t)
	}
}

// told returns what a client learns of a message: all but how it preferred to travel.
func told(m Message) Message {
	switch m := m.(type) {
	case *Response:
		return &Response{RequestID: m.RequestID, Body: m.Body}
	case *Push:
		return &Push{Body: m.Body}
	}
	panic("no other message")
}
