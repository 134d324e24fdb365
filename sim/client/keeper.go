package client

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/kimberlitedb/kimberlite-go/sim/check"
	"github.com/kimberlitedb/kimberlite-go/sim/network"
	"github.com/kimberlitedb/kimberlite-go/sim/plan"
	"github.com/kimberlitedb/kimberlite-go/sim/rng"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// Keeper is a client that has a tenant and its streams to itself, and lets them live: it makes and deletes streams, changes
// retention, sets holds, appends with keys, reads in every way. It asks for one thing at a time, so that it knows exactly
// what must be there; where a reply is lost, it looks. What the engine clock shows it asks before and after.
type Keeper struct {
	world  World
	suite  *check.Suite
	rand   *rng.Rand
	index  int
	config *plan.Config
	left   int // operations to come

	link     *keeperLink
	dialing  bool
	made     bool      // the tenant is
	pending  *deed     // under way, or of unknown outcome
	streams  []*kept   // all that ever were
	acts     []string  // what the audit stream must say
	purges   int       // of them, how many streams were seen to be purged
	order    []*kept   // streams of keyed appends, oldest first, one element for each
	clock    wire.Time // the latest that was told
	logged   wire.Time // the latest commit time that was told: no crash takes the clock back before it
	wall     wire.Time // the server's wall clock, then
	doubted  bool      // and it was not believed
	finishes bool      // it does no more but for the end
	parting  int       // how far the farewell has got
	expires  wire.Time // when what the farewell has appended last does
	ending   int       // how far the last look has got
	audited  audited
	count    int // of appends
	stopped  bool
}

// kept is a stream of a keeper.
type kept struct {
	id      wire.StreamID
	name    string
	events  []wire.Event
	oldest  int // as far as somebody was told
	cut     int // as far as it may have gone on before the last change of what it goes by
	days    wire.Option[uint32]
	least   uint32
	holds   []string
	deleted bool
	purge   wire.Time
	purged  bool
	keys    []keptKey
}

// keptKey is a keyed append that was acknowledged.
type keptKey struct {
	key   wire.Key
	body  string
	reply wire.AppendEventsReply
}

// deed is one operation of a keeper: a request between two looks at the clock.
type deed struct {
	x      *kept
	body   wire.RequestBody
	from   wire.Time // the engine clock before it was decided
	to     wire.Time // and after
	reply  wire.ResponseBody
	unsure bool             // it was sent before, and nobody knows whether it happened
	began  wire.Time        // the engine clock when it was first decided, or earlier
	before wire.RequestBody // sent just before; what it finds out is not judged, but for its code
	follow wire.RequestBody // sent just behind
}

// audited is how far a keeper has read its audit stream.
type audited struct {
	next wire.Offset
	prev string
	acts []string
	more int // events of other kinds
}

// keeperLink is one connection of a keeper. It implements network.End.
type keeperLink struct {
	sender
	k       *Keeper
	session *wire.ClientSession
	waiting []func(wire.ResponseBody) // for replies, in order
	next    uint64
	plain   bool
	heard   int64
}

// KeeperTenant is the keeper's own.
const KeeperTenant wire.TenantID = 1000

// keeperAudit is its audit stream.
const keeperAudit = 1<<63 | wire.StreamID(KeeperTenant)

// NewKeeper returns a keeper with so many operations to do.
func NewKeeper(w World, s *check.Suite, source rng.Source, index int, config *plan.Config) *Keeper {
	return &Keeper{
		world: w, suite: s, rand: source.Stream("keeper"), index: index, config: config, left: config.Keeper,
		audited: audited{prev: fmt.Sprintf("%064x", 0)}, stopped: config.Keeper == 0,
	}
}

// Finish has the keeper do no more than to write its farewell, and to look at everything once.
func (k *Keeper) Finish() {
	k.left, k.finishes = 0, true
	k.later()
}

// Idle reports whether the keeper has done all that it has to.
func (k *Keeper) Idle() bool {
	return k.stopped || k.finishes && k.pending == nil && k.ending > len(k.streams)+1
}

