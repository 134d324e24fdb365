package client_test

import (
	"testing"

	"github.com/kimberlitedb/kimberlite-go/client"
	"github.com/kimberlitedb/kimberlite-go/wire"
	"pgregory.net/rapid"
)

func TestKeysReadBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		k := client.Key(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "key"))
		if got, err := client.ParseKey(k.String()); err != nil || got != k {
			t.Fatalf("%v comes back as %v, %v", k, got, err)
		}
	})
}

func TestKeysAreUUIDsOrDigits(t *testing.T) {
	for _, c := range []struct {
		text string
		want string // empty where it is refused
	}{
		{"0123456789abcdef0123456789ABCDEF", "0123456789abcdef0123456789abcdef"},
		{"01234567-89ab-cdef-0123-456789abcdef", "0123456789abcdef0123456789abcdef"},
		{"", ""},
		{"1", ""},
		{"0123456789abcdef0123456789abcdeg", ""},
		{"0123456789abcdef0123456789abcdef00", ""},
		{"0123-456789abcdef0123456789abcdef000", ""},
		{"0123456789abcdef01234567-89ab-cdef--", ""},
	} {
		k, err := client.ParseKey(c.text)
		if (err == nil) != (c.want != "") || err == nil && k.String() != c.want {
			t.Errorf("%q is %v, %v", c.text, k, err)
		}
	}
}

// A key is one number in every language; it travels as all numbers do, the least significant byte first.
func TestKeyTravelsAsANumber(t *testing.T) {
	got := make(chan wire.Option[wire.Key], 1)
	f := serve(t, func(_ int, p *peer) {
		r := p.next()
		got <- r.Body.(*wire.AppendEvents).IdempotencyKey
		p.reply(r.ID, &wire.AppendEventsReply{FirstOffset: 4, Count: 1, Timestamp: 9, Position: 7, Duplicate: true})
		p.next()
	})
	c := dial(t, f.addr())
	done, err := c.Append(within(t), 1, [][]byte{nil}, client.IdempotencyKey(client.Key{15: 1, 0: 0xff}))
	if err != nil || !done.Duplicate || done.FirstOffset != 4 || done.Position != 7 {
		t.Errorf("%+v, %v", done, err)
	}
	if k := <-got; k != wire.Some(wire.Key{0: 1, 15: 0xff}) {
		t.Errorf("key is %v", k)
	}
}
