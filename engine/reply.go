package engine

import (
	"github.com/kimberlitedb/kimberlite-go/engine/seg"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// replySlot is the memory of one reply. Slots come many at a time, so that an append allocates nothing for its own.
type replySlot struct {
	reply    Reply
	appended wire.AppendEventsReply
}

const slotsAtOnce = 64

func (m *Machine) slot(r *Request) *replySlot {
	if len(m.slots) == 0 {
		m.slots = make([]replySlot, slotsAtOnce)
	}
	s := &m.slots[0]
	m.slots = m.slots[1:]
	s.reply = Reply{Conn: r.Conn, Seq: r.Seq, Op: r.Msg.Body.Op(), Msg: wire.Response{RequestID: r.Msg.ID, Codec: r.Msg.Codec}}
	return s
}

// reply answers a request once everything up to an LSN is durable. The answer to a statement of a batch goes to that, at once:
// all of it waits for what the answer reveals.
func (m *Machine) reply(r *Request, b wire.ResponseBody, after seg.LSN, fx []Effect) []Effect {
	if r.series != nil {
		m.conclude(r.series, b, after)
		return fx
	}
	s := m.slot(r)
	s.reply.Msg.Body = b
	return m.after(after, &s.reply, fx)
}

// refuse answers a request with an error once everything up to an LSN is durable. A refusal waits too: "the offset is
// 3" must not be told to a client and then lost in a crash.
func (m *Machine) refuse(r *Request, c wire.Code, after seg.LSN, fx []Effect, format string, args ...any) []Effect {
	return m.reply(r, wire.Errorf(c, format, args...), after, fx)
}
