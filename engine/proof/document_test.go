package proof_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/kimberlitedb/kimberlite-go/engine/proof"
	"github.com/kimberlitedb/kimberlite-go/engine/seg"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// prove decodes and verifies a document, and returns what it proves.
func prove(p []byte, keys proof.Keys) (any, error) {
	in, con, err := proof.Decode(p)
	switch {
	case err != nil:
		return nil, err
	case in != nil:
		return in.Verify(keys)
	default:
		return con.Verify(keys)
	}
}

// documents are proofs of the samples, by name.
func documents(t testing.TB) map[string][]byte {
	a, b := samples(t)
	return map[string][]byte{
		"inclusion":          b.include(t, 0, 9, false).Encode(),
		"inclusion-audit":    b.include(t, 2, 1, false).Encode(),
		"inclusion-kept":     a.include(t, 0, 3, false).Encode(),
		"inclusion-leaf":     b.include(t, 0, 3, true).Encode(),
		"inclusion-absent":   b.include(t, 0, 7, false).Encode(),
		"consistency":        b.since(t, a, orders, mail, news, testAudit).Encode(),
		"consistency-stream": b.since(t, a, orders).Encode(),
	}
}

func TestProofsAreVerified(t *testing.T) {
	_, keys := testKeys(t)
	docs := documents(t)
	for _, c := range []struct{ name, want string }{
		{"inclusion", `orders 9 "four" at 8`}, {"inclusion-audit", `$audit 1 "{\"act\":\"stream.create\"}" at 2`},
		{"inclusion-kept", `orders 3 "one" at 3`}, {"inclusion-leaf", "orders 3 a leaf"}, {"inclusion-absent", "orders 7 lost"},
		{"consistency", "7 to 12, whole: orders 9 to 12, mail purged, news new, $audit 2 to 3"}, {"consistency-stream", "7 to 12: orders 9 to 12"},
	} {
		got, err := prove(docs[c.name], keys)
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		if s := say(got); s != c.want {
			t.Errorf("%s: %s, want %s", c.name, s, c.want)
		}
		var spaced bytes.Buffer
		json.Indent(&spaced, docs[c.name], " ", "\t")
		if again, err := prove(spaced.Bytes(), keys); err != nil || !reflect.DeepEqual(again, got) {
			t.Errorf("%s with other spaces: %v", c.name, err)
		}
	}
}

// say tells in short what was proven.
func say(v any) string {
	switch v := v.(type) {
	case *proof.Included:
		switch at := fmt.Sprintf("%s %d ", v.Line.Name, v.Offset); {
		case v.Absent != "":
			return at + v.Absent
		case v.Event == nil:
			return at + "a leaf"
		default:
			return at + fmt.Sprintf("%q at %d", v.Event.Data, v.Position)
		}
	case *proof.Extended:
		list := []string{}
		for _, s := range v.Streams {
			switch {
			case s.Later == nil:
				list = append(list, s.Earlier.Name[:4]+" purged")
			case s.Earlier == nil:
				list = append(list, s.Later.Name+" new")
			default:
				list = append(list, fmt.Sprintf("%s %d to %d", s.Later.Name, s.Earlier.Head, s.Later.Head))
			}
		}
		whole := ""
		if v.Whole {
			whole = ", whole"
		}
		return fmt.Sprintf("%d to %d%s: %s", v.Earlier.Position, v.Later.Position, whole, strings.Join(list, ", "))
	}
	return fmt.Sprint(v)
}

// Whatever byte of a proof is changed, left out or written twice, it proves what it did before or nothing.
func TestAChangedProofProvesNothingElse(t *testing.T) {
	_, keys := testKeys(t)
	for name, doc := range documents(t) { // their order means nothing
		want, err := prove(doc, keys)
		if err != nil {
			t.Fatal(err)
		}
		same := 0
		try := func(at int, p []byte) {
			got, err := prove(p, keys)
			if err == nil && !reflect.DeepEqual(got, want) {
				t.Fatalf("%s, byte %d: it proves %s", name, at, say(got))
			}
			if err == nil {
				same++
			}
		}
		for at := range doc {
			for _, flip := range []byte{1, 0x20} {
				p := bytes.Clone(doc)
				p[at] ^= flip
				try(at, p)
			}
			try(at, slices.Delete(bytes.Clone(doc), at, at+1))
			try(at, slices.Insert(bytes.Clone(doc), at, doc[at]))
		}
		if space := bytes.Count(doc, []byte(" ")) + bytes.Count(doc, []byte("\n")); same > 4*space {
			t.Errorf("%s: %d changes are not noticed, and it has %d bytes of space", name, same, space)
		}
	}
}

