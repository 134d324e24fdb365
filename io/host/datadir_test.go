package host_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/kimberlitedb/kimberlite-go/engine/seg"
	"github.com/kimberlitedb/kimberlite-go/io/host"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

var update = flag.Bool("update", false, "make the data directory of the present format anew; only before a release has it")

// Every format that a release has written can be read for ever. A new format gets a directory of its own.
func TestOldDataDirectoriesOpen(t *testing.T) {
	newest := filepath.Join("..", "..", "testdata", "datadir", fmt.Sprintf("v%d", seg.FormatVersion))
	if *update {
		makeDataDirectory(t, newest)
	}
	versions, err := filepath.Glob(filepath.Join("..", "..", "testdata", "datadir", "v*"))
	if err != nil || len(versions) != seg.FormatVersion {
		t.Fatalf("data directories %v, %v", versions, err)
	}
	for _, version := range versions {
		dir := filepath.Join(t.TempDir(), "data")
		if err := os.CopyFS(dir, os.DirFS(version)); err != nil {
			t.Fatal(err)
		}
		h := start(t, dir)
		readDataDirectory(t, connect(t, h))
		if len(h.Report.Holes)+len(h.Report.Torn)+len(h.Report.BadSnapshot) > 0 || (h.Report.Snapshot == 0) == (version == newest) {
			t.Errorf("%s: %+v", version, h.Report)
		}
		if err := h.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

const oldEvents = 40

func oldEvent(i int) []byte { return fmt.Appendf(nil, "event %d", i) }

// makeDataDirectory writes a small directory with two streams, several segments and snapshots.
func makeDataDirectory(t *testing.T, dir string) {
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	h := start(t, dir, func(c *host.Config) {
		c.Engine.Geometry = seg.Geometry{Align: 4096, SegmentSize: 32 << 10}
		c.Engine.MaxBatchBytes, c.Engine.MaxBatchEvents, c.Engine.MaxBatch = 4096, 100, 8192
		c.Engine.SnapshotEvery = 64 << 10
	})
	p := connect(t, h)
	p.call(&wire.CreateStream{Name: "Orders", Class: wire.PHI, Placement: wire.Placement{Region: wire.Region{Kind: wire.RegionCustom, Custom: "eu"}}})
	p.call(&wire.CreateStream{Name: "other", Placement: wire.Placement{Global: true}})
	for i := range oldEvents {
		p.call(&wire.AppendEvents{Stream: wire.StreamID(1 + i%2), Events: [][]byte{oldEvent(i), oldEvent(-i)}, Timestamps: wire.Some([]wire.Time{wire.Time(i), 7})})
	}
	for sealed := []string(nil); len(sealed) == 0; { // only where the directory is made anew
		p.call(&wire.Ping{})
		sealed, _ = filepath.Glob(filepath.Join(dir, "sealed-*.kbz"))
	}
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, "lock")); err != nil {
		t.Fatal(err)
	}
}

func readDataDirectory(t *testing.T, p *peer) {
	t.Helper()
	info := p.call(&wire.StreamInfo{Name: "orders"}).(*wire.StreamInfoReply).Info
	if info.Name != "Orders" || info.Class != wire.PHI || info.Placement.Region.Custom != "eu" || info.HeadOffset != oldEvents {
		t.Fatalf("%+v", info)
	}
	for s := range 2 {
		r := p.call(&wire.ReadEvents{Stream: wire.StreamID(1 + s), MaxBytes: 1 << 20}).(*wire.ReadEventsReply)
		// Without rich events the peer sees data alone: event k of a stream is of append 2·(k/2)+s, negative if odd.
		k := 0
		for e := range r.Events.All {
			i := 2*(k/2) + s
			if k%2 == 1 {
				i = -i
			}
			if string(e.Data) != string(oldEvent(i)) {
				t.Fatalf("stream %d event %d is %q", s+1, k, e.Data)
			}
			k++
		}
		if k != oldEvents {
			t.Fatalf("stream %d has %d events", s+1, k)
		}
	}
}
