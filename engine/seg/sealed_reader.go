package seg

import "fmt"

// SealedReader reads blocks of sealed files, keeping the file of the last one open. It is not safe for concurrent use.
type SealedReader struct {
	fs     Files
	id     StoreID
	file   *sealedFile // nil before the first read
	unpack unpacker
}

// NewSealedReader reads from the sealed files of a directory.
func NewSealedReader(fs Files, id StoreID) (*SealedReader, error) {
	unpack, err := newUnpacker()
	if err != nil {
		return nil, fmt.Errorf("read sealed files: %w", err)
	}
	return &SealedReader{fs: fs, id: id, unpack: unpack}, nil
}

// Read returns the records in a block that an index names, verified as a whole: sections say where in them each stream's
// are. They are written over dst where that is large enough. It returns ErrDamaged where the file does not hold that block.
func (r *SealedReader) Read(number uint64, b SealedBlock, dst []byte) ([]byte, error) {
	h, payload, err := r.stored(number, b)
	if err == nil {
		dst, err = r.unpack.unpack(dst, h, payload)
	}
	if err != nil {
		return nil, fmt.Errorf("read %s at %d: %w", SealedName(number), b.Offset, err)
	}
	return dst, nil
}

// stored returns a block as it is in the file; the payload stays until the next read.
func (r *SealedReader) stored(number uint64, b SealedBlock) (blockHead, []byte, error) {
	if b.Stored > b.Length || b.Length > maxBlock || b.Length == 0 {
		return blockHead{}, nil, ErrDamaged
	}
	if err := r.use(number); err != nil {
		return blockHead{}, nil, err
	}
	h, payload, err := r.file.block(b.Offset, int64(b.Stored))
	if err == nil && (h.kind != recordBlock || h.ordinal != b.Ordinal || h.stored != b.Stored || h.length != b.Length) {
		err = ErrDamaged
	}
	return h, payload, err
}

// use turns to a file.
func (r *SealedReader) use(number uint64) error {
	if r.file != nil && r.file.number == number {
		return nil
	}
	if err := r.Close(); err != nil {
		return err
	}
	f, err := openSealed(r.fs, r.id, number)
	if err != nil {
		return err
	}
	r.file = f
	return nil
}

// Close releases the open file. The reader may go on afterwards.
func (r *SealedReader) Close() error {
	if r.file == nil {
		return nil
	}
	err := r.file.file.Close()
	r.file = nil
	if err != nil {
		return fmt.Errorf("close sealed file: %w", err)
	}
	return nil
}
