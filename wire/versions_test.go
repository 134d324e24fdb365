package wire

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"unicode"

	"github.com/klauspost/compress/zstd"
)

// everything is what a connection has agreed on whose client offered all there is.
var everything = Features{RichEvents: true, TypedValues: true, ExtendedErrors: true, LZ4: true, Zstd: true}

func push(body PushBody) vector { return vector{push: &Push{Body: body}}.with(everything.In(3)) }

// in returns the vector with its payload compressed.
func (v vector) in(c Codec, pack func([]byte) []byte) vector {
	v.codec, v.pack = c, pack
	return v
}

// prefer returns the request with the codec that it asks for.
func (v vector) prefer(c Codec) vector {
	r := *v.request
	r.Codec = c
	v.request = &r
	return v
}

// packed compresses as a Packer does.
func packed(c Codec) func([]byte) []byte {
	return func(payload []byte) []byte {
		out, ok := new(Packer).pack(c, payload)
		if !ok {
			panic("the payload does not shrink")
		}
		return out
	}
}

// storedLZ4 makes an LZ4 payload without any match, as a sender may that saves the work.
func storedLZ4(payload []byte) []byte {
	return lz4Block(uint32(len(payload)), literals(payload))
}

func lz4Block(states uint32, block []byte) []byte { return append(appendU32(nil, states), block...) }

// literals makes the LZ4 sequence that ends a block.
func literals(p []byte) []byte {
	if len(p) < 15 {
		return append([]byte{byte(len(p) << 4)}, p...)
	}
	out, rest := []byte{0xf0}, len(p)-15
	for ; rest >= 255; rest -= 255 {
		out = append(out, 255)
	}
	return append(append(out, byte(rest)), p...)
}

// zstdFrame makes a Zstandard frame of a single segment that states a size of four bytes.
func zstdFrame(states uint32, blocks ...[]byte) []byte {
	return append(appendU32([]byte{0x28, 0xb5, 0x2f, 0xfd, 0xa0}, states), bytes.Join(blocks, nil)...)
}

// The types of Zstandard blocks.
const (
	zstdRaw = iota
	zstdRLE
	zstdCompressed
	zstdReserved
)

// zstdBlock makes a block; size counts what it expands to, for a run as for raw bytes.
func zstdBlock(last bool, kind, size int, p []byte) []byte {
	h := uint32(size<<3 | kind<<1)
	if last {
		h |= 1
	}
	return append([]byte{byte(h), byte(h >> 8), byte(h >> 16)}, p...)
}

// storedZstd makes a Zstandard payload of raw blocks.
func storedZstd(payload []byte) []byte {
	return zstdFrame(uint32(len(payload)), zstdBlock(true, zstdRaw, len(payload), payload))
}

// checkedZstd compresses with a checksum of the content, which this package leaves out when it sends.
func checkedZstd(payload []byte) []byte {
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderCRC(true), zstd.WithEncoderConcurrency(1))
	if err != nil {
		panic(err)
	}
	return enc.EncodeAll(payload, nil)
}

type namedVector struct {
	name   string
	vector vector
}

// longEvents are worth compressing.
func longEvents() (data [][]byte, stored EventRange) {
	var chunk []byte
	for i := range 8 {
		d := fmt.Appendf(nil, `{"id":"us%d","mag":1.%d,"place":"%dkm NNE of Amboy, Washington","type":"earthquake"}`, 61345682+i, i, 37+i)
		data = append(data, d)
		chunk = AppendEvent(chunk, Offset(100+i), d, Time(1517363399650000000+int64(i)))
	}
	stored.Add(chunk, len(data))
	return data, stored
}

