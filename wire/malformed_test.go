package wire

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"testing"
)

// jsonMalformed is an element of malformed-v2.json and malformed-v3.json; see testdata/wire/README.md.
type jsonMalformed struct {
	Name      string   `json:"name"`
	Version   uint16   `json:"version"` // of the connection
	Direction string   `json:"direction"`
	Agreed    []string `json:"agreed"` // the codecs, as capabilities
	Hex       string   `json:"hex"`
	Error     string   `json:"error"`
	Answered  *uint64  `json:"answered"`
}

// damage collects the malformed frames of a version.
type damage struct {
	f    Features
	list []jsonMalformed
}

func (d *damage) add(name, direction string, f Features, frame []byte, reason FaultReason, answered Option[uint64]) {
	j := jsonMalformed{Name: name, Version: f.Version, Direction: direction, Hex: hex.EncodeToString(frame), Error: reason.String()}
	j.Agreed = (Features{LZ4: f.LZ4, Zstd: f.Zstd}).Capabilities()
	if answered.Set {
		j.Answered = &answered.Value
	}
	d.list = append(d.list, j)
}

// framed adds a frame that is broken before anybody can read the request's id.
func (d *damage) framed(name string, frame []byte, reason FaultReason) {
	d.add(name, fromClient, d.f, frame, reason, Option[uint64]{})
}

// packed adds a payload that cannot be expanded.
func (d *damage) packed(name string, c Codec, payload []byte) {
	d.framed(name, AppendFrameIn(nil, d.f, c, payload), FaultCodec)
}

// decoded adds a payload that is no request; its id is 77 wherever it is whole.
func (d *damage) decoded(name string, payload []byte) {
	var answered Option[uint64]
	if len(payload) >= 8 {
		answered = Some(uint64(77))
	}
	d.add(name, fromClient, d.f, AppendFrameIn(nil, d.f, NoCodec, payload), FaultDecode, answered)
}

// sent adds a payload that is no message of a server.
func (d *damage) sent(name string, payload []byte) {
	d.add(name, fromServer, d.f, AppendFrameIn(nil, d.f, NoCodec, payload), FaultDecode, Option[uint64]{})
}

// rawRequest makes the payload of a request with the id 77.
func rawRequest(codec byte, op Op, body ...[]byte) []byte {
	head := append(appendNumber(appendNumber(nil, uint64(77)), TenantID(42)), codec)
	return append(appendU32(head, uint32(op)), bytes.Join(body, nil)...)
}

func u64(v uint64) []byte        { return appendNumber(nil, v) }
func text(s string) []byte       { return appendBytes(nil, s) }
func pingPayload() []byte        { return rawRequest(0, OpPing) }
func cut(p []byte, n int) []byte { return p[:len(p)-n] }

// malformed makes the malformed frames of version 2 or 3.
func malformed(version uint16) []jsonMalformed {
	d := &damage{f: everything.In(version)}
	d.headers()
	d.lz4()
	d.zstd()
	d.requests()
	d.responses()
	d.batches()
	if version >= 3 {
		d.subscriptions()
		d.pushes()
	}
	return d.list
}

