package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/kimberlitedb/kimberlite-go/client"
	"github.com/kimberlitedb/kimberlite-go/wire"
	"github.com/spf13/cobra"
)

// Limits of one append that is made from lines.
const (
	linesPerBatch = 500
	bytesPerBatch = 1 << 20
	maxLine       = wire.MaxBatchBytes
)

func newAppend(a *app) *cobra.Command {
	o := appendFlags{}
	cmd := remote(a, &cobra.Command{
		Use:   "append STREAM {EVENT... | -}",
		Short: "Append events, given as arguments or as lines of standard input",
		Long: `Append events to a stream and print where they are, once they are on stable storage.

The events given as arguments are one batch: all of them are appended, or none. With "-" every line of standard input is
an event, appended in batches of what has arrived, at most 500; what is printed is stored, whatever happens to the rest.

With a key the batch is appended once, however often the command is run within 24 hours: choose a UUID for what is
appended, and keep it until the command has succeeded. With "--key auto" the key is a new one for each batch, so that the
command itself can send it again over a connection that breaks.`,
		Example: `  kimberlite append orders '{"total":12}' '{"total":7}'
  kimberlite append orders '{"total":9}' --expect 2     # only if nobody else has appended; else exit code 4
  kimberlite append orders '{"total":5}' --key 9f2c6a3e-1d58-4c0b-8a77-3f1b5de0c911
  seq 1000 | kimberlite append numbers - --create --key auto`,
		Args: args(cobra.MinimumNArgs(2)),
	})
	o.register(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := o.parse(cmd); err != nil {
			return usage(cmd, err)
		}
		if o.key != "" && o.key != autoKey && len(args) == 2 && args[1] == "-" {
			return usage(cmd, errors.New("lines of standard input are many batches, and a key names one; use --key auto"))
		}
		return a.with(cmd.Context(), func(c *client.Client) error {
			return a.append(cmd.Context(), c, args[0], args[1:], &o)
		})
	}
	return cmd
}

// appendFlags are the settings of an append.
type appendFlags struct {
	create   bool
	expect   client.Offset
	expected bool
	when     string
	time     time.Time
	key      string
	parsed   client.Key
}

// autoKey stands for a key of each batch's own.
const autoKey = "auto"

func (o *appendFlags) register(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&o.create, "create", false, "make the stream if it is missing")
	cmd.Flags().Uint64Var((*uint64)(&o.expect), "expect", 0, "append only if this is the stream's head; 0 for an empty stream")
	cmd.Flags().StringVar(&o.when, "timestamp", "", "the events' time, as RFC 3339 or in ns since 1970; the server's without it")
	cmd.Flags().StringVar(&o.key, "key", "", "append this batch once under its key: a UUID, 32 hexadecimal digits, or auto")
}

func (o *appendFlags) parse(cmd *cobra.Command) (err error) {
	o.expected = cmd.Flags().Changed("expect")
	if cmd.Flags().Changed("key") && o.key != autoKey {
		if o.parsed, err = client.ParseKey(o.key); err != nil {
			return fmt.Errorf("--key: %w, nor auto", err)
		}
	}
	if o.when == "" {
		return nil
	}
	if ns, bad := strconv.ParseInt(o.when, 10, 64); bad == nil {
		o.time = time.Unix(0, ns)
		return nil
	}
	if o.time, err = time.Parse(time.RFC3339Nano, o.when); err != nil {
		return fmt.Errorf("--timestamp %q is neither RFC 3339 (2026-05-09T12:00:00Z) nor a number of nanoseconds", o.when)
	}
	return nil
}

// options returns those of one batch.
func (o *appendFlags) options(events int) []client.AppendOption {
	var list []client.AppendOption
	if o.expected {
		list = append(list, client.ExpectOffset(o.expect))
	}
	if o.when != "" {
		times := make([]time.Time, events)
		for i := range times {
			times[i] = o.time
		}
		list = append(list, client.Timestamps(times...))
	}
	switch o.key {
	case "":
	case autoKey:
		list = append(list, client.IdempotencyKey(client.NewKey()))
	default:
		list = append(list, client.IdempotencyKey(o.parsed))
	}
	return list
}

