package archive_test

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/kimberlitedb/kimberlite-go/engine/archive"
	"github.com/kimberlitedb/kimberlite-go/engine/proof"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// BenchmarkVerify verifies a stream of events of 200 bytes, that were appended ten at a time, in an archive in memory.
func BenchmarkVerify(b *testing.B) {
	const events = 100_000
	s := newSmall(b)
	s.line.Base, s.line.Oldest, s.line.Head, s.line.Absent, s.index.Sections = 0, 0, events, nil, nil
	rng := rand.NewChaCha8([32]byte{})
	var tree proof.Tree
	var l proof.Leaves
	var raw []byte
	first := wire.Offset(0)
	for o := wire.Offset(0); o < events; o += 10 {
		data := make([]string, 10)
		for i := range data {
			p := make([]byte, 100)
			rng.Read(p)
			data[i] = string(slices.Concat(p, make([]byte, 100)))
		}
		r := record(o, data...)
		leaves, err := l.Of(nil, r, 9)
		if err != nil {
			b.Fatal(err)
		}
		for _, h := range leaves {
			tree.Append(h)
		}
		if raw = append(raw, archive.Bare(r)...); len(raw) > archive.TargetBlob-10_000 || o+10 == events {
			s.section(first, o+10, "", raw)
			first, raw = o+10, nil
		}
	}
	s.line.Root = proof.Digest(tree.Root())
	s.sign()
	c, err := s.box.Open(s.place, s.keys)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if v := c.Verify(&c.Manifest.Streams[0]); v.Err != nil || v.Events != events {
			b.Fatalf("%+v", v)
		}
	}
	b.ReportMetric(events*float64(b.N)/b.Elapsed().Seconds(), "events/s")
	b.ReportMetric(0, "ns/op")
}
