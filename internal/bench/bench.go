// Package bench measures a real server: the production drivers, over TCP on loopback and on the disk of a given
// directory, in this process. Beside each figure stands what the device itself can do, measured in alternation.
package bench

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/kimberlitedb/kimberlite-go/client"
	"github.com/kimberlitedb/kimberlite-go/io/host"
)

// Config says what to measure.
type Config struct {
	Dir      string        // where the data goes; a directory of its own is made below it, and removed
	Size     int           // bytes of one event
	Duration time.Duration // of one measurement
	Rounds   int           // of each; medians are reported
	Only     string        // one scenario by name; empty for all
}

// Result is what one scenario reached: the medians over its rounds.
type Result struct {
	Name       string  `json:"name"`
	Events     float64 `json:"events_per_second"`
	Megabytes  float64 `json:"mb_per_second"` // 10^6 bytes of event data
	P50        float64 `json:"p50_us"`        // of one request
	P99        float64 `json:"p99_us"`
	CPU        float64 `json:"cpu_seconds_per_million_events"` // client and server
	DiskBytes  float64 `json:"disk_bytes_per_event"`
	BatchBytes float64 `json:"batch_bytes"`               // mean, as written
	Batches    float64 `json:"batches_per_second"`        // write and fdatasync
	Device     float64 `json:"device_batches_per_second"` // the device alone, at that size
	Ratio      float64 `json:"batches_to_device"`         // median of the rounds' ratios
}

// scenario is one way to load the server.
type scenario struct {
	name     string
	conns    int
	inflight int // requests of one connection that are not answered
	batch    int // events of one append
	read     bool
}

var scenarios = []scenario{
	{"1 connection, 1 in flight", 1, 1, 1, false},
	{"16 connections, 1 in flight", 16, 1, 1, false},
	{"64 connections, 1 in flight", 64, 1, 1, false},
	{"1 connection, 1000 in flight", 1, 1000, 1, false},
	{"8 connections, batches of 100", 8, 4, 100, false},
	{"sequential read", 1, 2, 1000, true},
}

// Run measures all scenarios and hands each result over as it is there.
func Run(ctx context.Context, cfg Config, report func(Result)) error {
	dir, err := os.MkdirTemp(cfg.Dir, "kimberlite-bench-")
	if err != nil {
		return fmt.Errorf("make a directory to measure in: %w", err)
	}
	defer os.RemoveAll(dir)
	for _, s := range scenarios {
		if cfg.Only != "" && cfg.Only != s.name {
			continue
		}
		r, err := measure(ctx, cfg, filepath.Join(dir, "data"), s)
		if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		report(r)
	}
	return nil
}

// measure runs one scenario on a fresh server.
func measure(ctx context.Context, cfg Config, data string, s scenario) (r Result, err error) {
	hc := host.DefaultConfig(data)
	hc.Listen, hc.Admin, hc.Engine.Dev, hc.Log = "127.0.0.1:0", "", true, slog.New(slog.DiscardHandler)
	h, err := host.Start(hc)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, h.Close(), os.RemoveAll(data)) }()
	l, err := newLoad(ctx, cfg, s, h.Addr())
	if err != nil {
		return r, err
	}
	defer l.close()
	var rounds []Result
	for range cfg.Rounds {
		one, err := round(ctx, cfg, s, h, l)
		if err != nil {
			return r, err
		}
		rounds = append(rounds, one)
	}
	return medians(s.name, rounds), nil
}

// round measures the server and then the device, with batches of the size that the server wrote.
func round(ctx context.Context, cfg Config, s scenario, h *host.Host, l *load) (Result, error) {
	before, _ := h.Snapshot()
	cpu := cpuTime()
	began := time.Now()
	events, latencies, err := l.run(ctx, cfg.Duration)
	if err != nil {
		return Result{}, err
	}
	took := time.Since(began).Seconds()
	cpu = cpuTime() - cpu
	after, _ := h.Snapshot()
	n := float64(events)
	r := Result{
		Events: n / took, Megabytes: n * float64(cfg.Size) / took / 1e6, CPU: cpu.Seconds() / n * 1e6,
		P50: quantile(latencies, 50), P99: quantile(latencies, 99),
	}
	if s.read {
		return r, nil
	}
	batches := float64(after.Engine.Batches - before.Engine.Batches)
	bytes := float64(after.Engine.BatchBytes - before.Engine.BatchBytes)
	r.DiskBytes, r.BatchBytes, r.Batches = bytes/n, bytes/batches, batches/took
	r.Device, err = device(cfg.Dir, int(r.BatchBytes), cfg.Duration/4)
	r.Ratio = r.Batches / r.Device
	return r, err
}

// medians reduces the rounds, field by field.
func medians(name string, rounds []Result) Result {
	m := Result{Name: name}
	for _, f := range []func(*Result) *float64{
		func(r *Result) *float64 { return &r.Events }, func(r *Result) *float64 { return &r.Megabytes },
		func(r *Result) *float64 { return &r.P50 }, func(r *Result) *float64 { return &r.P99 },
		func(r *Result) *float64 { return &r.CPU }, func(r *Result) *float64 { return &r.DiskBytes },
		func(r *Result) *float64 { return &r.BatchBytes }, func(r *Result) *float64 { return &r.Batches },
		func(r *Result) *float64 { return &r.Device }, func(r *Result) *float64 { return &r.Ratio },
	} {
		var values []float64
		for i := range rounds {
			values = append(values, *f(&rounds[i]))
		}
		slices.Sort(values)
		*f(&m) = values[len(values)/2]
	}
	return m
}

// quantile returns a percentile of durations in microseconds, and sorts them.
func quantile(d []time.Duration, percent int) float64 {
	if len(d) == 0 {
		return 0
	}
	slices.Sort(d)
	return float64(d[min(len(d)-1, len(d)*percent/100)].Nanoseconds()) / 1e3
}

// cpuTime returns what this process has used of the processors.
func cpuTime() time.Duration {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u) // cannot fail
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// deviceFile is how large a file the device is measured on, in bytes.
const deviceFile = 64 << 20

// device returns how many writes of a size, each with its fdatasync, the device does in a second, into a file that is
// fully written and synced before.
func device(dir string, size int, d time.Duration) (float64, error) {
	f, err := os.CreateTemp(dir, "device-")
	if err != nil {
		return 0, err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	if _, err := f.Write(make([]byte, deviceFile)); err != nil {
		return 0, err
	}
	if err := datasync(f); err != nil {
		return 0, err
	}
	size = max(4096, (size+4095)&^4095)
	p := make([]byte, size)
	n, began := 0, time.Now()
	for off := int64(0); time.Since(began) < d; n++ {
		if off+int64(size) > deviceFile {
			off = 0
		}
		p[0]++
		if _, err := f.WriteAt(p, off); err != nil {
			return 0, err
		}
		if err := datasync(f); err != nil {
			return 0, err
		}
		off += int64(size)
	}
	return float64(n) / time.Since(began).Seconds(), nil
}

// load is a set of clients.
type load struct {
	cfg     Config
	s       scenario
	clients []*client.Client
	streams []client.StreamID
}
