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
	if err := makeDir(path); err != nil {
		return nil, fmt.Errorf("make data directory: %w", allow(path, err))
	}
	return open(path, false)
}

// OpenReadOnly takes a directory that no server owns, for looking at it: every change fails, and none is made here.
// Several may look at once.
func OpenReadOnly(path string) (*Dir, error) { return open(path, true) }

func open(path string, readOnly bool) (*Dir, error) {
	dir, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open data directory: %w", allow(path, err))
	}
	d := &Dir{path: path, dir: dir, readOnly: readOnly}
	if err := d.own(); err != nil {
		dir.Close()
		return nil, err
	}
	return d, nil
}

// own takes the lock: for this process alone, or together with others that only look.
func (d *Dir) own() error {
	flags := os.O_RDONLY
	if !d.readOnly {
		flags |= os.O_CREATE
	}
	d.lock = flock.New(filepath.Join(d.path, lockName), flock.SetPermissions(0o600), flock.SetFlag(flags))
	try := d.lock.TryLock
	if d.readOnly {
		try = d.lock.TryRLock
	}
	got, err := try()
	switch {
	case d.readOnly && errors.Is(err, os.ErrNotExist):
		return nil // a copy: no server has ever owned it
	case err != nil:
		return fmt.Errorf("lock data directory: %w", allow(d.path, err))
	case !got:
		return fmt.Errorf("data directory %s is in use by another kimberlite process; stop it, or choose another with --data", d.path)
	}
	return nil
}

// makeDir makes a directory and those above it. Their names are durable before anything is put into them: otherwise a
// loss of power could take a whole store that had synced every byte.
func makeDir(path string) error {
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		return nil
	}
	above := filepath.Dir(path)
	if above == path {
		return os.ErrNotExist
	}
	if err := makeDir(above); err != nil {
		return err
	}
	if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, os.ErrExist) { // another process may make it too
		return err
	}
	dir, err := os.Open(above)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// allow says what to do where the system does not let this user in.
func allow(path string, err error) error {
	if errors.Is(err, os.ErrPermission) {
		return fmt.Errorf("this user (id %d) has no right to data directory %s; make it the owner, or choose another with --data: %w", os.Geteuid(), path, err)
	}
	return err
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
		if e.Name() != lockName && !e.IsDir() { // the root of a file system has a lost+found
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
	return file{f, d.readOnly}, nil
}

// file implements seg.File.
type file struct {
	*os.File
	readOnly bool
}

func (f file) WriteAt(p []byte, off int64) (int, error) {
	if f.readOnly {
		return 0, errReadOnly
	}
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

func (f file) Sync() error {
	if err := datasync(f.File); err != nil {
		return explain(&os.PathError{Op: "sync", Path: f.Name(), Err: err})
	}
	return nil
}

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
