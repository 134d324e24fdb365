package seg

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"hash/crc32"

	"github.com/kimberlitedb/kimberlite-go/wire"
)

// Kind says what an entry does.
type Kind uint8

// The kinds of entries. Their numbers are on disk for ever.
const (
	KindCreateTenant   Kind = 1
	KindCreateStream   Kind = 2
	KindAppend         Kind = 3
	KindDeleteStream   Kind = 4
	KindUndeleteStream Kind = 5
	KindPurgeStream    Kind = 6
	KindSetRetention   Kind = 7
	KindSetHold        Kind = 8
	KindReleaseHold    Kind = 9
	KindConfirmClock   Kind = 10
	KindRefusedAccess  Kind = 11
	KindTrim           Kind = 12 // the oldest event moves; outside the tenant's log
	KindLimits         Kind = 13 // limits that decide outcomes; outside every tenant's log
	KindSweep          Kind = 14 // what was removed before an entry is in no file any more; outside every tenant's log
	KindCreateGroup    Kind = 15
	KindUpdateGroup    Kind = 16
	KindDeleteGroup    Kind = 17
	KindUnpark         Kind = 18 // parked events are delivered again, or dropped
	KindGroupMoves     Kind = 19 // what happens to a group's events; outside the tenant's log
	KindTables         Kind = 20 // which tables there are, and what has come of the statements; outside the tenant's log
	KindCheckpoint     Kind = 21
	KindDropCheckpoint Kind = 22
	KindKeepCheckpoint Kind = 23 // a checkpoint has its file; outside the tenant's log
	KindArchive        Kind = 24 // a checkpoint is to be sent to an archive
	KindArchived       Kind = 25 // it is there; outside the tenant's log
	KindPruned         Kind = 26 // what was removed before an entry has left an archive; outside the tenant's log
	KindRestoreTenant  Kind = 27 // a tenant of an archive begins to come; outside its log
	KindRestored       Kind = 28 // it is there
)

// Act reports whether an entry of the kind is an administrative act, which has a place in its tenant's log.
func (k Kind) Act() bool {
	return k > 0 && k <= KindRefusedAccess && k != KindAppend || k >= KindCreateGroup && k <= KindUnpark ||
		k == KindCheckpoint || k == KindDropCheckpoint || k == KindArchive || k == KindRestored
}

// Record is one log entry. All numbers are little-endian:
//
//	+-----------+------------+---------+----------+-----------+--------------+-----------+
//	| crc32c (4)| length (4) | lsn (8) | kind (1) | flags (1) | reserved (2) | count (4) |
//	+-----------+------------+---------+----------+-----------+--------------+-----------+
//	| tenant (8) | position (8) | commit time (8) | stream (8) | first offset (8) | body …  |
//	+------------+--------------+-----------------+------------+------------------+---------+
//
// The checksum covers everything after itself; length counts the whole record. The body of an append is
//
//	+-----------+-------------------------------+-- ... --+
//	| salt (16) | idempotency key (16), if flag | events  |
//	+-----------+-------------------------------+-- ... --+
//
// with the events in the wire's layout. The salt is random: hashes that later prove these events are salted from it, so
// that once it is purged with them, a hash that stays tells nothing about the data. Each event has a salt of its own, from a chain
// that goes one way (NextSalt): where the first events of a record go and the others stay, so do their salts.
//
// The body of an administrative act begins with the event that tells of it in the tenant's audit stream, in the wire's
// layout; count is then 1 and first offset the event's place in that stream. The rest is the engine's affair. An act of
// format version 1 has no such event, and no flag.
type Record struct {
	LSN      LSN
	Kind     Kind
	Flags    uint8
	Count    uint32 // events, of an append or an act
	Tenant   wire.TenantID
	Position wire.Position // in the tenant's log; 0 for an entry outside it
	Commit   wire.Time
	Stream   wire.StreamID // 0 for an entry about no stream
	First    wire.Offset   // of an append or an act; of a trim, the new oldest offset
	Body     []byte        // aliases what it was parsed from
}

const (
	// RecordHeader is the length of a record without its body, in bytes.
	RecordHeader = 64
	// SaltSize is the length of an append's salt, in bytes.
	SaltSize = 16
	// FlagKey marks an append that carries an idempotency key.
	FlagKey = 1
	// FlagTimed marks an append whose event times the client has given.
	FlagTimed = 2
	// FlagMakes marks a statement that may make a table or view.
	FlagMakes = 8
	// FlagForgets marks an entry among statements that forgets the history of tables.
	FlagForgets = 16
	// FlagRestored marks an append or act that was brought from an archive: its tenant and stream are those here, and its position,
	// commit time and offsets those that it had. It does nothing but to be there.
	FlagRestored = 32
	// FlagAudit marks an act whose body begins with its audit event.
	FlagAudit = 4

	keySize = 16
)

// AppendOverhead returns what an append's record takes beyond its encoded events, in bytes.
func AppendOverhead(key bool) int {
	if key {
		return RecordHeader + SaltSize + keySize
	}
	return RecordHeader + SaltSize
}

