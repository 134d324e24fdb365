package engine_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/kimberlitedb/kimberlite-go/engine"
	"github.com/kimberlitedb/kimberlite-go/engine/seg"
	"github.com/kimberlitedb/kimberlite-go/sim/disk"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

const tablesTenant wire.TenantID = 7

// tablesRig is a rig with a table of a hundred rows, of which there are two snapshots.
func tablesRig(t *testing.T) *rig {
	t.Helper()
	cfg := smallConfig()
	cfg.TablesEvery = 8 << 10
	r := newRig(t, cfg)
	r.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, s TEXT)")
	for i := range 100 {
		r.execute(fmt.Sprintf("INSERT INTO t VALUES (%d, 'row %d')", i, i))
	}
	r.mark()
	if man := r.manifest(); len(man.Tables) != 2 || man.Tables[1].Next <= man.Tables[0].Next || man.Tables[1].Next > 101 {
		t.Fatalf("%+v", man.Tables)
	}
	return r
}

// execute carries out a statement that must succeed.
func (r *rig) execute(text string) *wire.QueryReply {
	r.t.Helper()
	b, ok := r.call(tablesTenant, &wire.Query{SQL: text}).(*wire.QueryReply)
	if !ok {
		r.t.Fatalf("%s: %v", text, r.last.Msg.Body)
	}
	return b
}

// restarted opens the directory again and checks that the tables are what they were.
func (r *rig) restarted(loaded, unusable, rebuilt uint64) {
	r.t.Helper()
	if err := r.open(); err != nil {
		r.t.Fatal(err)
	}
	if b := r.execute("SELECT count(*), max(s) FROM t"); b.Rows[0][0].Int != 100 || b.Rows[0][1].Text != "row 99" {
		r.t.Fatalf("%v", b.Rows)
	}
	if b := r.execute("SELECT count(*) FROM t AS OF POSITION 12"); b.Rows[0][0].Int != 11 {
		r.t.Fatalf("%v", b.Rows)
	}
	if s := r.m.Stats(); s.TablesLoaded != loaded || s.TablesUnusable != unusable || s.TablesRebuilt != rebuilt {
		r.t.Fatalf("%d snapshots were taken up, %d passed over, and %d times there was none", s.TablesLoaded, s.TablesUnusable, s.TablesRebuilt)
	}
}

// spoil changes a byte in the middle of a snapshot of tables.
func (r *rig) spoil(mark seg.TablesMark) {
	name := seg.TablesName(mark.Number)
	change(r.t, r.d.Mount(), name, 200, func(p []byte) { p[0] ^= 1 })
}

func TestTablesAreTakenUpFromASnapshot(t *testing.T) {
	r := tablesRig(t)
	r.restarted(1, 0, 0)
	r.execute("UPDATE t SET s = 'row 99'")
}

// A snapshot that is damaged is passed over, and not kept beside the next one. Where all are, everything is carried out again.
func TestDamagedSnapshotsOfTablesArePassedOver(t *testing.T) {
	r := tablesRig(t)
	marks := r.manifest().Tables
	r.spoil(marks[1])
	if report := r.checked(); len(report.Findings) != 1 || report.Findings[0].Kind != engine.BadTables || report.Tables != 2 {
		t.Fatalf("%+v", report)
	}
	r.restarted(1, 1, 0)
	if now := r.manifest().Tables; len(now) != 2 || now[0] != marks[0] || now[1].Next <= marks[1].Next {
		t.Fatalf("%+v, and then %+v", marks, now)
	}
	for _, mark := range r.manifest().Tables {
		r.spoil(mark)
	}
	r.restarted(0, 2, 1)
	if now := r.manifest().Tables; len(now) == 0 || now[0].Number <= marks[1].Number {
		t.Fatalf("%+v: those that are damaged are still there", now)
	}
}

