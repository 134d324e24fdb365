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
	"fmt"
	"io"
	"sort"

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
	used    int64             // bytes in all named files
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
	Name string
	To   string // of a rename
	Off  int64
	Len  int
}

// Verdict says how an operation goes. The zero value lets it succeed.
type Verdict struct {
	Err   error // what the caller gets; a sync that fails loses its pages, as Linux does
	Short int   // bytes of a read or write that happen before Err
}

// Damage is an entry of the ledger: synced bytes that the disk has lost, which no program could have kept.
type Damage struct {
	Name string
	Off  int64
	Len  int64
	Kind DamageKind
}

// DamageKind says what became of damaged bytes.
type DamageKind string

// The kinds of damage.
const (
	Rotten     DamageKind = "rot"        // other bytes are read
	Unreadable DamageKind = "unreadable" // reading fails
)

// inode is a file, whatever its name.
type inode struct {
	data   []byte           // as the process sees it
	size   int64            // that would survive a loss of power
	dirty  map[int64][]byte // by unit: what would survive instead, for units written since the last sync
	missed map[int64][]byte // likewise, for units that a failed sync has left: no later sync writes them
	bad    map[int64]bool   // units that cannot be read
}

// change is one change to a name that is not yet safe.
type change struct {
	name string
	node *inode // nil where the name is gone
	also string // a rename takes this name away at the same moment; empty otherwise
}

// New returns an empty disk that keeps or loses bytes in units of so many.
func New(unit int) *Disk {
	return &Disk{unit: unit, names: map[string]*inode{}, safe: map[string]*inode{}}
}

// Mount returns the disk as one incarnation of a process sees it, until the next crash.
func (d *Disk) Mount() seg.Files { return &mount{d: d, epoch: d.epoch} }

// Ledger returns all damage so far. The caller must not change it.
func (d *Disk) Ledger() []Damage { return d.ledger }

// Used returns the bytes in all files.
func (d *Disk) Used() int64 { return d.used }

// list returns the names that the process sees, ascending.
func (d *Disk) list() []string { return sorted(d.names) }

func sorted(names map[string]*inode) []string {
	list := make([]string, 0, len(names))
	for name := range names { //det:order-free: sorted below
		list = append(list, name)
	}
	sort.Strings(list)
	return list
}

// mount implements seg.Files for one incarnation.
type mount struct {
	d     *Disk
	epoch int
}

// ask fails after a crash, and otherwise asks the hook, which may crash the process too.
func (m *mount) ask(op Op) Verdict {
	if m.epoch != m.d.epoch {
		return Verdict{Err: seg.ErrCrashed}
	}
	var v Verdict
	if m.d.Hook != nil {
		v = m.d.Hook(op)
	}
	if m.epoch != m.d.epoch {
		return Verdict{Err: seg.ErrCrashed}
	}
	return v
}

func (m *mount) Create(name string) (seg.File, error) {
	if v := m.ask(Op{Kind: OpCreate, Name: name}); v.Err != nil {
		return nil, fmt.Errorf("create %s: %w", name, v.Err)
	}
	if m.d.names[name] != nil {
		return nil, fmt.Errorf("create %s: %w", name, seg.ErrExist)
	}
	n := &inode{dirty: map[int64][]byte{}, missed: map[int64][]byte{}, bad: map[int64]bool{}}
	m.d.names[name] = n
	m.d.journal = append(m.d.journal, change{name: name, node: n})
	return &file{m: m, n: n, name: name}, nil
}

func (m *mount) Open(name string) (seg.File, error) {
	if v := m.ask(Op{Kind: OpOpen, Name: name}); v.Err != nil {
		return nil, fmt.Errorf("open %s: %w", name, v.Err)
	}
	n := m.d.names[name]
	if n == nil {
		return nil, fmt.Errorf("open %s: %w", name, seg.ErrNotExist)
	}
	return &file{m: m, n: n, name: name}, nil
}

func (m *mount) Rename(from, to string) error {
	if v := m.ask(Op{Kind: OpRename, Name: from, To: to}); v.Err != nil {
		return fmt.Errorf("rename %s: %w", from, v.Err)
	}
	n := m.d.names[from]
	if n == nil {
		return fmt.Errorf("rename %s: %w", from, seg.ErrNotExist)
	}
	if old := m.d.names[to]; old != nil && old != n {
		m.d.used -= int64(len(old.data))
	}
	delete(m.d.names, from)
	m.d.names[to] = n
	m.d.journal = append(m.d.journal, change{name: to, node: n, also: from})
	return nil
}

func (m *mount) Remove(name string) error {
	if v := m.ask(Op{Kind: OpRemove, Name: name}); v.Err != nil {
		return fmt.Errorf("remove %s: %w", name, v.Err)
	}
	n := m.d.names[name]
	if n == nil {
		return fmt.Errorf("remove %s: %w", name, seg.ErrNotExist)
	}
	m.d.used -= int64(len(n.data))
	delete(m.d.names, name)
	m.d.journal = append(m.d.journal, change{name: name})
	return nil
}