// vectorsOf gives the meaning of the vectors of version 2 or 3, in their order: what version 1 has, in the frames of the
// version, and what the version adds.
func vectorsOf(t testing.TB, version uint16) (list []namedVector) {
	t.Helper()
	f := everything.In(version)
	add := func(name string, v vector) { list = append(list, namedVector{name, v.with(f)}) }
	first := func(name string, v vector) { list = append(list, namedVector{name, v.with(everything.In(1))}) }

	both := []string{CapabilityLZ4, CapabilityZstd}
	first(`REQ Handshake id1 t42 None, in version 1`, request(1, &Handshake{ClientVersion: version}))
	first(`REQ Handshake id1 t42 Some("token") ["compression.lz4","compression.zstd"], in version 1`,
		request(1, &Handshake{ClientVersion: version, AuthToken: Some("token"), Capabilities: both}))
	first(`RSP Handshake id1 auth=true ["compression.lz4","compression.zstd"], in version 1`,
		response(1, &HandshakeReply{ServerVersion: version, Authenticated: true, Capabilities: both}))

	for _, l := range readLines(t, "v1.txt") {
		if !strings.Contains(l.name, " Handshake ") {
			add(l.name, vectorsV1[l.name])
		}
	}
	for _, n := range vectorsExtended {
		name := n.name
		for _, shape := range []string{" rich", " typed", " extended"} {
			name = strings.TrimSuffix(name, shape) // the only one here
		}
		if !strings.Contains(name, " Handshake ") {
			add(name, n.vector)
		}
	}
	addNew(version, add)
	addGroups(version, add)
	addStreamed(version, add)
	addCompressed(version, add)
	return list
}

func addNew(version uint16, add func(string, vector)) {
	add(`REQ Ping id10 t42 prefers LZ4`, request(10, &Ping{}).prefer(LZ4))
	add(`REQ ReadEvents id6 t42 stream42 from 0 max 65536 prefers Zstd`,
		request(6, &ReadEvents{Stream: 42, MaxBytes: 65536}).prefer(Zstd))
	add(`RSP Error id3 ShuttingDown "x" current None retryable true`,
		response(3, &Error{Code: ShuttingDown, Message: "x", Retryable: true}))
	add(`RSP Error id3 UnsupportedVersion "x"`, response(3, &Error{Code: UnsupportedVersion, Message: "x"}))
	add(`RSP Error id3 of a code without a name "x"`, response(3, &Error{Code: 9999, Message: "x"}))
	if version < 3 {
		return
	}
	add(`REQ Subscribe id21 t42 stream42 from 0 group None`, request(21, &Subscribe{Stream: 42}))
	add(`REQ Subscribe id21 t42 stream42 from max group None time None credit 0, 65536`,
		request(21, &Subscribe{Stream: 42, FromOffset: EndOffset, CreditBytes: 65536}))
	add(`REQ Subscribe id21 t42 stream42 from 7 group Some("billing") time Some(-1) credit 100, 65536`,
		request(21, &Subscribe{Stream: 42, FromOffset: 7, Group: Some("billing"), FromTimestamp: Some(Time(-1)),
			CreditEvents: 100, CreditBytes: 65536}))
	add(`REQ Unsubscribe id22 t42 subscription 5`, request(22, &Unsubscribe{Subscription: 5}))
	add(`REQ Credit id23 t42 subscription 5 grants 100, 65536`, request(23, &Credit{Subscription: 5, Events: 100, Bytes: 65536}))
	add(`RSP Subscribe id21 subscription 5`, response(21, &SubscribeReply{Subscription: 5}))
	add(`RSP Unsubscribe id22 next 9`, response(22, &UnsubscribeReply{Next: 9}))
	add(`RSP Credit id23 balance 100, -512`, response(23, &CreditReply{Events: 100, Bytes: -512}))
	add(`RSP Error id22 SubscriptionNotFound "x"`, response(22, &Error{Code: SubscriptionNotFound, Message: "x"}))

	add(`PUSH SubscriptionEvents 5 [010203] at -1,[] at 2`,
		push(&SubscriptionEvents{Subscription: 5, Events: events([]Time{-1, 2}, "\x01\x02\x03", "")}))
	add(`PUSH SubscriptionEvents 5 []`, push(&SubscriptionEvents{Subscription: 5}))
	add(`PUSH SubscriptionClosed 5 StreamDeleted "x"`,
		push(&SubscriptionClosed{Subscription: 5, Code: StreamDeleted, Message: "x"}))
	add(`PUSH SubscriptionClosed 5 of a code without a name ""`, push(&SubscriptionClosed{Subscription: 5, Code: 9999}))
	add(`PUSH CaughtUp 5 offset 9`, push(&CaughtUp{Subscription: 5, Offset: 9}))
	add(`PUSH Gap 5 from 3 to 7 retention`, push(&Gap{Subscription: 5, From: 3, To: 7, Reason: GapRetention}))
	add(`PUSH Gap 5 from 3 to 7 damage`, push(&Gap{Subscription: 5, From: 3, To: 7, Reason: GapDamage}))
	add(`PUSH Gap 5 from 3 to 7 for a reason without a name`, push(&Gap{Subscription: 5, From: 3, To: 7, Reason: 9999}))
	add(`PUSH Ping`, push(&PushPing{}))
}

