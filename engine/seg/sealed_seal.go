package seg

import (
	"cmp"
	"fmt"
	"slices"
)

// Seal writes a sealed file of records of the log, by stream. The records function must call visit for each of them, in
// any order, with bytes that stay as they are until Seal returns: Finding.Records do. So Seal holds in memory what the
// caller holds, usually one segment; larger files come of Merge. A record without bytes is a lost range: the caller knows
// that it was there and cannot read it.
//
// On an error there is no file, as SealedWriter.Finish says.
func Seal(fs Files, head SealedHead, records func(visit func(k Key, sum Summary, raw []byte)) error) (SealedInfo, error) {
	var all []filed
	err := records(func(k Key, sum Summary, raw []byte) { all = append(all, filed{k, sum, raw}) })
	if err != nil {
		return SealedInfo{}, fmt.Errorf("seal %s: %w", SealedName(head.Number), err)
	}
	slices.SortFunc(all, func(a, b filed) int { return cmp.Or(a.key.Compare(b.key), cmp.Compare(a.sum.LSN, b.sum.LSN)) })
	w, err := CreateSealed(fs, head)
	if err != nil {
		return SealedInfo{}, err
	}
	for _, f := range all {
		if err := f.add(w); err != nil {
			w.Abort()
			return SealedInfo{}, err
		}
	}
	return w.Finish()
}

// filed is a record and its place.
type filed struct {
	key Key
	sum Summary
	raw []byte
}

func (f *filed) add(w *SealedWriter) error {
	if len(f.raw) > 0 {
		return w.Add(f.key, f.sum, f.raw)
	}
	lost := Section{Key: f.key}
	lost.add(f.sum, 0)
	return w.Lost(lost)
}
