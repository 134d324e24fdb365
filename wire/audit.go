package wire

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
)

// AuditChain checks the events of an audit stream, from the first one on. The zero value is ready.
type AuditChain struct {
	events uint64
	last   [sha256.Size]byte // of the event before the next; zeros before the first
}

// Add checks the next event's data. After an error the chain is as before.
func (a *AuditChain) Add(data []byte) error {
	var e struct {
		Seq  *uint64 `json:"seq"`
		Prev string  `json:"prev"`
	}
	if err := json.Unmarshal(data, &e); err != nil {
		return fmt.Errorf("it is not an audit event: %w", err)
	}
	if e.Seq == nil {
		return errors.New("it is not an audit event: it has no seq")
	}
	if *e.Seq != a.events {
		return fmt.Errorf("it says that it is event %d", *e.Seq)
	}
	if prev, err := hex.DecodeString(e.Prev); err != nil || !bytes.Equal(prev, a.last[:]) {
		return errors.New("it does not name the hash of the event before it")
	}
	a.events++
	a.last = sha256.Sum256(data)
	return nil
}

// Events returns how many events were added.
func (a *AuditChain) Events() uint64 { return a.events }

// Hash returns the SHA-256 of the last event, nil without any.
func (a *AuditChain) Hash() []byte {
	if a.events == 0 {
		return nil
	}
	return bytes.Clone(a.last[:])
}
