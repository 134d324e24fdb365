package fuzz

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/kimberlitedb/kimberlite-go/engine/proof"
)

// proofVector returns a file of testdata/proof.
func proofVector(f *testing.F, name string) []byte {
	f.Helper()
	p, err := os.ReadFile(filepath.Join("..", "testdata", "proof", name))
	if err != nil {
		f.Fatal(err)
	}
	return p
}

func proofKeys(f *testing.F) proof.Keys {
	f.Helper()
	keys, err := proof.Verifiers(proofVector(f, "private.key"))
	if err != nil {
		f.Fatal(err)
	}
	return keys
}

// FuzzProofManifest: what is taken for a manifest is written in the one way, and each of its lines can be shown.
func FuzzProofManifest(f *testing.F) {
	f.Add(proofVector(f, "earlier.manifest"))
	f.Add(proofVector(f, "later.manifest"))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, p []byte) {
		m, err := proof.DecodeManifest(p)
		if err != nil {
			return
		}
		if !bytes.Equal(m.Encode(), p) {
			t.Fatalf("%q is written as %q", p, m.Encode())
		}
		lines := proof.LinesOf(m)
		for i := range len(m.Streams) + 1 {
			if _, err := lines.Show(i); err != nil {
				t.Fatal(err)
			}
		}
		for i := range m.Streams {
			for o := m.Streams[i].Base; o < m.Streams[i].Head; {
				_, until := m.Streams[i].Missing(o)
				if until <= o || until > m.Streams[i].Head {
					t.Fatalf("stream %d: %d is followed by %d", i, o, until)
				}
				o = until
			}
		}
	})
}

// FuzzProofNote: a note that can be read says what its text says, and one that nobody has signed is not opened.
func FuzzProofNote(f *testing.F) {
	keys := proofKeys(f)
	signed := map[string]bool{}
	for _, name := range []string{"earlier.note", "later.note"} {
		p := proofVector(f, name)
		n, err := proof.Read(p)
		if err != nil {
			f.Fatal(err)
		}
		signed[n.Text()] = true
		f.Add(p)
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		n, err := proof.Read(p)
		if err == nil && !bytes.HasPrefix(p, []byte(n.Text()+"\n")) {
			t.Fatalf("%q is read as %q", p, n.Text())
		}
		if n, _, err := proof.Open(p, keys); err == nil && !signed[n.Text()] {
			t.Fatalf("nobody has signed %q", n.Text())
		}
	})
}

// FuzzProofKeys: of a file of keys either every line that is not empty counts, or none. The same key never verifies twice.
func FuzzProofKeys(f *testing.F) {
	f.Add(proofVector(f, "private.key"))
	f.Add(proofVector(f, "public.key"))
	f.Add([]byte("# nothing\n\n"))
	f.Fuzz(func(t *testing.T, p []byte) {
		public, err := proof.PublicKeys(p)
		if _, again := proof.Verifiers(p); (err == nil) != (again == nil) {
			t.Fatal(err, again)
		}
		seen := map[string]bool{}
		for _, key := range public {
			if seen[key] {
				t.Fatalf("%s is there twice", key)
			}
			seen[key] = true
		}
		if signers, err := proof.Signers(p); err == nil && len(signers) < len(public) {
			t.Fatalf("%d keys sign, and %d verify", len(signers), len(public))
		}
	})
}

// FuzzProofDocument: a document is written in one way, but for space, and proves nothing of any event but what the golden ones do.
func FuzzProofDocument(f *testing.F) {
	keys := proofKeys(f)
	proven := map[string]bool{}
	for _, name := range []string{"inclusion", "inclusion-audit", "inclusion-leaf", "inclusion-absent", "consistency", "consistency-stream"} {
		p := proofVector(f, name+".json")
		_, claim := proofDocument(p, keys)
		if claim == "" {
			f.Fatal(name)
		}
		proven[claim] = true
		f.Add(p)
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		doc, claim := proofDocument(p, keys)
		if doc == nil {
			return
		}
		if again, _ := proofDocument(doc, keys); !bytes.Equal(again, doc) {
			t.Fatalf("%q is written as %q", doc, again)
		}
		if claim != "" && !proven[claim] {
			t.Fatalf("%q proves %s", p, claim)
		}
	})
}

// proofDocument returns a document as it is written, nil where it is none, and what it proves, in short. Of a consistency proof that is
// between which notes: one about fewer streams holds too.
func proofDocument(p []byte, keys proof.Keys) (doc []byte, claim string) {
	in, con, err := proof.Decode(p)
	if err != nil {
		return nil, ""
	}
	if in != nil {
		if x, err := in.Verify(keys); err == nil {
			claim = fmt.Sprintf("%q %d %x %+v", x.Note.Text(), x.Offset, x.Leaf, x.Event)
		}
		return in.Encode(), claim
	}
	if x, err := con.Verify(keys); err == nil {
		claim = fmt.Sprintf("%q %q", x.Earlier.Text(), x.Later.Text())
	}
	return con.Encode(), claim
}
