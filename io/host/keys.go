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

// signers returns those whose keys are in a file. One that is not there is made, with a new key.
func signers(path string) ([]note.Signer, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		text, err = makeKeys(path)
	}
	if err != nil {
		return nil, fmt.Errorf("keys of checkpoints: %w", err)
	}
	list, err := proof.Signers(text)
	if err != nil {
		return nil, fmt.Errorf("keys of checkpoints in %s: %w", path, err)
	}
	return list, nil
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
