package host_test

import (
	"testing"

	"github.com/kimberlitedb/kimberlite-go/engine"
	"github.com/kimberlitedb/kimberlite-go/io/host"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// With a retention of $sql a real server forgets the history of tables and lets go of statements; after a stop and a start the
// tables are taken up from their snapshot.
func TestHistoryIsTrimmed(t *testing.T) {
	dir := t.TempDir()
	short := func(c *host.Config) {
		c.Engine.RetentionDay, c.Engine.RetentionGrain = engine.Second/2, engine.Second/10
		c.Engine.ForgetEvery, c.Engine.TablesEvery, c.Engine.SweepInterval = engine.Second/2, 1000, 2*engine.Second
	}
	h := start(t, dir, short)
	p := connect(t, h)
	p.query("CREATE TABLE c (id INTEGER PRIMARY KEY, s TEXT)")
	for range 5 {
		p.query("INSERT INTO c (s) VALUES ('x')")
	}
	first := p.query("DELETE FROM c WHERE id > 2").Position - 1
	statements := wire.StreamID(3<<62 | 1)
	if _, ok := p.call(&wire.SetRetention{Stream: statements, Days: wire.Some(uint32(1))}).(*wire.SetRetentionReply); !ok {
		t.Fatalf("%+v", p.last)
	}
	for trimmed := false; !trimmed; { // the deadline of the tests is that of this one
		switch b := p.call(&wire.QueryAt{SQL: "SELECT count(*) FROM c", Position: first}).(type) {
		case *wire.QueryReply:
			if n := b.Rows[0][0].Int; n != 5 {
				t.Fatalf("there were %d rows", n)
			}
		case *wire.Error:
			if trimmed = b.Code == wire.InvalidOffset; !trimmed {
				t.Fatalf("%+v", b)
			}
		}
	}
	for oldest := wire.Offset(0); oldest == 0; {
		oldest = p.call(&wire.StreamInfo{Stream: statements}).(*wire.StreamInfoReply).Info.OldestOffset
	}
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	h = start(t, dir, short)
	defer h.Close()
	p = connect(t, h)
	if r := p.query("SELECT count(*) FROM c"); r.Rows[0][0].Int != 2 {
		t.Fatalf("there are %+v rows", r.Rows)
	}
	if e, ok := p.call(&wire.QueryAt{SQL: "SELECT 1", Position: first}).(*wire.Error); !ok || e.Code != wire.InvalidOffset {
		t.Fatalf("%+v", p.last)
	}
	if n := metric(t, h, "kimberlite_sql_snapshots_loaded_total"); n != "1" {
		t.Fatalf("%s snapshots were taken up", n)
	}
}
