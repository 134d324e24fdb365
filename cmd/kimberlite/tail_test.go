package main

import (
	"bytes"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kimberlitedb/kimberlite-go/client"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

func TestPatterns(t *testing.T) {
	e := client.Event{Offset: 7, Data: []byte("50%d\n"), Timestamp: time.Unix(1, 5000), Checksum: 0xabc}
	for _, c := range []struct{ format, want string }{
		{"", "\n"},
		{"%o", "7\n"},
		{"%o %d", "7 50%d\n\n"},
		{`%o\t%t\t%c\n`, "7\t1970-01-01T00:00:01.000005Z\t00000abc\n"},
		{`100%% \\n%o%o`, "100% \\n77\n"},
		{`\n\n`, "\n\n"},
		{"é%o", "é7\n"},
		{"%", ""},
		{`%o\`, ""},
		{"%x", ""},
		{`\x41`, ""},
		{"%é", ""},
	} {
		p, err := parsePattern(c.format)
		if err != nil {
			if c.want != "" {
				t.Errorf("%q: %v", c.format, err)
			}
			continue
		}
		if got := string(p.append(nil, &e)); got != c.want {
			t.Errorf("%q prints %q, want %q", c.format, got, c.want)
		}
	}
}

// A gap is told on standard error, and does not end following.
func TestTailGoesOnBehindAGap(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	var group sync.WaitGroup
	group.Go(func() { serveGap(ln) })
	var stdout, stderr bytes.Buffer
	code := run([]string{"tail", "s", "-f", "-o", "raw", "--server", ln.Addr().String()}, nil, &stdout, &stderr)
	group.Wait()
	if code != exitNotFound || stdout.String() != "one\nnine\n" {
		t.Errorf("exit code %d, printed %q", code, stdout.String())
	}
	if want := "notice: stream 1: events 1 to 8 are left out: they have expired\nerror: StreamDeleted: gone\n"; !strings.HasPrefix(stderr.String(), want) {
		t.Errorf("said %q", stderr.String())
	}
}

// serveGap serves one connection: a stream with a gap, which is deleted then.
func serveGap(ln net.Listener) {
	nc, err := ln.Accept()
	if err != nil {
		return
	}
	defer nc.Close()
	session := wire.NewSession(wire.Alone())
	send := func(m wire.Message) { nc.Write(session.Append(nil, m, nil)) } // a client that is gone is met by Read
	event := func(o wire.Offset, data string) {
		b := &wire.SubscriptionEvents{Subscription: 5}
		b.Events.Add(wire.AppendEvent(nil, o, []byte(data), 0), 1)
		send(&wire.Push{Body: b})
	}
	buf := make([]byte, 4096)
	for {
		n, err := nc.Read(buf)
		if err != nil {
			return
		}
		requests, _ := session.Feed(buf[:n], nil)
		for _, r := range requests {
			switch r.Body.(type) {
			case *wire.Handshake:
				send(&wire.Response{RequestID: r.ID, Body: &wire.HandshakeReply{ServerVersion: wire.MaxVersion}})
			case *wire.StreamInfo:
				send(&wire.Response{RequestID: r.ID, Body: &wire.StreamInfoReply{Info: wire.StreamDescription{Stream: 1, Name: "s", HeadOffset: 9}}})
			case *wire.Subscribe:
				send(&wire.Response{RequestID: r.ID, Body: &wire.SubscribeReply{Subscription: 5}})
				event(0, "one")
				send(&wire.Push{Body: &wire.Gap{Subscription: 5, From: 1, To: 9}})
				event(9, "nine")
				send(&wire.Push{Body: &wire.SubscriptionClosed{Subscription: 5, Code: wire.StreamDeleted, Message: "gone"}})
			}
		}
	}
}
