package wire

import (
	"bytes"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"testing"

	"pgregory.net/rapid"
)

func appendOne(id uint64, data []byte) *Request {
	return &Request{ID: id, Tenant: 1, Body: &AppendEvents{Stream: 42, Events: [][]byte{data}}}
}

// feedWhole feeds p at once.
func feedWhole(p []byte) ([]*Request, error) { return NewSession(Alone()).Feed(p, nil) }

// feedFragments feeds p in pieces of the given sizes, over and over, from one buffer that is spoiled after each call.
func feedFragments(p []byte, sizes []int) (requests []*Request, err error) {
	s := NewSession(Alone())
	buffer := make([]byte, 0, 1<<17)
	for i := 0; len(p) > 0; i++ {
		n := min(sizes[i%len(sizes)], len(p), cap(buffer))
		buffer = append(buffer[:0], p[:n]...)
		requests, err = s.Feed(buffer, requests)
		clear(buffer)
		p = p[n:]
	}
	return requests, err
}

// greeting returns the frame of a handshake that has a server agree on f.
func greeting(f Features) []byte {
	h := &Handshake{ClientVersion: max(f.Version, 1), Capabilities: f.Capabilities()}
	return AppendRequest(nil, &Request{Body: h}, Features{})
}

func drawSizes(t *rapid.T) []int {
	return rapid.SliceOfN(rapid.OneOf(rapid.IntRange(1, 20), rapid.IntRange(1, 1<<17)), 1, 5).Draw(t, "sizes")
}

func TestFragmentsDecodeLikeTheWhole(t *testing.T) {
	p := new(Packer)
	rapid.Check(t, func(t *rapid.T) {
		var stream []byte
		var f Features
		if drawBool(t) {
			f = drawFeatures(t)
			stream = greeting(f)
		}
		for range rapid.IntRange(0, 5).Draw(t, "requests") {
			stream = PackRequest(stream, drawRequest(f)(t), f, p)
		}
		if drawBool(t) {
			big := make([]byte, rapid.IntRange(0, 4*maxChunk).Draw(t, "size"))
			for i := range big {
				big[i] = byte(i * i >> 3)
			}
			stream = PackRequest(stream, appendOne(1, big), f, p)
			stream = PackRequest(stream, &Request{ID: 2, Body: &Sync{}}, f, p)
		}
		stream = append(stream, drawBytes(t)...)
		sizes := drawSizes(t)

		want, wantErr := feedWhole(stream)
		got, err := feedFragments(stream, sizes)
		same(t, want, got)
		if (err == nil) != (wantErr == nil) || err != nil && err.Error() != wantErr.Error() {
			t.Fatalf("fault is %v, want %v", err, wantErr)
		}
	})
}

// conversation is what travels on one connection, by the frames' version and with or without compression.
func conversation(t *rapid.T, requests []*Request, messages []Message, f Features, p *Packer, sizes []int) ([]*Request, []Message) {
	s := NewSession(Alone())
	var served []*Request
	stream := greeting(f)
	for _, r := range requests {
		stream = PackRequest(stream, r, f, p)
	}
	inPieces(stream, sizes, func(piece []byte) {
		var err error
		if served, err = s.Feed(piece, served); err != nil {
			t.Fatal(err)
		}
	})
	client := NewClientSession(Alone())
	stream = s.Append(nil, &Response{Body: &HandshakeReply{ServerVersion: f.Version}}, p)
	if replies, err := client.Feed(stream, nil); err != nil || len(replies) != 1 {
		t.Fatalf("the handshake's reply: %d messages, %v", len(replies), err)
	}
	client.SetFeatures(f)
	stream = stream[:0]
	for _, m := range messages {
		stream = s.Append(stream, m, p)
	}
	var heard []Message
	inPieces(stream, sizes, func(piece []byte) {
		var err error
		if heard, err = client.Feed(piece, heard); err != nil {
			t.Fatal(err)
		}
	})
	return served[1:], heard
}

