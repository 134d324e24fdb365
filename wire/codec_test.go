package wire

import (
	"math"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestRequestsSurviveTheRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := drawFeatures(t)
		want := drawRequest(f)(t)
		payload := AppendRequest(nil, want, f)[f.HeaderBytes():]
		got, err := DecodeRequest(payload, f)
		if err != nil {
			t.Fatal(err)
		}
		want.Size, want.Features = len(payload), f
		same(t, want, got)
	})
}

func TestMessagesSurviveTheRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := drawFeatures(t)
		want := drawMessage(f)(t)
		got, err := DecodeMessage(AppendMessage(nil, want, f, nil)[f.HeaderBytes():], f)
		if err != nil {
			t.Fatal(err)
		}
		same(t, told(want), got)
	})
}

// Where a payload may end is part of the protocol: after the body, and after each tail field, but nowhere else. What
// follows the last one is for later versions and ignored.
func TestPayloadsEndOnlyAroundTailFields(t *testing.T) {
	key := Some(testKey)
	for _, c := range []struct {
		tails  int
		vector vector
	}{
		{1, request(1, &Handshake{AuthToken: Some("token"), Capabilities: []string{"a", "b"}})},
		{1, request(1, &CreateStream{Name: "a", RetentionDays: Some(uint32(7))})},
		{3, request(1, &AppendEvents{Events: [][]byte{{1}}, ExpectOffset: Some(Offset(7)),
			Timestamps: Some([]Time{1}), IdempotencyKey: key})},
		{4, request(1, &Query{SQL: "a", Params: []Value{{Kind: BigInt}}, Streaming: true, IdempotencyKey: key, TimeoutMS: 1})},
		{4, request(1, &QueryAt{SQL: "a", Position: 1, ChunkWindow: 9, IdempotencyKey: key, TimeoutMS: 1})},
		{4, request(1, &ReadEvents{MaxEvents: Some(uint32(1)), FromTimestamp: Some(Time(1)), Backward: true, AsOf: Some(Position(1))})},
		{0, request(1, &Sync{})},
		{3, request(1, &ListStreams{Prefix: "a", Deleted: Some(true), System: true})},
		{0, request(1, &StreamInfo{Name: "a"})},
		{0, request(1, &DeleteStream{RetentionOverride: Some(uint32(1))})},
		{0, request(1, &UndeleteStream{})},
		{0, request(1, &SetRetention{Days: Some(uint32(1)), MinDays: Some(uint32(1))})},
		{0, request(1, &SetHold{Name: "a", Reason: "b"})},
		{0, request(1, &ReleaseHold{Name: "a"})},
		{2, request(1, &BatchQuery{Queries: testBatch, StopOnError: true, Atomic: true, IdempotencyKey: key})},
		{3, request(1, &Subscribe{Group: Some("a"), FromTimestamp: Some(Time(1)), CreditEvents: 1, CreditBytes: 1})},
		{0, request(1, &Unsubscribe{Subscription: 1})},
		{0, request(1, &Credit{Subscription: 1, Events: 1, Bytes: 1})},
		{0, request(1, &ChunkAck{Query: 1, Sequence: 1})},
		{0, request(1, &CancelQuery{Query: 1})},
		{0, request(1, &Ping{})},
		{0, request(1, &CreateTenant{Name: "a"})},
		{0, request(1, &ListTenants{})},
		{0, request(1, &VerifyAudit{})},
		{0, request(1, &Checkpoint{Label: Some("a")})},
		{0, request(1, &ListCheckpoints{})},
		{0, request(1, &GetCheckpoint{Ref: CheckpointRef{Label: "a"}, Limit: 1})},
		{0, request(1, &DeleteCheckpoint{Ref: CheckpointRef{Label: "a"}})},
		{1, request(1, &ArchiveCheckpoint{Ref: CheckpointRef{Label: "a"}, Destination: "a", LockUntil: Some(Time(1))})},
		{0, request(1, &RestoreTenant{Source: "a", Name: Some("a"), AcceptOlder: true})},
		{0, request(1, &RestoreInfo{})},
		{0, request(1, &Clock{})},
		{0, request(1, &ConfirmClock{Wall: 1})},
		{2, response(1, &Error{Code: Timeout, Message: "a", CurrentOffset: Some(Offset(1)), Retryable: true})},
		{0, response(1, &HandshakeReply{Capabilities: []string{"a"}})},
		{0, response(1, &CreateStreamReply{})},
		{3, response(1, &AppendEventsReply{Position: 1})},
		{3, response(1, &QueryReply{Columns: []string{"a"}, Rows: [][]Value{{{Kind: BigInt}}}, Trimmed: true})},
		{2, response(1, &ReadEventsReply{Events: events(nil, "a", "b"), NextOffset: Some(Offset(2)), HeadOffset: 2})},
		{2, response(1, &ReadEventsReply{Events: events(nil, "a", "b"), HeadOffset: 2}).with(rich)},
		{0, response(1, &SyncReply{})},
		{0, response(1, &ListStreamsReply{Streams: []StreamDescription{testStream}})},
		{0, response(1, &StreamInfoReply{Info: testStream})},
		{1, response(1, &DeleteStreamReply{Deleted: true, Position: 1})},
		{0, response(1, &UndeleteStreamReply{})},
		{0, response(1, &SetRetentionReply{})},
		{0, response(1, &SetHoldReply{})},
		{0, response(1, &ReleaseHoldReply{})},
		{1, response(1, &BatchQueryReply{Results: []BatchedResult{{Columns: []string{"a"}, Rows: [][]Value{{{Kind: BigInt}}}}, {Err: &Error{Message: "b"}}}, Position: 1})},
		{0, response(1, &SubscribeReply{Subscription: 1})},
		{0, response(1, &UnsubscribeReply{Next: 1})},
		{0, response(1, &CreditReply{Events: 1, Bytes: -1})},
		{0, response(1, &ChunkAckReply{Unacknowledged: 1})},
		{0, response(1, &CancelQueryReply{Cancelled: true})},
		{0, response(1, &PingReply{})},
		{0, response(1, &CreateTenantReply{})},
		{0, response(1, &ListTenantsReply{Tenants: []TenantDescription{{Name: "a"}}})},
		{0, response(1, &CheckpointReply{Position: 1})},
		{0, response(1, &ListCheckpointsReply{Checkpoints: []CheckpointInfo{{Label: Some("a")}}})},
		{0, response(1, &GetCheckpointReply{Note: "a", Archives: []ArchiveInfo{{Destination: "a", Trouble: "a"}}, Streams: []CheckpointStream{{Name: "a", Root: []byte{1}}}})},
		{0, response(1, &DeleteCheckpointReply{Position: 1})},
		{0, response(1, &ArchiveCheckpointReply{Position: 1})},
		{0, response(1, &RestoreTenantReply{Position: 1})},
		{0, response(1, &RestoreInfoReply{Trouble: "a", Streams: []RestoredStream{{Was: 1, Is: 2}}})},
		{0, response(1, &VerifyAuditReply{Hash: []byte{1}, Break: Some(Offset(1)), Message: "a"})},
		{0, response(1, &ClockReply{Now: 1, Wall: 2, Trusted: true})},
		{0, response(1, &ConfirmClockReply{Now: 1})},
		{0, push(&SubscriptionEvents{Events: events(nil, "a", "b")})},
		{0, push(&SubscriptionClosed{Message: "a"})},
		{1, push(&QueryChunk{Query: 1, Columns: []string{"a"}, Rows: [][]Value{{{Kind: BigInt}}}, Position: 1})},
		{0, push(&CaughtUp{Offset: 1})},
		{0, push(&Gap{To: 1})},
		{0, push(&PushPing{})},
	} {
		v := c.vector
		v.features.ExtendedErrors = true
		t.Run(v.name(), func(t *testing.T) {
			payload := v.encode()[v.features.HeaderBytes():]
			ends := 0
			for n := range len(payload) + 1 {
				if _, err := v.decode(payload[:n]); err == nil {
					ends++
				}
			}
			if ends != c.tails+1 {
				t.Errorf("payload may end at %d places, want %d", ends, c.tails+1)
			}
			want, err := v.decode(payload)
			if err != nil {
				t.Fatal(err)
			}
			got, err := v.decode(append(payload, 0xff))
			if err != nil {
				t.Fatal(err)
			}
			same(t, want, got)
		})
	}
}

