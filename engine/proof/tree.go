package proof

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"math/bits"

	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/rfc6962"
)

// Tree is a Merkle tree that grows, as far as that needs to be known: the roots of its perfect subtrees. The zero value is empty.
type Tree struct {
	size  uint64
	nodes []Hash // the largest subtree first
}

// Append adds a leaf.
func (t *Tree) Append(leaf Hash) { t.grow(leaf, nil) }

// grow adds a leaf, and shows each perfect subtree that there is now: the leaf is one.
func (t *Tree) grow(leaf Hash, show func(compact.NodeID, Hash)) {
	level := uint(0)
	for n := t.size; ; n >>= 1 { // a subtree of each size that there is becomes one of twice that
		if show != nil {
			show(compact.NewNodeID(level, n), leaf)
		}
		if n&1 == 0 {
			break
		}
		last := len(t.nodes) - 1
		leaf = children(&t.nodes[last], &leaf)
		t.nodes = t.nodes[:last]
		level++
	}
	t.nodes = append(t.nodes, leaf)
	t.size++
}

// children is the hash of a node, as that of rfc6962, without memory of its own.
func children(left, right *Hash) Hash {
	var p [1 + 2*sha256.Size]byte
	p[0] = rfc6962.RFC6962NodeHashPrefix
	copy(p[1:], left[:])
	copy(p[1+sha256.Size:], right[:])
	return sha256.Sum256(p[:])
}

// Size returns how many leaves there are.
func (t *Tree) Size() uint64 { return t.size }

// Root returns the root.
func (t *Tree) Root() Hash {
	if t.size == 0 {
		return Hash(rfc6962.DefaultHasher.EmptyRoot())
	}
	hashes := make([][]byte, len(t.nodes))
	for i := range t.nodes {
		hashes[i] = t.nodes[i][:]
	}
	factory := compact.RangeFactory{Hash: rfc6962.DefaultHasher.HashChildren}
	r, err := factory.NewRange(0, t.size, hashes)
	if err != nil {
		panic("proof: a tree has not the subtrees that it should have: " + err.Error())
	}
	root, err := r.GetRootHash(nil)
	if err != nil {
		panic("proof: " + err.Error())
	}
	return Hash(root)
}

// AppendTo appends the tree: its size (8), and its subtrees (32 each).
func (t *Tree) AppendTo(p []byte) []byte {
	p = binary.LittleEndian.AppendUint64(p, t.size)
	for i := range t.nodes {
		p = append(p, t.nodes[i][:]...)
	}
	return p
}

// errTree says that bytes are no tree.
var errTree = errors.New("proof: no tree")

// maxTree is more leaves than any tree has: offsets are counted from zero, and their number is never near.
const maxTree = 1 << 62

// DecodeTree reads what AppendTo has written, and returns what follows.
func DecodeTree(p []byte) (t Tree, rest []byte, err error) {
	if len(p) < 8 {
		return t, nil, errTree
	}
	t.size = binary.LittleEndian.Uint64(p)
	n := bits.OnesCount64(t.size)
	if p = p[8:]; t.size > maxTree || len(p) < n*sha256.Size {
		return Tree{}, nil, errTree
	}
	for range n {
		t.nodes, p = append(t.nodes, Hash(p)), p[sha256.Size:]
	}
	return t, p, nil
}

// Clone returns a tree that grows by itself.
func (t *Tree) Clone() Tree { return Tree{t.size, append([]Hash(nil), t.nodes...)} }
