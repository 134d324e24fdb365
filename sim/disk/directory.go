package disk

import (
	"fmt"
	"strings"

	"github.com/kimberlitedb/kimberlite-go/engine/seg"
)

// mount implements seg.Files for one incarnation.
type mount struct {
	d     *Disk
	epoch int
}

// change is one change to a name that is not yet safe.
type change struct {
	node *inode
	from string // the name that it loses; empty where it is made
	to   string // the name that it gets; empty where it is removed
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

// permit asks about an operation on a name, which must be one that the real disk takes.
func (m *mount) permit(op Op) error {
	if v := m.ask(op); v.Err != nil {
		return v.Err
	}
	return legal(op.Name)
}

func legal(name string) error {
	if name == "" || name == "." || name == ".." || name == "lock" || strings.ContainsAny(name, `/\`) {
		return fmt.Errorf("%q is not the name of a data file", name)
	}
	return nil
}

func (m *mount) Create(name string) (seg.File, error) {
	if err := m.permit(Op{Kind: OpCreate, Name: name}); err != nil {
		return nil, fmt.Errorf("create %s: %w", name, err)
	}
	if m.d.names[name] != nil {
		return nil, fmt.Errorf("create %s: %w", name, seg.ErrExist)
	}
	if m.d.Capacity > 0 && m.d.used >= m.d.Capacity {
		return nil, fmt.Errorf("create %s: %w", name, seg.ErrNoSpace)
	}
	n := newInode()
	m.d.link(n, name)
	m.d.journal = append(m.d.journal, change{node: n, to: name})
	return m.handle(n), nil
}

func (m *mount) Open(name string) (seg.File, error) {
	if err := m.permit(Op{Kind: OpOpen, Name: name}); err != nil {
		return nil, fmt.Errorf("open %s: %w", name, err)
	}
	n := m.d.names[name]
	if n == nil {
		return nil, fmt.Errorf("open %s: %w", name, seg.ErrNotExist)
	}
	return m.handle(n), nil
}

func (m *mount) handle(n *inode) *file {
	n.open++
	return &file{m: m, n: n}
}

func (m *mount) Rename(from, to string) error {
	err := m.permit(Op{Kind: OpRename, Name: from, To: to})
	if err == nil {
		err = legal(to)
	}
	n := m.d.names[from]
	if err == nil && n == nil {
		err = seg.ErrNotExist
	}
	if err != nil {
		return fmt.Errorf("rename %s to %s: %w", from, to, err)
	}
	if old := m.d.names[to]; old != nil && old != n {
		m.d.unlink(old)
	}
	delete(m.d.names, from)
	m.d.link(n, to)
	m.d.journal = append(m.d.journal, change{node: n, from: from, to: to})
	return nil
}

func (m *mount) Remove(name string) error {
	if err := m.permit(Op{Kind: OpRemove, Name: name}); err != nil {
		return fmt.Errorf("remove %s: %w", name, err)
	}
	n := m.d.names[name]
	if n == nil {
		return fmt.Errorf("remove %s: %w", name, seg.ErrNotExist)
	}
	m.d.unlink(n)
	m.d.journal = append(m.d.journal, change{node: n, from: name})
	return nil
}

func (m *mount) List() ([]string, error) {
	if v := m.ask(Op{Kind: OpList}); v.Err != nil {
		return nil, fmt.Errorf("list: %w", v.Err)
	}
	return sorted(m.d.names), nil
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
	if c.from != "" {
		delete(names, c.from)
	}
	if c.to != "" {
		names[c.to] = c.node
	}
}

// possible reports whether a directory is one in which the change can happen: not if an earlier change that it builds
// upon was lost.
func (c change) possible(names map[string]*inode) bool {
	if c.from == "" {
		return names[c.to] == nil
	}
	return names[c.from] == c.node
}
