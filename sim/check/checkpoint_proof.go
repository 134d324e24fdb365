package check

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/kimberlitedb/kimberlite-go/engine/proof"
	"github.com/kimberlitedb/kimberlite-go/engine/seg"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// CheckpointKey signs the notes of checkpoints in every run.
const CheckpointKey = "PRIVATE+KEY+kimberlite-test+48b7874a+ARdjSkOsuBF62+/8AwQ4cvzw8WkkGsfTeHDd7+wBKUR6"

// checkpointKey is its public half.
const checkpointKey = "kimberlite-test+48b7874a+AckX5e3FbDsypBvUwHRnbiL+e19HS0jVKg6FHCgSSw1s"

// leafOf is the leaf of an event, as RFC 6962 and the design say. Without a salt it is that of an act.
func leafOf(stream wire.StreamID, r *seg.Record, o wire.Offset, encoded, salt []byte) [32]byte {
	p := make([]byte, 17, 41+len(encoded))
	if salt != nil { // the record's, which is the first link of a chain
		link := append([]byte{1}, salt[:16]...)
		for range o - r.First {
			next := sha256.Sum256(link)
			link = append([]byte{1}, next[:16]...)
		}
		link[0] = 0
		sum := sha256.Sum256(link)
		copy(p[1:], sum[:16])
	}
	for _, n := range []uint64{uint64(stream), uint64(r.Position), uint64(r.Commit)} {
		p = binary.LittleEndian.AppendUint64(p, n)
	}
	return sha256.Sum256(append(p, encoded...))
}

// missingLeaf is the leaf of an event that was gone before it could be hashed.
func missingLeaf(stream wire.StreamID, o wire.Offset) [32]byte {
	p := binary.LittleEndian.AppendUint64([]byte("\x00kimberlite: no event"), uint64(stream))
	return sha256.Sum256(binary.LittleEndian.AppendUint64(p, uint64(o)))
}

// treeRoot is the root of a tree, as RFC 6962 defines it.
func treeRoot(leaves [][32]byte) [32]byte {
	switch n := len(leaves); n {
	case 0:
		return sha256.Sum256(nil)
	case 1:
		return leaves[0]
	default:
		k := 1
		for 2*k < n {
			k *= 2
		}
		left, right := treeRoot(leaves[:k]), treeRoot(leaves[k:])
		return sha256.Sum256(append(append([]byte{1}, left[:]...), right[:]...))
	}
}

// openNote checks a note's signature, and that it is about a checkpoint. It returns the lines of the manifest and their root.
func openNote(store seg.StoreID, c *Cut, signed string) (lines, root string, err error) {
	v, err := note.NewVerifier(checkpointKey)
	if err != nil {
		return "", "", err
	}
	n, err := note.Open([]byte(signed), note.VerifierList(v))
	if err != nil {
		return "", "", err
	}
	part := strings.Split(n.Text, "\n")
	if len(part) < 3 {
		return "", "", errors.New("it is too short")
	}
	want := fmt.Sprintf("kimberlite/%016x/tenant/%d\n%s\n%s\ncheckpoint %s\n", uint64(store), c.Tenant, part[1], part[2], c.ID)
	if c.Label != "" {
		want += "label " + c.Label + "\n"
	}
	want += fmt.Sprintf("position %d\ntime %s\n", c.Position, time.Unix(0, int64(c.Time)).UTC().Format(time.RFC3339Nano))
	if n.Text != want {
		return "", "", fmt.Errorf("it says %q, expected is %q", n.Text, want)
	}
	return part[1], part[2], nil
}

// Files judges what is on the disk at rest: every checkpoint is kept, its file and the leaves are what the log says, the roots are those of
// the events that were written, and nothing else is left. Files that the disk has damaged are excused.
func (x *Checkpoints) Files(fs seg.Files, ruined func(name string) bool) {
	if x.quiet() {
		return
	}
	want := map[string]bool{}
	for id, t := range x.tenants { //det:order-free: each for itself
		chain := x.chain(id)
		for _, c := range chain {
			want[seg.LeavesName(c.ID)] = true
		}
		for _, c := range x.all {
			if c.Tenant != id || c.dropped > 0 {
				continue
			}
			want[seg.CheckpointName(c.ID)] = true
			x.suite.must(Live, c.kept > 0, "checkpoint %s of position %d of tenant %d is not kept at rest", c.ID, c.Position, id)
			if !x.quiet() && !ruined(seg.CheckpointName(c.ID)) {
				if err := x.file(fs, t, c, chain, ruined); err != nil {
					x.suite.mustPart(Checkpoint, "proof", false, "checkpoint %s of position %d of tenant %d: %v", c.ID, c.Position, id, err)
				}
			}
		}
	}
	names, _ := fs.List() // of a copy, which no fault reaches
	for _, name := range names {
		_, file := seg.ParseCheckpointName(name)
		_, leaves := seg.ParseLeavesName(name)
		x.suite.mustPart(Checkpoint, "proof", !file && !leaves || want[name], "%s is left of a checkpoint that is deleted", name)
	}
}

