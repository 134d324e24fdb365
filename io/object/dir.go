package object

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/kimberlitedb/kimberlite-go/engine/seg"
)

// uploads is the folder of objects that are being written. It is no name of an object, and so no part of any list.
const uploads = "uploads~"

// stale is how old a file in uploads is that nobody writes any more.
const stale = time.Hour

// dir is a store in a directory. A name is a path below it; nothing reaches out of it, not even through a link.
type dir struct {
	ctx  context.Context // of the process that has it
	root *os.Root
	lock sync.RWMutex // held for writing while empty folders go, so that none goes below a Put
}

func openDir(ctx context.Context, path string, readOnly bool) (*dir, error) {
	if path == "" {
		return nil, errors.New("the archive's directory has no name")
	}
	if !readOnly {
		if err := makeAll(path); err != nil {
			return nil, fmt.Errorf("make the archive's directory: %w", explain(err))
		}
	}
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, fmt.Errorf("open the archive's directory: %w", explain(err))
	}
	d := &dir{ctx: ctx, root: root}
	if readOnly {
		return d, nil
	}
	if err := d.clean(); err != nil {
		return nil, errors.Join(err, root.Close())
	}
	return d, nil
}

// Close implements Store.
func (d *dir) Close() error { return d.root.Close() }

// makeAll makes a directory and those above it. Their names are durable before anything is put into them.
func makeAll(path string) error {
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		return nil
	}
	above := filepath.Dir(path)
	if above == path {
		return os.ErrNotExist
	}
	if err := makeAll(above); err != nil {
		return err
	}
	if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	f, err := os.Open(above)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// clean removes what crashes have left of objects. Another process may be writing one just now.
func (d *dir) clean() error {
	entries, err := fs.ReadDir(d.root.FS(), uploads)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("clean the archive's directory: %w", explain(err))
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || time.Since(info.ModTime()) < stale {
			continue
		}
		if err := d.root.Remove(path.Join(uploads, e.Name())); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("clean the archive's directory: %w", explain(err))
		}
	}
	return nil
}

// alive fails once the process is about to end.
func (d *dir) alive() error {
	if d.ctx.Err() != nil {
		return seg.ErrCrashed
	}
	return nil
}

// Put implements seg.Objects.
func (d *dir) Put(name string, data []byte) error {
	err := errors.Join(seg.CheckPut(name, len(data)), d.alive())
	if err == nil {
		d.lock.RLock()
		defer d.lock.RUnlock()
		err = d.put(name, data)
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, os.ErrNotExist): // another process has just removed an empty folder
		return fmt.Errorf("put %s: %w (%w)", name, seg.ErrUnavailable, err)
	case errors.Is(err, syscall.ENOTDIR), errors.Is(err, syscall.EISDIR), errors.Is(err, os.ErrExist):
		return fmt.Errorf("put %s: a name must not be a folder of another: %w", name, err)
	}
	return fmt.Errorf("put %s: %w", name, explain(err))
}

// put writes another file and gives it the name, so that under the name there is always a whole object.
func (d *dir) put(name string, data []byte) error {
	if err := d.makeDir(uploads); err != nil {
		return err
	}
	temporary := path.Join(uploads, rand.Text())
	if err := d.write(temporary, data); err != nil {
		return errors.Join(err, d.forget(temporary))
	}
	err := d.makeDir(path.Dir(name))
	if err == nil {
		err = d.root.Rename(temporary, name)
	}
	if err != nil {
		return errors.Join(err, d.forget(temporary))
	}
	return d.sync(path.Dir(name))
}

