package main

import (
	"math/rand/v2"
	"net"

	"github.com/kimberlitedb/kimberlite-go/sim/model"
	"github.com/kimberlitedb/kimberlite-go/sim/plan"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// peer is one connection, made of the codec alone, that tells the suite what it sees.
type peer struct {
	t        *trial
	client   int
	conn     int
	tenant   *model.Tenant
	nc       net.Conn
	session  *wire.ClientSession
	features wire.Features
	inflight []*model.Call // oldest first
	last     *model.Call   // answered last
	id       uint64
	buf      [64 << 10]byte
}

func (t *trial) dial(client int, tenant *model.Tenant) (*peer, error) {
	nc, err := net.Dial("tcp", t.addr)
	if err != nil {
		return nil, err
	}
	t.mu.Lock()
	t.conns++
	p := &peer{t: t, client: client, conn: t.conns, tenant: tenant, nc: nc, session: wire.NewClientSession(wire.Alone())}
	t.mu.Unlock()
	rich := wire.Features{RichEvents: true, ExtendedErrors: true}
	if err := p.call(&model.Call{Body: &wire.Handshake{ClientVersion: 1, Capabilities: rich.Capabilities()}}); err != nil {
		nc.Close()
		return nil, err
	}
	p.features = rich
	p.session.SetFeatures(rich)
	return p, nil
}

// work loads the server until it is gone.
func (t *trial) work(client, round int) {
	random := rand.New(rand.NewPCG(t.seed, uint64(round)<<16|uint64(client)))
	tenant := t.suite.M.Tenants[client%len(t.suite.M.Tenants)]
	p, err := t.dial(client, tenant)
	if err != nil {
		return
	}
	defer p.nc.Close()
	window := 1 + random.IntN(32)
	for err == nil {
		st := tenant.Streams[(round*streams/2+random.IntN(streams))%len(tenant.Streams)]
		if p.unmade(st) {
			err = p.call(&model.Call{Stream: st, Body: &wire.CreateStream{Name: st.Name, Placement: wire.Placement{Global: st.Slot%2 == 0}, Class: wire.NonPHI}})
			continue
		}
		err = p.send(p.operation(st, random))
		for err == nil && len(p.inflight) >= window {
			err = p.receive()
		}
	}
	p.lose()
}

// unmade reports whether nobody was told yet what a stream's id is.
func (p *peer) unmade(st *model.Stream) bool {
	p.t.mu.Lock()
	defer p.t.mu.Unlock()
	return st.ID == 0
}

// operation draws a request to a stream: mostly appends, half of them with an expected offset.
func (p *peer) operation(st *model.Stream, random *rand.Rand) *model.Call {
	p.t.mu.Lock()
	defer p.t.mu.Unlock()
	switch random.IntN(8) {
	case 0:
		from := wire.Offset(random.IntN(int(st.Head) + 1))
		return &model.Call{Op: plan.Op{Kind: plan.Read}, Stream: st, Body: &wire.ReadEvents{Stream: st.ID, FromOffset: from, MaxBytes: uint64(random.IntN(1 << 16))}}
	case 1:
		return &model.Call{Op: plan.Op{Kind: plan.Info}, Stream: st, Body: &wire.StreamInfo{Stream: st.ID}}
	}
	p.t.ops++
	a := &model.Append{Key: model.Key{Op: p.t.ops, Attempt: 1}, Client: p.client, Stream: st, Sent: p.t.now()}
	size := 16 << random.IntN(10)
	a.Events = p.t.suite.M.Batch(st.Tenant, a.Key, 1+random.IntN(8), size, config.MaxBatchBytes)
	p.t.suite.M.Appends[a.Key] = a
	b := &wire.AppendEvents{Stream: st.ID, Events: a.Events}
	if random.IntN(2) == 0 {
		b.ExpectOffset = wire.Some(st.Head)
	}
	return &model.Call{Op: plan.Op{N: a.Key.Op, Kind: plan.Append}, Stream: st, Append: a, Body: b}
}

// send sends a request and notes what was known when it left.
func (p *peer) send(c *model.Call) error {
	p.id++
	p.t.mu.Lock()
	p.t.orders++
	c.Client, c.Conn, c.ID, c.Tenant, c.Order = p.client, p.conn, p.id, p.tenant.ID, p.t.orders
	c.Features, c.Sent, c.Known = p.features, p.t.now(), p.tenant.Exists
	if c.Stream != nil {
		c.Floor, c.Known = c.Stream.Head, c.Stream.Exists
	}
	p.t.mu.Unlock()
	p.inflight = append(p.inflight, c)
	_, err := p.nc.Write(wire.AppendRequest(nil, &wire.Request{ID: c.ID, Tenant: c.Tenant, Body: c.Body}, p.features))
	return err
}

// receive takes what arrives next. Replies come in the order of the requests.
func (p *peer) receive() error {
	n, err := p.nc.Read(p.buf[:])
	if err != nil {
		return err
	}
	replies, err := p.session.Feed(p.buf[:n], nil)
	p.t.mu.Lock()
	defer p.t.mu.Unlock()
	for _, m := range replies {
		r := m.(*wire.Response) // nothing else travels in version 1
		c := p.inflight[0]
		if r.RequestID != c.ID {
			return errOrder
		}
		p.inflight = p.inflight[1:]
		c.Reply, c.Returned = r.Body, p.t.now()
		p.t.suite.Reply(c)
		p.last = c
	}
	if p.t.suite.Failed != nil {
		return p.t.suite.Failed
	}
	return err
}

// call sends a request and waits until it is answered.
func (p *peer) call(c *model.Call) error {
	if err := p.send(c); err != nil {
		return err
	}
	for len(p.inflight) > 0 {
		if err := p.receive(); err != nil {
			return err
		}
	}
	return nil
}

// lose notes that what is in flight will have no reply.
func (p *peer) lose() {
	p.t.mu.Lock()
	defer p.t.mu.Unlock()
	for _, c := range p.inflight {
		p.t.suite.Lost(c)
	}
}
