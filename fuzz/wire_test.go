// Package fuzz holds the fuzz targets for everything that parses bytes from outside.
package fuzz

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/kimberlitedb/kimberlite-go/wire"
)

// goldenFrames returns the frames of testdata/wire whose name begins with prefix.
func goldenFrames(f *testing.F, prefix string) (frames [][]byte) {
	f.Helper()
	for _, file := range []string{"v1.txt", "v1-extended.txt", "malformed-v1.txt"} {
		text, err := os.ReadFile(filepath.Join("..", "testdata", "wire", file))
		if err != nil {
			f.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			if !strings.HasPrefix(line, prefix) || strings.HasPrefix(line, "#") {
				continue
			}
			fields := strings.Split(line, " | ")
			digits := fields[1]
			if file != "malformed-v1.txt" {
				digits += strings.TrimSpace(fields[2])
			}
			frame, err := hex.DecodeString(digits)
			if err != nil {
				f.Fatal(err)
			}
			frames = append(frames, frame)
		}
	}
	return frames
}

// features spreads the bits of a byte over what a connection may have agreed.
func features(bits byte) wire.Features {
	return wire.Features{RichEvents: bits&1 != 0, TypedValues: bits&2 != 0, ExtendedErrors: bits&4 != 0}
}

// FuzzFrame: a payload in a sound frame never faults for any other reason than what it holds.
func FuzzFrame(f *testing.F) {
	for _, frame := range goldenFrames(f, "") {
		f.Add(frame[min(len(frame), wire.HeaderSize):])
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		requests, err := wire.NewSession(wire.Alone()).Feed(wire.AppendFrame(nil, payload), nil)
		if err != nil && err.(*wire.Fault).Reason != wire.FaultDecode {
			t.Fatal(err)
		}
		if (err == nil) != (len(requests) == 1) {
			t.Fatalf("%d requests, %v", len(requests), err)
		}
	})
}

// FuzzSession: what arrives in pieces means the same as what arrives at once, up to the same fault.
func FuzzSession(f *testing.F) {
	frames := goldenFrames(f, "")
	for _, frame := range frames {
		f.Add(frame, uint16(1))
	}
	f.Add(bytes.Join(frames, nil), uint16(100))
	f.Fuzz(func(t *testing.T, stream []byte, size uint16) {
		want, got := bothWays(t, wire.NewSession(wire.Alone()).Feed, wire.NewSession(wire.Alone()).Feed, stream, int(size))
		for i := range got {
			if a, b := encode(got[i]), encode(want[i]); !bytes.Equal(a, b) {
				t.Fatalf("request %d is %x in pieces, %x at once", i, a, b)
			}
		}
	})
}

// pieces cuts p into pieces, each in a buffer that is spoiled before the next one.
func pieces(p []byte, size int) func(yield func([]byte) bool) {
	size = max(size, 1)
	return func(yield func([]byte) bool) {
		buffer := make([]byte, size)
		for len(p) > 0 {
			n := copy(buffer, p)
			if !yield(buffer[:n]) {
				return
			}
			clear(buffer)
			p = p[n:]
		}
	}
}

func encode(r *wire.Request) []byte {
	return wire.AppendRequest(nil, r, wire.Features{TypedValues: true})
}

// FuzzDecodeRequest: whatever decodes encodes to something that decodes to the same.
func FuzzDecodeRequest(f *testing.F) {
	for _, frame := range goldenFrames(f, "REQ") {
		f.Add(frame[wire.HeaderSize:], byte(0))
		f.Add(frame[wire.HeaderSize:], byte(7))
	}
	f.Fuzz(func(t *testing.T, payload []byte, bits byte) {
		shape := features(bits)
		r, err := wire.DecodeRequest(payload, shape)
		if err != nil {
			return
		}
		frame := wire.AppendRequest(nil, r, shape)
		again, err := wire.DecodeRequest(frame[wire.HeaderSize:], shape)
		if err != nil {
			t.Fatalf("%x encodes as %x, which fails: %v", payload, frame, err)
		}
		if next := wire.AppendRequest(nil, again, shape); !bytes.Equal(frame, next) {
			t.Fatalf("%x encodes as %x, then as %x", payload, frame, next)
		}
	})
}

