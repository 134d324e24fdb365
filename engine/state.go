package engine

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"sort"

	"github.com/kimberlitedb/kimberlite-go/engine/seg"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// state is what the log says: the machine's durable state. Only apply changes it.
type state struct {
	lsn        seg.LSN       // of the last entry applied
	lastStream wire.StreamID // the greatest id given so far
	tenants    map[wire.TenantID]*tenant
	order      []*tenant // ascending ids
	streams    map[wire.StreamID]*stream
	systems    int       // of them, the system's
	holed      bool      // the log has had a hole, so that numbers may jump
	skew       wire.Span // how far behind the engine clock the wall clock was when somebody confirmed it; at most 0
	limits     keyLimits
	keys       int       // idempotency keys in all windows
	keyOrder   []keyRef  // of all windows, oldest first; those that a window has dropped may still be in it
	removed    seg.LSN   // the last entry by which events are gone: a move of an oldest offset, or a purge
	swept      seg.LSN   // what entries before this one have removed is in no file any more
	sweptAt    wire.Time // when the last sweep ended
	cuts       int       // checkpoints that are not kept yet
	unsent     int       // archives that are asked for and do not have their checkpoint yet
	arriving   int       // tenants that are being brought from archives
	unsweptAt  wire.Time // since when something removed waits for a sweep, where something does
}

type tenant struct {
	id       wire.TenantID
	name     string
	created  wire.Time
	position wire.Position      // of its last entry
	commit   wire.Time          // of its last entry
	streams  []*stream          // ascending ids
	names    map[string]*stream // by lower-case name
	lsn      seg.LSN            // the same; 0 where that was before a snapshot
	health   health
	audit    *stream
	sql      *stream    // of statements; nil before the first one
	tables   []string   // as the statements before checked have left them, ascending
	claims   []claim    // of the statements from there on; ascending
	checked  tableCheck // the last that the log says
	forgot   forgetting
	chain    [sha256.Size]byte // hash of the last audit event
	// checkpoints is ascending positions. Like its elements, the list never changes: a change makes it anew.
	checkpoints []*checkpoint
	leaves      []leafFile // of those that were kept, ascending positions; made anew likewise
	archives    []archived // in the order in which they were asked for; made anew likewise
	pruned      []pruned   // of those, by destination; made anew likewise
	removed     seg.LSN    // the last entry by which events of its are gone
	removedAt   wire.Time
	origin      *origin // where it was brought from; nil for one that was made here. It never changes: a change puts another in its place
}

// health says what holes in the log mean for a tenant, or that not all of it is there yet. A tenant that is not sound takes no writes,
// and nothing of it expires.
type health uint8

const (
	sound    health = iota
	doubtful        // a hole may hide entries of its own
	holed           // a hole does
	arriving        // it is being brought from an archive
)

type stream struct {
	id        wire.StreamID // this and what follows, down to created, never change
	tenant    *tenant
	name      string
	class     wire.DataClass
	placement wire.Placement
	created   wire.Time
	changing
	index      []entry // ascending
	tail       []entry // in a capture: the last element of the index, which in the machine may change
	groupBytes []byte  // in a capture: the groups, encoded

	// Of the running machine alone:
	watched   wire.Time // the deadline by which the tick looks at it; 0 without one
	trimAfter wire.Time // not before then is it searched for expired events; 0 at any time
	audience  *audience // nil without subscriptions
}

// changing is what entries change of a stream, but for where its events lie.
type changing struct {
	retention    wire.Option[uint32] // days
	minRetention uint32              // days; retention >= minRetention where set
	holds        []hold
	deleted      bool
	purge        wire.Time   // of a deleted stream
	oldest       wire.Offset // oldest <= head
	head         wire.Offset
	bytes        uint64    // of all event data that it ever had
	cut          uint64    // of that, before the oldest event
	firstTime    wire.Time // event time of the oldest event; valid where oldest < head
	lastTime     wire.Time // event time of the newest event
	lsn          seg.LSN   // of the last entry about it
	keys         keyWindow
	lost         []span   // offsets whose events a hole in the log has swallowed, ascending
	groups       []*group // ascending ids
	lastGroup    uint64   // the greatest id given so far
}

// system reports whether only the server writes the stream.
func (s *stream) system() bool { return s.id >= systemStreams }

// entry says where in the log the events from an offset on are: somewhere in the extent, among other records perhaps.
// Elements of an index but the last never change, so that a job may hold on to them.
type entry struct {
	first  wire.Offset
	before uint64    // bytes of the stream's event data before it
	latest wire.Time // the greatest event time up to its end
	at     seg.Extent
}

// span is a range [from, to) of offsets.
type span struct{ from, to wire.Offset }

// entrySpan is the most bytes of log that one index entry covers, so that the index stays sparse.
const entrySpan = 64 << 10

func newState() state {
	return state{tenants: map[wire.TenantID]*tenant{}, streams: map[wire.StreamID]*stream{}}
}

// remove notes that an entry takes events of a tenant away, for ever.
func (s *state) remove(t *tenant, r *seg.Record) {
	if s.removed <= s.swept {
		s.unsweptAt = r.Commit
	}
	s.removed = r.LSN
	t.removed, t.removedAt = r.LSN, r.Commit
}

// errMisfit says that an entry does not follow from the state: the log is not what was written.
var errMisfit = errors.New("engine: log entry does not fit the state")

