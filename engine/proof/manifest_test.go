package proof_test

import (
	"bytes"
	"encoding/binary"
	"reflect"
	"slices"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"
	"pgregory.net/rapid"

	"github.com/kimberlitedb/kimberlite-go/engine/proof"
	"github.com/kimberlitedb/kimberlite-go/engine/seg"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

func le(n uint64) []byte { return binary.LittleEndian.AppendUint64(nil, n) }

func TestAManifestIsReadAsItWasWritten(t *testing.T) {
	a, b := samples(t)
	for _, s := range []*sample{a, b} {
		m, err := s.note.Manifest(s.text)
		if err != nil || !reflect.DeepEqual(m, s.man) {
			t.Fatalf("%+v, %v", m, err)
		}
		if n, root := proof.LinesRoot(s.text); n != uint64(1+len(s.streams)) || root != reference(s.text) {
			t.Error("another root")
		}
	}
	if _, err := a.note.Manifest(b.text); err == nil {
		t.Error("a note commits to the manifest of another checkpoint")
	}
}

// reference is the root of the tree of a manifest's lines, as the page says.
func reference(text []byte) proof.Hash {
	var leaves []proof.Hash
	for line := range strings.SplitSeq(strings.TrimSuffix(string(text), "\n"), "\n") {
		leaves = append(leaves, hashLeaf([]byte(line)))
	}
	return rootOf(leaves)
}

// Whatever byte of a manifest is changed, the note does not commit to it; and it is no manifest, or another one.
func TestAChangedManifestIsAnother(t *testing.T) {
	a, _ := samples(t)
	try := func(at int, p []byte) {
		if _, err := a.note.Manifest(p); err == nil {
			t.Fatalf("byte %d: the note commits to it", at)
		}
		if m, err := proof.DecodeManifest(p); err == nil && (reflect.DeepEqual(m, a.man) || !bytes.Equal(m.Encode(), p)) {
			t.Fatalf("byte %d: it is the same manifest", at)
		}
	}
	for at := range a.text {
		for _, flip := range []byte{1, 0x20, 0x80} {
			p := bytes.Clone(a.text)
			p[at] ^= flip
			try(at, p)
		}
		try(at, slices.Delete(bytes.Clone(a.text), at, at+1))
		try(at, slices.Insert(bytes.Clone(a.text), at, a.text[at]))
		try(at, a.text[:at])
	}
}

func TestAManifestIsWrittenInOneWay(t *testing.T) {
	a, _ := samples(t)
	text := string(a.text)
	for name, c := range map[string][2]string{ // their order means nothing
		"nothing":               {text, ""},
		"an empty line":         {"\n", "\n\n"},
		"a field twice":         {`"stream":3`, `"stream":3,"stream":3`},
		"another one before it": {`"stream":3`, `"stream":2,"stream":3`},
		"a field that is not":   {`"stream":3`, `"stream":3,"more":1`},
		"a space":               {`"stream":3`, `"stream": 3`},
		"a zero":                {`"stream":3`, `"stream":03`},
		"a fraction":            {`"stream":3`, `"stream":3.0`},
		"an exponent":           {`"stream":3`, `"stream":3e0`},
		"minus zero":            {`"base":0`, `"base":-0`},
		"an escape":             {`"orders"`, `"\u006frders"`},
		"a bare separator":      {`\u2028`, "\u2028"},
		"escaped html":          {`<`, `\u003c`},
		"bad text":              {`"orders"`, "\"order\xff\""},
		"capitals":              {`"root":"`, `"root":"A`},
		"another case":          {`"root"`, `"Root"`},
		"no absent events":      {`"class":"NonPHI","base":0,"oldest":0,"head":1,"bytes":5,`, `"class":"NonPHI","base":0,"oldest":0,"head":1,"bytes":5,"absent":[],`},
		"null":                  {`"label":"Q3-2026"`, `"label":null`},
		"an empty label":        {`"label":"Q3-2026"`, `"label":""`},
		"another format":        {`"format":1`, `"format":2`},
		"no format":             {`"format":1`, `"format":0`},
		"no id":                 {a.man.Checkpoint, "x"},
		"id in capitals":        {a.man.Checkpoint[30:], "0F"},
		"ids out of order":      {`"stream":4`, `"stream":3`},
		"oldest before base":    {`"base":3,"oldest":3`, `"base":3,"oldest":2`},
		"oldest behind head":    {`"base":3,"oldest":3`, `"base":3,"oldest":10`},
		"a huge head":           {`"head":9`, `"head":18446744073709551615`},
		"absent before base":    {`"from":6`, `"from":2`},
		"absent behind head":    {`"to":8`, `"to":10`},
		"absent the other way":  {`"from":6`, `"from":8`},
		"another reason":        {`"lost"`, `"eaten"`},
		"too great":             {`"stream":3`, `"stream":18446744073709551616`},
		"less than nothing":     {`"stream":3`, `"stream":-3`},
		"null for a line":       {text[:strings.IndexByte(text, '\n')], "null"},
	} {
		changed := strings.Replace(text, c[0], c[1], 1)
		if changed == text {
			t.Errorf("%s: nothing to change", name)
		}
		if _, err := proof.DecodeManifest([]byte(changed)); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
}

func TestAManifestSurvivesEncoding(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := &proof.Manifest{Head: proof.Head{
			Checkpoint: wire.CheckpointID(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "id")).String(), Label: valid(t, "label"),
			Tenant: wire.TenantID(rapid.Uint64().Draw(t, "tenant")), Name: valid(t, "name"),
			Position: wire.Position(rapid.Uint64().Draw(t, "position")), Time: wire.Time(rapid.Int64().Draw(t, "time")),
			Statements: wire.Offset(rapid.Uint64().Draw(t, "statements")),
		}}
		id := uint64(0)
		for range rapid.IntRange(0, 4).Draw(t, "streams") {
			id += rapid.Uint64Range(1, 1<<61).Draw(t, "id")
			s := proof.Stream{ID: wire.StreamID(id), Name: valid(t, "stream"), Class: valid(t, "class")}
			s.Base = wire.Offset(rapid.Uint64Range(0, 1<<61).Draw(t, "base"))
			s.Oldest = s.Base + wire.Offset(rapid.Uint64Range(0, 1<<40).Draw(t, "oldest"))
			s.Head = s.Oldest + wire.Offset(rapid.Uint64Range(0, 1<<40).Draw(t, "head"))
			if s.Base < s.Head && rapid.Bool().Draw(t, "absent") {
				s.Absent = []proof.Absent{{From: s.Base, To: s.Head, Reason: proof.Retention}}
			}
			m.Streams = append(m.Streams, s)
		}
		got, err := proof.DecodeManifest(m.Encode())
		if err != nil || !reflect.DeepEqual(got, m) {
			t.Fatalf("%+v\n%+v\n%v", got, m, err)
		}
		for i := range m.Streams {
			if got.Stream(m.Streams[i].ID) != &got.Streams[i] {
				t.Fatal("a stream is not found")
			}
		}
	})
}

