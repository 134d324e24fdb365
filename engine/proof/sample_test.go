package proof_test

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"testing"

	"github.com/kimberlitedb/kimberlite-go/engine/proof"
	"github.com/kimberlitedb/kimberlite-go/engine/seg"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// testKey is a key that everybody knows.
const testKey = "PRIVATE+KEY+kimberlite-test+48b7874a+ARdjSkOsuBF62+/8AwQ4cvzw8WkkGsfTeHDd7+wBKUR6"

func testKeys(t testing.TB) (proof.Signer, proof.Keys) {
	t.Helper()
	signers, err := proof.Signers([]byte(testKey))
	if err != nil {
		t.Fatal(err)
	}
	keys, err := proof.Verifiers([]byte(testKey))
	if err != nil {
		t.Fatal(err)
	}
	return signers[0], keys
}

const (
	testStore  = seg.StoreID(0x0123456789abcdef)
	testTenant = wire.TenantID(42)
	testAudit  = wire.StreamID(1<<63 | 42)
	orders     = wire.StreamID(3)
	mail       = wire.StreamID(4)
	news       = wire.StreamID(9)
	testTime   = wire.Time(1_790_000_000_123_456_789)
)

// sampleStream is a stream of a sample: what it has from its base on, an event or nothing for each offset.
type sampleStream struct {
	proof.Stream
	events []*proof.Event
	leaves []proof.Hash
}

// record is one of the sample, with a salt that a counter gives.
func record(kind seg.Kind, stream wire.StreamID, first wire.Offset, position wire.Position, data ...string) *seg.Record {
	r := &seg.Record{Kind: kind, Tenant: testTenant, Stream: stream, First: first, Position: position, Commit: testTime + wire.Time(position), Count: uint32(len(data))}
	if kind == seg.KindAppend {
		salt := sha256.Sum256([]byte(fmt.Sprint("salt ", position)))
		r.Body = append(r.Body, salt[:seg.SaltSize]...)
	} else {
		r.Flags = seg.FlagAudit
	}
	for i, d := range data {
		r.Body = wire.AppendEvent(r.Body, first+wire.Offset(i), []byte(d), r.Commit)
	}
	if kind != seg.KindAppend {
		r.Body = append(r.Body, "the rest of an act is not committed to"...)
	}
	return r
}

func (s *sampleStream) add(t testing.TB, r *seg.Record) {
	t.Helper()
	var l proof.Leaves
	var err error
	if s.leaves, err = l.Of(s.leaves, r, testAudit); err != nil {
		t.Fatal(err)
	}
	err = proof.Events(r, testAudit, func(e *proof.Event) {
		copied := *e
		copied.Encoded = slices.Clone(e.Encoded)
		s.events = append(s.events, &copied)
		s.Bytes += uint64(len(e.Encoded) - wire.EventOverhead)
	})
	if err != nil {
		t.Fatal(err)
	}
	s.Head = s.Base + wire.Offset(len(s.leaves))
}

func (s *sampleStream) miss(to wire.Offset, reason string) {
	s.Absent = append(s.Absent, proof.Absent{From: s.Head, To: to, Reason: reason})
	for ; s.Head < to; s.Head++ {
		s.leaves, s.events = append(s.leaves, proof.AbsentLeaf(s.ID, s.Head)), append(s.events, nil)
	}
}

func (s *sampleStream) sum() {
	var tree proof.Tree
	for _, leaf := range s.leaves {
		tree.Append(leaf)
	}
	s.Root = proof.Digest(tree.Root())
}

// sample is a checkpoint as the machine makes it, in small.
type sample struct {
	note    *proof.Note
	signed  []byte
	man     *proof.Manifest
	text    []byte
	streams []*sampleStream
}