func (d *damage) headers() {
	sound := func() []byte { return AppendFrameIn(nil, d.f, NoCodec, pingPayload()) }
	change := func(at int, p ...byte) []byte {
		frame := sound()
		copy(frame[at:], p)
		return frame
	}
	d.framed("another magic", change(0, 0x57), FaultMagic)
	d.framed("a frame of version 1", AppendFrame(nil, pingPayload()), FaultVersion)
	d.framed("a header of the other version", change(4, 0, byte(5-d.f.Version)), FaultVersion)
	d.framed("a header of version 4", change(4, 0, 4), FaultVersion)
	d.framed("a header of version 0", change(4, 0, 0), FaultVersion)
	d.framed("a codec without a name, 3", change(6, 3), FaultCodec)
	d.framed("a codec without a name, 255", change(6, 255), FaultCodec)
	for _, c := range []Codec{LZ4, Zstd} {
		f := d.f
		f.LZ4, f.Zstd = c == Zstd, c == LZ4
		pack := storedLZ4
		if c == Zstd {
			pack = storedZstd
		}
		d.add(fmt.Sprintf("%s without agreement", c), fromClient, f, AppendFrameIn(nil, f, c, pack(pingPayload())), FaultCodec, Option[uint64]{})
		d.add(fmt.Sprintf("%s preferred without agreement", c), fromClient, f,
			AppendFrameIn(nil, f, NoCodec, rawRequest(byte(c), OpPing)), FaultDecode, Some(uint64(77)))
		d.add(fmt.Sprintf("%s from the server without agreement", c), fromServer, f,
			AppendFrameIn(nil, f, c, pack(pingPayload())), FaultCodec, Option[uint64]{})
		wrong := AppendFrameIn(nil, d.f, c, pack(pingPayload()))
		wrong[len(wrong)-1] ^= 1
		d.framed(fmt.Sprintf("%s that was damaged on its way", c), wrong, FaultCRC)
		expanded := AppendFrameIn(nil, d.f, c, pack(pingPayload()))
		binary.BigEndian.PutUint32(expanded[11:], crc32.ChecksumIEEE(pingPayload()))
		d.framed(fmt.Sprintf("%s with the checksum of what it expands to", c), expanded, FaultCRC)
	}
	d.framed("a length above 16 MiB", change(7, 1, 0, 0, 1)[:HeaderSizeV2], FaultLength)
	d.framed("another checksum", change(11, sound()[11]^1), FaultCRC)
	d.framed("a payload that was damaged on its way", change(HeaderSizeV2, 78), FaultCRC)
}

func (d *damage) lz4() {
	ping := pingPayload()
	n := uint32(len(ping))
	d.packed("LZ4 of no bytes", LZ4, nil)
	d.packed("LZ4 that ends inside its size", LZ4, []byte{1, 0, 0})
	d.packed("LZ4 that states more than 16 MiB", LZ4, lz4Block(MaxPayload+1, literals(ping)))
	d.packed("LZ4 that states 4 GiB", LZ4, lz4Block(1<<32-1, literals(ping)))
	d.packed("LZ4 that states more than 256 times its length", LZ4, lz4Block(256*(n+6)+1, literals(ping)))
	d.packed("LZ4 that states one byte more", LZ4, lz4Block(n+1, literals(ping)))
	d.packed("LZ4 that states one byte less", LZ4, lz4Block(n-1, literals(ping)))
	d.packed("LZ4 that states nothing", LZ4, lz4Block(0, literals(ping)))
	d.packed("LZ4 that ends inside its literals", LZ4, lz4Block(n, cut(literals(ping), 1)))
	d.packed("LZ4 that ends inside a match", LZ4, lz4Block(40, []byte{0x1f, 'a', 1}))
	d.packed("LZ4 with a match before its start", LZ4, lz4Block(24, append([]byte{0x14, 'a', 2, 0}, literals(make([]byte, 15))...)))
	d.packed("LZ4 with a match at distance 0", LZ4, lz4Block(24, append([]byte{0x14, 'a', 0, 0}, literals(make([]byte, 15))...)))
	d.packed("LZ4 that is garbage", LZ4, lz4Block(n, bytes.Repeat([]byte{0xff}, int(n))))
	d.framed("LZ4 that expands to nothing", AppendFrameIn(nil, d.f, LZ4, lz4Block(0, []byte{0})), FaultDecode)
	d.add("LZ4 of what is no request", fromClient, d.f,
		AppendFrameIn(nil, d.f, LZ4, storedLZ4(rawRequest(0, 9999))), FaultDecode, Some(uint64(77)))
}

