package engine_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/kimberlitedb/kimberlite-go/engine"
	"github.com/kimberlitedb/kimberlite-go/wire"
	"pgregory.net/rapid"
)

// team is a rig with members of a consumer group, beside a dumb model of who has what.
type team struct {
	*rig
	stream   wire.StreamID
	events   int
	members  map[engine.ConnID]*mate
	conn     engine.ConnID
	acked    map[wire.Offset]bool
	parked   map[wire.Offset]bool
	attempt  map[wire.Offset]uint32 // of the last delivery
	key      func(wire.Offset) string
	replayed map[wire.Offset]bool // were parked before
	doubts   []wire.Offset        // events that must be parked, since a later one of their key is delivered
}

// mate is a member, alone on its connection.
type mate struct {
	sub  wire.SubscriptionID
	held map[wire.DeliveryID]wire.Offset
}

func (m *mate) ids() (ids []wire.DeliveryID) {
	for id := range m.held {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

const teamName = "g"

func newTeam(t *rapid.T, cfg engine.Config, order wire.OrderKey) *team {
	x := &team{
		rig: newRig(t, cfg), members: map[engine.ConnID]*mate{}, acked: map[wire.Offset]bool{}, parked: map[wire.Offset]bool{},
		attempt: map[wire.Offset]uint32{}, replayed: map[wire.Offset]bool{},
	}
	x.rig.pushed = x.push
	x.call(1, &wire.CreateTenant{Name: "tenant"})
	x.stream = x.create(1, "a")
	x.key = func(o wire.Offset) string { return "" }
	if order.Kind != wire.OrderNone {
		x.key = func(o wire.Offset) string { return fmt.Sprint(o * o % 3) }
	}
	settings := wire.GroupSettings{
		MaxAttempts: wire.Some(rapid.Uint32Range(1, 4).Draw(t, "attempts")), MaxAckPending: wire.Some(rapid.Uint32Range(1, 12).Draw(t, "pending")),
		LookAhead: wire.Some(rapid.Uint32Range(1, 30).Draw(t, "ahead")), Order: wire.Some(order),
	}
	if b, bad := x.call(1, &wire.CreateGroup{Stream: x.stream, Name: teamName, Settings: settings}).(*wire.Error); bad {
		t.Fatal(b.Message)
	}
	return x
}

// push judges what a member is sent.
func (x *team) push(p *engine.Push) {
	b, ok := p.Msg.Body.(*wire.GroupEvents)
	if !ok {
		return
	}
	m := x.members[p.Conn]
	for _, d := range b.Deliveries {
		o := d.Event.Decode().Offset
		if x.acked[o] || x.parked[o] {
			x.t.Fatalf("event %d is delivered after it was settled", o)
		}
		if d.Attempt <= x.attempt[o] {
			x.t.Fatalf("event %d is delivered as attempt %d after %d", o, d.Attempt, x.attempt[o])
		}
		x.attempt[o] = d.Attempt
		for conn, other := range x.members {
			for id, held := range other.held {
				if held == o || x.key(o) != "" && x.key(held) == x.key(o) && held != o {
					x.t.Fatalf("event %d is delivered to %d while connection %d has event %d as delivery %d", o, p.Conn, conn, held, id)
				}
			}
		}
		for earlier := range o {
			if k := x.key(o); k != "" && x.key(earlier) == k && !x.acked[earlier] && !x.replayed[earlier] {
				x.doubts = append(x.doubts, earlier)
			}
		}
		m.held[d.ID] = o
	}
}

func (x *team) from(conn engine.ConnID, b wire.RequestBody) wire.ResponseBody {
	x.seq++
	x.last = nil
	x.step(&engine.Request{Conn: conn, Seq: x.seq, Msg: &wire.Request{ID: x.seq, Tenant: 1, Body: b, Features: wire.Features{RichEvents: true}.In(3)}})
	x.step(engine.EndBatch{})
	if x.last == nil || x.last.Seq != x.seq {
		x.t.Fatalf("no reply to %T", b)
	}
	return x.last.Msg.Body
}

func (x *team) join(credit uint64) {
	x.conn++
	m := &mate{held: map[wire.DeliveryID]wire.Offset{}}
	x.members[x.conn] = m
	r, ok := x.from(x.conn, &wire.Subscribe{Stream: x.stream, Group: wire.Some(teamName), CreditEvents: credit, CreditBytes: 1 << 30}).(*wire.SubscribeReply)
	if !ok {
		x.t.Fatalf("subscribe: %v", x.last.Msg.Body)
	}
	m.sub = r.Subscription
}

func (x *team) any(t *rapid.T) (engine.ConnID, *mate) {
	var list []engine.ConnID
	for c := range x.members {
		list = append(list, c)
	}
	if len(list) == 0 {
		t.Skip("nobody is there")
	}
	slices.Sort(list)
	c := rapid.SampledFrom(list).Draw(t, "member")
	return c, x.members[c]
}

// some returns deliveries that a member holds.
func (m *mate) some(t *rapid.T) []wire.DeliveryID {
	ids := m.ids()
	if len(ids) == 0 {
		t.Skip("it holds nothing")
	}
	at := rapid.IntRange(0, len(ids)-1).Draw(t, "at")
	return ids[at:rapid.IntRange(at+1, len(ids)).Draw(t, "to")]
}

// learn looks at what is parked.
func (x *team) learn() {
	b := x.from(0, &wire.Parked{Stream: x.stream, Name: teamName}).(*wire.ParkedReply)
	for _, e := range b.Events {
		x.parked[e.Offset] = true
	}
	for _, o := range x.doubts {
		if !x.parked[o] {
			x.t.Fatalf("event %d is not parked, and a later one of its key was delivered", o)
		}
	}
	x.doubts = nil
}

func (x *team) append(t *rapid.T) {
	b := &wire.AppendEvents{Stream: x.stream}
	for range rapid.IntRange(1, 6).Draw(t, "events") {
		b.Events = append(b.Events, fmt.Appendf(nil, `{"n":%d,"k":{"v":%s}}`, x.events, fmt.Sprint(x.events*x.events%3)))
		x.events++
	}
	x.from(0, b)
}

func (x *team) ack(t *rapid.T) {
	c, m := x.any(t)
	ids := m.some(t)
	cumulative := rapid.IntRange(0, 3).Draw(t, "cumulative") == 0
	if cumulative {
		ids = m.ids()[:slices.Index(m.ids(), ids[len(ids)-1])+1]
	}
	named := ids
	if cumulative {
		named = ids[len(ids)-1:]
	}
	x.settle(m, ids)
	r := x.from(c, &wire.Ack{Subscription: m.sub, Deliveries: named, Cumulative: cumulative})
	b, ok := r.(*wire.AckReply)
	if !ok || int(b.Acked) != len(ids) || len(b.Stale) > 0 {
		t.Fatalf("%d deliveries are acknowledged: %+v", len(ids), r)
	}
}

// settle notes that deliveries are about to be acknowledged: what follows from it may come before the reply.
func (x *team) settle(m *mate, ids []wire.DeliveryID) {
	for _, id := range ids {
		x.acked[m.held[id]] = true
		delete(m.held, id)
	}
}

func (x *team) nack(t *rapid.T) {
	c, m := x.any(t)
	ids := m.some(t)
	delay, park := rapid.SampledFrom([]uint64{0, 700}).Draw(t, "delay"), rapid.IntRange(0, 9).Draw(t, "park") == 0
	held := map[wire.DeliveryID]wire.Offset{}
	for _, id := range ids {
		held[id] = m.held[id]
		delete(m.held, id) // before it comes again
	}
	if b, ok := x.from(c, &wire.Nack{Subscription: m.sub, Deliveries: ids, Delay: delay, Park: park}).(*wire.NackReply); !ok || len(b.Stale) > 0 {
		t.Fatalf("%v is given back: %+v", held, x.last.Msg.Body)
	}
	x.learn()
}

// replay has all that is parked delivered again.
func (x *team) replay() {
	x.learn()
	for o := range x.parked {
		delete(x.attempt, o)
		x.replayed[o] = true
	}
	parked := len(x.parked)
	clear(x.parked)
	b := x.from(0, &wire.Parked{Stream: x.stream, Name: teamName, Action: wire.ParkedReplay}).(*wire.ParkedReply)
	if int(b.Changed) != parked {
		x.t.Fatalf("%d events are replayed of %d", b.Changed, parked)
	}
}

func (x *team) restart() {
	x.mark()
	x.members, x.conn = map[engine.ConnID]*mate{}, x.conn+1
	before := x.m.Hash()
	if err := x.open(); err != nil {
		x.t.Fatal(err)
	}
	if x.m.Hash() != before {
		x.t.Fatal("the state is another one after a restart")
	}
	x.step(engine.Tick{})
}

func testTeam(t *rapid.T, order wire.OrderKey) {
	cfg := smallConfig()
	cfg.Cache = rapid.SampledFrom([]int{1 << 10, 1 << 20}).Draw(t, "cache")
	cfg.SealBlock = rapid.SampledFrom([]int{0, 1 << 10}).Draw(t, "seal")
	x := newTeam(t, cfg, order)
	t.Repeat(map[string]func(*rapid.T){
		"append": x.append,
		"ack":    x.ack,
		"nack":   x.nack,
		"join": func(t *rapid.T) {
			if len(x.members) < 4 {
				x.join(rapid.Uint64Range(0, 20).Draw(t, "credit"))
			}
		},
		"grant": func(t *rapid.T) {
			c, m := x.any(t)
			x.from(c, &wire.Credit{Subscription: m.sub, Events: rapid.Uint64Range(1, 20).Draw(t, "credit")})
		},
		"hang up": func(t *rapid.T) {
			c, _ := x.any(t)
			delete(x.members, c)
			x.step(engine.Hangup{Conn: c})
			x.learn()
		},
		"wait": func(t *rapid.T) {
			x.now.Mono += wire.Time(engine.Second)
			x.now.Wall += wire.Time(engine.Second)
			x.step(engine.Tick{})
		},
		"restart": func(t *rapid.T) { x.restart() },
		"replay":  func(*rapid.T) { x.replay() },
		"":        func(*rapid.T) { x.learn() },
	})
	x.finish(t)
}

// finish has one member acknowledge all there is.
func (x *team) finish(t *rapid.T) {
	for c := range x.members {
		delete(x.members, c)
		x.step(engine.Hangup{Conn: c})
	}
	x.learn()
	x.join(1 << 30)
	m := x.members[x.conn]
	for range 2*x.events + 10 {
		x.now.Mono += wire.Time(engine.Second)
		x.step(engine.Tick{})
		if ids := m.ids(); len(ids) > 0 {
			x.settle(m, ids)
			x.from(x.conn, &wire.Ack{Subscription: m.sub, Deliveries: ids})
		}
	}
	x.learn()
	info := x.from(0, &wire.GroupInfo{Stream: x.stream, Name: teamName}).(*wire.GroupInfoReply).Info
	if info.Floor != wire.Offset(x.events) || info.Lag != 0 || info.Pending != 0 || int(info.Parked) != len(x.parked) {
		t.Fatalf("in the end the group is %+v, with %d events, %d parked", info, x.events, len(x.parked))
	}
	for o := range wire.Offset(x.events) {
		if x.acked[o] == x.parked[o] {
			t.Fatalf("event %d is acknowledged: %t, parked: %t", o, x.acked[o], x.parked[o])
		}
	}
}

// Each event has one owner at a time, comes again with a greater attempt, and is settled in the end, over restarts.
func TestGroupSettlesEveryEventOnce(t *testing.T) {
	for name, order := range map[string]wire.OrderKey{
		"in no order": {}, "by a value": {Kind: wire.OrderJSON, Path: "/k/v"},
	} {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) { testTeam(t, order) })
		})
	}
}

