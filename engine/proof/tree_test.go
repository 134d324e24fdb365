package proof_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/kimberlitedb/kimberlite-go/engine/proof"
)

// What follows is written from RFC 6962, section 2.1, and from docs/PROOFS.md, without any library: it is what a third party would write.

func hashLeaf(data []byte) proof.Hash { return sha256.Sum256(append([]byte{0}, data...)) }

func hashNode(left, right proof.Hash) proof.Hash {
	return sha256.Sum256(slices.Concat([]byte{1}, left[:], right[:]))
}

// split returns the largest power of two smaller than n.
func split(n int) int {
	k := 1
	for 2*k < n {
		k *= 2
	}
	return k
}

func rootOf(leaves []proof.Hash) proof.Hash {
	switch n := len(leaves); n {
	case 0:
		return sha256.Sum256(nil)
	case 1:
		return leaves[0]
	default:
		return hashNode(rootOf(leaves[:split(n)]), rootOf(leaves[split(n):]))
	}
}

func pathOf(m int, leaves []proof.Hash) []proof.Hash {
	if len(leaves) <= 1 {
		return nil
	}
	k := split(len(leaves))
	if m < k {
		return append(pathOf(m, leaves[:k]), rootOf(leaves[k:]))
	}
	return append(pathOf(m-k, leaves[k:]), rootOf(leaves[:k]))
}

func subproof(m int, leaves []proof.Hash, whole bool) []proof.Hash {
	n := len(leaves)
	if m == n {
		if whole {
			return nil
		}
		return []proof.Hash{rootOf(leaves)}
	}
	k := split(n)
	if m <= k {
		return append(subproof(m, leaves[:k], whole), rootOf(leaves[k:]))
	}
	return append(subproof(m-k, leaves[k:], false), rootOf(leaves[:k]))
}

// includes is the algorithm of the page for an inclusion path.
func includes(index, size uint64, leaf proof.Hash, path []proof.Hash, root proof.Hash) bool {
	if index >= size {
		return false
	}
	fn, sn, r := index, size-1, leaf
	for _, p := range path {
		if sn == 0 {
			return false
		}
		if fn&1 == 1 || fn == sn {
			r = hashNode(p, r)
			for fn&1 == 0 && fn != 0 {
				fn, sn = fn>>1, sn>>1
			}
		} else {
			r = hashNode(r, p)
		}
		fn, sn = fn>>1, sn>>1
	}
	return sn == 0 && r == root
}

// extends is the algorithm of the page for a consistency path.
func extends(first, second uint64, path []proof.Hash, before, root proof.Hash) bool {
	switch {
	case first == 0:
		return len(path) == 0 && before == sha256.Sum256(nil)
	case first == second:
		return len(path) == 0 && before == root
	case first > second:
		return false
	}
	if first&(first-1) == 0 {
		path = append([]proof.Hash{before}, path...)
	}
	if len(path) == 0 {
		return false
	}
	fn, sn := first-1, second-1
	for fn&1 == 1 {
		fn, sn = fn>>1, sn>>1
	}
	fr, sr := path[0], path[0]
	for _, c := range path[1:] {
		if sn == 0 {
			return false
		}
		if fn&1 == 1 || fn == sn {
			fr, sr = hashNode(c, fr), hashNode(c, sr)
			for fn&1 == 0 && fn != 0 {
				fn, sn = fn>>1, sn>>1
			}
		} else {
			sr = hashNode(sr, c)
		}
		fn, sn = fn>>1, sn>>1
	}
	return sn == 0 && fr == before && sr == root
}

func hashesOf(path []proof.Digest) []proof.Hash {
	list := make([]proof.Hash, len(path))
	for i := range path {
		list[i] = proof.Hash(path[i])
	}
	return list
}

func leavesUpTo(n int) []proof.Hash {
	list := make([]proof.Hash, n)
	for i := range list {
		list[i] = hashLeaf(binary.LittleEndian.AppendUint64(nil, uint64(i)))
	}
	return list
}

