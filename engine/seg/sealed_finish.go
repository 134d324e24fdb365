package seg

import (
	"fmt"
	"slices"
)

// Finish writes what is left and makes the file durable under its name. Where that fails it is as if Abort had been
// called, unless only the last step did: then the name may be there, and may be gone after a crash.
func (w *SealedWriter) Finish() (SealedInfo, error) {
	if err := w.finish(); err != nil {
		w.Abort()
		return SealedInfo{}, err
	}
	err := w.file.Close()
	if err == nil {
		err = w.fs.Rename(w.temp(), SealedName(w.head.Number))
	}
	if err != nil {
		w.fs.Remove(w.temp()) // best effort: recovery removes it otherwise
		return SealedInfo{}, w.failed(err)
	}
	if err := w.fs.SyncDir(); err != nil {
		return SealedInfo{}, w.failed(err)
	}
	return w.index.SealedInfo, nil
}

func (w *SealedWriter) finish() error {
	if err := w.cut(); err != nil {
		return err
	}
	var lost []Section
	for _, s := range w.index.Sections {
		if s.Lost() {
			lost = append(lost, s)
		}
	}
	for piece := range slices.Chunk(lost, lostPiece) {
		x := SealedIndex{Sections: piece}
		if err := w.whole(lostBlock, x.encode()); err != nil {
			return err
		}
	}
	start := w.size
	for piece := range slices.Chunk(w.index.encode(), indexPiece) {
		if err := w.whole(indexBlock, piece); err != nil {
			return err
		}
	}
	info := w.index.tally()
	info.SealedHead, info.Index, info.Size = w.head, w.size-start, w.size+sealedTrailer
	w.index.SealedInfo = info
	w.emit(info.trailer())
	if err := w.flush(); err != nil {
		return err
	}
	if err := w.file.Sync(); err != nil {
		return w.failed(err)
	}
	return nil
}

// whole writes a block of index or of lost ranges.
func (w *SealedWriter) whole(kind blockKind, content []byte) error {
	out, _ := w.pack.pack(w.out, w.ordinal, kind, content)
	return w.packed(out)
}

// packed takes over out with one block more at its end.
func (w *SealedWriter) packed(out []byte) error {
	w.ordinal++
	w.size += int64(len(out) - len(w.out))
	w.out = out
	if len(w.out) < sealedWrite {
		return nil
	}
	return w.flush()
}

func (w *SealedWriter) emit(p []byte) {
	w.out = append(w.out, p...)
	w.size += int64(len(p))
}

// flush writes what has been gathered.
func (w *SealedWriter) flush() error {
	if _, err := w.file.WriteAt(w.out, w.size-int64(len(w.out))); err != nil {
		return w.failed(err)
	}
	w.out = w.out[:0]
	return nil
}

// Abort gives the file up. What is left of it is a temporary name, if it cannot be removed.
func (w *SealedWriter) Abort() {
	w.file.Close()        // nothing of it is needed
	w.fs.Remove(w.temp()) // best effort: recovery removes it otherwise
}

func (w *SealedWriter) temp() string { return SealedName(w.head.Number) + TempSuffix }

func (w *SealedWriter) failed(err error) error {
	return fmt.Errorf("write %s: %w", SealedName(w.head.Number), err)
}