func (d *damage) zstd() {
	ping := pingPayload()
	n := len(ping)
	block := func(kind int) []byte { return zstdBlock(true, kind, n, ping) }
	magic := []byte{0x28, 0xb5, 0x2f, 0xfd}
	of := func(parts ...[]byte) []byte { return bytes.Join(append([][]byte{magic}, parts...), nil) }
	d.packed("Zstandard of no bytes", Zstd, nil)
	d.packed("Zstandard that ends inside its header", Zstd, storedZstd(ping)[:7])
	d.packed("Zstandard that states no size", Zstd, of([]byte{0, 0x58}, block(zstdRaw)))
	d.packed("Zstandard that states more than 16 MiB", Zstd, zstdFrame(MaxPayload+1, block(zstdRaw)))
	d.packed("Zstandard that states 2^64-1", Zstd, of([]byte{0xe0}, u64(1<<64-1), block(zstdRaw)))
	d.packed("Zstandard that states one byte more", Zstd, zstdFrame(uint32(n+1), block(zstdRaw)))
	d.packed("Zstandard that states one byte less", Zstd, zstdFrame(uint32(n-1), block(zstdRaw)))
	d.packed("Zstandard that states nothing", Zstd, zstdFrame(0, block(zstdRaw)))
	d.packed("Zstandard with a dictionary", Zstd, of([]byte{0x21, 7, byte(n)}, block(zstdRaw)))
	d.packed("Zstandard with a window above 16 MiB", Zstd, of([]byte{0x80, 0x78}, appendU32(nil, uint32(n)), block(zstdRaw)))
	d.packed("Zstandard with a reserved bit", Zstd, of([]byte{0xa8}, appendU32(nil, uint32(n)), block(zstdRaw)))
	d.packed("Zstandard that ends inside a block", Zstd, cut(storedZstd(ping), 1))
	d.packed("Zstandard without a last block", Zstd, zstdFrame(uint32(n), zstdBlock(false, zstdRaw, n, ping)))
	d.packed("Zstandard with a reserved block", Zstd, zstdFrame(uint32(n), block(zstdReserved)))
	d.packed("Zstandard with a block that is garbage", Zstd, zstdFrame(uint32(n), block(zstdCompressed)))
	d.packed("Zstandard whose content has another checksum", Zstd, of([]byte{0xa4}, appendU32(nil, uint32(n)), block(zstdRaw), make([]byte, 4)))
	d.packed("Zstandard without its checksum", Zstd, of([]byte{0xa4}, appendU32(nil, uint32(n)), block(zstdRaw)))
	d.packed("Zstandard that is a skippable frame", Zstd, append([]byte{0x50, 0x2a, 0x4d, 0x18}, text("skipped!")[:12]...))
	d.packed("Zstandard that is garbage", Zstd, bytes.Repeat([]byte{0xff}, 40))
	d.packed("Zstandard with a second frame of content", Zstd, append(storedZstd(ping), storedZstd(ping)...))
	d.packed("Zstandard with a second frame of nothing", Zstd, append(storedZstd(ping), zstdFrame(0, zstdBlock(true, zstdRaw, 0, nil))...))
	d.packed("Zstandard with a skippable frame behind it", Zstd, append(storedZstd(ping), 0x50, 0x2a, 0x4d, 0x18, 0, 0, 0, 0))
	d.packed("LZ4 that says that it is Zstandard", Zstd, storedLZ4(ping))
	d.packed("Zstandard that says that it is LZ4", LZ4, storedZstd(ping))
	d.framed("Zstandard that expands to nothing", AppendFrameIn(nil, d.f, Zstd, zstdFrame(0, zstdBlock(true, zstdRaw, 0, nil))), FaultDecode)
	d.add("Zstandard of what is no request", fromClient, d.f,
		AppendFrameIn(nil, d.f, Zstd, storedZstd(rawRequest(0, 9999))), FaultDecode, Some(uint64(77)))
}

