package sqldriver

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"time"

	"github.com/kimberlitedb/kimberlite-go/client"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// defaultPort is where a server listens that was told nothing else.
const defaultPort = "5644"

var errName = errors.New("kimberlite: a data source name is a URL such as kimberlite://127.0.0.1:5644?tenant=1")

// parse reads a data source name. Its errors do not tell the token.
func parse(name string) (addr string, options []client.Option, err error) {
	u, err := url.Parse(name)
	if err != nil || u.Scheme != "kimberlite" || u.Hostname() == "" || u.Path != "" && u.Path != "/" || u.Fragment != "" {
		return "", nil, errName
	}
	if u.User != nil {
		token, ok := u.User.Password()
		if !ok || u.User.Username() != "" {
			return "", nil, errors.New("kimberlite: a token stands behind a colon and before the @: kimberlite://:TOKEN@host")
		}
		options = append(options, client.WithToken(token))
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return "", nil, errName
	}
	for key, list := range query {
		o, err := setting(key, list[len(list)-1])
		if err != nil {
			return "", nil, fmt.Errorf("kimberlite: %w", err)
		}
		options = append(options, o)
	}
	port := u.Port()
	if port == "" {
		port = defaultPort
	}
	return net.JoinHostPort(u.Hostname(), port), options, nil
}

// setting reads one of a data source name's settings.
func setting(key, value string) (client.Option, error) {
	switch key {
	case "tenant":
		id, err := strconv.ParseUint(value, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("tenant=%s: a tenant is a number", value)
		}
		return client.WithTenant(client.TenantID(id)), nil
	case "compression":
		c, ok := wire.ParseCodec(value)
		if !ok {
			return nil, fmt.Errorf("compression=%s: it must be none, lz4 or zstd", value)
		}
		return client.WithCompression(c), nil
	case "timeout":
		d, err := time.ParseDuration(value)
		if err != nil || d < 0 {
			return nil, fmt.Errorf("timeout=%s: it is a duration such as 5s", value)
		}
		return client.WithReconnect(d), nil
	}
	return nil, fmt.Errorf("there is no setting %s; there are tenant, compression and timeout", key)
}
