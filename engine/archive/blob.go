package archive

import (
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/klauspost/compress/zstd"

	"github.com/kimberlitedb/kimberlite-go/engine/seg"
)

const (
	// TargetBlob is how many bytes of records make a blob, before they are compressed.
	TargetBlob = 1 << 20
	// MaxBlob is the greatest blob of records or leaves, expanded: a record may be larger than the target.
	MaxBlob = 16 << 20
	// MaxWhole is the greatest manifest or state, expanded: they are one blob each.
	MaxWhole = 256 << 20
)

// ErrDigest says that an object is not what its name or somebody else says.
var ErrDigest = errors.New("it is not what its digest says")

// Packer makes blobs, and expands them. The zero value is ready; it is for one goroutine.
type Packer struct {
	enc  *zstd.Encoder
	dec  *zstd.Decoder
	most int // bytes that it expands to
}

// Pack compresses what becomes a blob, and names it.
func (k *Packer) Pack(raw []byte) (Blob, []byte, error) {
	if k.enc == nil {
		enc, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedDefault), zstd.WithWindowSize(1<<20))
		if err != nil {
			return Blob{}, nil, err
		}
		k.enc = enc
	}
	p := k.enc.EncodeAll(raw, nil)
	return Blob{sha256.Sum256(p), len(p)}, p, nil
}

// Unpack expands a stored blob to so many bytes at most, once it has found it to be the one that is meant.
func (k *Packer) Unpack(b Blob, p []byte, most int) ([]byte, error) {
	if len(p) != b.Size || sha256.Sum256(p) != b.Digest {
		return nil, fmt.Errorf("%s: %w", BlobName(b.Digest), ErrDigest)
	}
	dec, err := k.decoder(most)
	if err != nil {
		return nil, err
	}
	raw, err := dec.DecodeAll(p, nil)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", BlobName(b.Digest), err)
	}
	return raw, nil
}

// decoder returns one that does not expand anything to more than so many bytes. One that asks for more memory than it needs gets none.
func (k *Packer) decoder(most int) (*zstd.Decoder, error) {
	if k.dec != nil && k.most == most {
		return k.dec, nil
	}
	dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(uint64(most)))
	if err != nil {
		return nil, err
	}
	if k.dec != nil {
		k.dec.Close()
	}
	k.dec, k.most = dec, most
	return dec, nil
}

// Bare returns a record without what it says of the log that it comes from: its number there tells of other tenants.
func Bare(r *seg.Record) []byte {
	bare := *r
	bare.LSN, bare.Flags = 0, r.Flags&^seg.FlagRestored
	p := append(seg.BeginRecord(make([]byte, 0, seg.RecordHeader+len(r.Body)), &bare), r.Body...)
	seg.FinishRecord(p, 0)
	return p
}