// inPieces hands out p in pieces of the given sizes, over and over.
func inPieces(p []byte, sizes []int, use func([]byte)) {
	for i := 0; len(p) > 0; i++ {
		n := min(sizes[i%len(sizes)], len(p))
		use(p[:n])
		p = p[n:]
	}
}

func TestCompressionAndVersionChangeNothingThatAPeerSees(t *testing.T) {
	all := Features{RichEvents: true, TypedValues: true, ExtendedErrors: true, LZ4: true, Zstd: true}
	p := new(Packer)
	rapid.Check(t, func(t *rapid.T) {
		requests := list(t, drawRequest(all))
		responses := list(t, drawResponse(all))
		pushes := list(t, drawPush(all))
		sizes := drawSizes(t)
		for _, f := range []Features{all.In(1), all.In(2), all.In(3)} {
			for _, packer := range []*Packer{nil, p} {
				var messages, want []Message
				for _, r := range responses {
					messages, want = append(messages, r), append(want, told(r))
				}
				for _, m := range pushes {
					if f.Version >= 3 {
						messages, want = append(messages, m), append(want, told(m))
					}
				}
				served, heard := conversation(t, requests, messages, f, packer, sizes)
				same(t, want, heard)
				if len(served) != len(requests) {
					t.Fatalf("%d requests arrived of %d", len(served), len(requests))
				}
				for i, r := range served {
					w := *requests[i]
					if f.Version < 2 {
						w.Codec = NoCodec
					}
					w.Features, w.Size = f, len(AppendRequest(nil, &w, f))-f.HeaderBytes()
					same(t, &w, r)
				}
			}
		}
	})
	if p.Packed[LZ4].Frames == 0 || p.Packed[Zstd].Frames == 0 {
		t.Errorf("nothing was compressed: %+v", p.Packed)
	}
}

func TestOneByteAtATime(t *testing.T) {
	var stream []byte
	for i := range uint64(200) {
		stream = AppendRequest(stream, appendOne(i, bytes.Repeat([]byte{byte(i)}, int(3*i))), Features{})
	}
	want, err := feedWhole(stream)
	if err != nil || len(want) != 200 {
		t.Fatalf("whole: %d requests, %v", len(want), err)
	}
	got, err := feedFragments(stream, []int{1})
	if err != nil {
		t.Fatal(err)
	}
	same(t, want, got)
}

// The requests before a fault were acknowledged by nobody yet; their sender may rightly expect them to be served.
func TestRequestsBeforeAFaultAreReturned(t *testing.T) {
	s := NewSession(Alone())
	stream := AppendRequest(nil, appendOne(1, []byte("a")), Features{})
	stream = append(stream, "no frame, but as long as a header"...)
	requests, err := s.Feed(stream, nil)
	var f *Fault
	if len(requests) != 1 || !errors.As(err, &f) || f.Reason != FaultMagic {
		t.Fatalf("%d requests, %v", len(requests), err)
	}
	requests, again := s.Feed(AppendRequest(nil, appendOne(2, []byte("b")), Features{}), nil)
	if len(requests) != 0 || again != err {
		t.Fatalf("after the fault: %d requests, %v", len(requests), again)
	}
	if held := cap(s.in.chunk); held != 0 {
		t.Fatalf("holds %d bytes after the fault", held)
	}
}

func TestFaultNamesItsReasonAndCause(t *testing.T) {
	_, err := feedWhole(AppendFrame(nil, nil))
	if !errors.Is(err, errShort) || err.Error() != "wire: decode fault: payload ends early" {
		t.Fatalf("error is %v", err)
	}
}

