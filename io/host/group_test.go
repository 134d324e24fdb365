package host_test

import (
	"fmt"
	"maps"
	"testing"

	"github.com/kimberlitedb/kimberlite-go/wire"
)

// deliveries returns the next deliveries to a member, of which there are n.
func (p *peer) deliveries(n int) (list []wire.Delivery) {
	p.t.Helper()
	for len(list) < n {
		push, ok := p.nextMessage().(*wire.Push)
		if !ok {
			p.t.Fatalf("%+v, and %d deliveries are due", p.last, n-len(list))
		}
		list = append(list, push.Body.(*wire.GroupEvents).Deliveries...)
	}
	return list
}

func (p *peer) join(group string, credit uint64) wire.SubscriptionID {
	p.t.Helper()
	p.upgrade(3)
	r, ok := p.call(&wire.Subscribe{Stream: 1, Group: wire.Some(group), CreditEvents: credit, CreditBytes: 1 << 20}).(*wire.SubscribeReply)
	if !ok {
		p.t.Fatalf("%+v", p.last)
	}
	return r.Subscription
}

// A server that is stopped leaves exactly what its clients know: what was acknowledged stays so, what a member had counts
// as a failed attempt, and what nobody had does not.
func TestGroupOverAStop(t *testing.T) {
	dir := t.TempDir()
	h := start(t, dir)
	p := connect(t, h)
	p.call(&wire.CreateStream{Name: "a"})
	for i := range 10 {
		p.call(&wire.AppendEvents{Stream: 1, Events: [][]byte{fmt.Appendf(nil, "event %d", i)}})
	}
	p.call(&wire.CreateGroup{Stream: 1, Name: "g"})
	m := connect(t, h)
	sub := m.join("g", 4)
	got := m.deliveries(4)
	if r, ok := m.call(&wire.Ack{Subscription: sub, Deliveries: []wire.DeliveryID{got[1].ID}}).(*wire.AckReply); !ok || r.Acked != 1 {
		t.Fatalf("%+v", m.last)
	}
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}

	h = start(t, dir)
	defer h.Close()
	m = connect(t, h)
	m.join("g", 100)
	attempts := map[wire.Offset]uint32{}
	for _, d := range m.deliveries(9) {
		attempts[d.Event.Decode().Offset] = d.Attempt
	}
	want := map[wire.Offset]uint32{0: 2, 2: 2, 3: 2, 4: 1, 5: 1, 6: 1, 7: 1, 8: 1, 9: 1}
	if !maps.Equal(attempts, want) {
		t.Errorf("the attempts are %v, want %v", attempts, want)
	}
}
