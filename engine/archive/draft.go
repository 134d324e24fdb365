package archive

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"

	"github.com/kimberlitedb/kimberlite-go/engine/proof"
	"github.com/kimberlitedb/kimberlite-go/engine/seg"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// A draft of a checkpoint names blobs that its index does not name yet, or will not name any more: it is stored before the blobs are, so
// that a crash, or a sending that is given up, leaves no blob behind that nobody knows of. It is text, a digest a line.

// Parcel stores blobs in an archive, a few at a time, once the draft of a checkpoint names them.
type Parcel struct {
	Names []proof.Digest // all that the draft has
	Sent  uint64         // bytes

	box    *Box
	of     Place
	stored int // names in the draft that is stored
	next   []packed
	size   int
}

// packed is a blob that waits to be stored.
type packed struct {
	name string
	p    []byte
}

// parcelSize is how many bytes of blobs wait at most.
const parcelSize = 16 << 20

// Parcel returns what stores blobs for a checkpoint whose draft has some names already.
func (b *Box) Parcel(of Place, names []proof.Digest) *Parcel {
	return &Parcel{Names: names, box: b, of: of}
}

// Name has the draft name blobs.
func (k *Parcel) Name(blobs ...proof.Digest) {
	for _, d := range blobs {
		if !slices.Contains(k.Names, d) {
			k.Names = append(k.Names, d)
		}
	}
}

// Add adds a blob.
func (k *Parcel) Add(raw []byte) (Blob, error) {
	if len(raw) > MaxWhole { // nobody would expand it again
		return Blob{}, fmt.Errorf("a blob of %d bytes: %d are the most", len(raw), MaxWhole)
	}
	blob, p, err := k.box.Pack(raw)
	if err != nil {
		return blob, err
	}
	k.Name(blob.Digest)
	k.next, k.size = append(k.next, packed{BlobName(blob.Digest), p}), k.size+len(p)
	if k.size < parcelSize {
		return blob, nil
	}
	return blob, k.Send()
}

// Send stores what was added.
func (k *Parcel) Send() error {
	if len(k.next) == 0 {
		return nil
	}
	if err := k.Draft(); err != nil {
		return err
	}
	for _, x := range k.next {
		sent, err := k.box.keep(x.name, x.p)
		if err != nil {
			return err
		}
		k.Sent += uint64(sent)
	}
	k.next, k.size = nil, 0
	return nil
}

// Draft stores the draft, if it has got longer.
func (k *Parcel) Draft() error {
	if k.stored == len(k.Names) {
		return nil
	}
	var text bytes.Buffer
	for _, d := range k.Names {
		text.WriteString(d.String() + "\n")
	}
	k.stored = len(k.Names)
	return k.box.Write(k.of.draft(), text.Bytes())
}

// Drafted returns the blobs that a checkpoint's draft and index name. What cannot be made out of them is left out: a draft that was cut
// short was not followed by the blobs that it lacks.
func (b *Box) Drafted(p Place) (list []proof.Digest, err error) {
	text, err := b.Get(p.draft())
	if err != nil && !errors.Is(err, seg.ErrNotExist) {
		return nil, err
	}
	for line := range bytes.Lines(text) {
		var d proof.Digest
		if n, err := hex.Decode(d[:], bytes.TrimSuffix(line[:min(len(line), 2*len(d)+1)], []byte("\n"))); err == nil && n == len(d) {
			list = append(list, d)
		}
	}
	index, err := b.Get(p.Index())
	if err != nil && !errors.Is(err, seg.ErrNotExist) {
		return nil, err
	}
	if x, err := DecodeIndex(index); err == nil {
		list = append(list, x.blobs()...)
	}
	slices.SortFunc(list, func(a, b proof.Digest) int { return bytes.Compare(a[:], b[:]) })
	return slices.Compact(list), nil
}

// Clear removes the blobs that a checkpoint's draft names and that no checkpoint of the tenant has a use for, and then the draft. Of a
// checkpoint that is not listed the index goes, too.
func (b *Box) Clear(p Place, names []proof.Digest) error {
	used, err := b.used(p.Tenant)
	if err != nil {
		return err
	}
	for _, d := range names {
		if used[d] {
			continue
		}
		if err := b.Remove(BlobName(d)); err != nil {
			return err
		}
	}
	if _, err := b.Stat(p.Note()); errors.Is(err, seg.ErrNotExist) {
		err = b.Remove(p.Index())
		if err != nil {
			return err
		}
	} else if err != nil {
		return err
	}
	return b.Remove(p.draft())
}

// used returns the blobs that the listed checkpoints of a tenant name, also those of another server: a tenant that was restored brings
// the same blobs.
func (b *Box) used(t wire.TenantID) (map[proof.Digest]bool, error) {
	places, err := b.Find("")
	if err != nil {
		return nil, err
	}
	used := map[proof.Digest]bool{}
	for _, p := range places {
		if p.Tenant != t {
			continue
		}
		x, err := b.Index(p)
		if err != nil {
			return nil, err
		}
		for _, d := range x.blobs() {
			used[d] = true
		}
	}
	return used, nil
}

// blobs returns the blobs that an index names.
func (x *Index) blobs() []proof.Digest {
	list := []proof.Digest{x.Manifest.Digest, x.State.Digest}
	for i := range x.Sections {
		if d := x.Sections[i].Digest; d != list[len(list)-1] {
			list = append(list, d)
		}
	}
	for i := range x.Tables {
		list = append(list, x.Tables[i].Digest)
	}
	return list
}
