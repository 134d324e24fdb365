package seg

import (
	"bytes"
	"encoding/binary"
	"errors"
)

// searchPiece is how many bytes are looked through at a time for a block.
const searchPiece = 1 << 20

// search returns where the next whole block begins, from an offset on; the end of the blocks where there is none.
func (b *rebuild) search(off int64) (int64, error) {
	mark := binary.LittleEndian.AppendUint32(nil, blockMagic)
	mark = binary.LittleEndian.AppendUint64(mark, uint64(b.f.id))
	mark = binary.LittleEndian.AppendUint64(mark, b.f.number)
	piece := make([]byte, searchPiece)
	for ; off < b.end; off += searchPiece - sealedBlockHead {
		p := piece[:min(searchPiece, b.end-off)]
		if err := readHoles(b.f.file, p, off); err != nil {
			return 0, err
		}
		for from := 4; from < len(p); from++ {
			n := bytes.Index(p[from:], mark)
			if n < 0 {
				break
			}
			from += n
			at := off + int64(from) - 4
			if _, _, err := b.f.block(at, likelyStored); errors.Is(err, ErrCrashed) {
				return 0, err
			} else if err == nil {
				return at, nil
			}
		}
	}
	return b.end, nil
}

// sector is the least that a disk reads or fails to read, in bytes.
const sector = 512

// readHoles fills p, with zeros where the file cannot be read. It fails only in a crash.
func readHoles(f File, p []byte, off int64) error {
	if readFull(f, p, off) == nil {
		return nil
	}
	for n := 0; n < len(p); {
		part := p[n:min(n+sector-int((off+int64(n))%sector), len(p))]
		if err := readStubborn(f, part, off+int64(n)); errors.Is(err, ErrCrashed) {
			return err
		} else if err != nil {
			clear(part)
		}
		n += len(part)
	}
	return nil
}
