package wire

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func BenchmarkDecodeAppendEvents256(b *testing.B) {
	payload := AppendRequest(nil, appendOne(1, make([]byte, 256)), Features{})[HeaderSize:]
	b.ReportAllocs()
	for b.Loop() {
		if _, err := DecodeRequest(payload, Features{}); err != nil {
			b.Fatal(err)
		}
	}
}

// One operation is one request of 256 bytes of data, arriving 64 at a time.
func BenchmarkSessionFeedAppendEvents256(b *testing.B) {
	const batch = 64
	var stream []byte
	for i := range uint64(batch) {
		stream = AppendRequest(stream, appendOne(i, make([]byte, 256)), Features{})
	}
	s := NewSession(Alone())
	var requests []*Request
	b.ReportAllocs()
	b.SetBytes(int64(len(stream) / batch))
	for i := 0; i < b.N; i += batch {
		var err error
		if requests, err = s.Feed(stream, requests[:0]); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAppendReplyAppendEvents(b *testing.B) {
	s := NewSession(Alone())
	r := &Response{RequestID: 1, Body: &AppendEventsReply{FirstOffset: 7, Count: 1, Timestamp: 1, Position: 9}}
	var out []byte
	b.ReportAllocs()
	for b.Loop() {
		out = s.Append(out[:0], r, nil)
	}
}

func BenchmarkAppendReplyReadEvents1MiB(b *testing.B) {
	var r EventRange
	for offset := Offset(0); r.Size < 1<<20; {
		var chunk []byte
		for range 256 {
			chunk = AppendEvent(chunk, offset, make([]byte, 256), 1)
			offset++
		}
		r.Add(chunk, 256)
	}
	reply := &Response{RequestID: 1, Body: &ReadEventsReply{Events: r, NextOffset: Some(Offset(r.Count))}}
	for _, shape := range []struct {
		name     string
		features Features
	}{{"rich", rich}, {"plain", Features{}}} {
		b.Run(shape.name, func(b *testing.B) {
			s := Session{features: shape.features}
			var out []byte
			b.ReportAllocs()
			b.SetBytes(int64(r.Size))
			for b.Loop() {
				out = s.Append(out[:0], reply, nil)
			}
		})
	}
}

// earthquakes returns the events of testdata/earthquakes.jsonl from the first on until they take size bytes. They are not
// enough for the largest frame; in each further round every digit is another, so that no event comes twice.
func earthquakes(b *testing.B, size int) EventRange {
	b.Helper()
	file, err := os.ReadFile(filepath.Join("..", "testdata", "earthquakes.jsonl"))
	if err != nil {
		b.Fatal(err)
	}
	lines := bytes.Split(bytes.TrimSpace(file), []byte("\n"))
	var chunk []byte
	n := 0
	for {
		line, round := lines[n%len(lines)], n/len(lines)
		if n > 0 && len(chunk)+EventOverhead+len(line) > size {
			break
		}
		var e struct{ Time int64 }
		if err := json.Unmarshal(line, &e); err != nil {
			b.Fatal(err)
		}
		data := bytes.Map(func(r rune) rune {
			if r >= '0' && r <= '9' {
				return '0' + (r-'0'+rune(round))%10
			}
			return r
		}, line)
		chunk = AppendEvent(chunk, Offset(n), data, Time(e.Time)*1e6)
		n++
	}
	var r EventRange
	r.Add(chunk, n)
	return r
}

// One operation is one reply to ReadEvents, framed by the server and read by the client.
func BenchmarkCompression(b *testing.B) {
	for _, c := range []Codec{LZ4, Zstd} {
		for _, size := range []int{4 << 10, 64 << 10, 1 << 20} {
			b.Run(fmt.Sprintf("%s/%dKiB", c, size>>10), func(b *testing.B) {
				f, began := everything.In(3), time.Now()
				p := &Packer{Now: func() int64 { return int64(time.Since(began)) }}
				events := earthquakes(b, size)
				reply := &Response{RequestID: 1, Codec: c, Body: &ReadEventsReply{Events: events,
					NextOffset: Some(Offset(events.Count)), HeadOffset: Offset(events.Count)}}
				client := NewClientSession(single{p})
				client.SetFeatures(f)
				var frame []byte
				var messages []Message
				for b.Loop() {
					frame = AppendMessage(frame[:0], reply, f, p)
					var err error
					if messages, err = client.Feed(frame, messages[:0]); err != nil || len(messages) != 1 {
						b.Fatalf("%d messages, %v", len(messages), err)
					}
				}
				packed, unpacked := p.Packed[c], p.Unpacked[c]
				if packed.Frames == 0 || packed.Frames != unpacked.Frames {
					b.Fatalf("%d frames packed, %d unpacked", packed.Frames, unpacked.Frames)
				}
				b.ReportMetric(1e3*float64(packed.Raw)/float64(packed.Spent), "pack-MB/s")
				b.ReportMetric(1e3*float64(unpacked.Raw)/float64(unpacked.Spent), "unpack-MB/s")
				b.ReportMetric(float64(packed.Raw)/float64(packed.Travels), "ratio")
			})
		}
	}
}
