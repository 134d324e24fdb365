package seg_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/kimberlitedb/kimberlite-go/engine"
	"github.com/kimberlitedb/kimberlite-go/engine/seg"
	"github.com/kimberlitedb/kimberlite-go/sim/disk"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// page is docs/STORAGE.md: tables by their headings, cells without backquotes.
type page struct {
	text   string
	tables map[string][][]string
}

func readPage(t *testing.T) page {
	t.Helper()
	text, err := os.ReadFile("../../docs/STORAGE.md")
	if err != nil {
		t.Fatal(err)
	}
	p := page{string(text), map[string][][]string{}}
	heading := ""
	for line := range strings.Lines(p.text) {
		if h, ok := strings.CutPrefix(line, "#"); ok {
			heading = strings.Trim(h, "# \n")
		}
		if !strings.HasPrefix(line, "|") || strings.HasPrefix(line, "|---") {
			continue
		}
		var cells []string
		for _, c := range strings.Split(strings.Trim(line, "|\n"), "|") {
			cells = append(cells, strings.Trim(c, " `"))
		}
		p.tables[heading] = append(p.tables[heading], cells)
	}
	return p
}

// rows returns a table without its head.
func (p page) rows(t *testing.T, heading string) [][]string {
	t.Helper()
	rows := p.tables[heading]
	if len(rows) < 2 {
		t.Fatalf("no table under %q", heading)
	}
	return rows[1:]
}

// layout compares a table of offset, bytes and field with encoded bytes, whose fields have known values. Every byte up
// to the last row must be in the table, and a magic must open the fourth column.
func (p page) layout(t *testing.T, heading string, got []byte, values map[string]uint64) {
	t.Helper()
	next := 0
	for _, row := range p.rows(t, heading) {
		off, size := number(t, row[0]), number(t, row[1])
		field := row[2]
		if off != next {
			t.Errorf("%s: %s is at %d, and the field before it ends at %d", heading, field, off, next)
		}
		next = off + size
		var word [8]byte
		copy(word[:], got[off:next])
		value, want := binary.LittleEndian.Uint64(word[:]), values[field]
		switch {
		case field == "magic":
			if !strings.HasPrefix(row[3], string(got[off:next])) {
				t.Errorf("%s: the magic is %q", heading, got[off:next])
			}
		case field == "crc32c":
			if value == 0 {
				t.Errorf("%s: no checksum at %d", heading, off)
			}
		case field == "reserved":
			if value != 0 {
				t.Errorf("%s: reserved bytes at %d are %#x", heading, off, value)
			}
		case value != want || want == 0:
			t.Errorf("%s: %s is %#x at %d, want %#x", heading, field, value, off, want)
		}
	}
}

// says checks that the page has each of some phrases.
func (p page) says(t *testing.T, phrases ...string) {
	t.Helper()
	flat := strings.Join(strings.Fields(p.text), " ")
	for _, s := range phrases {
		if !strings.Contains(flat, s) {
			t.Errorf("docs/STORAGE.md does not say %q", s)
		}
	}
}

