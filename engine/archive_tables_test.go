package engine_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"strings"
	"testing"

	"github.com/kimberlitedb/kimberlite-go/engine"
	"github.com/kimberlitedb/kimberlite-go/engine/archive"
	"github.com/kimberlitedb/kimberlite-go/sim/disk"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// sql carries out a statement, or asks a question.
func (r *rig) sql(text string) *wire.QueryReply {
	r.t.Helper()
	b, ok := r.callRich(1, &wire.Query{SQL: text}).(*wire.QueryReply)
	if !ok {
		r.t.Fatalf("%s: %+v", text, r.last.Msg.Body)
	}
	return b
}

// letGo has the tenant forget its tables' history, and the statements before.
func (a *archivingRig) letGo() {
	a.t.Helper()
	if _, ok := a.call(1, &wire.SetRetention{Stream: statementsOf(1), Days: wire.Some(uint32(1))}).(*wire.SetRetentionReply); !ok {
		a.t.Fatalf("%+v", a.last.Msg.Body)
	}
	a.pass(60)
	if _, ok := a.callRich(1, &wire.QueryAt{SQL: "SELECT 1", Position: 1}).(*wire.Error); !ok {
		a.t.Fatal("the history is not forgotten")
	}
}

func statementsOf(t wire.TenantID) wire.StreamID { return wire.StreamID(3<<62 | uint64(t)) }

const ticketsTable = "CREATE TABLE tickets (id INTEGER PRIMARY KEY AUTOINCREMENT, s TEXT)"

// Tables whose first statements are let go of are restored from their dump, and go on as they would have.
func TestTablesAreRestoredWithoutTheirStatements(t *testing.T) {
	a := newArchiving(t)
	a.sql(ticketsTable)
	a.sql("CREATE TABLE plain (n)")
	for i := range 30 {
		a.sql(fmt.Sprintf("INSERT INTO tickets (s) VALUES ('ticket %d')", i))
	}
	a.sql("INSERT INTO plain VALUES (1), (2), (3)")
	a.sql("DELETE FROM tickets WHERE id > 20")
	a.sql("DELETE FROM plain WHERE n = 2")
	a.fill(5)
	a.letGo()
	a.sql("CREATE VIEW late AS SELECT count(*) AS c FROM tickets")
	at := a.checkpoint("first")
	a.sql("UPDATE tickets SET s = 'changed'")
	a.sql("DROP TABLE plain")
	a.send("first")

	c := a.opened("first")
	if there, gone := c.Dumped(); !there {
		t.Fatal(gone)
	}
	if c.Manifest.Stream(statementsOf(1)).Oldest == 0 {
		t.Fatal("the statements are all there")
	}
	r, report := a.restored(c)
	if report.NoTables != "" {
		t.Error(report.NoTables)
	}
	for range 2 {
		b := r.sql("SELECT group_concat(DISTINCT substr(s, 1, 6)), (SELECT c FROM late), (SELECT group_concat(rowid) FROM plain) FROM tickets")
		if got := fmt.Sprint(b.Rows[0][0].Text, b.Rows[0][1].Int, b.Rows[0][2].Text); got != "ticket201,3" {
			t.Error(got)
		}
		if e, ok := r.callRich(1, &wire.QueryAt{SQL: "SELECT 1 FROM tickets", Position: 5}).(*wire.Error); !ok || e.Code != wire.InvalidOffset {
			t.Errorf("%+v", r.last.Msg.Body)
		}
		if b, ok := r.callRich(1, &wire.QueryAt{SQL: "SELECT count(*) FROM tickets", Position: at}).(*wire.QueryReply); !ok || b.Rows[0][0].Int != 20 {
			t.Errorf("%+v", r.last.Msg.Body)
		}
		if report := r.checked(); report.Damaged() {
			t.Errorf("%s", describeAll(report))
		}
		if err := r.open(); err != nil {
			t.Fatal(err)
		}
	}
	if b := r.sql("INSERT INTO tickets (s) VALUES ('next') RETURNING id"); b.Rows[0][0].Int != 31 {
		t.Errorf("%+v", b.Rows)
	}
	r.pass(60) // statements are let go of here too
	r.sql("DELETE FROM plain")
	if err := r.open(); err != nil {
		t.Fatal(err)
	}
	if b := r.sql("SELECT count(*), max(id), (SELECT count(*) FROM plain) FROM tickets"); fmt.Sprint(b.Rows[0][0].Int, b.Rows[0][1].Int, b.Rows[0][2].Int) != "21 31 0" {
		t.Errorf("%+v", b.Rows)
	}
	if report := r.checked(); report.Damaged() {
		t.Errorf("%s", describeAll(report))
	}
}