func (d *damage) requests() {
	ping := pingPayload()
	d.decoded("an empty payload", nil)
	d.decoded("ends inside the id", ping[:7])
	d.decoded("ends after the id", ping[:8])
	d.decoded("ends inside the tenant", ping[:15])
	d.decoded("ends before the preferred codec", ping[:16])
	d.decoded("ends after the preferred codec", ping[:17])
	d.decoded("ends inside the operation", ping[:20])
	d.decoded("prefers a codec without a name, 3", rawRequest(3, OpPing))
	d.decoded("prefers a codec without a name, 255", rawRequest(255, OpPing))
	d.decoded("a request in the shape of version 1", append(append([]byte{}, ping[:16]...), ping[17:]...))
	d.decoded("operation 9999", rawRequest(0, 9999))
	d.decoded("operation 2^32-1", rawRequest(0, 1<<32-1))
	d.decoded("CreateStream with retention Option 2", rawRequest(0, OpCreateStream, text("a"), make([]byte, 4), []byte{1, 0, 0, 0, 2}))
	d.decoded("CreateStream with data class 3", rawRequest(0, OpCreateStream, text("a"), []byte{3, 0, 0, 0, 1, 0, 0, 0}))
	d.decoded("ReadEvents with backward 2", rawRequest(0, OpReadEvents, make([]byte, 26), []byte{2}))
	d.decoded("StreamInfo with a name that is not UTF-8", rawRequest(0, OpStreamInfo, u64(0), text("\xc0\x80")))
	d.decoded("StreamInfo with a name longer than the payload", rawRequest(0, OpStreamInfo, u64(0), u64(2), []byte("a")))
	d.decoded("AppendEvents that announces 2^64-1 events", rawRequest(0, OpAppendEvents, u64(42), u64(1<<64-1)))
	d.decoded("Query with a parameter of kind 7", rawRequest(0, OpQuery, text("SELECT ?"), u64(1), []byte{7, 0, 0, 0}))
}

// batches are broken requests and responses of BatchQuery.
func (d *damage) batches() {
	one := [][]byte{u64(1), text("SELECT ?"), u64(1), {0, 0, 0, 0}, {1}, {1}, {1}, make([]byte, 16)}
	whole := rawRequest(0, OpBatchQuery, one...)
	at := 21 // the head of a request
	for i, name := range []string{"count", "statement", "parameters' count", "parameter", "stop_on_error", "", "key's Option", "key"} {
		if at += len(one[i]); name != "" && name != "key's Option" {
			d.decoded("BatchQuery ends inside the "+name, whole[:at-1])
		}
	}
	d.decoded("BatchQuery ends inside the key's Option", whole[:at-16])
	d.decoded("BatchQuery without stop_on_error", rawRequest(0, OpBatchQuery, u64(0)))
	d.decoded("BatchQuery with stop_on_error 2", rawRequest(0, OpBatchQuery, u64(0), []byte{2}))
	d.decoded("BatchQuery with atomic 2", rawRequest(0, OpBatchQuery, u64(0), []byte{0, 2}))
	d.decoded("BatchQuery with key Option 2", rawRequest(0, OpBatchQuery, u64(0), []byte{0, 0, 2}))
	d.decoded("BatchQuery that announces 2^64-1 statements", rawRequest(0, OpBatchQuery, u64(1<<64-1), text("SELECT 1")))
	d.decoded("BatchQuery that announces 2^64-1 parameters", rawRequest(0, OpBatchQuery, u64(1), text("SELECT 1"), u64(1<<64-1)))
	d.decoded("BatchQuery with a statement that is not UTF-8", rawRequest(0, OpBatchQuery, u64(1), text("\xff"), u64(0), []byte{0}))
	d.decoded("BatchQuery with a parameter of kind 7", rawRequest(0, OpBatchQuery, u64(1), text("SELECT ?"), u64(1), []byte{7, 0, 0, 0, 0}))

	ok := [][]byte{{0, 0, 0, 0}, u64(1), text("x"), u64(1), u64(1), {0, 0, 0, 0}}
	reply := d.response(uint32(OpBatchQuery)+1, append([][]byte{u64(1)}, ok...)...)
	d.sent("server: BatchQuery ends inside the rows", cut(reply, 1))
	d.sent("server: BatchQuery ends inside the position", append(append([]byte{}, reply...), 1, 2, 3))
	d.sent("server: BatchQuery with a Result of variant 2", d.response(uint32(OpBatchQuery)+1, u64(1), []byte{2, 0, 0, 0}, u64(0), u64(0)))
	d.sent("server: BatchQuery with fewer results than it says", d.response(uint32(OpBatchQuery)+1, u64(2), []byte{1, 0, 0, 0, 5, 0, 0, 0}, text("x")))
	d.sent("server: BatchQuery that announces 2^64-1 results", d.response(uint32(OpBatchQuery)+1, u64(1<<64-1), make([]byte, 64)))
	d.sent("server: BatchQuery with a message that is not UTF-8", d.response(uint32(OpBatchQuery)+1, u64(1), []byte{1, 0, 0, 0, 5, 0, 0, 0}, text("\xff")))
}