func number(t *testing.T, s string) int {
	t.Helper()
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

var geo = seg.Geometry{Align: 512, SegmentSize: 4096}

const store = seg.StoreID(0x1122334455667788)

func content(t *testing.T, fs seg.Files, name string) []byte {
	t.Helper()
	f, err := fs.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	n, _ := f.Size()
	p := make([]byte, n)
	if _, err := f.ReadAt(p, 0); err != nil && err != io.EOF {
		t.Fatal(err)
	}
	return p
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestDocumentedLayoutsAreTheCode(t *testing.T) {
	p, fs := readPage(t), disk.New(512).Mount()
	check(t, seg.PrepareSegment(fs, geo, store, 9))
	p.layout(t, "Segment header", content(t, fs, seg.SegmentName(9)), map[string]uint64{
		"version": seg.FormatVersion, "store id": uint64(store), "number": 9, "align": 512, "segment size": 4096,
	})

	batch := make([]byte, seg.BatchHeader)
	seg.PutBatch(batch, store, &seg.Batch{Address: 1, First: 2, Count: 3, Length: 4, Durable: 5, Clock: 6})
	p.layout(t, "Batch header", batch, map[string]uint64{
		"store id": uint64(store), "address": 1, "first lsn": 2, "count": 3, "length": 4, "durable lsn": 5, "engine clock": 6,
	})

	record := seg.BeginRecord(nil, &seg.Record{
		LSN: 1, Kind: seg.KindAppend, Flags: seg.FlagKey, Count: 4, Tenant: 5, Position: 6, Commit: 7, Stream: 8, First: 9,
	})
	seg.FinishRecord(record, 0)
	p.layout(t, "Record header", record, map[string]uint64{
		"length": uint64(len(record)), "lsn": 1, "kind": 3, "flags": 1, "count": 4, "tenant": 5, "position": 6, "commit time": 7,
		"stream": 8, "first offset": 9,
	})

	check(t, seg.WriteManifest(fs, seg.Manifest{Store: store, Geometry: geo, First: 3, Snapshots: []seg.SnapshotMark{{21, 0x4000}, {11, 0x2000}}, Next: 2, Sealed: []seg.SealedMark{{1, 1, 9}}}))
	p.layout(t, "Manifest layout", content(t, fs, seg.ManifestName), map[string]uint64{
		"version": seg.FormatVersion, "align": 512, "store id": uint64(store), "segment size": 4096, "first segment": 3, "count": 2,
		"snapshot": 21,
	})

	check(t, seg.WriteSnapshot(fs, store, 21, []byte("state")))
	snapshot := content(t, fs, seg.SnapshotName(21))
	p.layout(t, "Snapshot container", snapshot, map[string]uint64{
		"version": seg.FormatVersion, "store id": uint64(store), "lsn": 21, "length": 5,
	})
	p.says(t, fmt.Sprintf("The state follows at byte %d.", bytes.Index(snapshot, []byte("state"))))
}

func TestDocumentedSnapshotOfTablesIsTheCode(t *testing.T) {
	p := readPage(t)
	fs := disk.New(512).Mount()
	head := seg.TablesHead{
		TablesMark: seg.TablesMark{Number: 3, Tenant: 4, Next: 5, LSN: 6}, Store: store, PageSize: 4096, Pages: 2, Library: 7,
	}
	_, err := seg.WriteTables(fs, &head, func(yield func([]byte) bool) {
		for range head.Pages {
			if !yield(make([]byte, 4096)) {
				return
			}
		}
	})
	check(t, err)
	file := content(t, fs, seg.TablesName(3))
	p.layout(t, "Tables header", file, map[string]uint64{
		"version": seg.FormatVersion, "page size": 4096, "store id": uint64(store), "number": 3, "tenant": 4, "next": 5, "lsn": 6, "pages": 2,
		"library": 7,
	})
	p.layout(t, "Tables trailer", file[len(file)-48:], map[string]uint64{"blocks": 1})
}

func TestDocumentedCheckpointIsTheCode(t *testing.T) {
	p, fs := readPage(t), disk.New(512).Mount()
	id := wire.CheckpointID{1}
	check(t, seg.WriteCheckpoint(fs, store, id, &seg.Checkpoint{Note: []byte("note"), State: []byte("state")}))
	file := content(t, fs, seg.CheckpointName(id))
	p.layout(t, "Checkpoint header", file, map[string]uint64{"version": seg.FormatVersion, "store id": uint64(store), "checkpoint id": 1})
	check(t, seg.WriteLeaves(fs, store, id, func(*seg.LeafWriter) error { return nil }))
	leaves := content(t, fs, seg.LeavesName(id))
	p.layout(t, "Leaves header", leaves, map[string]uint64{"version": seg.FormatVersion, "store id": uint64(store), "checkpoint id": 1})
	p.layout(t, "Leaves trailer", leaves[len(leaves)-16:], map[string]uint64{"index": 36})
	if want := 36 + 4*8 + len("note") + len("state"); len(file) != want {
		t.Errorf("the file has %d bytes, want %d", len(file), want)
	}
}

func TestDocumentedBodiesAreTheCode(t *testing.T) {
	p := readPage(t)
	var sizes []string
	for _, heading := range []string{"Append body", "Event"} {
		for _, row := range p.rows(t, heading) {
			sizes = append(sizes, row[0]+" "+row[1])
		}
	}
	want := []string{fmt.Sprintf("%d salt", seg.SaltSize), fmt.Sprintf("%d idempotency key", seg.AppendOverhead(true)-seg.AppendOverhead(false)),
		"… events", "8 offset", "8 length", "… data", "8 timestamp", "4 crc32"}
	if !slices.Equal(sizes, want) {
		t.Errorf("the page has %q, the code %q", sizes, want)
	}
	event := wire.AppendEvent(nil, 1, []byte("data"), 2)
	if len(event) != 8+8+4+8+4 || event[0] != 1 || event[8] != 4 || string(event[16:20]) != "data" || event[20] != 2 {
		t.Errorf("an event is %x", event)
	}
	for i, name := range []string{
		"create tenant", "create stream", "append", "delete stream", "undelete stream", "purge stream", "set retention", "set hold",
		"release hold", "confirm clock", "refused access", "trim", "limits",
		"sweep", "create group", "update group", "delete group", "unpark", "group moves",
		"tables", "checkpoint", "drop checkpoint", "keep checkpoint", "archive", "archived", "pruned",
		"restore tenant", "restored",
	} {
		p.says(t, fmt.Sprintf("%d %s", i+1, name))
		if acts := seg.Kind(i + 1).Act(); acts == slices.Contains([]string{"append", "trim", "limits", "sweep", "group moves", "tables", "keep checkpoint", "archived", "pruned", "restore tenant"}, name) {
			t.Errorf("an entry to %s is an act: %t", name, acts)
		}
	}
}

func TestDocumentedNumbersAreTheCode(t *testing.T) {
	p, cfg := readPage(t), engine.DefaultConfig()
	align, size := cfg.Geometry.Align, cfg.Geometry.SegmentSize
	padding := 0
	for geo.BatchSize(512-seg.BatchHeader-padding) > 512 {
		padding++
	}
	p.says(t,
		fmt.Sprintf("multiples of %d bytes, segments have %d bytes (%d MiB)", align, size, size>>20),
		fmt.Sprintf("The first block (%d bytes) is the header, zeros after its 40 bytes", align),
		fmt.Sprintf("followed by at least %d zeros", padding),
		fmt.Sprintf("each time the log has grown by %d MiB", cfg.SnapshotEvery>>20),
		fmt.Sprintf("of snapshots, at most %d", seg.MaxSnapshots),
		"written once, when the log has been idle for a second",
		fmt.Sprintf("A lone append takes one block of %d bytes.", align),
		fmt.Sprintf("share a batch, up to %d bytes", cfg.MaxBatch),
		fmt.Sprintf("| an event, beyond its data | %d |", wire.EventOverhead),
		fmt.Sprintf("| an append, beyond its events | %d |", seg.AppendOverhead(false)),
		fmt.Sprintf("| a batch, beyond its records | %d at least, and rounded up to %d |", seg.BatchHeader+padding, align),
		fmt.Sprintf("at least %d |", 2*size),
	)
	if cfg.MarkAfter != engine.Second {
		t.Error("the page says that a commit mark follows after a second")
	}
	for _, name := range []string{seg.ManifestName, seg.SegmentName(0), seg.SnapshotName(0), seg.TornPrefix + "0000000000000000.bin", "…" + seg.TempSuffix} {
		p.says(t, "| `"+name+"` |")
	}
}

// TestDocumentedStateIsTheCode decodes the snapshot of a small database by the page's tables alone.
func TestDocumentedStateIsTheCode(t *testing.T) {
	p := readPage(t)
	fs := disk.New(512).Mount()
	cfg := engine.DefaultConfig()
	cfg.Store, cfg.Dev, cfg.SnapshotEvery, cfg.SealBlock = store, true, 1, 0
	cfg.Geometry, cfg.MaxBatchBytes, cfg.MaxBatchEvents = seg.Geometry{Align: 512, SegmentSize: 16 << 10}, 1024, 4
	m, _, err := engine.Open(fs, cfg)
	check(t, err)
	d := &driver{m: m, fs: fs, log: seg.NewLog(fs, cfg.Geometry)}
	d.step(t, &engine.Request{Msg: &wire.Request{Tenant: 5, Body: &wire.CreateStream{
		Name: "orders", Class: wire.Deidentified, Placement: wire.Placement{Region: wire.Region{Kind: wire.RegionCustom, Custom: "here"}},
		RetentionDays: wire.Some(uint32(7)),
	}}})
	d.step(t, &engine.Request{Msg: &wire.Request{Tenant: 5, Body: &wire.SetHold{Stream: 1, Name: "case", Reason: "why"}}})
	d.step(t, &engine.Request{Msg: &wire.Request{Tenant: 5, Body: &wire.AppendEvents{
		Stream: 1, Events: [][]byte{[]byte("abc"), []byte("de")}, Timestamps: wire.Some([]wire.Time{70, 80}),
		IdempotencyKey: wire.Some(wire.Key{1, 2, 3}),
	}}})
	d.step(t, engine.EndBatch{})
	d.group(t)

	man, err := seg.ReadManifest(fs)
	check(t, err)
	state, _, err := seg.ReadSnapshot(fs, store, man.Snapshots[0].LSN)
	check(t, err)
	x := &interpreter{page: p, rest: state, got: map[string]string{}}
	x.table(t, "state")
	if len(x.rest) != 0 {
		t.Errorf("%d bytes are left", len(x.rest))
	}
	for field, want := range map[string]string{
		"next address": "6144", "clock": "1000", "lsn": "12", "last stream": "1", "holed": "0",
		"tenant": "1", "tenant id": "5", "tenant name": "dev", "tenant created": "1000", "tenant position": "6", "tenant commit": "1000",
		"tenant health": "0", "skew": "0", "keys of a stream": "10000", "age of keys": fmt.Sprint(int64(engine.Day)), "keys of all": "250000",
		"stream": "2", "stream id": "1", "retention set": "1", "retention days": "7", "least days": "0", "deleted": "0", "purge date": "0",
		"cut": "0", "hold": "1", "hold name": "case", "reason": "why", "set": "1000", "key": "1", "key first": "0", "key count": "2",
		"key commit": "1000", "key position": "3", "key lsn": "5", "before": "0", "latest": "1000", "of tenant": "5", "stream name": "orders", "class": "2", "global": "0", "region": "2",
		"custom region": "here", "created": "1000", "oldest": "0", "head": "6", "bytes": "9", "first time": "70", "last time": "1000",
		"stream lsn": "12", "lost": "0", "index": "1", "first": "0",
		"last group": "1", "group": "1", "group id": "1", "group name": "g", "group created": "1000", "ack deadline": "30000",
		"max attempts": "10", "max ack pending": "1000", "look-ahead": "10000", "order": "2", "pointer": "", "prefix": "9", "paused": "0",
		"floor": "0", "settled": "2", "settled from": "1", "settled to": "3", "failed": "1", "failed offset": "3", "attempts": "1",
		"again": "1", "again offset": "2", "parked": "1", "parked offset": "1", "parked attempts": "1", "parked since": "1000", "asked": "1",
		"skipped": "0", "missed": "0",
	} {
		if x.got[field] != want {
			t.Errorf("%s is %s, want %s", field, x.got[field], want)
		}
	}
	start, end, next := number(t, x.got["start"]), number(t, x.got["end"]), number(t, x.got["next address"])
	if least := seg.AppendOverhead(true) + 2*wire.EventOverhead + 5; end-start < least || end > next {
		t.Errorf("the index entry is from %d to %d, and the log goes on at %d", start, end, next)
	}
	tenant, stream := x.sizes["tenant"]-len("dev"), x.sizes["stream"]-len("$audit")+8 // the count of its index
	p.says(t, fmt.Sprintf("| a tenant in a snapshot | %d, its name and those of its tables |", tenant),
		fmt.Sprintf("| a stream in a snapshot | %d, its name and custom region, and its holds |", stream),
		fmt.Sprintf("| an idempotency key in a snapshot | %d |", x.sizes["key"]),
		fmt.Sprintf("| an index entry | %d |", x.sizes["index"]))
}

// driver carries out what a machine asks for, at once.
type driver struct {
	m    *engine.Machine
	fs   seg.Files
	log  *seg.Log
	ids  []wire.DeliveryID // that came
	last wire.ResponseBody
}

// group makes a consumer group that knows something of every kind.
func (d *driver) group(t *testing.T) {
	ask := func(b wire.RequestBody) {
		d.step(t, &engine.Request{Conn: 1, Msg: &wire.Request{Tenant: 5, Body: b, Features: wire.Features{}.In(3)}})
		d.step(t, engine.EndBatch{})
	}
	ask(&wire.CreateGroup{Stream: 1, Name: "g", Settings: wire.GroupSettings{Order: wire.Some(wire.OrderKey{Kind: wire.OrderPrefix, Bytes: 9})}})
	ask(&wire.AppendEvents{Stream: 1, Events: [][]byte{[]byte("f"), []byte("g"), []byte("h"), []byte("i")}})
	ask(&wire.Subscribe{Stream: 1, Group: wire.Some("g"), CreditEvents: 6, CreditBytes: 1 << 20})
	sub := d.last.(*wire.SubscribeReply).Subscription
	ask(&wire.Nack{Subscription: sub, Deliveries: d.ids[1:3], Park: true})
	ask(&wire.Nack{Subscription: sub, Deliveries: d.ids[3:4]})
	ask(&wire.Ack{Subscription: sub, Deliveries: d.ids[4:5]})
	ask(&wire.Parked{Stream: 1, Name: "g", Action: wire.ParkedReplay, Offsets: []wire.Offset{2}})
}

func (d *driver) step(t *testing.T, c engine.Command) {
	t.Helper()
	for _, e := range d.m.Step(engine.Instant{Wall: 1000}, c, nil) {
		switch e := e.(type) {
		case *engine.Write:
			check(t, d.log.Write(e.At, e.Data))
		case *engine.Sync:
			d.step(t, engine.Synced{Upto: e.Upto})
		case *engine.Reply:
			d.last = e.Msg.Body
		case *engine.Push:
			for _, x := range e.Msg.Body.(*wire.GroupEvents).Deliveries {
				d.ids = append(d.ids, x.ID)
			}
		case *engine.StartJob:
			d.step(t, engine.JobDone{Job: e.Job, Result: e.Run.Run(d.fs)})
		}
	}
}

// interpreter decodes bytes by the page's tables of type and field.
type interpreter struct {
	page
	rest  []byte
	got   map[string]string
	sizes map[string]int // of the last element by each table
}

func (x *interpreter) table(t *testing.T, name string) {
	t.Helper()
	before := len(x.rest)
	for _, row := range x.rows(t, name) {
		field := row[1]
		switch row[0] {
		case "u64":
			x.found(field, fmt.Sprint(x.number(t, 8)))
		case "u32":
			x.found(field, fmt.Sprint(x.number(t, 4)))
		case "u8":
			x.found(field, fmt.Sprint(x.number(t, 1)))
		case "string":
			x.found(field, string(x.take(t, int(x.number(t, 4)))))
		case "hash":
			x.take(t, 32)
		case "key":
			x.take(t, 16)
		case "list":
			x.list(t, field)
		case "each":
			for range number(t, x.got["stream"]) {
				x.list(t, field)
			}
		case "rest":
			for len(x.rest) > 0 {
				x.table(t, field)
			}
		default:
			t.Fatalf("%s: unknown type %s", name, row[0])
		}
	}
	if x.sizes == nil {
		x.sizes = map[string]int{}
	}
	x.sizes[name] = before - len(x.rest)
}

// found keeps the value of a field, that of the first stream where there are several.
func (x *interpreter) found(field, value string) {
	if _, known := x.got[field]; !known {
		x.got[field] = value
	}
}

func (x *interpreter) list(t *testing.T, field string) {
	t.Helper()
	n := x.number(t, 8)
	x.found(field, fmt.Sprint(n))
	for range n {
		x.table(t, field)
	}
}

func (x *interpreter) number(t *testing.T, size int) uint64 {
	t.Helper()
	var word [8]byte
	copy(word[:], x.take(t, size))
	return binary.LittleEndian.Uint64(word[:])
}

func (x *interpreter) take(t *testing.T, n int) []byte {
	t.Helper()
	if n > len(x.rest) {
		t.Fatal("the state ends early")
	}
	p := x.rest[:n]
	x.rest = x.rest[n:]
	return p
}
