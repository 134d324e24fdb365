package client

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"time"
	"unicode/utf8"

	"github.com/kimberlitedb/kimberlite-go/wire"
)

// Option is a setting of Dial.
type Option func(*config)

// Dialer opens connections, as net.Dialer.DialContext does.
type Dialer func(ctx context.Context, network, addr string) (net.Conn, error)

type config struct {
	tenant      TenantID
	token       wire.Option[string]
	dial        Dialer
	maxInflight int
	patience    time.Duration
	autoKeys    bool
	version     uint16
	codec       wire.Codec
}

// asks returns the features that the client asks a server for.
func (c *config) asks() wire.Features { return wanted.In(c.version) }

// WithTenant makes the requests those of a tenant. Without it they are tenant 1's.
func WithTenant(id TenantID) Option { return func(c *config) { c.tenant = id } }

// WithToken authenticates the connection.
func WithToken(token string) Option { return func(c *config) { c.token = wire.Some(token) } }

// WithDialer opens connections with d instead of a net.Dialer.
func WithDialer(d Dialer) Option { return func(c *config) { c.dial = d } }

// WithMaxInflight lets at most n requests be unanswered; more wait until there is room. Without it there may be 4,096,
// which is how many a server takes from a connection by default.
func WithMaxInflight(n int) Option { return func(c *config) { c.maxInflight = n } }

// WithReconnect lets calls wait for at most so long while the server cannot be reached, or hangs up without an answer;
// then they fail with ErrUnavailable. With 0 they fail after one attempt. Without it they wait until their contexts end.
func WithReconnect(patience time.Duration) Option {
	return func(c *config) { c.patience = patience }
}

// WithAutoKeys gives every append a key of its own at random, unless it has one, so that the client can send it again by
// itself when the connection breaks: ErrUnknownOutcome is then left only for a server that does not come back in time.
// It is not the default, since the server keeps only so many keys: the newest 10,000 of a stream.
func WithAutoKeys() Option { return func(c *config) { c.autoKeys = true } }

// WithProtocolVersion has the client speak no later version of the protocol: 1, 2 or 3. Without it, it speaks the latest
// that the server knows, too. Compression needs 2, subscriptions need 3.
func WithProtocolVersion(v int) Option {
	return func(c *config) { c.version = uint16(min(max(v, 0), math.MaxUint16)) }
}

// Codec is a way to compress what travels.
type Codec = wire.Codec

// The codecs. Zstd makes less of JSON than LZ4 does, and takes more time.
const (
	LZ4  = wire.LZ4
	Zstd = wire.Zstd
)

// WithCompression has requests and replies compressed, where that makes them shorter and the server can. Without it
// nothing is.
func WithCompression(c Codec) Option { return func(cfg *config) { cfg.codec = c } }

func configure(options []Option) (config, error) {
	c := config{tenant: 1, dial: (&net.Dialer{}).DialContext, maxInflight: 4096, patience: math.MaxInt64, version: wire.MaxVersion}
	for _, o := range options {
		o(&c)
	}
	if c.maxInflight < 1 {
		return c, fmt.Errorf("client: %d requests in flight; at least 1 is needed", c.maxInflight)
	}
	if c.version < 1 || c.version > wire.MaxVersion {
		return c, fmt.Errorf("client: protocol version %d; this client speaks 1 to %d", c.version, wire.MaxVersion)
	}
	if c.codec >= wire.CodecCount {
		return c, fmt.Errorf("client: there is no codec %d", c.codec)
	}
	if !utf8.ValidString(c.token.Value) {
		return c, errors.New("client: the token is not UTF-8")
	}
	return c, nil
}
