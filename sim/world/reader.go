package world

import (
	"github.com/kimberlitedb/kimberlite-go/sim/check"
	"github.com/kimberlitedb/kimberlite-go/sim/model"
	"github.com/kimberlitedb/kimberlite-go/sim/network"
	"github.com/kimberlitedb/kimberlite-go/sim/trace"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// reader is the client that reads a tenant's streams back at the end of a run, from the first event to the last: once over
// version 1, and once over a later version, compressed, which must show the same. It implements network.End.
type reader struct {
	w       *World
	tenant  *model.Tenant
	session *wire.ClientSession
	conn    *network.Conn
	scanner *check.Scanner
	call    *model.Call // in flight
	stream  int         // the one being read
	next    wire.Offset
	heads   []wire.Offset // by stream; of those that exist
	found   []bool
	said    []wire.StreamDescription // by stream, before it was read
	sum     uint64                   // likewise, of every byte
	seen    summary                  // of the stream being read
	again   bool                     // the second time
	sums    []uint64                 // by stream, of what was read the first time
	shape   wire.Features
	done    bool
	gone    bool
}

// summary is what events say about their stream.
type summary struct {
	bytes       uint64
	first, last wire.Option[wire.Time]
}

// readFrames is how many bytes of events the reader asks for at a time.
const readFrames = 64 << 10

// eachDamaged is how much longer reading back may take for an event that is damaged: each costs a request.
const eachDamaged = 100_000_000

// readBack restarts the server once more, and then has every tenant's streams read.
func (w *World) readBack() {
	w.phase, w.limit = reading, w.now+readLimit
	w.note("read-back", 0, 0, 0)
	for _, c := range w.clients {
		c.Leave()
	}
	if s := w.server; s != nil {
		w.crash(s, "power")
	}
	for _, t := range w.model.Tenants {
		r := &reader{w: w, tenant: t, heads: make([]wire.Offset, len(t.Streams)), found: make([]bool, len(t.Streams)), said: make([]wire.StreamDescription, len(t.Streams)), sums: make([]uint64, len(t.Streams))}
		w.readers = append(w.readers, r)
		r.dial()
	}
}

func (w *World) haveRead() bool {
	for _, r := range w.readers {
		if !r.done {
			return false
		}
	}
	return true
}

func (r *reader) dial() {
	r.session, r.scanner, r.gone = wire.NewClientSession(r.w.packers), r.w.suite.Scanner(r.tenant.ID), false
	r.w.Dial(-1, r, func(c *network.Conn) {
		if c == nil {
			r.w.after(500_000_000, r.dial)
			return
		}
		r.conn = c
		r.shape = features
		hello := &wire.Handshake{ClientVersion: 1, Capabilities: features.Capabilities()}
		if r.again {
			hello.ClientVersion = 2 + uint16(r.tenant.ID)%2
		}
		r.ask(hello, nil)
		r.shape = wire.Agree(hello)
	})
}

var features = wire.Features{RichEvents: true, ExtendedErrors: true, LZ4: true, Zstd: true}

func (r *reader) ask(b wire.RequestBody, st *model.Stream) {
	r.call = &model.Call{Client: -1, Conn: -int(r.tenant.ID), ID: 1, Body: b, Tenant: r.tenant.ID, Stream: st, Features: r.shape, Sent: r.w.now}
	r.call.Known = r.tenant.Exists
	if st != nil {
		r.call.Floor, r.call.Known = st.Head, st.Exists
	}
	ask := &wire.Request{ID: 1, Tenant: r.tenant.ID, Body: b}
	if b.Op() == wire.OpHandshake {
		r.conn.Send(network.Client, wire.AppendRequest(nil, ask, wire.Features{}))
		return
	}
	ask.Codec = wire.Codec(r.stream % wire.CodecCount)
	if r.shape.Version < 2 {
		ask.Codec = wire.NoCodec
	}
	r.conn.Send(network.Client, wire.PackRequest(nil, ask, r.shape, r.w.packers.Borrow()))
}

// Data implements network.End.
func (r *reader) Data(p []byte) {
	r.scanner.Scan(p)
	replies, err := r.session.Feed(p, nil)
	if err != nil {
		r.w.suite.Fail(check.Contract, "reading back: %v", err)
	}
	for _, reply := range replies {
		r.call.Reply, r.call.Returned = reply.(*wire.Response).Body, r.w.now
		r.w.suite.Reply(r.call)
		r.learn(r.call.Reply)
	}
}

// Ready implements network.End.
func (r *reader) Ready() bool { return true }

// Room implements network.End.
func (r *reader) Room() {}

// Hangup implements network.End.
func (r *reader) Hangup() {
	if !r.done {
		r.dial()
	}
}

func (r *reader) learn(body wire.ResponseBody) {
	switch b := body.(type) {
	case *wire.HandshakeReply:
		r.session.SetFeatures(r.shape)
		r.ask(&wire.ListStreams{}, nil)
		return
	case *wire.ListStreamsReply:
		for _, d := range b.Streams {
			for i, st := range r.tenant.Streams {
				if st.Name == d.Name {
					r.found[i], r.said[i] = true, d
				}
			}
		}
	case *wire.ReadEventsReply:
		r.heads[r.stream] = b.HeadOffset
		r.next = b.NextOffset.Or(r.next)
		r.add(b)
		if r.next >= b.HeadOffset {
			r.compare()
			r.stream, r.next, r.seen, r.sum = r.stream+1, 0, summary{}, 0
		}
	case *wire.Error:
		if st := r.call.Stream; st != nil && (b.Code == wire.DataCorrupted || b.Code == wire.StorageError) && r.w.damaged(st, r.next) {
			st.Lost = append(st.Lost, model.Span{From: r.next, To: r.next + 1})
			st.Shaky = true
			r.next++
			r.w.limit += eachDamaged
		} else if st != nil {
			r.w.suite.Fail(check.Durable, "reading stream %s back: %s: %s", st.Name, b.Code, b.Message)
		}
	}
	r.proceed()
}

func (r *reader) add(b *wire.ReadEventsReply) {
	for e := range b.Events.All {
		r.sum = trace.Sum(e.Data) + r.sum*31 + uint64(e.Offset) + uint64(e.Timestamp) + uint64(e.Checksum)
		if r.seen.bytes += uint64(len(e.Data)); !r.seen.first.Set {
			r.seen.first = wire.Some(e.Timestamp)
		}
		r.seen.last = wire.Some(e.Timestamp)
	}
}

// compare checks what the server says about a stream against the events in it, and against what it has shown before.
func (r *reader) compare() {
	if r.again {
		r.w.suite.Saw(check.Shape, r.seen.bytes > 0)
		if st := r.tenant.Streams[r.stream]; r.sum != r.sums[r.stream] && !st.Shaky {
			r.w.suite.Fail(check.Shape, "stream %s reads differently over version %d, compressed by %s", st.Name, r.shape.Version, wire.Codec(r.stream%wire.CodecCount))
		}
		return
	}
	r.sums[r.stream] = r.sum
	st, d := r.tenant.Streams[r.stream], &r.said[r.stream]
	r.w.suite.Saw(check.State, d.Bytes > 0)
	if (summary{d.Bytes, d.FirstTime, d.LastTime}) != r.seen && !st.Shaky {
		r.w.suite.Fail(check.State, "stream %s is said to have %d bytes from %v to %v, its events say %+v", st.Name, d.Bytes, d.FirstTime, d.LastTime, r.seen)
	}
}

// proceed reads on.
func (r *reader) proceed() {
	for r.stream < len(r.found) && !r.found[r.stream] {
		st := r.tenant.Streams[r.stream]
		if st.Exists && !st.Shaky && !r.tenant.Shaky {
			r.w.suite.Fail(check.Durable, "stream %s was created and is missing at the end", st.Name)
		}
		r.stream++
	}
	if r.stream == len(r.found) {
		r.conn.Finish(network.Client)
		if r.done = r.again; !r.done {
			r.again, r.stream, r.next = true, 0, 0
			r.dial()
		}
		return
	}
	st := r.tenant.Streams[r.stream]
	r.ask(&wire.ReadEvents{Stream: st.ID, FromOffset: r.next, MaxBytes: readFrames}, st)
}

// rest waits until nothing should be left to do.
func (w *World) rest() {
	w.phase, w.limit = resting, w.now+restSpan
	w.note("rest", 0, 0, 0)
}

// finish checks the whole of what was read, and that nothing is left over.
func (w *World) finish() {
	w.done = true
	s := w.server
	w.suite.Saw(check.Live, true)
	if s == nil || !s.opened {
		w.suite.Fail(check.Live, "the server is down at the end: %v", w.lastErr)
		return
	}
	if err := s.leaks(); err != nil {
		w.suite.Fail(check.Live, "at rest: %v", err)
	}
	w.erased()
	w.objects.judge()
	w.cuts.Files(w.disk.disk.Clone().Mount(), w.disk.ruined)
	for _, r := range w.readers {
		for i, st := range r.tenant.Streams {
			if !r.found[i] {
				continue
			}
			w.suite.Final(st, r.heads[i])
			w.suite.Linearizable(st, w.now)
		}
	}
}