// response makes the payload of a response with the id 77, in the shape of the version.
func (d *damage) response(variant uint32, body ...[]byte) []byte {
	var p []byte
	if d.f.Version >= 3 {
		p = appendU32(p, messageResponse)
	}
	return append(appendU32(appendNumber(p, uint64(77)), variant), bytes.Join(body, nil)...)
}

func (d *damage) responses() {
	create := d.response(uint32(OpCreateStream)+1, u64(42))
	d.sent("server: an empty payload", nil)
	d.sent("server: ends inside the response's id", d.response(0)[:len(d.response(0))-5])
	d.sent("server: ends inside the variant", d.response(0)[:len(d.response(0))-1])
	d.sent("server: ends inside the stream", cut(create, 1))
	d.sent("server: variant 9999", d.response(9999))
	d.sent("server: an error whose message is not UTF-8", d.response(0, []byte{1, 0, 0, 0}, text("\xff")))
	d.sent("server: an error with current offset Option 2", d.response(0, []byte{1, 0, 0, 0}, text(""), []byte{2}))
	d.sent("server: events without offsets", d.response(uint32(OpReadEvents)+1, u64(1), text("abc"), []byte{0}))
	d.sent("server: an event longer than the payload", d.response(uint32(OpReadEvents)+1, u64(1), u64(0), u64(1<<63), make([]byte, 32)))
	d.add("server: a frame of version 1", fromServer, d.f, AppendFrame(nil, create), FaultVersion, Option[uint64]{})
	d.add("server: LZ4 that states one byte more", fromServer, d.f,
		AppendFrameIn(nil, d.f, LZ4, lz4Block(uint32(len(create)+1), literals(create))), FaultCodec, Option[uint64]{})
	d.add("server: Zstandard that states no size", fromServer, d.f,
		AppendFrameIn(nil, d.f, Zstd, append([]byte{0x28, 0xb5, 0x2f, 0xfd, 0, 0x58}, zstdBlock(true, zstdRaw, len(create), create)...)),
		FaultCodec, Option[uint64]{})
}

