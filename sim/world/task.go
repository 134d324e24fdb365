package world

import (
	"iter"

	"github.com/kimberlitedb/kimberlite-go/engine/seg"
)

// task runs straight-line work over files as a coroutine. It stops before every use of a file, and of the store of objects, so that other things can
// happen there: time, other tasks, or the end of the process.
type task struct {
	resume func() (string, bool)
	stop   func()
}

// newTask makes a task that has not begun. Its work sees files through fs, and whatever else through the gate; wrote, if
// not nil, is told what it writes.
func newTask(fs seg.Files, wrote func(name string, p []byte, off int64), work func(seg.Files, *gate)) *task {
	t := &task{}
	t.resume, t.stop = iter.Pull(func(yield func(string) bool) {
		g := &gate{yield: yield, wrote: wrote}
		work(gatedFiles{fs, g}, g)
	})
	return t
}

// gate is where a task stops. Once the process has crashed it never opens again.
type gate struct {
	yield   func(string) bool
	wrote   func(name string, p []byte, off int64)
	crashed bool
}

func (g *gate) pass(what string) error {
	if !g.crashed && !g.yield(what) {
		g.crashed = true
	}
	if g.crashed {
		return seg.ErrCrashed
	}
	return nil
}

type gatedFiles struct {
	fs seg.Files
	g  *gate
}

func (f gatedFiles) Create(name string) (seg.File, error) {
	if err := f.g.pass("create"); err != nil {
		return nil, err
	}
	x, err := f.fs.Create(name)
	return f.file(name, x, err)
}

func (f gatedFiles) Open(name string) (seg.File, error) {
	if err := f.g.pass("open"); err != nil {
		return nil, err
	}
	x, err := f.fs.Open(name)
	return f.file(name, x, err)
}

func (f gatedFiles) file(name string, x seg.File, err error) (seg.File, error) {
	if err != nil {
		return nil, err
	}
	return gatedFile{x, f.g, name}, nil
}

func (f gatedFiles) Rename(from, to string) error {
	if err := f.g.pass("rename"); err != nil {
		return err
	}
	return f.fs.Rename(from, to)
}

func (f gatedFiles) Remove(name string) error {
	if err := f.g.pass("remove"); err != nil {
		return err
	}
	return f.fs.Remove(name)
}

func (f gatedFiles) List() ([]string, error) {
	if err := f.g.pass("list"); err != nil {
		return nil, err
	}
	return f.fs.List()
}

func (f gatedFiles) SyncDir() error {
	if err := f.g.pass("sync-dir"); err != nil {
		return err
	}
	return f.fs.SyncDir()
}

type gatedFile struct {
	f    seg.File
	g    *gate
	name string
}

func (f gatedFile) ReadAt(p []byte, off int64) (int, error) {
	if err := f.g.pass("read"); err != nil {
		return 0, err
	}
	return f.f.ReadAt(p, off)
}

func (f gatedFile) WriteAt(p []byte, off int64) (int, error) {
	if err := f.g.pass("write"); err != nil {
		return 0, err
	}
	if f.g.wrote != nil {
		f.g.wrote(f.name, p, off)
	}
	return f.f.WriteAt(p, off)
}

func (f gatedFile) Sync() error {
	if err := f.g.pass("sync"); err != nil {
		return err
	}
	return f.f.Sync()
}

func (f gatedFile) Size() (int64, error) {
	if f.g.crashed {
		return 0, seg.ErrCrashed
	}
	return f.f.Size()
}

func (f gatedFile) Close() error {
	return f.f.Close()
}
