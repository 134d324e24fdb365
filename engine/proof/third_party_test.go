package proof_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/kimberlitedb/kimberlite-go/engine/proof"
)

// What follows is a verifier that somebody might write who has docs/PROOFS.md and a standard library. It shares the hashes of a tree with
// tree_test.go, and nothing with the package. It does not look at how documents are written, only at what they say.

type thirdLine struct {
	Text  string   `json:"line"`
	Index uint64   `json:"index"`
	Path  []string `json:"path"`
}

type thirdStream struct {
	ID     uint64 `json:"stream"`
	Name   string `json:"name"`
	Base   uint64 `json:"base"`
	Head   uint64 `json:"head"`
	Absent []struct {
		From   uint64 `json:"from"`
		To     uint64 `json:"to"`
		Reason string `json:"reason"`
	} `json:"absent"`
	Root string `json:"root"`
}

type thirdSide struct {
	Note string    `json:"note"`
	Head thirdLine `json:"head"`
}

type thirdProof struct {
	Proof  string    `json:"proof"`
	Format int       `json:"format"`
	Note   string    `json:"note"`
	Stream thirdLine `json:"stream"`
	Offset uint64    `json:"offset"`
	Event  *struct {
		Salt     string `json:"salt"`
		Position uint64 `json:"position"`
		Commit   int64  `json:"commit"`
		Encoded  []byte `json:"encoded"`
	} `json:"event"`
	Leaf *string  `json:"leaf"`
	Path []string `json:"path"`
}

type thirdConsistency struct {
	Earlier thirdSide `json:"earlier"`
	Later   thirdSide `json:"later"`
	Streams []struct {
		Earlier *thirdLine `json:"earlier"`
		Later   *thirdLine `json:"later"`
		Path    []string   `json:"path"`
	} `json:"streams"`
}

// thirdNote is a note's text, line by line.
type thirdNote struct {
	origin     string
	lines      uint64
	root       proof.Hash
	extensions map[string]string
}

var errThird = errors.New("it proves nothing")

func thirdHash(digits string) (h proof.Hash) {
	p, err := hex.DecodeString(digits)
	if err == nil && len(p) == len(h) {
		copy(h[:], p)
	}
	return h
}

func thirdPath(path []string) (list []proof.Hash) {
	for _, digits := range path {
		list = append(list, thirdHash(digits))
	}
	return list
}

// thirdOpen checks the signature of a key, and reads the text.
func thirdOpen(signed, key string) (*thirdNote, error) {
	at := strings.LastIndex(signed, "\n\n")
	if at < 0 {
		return nil, errThird
	}
	text, good := signed[:at+1], false
	name, rest, _ := strings.Cut(key, "+")
	_, public, _ := strings.Cut(rest, "+")
	p, err := base64.StdEncoding.DecodeString(public)
	if err != nil || len(p) != 33 || p[0] != 1 {
		return nil, errThird
	}
	id := sha256.Sum256(slices.Concat([]byte(name+"\n"), p))
	for line := range strings.Lines(signed[at+2:]) {
		words := strings.Fields(line)
		if len(words) == 3 && words[0] == "—" && words[1] == name {
			sig, err := base64.StdEncoding.DecodeString(words[2])
			good = good || err == nil && len(sig) == 68 && bytes.Equal(sig[:4], id[:4]) && ed25519.Verify(p[1:], []byte(text), sig[4:])
		}
	}
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	if !good || len(lines) < 6 {
		return nil, errThird
	}
	n := &thirdNote{origin: lines[0], extensions: map[string]string{}}
	n.lines, err = strconv.ParseUint(lines[1], 10, 64)
	root, err2 := base64.StdEncoding.DecodeString(lines[2])
	if err != nil || err2 != nil || len(root) != 32 {
		return nil, errThird
	}
	n.root = proof.Hash(root)
	for _, line := range lines[3:] {
		name, value, _ := strings.Cut(line, " ")
		n.extensions[name] = value
	}
	return n, nil
}

// show returns what a line says of a stream.
func (n *thirdNote) show(l *thirdLine) (*thirdStream, error) {
	if !includes(l.Index, n.lines, hashLeaf([]byte(l.Text)), thirdPath(l.Path), n.root) || l.Index == 0 {
		return nil, errThird
	}
	s := &thirdStream{}
	if err := json.Unmarshal([]byte(l.Text), s); err != nil || s.Base > s.Head {
		return nil, errThird
	}
	return s, nil
}

