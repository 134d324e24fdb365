package seg

import (
	"errors"
	"fmt"
	"strings"

	"github.com/kimberlitedb/kimberlite-go/wire"
)

// Objects is all that the engine's cold work knows of where archives lie: a store of named objects, which are written
// and read whole and never changed in place. A directory is one, and so is a bucket under a prefix. Others may use
// the same store at the same time.
//
// Names are those that ObjectName takes. A name must not be a folder of another: where there is a/b there is no a.
// Every method checks its name, and may fail in any way: with an error that wraps ErrUnavailable where trying again
// later may help, which is the caller's business, since drivers try once; with one that wraps ErrCrashed
// where the process that held the value is gone, or is about to be; and otherwise for good, with a text that says what
// to do. It is safe for concurrent use.
type Objects interface {
	// Put stores data under a name and replaces what was there, at once. Data has at most MaxObject bytes, and is the
	// caller's again when Put returns. Where Put returns nil the object is durable, and every later Get and List shows
	// it. Where it fails, nobody knows whether it is there, not even later, nor, where there was nothing before, whether
	// it is whole, since not every store is a good one: only another Put or Remove settles that.
	Put(name string, data []byte) error
	// Get returns an object in a buffer that is the caller's. It fails with ErrNotExist where there is none, and
	// for one of more than MaxObject bytes. The bytes are not checked: a store may rot.
	Get(name string) ([]byte, error)
	// Stat returns an object's size in bytes. It fails with ErrNotExist where there is none.
	Stat(name string) (int64, error)
	// List returns all names that begin with a prefix, in ascending byte order. It fails rather than return some of
	// them, also where there are more than MaxListed; so whoever has many lists them part by part.
	List(prefix string) ([]string, error)
	// Remove removes an object, in all versions that the store keeps of it, so that its bytes are nowhere. To remove
	// what is not there is no error. It fails with ErrLocked while the store must not let the object go; what is under
	// the name stays then.
	Remove(name string) error
}

// Locker is a store of objects that may be able to lock them: to let nobody change or remove them before a time. Whoever
// wants a lock asks whether a store is one:
//
//	if l, ok := store.(seg.Locker); ok && l.LockSupported() { … }
type Locker interface {
	Objects
	// LockSupported reports whether PutLocked works. It stays as it is for as long as the store is open.
	LockSupported() bool
	// LockedUnasked returns how long, at most, the store locks whatever Put puts, because whoever made the store wants
	// that. It is 0 where Put locks nothing.
	LockedUnasked() wire.Span
	// PutLocked is Put, and nobody removes the object before a time, which must lie ahead; a store may leave out the
	// part of a second. Whatever is replaced keeps its own lock, and its bytes.
	PutLocked(name string, data []byte, until wire.Time) error
}

// The errors of Objects that callers branch on, besides ErrNotExist and ErrCrashed. Drivers wrap them.
var (
	ErrUnavailable = errors.New("object store unavailable") // now; later it may not be
	ErrLocked      = errors.New("object is locked")         // the store lets nobody remove it yet
)

// The bounds of objects.
const (
	MaxObject     = 16 << 20 // bytes of an object: it is held in memory
	MaxObjectName = 512      // bytes of a name: S3 has 1024, for a prefix too
	MaxListed     = 1 << 20  // names that List returns
	maxObjectPart = 128      // bytes between two slashes: a file's name has 255, and ours need room for more
)

// ObjectName reports why a name is not one of an object. It has parts of [a-z0-9.-] with slashes between them, none of
// them empty or beginning with a dot; so it is a path in every file system, also where those do not tell capitals apart.
func ObjectName(name string) error {
	if name == "" || len(name) > MaxObjectName {
		return fmt.Errorf("%.40q… is not the name of an object: it has %d bytes, and must have 1 to %d", name, len(name), MaxObjectName)
	}
	if !objectChars(name) {
		return fmt.Errorf("%q is not the name of an object: only a-z, 0-9, '.', '-' and '/' may be in it", name)
	}
	for part := range strings.SplitSeq(name, "/") {
		if part == "" || part[0] == '.' || len(part) > maxObjectPart {
			return fmt.Errorf("%q is not the name of an object: a part is empty, begins with a dot or has more than %d bytes", name, maxObjectPart)
		}
	}
	return nil
}

// ObjectPrefix reports why a prefix is not the beginning of any name. The empty one is of all.
func ObjectPrefix(prefix string) error {
	if prefix == "" {
		return nil
	}
	begun := prefix
	if strings.HasSuffix(prefix, "/") {
		begun += "a"
	}
	if err := ObjectName(begun); err != nil {
		return fmt.Errorf("no object begins with %.40q: %w", prefix, err)
	}
	return nil
}

func objectChars(name string) bool {
	for i := range len(name) {
		c := name[i]
		if !('a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '.' || c == '-' || c == '/') {
			return false
		}
	}
	return true
}

// CheckPut reports why an object cannot be stored: its name, or its size.
func CheckPut(name string, size int) error {
	if err := ObjectName(name); err != nil {
		return err
	}
	if size > MaxObject {
		return fmt.Errorf("object %s has %d bytes, and %d are the most", name, size, MaxObject)
	}
	return nil
}