// FuzzDecodeResponse: the same for responses, and a range of events holds as many as it says.
func FuzzDecodeResponse(f *testing.F) {
	for _, frame := range goldenFrames(f, "RSP") {
		f.Add(frame[wire.HeaderSize:], byte(0))
		f.Add(frame[wire.HeaderSize:], byte(7))
	}
	f.Fuzz(func(t *testing.T, payload []byte, bits byte) {
		shape := features(bits)
		r, err := wire.DecodeResponse(payload, shape)
		if err != nil {
			return
		}
		checkEvents(t, r)
		// A code above 15 that was not agreed comes back mapped, so the first encoding need not equal the payload.
		frame := wire.AppendResponse(nil, r, shape)
		again, err := wire.DecodeResponse(frame[wire.HeaderSize:], shape)
		if err != nil {
			t.Fatalf("%x encodes as %x, which fails: %v", payload, frame, err)
		}
		if reflect.TypeOf(again.Body) != reflect.TypeOf(r.Body) || again.RequestID != r.RequestID {
			t.Fatalf("%x decodes as %T, then as %T", payload, r.Body, again.Body)
		}
		if next := wire.AppendResponse(nil, again, shape); !isError(r) && !bytes.Equal(frame, next) {
			t.Fatalf("%x encodes as %x, then as %x", payload, frame, next)
		}
	})
}

// isError reports whether a response is an error, whose retryable field is made from its code when it is encoded.
func isError(r *wire.Response) bool {
	_, ok := r.Body.(*wire.Error)
	return ok
}

func checkEvents(t *testing.T, r *wire.Response) {
	t.Helper()
	m, ok := r.Body.(*wire.ReadEventsReply)
	if !ok {
		return
	}
	count, size := 0, 0
	for e := range m.Events.All {
		count++
		size += wire.EventOverhead + len(e.Data)
	}
	if count != m.Events.Count || size != m.Events.Size {
		t.Fatalf("range of %d events in %d bytes says %d in %d", count, size, m.Events.Count, m.Events.Size)
	}
}

// versionFrame is a vector of version 2 or 3.
type versionFrame struct {
	version   uint16 // of the frame
	direction string
	frame     []byte
}

// versionFrames returns the frames of versions 2 and 3, sound and malformed.
func versionFrames(f *testing.F) (frames []versionFrame) {
	f.Helper()
	for _, file := range []string{"v2.json", "v3.json", "malformed-v2.json", "malformed-v3.json"} {
		text, err := os.ReadFile(filepath.Join("..", "testdata", "wire", file))
		if err != nil {
			f.Fatal(err)
		}
		var list []struct {
			Version   uint16
			Direction string
			Hex       string
		}
		if err := json.Unmarshal(text, &list); err != nil {
			f.Fatal(err)
		}
		for _, v := range list {
			frame, err := hex.DecodeString(v.Hex)
			if err != nil {
				f.Fatal(err)
			}
			frames = append(frames, versionFrame{v.Version, v.Direction, frame})
		}
	}
	return frames
}

// agreement returns what a connection of version 2 or 3 with both codecs agreed on.
func agreement(three bool) wire.Features {
	version := uint16(2)
	if three {
		version = 3
	}
	return wire.Features{LZ4: true, Zstd: true}.In(version)
}

// greeted returns the session of a server after the handshake.
func greeted(t *testing.T, shape wire.Features, packers wire.Packers) *wire.Session {
	t.Helper()
	s := wire.NewSession(packers)
	h := &wire.Handshake{ClientVersion: shape.Version, Capabilities: shape.Capabilities()}
	requests, err := s.Feed(wire.AppendRequest(nil, &wire.Request{Body: h}, wire.Features{}), nil)
	if err != nil || len(requests) != 1 {
		t.Fatalf("the handshake: %d requests, %v", len(requests), err)
	}
	return s
}

// listening returns the session of a client after the handshake.
func listening(shape wire.Features, packers wire.Packers) *wire.ClientSession {
	s := wire.NewClientSession(packers)
	s.SetFeatures(shape)
	return s
}

// sameFault fails the test unless both ends of the comparison faulted alike.

// bothWays feeds a stream to one session at once and to another in pieces. Both return as much, and the same fault.
func bothWays[T any](t *testing.T, once, inPieces func([]byte, []T) ([]T, error), stream []byte, size int) (want, got []T) {
	t.Helper()
	want, wantFault := once(stream, nil)
	var fault error
	for piece := range pieces(stream, size) {
		got, fault = inPieces(piece, got)
	}
	if len(got) != len(want) || (fault == nil) != (wantFault == nil) {
		t.Fatalf("%d messages and %v in pieces, %d and %v at once", len(got), fault, len(want), wantFault)
	}
	if fault != nil && fault.Error() != wantFault.Error() {
		t.Fatalf("%v in pieces, %v at once", fault, wantFault)
	}
	return want, got
}

// FuzzServerSession: on versions 2 and 3 with compression, what arrives in pieces means the same as what arrives at once,
// and travels once more, compressed as its sender likes, without a change.
func FuzzServerSession(f *testing.F) {
	for _, v := range versionFrames(f) {
		if v.direction == "request" && v.version >= 2 {
			f.Add(v.frame, uint16(1), v.version == 3)
		}
	}
	packers := wire.Alone()
	f.Fuzz(func(t *testing.T, stream []byte, size uint16, three bool) {
		shape := agreement(three)
		want, got := bothWays(t, greeted(t, shape, packers).Feed, greeted(t, shape, packers).Feed, stream, int(size))
		for i, r := range got {
			checkRequest(t, r, want[i], packers)
		}
	})
}

