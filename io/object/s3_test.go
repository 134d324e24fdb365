package object_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kimberlitedb/kimberlite-go/engine/seg"
	"github.com/kimberlitedb/kimberlite-go/internal/objectstest"
	"github.com/kimberlitedb/kimberlite-go/io/object"
	"github.com/kimberlitedb/kimberlite-go/wire"
	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

// s3 is a real S3 server, which `make s3` starts.
type s3 struct {
	endpoint string
	client   *minio.Client
}

func server(t *testing.T) s3 {
	t.Helper()
	endpoint := os.Getenv("KIMBERLITE_TEST_S3")
	if endpoint == "" {
		t.Skip("there is no S3 server; see make s3")
	}
	transport, err := minio.DefaultTransport(false)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(transport.CloseIdleConnections)
	client, err := minio.New(endpoint, &minio.Options{Creds: credentials.NewEnvAWS(), Region: "us-east-1", BucketLookup: minio.BucketLookupPath, Transport: transport})
	if err != nil {
		t.Fatal(err)
	}
	return s3{endpoint, client}
}

// bucket makes a bucket and returns what its URL begins with, up to a prefix.
func (s s3) bucket(t *testing.T, o minio.MakeBucketOptions) (name string) {
	t.Helper()
	name = fmt.Sprintf("test-%x", time.Now().UnixNano())
	if err := s.client.MakeBucket(t.Context(), name, o); err != nil {
		t.Fatal(err)
	}
	return name
}

func (s s3) url(bucket, prefix string) string {
	return "s3://" + bucket + "/" + prefix + "?region=us-east-1&insecure=1&path-style=1&endpoint=" + s.endpoint
}

// fresh returns a function that opens another prefix of a bucket each time.
func (s s3) fresh(bucket string) func(*testing.T) seg.Objects {
	n := 0
	return func(t *testing.T) seg.Objects {
		n++
		return open(t, s.url(bucket, fmt.Sprintf("Some_where/%d", n)), object.Options{})
	}
}

func TestBucketOnS3(t *testing.T) {
	s := server(t)
	objectstest.Run(t, s.fresh(s.bucket(t, minio.MakeBucketOptions{})))
}

func TestVersionedBucketOnS3(t *testing.T) {
	s := server(t)
	bucket := s.bucket(t, minio.MakeBucketOptions{})
	if err := s.client.EnableVersioning(t.Context(), bucket); err != nil {
		t.Fatal(err)
	}
	objectstest.Run(t, s.fresh(bucket))
}

func TestBucketWithObjectLockOnS3(t *testing.T) {
	s := server(t)
	fresh := s.fresh(s.bucket(t, minio.MakeBucketOptions{ObjectLocking: true}))
	objectstest.Run(t, fresh)
	objectstest.RunLocked(t, wire.Time(time.Now().UnixNano()), func(t *testing.T) seg.Locker {
		l := fresh(t).(seg.Locker)
		if !l.LockSupported() || l.LockedUnasked() != 0 {
			t.Fatalf("lock supported %t, unasked %d", l.LockSupported(), l.LockedUnasked())
		}
		return l
	})
}

// What is removed has to be gone, in every version: there is data of people in it.
func TestNoVersionIsLeftOnS3(t *testing.T) {
	s := server(t)
	bucket := s.bucket(t, minio.MakeBucketOptions{})
	if err := s.client.EnableVersioning(t.Context(), bucket); err != nil {
		t.Fatal(err)
	}
	store := open(t, s.url(bucket, ""), object.Options{})
	for _, data := range []string{"1", "2", "3"} {
		put(t, store, "a", data)
		put(t, store, "ab", data)
	}
	if err := s.client.RemoveObject(t.Context(), bucket, "a", minio.RemoveObjectOptions{}); err != nil { // which leaves a marker
		t.Fatal(err)
	}
	put(t, store, "a", "4")
	if err := store.Remove("a"); err != nil {
		t.Fatal(err)
	}
	if n := s.versions(t, bucket, "a"); n != 0 {
		t.Errorf("%d versions are left", n)
	}
	if n := s.versions(t, bucket, "ab"); n != 3 {
		t.Errorf("of another object 3 versions became %d", n)
	}
}

func (s s3) versions(t *testing.T, bucket, key string) (n int) {
	t.Helper()
	for o := range s.client.ListObjectsIter(t.Context(), bucket, minio.ListObjectsOptions{WithVersions: true, Recursive: true}) {
		if o.Err != nil {
			t.Fatal(o.Err)
		}
		if o.Key == key {
			n++
		}
	}
	return n
}

