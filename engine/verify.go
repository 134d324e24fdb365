package engine

import (
	"bytes"
	"crypto/sha256"

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
	chain wire.AuditChain // of the events that are verified
}

// next returns the event that is verified next.
func (v *verification) next() wire.Offset { return wire.Offset(v.chain.Events()) }

// verifyOn has the next events verified, if there are any.
func (m *Machine) verifyOn(v *verification, fx []Effect) []Effect {
	if v.next() >= v.head {
		return m.verified(v, fx)
	}
	rd := m.reading(v.audit, v.next(), verifyChunk)
	rd.end = v.head
	rd.then = func(b wire.ResponseBody, fx []Effect) []Effect {
		switch b := b.(type) {
		case *wire.ReadEventsReply:
			id, fx := m.start("verify-audit", verifyJob{v.chain, b.Events}, fx)
			if m.verifying == nil {
				m.verifying = map[JobID]*verification{}
			}
			m.verifying[id] = v
			return fx
		case *wire.Error:
			if b.Code == wire.DataCorrupted {
				return m.broken(v, v.next(), b.Message, fx)
			}
		}
		return m.verdict(v, b, fx)
	}
	return m.readOn(rd, fx)
}

// verifyJob verifies a part of a chain.
type verifyJob struct {
	chain  wire.AuditChain
	events wire.EventRange
}

type verifyResult struct {
	chain wire.AuditChain
	err   error // what is wrong with the next event; nil where nothing is
}

func (j verifyJob) Run(seg.Files) any {
	r := verifyResult{chain: j.chain}
	for e := range j.events.All {
		if r.err = r.chain.Add(e.Data); r.err != nil {
			break
		}
	}
	return r
}

func (m *Machine) verifyDone(id JobID, r verifyResult, fx []Effect) []Effect {
	v := m.verifying[id]
	delete(m.verifying, id)
	v.chain = r.chain
	if r.err != nil {
		return m.broken(v, v.next(), r.err.Error(), fx)
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
	if !bytes.Equal(v.chain.Hash(), v.want[:]) {
		return m.broken(v, v.head-1, "its hash is not the one that the server has kept", fx)
	}
	b.Hash = bytes.Clone(v.want[:])
	return m.verdict(v, b, fx)
}

// broken ends a verification at the first event that is not what the chain says.
func (m *Machine) broken(v *verification, at wire.Offset, why string, fx []Effect) []Effect {
	return m.verdict(v, &wire.VerifyAuditReply{
		Events: uint64(v.head), Hash: bytes.Clone(v.want[:]), Break: wire.Some(at), Message: why,
	}, fx)
}

func (m *Machine) verdict(v *verification, b wire.ResponseBody, fx []Effect) []Effect {
	m.verifications--
	return m.reply(v.req, b, v.after, fx)
}
