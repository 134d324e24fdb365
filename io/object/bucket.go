package object

import (
	"bytes"
	"context"
	"crypto/md5"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/kimberlitedb/kimberlite-go/engine/seg"
	"github.com/kimberlitedb/kimberlite-go/wire"
	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

// howToAuthenticate says where credentials come from.
const howToAuthenticate = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or write them into ~/.aws/credentials"

// bucket is a store in a bucket of an S3 server. It asks once; to ask again is its caller's business.
type bucket struct {
	target
	ctx       context.Context // of the process that has it
	client    minio.Core
	transport *http.Transport
	timeout   time.Duration // of a request

	versioned bool                // removed objects stay as older versions, or did once
	lockable  bool                // objects can be locked
	mode      minio.RetentionMode // how
	unasked   wire.Span           // how long whatever is put is locked
}

func openBucket(ctx context.Context, t target, timeout time.Duration) (*bucket, error) {
	transport, err := minio.DefaultTransport(!t.plain)
	if err != nil {
		return nil, fmt.Errorf("open the archive: %w", err)
	}
	creds := credentials.NewChainCredentials([]credentials.Provider{&credentials.EnvAWS{}, &credentials.FileAWSCredentials{}})
	if v, err := creds.GetWithContext(nil); err != nil || v.AccessKeyID == "" || v.SecretAccessKey == "" {
		return nil, errors.New("there are no credentials for the archive's bucket; " + howToAuthenticate)
	}
	core, err := minio.NewCore(t.endpoint, &minio.Options{
		Creds: creds, Secure: !t.plain, Transport: transport, Region: t.region, BucketLookup: t.lookup, MaxRetries: 1,
	})
	if err != nil {
		return nil, fmt.Errorf("open the archive: endpoint %q: %w", t.endpoint, err)
	}
	b := &bucket{target: t, ctx: ctx, client: *core, transport: transport, timeout: timeout}
	if err := b.look(); err != nil {
		return nil, errors.Join(fmt.Errorf("open the archive: %w", err), b.Close())
	}
	return b, nil
}

// Close implements Store.
func (b *bucket) Close() error {
	b.transport.CloseIdleConnections()
	return nil
}

// call makes one request, in its time. Where it is not over in time nobody knows what it has done.
func (b *bucket) call(right, name string, request func(ctx context.Context) error) error {
	if err := b.ctx.Err(); err != nil {
		return seg.ErrCrashed
	}
	ctx, cancel := context.WithTimeout(b.ctx, b.timeout)
	defer cancel()
	err := request(ctx)
	if err != nil && b.ctx.Err() != nil {
		return seg.ErrCrashed
	}
	return b.explain(err, right, name)
}

// look asks what the bucket is like. That it is not versioned must be known: otherwise what is removed may stay.
func (b *bucket) look() error {
	err := b.call("s3:GetBucketVersioning", "", func(ctx context.Context) error {
		v, err := b.client.GetBucketVersioning(ctx, b.bucket)
		b.versioned = v.Status != ""
		return without(err, "NotImplemented", "MethodNotAllowed")
	})
	if err != nil {
		return err
	}
	return b.call("s3:GetBucketObjectLockConfiguration", "", func(ctx context.Context) error {
		enabled, mode, validity, unit, err := b.client.GetObjectLockConfig(ctx, b.bucket)
		if err != nil {
			return without(err, "ObjectLockConfigurationNotFoundError", "NotImplemented", "MethodNotAllowed")
		}
		b.lockable, b.mode = enabled == minio.Enabled || enabled == "Enabled", minio.Governance
		if mode != nil && validity != nil && unit != nil {
			b.mode, b.unasked = *mode, span(*validity, *unit)
		}
		if b.lock != "" {
			b.mode = b.lock
		}
		return nil
	})
}

// without leaves out errors that only say that a server knows no such thing.
func without(err error, codes ...string) error {
	if slices.Contains(codes, minio.ToErrorResponse(err).Code) {
		return nil
	}
	return err
}

// span returns the length of a bucket's default retention. No year is longer.
func span(n uint, unit minio.ValidityUnit) wire.Span {
	const day, most = 24 * time.Hour, 36500
	if unit == minio.Years {
		n *= 366
	}
	return wire.Span(min(n, most)) * wire.Span(day)
}

// key returns the key of an object in the bucket.
func (b *bucket) key(name string) string { return b.prefix + name }

// Put implements seg.Objects.
func (b *bucket) Put(name string, data []byte) error {
	return b.put(name, data, minio.PutObjectOptions{})
}

// LockSupported implements seg.Locker.
func (b *bucket) LockSupported() bool { return b.lockable }

// LockedUnasked implements seg.Locker.
func (b *bucket) LockedUnasked() wire.Span { return b.unasked }

// PutLocked implements seg.Locker.
func (b *bucket) PutLocked(name string, data []byte, until wire.Time) error {
	if !b.lockable {
		return fmt.Errorf("put %s: bucket %s was not made for object lock", name, b.bucket)
	}
	return b.put(name, data, minio.PutObjectOptions{Mode: b.mode, RetainUntilDate: time.Unix(0, int64(until))})
}

// put sends an object with two digests, so that the server refuses it where it was changed on the way: MD5 since buckets
// with object lock insist on it, and SHA-256 as part of the signature.
func (b *bucket) put(name string, data []byte, o minio.PutObjectOptions) error {
	if err := seg.CheckPut(name, len(data)); err != nil {
		return fmt.Errorf("put %s: %w", name, err)
	}
	o.DisableContentSha256 = true // of pieces; the whole has one
	weak, strong := md5.Sum(data), sha256.Sum256(data)
	err := b.call("s3:PutObject", name, func(ctx context.Context) error {
		_, err := b.client.PutObject(ctx, b.bucket, b.key(name), bytes.NewReader(data), int64(len(data)),
			base64.StdEncoding.EncodeToString(weak[:]), hex.EncodeToString(strong[:]), o)
		return err
	})
	if err != nil {
		return fmt.Errorf("put %s: %w", name, err)
	}
	return nil
}

// Get implements seg.Objects.
func (b *bucket) Get(name string) ([]byte, error) {
	if err := seg.ObjectName(name); err != nil {
		return nil, fmt.Errorf("get: %w", err)
	}
	var data []byte
	err := b.call("s3:GetObject", name, func(ctx context.Context) error {
		body, info, _, err := b.client.GetObject(ctx, b.bucket, b.key(name), minio.GetObjectOptions{})
		if err != nil {
			return err
		}
		defer body.Close()
		if info.Size < 0 || info.Size > seg.MaxObject {
			return tooLarge(info.Size)
		}
		data = make([]byte, info.Size)
		_, err = io.ReadFull(body, data)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("get %s: %w", name, err)
	}
	return data, nil
}

// tooLarge is the error of an object that none of ours is.
type tooLarge int64

func (e tooLarge) Error() string {
	return fmt.Sprintf("it has %d bytes, and objects have at most %d", int64(e), seg.MaxObject)
}

// Stat implements seg.Objects.
func (b *bucket) Stat(name string) (int64, error) {
	if err := seg.ObjectName(name); err != nil {
		return 0, fmt.Errorf("stat: %w", err)
	}
	var size int64
	err := b.call("s3:GetObject", name, func(ctx context.Context) error {
		info, err := b.client.StatObject(ctx, b.bucket, b.key(name), minio.StatObjectOptions{})
		size = info.Size
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("stat %s: %w", name, err)
	}
	return size, nil
}

// List implements seg.Objects. Objects whose names are none of ours are passed over.
func (b *bucket) List(prefix string) ([]string, error) {
	err := seg.ObjectPrefix(prefix)
	var names []string
	if err == nil {
		err = b.each(minio.ListObjectsOptions{Prefix: b.key(prefix), Recursive: true}, func(o minio.ObjectInfo) error {
			name := strings.TrimPrefix(o.Key, b.prefix)
			if len(names) == seg.MaxListed {
				return fmt.Errorf("there are more than %d objects", seg.MaxListed)
			}
			if seg.ObjectName(name) == nil {
				names = append(names, name)
			}
			return nil
		})
	}
	if err != nil {
		return nil, fmt.Errorf("list %s*: %w", prefix, err)
	}
	slices.Sort(names) // not every server does
	return slices.Compact(names), nil
}

// each visits what is listed, page by page. The time of a request begins anew with each page.
func (b *bucket) each(o minio.ListObjectsOptions, visit func(minio.ObjectInfo) error) error {
	right := "s3:ListBucket"
	if o.WithVersions {
		right = "s3:ListBucketVersions"
	}
	if b.ctx.Err() != nil {
		return seg.ErrCrashed
	}
	ctx, cancel := context.WithCancelCause(b.ctx)
	defer cancel(nil)
	clock := time.AfterFunc(b.timeout, func() { cancel(context.DeadlineExceeded) })
	defer clock.Stop()
	o.MaxKeys = 1000
	for info := range b.client.ListObjectsIter(ctx, b.bucket, o) {
		clock.Reset(b.timeout)
		err := b.explain(info.Err, right, "")
		if err == nil {
			err = visit(info)
		}
		if err != nil && b.ctx.Err() == nil {
			return err
		}
		if err != nil {
			return seg.ErrCrashed
		}
	}
	// A list whose time is over ends like one that is whole.
	if b.ctx.Err() != nil {
		return seg.ErrCrashed
	}
	return b.explain(context.Cause(ctx), right, "")
}

// Remove implements seg.Objects.
func (b *bucket) Remove(name string) error {
	err := seg.ObjectName(name)
	switch {
	case err != nil:
	case b.versioned:
		err = b.removeVersions(name)
	default:
		err = b.removeOne(name, "")
	}
	if err != nil {
		return fmt.Errorf("remove %s: %w", name, err)
	}
	return nil
}

// removeVersions removes all that was ever put under a name. The oldest version goes first: if the newest did, an older one
// would be the object for a moment, or after a crash. A version that is locked stays, and all that is newer.
func (b *bucket) removeVersions(name string) error {
	var versions []minio.ObjectInfo // the newest first
	err := b.each(minio.ListObjectsOptions{Prefix: b.key(name), Recursive: true, WithVersions: true}, func(o minio.ObjectInfo) error {
		if o.Key == b.key(name) {
			versions = append(versions, o)
		}
		return nil
	})
	for i := len(versions) - 1; err == nil && i >= 0; i-- {
		v := versions[i]
		err = b.removeOne(name, v.VersionID)
		if err != nil && b.lockable && !v.IsDeleteMarker && !errors.Is(err, seg.ErrUnavailable) && !errors.Is(err, seg.ErrCrashed) {
			// Servers do not tell a lock from a missing right, nor do all of them tell when asked about a version.
			err = fmt.Errorf("%w, unless it is this: %w", seg.ErrLocked, err)
		}
	}
	return err
}

// removeOne removes a version, or, without one, the name: in a versioned bucket by a marker.
func (b *bucket) removeOne(name, version string) error {
	right := "s3:DeleteObject"
	if version != "" {
		right = "s3:DeleteObjectVersion"
	}
	err := b.call(right, name, func(ctx context.Context) error {
		return b.client.RemoveObject(ctx, b.bucket, b.key(name), minio.RemoveObjectOptions{VersionID: version})
	})
	if errors.Is(err, seg.ErrNotExist) {
		return nil
	}
	return err
}
