package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/kimberlitedb/kimberlite-go/engine"
	"github.com/kimberlitedb/kimberlite-go/io/host"
	"github.com/kimberlitedb/kimberlite-go/wire"
	"github.com/spf13/cobra"
)

// serverFlags are the settings of dev and serve.
type serverFlags struct {
	dev       bool
	data      string
	listen    string
	admin     string
	insecure  bool
	readyFile string
	sweep     time.Duration
	sql       sqlLimits
	keys      string
	trust     string
	archives  []string
}

func (o *serverFlags) register(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&o.data, "data", "kimberlite-data", "data directory; made if missing")
	f.StringVar(&o.listen, "listen", defaultAddr, "address to serve on; port 0 takes a free one")
	f.StringVar(&o.admin, "admin", "127.0.0.1:5645", "address of /livez, /readyz and /metrics; empty for none")
	f.BoolVar(&o.insecure, "insecure", false, "allow addresses that other machines reach, although nothing is authenticated or encrypted")
	f.DurationVar(&o.sweep, "sweep-interval", 24*time.Hour, "within how long what retention or a purge has removed is in no file any more, at least 1s")
	o.sql.register(f)
	f.StringVar(&o.keys, "checkpoint-keys", "", "file of the keys that sign checkpoints; made if missing; without it checkpoint.key in the data directory")
	f.StringVar(&o.trust, "checkpoint-trust", "", "file of public keys: checkpoints that one of them has signed may be restored here too, beside this server's own")
	f.StringArrayVar(&o.archives, "archive", nil, "directory or bucket (s3://bucket/prefix) that checkpoints may be sent to and restored from; may be repeated")
	f.StringVar(&o.readyFile, "ready-file", "", "write the address to this file once the server takes requests")
}

// serve runs a server until the command's context ends or its data can no longer be kept safe.
func (a *app) serve(cmd *cobra.Command, o *serverFlags) error {
	if err := errors.Join(o.guard("--listen", o.listen), o.guard("--admin", o.admin)); err != nil {
		return &failure{err, exitUsage, "listen on 127.0.0.1 and let a tunnel carry it, or accept the risk with --insecure"}
	}
	if o.sweep < time.Second {
		return usage(cmd, fmt.Errorf("--sweep-interval %s is too short: give at least 1s", o.sweep))
	}
	if err := o.sql.check(); err != nil {
		return usage(cmd, err)
	}
	archives, err := destinations(o.archives)
	if err != nil {
		return usage(cmd, err)
	}
	cfg := host.DefaultConfig(o.data)
	cfg.Listen, cfg.Admin, cfg.Engine.Dev, cfg.Version = o.listen, o.admin, o.dev, version()
	cfg.Engine.SweepInterval = wire.Span(o.sweep)
	o.sql.set(&cfg.Engine)
	cfg.Keys, cfg.Trust, cfg.Engine.Archives = o.keys, o.trust, archives
	cfg.Log = slog.New(slog.NewTextHandler(a.stderr, nil))
	h, err := host.Start(cfg)
	if err != nil {
		return err
	}
	o.announce(a.stderr, h)
	if err = o.ready(h.Addr()); err == nil {
		err = h.Wait(cmd.Context())
	}
	return errors.Join(err, h.Close())
}

// guard refuses an address that other machines may reach.
func (o *serverFlags) guard(flag, addr string) error {
	if o.insecure || addr == "" {
		return nil
	}
	name, _, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("%s %q is not an address: %w", flag, addr, err)
	}
	if ip := net.ParseIP(name); name == "localhost" || ip != nil && ip.IsLoopback() {
		return nil
	}
	return fmt.Errorf("%s %s could be reached by other machines, and the server neither authenticates nor encrypts yet", flag, addr)
}

// announce prints what a user wants to know of a server that has started.
func (o *serverFlags) announce(w io.Writer, h *host.Host) {
	var b strings.Builder
	line := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "  %-9s %s\n", name, fmt.Sprintf(format, args...))
	}
	fmt.Fprintf(&b, "kimberlite %s\n", version())
	line("address", "%s", h.Addr())
	if admin := h.AdminAddr(); admin != "" {
		line("admin", "http://%s/metrics, /livez, /readyz", admin)
	}
	data, err := filepath.Abs(o.data)
	if err != nil {
		data = o.data // only for show
	}
	line("data", "%s", data)
	if o.dev {
		line("tenant", "1, made with its first stream; so are others")
	} else {
		line("tenants", `made with "kimberlite tenant create ID NAME"`)
	}
	b.WriteString("  fsync before acknowledge: on\n")
	for i, found := range recovered(h.Report, h.Recovery) {
		line([]string{"recovery", ""}[min(i, 1)], "%s", found)
	}
	io.WriteString(w, b.String()) // a closed standard error must not end the server
}

// recovered tells what recovery found, a line each.
func recovered(r *engine.Report, took time.Duration) []string {
	if r.Fresh {
		return []string{"none, the data directory is new"}
	}
	lines := []string{fmt.Sprintf("log up to entry %d, %d batches (%d bytes) replayed, in %s", r.LSN, r.Batches, r.Bytes, took.Round(100*time.Microsecond))}
	if n := len(r.Torn); n > 0 {
		lines = append(lines, fmt.Sprintf("%d unfinished writes were set aside; nothing in them was acknowledged", n))
	}
	for _, name := range r.BadSnapshot {
		lines = append(lines, fmt.Sprintf("snapshot %s is damaged and was not used", name))
	}
	for _, why := range r.BadSealed {
		lines = append(lines, fmt.Sprintf(`DAMAGED: %s; what its blocks do not tell is lost; run "kimberlite doctor"`, why))
	}
	for _, h := range r.Holes {
		lines = append(lines, fmt.Sprintf(`DAMAGED: entries %d to %d are lost; run "kimberlite doctor"`, h.First, h.Last))
	}
	return lines
}

// ready writes the address to the ready file, whole or not at all.
func (o *serverFlags) ready(addr string) error {
	if o.readyFile == "" {
		return nil
	}
	temp := o.readyFile + ".tmp"
	if err := os.WriteFile(temp, []byte(addr+"\n"), 0o644); err != nil {
		return fmt.Errorf("write ready file: %w", err)
	}
	if err := os.Rename(temp, o.readyFile); err != nil {
		return fmt.Errorf("write ready file: %w", err)
	}
	return nil
}