// apply carries out an entry that lies at an extent of the log. It is the one function that changes durable state: live,
// in recovery and when a log is checked. It reads nothing but the state and the entry.
func (s *state) apply(r *seg.Record, at seg.Extent, geo seg.Geometry) error {
	if r.LSN != s.lsn+1 {
		return fmt.Errorf("%w: entry %d after %d", errMisfit, r.LSN, s.lsn)
	}
	var err error
	switch {
	case r.Flags&seg.FlagRestored != 0:
		err = s.applyArrived(r, at, geo)
	case r.Kind == seg.KindAppend:
		err = s.applyAppend(r, at, geo)
	case r.Kind == seg.KindTrim:
		err = s.applyTrim(r)
	case r.Kind == seg.KindLimits:
		err = s.applyLimits(r)
	case r.Kind == seg.KindSweep:
		err = s.applySweep(r)
	case r.Kind == seg.KindGroupMoves:
		err = s.applyMoves(r)
	case r.Kind == seg.KindTables:
		err = s.applyTables(r)
	case r.Kind == seg.KindKeepCheckpoint:
		err = s.applyKeepCheckpoint(r)
	case r.Kind == seg.KindArchived:
		err = s.applyArchived(r)
	case r.Kind == seg.KindPruned:
		err = s.applyPruned(r)
	case r.Kind == seg.KindRestoreTenant:
		err = s.applyRestoreTenant(r)
	case r.Kind.Act():
		err = s.applyAct(r, at, geo)
	default:
		err = fmt.Errorf("%w: unknown kind %d", errMisfit, r.Kind)
	}
	if err != nil {
		return fmt.Errorf("entry %d: %w", r.LSN, err)
	}
	s.lsn = r.LSN
	return nil
}

// skip notes that the log has a hole: the entries before an LSN are gone. Whatever tenant may have had an entry there
// takes no more writes, until a later entry of its own proves that it missed none.
func (s *state) skip(next seg.LSN) {
	s.lastStream += wire.StreamID(next - 1 - s.lsn) // each of them may have made a stream
	s.lsn, s.holed = next-1, true
	for _, t := range s.order {
		if t.health == arriving {
			o := *t.origin
			o.holed, t.origin = true, &o
			continue
		}
		t.health = max(t.health, doubtful)
	}
}

// advance counts an entry of a tenant's log. After a hole a jump of the position shows that entries are lost, and an
// unbroken one that none are.
func (s *state) advance(r *seg.Record) (*tenant, error) {
	t := s.tenants[r.Tenant]
	if t == nil && s.holed {
		t = &tenant{id: r.Tenant, name: recoveredName(uint64(r.Tenant)), created: r.Commit}
		s.newTenant(t)
	}
	switch {
	case t == nil:
		return nil, fmt.Errorf("%w: tenant %d is unknown", errMisfit, r.Tenant)
	case r.Position == t.position+1 && t.health == doubtful:
		t.health = sound
	case r.Position > t.position+1 && s.holed:
		t.health = holed
	case r.Position != t.position+1:
		return nil, fmt.Errorf("%w: position %d of tenant %d after %d", errMisfit, r.Position, r.Tenant, t.position)
	}
	t.position, t.commit, t.lsn = r.Position, r.Commit, r.LSN
	return t, nil
}

// known finds the stream that an entry of a tenant is about. One whose making a hole has swallowed is put in its place,
// so that what was written later can be read.
func (s *state) known(r *seg.Record, t *tenant) (*stream, error) {
	x := s.streams[r.Stream]
	if x == nil && r.Stream == sqlStream(t.id) {
		x = newSystemStream(t, r.Stream, sqlName, r.Commit, r.LSN)
		s.addStream(x)
	} else if x == nil && s.holed {
		x = &stream{id: r.Stream, tenant: t, name: recoveredName(uint64(r.Stream)), created: r.Commit}
		s.addStream(x)
	}
	if x == nil || x.tenant != t {
		return nil, fmt.Errorf("%w: stream %d is unknown", errMisfit, r.Stream)
	}
	return x, nil
}

// recoveredName is the name of what has lost its beginning in a hole.
func recoveredName(id uint64) string { return fmt.Sprintf("$recovered-%d", id) }

// findTenant returns where a tenant's id is, or would be, in the ascending order.
func (s *state) findTenant(id wire.TenantID) int {
	return sort.Search(len(s.order), func(i int) bool { return s.order[i].id >= id })
}

// after returns the index of the first of a tenant's streams with a greater id.
func (t *tenant) after(id wire.StreamID) int {
	return sort.Search(len(t.streams), func(i int) bool { return t.streams[i].id > id })
}

// stream finds a stream of the tenant by name, ignoring ASCII case.
func (t *tenant) stream(name string) *stream { return t.names[wire.Fold(name)] }

// locate returns the index entries that hold the events from an offset on, which is below the head.
func (s *stream) locate(from wire.Offset) []entry {
	i := sort.Search(len(s.index), func(i int) bool { return s.index[i].first > from })
	if i == 0 {
		return s.index // the events at from are lost; what follows comes first
	}
	return s.index[i-1:]
}

// lostAt returns the lost range that holds an offset, if one does.
func (s *stream) lostAt(o wire.Offset) (span, bool) {
	i := sort.Search(len(s.lost), func(i int) bool { return s.lost[i].to > o })
	if i < len(s.lost) && s.lost[i].from <= o {
		return s.lost[i], true
	}
	return span{}, false
}