// BeginRecord appends a record's header to dst; the caller appends the body and then calls FinishRecord with the index
// at which the record began.
func BeginRecord(dst []byte, r *Record) []byte {
	var h [RecordHeader]byte
	binary.LittleEndian.PutUint64(h[8:], uint64(r.LSN))
	h[16], h[17] = byte(r.Kind), r.Flags
	binary.LittleEndian.PutUint32(h[20:], r.Count)
	binary.LittleEndian.PutUint64(h[24:], uint64(r.Tenant))
	binary.LittleEndian.PutUint64(h[32:], uint64(r.Position))
	binary.LittleEndian.PutUint64(h[40:], uint64(r.Commit))
	binary.LittleEndian.PutUint64(h[48:], uint64(r.Stream))
	binary.LittleEndian.PutUint64(h[56:], uint64(r.First))
	return append(dst, h[:]...)
}

// FinishRecord fills in length and checksum of the record that begins at start and ends with p.
func FinishRecord(p []byte, start int) {
	p = p[start:]
	binary.LittleEndian.PutUint32(p[4:], uint32(len(p)))
	binary.LittleEndian.PutUint32(p, crc32.Checksum(p[4:], castagnoli))
}

// ErrDamaged says that bytes are not the record or batch that they should be.
var ErrDamaged = errors.New("seg: damaged")

// ParseRecord reads the record at the start of p without verifying its checksum. It returns the record's length, or
// ErrDamaged where p does not hold a whole record.
func ParseRecord(p []byte, r *Record) (int, error) {
	if len(p) < RecordHeader {
		return 0, ErrDamaged
	}
	n := binary.LittleEndian.Uint32(p[4:])
	if n < RecordHeader || uint64(n) > uint64(len(p)) {
		return 0, ErrDamaged
	}
	*r = Record{
		LSN:      LSN(binary.LittleEndian.Uint64(p[8:])),
		Kind:     Kind(p[16]),
		Flags:    p[17],
		Count:    binary.LittleEndian.Uint32(p[20:]),
		Tenant:   wire.TenantID(binary.LittleEndian.Uint64(p[24:])),
		Position: wire.Position(binary.LittleEndian.Uint64(p[32:])),
		Commit:   wire.Time(binary.LittleEndian.Uint64(p[40:])),
		Stream:   wire.StreamID(binary.LittleEndian.Uint64(p[48:])),
		First:    wire.Offset(binary.LittleEndian.Uint64(p[56:])),
		Body:     p[RecordHeader:n:n],
	}
	return int(n), nil
}

// CheckRecord is ParseRecord that also verifies the checksum.
func CheckRecord(p []byte, r *Record) (int, error) {
	n, err := ParseRecord(p, r)
	if err != nil {
		return 0, err
	}
	if crc32.Checksum(p[4:n], castagnoli) != binary.LittleEndian.Uint32(p) {
		return 0, ErrDamaged
	}
	return n, nil
}

// Key returns the idempotency key of an append that has FlagKey.
func (r *Record) Key() (k wire.Key) {
	if len(r.Body) >= SaltSize+keySize {
		copy(k[:], r.Body[SaltSize:])
	}
	return k
}

// AuditEvent splits the body of an act into its audit event, encoded, and the rest. It returns false where there is
// none.
func (r *Record) AuditEvent() (event, rest []byte, ok bool) {
	if r.Flags&FlagAudit == 0 {
		return nil, r.Body, false
	}
	_, rest, ok = wire.NextEvent(r.Body)
	if !ok {
		return nil, r.Body, false
	}
	n := len(r.Body) - len(rest)
	return r.Body[:n:n], rest, true
}

// Events returns the encoded events of an append's record.
func (r *Record) Events() []byte {
	skip := AppendOverhead(r.Flags&FlagKey != 0) - RecordHeader
	if len(r.Body) < skip {
		return nil
	}
	return r.Body[skip:len(r.Body):len(r.Body)]
}

// DataBytes returns the bytes of event data in an append's record.
func (r *Record) DataBytes() uint64 {
	return uint64(len(r.Events())) - uint64(r.Count)*wire.EventOverhead
}

// Salt salts the hash that proves events.
type Salt = [SaltSize]byte

// The salts of an append are a chain: that of the record, the next one, and so on, one for each event. Behind a salt of the chain
// nobody can find the one before. What an event's hash is salted with is made of its link, so that it tells nothing of the chain either.
const (
	eventSalt = 0
	nextSalt  = 1
)

// NextSalt returns the salt in the chain behind another one.
func NextSalt(link Salt) Salt { return derive(nextSalt, link) }

// EventSalt returns what the hash of the event is salted with that has a link of the chain.
func EventSalt(link Salt) Salt { return derive(eventSalt, link) }

func derive(what byte, link Salt) Salt {
	var p [1 + SaltSize]byte
	p[0] = what
	copy(p[1:], link[:])
	sum := sha256.Sum256(p[:])
	return Salt(sum[:SaltSize])
}

// Without returns the record of an append anew, without so many of its first events, and without what their hashes are salted with; some
// must be left.
func (r *Record) Without(n int) []byte {
	events := r.Events()
	fixed := bytes.Clone(r.Body[:len(r.Body)-len(events)])
	link := Salt(fixed)
	for range n {
		_, events, _ = wire.NextEvent(events)
		link = NextSalt(link)
	}
	copy(fixed, link[:])
	short := *r
	short.Count, short.First = r.Count-uint32(n), r.First+wire.Offset(n)
	p := append(append(BeginRecord(nil, &short), fixed...), events...)
	FinishRecord(p, 0)
	return p
}
