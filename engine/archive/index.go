package archive

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/kimberlitedb/kimberlite-go/engine/proof"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// Index says which blobs hold a checkpoint. It is JSON, an object a line: the first one tells of the checkpoint, the others of a section each.
type Index struct {
	Format     int               `json:"format"`
	Checkpoint wire.CheckpointID `json:"-"`
	ID         string            `json:"checkpoint"`
	Manifest   Blob              `json:"manifest"`
	State      Blob              `json:"state"`
	TablesGone string            `json:"tables_gone,omitempty"` // why there is no dump of the tables, although the manifest has its digest
	Statements wire.Offset       `json:"statements,omitempty"`  // that have led to the tables, where their dump is there
	Sections   []Section         `json:"-"`                     // by stream, ascending offsets
	Tables     []Piece           `json:"-"`                     // of the dump of the tables, in order
}

// Piece is what a blob has of the dump of the tables: all of the blob.
type Piece struct {
	Start int64 `json:"tables"` // in the dump, in bytes
	Blob
	Length int `json:"length"` // as it is expanded
}

// Blob names a blob.
type Blob struct {
	Digest proof.Digest `json:"blob"`
	Size   int          `json:"size"` // as it is stored, in bytes
}

// Section is a piece of a stream: records of the log that have its events from First on, up to Next, or in their place their leaves.
type Section struct {
	Stream wire.StreamID `json:"stream"`
	First  wire.Offset   `json:"first"`
	Next   wire.Offset   `json:"next"`
	Blob
	Start  int    `json:"start"`          // in the blob as it is expanded, in bytes
	Length int    `json:"length"`         // likewise
	Gone   string `json:"gone,omitempty"` // why there are leaves instead
}

// indexFormat is the version of what Encode writes.
const indexFormat = 1

// Encode writes the index. It sorts the sections.
func (x *Index) Encode() []byte {
	x.Format, x.ID = indexFormat, x.Checkpoint.String()
	slices.SortFunc(x.Sections, func(a, b Section) int { return cmp.Or(cmp.Compare(a.Stream, b.Stream), cmp.Compare(a.First, b.First)) })
	var b bytes.Buffer
	lines := json.NewEncoder(&b)
	lines.Encode(x) // none of it can fail
	for i := range x.Sections {
		lines.Encode(&x.Sections[i])
	}
	for i := range x.Tables {
		lines.Encode(&x.Tables[i])
	}
	return b.Bytes()
}

// DecodeIndex reads what Encode has written. Sections may still be of blobs that are not there, or hold something else.
func DecodeIndex(p []byte) (*Index, error) {
	x := &Index{}
	for i := 0; len(p) > 0; i++ {
		line, rest, whole := bytes.Cut(p, []byte("\n"))
		if p = rest; !whole {
			return nil, fmt.Errorf("line %d of the index is cut short", i+1)
		}
		if i == 0 {
			if err := json.Unmarshal(line, x); err != nil {
				return nil, fmt.Errorf("line 1 of the index: %w", err)
			}
			if x.Format != indexFormat {
				return nil, fmt.Errorf("the index has format %d, and this program knows %d alone", x.Format, indexFormat)
			}
			id, err := wire.ParseCheckpointID(x.ID)
			if err != nil {
				return nil, fmt.Errorf("line 1 of the index: %w", err)
			}
			x.Checkpoint = id
			continue
		}
		if err := x.line(line); err != nil {
			return nil, fmt.Errorf("line %d of the index: %w", i+1, err)
		}
	}
	if x.Format == 0 {
		return nil, fmt.Errorf("the index is empty")
	}
	return x, nil
}

// of returns the sections of a stream.
func (x *Index) of(id wire.StreamID) []Section {
	by := func(s Section, id wire.StreamID) int { return cmp.Compare(s.Stream, id) }
	first, _ := slices.BinarySearchFunc(x.Sections, id, by)
	list := x.Sections[first:]
	next, _ := slices.BinarySearchFunc(list, id, func(s Section, id wire.StreamID) int {
		if s.Stream <= id {
			return -1
		}
		return 1
	})
	return list[:next]
}

// line takes up a line behind the first: of a section, or of a piece of the dump, which come last.
func (x *Index) line(text []byte) error {
	var kind struct {
		Start *int64 `json:"tables"`
	}
	if err := json.Unmarshal(text, &kind); err != nil {
		return err
	}
	if kind.Start != nil {
		var p Piece
		if err := json.Unmarshal(text, &p); err != nil {
			return err
		}
		if p.Start != x.dumped() || x.Statements == 0 || p.Length <= 0 || p.Length > MaxBlob || x.TablesGone != "" {
			return errors.New("the piece of the tables is out of place")
		}
		x.Tables = append(x.Tables, p)
		return nil
	}
	var s Section
	if err := json.Unmarshal(text, &s); err != nil {
		return err
	}
	if why := s.bad(x.Sections); why != "" {
		return errors.New(why)
	}
	if len(x.Tables) > 0 {
		return errors.New("the section is out of order")
	}
	x.Sections = append(x.Sections, s)
	return nil
}

// dumped returns how many bytes there are of the dump of the tables.
func (x *Index) dumped() int64 {
	n := len(x.Tables)
	if n == 0 {
		return 0
	}
	return x.Tables[n-1].Start + int64(x.Tables[n-1].Length)
}

// Add adds a piece behind those that there are of the dump of the tables.
func (x *Index) Add(b Blob, length int) {
	x.Tables = append(x.Tables, Piece{x.dumped(), b, length})
}

// bad says why a section cannot follow others, or nothing.
func (s *Section) bad(before []Section) string {
	switch {
	case s.First >= s.Next || s.Start < 0 || s.Length <= 0 || s.Length > MaxBlob || s.Start > MaxBlob-s.Length:
		return "the section makes no sense"
	case s.Gone != "" && s.Gone != proof.Retention && s.Gone != proof.Purge && s.Gone != proof.Lost:
		return fmt.Sprintf("events are gone for a reason %q", s.Gone)
	case s.Gone != "" && (s.Length%sha256.Size != 0 || uint64(s.Length/sha256.Size) != uint64(s.Next-s.First)):
		return "leaves do not have the length of their number"
	}
	if n := len(before); n > 0 {
		if l := &before[n-1]; l.Stream > s.Stream || l.Stream == s.Stream && l.Next > s.First {
			return "the section is out of order"
		}
	}
	return ""
}
