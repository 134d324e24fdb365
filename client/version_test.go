package client_test

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/kimberlitedb/kimberlite-go/client"
	"github.com/kimberlitedb/kimberlite-go/internal/hosttest"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// none stands for no compression.
const none = wire.NoCodec

// everyShape runs a test for each version of the protocol with each codec.
func everyShape(t *testing.T, f func(t *testing.T, options ...client.Option)) {
	for version := 1; version <= wire.MaxVersion; version++ {
		for _, codec := range []client.Codec{none, client.LZ4, client.Zstd} {
			t.Run(fmt.Sprintf("v%d/%v", version, codec), func(t *testing.T) {
				f(t, client.WithProtocolVersion(version), client.WithCompression(codec))
			})
		}
	}
}

// What works on one version works on all, compressed or not.
func TestBasicsOnEveryVersion(t *testing.T) {
	addr := hosttest.Server(t)
	everyShape(t, func(t *testing.T, options ...client.Option) {
		c, ctx := dial(t, addr, options...), within(t)
		id, err := c.CreateStream(ctx, strings.ReplaceAll(t.Name(), "/", "-"))
		if err != nil {
			t.Fatal(err)
		}
		large := bytes.Repeat([]byte(`{"compressible":true}`), 10_000)
		for i := range 3 {
			done, err := c.Append(ctx, id, [][]byte{large, nil, fmt.Append(nil, i)}, client.ExpectOffset(client.Offset(3*i)))
			if err != nil || done.FirstOffset != client.Offset(3*i) || done.Count != 3 || done.Position == 0 {
				t.Fatalf("%+v, %v", done, err)
			}
		}
		_, err = c.Append(ctx, id, [][]byte{large}, client.ExpectOffset(1))
		var refused *client.Error
		if !errors.Is(err, client.ErrOffsetMismatch) || !errors.As(err, &refused) || refused.CurrentOffset != wire.Some(wire.Offset(9)) {
			t.Errorf("err = %v", err)
		}
		next := client.Offset(0)
		for e, err := range c.Events(ctx, id, 0) {
			want := [][]byte{large, nil, fmt.Append(nil, next/3)}[next%3]
			if err != nil || e.Offset != next || !bytes.Equal(e.Data, want) {
				t.Fatalf("event %d has %d bytes, %v", e.Offset, len(e.Data), err)
			}
			next++
		}
		if next != 9 {
			t.Errorf("%d events", next)
		}
		page, err := c.Read(ctx, id, client.End, client.Backward(), client.MaxEvents(1))
		if err != nil || len(page.Events) != 1 || string(page.Events[0].Data) != "2" {
			t.Errorf("%+v, %v", page, err)
		}
		info, err := c.StreamInfo(ctx, id)
		if err != nil || info.Head != 9 || info.Bytes != uint64(3*len(large)+3) {
			t.Errorf("%+v, %v", info, err)
		}
		if err := errors.Join(c.Ping(ctx), c.Sync(ctx)); err != nil {
			t.Error(err)
		}
	})
}

// countingConn counts what is read.
type countingConn struct {
	net.Conn
	read int
}

func (c *countingConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.read += n
	return n, err
}

// A client that asks for compression sends less; one on version 1, or of a server that has none, sends as it always did.
func TestCompressionShortensWhatTravels(t *testing.T) {
	event := bytes.Repeat([]byte("again "), 10_000)
	everyShape(t, func(t *testing.T, options ...client.Option) {
		sizes := make(chan int, 1)
		f := serve(t, func(_ int, p *peer) {
			counted := &countingConn{Conn: p.nc}
			p.nc = counted
			r := p.next()
			if !bytes.Equal(r.Body.(*wire.AppendEvents).Events[0], event) {
				t.Error("another event arrived")
			}
			sizes <- counted.read
			p.reply(r.ID, &wire.AppendEventsReply{Count: 1})
			p.next()
		})
		c := dial(t, f.addr(), options...)
		if _, err := c.Append(within(t), 1, [][]byte{event}); err != nil {
			t.Fatal(err)
		}
		packs := !strings.Contains(t.Name(), "v1") && !strings.Contains(t.Name(), "none")
		if n := <-sizes; n < len(event)/10 != packs {
			t.Errorf("%d bytes for an event of %d", n, len(event))
		}
	})
}

// From version 2 on, replies come in any order. On version 1 they come in the order of the requests, or not at all.
func TestRepliesOutOfOrder(t *testing.T) {
	for version := 1; version <= wire.MaxVersion; version++ {
		t.Run(fmt.Sprintf("v%d", version), func(t *testing.T) {
			f := serve(t, func(_ int, p *peer) {
				var requests []*wire.Request
				for range 5 {
					r := p.next()
					if r == nil {
						return
					}
					requests = append(requests, r)
				}
				for _, i := range []int{3, 1, 4, 0, 2} {
					p.reply(requests[i].ID, &wire.AppendEventsReply{FirstOffset: wire.Offset(i), Count: 1})
				}
				p.next()
			})
			c := dial(t, f.addr(), client.WithProtocolVersion(version))
			var flights []*client.Pending
			for range 5 {
				flights = append(flights, c.AppendAsync(within(t), 1, [][]byte{nil}))
			}
			for i, p := range flights {
				done, err := p.Wait(within(t))
				switch {
				case version == 1 && !errors.Is(err, client.ErrProtocol):
					t.Errorf("append %d: %+v, %v", i, done, err)
				case version > 1 && (err != nil || done.FirstOffset != client.Offset(i)):
					t.Errorf("append %d: %+v, %v", i, done, err)
				}
			}
		})
	}
}

