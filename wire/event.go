package wire

import (
	"encoding/binary"
	"hash/crc32"
)

// Event is one event as a client sees it.
type Event struct {
	Offset    Offset
	Data      []byte
	Timestamp Time   // event time
	Checksum  uint32 // CRC-32 (IEEE) of Data, as appended
}

// An event has one layout on the wire and on disk, so that a read hands out ranges of stored bytes:
//
//	+------------+------------+-- ... --+-------------+-----------+
//	| offset (8) | length (8) | data    | timestamp(8)| crc32 (4) |
//	+------------+------------+-- ... --+-------------+-----------+
//
// All numbers are little-endian; the checksum is CRC-32 (IEEE) of the data alone.
const (
	eventHead = 16
	eventTail = 12

	// EventOverhead is what an encoded event takes beyond its data, in bytes.
	EventOverhead = eventHead + eventTail
)

// AppendEvent appends the encoding of an event to dst, computing its checksum.
func AppendEvent(dst []byte, offset Offset, data []byte, t Time) []byte {
	dst = binary.LittleEndian.AppendUint64(dst, uint64(offset))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(len(data)))
	dst = append(dst, data...)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(t))
	return binary.LittleEndian.AppendUint32(dst, crc32.ChecksumIEEE(data))
}

// NextEvent splits the first event off p. Its data aliases p. It reports false where p does not hold a whole event; it
// does not verify the checksum.
func NextEvent(p []byte) (e Event, rest []byte, ok bool) {
	if len(p) < EventOverhead {
		return Event{}, p, false
	}
	n := binary.LittleEndian.Uint64(p[8:])
	if n > uint64(len(p)-EventOverhead) {
		return Event{}, p, false
	}
	end := eventHead + int(n)
	e = Event{
		Offset:    Offset(binary.LittleEndian.Uint64(p)),
		Data:      p[eventHead:end:end],
		Timestamp: Time(binary.LittleEndian.Uint64(p[end:])),
		Checksum:  binary.LittleEndian.Uint32(p[end+8:]),
	}
	return e, p[end+eventTail:], true
}

// EventRange is a run of encoded events, in order, as stored. Chunks are immutable and may be shared by many replies.
type EventRange struct {
	Chunks [][]byte // each a whole number of encoded events
	Count  int      // events in all chunks
	Size   int      // bytes in all chunks
}

// Add appends a chunk of count encoded events.
func (r *EventRange) Add(chunk []byte, count int) {
	r.Chunks = append(r.Chunks, chunk)
	r.Count += count
	r.Size += len(chunk)
}

// First returns the offset of the first event, if there is one.
func (r EventRange) First() (Offset, bool) {
	for _, p := range r.Chunks {
		if len(p) > 0 {
			return Offset(binary.LittleEndian.Uint64(p)), true
		}
	}
	return 0, false
}

// All decodes the range. The data of the events alias the range.
func (r EventRange) All(yield func(Event) bool) {
	for _, p := range r.Chunks {
		for len(p) > 0 {
			e, rest, ok := NextEvent(p)
			if !ok || !yield(e) {
				return
			}
			p = rest
		}
	}
}

// LastEventTime returns the event time of the last of a run of encoded events, which is not empty.
func LastEventTime(p []byte) Time { return Time(binary.LittleEndian.Uint64(p[len(p)-eventTail:])) }
