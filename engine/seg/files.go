package seg

import "errors"

// Files is all that the engine's cold work knows of a disk: one flat directory of files. Names are plain file names
// without a path. Every method may fail; after a crash of the process every method of every value fails and changes
// nothing.
//
// Durability follows POSIX: bytes written are safe after the file's Sync, and a name that was created, renamed or
// removed is safe after SyncDir.
type Files interface {
	// Create makes an empty file open for reading and writing. It fails with ErrExist where the name is taken.
	Create(name string) (File, error)
	// Open opens an existing file for reading and writing. It fails with ErrNotExist where there is none.
	Open(name string) (File, error)
	// Rename gives a file another name, replacing what had that name.
	Rename(from, to string) error
	// Remove removes a name. It fails with ErrNotExist where there is none.
	Remove(name string) error
	// List returns all names in ascending byte order.
	List() ([]string, error)
	// SyncDir makes creations, renames and removals durable.
	SyncDir() error
}

// File is an open file. The caller closes it; closing does not sync.
type File interface {
	// ReadAt fills p from the offset. It returns io.EOF with a short count only at the end of the file.
	ReadAt(p []byte, off int64) (int, error)
	// WriteAt writes all of p at the offset, or fails; the file grows as needed. It does not keep p.
	WriteAt(p []byte, off int64) (int, error)
	// Sync makes what was written durable. A failure is final: what was written before may be gone.
	Sync() error
	// Size returns the file's length in bytes.
	Size() (int64, error)
	// Close releases the file.
	Close() error
}

// The errors of Files that callers branch on. Drivers wrap them.
var (
	ErrExist    = errors.New("file exists")
	ErrNotExist = errors.New("no such file")
	ErrNoSpace  = errors.New("no space left on device")
	ErrCrashed  = errors.New("process crashed") // the process that held this value is gone, or is about to be
)
