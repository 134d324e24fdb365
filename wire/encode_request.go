package wire

import "fmt"

// A message whose tail fields all have their defaults travels without them, which means the same and is what peers
// that never heard of the fields send; otherwise all of them travel.

// AppendRequest appends the frame of a request. Its strings must be UTF-8 and its payload no longer than MaxPayload, or
// the server closes the connection. Without typed values, Double and Bytes parameters are sent as Text.
func AppendRequest(dst []byte, r *Request, f Features) []byte { return PackRequest(dst, r, f, nil) }

// PackRequest is AppendRequest that compresses the payload in the codec that the request prefers for its reply, where a
// packer is given, f allows the codec and that makes it shorter.
func PackRequest(dst []byte, r *Request, f Features, p *Packer) []byte {
	start := len(dst)
	dst = beginFrame(dst, f)
	dst = appendNumber(dst, r.ID)
	dst = appendNumber(dst, r.Tenant)
	if f.Version >= 2 {
		dst = append(dst, byte(r.Codec))
	}
	dst = appendU32(dst, uint32(r.Body.Op()))
	dst = appendRequestBody(dst, r.Body, f)
	return packFrame(dst, start, f, r.Codec, p)
}

func appendRequestBody(dst []byte, body RequestBody, f Features) []byte {
	switch m := body.(type) {
	case *Handshake:
		return appendHandshake(dst, m)
	case *CreateStream:
		return appendCreateStream(dst, m)
	case *AppendEvents:
		return appendAppendEvents(dst, m)
	case *Query:
		dst = appendValues(appendBytes(dst, m.SQL), m.Params, f)
		return appendQueryTail(dst, m.Streaming, m.ChunkWindow, m.IdempotencyKey, m.TimeoutMS)
	case *QueryAt:
		dst = appendValues(appendBytes(dst, m.SQL), m.Params, f)
		dst = appendNumber(dst, m.Position)
		return appendQueryTail(dst, m.Streaming, m.ChunkWindow, m.IdempotencyKey, m.TimeoutMS)
	case *ReadEvents:
		return appendReadEvents(dst, m)
	case *Sync, *Ping, *VerifyAudit, *Clock:
		return dst
	case *ListStreams:
		return appendListStreams(dst, m)
	case *StreamInfo:
		return appendBytes(appendNumber(dst, m.Stream), m.Name)
	case *DeleteStream:
		return appendOptU32(appendNumber(dst, m.Stream), m.RetentionOverride)
	case *UndeleteStream:
		return appendNumber(dst, m.Stream)
	case *SetRetention:
		return appendOptU32(appendOptU32(appendNumber(dst, m.Stream), m.Days), m.MinDays)
	case *SetHold:
		return appendBytes(appendBytes(appendNumber(dst, m.Stream), m.Name), m.Reason)
	case *ReleaseHold:
		return appendBytes(appendNumber(dst, m.Stream), m.Name)
	case *BatchQuery:
		return appendBatchQuery(dst, m, f)
	case *Subscribe:
		return appendSubscribe(dst, m)
	case *Unsubscribe:
		return appendNumber(dst, m.Subscription)
	case *Credit:
		return appendNumber(appendNumber(appendNumber(dst, m.Subscription), m.Events), m.Bytes)
	case *ChunkAck:
		return appendU32(appendNumber(dst, m.Query), m.Sequence)
	case *CancelQuery:
		return appendNumber(dst, m.Query)
	case *ConfirmClock:
		return appendNumber(dst, m.Wall)
	case *CreateTenant:
		return appendBytes(dst, m.Name)
	case *ListTenants:
		return appendU32(appendNumber(dst, m.After), m.Limit)
	}
	if dst, ok := appendGroupRequest(dst, body); ok {
		return dst
	}
	if dst, ok := appendCheckpointRequest(dst, body); ok {
		return dst
	}
	panic(fmt.Sprintf("wire: request body of type %T", body))
}

func appendHandshake(dst []byte, m *Handshake) []byte {
	dst = appendU16(dst, m.ClientVersion)
	dst = appendOptStr(dst, m.AuthToken)
	if len(m.Capabilities) > 0 {
		dst = appendStrings(dst, m.Capabilities)
	}
	return dst
}

func appendCreateStream(dst []byte, m *CreateStream) []byte {
	dst = appendBytes(dst, m.Name)
	dst = appendU32(dst, uint32(m.Class))
	dst = appendPlacement(dst, m.Placement)
	if m.RetentionDays.Set {
		dst = appendOptU32(dst, m.RetentionDays)
	}
	return dst
}

func appendAppendEvents(dst []byte, m *AppendEvents) []byte {
	dst = appendNumber(dst, m.Stream)
	dst = appendCount(dst, len(m.Events))
	for _, data := range m.Events {
		dst = appendBytes(dst, data)
	}
	if !m.ExpectOffset.Set && !m.Timestamps.Set && !m.IdempotencyKey.Set {
		return dst
	}
	dst = appendOptNumber(dst, m.ExpectOffset)
	dst = appendBool(dst, m.Timestamps.Set)
	if m.Timestamps.Set {
		dst = appendNumbers(dst, m.Timestamps.Value)
	}
	return appendOptKey(dst, m.IdempotencyKey)
}

// appendQueryTail leaves out a timeout of 0, as senders do that never heard of it.
func appendQueryTail(dst []byte, streaming bool, window uint32, key Option[Key], timeout uint32) []byte {
	if !streaming && window == 0 && !key.Set && timeout == 0 {
		return dst
	}
	dst = appendBool(dst, streaming)
	dst = appendU32(dst, window)
	dst = appendOptKey(dst, key)
	if timeout == 0 {
		return dst
	}
	return appendU32(dst, timeout)
}

func appendReadEvents(dst []byte, m *ReadEvents) []byte {
	dst = appendNumber(dst, m.Stream)
	dst = appendNumber(dst, m.FromOffset)
	dst = appendNumber(dst, m.MaxBytes)
	if !m.MaxEvents.Set && !m.FromTimestamp.Set && !m.Backward && !m.AsOf.Set {
		return dst
	}
	dst = appendOptU32(dst, m.MaxEvents)
	dst = appendOptNumber(dst, m.FromTimestamp)
	if dst = appendBool(dst, m.Backward); !m.AsOf.Set {
		return dst // as senders do that never heard of it
	}
	return appendOptNumber(dst, m.AsOf)
}

func appendSubscribe(dst []byte, m *Subscribe) []byte {
	dst = appendOptStr(appendNumber(appendNumber(dst, m.Stream), m.FromOffset), m.Group)
	if !m.FromTimestamp.Set && m.CreditEvents == 0 && m.CreditBytes == 0 {
		return dst
	}
	return appendNumber(appendNumber(appendOptNumber(dst, m.FromTimestamp), m.CreditEvents), m.CreditBytes)
}

func appendListStreams(dst []byte, m *ListStreams) []byte {
	dst = appendU32(appendNumber(dst, m.After), m.Limit)
	if m.Prefix == "" && !m.Deleted.Set && !m.System {
		return dst
	}
	dst = appendBytes(dst, m.Prefix)
	dst = appendBool(dst, m.Deleted.Set)
	if m.Deleted.Set {
		dst = appendBool(dst, m.Deleted.Value)
	}
	return appendBool(dst, m.System)
}