// Removed returns the data of the events that are known to be gone: those of streams that are purged, and those that
// retention has cut off, up to the oldest offset that the keeper was told or that the log has. What was appended once more,
// after its key was forgotten, is gone when all of it is.
func (k *Keeper) Removed(oldest func(wire.StreamID) wire.Offset) (purged, expired [][]byte) {
	there := map[string]bool{}
	for _, x := range k.streams {
		x.oldest = max(x.oldest, int(oldest(x.id)))
		for i, e := range x.events {
			there[string(e.Data)] = there[string(e.Data)] || !x.purged && i >= x.oldest
		}
	}
	for _, x := range k.streams {
		for _, e := range x.events {
			if there[string(e.Data)] {
				continue
			}
			if x.purged {
				purged = append(purged, e.Data)
			} else {
				expired = append(expired, e.Data)
			}
		}
	}
	return purged, expired
}

// knows reports whether what the keeper remembers is what is there: not once the log has lost some of it.
func (k *Keeper) knows() bool { return !k.stopped && !k.suite.Holes }

// Leave hangs up.
func (k *Keeper) Leave() {
	k.stopped = true
	if l := k.link; l != nil {
		l.conn.Finish(network.Client)
		l.drop()
	}
}

// day is how long a day of retention lasts.
func (k *Keeper) day() wire.Time { return wire.Time(k.config.Day) }

// Pump does the next thing.
func (k *Keeper) Pump() {
	if k.Idle() || k.left == 0 && k.pending == nil && !k.finishes {
		return
	}
	if k.suite.Holes { // what is lost with the log nobody can keep
		k.Leave()
		return
	}
	l := k.link
	if l == nil {
		k.dial()
		return
	}
	if len(l.waiting) > 0 {
		return
	}
	if !k.made {
		l.ask(&wire.CreateTenant{Name: "keeper"}, func(b wire.ResponseBody) {
			if _, ok := b.(*wire.CreateTenantReply); ok {
				k.made = true
				k.acts = append(k.acts, "tenant.create")
			}
			k.later()
		})
		return
	}
	if k.pending == nil {
		k.pending = k.draw()
		k.pending.began = k.logged
	}
	k.send(l, k.pending)
}

// later goes on after a while.
func (k *Keeper) later() {
	k.world.After(k.rand.Log(1_000, 2_000_000_000), k.Pump)
}

func (k *Keeper) dial() {
	if k.dialing {
		return
	}
	k.dialing = true
	l := &keeperLink{k: k, session: wire.NewClientSession(wire.Alone()), plain: k.rand.N(8) == 0, heard: k.world.Now()}
	k.world.Dial(k.index, l, func(conn *network.Conn) {
		k.dialing = false
		if conn == nil || k.stopped {
			k.later()
			return
		}
		l.conn, k.link = conn, l
		f := wire.Features{RichEvents: !l.plain, ExtendedErrors: true}
		l.ask(&wire.Handshake{ClientVersion: 1, Capabilities: f.Capabilities()}, func(wire.ResponseBody) {
			l.session.SetFeatures(f)
			k.Pump()
		})
		l.watch()
	})
}

// send asks for a deed, and for the clock before and after. One of unknown outcome is looked into first, unless its key
// says what happened.
func (k *Keeper) send(l *keeperLink, d *deed) {
	if d.x == nil {
		d.unsure = false // nothing of it stays
	}
	if _, keyed := d.body.(*wire.AppendEvents); d.unsure && !keyed {
		look := &wire.StreamInfo{Stream: d.x.id}
		if d.x.id == 0 {
			look.Name = d.x.name
		}
		l.ask(look, func(b wire.ResponseBody) { k.settle(d, b) })
		return
	}
	told := func(at *wire.Time) func(wire.ResponseBody) {
		return func(b wire.ResponseBody) {
			if c, ok := b.(*wire.ClockReply); ok {
				*at = c.Now
				k.clock, k.wall, k.doubted = max(k.clock, c.Now), c.Wall, !c.Trusted
			}
		}
	}
	first := !d.unsure
	l.ask(&wire.Clock{}, func(b wire.ResponseBody) {
		told(&d.from)(b)
		if first {
			d.began = max(d.began, d.from)
		}
	})
	if d.before != nil {
		l.ask(d.before, k.overtaken)
	}
	l.ask(d.body, func(b wire.ResponseBody) { d.reply = b })
	second := &deed{x: d.x, body: d.follow}
	if d.follow != nil {
		l.ask(d.follow, func(b wire.ResponseBody) { second.reply = b })
	}
	l.ask(&wire.Clock{}, func(b wire.ResponseBody) {
		told(&d.to)(b)
		k.pending = nil
		if !k.excused(d) {
			k.judge(l, d)
			second.from, second.to, second.began = d.from, d.to, d.from
			if second.body != nil && !k.stopped && !k.excused(second) { // it may come when its key is too old
				k.judge(l, second)
			}
		}
		k.later()
	})
}

