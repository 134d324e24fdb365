// Package host runs a machine on the real world: it joins the loop to the disk, the network and the clock, and starts
// every goroutine of a server.
//
// One goroutine at a time leads: it hands what has arrived to the loop and carries out what the loop decides. On a quiet
// server the goroutine that read a request leads: it steps the machine, syncs and answers by itself, since handing over
// between goroutines costs more than the network. On a busy one the core goroutine leads, in groups, and the disk
// goroutine syncs one batch while the next gathers.
package host

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kimberlitedb/kimberlite-go/engine"
	"github.com/kimberlitedb/kimberlite-go/engine/loop"
	"github.com/kimberlitedb/kimberlite-go/engine/seg"
	"github.com/kimberlitedb/kimberlite-go/io/admin"
	"github.com/kimberlitedb/kimberlite-go/io/disk"
	"github.com/kimberlitedb/kimberlite-go/io/tcp"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// Config says what to serve, and where.
type Config struct {
	Data     string // the data directory; made if missing
	Listen   string // address of the protocol's port
	Admin    string // address of health and metrics; empty for none
	MaxConns int    // connections at a time; fewer where the system allows few open files
	Keys     string // file of the keys that sign checkpoints; empty for KeysName in the data directory; made if missing
	Trust    string // file of further public keys, one of which must have signed a checkpoint that is restored; empty for none
	Engine   engine.Config
	Loop     loop.Config
	Version  string
	Log      *slog.Logger
}

// DefaultConfig returns a production server's settings for a data directory, with Store and Seed drawn at random.
func DefaultConfig(data string) Config {
	c := Config{
		Data: data, Listen: "127.0.0.1:5644", Admin: "127.0.0.1:5645", MaxConns: 20_000,
		Engine: engine.DefaultConfig(), Loop: loop.DefaultConfig(), Log: slog.Default(),
	}
	var store [8]byte
	rand.Read(store[:]) // never fails
	rand.Read(c.Engine.Seed[:])
	c.Engine.Store = seg.StoreID(binary.LittleEndian.Uint64(store[:]))
	return c
}

// Host is a running server.
type Host struct {
	cfg    Config
	log    *slog.Logger
	dir    *disk.Dir
	server *tcp.Server
	admin  *admin.Server // nil without an address
	began  time.Time

	// Report tells what recovery found, and Recovery how long it took.
	Report   *engine.Report
	Recovery time.Duration

	mu      sync.Mutex // guards inbox and leading
	inbox   []event
	leading bool

	core  chan struct{}   // wakes the core goroutine, which then leads
	syncs chan flight     // batches for the disk goroutine
	halt  chan error      // why the machine halted
	quit  chan struct{}   // ends the goroutines below
	ctx   context.Context // ends with them: of what archives are asked
	end   context.CancelFunc
	wg    sync.WaitGroup // core, disk, ticker, jobs
	dead  atomic.Bool    // the machine has halted
	lead  leader         // what only the leader touches
}

// event is something that happened, for the leader.
type event struct {
	kind     eventKind
	conn     *tcp.Conn
	requests []*wire.Request
	bytes    int
	fault    *wire.Fault
	done     engine.Command
	stats    chan<- admin.Snapshot
}

type eventKind int

const (
	opened eventKind = iota
	received
	faulted
	sent
	closed
	done
	tick
	shutdown
	stats
	refused
)

// flight is a batch on its way to the disk.
type flight struct {
	write *engine.Write
	sync  *engine.Sync
}

// Start recovers the data directory and begins to serve. The caller calls Wait, and Close in the end.
func Start(cfg Config) (*Host, error) {
	h := &Host{
		cfg: cfg, log: cfg.Log, began: time.Now(),
		core: make(chan struct{}, 1), syncs: make(chan flight, 1), halt: make(chan error, 1), quit: make(chan struct{}),
	}
	h.ctx, h.end = context.WithCancel(context.Background())
	var err error
	if h.dir, err = disk.Open(cfg.Data); err != nil {
		return nil, err
	}
	if err := h.open(); err != nil {
		return nil, errors.Join(err, h.dir.Close())
	}
	return h, nil
}

func (h *Host) open() error {
	keys := h.cfg.Keys
	if keys == "" {
		keys = filepath.Join(h.cfg.Data, KeysName)
	}
	var err error
	if h.cfg.Engine.Signers, h.cfg.Engine.Trusted, err = signers(keys, h.cfg.Trust); err != nil {
		return err
	}
	m, report, err := engine.Open(h.dir, h.cfg.Engine)
	if err != nil {
		return fmt.Errorf("recover %s: %w", h.cfg.Data, err)
	}
	h.Report, h.Recovery = report, time.Since(h.began)
	h.lead.init(h, m)
	h.server, err = tcp.Listen(h.cfg.Listen, h, tcp.Options{
		MaxConns: connections(h.cfg.MaxConns, openFiles()), Refused: func() { h.post(event{kind: refused}) },
	})
	if err != nil {
		return err
	}
	if h.cfg.Admin != "" {
		h.admin, err = admin.Listen(h.cfg.Admin, h)
		if err != nil {
			h.server.Close()
			return err
		}
	}
	h.wg.Go(h.runCore)
	h.wg.Go(h.runDisk)
	h.wg.Go(h.runTicker)
	h.wg.Go(h.server.Serve)
	h.post(event{kind: tick})
	return nil
}

// Addr returns the address of the protocol's port.
func (h *Host) Addr() string { return h.server.Addr().String() }

