package disk

import (
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/kimberlitedb/kimberlite-go/engine/seg"
)

// file implements seg.File.
type file struct {
	m      *mount
	n      *inode
	closed bool
}

var (
	errNegative   = errors.New("negative offset")
	errUnreadable = errors.New("input/output error: a sector cannot be read")
)

// ask is the mount's, for operations on this file: a closed one refuses.
func (f *file) ask(op Op) Verdict {
	op.Name = f.n.name
	v := f.m.ask(op)
	switch {
	case v.Err != nil:
	case f.closed:
		v = Verdict{Err: fs.ErrClosed}
	case op.Off < 0:
		v = Verdict{Err: errNegative}
	}
	return v
}

func (f *file) fail(verb string, err error) error {
	return fmt.Errorf("%s %s: %w", verb, f.n.name, err)
}

func (f *file) ReadAt(p []byte, off int64) (int, error) {
	v := f.ask(Op{Kind: OpRead, Off: off, Len: len(p)})
	data := f.n.data[max(0, min(off, int64(len(f.n.data)))):]
	if v.Err != nil {
		return copy(p[:min(v.Short, len(p))], data), f.fail("read", v.Err)
	}
	unit := int64(f.m.d.unit)
	for u := off / unit; u*unit < off+int64(len(p)) && len(f.n.bad) > 0; u++ {
		if f.n.bad[u] {
			return 0, f.fail("read", errUnreadable)
		}
	}
	n := copy(p, data)
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (f *file) WriteAt(p []byte, off int64) (int, error) {
	v := f.ask(Op{Kind: OpWrite, Off: off, Len: len(p)})
	if errors.Is(v.Err, seg.ErrCrashed) {
		return 0, v.Err
	}
	n := len(p)
	if v.Err != nil {
		n = min(v.Short, n)
	} else if room := f.m.d.room(f.n, off); room < int64(n) {
		n, v.Err = int(room), seg.ErrNoSpace
	}
	f.write(p[:n], off)
	if v.Err != nil {
		return n, f.fail("write", v.Err)
	}
	return n, nil
}

// room returns how many bytes can be written to a file at an offset before the disk is full.
func (d *Disk) room(n *inode, off int64) int64 {
	if d.Capacity == 0 {
		return 1 << 62
	}
	end := int64(len(n.data)) + max(d.Capacity-d.used, 0)
	return max(end-off, 0)
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
		f.m.d.used += grow
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
	n.dirty[u] = saved{bytes: append([]byte(nil), n.data[from:to]...), bad: n.bad[u]}
}

func (f *file) Sync() error {
	v := f.ask(Op{Kind: OpSync})
	if errors.Is(v.Err, seg.ErrCrashed) || errors.Is(v.Err, fs.ErrClosed) {
		return f.fail("sync", v.Err)
	}
	if v.Err != nil {
		for u, old := range f.n.dirty { //det:order-free: moves every element
			f.n.missed[u] = old
		}
		clear(f.n.dirty)
		return f.fail("sync", v.Err)
	}
	clear(f.n.dirty)
	f.n.size = int64(len(f.n.data))
	return nil
}

func (f *file) Size() (int64, error) {
	if v := f.ask(Op{Kind: OpSize}); v.Err != nil {
		return 0, f.fail("size of", v.Err)
	}
	return int64(len(f.n.data)), nil
}

func (f *file) Close() error {
	if f.m.epoch != f.m.d.epoch {
		return seg.ErrCrashed
	}
	if f.closed {
		return f.fail("close", fs.ErrClosed)
	}
	f.closed = true
	f.n.open--
	f.m.d.release(f.n)
	return nil
}
