package client_test

import (
	"context"
	"testing"

	"github.com/kimberlitedb/kimberlite-go/client"
	"github.com/kimberlitedb/kimberlite-go/internal/hosttest"
)

// One operation is one append of one event of 256 bytes, by one goroutine with 1,000 in flight, against a server in the
// same process that only answers: its cost is in the figure.
func BenchmarkAppendPipelined256(b *testing.B) {
	c := dial(b, serve(b, acknowledge).addr())
	ctx := context.Background()
	batch := [][]byte{make([]byte, 256)}
	window := make([]*client.Pending, 1000)
	b.ReportAllocs()
	b.SetBytes(256)
	for i := range b.N {
		if p := window[i%len(window)]; p != nil {
			if _, err := p.Wait(ctx); err != nil {
				b.Fatal(err)
			}
		}
		window[i%len(window)] = c.AppendAsync(ctx, 1, batch)
	}
	for _, p := range window {
		if p != nil {
			p.Wait(ctx)
		}
	}
}

// One operation is one append of one event, with nothing else in flight.
func BenchmarkAppendLone(b *testing.B) {
	c := dial(b, serve(b, acknowledge).addr())
	ctx := context.Background()
	batch := [][]byte{make([]byte, 256)}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Append(ctx, 1, batch); err != nil {
			b.Fatal(err)
		}
	}
}

// One operation is one append as above, made durable by a real server in the same process.
func BenchmarkAppendPipelined256Durable(b *testing.B) {
	c := dial(b, hosttest.Server(b))
	ctx := context.Background()
	id, err := c.CreateStream(ctx, "s")
	if err != nil {
		b.Fatal(err)
	}
	batch := [][]byte{make([]byte, 256)}
	window := make([]*client.Pending, 1000)
	b.ReportAllocs()
	b.SetBytes(256)
	for i := range b.N {
		if p := window[i%len(window)]; p != nil {
			if _, err := p.Wait(ctx); err != nil {
				b.Fatal(err)
			}
		}
		window[i%len(window)] = c.AppendAsync(ctx, id, batch)
	}
	for _, p := range window {
		if p != nil {
			p.Wait(ctx)
		}
	}
}

// One operation is one event of 256 bytes, read and verified, from a real server in the same process.
func BenchmarkEvents256(b *testing.B) {
	c := dial(b, hosttest.Server(b))
	ctx := context.Background()
	id, err := c.CreateStream(ctx, "s")
	if err != nil {
		b.Fatal(err)
	}
	const stored = 400_000
	batch := make([][]byte, 1000)
	for i := range batch {
		batch[i] = make([]byte, 256)
	}
	for range stored / len(batch) {
		if _, err := c.Append(ctx, id, batch); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	b.SetBytes(256)
	b.ResetTimer()
	for n := 0; n < b.N; {
		for _, err := range c.Events(ctx, id, 0) {
			if err != nil {
				b.Fatal(err)
			}
			if n++; n == b.N {
				break
			}
		}
	}
}
