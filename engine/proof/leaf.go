package proof

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"

	"github.com/kimberlitedb/kimberlite-go/engine/seg"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// Hash is a SHA-256.
type Hash = [sha256.Size]byte

// Salt is what an event's leaf is salted with.
type Salt = seg.Salt

// Event is an event, and what else its leaf commits to.
type Event struct {
	Salt     Salt // zeros for an event of an audit stream
	Stream   wire.StreamID
	Position wire.Position
	Commit   wire.Time
	Encoded  []byte // as it travels and lies on disk
}

// leafHeader is 0x00 and what comes before the event in the data of a leaf.
const leafHeader = 1 + seg.SaltSize + 3*8

// append appends what is hashed.
func (e *Event) append(p []byte) []byte {
	p = append(append(p, 0), e.Salt[:]...)
	p = binary.LittleEndian.AppendUint64(p, uint64(e.Stream))
	p = binary.LittleEndian.AppendUint64(p, uint64(e.Position))
	p = binary.LittleEndian.AppendUint64(p, uint64(e.Commit))
	return append(p, e.Encoded...)
}

// Leaf returns the event's leaf.
func (e *Event) Leaf() Hash {
	return sha256.Sum256(e.append(make([]byte, 0, leafHeader+len(e.Encoded))))
}

// absent is what the data of the leaf of an event that was gone before it could be hashed begins with.
const absent = "kimberlite: no event"

// AbsentLeaf returns the leaf of an event that was gone before it could be hashed.
func AbsentLeaf(stream wire.StreamID, o wire.Offset) Hash {
	p := append(append(make([]byte, 0, 1+len(absent)+16), 0), absent...)
	p = binary.LittleEndian.AppendUint64(p, uint64(stream))
	return sha256.Sum256(binary.LittleEndian.AppendUint64(p, uint64(o)))
}

// errRecord says that a record is not one of events.
var errRecord = errors.New("proof: the record has no events, or not those that it counts")

// Leaves computes the leaves of records. The zero value is ready; it reuses its memory, and is for one goroutine.
type Leaves struct{ buf []byte }

// Of appends the leaves of a record's events, in their order. An act has one, of the audit stream of its tenant, whose id is given.
func (l *Leaves) Of(dst []Hash, r *seg.Record, audit wire.StreamID) ([]Hash, error) {
	err := Events(r, audit, func(e *Event) {
		l.buf = e.append(l.buf[:0])
		dst = append(dst, sha256.Sum256(l.buf))
	})
	return dst, err
}

// Events visits the events of a record as Of does. What it shows of one may be used until visit returns.
func Events(r *seg.Record, audit wire.StreamID, visit func(*Event)) error {
	e := Event{Stream: r.Stream, Position: r.Position, Commit: r.Commit}
	events, salted := r.Events(), r.Kind == seg.KindAppend
	var link Salt
	if salted {
		if len(r.Body) < seg.SaltSize {
			return errRecord
		}
		link = Salt(r.Body)
	} else {
		e.Stream = audit
		var ok bool
		if events, _, ok = r.AuditEvent(); !ok {
			return errRecord
		}
	}
	for range r.Count {
		_, rest, ok := wire.NextEvent(events)
		if !ok {
			return errRecord
		}
		e.Encoded = events[: len(events)-len(rest) : len(events)-len(rest)]
		if events = rest; salted {
			e.Salt, link = seg.EventSalt(link), seg.NextSalt(link)
		}
		visit(&e)
	}
	if len(events) > 0 {
		return errRecord
	}
	return nil
}
