package archive

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/kimberlitedb/kimberlite-go/engine/seg"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// Box is an archive, over the objects that it consists of.
type Box struct {
	seg.Objects
	Packer
	Lock wire.Time // until then nobody can remove the blobs and notes that are stored; 0 for no lock
}

// errNoLock says that an archive cannot lock.
var errNoLock = errors.New("the archive does not lock objects: use a bucket with object lock, or send without a lock")

// ErrNoArchive says that a place is no archive.
var ErrNoArchive = errors.New("it is not an archive of checkpoints")

// Begin makes a place an archive. It is refused where it has something else. A marker that was cut short is written again.
func (b *Box) Begin() error {
	p, err := b.Get(Marker)
	cut := err == nil && len(p) < len(MarkerText) && strings.HasPrefix(MarkerText, string(p))
	if !cut && !errors.Is(err, seg.ErrNotExist) {
		return marked(p, err)
	}
	names, err := b.List("")
	if err != nil {
		return err
	}
	for _, name := range names {
		if name != Marker { // their names may be somebody else's affair
			return fmt.Errorf("%w, and not empty", ErrNoArchive)
		}
	}
	return b.Write(Marker, []byte(MarkerText))
}

// Check fails with seg.ErrNotExist where nothing says that a place is an archive.
func (b *Box) Check() error { return marked(b.Get(Marker)) }

func marked(p []byte, err error) error {
	if err == nil && string(p) != MarkerText {
		err = fmt.Errorf("%w that this program knows: its %s says %.40q", ErrNoArchive, Marker, p)
	}
	return err
}

// keep stores a blob that is not there yet, and reads it back. It returns how many bytes it has sent.
func (b *Box) keep(name string, p []byte) (sent int, err error) {
	if got, err := b.Get(name); err == nil && bytes.Equal(got, p) && b.Lock == 0 {
		return 0, nil
	} else if err != nil && !errors.Is(err, seg.ErrNotExist) {
		return 0, err
	}
	return len(p), b.Seal(name, p)
}

// Seal is Write of an object that is locked, where there is to be a lock.
func (b *Box) Seal(name string, p []byte) error {
	if b.Lock == 0 {
		return b.Write(name, p)
	}
	l, ok := b.Objects.(seg.Locker)
	if !ok || !l.LockSupported() {
		return errNoLock
	}
	if err := l.PutLocked(name, p, b.Lock); err != nil {
		return err
	}
	return b.same(name, p)
}

// Write stores an object and reads it back.
func (b *Box) Write(name string, p []byte) error {
	if err := b.Put(name, p); err != nil {
		return err
	}
	return b.same(name, p)
}

// same reads an object back.
func (b *Box) same(name string, p []byte) error {
	got, err := b.Get(name)
	if err != nil {
		return fmt.Errorf("read back %s: %w", name, err)
	}
	if !bytes.Equal(got, p) {
		return fmt.Errorf("read back %s: %w", name, ErrDigest)
	}
	return nil
}

// Blob returns what is in a blob, expanded, if that is not more than so many bytes.
func (b *Box) Blob(blob Blob, most int) ([]byte, error) {
	p, err := b.Get(BlobName(blob.Digest))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", BlobName(blob.Digest), err)
	}
	return b.Unpack(blob, p, most)
}

// Find returns the checkpoints whose names begin with a prefix of Place, or all: by store, tenant and position.
func (b *Box) Find(prefix string) (list []Place, err error) {
	if prefix == "" {
		prefix = tenants
	}
	names, err := b.List(prefix)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if p, ok := parseNote(name); ok {
			list = append(list, p)
		}
	}
	slices.SortFunc(list, func(a, b Place) int {
		return cmp.Or(cmp.Compare(a.Store, b.Store), cmp.Compare(a.Tenant, b.Tenant), cmp.Compare(a.Position, b.Position))
	})
	return list, nil
}

// Index returns the index of a checkpoint.
func (b *Box) Index(p Place) (*Index, error) {
	text, err := b.Get(p.Index())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p.Index(), err)
	}
	x, err := DecodeIndex(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p.Index(), err)
	}
	if x.Checkpoint != p.ID {
		return nil, fmt.Errorf("%s: it is of checkpoint %s", p.Index(), x.Checkpoint)
	}
	return x, nil
}
