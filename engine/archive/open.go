package archive

import (
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/kimberlitedb/kimberlite-go/engine/proof"
	"github.com/kimberlitedb/kimberlite-go/engine/seg"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// Checkpoint is one of an archive, whose note a key has verified, and whose manifest and state are those that the note commits to. What
// its streams hold is not looked at yet.
type Checkpoint struct {
	Place
	Note     *proof.Note
	Signed   []byte   // the note
	By       []string // names of the keys that have verified it
	Manifest *proof.Manifest
	Text     []byte // of the manifest
	State    []byte
	Index    *Index

	box  *Box
	blob Blob   // that was read last
	raw  []byte // what is in it
}

// Open opens a checkpoint, and checks all of it but for its streams.
func (b *Box) Open(p Place, keys proof.Keys) (*Checkpoint, error) {
	c := &Checkpoint{Place: p, box: b}
	var err error
	if c.Signed, err = b.Get(p.Note()); err != nil {
		return nil, fmt.Errorf("%s: %w", p.Note(), err)
	}
	if c.Note, c.By, err = proof.Open(c.Signed, keys); err != nil {
		return nil, fmt.Errorf("%s: %w", p.Note(), err)
	}
	if got := (Place{c.Note.Store, c.Note.Tenant, c.Note.Position, c.Note.ID}); got != p {
		return nil, fmt.Errorf("%s: it is the note of checkpoint %s of tenant %d", p.Note(), got.ID, got.Tenant)
	}
	if c.Index, err = b.Index(p); err != nil {
		return nil, err
	}
	if c.Text, err = b.Blob(c.Index.Manifest, MaxWhole); err != nil {
		return nil, fmt.Errorf("manifest: %w", err)
	}
	if c.Manifest, err = c.Note.Manifest(c.Text); err != nil {
		return nil, fmt.Errorf("manifest %s: %w", BlobName(c.Index.Manifest.Digest), err)
	}
	if c.State, err = b.Blob(c.Index.State, MaxWhole); err != nil {
		return nil, fmt.Errorf("state: %w", err)
	}
	if sha256.Sum256(c.State) != c.Manifest.State {
		return nil, fmt.Errorf("state %s: it is not the one that the manifest commits to", BlobName(c.Index.State.Digest))
	}
	return c, nil
}

// Visitor takes what a checkpoint has of a stream.
type Visitor struct {
	// Record takes a record, which may be used until it returns.
	Record func(*seg.Record) error
	// Gone takes the leaves of events that have left, from an offset on.
	Gone func(first wire.Offset, leaves []proof.Hash) error
	// Absent takes a run of events of which there never was anything.
	Absent func(from, to wire.Offset) error
}

// errGap says that an archive does not have what its checkpoint commits to.
var errGap = errors.New("nothing in the archive tells what is there")

// Walk visits what a checkpoint has of a stream, in the order of offsets and without a gap. Nothing says yet that it is what the
// manifest commits to.
func (c *Checkpoint) Walk(line *proof.Stream, v Visitor) error {
	next := line.Base
	pass := func(upto wire.Offset) error {
		for next < upto {
			absent, until := line.Missing(next)
			if !absent {
				return fmt.Errorf("event %d: %w", next, errGap)
			}
			until = min(until, upto)
			if err := v.Absent(next, until); err != nil {
				return err
			}
			next = until
		}
		return nil
	}
	sections := c.Index.of(line.ID)
	for i := range sections {
		s := &sections[i]
		if err := pass(min(s.First, line.Head)); err != nil {
			return err
		}
		if s.First < next || s.Next > line.Head {
			return fmt.Errorf("events %d to %d: the index has them twice, or beyond the stream's end", s.First, s.Next-1)
		}
		if absent, until := line.Missing(s.First); absent || until < s.Next {
			return fmt.Errorf("events %d to %d: the index has some of which there never was anything", s.First, s.Next-1)
		}
		if err := c.section(s, v); err != nil {
			return fmt.Errorf("events %d to %d: %w", s.First, s.Next-1, err)
		}
		next = s.Next
	}
	return pass(line.Head)
}

func (c *Checkpoint) section(s *Section, v Visitor) error {
	if c.blob != s.Blob {
		raw, err := c.box.Blob(s.Blob, MaxBlob)
		if err != nil {
			return err
		}
		c.blob, c.raw = s.Blob, raw
	}
	if s.Start+s.Length > len(c.raw) {
		return fmt.Errorf("%s: it is too short: %w", BlobName(s.Digest), ErrDigest)
	}
	p := c.raw[s.Start : s.Start+s.Length]
	if s.Gone != "" {
		leaves := make([]proof.Hash, s.Next-s.First)
		for i := range leaves {
			leaves[i] = proof.Hash(p[i*sha256.Size:])
		}
		return v.Gone(s.First, leaves)
	}
	next := s.First
	for len(p) > 0 {
		var r seg.Record
		n, err := seg.CheckRecord(p, &r)
		if err != nil {
			return fmt.Errorf("%s: record at %d: %w", BlobName(s.Digest), len(c.raw)-len(p), err)
		}
		if r.First != next || uint64(r.Count) > uint64(s.Next-next) {
			return fmt.Errorf("%s: events %d to %d are not those that follow", BlobName(s.Digest), r.First, r.First+wire.Offset(r.Count))
		}
		if err := v.Record(&r); err != nil {
			return err
		}
		p, next = p[n:], next+wire.Offset(r.Count)
	}
	if next != s.Next {
		return fmt.Errorf("%s: the section ends before event %d", BlobName(s.Digest), next)
	}
	return nil
}

// Records visits all records of a checkpoint, stream by stream. It is what engine.Restoring wants.
func (c *Checkpoint) Records(visit func(*seg.Record) error) error {
	for i := range c.Manifest.Streams {
		line := &c.Manifest.Streams[i]
		err := c.Walk(line, Visitor{
			Record: visit,
			Gone:   func(wire.Offset, []proof.Hash) error { return nil },
			Absent: func(wire.Offset, wire.Offset) error { return nil },
		})
		if err != nil {
			return fmt.Errorf("stream %q: %w", line.Name, err)
		}
	}
	return nil
}
