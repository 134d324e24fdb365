package host_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
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
		if number := filepath.Base(version); number >= "v4" {
			readGroup(t, connect(t, h))
		}
		if number := filepath.Base(version); number >= "v5" {
			readTables(t, connect(t, h))
		}
		if filepath.Base(version) >= "v7" {
			readCheckpoint(t, connect(t, h))
		}
		if n := metric(t, h, "kimberlite_sql_snapshots_loaded_total"); (n == "1") != (filepath.Base(version) >= "v6") {
			t.Errorf("%s: %s snapshots of tables were taken up", version, n)
		}
		old := strings.HasSuffix(version, "v1") || strings.HasSuffix(version, "v2") // whose snapshots are not read any more
		if len(h.Report.Holes)+len(h.Report.Torn)+len(h.Report.BadSnapshot) > 0 || (h.Report.Snapshot == 0) != old {
			t.Errorf("%s: %+v", version, h.Report)
		}
		if err := h.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

var oldStatements = []string{
	"CREATE TABLE accounts (id INTEGER PRIMARY KEY, balance INTEGER)", "INSERT INTO accounts VALUES (1, 10), (2, random())",
	"UPDATE accounts SET balance = 11 WHERE id = 1",
}

// readTables checks the tables of a data directory, now and before the last statement.
func readTables(t *testing.T, p *peer) {
	const text = "SELECT balance FROM accounts WHERE id = 1"
	now := p.call(&wire.Query{SQL: text}).(*wire.QueryReply)
	then := p.call(&wire.QueryAt{SQL: text, Position: now.Position - 1}).(*wire.QueryReply)
	if now.Rows[0][0].Int != 11 || then.Rows[0][0].Int != 10 {
		t.Errorf("the balance is %v, and was %v", now.Rows, then.Rows)
	}
}

// readCheckpoint checks the checkpoint of a data directory, and what the other stream had at its position.
func readCheckpoint(t *testing.T, p *peer) {
	p.upgrade(2)
	b := p.call(&wire.GetCheckpoint{Of: 1, Ref: wire.CheckpointRef{Label: "half"}, Limit: 10}).(*wire.GetCheckpointReply)
	if b.Note == "" || len(b.Streams) != 3 || b.Streams[1].Head != oldEvents/2 {
		t.Errorf("the checkpoint is %+v", b)
	}
	r := p.call(&wire.ReadEvents{Stream: 2, MaxBytes: 1 << 20, AsOf: wire.Some(b.Info.Position)}).(*wire.ReadEventsReply)
	if r.HeadOffset != oldEvents/2 || r.Events.Count != oldEvents/2 {
		t.Errorf("the stream had %d events up to %d", r.Events.Count, r.HeadOffset)
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
		c.Engine.TablesEvery = 1000
		c.Keys = filepath.Join(t.TempDir(), "keys")
	})
	p := connect(t, h)
	p.call(&wire.CreateStream{Name: "Orders", Class: wire.PHI, Placement: wire.Placement{Region: wire.Region{Kind: wire.RegionCustom, Custom: "eu"}}})
	p.call(&wire.CreateStream{Name: "other", Placement: wire.Placement{Global: true}})
	m := connect(t, h)
	m.upgrade(3)
	p.call(&wire.CreateGroup{Stream: 1, Name: "Billing", Settings: wire.GroupSettings{MaxAttempts: wire.Some(uint32(2)), LookAhead: wire.Some(uint32(20))}})
	sub := m.call(&wire.Subscribe{Stream: 1, Group: wire.Some("billing"), CreditEvents: 10, CreditBytes: 1 << 20}).(*wire.SubscribeReply).Subscription
	for i := range oldEvents {
		if i == oldEvents/2 {
			m.settleSome(sub)
			p.call(&wire.Checkpoint{Of: 1, Label: wire.Some("half")})
		}
		p.call(&wire.AppendEvents{Stream: wire.StreamID(1 + i%2), Events: [][]byte{oldEvent(i), oldEvent(-i)}, Timestamps: wire.Some([]wire.Time{wire.Time(i), 7})})
	}
	for _, text := range oldStatements {
		p.call(&wire.Query{SQL: text})
	}
	for ask := (&wire.GetCheckpoint{Of: 1, Ref: wire.CheckpointRef{Label: "half"}}); p.call(ask).(*wire.GetCheckpointReply).Note == ""; {
	}
	for sealed := []string(nil); len(sealed) == 0 || metric(t, h, "kimberlite_sql_snapshots_total") == "0"; { // only where the directory is made anew
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

// settleSome acknowledges every third of ten deliveries that came before a reply, and has the fifth parked.
func (p *peer) settleSome(sub wire.SubscriptionID) {
	var ids []wire.DeliveryID
	for len(ids) < 10 {
		for _, d := range p.nextMessage().(*wire.Push).Body.(*wire.GroupEvents).Deliveries {
			ids = append(ids, d.ID)
		}
	}
	p.call(&wire.Ack{Subscription: sub, Deliveries: []wire.DeliveryID{ids[0], ids[3], ids[6]}})
	p.call(&wire.Nack{Subscription: sub, Deliveries: ids[4:5], Park: true})
}

func readGroup(t *testing.T, p *peer) {
	t.Helper()
	info := p.call(&wire.GroupInfo{Stream: 1, Name: "BILLING"}).(*wire.GroupInfoReply).Info
	if info.Name != "Billing" || info.Floor != 1 || info.Lag != oldEvents-4 || info.Parked != 1 || info.Settings.LookAhead.Value != 20 {
		t.Fatalf("%+v", info)
	}
	parked := p.call(&wire.Parked{Stream: 1, Name: "billing"}).(*wire.ParkedReply).Events
	if len(parked) != 1 || parked[0].Offset != 4 || parked[0].Attempts != 1 || !parked[0].Asked {
		t.Fatalf("%+v", parked)
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
