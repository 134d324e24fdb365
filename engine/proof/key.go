package proof

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/mod/sumdb/note"
)

// A file of keys has a key a line, as golang.org/x/mod/sumdb/note writes them. Empty lines, and those that begin with #, are passed over.

// Signer signs notes.
type Signer = note.Signer

// Keys are keys that verify.
type Keys = note.Verifiers

// Signers returns those whose keys are in a file. Errors do not tell what is in it, since that is secret.
func Signers(file []byte) (list []Signer, err error) {
	err = keys(file, func(i int, key string) error {
		s, err := note.NewSigner(key)
		if err != nil {
			return fmt.Errorf("line %d is not a key that signs", i)
		}
		list = append(list, s)
		return nil
	})
	if err == nil && len(list) == 0 {
		err = errors.New("there is no key in it")
	}
	return list, err
}

// Verifiers returns those whose keys are in a file. A key that signs verifies too.
func Verifiers(file []byte) (Keys, error) {
	public, err := PublicKeys(file)
	if err != nil {
		return nil, err
	}
	var list []note.Verifier
	for _, key := range public {
		v, err := note.NewVerifier(key)
		if err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	return note.VerifierList(list...), nil
}

// PublicKeys returns the keys in a file as those that verify, each once: with one that is there twice nothing could be verified.
func PublicKeys(file []byte) (list []string, err error) {
	err = keys(file, func(i int, key string) error {
		if strings.HasPrefix(key, private) {
			if key, err = public(key); err != nil {
				return fmt.Errorf("line %d is not a key that signs", i)
			}
		}
		v, err := note.NewVerifier(key)
		if err != nil {
			return fmt.Errorf("line %d is not a key that verifies", i)
		}
		for _, have := range list {
			if h, err := note.NewVerifier(have); err == nil && h.Name() == v.Name() && h.KeyHash() == v.KeyHash() {
				return nil
			}
		}
		list = append(list, key)
		return nil
	})
	if err == nil && len(list) == 0 {
		err = errors.New("there is no key in it")
	}
	return list, err
}

const private = "PRIVATE+KEY+"

// public returns the key that verifies what a key signs.
func public(key string) (string, error) {
	s, err := note.NewSigner(key)
	if err != nil {
		return "", err
	}
	seed, err := base64.StdEncoding.DecodeString(strings.SplitN(key, "+", 5)[4]) // PRIVATE+KEY+name+hash+seed
	if err != nil || len(seed) != 1+ed25519.SeedSize {
		return "", errors.New("it is not an Ed25519 key")
	}
	return note.NewEd25519VerifierKey(s.Name(), ed25519.NewKeyFromSeed(seed[1:]).Public().(ed25519.PublicKey))
}

func keys(file []byte, visit func(line int, key string) error) error {
	i := 0
	for line := range bytes.Lines(file) {
		i++
		if key := strings.TrimSpace(string(line)); key != "" && key[0] != '#' {
			if err := visit(i, key); err != nil {
				return err
			}
		}
	}
	return nil
}
