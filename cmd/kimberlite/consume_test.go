package main

import (
	"bytes"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/kimberlitedb/kimberlite-go/wire"
)

// What a member passes over, and what it has done in vain, is told on standard error and ends nothing.
func TestConsumeTellsOfGapsAndStaleEvents(t *testing.T) {
	for _, test := range []struct {
		name   string
		args   []string
		stdout string
	}{
		{"printed", []string{"-o", "raw"}, "one\nnine\n"},
		{"handled", []string{"--exec", "sh", "--", "-c", "cat; echo"}, "one\nnine\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer ln.Close()
			var group sync.WaitGroup
			group.Go(func() { serveGroup(t, ln) })
			var stdout, stderr bytes.Buffer
			args := append([]string{"consume", "s", "g", "--server", ln.Addr().String()}, test.args...)
			code := run(args, nil, &stdout, &stderr)
			group.Wait()
			if code != exitNotFound || stdout.String() != test.stdout {
				t.Errorf("exit code %d, printed %q", code, stdout.String())
			}
			for _, want := range []string{
				"notice: stream 1: events 1 to 8 are left out: they have expired\n",
				"notice: event 0 was dealt with, but could not be acknowledged any more; it comes again\n",
				"error: GroupNotFound: gone\nhint: ",
			} {
				if !strings.Contains(stderr.String(), want) {
					t.Errorf("%q is missing in %q", want, stderr.String())
				}
			}
		})
	}
}

// serveGroup serves one member: an event whose acknowledgement comes too late, a gap, another event, and the group's end.
func serveGroup(t *testing.T, ln net.Listener) {
	nc, err := ln.Accept()
	if err != nil {
		return
	}
	defer nc.Close()
	session := wire.NewSession(wire.Alone())
	send := func(m wire.Message) { nc.Write(session.Append(nil, m, nil)) } // a client that is gone is met by Read
	deliver := func(o wire.Offset, data string) {
		d := wire.Delivery{ID: wire.DeliveryID(o), Attempt: 1, Event: wire.AppendEvent(nil, o, []byte(data), 0)}
		send(&wire.Push{Body: &wire.GroupEvents{Subscription: 5, Deliveries: []wire.Delivery{d}}})
	}
	buf := make([]byte, 4096)
	for {
		n, err := nc.Read(buf)
		if err != nil {
			return
		}
		requests, _ := session.Feed(buf[:n], nil)
		for _, r := range requests {
			reply := func(b wire.ResponseBody) { send(&wire.Response{RequestID: r.ID, Body: b}) }
			switch b := r.Body.(type) {
			case *wire.Handshake:
				reply(&wire.HandshakeReply{ServerVersion: wire.MaxVersion})
			case *wire.StreamInfo:
				reply(&wire.StreamInfoReply{Info: wire.StreamDescription{Stream: 1, Name: "s", HeadOffset: 9}})
			case *wire.GroupInfo:
				reply(&wire.GroupInfoReply{Info: wire.GroupDescription{Settings: wire.GroupSettings{AckDeadline: wire.Some(uint32(60_000))}}})
			case *wire.Subscribe:
				reply(&wire.SubscribeReply{Subscription: 5})
				deliver(0, "one")
			case *wire.Ack:
				if b.Deliveries[0] == 0 {
					reply(&wire.Error{Code: wire.StaleDelivery})
					send(&wire.Push{Body: &wire.Gap{Subscription: 5, From: 1, To: 9}})
					deliver(9, "nine")
					continue
				}
				reply(&wire.AckReply{Acked: 1})
				send(&wire.Push{Body: &wire.SubscriptionClosed{Subscription: 5, Code: wire.GroupNotFound, Message: "gone"}})
			case *wire.Credit:
			default:
				t.Errorf("%T %+v came", r.Body, r.Body)
			}
		}
	}
}
