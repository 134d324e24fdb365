// Package sqldriver is a driver of database/sql.
//
//	import _ "github.com/kimberlitedb/kimberlite-go/client/sqldriver"
//
//	db, err := sql.Open("kimberlite", "kimberlite://127.0.0.1:5644?tenant=1")
//
// A data source name is a URL: kimberlite://[:TOKEN@]HOST[:PORT][?tenant=N][&compression=lz4|zstd][&timeout=DURATION]. The
// timeout, such as 5s, is how long a call waits for a server that is away; without it, for as long as its context allows.
//
// The connections of a sql.DB are one connection to the server, which carries out their statements side by side. Every
// statement is a transaction of its own: Begin is an error, and client.Batch has transactions of several. Parameters are $1, $2 and so on; those with names are an error. A
// statement is given a key by Exec, so that it is carried out once, whatever happens to the connection; a client.Once among the
// arguments names one. A statement that writes gives its position in the tenant's log to who asks for its rows:
//
//	err := db.QueryRow("DELETE FROM accounts WHERE id = $1", 7).Scan(&rowsAffected, &position)
//	rows, err := db.QueryContext(sqldriver.At(ctx, position-1), "SELECT * FROM accounts WHERE id = $1", 7)
//
// Errors are those of the client: errors.Is with client.ErrTableNotFound and so on.
package sqldriver

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"sync"

	"github.com/kimberlitedb/kimberlite-go/client"
)

func init() { sql.Register("kimberlite", Driver{}) }

// Driver opens data sources. It is registered as "kimberlite".
type Driver struct{}

var _ driver.DriverContext = Driver{}

// Open implements driver.Driver. The connection closes its client; those of a sql.DB share one.
func (d Driver) Open(name string) (driver.Conn, error) {
	k, err := d.OpenConnector(name)
	if err != nil {
		return nil, err
	}
	c, err := k.Connect(context.Background())
	if err != nil {
		return nil, err
	}
	return &owner{c.(*conn), k.(*connector)}, nil
}

// OpenConnector implements driver.DriverContext.
func (d Driver) OpenConnector(name string) (driver.Connector, error) {
	addr, options, err := parse(name)
	if err != nil {
		return nil, err
	}
	return &connector{addr: addr, options: append(options, client.WithAutoKeys())}, nil
}

// connector makes connections that share a client.
type connector struct {
	addr    string
	options []client.Option

	mu     sync.Mutex // guards what follows
	shared *client.Client
	closed bool
}

var errClosed = errors.New("kimberlite: the database is closed")

// Connect implements driver.Connector.
func (k *connector) Connect(ctx context.Context) (driver.Conn, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.closed {
		return nil, errClosed
	}
	if k.shared == nil {
		c, err := client.Dial(ctx, k.addr, k.options...)
		if err != nil {
			return nil, err
		}
		k.shared = c
	}
	return &conn{k.shared}, nil
}

// Driver implements driver.Connector.
func (k *connector) Driver() driver.Driver { return Driver{} }

// Close ends the client. A sql.DB that is closed calls it.
func (k *connector) Close() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.closed = true
	if k.shared == nil {
		return nil
	}
	return k.shared.Close()
}

// owner is a connection that has its client for itself.
type owner struct {
	*conn
	k *connector
}

// Close implements driver.Conn.
func (o *owner) Close() error { return o.k.Close() }
