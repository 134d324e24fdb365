package tcp_test

import (
	"net"
	"testing"
	"time"

	"github.com/kimberlitedb/kimberlite-go/io/tcp"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// deaf hears of connections and does nothing about them.
type deaf struct{}

func (deaf) Opened(*tcp.Conn)                    {}
func (deaf) Received(*tcp.Conn, []*wire.Request) {}
func (deaf) Faulted(*tcp.Conn, *wire.Fault)      {}
func (deaf) Sent(*tcp.Conn, int)                 {}
func (deaf) Closed(*tcp.Conn)                    {}

// A connection that is accepted while the server closes is waited for, and closed, like all others. (With -race: that
// it is counted before anyone waits.)
func TestConnectionsWhileClosing(t *testing.T) {
	for range 20 {
		s, err := tcp.Listen("127.0.0.1:0", deaf{}, tcp.Options{
			MaxConns: 100, Refused: func() {},
		})
		if err != nil {
			t.Fatal(err)
		}
		go s.Serve()
		var conns []net.Conn
		for range 5 {
			c, err := net.Dial("tcp", s.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			conns = append(conns, c)
		}
		s.Close()
		s.Wait(0)
		for _, c := range conns {
			c.SetReadDeadline(time.Now().Add(10 * time.Second))
			if _, err := c.Read(make([]byte, 1)); err == nil || isTimeout(err) {
				t.Fatalf("a connection is left open: %v", err)
			}
			c.Close()
		}
	}
}

func isTimeout(err error) bool {
	e, ok := err.(net.Error)
	return ok && e.Timeout()
}
