// Package fuzz holds the fuzz targets for everything that parses bytes from outside.
package fuzz

import (
	"bytes"
	"encoding/hex"
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
		want, wantFault := wire.NewSession(wire.Alone()).Feed(stream, nil)
		s := wire.NewSession(wire.Alone())
		var got []*wire.Request
		var fault error
		for piece := range pieces(stream, int(size)) {
			got, fault = s.Feed(piece, got)
		}
		if len(got) != len(want) || (fault == nil) != (wantFault == nil) {
			t.Fatalf("%d requests and %v in pieces, %d and %v at once", len(got), fault, len(want), wantFault)
		}
		if fault != nil && fault.Error() != wantFault.Error() {
			t.Fatalf("%v in pieces, %v at once", fault, wantFault)
		}
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