func (d *dir) write(name string, data []byte) error {
	f, err := d.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// forget removes a file that came to nothing.
func (d *dir) forget(temporary string) error {
	if err := d.root.Remove(temporary); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// makeDir makes a folder and those above it durable.
func (d *dir) makeDir(folder string) error {
	if folder == "." {
		return nil
	}
	if info, err := d.root.Stat(folder); err == nil && info.IsDir() {
		return nil
	}
	if err := d.makeDir(path.Dir(folder)); err != nil {
		return err
	}
	if err := d.root.Mkdir(folder, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	return d.sync(path.Dir(folder))
}

func (d *dir) sync(folder string) error {
	f, err := d.root.Open(folder)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// Get implements seg.Objects.
func (d *dir) Get(name string) ([]byte, error) {
	f, size, err := d.open(name)
	if err != nil {
		return nil, fmt.Errorf("get %s: %w", name, explain(err))
	}
	defer f.Close()
	if size > seg.MaxObject {
		return nil, fmt.Errorf("get %s: it has %d bytes, and objects have at most %d", name, size, seg.MaxObject)
	}
	data := make([]byte, size)
	if _, err := io.ReadFull(f, data); err != nil {
		return nil, fmt.Errorf("get %s: %w", name, explain(err))
	}
	return data, nil
}

// Stat implements seg.Objects.
func (d *dir) Stat(name string) (int64, error) {
	f, size, err := d.open(name)
	if err != nil {
		return 0, fmt.Errorf("stat %s: %w", name, explain(err))
	}
	return size, f.Close()
}

// open opens an object. What is no plain file is none; that is known before it is opened, since to open a pipe may
// take for ever.
func (d *dir) open(name string) (*os.File, int64, error) {
	if err := errors.Join(seg.ObjectName(name), d.alive()); err != nil {
		return nil, 0, err
	}
	info, err := d.root.Lstat(name)
	if err != nil {
		return nil, 0, err
	}
	if !info.Mode().IsRegular() {
		return nil, 0, os.ErrNotExist
	}
	f, err := d.root.Open(name)
	if err != nil {
		return nil, 0, err
	}
	info, err = f.Stat() // of what was opened, which another process may have put there just now
	if err != nil {
		return nil, 0, errors.Join(err, f.Close())
	}
	return f, info.Size(), nil
}

// List implements seg.Objects.
func (d *dir) List(prefix string) ([]string, error) {
	err := errors.Join(seg.ObjectPrefix(prefix), d.alive())
	var names []string
	if err == nil {
		folder, _ := path.Split(prefix)
		names, err = d.list(nil, strings.TrimSuffix(folder, "/"), prefix)
	}
	if err != nil {
		return nil, fmt.Errorf("list %s*: %w", prefix, explain(err))
	}
	slices.Sort(names)
	return names, nil
}

// list appends the objects in a folder and below it. Files of others, whose names are none of objects, are passed over.
func (d *dir) list(names []string, folder, prefix string) ([]string, error) {
	f, err := d.root.Open(path.Join(".", folder))
	if missing(err) {
		return names, nil // it may have gone meanwhile
	}
	if err != nil {
		return nil, err
	}
	entries, err := f.ReadDir(-1)
	if err := errors.Join(err, f.Close()); missing(err) {
		return names, nil // it was a file
	} else if err != nil {
		return nil, err
	}
	for _, e := range entries {
		name := path.Join(folder, e.Name())
		switch {
		case seg.ObjectName(name) != nil:
		case e.IsDir() && (strings.HasPrefix(name+"/", prefix) || strings.HasPrefix(prefix, name+"/")):
			if names, err = d.list(names, name, prefix); err != nil {
				return nil, err
			}
		case e.Type().IsRegular() && strings.HasPrefix(name, prefix):
			names = append(names, name)
		}
	}
	if len(names) > seg.MaxListed {
		return nil, fmt.Errorf("there are more than %d objects", seg.MaxListed)
	}
	return names, nil
}

// Remove implements seg.Objects.
func (d *dir) Remove(name string) error {
	err := errors.Join(seg.ObjectName(name), d.alive())
	if err == nil {
		d.lock.Lock()
		defer d.lock.Unlock()
		err = d.remove(name)
	}
	if err != nil {
		return fmt.Errorf("remove %s: %w", name, explain(err))
	}
	return nil
}

// remove removes a file and the folders that are empty without it.
func (d *dir) remove(name string) error {
	info, err := d.root.Lstat(name)
	if err == nil && info.Mode().IsRegular() {
		err = d.root.Remove(name)
	}
	if err != nil && !missing(err) {
		return err
	}
	folder := path.Dir(name)
	for ; folder != "."; folder = path.Dir(folder) {
		info, err := d.root.Lstat(folder)
		if err == nil && !info.IsDir() {
			break // an object
		}
		if err == nil {
			err = d.root.Remove(folder)
		}
		if err != nil && !missing(err) {
			break // something is in it; if it is anything else, an empty folder does no harm
		}
	}
	// A name that is gone already may be so since a Remove that failed before it was durable.
	return d.sync(folder)
}

// missing reports whether there is nothing under a name, or under one of the folders on the way.
func missing(err error) bool {
	return errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ENOTDIR)
}

// explain wraps an error of the system so that it is also one of seg's.
func explain(err error) error {
	switch {
	case errors.Is(err, seg.ErrCrashed), err == nil:
		return err
	case missing(err):
		return fmt.Errorf("%w (%w)", seg.ErrNotExist, err)
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return fmt.Errorf("%w: %w (%w)", seg.ErrUnavailable, seg.ErrNoSpace, err)
	case errors.Is(err, syscall.ESTALE), errors.Is(err, syscall.ETIMEDOUT), errors.Is(err, syscall.EINTR), errors.Is(err, syscall.EAGAIN), errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("%w (%w)", seg.ErrUnavailable, err)
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("this user (id %d) has no right to it; make it the owner of the archive's directory and all below: %w", os.Geteuid(), err)
	}
	return err
}
