package wire

import "testing"

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
