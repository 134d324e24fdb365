package wire

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

// A frame carries one payload behind a header of big-endian numbers. That of version 1:
//
//	+-----------+-------------+------------+-----------+-- ... --+
//	| magic (4) | version (2) | length (4) | crc32 (4) | payload |
//	+-----------+-------------+------------+-----------+-- ... --+
//
// That of versions 2 and 3:
//
//	+-----------+-------------+-----------+------------+-----------+-- ... --+
//	| magic (4) | version (2) | codec (1) | length (4) | crc32 (4) | payload |
//	+-----------+-------------+-----------+------------+-----------+-- ... --+
//
// The length counts the payload alone as it travels, and the checksum (IEEE) covers it alone. Expanded, too, a payload
// has at most MaxPayload bytes.
const (
	Magic        = 0x56444220
	HeaderSize   = 14 // bytes, of version 1
	HeaderSizeV2 = 15 // bytes, of versions 2 and 3
)

// HeaderBytes returns the length of a frame's header.
func (f Features) HeaderBytes() int {
	if f.Version >= 2 {
		return HeaderSizeV2
	}
	return HeaderSize
}

// AppendFrame appends a frame of version 1 around a payload. The payload must not be longer than MaxPayload, or the
// receiver will refuse the frame.
func AppendFrame(dst, payload []byte) []byte { return AppendFrameIn(dst, Features{}, NoCodec, payload) }

// AppendFrameIn appends a frame of a version around a payload that is already in a codec.
func AppendFrameIn(dst []byte, f Features, c Codec, payload []byte) []byte {
	start := len(dst)
	dst = append(beginFrame(dst, f), payload...)
	return endFrame(dst, start, f, c)
}

// beginFrame appends room for a header; the payload follows, then endFrame.
func beginFrame(dst []byte, f Features) []byte {
	var room [HeaderSizeV2]byte
	return append(dst, room[:f.HeaderBytes()]...)
}

// endFrame fills in the header at start, for the payload that is the rest of dst.
func endFrame(dst []byte, start int, f Features, c Codec) []byte {
	h, payload := dst[start:], dst[start+f.HeaderBytes():]
	binary.BigEndian.PutUint32(h, Magic)
	binary.BigEndian.PutUint16(h[4:], max(f.Version, 1))
	if f.Version >= 2 {
		h[6] = byte(c)
		h = h[1:]
	}
	binary.BigEndian.PutUint32(h[6:], uint32(len(payload)))
	binary.BigEndian.PutUint32(h[10:], crc32.ChecksumIEEE(payload))
	return dst
}

// packFrame ends a frame like endFrame, compressed where a packer is given and that makes it shorter.
func packFrame(dst []byte, start int, f Features, c Codec, p *Packer) []byte {
	body := start + f.HeaderBytes()
	if p == nil || c == NoCodec || f.Version < 2 || !f.Allows(c) || len(dst)-body < MinPacked {
		return endFrame(dst, start, f, NoCodec)
	}
	packed, ok := p.pack(c, dst[body:])
	if !ok {
		return endFrame(dst, start, f, NoCodec)
	}
	return endFrame(append(dst[:body], packed...), start, f, c)
}

// header is a checked frame header.
type header struct {
	codec  Codec
	length int // <= MaxPayload
	crc    uint32
}

// parseHeader reads and checks the header at the start of p, which must hold as many bytes as it has.
func parseHeader(p []byte, f Features) (header, *Fault) {
	if magic := binary.BigEndian.Uint32(p); magic != Magic {
		return header{}, fault(FaultMagic, fmt.Errorf("magic is %#08x", magic))
	}
	agreed := max(f.Version, 1)
	if version := binary.BigEndian.Uint16(p[4:]); version != agreed {
		return header{}, fault(FaultVersion, fmt.Errorf("frame of version %d on a connection of version %d", version, agreed))
	}
	var h header
	if f.Version >= 2 {
		if h.codec = Codec(p[6]); !f.Allows(h.codec) {
			return header{}, fault(FaultCodec, fmt.Errorf("%w: %s", errCodec, h.codec))
		}
		p = p[1:]
	}
	length := binary.BigEndian.Uint32(p[6:])
	if length > MaxPayload {
		return header{}, fault(FaultLength, fmt.Errorf("payload of %d bytes, at most %d are allowed", length, MaxPayload))
	}
	h.length, h.crc = int(length), binary.BigEndian.Uint32(p[10:])
	return h, nil
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
	FaultCodec                      // the payload cannot be expanded, or its codec was not agreed on

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
	case FaultCodec:
		return "codec"
	}
	return fmt.Sprintf("FaultReason(%d)", uint8(r))
}

// Fault is a violation of the protocol that ends a connection. On version 1 it is closed without a reply; on later ones
// the server answers the request first, where its id could be read.
type Fault struct {
	Reason  FaultReason
	Err     error          // the details, never nil
	Request Option[uint64] // the id of the request that could not be decoded, where it is to be answered
}

func fault(reason FaultReason, err error) *Fault { return &Fault{Reason: reason, Err: err} }

// Error says what was wrong, for the log.
func (f *Fault) Error() string { return fmt.Sprintf("wire: %s fault: %v", f.Reason, f.Err) }

// Unwrap returns the details.
func (f *Fault) Unwrap() error { return f.Err }
