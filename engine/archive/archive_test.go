package archive_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"math"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"pgregory.net/rapid"

	"github.com/kimberlitedb/kimberlite-go/engine/archive"
	"github.com/kimberlitedb/kimberlite-go/engine/proof"
	"github.com/kimberlitedb/kimberlite-go/engine/seg"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

func TestASmallArchiveIsSound(t *testing.T) {
	s := newSmall(t)
	if got := s.String(); got != "5 there, 2 gone, 2 absent, <nil>" {
		t.Error(got)
	}
	list, err := s.box.Find("")
	if err != nil || len(list) != 1 || list[0] != s.place {
		t.Errorf("%+v, %v", list, err)
	}
}

// Whatever byte of whatever object of an archive is changed, the checkpoint is not sound any more, or nothing that is said of it is another.
func TestAnArchiveThatIsChangedIsNotSound(t *testing.T) {
	s := newSmall(t)
	want := s.String()
	rapid.Check(t, func(rt *rapid.T) {
		name := rapid.SampledFrom(slices.Sorted(keysOf(s.at))).Draw(rt, "object")
		p := s.at[name]
		defer func() { s.at[name] = p }()
		at := rapid.IntRange(0, len(p)-1).Draw(rt, "byte")
		q := bytes.Clone(p)
		switch rapid.IntRange(0, 3).Draw(rt, "how") {
		case 0:
			q[at] ^= byte(rapid.IntRange(1, 255).Draw(rt, "flip"))
		case 1:
			q = q[:at]
		case 2:
			q = slices.Delete(q, at, at+1)
		case 3:
			q = slices.Insert(q, at, rapid.Byte().Draw(rt, "new"))
		}
		s.at[name] = q
		if got := s.String(); got != want && strings.HasSuffix(got, "<nil>") {
			rt.Fatalf("%s, byte %d: %s", name, at, got)
		}
	})
}

func keysOf(o objects) func(func(string) bool) {
	return func(yield func(string) bool) {
		names, _ := o.List("")
		for _, n := range names {
			if !yield(n) {
				return
			}
		}
	}
}