// thirdVerify verifies a document, and says what it proves as say does.
func thirdVerify(p []byte, key string) (string, error) {
	d := &thirdProof{}
	if err := json.Unmarshal(p, d); err != nil || d.Format != 1 {
		return "", errThird
	}
	if d.Proof == "consistency" {
		return thirdConsistent(p, key)
	}
	n, err := thirdOpen(d.Note, key)
	if err != nil || d.Proof != "inclusion" {
		return "", errThird
	}
	s, err := n.show(&d.Stream)
	if err != nil || d.Offset < s.Base || d.Offset >= s.Head {
		return "", errThird
	}
	leaf, what, err := d.leaf(s)
	if err != nil || !includes(d.Offset-s.Base, s.Head-s.Base, leaf, thirdPath(d.Path), thirdHash(s.Root)) {
		return "", errThird
	}
	return fmt.Sprintf("%s %d %s", s.Name, d.Offset, what), nil
}

func (d *thirdProof) leaf(s *thirdStream) (leaf proof.Hash, what string, err error) {
	for _, a := range s.Absent {
		if a.From <= d.Offset && d.Offset < a.To {
			if d.Event != nil || d.Leaf != nil {
				return leaf, "", errThird
			}
			return hashLeaf(slices.Concat([]byte("kimberlite: no event"), le(s.ID), le(d.Offset))), a.Reason, nil
		}
	}
	switch {
	case (d.Event == nil) == (d.Leaf == nil):
		return leaf, "", errThird
	case d.Leaf != nil:
		return thirdHash(*d.Leaf), "a leaf", nil
	}
	e := d.Event.Encoded
	salt, err := hex.DecodeString(d.Event.Salt)
	if err != nil || len(salt) != 16 || len(e) < 28 || binary.LittleEndian.Uint64(e) != d.Offset || binary.LittleEndian.Uint64(e[8:]) != uint64(len(e)-28) {
		return leaf, "", errThird
	}
	data := slices.Concat(salt, le(s.ID), le(d.Event.Position), le(uint64(d.Event.Commit)), e)
	return hashLeaf(data), fmt.Sprintf("%q at %d", e[16:len(e)-12], d.Event.Position), nil
}

func (side *thirdSide) open(key string) (*thirdNote, uint64, error) {
	n, err := thirdOpen(side.Note, key)
	if err != nil {
		return nil, 0, err
	}
	var head struct {
		Checkpoint string `json:"checkpoint"`
		Label      string `json:"label"`
		Tenant     uint64 `json:"tenant"`
		Position   uint64 `json:"position"`
		Time       int64  `json:"time"`
	}
	ok := side.Head.Index == 0 && includes(0, n.lines, hashLeaf([]byte(side.Head.Text)), thirdPath(side.Head.Path), n.root)
	if !ok || json.Unmarshal([]byte(side.Head.Text), &head) != nil {
		return nil, 0, errThird
	}
	want := map[string]string{
		"checkpoint": head.Checkpoint, "position": strconv.FormatUint(head.Position, 10), "time": time.Unix(0, head.Time).UTC().Format(time.RFC3339Nano),
	}
	if head.Label != "" {
		want["label"] = head.Label
	}
	if !maps.Equal(want, n.extensions) || !strings.HasSuffix(n.origin, fmt.Sprintf("/tenant/%d", head.Tenant)) {
		return nil, 0, errThird
	}
	return n, head.Position, nil
}

