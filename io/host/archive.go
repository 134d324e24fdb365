package host

import (
	"context"
	"errors"
	"time"

	"github.com/kimberlitedb/kimberlite-go/engine"
	"github.com/kimberlitedb/kimberlite-go/engine/seg"
	"github.com/kimberlitedb/kimberlite-go/io/disk"
	"github.com/kimberlitedb/kimberlite-go/io/object"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// OpenArchive opens an archive for reading: a directory, or s3://bucket/prefix. The caller closes it.
func OpenArchive(ctx context.Context, where string) (object.Store, error) {
	return object.Open(ctx, where, object.Options{ReadOnly: true})
}

// Restore makes a data directory of checkpoints, of a tenant each. It removes what it has made where it fails.
func Restore(path string, list ...*engine.Restoring) ([]engine.Restored, error) {
	dir, err := disk.Open(path)
	if err != nil {
		return nil, err
	}
	r, err := engine.Restore(dir, DefaultConfig(path).Engine, wire.Time(time.Now().UnixNano()), list...)
	if err != nil && !errors.Is(err, engine.ErrNotEmpty) {
		if names, err := dir.List(); err == nil {
			seg.Remove(dir, names) // best effort: without a manifest they are nothing
		}
	}
	return r, errors.Join(err, dir.Close())
}

// archive returns the archive that a job wants. One that cannot be opened fails at everything.
func (h *Host) archive(where string) object.Store {
	o, err := object.Open(h.ctx, where, object.Options{})
	if err != nil {
		return closedArchive{err}
	}
	return o
}

// closedArchive is an archive that could not be opened.
type closedArchive struct{ err error }

func (c closedArchive) Put(string, []byte) error      { return c.err }
func (c closedArchive) Get(string) ([]byte, error)    { return nil, c.err }
func (c closedArchive) Stat(string) (int64, error)    { return 0, c.err }
func (c closedArchive) List(string) ([]string, error) { return nil, c.err }
func (c closedArchive) Remove(string) error           { return c.err }
func (c closedArchive) Close() error                  { return nil }
