package seg

import (
	"cmp"
	"math"

	"github.com/kimberlitedb/kimberlite-go/wire"
)

// Key is what the records of a sealed file are grouped by. For most records it is their stream; the caller may gather
// others under a stream id of its choice.
type Key struct {
	Tenant wire.TenantID
	Stream wire.StreamID
}

// Compare orders keys by tenant, then stream.
func (k Key) Compare(l Key) int {
	return cmp.Or(cmp.Compare(k.Tenant, l.Tenant), cmp.Compare(k.Stream, l.Stream))
}

// Summary is what an index needs to know of a record.
type Summary struct {
	LSN     LSN
	First   wire.Offset // of its events
	Events  uint32
	Data    uint32    // bytes of event data
	MaxTime wire.Time // the greatest event time; means nothing without events
}

// Summarizer says where a record belongs and what the index needs to know of it. It must always say the same of the same
// record, or an index could not be made again.
type Summarizer func(*Record) (Key, Summary)

// Summarize is the plain Summarizer: an append belongs to its stream, and every other entry to stream 0 of its tenant, so
// that a tenant's acts lie together. The events of an append count, and so does that with which the body of an act begins.
func Summarize(r *Record) (Key, Summary) {
	key, events := Key{r.Tenant, 0}, r.Body
	if r.Kind == KindAppend {
		key.Stream, events = r.Stream, r.Events()
	}
	s := Summary{LSN: r.LSN}
	for s.Events < r.Count {
		e, rest, ok := wire.NextEvent(events)
		if !ok {
			break
		}
		if s.Events == 0 {
			s.First, s.MaxTime = r.First, e.Timestamp
		}
		s.Events++
		s.Data += uint32(len(e.Data))
		s.MaxTime = max(s.MaxTime, e.Timestamp)
		events = rest
	}
	return key, s
}

// Section is the records of one stream in one block, or a lost range: records that should be here, and that damage took
// before the file was made. A read that needs a lost range must fail for ever.
type Section struct {
	Key
	Block    int32  // its block, in the index; negative for a lost range
	Start    uint32 // where its records begin in the block, uncompressed
	Length   uint32 // bytes of its records, uncompressed
	Records  uint32
	Events   uint32
	Data     uint32      // bytes of event data
	First    wire.Offset // of its events
	Next     wire.Offset // behind its last event; there may be jumps between
	MaxTime  wire.Time   // the greatest event time; First, Next and MaxTime are 0 without events
	FirstLSN LSN
	LastLSN  LSN
}

// Lost reports whether a section is a lost range.
func (s *Section) Lost() bool { return s.Block < 0 }

// add counts a record of so many bytes as the section's last. It reports false where a sum would not fit.
func (s *Section) add(m Summary, length int) bool {
	if uint64(s.Events)+uint64(m.Events) > math.MaxUint32 || uint64(s.Data)+uint64(m.Data) > math.MaxUint32 ||
		uint64(s.Length)+uint64(length) > math.MaxUint32 {
		return false
	}
	if s.Records == 0 {
		s.FirstLSN = m.LSN
	}
	if m.Events > 0 {
		if s.Events == 0 {
			s.First, s.MaxTime = m.First, m.MaxTime
		}
		s.Next = m.First + wire.Offset(m.Events)
		s.MaxTime = max(s.MaxTime, m.MaxTime)
	}
	s.Records++
	s.Events += m.Events
	s.Data += m.Data
	s.Length += uint32(length)
	s.LastLSN = m.LSN
	return true
}

// precedes reports whether t may come right behind s in a file.
func (s *Section) precedes(t *Section) bool {
	order := s.Key.Compare(t.Key)
	return order < 0 || order == 0 && s.LastLSN < t.FirstLSN
}

// sections lists what a block of records holds, verifying every record. It returns ErrDamaged where p is not whole
// records, or not in order.
func sections(p []byte, block int32, summarize Summarizer) ([]Section, error) {
	var list []Section
	for at := 0; at < len(p); {
		var r Record
		n, err := CheckRecord(p[at:], &r)
		if err != nil {
			return nil, err
		}
		key, sum := summarize(&r)
		last := len(list) - 1
		if last < 0 || list[last].Key != key {
			list = append(list, Section{Key: key, Block: block, Start: uint32(at)})
			last++
		} else if sum.LSN <= list[last].LastLSN {
			return nil, ErrDamaged
		}
		if !list[last].add(sum, n) {
			return nil, ErrDamaged
		}
		at += n
	}
	return list, nil
}