// chain returns the checkpoints of a tenant whose files of leaves are there, in the order of their positions: those up to the last
// that is kept, deleted ones too, since the trees of that one have grown over them.
func (x *Checkpoints) chain(t wire.TenantID) (list []*Cut) {
	type change struct {
		at seg.LSN
		c  *Cut
	}
	var changes []change
	for _, c := range x.all {
		if c.Tenant == t && c.kept > 0 {
			changes = append(changes, change{c.kept, c})
		}
		if c.Tenant == t && c.dropped > 0 {
			changes = append(changes, change{c.dropped, c})
		}
	}
	slices.SortFunc(changes, func(a, b change) int { return int(a.at) - int(b.at) })
	for _, g := range changes {
		if g.at == g.c.kept {
			list = append(list, g.c)
			continue
		}
		newest := wire.Position(0)
		for _, c := range x.all {
			if c.Tenant == t && c.kept > 0 && c.kept <= g.at && c.live(g.at) {
				newest = max(newest, c.Position)
			}
		}
		list = slices.DeleteFunc(list, func(c *Cut) bool { return c.Position > newest })
	}
	return list
}

// file judges a checkpoint's file.
func (x *Checkpoints) file(fs seg.Files, t *cutTenant, c *Cut, chain []*Cut, ruined func(string) bool) error {
	f, err := seg.ReadCheckpoint(fs, x.Store, c.ID)
	if err != nil {
		return err
	}
	x.suite.Saw(Checkpoint, true)
	if sha256.Sum256(f.Note) != c.digest || c.note != "" && c.note != string(f.Note) {
		return errors.New("the note is not the one that the log or a client was told of")
	}
	size, root, err := openNote(x.Store, c, string(f.Note))
	if err != nil {
		return fmt.Errorf("note: %w", err)
	}
	var lines [][32]byte
	for _, line := range strings.SplitAfter(string(f.Manifest), "\n") {
		if line != "" {
			lines = append(lines, sha256.Sum256([]byte("\x00"+strings.TrimSuffix(line, "\n"))))
		}
	}
	if r := treeRoot(lines); size != fmt.Sprint(len(lines)) || root != base64.StdEncoding.EncodeToString(r[:]) {
		return fmt.Errorf("the note tells of %s lines with root %s, and the manifest has %d with root %x", size, root, len(lines), r)
	}
	man, err := proof.DecodeManifest(f.Manifest)
	if err != nil {
		return err
	}
	if err := x.manifest(t, c, man, f); err != nil {
		return err
	}
	return x.trees(fs, t, c, man, chain, ruined)
}

// manifest judges the lines of a manifest.
func (x *Checkpoints) manifest(t *cutTenant, c *Cut, man *proof.Manifest, f *seg.Checkpoint) error {
	statements := wire.Offset(0)
	if s := t.stream(Statements(c.Tenant)); s != nil {
		statements = s.head(c.Position)
	}
	if man.Checkpoint != c.ID.String() || man.Label != c.Label || man.Tenant != c.Tenant || man.Position != c.Position || man.Time != c.Time ||
		man.State != sha256.Sum256(f.State) || man.Statements != statements {
		return fmt.Errorf("the manifest begins with %+v", man.Head)
	}
	streams := x.streams(c)
	if len(streams) != len(man.Streams) {
		return fmt.Errorf("the manifest has %d streams, %d were there", len(man.Streams), len(streams))
	}
	for i, s := range streams {
		line, oldest, head := &man.Streams[i], s.oldest(c.lsn), s.head(c.Position)
		if line.ID != s.id || line.Name != s.name || line.Oldest != oldest || line.Head != head || line.Bytes != s.bytes(oldest, head) {
			return fmt.Errorf("the manifest says %+v of stream %d %q from %d to %d", *line, s.id, s.name, oldest, head)
		}
		if told, ok := c.lines[s.id]; ok && told != (wireLine{line.Base, string(line.Root[:])}) {
			return fmt.Errorf("stream %d: base %d and root %s; a client was told of base %d and root %x", s.id, line.Base, line.Root, told.base, told.root)
		}
	}
	return nil
}