func TestCodesAboveNotLeaderAreMappedUnlessAgreed(t *testing.T) {
	for _, c := range []struct {
		name      string
		features  Features
		code      Code
		sent      Code
		retryable bool
	}{
		{"mapped", Features{}, StreamDeleted, StreamNotFound, false},
		{"as itself", extended, StreamDeleted, StreamDeleted, false},
		{"mismatch always as itself", Features{}, OffsetMismatch, OffsetMismatch, false},
		{"retry is worth it", Features{}, StorageFull, StorageError, true},
		{"mapped to a retryable code, but is not itself", Features{}, DataCorrupted, StorageError, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			frame := AppendResponse(nil, &Response{Body: &Error{Code: c.code}}, c.features)
			got, err := DecodeResponse(frame[HeaderSize:], c.features)
			if err != nil {
				t.Fatal(err)
			}
			same(t, &Error{Code: c.sent, Retryable: c.retryable}, got.Body)
		})
	}
}

func TestCodeOfALaterServerIsKept(t *testing.T) {
	payload := appendBytes(appendU32(appendU32(make([]byte, 8), errorVariant), 99), "x")
	got, err := DecodeResponse(payload, extended)
	if err != nil {
		t.Fatal(err)
	}
	same(t, &Error{Code: 99, Message: "x"}, got.Body)
}