// addStreamed adds what ends queries in every version, and what streams their results in version 3.
func addStreamed(version uint16, add func(string, vector)) {
	add(`REQ CancelQuery id40 t42 query 4`, request(40, &CancelQuery{Query: 4}))
	add(`RSP CancelQuery id40 cancelled true`, response(40, &CancelQueryReply{Cancelled: true}))
	add(`RSP CancelQuery id40 cancelled false`, response(40, &CancelQueryReply{}))
	add(`RSP Error id4 Cancelled "x"`, response(4, &Error{Code: Cancelled, Message: "x"}))
	add(`REQ Query id4 t42 "SELECT 1" [] streaming false window 0 key None timeout 1500`,
		request(4, &Query{SQL: "SELECT 1", TimeoutMS: 1500}))
	if version < 3 {
		return
	}
	add(`REQ Query id4 t42 "SELECT 1" [] streaming true window 0 key None`, request(4, &Query{SQL: "SELECT 1", Streaming: true}))
	add(`REQ QueryAt id5 t42 "SELECT 1" [] position 7 streaming true window 4 key None timeout 1500`,
		request(5, &QueryAt{SQL: "SELECT 1", Position: 7, Streaming: true, ChunkWindow: 4, TimeoutMS: 1500}))
	add(`REQ ChunkAck id41 t42 query 4 up to 1`, request(41, &ChunkAck{Query: 4, Sequence: 1}))
	add(`RSP ChunkAck id41 unacknowledged 2`, response(41, &ChunkAckReply{Unacknowledged: 2}))
	add(`PUSH QueryChunk 4 sequence 0 cols[id,name] rows[[BigInt 1,Text "a"],[Double 1.5,Bytes 0102]] position 7`,
		push(&QueryChunk{Query: 4, Columns: []string{"id", "name"}, Position: 7, Rows: [][]Value{
			{{Kind: BigInt, Int: 1}, {Kind: Text, Text: "a"}}, {{Kind: Double, Float: 1.5}, {Kind: Bytes, Bytes: []byte{1, 2}}},
		}}))
	add(`PUSH QueryChunk 4 sequence 0 cols[id] rows[] position 7`, push(&QueryChunk{Query: 4, Columns: []string{"id"}, Position: 7}))
	add(`PUSH QueryChunk 4 sequence 1 cols[] rows[[Null]]`, push(&QueryChunk{Query: 4, Sequence: 1, Rows: [][]Value{{{Kind: Null}}}}))
	add(`RSP Query id4 cols[id] rows[] position 7`, response(4, &QueryReply{Columns: []string{"id"}, Position: 7}))
}

