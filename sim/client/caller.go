package client

import (
	"github.com/kimberlitedb/kimberlite-go/sim/check"
	"github.com/kimberlitedb/kimberlite-go/sim/network"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// caller is a connection of version 3 on which requests are answered in any order. It implements network.End.
type caller struct {
	sender
	world   World
	suite   *check.Suite
	tenant  wire.TenantID
	session *wire.ClientSession
	shape   wire.Features // nothing until the handshake is answered
	codec   wire.Codec
	next    uint64 // the last request's id
	asked   map[uint64]func(wire.ResponseBody)
	pushed  func(wire.PushBody)
	lost    func() // it is gone, once
	heard   int64
}

func newCaller(w World, s *check.Suite, tenant wire.TenantID, codec wire.Codec) *caller {
	return &caller{
		world: w, suite: s, tenant: tenant, codec: codec, session: wire.NewClientSession(wire.Alone()),
		asked: map[uint64]func(wire.ResponseBody){}, heard: w.Now(),
	}
}

// open shakes hands on a connection that was made.
func (k *caller) open(conn *network.Conn) {
	k.conn = conn
	hello := &wire.Handshake{ClientVersion: 3, Capabilities: wire.Features{LZ4: true, Zstd: true}.Capabilities()}
	k.ask(hello, func(wire.ResponseBody) {
		k.shape = wire.Agree(hello)
		k.session.SetFeatures(k.shape)
	})
	k.watch()
}

// ready reports whether hands are shaken.
func (k *caller) ready() bool { return k.shape.Version > 0 && !k.gone }

// ask sends a request.
func (k *caller) ask(b wire.RequestBody, done func(wire.ResponseBody)) {
	k.next++
	k.asked[k.next] = done
	r := &wire.Request{ID: k.next, Tenant: k.tenant, Body: b}
	if k.shape.Version > 0 {
		r.Codec = k.codec
	}
	k.write(wire.AppendRequest(nil, r, k.shape))
}

// Ready implements network.End.
func (k *caller) Ready() bool { return true }

// Data implements network.End.
func (k *caller) Data(p []byte) {
	k.heard = k.world.Now()
	messages, err := k.session.Feed(p, nil)
	for _, m := range messages {
		if k.gone || k.suite.Failed != nil {
			return
		}
		switch m := m.(type) {
		case *wire.Response:
			done := k.asked[m.RequestID]
			if done == nil && k.conn.Damaged(network.Server) {
				continue // the server has read another id
			}
			k.suite.Saw(check.Contract, true)
			if done == nil {
				k.suite.Fail(check.Contract, "a reply to request %d, which is not in flight", m.RequestID)
				return
			}
			delete(k.asked, m.RequestID)
			done(m.Body)
		case *wire.Push:
			if _, ping := m.Body.(*wire.PushPing); ping {
				k.ask(&wire.Ping{}, func(wire.ResponseBody) {})
			} else {
				k.pushed(m.Body)
			}
		}
	}
	if err != nil { // the network damages what it carries
		k.abort()
	}
}

// Hangup implements network.End.
func (k *caller) Hangup() { k.drop() }

// abort hangs up without a word.
func (k *caller) abort() {
	if !k.gone {
		k.conn.Abort(network.Client)
		k.drop()
	}
}

// leave hangs up.
func (k *caller) leave() {
	if !k.gone {
		k.conn.Finish(network.Client)
		k.drop()
	}
}

func (k *caller) drop() {
	if !k.gone {
		k.gone = true
		k.lost()
	}
}

// watch hangs up on a server that does not answer.
func (k *caller) watch() {
	k.world.After(patience/3, func() {
		switch {
		case k.gone:
		case k.world.Now()-k.heard > patience && len(k.asked) > 0:
			k.abort()
		default:
			k.watch()
		}
	})
}
