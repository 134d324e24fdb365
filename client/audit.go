package client

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/kimberlitedb/kimberlite-go/wire"
)

// AuditStream is the name of every tenant's audit stream. It is read as any other.
const AuditStream = "$audit"

// AuditEvent is an event of an audit stream.
type AuditEvent struct {
	Seq      Offset          `json:"seq"` // its offset
	Time     time.Time       `json:"time"`
	Act      string          `json:"act"`  // what was done: "stream.delete", "hold.set", …
	By       string          `json:"by"`   // who did it; empty for the server itself, and without authentication
	From     string          `json:"from"` // the address that the request came from
	Stream   string          `json:"stream"`
	StreamID StreamID        `json:"stream_id"`
	Detail   json.RawMessage `json:"detail"` // what belongs to the act; nil where nothing does
	Prev     string          `json:"prev"`   // SHA-256 of the event before it, in hexadecimal
	Data     []byte          `json:"-"`      // the event as it is stored
}

// AuditEvents reads the tenant's audit stream, with the options of Events. It does not check the chain.
func (c *Client) AuditEvents(ctx context.Context, from Offset, options ...ReadOption) iter.Seq2[AuditEvent, error] {
	return func(yield func(AuditEvent, error) bool) {
		stream, err := c.StreamByName(ctx, AuditStream)
		if err != nil {
			yield(AuditEvent{}, err)
			return
		}
		for e, err := range c.Events(ctx, stream.ID, from, options...) {
			a := AuditEvent{Data: e.Data}
			if err == nil {
				if bad := json.Unmarshal(e.Data, &a); bad != nil {
					err = fmt.Errorf("audit event %d: %w: %w", e.Offset, ErrDataCorrupted, bad)
				}
			}
			if !yield(a, err) || err != nil {
				return
			}
		}
	}
}

// AuditVerdict is what a check of an audit stream has found.
type AuditVerdict struct {
	Events uint64              // how many it has
	Hash   []byte              // SHA-256 of the last one, which stands for all; nil without events
	Break  wire.Option[Offset] // the first event that is not what the chain says
	Reason string              // why, where Break is set
}

// VerifyAudit has the server check the tenant's audit stream. CheckAudit does not take its word for it.
func (c *Client) VerifyAudit(ctx context.Context) (AuditVerdict, error) {
	reply, err := c.do(ctx, &wire.VerifyAudit{})
	if err != nil {
		return AuditVerdict{}, err
	}
	r := reply.(*wire.VerifyAuditReply)
	v := AuditVerdict{Events: r.Events, Break: r.Break, Reason: r.Message}
	if len(r.Hash) > 0 {
		v.Hash = r.Hash
	}
	return v, nil
}

// CheckAudit reads the tenant's whole audit stream, checks its chain, and compares it with what the server says of it.
// Keep the verdict elsewhere: if a later stream has another hash after as many events (see AuditChain), somebody has
// rewritten it.
func (c *Client) CheckAudit(ctx context.Context) (AuditVerdict, error) {
	server, err := c.VerifyAudit(ctx)
	if err != nil {
		return server, err
	}
	stream, err := c.StreamByName(ctx, AuditStream)
	if err != nil {
		return server, err
	}
	var chain AuditChain
	for e, err := range c.Events(ctx, stream.ID, 0) {
		switch {
		case errors.Is(err, ErrDataCorrupted):
			return chain.broken(err.Error()), nil
		case err != nil:
			return chain.verdict(), err
		}
		before := chain
		if err := chain.Add(e.Data); err != nil {
			return chain.broken(err.Error()), nil
		}
		if chain.events == server.Events && !bytes.Equal(chain.Hash(), server.Hash) {
			return before.broken("its hash is not the one that the server has kept"), nil
		}
	}
	switch {
	case chain.events < server.Events:
		return chain.broken(fmt.Sprintf("the stream ends before it, though the server says that it has %d events", server.Events)), nil
	case server.Break.Set:
		return server, nil // the server sees what was not sent to us
	}
	return chain.verdict(), nil
}

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
	if err := json.Unmarshal(data, &e); err != nil || e.Seq == nil {
		return errors.New("it is not an audit event")
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

func (a *AuditChain) verdict() AuditVerdict { return AuditVerdict{Events: a.events, Hash: a.Hash()} }

// broken is the verdict on a chain that is not kept by its next event.
func (a *AuditChain) broken(reason string) AuditVerdict {
	v := a.verdict()
	v.Break, v.Reason = wire.Some(Offset(a.events)), reason
	return v
}