// overtaken checks the reply to a read behind which a deletion was sent.
func (k *Keeper) overtaken(b wire.ResponseBody) {
	e, refused := b.(*wire.Error)
	fine := !refused || k.suite.Faulty()
	if refused {
		fine = fine || e.Code == wire.StreamDeleted || e.Code == wire.StreamNotFound || e.Code == wire.InvalidOffset
	}
	k.must(check.Deleted, fine, "a read before a deletion: %+v", b)
}

// excused reports whether a deed has failed for a reason that the faults explain; nothing has happened then. Damage ends
// the keeper's work: what it knows may be gone.
func (k *Keeper) excused(d *deed) bool {
	e, ok := d.reply.(*wire.Error)
	if !ok {
		return false
	}
	switch e.Code {
	case wire.StorageFull, wire.StorageError:
		k.suite.Saw(check.Contract, true)
		if !k.suite.Faulty() {
			k.fail(check.Contract, "%s without any fault: %s", e.Code, e.Message)
		}
		k.again(d)
		return true
	case wire.DataCorrupted:
		if !k.suite.Faulty() {
			k.fail(check.Contract, "%s without any fault: %s", e.Code, e.Message)
		}
		k.Leave()
		return true
	}
	return false
}

// again keeps a keyed append that may have happened before, or that was sent twice, until that is known.
func (k *Keeper) again(d *deed) {
	if d.follow != nil {
		d.unsure, d.follow = true, nil
	}
	if d.unsure {
		k.pending = d
	}
}

func (k *Keeper) fail(rule check.Invariant, format string, args ...any) {
	k.suite.Fail(rule, "keeper: %s", fmt.Sprintf(format, args...))
}

// must counts an evaluation of a rule and fails unless ok.
func (k *Keeper) must(rule check.Invariant, ok bool, format string, args ...any) bool {
	k.suite.Saw(rule, true)
	if !ok {
		k.fail(rule, format, args...)
	}
	return ok
}

// ask sends a request.
func (l *keeperLink) ask(b wire.RequestBody, done func(wire.ResponseBody)) {
	if len(l.waiting) == 0 {
		l.heard = l.k.world.Now()
	}
	l.next++
	l.waiting = append(l.waiting, done)
	l.write(wire.AppendRequest(nil, &wire.Request{ID: l.next, Tenant: KeeperTenant, Body: b}, wire.Features{}))
}

// Ready implements network.End.
func (l *keeperLink) Ready() bool { return true }

// Data implements network.End.
func (l *keeperLink) Data(p []byte) {
	k := l.k
	l.heard = k.world.Now()
	replies, err := l.session.Feed(p, nil)
	for _, r := range replies {
		if k.suite.Failed != nil || l.gone || len(l.waiting) == 0 {
			return
		}
		done := l.waiting[0]
		l.waiting = l.waiting[1:]
		done(r.(*wire.Response).Body)
	}
	if err != nil {
		l.conn.Abort(network.Client)
		l.Hangup()
	}
}

// Hangup implements network.End. What is still under way to the server is lost: a request that came behind the look at what
// has become of it would be one more thing at a time.
func (l *keeperLink) Hangup() {
	if !l.gone {
		l.conn.Abort(network.Client)
		l.drop()
		l.k.later()
	}
}

func (l *keeperLink) drop() {
	k := l.k
	l.gone = true
	if k.link == l {
		k.link = nil
	}
	if d := k.pending; d != nil && len(l.waiting) > 0 {
		d.unsure, d.reply = true, nil
	}
	l.waiting = nil
}

// watch hangs up on a server that has nothing to say.
func (l *keeperLink) watch() {
	k := l.k
	k.world.After(patience/3, func() {
		switch {
		case l.gone:
		case len(l.waiting) > 0 && k.world.Now()-l.heard > patience:
			l.conn.Abort(network.Client)
			l.Hangup()
		default:
			l.watch()
		}
	})
}

