package wire

import (
	"fmt"
	"slices"
)

// errorVariant is the variant index of an error; the reply to operation n has index n+1.
const errorVariant = 0

// AppendResponse appends the frame of a response, in the shape that f allows: without rich events a read sends the data
// of its events alone, without typed values Double and Bytes go as Text, and without extended errors a code above
// NotLeader goes as its V1, save OffsetMismatch, which only a client that knows it can cause. A response that would be
// longer than MaxPayload goes as the error ResultTooLarge. Strings must be UTF-8.
func AppendResponse(dst []byte, r *Response, f Features) []byte {
	return endFrame(appendResponse(dst, r, f), len(dst), f, NoCodec)
}

// appendResponse appends the frame of a response, but for its header.
func appendResponse(dst []byte, r *Response, f Features) []byte {
	start := len(dst)
	dst = beginFrame(dst, f)
	if f.Version >= 3 {
		dst = appendU32(dst, messageResponse)
	}
	dst = appendNumber(dst, r.RequestID)
	body := len(dst)
	dst = appendResponseBody(dst, r.Body, f)
	if len(dst)-start-f.HeaderBytes() > MaxPayload {
		message := fmt.Sprintf("the reply takes more than %d bytes", MaxPayload)
		dst = appendError(dst[:body], &Error{Code: ResultTooLarge, Message: message}, f)
	}
	return dst
}

func appendResponseBody(dst []byte, body ResponseBody, f Features) []byte {
	switch m := body.(type) {
	case *Error:
		return appendError(dst, m, f)
	case *HandshakeReply:
		dst = appendU16(appendReplyTo(dst, OpHandshake), m.ServerVersion)
		return appendStrings(appendBool(dst, m.Authenticated), m.Capabilities)
	case *CreateStreamReply:
		return appendNumber(appendReplyTo(dst, OpCreateStream), m.Stream)
	case *AppendEventsReply:
		return appendAppendEventsReply(dst, m)
	case *QueryReply:
		return appendQueryReply(dst, m, f)
	case *ReadEventsReply:
		return appendReadEventsReply(dst, m, f)
	case *SyncReply:
		return appendBool(appendReplyTo(dst, OpSync), m.Success)
	case *ListStreamsReply:
		return appendListStreamsReply(dst, m)
	case *StreamInfoReply:
		return appendStream(appendReplyTo(dst, OpStreamInfo), &m.Info)
	case *DeleteStreamReply:
		return appendDeleteStreamReply(dst, m)
	case *UndeleteStreamReply:
		return appendNumber(appendBool(appendReplyTo(dst, OpUndeleteStream), m.Restored), m.Position)
	case *SetRetentionReply:
		return appendNumber(appendReplyTo(dst, OpSetRetention), m.Position)
	case *SetHoldReply:
		return appendNumber(appendReplyTo(dst, OpSetHold), m.Position)
	case *ReleaseHoldReply:
		return appendNumber(appendReplyTo(dst, OpReleaseHold), m.Position)
	case *BatchQueryReply:
		return appendBatchQueryReply(dst, m, f)
	case *SubscribeReply:
		return appendNumber(appendReplyTo(dst, OpSubscribe), m.Subscription)
	case *UnsubscribeReply:
		return appendNumber(appendReplyTo(dst, OpUnsubscribe), m.Next)
	case *CreditReply:
		return appendNumber(appendNumber(appendReplyTo(dst, OpCredit), m.Events), m.Bytes)
	case *ChunkAckReply:
		return appendU32(appendReplyTo(dst, OpChunkAck), m.Unacknowledged)
	case *CancelQueryReply:
		return appendBool(appendReplyTo(dst, OpCancelQuery), m.Cancelled)
	case *PingReply:
		return appendReplyTo(dst, OpPing)
	case *CreateTenantReply:
		return appendNumber(appendReplyTo(dst, OpCreateTenant), m.Tenant)
	case *ListTenantsReply:
		return appendListTenantsReply(dst, m)
	case *VerifyAuditReply:
		dst = appendBytes(appendNumber(appendReplyTo(dst, OpVerifyAudit), m.Events), m.Hash)
		return appendBytes(appendOptNumber(dst, m.Break), m.Message)
	case *ClockReply:
		dst = appendNumber(appendNumber(appendReplyTo(dst, OpClock), m.Now), m.Wall)
		return appendBool(dst, m.Trusted)
	case *ConfirmClockReply:
		return appendNumber(appendReplyTo(dst, OpConfirmClock), m.Now)
	}
	if dst, ok := appendGroupReply(dst, body); ok {
		return dst
	}
	if dst, ok := appendCheckpointReply(dst, body); ok {
		return dst
	}
	panic(fmt.Sprintf("wire: response body of type %T", body))
}

// appendReplyTo appends the variant index of the reply to an operation.
func appendReplyTo(dst []byte, op Op) []byte { return appendU32(dst, uint32(op)+1) }

