package disk

import "bytes"

// Damage is an entry of the ledger: synced bytes that the disk has lost, which no program could have kept.
type Damage struct {
	Name string // that the file had then
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

// Ledger returns all damage so far. The caller must not change it.
func (d *Disk) Ledger() []Damage { return d.ledger }

// Rot damages a synced sector of a file that holds something other than zeros, chosen at random among all files whose
// names the filter admits, and enters it in the ledger: a bit flips, or the sector cannot be read any more. It returns
// false where there is none.
func (d *Disk) Rot(rand Rand, kind DamageKind, admit func(name string) bool) (Damage, bool) {
	type place struct {
		name string
		u    int64
	}
	var places []place
	for _, name := range sorted(d.names) {
		if !admit(name) {
			continue
		}
		for u := int64(0); u*int64(d.unit) < d.names[name].size; u++ {
			if p := d.synced(name, u); len(bytes.Trim(p, "\x00")) > 0 {
				places = append(places, place{name, u})
			}
		}
	}
	if len(places) == 0 {
		return Damage{}, false
	}
	at := places[rand.Uint64()%uint64(len(places))]
	return d.damage(rand, at.name, at.u, kind), true
}

// RotAt damages the sector that holds the byte at an offset of a file, and enters it in the ledger. It returns false
// where that is not synced.
func (d *Disk) RotAt(rand Rand, name string, off int64, kind DamageKind) (Damage, bool) {
	u := off / int64(d.unit)
	if len(d.synced(name, u)) == 0 {
		return Damage{}, false
	}
	return d.damage(rand, name, u, kind), true
}

// synced returns the bytes of a sector that a program may rely on, or none. The last sector of a file may be short.
func (d *Disk) synced(name string, u int64) []byte {
	n, unit := d.names[name], int64(d.unit)
	if n == nil || d.safe[name] != n || n.bad[u] || u*unit >= n.size {
		return nil
	}
	_, dirty := n.dirty[u]
	if _, missed := n.missed[u]; dirty || missed {
		return nil
	}
	return n.data[u*unit : min((u+1)*unit, n.size)]
}

func (d *Disk) damage(rand Rand, name string, u int64, kind DamageKind) Damage {
	p := d.synced(name, u)
	if kind == Unreadable {
		d.names[name].bad[u] = true
	} else {
		p[rand.Uint64()%uint64(len(p))] ^= 1 << (rand.Uint64() % 8)
	}
	damage := Damage{Name: name, Off: u * int64(d.unit), Len: int64(len(p)), Kind: kind}
	d.ledger = append(d.ledger, damage)
	return damage
}
