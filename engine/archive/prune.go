package archive

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/kimberlitedb/kimberlite-go/engine/proof"
	"github.com/kimberlitedb/kimberlite-go/engine/seg"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// Prune takes events out of all checkpoints of a tenant that are in an archive: their records go, and their leaves stay. Tables go with the
// statements that came behind them. What is left of the
// blobs that have them is stored anew, then the indexes name that, and then the old blobs are removed, with whatever sendings have left
// behind that did not come to their end; none may be under way. The drafts say which blobs these are until then. It returns how many
// events it has taken out.
//
// The left function says what is left of a stream: its oldest event, and whether anything is.
func (b *Box) Prune(prefix string, left func(wire.StreamID) (wire.Offset, bool)) (gone uint64, err error) {
	places, err := b.Find(prefix)
	if err != nil {
		return 0, err
	}
	p := pruning{box: b, left: left, done: map[Section][]Section{}}
	for _, at := range places {
		if err := p.checkpoint(at); err != nil {
			return p.gone, fmt.Errorf("%s: %w", at.Index(), err)
		}
	}
	names, err := b.List(prefix)
	if err != nil {
		return p.gone, err
	}
	for _, name := range names {
		at, ok := parseDraft(name)
		if !ok {
			continue
		}
		drafted, err := b.Drafted(at)
		if err == nil {
			err = b.Clear(at, drafted)
		}
		if err != nil {
			return p.gone, err
		}
	}
	return p.gone, nil
}

// pruning is a Prune under way.
type pruning struct {
	box  *Box
	to   *Parcel // of the checkpoint at hand
	left func(wire.StreamID) (wire.Offset, bool)
	done map[Section][]Section // what became of sections; checkpoints share them
	gone uint64
}

// low returns the oldest offset that is left of a section, its end where nothing is, and why the rest goes.
func (p *pruning) low(s *Section) (wire.Offset, string) {
	oldest, ok := p.left(s.Stream)
	if !ok {
		return s.Next, proof.Purge
	}
	return min(max(oldest, s.First), s.Next), proof.Retention
}

// checkpoint prunes a checkpoint.
func (p *pruning) checkpoint(at Place) error {
	x, err := p.box.Index(at)
	if err != nil {
		return err
	}
	drafted, err := p.box.Drafted(at)
	if err != nil {
		return err
	}
	p.to = p.box.Parcel(at, drafted)
	changed, err := p.index(x)
	changed = p.tables(x, at.Tenant) || changed
	if err != nil || !changed {
		return err
	}
	if err := p.to.Draft(); err != nil { // where all that is left is in blobs that another checkpoint has brought
		return err
	}
	if err := p.to.Send(); err != nil {
		return err
	}
	return p.box.Write(at.Index(), x.Encode())
}

// tables takes the tables out of an index where statements are gone that came later: then what the tables were is forgotten, and rows that
// were deleted since are to be nowhere. It reports whether there were any.
func (p *pruning) tables(x *Index, tenant wire.TenantID) bool {
	oldest, ok := p.left(statements(tenant))
	if len(x.Tables) == 0 || ok && x.Statements >= oldest {
		return false
	}
	x.Tables, x.Statements, x.TablesGone = nil, 0, "the history of the tables is forgotten"
	return true
}

// index prunes an index. It reports whether that has changed it.
func (p *pruning) index(x *Index) (changed bool, err error) {
	hit := map[Blob]bool{} // blobs that have something which goes
	for i := range x.Sections {
		s := &x.Sections[i]
		if low, _ := p.low(s); s.Gone == "" && low > s.First {
			hit[s.Blob] = true
		}
	}
	if len(hit) == 0 {
		return false, nil
	}
	var list []Section
	for i := range x.Sections {
		s := x.Sections[i]
		if !hit[s.Blob] {
			list = append(list, s)
			continue
		}
		if _, known := p.done[s]; !known {
			if err := p.blob(x, s.Blob); err != nil {
				return false, err
			}
		}
		list = append(list, p.done[s]...)
	}
	x.Sections = list
	return true, nil
}

// blob stores what is left of a blob, and of its sections in an index.
func (p *pruning) blob(x *Index, old Blob) error {
	raw, err := p.box.Blob(old, MaxBlob)
	if err != nil {
		return err
	}
	var left []byte
	var of []Section
	made := map[Section][]Section{}
	for i := range x.Sections {
		s := x.Sections[i]
		if s.Blob != old {
			continue
		}
		if s.Start+s.Length > len(raw) {
			return fmt.Errorf("%s: %w", BlobName(old.Digest), ErrDigest)
		}
		pieces, err := p.section(&s, raw[s.Start:s.Start+s.Length], &left)
		if err != nil {
			return fmt.Errorf("%s: %w", BlobName(old.Digest), err)
		}
		made[s] = pieces
		of = append(of, s)
	}
	blob, err := p.to.Add(left)
	if err != nil {
		return err
	}
	for _, s := range of {
		pieces := made[s]
		for i := range pieces {
			pieces[i].Blob = blob
		}
		p.done[s] = pieces
	}
	return nil
}

// section appends what is left of a section to the new blob, and returns the sections that it makes there.
func (p *pruning) section(s *Section, raw []byte, left *[]byte) (list []Section, err error) {
	put := func(first, next wire.Offset, p []byte, gone string) {
		if len(p) > 0 {
			list = append(list, Section{Stream: s.Stream, First: first, Next: next, Start: len(*left), Length: len(p), Gone: gone})
			*left = append(*left, p...)
		}
	}
	low, why := p.low(s)
	if s.Gone != "" || low == s.First {
		put(s.First, s.Next, raw, s.Gone)
		return list, nil
	}
	var hasher proof.Leaves
	var leaves []proof.Hash
	var kept bytes.Buffer
	for len(raw) > 0 {
		var r seg.Record
		n, err := seg.CheckRecord(raw, &r)
		if err != nil {
			return nil, err
		}
		end := r.First + wire.Offset(r.Count)
		if r.First < low {
			all, err := hasher.Of(nil, &r, s.Stream)
			if err != nil {
				return nil, err
			}
			leaves = append(leaves, all[:min(end, low)-r.First]...)
		}
		switch {
		case r.First >= low:
			kept.Write(raw[:n])
		case end > low:
			kept.Write(r.Without(int(low - r.First)))
		}
		raw = raw[n:]
	}
	if uint64(len(leaves)) != uint64(low-s.First) {
		return nil, errors.New("the section does not have the events that the index says")
	}
	var gone bytes.Buffer
	for i := range leaves {
		gone.Write(leaves[i][:])
	}
	p.gone += uint64(len(leaves))
	put(s.First, low, gone.Bytes(), why)
	put(low, s.Next, kept.Bytes(), "")
	return list, nil
}
