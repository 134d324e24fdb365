package proof

import (
	"bytes"
	"cmp"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

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
	Previous   string        `json:"previous,omitempty"`    // the checkpoint that its trees go on from
	State      Digest        `json:"state"`                 // of the tenant's state
	Statements wire.Offset   `json:"statements"`            // carried out, of the stream $sql
	Outcomes   Digest        `json:"outcomes"`              // of those of them that the log tells of
	Told       wire.Offset   `json:"told"`                  // up to where it does
	Tables     *Digest       `json:"tables,omitempty"`      // of the dump of the tables; nil where there are none
	TablesGone string        `json:"tables_gone,omitempty"` // why there is no dump, although there were statements
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
	p := encode(&m.Head)
	for i := range m.Streams {
		p = append(p, encode(&m.Streams[i])...)
	}
	return p
}

// encode writes a value as a line.
func encode(v any) []byte {
	var b bytes.Buffer
	line := json.NewEncoder(&b)
	line.SetEscapeHTML(false)
	line.Encode(v) // nothing that is written here can fail
	return b.Bytes()
}

// errWritten says that something means what it should, and is not written as it should be. Then two readers might understand two things.
var errWritten = errors.New("it is not written as it should be")

// decode reads what encode has written, without the newline, and refuses everything else.
func decode(line []byte, into any) error {
	if err := json.Unmarshal(line, into); err != nil {
		return err
	}
	if got := encode(into); !bytes.Equal(got[:len(got)-1], line) {
		return errWritten
	}
	return nil
}

// DecodeManifest reads a manifest, and refuses what Encode does not write.
func DecodeManifest(p []byte) (*Manifest, error) {
	m := &Manifest{}
	for i, rest := 0, p; i == 0 || len(rest) > 0; i++ {
		line, after, whole := bytes.Cut(rest, []byte("\n"))
		if rest = after; !whole {
			return nil, fmt.Errorf("line %d of the manifest is cut short", i+1)
		}
		var err error
		if i == 0 {
			err = m.Head.decode(line)
		} else {
			m.Streams = append(m.Streams, Stream{})
			err = m.Streams[i-1].decode(line)
		}
		if err == nil && i > 1 && m.Streams[i-2].ID >= m.Streams[i-1].ID {
			err = errors.New("the streams are not in the order of their ids")
		}
		if err != nil {
			return nil, fmt.Errorf("line %d of the manifest: %w", i+1, err)
		}
	}
	return m, nil
}

// decode reads the head's line.
func (h *Head) decode(line []byte) error {
	if err := decode(line, h); err != nil {
		return err
	}
	if h.Format != manifestFormat {
		return fmt.Errorf("it has format %d, and this program knows %d alone", h.Format, manifestFormat)
	}
	for _, id := range []string{h.Checkpoint, h.Previous} {
		if got, err := wire.ParseCheckpointID(id); id != "" && (err != nil || got.String() != id) || h.Checkpoint == "" {
			return fmt.Errorf("%q is no id of a checkpoint", id)
		}
	}
	if dumped, gone := h.Tables != nil, h.TablesGone != ""; dumped && gone || (dumped || gone) && h.Statements == 0 {
		return errors.New("what it says of tables makes no sense")
	}
	return nil
}

// decode reads a stream's line.
func (s *Stream) decode(line []byte) error {
	if err := decode(line, s); err != nil {
		return err
	}
	if s.Base > s.Oldest || s.Oldest > s.Head || s.Head-s.Base > maxTree {
		return errors.New("base, oldest and head are out of order")
	}
	next := s.Base
	for _, a := range s.Absent {
		if a.From < next || a.From >= a.To || a.To > s.Head {
			return errors.New("the runs of absent events make no sense")
		}
		if a.Reason != Retention && a.Reason != Purge && a.Reason != Lost {
			return fmt.Errorf("events are absent for a reason %q", a.Reason)
		}
		next = a.To
	}
	return nil
}

// LinesRoot returns how many lines a manifest has, and the root of the tree of them.
func LinesRoot(manifest []byte) (n uint64, root Hash) {
	var t Tree
	for line := range bytes.Lines(manifest) {
		t.Append(leafOfLine(bytes.TrimSuffix(line, []byte("\n"))))
	}
	return t.Size(), t.Root()
}

func leafOfLine(line []byte) Hash { return Hash(rfc6962.DefaultHasher.HashLeaf(line)) }

// Size returns how many leaves the stream's tree has.
func (s *Stream) Size() uint64 { return uint64(s.Head - s.Base) }

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
