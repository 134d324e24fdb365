// Package disk is the simulated disk: files in memory that keep apart what a program sees and what would survive a loss
// of power. It implements seg.Files, so that the engine's own code runs on it.
//
//	d := disk.New(512)
//	fs := d.Mount()                    // what one incarnation of the process sees
//	d.Hook = func(op disk.Op) disk.Verdict { … } // asked before every operation
//	d.PowerLoss(rand, disk.Loss{Torn: true})     // fs now fails; Mount again to restart
//
// It draws no random number of its own and ranges over no map where the order could be seen.
package disk

import (
	"bytes"
	"maps"
	"slices"

	"github.com/kimberlitedb/kimberlite-go/engine/seg"
)

// Disk is one simulated disk with a flat directory. It is not safe for concurrent use.
type Disk struct {
	// Hook, if not nil, is asked before every operation how it shall go.
	Hook func(Op) Verdict
	// Capacity is how many bytes all files may have together; 0 is endless.
	Capacity int64

	unit    int               // bytes that survive a loss of power, or do not, as one
	epoch   int               // counts crashes; mounts of an earlier one are dead
	names   map[string]*inode // as the process sees it
	safe    map[string]*inode // as it would be after a loss of power
	journal []change          // what happened to names since the last SyncDir
	used    int64             // bytes in all files that have a name or a handle
	ledger  []Damage
}

// OpKind is a kind of file operation.
type OpKind string

// The kinds of operations.
const (
	OpCreate  OpKind = "create"
	OpOpen    OpKind = "open"
	OpRename  OpKind = "rename"
	OpRemove  OpKind = "remove"
	OpList    OpKind = "list"
	OpSyncDir OpKind = "sync-dir"
	OpRead    OpKind = "read"
	OpWrite   OpKind = "write"
	OpSync    OpKind = "sync"
	OpSize    OpKind = "size"
)

// Op is a file operation that is about to happen.
type Op struct {
	Kind OpKind
	Name string // that the file has now, or had last
	To   string // of a rename
	Off  int64
	Len  int
}

// Verdict says how an operation goes. The zero value lets it succeed.
type Verdict struct {
	Err   error // what the caller gets; a sync that fails loses its pages, as Linux does
	Short int   // bytes of a read or write that happen before Err
}

// inode is a file, whatever its name.
type inode struct {
	name  string // that the process gave it last
	named bool   // whether it still has that name
	open  int    // handles of the living incarnation

	data   []byte          // as the process sees it
	size   int64           // that would survive a loss of power
	dirty  map[int64]saved // by unit: what would survive instead, for units written since the last sync
	missed map[int64]saved // likewise, for units that a failed sync has left: no later sync writes them
	bad    map[int64]bool  // units that cannot be read
}

// saved is a unit as it is on the medium, while the process sees something else.
type saved struct {
	bytes []byte // may be shorter than a unit: the rest has never been written
	bad   bool
}

func newInode() *inode {
	return &inode{dirty: map[int64]saved{}, missed: map[int64]saved{}, bad: map[int64]bool{}}
}

// New returns an empty disk that keeps or loses bytes in units of so many.
func New(unit int) *Disk {
	return &Disk{unit: unit, names: map[string]*inode{}, safe: map[string]*inode{}}
}

// Mount returns the disk as one incarnation of a process sees it, until the next crash.
func (d *Disk) Mount() seg.Files { return &mount{d: d, epoch: d.epoch} }

// Used returns the bytes in all files. One that was removed counts for as long as the process has it open.
func (d *Disk) Used() int64 { return d.used }

// Clone returns a copy of the disk as a process would find it now, with nothing unsynced, no hook and no limit.
func (d *Disk) Clone() *Disk {
	c := New(d.unit)
	for _, name := range sorted(d.names) {
		n, copied := d.names[name], newInode()
		copied.data, copied.size, copied.bad = bytes.Clone(n.data), int64(len(n.data)), maps.Clone(n.bad)
		c.link(copied, name)
		c.safe[name] = copied
		c.used += copied.size
	}
	return c
}

// Search returns the names of the files that contain a marker, as the process sees them or as they would be after a
// loss of power. A file whose removal is not yet safe is among them.
func (d *Disk) Search(marker []byte) []string {
	var found []string
	for _, n := range d.inodes() {
		if bytes.Contains(n.data, marker) || bytes.Contains(n.durable(int64(d.unit)), marker) {
			found = append(found, n.name)
		}
	}
	slices.Sort(found)
	return slices.Compact(found)
}

// link gives a file a name, which is free.
func (d *Disk) link(n *inode, name string) {
	d.names[name] = n
	n.name, n.named = name, true
}

// unlink takes the name of a file away. Its bytes go with the last handle.
func (d *Disk) unlink(n *inode) {
	delete(d.names, n.name)
	n.named = false
	d.release(n)
}

// release frees the space of a file that has neither a name nor a handle.
func (d *Disk) release(n *inode) {
	if !n.named && n.open == 0 {
		d.used -= int64(len(n.data))
	}
}

// inodes returns every file that a crash could leave, in an order that does not depend on a map.
func (d *Disk) inodes() []*inode {
	var list []*inode
	seen := map[*inode]bool{}
	add := func(n *inode) {
		if !seen[n] {
			seen[n] = true
			list = append(list, n)
		}
	}
	for _, names := range []map[string]*inode{d.names, d.safe} {
		for _, name := range sorted(names) {
			add(names[name])
		}
	}
	for _, c := range d.journal {
		add(c.node)
	}
	return list
}

func sorted(names map[string]*inode) []string { return slices.Sorted(maps.Keys(names)) }