func (a *app) append(ctx context.Context, c *client.Client, name string, words []string, o *appendFlags) error {
	look := find
	if o.create {
		look = findOrCreate
	}
	stream, err := look(ctx, c, name)
	if err != nil {
		return err
	}
	p := newPrinter(a.stdout, a.format, "OFFSET", "COUNT", "POSITION", "COMMITTED", "DUPLICATE")
	put := func(events [][]byte) error {
		done, err := c.Append(ctx, stream.ID, events, o.options(len(events))...)
		if err != nil {
			return err
		}
		o.expect = done.FirstOffset + client.Offset(done.Count)
		return errors.Join(p.print(appendedRow(done)), p.flush(), a.stdout.Flush())
	}
	if len(words) == 1 && words[0] == "-" {
		err = appendLines(a.stdin, put)
	} else {
		err = put(bytesOf(words))
	}
	if err != nil && p.rows == 0 {
		return err
	}
	return errors.Join(err, p.close())
}

func bytesOf(words []string) [][]byte {
	events := make([][]byte, len(words))
	for i, w := range words {
		events[i] = []byte(w)
	}
	return events
}

// appendLines puts lines in batches. An input without a line is put as it is, for the server to refuse.
func appendLines(in io.Reader, put func([][]byte) error) error {
	r := bufio.NewReaderSize(in, 64<<10)
	var batch [][]byte
	for n, size := 1, 0; ; n++ {
		line, _, err := readLine(r)
		if errors.Is(err, io.EOF) {
			if len(batch) > 0 || n == 1 {
				return put(batch)
			}
			return nil
		}
		if err != nil {
			return fmt.Errorf("standard input, line %d: %w", n, err)
		}
		if size+len(line) > bytesPerBatch && len(batch) > 0 {
			if err := put(batch); err != nil {
				return err
			}
			batch, size = batch[:0], 0
		}
		batch, size = append(batch, line), size+len(line)
		if len(batch) == linesPerBatch || r.Buffered() == 0 { // the next line may be long in coming
			if err := put(batch); err != nil {
				return err
			}
			batch, size = batch[:0], 0
		}
	}
}

// readLine returns the next line without its end and how many bytes it took, or io.EOF where there is none. The line is
// the caller's.
func readLine(r *bufio.Reader) (line []byte, took int64, err error) {
	for more := true; more; {
		part, err := r.ReadSlice('\n')
		line = append(line, part...)
		if more = errors.Is(err, bufio.ErrBufferFull); more && len(line) <= maxLine {
			continue
		}
		if err != nil && !more && !(errors.Is(err, io.EOF) && len(line) > 0) {
			return nil, 0, err
		}
		if more || len(line) > maxLine+len("\r\n") {
			return nil, 0, fmt.Errorf("is longer than %d bytes, the most that one append can hold", maxLine)
		}
	}
	took = int64(len(line))
	line = bytes.TrimSuffix(line, []byte("\n"))
	return bytes.TrimSuffix(line, []byte("\r")), took, nil
}

// yes is a mark in a table.
func yes(v bool) string {
	if v {
		return "yes"
	}
	return ""
}

func appendedRow(d client.Appended) row {
	return row{
		cells: []string{fmt.Sprint(d.FirstOffset), fmt.Sprint(d.Count), fmt.Sprint(d.Position), stamp(d.Timestamp), yes(d.Duplicate)},
		value: struct {
			Offset    client.Offset   `json:"offset"`
			Count     int             `json:"count"`
			Position  client.Position `json:"position"`
			Committed string          `json:"committed"`
			Duplicate bool            `json:"duplicate"` // it was there already
		}{d.FirstOffset, d.Count, d.Position, stamp(d.Timestamp), d.Duplicate},
		raw: fmt.Append(nil, d.FirstOffset),
	}
}
