// Package disk is the real driver of seg.Files: one directory of one process.
package disk

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/gofrs/flock"
	"github.com/kimberlitedb/kimberlite-go/engine/seg"
)

// lockName is the file whose lock says who owns the directory. List does not show it.
const lockName = "lock"

// Dir is a data directory that this process owns. It is safe for concurrent use.
type Dir struct {
	path     string
	dir      *os.File
	lock     *flock.Flock
	readOnly bool
}

// Open makes the directory if it is missing and takes it for this process alone.
func Open(path string) (*Dir, error) {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, fmt.Errorf("make data directory: %w", err)
	}
	return open(path, false)
}

// OpenReadOnly takes a directory that no server owns, for looking at it: every change fails, and none is made here.
func OpenReadOnly(path string) (*Dir, error) { return open(path, true) }

func open(path string, readOnly bool) (*Dir, error) {
	dir, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open data directory: %w", err)
	}
	flags := os.O_RDONLY
	if !readOnly {
		flags |= os.O_CREATE
	}
	lock := flock.New(filepath.Join(path, lockName), flock.SetPermissions(0o600), flock.SetFlag(flags))
	d := &Dir{path: path, dir: dir, lock: lock, readOnly: readOnly}
	got, err := d.lock.TryLock()
	if readOnly && errors.Is(err, os.ErrNotExist) {
		return d, nil // a copy: no server has ever owned it
	}
	if err == nil && !got {
		err = fmt.Errorf("data directory %s is in use by another kimberlite process; stop it, or choose another with --data", path)
	}
	if err != nil {
		dir.Close()
		return nil, fmt.Errorf("lock data directory: %w", err)
	}
	return d, nil
}

// Close gives the directory up.
func (d *Dir) Close() error { return errors.Join(d.lock.Unlock(), d.dir.Close()) }

// Create implements seg.Files.
func (d *Dir) Create(name string) (seg.File, error) {
	if d.readOnly {
		return nil, errReadOnly
	}
	return d.file(name, os.O_RDWR|os.O_CREATE|os.O_EXCL)
}

// Open implements seg.Files.
func (d *Dir) Open(name string) (seg.File, error) {
	if d.readOnly {
		return d.file(name, os.O_RDONLY)
	}
	return d.file(name, os.O_RDWR)
}

// Rename implements seg.Files.
func (d *Dir) Rename(from, to string) error {
	if err := d.may(from, to); err != nil {
		return err
	}
	return explain(os.Rename(filepath.Join(d.path, from), filepath.Join(d.path, to)))
}

// Remove implements seg.Files.
func (d *Dir) Remove(name string) error {
	if err := d.may(name); err != nil {
		return err
	}
	return explain(os.Remove(filepath.Join(d.path, name)))
}

// List implements seg.Files.
func (d *Dir) List() ([]string, error) {
	entries, err := os.ReadDir(d.path)
	if err != nil {
		return nil, explain(err)
	}
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		if e.Name() != lockName {
			names = append(names, e.Name())
		}
	}
	slices.Sort(names)
	return names, nil
}

// SyncDir implements seg.Files.
func (d *Dir) SyncDir() error { return explain(d.dir.Sync()) }

var errReadOnly = errors.New("the data directory is open for reading only")

// may reports why names may not be changed.
func (d *Dir) may(names ...string) error {
	if d.readOnly {
		return errReadOnly
	}
	for _, name := range names {
		if err := legal(name); err != nil {
			return err
		}
	}
	return nil
}

func legal(name string) error {
	if name == "" || name == "." || name == ".." || name == lockName || strings.ContainsAny(name, `/\`) {
		return fmt.Errorf("%q is not the name of a data file", name)
	}
	return nil
}

func (d *Dir) file(name string, flags int) (seg.File, error) {
	if err := legal(name); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(d.path, name), flags, 0o600)
	if err != nil {
		return nil, explain(err)
	}
	return file{f}, nil
}

// file implements seg.File.
type file struct{ *os.File }

func (f file) WriteAt(p []byte, off int64) (int, error) {
	n, err := f.File.WriteAt(p, off)
	return n, explain(err)
}

func (f file) ReadAt(p []byte, off int64) (int, error) {
	n, err := f.File.ReadAt(p, off)
	if err == io.EOF {
		return n, err
	}
	return n, explain(err)
}

func (f file) Sync() error { return explain(datasync(f.File)) }

func (f file) Size() (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, explain(err)
	}
	return info.Size(), nil
}

// explain wraps an error of the system so that it is also one of seg's.
func explain(err error) error {
	for _, e := range []struct{ system, seg error }{
		{os.ErrExist, seg.ErrExist}, {os.ErrNotExist, seg.ErrNotExist},
		{syscall.ENOSPC, seg.ErrNoSpace}, {syscall.EDQUOT, seg.ErrNoSpace},
	} {
		if errors.Is(err, e.system) {
			return fmt.Errorf("%w (%w)", e.seg, err)
		}
	}
	return err
}
