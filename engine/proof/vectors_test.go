package proof_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/kimberlitedb/kimberlite-go/engine/proof"
	"github.com/kimberlitedb/kimberlite-go/engine/seg"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

var update = flag.Bool("update", false, "rewrite the vectors in testdata/proof; only before a release has them")

// vectors are what testdata/proof/leaves.json has. Bytes are hexadecimal digits, and numbers of 64 bits decimal strings.
type vectors struct {
	Leaves []leafVector   `json:"leaves"`
	Absent []absentVector `json:"absent"`
	Roots  []rootVector   `json:"roots"`
}

type leafVector struct {
	Name      string `json:"name"`
	Link      string `json:"link,omitempty"`
	Salt      string `json:"salt"`
	Stream    uint64 `json:"stream,string"`
	Position  uint64 `json:"position,string"`
	Commit    int64  `json:"commit,string"`
	Offset    uint64 `json:"offset,string"`
	Data      string `json:"data"`
	Timestamp int64  `json:"timestamp,string"`
	Encoded   string `json:"encoded"`
	Leaf      string `json:"leaf"`
}

type absentVector struct {
	Stream uint64 `json:"stream,string"`
	Offset uint64 `json:"offset,string"`
	Leaf   string `json:"leaf"`
}

type rootVector struct {
	Size int    `json:"size"`
	Leaf string `json:"leaf,omitempty"` // the last one
	Root string `json:"root"`
}

