package fuzz

import (
	"encoding/binary"
	"hash/crc32"
	"testing"

	"github.com/kimberlitedb/kimberlite-go/engine"
	"github.com/kimberlitedb/kimberlite-go/engine/seg"
	"github.com/kimberlitedb/kimberlite-go/sim/disk"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// config makes a data directory so small that a few bytes of input reach all of it.
func config() engine.Config {
	cfg := engine.DefaultConfig()
	cfg.Store, cfg.Dev = 7, true
	cfg.Geometry = seg.Geometry{Align: 512, SegmentSize: 4 << 10}
	cfg.MaxBatch, cfg.MaxBatchBytes, cfg.SnapshotEvery = 1<<10, 1<<10, 2<<10
	return cfg
}

// driver carries out what a machine asks for.
type driver struct {
	m   *engine.Machine
	fs  seg.Files
	log *seg.Log
	now engine.Instant
}

func (d *driver) step(c engine.Command) (reply *engine.Reply) {
	d.now.Mono, d.now.Wall = d.now.Mono+1000, d.now.Wall+1000
	for _, e := range d.m.Step(d.now, c, nil) {
		switch e := e.(type) {
		case *engine.Write:
			if d.log.Write(e.At, e.Data) != nil {
				return d.step(engine.IOFailed{Err: seg.ErrNoSpace})
			}
		case *engine.Sync:
			reply = d.step(engine.Synced{Upto: e.Upto})
		case *engine.StartJob:
			if r := d.step(engine.JobDone{Job: e.Job, Result: e.Run.Run(d.fs)}); r != nil {
				reply = r
			}
		case *engine.Reply:
			reply = e
		}
	}
	return reply
}

func (d *driver) call(b wire.RequestBody) *engine.Reply {
	reply := d.step(&engine.Request{Msg: &wire.Request{Tenant: 1, Body: b}})
	if r := d.step(engine.EndBatch{}); r != nil {
		reply = r
	}
	return reply
}

// populated is a data directory of several segments, with snapshots.
func populated(f *testing.F) *disk.Disk {
	f.Helper()
	d := disk.New(512)
	m, _, err := engine.Open(d.Mount(), config())
	if err != nil {
		f.Fatal(err)
	}
	x := &driver{m: m, fs: d.Mount(), now: engine.Instant{Wall: 1_700_000_000_000_000_000}}
	x.log = seg.NewLog(x.fs, m.Geometry())
	x.call(&wire.CreateStream{Name: "a"})
	x.call(&wire.CreateStream{Name: "b"})
	for i := range 30 {
		x.call(&wire.AppendEvents{Stream: wire.StreamID(1 + i%2), Events: [][]byte{make([]byte, 10*i), []byte("x")}})
	}
	return d
}

// mutate changes bytes of the files, five bytes of the script at a time: which file, where, to what. With fix set, what
// has changed gets a checksum that fits, so that the code behind the checksums is reached too.
func mutate(fs seg.Files, script []byte, fix bool) {
	names, err := fs.List()
	if err != nil {
		return
	}
	for ; len(script) >= 5; script = script[5:] {
		name := names[int(script[0])%len(names)]
		off := int64(binary.LittleEndian.Uint16(script[1:]))
		f, err := fs.Open(name)
		if err != nil {
			continue
		}
		size, _ := f.Size()
		p := make([]byte, size)
		f.ReadAt(p, 0)
		if size > 0 {
			p[off%size] ^= script[3]
			p[(off+1)%size] ^= script[4]
		}
		if fix && name != seg.ManifestName { // it says how large everything is, and nobody else writes it
			repair(p, off%max(1, size))
		}
		f.WriteAt(p, 0)
		f.Sync()
	}
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// repair makes checksums fit around a place: of a whole file, where it begins with one, else of the batch header or of a
// record in it.
func repair(p []byte, at int64) {
	if len(p) < 64 || len(p)%512 != 0 {
		if len(p) >= 8 {
			binary.LittleEndian.PutUint32(p, crc32.Checksum(p[4:], castagnoli))
		}
		return
	}
	for block := at / 512 * 512; block >= 0; block -= 512 {
		b := p[block:]
		if binary.LittleEndian.Uint32(b[4:]) != 0x3142424b {
			continue
		}
		if at-block < seg.BatchHeader {
			binary.LittleEndian.PutUint32(b, crc32.Checksum(b[4:seg.BatchHeader], castagnoli))
			return
		}
		for b = b[seg.BatchHeader:]; len(b) >= seg.RecordHeader; {
			n := int64(binary.LittleEndian.Uint32(b[4:]))
			if n < seg.RecordHeader || n > int64(len(b)) {
				return
			}
			binary.LittleEndian.PutUint32(b, crc32.Checksum(b[4:n], castagnoli))
			b = b[n:]
		}
		return
	}
}

// FuzzRecovery: whatever the files of a data directory hold, recovery and the check end, without a panic; the check
// changes nothing; a machine that is recovered recovers again to the same state; and it serves, unless somebody who could
// make checksums wrote the files.
func FuzzRecovery(f *testing.F) {
	whole := populated(f)
	names, err := whole.Mount().List()
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte{}, false)
	for i := range names {
		for _, off := range []byte{0, 8, 20, 24, 40, 70, 100} {
			f.Add([]byte{byte(i), off, 0, 1, 0}, true)
			f.Add([]byte{byte(i), off, 2, 0xff, 0xff}, true)
			f.Add([]byte{byte(i), off, 2, 1, 0}, false)
		}
	}
	f.Fuzz(func(t *testing.T, script []byte, fix bool) {
		d := whole.Clone()
		fs := d.Mount()
		mutate(fs, script, fix)
		if report, err := engine.Check(fs, config()); report == nil || err == nil && seg.LSN(report.Entries) > report.LSN {
			t.Fatalf("%+v, %v", report, err)
		}
		m, _, err := engine.Open(fs, config())
		if err != nil {
			return
		}
		if !fix { // what no checksum guards must not be relied upon; what one guards may
			use(t, m, fs)
		}
		again, _, err := engine.Open(fs, config())
		if err != nil || again.Hash() != m.Hash() {
			t.Fatalf("recovered, and then not again as the same: %v", err)
		}
	})
}

// use reads and writes. Replies may say that something is lost.
func use(t *testing.T, m *engine.Machine, fs seg.Files) {
	x := &driver{m: m, fs: fs, now: engine.Instant{Wall: 1_700_000_100_000_000_000}, log: seg.NewLog(fs, m.Geometry())}
	for s := range wire.StreamID(4) {
		for _, from := range []wire.Offset{0, 5, 1 << 40} {
			if x.call(&wire.ReadEvents{Stream: s, FromOffset: from, MaxBytes: 1 << 20}) == nil {
				t.Fatalf("no reply to a read of stream %d from %d", s, from)
			}
		}
	}
	if m.Full() {
		return
	}
	if x.call(&wire.AppendEvents{Stream: 1, Events: [][]byte{[]byte("after")}}) == nil {
		t.Fatal("no reply to an append")
	}
}