// Where the log says of the same statements that they had another outcome, the snapshot is not used.
func TestSnapshotsOfOtherTablesArePassedOver(t *testing.T) {
	for i, edit := range []func(h *seg.TablesHead){
		func(h *seg.TablesHead) { h.Next++ }, func(h *seg.TablesHead) { h.Tenant++ }, func(h *seg.TablesHead) { h.LSN++ },
	} {
		r := tablesRig(t)
		marks := r.manifest().Tables
		var pages [][]byte
		h, err := seg.ReadTables(r.fs, r.cfg.Store, marks[1].Number, func(p []byte) error {
			pages = append(pages, []byte(string(p)))
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		edit(&h)
		if _, err := seg.WriteTables(r.fs, &h, slices.Values(pages)); err != nil {
			t.Fatal(err)
		}
		if report := r.checked(); len(report.Findings) != 1 || report.Findings[0].Kind != engine.BadTables {
			t.Fatalf("%d: %+v", i, report)
		}
		r.restarted(1, 1, 0)
	}
}

// A manifest that is made anew names the snapshots of tables.
func TestRepairFindsSnapshotsOfTables(t *testing.T) {
	r := tablesRig(t)
	marks := r.manifest().Tables
	if err := r.fs.Remove(seg.ManifestName); err != nil {
		t.Fatal(err)
	}
	plan, err := engine.PlanRepair(r.fs, r.cfg)
	if err != nil || len(plan.Steps) != 1 || !strings.Contains(plan.Steps[0].Does, "2 snapshots of tables") {
		t.Fatalf("%+v, %v", plan, err)
	}
	if err := plan.Apply(r.fs); err != nil {
		t.Fatal(err)
	}
	if now := r.manifest().Tables; len(now) != 2 || now[0] != marks[0] || now[1] != marks[1] {
		t.Fatalf("%+v", now)
	}
	r.restarted(1, 0, 0)
}

// A log that ends before the statements of a snapshot of tables has lost some, and says so.
func TestASnapshotOfTablesVouchesForItsStatements(t *testing.T) {
	r := tablesRig(t)
	man := r.manifest()
	last := man.Tables[1].LSN
	for _, b := range r.written {
		if b.Count > 0 && b.Last() >= last {
			name := seg.SegmentName(r.m.Geometry().Segment(b.Address))
			change(r.t, r.d.Mount(), name, r.m.Geometry().Offset(b.Address), func(p []byte) { p[0] ^= 1 })
		}
	}
	if err := r.open(); err != nil {
		t.Fatal(err)
	}
	if len(r.report.Holes) != 1 || r.report.Holes[0].Last < last {
		t.Fatalf("%+v", r.report)
	}
}

// forgetfulRig is a rig with tables whose history is kept for a day of ten seconds.
func forgetfulRig(t *testing.T) *rig {
	t.Helper()
	cfg := smallConfig()
	cfg.TablesEvery, cfg.RetentionDay, cfg.ForgetEvery = 8<<10, 10*engine.Second, engine.Second
	cfg.SealBlock, cfg.MergeFiles, cfg.SweepInterval = 1<<10, 4, 20*engine.Second
	r := newRig(t, cfg)
	r.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, s TEXT)")
	for i := range 20 {
		r.execute(fmt.Sprintf("INSERT INTO t VALUES (%d, 'marker of row %d')", i, i))
	}
	r.execute("DELETE FROM t WHERE id >= 10")
	if b, ok := r.call(tablesTenant, &wire.SetRetention{Stream: statements, Days: wire.Some(uint32(1))}).(*wire.SetRetentionReply); !ok {
		t.Fatalf("%v, %v", b, r.last.Msg.Body)
	}
	return r
}

const statements = wire.StreamID(3<<62 | uint64(tablesTenant))

// pass lets time pass, a second at a time.
func (r *rig) pass(seconds int) {
	for range seconds {
		r.now.Mono += wire.Time(engine.Second)
		r.now.Wall += wire.Time(engine.Second)
		r.step(engine.Tick{})
		r.step(engine.EndBatch{})
	}
}

// holding returns the files that hold a text, expanded.
func (r *rig) holding(text string) (names []string) {
	list, err := r.fs.List()
	if err != nil {
		r.t.Fatal(err)
	}
	for _, name := range list {
		var p []byte
		if n, ok := seg.TablesNumber(name); ok {
			if _, err := seg.ReadTables(r.fs, r.cfg.Store, n, func(page []byte) error {
				p = append(p, page...)
				return nil
			}); err != nil {
				r.t.Fatal(err)
			}
		} else if n, ok := seg.SealedNumber(name); ok {
			x, err := seg.ReadSealedIndex(r.fs, r.cfg.Store, n)
			if err != nil {
				r.t.Fatal(err)
			}
			reader, err := seg.NewSealedReader(r.fs, r.cfg.Store)
			if err != nil {
				r.t.Fatal(err)
			}
			for _, b := range x.Blocks {
				records, err := reader.Read(n, b, nil)
				if err != nil {
					r.t.Fatal(err)
				}
				p = append(p, records...)
			}
			reader.Close()
		} else {
			f, err := r.fs.Open(name)
			if err != nil {
				r.t.Fatal(err)
			}
			size, _ := f.Size()
			p = make([]byte, size)
			if _, err := f.ReadAt(p, 0); err != nil && !errors.Is(err, io.EOF) {
				r.t.Fatal(err)
			}
			f.Close()
		}
		if bytes.Contains(p, []byte(text)) {
			names = append(names, name)
		}
	}
	return names
}

// refused checks that a position is too old.
func (r *rig) refused(at wire.Position) {
	r.t.Helper()
	e, ok := r.call(tablesTenant, &wire.QueryAt{SQL: "SELECT count(*) FROM t", Position: at}).(*wire.Error)
	if !ok || e.Code != wire.InvalidOffset {
		r.t.Fatalf("position %d: %v", at, r.last.Msg.Body)
	}
}

// A deleted row is in no file once its history is forgotten and swept; what is there is there, after restarts too.
func TestForgottenRowsAreInNoFile(t *testing.T) {
	r := forgetfulRig(t)
	if b := r.execute("SELECT count(*) FROM t AS OF POSITION 21"); b.Rows[0][0].Int != 20 {
		t.Fatalf("%v", b.Rows)
	}
	if names := r.holding("marker of row 15"); len(names) == 0 {
		t.Fatal("no file holds a row")
	}
	r.pass(12)
	r.refused(21)
	r.refused(0)
	r.pass(30)
	if names := r.holding("marker of row 15"); len(names) > 0 || r.m.Stats().Sweeps == 0 {
		t.Fatalf("%v hold a row after %d sweeps", names, r.m.Stats().Sweeps)
	}
	if names := r.holding("marker of row 5"); len(names) != 2 {
		t.Fatalf("%v hold a row that is there", names)
	}
	at := r.execute("SELECT 1").Position
	lsn := r.m.Stats().LSN
	r.pass(100)
	if now := r.m.Stats().LSN; now != lsn {
		t.Fatalf("the log has grown from entry %d to %d, although nothing is to be forgotten", lsn, now)
	}
	for range 2 {
		if err := r.open(); err != nil {
			t.Fatal(err)
		}
		if b := r.execute("SELECT count(*), max(s) FROM t"); b.Rows[0][0].Int != 10 || b.Rows[0][1].Text != "marker of row 9" || b.Position != at {
			t.Fatalf("%+v", b)
		}
		r.refused(21)
		if report := r.checked(); report.Damaged() {
			t.Fatalf("%s", describeAll(report))
		}
	}
	// Without a snapshot there is nothing to be had, and that is said.
	for _, mark := range r.manifest().Tables {
		r.spoil(mark)
	}
	if report := r.checked(); len(report.Findings) != 3 {
		t.Fatalf("%s", describeAll(report))
	}
	if err := r.open(); err != nil {
		t.Fatal(err)
	}
	if e, ok := r.call(tablesTenant, &wire.Query{SQL: "SELECT 1"}).(*wire.Error); !ok || e.Code != wire.DataCorrupted || !strings.Contains(e.Message, "no snapshot") {
		t.Fatalf("%v", r.last.Msg.Body)
	}
}

// A hold keeps the history, and the statements.
func TestAHoldKeepsTheHistory(t *testing.T) {
	r := forgetfulRig(t)
	if _, ok := r.call(tablesTenant, &wire.SetHold{Stream: statements, Name: "case-7"}).(*wire.SetHoldReply); !ok {
		t.Fatalf("%v", r.last.Msg.Body)
	}
	r.pass(100)
	if b := r.execute("SELECT count(*) FROM t AS OF POSITION 21"); b.Rows[0][0].Int != 20 {
		t.Fatalf("%v", b.Rows)
	}
	if _, ok := r.call(tablesTenant, &wire.ReleaseHold{Stream: statements, Name: "case-7"}).(*wire.ReleaseHoldReply); !ok {
		t.Fatalf("%v", r.last.Msg.Body)
	}
	r.pass(90)
	r.refused(21)
	if names := r.holding("marker of row 15"); len(names) > 0 {
		t.Fatalf("%v hold a row", names)
	}
}

// As long as snapshots cannot be written, statements stay: they are all that the tables can be made of.
func TestStatementsStayWithoutASnapshot(t *testing.T) {
	r := forgetfulRig(t)
	broken := true
	r.d.Hook = func(op disk.Op) disk.Verdict {
		if broken && op.Kind == disk.OpCreate && strings.HasPrefix(op.Name, "tables-") {
			return disk.Verdict{Err: errors.New("no")}
		}
		return disk.Verdict{}
	}
	r.pass(60)
	r.refused(21)
	if err := r.open(); err != nil {
		t.Fatal(err)
	}
	if b := r.execute("SELECT count(*) FROM t"); b.Rows[0][0].Int != 10 {
		t.Fatalf("%v", b.Rows)
	}
	r.refused(21)
	broken = false
	r.pass(60)
	if names := r.holding("marker of row 15"); len(names) > 0 {
		t.Fatalf("%v hold a row", names)
	}
}

// Where the tables of a tenant are full, rows can still be deleted, and tables dropped.
func TestFullTablesCanBeEmptied(t *testing.T) {
	cfg := smallConfig()
	cfg.SQLPages = 60
	r := newRig(t, cfg)
	fill := func() {
		r.t.Helper()
		for range 1000 {
			if e, ok := r.call(tablesTenant, &wire.Query{SQL: "INSERT INTO t VALUES (hex(zeroblob(1500)))"}).(*wire.Error); ok {
				if e.Code != wire.QuotaExceeded {
					t.Fatalf("%v", e)
				}
				return
			}
		}
		t.Fatal("the tables are never full")
	}
	r.execute("CREATE TABLE t (a)")
	fill()
	r.execute("DELETE FROM t WHERE rowid % 2 = 0")
	fill()
	if err := r.open(); err != nil {
		t.Fatal(err)
	}
	r.execute("DROP TABLE t")
}