func makeVectors(t testing.TB) vectors {
	v := vectors{}
	add := func(name string, kind seg.Kind, stream wire.StreamID, first wire.Offset, position wire.Position, data ...string) {
		r := record(kind, stream, first, position, data...)
		var link proof.Salt
		if kind == seg.KindAppend {
			link = proof.Salt(r.Body)
		}
		err := proof.Events(r, testAudit, func(e *proof.Event) {
			x, _, _ := wire.NextEvent(e.Encoded)
			leaf := e.Leaf()
			l := leafVector{
				Name: name, Salt: hex.EncodeToString(e.Salt[:]), Stream: uint64(e.Stream), Position: uint64(e.Position), Commit: int64(e.Commit),
				Offset: uint64(x.Offset), Data: hex.EncodeToString(x.Data), Timestamp: int64(x.Timestamp),
				Encoded: hex.EncodeToString(e.Encoded), Leaf: hex.EncodeToString(leaf[:]),
			}
			if kind == seg.KindAppend {
				l.Link, link = hex.EncodeToString(link[:]), seg.NextSalt(link)
			}
			v.Leaves = append(v.Leaves, l)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	add("an event of an append of three", seg.KindAppend, orders, 3, 3, "one", "two", "")
	add("an audit event", seg.KindCreateStream, orders, 1, 2, `{"act":"stream.create"}`)
	for _, o := range []wire.Offset{6, 7} {
		leaf := proof.AbsentLeaf(orders, o)
		v.Absent = append(v.Absent, absentVector{uint64(orders), uint64(o), hex.EncodeToString(leaf[:])})
	}
	var tree proof.Tree
	last := ""
	for i := range 10 {
		root := tree.Root()
		v.Roots = append(v.Roots, rootVector{i, last, hex.EncodeToString(root[:])})
		leaf := hashLeaf([]byte{byte(i)})
		tree.Append(leaf)
		last = hex.EncodeToString(leaf[:])
	}
	return v
}

// vectorFiles are the files of testdata/proof as the code makes them.
func vectorFiles(t testing.TB) map[string][]byte {
	a, b := samples(t)
	public, err := proof.PublicKeys([]byte(testKey))
	if err != nil {
		t.Fatal(err)
	}
	leaves, err := json.MarshalIndent(makeVectors(t), "", " ")
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{
		"private.key": []byte("# a key that everybody knows\n" + testKey + "\n"), "public.key": []byte(public[0] + "\n"),
		"leaves.json": append(leaves, '\n'), "earlier.manifest": a.text, "earlier.note": a.signed, "later.manifest": b.text, "later.note": b.signed,
	}
	for name, doc := range documents(t) { // their order means nothing
		files[name+".json"] = doc
	}
	return files
}

const vectorDir = "../../testdata/proof"

func TestVectors(t *testing.T) {
	files := vectorFiles(t)
	for name, want := range files { // their order means nothing
		path := filepath.Join(vectorDir, name)
		if *update {
			if err := os.WriteFile(path, want, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s is not what the code makes: %v", name, err)
		}
	}
	names, err := os.ReadDir(vectorDir)
	if err != nil {
		t.Fatal(err)
	}
	readme, err := os.ReadFile(filepath.Join(vectorDir, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range names {
		if _, known := files[n.Name()]; !known && n.Name() != "README.md" {
			t.Errorf("%s is nobody's", n.Name())
		}
		if n.Name() != "README.md" && !bytes.Contains(readme, []byte("`"+n.Name()+"`")) {
			t.Errorf("the README does not tell of %s", n.Name())
		}
	}
}

// The vectors, computed as the page says and without the code under test.
func TestVectorsAreWhatThePageSays(t *testing.T) {
	var v vectors
	if err := json.Unmarshal(read(t, "leaves.json"), &v); err != nil {
		t.Fatal(err)
	}
	var next [32]byte
	for i, l := range v.Leaves {
		salt := unhex(t, l.Salt)
		if l.Link != "" {
			link := unhex(t, l.Link)
			if h := hashOf([]byte{0}, link); !bytes.Equal(h[:16], salt) {
				t.Errorf("%s %d: another salt", l.Name, l.Offset)
			}
			if i > 0 && !bytes.Equal(next[:16], link) {
				t.Errorf("%s %d: another link", l.Name, l.Offset)
			}
			next = hashOf([]byte{1}, link)
		} else if !bytes.Equal(salt, make([]byte, 16)) {
			t.Errorf("%s: it is salted", l.Name)
		}
		encoded := slices.Concat(le(l.Offset), le(uint64(len(l.Data)/2)), unhex(t, l.Data), le(uint64(l.Timestamp)))
		if got := unhex(t, l.Encoded); !bytes.Equal(got[:len(got)-4], encoded) {
			t.Errorf("%s %d: another encoding", l.Name, l.Offset)
		}
		leaf := hashOf([]byte{0}, salt, le(l.Stream), le(l.Position), le(uint64(l.Commit)), unhex(t, l.Encoded))
		if hex.EncodeToString(leaf[:]) != l.Leaf {
			t.Errorf("%s %d: another leaf", l.Name, l.Offset)
		}
	}
	for _, a := range v.Absent {
		if leaf := hashOf([]byte("\x00kimberlite: no event"), le(a.Stream), le(a.Offset)); hex.EncodeToString(leaf[:]) != a.Leaf {
			t.Errorf("absent %d: another leaf", a.Offset)
		}
	}
	var leaves []proof.Hash
	for _, r := range v.Roots {
		if r.Size > 0 {
			leaves = append(leaves, proof.Hash(unhex(t, r.Leaf)))
		}
		if root := rootOf(leaves); len(leaves) != r.Size || hex.EncodeToString(root[:]) != r.Root {
			t.Errorf("size %d: another root", r.Size)
		}
	}
}

func hashOf(parts ...[]byte) proof.Hash { return sha256.Sum256(slices.Concat(parts...)) }

func read(t testing.TB, name string) []byte {
	t.Helper()
	p, err := os.ReadFile(filepath.Join(vectorDir, name))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	p, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// page is docs/PROOFS.md.
func page(t testing.TB) string {
	t.Helper()
	p, err := os.ReadFile("../../docs/PROOFS.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(p)
}

// Every example of the page is one of the vectors: the hashes that it names are there, and its blocks are parts of files.
func TestThePageShowsTheVectors(t *testing.T) {
	text := page(t)
	all := ""
	for name, p := range vectorFiles(t) { // their order means nothing
		if name != "private.key" {
			all += string(p)
		}
	}
	blocks := 0
	for i, block := range strings.Split(text, "```") {
		lang, body, _ := strings.Cut(block, "\n")
		if i%2 == 0 || lang != "json" && lang != "text" {
			continue
		}
		blocks++
		for part := range strings.SplitSeq(body, "…\n") {
			if part = strings.TrimRight(part, "\n"); !strings.Contains(all, part) {
				t.Errorf("the page shows what is in no vector:\n%s", part)
			}
		}
	}
	if blocks < 4 {
		t.Errorf("the page has %d examples", blocks)
	}
	for word := range strings.FieldsFuncSeq(text, func(r rune) bool { return !strings.ContainsRune("0123456789abcdef", r) }) {
		if len(word) >= 32 && !strings.Contains(all, word) {
			t.Errorf("the page has %s, and no vector does", word)
		}
	}
}

// The page's tables have the fields of the code, in their order.
func TestThePageHasTheFields(t *testing.T) {
	text := page(t)
	for name, v := range map[string]any{ // their order means nothing
		"head": proof.Head{}, "stream": proof.Stream{}, "absent": proof.Absent{}, "shown line": proof.Line{}, "inclusion": proof.Inclusion{},
		"event": proof.Shown{}, "consistency": proof.Consistency{}, "side": proof.Side{}, "pair": proof.Pair{},
	} {
		var want, got []string
		for _, f := range reflect.VisibleFields(reflect.TypeOf(v)) {
			if tag, _, _ := strings.Cut(f.Tag.Get("json"), ","); tag != "" {
				want = append(want, tag)
			}
		}
		_, table, found := strings.Cut(text, "\n| "+name+" | type | |\n|---|---|---|\n")
		for found && strings.HasPrefix(table, "| ") {
			row, rest, _ := strings.Cut(table, "\n")
			got, table = append(got, strings.Trim(strings.Split(row, "|")[1], " ")), rest
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: the page has %q, and the code %q", name, got, want)
		}
	}
	if !strings.Contains(text, fmt.Sprintf("A document has %d MiB at most", proof.MaxDocument>>20)) {
		t.Error("the page has another limit of documents")
	}
}
