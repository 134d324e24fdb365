package engine

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/kimberlitedb/kimberlite-go/engine/seg"
	"github.com/kimberlitedb/kimberlite-go/engine/sql"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// An append may carry an idempotency key. Each stream keeps a window of the keys of its newest keyed appends, so that a
// client that does not know whether an append happened can send it again. The window is part of the state: it follows
// from the log, and so survives restarts. Which keys it has dropped is decided by limits that are log entries too.

// keyLimits bound what is kept. Zero of any is no bound.
type keyLimits struct {
	perStream uint64
	age       uint64 // ns, of commit time
	total     uint64 // over all streams; the oldest go first
}

// keyed is what a stream remembers of a keyed append. It never changes.
type keyed struct {
	key      wire.Key
	digest   [16]byte // of the content
	first    wire.Offset
	count    uint32
	commit   wire.Time
	position wire.Position
	lsn      seg.LSN
}

// keyWindow is the keyed appends that a stream remembers, oldest first. A capture may hold on to list.
type keyWindow struct {
	list  []keyed
	base  int              // how many it has dropped
	place map[wire.Key]int // in the list, plus base
}

// keyRef says which stream remembers the keyed append of an entry.
type keyRef struct {
	lsn    seg.LSN
	stream wire.StreamID
}

func (w *keyWindow) find(k wire.Key) *keyed {
	if i, ok := w.place[k]; ok {
		return &w.list[i-w.base]
	}
	return nil
}

func (w *keyWindow) add(k keyed) {
	if w.place == nil {
		w.place = map[wire.Key]int{}
	}
	w.place[k.key] = w.base + len(w.list)
	w.list = append(w.list, k)
}

func (w *keyWindow) drop() {
	delete(w.place, w.list[0].key)
	w.list, w.base = w.list[1:], w.base+1
}

// limit has the state's limits be those of the configuration, before a key depends on them. It returns the refusal
// where there is no room to say so.
func (m *Machine) limit() *wire.Error {
	l := keyLimits{uint64(m.cfg.KeysPerStream), uint64(m.cfg.KeyAge), uint64(m.cfg.Keys)}
	if m.state.limits == l {
		return nil
	}
	body := putNumbers(nil, l.perStream, l.age, l.total)
	if e := m.noRoom(seg.RecordHeader+len(body), admin); e != nil {
		return e
	}
	m.decide(&seg.Record{Kind: seg.KindLimits}, body)
	return nil
}

func (s *state) applyLimits(r *seg.Record) error {
	d := decoder{p: r.Body}
	s.limits = keyLimits{d.u64(), d.u64(), d.u64()}
	if d.bad {
		return fmt.Errorf("%w: limits", errMisfit)
	}
	return nil
}

// again answers an append whose key the stream remembers. It returns false where it does not.
func (m *Machine) again(r *Request, b *wire.AppendEvents, s *stream, fx []Effect) ([]Effect, bool) {
	if !b.IdempotencyKey.Set {
		return fx, false
	}
	k := s.keys.find(b.IdempotencyKey.Value)
	if k == nil || m.state.limits.stale(k, m.clock.now) {
		return fx, false
	}
	if k.digest != requestDigest(b) {
		m.cfg.hit(ProbeKeyReused)
		return m.refuse(r, wire.InvalidRequest, k.lsn, fx,
			"the idempotency key belongs to another append, at offset %d; use a new key for new content", k.first), true
	}
	m.cfg.hit(ProbeDuplicateAppend)
	if k.lsn > m.log.durable {
		m.cfg.hit(ProbeDuplicateOfUndurable)
	}
	m.stats.Duplicates++
	return m.reply(r, &wire.AppendEventsReply{
		FirstOffset: k.first, Count: k.count, Timestamp: k.commit, Position: k.position, Duplicate: true,
	}, k.lsn, fx), true
}

func (l keyLimits) stale(k *keyed, now wire.Time) bool {
	return l.age > 0 && uint64(now-k.commit) >= l.age
}