func thirdConsistent(p []byte, key string) (string, error) {
	d := &thirdConsistency{}
	if json.Unmarshal(p, d) != nil {
		return "", errThird
	}
	before, from, err1 := d.Earlier.open(key)
	after, to, err2 := d.Later.open(key)
	if err1 != nil || err2 != nil || before.origin != after.origin || from >= to {
		return "", errThird
	}
	var said []string
	var ids []uint64
	earlier, later, alone := uint64(1), uint64(1), false
	for i := range d.Streams {
		var a, b thirdStream
		var err error
		x := &d.Streams[i]
		if x.Earlier != nil {
			a, err = some(before.show(x.Earlier))
			earlier++
		}
		if x.Later != nil && err == nil {
			b, err = some(after.show(x.Later))
			later++
		}
		switch {
		case err != nil, x.Earlier == nil && x.Later == nil:
			return "", errThird
		case x.Earlier == nil || x.Later == nil:
			if alone = true; len(x.Path) > 0 {
				return "", errThird
			}
		case !thirdExtends(&a, &b, thirdPath(x.Path)):
			return "", errThird
		}
		ids = append(ids, max(a.ID, b.ID))
		switch {
		case x.Later == nil:
			said = append(said, a.Name[:4]+" purged") // as say does
		case x.Earlier == nil:
			said = append(said, b.Name+" new")
		default:
			said = append(said, fmt.Sprintf("%s %d to %d", b.Name, a.Head, b.Head))
		}
	}
	whole := ""
	if earlier == before.lines && later == after.lines {
		whole = ", whole"
	}
	if !slices.IsSorted(ids) || len(slices.Compact(slices.Clone(ids))) != len(ids) || alone && whole == "" {
		return "", errThird
	}
	return fmt.Sprintf("%d to %d%s: %s", from, to, whole, strings.Join(said, ", ")), nil
}

func some(s *thirdStream, err error) (thirdStream, error) {
	if err != nil {
		return thirdStream{}, err
	}
	return *s, nil
}

// thirdExtends checks that a stream's tree goes on from an earlier one, and that no event has become absent or come back.
func thirdExtends(a, b *thirdStream, path []proof.Hash) bool {
	n := len(a.Absent)
	if a.ID != b.ID || a.Base != b.Base || a.Head > b.Head || len(b.Absent) < n || !slices.Equal(a.Absent, b.Absent[:n]) ||
		len(b.Absent) > n && b.Absent[n].From < a.Head {
		return false
	}
	return extends(a.Head-a.Base, b.Head-b.Base, path, thirdHash(a.Root), thirdHash(b.Root))
}

// thirdKey is the public key among the vectors.
func thirdKey(t testing.TB) string {
	t.Helper()
	return strings.TrimSpace(string(read(t, "public.key")))
}

func TestAThirdPartyVerifiesTheVectors(t *testing.T) {
	key := thirdKey(t)
	_, keys := testKeys(t)
	for name := range documents(t) { // their order means nothing
		p := read(t, name+".json")
		want, err := prove(p, keys)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := thirdVerify(p, key); err != nil || got != say(want) {
			t.Errorf("%s: %q, %v, want %q", name, got, err, say(want))
		}
	}
}

// What is nearly a proof is refused by the package and by the third party.
func TestNobodyTakesWhatIsNearlyAProof(t *testing.T) {
	key := thirdKey(t)
	_, keys := testKeys(t)
	for _, n := range refused(t) {
		if got, err := prove(n.document, keys); err == nil {
			t.Errorf("%s: it proves %s", n.name, say(got))
		}
		if got, err := thirdVerify(n.document, key); err == nil {
			t.Errorf("%s: to a third party it proves %s", n.name, got)
		}
	}
}

func TestAThirdPartyComputesTheRootOfTheLines(t *testing.T) {
	for _, name := range []string{"earlier", "later"} {
		n, err := thirdOpen(string(read(t, name+".note")), thirdKey(t))
		if err != nil {
			t.Fatal(name, err)
		}
		var lines []proof.Hash
		for line := range bytes.Lines(read(t, name+".manifest")) {
			lines = append(lines, hashLeaf(bytes.TrimSuffix(line, []byte("\n"))))
		}
		if n.lines != uint64(len(lines)) || n.root != rootOf(lines) {
			t.Errorf("%s: another root", name)
		}
	}
}

// Whatever byte of a proof is changed, what the package takes the third party takes, and as the same.
func TestAThirdPartyAgrees(t *testing.T) {
	key := thirdKey(t)
	_, keys := testKeys(t)
	for name, doc := range documents(t) { // their order means nothing
		for at := range doc {
			p := bytes.Clone(doc)
			p[at] ^= 1
			got, err := prove(p, keys)
			if err != nil {
				continue
			}
			if third, err := thirdVerify(p, key); err != nil || third != say(got) {
				t.Fatalf("%s, byte %d: %q, %v, want %q", name, at, third, err, say(got))
			}
		}
	}
}