func TestOnlyTheFirstHandshakeFixesFeatures(t *testing.T) {
	handshake := func(f Features) []byte {
		return AppendRequest(nil, &Request{Body: &Handshake{ClientVersion: 1, Capabilities: f.Capabilities()}}, Features{})
	}
	for _, c := range []struct {
		name  string
		sent  [][]byte
		agree Features
	}{
		{"none", nil, Features{}},
		{"first", [][]byte{handshake(rich)}, rich},
		{"second", [][]byte{handshake(rich), handshake(typed)}, rich},
		{"after another request", [][]byte{AppendRequest(nil, appendOne(1, nil), Features{}), handshake(rich)}, Features{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := NewSession(Alone())
			if _, err := s.Feed(bytes.Join(c.sent, nil), nil); err != nil {
				t.Fatal(err)
			}
			reply := &Response{Body: &ReadEventsReply{Events: events(nil, "abc")}}
			if got, want := s.Append(nil, reply, nil), AppendResponse(nil, reply, c.agree); !bytes.Equal(got, want) {
				t.Errorf("reply is %x, want %x", got, want)
			}
		})
	}
}

// The values of a request that follows its handshake in the same packet are already typed.
func TestHandshakeCountsFromTheNextFrame(t *testing.T) {
	stream := AppendRequest(nil, &Request{Body: &Handshake{ClientVersion: 1, Capabilities: typed.Capabilities()}}, Features{})
	query := &Query{SQL: "x", Params: []Value{{Kind: Double, Float: 1}}}
	stream = AppendRequest(stream, &Request{Body: query}, typed)
	requests, err := feedWhole(stream)
	if err != nil || len(requests) != 2 {
		t.Fatalf("%d requests, %v", len(requests), err)
	}
	same(t, query, requests[1].Body)
}

// For the race detector: a writer encodes replies and reads event data while the reader goes on feeding.
func TestAppendReplyBesideFeed(t *testing.T) {
	s := NewSession(Alone())
	queue := make(chan *Request, 16)
	var writer sync.WaitGroup
	writer.Go(func() {
		for r := range queue {
			if m, ok := r.Body.(*AppendEvents); ok && m.Events[0][0] != byte(r.ID) {
				t.Errorf("request %d has event %x", r.ID, m.Events[0])
			}
			s.Append(nil, &Response{RequestID: r.ID, Body: &AppendEventsReply{}}, nil)
		}
	})
	stream := AppendRequest(nil, &Request{Body: &Handshake{ClientVersion: 1, Capabilities: rich.Capabilities()}}, Features{})
	for i := range uint64(500) {
		stream = AppendRequest(stream, appendOne(i, []byte{byte(i), 0, 0}), Features{})
	}
	for len(stream) > 0 {
		n := min(37, len(stream))
		requests, err := s.Feed(stream[:n], nil)
		if err != nil {
			t.Error(err)
		}
		for _, r := range requests {
			queue <- r
		}
		stream = stream[n:]
	}
	close(queue)
	writer.Wait()
}

func TestMutatedStreamsNeverPanic(t *testing.T) {
	p := new(Packer)
	rapid.Check(t, func(t *rapid.T) {
		f := drawFeatures(t)
		frame := PackRequest(nil, drawRequest(f)(t), f, p)
		if drawBool(t) {
			frame = AppendMessage(nil, drawMessage(f)(t), f, p)
		}
		payload, codec := frame[f.HeaderBytes():], NoCodec
		if f.Version >= 2 {
			codec = Codec(frame[6])
		}
		for range rapid.IntRange(1, 4).Draw(t, "mutations") {
			i := rapid.IntRange(0, len(payload)-1).Draw(t, "index")
			payload[i] = rapid.SampledFrom([]byte{0, 1, 2, 0x7f, 0x80, 0xff}).Draw(t, "byte")
		}
		stream := AppendFrameIn(nil, f, codec, payload)
		server := NewSession(Alone())
		if _, err := server.Feed(append(greeting(f), stream...), nil); err != nil {
			checkDamage(t, err, codec)
		}
		client := NewClientSession(Alone())
		client.SetFeatures(f)
		messages, err := client.Feed(stream, nil)
		if err != nil {
			checkDamage(t, err, codec)
		}
		for _, m := range messages {
			var events EventRange
			if r, ok := m.(*Response); ok {
				if body, ok := r.Body.(*ReadEventsReply); ok {
					events = body.Events
				}
			} else if body, ok := m.(*Push).Body.(*SubscriptionEvents); ok {
				events = body.Events
			}
			n := 0
			for range events.All {
				n++
			}
			if n != events.Count {
				t.Fatalf("%d events of %d", n, events.Count)
			}
		}
	})
}