// samples are two checkpoints: the later one goes on from the earlier one, has lost a stream to a purge, and has a new one.
func samples(t testing.TB) (earlier, later *sample) {
	t.Helper()
	o := &sampleStream{Stream: proof.Stream{ID: orders, Name: "orders", Class: "PHI", Base: 3, Oldest: 3, Head: 3}}
	m := &sampleStream{Stream: proof.Stream{ID: mail, Name: "mail <\u2028&>", Class: "NonPHI"}}
	a := &sampleStream{Stream: proof.Stream{ID: testAudit, Name: "$audit", Class: "NonPHI"}}
	a.add(t, record(seg.KindCreateTenant, 0, 0, 1, `{"act":"tenant.create"}`))
	a.add(t, record(seg.KindCreateStream, orders, 1, 2, `{"act":"stream.create"}`))
	o.add(t, record(seg.KindAppend, orders, 3, 3, "one", "two", ""))
	o.miss(8, proof.Lost)
	o.add(t, record(seg.KindAppend, orders, 8, 5, "three"))
	m.add(t, record(seg.KindAppend, mail, 0, 4, "hello"))
	earlier = checkpoint(t, wire.CheckpointID{1}, "Q3-2026", 7, nil, o, m, a)
	o2, a2, n := *o, *a, &sampleStream{Stream: proof.Stream{ID: news, Name: "news", Class: "Deidentified"}}
	o2.Oldest = 5
	o2.add(t, record(seg.KindAppend, orders, 9, 8, "four", "five", "six"))
	a2.add(t, record(seg.KindPurgeStream, mail, 2, 9, `{"act":"stream.purge"}`))
	later = checkpoint(t, wire.CheckpointID{2}, "", 12, earlier, &o2, n, &a2)
	return earlier, later
}

func checkpoint(t testing.TB, id wire.CheckpointID, label string, at wire.Position, before *sample, streams ...*sampleStream) *sample {
	t.Helper()
	s := &sample{man: &proof.Manifest{Head: proof.Head{
		Checkpoint: id.String(), Label: label, Tenant: testTenant, Name: "acme", Position: at, Time: testTime + wire.Time(at),
		State: sha256.Sum256([]byte("state")), Outcomes: sha256.Sum256([]byte("outcomes")), Statements: 1, Told: 1,
	}}, streams: streams}
	if before != nil {
		s.man.Previous = before.man.Checkpoint
	}
	for _, x := range streams {
		x.sum()
		s.man.Streams = append(s.man.Streams, x.Stream)
	}
	s.text = s.man.Encode()
	s.note = &proof.Note{Store: testStore, Tenant: testTenant, ID: id, Label: label, Position: at, Time: s.man.Time}
	s.note.Lines, s.note.Root = proof.LinesRoot(s.text)
	signer, _ := testKeys(t)
	var err error
	if s.signed, err = s.note.Sign(signer); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *sample) show(t testing.TB, line int) *proof.Line {
	t.Helper()
	l, err := proof.LinesOf(s.man).Show(line)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// include proves what is at an offset of the stream of a number; gone leaves the event out, where there is one.
func (s *sample) include(t testing.TB, number int, o wire.Offset, gone bool) *proof.Inclusion {
	t.Helper()
	x := s.streams[number]
	i := int(o - x.Base)
	path, err := proof.InclusionPath(uint64(i), uint64(len(x.leaves)))
	if err != nil {
		t.Fatal(err)
	}
	for _, leaf := range x.leaves {
		path.Append(leaf)
	}
	hashes, err := path.Hashes()
	if err != nil {
		t.Fatal(err)
	}
	var event *proof.Shown
	var leaf *proof.Digest
	switch absent, _ := x.Missing(o); {
	case absent:
	case gone:
		leaf = (*proof.Digest)(&x.leaves[i])
	default:
		event = x.events[i].Show()
	}
	return proof.NewInclusion(s.signed, s.show(t, number+1), o, event, leaf, hashes)
}

// since proves that a sample goes on from an earlier one, in the streams with some ids.
func (s *sample) since(t testing.TB, earlier *sample, ids ...wire.StreamID) *proof.Consistency {
	t.Helper()
	pairs := []proof.Pair{}
	for _, id := range ids {
		p := proof.Pair{Path: []proof.Digest{}}
		x, i := earlier.find(id)
		y, j := s.find(id)
		if x != nil {
			p.Earlier = earlier.show(t, i+1)
		}
		if y != nil {
			p.Later = s.show(t, j+1)
		}
		if x != nil && y != nil {
			path, err := proof.ConsistencyPath(x.Size(), y.Size())
			if err != nil {
				t.Fatal(err)
			}
			for _, leaf := range y.leaves {
				path.Append(leaf)
			}
			if p.Path, err = path.Hashes(); err != nil {
				t.Fatal(err)
			}
		}
		pairs = append(pairs, p)
	}
	return proof.NewConsistency(proof.Side{Note: string(earlier.signed), Head: *earlier.show(t, 0)}, proof.Side{Note: string(s.signed), Head: *s.show(t, 0)}, pairs)
}

func (s *sample) find(id wire.StreamID) (*sampleStream, int) {
	i := slices.IndexFunc(s.streams, func(x *sampleStream) bool { return x.ID == id })
	if i < 0 {
		return nil, i
	}
	return s.streams[i], i
}
