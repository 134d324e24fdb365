package host

import "github.com/kimberlitedb/kimberlite-go/engine/seg"

// files is the data directory as jobs see it. Once quit is closed, everything fails as after a crash, so that a job that
// would take a minute ends at its next use of a file; what it leaves behind the next start removes.
type files struct {
	seg.Files
	quit <-chan struct{}
}

// jobFile is an open file of a job.
type jobFile struct {
	seg.File
	quit <-chan struct{}
}

func stopped(quit <-chan struct{}) error {
	select {
	case <-quit:
		return seg.ErrCrashed
	default:
		return nil
	}
}

// Create implements seg.Files.
func (f files) Create(name string) (seg.File, error) { return f.open(f.Files.Create, name) }

// Open implements seg.Files.
func (f files) Open(name string) (seg.File, error) { return f.open(f.Files.Open, name) }

func (f files) open(open func(string) (seg.File, error), name string) (seg.File, error) {
	if err := stopped(f.quit); err != nil {
		return nil, err
	}
	file, err := open(name)
	if err != nil {
		return nil, err
	}
	return jobFile{file, f.quit}, nil
}

// Rename implements seg.Files.
func (f files) Rename(from, to string) error {
	if err := stopped(f.quit); err != nil {
		return err
	}
	return f.Files.Rename(from, to)
}

// Remove implements seg.Files.
func (f files) Remove(name string) error {
	if err := stopped(f.quit); err != nil {
		return err
	}
	return f.Files.Remove(name)
}

// ReadAt implements seg.File.
func (f jobFile) ReadAt(p []byte, off int64) (int, error) {
	if err := stopped(f.quit); err != nil {
		return 0, err
	}
	return f.File.ReadAt(p, off)
}

// WriteAt implements seg.File.
func (f jobFile) WriteAt(p []byte, off int64) (int, error) {
	if err := stopped(f.quit); err != nil {
		return 0, err
	}
	return f.File.WriteAt(p, off)
}

// Sync implements seg.File.
func (f jobFile) Sync() error {
	if err := stopped(f.quit); err != nil {
		return err
	}
	return f.File.Sync()
}