// checkDamage requires the fault of a payload that was damaged before it was framed.
func checkDamage(t *rapid.T, err error, c Codec) {
	if reason := err.(*Fault).Reason; reason != FaultDecode && (reason != FaultCodec || c == NoCodec) {
		t.Fatal(err)
	}
}

func TestPayloadIsCompressedOnlyWhereItHelps(t *testing.T) {
	noise, x := make([]byte, 4096), uint32(1)
	for i := range noise {
		x ^= x << 13
		x ^= x >> 17
		x ^= x << 5
		noise[i] = byte(x)
	}
	zeros, f := make([]byte, 4096), everything.In(3)
	neither := f
	neither.LZ4, neither.Zstd = false, false
	for _, c := range []Codec{LZ4, Zstd} {
		idle := new(Packer)
		if _, shrinks := idle.pack(c, noise); shrinks || idle.Packed[c].Frames != 0 {
			t.Errorf("%s makes noise shorter, %+v", c, idle.Packed)
		}
		for _, s := range []struct {
			name   string
			f      Features
			prefer Codec
			packer bool
			data   []byte
			want   Codec
		}{
			{"what shrinks", f, c, true, zeros, c},
			{"what is small", f, c, true, zeros[:MinPacked/2], NoCodec},
			{"what shall not be", f, NoCodec, true, zeros, NoCodec},
			{"without a packer", f, c, false, zeros, NoCodec},
			{"without agreement", neither, c, true, zeros, NoCodec},
		} {
			t.Run(fmt.Sprintf("%s/%s", c, s.name), func(t *testing.T) {
				var p *Packer
				if s.packer {
					p = new(Packer)
				}
				request := appendOne(1, s.data)
				request.Codec = s.prefer
				message := &Push{Codec: s.prefer, Body: &SubscriptionEvents{Events: events(nil, string(s.data))}}
				for _, frame := range [][]byte{PackRequest(nil, request, s.f, p), AppendMessage(nil, message, s.f, p)} {
					if got := Codec(frame[6]); got != s.want || (len(frame) < len(s.data)) != (s.want != NoCodec) {
						t.Errorf("%d bytes travel in %d, codec %s, want %s", len(s.data), len(frame), got, s.want)
					}
				}
				server := Session{features: s.f}
				if got := server.Packs(message); got != (s.f.Allows(c) && s.prefer != NoCodec) {
					t.Errorf("a packer is needed: %t", got)
				}
				if p != nil && (p.Packed[c].Frames == 2) != (s.want != NoCodec) {
					t.Errorf("counted %+v", p.Packed)
				}
			})
		}
	}
}

// What one end counts as packed, the other counts as unpacked.
func TestTrafficIsCountedAtBothEnds(t *testing.T) {
	f := everything.In(2)
	for _, c := range []Codec{LZ4, Zstd} {
		now := int64(0)
		tick := func() int64 { now += 5; return now }
		sender, receiver := &Packer{Now: tick}, &Packer{Now: tick}
		request := appendOne(1, make([]byte, 4096))
		request.Codec = c
		frame := PackRequest(nil, request, f, sender)
		if _, err := NewSession(single{receiver}).Feed(append(greeting(f), frame...), nil); err != nil {
			t.Fatal(err)
		}
		raw := len(AppendRequest(nil, request, f)) - f.HeaderBytes()
		want := Traffic{Frames: 1, Raw: uint64(raw), Travels: uint64(len(frame) - f.HeaderBytes()), Spent: 5}
		if sender.Packed[c] != want || receiver.Unpacked[c] != want {
			t.Errorf("%s: %+v packed, %+v unpacked, want %+v", c, sender.Packed[c], receiver.Unpacked[c], want)
		}
	}
}

