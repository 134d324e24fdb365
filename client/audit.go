package client

import (
	"bytes"
	"context"
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
			return broken(&chain, err.Error()), nil
		case err != nil:
			return sound(&chain), err
		}
		before := chain
		if err := chain.Add(e.Data); err != nil {
			return broken(&chain, err.Error()), nil
		}
		if chain.Events() == server.Events && !bytes.Equal(chain.Hash(), server.Hash) {
			return broken(&before, "its hash is not the one that the server has kept"), nil
		}
	}
	switch {
	case chain.Events() < server.Events:
		return broken(&chain, fmt.Sprintf("the stream ends before it, though the server says that it has %d events", server.Events)), nil
	case server.Break.Set:
		return server, nil // the server sees what was not sent to us
	}
	return sound(&chain), nil
}

// AuditChain checks the events of an audit stream, from the first one on. The zero value is ready.
type AuditChain = wire.AuditChain

// sound is the verdict on a chain that is kept so far.
func sound(a *AuditChain) AuditVerdict { return AuditVerdict{Events: a.Events(), Hash: a.Hash()} }

// broken is the verdict on a chain that is not kept by its next event.
func broken(a *AuditChain, reason string) AuditVerdict {
	v := sound(a)
	v.Break, v.Reason = wire.Some(Offset(a.Events())), reason
	return v
}
