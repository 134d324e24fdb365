package client

import "github.com/kimberlitedb/kimberlite-go/sim/network"

// sender is the sending half of a connection: what the network has no room for waits.
type sender struct {
	conn *network.Conn
	out  []byte
	gone bool
}

func (s *sender) write(p []byte) {
	s.out = append(s.out, p...)
	s.Room()
}

// Room implements network.End.
func (s *sender) Room() {
	if len(s.out) == 0 || s.gone {
		return
	}
	n := s.conn.Send(network.Client, s.out)
	s.out = s.out[n:]
}
