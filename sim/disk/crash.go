package disk

import (
	"bytes"
	"sort"
)

// Rand is a stream of random numbers.
type Rand interface{ Uint64() uint64 }

// Loss says how hard a loss of power hits.
type Loss struct {
	Torn    bool // of the unsynced units some are kept and some dropped; otherwise all or none
	Garbage bool // and some hold garbage
}

// ProcessCrash ends the process: its mounts are dead. What it wrote stays, synced or not, since the system lives on.
func (d *Disk) ProcessCrash() { d.epoch++ }

// PowerLoss ends the process and the system. What was not synced is kept, dropped or garbage unit by unit; changes to
// names since the last SyncDir are kept up to some moment and undone from there on, as a journal does. What is left is
// durable.
func (d *Disk) PowerLoss(rand Rand, how Loss) {
	d.epoch++
	for _, n := range d.inodes() {
		n.lose(rand, how, int64(d.unit))
	}
	keep := int(rand.Uint64() % uint64(len(d.journal)+1))
	for _, c := range d.journal[:keep] {
		c.apply(d.safe)
	}
	d.journal = nil
	d.names = map[string]*inode{}
	d.used = 0
	for _, name := range sorted(d.safe) {
		d.names[name] = d.safe[name]
		d.used += int64(len(d.safe[name].data))
	}
}

// inodes returns every file that has a name, seen or safe, in an order that does not depend on a map.
func (d *Disk) inodes() []*inode {
	var list []*inode
	seen := map[*inode]bool{}
	for _, names := range []map[string]*inode{d.names, d.safe} {
		for _, name := range sorted(names) {
			if n := names[name]; !seen[n] {
				seen[n] = true
				list = append(list, n)
			}
		}
	}
	return list
}

// lose makes a file what a loss of power leaves of it. A file that grew without a sync may keep its new length, the
// units that were dropped reading as zeros.
func (n *inode) lose(rand Rand, how Loss, unit int64) {
	all := rand.Uint64()
	size := int64(len(n.data))
	if grown := size > n.size; grown && (!how.Torn && all&1 == 0 || how.Torn && all&3 == 0) {
		size = n.size
	}
	for _, u := range units(n.dirty) {
		switch fate := rand.Uint64() % 8; {
		case how.Torn && how.Garbage && fate == 0:
			n.garble(u, unit, rand)
		case how.Torn && fate < 4, !how.Torn && all&1 == 0:
			n.restore(u, unit, n.dirty[u])
		}
	}
	for _, u := range units(n.missed) {
		n.restore(u, unit, n.missed[u])
	}
	n.data = n.data[:min(size, int64(len(n.data)))]
	n.size = int64(len(n.data))
	clear(n.dirty)
	clear(n.missed)
}

// restore puts back what a unit held before; beyond that, zeros.
func (n *inode) restore(u, unit int64, old []byte) {
	p := n.at(u, unit)
	clear(p[copy(p, old):])
}

// garble fills a unit with anything.
func (n *inode) garble(u, unit int64, rand Rand) {
	p := n.at(u, unit)
	for i := range p {
		p[i] = byte(rand.Uint64())
	}
}

func (n *inode) at(u, unit int64) []byte {
	return n.data[min(u*unit, int64(len(n.data))):min((u+1)*unit, int64(len(n.data)))]
}

func units(m map[int64][]byte) []int64 {
	list := make([]int64, 0, len(m))
	for u := range m { //det:order-free: sorted below
		list = append(list, u)
	}
	sort.Slice(list, func(i, j int) bool { return list[i] < list[j] })
	return list
}

// Rot damages a synced sector of a file that holds something other than zeros, chosen at random among all files whose
// names the filter admits, and enters it in the ledger: bits flip, or the sector cannot be read any more. It returns
// false where there is none.
func (d *Disk) Rot(rand Rand, kind DamageKind, admit func(name string) bool) (Damage, bool) {
	type place struct {
		name string
		u    int64
	}
	var places []place
	unit := int64(d.unit)
	for _, name := range d.list() {
		n := d.names[name]
		if !admit(name) || d.safe[name] != n {
			continue
		}
		for u := int64(0); (u+1)*unit <= n.size; u++ {
			_, dirty := n.dirty[u]
			_, missed := n.missed[u]
			if !dirty && !missed && !n.bad[u] && len(bytes.Trim(n.at(u, unit), "\x00")) > 0 {
				places = append(places, place{name, u})
			}
		}
	}
	if len(places) == 0 {
		return Damage{}, false
	}
	at := places[rand.Uint64()%uint64(len(places))]
	n := d.names[at.name]
	if kind == Unreadable {
		n.bad[at.u] = true
	} else {
		p := n.at(at.u, unit)
		p[rand.Uint64()%uint64(len(p))] ^= 1 << (rand.Uint64() % 8)
	}
	damage := Damage{Name: at.name, Off: at.u * unit, Len: unit, Kind: kind}
	d.ledger = append(d.ledger, damage)
	return damage, true
}

// Clone returns a copy of the disk as a process would find it now, with nothing unsynced, no hook and no limit.
func (d *Disk) Clone() *Disk {
	c := New(d.unit)
	for _, name := range d.list() {
		n := d.names[name]
		bad := map[int64]bool{}
		for u := range n.bad { //det:order-free: copies every element
			bad[u] = true
		}
		c.names[name] = &inode{
			data: bytes.Clone(n.data), size: int64(len(n.data)), dirty: map[int64][]byte{}, missed: map[int64][]byte{}, bad: bad,
		}
		c.safe[name] = c.names[name]
		c.used += int64(len(n.data))
	}
	return c
}

// Search returns the names of the files that contain a marker, seen or safe.
func (d *Disk) Search(marker []byte) []string {
	var found []string
	for _, name := range d.list() {
		n := d.names[name]
		hit := bytes.Contains(n.data, marker)
		for _, old := range []map[int64][]byte{n.dirty, n.missed} {
			for _, u := range units(old) {
				hit = hit || bytes.Contains(old[u], marker)
			}
		}
		if hit {
			found = append(found, name)
		}
	}
	return found
}