// addGroups adds what consumer groups have: their management in every version, membership in version 3.
func addGroups(version uint16, add func(string, vector)) {
	settings := GroupSettings{Some[uint32](30000), Some[uint32](10), Some[uint32](1000), Some[uint32](10000),
		Some(OrderKey{Kind: OrderJSON, Path: "/customer/id"})}
	group := GroupDescription{ID: 7, Name: "billing", Created: 1700000000000000000, Settings: settings, Paused: true, Floor: 3, Head: 12,
		Lag: 8, LagSince: Some(Time(1700000000000000001)), Pending: 2, Delayed: 1, Parked: 4, Skipped: 5, Redelivered: 6, Members: 1}
	idle := group
	idle.Settings.Order, idle.LagSince = Some(OrderKey{}), Option[Time]{}
	add(`REQ CreateGroup id25 t42 stream42 "billing" from max time None no settings`,
		request(25, &CreateGroup{Stream: 42, Name: "billing", FromOffset: EndOffset}))
	add(`REQ CreateGroup id25 t42 stream42 "billing" from 0 time Some(-1) all settings, by a JSON pointer`,
		request(25, &CreateGroup{Stream: 42, Name: "billing", FromTimestamp: Some(Time(-1)), Settings: settings}))
	add(`REQ UpdateGroup id26 t42 stream42 "billing" nothing`, request(26, &UpdateGroup{Stream: 42, Name: "billing"}))
	add(`REQ UpdateGroup id26 t42 stream42 "billing" pause, seek 9, by 4 bytes`,
		request(26, &UpdateGroup{Stream: 42, Name: "billing", Paused: Some(true), SeekOffset: Some(Offset(9)),
			Settings: GroupSettings{Order: Some(OrderKey{Kind: OrderPrefix, Bytes: 4})}}))
	add(`REQ UpdateGroup id26 t42 stream42 "billing" resume, seek time 5, by nothing`,
		request(26, &UpdateGroup{Stream: 42, Name: "billing", Paused: Some(false), SeekTimestamp: Some(Time(5)),
			Settings: GroupSettings{Order: Some(OrderKey{})}}))
	add(`REQ DeleteGroup id27 t42 stream42 "billing"`, request(27, &DeleteGroup{Stream: 42, Name: "billing"}))
	add(`REQ ListGroups id28 t42 stream42 after 7 limit 100`, request(28, &ListGroups{Stream: 42, After: 7, Limit: 100}))
	add(`REQ GroupInfo id29 t42 stream42 "billing"`, request(29, &GroupInfo{Stream: 42, Name: "billing"}))
	add(`REQ Parked id30 t42 stream42 "billing" list from 9 limit 100`,
		request(30, &Parked{Stream: 42, Name: "billing", From: 9, Limit: 100}))
	add(`REQ Parked id30 t42 stream42 "billing" replay [3,5]`,
		request(30, &Parked{Stream: 42, Name: "billing", Action: ParkedReplay, Offsets: []Offset{3, 5}}))
	add(`REQ Parked id30 t42 stream42 "billing" drop all`, request(30, &Parked{Stream: 42, Name: "billing", Action: ParkedDrop}))
	add(`REQ Explain id31 t42 stream42 "billing"`, request(31, &Explain{Stream: 42, Name: "billing"}))
	add(`RSP CreateGroup id25 floor 3 position 17`, response(25, &CreateGroupReply{Floor: 3, Position: 17}))
	add(`RSP UpdateGroup id26 floor 9 position 18`, response(26, &UpdateGroupReply{Floor: 9, Position: 18}))
	add(`RSP DeleteGroup id27 position 19`, response(27, &DeleteGroupReply{Position: 19}))
	add(`RSP ListGroups id28 [] more false`, response(28, &ListGroupsReply{}))
	add(`RSP ListGroups id28 two groups more true`, response(28, &ListGroupsReply{Groups: []GroupDescription{group, idle}, More: true}))
	add(`RSP GroupInfo id29`, response(29, &GroupInfoReply{Info: group}))
	add(`RSP Parked id30 of two events`, response(30, &ParkedReply{Events: []ParkedEvent{
		{Offset: 3, Attempts: 10, Since: 1700000000000000000}, {Offset: 5, Attempts: 1, Since: 1700000000000000001, Asked: true}}, More: true}))
	add(`RSP Parked id30 changed 2`, response(30, &ParkedReply{Changed: 2}))
	add(`RSP Explain id31 of nothing`, response(31, &ExplainReply{Info: idle}))
	add(`RSP Explain id31 of a member with a delivery`, response(31, &ExplainReply{Info: group,
		Members: []MemberDescription{{Subscription: 5, From: "127.0.0.1:4711", CreditEvents: 10, CreditBytes: -1, Held: 1, Choked: true}},
		Held:    []HeldDelivery{{Delivery: 77, Offset: 3, Attempt: 2, Subscription: 5, HeldFor: 1500, Remaining: 28500}},
		Reasons: []string{"the group is paused"}}))
	for _, c := range []Code{GroupNotFound, GroupAlreadyExists, StaleDelivery} {
		add(fmt.Sprintf(`RSP Error id31 %s "x"`, c), response(31, &Error{Code: c, Message: "x"}))
	}
	if version < 3 {
		return
	}
	add(`REQ Ack id22 t42 subscription 5 [77,78]`, request(22, &Ack{Subscription: 5, Deliveries: []DeliveryID{77, 78}}))
	add(`REQ Ack id22 t42 subscription 5 up to [78]`, request(22, &Ack{Subscription: 5, Deliveries: []DeliveryID{78}, Cumulative: true}))
	add(`REQ Nack id23 t42 subscription 5 [77] delay 1500`, request(23, &Nack{Subscription: 5, Deliveries: []DeliveryID{77}, Delay: 1500}))
	add(`REQ Nack id23 t42 subscription 5 [77] park`, request(23, &Nack{Subscription: 5, Deliveries: []DeliveryID{77}, Park: true}))
	add(`REQ ExtendAck id24 t42 subscription 5 [77] by 60000`, request(24, &ExtendAck{Subscription: 5, Deliveries: []DeliveryID{77}, Deadline: 60000}))
	add(`RSP Ack id22 acked 1 stale [78]`, response(22, &AckReply{Acked: 1, Stale: []DeliveryID{78}}))
	add(`RSP Nack id23 stale []`, response(23, &NackReply{}))
	add(`RSP ExtendAck id24 stale [77]`, response(24, &ExtendAckReply{Stale: []DeliveryID{77}}))
	add(`PUSH GroupEvents 5 []`, push(&GroupEvents{Subscription: 5}))
	add(`PUSH GroupEvents 5 77 attempt 1 [010203], 78 attempt 3 []`, push(&GroupEvents{Subscription: 5, Deliveries: []Delivery{
		{ID: 77, Attempt: 1, Event: AppendEvent(nil, 3, []byte{1, 2, 3}, -1)}, {ID: 78, Attempt: 3, Event: AppendEvent(nil, 9, nil, 2)}}}))
}

