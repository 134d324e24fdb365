package disk

import (
	"bytes"
	"maps"
	"slices"
)

// Rand is a stream of random numbers.
type Rand interface{ Uint64() uint64 }

// Loss says how hard a loss of power hits.
type Loss struct {
	Torn      bool // of the unsynced units some are kept and some dropped; otherwise all or none
	Garbage   bool // and some hold garbage
	Unordered bool // of the unsynced changes to names any may be undone; otherwise the last ones, as a journal does
}

// ProcessCrash ends the process: its mounts are dead. What it wrote stays, synced or not, since the system lives on.
func (d *Disk) ProcessCrash() {
	d.epoch++
	d.abandon()
}

// PowerLoss ends the process and the system. What was not synced is kept, dropped or garbage unit by unit, and changes
// to names since the last SyncDir are kept or undone. What is left is durable.
func (d *Disk) PowerLoss(rand Rand, how Loss) {
	d.epoch++
	for _, n := range d.inodes() {
		n.lose(rand, how, int64(d.unit))
		n.named = false
	}
	d.loseNames(rand, how)
	d.names = map[string]*inode{}
	for _, name := range sorted(d.safe) {
		d.link(d.safe[name], name)
	}
	d.abandon()
}

// abandon closes what a dead process had open.
func (d *Disk) abandon() {
	for _, n := range d.inodes() {
		n.open = 0
	}
	d.used = 0
	for _, n := range d.names { //det:order-free: a sum
		d.used += int64(len(n.data))
	}
}

// loseNames makes the safe directory what a loss of power leaves: the changes up to some moment, or any that are still
// possible.
func (d *Disk) loseNames(rand Rand, how Loss) {
	upTo := int(rand.Uint64() % uint64(len(d.journal)+1))
	for i, c := range d.journal {
		keep := i < upTo
		if how.Unordered {
			keep = rand.Uint64()&1 == 0
		}
		if keep && c.possible(d.safe) {
			c.apply(d.safe)
		}
	}
	d.journal = nil
}

// lose makes a file what a loss of power leaves of it. Of a file that grew without a sync the new length may stay, units
// that were dropped reading as zeros, or only a part of the growth, or none.
func (n *inode) lose(rand Rand, how Loss, unit int64) {
	all := rand.Uint64()
	size := int64(len(n.data))
	switch grown := size > n.size; {
	case grown && how.Torn && all%4 == 0, grown && !how.Torn && all&1 == 0:
		size = n.size
	case grown && how.Torn && all%4 == 1:
		cut := n.size + int64(rand.Uint64()%uint64(size-n.size))
		size = max(n.size, cut/unit*unit)
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
	n.data, n.size = n.data[:size], size
	clear(n.dirty)
	clear(n.missed)
}

// restore puts back what a unit held before; beyond that, zeros.
func (n *inode) restore(u, unit int64, old saved) {
	p := n.at(u, unit)
	clear(p[copy(p, old.bytes):])
	if old.bad {
		n.bad[u] = true
	}
}

// garble fills a unit with anything.
func (n *inode) garble(u, unit int64, rand Rand) {
	p := n.at(u, unit)
	for i := range p {
		p[i] = byte(rand.Uint64())
	}
}

// at returns a unit's bytes as the process sees them. The last unit of a file may be short.
func (n *inode) at(u, unit int64) []byte {
	return n.data[min(u*unit, int64(len(n.data))):min((u+1)*unit, int64(len(n.data)))]
}

// durable returns what the medium holds, whatever the process sees.
func (n *inode) durable(unit int64) []byte {
	if len(n.dirty)+len(n.missed) == 0 {
		return n.data[:n.size]
	}
	c := inode{data: bytes.Clone(n.data), bad: map[int64]bool{}}
	for _, old := range []map[int64]saved{n.dirty, n.missed} {
		for _, u := range units(old) {
			c.restore(u, unit, old[u])
		}
	}
	return c.data[:n.size]
}

func units(m map[int64]saved) []int64 { return slices.Sorted(maps.Keys(m)) }