// A reply that came once does not come again, in whatever order.
func TestSecondReplyIsAViolation(t *testing.T) {
	f := serve(t, func(n int, p *peer) {
		if n > 0 {
			acknowledge(n, p)
			return
		}
		a, b := p.next(), p.next()
		p.reply(b.ID, &wire.PingReply{})
		p.reply(b.ID, &wire.PingReply{})
		p.reply(a.ID, &wire.AppendEventsReply{Count: 1})
		p.next()
	})
	c := dial(t, f.addr())
	first := c.AppendAsync(within(t), 1, [][]byte{nil})
	if err := c.Ping(within(t)); err != nil {
		t.Error(err)
	}
	if _, err := first.Wait(within(t)); !errors.Is(err, client.ErrProtocol) || !errors.Is(err, client.ErrUnknownOutcome) {
		t.Errorf("err = %v", err)
	}
}

// What waits while there is no connection is sent in the version of the next server, which may be an older one: what was
// never sent, reads that are repeated and appends with a key.
func TestNextServerMayBeOfAnotherVersion(t *testing.T) {
	for _, versions := range [][]uint16{{3, 1}, {3, 2}, {2, 1}, {1, 3}, {1, 2}, {3, 3}} {
		for _, codec := range []client.Codec{none, client.LZ4, client.Zstd} {
			t.Run(fmt.Sprint(versions, codec), func(t *testing.T) { changeOfServer(t, versions, codec) })
		}
	}
}

func changeOfServer(t *testing.T, versions []uint16, codec client.Codec) {
	large := bytes.Repeat([]byte("again "), 1000)
	key := client.NewKey()
	var o switchboard
	broken := make(chan struct{})
	f := serveVersions(t, versions, func(n int, p *peer) {
		if n == 0 {
			for range 2 {
				p.next()
			}
			o.set(true)
			close(broken)
			return
		}
		for r := p.next(); r != nil; r = p.next() {
			if version := max(r.Features.Version, 1); version != versions[1] || version > 1 && r.Codec != codec {
				t.Errorf("a %T of version %d in %v", r.Body, version, r.Codec)
			}
			switch b := r.Body.(type) {
			case *wire.AppendEvents:
				if !bytes.Equal(b.Events[0], large) || len(b.Events) != 2 {
					t.Errorf("%d events arrived", len(b.Events))
				}
				p.reply(r.ID, &wire.AppendEventsReply{Count: uint32(len(b.Events)), Duplicate: b.IdempotencyKey.Set})
			case *wire.ReadEvents:
				p.reply(r.ID, &wire.ReadEventsReply{HeadOffset: b.FromOffset, OldestOffset: b.FromOffset})
			case *wire.CreateStream:
				p.reply(r.ID, &wire.CreateStreamReply{Stream: wire.StreamID(len(b.Name))})
			}
		}
	})
	c, ctx := dial(t, f.addr(), client.WithDialer(o.dial), client.WithCompression(codec)), within(t)
	events := [][]byte{large, []byte("x")}
	keyed := c.AppendAsync(ctx, 1, events, client.IdempotencyKey(key))
	reads := make(chan error, 1)
	go func() {
		page, err := c.Read(ctx, 1, 7)
		if err == nil && page.Head != 7 {
			err = fmt.Errorf("%+v", page)
		}
		reads <- err
	}()
	<-broken
	unsent := c.AppendAsync(ctx, 1, events)
	unsentKeyed := c.AppendAsync(ctx, 1, events, client.IdempotencyKey(client.NewKey()))
	o.set(false)
	for name, p := range map[string]*client.Pending{"keyed": keyed, "unsent": unsent, "unsent keyed": unsentKeyed} {
		done, err := p.Wait(ctx)
		if name == "unsent" && errors.Is(err, client.ErrUnknownOutcome) { // the client had not heard yet that the server is gone
			continue
		}
		if err != nil || done.Count != 2 || done.Duplicate != (name != "unsent") {
			t.Errorf("%s: %+v, %v", name, done, err)
		}
	}
	if err := <-reads; err != nil {
		t.Errorf("read: %v", err)
	}
	if id, err := c.CreateStream(ctx, "seven"); err != nil || id != 5 {
		t.Errorf("afterwards: %d, %v", id, err)
	}
}

// An append with a key may be lost on servers of several versions, one after the other.
func TestKeyedAppendOutlivesManyVersions(t *testing.T) {
	versions := []uint16{3, 1, 1, 2, 1, 3}
	f := serveVersions(t, versions, func(n int, p *peer) {
		r := p.next()
		if r == nil || max(r.Features.Version, 1) != versions[n] || string(r.Body.(*wire.AppendEvents).Events[0]) != "x" {
			t.Errorf("connection %d: %+v", n, r)
			return
		}
		if n == len(versions)-1 {
			p.reply(r.ID, &wire.AppendEventsReply{Count: 1, Duplicate: true})
			p.next()
		}
	})
	done, err := dial(t, f.addr(), client.WithAutoKeys()).Append(within(t), 1, [][]byte{[]byte("x")})
	if err != nil || !done.Duplicate {
		t.Errorf("%+v, %v", done, err)
	}
}