func addCompressed(version uint16, add func(string, vector)) {
	data, stored := longEvents()
	for _, c := range []Codec{LZ4, Zstd} {
		add(fmt.Sprintf(`REQ AppendEvents id3 t42 stream42 8 events, compressed with %s`, c),
			request(3, &AppendEvents{Stream: 42, Events: data, IdempotencyKey: Some(testKey)}).prefer(c).in(c, packed(c)))
		add(fmt.Sprintf(`RSP ReadEvents id6 8 events next Some(108) oldest 0 head 108, compressed with %s`, c),
			response(6, &ReadEventsReply{Events: stored, NextOffset: Some(Offset(108)), HeadOffset: 108}).in(c, packed(c)))
		if version >= 3 {
			add(fmt.Sprintf(`PUSH SubscriptionEvents 5 8 events, compressed with %s`, c),
				push(&SubscriptionEvents{Subscription: 5, Events: stored}).in(c, packed(c)))
		}
	}
	// What no good sender sends, but every receiver must take.
	add(`REQ Ping id10 t42, as LZ4 that is longer`, request(10, &Ping{}).in(LZ4, storedLZ4))
	add(`REQ Ping id10 t42, as Zstandard that is longer`, request(10, &Ping{}).in(Zstd, storedZstd))
	add(`REQ AppendEvents id3 t42 stream42 8 events, as Zstandard with a checksum`,
		request(3, &AppendEvents{Stream: 42, Events: data}).in(Zstd, checkedZstd))
	add(`RSP Ping id10, as Zstandard that is longer`, response(10, &PingReply{}).in(Zstd, storedZstd))
}

