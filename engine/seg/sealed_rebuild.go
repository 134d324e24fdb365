package seg

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
)

// SealedPart is a part of a sealed file.
type SealedPart string

// The parts of a sealed file.
const (
	SealedHeaderPart  SealedPart = "header"
	SealedBlockPart   SealedPart = "blocks"
	SealedIndexPart   SealedPart = "index"
	SealedTrailerPart SealedPart = "trailer"
)

// SealedDamage is a piece of a sealed file that is not what it should be, or cannot be read.
type SealedDamage struct {
	Part       SealedPart
	Start, End int64     // in the file
	Sections   []Section // what it held, as far as an index tells
}

// RebuildIndex makes the index of a sealed file from its blocks, and reports what is damaged; of the index itself it does
// not see that. What was in damaged blocks is missing in the index, as if the file had never held it, so that the caller
// must remember that something is missing. The range of LSNs comes from header or trailer, and where both are damaged
// from the records.
//
// It fails where the file cannot be opened, a newer program made it, its blocks contradict each other, or the process
// crashes.
func RebuildIndex(fs Files, id StoreID, number uint64, summarize Summarizer) (*SealedIndex, []SealedDamage, error) {
	f, err := openSealed(fs, id, number)
	if err != nil {
		return nil, nil, fmt.Errorf("open %s: %w", SealedName(number), err)
	}
	defer f.file.Close()
	b := rebuild{f: f, summarize: summarize, end: f.size}
	x, err := b.run()
	if err != nil {
		return nil, nil, fmt.Errorf("rebuild index of %s: %w", SealedName(number), err)
	}
	return x, b.damage, nil
}

// rebuild is a walk through the blocks of a file.
type rebuild struct {
	f         *sealedFile
	summarize Summarizer
	unpack    unpacker
	end       int64 // of the blocks, as far as the trailer tells

	x      SealedIndex
	lost   []Section
	plain  []byte
	next   uint32 // the ordinal to come
	damage []SealedDamage
}

func (b *rebuild) run() (*SealedIndex, error) {
	var err error
	if b.unpack, err = newUnpacker(); err != nil {
		return nil, err
	}
	known, err := b.heads()
	if err != nil {
		return nil, err
	}
	end, err := b.walk()
	if err != nil {
		return nil, err
	}
	if err := b.finish(known); err != nil {
		return nil, err
	}
	sum := b.x.tally()
	sum.SealedHead, sum.Size, sum.Index = b.x.SealedHead, b.f.size, max(0, b.f.size-sealedTrailer-end)
	b.x.SealedInfo = sum
	return &b.x, nil
}

// heads reads header and trailer. It reports whether the range of LSNs is known.
func (b *rebuild) heads() (known bool, err error) {
	h, err := b.f.header()
	switch {
	case final(err):
		return false, err
	case err != nil:
		b.report(SealedHeaderPart, 0, min(sealedHeader, b.f.size))
	}
	known = err == nil
	t, err := b.f.trailer()
	switch {
	case final(err):
		return false, err
	case err != nil:
		b.report(SealedTrailerPart, max(0, b.f.size-sealedTrailer), b.f.size)
	default:
		h, b.end, known = t.SealedHead, t.indexOffset(), true
	}
	h.Store, h.Number = b.f.id, b.f.number
	b.x.SealedHead = h
	return known, nil
}

// final reports whether an error is not about bytes: the process is gone, or too old for the file.
func final(err error) bool { return errors.Is(err, ErrCrashed) || errors.Is(err, ErrNewerFormat) }

// report notes damage. What adjoins is one piece.
func (b *rebuild) report(part SealedPart, start, end int64) {
	if n := len(b.damage); n > 0 && b.damage[n-1].Part == part && b.damage[n-1].End == start {
		b.damage[n-1].End = end
		return
	}
	b.damage = append(b.damage, SealedDamage{Part: part, Start: start, End: end})
}

// walk visits every block up to the index, and returns where that begins. Behind damage it goes on with the next whole
// block, wherever that begins.
func (b *rebuild) walk() (end int64, err error) {
	off := int64(sealedHeader)
	for off < b.end {
		h, payload, err := b.f.block(off, likelyStored)
		if err == nil && h.kind == indexBlock {
			return off, nil
		}
		if err == nil {
			err = b.visit(off, h, payload)
		}
		if errors.Is(err, ErrCrashed) {
			return off, err
		}
		if err == nil {
			off += sealedBlockHead + int64(h.stored)
			continue
		}
		next, err := b.search(off + 1)
		if err != nil {
			return off, err
		}
		b.report(SealedBlockPart, off, next)
		off = next
	}
	return min(off, b.end), nil
}

// visit takes in a whole block. It returns ErrDamaged where the content is not what it should be.
func (b *rebuild) visit(off int64, h blockHead, payload []byte) (err error) {
	if h.ordinal < b.next {
		return ErrDamaged
	}
	if b.plain, err = b.unpack.unpack(b.plain, h, payload); err != nil {
		return err
	}
	if h.kind == lostBlock {
		var x SealedIndex
		if err := x.decode(b.plain); err != nil || len(x.Blocks) > 0 { // or it would name blocks of records
			return ErrDamaged
		}
		b.lost, b.next = append(b.lost, x.Sections...), h.ordinal+1
		return nil
	}
	list, err := sections(b.plain, int32(len(b.x.Blocks)), b.summarize)
	if err != nil {
		return err
	}
	b.x.Blocks = append(b.x.Blocks, SealedBlock{Offset: off, Ordinal: h.ordinal, Stored: h.stored, Length: h.length})
	b.x.Sections = append(b.x.Sections, list...)
	b.next = h.ordinal + 1
	return nil
}

// finish puts the lost ranges in their places.
func (b *rebuild) finish(known bool) error {
	if len(b.lost) > 0 {
		b.x.Sections = append(b.x.Sections, b.lost...)
		slices.SortFunc(b.x.Sections, func(s, t Section) int {
			return cmp.Or(s.Key.Compare(t.Key), cmp.Compare(s.FirstLSN, t.FirstLSN))
		})
	}
	if !known {
		b.x.First, b.x.Last = span(b.x.Sections)
	}
	if !b.x.ordered() {
		return ErrDamaged
	}
	return nil
}

// span returns the least and the greatest LSN of sections.
func span(list []Section) (first, last LSN) {
	for i, s := range list {
		if i == 0 {
			first = s.FirstLSN
		}
		first, last = min(first, s.FirstLSN), max(last, s.LastLSN)
	}
	return first, last
}
