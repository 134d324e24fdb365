package engine

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"

	"github.com/kimberlitedb/kimberlite-go/engine/seg"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// maxVerifications is how many verifications there may be at a time: each is much work for a short request.
const maxVerifications = 4

// verifyChunk is how many bytes of an audit stream are verified at a time.
const verifyChunk = 256 << 10

// verifyAudit checks the hash chain of the tenant's audit stream, from its first event to the last one that there was
// when the request came. The machine reads the events, and jobs look at them: that takes long.
func (m *Machine) verifyAudit(r *Request, fx []Effect) []Effect {
	t := m.state.tenants[r.Msg.Tenant]
	if t == nil {
		return m.noTenant(r, fx)
	}
	if m.verifications >= maxVerifications {
		return m.refuse(r, wire.RateLimited, m.state.lsn, fx, "%d audit streams are being verified; try again when one of them is done", m.verifications)
	}
	m.verifications++
	return m.verifyOn(&verification{req: r, audit: t.audit, head: t.audit.head, want: t.chain, after: t.audit.lsn}, fx)
}

// verification is a VerifyAudit under way.
type verification struct {
	req   *Request
	audit *stream
	head  wire.Offset
	want  [sha256.Size]byte // what the state says of the events before head
	after seg.LSN
	chained
}

// chained is how far a chain is verified.
type chained struct {
	next wire.Offset
	hash [sha256.Size]byte // of the events before next
}

// verifyOn has the next events verified, if there are any.
func (m *Machine) verifyOn(v *verification, fx []Effect) []Effect {
	if v.next >= v.head {
		return m.verified(v, fx)
	}
	rd := m.reading(v.audit, v.next, verifyChunk)
	rd.end = v.head
	rd.then = func(b wire.ResponseBody, fx []Effect) []Effect {
		switch b := b.(type) {
		case *wire.ReadEventsReply:
			id, fx := m.start("verify-audit", verifyJob{v.chained, b.Events}, fx)
			if m.verifying == nil {
				m.verifying = map[JobID]*verification{}
			}
			m.verifying[id] = v
			return fx
		case *wire.Error:
			if b.Code == wire.DataCorrupted {
				return m.broken(v, b.Message, fx)
			}
		}
		return m.verdict(v, b, fx)
	}
	return m.readOn(rd, fx)
}

// verifyJob verifies a part of a chain.
type verifyJob struct {
	chained
	events wire.EventRange
}

type verifyResult struct {
	chained
	why string // what is wrong with the event at next; empty where nothing is
}

func (j verifyJob) Run(seg.Files) any {
	c := j.chained
	for e := range j.events.All {
		if why := c.take(e); why != "" {
			return verifyResult{c, why}
		}
	}
	return verifyResult{c, ""}
}

// take verifies one event. It returns what is wrong with it.
func (c *chained) take(e wire.Event) string {
	var a auditEvent
	if err := json.Unmarshal(e.Data, &a); err != nil {
		return "it is not an audit event: " + err.Error()
	}
	if prev, err := hex.DecodeString(a.Prev); err != nil || !bytes.Equal(prev, c.hash[:]) {
		return "it does not name the hash of the event before it"
	}
	if a.Seq != uint64(c.next) {
		return fmt.Sprintf("it says that it is event %d", a.Seq)
	}
	c.hash, c.next = sha256.Sum256(e.Data), c.next+1
	return ""
}

func (m *Machine) verifyDone(id JobID, r verifyResult, fx []Effect) []Effect {
	v := m.verifying[id]
	delete(m.verifying, id)
	v.chained = r.chained
	if r.why != "" {
		return m.broken(v, r.why, fx)
	}
	return m.verifyOn(v, fx)
}

// verified ends a verification that met nothing wrong on its way.
func (m *Machine) verified(v *verification, fx []Effect) []Effect {
	m.cfg.hit(ProbeAuditVerified)
	b := &wire.VerifyAuditReply{Events: uint64(v.head)}
	if v.head == 0 {
		return m.verdict(v, b, fx)
	}
	if v.hash != v.want {
		v.next--
		return m.broken(v, "its hash is not the one that the server has kept", fx)
	}
	b.Hash = bytes.Clone(v.want[:])
	return m.verdict(v, b, fx)
}

func (m *Machine) broken(v *verification, why string, fx []Effect) []Effect {
	return m.verdict(v, &wire.VerifyAuditReply{
		Events: uint64(v.head), Hash: bytes.Clone(v.want[:]), Break: wire.Some(v.next), Message: why,
	}, fx)
}

func (m *Machine) verdict(v *verification, b wire.ResponseBody, fx []Effect) []Effect {
	m.verifications--
	return m.reply(v.req, b, v.after, fx)
}
