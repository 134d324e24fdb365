// Package object is the real driver of seg.Objects: a directory, or a bucket of an S3 server under a prefix.
//
//	store, err := object.Open(ctx, "s3://archives/kimberlite?region=eu-central-1", object.Options{})
//	defer store.Close()
//	err = store.Put("blobs/0a/0a1b2c", data)
package object

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/kimberlitedb/kimberlite-go/engine/seg"
)

// DefaultTimeout is long enough for the greatest object at 3 Mbit/s.
const DefaultTimeout = time.Minute

// Options say how a store is used.
type Options struct {
	// ReadOnly has Put and Remove refuse, and makes nothing where there is nothing.
	ReadOnly bool
	// Timeout is how long a request to a server may take; a list takes one for every 1000 names. 0 means DefaultTimeout.
	Timeout time.Duration
}

// Store is a store that its user closes.
type Store interface {
	seg.Objects
	// Close gives up what the store holds of the system. No other method is called from then on.
	Close() error
}

// Open returns the store that a URL names: a path, file:///path, or s3://bucket/prefix with its parameters, which
// docs/guides/archives-on-s3.md describes. It asks a server what the bucket is like, and so fails where it is not
// there; with seg.ErrUnavailable where only the server is not. When ctx ends, the store's calls end with seg.ErrCrashed.
//
// No error names credentials.
func Open(ctx context.Context, where string, o Options) (Store, error) {
	if o.Timeout == 0 {
		o.Timeout = DefaultTimeout
	}
	store, err := open(ctx, where, o)
	if err != nil {
		return nil, err
	}
	if o.ReadOnly {
		return reader{store}, nil
	}
	return store, nil
}

func open(ctx context.Context, where string, o Options) (Store, error) {
	if !strings.Contains(where, "://") {
		return openDir(ctx, where, o.ReadOnly)
	}
	u, err := url.Parse(where)
	if err != nil {
		return nil, errors.New("the URL of the archive cannot be read") // it may hold what nobody shall see
	}
	if u.User != nil {
		return nil, errors.New("credentials have no place in the URL of an archive, where logs and lists of processes show them; " + howToAuthenticate)
	}
	switch u.Scheme {
	case "file":
		if u.Host != "" && u.Host != "localhost" || u.RawQuery != "" {
			return nil, fmt.Errorf("a directory has the form file:///path, without a host (%q) and without parameters", u.Host)
		}
		// Whoever allows a folder allows what is below it, and reads ".." in no disguise.
		if slices.Contains(strings.Split(u.Path, "/"), "..") {
			return nil, errors.New("the path of an archive must not lead up by way of \"..\"")
		}
		return openDir(ctx, u.Path, o.ReadOnly)
	case "s3":
		t, err := parseTarget(u)
		if err != nil {
			return nil, err
		}
		return openBucket(ctx, t, o.Timeout)
	}
	return nil, fmt.Errorf("an archive lies in a directory (a path, or file:///path) or in a bucket (s3://bucket/prefix), not in %s://", u.Scheme)
}

// reader is a store that nothing is put into.
type reader struct{ Store }

var errReadOnly = errors.New("the archive is open for reading only")

func (r reader) Put(name string, _ []byte) error { return fmt.Errorf("put %s: %w", name, errReadOnly) }

func (r reader) Remove(name string) error { return fmt.Errorf("remove %s: %w", name, errReadOnly) }
