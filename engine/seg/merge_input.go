package seg

import (
	"fmt"
	"slices"
)

// mergeInput is a sealed file that is being merged, read from its first section to its last.
type mergeInput struct {
	x         *SealedIndex
	reader    *SealedReader
	summarize Summarizer
	done      int // sections

	loaded int32  // the block in plain or failed; -1 before the first
	plain  []byte // its records
	failed error  // why it could not be read
	told   int32  // the block whose damage was told last; -1 before the first
}

func newMergeInput(fs Files, x *SealedIndex, summarize Summarizer) (*mergeInput, error) {
	r, err := NewSealedReader(fs, x.Store)
	if err != nil {
		return nil, fmt.Errorf("merge %s: %w", SealedName(x.Number), err)
	}
	return &mergeInput{x: x, reader: r, summarize: summarize, loaded: -1, told: -1}, nil
}

// next returns the section to come, or nil.
func (in *mergeInput) next() *Section {
	if in.done == len(in.x.Sections) {
		return nil
	}
	return &in.x.Sections[in.done]
}

// alone reports whether a section has its block to itself.
func (in *mergeInput) alone(s *Section) bool { return s.Length == in.x.Blocks[s.Block].Length }

// block returns the sections in a block, which the section to come is in. Lost ranges may lie between them.
func (in *mergeInput) block(n int32) (list []Section) {
	from := in.done
	for from > 0 && (in.x.Sections[from-1].Lost() || in.x.Sections[from-1].Block == n) {
		from--
	}
	for _, s := range in.x.Sections[from:] {
		if s.Block == n {
			list = append(list, s)
		} else if !s.Lost() {
			break
		}
	}
	return list
}

// records returns the records of a section, all of them verified. They stay until a section of another block is read.
func (in *mergeInput) records(s *Section) ([]byte, error) {
	if in.loaded != s.Block {
		in.loaded = s.Block
		in.failed = in.load(s.Block)
	}
	if in.failed != nil {
		return nil, in.failed
	}
	return in.plain[s.Start : s.Start+s.Length], nil
}

// load reads a block and verifies its records, and that they are what the index says.
func (in *mergeInput) load(n int32) error {
	b := in.x.Blocks[n]
	p, err := in.reader.Read(in.x.Number, b, in.plain)
	if err != nil {
		return err
	}
	in.plain = p
	if got, err := sections(p, n, in.summarize); err != nil || !slices.Equal(got, in.block(n)) {
		return fmt.Errorf("%s at %d is not what its index says: %w", SealedName(in.x.Number), b.Offset, ErrDamaged)
	}
	return nil
}