// allocated returns the bytes that f allocates, those it frees again included.
func allocated(f func()) int {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return int(after.TotalAlloc - before.TotalAlloc)
}

// hostile returns frames that claim more than they hold, or hold what is smallest on the wire and largest in memory.
func hostile() map[string][]byte {
	request := func(op Op, body ...[]byte) []byte {
		return AppendFrame(nil, append(appendU32(make([]byte, 16), uint32(op)), bytes.Join(body, nil)...))
	}
	number := func(v uint64) []byte { return appendNumber(nil, v) }
	const n = 1 << 20
	return map[string][]byte{
		"a header that announces 16 MiB":     AppendFrame(nil, make([]byte, MaxPayload))[:HeaderSize],
		"a Vec that announces 2^64-1 events": request(OpAppendEvents, number(1), number(1<<64-1), make([]byte, n)),
		"as many events as could fit":        request(OpAppendEvents, number(1), number(n/8), bytes.Repeat([]byte{1}, n)),
		"empty events":                       request(OpAppendEvents, number(1), number(n/8), make([]byte, n)),
		"an event of 2^63 bytes":             request(OpAppendEvents, number(1), number(1), number(1<<63), make([]byte, n)),
		"2^60 timestamps":                    request(OpAppendEvents, number(1), number(0), []byte{0, 1}, number(1<<60), make([]byte, n)),
		"empty capabilities":                 request(OpHandshake, []byte{1, 0, 0}, number(n/8), make([]byte, n)),
		"Null parameters":                    request(OpQuery, number(0), number(n/4), make([]byte, n)),
		"as many parameters as bytes":        request(OpQuery, number(0), number(n), make([]byte, n)),
		"empty statements":                   request(OpBatchQuery, number(n/16), make([]byte, n)),
		"statements of Null parameters":      request(OpBatchQuery, number(100), bytes.Repeat(append(append(number(0), number(MaxParams)...), make([]byte, 4*MaxParams)...), 8)),
		"long SQL that is not UTF-8":         request(OpQuery, number(n), make([]byte, n-1), []byte{0xff}),
	}
}

func TestHostileFramesAllocateInProportion(t *testing.T) {
	// A Null takes 4 bytes on the wire and 64 in memory; the frame itself is stored at most four times while it grows.
	const perByte, once = 64/minValue + 4, minChunk + 4096
	for name, frame := range hostile() {
		t.Run(name, func(t *testing.T) {
			got := allocated(func() {
				s := NewSession(Alone())
				for p := frame; len(p) > 0; {
					n := min(1460, len(p))
					if _, err := s.Feed(p[:n], nil); err != nil {
						return
					}
					p = p[n:]
				}
			})
			if limit := perByte*len(frame) + once; got > limit {
				t.Errorf("%d bytes allocated for a frame of %d, at most %d allowed", got, len(frame), limit)
			}
		})
	}
}