// remember adds a keyed append to its stream's window, and drops what the limits do not allow any more.
func (s *state) remember(x *stream, r *seg.Record) {
	w := &x.keys
	for len(w.list) > 0 && (s.limits.stale(&w.list[0], r.Commit) || s.limits.perStream > 0 && uint64(len(w.list)) >= s.limits.perStream) {
		w.drop()
		s.keys--
	}
	if w.find(r.Key()) != nil {
		return // only where a hole has swallowed limits
	}
	w.add(keyed{
		key: r.Key(), digest: contentOf(x, r), first: r.First, count: r.Count, commit: r.Commit, position: r.Position, lsn: r.LSN,
	})
	s.keys++
	if len(s.keyOrder) > 2*s.keys+64 {
		s.keyOrder = slices.DeleteFunc(s.keyOrder, func(o keyRef) bool { return !s.remembers(o) })
	}
	s.keyOrder = append(s.keyOrder, keyRef{r.LSN, x.id})
	for s.limits.total > 0 && uint64(s.keys) > s.limits.total {
		s.dropOldestKey()
	}
}

// dropOldestKey drops the oldest key of all streams.
func (s *state) dropOldestKey() {
	for {
		o := s.keyOrder[0]
		s.keyOrder = s.keyOrder[1:]
		if s.remembers(o) {
			s.streams[o.stream].keys.drop()
			s.keys--
			return
		}
	}
}

// remembers reports whether a window has not dropped what an element of keyOrder stands for.
func (s *state) remembers(o keyRef) bool {
	x := s.streams[o.stream]
	return x != nil && len(x.keys.list) > 0 && x.keys.list[0].lsn <= o.lsn
}

// forgetKeys drops all keys of a stream.
func (s *state) forgetKeys(x *stream) {
	s.keys -= len(x.keys.list)
	x.keys = keyWindow{}
}

// orderKeys finds the order over all streams again, after a restore.
func (s *state) orderKeys() {
	for _, t := range s.order {
		for _, x := range t.streams {
			s.keys += len(x.keys.list)
			for i := range x.keys.list {
				s.keyOrder = append(s.keyOrder, keyRef{x.keys.list[i].lsn, x.id})
			}
		}
	}
	slices.SortFunc(s.keyOrder, func(a, b keyRef) int { return int(a.lsn) - int(b.lsn) })
}

// The digest of an append's content is SHA-256, cut to 16 bytes, over its events, each behind its length (u64), and their
// event times where the client gave them.

func requestDigest(b *wire.AppendEvents) [16]byte {
	h := sha256.New()
	for _, e := range b.Events {
		h.Write(binary.LittleEndian.AppendUint64(nil, uint64(len(e))))
		h.Write(e)
	}
	for _, t := range b.Timestamps.Value {
		h.Write(binary.LittleEndian.AppendUint64(nil, uint64(t)))
	}
	return [16]byte(h.Sum(nil))
}

// contentOf returns the digest of what a keyed entry of a stream was asked to do.
func contentOf(x *stream, r *seg.Record) [16]byte {
	if x == x.tenant.sql {
		if e, _, ok := wire.NextEvent(r.Events()); ok {
			if entry, err := sql.Decode(e.Data, e.Timestamp); err == nil {
				return entry.Content()
			}
		}
	}
	return recordDigest(r)
}

func recordDigest(r *seg.Record) [16]byte {
	h := sha256.New()
	var times bytes.Buffer
	for p := r.Events(); len(p) > 0; {
		e, rest, ok := wire.NextEvent(p)
		if !ok {
			break
		}
		h.Write(binary.LittleEndian.AppendUint64(nil, uint64(len(e.Data))))
		h.Write(e.Data)
		if r.Flags&seg.FlagTimed != 0 {
			times.Write(binary.LittleEndian.AppendUint64(nil, uint64(e.Timestamp)))
		}
		p = rest
	}
	h.Write(times.Bytes())
	return [16]byte(h.Sum(nil))
}

// encode writes a window for a snapshot.
func (w *keyWindow) encode(p []byte) []byte {
	p = putNumbers(p, uint64(len(w.list)))
	for i := range w.list {
		k := &w.list[i]
		p = append(append(p, k.key[:]...), k.digest[:]...)
		p = putNumbers(p, uint64(k.first), uint64(k.count), uint64(k.commit), uint64(k.position), uint64(k.lsn))
	}
	return p
}

func (w *keyWindow) decode(d *decoder) {
	for range d.count(2*16 + 5*8) {
		var k keyed
		copy(k.key[:], d.take(16))
		copy(k.digest[:], d.take(16))
		k.first, k.count, k.commit = wire.Offset(d.u64()), uint32(d.u64()), wire.Time(d.u64())
		k.position, k.lsn = wire.Position(d.u64()), seg.LSN(d.u64())
		w.add(k)
	}
}
