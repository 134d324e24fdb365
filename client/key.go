package client

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/kimberlitedb/kimberlite-go/wire"
)

// Key names one batch, so that it can be sent again without being appended again. It is a number of 128 bits, the most
// significant byte first: a UUID is one.
type Key [16]byte

// NewKey returns a key at random.
func NewKey() (k Key) {
	rand.Read(k[:]) // never fails
	return k
}

// ParseKey reads a key from 32 hexadecimal digits, with or without the hyphens of a UUID.
func ParseKey(s string) (k Key, err error) {
	digits := s
	if len(s) == 36 && s[8] == '-' && s[13] == '-' && s[18] == '-' && s[23] == '-' {
		digits = strings.ReplaceAll(s, "-", "")
	}
	if p, err := hex.DecodeString(digits); err == nil && len(p) == len(k) {
		return Key(p), nil
	}
	return k, fmt.Errorf("key %q is neither a UUID nor 32 hexadecimal digits", s)
}

// String returns the key's 32 hexadecimal digits.
func (k Key) String() string { return hex.EncodeToString(k[:]) }

// wire returns the key as it travels, the least significant byte first.
func (k Key) wire() (w wire.Key) {
	for i, b := range k {
		w[len(w)-1-i] = b
	}
	return w
}
