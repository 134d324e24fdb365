package proof

import (
	"errors"
	"fmt"

	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
)

// Path computes the hashes that prove something about a tree, while the leaves of that go by.
type Path struct {
	tree  Tree
	size  uint64
	nodes proof.Nodes
	at    map[compact.NodeID]int // where the hash of a node belongs
	found [][]byte
}

// InclusionPath returns the path of a leaf in a tree of a size.
func InclusionPath(index, size uint64) (*Path, error) {
	nodes, err := proof.Inclusion(index, size)
	return pathOf(nodes, size), err
}

// ConsistencyPath returns the path that proves that a tree of a size goes on from one of another size.
func ConsistencyPath(from, size uint64) (*Path, error) {
	nodes, err := proof.Consistency(from, size)
	return pathOf(nodes, size), err
}

func pathOf(nodes proof.Nodes, size uint64) *Path {
	p := &Path{size: size, nodes: nodes, at: map[compact.NodeID]int{}, found: make([][]byte, len(nodes.IDs))}
	for i, id := range nodes.IDs {
		p.at[id] = i
	}
	return p
}

// Append takes the next leaf.
func (p *Path) Append(leaf Hash) { p.tree.grow(leaf, p.take) }

func (p *Path) take(id compact.NodeID, h Hash) {
	if i, wanted := p.at[id]; wanted {
		p.found[i] = h[:]
	}
}

// Root returns the root of the tree.
func (p *Path) Root() Hash { return p.tree.Root() }

// errLeaves says that a tree did not get the leaves that it should have.
var errLeaves = errors.New("proof: a tree has more leaves than went by, or fewer")

// Hashes returns the path, once all leaves have gone by.
func (p *Path) Hashes() ([]Digest, error) {
	if p.tree.size != p.size {
		return nil, errLeaves
	}
	return rehash(p.nodes, p.found)
}

// rehash makes a path of the hashes of its nodes.
func rehash(nodes proof.Nodes, hashes [][]byte) ([]Digest, error) {
	list, err := nodes.Rehash(hashes, rfc6962.DefaultHasher.HashChildren)
	path := make([]Digest, len(list))
	for i := range list {
		path[i] = Digest(list[i])
	}
	return path, err
}

// slicesOf returns hashes as the verifying functions want them.
func slicesOf(path []Digest) [][]byte {
	list := make([][]byte, len(path))
	for i := range path {
		list[i] = path[i][:]
	}
	return list
}

// errInclusion and errConsistency say that a proof proves nothing.
var (
	errInclusion   = errors.New("the path does not lead from the leaf to the root")
	errConsistency = errors.New("the path does not lead to both roots: the later tree does not go on from the earlier one")
)

// included checks that a tree of a size and a root has a leaf at an index.
func included(index, size uint64, leaf Hash, path []Digest, root Hash) error {
	if size > maxTree || proof.VerifyInclusion(rfc6962.DefaultHasher, index, size, leaf[:], slicesOf(path), root[:]) != nil {
		return errInclusion
	}
	return nil
}

// consistent checks that a tree goes on from another one.
func consistent(from, size uint64, path []Digest, before, root Hash) error {
	var none Tree
	if from == 0 && before != none.Root() || from > size || size > maxTree ||
		proof.VerifyConsistency(rfc6962.DefaultHasher, from, size, slicesOf(path), before[:], root[:]) != nil {
		return errConsistency
	}
	return nil
}

// Lines are the lines of a manifest, and all nodes of the tree of them.
type Lines struct {
	text   []string
	levels [][]Hash
	tree   Tree
}

// LinesOf returns the lines of a manifest.
func LinesOf(m *Manifest) *Lines {
	l := &Lines{}
	l.add(&m.Head)
	for i := range m.Streams {
		l.add(&m.Streams[i])
	}
	return l
}

func (l *Lines) add(v any) {
	line := encode(v)
	line = line[:len(line)-1]
	l.text = append(l.text, string(line))
	l.tree.grow(leafOfLine(line), func(id compact.NodeID, h Hash) {
		if int(id.Level) == len(l.levels) {
			l.levels = append(l.levels, nil)
		}
		l.levels[id.Level] = append(l.levels[id.Level], h)
	})
}

// Show returns a line, so that it can be checked without the others. The head is line 0.
func (l *Lines) Show(i int) (*Line, error) {
	nodes, err := proof.Inclusion(uint64(i), l.tree.size)
	if err != nil {
		return nil, err
	}
	hashes := make([][]byte, len(nodes.IDs))
	for j, id := range nodes.IDs {
		hashes[j] = l.levels[id.Level][id.Index][:]
	}
	path, err := rehash(nodes, hashes)
	return &Line{l.text[i], uint64(i), path}, err
}

// Line is a line of a manifest, shown without the others.
type Line struct {
	Text  string   `json:"line"`
	Index uint64   `json:"index"` // among the lines; the head is 0
	Path  []Digest `json:"path"`  // in the tree of lines
}

// check checks that a note commits to the line.
func (l *Line) check(n *Note) error {
	if err := included(l.Index, n.Lines, leafOfLine([]byte(l.Text)), l.Path, n.Root); err != nil {
		return fmt.Errorf("line %d of the manifest: %w", l.Index, err)
	}
	return nil
}

// stream returns what the line says of a stream, if a note commits to it.
func (l *Line) stream(n *Note) (*Stream, error) {
	if err := l.check(n); err != nil {
		return nil, err
	}
	s := &Stream{}
	if err := s.decode([]byte(l.Text)); err != nil {
		return nil, fmt.Errorf("line %d of the manifest: %w", l.Index, err)
	}
	return s, nil
}

// head returns what the line says, if it is the first one of the manifest that a note commits to.
func (l *Line) head(n *Note) (*Head, error) {
	if err := l.check(n); err != nil {
		return nil, err
	}
	if l.Index != 0 {
		return nil, errOther
	}
	h := &Head{}
	if err := h.decode([]byte(l.Text)); err != nil {
		return nil, fmt.Errorf("line %d of the manifest: %w", l.Index, err)
	}
	return h, n.agrees(h)
}
