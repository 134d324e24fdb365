package object

import (
	"fmt"
	"slices"

	"github.com/kimberlitedb/kimberlite-go/engine/seg"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// mount implements seg.Locker for one job.
type mount struct {
	s    *Store
	pass func(what string) error
}

// call sends a request, and waits for its answer. Part, if not nil, leaves so many bytes of it.
func (m *mount) call(op Op, do func() error, part func(n int) error) error {
	if m.pass == nil {
		return do()
	}
	if err := m.pass(string(op.Kind)); err != nil {
		return err
	}
	var v Verdict
	if m.s.Hook != nil {
		v = m.s.Hook(op)
	}
	var err error
	if v.Err == nil || v.Done {
		err = do()
	} else if part != nil && v.Part > 0 {
		err = part(min(v.Part, op.Len))
	}
	if gone := m.pass(string(op.Kind) + Answer); gone != nil {
		return gone
	}
	if v.Err != nil {
		return v.Err
	}
	return err
}

func (m *mount) Put(name string, data []byte) error { return m.put(name, data, 0) }

func (m *mount) put(name string, data []byte, until wire.Time) error {
	err := seg.CheckPut(name, len(data))
	if err == nil {
		do := func() error { return m.s.put(name, data, until) }
		err = m.call(Op{Kind: OpPut, Name: name, Len: len(data)}, do, func(n int) error {
			if _, ok := m.s.find(name); ok {
				return nil // what was there stays: no store is as bad as that
			}
			return m.s.put(name, data[:n], 0)
		})
	}
	if err != nil {
		return fmt.Errorf("put %s: %w", name, err)
	}
	return nil
}

// Get returns a copy, so that nobody changes what is stored.
func (m *mount) Get(name string) ([]byte, error) {
	var data []byte
	err := seg.ObjectName(name)
	if err == nil {
		err = m.call(Op{Kind: OpGet, Name: name}, func() (err error) {
			data, err = m.s.get(name)
			data = slices.Clone(data)
			return err
		}, nil)
	}
	if err != nil {
		return nil, fmt.Errorf("get %s: %w", name, err)
	}
	return data, nil
}

func (m *mount) Stat(name string) (int64, error) {
	var size int64
	err := seg.ObjectName(name)
	if err == nil {
		err = m.call(Op{Kind: OpStat, Name: name}, func() error {
			data, err := m.s.get(name)
			size = int64(len(data))
			return err
		}, nil)
	}
	if err != nil {
		return 0, fmt.Errorf("stat %s: %w", name, err)
	}
	return size, nil
}

func (m *mount) List(prefix string) ([]string, error) {
	var names []string
	err := seg.ObjectPrefix(prefix)
	if err == nil {
		err = m.call(Op{Kind: OpList, Name: prefix}, func() error {
			names = m.s.list(prefix)
			return nil
		}, nil)
	}
	if err != nil {
		return nil, fmt.Errorf("list %s*: %w", prefix, err)
	}
	return names, nil
}

func (m *mount) Remove(name string) error {
	err := seg.ObjectName(name)
	if err == nil {
		err = m.call(Op{Kind: OpRemove, Name: name}, func() error { return m.s.remove(name) }, nil)
	}
	if err != nil {
		return fmt.Errorf("remove %s: %w", name, err)
	}
	return nil
}

func (m *mount) LockSupported() bool { return m.s.Locks }

func (m *mount) LockedUnasked() wire.Span { return 0 }

func (m *mount) PutLocked(name string, data []byte, until wire.Time) error {
	if !m.s.Locks {
		return fmt.Errorf("put %s: the store locks nothing", name)
	}
	if until <= m.s.now() {
		return fmt.Errorf("put %s: a lock must lie ahead", name)
	}
	return m.put(name, data, until)
}