// A bucket may lock everything by itself, and how.
func TestABucketsOwnRetentionIsKnownOnS3(t *testing.T) {
	s := server(t)
	bucket := s.bucket(t, minio.MakeBucketOptions{ObjectLocking: true})
	mode, days, unit := minio.Governance, uint(3), minio.Days
	if err := s.client.SetObjectLockConfig(t.Context(), bucket, &mode, &days, &unit); err != nil {
		t.Fatal(err)
	}
	l := open(t, s.url(bucket, "")+"&lock=compliance", object.Options{}).(seg.Locker)
	if got := time.Duration(l.LockedUnasked()); got != 72*time.Hour {
		t.Errorf("locked for %v", got)
	}
	put(t, l, "a", "x")
	if err := l.Remove("a"); !errors.Is(err, seg.ErrLocked) {
		t.Errorf("remove what the bucket has locked: %v", err)
	}
	if err := l.PutLocked("b", []byte("x"), wire.Time(time.Now().Add(time.Hour).UnixNano())); err != nil {
		t.Fatal(err)
	}
	info, err := s.client.StatObject(t.Context(), bucket, "b", minio.StatObjectOptions{})
	if got := info.Metadata.Get("X-Amz-Object-Lock-Mode"); err != nil || got != string(minio.Compliance) {
		t.Errorf("mode %q, %v", got, err)
	}
}

func TestBucketsThatCannotLockSaySoOnS3(t *testing.T) {
	s := server(t)
	l := s.fresh(s.bucket(t, minio.MakeBucketOptions{}))(t).(seg.Locker)
	if l.LockSupported() {
		t.Error("a plain bucket can lock")
	}
	if err := l.PutLocked("a", nil, wire.Time(time.Now().Add(time.Hour).UnixNano())); err == nil || errors.Is(err, seg.ErrUnavailable) {
		t.Errorf("%v", err)
	}
}

func TestManyUseABucketAtOnceOnS3(t *testing.T) {
	s := server(t)
	where := s.url(s.bucket(t, minio.MakeBucketOptions{}), "x")
	manyAtOnce(t, open(t, where, object.Options{}), open(t, where, object.Options{}))
}

func TestAMissingBucketIsToldOnS3(t *testing.T) {
	s := server(t)
	_, err := object.Open(t.Context(), s.url("there-is-none", ""), object.Options{})
	if err == nil || errors.Is(err, seg.ErrUnavailable) || !strings.Contains(err.Error(), "make it") {
		t.Errorf("%v", err)
	}
}

func TestWrongCredentialsAreToldOnS3(t *testing.T) {
	s := server(t)
	bucket := s.bucket(t, minio.MakeBucketOptions{})
	t.Setenv("AWS_SECRET_ACCESS_KEY", testSecret)
	_, err := object.Open(t.Context(), s.url(bucket, ""), object.Options{})
	if err == nil || errors.Is(err, seg.ErrUnavailable) || !strings.Contains(err.Error(), "does not take these credentials") || strings.Contains(err.Error(), testSecret) {
		t.Errorf("%v", err)
	}
}

// The policy on the page for users is enough for all that a store does, and for nothing beside its prefix.
func TestThePolicyOfTheGuideIsEnoughOnS3(t *testing.T) {
	s := server(t)
	page, err := os.ReadFile("../../docs/guides/archives-on-s3.md")
	if err != nil {
		t.Fatal(err)
	}
	_, policy, _ := strings.Cut(string(page), "```json\n")
	policy, _, found := strings.Cut(policy, "```")
	if !found || !strings.Contains(policy, "arn:aws:s3:::audits/kimberlite/*") {
		t.Fatal("the page has no policy")
	}
	user := os.Getenv("KIMBERLITE_TEST_S3_USER")
	policy = strings.ReplaceAll(policy, `"Effect"`, `"Principal": {"AWS": "`+user+`"}, "Effect"`) // it is the bucket's here, not the user's
	bucket := s.bucket(t, minio.MakeBucketOptions{ObjectLocking: true})
	if err := s.client.SetBucketPolicy(t.Context(), bucket, strings.ReplaceAll(policy, "audits", bucket)); err != nil {
		t.Fatal(err)
	}
	t.Setenv("AWS_ACCESS_KEY_ID", user)
	t.Setenv("AWS_SECRET_ACCESS_KEY", os.Getenv("KIMBERLITE_TEST_S3_USER_SECRET"))
	l := open(t, s.url(bucket, "kimberlite"), object.Options{}).(seg.Locker)
	put(t, l, "a/b", "x")
	put(t, l, "a/b", "y")
	if err := l.PutLocked("a/c", nil, wire.Time(time.Now().Add(time.Hour).UnixNano())); err != nil {
		t.Error(err)
	}
	for _, name := range []string{"a/b", "a/none"} {
		if _, err := l.Get(name); err != nil && !errors.Is(err, seg.ErrNotExist) {
			t.Error(err)
		}
		if _, err := l.Stat(name); err != nil && !errors.Is(err, seg.ErrNotExist) {
			t.Error(err)
		}
		if err := l.Remove(name); err != nil {
			t.Error(err)
		}
	}
	if got := list(t, l, ""); strings.Join(got, " ") != "a/c" {
		t.Errorf("%q", got)
	}
	beside := open(t, s.url(bucket, "elsewhere"), object.Options{})
	if err := beside.Put("a", nil); err == nil || !strings.Contains(err.Error(), "have no right to s3:PutObject") {
		t.Errorf("beside the prefix: %v", err)
	}
}

