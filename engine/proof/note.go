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
	opened, err := note.Open(signed, keys)
	if err != nil {
		return nil, nil, fmt.Errorf("the note's signature: %w", err)
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

// errNote says that a text is not that of a checkpoint's note.
var errNote = errors.New("it is not the note of a checkpoint")

// Read returns what a signed note says, whoever may have signed it.
func Read(signed []byte) (*Note, error) {
	text, _, ok := strings.Cut(string(signed), "\n\n")
	if !ok {
		return nil, errNote
	}
	return parse(text + "\n")
}

func parse(text string) (*Note, error) {
	lines := strings.Split(text, "\n")
	if len(lines) < 7 {
		return nil, errNote
	}
	n := &Note{}
	var store uint64
	if c, err := fmt.Sscanf(lines[0], "kimberlite/%16x/tenant/%d", &store, &n.Tenant); c != 2 || err != nil {
		return nil, errNote
	}
	n.Store = seg.StoreID(store)
	size, err1 := strconv.ParseUint(lines[1], 10, 64)
	root, err2 := base64.StdEncoding.DecodeString(lines[2])
	if err1 != nil || err2 != nil || len(root) != len(n.Root) {
		return nil, errNote
	}
	n.Lines, n.Root = size, Hash(root)
	for _, l := range lines[3:] {
		name, value, _ := strings.Cut(l, " ")
		var err error
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
		if err != nil {
			return nil, errNote
		}
	}
	if n.Text() != text {
		return nil, errNote
	}
	return n, nil
}
