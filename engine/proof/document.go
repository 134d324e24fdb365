package proof

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
)

// A proof travels as a JSON object that has all that it takes to check it, but for the public keys: Inclusion and Consistency. Whoever
// reads one refuses fields that are not known, that are there twice or in another order, and values that are written in another way.
// Space between them means nothing.

const (
	documentFormat = 1
	inclusion      = "inclusion"
	consistency    = "consistency"
	// MaxDocument is the greatest document, in bytes.
	MaxDocument = 64 << 20
)

// documentHead is what each document begins with.
type documentHead struct {
	Proof  string `json:"proof"`
	Format int    `json:"format"`
}

// errDocument says that something is no proof.
var errDocument = errors.New("it is not a proof that this program knows")

// Decode reads a document. It returns one of both.
func Decode(p []byte) (*Inclusion, *Consistency, error) {
	var h documentHead
	if len(p) > MaxDocument {
		return nil, nil, fmt.Errorf("%w: it has more than %d bytes", errDocument, MaxDocument)
	}
	if err := json.Unmarshal(p, &h); err != nil {
		return nil, nil, fmt.Errorf("%w: %w", errDocument, err)
	}
	switch {
	case h.Format != documentFormat:
		return nil, nil, fmt.Errorf("%w: it has format %d", errDocument, h.Format)
	case h.Proof == inclusion:
		d := &Inclusion{}
		return d, nil, decodeDocument(p, d)
	case h.Proof == consistency:
		d := &Consistency{}
		return nil, d, decodeDocument(p, d)
	}
	return nil, nil, fmt.Errorf("%w: it says that it is a proof of %q", errDocument, h.Proof)
}

func decodeDocument(p []byte, into any) error {
	if err := json.Unmarshal(p, into); err != nil {
		return fmt.Errorf("%w: %w", errDocument, err)
	}
	var got bytes.Buffer
	if err := json.Compact(&got, p); err != nil {
		return fmt.Errorf("%w: %w", errDocument, err)
	}
	want := encode(into)
	if !bytes.Equal(bytes.TrimSpace(got.Bytes()), want[:len(want)-1]) {
		return fmt.Errorf("%w: %w", errDocument, errWritten)
	}
	return nil
}

// encodeDocument writes a document for people too.
func encodeDocument(v any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	e.Encode(v) // nothing that is written here can fail
	return b.Bytes()
}

// HexSalt is a salt that travels as hexadecimal digits.
type HexSalt Salt

// MarshalText implements encoding.TextMarshaler.
func (s HexSalt) MarshalText() ([]byte, error) { return []byte(hex.EncodeToString(s[:])), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *HexSalt) UnmarshalText(p []byte) error {
	if len(p) != 2*len(s) {
		return fmt.Errorf("%q is not a salt in hexadecimal digits", p)
	}
	_, err := hex.Decode(s[:], p)
	return err
}