// hostilePacked returns compressed payloads that state or hold far more than they are long. Allowed is what may be
// allocated for them beyond their own bytes.
func hostilePacked() map[string]struct {
	codec   Codec
	payload []byte
	allowed int
} {
	const mib = 1 << 20
	run := func(n int) []byte { return zstdBlock(false, zstdRLE, n, []byte{0}) }
	end := zstdBlock(true, zstdRaw, 0, nil)
	runs := func(n int) []byte { return bytes.Repeat(run(1<<17), n) }
	// The head of a request, then its body, then zeros 128 KiB at a time.
	of := func(op Op, body []byte, zeros int) []byte {
		head := rawRequest(0, op, body)
		return zstdFrame(uint32(len(head)+zeros<<17), zstdBlock(false, zstdRaw, len(head), head), runs(zeros), end)
	}
	ping := pingPayload()
	wide := append([]byte{0x28, 0xb5, 0x2f, 0xfd, 0x80, 0x70}, appendU32(nil, uint32(len(ping)))...) // a window of 16 MiB
	wide = append(wide, zstdBlock(true, zstdRaw, len(ping), ping)...)
	unstated := append([]byte{0x28, 0xb5, 0x2f, 0xfd, 0, 0x70}, runs(8)...) // states no size
	head := rawRequest(0, OpStreamInfo, u64(0), u64(127<<17))
	binaryText := zstdFrame(uint32(len(head)+127<<17), zstdBlock(false, zstdRaw, len(head), head),
		bytes.Repeat(zstdBlock(false, zstdRLE, 1<<17, []byte{0xff}), 127), end)
	return map[string]struct {
		codec   Codec
		payload []byte
		allowed int
	}{
		"LZ4 of 16 MiB in a few bytes":             {LZ4, lz4Block(MaxPayload, literals(ping)), 0},
		"LZ4 of 4 GiB":                             {LZ4, lz4Block(1<<32-1, make([]byte, mib)), 0},
		"LZ4 of 16 MiB and a byte":                 {LZ4, lz4Block(MaxPayload+1, make([]byte, mib)), 0},
		"LZ4 of 256 times its length":              {LZ4, lz4Block(256*1024, make([]byte, 1020)), 256 * 1024},
		"LZ4 that holds more than it states":       {LZ4, lz4Block(100, append([]byte{0x1f, 0, 1, 0}, bytes.Repeat([]byte{0xff}, mib)...)), 100},
		"Zstandard of 16 MiB in a few bytes":       {Zstd, zstdFrame(MaxPayload, end), MaxPayload},
		"Zstandard of 16 MiB and a byte":           {Zstd, zstdFrame(MaxPayload+1, end), 0},
		"Zstandard that holds more than it states": {Zstd, zstdFrame(100, runs(1000), end), 100},
		"Zstandard with a wide window":             {Zstd, wide, len(ping)},
		"many Zstandard frames":                    {Zstd, append(bytes.Repeat(wide, 1000), unstated...), len(ping)},
		"a second Zstandard frame":                 {Zstd, append(storedZstd(ping), unstated...), len(ping)},
		"16 MiB of Null parameters":                {Zstd, of(OpQuery, append(text("x"), u64(15*mib/minValue)...), 127), MaxPayload},
		"16 MiB of empty statements":               {Zstd, of(OpBatchQuery, u64(15*mib/minBatchedQuery), 127), 4 * MaxPayload},
		"16 MiB of empty events":                   {Zstd, of(OpAppendEvents, append(u64(1), u64(15*mib/minVec)...), 127), 4 * MaxPayload},
		"16 MiB of empty capabilities":             {Zstd, of(OpHandshake, append([]byte{1, 0, 0}, u64(15*mib/minVec)...), 127), 3 * MaxPayload},
		"16 MiB of text that is not UTF-8":         {Zstd, binaryText, MaxPayload},
	}
}