func TestAHostileIndexIsRefused(t *testing.T) {
	for _, c := range []struct {
		name, want string
		change     func(s *small, x []archive.Section) []archive.Section
	}{
		{"overlapping", "out of order", func(_ *small, x []archive.Section) []archive.Section { x[1].First = 4; return x }},
		{"twice", "out of order", func(_ *small, x []archive.Section) []archive.Section { return append(x, x[0]) }},
		{"beyond the head", "beyond the stream's end", func(_ *small, x []archive.Section) []archive.Section { x[3].Next = 12; return x }},
		{"far beyond the head", "nothing in the archive", func(_ *small, x []archive.Section) []archive.Section {
			x[3].First, x[3].Next = math.MaxUint64-1, math.MaxUint64
			return x
		}},
		{"before the base", "twice, or beyond", func(_ *small, x []archive.Section) []archive.Section { x[0].First = 1; return x }},
		{"nothing", "makes no sense", func(_ *small, x []archive.Section) []archive.Section { x[0].Next = 2; return x }},
		{"a gap", "event 5: nothing in the archive", func(_ *small, x []archive.Section) []archive.Section { return slices.Delete(x, 1, 2) }},
		{"no sections", "event 2: nothing in the archive", func(*small, []archive.Section) []archive.Section { return nil }},
		{"a hole at the end", "event 10: nothing in the archive", func(_ *small, x []archive.Section) []archive.Section { return x[:3] }},
		{"a negative start", "makes no sense", func(_ *small, x []archive.Section) []archive.Section { x[0].Start = -1; return x }},
		{"a negative length", "makes no sense", func(_ *small, x []archive.Section) []archive.Section { x[0].Length = -6; return x }},
		{"a huge start", "makes no sense", func(_ *small, x []archive.Section) []archive.Section { x[0].Start = math.MaxInt; return x }},
		{"a huge length", "makes no sense", func(_ *small, x []archive.Section) []archive.Section { x[0].Length = math.MaxInt; return x }},
		{"past the blob", "too short", func(_ *small, x []archive.Section) []archive.Section { x[0].Length++; return x }},
		{"cut short", "damaged", func(_ *small, x []archive.Section) []archive.Section { x[0].Length--; return x }},
		{"shifted", "damaged", func(_ *small, x []archive.Section) []archive.Section { x[0].Start, x[0].Length = 5, 6; return x }},
		{"an unknown reason", "for a reason", func(_ *small, x []archive.Section) []archive.Section { x[2].Gone = "eaten"; return x }},
		{"leaves whose number overflows", "length of their number", func(_ *small, x []archive.Section) []archive.Section {
			x[2].Next, x[2].Length = x[2].First+1<<59+1, sha256.Size
			return x
		}},
		{"half a leaf", "length of their number", func(_ *small, x []archive.Section) []archive.Section { x[2].Length -= 16; return x }},
		{"leaves as records", "damaged", func(_ *small, x []archive.Section) []archive.Section { x[2].Gone = ""; return x }},
		{"records as leaves", "length of their number", func(_ *small, x []archive.Section) []archive.Section { x[0].Gone = proof.Purge; return x }},
		{"other leaves", "root is not the one", func(s *small, x []archive.Section) []archive.Section {
			x[2].Blob, x[2].Start = s.keep(make([]byte, 64)), 0
			return x
		}},
		{"another order of leaves", "root is not the one", func(s *small, x []archive.Section) []archive.Section {
			raw, _ := s.box.Blob(x[2].Blob, archive.MaxBlob)
			x[2].Blob = s.keep(slices.Concat(raw[:6], raw[38:], raw[6:38]))
			return x
		}},
		{"leaves of what was absent", "never was anything", func(s *small, x []archive.Section) []archive.Section {
			a, b := proof.AbsentLeaf(3, 6), proof.AbsentLeaf(3, 7)
			return append(x, archive.Section{Stream: 3, First: 6, Next: 8, Blob: s.keep(slices.Concat(a[:], b[:])), Length: 64, Gone: proof.Purge})
		}},
		{"a record of another stream", "root is not the one", func(s *small, x []archive.Section) []archive.Section {
			r := record(5, "four")
			r.Stream = 4
			return s.swap(x, archive.Bare(r))
		}},
		{"another event", "root is not the one", func(s *small, x []archive.Section) []archive.Section {
			return s.swap(x, archive.Bare(record(5, "FOUR")))
		}},
		{"a record that is an act", "has no events", func(s *small, x []archive.Section) []archive.Section {
			r := record(5, "four")
			r.Kind = seg.KindCreateStream
			return s.swap(x, archive.Bare(r))
		}},
		{"a record of more events than the section", "not those that follow", func(s *small, x []archive.Section) []archive.Section {
			return s.swap(x, archive.Bare(record(5, "four", "five")))
		}},
		{"a record of very many events", "not those that follow", func(s *small, x []archive.Section) []archive.Section {
			r := record(5, "four")
			r.Count = math.MaxUint32
			return s.swap(x, archive.Bare(r))
		}},
		{"a record of no events", "ends before event 5", func(s *small, x []archive.Section) []archive.Section { return s.swap(x, archive.Bare(record(5))) }},
		{"a record of another offset", "not those that follow", func(s *small, x []archive.Section) []archive.Section {
			return s.swap(x, archive.Bare(record(4, "four")))
		}},
		{"a missing blob", "no such file", func(s *small, x []archive.Section) []archive.Section {
			delete(s.at, archive.BlobName(x[1].Digest))
			return x
		}},
		{"a blob that lies", "its digest", func(s *small, x []archive.Section) []archive.Section {
			s.at[archive.BlobName(x[1].Digest)] = s.at[archive.BlobName(x[0].Digest)]
			return x
		}},
		{"a blob of another size", "its digest", func(_ *small, x []archive.Section) []archive.Section { x[1].Size++; return x }},
		{"a blob that is not compressed", "", func(s *small, x []archive.Section) []archive.Section {
			p := []byte("not compressed")
			x[1].Blob = archive.Blob{Digest: sha256.Sum256(p), Size: len(p)}
			s.at[archive.BlobName(x[1].Digest)] = p
			return x
		}},
	} {
		s := newSmall(t)
		s.index.Sections = c.change(s, s.index.Sections)
		s.put()
		if _, err := s.verdict(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// swap puts another record in the place of event 5.
func (s *small) swap(x []archive.Section, raw []byte) []archive.Section {
	x[1].Blob, x[1].Start, x[1].Length = s.keep(raw), 0, len(raw)
	return x
}

// Sections of streams that the manifest does not have are nobody's affair.
func TestWhatTheManifestDoesNotHaveIsNotRead(t *testing.T) {
	s := newSmall(t)
	before, behind := s.index.Sections[0], s.index.Sections[0]
	before.Stream, behind.Stream = 2, 4
	s.index.Sections = append(s.index.Sections, before, behind)
	s.put()
	if _, err := s.verdict(); err != nil {
		t.Error(err)
	}
}

func TestAManifestOrStateInTheWrongPlaceIsRefused(t *testing.T) {
	for name, change := range map[string]func(s *small){ // their order means nothing
		"another manifest":   func(s *small) { s.index.Manifest = s.index.State },
		"another state":      func(s *small) { s.index.State = s.index.Manifest },
		"another checkpoint": func(s *small) { s.index.Checkpoint = wire.CheckpointID{2} },
		"no manifest":        func(s *small) { delete(s.at, archive.BlobName(s.index.Manifest.Digest)) },
		"a note somewhere else": func(s *small) {
			s.at[s.place.Note()] = bytes.Replace(s.at[s.place.Note()], []byte("position 20"), []byte("position 21"), 1)
		},
	} {
		s := newSmall(t)
		change(s)
		s.put()
		if _, err := s.verdict(); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
	s := newSmall(t)
	other := s.place
	other.Position++
	s.at[other.Note()], s.at[other.Index()] = s.at[s.place.Note()], s.at[s.place.Index()]
	if _, err := s.box.Open(other, s.keys); err == nil {
		t.Error("a checkpoint is taken from the place of another")
	}
}

// A few bytes do not become many, whatever they claim to be.
func TestABlobThatExpandsToTooMuchIsRefused(t *testing.T) {
	e, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	bomb := e.EncodeAll(make([]byte, 64<<20), nil)
	lie := []byte{0x28, 0xb5, 0x2f, 0xfd, 0xa0, 0, 0, 0, 0x0f, 3, 0, 0x80, 1} // a frame that says it has 240 MiB
	for _, p := range [][]byte{bomb, lie} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		var k archive.Packer
		if _, err := k.Unpack(archive.Blob{Digest: sha256.Sum256(p), Size: len(p)}, p, archive.MaxBlob); err == nil {
			t.Error("it is expanded")
		}
		runtime.ReadMemStats(&after)
		if n := after.TotalAlloc - before.TotalAlloc; n > 48<<20 {
			t.Errorf("%d bytes allocated for one of %d", n, len(p))
		}
	}
	var k archive.Packer
	b, p, err := k.Pack([]byte("both decoders"))
	if err != nil {
		t.Fatal(err)
	}
	for _, most := range []int{archive.MaxBlob, archive.MaxWhole, archive.MaxBlob} {
		if raw, err := k.Unpack(b, p, most); err != nil || string(raw) != "both decoders" {
			t.Error(err)
		}
	}
}

// What could never be read again is not kept.
func TestABlobThatIsTooGreatIsNotKept(t *testing.T) {
	s := newSmall(t)
	if _, err := s.box.Parcel(s.place, nil).Add(make([]byte, archive.MaxWhole+1)); err == nil {
		t.Error("it is kept")
	}
}

func TestAnArchiveProvesWhatItHas(t *testing.T) {
	s := newSmall(t)
	c, err := s.box.Open(s.place, s.keys)
	if err != nil {
		t.Fatal(err)
	}
	line := &c.Manifest.Streams[0]
	got := ""
	for o := line.Base; o < line.Head; o++ {
		d, err := c.Prove(line, o)
		if err != nil {
			t.Fatal(err)
		}
		d, _, err = proof.Decode(d.Encode())
		if err != nil {
			t.Fatal(err)
		}
		in, err := d.Verify(s.keys)
		switch {
		case err != nil:
			t.Fatal(err)
		case in.Absent != "":
			got += in.Absent + " "
		case in.Event == nil:
			got += "leaf "
		default:
			got += string(in.Event.Data) + " "
		}
	}
	if got != "one two three four lost lost leaf leaf seven " {
		t.Error(got)
	}
	for _, o := range []wire.Offset{0, 1, 11, math.MaxUint64} {
		if _, err := c.Prove(line, o); err == nil {
			t.Errorf("event %d is proven", o)
		}
	}
	if _, err := c.ProveSince(c); err == nil {
		t.Error("a checkpoint goes on from itself")
	}
	s.index.Sections = s.swap(s.index.Sections, archive.Bare(record(5, "FOUR")))
	s.put()
	if c, err = s.box.Open(s.place, s.keys); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Prove(line, 2); err == nil {
		t.Error("something is proven of a stream that is not sound")
	}
}

func TestAPlaceIsNoArchiveUnlessItSaysSo(t *testing.T) {
	at := objects{"something": []byte("else")}
	box := &archive.Box{Objects: at}
	if err := box.Begin(); !errors.Is(err, archive.ErrNoArchive) {
		t.Error(err)
	}
	for _, text := range []string{"", archive.MarkerText[:5]} { // cut short
		alone := objects{archive.Marker: []byte(text)}
		if err := (&archive.Box{Objects: alone}).Begin(); err != nil || string(alone[archive.Marker]) != archive.MarkerText {
			t.Errorf("%q: %v", text, err)
		}
		alone = objects{archive.Marker: []byte(text), "something": []byte("else")}
		if err := (&archive.Box{Objects: alone}).Begin(); !errors.Is(err, archive.ErrNoArchive) {
			t.Errorf("%q: %v", text, err)
		}
	}
	at[archive.Marker] = []byte(`{"format":2}`)
	if err := box.Check(); !errors.Is(err, archive.ErrNoArchive) {
		t.Error(err)
	}
	if err := box.Begin(); err == nil {
		t.Error("an archive of another format is begun")
	}
	for i, name := range []string{"note", "x/note", "0000000000000005-1/note", "0000000000000005-1/x/note", "5-1/0000000000000014-" + wire.CheckpointID{1}.String() + "/note"} {
		at[fmt.Sprint("tenants/", name)] = []byte{byte(i)}
	}
	if list, err := box.Find(""); err != nil || len(list) > 0 {
		t.Errorf("%+v, %v", list, err)
	}
}