// jsonVector is an element of v2.json and v3.json; see testdata/wire/README.md.
type jsonVector struct {
	Name      string          `json:"name"`
	Version   uint16          `json:"version"` // of the frame
	Direction string          `json:"direction"`
	Hex       string          `json:"hex"`
	Fields    json.RawMessage `json:"fields"`
}

const (
	fromClient = "request"
	fromServer = "server"
)

func (v vector) direction() string {
	if v.request != nil {
		return fromClient
	}
	return fromServer
}

func jsonFile(version uint16, kind string) string {
	return filepath.Join("..", "testdata", "wire", fmt.Sprintf("%sv%d.json", kind, version))
}

func readJSON[T any](t testing.TB, file string) (list []T) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &list); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	return list
}

// writeJSON writes one element a line.
func writeJSON[T any](t *testing.T, file string, list []T) {
	t.Helper()
	b := []byte("[\n")
	for i, e := range list {
		p, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		b = append(b, p...)
		if i < len(list)-1 {
			b = append(b, ',')
		}
		b = append(b, '\n')
	}
	if err := os.WriteFile(file, append(b, "]\n"...), 0o644); err != nil {
		t.Fatal(err)
	}
}

// receive feeds a frame to a session of its receiver and returns the message, without what a request knows of its frame.
func (v vector) receive(frame []byte) (any, error) {
	if v.request == nil {
		client := NewClientSession(Alone())
		client.SetFeatures(v.features)
		messages, err := client.Feed(frame, nil)
		if err != nil || len(messages) != 1 {
			return nil, fmt.Errorf("%d messages, %w", len(messages), err)
		}
		return messages[0], nil
	}
	r, err := DecodeFrame(frame, v.features)
	if err != nil {
		return nil, err
	}
	r.Size, r.Features = 0, Features{}
	return r, nil
}

// updateVectors writes a version's file. A compressed frame that is there stays, because compressors may change.
func updateVectors(t *testing.T, version uint16) {
	t.Helper()
	file, old := jsonFile(version, ""), map[string]string{}
	if _, err := os.Stat(file); err == nil {
		for _, j := range readJSON[jsonVector](t, file) {
			old[j.Name] = j.Hex
		}
	}
	var list []jsonVector
	for _, n := range vectorsOf(t, version) {
		v, frame := n.vector, n.vector.encode()
		if was, ok := old[n.name]; ok && v.codec != NoCodec {
			if m, err := v.receive(unhex(t, was)); err == nil && reflect.DeepEqual(fields(m), fields(v.message())) {
				frame = unhex(t, was)
			}
		}
		list = append(list, jsonVector{n.name, v.features.Version, v.direction(), hex.EncodeToString(frame), asJSON(t, v.message())})
	}
	writeJSON(t, file, list)
}