// The way to the server breaks off in the middle of an object, and comes back.
func TestAServerThatGoesAwayIsUnavailableOnS3(t *testing.T) {
	s := server(t)
	bucket := s.bucket(t, minio.MakeBucketOptions{})
	way := newWay(t, s.endpoint)
	store := open(t, s3{endpoint: way.address()}.url(bucket, ""), object.Options{Timeout: 5 * time.Second})
	big := make([]byte, 4<<20)
	put(t, store, "a", string(big))
	way.breakAfter(1 << 20)
	if err := store.Put("b", big); !errors.Is(err, seg.ErrUnavailable) {
		t.Errorf("put while the way breaks off: %v", err)
	}
	all(t, store, func(did string, err error) {
		if !errors.Is(err, seg.ErrUnavailable) {
			t.Errorf("%s without a way: %v", did, err)
		}
	})
	direct := open(t, s.url(bucket, ""), object.Options{})
	if got := list(t, direct, ""); strings.Join(got, " ") != "a" {
		t.Errorf("there is %q", got)
	}
	way.breakAfter(1 << 40)
	put(t, store, "b", string(big))
	way.breakAfter(1 << 20)
	if data, err := store.Get("b"); !errors.Is(err, seg.ErrUnavailable) || data != nil {
		t.Errorf("get while the way breaks off: %d bytes, %v", len(data), err)
	}
}

// way passes connections on to a server, until so many bytes have gone over it.
type way struct {
	listener net.Listener
	to       string
	users    sync.WaitGroup

	lock  sync.Mutex // guards the rest
	left  int64
	conns map[net.Conn]bool
}

func newWay(t *testing.T, to string) *way {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &way{listener: l, to: to, left: 1 << 40, conns: map[net.Conn]bool{}}
	w.users.Go(w.accept)
	t.Cleanup(func() {
		l.Close()
		w.breakAfter(0)
		w.spend(1)
		w.users.Wait()
	})
	return w
}

func (w *way) address() string { return w.listener.Addr().String() }

func (w *way) breakAfter(bytes int64) {
	w.lock.Lock()
	defer w.lock.Unlock()
	w.left = bytes
}

// spend counts bytes, and ends all connections when there are none left.
func (w *way) spend(bytes int) bool {
	w.lock.Lock()
	defer w.lock.Unlock()
	w.left -= int64(bytes)
	if w.left > 0 {
		return true
	}
	for c := range w.conns {
		c.Close()
	}
	clear(w.conns)
	return false
}

func (w *way) accept() {
	for {
		in, err := w.listener.Accept()
		if err != nil {
			return
		}
		out, err := new(net.Dialer).DialContext(context.Background(), "tcp", w.to)
		if err != nil {
			in.Close()
			continue
		}
		w.lock.Lock()
		w.conns[in], w.conns[out] = true, true
		w.lock.Unlock()
		if !w.spend(0) {
			continue
		}
		for _, c := range [][2]net.Conn{{in, out}, {out, in}} {
			w.users.Go(func() {
				defer c[0].Close()
				defer c[1].Close()
				w.carry(c[0], c[1])
			})
		}
	}
}

func (w *way) carry(from, to io.ReadWriter) {
	p := make([]byte, 32<<10)
	for {
		n, err := from.Read(p)
		if n > 0 && w.spend(n) {
			_, err = to.Write(p[:n])
		} else if n > 0 {
			return
		}
		if err != nil {
			return
		}
	}
}
