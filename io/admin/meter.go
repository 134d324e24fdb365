// Package admin serves what operators look at: /livez, /readyz and /metrics over HTTP. It decides nothing and holds no
// secret; metrics carry operations, codes and counts, never a name or a byte of anybody's data.
package admin

import (
	"math/bits"
	"sync"
	"time"

	"github.com/kimberlitedb/kimberlite-go/engine"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// Snapshot is everything that the metrics show, at one moment. Whoever leads counts in one of its own.
type Snapshot struct {
	Engine   engine.Stats
	Halted   bool
	Conns    int    // open
	Queued   int    // requests that the machine has not seen
	Opened   uint64 // connections
	Refused  uint64 // connections beyond the limit
	BytesIn  uint64
	BytesOut uint64

	Busy     time.Duration // time that the machine was stepped
	Recovery time.Duration // of the last start

	OldestEvent time.Duration // age of the oldest event that can be read
	Lag         wire.Offset   // events that the subscription furthest behind has not been sent

	Groups      []engine.GroupStats // those that lag most, at most MaxGroups
	OtherGroups engine.GroupStats   // the others, in one

	Packed, Unpacked [wire.CodecCount]wire.Traffic

	Requests    [ops][codes]uint64 // replies by operation and code; the last code is success
	Latency     [ops]Histogram     // from arrival to reply, in nanoseconds
	Fsync       Histogram          // write and sync of a batch, in nanoseconds
	Batch       Histogram          // bytes of a batch
	Faults      [wire.FaultReasonCount]uint64
	Disconnects map[string]uint64 // by reason
}

const (
	ops   = wire.OpCount
	codes = int(wire.CodeCount) + 1
	ok    = codes - 1
)

// Reply counts a reply that took so long.
func (s *Snapshot) Reply(r *engine.Reply, took wire.Span) {
	if r.Garbled {
		return // it counts as a fault
	}
	code := ok
	if c, refused := r.Code(); refused {
		code = int(c)
	}
	s.Requests[r.Op][code]++
	s.Latency[r.Op].Observe(uint64(took))
}

// Clone returns a copy that shares nothing.
func (s *Snapshot) Clone() Snapshot {
	c := *s
	c.Disconnects = make(map[string]uint64, len(s.Disconnects))
	for why, n := range s.Disconnects {
		c.Disconnects[why] = n
	}
	return c
}

// Histogram counts values in buckets that double in size.
type Histogram struct {
	Buckets [buckets]uint64 // Buckets[i] counts values below 2^(lowest+i), and not below half of that
	Over    uint64          // values beyond the last bucket
	Count   uint64
	Sum     uint64
}

const (
	lowest  = 9  // 512 ns, or 512 bytes
	buckets = 26 // up to 17 s, or 16 GiB
)

// Observe counts a value.
func (h *Histogram) Observe(v uint64) {
	h.Count++
	h.Sum += v
	if i := max(0, bits.Len64(v)-lowest); i < buckets {
		h.Buckets[i]++
	} else {
		h.Over++
	}
}

// Timing is a Histogram of durations for use by several goroutines.
type Timing struct {
	mu sync.Mutex // guards h
	h  Histogram
}

// Observe counts a duration.
func (t *Timing) Observe(d time.Duration) {
	t.mu.Lock()
	t.h.Observe(uint64(d))
	t.mu.Unlock()
}

// Load returns what was counted so far.
func (t *Timing) Load() Histogram {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.h
}