func asJSON(t testing.TB, m any) json.RawMessage {
	t.Helper()
	p, err := json.Marshal(fields(m))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// An uncompressed frame is compared byte for byte in both directions; a compressed one must decode to its fields.
func TestVectorsOfVersions2And3(t *testing.T) {
	for _, version := range []uint16{2, 3} {
		if *update {
			updateVectors(t, version)
		}
		meaning := map[string]vector{}
		for _, n := range vectorsOf(t, version) {
			if _, twice := meaning[n.name]; twice {
				t.Errorf("two vectors are named %s", n.name)
			}
			meaning[n.name] = n.vector
		}
		list := readJSON[jsonVector](t, jsonFile(version, ""))
		if len(list) != len(meaning) {
			t.Errorf("version %d has %d vectors, the test knows %d", version, len(list), len(meaning))
		}
		for _, j := range list {
			t.Run(fmt.Sprintf("version %d/%s", version, j.Name), func(t *testing.T) {
				v, ok := meaning[j.Name]
				if !ok || j.Version != v.features.Version || j.Direction != v.direction() {
					t.Fatalf("no meaning given for it as a %s of version %d", j.Direction, j.Version)
				}
				j.check(t, v)
			})
		}
	}
}

func (j jsonVector) check(t *testing.T, v vector) {
	t.Helper()
	frame := unhex(t, j.Hex)
	got, err := v.receive(frame)
	if err != nil {
		t.Fatal(err)
	}
	same(t, v.message(), got)
	var want, have any
	for p, to := range map[*any]json.RawMessage{&want: j.Fields, &have: asJSON(t, got)} {
		if err := json.Unmarshal(to, p); err != nil {
			t.Fatal(err)
		}
	}
	same(t, want, have)
	if compressed := v.features.Version >= 2 && frame[6] != byte(NoCodec); compressed != (v.codec != NoCodec) {
		t.Fatalf("the frame is compressed: %t", compressed)
	} else if !compressed && !bytes.Equal(v.encode(), frame) {
		t.Errorf("encoded frame differs:\nwant %x\ngot  %x", frame, v.encode())
	}
}

// tailed are the messages with tail fields.
const tailed = "request Handshake,request CreateStream,request AppendEvents,request Query,request QueryAt," +
	"request ReadEvents,request ListStreams,request BatchQuery,request Subscribe,request Ack,request Nack,request ArchiveCheckpoint,response Error,response AppendEvents,response Query," +
	"response QueryAt,response ReadEvents,response DeleteStream,response BatchQuery"

// Every message of a version has a vector, and those with tail fields one without them and one with them.
func TestVectorsCoverEveryMessage(t *testing.T) {
	for _, version := range []uint16{2, 3} {
		seen, short, long := map[string]bool{}, map[string]bool{}, map[string]bool{}
		for _, n := range vectorsOf(t, version) {
			name := bodyName(n.vector)
			seen[name] = true
			if n.vector.hasTail() {
				long[name] = true
			} else {
				short[name] = true
			}
		}
		for op := range Op(OpCount) {
			pushed := op >= OpSubscribe && op <= OpExtendAck || op == OpChunkAck
			if strings.HasPrefix(op.String(), "Op(") || pushed && version < 3 {
				continue
			}
			for _, kind := range []string{"request ", "response "} {
				if !seen[kind+op.String()] {
					t.Errorf("version %d has no vector of the %s%s", version, kind, op)
				}
			}
		}
		for _, name := range []string{"SubscriptionEvents", "SubscriptionClosed", "QueryChunk", "GroupEvents", "CaughtUp", "Gap", "Ping"} {
			if seen["push "+name] != (version >= 3) {
				t.Errorf("version %d has a vector of the push %s: %t", version, name, seen["push "+name])
			}
		}
		for name := range strings.SplitSeq(tailed, ",") {
			if seen[name] && (!short[name] || !long[name]) {
				t.Errorf("version %d has the %s without tail fields: %t, with them: %t", version, name, short[name], long[name])
			}
		}
	}
}

// hasTail reports whether the message travels with tail fields: whether its payload could end earlier.
func (v vector) hasTail() bool {
	v.codec = NoCodec
	payload := v.encode()[v.features.HeaderBytes():]
	for n := range payload {
		if _, err := v.decode(payload[:n]); err == nil {
			return true
		}
	}
	return false
}

func bodyName(v vector) string {
	m := fields(v.message())
	for _, kind := range []string{"request", "response", "push"} {
		if name, ok := m[kind]; ok {
			return fmt.Sprint(kind, " ", name)
		}
	}
	return ""
}

// fields returns a message as plain JSON, with the names of the specification. A number that may have 64 bits is a decimal
// string, bytes are hex, an absent Option is null and an absent tail field has its default.
func fields(m any) map[string]any {
	switch m := m.(type) {
	case *Request:
		return map[string]any{
			"id": plain(reflect.ValueOf(m.ID)), "tenant_id": plain(reflect.ValueOf(m.Tenant)), "compression": uint8(m.Codec),
			"request": m.Body.Op().String(), "body": plain(reflect.ValueOf(m.Body).Elem()),
		}
	case *Response:
		name := strings.TrimSuffix(reflect.TypeOf(m.Body).Elem().Name(), "Reply")
		if q, ok := m.Body.(*QueryReply); ok && q.At {
			name = "QueryAt"
		}
		return map[string]any{
			"request_id": plain(reflect.ValueOf(m.RequestID)), "response": name, "body": plain(reflect.ValueOf(m.Body).Elem()),
		}
	case *Push:
		name := strings.TrimPrefix(reflect.TypeOf(m.Body).Elem().Name(), "Push")
		return map[string]any{"push": name, "body": plain(reflect.ValueOf(m.Body).Elem())}
	}
	panic(fmt.Sprintf("a message of type %T", m))
}

func plain(v reflect.Value) any {
	switch x := v.Interface().(type) {
	case Key:
		return hex.EncodeToString(x[:])
	case []byte:
		return hex.EncodeToString(x)
	case EventRange:
		list := []any{}
		for e := range x.All {
			list = append(list, plain(reflect.ValueOf(e)))
		}
		return list
	case EncodedEvent:
		return plain(reflect.ValueOf(x.Decode()))
	case Delivery:
		m := plainStruct(v).(map[string]any)
		m["delivery_id"] = m["id"]
		delete(m, "id")
		return m
	case Value:
		return plainValue(x)
	case QueryReply:
		m := plainStruct(v).(map[string]any)
		delete(m, "size") // it does not travel
		return m
	case BatchQueryReply:
		m := plainStruct(v).(map[string]any)
		delete(m, "size")
		return m
	case BatchedResult:
		if x.Err != nil {
			return map[string]any{"Err": map[string]any{"code": x.Err.Code, "message": x.Err.Message}}
		}
		m := plainStruct(v).(map[string]any)
		delete(m, "err")
		return map[string]any{"Ok": m}
	case DataClass:
		return x.String()
	case Placement:
		return plainPlacement(x)
	}
	switch v.Kind() {
	case reflect.Uint64:
		return strconv.FormatUint(v.Uint(), 10)
	case reflect.Int64:
		return strconv.FormatInt(v.Int(), 10)
	case reflect.Slice:
		list := []any{}
		for i := range v.Len() {
			list = append(list, plain(v.Index(i)))
		}
		return list
	case reflect.Struct:
		return plainStruct(v)
	}
	return v.Interface() // a bool, a string or a number of at most 32 bits
}

func plainStruct(v reflect.Value) any {
	if set := v.FieldByName("Set"); strings.HasPrefix(v.Type().Name(), "Option[") {
		if !set.Bool() {
			return nil
		}
		return plain(v.FieldByName("Value"))
	}
	m := map[string]any{}
	for i := range v.NumField() {
		if name := wireName(v.Type().Field(i).Name); name != "" {
			m[name] = plain(v.Field(i))
		}
	}
	return m
}

// wireName returns the name that the specification gives a field.
func wireName(field string) string {
	switch field {
	case "At":
		return "" // the message's own name says it
	case "Stream", "Tenant", "Subscription":
		field += "ID"
	case "Class":
		field = "DataClass"
	case "Group":
		field = "ConsumerGroup"
	}
	field = strings.NewReplacer("ID", "Id", "SQL", "Sql").Replace(field)
	var b strings.Builder
	for i, r := range field {
		if unicode.IsUpper(r) && i > 0 {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}

func plainValue(v Value) any {
	switch v.Kind {
	case BigInt:
		return map[string]any{"BigInt": strconv.FormatInt(v.Int, 10)}
	case Text:
		return map[string]any{"Text": v.Text}
	case Boolean:
		return map[string]any{"Boolean": v.Int != 0}
	case Timestamp:
		return map[string]any{"Timestamp": strconv.FormatInt(v.Int, 10)}
	case Double:
		return map[string]any{"Double": v.Float}
	case Bytes:
		return map[string]any{"Bytes": hex.EncodeToString(v.Bytes)}
	}
	return "Null"
}

func plainPlacement(p Placement) any {
	switch {
	case p.Global:
		return "Global"
	case p.Region.Kind == RegionCustom:
		return map[string]any{"Region": map[string]any{"Custom": p.Region.Custom}}
	case p.Region.Kind == APSoutheast2:
		return map[string]any{"Region": "APSoutheast2"}
	}
	return map[string]any{"Region": "USEast1"}
}
