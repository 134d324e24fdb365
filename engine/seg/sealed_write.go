package seg

import (
	"errors"
	"fmt"
)

// SealedWriter makes a sealed file. It holds one block and the index in memory. It is not safe for concurrent use.
//
// The file has its name only when Finish has returned without an error; a crash before that leaves a temporary file, or
// the whole file without a manifest that names it.
type SealedWriter struct {
	fs   Files
	head SealedHead
	file File
	pack packer

	index   SealedIndex // what has been added
	block   []byte      // the records of the block that is being filled
	ordinal uint32      // the block's
	out     []byte      // encoded, not yet written
	size    int64       // of the file, with out
}

const (
	sealedWrite = 256 << 10 // bytes that a writer gathers for one write
	lostPiece   = 4 << 10   // lost ranges in a block
)

// CreateSealed begins a sealed file. The caller must call Finish or Abort.
func CreateSealed(fs Files, head SealedHead) (*SealedWriter, error) {
	w := &SealedWriter{fs: fs, head: head}
	w.index.SealedHead = head
	if !head.valid() {
		return nil, w.failed(fmt.Errorf("lsn %d to %d in blocks of %d bytes are not possible", head.First, head.Last, head.Target))
	}
	var err error
	if w.pack, err = newPacker(head.Store, head.Number); err != nil {
		return nil, w.failed(err)
	}
	if err := fs.Remove(w.temp()); err != nil && !errors.Is(err, ErrNotExist) {
		return nil, w.failed(err)
	}
	if w.file, err = fs.Create(w.temp()); err != nil {
		return nil, w.failed(err)
	}
	w.emit(head.header())
	return w, nil
}

// Add adds a whole record, of which the index gets to know what sum says. Records come by ascending key, those of a key
// by ascending LSN. The record is copied. After an error only Abort is left.
func (w *SealedWriter) Add(k Key, sum Summary, raw []byte) error {
	// A block that is half full ends where a stream does: a read then expands little that is not its own.
	n := len(w.block)
	if n > 0 && (n+len(raw) > w.head.Target || 2*n >= w.head.Target && w.current(k) == nil) {
		if err := w.cut(); err != nil {
			return err
		}
	}
	return w.add(k, sum, raw)
}

// add is Add that begins no new block.
func (w *SealedWriter) add(k Key, sum Summary, raw []byte) error {
	if len(w.block)+len(raw) > maxBlock {
		return w.failed(fmt.Errorf("a record of %d bytes at lsn %d is too long", len(raw), sum.LSN))
	}
	s := w.current(k)
	if s == nil || s.LastLSN >= sum.LSN {
		next := Section{Key: k, Block: int32(w.ordinal), Start: uint32(len(w.block)), FirstLSN: sum.LSN, LastLSN: sum.LSN}
		if err := w.append(next); err != nil {
			return err
		}
		s = &w.index.Sections[len(w.index.Sections)-1]
	}
	if sum.LSN > w.head.Last || !s.add(sum, len(raw)) {
		return w.failed(fmt.Errorf("a record at lsn %d does not fit in", sum.LSN))
	}
	w.block = append(w.block, raw...)
	return nil
}

// current returns the last section, if it is one of the block that is being filled and has this key.
func (w *SealedWriter) current(k Key) *Section {
	if n := len(w.index.Sections); n > 0 && len(w.block) > 0 {
		if s := &w.index.Sections[n-1]; !s.Lost() && s.Key == k {
			return s
		}
	}
	return nil
}

// Lost adds a lost range, in its place among the records. Of the section its place in a block is not used.
func (w *SealedWriter) Lost(s Section) error {
	// A block has one section of a stream at most, or nobody could tell them apart who rebuilds the index.
	if w.current(s.Key) != nil {
		if err := w.cut(); err != nil {
			return err
		}
	}
	s.Block, s.Start = -1, 0
	return w.append(s)
}

// append adds a section to the index.
func (w *SealedWriter) append(s Section) error {
	n := len(w.index.Sections)
	if s.FirstLSN < w.head.First || s.LastLSN > w.head.Last || s.FirstLSN > s.LastLSN || n > 0 && !w.index.Sections[n-1].precedes(&s) {
		return w.failed(fmt.Errorf("stream %d of tenant %d at lsn %d is out of order", s.Stream, s.Tenant, s.FirstLSN))
	}
	w.index.Sections = append(w.index.Sections, s)
	return nil
}

// copy adds a block as another file has it, which holds this section and nothing else.
func (w *SealedWriter) copy(s Section, h blockHead, payload []byte) error {
	if err := w.cut(); err != nil {
		return err
	}
	s.Block = int32(w.ordinal)
	if err := w.append(s); err != nil {
		return err
	}
	w.index.Blocks = append(w.index.Blocks, SealedBlock{Offset: w.size, Ordinal: w.ordinal, Stored: h.stored, Length: h.length})
	return w.packed(w.pack.repack(w.out, w.ordinal, h, payload))
}

// cut ends the block that is being filled, if anything is in it.
func (w *SealedWriter) cut() error {
	if len(w.block) == 0 {
		return nil
	}
	out, stored := w.pack.pack(w.out, w.ordinal, recordBlock, w.block)
	w.index.Blocks = append(w.index.Blocks, SealedBlock{
		Offset: w.size, Ordinal: w.ordinal, Stored: stored, Length: uint32(len(w.block)),
	})
	w.block = w.block[:0]
	return w.packed(out)
}