// A document is refused unless it is written in the one way.
func TestADocumentIsWrittenInOneWay(t *testing.T) {
	_, keys := testKeys(t)
	doc := string(documents(t)["inclusion"])
	for name, c := range map[string][2]string{ // their order means nothing
		"a field twice":        {`"offset": 9,`, `"offset": 9, "offset": 9,`},
		"a field that is not":  {`"offset": 9,`, `"offset": 9, "more": 1,`},
		"another case":         {`"offset"`, `"Offset"`},
		"another number":       {`"offset": 9,`, `"offset": 9.0,`},
		"an exponent":          {`"offset": 9,`, `"offset": 9e0,`},
		"null for what is not": {`"path"`, `"leaf": null, "path"`},
		"an escape":            {`"orders`, `"\u006frders`},
		"another order":        {`"proof": "inclusion",` + "\n" + `  "format": 1,`, `"format": 1, "proof": "inclusion",`},
		"something behind it":  {"\n}\n", "\n}\n{}"},
		"another format":       {`"format": 1,`, `"format": 2,`},
		"another proof":        {`"inclusion"`, `"consistency"`},
	} {
		changed := strings.Replace(doc, c[0], c[1], 1)
		if name == "an escape" {
			changed = strings.Replace(doc, `orders`, `\u006frders`, 1)
		}
		if changed == doc {
			t.Errorf("%s: nothing to change", name)
		}
		if _, err := prove([]byte(changed), keys); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
	if _, _, err := proof.Decode(make([]byte, proof.MaxDocument+1)); err == nil {
		t.Error("a document of any size is taken")
	}
}

func TestAProofOfSomethingElseIsRefused(t *testing.T) {
	a, b := samples(t)
	_, keys := testKeys(t)
	refused := func(name string, err error) {
		t.Helper()
		if err == nil {
			t.Errorf("%s is proven", name)
		}
	}
	change := func(name string, f func(*proof.Inclusion)) {
		t.Helper()
		d := b.include(t, 0, 9, false)
		f(d)
		_, err := d.Verify(keys)
		refused(name, err)
	}
	other := b.include(t, 0, 10, false)
	change("another offset", func(d *proof.Inclusion) { d.Offset = 10 })
	change("another event", func(d *proof.Inclusion) { d.Event = other.Event })
	change("another position", func(d *proof.Inclusion) { d.Event.Position++ })
	change("another time", func(d *proof.Inclusion) { d.Event.Commit++ })
	change("an event and more", func(d *proof.Inclusion) { d.Event.Encoded = append(d.Event.Encoded, 0) })
	change("an event and its leaf", func(d *proof.Inclusion) { d.Leaf = (*proof.Digest)(&b.streams[0].leaves[6]) })
	change("nothing", func(d *proof.Inclusion) { d.Event = nil })
	change("another stream", func(d *proof.Inclusion) { d.Stream = *b.show(t, 3) })
	change("the head", func(d *proof.Inclusion) { d.Stream = *b.show(t, 0) })
	change("another checkpoint", func(d *proof.Inclusion) { d.Note = string(a.signed) })
	change("an offset before the base", func(d *proof.Inclusion) { d.Offset = 2 })
	change("an offset far away", func(d *proof.Inclusion) { d.Offset = ^wire.Offset(0) })
	change("a longer path", func(d *proof.Inclusion) { d.Path = append(d.Path, d.Path[0]) })
	gone := b.include(t, 0, 7, false)
	gone.Leaf = (*proof.Digest)(&b.streams[0].leaves[4])
	_, err := gone.Verify(keys)
	refused("a leaf that there never was", err)

	extend := func(name string, f func(*proof.Consistency)) {
		t.Helper()
		d := b.since(t, a, orders, mail, news, testAudit)
		f(d)
		_, err := d.Verify(keys)
		refused(name, err)
	}
	extend("a part without the streams of one alone", func(d *proof.Consistency) { d.Streams = d.Streams[1:] })
	extend("a part without any stream", func(d *proof.Consistency) { d.Streams = []proof.Pair{} })
	extend("a stream twice", func(d *proof.Consistency) { d.Streams = append(d.Streams, d.Streams[3]) })
	extend("another order", func(d *proof.Consistency) { d.Streams[0], d.Streams[3] = d.Streams[3], d.Streams[0] })
	extend("two streams", func(d *proof.Consistency) { d.Streams[0].Later = d.Streams[3].Later })
	extend("nothing", func(d *proof.Consistency) { d.Streams = append(d.Streams, proof.Pair{}) })
	extend("a path of a purged stream", func(d *proof.Consistency) { d.Streams[1].Path = d.Streams[0].Path })
	extend("a stream hidden as purged and new", func(d *proof.Consistency) {
		p := d.Streams[0]
		d.Streams = slices.Concat([]proof.Pair{{Earlier: p.Earlier}, {Later: p.Later}}, d.Streams[1:])
	})
	extend("the other way round", func(d *proof.Consistency) { d.Earlier, d.Later = d.Later, d.Earlier })
	extend("the same twice", func(d *proof.Consistency) { d.Earlier = d.Later })
	extend("another head", func(d *proof.Consistency) { d.Later.Head = *b.show(t, 1) })
}

// A signer who says two things that do not go together is found out, however well both are signed.
func TestAHistoryThatChangesIsNotConsistent(t *testing.T) {
	_, keys := testKeys(t)
	for name, forge := range map[string]func(a *sample, o *sampleStream){ // their order means nothing
		"an event":       func(_ *sample, o *sampleStream) { o.leaves[0][0] ^= 1 },
		"another base":   func(_ *sample, o *sampleStream) { o.Base, o.leaves = 4, o.leaves[1:] },
		"a shorter one":  func(_ *sample, o *sampleStream) { o.Head, o.leaves = 8, o.leaves[:5] },
		"absent no more": func(_ *sample, o *sampleStream) { o.Absent = nil },
		"absent by now":  func(_ *sample, o *sampleStream) { o.Absent[0].To++ },
		"more absent": func(_ *sample, o *sampleStream) {
			o.Absent = append(o.Absent, proof.Absent{From: 8, To: 9, Reason: proof.Lost})
		},
		"another clock":   func(b *sample, _ *sampleStream) { b.note.Time++ },
		"another reason":  func(_ *sample, o *sampleStream) { o.Absent[0].Reason = proof.Purge },
		"another tenant":  func(b *sample, _ *sampleStream) { b.note.Tenant, b.man.Tenant = 43, 43 },
		"another store":   func(b *sample, _ *sampleStream) { b.note.Store++ },
		"an earlier time": func(b *sample, _ *sampleStream) { b.note.Position, b.man.Position = 7, 7 },
	} {
		a, b := samples(t)
		o := b.streams[0]
		o.Absent, o.leaves = slices.Clone(o.Absent), slices.Clone(o.leaves)
		forge(b, o)
		o.sum()
		b.man.Streams[0] = o.Stream
		b.note.Lines, b.note.Root = proof.LinesRoot(b.man.Encode())
		signer, _ := testKeys(t)
		b.signed, _ = b.note.Sign(signer)
		if o.Size() < a.streams[0].Size() {
			o.leaves = a.streams[0].leaves // so that there is a path at all
		}
		d := b.since(t, a, testAudit)
		p := proof.Pair{Earlier: a.show(t, 1), Later: b.show(t, 1), Path: []proof.Digest{}}
		if path, err := proof.ConsistencyPath(a.streams[0].Size(), max(o.Size(), a.streams[0].Size())); err == nil {
			for _, leaf := range o.leaves {
				path.Append(leaf)
			}
			p.Path, _ = path.Hashes()
		}
		d.Streams = slices.Insert(d.Streams, 0, p)
		if x, err := d.Verify(keys); err == nil {
			t.Errorf("%s: %s", name, say(x))
		} else if name == "another base" && !errors.Is(err, proof.ErrBase) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// An event that is not where it says, and a head that is not the first line, are refused, although somebody has signed them.
func TestWhoSignsNonsenseIsNotBelieved(t *testing.T) {
	var err error
	signer, keys := testKeys(t)
	_, b := samples(t)
	o := b.streams[0]
	r := record(seg.KindAppend, orders, o.Head+1, 11, "an event too far")
	o.add(t, r)
	b = checkpoint(t, b.note.ID, "", 12, nil, o)
	if x, err := b.include(t, 0, o.Head-1, false).Verify(keys); err == nil {
		t.Error(say(x))
	}
	two := *o.events[0]
	two.Encoded = append(slices.Clone(two.Encoded), o.events[1].Encoded...)
	o.events[0], o.leaves[0] = &two, two.Leaf()
	b = checkpoint(t, b.note.ID, "", 12, nil, o)
	if x, err := b.include(t, 0, o.Base, false).Verify(keys); err == nil {
		t.Error(say(x))
	}
	a, b := samples(t)
	empty := proof.Stream{ID: news, Name: "news", Class: "NonPHI"} // whose root is not that of an empty tree
	a.man.Streams = append(a.man.Streams[:2:2], empty, a.man.Streams[2])
	a.note.Lines, a.note.Root = proof.LinesRoot(a.man.Encode())
	if a.signed, err = a.note.Sign(signer); err != nil {
		t.Fatal(err)
	}
	b.streams[1].add(t, record(seg.KindAppend, news, 0, 11, "news"))
	b = checkpoint(t, b.note.ID, "", 12, a, b.streams...)
	d := b.since(t, a, testAudit)
	d.Streams[0] = proof.Pair{Earlier: a.show(t, 3), Later: b.show(t, 2), Path: []proof.Digest{}}
	if x, err := d.Verify(keys); err == nil {
		t.Error(say(x))
	}
	a, b = samples(t)
	d = b.since(t, a, orders)
	head, line := d.Later.Head.Text, d.Streams[0].Later.Text
	x, h, l := hashLeaf([]byte("x")), hashLeaf([]byte(head)), hashLeaf([]byte(line))
	b.note.Lines, b.note.Root = proof.LinesRoot([]byte("x\n" + head + "\n" + line + "\n"))
	signed, err := b.note.Sign(signer)
	if err != nil {
		t.Fatal(err)
	}
	d.Later = proof.Side{Note: string(signed), Head: proof.Line{Text: head, Index: 1, Path: []proof.Digest{proof.Digest(x), proof.Digest(l)}}}
	d.Streams[0].Later = &proof.Line{Text: line, Index: 2, Path: []proof.Digest{proof.Digest(hashNode(x, h))}}
	if x, err := d.Verify(keys); err == nil {
		t.Error(say(x))
	}
}

func TestAnEventThatWasKeptIsAttachedToItsLeaf(t *testing.T) {
	_, b := samples(t)
	_, keys := testKeys(t)
	kept := b.include(t, 0, 3, false).Event
	d := b.include(t, 0, 3, true)
	if err := d.Attach(b.include(t, 0, 4, false).Event); err == nil {
		t.Fatal("another event is attached")
	}
	if err := d.Attach(kept); err != nil {
		t.Fatal(err)
	}
	got, err := d.Verify(keys)
	if err != nil || string(got.Event.Data) != "one" {
		t.Fatalf("%+v, %v", got, err)
	}
	if err := d.Attach(kept); err == nil {
		t.Error("an event is attached to an event")
	}
}

// No two things that are hashed can be the same bytes: an event, an event that is absent, a line, a node.
func TestNothingPassesForSomethingElse(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		body := rapid.SliceOfN(rapid.Byte(), seg.SaltSize, 40).Draw(t, "salt")
		r := record(seg.KindAppend, orders, 0, 1)
		r.Body, r.Count = wire.AppendEvent(body[:seg.SaltSize], 0, body, 5), 1
		var l proof.Leaves
		leaves, err := l.Of(nil, r, testAudit)
		if err != nil {
			t.Fatal(err)
		}
		var e proof.Event
		if err := proof.Events(r, testAudit, func(x *proof.Event) { e = *x }); err != nil {
			t.Fatal(err)
		}
		if want := slices.Concat(e.Salt[:], le(uint64(orders)), le(1), le(uint64(r.Commit)), e.Encoded); leaves[0] != hashLeaf(want) || e.Leaf() != leaves[0] || len(want) <= 36 {
			t.Fatal("a leaf is hashed of something else")
		}
		o := wire.Offset(rapid.Uint64().Draw(t, "offset"))
		if want := slices.Concat([]byte("kimberlite: no event"), le(uint64(orders)), le(uint64(o))); proof.AbsentLeaf(orders, o) != hashLeaf(want) || len(want) != 36 {
			t.Fatal("an absent leaf is hashed of something else")
		}
	})
}

// What a record says of its events must be so.
func TestARecordThatLiesHasNoLeaves(t *testing.T) {
	var l proof.Leaves
	for name, change := range map[string]func(*seg.Record){ // their order means nothing
		"too many":        func(r *seg.Record) { r.Count++ },
		"too few":         func(r *seg.Record) { r.Count-- },
		"very many":       func(r *seg.Record) { r.Count = ^uint32(0) },
		"no salt":         func(r *seg.Record) { r.Body = r.Body[:7] },
		"nothing":         func(r *seg.Record) { r.Body = nil },
		"cut short":       func(r *seg.Record) { r.Body = r.Body[:len(r.Body)-1] },
		"an act":          func(r *seg.Record) { r.Kind = seg.KindTrim },
		"an act of sorts": func(r *seg.Record) { r.Kind, r.Flags = seg.KindCreateStream, seg.FlagAudit },
	} {
		r := record(seg.KindAppend, orders, 0, 1, "one", "two")
		change(r)
		if _, err := l.Of(nil, r, testAudit); err == nil {
			t.Errorf("%s: it has leaves", name)
		}
	}
}
