// Package model is what a run ought to look like: the streams and appends of all clients, as far as the clients know.
// It learns from requests sent and replies received, and from nothing inside the server.
package model

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"

	"github.com/kimberlitedb/kimberlite-go/sim/plan"
	"github.com/kimberlitedb/kimberlite-go/sim/rng"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// Model is everything that the clients of one run know together.
type Model struct {
	Tenants []*Tenant       // from id 1 on
	Appends map[Key]*Append // all that were ever sent
	ByID    map[wire.StreamID]*Stream
	source  rng.Source
}

// Tenant is one tenant.
type Tenant struct {
	ID      wire.TenantID
	Name    string
	Marker  [8]byte // in every event of the tenant, and in hexadecimal in every name
	Streams []*Stream
	Exists  bool // somebody was told so
	Shaky   bool // damage to the log may have swallowed entries of it
	Times   []Commit
}

// Commit is a position of a tenant's log and its commit time.
type Commit struct {
	Position wire.Position
	Time     wire.Time
}

// Stream is one stream.
type Stream struct {
	Tenant *Tenant
	Slot   int
	Name   string
	ID     wire.StreamID // 0 until somebody was told
	Exists bool          // somebody was told so
	Head   wire.Offset   // the greatest that anybody was told
	Told   Source        // how
	Owners []Owner       // by offset, of the events that somebody saw or was told of
	Shaky  bool          // damage to the disk may have taken events
	Lost   []Span        // what damage to the disk may have taken
	Ops    []*Call       // its history
}

// Span is a range [From, To) of offsets.
type Span struct{ From, To wire.Offset }

// Owner says which event of which append has an offset.
type Owner struct {
	Append *Append // nil where nobody knows
	Index  int
}

// Source says from what a client knows a stream's head.
type Source uint8

// The sources.
const (
	FromRefusal Source = iota
	FromRead
	FromAppend
)

// Outcome is what a client knows about its request.
type Outcome uint8

// The outcomes.
const (
	Pending Outcome = iota
	Done            // acknowledged
	Refused         // not done
	Unknown         // done or not
)

// Append is one append as it was sent.
type Append struct {
	Key     Key
	Client  int
	Stream  *Stream
	Events  [][]byte
	Times   []wire.Time // empty without timestamps
	Sent    int64
	Outcome Outcome
	Acked   int64       // when acknowledged
	Placed  bool        // its place is known
	First   wire.Offset // where Placed
	Excused bool        // damage to the disk may have taken it
	Commit  wire.Time   // where Done
}

// Key identifies an append: it is in its first event.
type Key struct {
	Op      int
	Attempt int
}

// Subscription is what a client knows of one of its subscriptions.
type Subscription struct {
	Client, Conn int
	ID           wire.SubscriptionID
	Stream       *Stream
	Next         wire.Offset // the event that is due; EndOffset until it is known
	Floor        wire.Offset // of the stream's head, when it was asked for
	Events       uint64      // credit that was granted and not used
	Bytes        int64       // likewise
	Leaving      bool        // it is being ended
}

// String names the subscription in a failure.
func (s *Subscription) String() string {
	return fmt.Sprintf("tenant %d stream %s, subscription %d of client %d", s.Stream.Tenant.ID, s.Stream.Name, s.ID, s.Client)
}

// Call is one request of a client.
type Call struct {
	Op       plan.Op
	Client   int
	Conn     int // counts over all connections of the run
	ID       uint64
	Body     wire.RequestBody
	Tenant   wire.TenantID
	Stream   *Stream // or nil
	Append   *Append // or nil
	Features wire.Features
	Sent     int64
	Returned int64
	Floor    wire.Offset // of the stream's head, when sent
	Told     Source      // how that was known
	Known    bool        // when sent, somebody was told that the stream exists
	Outcome  Outcome
	Reply    wire.ResponseBody
	Order    int // place among all calls
}

// New returns the model of a run in which nothing has happened.
func New(source rng.Source, c *plan.Config) *Model {
	m := &Model{Appends: map[Key]*Append{}, ByID: map[wire.StreamID]*Stream{}, source: source}
	for id := range c.Tenants {
		t := &Tenant{ID: wire.TenantID(id + 1), Name: fmt.Sprintf("t%d", id+1)}
		source.Numbered("marker", uint64(id)).Fill(t.Marker[:])
		for slot := range c.Streams {
			t.Streams = append(t.Streams, &Stream{
				Tenant: t, Slot: slot, Name: fmt.Sprintf("S%d.%s", slot, hex.EncodeToString(t.Marker[:])),
			})
		}
		m.Tenants = append(m.Tenants, t)
	}
	return m
}

// Tenant returns a tenant by id.
func (m *Model) Tenant(id int) *Tenant { return m.Tenants[id-1] }

// IdentitySize is the least size of an append's first event, in bytes.
const IdentitySize = 16

// Batch makes the events of an append. The first begins with the tenant's marker and the append's key.
func (m *Model) Batch(t *Tenant, k Key, count, size, most int) [][]byte {
	r := m.source.Numbered("data", uint64(k.Op)<<16|uint64(k.Attempt))
	list := make([][]byte, count)
	left := most
	for i := range list {
		n := r.N(size + 1)
		if i == 0 {
			n = max(size, IdentitySize)
		}
		n = min(n, left)
		left -= n
		list[i] = make([]byte, n)
		r.Fill(list[i])
		if n >= len(t.Marker) {
			copy(list[i], t.Marker[:])
		}
		if i == 0 {
			binary.LittleEndian.PutUint32(list[i][8:], uint32(k.Op))
			binary.LittleEndian.PutUint32(list[i][12:], uint32(k.Attempt))
		}
	}
	return list
}

// Identify finds the append that an event is the first of, if it is one's.
func (m *Model) Identify(t *Tenant, data []byte) *Append {
	if len(data) < IdentitySize || string(data[:8]) != string(t.Marker[:]) {
		return nil
	}
	k := Key{int(binary.LittleEndian.Uint32(data[8:])), int(binary.LittleEndian.Uint32(data[12:]))}
	return m.Appends[k]
}

// Owner returns what is known of an offset.
func (s *Stream) Owner(o wire.Offset) Owner {
	if o < wire.Offset(len(s.Owners)) {
		return s.Owners[o]
	}
	return Owner{}
}

// Own notes the owner of an offset.
func (s *Stream) Own(o wire.Offset, w Owner) {
	for wire.Offset(len(s.Owners)) <= o {
		s.Owners = append(s.Owners, Owner{})
	}
	s.Owners[o] = w
}

// Lose lets go of the events from an offset on, which damage to the disk has taken. Others may take their place.
func (s *Stream) Lose(from wire.Offset) {
	for o := from; o < wire.Offset(len(s.Owners)); o++ {
		if a := s.Owners[o].Append; a != nil {
			a.Excused, a.Placed = true, false
		}
		s.Owners[o] = Owner{}
	}
}

// LostAt returns the range of what may be lost that holds an offset.
func (s *Stream) LostAt(o wire.Offset) (Span, bool) {
	for _, l := range s.Lost {
		if l.From <= o && o < l.To {
			return l, true
		}
	}
	return Span{}, false
}
