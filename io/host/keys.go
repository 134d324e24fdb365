package host

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/mod/sumdb/note"

	"github.com/kimberlitedb/kimberlite-go/engine/proof"
)

// KeysName is the file in the data directory that has the keys which sign checkpoints, unless Config.Keys names another.
const KeysName = "checkpoint.key"

// keysHeader explains a file of keys to who opens it.
const keysHeader = `# Keys that sign the checkpoints of this server, a line each. Whoever has one can sign what they like in its name.
# To replace a key, add a line with a new one (kimberlite checkpoint key new), restart the server, give the public keys to
# those who verify, and take the old line away later.
`

// signers returns those whose keys are in a file, and the keys that are trusted in checkpoints that are restored: the same ones, and those
// of another file where there is one. A file of keys that is not there is made, with a new key.
func signers(path, trust string) ([]note.Signer, proof.Keys, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		text, err = makeKeys(path)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("keys of checkpoints: %w", err)
	}
	list, err := proof.Signers(text)
	if err != nil {
		return nil, nil, fmt.Errorf("keys of checkpoints in %s: %w", path, err)
	}
	if trust != "" {
		more, err := os.ReadFile(trust)
		if err == nil {
			_, err = proof.Verifiers(more)
		}
		if err != nil {
			return nil, nil, fmt.Errorf("trusted keys of checkpoints in %s: %w", trust, err)
		}
		text = append(append(text, '\n'), more...)
	}
	trusted, err := proof.Verifiers(text)
	return list, trusted, err
}

// makeKeys makes a file with a new key, whole or not at all.
func makeKeys(path string) ([]byte, error) {
	key, _, err := NewKey()
	if err != nil {
		return nil, err
	}
	text := []byte(keysHeader + key + "\n")
	f, err := os.CreateTemp(filepath.Dir(path), "key-*.tmp") // for its owner alone
	if err != nil {
		return nil, err
	}
	_, err = f.Write(text)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Link(f.Name(), path) // never over one that is there
	}
	return text, errors.Join(err, os.Remove(f.Name()))
}

// NewKey returns a new key that signs checkpoints, and the one that verifies what it has signed.
func NewKey() (private, public string, err error) {
	var id [4]byte
	rand.Read(id[:]) // never fails
	return note.GenerateKey(rand.Reader, "kimberlite-"+hex.EncodeToString(id[:]))
}
