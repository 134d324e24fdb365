package proof

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/kimberlitedb/kimberlite-go/engine/seg"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// Note is what is signed of a checkpoint. Its text is a checkpoint of https://c2sp.org/tlog-checkpoint.
type Note struct {
	Store    seg.StoreID
	Tenant   wire.TenantID
	Lines    uint64 // of the manifest
	Root     Hash   // of the tree of its lines
	ID       wire.CheckpointID
	Label    string // empty without one
	Position wire.Position
	Time     wire.Time
}

// Text returns what is signed.
func (n *Note) Text() string {
	label := ""
	if n.Label != "" {
		label = "label " + n.Label + "\n"
	}
	return fmt.Sprintf("kimberlite/%016x/tenant/%d\n%d\n%s\ncheckpoint %s\n%sposition %d\ntime %s\n", uint64(n.Store), n.Tenant, n.Lines,
		base64.StdEncoding.EncodeToString(n.Root[:]), n.ID, label, n.Position, time.Unix(0, int64(n.Time)).UTC().Format(time.RFC3339Nano))
}

// ErrNoSigner says that nothing is there to sign with.
var ErrNoSigner = errors.New("there is no key to sign checkpoints with")

// Sign returns the signed note.
func (n *Note) Sign(signers ...Signer) ([]byte, error) {
	if len(signers) == 0 {
		return nil, ErrNoSigner
	}
	return note.Sign(&note.Note{Text: n.Text()}, signers...)
}

// Open returns what a signed note says, once one of the keys has verified it. It returns the names of those that have.
func Open(signed []byte, keys Keys) (*Note, []string, error) {
	if len(signed) > maxNote {
		return nil, nil, errNote
	}
	opened, err := note.Open(signed, keys)
	if err != nil {
		return nil, nil, fmt.Errorf("the note's signature: %w", whose(err))
	}
	n, err := parse(opened.Text)
	if err != nil {
		return nil, nil, err
	}
	var by []string
	for _, s := range opened.Sigs {
		by = append(by, s.Name)
	}
	return n, by, nil
}

// whose says which keys have signed a note that none of the keys at hand has, so that somebody can look for one of them.
func whose(err error) error {
	var other *note.UnverifiedNoteError
	if !errors.As(err, &other) || len(other.Note.UnverifiedSigs) == 0 {
		return err
	}
	var by []string
	for _, s := range other.Note.UnverifiedSigs[:min(4, len(other.Note.UnverifiedSigs))] {
		by = append(by, fmt.Sprintf("%q (%08x)", s.Name, s.Hash))
	}
	return fmt.Errorf("%w; give the public key of one of those that say they have signed it: %s", err, strings.Join(by, ", "))
}

// errOther says that a manifest is sound, and of another checkpoint than its note.
var errOther = errors.New("the manifest is of another checkpoint than the note")

// errRoot says that a manifest is not the one that was signed.
var errRoot = errors.New("its root is not the one that the note commits to")

// Manifest returns the manifest that the note commits to, if the text is that.
func (n *Note) Manifest(text []byte) (*Manifest, error) {
	if lines, root := LinesRoot(text); lines != n.Lines || root != n.Root {
		return nil, errRoot
	}
	m, err := DecodeManifest(text)
	if err != nil {
		return nil, err
	}
	return m, n.agrees(&m.Head)
}

// agrees checks that a head is that of the note's checkpoint.
func (n *Note) agrees(h *Head) error {
	if h.Checkpoint != n.ID.String() || h.Label != n.Label || h.Tenant != n.Tenant || h.Position != n.Position || h.Time != n.Time {
		return errOther
	}
	return nil
}

// errNote says that a text is not that of a checkpoint's note.
var errNote = errors.New("it is not the note of a checkpoint")

// maxNote is more than any note has, in bytes: a hundred signatures.
const maxNote = 64 << 10

// Read returns what a signed note says, whoever may have signed it.
func Read(signed []byte) (*Note, error) {
	if len(signed) > maxNote {
		return nil, errNote
	}
	text, _, ok := strings.Cut(string(signed), "\n\n")
	if !ok {
		return nil, errNote
	}
	return parse(text + "\n")
}

// parse reads a text, and refuses what Text does not write: it looks for what may be there, and then compares.
func parse(text string) (*Note, error) {
	lines := strings.Split(text, "\n")
	if len(lines) != 7 && len(lines) != 8 { // the last one is empty
		return nil, errNote
	}
	n := &Note{}
	origin := strings.Split(lines[0], "/")
	if len(origin) != 4 {
		return nil, errNote
	}
	store, err1 := strconv.ParseUint(origin[1], 16, 64)
	tenant, err2 := strconv.ParseUint(origin[3], 10, 64)
	size, err3 := strconv.ParseUint(lines[1], 10, 64)
	root, err4 := base64.StdEncoding.DecodeString(lines[2])
	if errors.Join(err1, err2, err3, err4) != nil || len(root) != len(n.Root) {
		return nil, errNote
	}
	n.Store, n.Tenant, n.Lines, n.Root = seg.StoreID(store), wire.TenantID(tenant), size, Hash(root)
	for _, l := range lines[3:] {
		name, value, _ := strings.Cut(l, " ")
		if err := n.field(name, value); err != nil {
			return nil, errNote
		}
	}
	if n.Text() != text {
		return nil, errNote
	}
	return n, nil
}

// field takes up an extension line.
func (n *Note) field(name, value string) (err error) {
	switch name {
	case "checkpoint":
		n.ID, err = wire.ParseCheckpointID(value)
	case "label":
		n.Label = value
	case "position":
		var p uint64
		p, err = strconv.ParseUint(value, 10, 64)
		n.Position = wire.Position(p)
	case "time":
		var t time.Time
		t, err = time.Parse(time.RFC3339Nano, value)
		n.Time = wire.Time(t.UnixNano())
	}
	return err
}
