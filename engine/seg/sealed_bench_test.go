package seg_test

import (
	"bufio"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/kimberlitedb/kimberlite-go/engine/seg"
	"github.com/kimberlitedb/kimberlite-go/sim/disk"
	"github.com/kimberlitedb/kimberlite-go/sim/rng"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// benchStreams is how many streams the benchmarks' events are spread over.
const benchStreams = 10_000

// readings is a history as many devices write it: JSON events of 256 bytes, one to an append, with salts and values that
// differ. The streams take turns at random.
func readings(events int) *history {
	h, random := newHistory(), rng.Source(1).Stream("readings")
	states := []string{"nominal", "nominal", "nominal", "degraded", "maintenance", "offline"}
	words := strings.SplitAfter("cabinet sensor reading within limits floor north south door fan checked by operator again after restart ", " ")
	for i := range events {
		stream := wire.StreamID(1 + random.Uint64()%benchStreams)
		v := random.Uint64()
		data := fmt.Appendf(nil, `{"device":"dev-%06d","ts":"2026-03-%02dT%02d:%02d:%02d.%03dZ","seq":%d,"temperature":%d.%02d,"humidity":%d.%d,"pressure":%d,"battery":%d,"state":%q,"trace":"%016x","note":"`,
			stream, 1+i/86400%28, i/3600%24, i/60%60, i%60, v%1000, h.next[seg.Key{Tenant: 1, Stream: stream}], 15+v%20, v>>8%100, 30+v>>16%50,
			v>>24%10, 980+v>>32%60, v>>40%101, states[v>>48%6], random.Uint64())
		for len(data) < 254 {
			data = append(data, words[random.N(len(words))]...)
		}
		data = data[:254]
		h.event(stream, append(data, `"}`...), wire.Time(1_770_000_000_000_000_000+int64(i)*1_000_000+int64(v%1_000_000)), random)
	}
	return h
}

// flights is the real events of shared/data: of the flights the origin is the stream.
func flights(b *testing.B) *history {
	f, err := os.Open("../../../shared/data/flights-20k.jsonl")
	if err != nil {
		b.Skip(err)
	}
	defer f.Close()
	h, random, streams := newHistory(), rng.Source(1).Stream("flights"), map[string]wire.StreamID{}
	for lines := bufio.NewScanner(f); lines.Scan(); {
		line := lines.Bytes()
		origin := string(line[len(line)-22 : len(line)-19])
		if streams[origin] == 0 {
			streams[origin] = wire.StreamID(len(streams) + 1)
		}
		h.event(streams[origin], line, wire.Time(1_000_000_000_000_000_000+int64(random.Uint64()%1e15)), random)
	}
	return h
}

// event adds an append of one event with a random salt.
func (h *history) event(stream wire.StreamID, data []byte, at wire.Time, random *rng.Rand) {
	k := seg.Key{Tenant: 1, Stream: stream}
	r := seg.Record{Kind: seg.KindAppend, Count: 1, First: h.next[k], Position: wire.Position(len(h.items)), Commit: at + 1000}
	r.Body = make([]byte, seg.SaltSize, seg.SaltSize+len(data)+wire.EventOverhead)
	random.Fill(r.Body)
	r.Body = wire.AppendEvent(r.Body, r.First, data, at)
	h.next[k]++
	h.add(k, r)
}

// segmentEvents is how many readings fill a log segment of 64 MiB.
const segmentEvents = 64 << 20 / 364

func report(b *testing.B, info seg.SealedInfo) {
	b.ReportMetric(float64(info.Size)/float64(info.Data), "stored/data")
	b.ReportMetric(float64(info.Size)/float64(info.Raw), "stored/raw")
	b.ReportMetric(float64(info.Index)/float64(max(1, info.Sections)), "index-B/section")
	b.ReportMetric(float64(info.Index)/float64(info.Size), "index/stored")
}

func BenchmarkSeal(b *testing.B) {
	for name, make := range map[string]func() *history{
		"readings": func() *history { return readings(segmentEvents) }, "flights": func() *history { return flights(b) },
	} {
		b.Run(name, func(b *testing.B) {
			h := make()
			var info seg.SealedInfo
			b.ReportAllocs()
			for b.Loop() {
				info = must(h.seal(disk.New(4096).Mount(), 1, 0, len(h.items), seg.DefaultTarget))(b)
			}
			b.SetBytes(int64(info.Raw))
			report(b, info)
		})
	}
}

// Four files into one: with few events of a stream in each, whose blocks hold several streams, and with so many that most
// blocks are full of one stream and are copied.
func BenchmarkMerge(b *testing.B) {
	for _, streamEvents := range []int{18, 300} {
		b.Run(fmt.Sprintf("events-per-stream-and-input=%d", streamEvents), func(b *testing.B) {
			h, d := newHistory(), disk.New(4096)
			all, random := readings(segmentEvents/4), rng.Source(2).Stream("merge")
			for i, it := range all.items { // the same events, in as many streams as give each its share
				var r seg.Record
				if _, err := seg.ParseRecord(it.raw, &r); err != nil {
					b.Fatal(err)
				}
				e, _, _ := wire.NextEvent(r.Events())
				h.event(wire.StreamID(1+i%(len(all.items)/4/streamEvents)), e.Data, e.Timestamp, random)
			}
			n := len(h.items) / 4
			inputs := h.parts(b, d.Mount(), seg.DefaultTarget, n, 2*n, 3*n)
			var info seg.SealedInfo
			b.ReportAllocs()
			for b.Loop() {
				info = must(seg.Merge(d.Mount(), head(9, 1, len(h.items), seg.DefaultTarget), inputs, plain()))(b)
			}
			b.SetBytes(int64(info.Raw))
			report(b, info)
		})
	}
}

// Every block in order, as catching up on all streams reads them.
func BenchmarkReadSealed(b *testing.B) {
	h, fs := readings(segmentEvents/4), disk.New(4096).Mount()
	x := h.parts(b, fs, seg.DefaultTarget)[0]
	r := must(seg.NewSealedReader(fs, testStore))(b)
	var p []byte
	b.SetBytes(int64(x.Raw))
	b.ReportAllocs()
	for b.Loop() {
		for _, block := range x.Blocks {
			p = must(r.Read(1, block, p))(b)
		}
	}
}

// An index of 300,000 sections: three to a stream.
func BenchmarkReadSealedIndex(b *testing.B) {
	fs, random := disk.New(4096).Mount(), rng.Source(1).Stream("index")
	const streams, each = 100_000, 3
	w := must(seg.CreateSealed(fs, head(1, 1, streams*each*20, 300)))(b)
	raw := make([]byte, 300)
	for i := range streams {
		lsn, first := random.Uint64()%100, wire.Offset(random.Uint64()%100_000)
		for range each {
			lsn += 1 + random.Uint64()%(20*streams)
			sum := seg.Summary{
				LSN: seg.LSN(lsn), First: first, Events: uint32(1 + random.Uint64()%100), Data: uint32(random.Uint64() % 300),
				MaxTime: wire.Time(1_770_000_000_000_000_000 + lsn*1_000_000 + random.Uint64()%1_000_000),
			}
			first += wire.Offset(sum.Events)
			random.Fill(raw)
			if err := w.Add(seg.Key{Tenant: 1, Stream: wire.StreamID(1 + 3*i)}, sum, raw); err != nil {
				b.Fatal(err)
			}
		}
	}
	info := must(w.Finish())(b)
	b.ReportAllocs()
	for b.Loop() {
		must(seg.ReadSealedIndex(fs, testStore, 1))(b)
	}
	b.ReportMetric(float64(info.Index)/float64(info.Sections), "index-B/section")
	b.ReportMetric(float64(info.Sections), "sections")
}
