package proof

import (
	"errors"
	"fmt"
	"slices"

	"github.com/kimberlitedb/kimberlite-go/wire"
)

// Consistency proves that a checkpoint goes on from an earlier one: that no event before has changed.
type Consistency struct {
	documentHead
	Earlier Side   `json:"earlier"`
	Later   Side   `json:"later"`
	Streams []Pair `json:"streams"` // ascending ids
}

// Side is what is shown of one of both checkpoints.
type Side struct {
	Note string `json:"note"` // signed
	Head Line   `json:"head"`
}

// Pair is a stream in both checkpoints, or in one.
type Pair struct {
	Earlier *Line    `json:"earlier,omitempty"`
	Later   *Line    `json:"later,omitempty"`
	Path    []Digest `json:"path"` // from the tree of the earlier one to that of the later
}

// NewConsistency returns a proof.
func NewConsistency(earlier, later Side, streams []Pair) *Consistency {
	return &Consistency{documentHead{consistency, documentFormat}, earlier, later, streams}
}

// Encode writes the document.
func (d *Consistency) Encode() []byte { return encodeDocument(d) }

// Extended is what a consistency proof has proven.
type Extended struct {
	Earlier, Later     *Note
	EarlierBy, LaterBy []string // names of the keys that have verified the notes
	EarlierHead, Head  *Head
	Streams            []ExtendedStream
	Whole              bool // all streams of both checkpoints are among them
}

// ExtendedStream is a stream of one of the checkpoints, or of both. If it is of both, the later one has what the earlier one had.
type ExtendedStream struct {
	Earlier *Stream // nil where it is new
	Later   *Stream // nil where it is purged
}

var (
	errTenants = errors.New("the checkpoints are not of the same tenant of the same store")
	errOrder   = errors.New("the later checkpoint is not behind the earlier one")
	errPairs   = errors.New("a stream is shown twice, or out of order, or with another one")
	errPart    = errors.New("no stream is shown, or one of one checkpoint alone, which tells something only where all streams of both are shown")
	// ErrBase says that trees begin at different events, so that they cannot be compared.
	ErrBase = errors.New("its trees begin at different events: all checkpoints in between were deleted, and nothing can be compared")
	// ErrAbsent says that an event is absent which was not, or the other way round.
	ErrAbsent = errors.New("which events are absent has changed")
)

// Verify checks the proof, and returns what is proven. Nothing else of the document is.
func (d *Consistency) Verify(keys Keys) (*Extended, error) {
	x := &Extended{}
	var err error
	if x.Earlier, x.EarlierBy, x.EarlierHead, err = d.Earlier.open(keys); err != nil {
		return nil, fmt.Errorf("earlier checkpoint: %w", err)
	}
	if x.Later, x.LaterBy, x.Head, err = d.Later.open(keys); err != nil {
		return nil, fmt.Errorf("later checkpoint: %w", err)
	}
	if x.Earlier.Store != x.Later.Store || x.Earlier.Tenant != x.Later.Tenant {
		return nil, errTenants
	}
	if x.Earlier.Position >= x.Later.Position {
		return nil, errOrder
	}
	before, after := uint64(1), uint64(1) // lines that are shown
	parts := false
	for i := range d.Streams {
		s, err := d.Streams[i].verify(x)
		if err != nil {
			return nil, err
		}
		if n := len(x.Streams); n > 0 && x.Streams[n-1].id() >= s.id() {
			return nil, errPairs
		}
		x.Streams = append(x.Streams, s)
		if s.Earlier != nil {
			before++
		}
		if s.Later != nil {
			after++
		}
		parts = parts || s.Earlier == nil || s.Later == nil
	}
	x.Whole = before == x.Earlier.Lines && after == x.Later.Lines
	if !x.Whole && (parts || len(x.Streams) == 0) {
		return nil, errPart
	}
	return x, nil
}

func (s *Side) open(keys Keys) (*Note, []string, *Head, error) {
	n, by, err := Open([]byte(s.Note), keys)
	if err != nil {
		return nil, nil, nil, err
	}
	h, err := s.Head.head(n)
	return n, by, h, err
}

func (p *Pair) verify(x *Extended) (s ExtendedStream, err error) {
	if p.Earlier != nil {
		if s.Earlier, err = p.Earlier.stream(x.Earlier); err != nil {
			return s, fmt.Errorf("earlier checkpoint: %w", err)
		}
	}
	if p.Later != nil {
		if s.Later, err = p.Later.stream(x.Later); err != nil {
			return s, fmt.Errorf("later checkpoint: %w", err)
		}
	}
	switch {
	case s.Earlier == nil && s.Later == nil, s.Earlier != nil && s.Later != nil && s.Earlier.ID != s.Later.ID:
		return s, errPairs
	case s.Earlier == nil || s.Later == nil:
		if len(p.Path) > 0 {
			return s, errConsistency
		}
		return s, nil
	}
	if err := s.Later.Follows(s.Earlier); err != nil {
		return s, fmt.Errorf("stream %q: %w", s.Later.Name, err)
	}
	if err := consistent(s.Earlier.Size(), s.Later.Size(), p.Path, Hash(s.Earlier.Root), Hash(s.Later.Root)); err != nil {
		return s, fmt.Errorf("stream %q: %w", s.Later.Name, err)
	}
	return s, nil
}

func (s *ExtendedStream) id() wire.StreamID {
	if s.Earlier != nil {
		return s.Earlier.ID
	}
	return s.Later.ID
}

// Follows checks that a line can be that of the same stream as an earlier one, as far as that shows without its tree.
func (s *Stream) Follows(earlier *Stream) error {
	if s.Base != earlier.Base {
		return fmt.Errorf("%w: %d and %d", ErrBase, earlier.Base, s.Base)
	}
	if s.Head < earlier.Head {
		return fmt.Errorf("it ends at event %d, before its end at the earlier checkpoint, %d", s.Head, earlier.Head)
	}
	n := len(earlier.Absent)
	if len(s.Absent) < n || !slices.Equal(s.Absent[:n], earlier.Absent) || len(s.Absent) > n && s.Absent[n].From < earlier.Head {
		return ErrAbsent
	}
	return nil
}
