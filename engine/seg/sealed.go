package seg

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

// A sealed file holds records that were in the log, byte for byte, grouped by stream and compressed:
//
//	sealed-0000000000000000.kbz   header | blocks of records … | blocks of lost ranges … | blocks of index … | trailer
//
// The header and the trailer begin alike, each with its own magic:
//
//	+-----------+-----------+-------------+------------+--------------+------------+---------------+--------------+
//	| crc32c (4)| magic (4) | version (4) | target (4) | store id (8) | number (8) | first lsn (8) | last lsn (8) |
//	+-----------+-----------+-------------+------------+--------------+------------+---------------+--------------+
//
// and the trailer goes on, to the end of the file:
//
//	+------------------+------------------+--------------+-------------+------------+----------+---------+
//	| index offset (8) | index length (8) | sections (8) | records (8) | events (8) | data (8) | raw (8) |
//	+------------------+------------------+--------------+-------------+------------+----------+---------+
//
// The checksum covers everything after itself. Damage to the header loses nothing while the trailer is whole, and damage
// to trailer and index loses nothing while the blocks are.
const (
	sealedMagic   = 0x315a424b // "KBZ1"
	trailerMagic  = 0x3154424b // "KBT1"
	sealedHeader  = 48
	sealedTrailer = sealedHeader + 7*8
	sealedPrefix  = "sealed-"
	sealedSuffix  = ".kbz"
)

// SealedName returns the file name of a sealed file.
func SealedName(number uint64) string {
	return fmt.Sprintf("%s%016x%s", sealedPrefix, number, sealedSuffix)
}

// SealedNumber parses a sealed file's name.
func SealedNumber(name string) (uint64, bool) {
	return parseName(name, sealedPrefix, sealedSuffix)
}

// SealedHead says which file a sealed file is. The caller chooses it when the file is made.
type SealedHead struct {
	Store  StoreID
	Number uint64
	First  LSN // of the range that the file covers: no other file has records in it
	Last   LSN
	Target int // bytes of records at which a block is full
}

// DefaultTarget is how many bytes of records make a block.
const DefaultTarget = 32 << 10

// valid reports whether a file can be made or read with this head.
func (h SealedHead) valid() bool {
	return h.First <= h.Last && h.Target > 0 && h.Target <= maxBlock/2
}

// SealedInfo says what a sealed file holds.
type SealedInfo struct {
	SealedHead
	Sections uint64 // those of lost ranges too
	Records  uint64
	Events   uint64
	Data     uint64 // bytes of event data
	Raw      uint64 // bytes of records, uncompressed
	Index    int64  // bytes of the index in the file
	Size     int64  // of the file
}

func (h SealedHead) append(p []byte, magic uint32) []byte {
	p = binary.LittleEndian.AppendUint32(p, 0)
	p = binary.LittleEndian.AppendUint32(p, magic)
	p = binary.LittleEndian.AppendUint32(p, FormatVersion)
	p = binary.LittleEndian.AppendUint32(p, uint32(h.Target))
	p = binary.LittleEndian.AppendUint64(p, uint64(h.Store))
	p = binary.LittleEndian.AppendUint64(p, h.Number)
	p = binary.LittleEndian.AppendUint64(p, uint64(h.First))
	return binary.LittleEndian.AppendUint64(p, uint64(h.Last))
}

// header returns the first bytes of the file.
func (h SealedHead) header() []byte {
	p := h.append(nil, sealedMagic)
	binary.LittleEndian.PutUint32(p, crc32.Checksum(p[4:], castagnoli))
	return p
}

// trailer returns the last bytes of the file.
func (i SealedInfo) trailer() []byte {
	p := i.append(nil, trailerMagic)
	for _, v := range []uint64{
		uint64(i.indexOffset()), uint64(i.Index), i.Sections, i.Records, i.Events, i.Data, i.Raw,
	} {
		p = binary.LittleEndian.AppendUint64(p, v)
	}
	binary.LittleEndian.PutUint32(p, crc32.Checksum(p[4:], castagnoli))
	return p
}

func (i SealedInfo) indexOffset() int64 { return i.Size - sealedTrailer - i.Index }

// parseHead reads a header or a trailer, all of p. It returns ErrDamaged unless p is whole and belongs to this file.
func parseHead(p []byte, magic uint32, id StoreID, number uint64) (SealedHead, error) {
	if binary.LittleEndian.Uint32(p) != crc32.Checksum(p[4:], castagnoli) || binary.LittleEndian.Uint32(p[4:]) != magic {
		return SealedHead{}, ErrDamaged
	}
	if binary.LittleEndian.Uint32(p[8:]) > FormatVersion {
		return SealedHead{}, ErrNewerFormat
	}
	h := SealedHead{
		Target: int(binary.LittleEndian.Uint32(p[12:])),
		Store:  StoreID(binary.LittleEndian.Uint64(p[16:])),
		Number: binary.LittleEndian.Uint64(p[24:]),
		First:  LSN(binary.LittleEndian.Uint64(p[32:])),
		Last:   LSN(binary.LittleEndian.Uint64(p[40:])),
	}
	if h.Store != id || h.Number != number || !h.valid() {
		return SealedHead{}, ErrDamaged
	}
	return h, nil
}

// parseTrailer reads the trailer of a file of such a size.
func parseTrailer(p []byte, size int64, id StoreID, number uint64) (SealedInfo, error) {
	h, err := parseHead(p, trailerMagic, id, number)
	if err != nil {
		return SealedInfo{}, err
	}
	word := func(n int) uint64 { return binary.LittleEndian.Uint64(p[sealedHeader+8*n:]) }
	i := SealedInfo{
		SealedHead: h, Index: int64(word(1)), Sections: word(2), Records: word(3), Events: word(4), Data: word(5), Raw: word(6),
		Size: size,
	}
	if i.Index < 0 || i.Index > size || i.indexOffset() < sealedHeader || i.indexOffset() != int64(word(0)) {
		return SealedInfo{}, ErrDamaged
	}
	return i, nil
}
