package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/kimberlitedb/kimberlite-go/client"
)

// exitRetry is how a command says that it is to be tried again later: EX_TEMPFAIL of sysexits.h.
const exitRetry = 75

// lastOutput is how long the output of a command that has ended is waited for, which something that it started may hold open.
const lastOutput = 2 * time.Second

// executor runs a command for each event.
type executor struct {
	*consuming
	stdout, stderr io.Writer
}

// execute runs a command for each event. Those that run have ended when it returns.
func (w *consuming) execute(ctx context.Context) error {
	if _, err := exec.LookPath(w.exec); err != nil {
		return w.cannotStart(err)
	}
	x := &executor{w, &sharedWriter{w: w.a.stdout, flush: w.a.stdout.Flush}, &sharedWriter{w: w.a.stderr}}
	w.a.stderr = x.stderr
	return w.c.Handle(ctx, w.stream.ID, w.group, x.run,
		client.Concurrency(w.concurrency), client.Window(w.concurrency, 1<<20), client.KeepAlive(),
		client.Limit(w.count), client.OnStale(w.stale), client.OnGap(w.a.notice))
}

func (w *consuming) cannotStart(err error) error {
	return &failure{
		fmt.Errorf("cannot start the command: %w", err), exitFailed,
		`name a program with --exec and give its arguments after the group; for a line of shell use: --exec sh -- -c 'LINE'`,
	}
}

// run runs the command for one event.
func (x *executor) run(_ context.Context, d *client.Delivery) error {
	cmd := exec.Command(x.command[0], x.command[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(d.Data), x.stdout, x.stderr
	cmd.Env = append(os.Environ(),
		"KIMBERLITE_STREAM="+x.stream.Name,
		"KIMBERLITE_GROUP="+x.group,
		"KIMBERLITE_OFFSET="+strconv.FormatUint(uint64(d.Offset), 10),
		"KIMBERLITE_ATTEMPT="+strconv.Itoa(d.Attempt),
		"KIMBERLITE_TIMESTAMP="+stamp(d.Timestamp),
	)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // else an interrupt of the terminal would reach it, too
	cmd.WaitDelay = lastOutput
	if err := cmd.Start(); err != nil {
		x.end(x.cannotStart(err)) // so the event goes back
		return err
	}
	return x.verdict(d, cmd.Wait())
}

// verdict says what becomes of an event whose command has ended.
func (x *executor) verdict(d *client.Delivery, err error) error {
	var exit *exec.ExitError
	switch {
	case err == nil || errors.Is(err, exec.ErrWaitDelay):
		return nil
	case !errors.As(err, &exit): // its input or output has failed
		x.end(err)
		return err
	}
	delay := x.nackDelay
	if exit.ExitCode() == exitRetry {
		delay = x.retryDelay
	}
	fmt.Fprintf(x.stderr, "notice: event %d, attempt %d: %v; it comes again in %s, unless its attempts have run out\n", d.Offset, d.Attempt, err, delay)
	return &client.RetryAfter{Delay: delay, Err: err}
}

// sharedWriter is written to by many commands at a time.
type sharedWriter struct {
	mu    sync.Mutex // guards w
	w     io.Writer
	flush func() error // nil where nothing is buffered
}

func (s *sharedWriter) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n, err := s.w.Write(p)
	if err == nil && s.flush != nil {
		err = s.flush()
	}
	return n, err
}