// AdminAddr returns the address of health and metrics, or nothing.
func (h *Host) AdminAddr() string {
	if h.admin == nil {
		return ""
	}
	return h.admin.Addr()
}

// Wait returns when the context ends, or with the reason why the machine halted.
func (h *Host) Wait(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case err := <-h.halt:
		return fmt.Errorf("stopped, since what is acknowledged could no longer be kept safe: %w", err)
	}
}

// drain is how long Close lets connections finish.
const drain = 10 * time.Second

// Close takes no more requests, answers those it has, and stops. After a halt it only stops.
func (h *Host) Close() error {
	h.server.Close()
	h.post(event{kind: shutdown})
	if h.dead.Load() {
		h.server.Wait(0)
	} else {
		h.server.Wait(drain)
	}
	if h.admin != nil {
		h.admin.Close()
	}
	close(h.quit)
	h.end()
	h.wg.Wait()
	h.lead.machine.Close()
	h.lead.log.Close() // everything in it is synced, or the machine has halted
	return h.dir.Close()
}

// Opened, Received, Faulted, Sent and Closed take what happens on connections.
func (h *Host) Opened(c *tcp.Conn) { h.post(event{kind: opened, conn: c}) }

// Received implements tcp.Handler. A few requests are led by whoever read them; many are left to the core, so that
// reading goes on.
func (h *Host) Received(c *tcp.Conn, requests []*wire.Request) {
	e := event{kind: received, conn: c, requests: requests}
	if len(requests) > few {
		h.post(e)
		return
	}
	if h.push(e) {
		h.turn(true)
		h.leave()
	}
}

// few is how many requests the goroutine that read them handles itself.
const few = 4

// Faulted implements tcp.Handler.
func (h *Host) Faulted(c *tcp.Conn, f *wire.Fault) {
	h.log.Warn("connection closed: what it sent cannot be decoded", "from", c.From, "reason", f.Reason.String(), "detail", f.Error())
	h.post(event{kind: faulted, conn: c, fault: f})
}

// Sent implements tcp.Handler.
func (h *Host) Sent(c *tcp.Conn, bytes int) { h.post(event{kind: sent, conn: c, bytes: bytes}) }

// Closed implements tcp.Handler.
func (h *Host) Closed(c *tcp.Conn) { h.post(event{kind: closed, conn: c}) }

// Snapshot implements admin.Source.
func (h *Host) Snapshot() (admin.Snapshot, bool) {
	reply := make(chan admin.Snapshot, 1)
	h.post(event{kind: stats, stats: reply})
	select {
	case s := <-reply:
		return s, true
	case <-h.quit:
		return admin.Snapshot{}, false
	}
}

// push puts an event into the inbox. It returns true where nobody leads, and then the caller must.
func (h *Host) push(e event) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.inbox = append(h.inbox, e)
	if h.leading {
		return false
	}
	h.leading = true
	return true
}

// post puts an event into the inbox and has the core see to it.
func (h *Host) post(e event) {
	if h.push(e) {
		h.core <- struct{}{}
	}
}

// leave ends the lead, or passes it to the core where more has come.
func (h *Host) leave() {
	if !h.idle() {
		h.core <- struct{}{}
	}
}

// idle ends the lead if nothing is left to do.
func (h *Host) idle() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.inbox) > 0 || h.lead.more {
		return false
	}
	h.leading = false
	return true
}

// collect empties the inbox.
func (h *Host) collect(into []event) []event {
	h.mu.Lock()
	defer h.mu.Unlock()
	into, h.inbox = h.inbox, into[:0]
	return into
}

// runCore leads whenever it is handed the lead, until nothing is left to do.
func (h *Host) runCore() {
	for {
		select {
		case <-h.core:
		case <-h.quit:
			return
		}
		for more := true; more; more = !h.idle() {
			h.turn(false)
		}
	}
}

// runDisk writes and syncs what the leader does not do itself.
func (h *Host) runDisk() {
	for {
		select {
		case f := <-h.syncs:
			h.post(event{kind: done, done: h.commit(f)})
		case <-h.quit:
			return
		}
	}
}

func (h *Host) runTicker() {
	t := time.NewTicker(250 * time.Millisecond)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			h.post(event{kind: tick})
		case <-h.quit:
			return
		}
	}
}

// commit writes and syncs one batch. One is in flight at any time, so that the log has one user.
func (h *Host) commit(f flight) engine.Command {
	began := time.Now()
	err := h.lead.log.Write(f.write.At, f.write.Data)
	if err == nil {
		err = h.lead.log.Sync()
	}
	if err != nil {
		return engine.IOFailed{Err: err}
	}
	h.lead.took.Observe(time.Since(began))
	return engine.Synced{Upto: f.sync.Upto}
}

// runJob runs a job on a goroutine of its own. The machine bounds how many there are. When the host closes, it is cut short.
func (h *Host) runJob(j *engine.StartJob) {
	h.wg.Go(func() {
		run := j.Run
		if a, ok := run.(engine.ArchiveJob); ok {
			archive := h.archive(a.Destination())
			defer archive.Close() // an error changes nothing: what was put is there
			run = a.In(archive)
		}
		h.post(event{kind: done, done: engine.JobDone{Job: j.Job, Result: run.Run(files{h.dir, h.quit})}})
	})
}

// now reads the clocks.
func (h *Host) now() engine.Instant {
	t := time.Now()
	return engine.Instant{Wall: wire.Time(t.UnixNano()), Mono: wire.Time(t.Sub(h.began))}
}
