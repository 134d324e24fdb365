package seg

import (
	"fmt"
	"slices"
)

// CheckSealed verifies a sealed file whole: header, trailer, index, every block, every record, and that the index says
// what is in the blocks. It visits what is damaged, with the sections that are lost by that as far as the index tells,
// and returns what the file holds without them.
//
// It fails where RebuildIndex would, or the visitor does.
func CheckSealed(fs Files, id StoreID, number uint64, summarize Summarizer, visit func(SealedDamage) error) (SealedInfo, error) {
	rebuilt, damage, err := RebuildIndex(fs, id, number, summarize)
	if err != nil {
		return SealedInfo{}, err
	}
	x, err := ReadSealedIndex(fs, id, number)
	switch {
	case final(err):
		return SealedInfo{}, err
	case hurt(damage, SealedTrailerPart): // which says where the index is
	case err != nil, !x.agrees(rebuilt, damage):
		start := rebuilt.indexOffset()
		damage = append(damage, SealedDamage{Part: SealedIndexPart, Start: start, End: start + rebuilt.Index})
	default:
		for i := range damage {
			damage[i].Sections = x.within(damage[i])
		}
	}
	for _, d := range damage {
		if err := visit(d); err != nil {
			return SealedInfo{}, fmt.Errorf("check %s: %w", SealedName(number), err)
		}
	}
	return rebuilt.SealedInfo, nil
}

// agrees reports whether an index says what a walk through the blocks has found, but for what is damaged.
func (x *SealedIndex) agrees(found *SealedIndex, damage []SealedDamage) bool {
	if !hurt(damage, SealedBlockPart) {
		return x.SealedInfo == found.SealedInfo && slices.Equal(x.Blocks, found.Blocks) && slices.Equal(x.Sections, found.Sections)
	}
	for _, b := range found.Blocks {
		if int64(b.Ordinal) >= int64(len(x.Blocks)) || b != x.Blocks[b.Ordinal] {
			return false
		}
	}
	var want, got []Section
	for _, s := range x.Sections {
		if !s.Lost() && !slices.ContainsFunc(damage, func(d SealedDamage) bool { return d.covers(x.Blocks[s.Block]) }) {
			want = append(want, s)
		}
	}
	for _, s := range found.Sections {
		if !s.Lost() {
			s.Block = int32(found.Blocks[s.Block].Ordinal)
			got = append(got, s)
		}
	}
	return slices.Equal(want, got)
}

// hurt reports whether a part of a file is damaged.
func hurt(damage []SealedDamage, part SealedPart) bool {
	return slices.ContainsFunc(damage, func(d SealedDamage) bool { return d.Part == part })
}

// within returns the sections in a damaged piece of the file.
func (x *SealedIndex) within(d SealedDamage) (list []Section) {
	for _, s := range x.Sections {
		if !s.Lost() && d.covers(x.Blocks[s.Block]) {
			list = append(list, s)
		}
	}
	return list
}

// covers reports whether damage touches a block.
func (d SealedDamage) covers(b SealedBlock) bool {
	return d.Part == SealedBlockPart && b.Offset < d.End && b.End() > d.Start
}