func (d *damage) subscriptions() {
	subscribe := rawRequest(0, OpSubscribe, u64(42), u64(7), []byte{1}, text("billing"), []byte{1}, u64(1), u64(100), u64(65536))
	at := 21 // the head of a request
	for _, part := range []struct {
		size int
		name string
	}{
		{8, "stream"}, {8, "offset"}, {9, "group's length"}, {7, "group"}, {9, "time"}, {8, "event credit"}, {8, "byte credit"},
	} {
		d.decoded("Subscribe ends inside the "+part.name, subscribe[:at+part.size-1])
		at += part.size
	}
	d.decoded("Subscribe ends before the group", subscribe[:21+16])
	d.decoded("Subscribe ends after the group's Option", subscribe[:21+17])
	d.decoded("Subscribe with group Option 2", rawRequest(0, OpSubscribe, u64(42), u64(7), []byte{2}))
	d.decoded("Subscribe with a group that is not UTF-8", rawRequest(0, OpSubscribe, u64(42), u64(7), []byte{1}, text("\xff")))
	d.decoded("Subscribe with a group longer than the payload", rawRequest(0, OpSubscribe, u64(42), u64(7), []byte{1}, u64(1<<40)))
	d.decoded("Subscribe with time Option 2", rawRequest(0, OpSubscribe, u64(42), u64(7), []byte{0, 2}))
	d.decoded("Unsubscribe ends inside the subscription", rawRequest(0, OpUnsubscribe, u64(5)[:7]))
	credit := rawRequest(0, OpCredit, u64(5), u64(1), u64(1))
	d.decoded("Credit ends inside the subscription", cut(credit, 17))
	d.decoded("Credit ends inside the events", cut(credit, 9))
	d.decoded("Credit ends after the events", cut(credit, 8))
	d.decoded("Credit ends inside the bytes", cut(credit, 1))
	ack := rawRequest(0, OpChunkAck, u64(4), make([]byte, 4))
	d.decoded("ChunkAck ends inside the query", cut(ack, 5))
	d.decoded("ChunkAck ends after the query", cut(ack, 4))
	d.decoded("ChunkAck ends inside the sequence", cut(ack, 1))
	d.decoded("CancelQuery ends inside the query", rawRequest(0, OpCancelQuery, u64(4)[:7]))
	query := rawRequest(0, OpQuery, text("SELECT 1"), u64(0), []byte{1}, make([]byte, 4), []byte{0}, make([]byte, 4))
	d.decoded("Query ends inside the window", cut(query, 6))
	d.decoded("Query ends inside the timeout", cut(query, 1))
	d.decoded("Query with streaming 2", rawRequest(0, OpQuery, text("SELECT 1"), u64(0), []byte{2}))
}

func (d *damage) pushes() {
	message := func(variant uint32, body ...[]byte) []byte {
		return append(appendU32(appendU32(nil, messagePush), variant), bytes.Join(body, nil)...)
	}
	event := AppendEvent(nil, 3, []byte("abc"), 1)
	d.sent("server: ends inside the message's kind", []byte{0, 0, 0})
	d.sent("server: a message of kind 2", appendU32(nil, 2))
	d.sent("server: a response in the shape of version 2", d.response(uint32(OpPing) + 1)[4:])
	d.sent("server: ends inside the push's variant", cut(message(pushPing), 1))
	d.sent("server: push 7", message(7))
	d.sent("server: push 2^32-1", message(1<<32-1))
	d.sent("server: SubscriptionEvents ends inside the subscription", message(pushEvents, u64(5)[:7]))
	d.sent("server: SubscriptionEvents ends inside the count", message(pushEvents, u64(5), u64(1)[:7]))
	d.sent("server: SubscriptionEvents ends inside an event", message(pushEvents, u64(5), u64(1), cut(event, 1)))
	d.sent("server: SubscriptionEvents with fewer events than it says", message(pushEvents, u64(5), u64(2), event))
	d.sent("server: SubscriptionEvents that announces 2^64-1 events", message(pushEvents, u64(5), u64(1<<64-1), event))
	closed := message(pushClosed, u64(5), []byte{5, 0, 0, 0}, text("gone"))
	d.sent("server: SubscriptionClosed ends inside the code", closed[:8+8+3])
	d.sent("server: SubscriptionClosed ends inside the message", cut(closed, 1))
	d.sent("server: SubscriptionClosed with a message that is not UTF-8", message(pushClosed, u64(5), make([]byte, 4), text("\xff")))
	chunk := message(pushQueryChunk, u64(4), make([]byte, 4), u64(1), text("id"), u64(1), u64(1), make([]byte, 4), u64(7))
	d.sent("server: QueryChunk ends inside the query", chunk[:8+7])
	d.sent("server: QueryChunk ends inside the sequence", chunk[:8+8+3])
	d.sent("server: QueryChunk ends inside the columns", chunk[:8+8+4+8+9])
	d.sent("server: QueryChunk ends inside a row", cut(chunk, 8+2))
	d.sent("server: QueryChunk ends inside the position", cut(chunk, 1))
	d.sent("server: QueryChunk with fewer rows than it says", message(pushQueryChunk, u64(4), make([]byte, 4), u64(0), u64(2), u64(0)))
	d.sent("server: QueryChunk that announces 2^64-1 rows", message(pushQueryChunk, u64(4), make([]byte, 4), u64(0), u64(1<<64-1)))
	d.sent("server: QueryChunk with a value of kind 7", message(pushQueryChunk, u64(4), make([]byte, 4), u64(0), u64(1), u64(1), []byte{7, 0, 0, 0}))
	d.sent("server: CaughtUp ends inside the offset", cut(message(pushCaughtUp, u64(5), u64(9)), 1))
	gap := message(pushGap, u64(5), u64(3), u64(7), make([]byte, 4))
	d.sent("server: Gap ends inside from", cut(gap, 13))
	d.sent("server: Gap ends inside to", cut(gap, 5))
	d.sent("server: Gap ends inside the reason", cut(gap, 1))
}