// A key is the value as JSON has it, whatever it is written like.
func TestOrderKeysOfJSON(t *testing.T) {
	r := newRig(t, smallConfig())
	stream := r.create(1, "a")
	data := []string{
		`{"k":1}`, `none`, `{"k":"1"}`, `{"k":1.0}`, `{"k":1}`, `{"k":null}`, `{"j":{"k":1}}`, `{"k":"\u0031"}`, `{"k":{"b":1,"a":2}}`,
		`{"k":{"a":2, "b":1}}`, `[{"k":1}]`, ``, `{"k":""}`, `{"k":""}`,
	}
	r.append(1, stream, data...)
	r.call(1, &wire.CreateGroup{Stream: stream, Name: "g", Settings: wire.GroupSettings{Order: wire.Some(wire.OrderKey{Kind: wire.OrderJSON, Path: "/k"})}})
	var got []wire.Offset
	r.pushed = func(p *engine.Push) {
		for _, d := range p.Msg.Body.(*wire.GroupEvents).Deliveries {
			got = append(got, d.Event.Decode().Offset)
		}
	}
	r.ask(&wire.Request{Tenant: 1, Features: wire.Features{}.In(3), Body: &wire.Subscribe{
		Stream: stream, Group: wire.Some("g"), CreditEvents: 100, CreditBytes: 1 << 20,
	}})
	r.step(engine.EndBatch{})
	if want := []wire.Offset{0, 1, 2, 3, 5, 6, 8, 10, 11, 12}; !slices.Equal(got, want) {
		t.Errorf("delivered at once: %v, want %v", got, want)
	}
}
