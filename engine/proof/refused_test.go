package proof_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/kimberlitedb/kimberlite-go/engine/proof"
)

// nearly is a document that must not be taken for a proof.
type nearly struct {
	name     string
	document []byte
}

// refused are documents that are nearly proofs. What is signed of most of them is true.
func refused(t testing.TB) (list []nearly) {
	t.Helper()
	a, b := samples(t)
	add := func(name string, doc []byte) { list = append(list, nearly{name, doc}) }
	in := func(name string, change func(d *proof.Inclusion)) {
		d := b.include(t, 0, 9, false)
		change(d)
		add(name, d.Encode())
	}
	in("the offset of another event", func(d *proof.Inclusion) { d.Offset = 10 })
	in("an offset before the tree", func(d *proof.Inclusion) { d.Offset = 2 })
	in("an offset behind the tree", func(d *proof.Inclusion) { d.Offset = 12 })
	in("another position", func(d *proof.Inclusion) { d.Event.Position++ })
	in("another commit time", func(d *proof.Inclusion) { d.Event.Commit++ })
	in("another salt", func(d *proof.Inclusion) { d.Event.Salt[0]++ })
	in("another byte of data", func(d *proof.Inclusion) { d.Event.Encoded[16]++ })
	in("bytes behind the event", func(d *proof.Inclusion) { d.Event.Encoded = append(d.Event.Encoded, 0) })
	in("an event and a leaf", func(d *proof.Inclusion) { d.Leaf = (*proof.Digest)(&b.streams[0].leaves[6]) })
	in("neither event nor leaf", func(d *proof.Inclusion) { d.Event = nil })
	in("a path that is too short", func(d *proof.Inclusion) { d.Path = d.Path[1:] })
	in("a path that is too long", func(d *proof.Inclusion) { d.Path = append(d.Path, d.Path[0]) })
	in("the line of another stream", func(d *proof.Inclusion) { d.Stream = *b.show(t, 2) })
	in("the number of another line", func(d *proof.Inclusion) { d.Stream.Index = 2 })
	in("the note of another checkpoint", func(d *proof.Inclusion) { d.Note = string(a.signed) })
	in("a note whose text was changed", func(d *proof.Inclusion) { d.Note = strings.Replace(d.Note, "position 12", "position 13", 1) })
	in("a note that nobody has signed", func(d *proof.Inclusion) { d.Note = b.note.Text() + "\n" })
	gone := b.include(t, 0, 7, false)
	gone.Leaf = (*proof.Digest)(&b.streams[0].leaves[4])
	add("the leaf of an event that is said to be absent", gone.Encode())
	whole := func(name string, change func(d *proof.Consistency)) {
		d := b.since(t, a, orders, mail, news, testAudit)
		change(d)
		add(name, d.Encode())
	}
	whole("the later checkpoint first", func(d *proof.Consistency) { d.Earlier, d.Later = d.Later, d.Earlier })
	whole("the same checkpoint twice", func(d *proof.Consistency) { d.Earlier = d.Later })
	whole("a stream as the head", func(d *proof.Consistency) { d.Later.Head = *b.show(t, 1) })
	whole("two streams as one", func(d *proof.Consistency) { d.Streams[0].Later = d.Streams[3].Later })
	whole("streams in another order", func(d *proof.Consistency) { d.Streams[0], d.Streams[3] = d.Streams[3], d.Streams[0] })
	whole("a stream twice", func(d *proof.Consistency) { d.Streams = append(d.Streams, d.Streams[3]) })
	whole("a stream that is gone, and not all of the others", func(d *proof.Consistency) { d.Streams = d.Streams[1:] })
	whole("a path that is too short", func(d *proof.Consistency) { d.Streams[0].Path = d.Streams[0].Path[1:] })
	whole("a path of a stream that is gone", func(d *proof.Consistency) { d.Streams[1].Path = d.Streams[0].Path })
	return append(list, forgeries(t)...)
}

// forgeries are proofs of two checkpoints that one signer has signed, and that do not go together.
func forgeries(t testing.TB) (list []nearly) {
	t.Helper()
	signer, _ := testKeys(t)
	for _, f := range []struct {
		name  string
		forge func(b *sample, o *sampleStream)
	}{
		{"signed: an event has changed", func(_ *sample, o *sampleStream) { o.leaves[0][0] ^= 1 }},
		{"signed: an event is absent that was there", func(_ *sample, o *sampleStream) { o.Absent[0].To++ }},
		{"signed: an event is there that was absent", func(_ *sample, o *sampleStream) { o.Absent = nil }},
		{"signed: another base", func(_ *sample, o *sampleStream) { o.Base, o.leaves = 4, o.leaves[1:] }},
		{"signed: another store", func(b *sample, _ *sampleStream) { b.note.Store++ }},
	} {
		a, b := samples(t)
		o := b.streams[0]
		o.Absent, o.leaves = slices.Clone(o.Absent), slices.Clone(o.leaves)
		f.forge(b, o)
		o.sum()
		b.man.Streams[0] = o.Stream
		b.note.Lines, b.note.Root = proof.LinesRoot(b.man.Encode())
		b.signed, _ = b.note.Sign(signer)
		list = append(list, nearly{f.name, b.since(t, a, orders).Encode()})
	}
	return list
}
