package check

import (
	"bytes"
	"encoding/hex"

	"github.com/kimberlitedb/kimberlite-go/wire"
)

// Scanner looks for other tenants' markers in the raw bytes that one connection receives.
type Scanner struct {
	s       *Suite
	tenant  wire.TenantID
	markers [][]byte
	tail    []byte
}

// Scanner returns the scanner of a tenant's connection.
func (s *Suite) Scanner(tenant wire.TenantID) *Scanner {
	sc := &Scanner{s: s, tenant: tenant}
	for _, t := range s.M.Tenants {
		if t.ID != tenant {
			sc.markers = append(sc.markers, t.Marker[:], []byte(hex.EncodeToString(t.Marker[:])))
		}
	}
	return sc
}

// Scan looks through bytes that arrived.
func (c *Scanner) Scan(p []byte) {
	c.s.Saw(Taint, len(c.markers) > 0)
	c.tail = append(c.tail, p...)
	for _, m := range c.markers {
		if bytes.Contains(c.tail, m) {
			c.s.Fail(Taint, "a connection of tenant %d received the marker of another", c.tenant)
		}
	}
	if n := len(c.tail) - 15; n > 0 {
		c.tail = append(c.tail[:0], c.tail[n:]...)
	}
}
