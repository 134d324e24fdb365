package engine_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/kimberlitedb/kimberlite-go/engine"
	"github.com/kimberlitedb/kimberlite-go/engine/seg"
	"github.com/kimberlitedb/kimberlite-go/sim/check"
	"github.com/kimberlitedb/kimberlite-go/wire"
	"pgregory.net/rapid"
)

// scanned is a rig with streams, of which a model knows every event, and with a table, of which it knows every position at
// which a row was added.
type scanned struct {
	*rig
	t      *rapid.T
	events map[wire.StreamID][]check.StreamEvent
	rows   []wire.Position
	made   map[wire.StreamID]wire.Position
	known  wire.Position
}

var scannedNames = []string{"", "orders", "Line-Items.2"}

func (s *scanned) append() {
	id := wire.StreamID(1 + rapid.IntRange(0, 1).Draw(s.t, "stream"))
	b := &wire.AppendEvents{Stream: id, Timestamps: wire.Some([]wire.Time(nil))}
	var list []check.StreamEvent
	for range rapid.IntRange(1, 12).Draw(s.t, "events") {
		e := check.StreamEvent{
			Offset: wire.Offset(len(s.events[id]) + len(list)), N: int64(rapid.IntRange(0, 9).Draw(s.t, "n")), Region: check.Region(rapid.IntRange(0, 2).Draw(s.t, "region")),
			Time: s.now.Wall - wire.Time(rapid.Int64Range(-1e9, 3e9).Draw(s.t, "age")),
		}
		list = append(list, e)
		b.Events = append(b.Events, []byte(check.StreamData(e.N, e.Region)))
		b.Timestamps.Value = append(b.Timestamps.Value, e.Time)
	}
	r, ok := s.call(1, b).(*wire.AppendEventsReply)
	if !ok {
		s.t.Fatalf("%+v", s.last.Msg.Body)
	}
	for i := range list {
		list[i].Position = r.Position
	}
	s.events[id], s.known = append(s.events[id], list...), r.Position
}

func (s *scanned) write() {
	r, ok := s.call(1, &wire.Query{SQL: fmt.Sprintf("INSERT INTO t VALUES (%d)", len(s.rows))}).(*wire.QueryReply)
	if !ok {
		s.t.Fatalf("%+v", s.last.Msg.Body)
	}
	s.rows, s.known = append(s.rows, r.Position), r.Position
}

// query asks the present or the past, and compares.
func (s *scanned) query() {
	id := wire.StreamID(1 + rapid.IntRange(0, 1).Draw(s.t, "stream"))
	about := check.StreamEvent{}
	if n := len(s.events[id]); n > 0 {
		about = s.events[id][rapid.IntRange(0, n-1).Draw(s.t, "about")]
	}
	q := check.DrawStreamQuery(func(n int) int { return rapid.IntRange(0, n-1).Draw(s.t, "query") }, about)
	text := q.SQL(scannedNames[id])
	var body wire.RequestBody = &wire.Query{SQL: text}
	at, past := s.known, rapid.Bool().Draw(s.t, "past")
	if past {
		at = wire.Position(rapid.Uint64Range(0, uint64(s.known)).Draw(s.t, "at"))
		body = &wire.QueryAt{SQL: text, Position: at}
	}
	reply := s.call(1, body)
	oldest := s.call(1, &wire.StreamInfo{Stream: id}).(*wire.StreamInfoReply).Info.OldestOffset
	var list []check.StreamEvent
	hidden := false
	for _, e := range s.events[id] {
		if e.Position <= at && e.Offset >= oldest {
			list = append(list, e)
		}
		hidden = hidden || e.Position <= at && e.Offset < oldest
	}
	if e, refused := reply.(*wire.Error); refused {
		if e.Code != wire.TableNotFound || s.made[id] <= at {
			s.t.Fatalf("%s as of %d: %+v", text, at, e)
		}
		return
	}
	r := reply.(*wire.QueryReply)
	if want := q.Rows(list); !q.Equal(r.Rows, want) || r.Position != at || s.made[id] > at {
		s.t.Fatalf("%s as of %d gives\n%v as of %d, expected is\n%v", text, at, r.Rows, r.Position, want)
	}
	if r.Trimmed && (!past || oldest == 0) || past && hidden && !r.Trimmed && len(q.Terms) == 0 && q.Limit != 0 {
		s.t.Fatalf("%s as of %d: trimmed is %t, the oldest event is %d", text, at, r.Trimmed, oldest)
	}
}