// Tables leave an archive once their history is forgotten: rows that are deleted are nowhere then. Those of a later checkpoint stay.
func TestForgottenTablesLeaveTheArchive(t *testing.T) {
	a := newArchiving(t)
	a.sql(ticketsTable)
	a.sql("INSERT INTO tickets (s) VALUES ('secret'), ('plain')")
	a.fill(5)
	a.checkpoint("first")
	a.send("first")
	a.sql("DELETE FROM tickets WHERE s = 'secret'")
	a.fill(5)
	a.letGo()
	a.sql("INSERT INTO tickets (s) VALUES ('late')")
	a.checkpoint("second")
	a.send("second")
	a.pass(10)
	if there, gone := a.opened("first").Dumped(); there || gone == "" {
		t.Error(there, gone)
	}
	second := a.opened("second")
	if there, gone := second.Dumped(); !there {
		t.Error(gone)
	}
	for name, p := range a.at {
		raw, err := new(archive.Packer).Unpack(archive.Blob{Digest: sha256.Sum256(p), Size: len(p)}, p, archive.MaxBlob)
		if err == nil && bytes.Contains(raw, []byte("secret")) {
			t.Errorf("%s has a row that is gone", name)
		}
	}
	r, _ := a.restored(second)
	if b := r.sql("SELECT group_concat(s) FROM tickets"); b.Rows[0][0].Text != "plain,late" {
		t.Errorf("%+v", b.Rows)
	}
}

// What is changed in the archive's tables is found, and not restored.
func TestDamagedTablesAreFound(t *testing.T) {
	a := newArchiving(t)
	a.sql(ticketsTable)
	a.sql("INSERT INTO tickets (s) VALUES ('one')")
	a.fill(5)
	a.letGo()
	a.checkpoint("first")
	a.send("first")
	c := a.opened("first")
	c.Index.Tables = nil
	if _, err := c.VerifyTables(); err == nil {
		t.Error("tables are missing, and nothing is wrong")
	}
	if _, err := engine.Restore(disk.New(512).Mount(), a.cfg, a.now.Wall, restoring(c)); err == nil {
		t.Error("it is restored")
	}
}

// Where the history is forgotten before a checkpoint is kept, or sent, its tables are gone, and nothing else.
func TestTablesOfForgottenHistoryAreGone(t *testing.T) {
	a := newArchiving(t)
	a.sql(ticketsTable)
	a.sql("INSERT INTO tickets (s) VALUES ('one')")
	a.fill(5)
	a.checkpoint("first")
	a.sql("INSERT INTO tickets (s) VALUES ('two')")
	a.pass(20)
	a.sql("INSERT INTO tickets (s) VALUES ('three')")
	a.letGo()
	a.send("first")
	c := a.opened("first")
	if there, gone := c.Dumped(); there || !strings.Contains(gone, "forgotten") || c.Manifest.Tables == nil {
		t.Errorf("%v %q %v", there, gone, c.Manifest.Tables)
	}
	if n, err := c.VerifyTables(); n != 0 || err != nil {
		t.Error(n, err)
	}
	_, report := a.restored(c)
	if report.NoTables == "" {
		t.Error("there are tables")
	}
}

// A checkpoint of tables that have changed little brings little of them.
func TestADumpIsSentOnce(t *testing.T) {
	a := newArchiving(t)
	a.sql(ticketsTable)
	a.sql("INSERT INTO tickets (s) WITH RECURSIVE x(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM x WHERE i < 20000) SELECT hex(randomblob(100)) FROM x")
	a.checkpoint("first")
	a.send("first")
	before := a.at.size()
	a.sql("UPDATE tickets SET s = 'other' WHERE id = 10000")
	a.sql("DELETE FROM tickets WHERE id = 3000")
	a.checkpoint("second")
	a.send("second")
	if n, err := a.opened("second").VerifyTables(); n < 4_000_000 || err != nil {
		t.Error(n, err)
	}
	if pieces := len(a.opened("second").Index.Tables); pieces < 5 {
		t.Errorf("there are %d pieces", pieces)
	}
	if grown := a.at.size() - before; grown > before*2/5 {
		t.Errorf("the archive has grown by %d bytes, from %d", grown, before)
	}
	for name, p := range a.at {
		if len(p) > 1<<21 {
			t.Errorf("%s has %d bytes", name, len(p))
		}
	}
}

// A checkpoint waits for its statements: they are carried out again after a start.
func TestACheckpointWaitsForItsTables(t *testing.T) {
	a := newArchiving(t)
	a.sql(ticketsTable)
	a.sql("INSERT INTO tickets (s) VALUES ('one')")
	a.request(1, &wire.Checkpoint{Of: 1, Label: wire.Some("first")})
	a.step(engine.EndBatch{})
	kept := a.info("first").Note
	if err := a.open(); err != nil {
		t.Fatal(err)
	}
	a.pass(3)
	a.send("first")
	if there, gone := a.opened("first").Dumped(); !there {
		t.Error(kept, gone)
	}
}