// draw chooses the next deed. In the end every stream is looked at, and then the audit stream.
func (k *Keeper) draw() *deed {
	if k.left == 0 {
		if d := k.farewell(); d != nil {
			return d
		}
		k.ending++
		switch {
		case k.ending <= len(k.streams):
			return &deed{x: k.streams[k.ending-1], body: &wire.ReadEvents{Stream: k.streams[k.ending-1].id, MaxBytes: 1 << 20}}
		case k.ending == len(k.streams)+1:
			return &deed{body: &wire.VerifyAudit{}}
		}
		return &deed{body: k.auditRead()}
	}
	k.left--
	r := k.rand
	if k.doubted && r.N(4) == 0 {
		return &deed{body: &wire.ConfirmClock{Wall: k.wall}}
	}
	if len(k.streams) == 0 || r.N(8) == 0 {
		return k.drawCreate()
	}
	x := k.streams[r.N(len(k.streams))]
	if r.N(4) > 0 { // mostly one that may still be there
		x = k.streams[len(k.streams)-1-r.N(min(3, len(k.streams)))]
	}
	switch r.N(24) {
	case 0, 1:
		b := &wire.DeleteStream{Stream: x.id}
		if r.N(4) > 0 {
			b.RetentionOverride = wire.Some(uint32(r.N(4)))
		}
		d := &deed{x: x, body: b}
		if r.Coin() {
			d.before = &wire.ReadEvents{Stream: x.id, MaxBytes: 1 << 12}
		}
		return d
	case 2, 3:
		return &deed{x: x, body: &wire.UndeleteStream{Stream: x.id}}
	case 4, 5:
		b := &wire.SetRetention{Stream: x.id}
		if r.N(4) > 0 {
			b.Days = wire.Some(uint32(1 + r.N(10)))
		}
		if r.N(4) == 0 {
			b.MinDays = wire.Some(uint32(r.N(3)))
		}
		return &deed{x: x, body: b}
	case 6:
		return &deed{x: x, body: &wire.SetHold{Stream: x.id, Name: fmt.Sprintf("hold-%d", r.N(2)), Reason: "because"}}
	case 7, 8:
		return &deed{x: x, body: &wire.ReleaseHold{Stream: x.id, Name: fmt.Sprintf("hold-%d", r.N(2))}}
	case 9, 10:
		return &deed{x: x, body: &wire.StreamInfo{Stream: x.id}}
	case 11:
		return &deed{body: &wire.VerifyAudit{}}
	case 12:
		return &deed{body: &wire.AppendEvents{Stream: keeperAudit, Events: [][]byte{{1}}}}
	case 13, 14, 15, 16, 17:
		return k.drawAppend(x)
	}
	return k.drawRead(x)
}

func (k *Keeper) drawCreate() *deed {
	x := &kept{name: fmt.Sprintf("Keep-%d", k.rand.N(4))}
	b := &wire.CreateStream{Name: x.name}
	if k.rand.Coin() {
		x.days = wire.Some(uint32(1 + k.rand.N(10)))
		b.RetentionDays = x.days
	}
	return &deed{x: x, body: b}
}

// drawAppend draws a keyed append: a new one, or one that is known already, or known with other content.
func (k *Keeper) drawAppend(x *kept) *deed {
	r := k.rand
	k.count++
	b := &wire.AppendEvents{Stream: x.id, IdempotencyKey: k.key()}
	b.Timestamps.Set = true
	for i := range 1 + r.N(min(3, k.config.MaxBatchEvents)) {
		b.Events = append(b.Events, k.data(i))
		b.Timestamps.Value = append(b.Timestamps.Value, k.drawTime(x))
	}
	if r.N(3) == 0 && len(x.keys) > 0 {
		old := x.keys[r.N(len(x.keys))]
		b.IdempotencyKey.Value = old.key
		if r.Coin() {
			return &deed{x: x, body: b}
		}
		b.Events, b.Timestamps.Value = nil, nil
		for _, e := range x.events[old.reply.FirstOffset:][:old.reply.Count] {
			b.Events, b.Timestamps.Value = append(b.Events, e.Data), append(b.Timestamps.Value, e.Timestamp)
		}
	}
	d := &deed{x: x, body: b}
	if r.N(4) == 0 {
		d.follow = b
	}
	return d
}

