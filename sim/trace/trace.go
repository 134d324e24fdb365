// Package trace is the record of a run: every step is folded into a hash, and the last ones are kept for reading.
package trace

import (
	"fmt"
	"hash/crc32"
	"io"
	"math/bits"
)

// Trace records one run.
type Trace struct {
	Hash  uint64
	Count uint64
	ring  []Record
	Each  func(Record) // told of every record; may be nil
}

// Record is one step. What A, B and C mean depends on Kind.
type Record struct {
	Time    int64 // simulated nanoseconds since the start
	Kind    string
	A, B, C uint64
	Note    string
}

// Kept is how many records a trace keeps.
const Kept = 4096

// New returns an empty trace.
func New() *Trace { return &Trace{Hash: 0xcbf29ce484222325, ring: make([]Record, 0, Kept)} }

// Add records a step.
func (t *Trace) Add(r Record) {
	h := t.fold(t.Hash, uint64(r.Time))
	for i := range len(r.Kind) {
		h = (h ^ uint64(r.Kind[i])) * 0x100000001b3
	}
	h = t.fold(t.fold(t.fold(h, r.A), r.B), r.C)
	if r.Note != "" {
		h = t.fold(h, uint64(crc32.ChecksumIEEE([]byte(r.Note))))
	}
	t.Hash = h
	if len(t.ring) < Kept {
		t.ring = append(t.ring, r)
	} else {
		t.ring[t.Count%Kept] = r
	}
	t.Count++
	if t.Each != nil {
		t.Each(r)
	}
}

func (t *Trace) fold(h, v uint64) uint64 {
	high, low := bits.Mul64(h^v, 0x9e3779b97f4a7c15)
	return high ^ low ^ bits.RotateLeft64(h, 23)
}

// Sum condenses bytes into a number for a record.
func Sum(p []byte) uint64 { return uint64(crc32.Checksum(p, table))<<32 | uint64(uint32(len(p))) }

var table = crc32.MakeTable(crc32.Castagnoli)

// Last returns the records kept, oldest first.
func (t *Trace) Last() []Record {
	if t.Count <= Kept {
		return t.ring
	}
	i := t.Count % Kept
	return append(append([]Record(nil), t.ring[i:]...), t.ring[:i]...)
}

// Write writes the records kept.
func (t *Trace) Write(w io.Writer) error {
	for _, r := range t.Last() {
		if _, err := fmt.Fprintln(w, r); err != nil {
			return err
		}
	}
	return nil
}

// String returns the record as one line.
func (r Record) String() string {
	s := fmt.Sprintf("%14.6f ms  %-18s %d %d %#x", float64(r.Time)/1e6, r.Kind, r.A, r.B, r.C)
	if r.Note != "" {
		s += "  " + r.Note
	}
	return s
}
