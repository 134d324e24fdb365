// Package object is the simulated store of objects: another machine, which a crash of the server does not touch. It
// implements seg.Objects and seg.Locker, so that the engine's own jobs run on it.
//
//	s := object.New()
//	store := s.Mount(pass)                             // as one job sees it; pass lets other things happen meanwhile
//	s.Hook = func(op object.Op) object.Verdict { … }   // asked at every request that arrives
//
// It draws no random number of its own and ranges over no map.
package object

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/kimberlitedb/kimberlite-go/engine/seg"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// Store is one simulated store. It is not safe for concurrent use.
type Store struct {
	// Hook, if not nil, is asked how a request goes that has arrived.
	Hook func(Op) Verdict
	// Changed, if not nil, is told of every change, once it is done.
	Changed func(kind OpKind, name string)
	// Now is the store's clock, by which locks end. Nil is a clock that stands at 0.
	Now func() wire.Time
	// Locks has it keep versions and lock objects.
	Locks bool

	objects []stored // ascending by name
}

// stored is what is under a name.
type stored struct {
	name     string
	versions []version // the newest last; without Locks there is one
}

type version struct {
	data  []byte
	until wire.Time // locked; 0 is not at all
}

// OpKind is a kind of request.
type OpKind string

// The kinds of requests.
const (
	OpPut    OpKind = "object-put"
	OpGet    OpKind = "object-get"
	OpStat   OpKind = "object-stat"
	OpList   OpKind = "object-list"
	OpRemove OpKind = "object-remove"
)

// Answer is what is behind the name of a kind where a task stops for the answer.
const Answer = "-answer"

// Op is a request that has arrived.
type Op struct {
	Kind OpKind
	Name string
	Len  int // of a put
}

// Verdict says how a request goes. The zero value lets it succeed.
type Verdict struct {
	Err  error // what the caller gets
	Done bool  // the request is carried out before Err: only the answer is lost
	Part int   // bytes that a put leaves before Err where there was nothing
}

// New returns an empty store.
func New() *Store { return &Store{} }

// Mount returns the store as one job sees it. Pass is called before each request leaves and before its answer comes: it
// lets other things happen, and returns seg.ErrCrashed once the process that the job runs in is gone. What had arrived by
// then is done. A nil pass is for whoever looks at the store from outside, whom no hook troubles either.
func (s *Store) Mount(pass func(what string) error) seg.Locker { return &mount{s, pass} }

// Search returns the names of the objects that contain a marker, in any version.
func (s *Store) Search(marker []byte) []string {
	var found []string
	for _, o := range s.objects {
		if slices.ContainsFunc(o.versions, func(v version) bool { return bytes.Contains(v.data, marker) }) {
			found = append(found, o.name)
		}
	}
	return found
}

// Size returns how many bytes all objects have, in all versions.
func (s *Store) Size() (n int64) {
	for _, o := range s.objects {
		for _, v := range o.versions {
			n += int64(len(v.data))
		}
	}
	return n
}

func (s *Store) now() wire.Time {
	if s.Now == nil {
		return 0
	}
	return s.Now()
}

// find returns where a name is, or would be.
func (s *Store) find(name string) (int, bool) {
	return slices.BinarySearchFunc(s.objects, name, func(o stored, name string) int { return strings.Compare(o.name, name) })
}

// put stores a copy of data.
func (s *Store) put(name string, data []byte, until wire.Time) error {
	i, ok := s.find(name)
	if !ok {
		if err := s.clash(name); err != nil {
			return err
		}
		s.objects = slices.Insert(s.objects, i, stored{name: name})
	}
	o := &s.objects[i]
	if !s.Locks {
		o.versions = o.versions[:0]
	}
	o.versions = append(o.versions, version{slices.Clone(data), until})
	s.changed(OpPut, name)
	return nil
}

// clash refuses a name that is a folder of another, or below one, as a directory does.
func (s *Store) clash(name string) error {
	folder := func(a, b string) bool { return strings.HasPrefix(b, a+"/") }
	for _, o := range s.objects {
		if folder(o.name, name) || folder(name, o.name) {
			return fmt.Errorf("a name must not be a folder of another: %s is there", o.name)
		}
	}
	return nil
}

func (s *Store) get(name string) ([]byte, error) {
	i, ok := s.find(name)
	if !ok {
		return nil, seg.ErrNotExist
	}
	v := s.objects[i].versions
	return v[len(v)-1].data, nil
}

func (s *Store) list(prefix string) []string {
	var names []string
	for i, _ := s.find(prefix); i < len(s.objects) && strings.HasPrefix(s.objects[i].name, prefix); i++ {
		names = append(names, s.objects[i].name)
	}
	return names
}

func (s *Store) remove(name string) error {
	i, ok := s.find(name)
	if !ok {
		return nil
	}
	for _, v := range s.objects[i].versions {
		if v.until > s.now() {
			return seg.ErrLocked
		}
	}
	s.objects = slices.Delete(s.objects, i, i+1)
	s.changed(OpRemove, name)
	return nil
}

func (s *Store) changed(kind OpKind, name string) {
	if s.Changed != nil {
		s.Changed(kind, name)
	}
}