func TestUntypedValuesTravelAsText(t *testing.T) {
	for _, c := range []struct {
		name string
		sent Value
		text string
	}{
		{"integral", Value{Kind: Double, Float: 3}, "3.0"},
		{"negative zero", Value{Kind: Double, Float: math.Copysign(0, -1)}, "-0.0"},
		{"shortest", Value{Kind: Double, Float: 0.1}, "0.1"},
		{"large", Value{Kind: Double, Float: 1e300}, "1e+300"},
		{"small", Value{Kind: Double, Float: 5e-324}, "5e-324"},
		{"not a number", Value{Kind: Double, Float: math.NaN()}, "NaN"},
		{"infinite", Value{Kind: Double, Float: math.Inf(1)}, "Infinity"},
		{"infinite below", Value{Kind: Double, Float: math.Inf(-1)}, "-Infinity"},
		{"bytes", Value{Kind: Bytes, Bytes: []byte{0xfb, 0xff, 0}}, "+/8A"},
		{"padded bytes", Value{Kind: Bytes, Bytes: []byte{1}}, "AQ=="},
		{"no bytes", Value{Kind: Bytes}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			frame := AppendResponse(nil, &Response{Body: &QueryReply{Rows: [][]Value{{c.sent}}}}, Features{})
			got, err := DecodeResponse(frame[HeaderSize:], Features{})
			if err != nil {
				t.Fatal(err)
			}
			same(t, &QueryReply{Rows: [][]Value{{{Kind: Text, Text: c.text}}}}, got.Body)
		})
	}
}

func TestDoublesReadBackFromTheirText(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := rapid.Float64().Draw(t, "double")
		text := doubleText(want)
		got, err := strconv.ParseFloat(text, 64)
		if err != nil || math.Float64bits(got) != math.Float64bits(want) {
			t.Fatalf("%v reads back from %q as %v, %v", want, text, got, err)
		}
		if _, err := strconv.ParseInt(text, 10, 64); err == nil {
			t.Fatalf("%q reads back as an integer", text)
		}
	})
}

func TestRichReadCopiesChunksAsTheyAre(t *testing.T) {
	var r EventRange
	r.Add(AppendEvent(nil, 8, []byte("a"), 1), 1)
	r.Add(AppendEvent(AppendEvent(nil, 9, []byte("b"), 2), 10, nil, 3), 2)
	frame := AppendResponse(nil, &Response{Body: &ReadEventsReply{Events: r, NextOffset: Some(Offset(11))}}, rich)
	got, err := DecodeResponse(frame[HeaderSize:], rich)
	if err != nil {
		t.Fatal(err)
	}
	var whole EventRange
	whole.Add(append(append([]byte(nil), r.Chunks[0]...), r.Chunks[1]...), 3)
	same(t, &ReadEventsReply{Events: whole, NextOffset: Some(Offset(11))}, got.Body)
}

func TestRichReadThatEndsInsideAnEventIsRefused(t *testing.T) {
	frame := AppendResponse(nil, &Response{Body: &ReadEventsReply{Events: events(nil, "abc", "def")}}, rich)
	payload := frame[HeaderSize:]
	payload[12+8+EventOverhead+3+8] = 200 // the second event's length
	if _, err := DecodeResponse(payload, rich); err != errShort {
		t.Fatalf("error is %v", err)
	}
}

// A count of holds that the payload cannot hold must not make its receiver allocate.
func TestHoldsBeyondThePayloadAreRefused(t *testing.T) {
	payload := response(1, &StreamInfoReply{}).encode()[HeaderSize:]
	payload[len(payload)-1] = 1 // the last byte of the count
	if _, err := DecodeResponse(payload, extended); err != errShort {
		t.Fatalf("error is %v", err)
	}
}