// Whatever a query asks of a stream, it gets what looking at every event gives: from memory, from log segments and from
// sealed files, after restarts, and when retention has cut something off.
func TestQueriesOfStreamsGiveWhatIsThere(t *testing.T) {
	reached := map[engine.Probe]int{}
	rapid.Check(t, func(t *rapid.T) {
		cfg := smallConfig()
		cfg.RetentionDay, cfg.SealBlock, cfg.MergeFiles = engine.Second, 512, 2
		cfg.Geometry.SegmentSize, cfg.Cache = 8<<10, 2<<10
		cfg.Probe = func(p engine.Probe) { reached[p]++ }
		s := &scanned{rig: newRig(t, cfg), t: t, events: map[wire.StreamID][]check.StreamEvent{}, made: map[wire.StreamID]wire.Position{1: 1, 2: 3}}
		defer func() { s.m.Close() }()
		s.create(1, scannedNames[1])
		s.call(1, &wire.Query{SQL: "CREATE TABLE t (n INTEGER)"})
		s.create(1, scannedNames[2])
		s.known = 3
		if rapid.Bool().Draw(t, "retention") {
			s.call(1, &wire.SetRetention{Stream: 2, Days: wire.Some(uint32(2))})
			s.known++
		}
		t.Repeat(map[string]func(*rapid.T){
			"append": func(t *rapid.T) { s.t = t; s.append() },
			"more":   func(t *rapid.T) { s.t = t; s.append() },
			"write":  func(t *rapid.T) { s.t = t; s.write() },
			"query":  func(t *rapid.T) { s.t = t; s.query() },
			"ask":    func(t *rapid.T) { s.t = t; s.query() },
			"wonder": func(t *rapid.T) { s.t = t; s.query() },
			"time":   func(*rapid.T) { s.mark() },
			"pass": func(*rapid.T) {
				s.now.Mono += wire.Time(engine.Second)
				s.now.Wall += wire.Time(engine.Second)
			},
			"restart": func(t *rapid.T) {
				s.m.Close()
				if err := s.open(); err != nil {
					t.Fatal(err)
				}
			},
		})
	})
	if testing.Short() { // a fifth of the checks
		return
	}
	for _, p := range []engine.Probe{
		engine.ProbeQueryScansMemory, engine.ProbeQueryScansLog, engine.ProbeQueryScansSealed, engine.ProbeQueryReadsNoBlock, engine.ProbeQueryPassesBlock, engine.ProbeQueryTrimmed, engine.ProbeQueryAwaitsTrim,
	} {
		if reached[p] == 0 {
			t.Errorf("%s was never reached", p)
		}
	}
}

// A damaged event fails a query that needs it, and no other: the refusal names stream and offset.
func TestQueriesMeetDamage(t *testing.T) {
	r := newRig(t, smallConfig())
	defer func() { r.m.Close() }()
	s := r.create(1, "orders")
	for i := range 30 {
		r.append(1, s, check.StreamData(int64(i), "eu"))
	}
	b := r.batchOf(s, 17)
	r.flip(b.Address+seg.BatchHeader+seg.RecordHeader+40, 3)
	r.mark()
	r.m.Close()
	cfg := r.cfg
	r.cfg.Cache = 0
	if err := r.open(); err != nil {
		t.Fatal(err)
	}
	r.cfg = cfg
	for text, want := range map[string]string{
		`SELECT count(data) FROM orders`:                                    "damaged",
		`SELECT sum(data->>'n') FROM orders WHERE "offset" >= 17`:           "damaged",
		`SELECT data FROM orders ORDER BY "offset" DESC LIMIT 20`:           "damaged",
		`SELECT count(*), sum(data->>'n') FROM orders WHERE "offset" < 17`:  "17 136",
		`SELECT count(*), sum(data->>'n') FROM orders WHERE "offset" >= 18`: "12 282",
	} {
		switch b := r.call(1, &wire.Query{SQL: text}).(type) {
		case *wire.QueryReply:
			if got := fmt.Sprint(b.Rows[0][0].Int, b.Rows[0][1].Int); got != want {
				t.Errorf("%s gives %s, expected is %s", text, got, want)
			}
		case *wire.Error:
			if want != "damaged" || b.Code != wire.DataCorrupted || !strings.Contains(b.Message, `event 17 of stream "orders"`) && !strings.Contains(b.Message, "events 17 to 17 of stream") {
				t.Errorf("%s: %+v", text, b)
			}
		}
	}
}