func checkRequest(t *testing.T, got, want *wire.Request, packers wire.Packers) {
	t.Helper()
	a := wire.AppendRequest(nil, got, got.Features)
	if b := wire.AppendRequest(nil, want, want.Features); !bytes.Equal(a, b) {
		t.Fatalf("request is %x in pieces, %x at once", a, b)
	}
	frame := wire.PackRequest(nil, got, got.Features, packers.Borrow())
	again, err := greeted(t, got.Features, packers).Feed(frame, nil)
	if err != nil || len(again) != 1 {
		t.Fatalf("%x, compressed as %x, becomes %d requests, %v", a, frame, len(again), err)
	}
	if next := wire.AppendRequest(nil, again[0], again[0].Features); !bytes.Equal(a, next) {
		t.Fatalf("%x, compressed as %x, becomes %x", a, frame, next)
	}
}

// FuzzClientSession: the same for what a server sends.
func FuzzClientSession(f *testing.F) {
	for _, v := range versionFrames(f) {
		if v.direction == "server" && v.version >= 2 {
			f.Add(v.frame, uint16(1), v.version == 3)
		}
	}
	packers := wire.Alone()
	f.Fuzz(func(t *testing.T, stream []byte, size uint16, three bool) {
		shape := agreement(three)
		want, got := bothWays(t, listening(shape, packers).Feed, listening(shape, packers).Feed, stream, int(size))
		for i, m := range got {
			checkMessage(t, m, want[i], shape, packers)
		}
	})
}

func checkMessage(t *testing.T, got, want wire.Message, shape wire.Features, packers wire.Packers) {
	t.Helper()
	a := wire.AppendMessage(nil, got, shape, nil)
	if b := wire.AppendMessage(nil, want, shape, nil); !bytes.Equal(a, b) {
		t.Fatalf("message is %x in pieces, %x at once", a, b)
	}
	for c := range wire.Codec(wire.CodecCount) {
		frame := wire.AppendMessage(nil, prefer(got, c), shape, packers.Borrow())
		again, err := listening(shape, packers).Feed(frame, nil)
		if err != nil || len(again) != 1 {
			t.Fatalf("%x, compressed as %x, becomes %d messages, %v", a, frame, len(again), err)
		}
		if next := wire.AppendMessage(nil, again[0], shape, nil); !bytes.Equal(a, next) {
			t.Fatalf("%x, compressed as %x, becomes %x", a, frame, next)
		}
	}
}

// prefer returns a message that would travel in a codec.
func prefer(m wire.Message, c wire.Codec) wire.Message {
	switch m := m.(type) {
	case *wire.Response:
		return &wire.Response{RequestID: m.RequestID, Codec: c, Body: m.Body}
	case *wire.Push:
		return &wire.Push{Codec: c, Body: m.Body}
	}
	return m
}

// FuzzCompressed: a payload in a sound frame faults only for what it holds or cannot be expanded to, in both directions,
// and a request is to be answered only where it was expanded.
func FuzzCompressed(f *testing.F) {
	for _, v := range versionFrames(f) {
		if v.version >= 2 && len(v.frame) >= wire.HeaderSizeV2 {
			f.Add(v.frame[wire.HeaderSizeV2:], v.frame[6], v.version == 3)
		}
	}
	packers := wire.Alone()
	f.Fuzz(func(t *testing.T, payload []byte, codec byte, three bool) {
		if len(payload) > wire.MaxPayload {
			return
		}
		shape, c := agreement(three), wire.Codec(codec%wire.CodecCount)
		frame := wire.AppendFrameIn(nil, shape, c, payload)
		requests, err := greeted(t, shape, packers).Feed(frame, nil)
		checkCompressed(t, len(requests), err, c)
		if fault, ok := err.(*wire.Fault); ok && fault.Reason == wire.FaultCodec && fault.Request.Set {
			t.Fatalf("request %d is to be answered, but nobody could read it", fault.Request.Value)
		}
		messages, err := listening(shape, packers).Feed(frame, nil)
		checkCompressed(t, len(messages), err, c)
		for _, m := range messages {
			if r, ok := m.(*wire.Response); ok {
				checkEvents(t, r)
			}
		}
	})
}

func checkCompressed(t *testing.T, messages int, err error, c wire.Codec) {
	t.Helper()
	if (err == nil) != (messages == 1) {
		t.Fatalf("%d messages, %v", messages, err)
	}
	if err == nil {
		return
	}
	if reason := err.(*wire.Fault).Reason; reason != wire.FaultDecode && (reason != wire.FaultCodec || c == wire.NoCodec) {
		t.Fatal(err)
	}
}
