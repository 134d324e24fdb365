package archive_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/kimberlitedb/kimberlite-go/engine/archive"
	"github.com/kimberlitedb/kimberlite-go/engine/proof"
	"github.com/kimberlitedb/kimberlite-go/engine/seg"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// objects is an archive in memory.
type objects map[string][]byte

func (o objects) Put(name string, data []byte) error {
	o[name] = bytes.Clone(data)
	return nil
}

func (o objects) Get(name string) ([]byte, error) {
	if p, ok := o[name]; ok {
		return bytes.Clone(p), nil
	}
	return nil, seg.ErrNotExist
}

func (o objects) Stat(name string) (int64, error) {
	p, err := o.Get(name)
	return int64(len(p)), err
}

func (o objects) List(prefix string) ([]string, error) {
	return slices.DeleteFunc(slices.Sorted(maps.Keys(o)), func(name string) bool { return !strings.HasPrefix(name, prefix) }), nil
}

func (o objects) Remove(name string) error {
	delete(o, name)
	return nil
}

// testKey is a key that everybody knows.
const testKey = "PRIVATE+KEY+kimberlite-test+48b7874a+ARdjSkOsuBF62+/8AwQ4cvzw8WkkGsfTeHDd7+wBKUR6"

// small is an archive with one checkpoint of one stream: events 2 to 5 are there, in two blobs, 6 and 7 were absent, 8 and 9 are gone, and 10
// is there.
type small struct {
	t     testing.TB
	at    objects
	box   *archive.Box
	keys  proof.Keys
	place archive.Place
	line  proof.Stream
	index *archive.Index
}

func record(first wire.Offset, data ...string) *seg.Record {
	r := &seg.Record{Kind: seg.KindAppend, Tenant: 1, Stream: 3, First: first, Position: wire.Position(first), Commit: 1000, Count: uint32(len(data))}
	salt := sha256.Sum256([]byte{byte(first)})
	r.Body = append(r.Body, salt[:seg.SaltSize]...)
	for i, d := range data {
		r.Body = wire.AppendEvent(r.Body, first+wire.Offset(i), []byte(d), 1000)
	}
	return r
}

func newSmall(t testing.TB) *small {
	t.Helper()
	s := &small{t: t, at: objects{}, place: archive.Place{Store: 5, Tenant: 1, Position: 20, ID: wire.CheckpointID{1}}}
	s.box = &archive.Box{Objects: s.at}
	if err := s.box.Begin(); err != nil {
		t.Fatal(err)
	}
	s.index = &archive.Index{Checkpoint: s.place.ID}
	s.line = proof.Stream{ID: 3, Name: "orders", Class: "PHI", Base: 2, Oldest: 2, Head: 11, Absent: []proof.Absent{{From: 6, To: 8, Reason: proof.Lost}}}
	var tree proof.Tree
	var l proof.Leaves
	leavesOf := func(r *seg.Record) []proof.Hash {
		list, err := l.Of(nil, r, 9)
		if err != nil {
			t.Fatal(err)
		}
		return list
	}
	grow := func(list ...proof.Hash) {
		for _, h := range list {
			tree.Append(h)
		}
	}
	one, two := record(2, "one"), record(3, "two", "three")
	three, gone, last := record(5, "four"), record(8, "five", "six"), record(10, "seven")
	grow(slices.Concat(leavesOf(one), leavesOf(two), leavesOf(three), []proof.Hash{proof.AbsentLeaf(3, 6), proof.AbsentLeaf(3, 7)}, leavesOf(gone), leavesOf(last))...)
	s.line.Root = proof.Digest(tree.Root())
	s.section(2, 5, "", slices.Concat(archive.Bare(one), archive.Bare(two)))
	s.section(5, 6, "", archive.Bare(three))
	var hashes []byte
	for _, h := range leavesOf(gone) {
		hashes = append(hashes, h[:]...)
	}
	s.section(8, 10, proof.Retention, hashes)
	s.section(10, 11, "", archive.Bare(last))
	s.sign()
	return s
}

func (s *small) keep(raw []byte) archive.Blob {
	s.t.Helper()
	b, p, err := s.box.Pack(raw)
	if err != nil {
		s.t.Fatal(err)
	}
	s.at[archive.BlobName(b.Digest)] = p
	return b
}

func (s *small) section(first, next wire.Offset, gone string, raw []byte) {
	b := s.keep(append([]byte("before"), raw...))
	s.index.Sections = append(s.index.Sections, archive.Section{Stream: 3, First: first, Next: next, Blob: b, Start: 6, Length: len(raw), Gone: gone})
}

// sign writes manifest, index and note.
func (s *small) sign() {
	s.t.Helper()
	state := []byte("state")
	man := &proof.Manifest{Head: proof.Head{Checkpoint: s.place.ID.String(), Tenant: 1, Name: "acme", Position: s.place.Position, Time: 1000, State: sha256.Sum256(state)}, Streams: []proof.Stream{s.line}}
	text := man.Encode()
	s.index.Manifest, s.index.State = s.keep(text), s.keep(state)
	s.put()
	n := &proof.Note{Store: s.place.Store, Tenant: 1, ID: s.place.ID, Position: s.place.Position, Time: 1000}
	n.Lines, n.Root = proof.LinesRoot(text)
	signers, err := proof.Signers([]byte(testKey))
	if err != nil {
		s.t.Fatal(err)
	}
	signed, err := n.Sign(signers...)
	if err != nil {
		s.t.Fatal(err)
	}
	if s.keys, err = proof.Verifiers([]byte(testKey)); err != nil {
		s.t.Fatal(err)
	}
	s.at[s.place.Note()] = signed
}

// put writes the index.
func (s *small) put() { s.at[s.place.Index()] = s.index.Encode() }

// verdict opens the checkpoint and verifies its stream.
func (s *small) verdict() (archive.Verdict, error) {
	c, err := s.box.Open(s.place, s.keys)
	if err != nil {
		return archive.Verdict{}, err
	}
	v := c.Verify(&c.Manifest.Streams[0])
	return v, v.Err
}

func (s *small) String() string {
	v, err := s.verdict()
	return fmt.Sprintf("%d there, %d gone, %d absent, %v", v.Events, v.Gone, v.Absent, err)
}
