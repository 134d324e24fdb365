package proof

import (
	"errors"
	"fmt"

	"github.com/kimberlitedb/kimberlite-go/wire"
)

// Inclusion proves what a checkpoint had at an offset of a stream: an event, the leaf of one that is gone by now, or that the event was
// gone before it could be hashed.
type Inclusion struct {
	documentHead
	Note   string      `json:"note"`   // signed
	Stream Line        `json:"stream"` // the stream's
	Offset wire.Offset `json:"offset"`
	Event  *Shown      `json:"event,omitempty"`
	Leaf   *Digest     `json:"leaf,omitempty"` // in place of the event
	Path   []Digest    `json:"path"`           // in the stream's tree
}

// Shown is an event of which something is proven.
type Shown struct {
	Salt     HexSalt       `json:"salt"`
	Position wire.Position `json:"position"`
	Commit   wire.Time     `json:"commit"`
	Encoded  []byte        `json:"encoded"` // as it travels and lies on disk
}

// Show returns an event as it is shown.
func (e *Event) Show() *Shown {
	return &Shown{HexSalt(e.Salt), e.Position, e.Commit, append([]byte(nil), e.Encoded...)}
}

// Of returns the event, which is of a stream.
func (s *Shown) Of(stream wire.StreamID) *Event {
	return &Event{Salt(s.Salt), stream, s.Position, s.Commit, s.Encoded}
}

// NewInclusion returns a proof of what is at an offset: an event or a leaf, or neither where the line says that there never was any. The
// path is that of the stream's tree.
func NewInclusion(signed []byte, line *Line, o wire.Offset, event *Shown, leaf *Digest, path []Digest) *Inclusion {
	return &Inclusion{documentHead{inclusion, documentFormat}, string(signed), *line, o, event, leaf, path}
}

// Encode writes the document.
func (d *Inclusion) Encode() []byte { return encodeDocument(d) }

// Included is what an inclusion proof has proven.
type Included struct {
	Note     *Note
	By       []string // names of the keys that have verified the note
	Line     *Stream
	Offset   wire.Offset
	Leaf     Hash
	Event    *wire.Event   // nil where nothing but the leaf is known of it
	Position wire.Position // of the event
	Commit   wire.Time     // likewise
	Absent   string        // why there never was a leaf; empty where there was one
}

var (
	errRange  = errors.New("the stream's tree has no such event")
	errEvent  = errors.New("the event is not one event, of the offset that the proof is about")
	errParts  = errors.New("the proof has an event and a leaf, or neither")
	errAbsent = errors.New("the manifest says that the event was gone before it could be hashed, and the proof has one")
	errLeaf   = errors.New("the event has another leaf than the one that is proven")
)

// Verify checks the proof, and returns what is proven. Nothing else of the document is.
func (d *Inclusion) Verify(keys Keys) (*Included, error) {
	n, by, err := Open([]byte(d.Note), keys)
	if err != nil {
		return nil, err
	}
	line, err := d.Stream.stream(n)
	if err != nil {
		return nil, err
	}
	in := &Included{Note: n, By: by, Line: line, Offset: d.Offset}
	if d.Offset < line.Base || d.Offset >= line.Head {
		return nil, fmt.Errorf("offset %d of stream %q: %w", d.Offset, line.Name, errRange)
	}
	if err := d.leaf(in); err != nil {
		return nil, fmt.Errorf("offset %d of stream %q: %w", d.Offset, line.Name, err)
	}
	if err := included(uint64(d.Offset-line.Base), line.Size(), in.Leaf, d.Path, Hash(line.Root)); err != nil {
		return nil, fmt.Errorf("offset %d of stream %q: %w", d.Offset, line.Name, err)
	}
	return in, nil
}

// leaf finds out which leaf the proof is about.
func (d *Inclusion) leaf(in *Included) error {
	absent, _ := in.Line.Missing(d.Offset)
	switch {
	case absent && (d.Event != nil || d.Leaf != nil):
		return errAbsent
	case absent:
		in.Leaf = AbsentLeaf(in.Line.ID, d.Offset)
		in.Absent = in.Line.reason(d.Offset)
	case (d.Event == nil) == (d.Leaf == nil):
		return errParts
	case d.Leaf != nil:
		in.Leaf = Hash(*d.Leaf)
	default:
		e, rest, ok := wire.NextEvent(d.Event.Encoded)
		if !ok || len(rest) > 0 || e.Offset != d.Offset {
			return errEvent
		}
		in.Event, in.Position, in.Commit = &e, d.Event.Position, d.Event.Commit
		in.Leaf = d.Event.Of(in.Line.ID).Leaf()
	}
	return nil
}

// Attach puts an event in the place of its leaf: of one that is gone from the archive, and that somebody has kept, as another proof shows
// it.
func (d *Inclusion) Attach(event *Shown) error {
	s := &Stream{}
	if err := s.decode([]byte(d.Stream.Text)); err != nil {
		return err
	}
	if d.Leaf == nil {
		return errParts
	}
	if event.Of(s.ID).Leaf() != Hash(*d.Leaf) {
		return errLeaf
	}
	d.Event, d.Leaf = event, nil
	return nil
}

// reason returns why an event is absent.
func (s *Stream) reason(o wire.Offset) string {
	for _, a := range s.Absent {
		if a.From <= o && o < a.To {
			return a.Reason
		}
	}
	return ""
}
