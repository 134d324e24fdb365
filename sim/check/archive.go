package check

import (
	"encoding/binary"
	"slices"
	"strings"

	"github.com/kimberlitedb/kimberlite-go/engine/archive"
	"github.com/kimberlitedb/kimberlite-go/engine/proof"
	"github.com/kimberlitedb/kimberlite-go/engine/seg"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// Archives judges what is sent to archives, which are one store of objects, by the entries that the driver saw written and by what clients
// were told. What the archives hold it compares with what was written.
type Archives struct {
	suite    *Suite
	cuts     *Checkpoints
	all      []*Archived // in the order of the log
	keys     proof.Keys
	seen     map[archive.Place]listing // what was verified
	told     []fact
	settings map[wire.StreamID][]setting
	Rot      func() bool // the disk has lost something
}

// Archived is a checkpoint that was to be sent, or was.
type Archived struct {
	Tenant   wire.TenantID
	ID       wire.CheckpointID
	To       string
	position wire.Position
	lsn      seg.LSN
	done     seg.LSN // 0 until then
}

// fact is an entry that somebody was told of.
type fact struct {
	tenant   wire.TenantID
	position wire.Position
}

// ArchiveAsk is a request to send a checkpoint.
type ArchiveAsk struct {
	Tenant wire.TenantID
	Ref    wire.CheckpointRef
	To     string
	Lock   wire.Time // 0 for none
	Bad    bool      // it must be refused for its destination
	from   seg.LSN
}

// NewArchives returns the judge of a run's archives.
func NewArchives(s *Suite, cuts *Checkpoints) *Archives {
	keys, err := proof.Verifiers([]byte(checkpointKey))
	if err != nil {
		panic("check: the key does not verify: " + err.Error())
	}
	return &Archives{suite: s, cuts: cuts, keys: keys, seen: map[archive.Place]listing{}, settings: map[wire.StreamID][]setting{}}
}

// Wrote notes an entry that is written.
func (x *Archives) Wrote(r *seg.Record) {
	if x.cuts.off {
		return
	}
	if r.Kind.Act() {
		x.setting(r)
	}
	if len(x.all) > 0 && r.LSN <= max(x.all[len(x.all)-1].lsn, x.done()) {
		return
	}
	var fields []byte
	switch r.Kind {
	case seg.KindArchive:
		_, fields, _ = r.AuditEvent()
	case seg.KindArchived:
		fields = r.Body
	default:
		return
	}
	id, to := wire.CheckpointID(fields), string(fields[20:][:binary.LittleEndian.Uint32(fields[16:])])
	if r.Kind == seg.KindArchive {
		x.all = append(x.all, &Archived{Tenant: r.Tenant, ID: id, To: to, position: r.Position, lsn: r.LSN})
		return
	}
	for _, a := range x.all {
		if a.ID == id && a.To == to && a.done == 0 {
			a.done = r.LSN
		}
	}
}

func (x *Archives) done() (last seg.LSN) {
	for _, a := range x.all {
		last = max(last, a.done)
	}
	return last
}

// Recovered notes up to where a recovery has found the log. What somebody was told of is there.
func (x *Archives) Recovered(lsn seg.LSN) {
	for id, list := range x.settings { //det:order-free: each for itself
		x.settings[id] = slices.DeleteFunc(list, func(s setting) bool { return s.lsn > lsn })
	}
	x.all = slices.DeleteFunc(x.all, func(a *Archived) bool {
		if a.done > lsn {
			a.done = 0
		}
		told := slices.Contains(x.told, fact{a.Tenant, a.position})
		if !x.cuts.quiet() {
			x.suite.must(Durable, a.lsn <= lsn || !told, "that checkpoint %s is to be sent to %s was acknowledged at position %d, and a crash has undone that", a.ID, a.To, a.position)
		}
		return a.lsn > lsn
	})
}

// Next returns a checkpoint that is not where it is to be sent to, nil where all are.
func (x *Archives) Next() *Archived {
	for _, a := range x.all {
		if c := x.cuts.find(a.ID); a.done == 0 && c != nil && c.live(x.cuts.last) && !x.cuts.quiet() {
			return a
		}
	}
	return nil
}

// Any draws one of a tenant that was to be sent, nil where none was.
func (x *Archives) Any(t wire.TenantID, draw func(int) int) *Archived {
	var list []*Archived
	for _, a := range x.all {
		if a.Tenant == t {
			list = append(list, a)
		}
	}
	if len(list) == 0 {
		return nil
	}
	return list[draw(len(list))]
}

// Hopeless reports whether a checkpoint cannot be sent for what the disk has lost, or since its lock is over by the clock of the archive and
// not by the server's.
func (x *Archives) Hopeless(trouble string) bool {
	return strings.Contains(trouble, "a lock must lie ahead") || x.Rot() && !strings.Contains(trouble, seg.ErrUnavailable.Error())
}

// Sent notes a request that is about to be sent.
func (x *Archives) Sent(a *ArchiveAsk) { a.from = x.cuts.last }

// Answered judges the reply to a request.
func (x *Archives) Answered(a *ArchiveAsk, reply wire.ResponseBody) {
	if x.cuts.quiet() {
		return
	}
	switch r := reply.(type) {
	case *wire.Error:
		x.refused(a, r)
	case *wire.ArchiveCheckpointReply:
		ok := slices.ContainsFunc(x.all, func(y *Archived) bool {
			return y.Tenant == a.Tenant && y.ID == a.Ref.ID && y.To == a.To && y.position <= r.Position
		})
		x.suite.must(Contract, !a.Bad, "checkpoint %s is to be sent to %q, which nothing allows", a.Ref.ID, a.To)
		x.suite.must(Checkpoint, ok, "that checkpoint %s of tenant %d is to be sent to %s is acknowledged at position %d, and the log does not say so", a.Ref.ID, a.Tenant, a.To, r.Position)
		x.told = append(x.told, fact{a.Tenant, r.Position})
	default:
		x.suite.Fail(Contract, "a request to send a checkpoint is answered with %T", reply)
	}
}

// refused judges a refusal.
func (x *Archives) refused(a *ArchiveAsk, e *wire.Error) {
	ok, rule := false, Contract
	switch e.Code {
	case wire.PermissionDenied:
		ok = a.Bad && a.To != ""
	case wire.InvalidRequest:
		ok = a.Bad && (a.To == "" || len(a.To) > wire.MaxDestination) || a.Lock > 0 && strings.Contains(e.Message, "lock")
	case wire.CheckpointNotFound:
		ok, rule = x.cuts.once(a.from, func(at seg.LSN) bool { return x.cuts.named(a.Tenant, a.Ref, at) == nil }), Checkpoint
	case wire.RateLimited:
		ok = true
	case wire.StorageFull, wire.StorageError:
		ok = x.suite.Faulty()
	}
	x.suite.must(rule, ok, "tenant %d: to send checkpoint %s to %q is refused with %s: %s", a.Tenant, a.Ref.ID, a.To, e.Code, e.Message)
}