func valid(t *rapid.T, name string) string {
	return strings.ToValidUTF8(rapid.String().Draw(t, name), "")
}

// Whatever byte of a note is changed, it is refused or says the same: of a signature by a key that nobody knows nothing is claimed.
func TestAChangedNoteIsRefused(t *testing.T) {
	a, _ := samples(t)
	_, keys := testKeys(t)
	other, err := proof.Signers([]byte(otherKey))
	if err != nil {
		t.Fatal(err)
	}
	signer, _ := testKeys(t)
	both, err := a.note.Sign(signer, other[0])
	if err != nil {
		t.Fatal(err)
	}
	for _, signed := range [][]byte{a.signed, both} {
		try := func(at int, p []byte) {
			if n, by, err := proof.Open(p, keys); err == nil && (!reflect.DeepEqual(n, a.note) || !slices.Equal(by, []string{"kimberlite-test"})) {
				t.Fatalf("byte %d: %+v by %q", at, n, by)
			}
		}
		for at := range signed {
			for _, flip := range []byte{1, 0x20, 0x80} {
				p := bytes.Clone(signed)
				p[at] ^= flip
				try(at, p)
			}
			try(at, slices.Delete(bytes.Clone(signed), at, at+1))
			try(at, slices.Insert(bytes.Clone(signed), at, signed[at]))
		}
	}
}

const otherKey = "PRIVATE+KEY+other+71273d22+AQcJBwkHCQcJBwkHCQcJBwkHCQcJBwkHCQcJBwkHCQcJ"

