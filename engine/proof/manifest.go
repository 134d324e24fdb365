package proof

import (
	"bytes"
	"cmp"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/transparency-dev/merkle/rfc6962"

	"github.com/kimberlitedb/kimberlite-go/wire"
)

// Manifest says what a checkpoint held. It travels as JSON, an object a line: the head, and then a stream each.
type Manifest struct {
	Head
	Streams []Stream // ascending ids
}

// Head is the first line of a manifest.
type Head struct {
	Format     int           `json:"format"`
	Checkpoint string        `json:"checkpoint"` // its id
	Label      string        `json:"label,omitempty"`
	Tenant     wire.TenantID `json:"tenant"`
	Name       string        `json:"name"`
	Position   wire.Position `json:"position"`
	Time       wire.Time     `json:"time"`
	Previous   string        `json:"previous,omitempty"` // the checkpoint that its trees go on from
	State      Digest        `json:"state"`              // of the tenant's state
	Statements wire.Offset   `json:"statements"`         // carried out, of the stream $sql
	Outcomes   Digest        `json:"outcomes"`           // of those of them that the log tells of
	Told       wire.Offset   `json:"told"`               // up to where it does
}

// Stream is a line of a manifest.
type Stream struct {
	ID     wire.StreamID `json:"stream"`
	Name   string        `json:"name"`
	Class  string        `json:"class"`
	Base   wire.Offset   `json:"base"` // of the event that is the tree's first leaf
	Oldest wire.Offset   `json:"oldest"`
	Head   wire.Offset   `json:"head"`
	Bytes  uint64        `json:"bytes"` // of event data from Oldest on
	Absent []Absent      `json:"absent,omitempty"`
	Root   Digest        `json:"root"`
}

// Absent is a run of events that were gone before they could be hashed.
type Absent struct {
	From   wire.Offset `json:"from"`
	To     wire.Offset `json:"to"`
	Reason string      `json:"reason"`
}

// The reasons.
const (
	Retention = "retention"
	Purge     = "purge"
	Lost      = "lost" // to damage
)

// Digest is a hash that travels as hexadecimal digits.
type Digest Hash

// String returns it as 64 hexadecimal digits.
func (d Digest) String() string { return hex.EncodeToString(d[:]) }

// MarshalText implements encoding.TextMarshaler.
func (d Digest) MarshalText() ([]byte, error) { return []byte(hex.EncodeToString(d[:])), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Digest) UnmarshalText(p []byte) error {
	if len(p) != 2*len(d) {
		return fmt.Errorf("%q is not a SHA-256 in hexadecimal digits", p)
	}
	_, err := hex.Decode(d[:], p)
	return err
}

const manifestFormat = 1

// Encode writes the manifest. There is one way only in which a manifest is written.
func (m *Manifest) Encode() []byte {
	m.Format = manifestFormat
	var b bytes.Buffer
	lines := json.NewEncoder(&b)
	lines.SetEscapeHTML(false)
	lines.Encode(&m.Head) // none of it can fail
	for i := range m.Streams {
		lines.Encode(&m.Streams[i])
	}
	return b.Bytes()
}

// DecodeManifest reads a manifest, and refuses what Encode does not write.
func DecodeManifest(p []byte) (*Manifest, error) {
	m := &Manifest{}
	for i, rest := 0, p; len(rest) > 0; i++ {
		line, after, whole := bytes.Cut(rest, []byte("\n"))
		if rest = after; !whole {
			return nil, fmt.Errorf("line %d of the manifest is cut short", i+1)
		}
		into := any(&m.Head)
		if i > 0 {
			m.Streams = append(m.Streams, Stream{})
			into = &m.Streams[i-1]
		}
		if err := json.Unmarshal(line, into); err != nil {
			return nil, fmt.Errorf("line %d of the manifest: %w", i+1, err)
		}
		if i == 0 && m.Format != manifestFormat {
			return nil, fmt.Errorf("the manifest has format %d, and this program knows %d alone", m.Format, manifestFormat)
		}
		if i > 0 {
			if why := m.Streams[i-1].bad(m.Streams[:i-1]); why != "" {
				return nil, fmt.Errorf("line %d of the manifest: %s", i+1, why)
			}
		}
	}
	if !bytes.Equal(m.Encode(), p) {
		return nil, fmt.Errorf("the manifest is not written as manifests are")
	}
	return m, nil
}

// bad says why a line cannot follow others, or nothing.
func (s *Stream) bad(before []Stream) string {
	if n := len(before); n > 0 && before[n-1].ID >= s.ID {
		return "the streams are not in the order of their ids"
	}
	if s.Base > s.Oldest || s.Oldest > s.Head {
		return "base, oldest and head are out of order"
	}
	next := s.Base
	for _, a := range s.Absent {
		if a.From < next || a.From >= a.To || a.To > s.Head {
			return "the runs of absent events make no sense"
		}
		next = a.To
	}
	return ""
}

// LinesRoot returns how many lines a manifest has, and the root of the tree of them.
func LinesRoot(manifest []byte) (n uint64, root Hash) {
	var t Tree
	for line := range strings.SplitSeq(strings.TrimSuffix(string(manifest), "\n"), "\n") {
		t.Append(Hash(rfc6962.DefaultHasher.HashLeaf([]byte(line))))
	}
	return t.Size(), t.Root()
}

// Missing reports whether the event at an offset was gone before it could be hashed, and up to where the same holds of those behind it.
func (s *Stream) Missing(o wire.Offset) (absent bool, until wire.Offset) {
	for _, a := range s.Absent {
		switch {
		case o < a.From:
			return false, a.From
		case o < a.To:
			return true, a.To
		}
	}
	return false, s.Head
}

// Stream returns the line of a stream, nil where there is none.
func (m *Manifest) Stream(id wire.StreamID) *Stream {
	i, found := slices.BinarySearchFunc(m.Streams, id, func(s Stream, id wire.StreamID) int { return cmp.Compare(s.ID, id) })
	if !found {
		return nil
	}
	return &m.Streams[i]
}