// key returns the key of the present append.
func (k *Keeper) key() wire.Option[wire.Key] {
	return wire.Some(wire.Key{byte(k.count), byte(k.count >> 8), 1})
}

// data returns what an event of the present append has, to be found in files.
func (k *Keeper) data(i int) []byte {
	return fmt.Appendf(nil, "%d.%d.%08x", k.count, i, uint32(k.rand.Uint64()))
}

// drawTime draws an event time: so many days ago, or one that expires when retention sees the clock next, or then.
func (k *Keeper) drawTime(x *kept) wire.Time {
	r := k.rand
	if grain := wire.Time(k.config.Grain); x.days.Set && r.N(3) == 0 {
		return (k.clock/grain+wire.Time(r.N(4)))*grain - wire.Time(x.days.Value)*k.day()
	}
	return k.clock - wire.Time(r.N(12))*k.day()
}

func (k *Keeper) drawRead(x *kept) *deed {
	r := k.rand
	b := &wire.ReadEvents{Stream: x.id, FromOffset: wire.Offset(r.N(len(x.events) + 2)), MaxBytes: uint64(r.Log(1, 1<<12)), Backward: r.N(3) == 0}
	if r.N(3) == 0 {
		b.FromOffset = 0
	}
	if r.N(4) == 0 {
		b.MaxEvents = wire.Some(uint32(r.N(5)))
	}
	if r.N(3) == 0 {
		b.FromTimestamp = wire.Some(k.clock - wire.Time(r.N(12))*k.day())
		if len(x.events) > 0 && r.Coin() {
			b.FromTimestamp.Value = x.events[r.N(len(x.events))].Timestamp
		}
	}
	return &deed{x: x, body: b}
}

func (k *Keeper) auditRead() *wire.ReadEvents {
	return &wire.ReadEvents{Stream: keeperAudit, FromOffset: k.audited.next, MaxBytes: 1 << 14}
}

// content is what a key stands for.
func content(b *wire.AppendEvents) string { return fmt.Sprint(b.Events, b.Timestamps.Value) }

// tell notes an act that has happened.
func (k *Keeper) tell(verb string, x *kept) { k.acts = append(k.acts, verb+" "+x.name) }

// gone notes that a stream is purged.
func (k *Keeper) gone(x *kept) {
	if !x.purged {
		k.purges++
	}
	x.purged, x.deleted, x.holds, x.keys = true, true, nil, nil
	k.order = slices.DeleteFunc(k.order, func(y *kept) bool { return y == x })
}

// chain takes up a part of the audit stream.
func (k *Keeper) chain(b *wire.ReadEventsReply) {
	a := &k.audited
	for e := range b.Events.All {
		var act struct {
			Seq    uint64
			Act    string
			Stream string
			Prev   string
		}
		err := json.Unmarshal(e.Data, &act)
		if !k.must(check.Audit, err == nil && act.Prev == a.prev && act.Seq == uint64(a.next), "audit event %d is %s, behind %s", a.next, e.Data, a.prev) {
			return
		}
		a.prev, a.next = fmt.Sprintf("%x", sha256.Sum256(e.Data)), a.next+1
		switch act.Act {
		case "stream.purge":
			a.more++
		case "access.refused", "checkpoint.create", "checkpoint.delete", "checkpoint.archive": // of others
		case "tenant.create":
			a.acts = append(a.acts, act.Act)
		default:
			a.acts = append(a.acts, act.Act+" "+act.Stream)
		}
	}
	if a.next < b.HeadOffset && b.Events.Count > 0 {
		k.ending-- // read on
		return
	}
	if n := len(k.acts); n > 0 && len(a.acts) > 0 && k.acts[0] != a.acts[0] {
		k.fail(check.Audit, "the first act is %s, not %s", a.acts[0], k.acts[0])
	}
	k.must(check.Audit, slices.Equal(a.acts, k.acts), "the audit stream tells of %v, and what happened is %v", a.acts, k.acts)
	k.must(check.Audit, a.more >= k.purges, "the audit stream tells of %d purges, and %d were seen", a.more, k.purges)
}
