package host_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/kimberlitedb/kimberlite-go/engine"
	"github.com/kimberlitedb/kimberlite-go/engine/archive"
	"github.com/kimberlitedb/kimberlite-go/engine/proof"
	"github.com/kimberlitedb/kimberlite-go/io/host"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// bucketURL makes a bucket on the S3 server that `make s3` starts, and returns its URL.
func bucketURL(t *testing.T, o minio.MakeBucketOptions) string {
	t.Helper()
	endpoint := os.Getenv("KIMBERLITE_TEST_S3")
	if endpoint == "" {
		t.Skip("there is no S3 server; see make s3")
	}
	client, err := minio.New(endpoint, &minio.Options{Creds: credentials.NewEnvAWS(), Region: "us-east-1", BucketLookup: minio.BucketLookupPath})
	if err != nil {
		t.Fatal(err)
	}
	name := fmt.Sprintf("host-%x", time.Now().UnixNano())
	if err := client.MakeBucket(t.Context(), name, o); err != nil {
		t.Fatal(err)
	}
	return "s3://" + name + "/kimberlite?region=us-east-1&insecure=1&path-style=1&endpoint=" + endpoint
}

// verified verifies all checkpoints of an archive and returns how many events they have, and how many are gone.
func verified(t *testing.T, url, keys string) (events, gone uint64) {
	t.Helper()
	store, err := host.OpenArchive(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	text, err := os.ReadFile(keys)
	if err != nil {
		t.Fatal(err)
	}
	public, err := proof.Verifiers(text)
	if err != nil {
		t.Fatal(err)
	}
	box := &archive.Box{Objects: store}
	places, err := box.Find("")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range places {
		c, err := box.Open(p, public)
		if err != nil {
			t.Fatal(err)
		}
		for i := range c.Manifest.Streams {
			v := c.Verify(&c.Manifest.Streams[i])
			if v.Err != nil {
				t.Fatal(v.Err)
			}
			events, gone = events+v.Events, gone+v.Gone
		}
	}
	return events, gone
}

// Checkpoints go to a real S3 server, are verified there, and what is purged leaves it.
func TestCheckpointsOnS3(t *testing.T) {
	url := bucketURL(t, minio.MakeBucketOptions{})
	dir := t.TempDir()
	h := start(t, dir, func(c *host.Config) {
		c.Engine.Archives = []string{url}
		c.Engine.SweepInterval, c.Engine.RetentionDay = engine.Second, engine.Second
	})
	defer h.Close()
	p := connect(t, h)
	p.call(&wire.CreateStream{Name: "orders"})
	for i := range 50 {
		p.call(&wire.AppendEvents{Stream: 1, Events: [][]byte{fmt.Appendf(nil, "order %d", i), []byte("more")}})
	}
	p.cut("first")
	p.archive("first", url)
	p.call(&wire.AppendEvents{Stream: 1, Events: [][]byte{[]byte("later")}})
	p.cut("second")
	p.archive("second", url)
	keys := filepath.Join(dir, host.KeysName)
	if events, gone := verified(t, url, keys); events < 200 || gone > 0 {
		t.Errorf("the archive has %d events, and %d are gone", events, gone)
	}
	p.call(&wire.DeleteStream{Stream: 1, RetentionOverride: wire.Some(uint32(0))})
	for deadline := time.Now().Add(30 * time.Second); metric(t, h, "kimberlite_archive_pruned_events_total") != "101"; {
		if time.Now().After(deadline) {
			t.Fatalf("%s events were taken out of the archive", metric(t, h, "kimberlite_archive_pruned_events_total"))
		}
		p.call(&wire.Ping{})
	}
	if _, gone := verified(t, url, keys); gone != 201 {
		t.Errorf("%d events are gone", gone)
	}
}

// A bucket with object lock lets nobody remove what was sent with a lock. A stream that is deleted afterwards has to wait there, and that is told.
func TestLockedCheckpointsOnS3(t *testing.T) {
	url := bucketURL(t, minio.MakeBucketOptions{ObjectLocking: true})
	h := start(t, t.TempDir(), func(c *host.Config) {
		c.Engine.Archives = []string{url}
		c.Engine.SweepInterval, c.Engine.RetentionDay = engine.Second, engine.Second
	})
	defer h.Close()
	p := connect(t, h)
	p.call(&wire.CreateStream{Name: "orders"})
	p.call(&wire.AppendEvents{Stream: 1, Events: [][]byte{[]byte("order")}})
	p.cut("first")
	ask := &wire.ArchiveCheckpoint{Of: 1, Ref: wire.CheckpointRef{Label: "first"}, Destination: url, LockUntil: wire.Some(wire.Time(time.Now().Add(time.Hour).UnixNano()))}
	if _, ok := p.call(ask).(*wire.ArchiveCheckpointReply); !ok {
		t.Fatalf("%+v", p.last)
	}
	for !p.checkpoint("first").Archives[0].Done {
		p.call(&wire.Ping{})
	}
	p.call(&wire.DeleteStream{Stream: 1, RetentionOverride: wire.Some(uint32(0))})
	for deadline := time.Now().Add(30 * time.Second); metric(t, h, "kimberlite_archive_prune_failures_total") == "0"; {
		if time.Now().After(deadline) {
			t.Fatal("nothing was in the way of taking the event out of the archive")
		}
		p.call(&wire.Ping{})
	}
	if metric(t, h, "kimberlite_archive_unpruned_seconds") == "0" {
		t.Error("nobody is told that it is still there")
	}
}