func TestResponseThatDoesNotFitBecomesAnError(t *testing.T) {
	for _, c := range []struct {
		name     string
		features Features
		text     int // bytes
		fits     bool
		code     Code
	}{
		{"as much as fits", Features{}, MaxPayload - 48, true, 0},
		{"one byte more", Features{}, MaxPayload - 47, false, QueryExecutionError},
		{"one byte more, extended errors", extended, MaxPayload - 47, false, ResultTooLarge},
	} {
		t.Run(c.name, func(t *testing.T) {
			reply := &QueryReply{Rows: [][]Value{{{Kind: Text, Text: strings.Repeat("x", c.text)}}}}
			before := "before"
			out := AppendResponse([]byte(before), &Response{RequestID: 7, Body: reply}, c.features)
			if string(out[:len(before)]) != before {
				t.Fatal("what was in dst is lost")
			}
			client := NewClientSession(Alone())
			client.SetFeatures(c.features)
			got, err := client.Feed(out[len(before):], nil)
			if err != nil || len(got) != 1 || got[0].(*Response).RequestID != 7 {
				t.Fatalf("got %d responses and %v", len(got), err)
			}
			if c.fits {
				same(t, reply, got[0].(*Response).Body)
			} else if e, ok := got[0].(*Response).Body.(*Error); !ok || e.Code != c.code {
				t.Fatalf("body is %+v, want code %s", got[0].(*Response).Body, c.code)
			}
		})
	}
}

func TestHugeResultIsNotEncodedToItsEnd(t *testing.T) {
	row := []Value{{Kind: Text, Text: strings.Repeat("x", 1<<20)}}
	reply := &QueryReply{}
	for range 200 {
		reply.Rows = append(reply.Rows, row)
	}
	if out := AppendResponse(nil, &Response{Body: reply}, Features{}); cap(out) > 3*MaxPayload {
		t.Errorf("the buffer grew to %d bytes for a result that is refused", cap(out))
	}
}

// Event data aliases the payload; whoever appends to one event must not write over the next.
func TestEventDataCannotGrowIntoWhatFollows(t *testing.T) {
	payload := request(1, &AppendEvents{Events: [][]byte{[]byte("abc"), []byte("def")}}).encode()[HeaderSize:]
	r, err := DecodeRequest(payload, Features{})
	if err != nil {
		t.Fatal(err)
	}
	m := r.Body.(*AppendEvents)
	if &m.Events[0][0] != &payload[20+8+8+8] {
		t.Error("event data is a copy")
	}
	_ = append(m.Events[0], "overwritten"...)
	if string(m.Events[1]) != "def" {
		t.Errorf("second event is %q", m.Events[1])
	}
}

func TestDecoderReadsNothingAfterAnError(t *testing.T) {
	d := decoder{rest: []byte{2, 1, 1, 1, 1, 1, 1, 1, 1}}
	d.boolean()
	if v := d.u64(); v != 0 || d.more() || d.err != errBool {
		t.Errorf("read %d, more is %t, error is %v", v, d.more(), d.err)
	}
}

func TestFeaturesAreTheirCapabilities(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := drawFeatures(t)
		if got := FeaturesOf(append(f.Capabilities(), "of a later version")).In(f.Version); got != f {
			t.Fatalf("%+v comes back as %+v", f, got)
		}
	})
}

// Both ends find the same version and shape from the handshake alone.
func TestAgreementIsTheLowerVersionAndItsShape(t *testing.T) {
	all := []string{CapabilityRichEvents, CapabilityTypedValues, CapabilityExtendedErrors, CapabilityLZ4, CapabilityZstd}
	for _, c := range []struct {
		name   string
		client uint16
		offers []string
		want   Features
	}{
		{"a client of no version", 0, nil, Features{Version: 1}},
		{"version 1, nothing", 1, nil, Features{Version: 1}},
		{"version 1 has no compression", 1, all, Features{Version: 1, RichEvents: true, TypedValues: true, ExtendedErrors: true}},
		{"version 2 always has the full shape", 2, nil, Features{Version: 2, RichEvents: true, TypedValues: true, ExtendedErrors: true}},
		{"version 2, a codec", 2, []string{CapabilityZstd},
			Features{Version: 2, RichEvents: true, TypedValues: true, ExtendedErrors: true, Zstd: true}},
		{"version 3, everything", 3, all,
			Features{Version: 3, RichEvents: true, TypedValues: true, ExtendedErrors: true, LZ4: true, Zstd: true}},
		{"a client of a later version", 9, []string{CapabilityLZ4},
			Features{Version: 3, RichEvents: true, TypedValues: true, ExtendedErrors: true, LZ4: true}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := Agree(&Handshake{ClientVersion: c.client, Capabilities: c.offers}); got != c.want {
				t.Errorf("agreed on %+v, want %+v", got, c.want)
			}
		})
	}
}
