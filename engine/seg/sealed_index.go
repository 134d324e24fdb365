package seg

import (
	"encoding/binary"
	"math"
	"sort"
)

// SealedIndex says where everything in a sealed file lies. It is plain data: it needs no open file, and may be shared
// between goroutines that do not change it.
//
// It is encoded column by column, as differences, all numbers as varints (unsigned LEB128, signed ones in zigzag), since
// columns of like numbers compress best:
//
//	blocks, stored of each block
//	sections, place of each section: 0 in the same block as the one before, 1 in the next, 2 lost
//	column after column, as columns lists them, of each section
//
// Offsets of blocks, starts of sections and lengths of blocks follow from the sums. The encoding is cut into blocks of
// indexPiece bytes.
type SealedIndex struct {
	SealedInfo
	Blocks   []SealedBlock // of records, as they follow each other in the file
	Sections []Section     // by key, then LSN
}

// indexPiece is how many bytes of an encoded index make a block.
const indexPiece = 256 << 10

// The places of sections.
const (
	placeSame = 0
	placeNext = 1
	placeLost = 2
)

// Of returns the sections of a key. The caller must not change them.
func (x *SealedIndex) Of(k Key) []Section {
	from := sort.Search(len(x.Sections), func(i int) bool { return x.Sections[i].Compare(k) >= 0 })
	n := sort.Search(len(x.Sections)-from, func(i int) bool { return x.Sections[from+i].Compare(k) > 0 })
	return x.Sections[from : from+n : from+n]
}

// encode returns the index without what the trailer says.
func (x *SealedIndex) encode() []byte {
	p := binary.AppendUvarint(nil, uint64(len(x.Blocks)))
	for _, b := range x.Blocks {
		p = binary.AppendUvarint(p, uint64(b.Stored))
	}
	p = binary.AppendUvarint(p, uint64(len(x.Sections)))
	last := int32(-1)
	for i := range x.Sections {
		switch s := &x.Sections[i]; {
		case s.Lost():
			p = append(p, placeLost)
		case s.Block == last:
			p = append(p, placeSame)
		default:
			p, last = append(p, placeNext), s.Block
		}
	}
	for _, c := range columns {
		before := &Section{}
		for i := range x.Sections {
			p = binary.AppendUvarint(p, c.get(&x.Sections[i], before))
			before = &x.Sections[i]
		}
	}
	return p
}

// decode reads what encode made. It returns ErrDamaged where p is not that; whether the sections make sense it leaves to
// ordered. What it allocates is bounded by p's length.
func (x *SealedIndex) decode(p []byte) error {
	d := indexDecoder{p: p}
	x.Blocks = make([]SealedBlock, d.count(1))
	for i := range x.Blocks {
		v := d.uvarint()
		x.Blocks[i] = SealedBlock{Ordinal: uint32(i), Stored: uint32(min(v, math.MaxUint32))}
	}
	x.Sections = make([]Section, d.count(1+len(columns)))
	places := d.p[:len(x.Sections)]
	d.p = d.p[len(places):]
	for _, c := range columns {
		before := &Section{}
		for i := range x.Sections {
			c.set(&x.Sections[i], before, d.uvarint())
			before = &x.Sections[i]
		}
	}
	if d.failed || len(d.p) > 0 || !x.place(places) {
		return ErrDamaged
	}
	return nil
}

// place finds out where blocks and sections lie. It reports false where that makes no sense.
func (x *SealedIndex) place(places []byte) bool {
	block, end := -1, int64(sealedHeader)
	for i := range x.Sections {
		s := &x.Sections[i]
		if places[i] == placeLost {
			s.Block = -1
			continue
		}
		if places[i] == placeNext {
			if block++; block >= len(x.Blocks) {
				return false
			}
			x.Blocks[block].Offset = end
			end = x.Blocks[block].End()
		}
		if places[i] > placeLost || block < 0 {
			return false
		}
		b := &x.Blocks[block]
		s.Block, s.Start = int32(block), b.Length
		if s.Length > maxBlock-b.Length {
			return false
		}
		b.Length += s.Length
	}
	for _, b := range x.Blocks {
		if b.Stored > b.Length {
			return false
		}
	}
	return block == len(x.Blocks)-1
}

// ordered reports whether the sections are sorted and make sense one by one.
func (x *SealedIndex) ordered() bool {
	for i := range x.Sections {
		s := &x.Sections[i]
		if s.FirstLSN > s.LastLSN || s.FirstLSN < x.First || s.LastLSN > x.Last || i > 0 && !x.Sections[i-1].precedes(s) {
			return false
		}
	}
	return true
}

// tally sums up the sections.
func (x *SealedIndex) tally() (sum SealedInfo) {
	sum.Sections = uint64(len(x.Sections))
	for i := range x.Sections {
		if s := &x.Sections[i]; !s.Lost() {
			sum.Records += uint64(s.Records)
			sum.Events += uint64(s.Events)
			sum.Data += uint64(s.Data)
			sum.Raw += uint64(s.Length)
		}
	}
	return sum
}

// indexDecoder takes numbers off the front of an encoded index.
type indexDecoder struct {
	p      []byte
	failed bool
}

func (d *indexDecoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.p)
	if n <= 0 {
		d.failed = true
		return 0
	}
	d.p = d.p[n:]
	return v
}

// count takes the number of things that take at least so many bytes each: 0 where there are not enough for them.
func (d *indexDecoder) count(size int) int {
	v := d.uvarint()
	if v > uint64(len(d.p)/size) {
		d.failed = true
		return 0
	}
	return int(v)
}