// The roots that implementations of certificate transparency have in their tests for these leaves.
func TestRootsAreThoseOfCertificateTransparency(t *testing.T) {
	leaves := []string{"", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"}
	roots := []string{
		"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
		"6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
		"fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
		"aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
		"d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
		"4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
		"76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
		"ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
		"5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
	}
	var tree proof.Tree
	for i, want := range roots {
		if root := tree.Root(); hex.EncodeToString(root[:]) != want {
			t.Errorf("%d leaves: %x, want %s", i, root, want)
		}
		if i < len(leaves) {
			data, _ := hex.DecodeString(leaves[i])
			tree.Append(hashLeaf(data))
		}
	}
}

func TestATreeIsThatOfTheRecursion(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(0, 300).Draw(t, "size")
		m := rapid.IntRange(0, n).Draw(t, "from")
		leaves := leavesUpTo(n)
		var tree, past proof.Tree
		for i, leaf := range leaves {
			if i == m {
				past = tree.Clone()
			}
			tree.Append(leaf)
		}
		if m == n {
			past = tree.Clone()
		}
		if tree.Size() != uint64(n) || tree.Root() != rootOf(leaves) || past.Root() != rootOf(leaves[:m]) {
			t.Fatal("another root")
		}
		decoded, rest, err := proof.DecodeTree(append(past.AppendTo(nil), "rest"...))
		if err != nil || string(rest) != "rest" {
			t.Fatal(err)
		}
		for _, leaf := range leaves[m:] {
			decoded.Append(leaf)
		}
		if !bytes.Equal(decoded.AppendTo(nil), tree.AppendTo(nil)) || decoded.Root() != tree.Root() {
			t.Fatal("a tree that was written and read grows in another way")
		}
	})
}

func TestAChangedTreeIsRefused(t *testing.T) {
	var tree proof.Tree
	for _, leaf := range leavesUpTo(7) {
		tree.Append(leaf)
	}
	p := tree.AppendTo(nil)
	for n := range p {
		if _, _, err := proof.DecodeTree(p[:n]); err == nil {
			t.Fatalf("%d bytes of %d are a tree", n, len(p))
		}
	}
	binary.LittleEndian.PutUint64(p, 1<<63)
	if _, _, err := proof.DecodeTree(p); err == nil {
		t.Fatal("a tree has 2^63 leaves")
	}
}

func TestPathsAreThoseOfTheRecursion(t *testing.T) {
	for n := range 40 {
		leaves := leavesUpTo(n)
		root := rootOf(leaves)
		for m := range n + 1 {
			c, err := proof.ConsistencyPath(uint64(m), uint64(n))
			if err != nil {
				t.Fatal(err)
			}
			for _, leaf := range leaves {
				c.Append(leaf)
			}
			path, err := c.Hashes()
			if err != nil || c.Root() != root {
				t.Fatal(err)
			}
			got, want := hashesOf(path), []proof.Hash(nil)
			if m > 0 {
				want = subproof(m, leaves, true)
			}
			if !slices.Equal(got, want) || !extends(uint64(m), uint64(n), got, rootOf(leaves[:m]), root) {
				t.Fatalf("consistency of %d and %d: %x, want %x", m, n, got, want)
			}
			if m == n {
				continue
			}
			in, err := proof.InclusionPath(uint64(m), uint64(n))
			if err != nil {
				t.Fatal(err)
			}
			for _, leaf := range leaves {
				in.Append(leaf)
			}
			if path, err = in.Hashes(); err != nil {
				t.Fatal(err)
			}
			if got, want := hashesOf(path), pathOf(m, leaves); !slices.Equal(got, want) || !includes(uint64(m), uint64(n), leaves[m], got, root) {
				t.Fatalf("leaf %d of %d: %x, want %x", m, n, got, want)
			}
		}
	}
}

func TestAPathNeedsAllLeaves(t *testing.T) {
	p, err := proof.InclusionPath(1, 4)
	if err != nil {
		t.Fatal(err)
	}
	for _, leaf := range leavesUpTo(3) {
		p.Append(leaf)
	}
	if _, err := p.Hashes(); err == nil {
		t.Error("a path of three leaves of four")
	}
	if _, err := proof.InclusionPath(4, 4); err == nil {
		t.Error("a path of a leaf that there is not")
	}
	if _, err := proof.ConsistencyPath(5, 4); err == nil {
		t.Error("a tree goes on from a larger one")
	}
}