func TestHostileCompressedFramesAllocateWhatTheyState(t *testing.T) {
	const once = 384 << 10 // the chunk of a session, and the block buffers that a decoder may renew
	packers := Alone()
	for _, pack := range []struct {
		codec   Codec
		payload []byte
	}{{LZ4, storedLZ4(pingPayload())}, {Zstd, storedZstd(pingPayload())}} {
		if _, err := packers.Borrow().unpack(pack.codec, pack.payload); err != nil {
			t.Fatal(err) // what a packer holds for itself is there from now on
		}
	}
	for version := uint16(2); version <= MaxVersion; version++ {
		f := everything.In(version)
		for name, c := range hostilePacked() {
			t.Run(fmt.Sprintf("version %d/%s", version, name), func(t *testing.T) {
				frame := AppendFrameIn(greeting(f), f, c.codec, c.payload)
				limit := c.allowed + 5*len(frame) + once
				server := NewSession(packers)
				if got := allocated(func() { server.Feed(frame, nil) }); got > limit {
					t.Errorf("%d bytes allocated by the server for a frame of %d, at most %d allowed", got, len(frame), limit)
				}
				frame = AppendFrameIn(nil, f, c.codec, c.payload)
				client := NewClientSession(packers)
				client.SetFeatures(f)
				if got := allocated(func() { client.Feed(frame, nil) }); got > limit {
					t.Errorf("%d bytes allocated by the client for a frame of %d, at most %d allowed", got, len(frame), limit)
				}
			})
		}
	}
}

func TestLargeFrameGrowsAsItArrives(t *testing.T) {
	frame := AppendRequest(nil, appendOne(1, make([]byte, 8<<20)), Features{})
	s := NewSession(Alone())
	fed := 0
	for p := frame; len(p) > 0; {
		n := min(16<<10, len(p))
		if _, err := s.Feed(p[:n], nil); err != nil {
			t.Fatal(err)
		}
		fed += n
		p = p[n:]
		if held := cap(s.in.chunk); held > max(2*fed, maxChunk) {
			t.Fatalf("holds %d bytes for %d that arrived", held, fed)
		}
	}
	var small []byte
	for len(small) < 1<<20 {
		small = AppendRequest(small, appendOne(2, make([]byte, 100)), Features{})
	}
	if _, err := s.Feed(small, nil); err != nil || cap(s.in.chunk) > maxChunk {
		t.Fatalf("holds %d bytes once the frames are small again, %v", cap(s.in.chunk), err)
	}
}

// 700,000 of these in a second leave no room for more.
func TestSingleEventAppendTakesOneAllocation(t *testing.T) {
	payload := AppendRequest(nil, appendOne(1, make([]byte, 256)), Features{})[HeaderSize:]
	if n := testing.AllocsPerRun(100, func() {
		if _, err := DecodeRequest(payload, Features{}); err != nil {
			t.Fatal(err)
		}
	}); n != 1 {
		t.Errorf("%v allocations", n)
	}
}

// A frame of Null parameters must not cost many times its length in memory.
func TestTooManyParametersAreAFault(t *testing.T) {
	for n, want := range map[int]bool{MaxParams: true, MaxParams + 1: false} {
		frame := AppendRequest(nil, &Request{ID: 1, Tenant: 1, Body: &Query{SQL: "SELECT 1", Params: make([]Value, n)}}, Features{})
		_, err := NewSession(Alone()).Feed(frame, nil)
		if (err == nil) != want {
			t.Errorf("%d parameters: %v", n, err)
		}
	}
}

// The reply to a handshake travels in version 1, where nothing is compressed, whatever it prefers.
func TestHandshakeReplyIsNeverCompressed(t *testing.T) {
	s := NewSession(Alone())
	hello := &Handshake{ClientVersion: 3, Capabilities: []string{CapabilityLZ4}}
	if _, err := s.Feed(AppendRequest(nil, &Request{Body: hello}, Features{}), nil); err != nil {
		t.Fatal(err)
	}
	reply := &Response{Codec: LZ4, Body: &HandshakeReply{ServerVersion: 3, Capabilities: make([]string, 100)}}
	got, err := NewClientSession(Alone()).Feed(s.Append(nil, reply, new(Packer)), nil)
	if err != nil || len(got) != 1 {
		t.Fatalf("%d messages, %v", len(got), err)
	}
	same(t, reply.Body, got[0].(*Response).Body)
}