// feed feeds the frame to a session of its receiver on which the rest was agreed.
func (j jsonMalformed) feed(frame []byte) (messages int, err error) {
	f := FeaturesOf(j.Agreed).In(j.Version)
	if j.Direction == fromServer {
		client := NewClientSession(Alone())
		client.SetFeatures(f)
		got, err := client.Feed(frame, nil)
		return len(got), err
	}
	got, err := NewSession(Alone()).Feed(append(greeting(f), frame...), nil)
	return len(got) - 1, err
}

func TestMalformedVectorsOfVersions2And3(t *testing.T) {
	for _, version := range []uint16{2, 3} {
		file, made := jsonFile(version, "malformed-"), malformed(version)
		if *update {
			writeJSON(t, file, made)
		}
		list := readJSON[jsonMalformed](t, file)
		if len(list) != len(made) {
			t.Fatalf("version %d has %d malformed frames, the test makes %d", version, len(list), len(made))
		}
		for i, j := range list {
			t.Run(fmt.Sprintf("version %d/%s", version, j.Name), func(t *testing.T) {
				same(t, made[i], j)
				j.check(t)
			})
		}
	}
}

func (j jsonMalformed) check(t *testing.T) {
	t.Helper()
	messages, err := j.feed(unhex(t, j.Hex))
	if messages != 0 {
		t.Errorf("%d messages decoded", messages)
	}
	f, ok := err.(*Fault)
	if !ok {
		t.Fatalf("error is %v, want a fault", err)
	}
	if f.Reason.String() != j.Error {
		t.Errorf("reason is %v, want %s", f, j.Error)
	}
	if f.Request.Set != (j.Answered != nil) || f.Request.Set && f.Request.Value != *j.Answered {
		t.Errorf("the request to be answered is %+v", f.Request)
	}
}

// Version 1 closes without a reply, and so does every version while it still speaks version 1: before the handshake is read.
func TestFaultNamesTheRequestFromVersion2On(t *testing.T) {
	for version := uint16(1); version <= MaxVersion; version++ {
		f := everything.In(version)
		payload := AppendRequest(nil, &Request{ID: 77, Body: &StreamInfo{Name: "a"}}, f)[f.HeaderBytes():]
		broken := AppendFrameIn(nil, f, NoCodec, cut(payload, 1))
		s := NewSession(Alone())
		requests, err := s.Feed(append(greeting(f), broken...), nil)
		var want Option[uint64]
		if version >= 2 {
			want = Some(uint64(77))
		}
		if fault, ok := err.(*Fault); !ok || len(requests) != 1 || fault.Reason != FaultDecode || fault.Request != want {
			t.Errorf("version %d: %d requests and %+v, want the request %+v", version, len(requests), err, want)
		}
		if _, again := s.Feed(broken, nil); again != err {
			t.Errorf("version %d: later %v", version, again)
		}
		first := AppendRequest(nil, &Request{ID: 77, Body: &Handshake{ClientVersion: version, Capabilities: f.Capabilities()}}, Features{})
		_, err = feedWhole(AppendFrame(nil, cut(first[HeaderSize:], 1)))
		if fault, ok := err.(*Fault); !ok || fault.Request.Set {
			t.Errorf("version %d: a broken handshake leads to %+v", version, err)
		}
	}
}