// trees judges the leaves that are kept, and the roots over them.
func (x *Checkpoints) trees(fs seg.Files, t *cutTenant, c *Cut, man *proof.Manifest, chain []*Cut, ruined func(string) bool) error {
	leaves := map[wire.StreamID][][32]byte{}
	from := map[wire.StreamID]wire.Offset{}
	for _, p := range chain {
		if p.Position > c.Position {
			break
		}
		l, err := seg.OpenLeaves(fs, x.Store, p.ID)
		if err != nil || ruined(seg.LeavesName(p.ID)) {
			if ruined(seg.LeavesName(p.ID)) {
				return nil
			}
			return err
		}
		for i := range man.Streams {
			id := man.Streams[i].ID
			first, next := l.Of(id)
			if first == next {
				continue
			}
			if have := from[id] + wire.Offset(len(leaves[id])); first > have || len(leaves[id]) == 0 || first < from[id] {
				from[id], leaves[id] = first, nil
			}
			leaves[id], err = l.Read(leaves[id][:first-from[id]], id, first, next)
			if err != nil {
				return fmt.Errorf("%s: %w", seg.LeavesName(p.ID), err)
			}
		}
		l.Close() // it was read only
	}
	if err := x.previous(c, man, chain, ruined); err != nil {
		return err
	}
	for i := range man.Streams {
		line := &man.Streams[i]
		have, start := leaves[line.ID], from[line.ID]
		if line.Base == line.Head {
			have, start = nil, line.Base
		}
		if line.Base < start || line.Head > start+wire.Offset(len(have)) {
			return fmt.Errorf("stream %d: the leaves from %d to %d are there, of the tree from %d to %d", line.ID, start, int(start)+len(have), line.Base, line.Head)
		}
		tree := have[line.Base-start : line.Head-start]
		if treeRoot(tree) != line.Root {
			return fmt.Errorf("stream %d: the leaves from %d to %d have root %x, and not %s", line.ID, line.Base, line.Head, treeRoot(tree), line.Root)
		}
		if err := x.leaves(t.stream(line.ID), c, line, tree); err != nil {
			return err
		}
	}
	return nil
}

// previous judges from which trees those of a checkpoint have grown: from those of the last one that was kept.
func (x *Checkpoints) previous(c *Cut, man *proof.Manifest, chain []*Cut, ruined func(string) bool) error {
	for _, p := range slices.Backward(chain) {
		if p.Position >= c.Position {
			continue
		}
		if man.Previous == p.ID.String() || p.dropped > 0 && p.dropped < c.kept {
			return nil
		}
		if ruined(seg.CheckpointName(p.ID)) {
			continue
		}
		return fmt.Errorf("its trees go on from %q, and not from those of %s, the newest", man.Previous, p.ID)
	}
	return nil
}

// leaves judges the leaves of a stream: those of the events that were written, or of none where one could be gone.
func (x *Checkpoints) leaves(s *logStream, c *Cut, line *proof.Stream, tree [][32]byte) error {
	absent := line.Absent
	for i, leaf := range tree {
		o := line.Base + wire.Offset(i)
		for len(absent) > 0 && o >= absent[0].To {
			absent = absent[1:]
		}
		want := s.events[o].leaf
		if len(absent) > 0 && o >= absent[0].From {
			want = missingLeaf(s.id, o)
			lawful := absent[0].Reason == proof.Retention && o < s.oldest(c.kept) || absent[0].Reason == proof.Purge && !s.had(c.kept) ||
				absent[0].Reason == proof.Lost && x.Lossy()
			if !lawful {
				return fmt.Errorf("stream %d: event %d is said to be gone by %s, and was there", s.id, o, absent[0].Reason)
			}
		}
		if x.suite.Saw(Checkpoint, true); leaf != want {
			return fmt.Errorf("stream %d: the leaf of event %d is %x, expected is %x", s.id, o, leaf, want)
		}
	}
	return nil
}