func (m *mount) List() ([]string, error) {
	if v := m.ask(Op{Kind: OpList}); v.Err != nil {
		return nil, fmt.Errorf("list: %w", v.Err)
	}
	return m.d.list(), nil
}

func (m *mount) SyncDir() error {
	if v := m.ask(Op{Kind: OpSyncDir}); v.Err != nil {
		return fmt.Errorf("sync directory: %w", v.Err)
	}
	for _, c := range m.d.journal {
		c.apply(m.d.safe)
	}
	m.d.journal = nil
	return nil
}

// apply carries a change out on a directory.
func (c change) apply(names map[string]*inode) {
	if c.also != "" {
		delete(names, c.also)
	}
	if c.node == nil {
		delete(names, c.name)
		return
	}
	names[c.name] = c.node
}

// file implements seg.File.
type file struct {
	m    *mount
	n    *inode
	name string
}

func (f *file) ReadAt(p []byte, off int64) (int, error) {
	v := f.m.ask(Op{Kind: OpRead, Name: f.name, Off: off, Len: len(p)})
	if v.Err != nil {
		n := 0
		if off < int64(len(f.n.data)) {
			n = copy(p[:min(v.Short, len(p))], f.n.data[off:])
		}
		return n, fmt.Errorf("read %s: %w", f.name, v.Err)
	}
	if off >= int64(len(f.n.data)) {
		return 0, io.EOF
	}
	unit := int64(f.m.d.unit)
	for u := off / unit; u*unit < off+int64(len(p)) && len(f.n.bad) > 0; u++ {
		if f.n.bad[u] {
			return 0, fmt.Errorf("read %s: sector at %d cannot be read", f.name, u*unit)
		}
	}
	n := copy(p, f.n.data[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (f *file) WriteAt(p []byte, off int64) (int, error) {
	v := f.m.ask(Op{Kind: OpWrite, Name: f.name, Off: off, Len: len(p)})
	d := f.m.d
	grow := off + int64(len(p)) - int64(len(f.n.data))
	if v.Err == nil && d.Capacity > 0 && grow > 0 && d.used+grow > d.Capacity {
		v = Verdict{Err: seg.ErrNoSpace}
	}
	if v.Err == seg.ErrCrashed {
		return 0, v.Err
	}
	if v.Err != nil {
		n := min(v.Short, len(p))
		f.write(p[:n], off)
		return n, fmt.Errorf("write %s: %w", f.name, v.Err)
	}
	f.write(p, off)
	return len(p), nil
}

// write changes what the process sees, and notes what would survive.
func (f *file) write(p []byte, off int64) {
	if len(p) == 0 {
		return
	}
	n, unit, end := f.n, int64(f.m.d.unit), off+int64(len(p))
	for u := off / unit; u*unit < end; u++ {
		n.touch(u, unit)
		if off <= u*unit && (u+1)*unit <= end {
			delete(n.bad, u) // writing a whole sector makes the disk remap it
		}
	}
	if grow := end - int64(len(n.data)); grow > 0 {
		n.data = append(n.data, make([]byte, grow)...)
		if f.m.d.names[f.name] == n {
			f.m.d.used += grow
		}
	}
	copy(n.data[off:], p)
}

// touch keeps what a unit would be after a loss of power, before it is written.
func (n *inode) touch(u, unit int64) {
	if _, ok := n.dirty[u]; ok {
		return
	}
	if old, ok := n.missed[u]; ok {
		n.dirty[u] = old
		delete(n.missed, u)
		return
	}
	from, to := min(u*unit, n.size), min((u+1)*unit, n.size)
	n.dirty[u] = append([]byte(nil), n.data[from:to]...)
}

func (f *file) Sync() error {
	v := f.m.ask(Op{Kind: OpSync, Name: f.name})
	if v.Err == seg.ErrCrashed {
		return v.Err
	}
	if v.Err != nil {
		for u, old := range f.n.dirty { //det:order-free: moves every element
			f.n.missed[u] = old
		}
		clear(f.n.dirty)
		return fmt.Errorf("sync %s: %w", f.name, v.Err)
	}
	clear(f.n.dirty)
	f.n.size = int64(len(f.n.data))
	return nil
}

func (f *file) Size() (int64, error) {
	if v := f.m.ask(Op{Kind: OpSize, Name: f.name}); v.Err != nil {
		return 0, fmt.Errorf("size of %s: %w", f.name, v.Err)
	}
	return int64(len(f.n.data)), nil
}

func (f *file) Close() error {
	if f.m.epoch != f.m.d.epoch {
		return seg.ErrCrashed
	}
	return nil
}
