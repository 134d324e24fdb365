package client_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/kimberlitedb/kimberlite-go/client"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// chained makes an audit stream of n events.
func chained(n int) (events [][]byte) {
	var last [sha256.Size]byte
	for i := range n {
		e := fmt.Appendf(nil, `{"seq":%d,"time":"2026-11-23T07:59:12.5Z","act":"hold.set","by":"","from":"127.0.0.1:1","stream":"s","stream_id":7,"detail":{"hold":"h%d"},"prev":"%x"}`, i, i, last)
		events = append(events, e)
		last = sha256.Sum256(e)
	}
	return events
}

// serveAudit is a server with an audit stream, and its own verdict on it.
func serveAudit(t *testing.T, events [][]byte, verdict *wire.VerifyAuditReply) *client.Client {
	s := &stored{events: events}
	f := serve(t, func(_ int, p *peer) {
		for r := p.next(); r != nil; r = p.next() {
			switch b := r.Body.(type) {
			case *wire.VerifyAudit:
				p.reply(r.ID, verdict)
			case *wire.StreamInfo:
				if b.Name != client.AuditStream && b.Stream != 1<<63 {
					t.Errorf("asked for %+v", b)
				}
				p.reply(r.ID, &wire.StreamInfoReply{Info: wire.StreamDescription{Stream: 1 << 63, HeadOffset: wire.Offset(len(events))}})
			case *wire.ReadEvents:
				p.reply(r.ID, s.answer(b))
			}
		}
	})
	return dial(t, f.addr())
}

func hashOf(data []byte) []byte {
	h := sha256.Sum256(data)
	return h[:]
}

func TestCheckAuditFindsTheFirstBreak(t *testing.T) {
	sound := chained(5)
	head := &wire.VerifyAuditReply{Events: 5, Hash: hashOf(sound[4])}
	change := func(i int, old, new string) [][]byte {
		events := slices.Clone(sound)
		events[i] = []byte(strings.Replace(string(events[i]), old, new, 1))
		return events
	}
	for _, test := range []struct {
		name    string
		events  [][]byte
		verdict *wire.VerifyAuditReply
		at      wire.Option[wire.Offset]
		why     string
		count   uint64
	}{
		{"sound", sound, head, wire.Option[wire.Offset]{}, "", 5},
		{"empty", nil, &wire.VerifyAuditReply{}, wire.Option[wire.Offset]{}, "", 0},
		{"grown since the server looked", sound, &wire.VerifyAuditReply{Events: 2, Hash: hashOf(sound[1])}, wire.Option[wire.Offset]{}, "", 5},
		{"an event is changed", change(2, "h2", "hX"), head, wire.Some(wire.Offset(3)), "hash of the event before", 3},
		{"the last event is changed", change(4, "h4", "hX"), head, wire.Some(wire.Offset(4)), "server has kept", 4},
		{"an event is left out", slices.Delete(slices.Clone(sound), 2, 3), head, wire.Some(wire.Offset(2)), "says that it is event 3", 2},
		{"the end is cut off", sound[:4], head, wire.Some(wire.Offset(4)), "ends before it", 4},
		{"the beginning has a past", change(0, "000000", "000001"), head, wire.Some(wire.Offset(0)), "hash of the event before", 0},
		{"no JSON", change(1, "{", "["), head, wire.Some(wire.Offset(1)), "not an audit event", 1},
		{"all is rewritten", chained(6)[:5], &wire.VerifyAuditReply{Events: 5, Hash: hashOf(nil)}, wire.Some(wire.Offset(4)), "server has kept", 4},
		{"the server sees a break", sound, &wire.VerifyAuditReply{Events: 5, Hash: head.Hash, Break: wire.Some(wire.Offset(1)), Message: "damaged"},
			wire.Some(wire.Offset(1)), "damaged", 5},
	} {
		t.Run(test.name, func(t *testing.T) {
			v, err := serveAudit(t, test.events, test.verdict).CheckAudit(within(t))
			if err != nil || v.Break != test.at || v.Events != test.count || !strings.Contains(v.Reason, test.why) || (v.Reason == "") != !test.at.Set {
				t.Errorf("%+v, %v", v, err)
			}
			if n := len(test.events); !test.at.Set && n > 0 && !bytes.Equal(v.Hash, hashOf(test.events[n-1])) {
				t.Errorf("hash is %x", v.Hash)
			}
		})
	}
}

// A chain that a server has written, for clients in every language.
func TestGoldenChainIsSound(t *testing.T) {
	events, err := os.ReadFile("../testdata/audit/chain.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	head, err := os.ReadFile("../testdata/audit/chain.sha256")
	if err != nil {
		t.Fatal(err)
	}
	var chain client.AuditChain
	for line := range bytes.Lines(events) {
		if err := chain.Add(bytes.TrimSuffix(line, []byte("\n"))); err != nil {
			t.Fatalf("event %d: %v", chain.Events(), err)
		}
	}
	if got := hex.EncodeToString(chain.Hash()); chain.Events() != 14 || got != strings.TrimSpace(string(head)) {
		t.Errorf("%d events, hash %s", chain.Events(), got)
	}
}

func TestAuditEventsAreDecoded(t *testing.T) {
	events := chained(3)
	c := serveAudit(t, events, nil)
	var got []client.AuditEvent
	for e, err := range c.AuditEvents(within(t), 0, client.Last(2)) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, e)
	}
	if len(got) != 2 {
		t.Fatalf("%d events", len(got))
	}
	e := got[1]
	if e.Seq != 2 || e.Act != "hold.set" || e.Stream != "s" || e.StreamID != 7 || e.From != "127.0.0.1:1" || string(e.Detail) != `{"hold":"h2"}` ||
		e.Time.UnixNano() != 1_795_420_752_500_000_000 || e.Prev != hex.EncodeToString(hashOf(events[1])) || !bytes.Equal(e.Data, events[2]) {
		t.Errorf("%+v", e)
	}
	c = serveAudit(t, [][]byte{[]byte("nothing")}, nil)
	for _, err := range c.AuditEvents(within(t), 0) {
		if err == nil || !strings.Contains(err.Error(), "audit event 0") {
			t.Error(err)
		}
	}
}
