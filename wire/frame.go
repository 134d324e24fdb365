package wire

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

// A frame of version 1 carries one payload behind a header of big-endian numbers:
//
//	+-----------+-------------+------------+-----------+-- ... --+
//	| magic (4) | version (2) | length (4) | crc32 (4) | payload |
//	+-----------+-------------+------------+-----------+-- ... --+
//
// The length counts the payload alone, and the checksum (IEEE) covers it alone.
const (
	Magic      = 0x56444220
	HeaderSize = 14 // bytes
)

// AppendFrame appends a frame of version 1 around a payload. The payload must not be longer than MaxPayload, or the
// receiver will refuse the frame.
func AppendFrame(dst, payload []byte) []byte {
	start := len(dst)
	dst = append(beginFrame(dst), payload...)
	return endFrame(dst, start)
}

// beginFrame appends room for a header; the payload follows, then endFrame.
func beginFrame(dst []byte) []byte {
	var room [HeaderSize]byte
	return append(dst, room[:]...)
}

// endFrame fills in the header at start, for the payload that is the rest of dst.
func endFrame(dst []byte, start int) []byte {
	payload := dst[start+HeaderSize:]
	h := dst[start:]
	binary.BigEndian.PutUint32(h[0:], Magic)
	binary.BigEndian.PutUint16(h[4:], 1)
	binary.BigEndian.PutUint32(h[6:], uint32(len(payload)))
	binary.BigEndian.PutUint32(h[10:], crc32.ChecksumIEEE(payload))
	return dst
}

// header is a checked frame header.
type header struct {
	length int // <= MaxPayload
	crc    uint32
}

// parseHeader reads and checks the first HeaderSize bytes of p, which must hold that many.
func parseHeader(p []byte) (header, *Fault) {
	if magic := binary.BigEndian.Uint32(p); magic != Magic {
		return header{}, fault(FaultMagic, fmt.Errorf("magic is %#08x", magic))
	}
	if version := binary.BigEndian.Uint16(p[4:]); version != 1 {
		return header{}, fault(FaultVersion, fmt.Errorf("frame of version %d on a connection of version 1", version))
	}
	length := binary.BigEndian.Uint32(p[6:])
	if length > MaxPayload {
		return header{}, fault(FaultLength, fmt.Errorf("payload of %d bytes, at most %d are allowed", length, MaxPayload))
	}
	return header{length: int(length), crc: binary.BigEndian.Uint32(p[10:])}, nil
}

// FaultReason is why a connection cannot go on. Metrics count faults by its String.
type FaultReason uint8

// The reasons.
const (
	FaultMagic   FaultReason = iota // the stream is not ours
	FaultVersion                    // a frame of another version than agreed
	FaultLength                     // a payload longer than MaxPayload
	FaultCRC                        // the payload was damaged on its way
	FaultDecode                     // the payload is not a message

	// FaultReasonCount is how many reasons there are.
	FaultReasonCount = iota
)

// String returns the reason in one lower-case word.
func (r FaultReason) String() string {
	switch r {
	case FaultMagic:
		return "magic"
	case FaultVersion:
		return "version"
	case FaultLength:
		return "length"
	case FaultCRC:
		return "crc"
	case FaultDecode:
		return "decode"
	}
	return fmt.Sprintf("FaultReason(%d)", uint8(r))
}

// Fault is a violation of the protocol that ends a connection: on version 1 it is closed without a reply.
type Fault struct {
	Reason FaultReason
	Err    error // the details, never nil
}

func fault(reason FaultReason, err error) *Fault { return &Fault{Reason: reason, Err: err} }

// Error says what was wrong, for the log.
func (f *Fault) Error() string { return fmt.Sprintf("wire: %s fault: %v", f.Reason, f.Err) }

// Unwrap returns the details.
func (f *Fault) Unwrap() error { return f.Err }
