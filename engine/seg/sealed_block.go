package seg

import (
	"encoding/binary"
	"hash/crc32"
	"slices"

	"github.com/klauspost/compress/zstd"
)

// Between its header and its trailer a sealed file is blocks without bytes between them, counted from 0:
//
//	+-----------+-----------+--------------+------------+-------------+----------+-----------+--------------+
//	| crc32c (4)| magic (4) | store id (8) | number (8) | ordinal (4) | kind (1) | codec (1) | reserved (2) |
//	+-----------+-----------+--------------+------------+-------------+----------+-----------+--------------+
//	| length (4) | stored (4) | payload … |
//	+------------+------------+-----------+
//
// The checksum covers everything after itself, payload included. Store id, file number and ordinal tell a block of a
// recycled file and a misdirected write from one that belongs here, and no client can forge one inside an event. Stored
// counts the bytes of the payload, length what they expand to; where zstd would not make them fewer, they are the same.
type blockHead struct {
	ordinal uint32
	kind    blockKind
	codec   blockCodec
	length  uint32
	stored  uint32
}

// blockKind says what a block's payload is.
type blockKind uint8

const (
	recordBlock blockKind = 1 // records of one or more sections
	lostBlock   blockKind = 2 // lost ranges, encoded as an index of nothing else
	indexBlock  blockKind = 3 // a part of the index
	pageBlock   blockKind = 4 // pages of a database; in snapshots of tables alone
)

// blockCodec says how a payload is stored.
type blockCodec uint8

const (
	codecRaw  blockCodec = 0
	codecZstd blockCodec = 1
)

const (
	blockMagic      = 0x3143424b // "KBC1"
	sealedBlockHead = 40
	maxBlock        = 64 << 20  // bytes, uncompressed; no record is longer
	zstdWindow      = 256 << 10 // bytes; blocks are smaller, but for single giant records
)

// SealedBlock is where a block of records lies in a sealed file.
type SealedBlock struct {
	Offset  int64  // of its first byte in the file
	Ordinal uint32 // its place among the file's blocks
	Stored  uint32 // bytes of its payload in the file
	Length  uint32 // bytes of its records, uncompressed
}

// End returns the offset of what follows the block.
func (b SealedBlock) End() int64 { return b.Offset + sealedBlockHead + int64(b.Stored) }

// packer makes blocks. It is not safe for concurrent use.
type packer struct {
	zstd *zstd.Encoder
	id   StoreID
	file uint64
}

func newPacker(id StoreID, file uint64) (packer, error) {
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(false), zstd.WithWindowSize(zstdWindow))
	return packer{zstd: enc, id: id, file: file}, err
}

// pack appends a block with such content to dst. It returns the payload's length.
func (p packer) pack(dst []byte, ordinal uint32, kind blockKind, content []byte) ([]byte, uint32) {
	start := len(dst)
	dst = append(dst, make([]byte, sealedBlockHead)...)
	dst = p.zstd.EncodeAll(content, dst)
	h := blockHead{ordinal: ordinal, kind: kind, codec: codecZstd, length: uint32(len(content))}
	if len(dst)-start-sealedBlockHead >= len(content) {
		h.codec = codecRaw
		dst = append(dst[:start+sealedBlockHead], content...)
	}
	h.stored = uint32(len(dst) - start - sealedBlockHead)
	p.finish(dst[start:], h)
	return dst, h.stored
}

// repack appends a block with another's payload, as it is.
func (p packer) repack(dst []byte, ordinal uint32, h blockHead, payload []byte) []byte {
	start := len(dst)
	dst = append(dst, make([]byte, sealedBlockHead)...)
	dst = append(dst, payload...)
	h.ordinal = ordinal
	p.finish(dst[start:], h)
	return dst
}

// finish fills in the header of the block in p, which holds the payload behind room for it.
func (p packer) finish(b []byte, h blockHead) {
	binary.LittleEndian.PutUint32(b[4:], blockMagic)
	binary.LittleEndian.PutUint64(b[8:], uint64(p.id))
	binary.LittleEndian.PutUint64(b[16:], p.file)
	binary.LittleEndian.PutUint32(b[24:], h.ordinal)
	b[28], b[29], b[30], b[31] = byte(h.kind), byte(h.codec), 0, 0
	binary.LittleEndian.PutUint32(b[32:], h.length)
	binary.LittleEndian.PutUint32(b[36:], h.stored)
	binary.LittleEndian.PutUint32(b, crc32.Checksum(b[4:], castagnoli))
}

// parseBlockHead reads a block's header without its checksum, which needs the payload. It reports whether the header is
// one that a writer of this file could have made.
func parseBlockHead(p []byte, id StoreID, file uint64) (h blockHead, ok bool) {
	h = blockHead{
		ordinal: binary.LittleEndian.Uint32(p[24:]),
		kind:    blockKind(p[28]),
		codec:   blockCodec(p[29]),
		length:  binary.LittleEndian.Uint32(p[32:]),
		stored:  binary.LittleEndian.Uint32(p[36:]),
	}
	ok = binary.LittleEndian.Uint32(p[4:]) == blockMagic &&
		binary.LittleEndian.Uint64(p[8:]) == uint64(id) &&
		binary.LittleEndian.Uint64(p[16:]) == file &&
		h.kind >= recordBlock && h.kind <= pageBlock && h.codec <= codecZstd &&
		h.length <= maxBlock && h.stored <= h.length && (h.codec == codecZstd || h.stored == h.length)
	return h, ok
}

// unpacker expands payloads. It is not safe for concurrent use.
type unpacker struct{ zstd *zstd.Decoder }

func newUnpacker() (unpacker, error) {
	dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxMemory(maxBlock+unpackSpare), zstd.WithDecodeAllCapLimit(true))
	return unpacker{dec}, err
}

// unpackSpare is room behind an expanded block with which the decoder takes its faster way.
const unpackSpare = 64

// unpack expands a payload into dst, which it replaces where that is too small. It returns ErrDamaged where the payload
// does not expand to what the header says.
func (u unpacker) unpack(dst []byte, h blockHead, payload []byte) ([]byte, error) {
	if h.codec == codecRaw {
		return append(dst[:0], payload...), nil
	}
	dst, err := u.zstd.DecodeAll(payload, slices.Grow(dst[:0], int(h.length)+unpackSpare))
	if err != nil || len(dst) != int(h.length) {
		return nil, ErrDamaged
	}
	return dst, nil
}