// Every line of a note has its place and its form, however well it is signed.
func TestANoteIsWrittenInOneWay(t *testing.T) {
	a, _ := samples(t)
	signer, keys := testKeys(t)
	text := a.note.Text()
	for name, c := range map[string][2]string{ // their order means nothing
		"another origin":       {"kimberlite/", "Kimberlite/"},
		"a store of 15 digits": {"/0123456789abcdef/", "/123456789abcdef/"},
		"capitals":             {"/0123456789abcdef/", "/0123456789ABCDEF/"},
		"a sign":               {"/tenant/42", "/tenant/+42"},
		"a zero":               {"/tenant/42", "/tenant/042"},
		"more of an origin":    {"/tenant/42", "/tenant/42/x"},
		"a space":              {"/tenant/42", "/tenant/42 "},
		"lines with a zero":    {"\n4\n", "\n04\n"},
		"no checkpoint":        {"checkpoint ", "checkpoin "},
		"a checkpoint twice":   {"position ", "checkpoint 00000000000000000000000000000001\nposition "},
		"an empty label":       {"label Q3-2026\n", "label \n"},
		"two labels":           {"label Q3-2026\n", "label Q3-2026\nlabel Q3-2026\n"},
		"a label of two lines": {"label Q3-2026\n", "label Q3-2026\nx\n"},
		"another order":        {"label Q3-2026\nposition 7\n", "position 7\nlabel Q3-2026\n"},
		"something more":       {"position 7\n", "position 7\nmore\n"},
		"an empty line":        {"position 7\n", "position 7\n\n"},
		"a position and more":  {"position 7\n", "position 7 8\n"},
		"another time zone":    {"Z\n", "+00:00\n"},
		"a longer fraction":    {"Z\n", "0Z\n"},
		"a year far away":      {"time 2026", "time 9026"},
	} {
		changed := strings.Replace(text, c[0], c[1], 1)
		if changed == text {
			t.Errorf("%s: nothing to change in\n%s", name, text)
		}
		signed, err := note.Sign(&note.Note{Text: changed}, signer)
		if err != nil {
			t.Fatal(err)
		}
		if n, _, err := proof.Open(signed, keys); err == nil {
			t.Errorf("%s is taken: %+v", name, n)
		}
		if n, err := proof.Read(signed); err == nil {
			t.Errorf("%s is read: %+v", name, n)
		}
	}
	if _, _, err := proof.Open(append(bytes.Repeat([]byte("x"), 1<<20), a.signed...), keys); err == nil {
		t.Error("a note of any size is taken")
	}
}

func TestANoteSurvivesEncoding(t *testing.T) {
	signer, keys := testKeys(t)
	rapid.Check(t, func(t *rapid.T) {
		n := &proof.Note{
			Store: seg.StoreID(rapid.Uint64().Draw(t, "store")), Tenant: wire.TenantID(rapid.Uint64().Draw(t, "tenant")),
			Lines: rapid.Uint64().Draw(t, "lines"), Root: proof.Hash(rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "root")),
			ID:       wire.CheckpointID(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "id")),
			Label:    rapid.StringMatching(`([a-zA-Z0-9._ -]{1,20})?`).Draw(t, "label"),
			Position: wire.Position(rapid.Uint64().Draw(t, "position")), Time: wire.Time(rapid.Int64().Draw(t, "time")),
		}
		signed, err := n.Sign(signer)
		if err != nil {
			t.Fatal(err)
		}
		got, by, err := proof.Open(signed, keys)
		if err != nil || *got != *n || len(by) != 1 {
			t.Fatalf("%+v, %+v, %v", got, n, err)
		}
		if got, err := proof.Read(signed); err != nil || *got != *n {
			t.Fatalf("%+v, %v", got, err)
		}
	})
}

func TestKeys(t *testing.T) {
	a, _ := samples(t)
	public, err := proof.PublicKeys([]byte("# the key of the tests\n\n" + testKey + "\n" + testKey))
	if err != nil || len(public) != 1 {
		t.Fatalf("%q, %v", public, err)
	}
	// One that is there twice, once as the one that signs, verifies all the same.
	keys, err := proof.Verifiers([]byte(public[0] + "\n" + testKey + "\n" + otherKey))
	if err != nil {
		t.Fatal(err)
	}
	if _, by, err := proof.Open(a.signed, keys); err != nil || !slices.Equal(by, []string{"kimberlite-test"}) {
		t.Errorf("%q, %v", by, err)
	}
	other, err := proof.Verifiers([]byte(otherKey))
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := proof.Open(a.signed, other); err == nil || !strings.Contains(err.Error(), `"kimberlite-test" (48b7874a)`) {
		t.Errorf("with another key: %v", err)
	}
	for _, bad := range []string{"", "# nothing", "x", testKey[:len(testKey)-4], strings.Replace(testKey, "48b7874a", "48b7874b", 1), "PRIVATE+KEY+"} {
		if _, err := proof.Verifiers([]byte(bad)); err == nil {
			t.Errorf("%q is taken", bad)
		}
		if _, err := proof.Signers([]byte(bad)); err == nil {
			t.Errorf("%q signs", bad)
		} else if len(bad) > 20 && strings.Contains(err.Error(), bad[20:]) {
			t.Error("an error tells a key")
		}
	}
	if _, err := a.note.Sign(); err != proof.ErrNoSigner {
		t.Errorf("signed by nobody: %v", err)
	}
}
