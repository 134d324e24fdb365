package wire

import (
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"
)

var update = flag.Bool("update", false, "rewrite the vectors in testdata/wire")

// vector is a golden frame's meaning. Exactly one of request, response and push is set.
type vector struct {
	features Features
	request  *Request
	response *Response
	push     *Push

	// Where codec is not NoCodec, pack compresses the payload in it.
	codec Codec
	pack  func(payload []byte) []byte
}

func request(id uint64, body RequestBody) vector {
	return vector{request: &Request{ID: id, Tenant: 42, Body: body}}
}

func response(id uint64, body ResponseBody) vector {
	return vector{response: &Response{RequestID: id, Body: body}}
}

func (v vector) with(f Features) vector {
	v.features = f
	return v
}

// events returns a range as one chunk, with the given event times.
func events(times []Time, data ...string) EventRange {
	var chunk []byte
	for i, s := range data {
		var t Time
		if times != nil {
			t = times[i]
		}
		chunk = AppendEvent(chunk, Offset(i), []byte(s), t)
	}
	var r EventRange
	r.Add(chunk, len(data))
	return r
}

// vectorsV1 gives the meaning of testdata/wire/v1.txt, by name.
var vectorsV1 = map[string]vector{
	`REQ Handshake id1 t42 v1 None`:          request(1, &Handshake{ClientVersion: 1}),
	`REQ Handshake id1 t42 v1 Some("token")`: request(1, &Handshake{ClientVersion: 1, AuthToken: Some("token")}),
	`REQ CreateStream id2 t42 "events" PHI Global`: request(2,
		&CreateStream{Name: "events", Placement: Placement{Global: true}}),
	`REQ CreateStream id2 t42 "events" NonPHI Region(USEast1)`: request(2,
		&CreateStream{Name: "events", Class: NonPHI}),
	`REQ CreateStream id2 t42 "events" Deidentified Region(Custom("eu"))`: request(2,
		&CreateStream{Name: "events", Class: Deidentified, Placement: Placement{Region: Region{RegionCustom, "eu"}}}),
	`REQ AppendEvents id3 t42 stream42 [010203],[0405]`: request(3,
		&AppendEvents{Stream: 42, Events: [][]byte{{1, 2, 3}, {4, 5}}}),
	`REQ AppendEvents id3 t42 stream42 [] (empty batch)`: request(3, &AppendEvents{Stream: 42}),
	`REQ Query id4 t42 "SELECT 1" no params`:             request(4, &Query{SQL: "SELECT 1"}),
	`REQ Query id4 t42 "SELECT 1" [Null,BigInt(-1),Text("hi"),Boolean(true),Timestamp(1700000000000000000)]`: request(4,
		&Query{SQL: "SELECT 1", Params: []Value{
			{Kind: Null},
			{Kind: BigInt, Int: -1},
			{Kind: Text, Text: "hi"},
			{Kind: Boolean, Int: 1},
			{Kind: Timestamp, Int: 1700000000000000000},
		}}),
	`REQ QueryAt id5 t42 "SELECT 1" [] position 7`: request(5, &QueryAt{SQL: "SELECT 1", Position: 7}),
	`REQ ReadEvents id6 t42 stream 42000001 from 0 max 65536`: request(6,
		&ReadEvents{Stream: 42000001, MaxBytes: 65536}),
	`REQ Sync id7 t42`: request(7, &Sync{}),
	`RSP Error id9 StreamNotFound "stream not found: 42"`: response(9,
		&Error{Code: StreamNotFound, Message: "stream not found: 42"}),
	`RSP Error id3 InvalidOffset(11) "x"`: response(3, &Error{Code: InvalidOffset, Message: "x"}),
	`RSP Handshake id1 v1 auth=false ["query","append"]`: response(1,
		&HandshakeReply{ServerVersion: 1, Capabilities: []string{"query", "append"}}),
	`RSP CreateStream id2 stream 42000001`: response(2, &CreateStreamReply{Stream: 42000001}),
	`RSP AppendEvents id3 first 0 count 2`: response(3, &AppendEventsReply{Count: 2}),
	`RSP QueryAt id5 cols[id] rows[]`:      response(5, &QueryReply{At: true, Columns: []string{"id"}}),
	`RSP ReadEvents id6 [] next None`:      response(6, &ReadEventsReply{}),
	`RSP Sync id7 true`:                    response(7, &SyncReply{Success: true}),
	`RSP ReadEvents id6 [010203],[0405] next Some(2)`: response(6,
		&ReadEventsReply{Events: events(nil, "\x01\x02\x03", "\x04\x05"), NextOffset: Some(Offset(2))}),
	`RSP Query id4 cols[id,name] rows[[BigInt 1,Text "a"],[BigInt 2,Null]]`: response(4,
		&QueryReply{Columns: []string{"id", "name"}, Rows: [][]Value{
			{{Kind: BigInt, Int: 1}, {Kind: Text, Text: "a"}},
			{{Kind: BigInt, Int: 2}, {Kind: Null}},
		}}),
}

