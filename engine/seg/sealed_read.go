package seg

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
)

// sealedFile reads parts of an open sealed file.
type sealedFile struct {
	file   File
	id     StoreID
	number uint64
	size   int64
	buf    []byte
}

// openSealed opens a sealed file. It tries a few times: an error that passes must not look like damage.
func openSealed(fs Files, id StoreID, number uint64) (f *sealedFile, err error) {
	for range readTries {
		f, err = openOnce(fs, id, number)
		if err == nil || errors.Is(err, ErrNotExist) || errors.Is(err, ErrCrashed) {
			break
		}
	}
	return f, err
}

func openOnce(fs Files, id StoreID, number uint64) (*sealedFile, error) {
	f, err := fs.Open(SealedName(number))
	if err != nil {
		return nil, err
	}
	size, err := f.Size()
	if err != nil {
		f.Close() // the error that is returned says more
		return nil, err
	}
	return &sealedFile{file: f, id: id, number: number, size: size}, nil
}

// read returns n bytes of the file, which stay until the next read. It returns ErrDamaged where the file ends before.
func (f *sealedFile) read(off int64, n int) ([]byte, error) {
	if off < 0 || off+int64(n) > f.size {
		return nil, ErrDamaged
	}
	f.buf = slices.Grow(f.buf[:0], n)[:n]
	err := readStubborn(f.file, f.buf, off)
	if err != nil && !errors.Is(err, ErrCrashed) {
		err = fmt.Errorf("%w: %w", ErrUnreadable, err)
	}
	return f.buf, err
}

// ErrUnreadable says that the disk refuses to read a piece of a file, however often.
var ErrUnreadable = errors.New("seg: unreadable")

// likelyStored is the length of a payload where nobody knows it: most are shorter, and it is read at once.
const likelyStored = DefaultTarget / 2

// block reads the block at off and verifies it. Likely is the length of its payload, as far as the caller knows. The
// payload stays until the next read.
func (f *sealedFile) block(off, likely int64) (h blockHead, payload []byte, err error) {
	p, err := f.read(off, int(min(sealedBlockHead+likely, max(sealedBlockHead, f.size-off))))
	if errors.Is(err, ErrUnreadable) { // that may be what lies behind the block
		p, err = f.read(off, sealedBlockHead)
	}
	if err != nil {
		return h, nil, err
	}
	h, ok := parseBlockHead(p, f.id, f.number)
	if !ok {
		return h, nil, ErrDamaged
	}
	whole := sealedBlockHead + int(h.stored)
	if len(p) < whole {
		if p, err = f.read(off, whole); err != nil {
			return h, nil, err
		}
	}
	if p = p[:whole]; binary.LittleEndian.Uint32(p) != crc32.Checksum(p[4:], castagnoli) {
		return h, nil, ErrDamaged
	}
	return h, p[sealedBlockHead:], nil
}

// header reads the file's header.
func (f *sealedFile) header() (SealedHead, error) {
	p, err := f.read(0, sealedHeader)
	if err != nil {
		return SealedHead{}, err
	}
	return parseHead(p, sealedMagic, f.id, f.number)
}

// trailer reads the file's trailer.
func (f *sealedFile) trailer() (SealedInfo, error) {
	p, err := f.read(f.size-sealedTrailer, sealedTrailer)
	if err != nil {
		return SealedInfo{}, err
	}
	return parseTrailer(p, f.size, f.id, f.number)
}

// ReadSealedHead returns the header of a sealed file, or what its trailer says where that is damaged.
func ReadSealedHead(fs Files, id StoreID, number uint64) (SealedHead, error) {
	f, err := openSealed(fs, id, number)
	if err != nil {
		return SealedHead{}, fmt.Errorf("open %s: %w", SealedName(number), err)
	}
	defer f.file.Close()
	h, err := f.header()
	if err != nil && !final(err) {
		var info SealedInfo
		info, err = f.trailer()
		h = info.SealedHead
	}
	return h, err
}

// ReadSealedIndex returns the index of a sealed file. It returns ErrDamaged where trailer or index are damaged; then
// RebuildIndex may help. The blocks it does not look at.
func ReadSealedIndex(fs Files, id StoreID, number uint64) (*SealedIndex, error) {
	f, err := openSealed(fs, id, number)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", SealedName(number), err)
	}
	defer f.file.Close()
	x, err := f.index()
	if err != nil {
		return nil, fmt.Errorf("read index of %s: %w", SealedName(number), err)
	}
	return x, nil
}

func (f *sealedFile) index() (*SealedIndex, error) {
	info, err := f.trailer()
	if err != nil {
		return nil, err
	}
	p, err := f.pieces(indexBlock, info.indexOffset(), info.indexOffset()+info.Index)
	if err != nil {
		return nil, err
	}
	x := &SealedIndex{SealedInfo: info}
	if err := x.decode(p); err != nil {
		return nil, err
	}
	sum := x.tally()
	sum.SealedHead, sum.Index, sum.Size = info.SealedHead, info.Index, info.Size
	end := int64(sealedHeader)
	if n := len(x.Blocks); n > 0 {
		end = x.Blocks[n-1].End()
	}
	if sum != info || end > info.indexOffset() || !x.ordered() {
		return nil, ErrDamaged
	}
	return x, nil
}

// pieces returns the content of the blocks in a range of the file, which must all be of this kind.
func (f *sealedFile) pieces(kind blockKind, off, end int64) (content []byte, err error) {
	unpack, err := newUnpacker()
	if err != nil {
		return nil, err
	}
	var piece []byte
	for off < end {
		h, payload, err := f.block(off, min(indexPiece, end-off))
		if err != nil {
			return nil, err
		}
		if off += sealedBlockHead + int64(h.stored); h.kind != kind || h.length > indexPiece || off > end {
			return nil, ErrDamaged
		}
		if piece, err = unpack.unpack(piece, h, payload); err != nil {
			return nil, err
		}
		content = append(content, piece...)
	}
	return content, nil
}