// appendError says whether the failure itself is worth a retry, even where the code is mapped to one that differs.
func appendError(dst []byte, m *Error, f Features) []byte {
	dst = appendFailure(appendU32(dst, errorVariant), m, f)
	retryable := m.Code.Retryable()
	if !m.CurrentOffset.Set && !retryable {
		return dst
	}
	dst = appendOptNumber(dst, m.CurrentOffset)
	return appendBool(dst, retryable)
}

// appendFailure appends the code and the message of an error.
func appendFailure(dst []byte, m *Error, f Features) []byte {
	code := m.Code
	if !f.ExtendedErrors && code != OffsetMismatch {
		code = code.V1()
	}
	return appendBytes(appendU32(dst, uint32(code)), m.Message)
}

func appendAppendEventsReply(dst []byte, m *AppendEventsReply) []byte {
	dst = appendReplyTo(dst, OpAppendEvents)
	dst = appendNumber(dst, m.FirstOffset)
	dst = appendU32(dst, m.Count)
	if m.Timestamp == 0 && m.Position == 0 && !m.Duplicate {
		return dst
	}
	dst = appendNumber(dst, m.Timestamp)
	dst = appendNumber(dst, m.Position)
	return appendBool(dst, m.Duplicate)
}

// appendQueryReply stops once the result cannot fit: it will not be sent, and may be far larger.
func appendQueryReply(dst []byte, m *QueryReply, f Features) []byte {
	start := len(dst)
	op := OpQuery
	if m.At {
		op = OpQueryAt
	}
	dst = appendReplyTo(dst, op)
	dst = appendStrings(dst, m.Columns)
	dst = appendCount(dst, len(m.Rows))
	for _, row := range m.Rows {
		if len(dst)-start > MaxPayload {
			return dst
		}
		dst = appendValues(dst, row, f)
	}
	if m.RowsAffected == 0 && m.Position == 0 && !m.Trimmed {
		return dst
	}
	dst = appendNumber(dst, m.RowsAffected)
	dst = appendNumber(dst, m.Position)
	return appendBool(dst, m.Trimmed)
}

func appendReadEventsReply(dst []byte, m *ReadEventsReply, f Features) []byte {
	dst = slices.Grow(dst, m.Events.Size+64) // the fields around the events take less than 64
	dst = appendReplyTo(dst, OpReadEvents)
	dst = appendCount(dst, m.Events.Count)
	if f.RichEvents {
		for _, chunk := range m.Events.Chunks {
			dst = append(dst, chunk...)
		}
	} else {
		for e := range m.Events.All {
			dst = appendBytes(dst, e.Data)
		}
	}
	dst = appendOptNumber(dst, m.NextOffset)
	if m.OldestOffset == 0 && m.HeadOffset == 0 {
		return dst
	}
	dst = appendNumber(dst, m.OldestOffset)
	return appendNumber(dst, m.HeadOffset)
}

func appendListStreamsReply(dst []byte, m *ListStreamsReply) []byte {
	dst = appendReplyTo(dst, OpListStreams)
	dst = appendCount(dst, len(m.Streams))
	for i := range m.Streams {
		dst = appendStream(dst, &m.Streams[i])
	}
	return appendBool(dst, m.More)
}

func appendStream(dst []byte, s *StreamDescription) []byte {
	dst = appendNumber(dst, s.Stream)
	dst = appendBytes(dst, s.Name)
	dst = appendU32(dst, uint32(s.Class))
	dst = appendPlacement(dst, s.Placement)
	dst = appendOptU32(dst, s.RetentionDays)
	dst = appendNumber(dst, s.Created)
	dst = appendNumber(dst, s.OldestOffset)
	dst = appendNumber(dst, s.HeadOffset)
	dst = appendNumber(dst, s.Bytes)
	dst = appendOptNumber(dst, s.FirstTime)
	dst = appendOptNumber(dst, s.LastTime)
	dst = appendBool(dst, s.Deleted)
	dst = appendOptNumber(dst, s.PurgeDate)
	dst = appendU32(dst, s.MinRetentionDays)
	dst = appendCount(dst, len(s.Holds))
	for _, h := range s.Holds {
		dst = appendNumber(appendBytes(appendBytes(dst, h.Name), h.Reason), h.Set)
	}
	return dst
}

func appendDeleteStreamReply(dst []byte, m *DeleteStreamReply) []byte {
	dst = appendBool(appendReplyTo(dst, OpDeleteStream), m.Deleted)
	dst = appendNumber(dst, m.PurgeDate)
	if m.Position == 0 {
		return dst
	}
	return appendNumber(dst, m.Position)
}

func appendListTenantsReply(dst []byte, m *ListTenantsReply) []byte {
	dst = appendReplyTo(dst, OpListTenants)
	dst = appendCount(dst, len(m.Tenants))
	for i := range m.Tenants {
		t := &m.Tenants[i]
		dst = appendNumber(dst, t.Tenant)
		dst = appendBytes(dst, t.Name)
		dst = appendNumber(dst, t.Created)
		dst = appendNumber(dst, t.Streams)
		dst = appendNumber(dst, t.Position)
	}
	return appendBool(dst, m.More)
}
