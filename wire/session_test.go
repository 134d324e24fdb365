package wire

import (
	"bytes"
	"errors"
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

func TestFragmentsDecodeLikeTheWhole(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var stream []byte
		for range rapid.IntRange(0, 5).Draw(t, "requests") {
			stream = AppendRequest(stream, drawRequest(Features{})(t), Features{})
		}
		if drawBool(t) {
			big := make([]byte, rapid.IntRange(0, 4*maxChunk).Draw(t, "size"))
			for i := range big {
				big[i] = byte(i * i >> 3)
			}
			stream = AppendRequest(stream, appendOne(1, big), Features{})
			stream = AppendRequest(stream, &Request{ID: 2, Body: &Sync{}}, Features{})
		}
		stream = append(stream, drawBytes(t)...)
		sizes := rapid.SliceOfN(rapid.OneOf(rapid.IntRange(1, 20), rapid.IntRange(1, 1<<17)), 1, 5).Draw(t, "sizes")

		want, wantErr := feedWhole(stream)
		got, err := feedFragments(stream, sizes)
		same(t, want, got)
		if (err == nil) != (wantErr == nil) || err != nil && err.Error() != wantErr.Error() {
			t.Fatalf("fault is %v, want %v", err, wantErr)
		}
	})
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
	rapid.Check(t, func(t *rapid.T) {
		f := drawFeatures(t)
		payload := AppendRequest(nil, drawRequest(f)(t), f)[HeaderSize:]
		if drawBool(t) {
			payload = AppendResponse(nil, drawResponse(f)(t), f)[HeaderSize:]
		}
		for range rapid.IntRange(1, 4).Draw(t, "mutations") {
			i := rapid.IntRange(0, len(payload)-1).Draw(t, "index")
			payload[i] = rapid.SampledFrom([]byte{0, 1, 2, 0x7f, 0x80, 0xff}).Draw(t, "byte")
		}
		stream := AppendFrame(nil, payload)
		server := Session{features: f, started: true}
		if _, err := server.Feed(stream, nil); err != nil && err.(*Fault).Reason != FaultDecode {
			t.Fatal(err)
		}
		client := NewClientSession(Alone())
		client.SetFeatures(f)
		responses, err := client.Feed(stream, nil)
		if err != nil && err.(*Fault).Reason != FaultDecode {
			t.Fatal(err)
		}
		for _, r := range responses {
			if m, ok := r.(*Response).Body.(*ReadEventsReply); ok {
				n := 0
				for range m.Events.All {
					n++
				}
				if n != m.Events.Count {
					t.Fatalf("%d events of %d", n, m.Events.Count)
				}
			}
		}
	})
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