// line is one line of a file of vectors, cut at the bars.
type line struct{ name, second, third string }

func readLines(t testing.TB, file string) []line {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "testdata", "wire", file))
	if err != nil {
		t.Fatal(err)
	}
	var lines []line
	for s := range strings.Lines(string(text)) {
		if strings.HasPrefix(s, "#") {
			continue
		}
		fields := strings.Split(strings.TrimSpace(s), " | ")
		if len(fields) != 3 {
			t.Fatalf("%s: not three fields: %q", file, s)
		}
		lines = append(lines, line{fields[0], fields[1], fields[2]})
	}
	return lines
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	p, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// same fails the test unless the messages are equal; an empty slice equals a missing one.
func same(t rapid.TB, want, got any) {
	t.Helper()
	if reflect.DeepEqual(want, got) {
		return // cmp takes seconds for large slices
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty(), cmpopts.EquateNaNs()); diff != "" {
		t.Fatalf("decoded message differs (-want +got):\n%s", diff)
	}
}

func (v vector) encode() []byte {
	var frame []byte
	switch {
	case v.request != nil:
		frame = AppendRequest(nil, v.request, v.features)
	case v.response != nil:
		frame = AppendResponse(nil, v.response, v.features)
	default:
		frame = AppendMessage(nil, v.push, v.features, nil)
	}
	if v.codec == NoCodec {
		return frame
	}
	return AppendFrameIn(nil, v.features, v.codec, v.pack(frame[v.features.HeaderBytes():]))
}

// decode decodes a payload as the kind of message that v is. It leaves out what a request knows of its frame.
func (v vector) decode(payload []byte) (any, error) {
	if v.request == nil {
		return DecodeMessage(payload, v.features)
	}
	r, err := DecodeRequest(payload, v.features)
	if err == nil {
		r.Size, r.Features = 0, Features{}
	}
	return r, err
}

// name is the type of the message's body.
func (v vector) name() string {
	if v.request != nil {
		return fmt.Sprintf("%T", v.request.Body)
	}
	if v.push != nil {
		return fmt.Sprintf("%T", v.push.Body)
	}
	return fmt.Sprintf("%T", v.response.Body)
}

func (v vector) message() any {
	if v.request != nil {
		return v.request
	}
	if v.push != nil {
		return v.push
	}
	return v.response
}

// check requires that the vector and the frame are each other's encoding and decoding.
func (v vector) check(t *testing.T, frame []byte) {
	t.Helper()
	if got := v.encode(); string(got) != string(frame) {
		t.Errorf("encoded frame differs:\nwant %x\ngot  %x", frame, got)
	}
	got, err := v.decode(frame[HeaderSize:])
	if err != nil {
		t.Fatal(err)
	}
	same(t, v.message(), got)
}

func checkVectors(t *testing.T, file string, meaning map[string]vector) {
	lines := readLines(t, file)
	if len(lines) != len(meaning) {
		t.Errorf("%s has %d vectors, the test knows %d", file, len(lines), len(meaning))
	}
	for _, l := range lines {
		t.Run(l.name, func(t *testing.T) {
			v, ok := meaning[l.name]
			if !ok {
				t.Fatalf("%s: no meaning given", file)
			}
			v.check(t, unhex(t, l.second+l.third))
		})
	}
}

func TestGoldenFramesOfVersion1(t *testing.T) { checkVectors(t, "v1.txt", vectorsV1) }

// Tail fields, new operations and capabilities: the frames were checked by hand when they were added, and clients now
// depend on them.
func TestGoldenFramesExtended(t *testing.T) {
	meaning := make(map[string]vector)
	for _, n := range vectorsExtended {
		meaning[n.name] = n.vector
	}
	if *update {
		writeExtended(t)
	}
	checkVectors(t, "v1-extended.txt", meaning)
}

func writeExtended(t *testing.T) {
	var b strings.Builder
	b.WriteString("# Golden frames of what was added to protocol version 1, one a line: name | header hex | payload hex\n")
	b.WriteString("# Written by go test ./wire -run Extended -update; a line that is here must never change.\n")
	for _, n := range vectorsExtended {
		frame := n.vector.encode()
		fmt.Fprintf(&b, "%s | %x | %x\n", n.name, frame[:HeaderSize], frame[HeaderSize:])
	}
	file := filepath.Join("..", "testdata", "wire", "v1-extended.txt")
	if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestMalformedFramesFault(t *testing.T) {
	for _, l := range readLines(t, "malformed-v1.txt") {
		t.Run(l.name, func(t *testing.T) {
			requests, err := NewSession(Alone()).Feed(unhex(t, l.second), nil)
			if len(requests) != 0 {
				t.Errorf("%d requests decoded", len(requests))
			}
			f, ok := err.(*Fault)
			if !ok {
				t.Fatalf("error is %v, want a fault", err)
			}
			if f.Reason.String() != l.third {
				t.Errorf("reason is %v, want %s", f, l.third)
			}
		})
	}
}
