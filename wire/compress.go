package wire

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// Codec is how the payload of a frame of version 2 or 3 travels.
type Codec uint8

// The codecs, by their number on the wire.
const (
	NoCodec Codec = iota
	LZ4           // one LZ4 block behind the u32 little-endian size that it expands to
	Zstd          // one Zstandard frame that states the size that it expands to

	// CodecCount is how many codecs there are.
	CodecCount = iota
)

// String returns the codec's name, as metrics show it.
func (c Codec) String() string {
	switch c {
	case NoCodec:
		return "none"
	case LZ4:
		return "lz4"
	case Zstd:
		return "zstd"
	}
	return fmt.Sprintf("Codec(%d)", uint8(c))
}

// ParseCodec returns the codec of a name that String gives, and whether there is one.
func ParseCodec(name string) (Codec, bool) {
	for c := range Codec(CodecCount) {
		if c.String() == name {
			return c, true
		}
	}
	return 0, false
}

// MinPacked is the least payload that is worth compressing, in bytes. Below it the work buys nothing.
const MinPacked = 256

// Packer compresses and expands payloads. Once used it holds some MiB, so many sessions share a few; it is not safe for
// concurrent use. Its zero value is ready.
type Packer struct {
	// Now, if not nil, is a clock in nanoseconds, for Spent.
	Now func() int64
	// Packed and Unpacked count what it did, by codec.
	Packed, Unpacked [CodecCount]Traffic

	lz      *lz4.Compressor
	enc     *zstd.Encoder
	dec     *zstd.Decoder
	scratch []byte
}

// Traffic is what went through a codec in one direction.
type Traffic struct {
	Frames  uint64
	Raw     uint64 // bytes before compression
	Travels uint64 // bytes after it
	Spent   int64  // nanoseconds, where the packer has a clock
}

// Add adds what went through besides.
func (t *Traffic) Add(o Traffic) {
	t.Frames += o.Frames
	t.Raw += o.Raw
	t.Travels += o.Travels
	t.Spent += o.Spent
}

func (p *Packer) now() int64 {
	if p.Now == nil {
		return 0
	}
	return p.Now()
}

// zstdWindow is the most memory that a match may lie back, in bytes. A payload is at most MaxPayload.
const zstdWindow = 1 << 20

// lz4Ratio is more than what an LZ4 block can expand to per byte.
const lz4Ratio = 256

var (
	errCodec  = errors.New("the codec was not agreed on")
	errFrames = errors.New("the compressed payload is not one Zstandard frame")
	errSize   = errors.New("the compressed payload does not have the size that it states")
)

// pack compresses a payload into the packer's own buffer, which is good until the next call. It returns false where
// that would not make it shorter.
func (p *Packer) pack(c Codec, payload []byte) ([]byte, bool) {
	began := p.now()
	switch c {
	case LZ4:
		if p.lz == nil {
			p.lz = new(lz4.Compressor)
		}
		p.scratch = append(p.scratch[:0], make([]byte, 4+lz4.CompressBlockBound(len(payload)))...)
		binary.LittleEndian.PutUint32(p.scratch, uint32(len(payload)))
		n, err := p.lz.CompressBlock(payload, p.scratch[4:])
		if err != nil || n == 0 {
			n = len(payload) // incompressible
		}
		p.scratch = p.scratch[:4+n]
	case Zstd:
		if p.enc == nil {
			p.enc = newZstdEncoder()
		}
		p.scratch = p.enc.EncodeAll(payload, p.scratch[:0])
	default:
		return nil, false
	}
	if len(p.scratch) >= len(payload) {
		return nil, false
	}
	p.Packed[c].Add(Traffic{1, uint64(len(payload)), uint64(len(p.scratch)), p.now() - began})
	return p.scratch, true
}

func newZstdEncoder() *zstd.Encoder {
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest),
		zstd.WithEncoderCRC(false), zstd.WithWindowSize(zstdWindow), zstd.WithLowerEncoderMem(true))
	if err != nil {
		panic("wire: " + err.Error()) // the options are constants
	}
	return enc
}

// unpack expands a payload into memory of its own. It looks at the size that is stated before it allocates.
func (p *Packer) unpack(c Codec, payload []byte) ([]byte, error) {
	began := p.now()
	var raw []byte
	var err error
	switch c {
	case LZ4:
		raw, err = p.unpackLZ4(payload)
	case Zstd:
		raw, err = p.unpackZstd(payload)
	default:
		err = errCodec
	}
	if err == nil {
		p.Unpacked[c].Add(Traffic{1, uint64(len(raw)), uint64(len(payload)), p.now() - began})
	}
	return raw, err
}

func (p *Packer) unpackLZ4(payload []byte) ([]byte, error) {
	if len(payload) < 4 {
		return nil, errShort
	}
	size := binary.LittleEndian.Uint32(payload)
	if size > MaxPayload || uint64(size) > lz4Ratio*uint64(len(payload)) {
		return nil, fmt.Errorf("%w: %d bytes of LZ4 state %d", errSize, len(payload), size)
	}
	raw := make([]byte, size)
	n, err := lz4.UncompressBlock(payload[4:], raw)
	if err != nil {
		return nil, err
	}
	if n != len(raw) {
		return nil, errSize
	}
	return raw, nil
}

func (p *Packer) unpackZstd(payload []byte) ([]byte, error) {
	var h zstd.Header
	if err := h.Decode(payload); err != nil {
		return nil, err
	}
	if !h.HasFCS || h.Skippable || h.FrameContentSize > MaxPayload {
		return nil, fmt.Errorf("%w: a Zstandard frame must state at most %d bytes", errSize, MaxPayload)
	}
	if n, ok := frameLength(payload, &h); !ok || n != len(payload) {
		return nil, errFrames
	}
	if p.dec == nil {
		var err error
		p.dec, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxWindow(MaxPayload), zstd.WithDecoderMaxMemory(MaxPayload+zstdSpare), zstd.WithDecodeAllCapLimit(true))
		if err != nil {
			panic("wire: " + err.Error()) // the options are constants
		}
	}
	raw, err := p.dec.DecodeAll(payload, make([]byte, 0, int(h.FrameContentSize)+zstdSpare))
	if err != nil {
		return nil, err
	}
	if uint64(len(raw)) != h.FrameContentSize {
		return nil, errSize
	}
	return raw, nil
}

// frameLength returns the length of the frame at the start of a payload, whose header is decoded (RFC 8878, 3.1.1). The
// decoder alone would take several frames for one.
func frameLength(p []byte, h *zstd.Header) (n int, ok bool) {
	n = h.HeaderSize
	for last := false; !last; {
		if len(p)-n < 3 {
			return 0, false
		}
		block := uint32(p[n]) | uint32(p[n+1])<<8 | uint32(p[n+2])<<16
		last = block&1 == 1
		size := int(block >> 3)
		if block>>1&3 == 1 { // one byte, repeated
			size = 1
		}
		if n += 3; len(p)-n < size {
			return 0, false
		}
		n += size
	}
	if h.HasCheckSum {
		n += 4
	}
	return n, true
}

// zstdSpare is room that the decoder wants beyond the content, in bytes.
const zstdSpare = 32

// Packers lends packers, each to one borrower at a time.
type Packers interface {
	Borrow() *Packer
	Return(*Packer)
}

// single lends the same packer every time.
type single struct{ p *Packer }

// Alone returns Packers for sessions that all belong to one goroutine.
func Alone() Packers { return single{new(Packer)} }

func (s single) Borrow() *Packer { return s.p }
func (s single) Return(*Packer)  {}
