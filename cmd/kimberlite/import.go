package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/kimberlitedb/kimberlite-go/client"
	"github.com/spf13/cobra"
)

func newImport(a *app) *cobra.Command {
	var field string
	unit := unitRFC3339
	cmd := remote(a, &cobra.Command{
		Use:   "import STREAM FILE",
		Short: "Append a file of JSON lines to a stream, each line once",
		Long: `Append a file of JSON lines to a stream of its own, which is made if it is missing. Every line becomes an event, byte
for byte; blank lines are left out. The file is checked from end to end before anything is appended.

An import that was interrupted goes on when it is run again, provided that what is stored matches the file; otherwise it
says where they differ and changes nothing (exit code 4).`,
		Example: `  kimberlite import quakes testdata/earthquakes.jsonl --timestamp-field time --timestamp-unit ms`,
		Args:    args(cobra.ExactArgs(2)),
	})
	cmd.Flags().StringVar(&field, "timestamp-field", "", "field of a line that holds the event's time; the server's time without it")
	cmd.Flags().Var(&unit, "timestamp-unit", "what that field holds: s, ms, us or ns since 1970, or rfc3339")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		file := &source{path: args[1], field: field, unit: unit}
		size, err := file.check()
		if err != nil {
			return err
		}
		return a.with(cmd.Context(), func(c *client.Client) error {
			return a.importFile(cmd.Context(), c, args[0], file, size)
		})
	}
	return cmd
}

// importing is an import under way.
type importing struct {
	c      *client.Client
	stream client.StreamInfo
	file   *source
	bar    *progress
	known  client.Offset // what is stored below it matches the file
}

// Batches under way. Each names the offset it expects, so that after one that failed none of the later ones can succeed,
// and each has a key, so that the client sends it again over a connection that broke.
const importWindow = 8

func (a *app) importFile(ctx context.Context, c *client.Client, name string, file *source, size int64) error {
	stream, err := findOrCreate(ctx, c, name)
	if err != nil {
		return err
	}
	im := &importing{c: c, stream: stream, file: file, bar: newProgress(a.stderr, size)}
	defer im.bar.stop()
	found, err := im.resume(ctx)
	if err != nil {
		return err
	}
	im.bar.stop()
	return printOne(a.stdout, a.format, []string{"ID", "STREAM", "FOUND", "APPENDED", "HEAD"}, row{
		cells: []string{
			fmt.Sprint(stream.ID), stream.Name, fmt.Sprint(found), fmt.Sprint(im.known - found), fmt.Sprint(im.known),
		},
		value: struct {
			ID       client.StreamID `json:"id"`
			Stream   string          `json:"stream"`
			Found    client.Offset   `json:"found"`
			Appended client.Offset   `json:"appended"`
			Head     client.Offset   `json:"head"`
		}{stream.ID, stream.Name, found, im.known - found, im.known},
		raw: fmt.Append(nil, im.known),
	})
}

// resume compares what is stored with the file and appends the rest. Where the outcome of an append stays unknown, it
// begins again with what is stored then. It returns how many events it found at first.
func (im *importing) resume(ctx context.Context) (found client.Offset, err error) {
	for first := true; ; first = false {
		before := im.known
		lines, err := im.file.open()
		if err != nil {
			return found, err
		}
		err = im.compare(ctx, lines)
		if first {
			found = im.known
		}
		if err == nil {
			err = im.appendRest(ctx, lines)
		}
		lines.close()
		if !errors.Is(err, client.ErrUnknownOutcome) || ctx.Err() != nil {
			return found, err
		}
		if im.known == before && !first {
			return found, fmt.Errorf("no progress: %w", err)
		}
	}
}

// compare goes through what is stored and the file side by side. Afterwards known is the stream's head, and the file's
// next line is the first one that is not stored.
func (im *importing) compare(ctx context.Context, lines *lines) error {
	if err := lines.skip(int(im.known)); err != nil {
		return err
	}
	for e, err := range im.c.Events(ctx, im.stream.ID, im.known) {
		if err != nil {
			return err
		}
		if e.Offset != im.known {
			return im.conflict("events 0 to %d have expired and cannot be compared with the file", e.Offset-1)
		}
		l, ok, err := lines.next()
		if err != nil {
			return err
		}
		if !ok {
			return im.conflict("the stream has an event at offset %d, but the file ends after %d lines that hold events", e.Offset, im.known)
		}
		if difference := l.differs(&e); difference != "" {
			return im.conflict("line %d of %s is not the event at offset %d: %s", l.number, im.file.path, e.Offset, difference)
		}
		im.known++
		im.bar.set(lines.read)
	}
	return nil
}

func (im *importing) conflict(format string, args ...any) error {
	return &failure{
		fmt.Errorf("stream %s does not match the file: %w", im.stream.Name, fmt.Errorf(format, args...)), exitConflict,
		"import the file into a new stream, or bring back the file that the stream began with; nothing was appended now",
	}
}

// flight is a batch under way.
type flight struct {
	*client.Pending
	batch
	next client.Offset // after the batch
}

// appendRest appends the file's remaining lines.
func (im *importing) appendRest(ctx context.Context, lines *lines) error {
	var flights []flight
	next := im.known
	for more := true; more || len(flights) > 0; {
		if more && len(flights) < importWindow {
			b, err := lines.batch()
			if err != nil {
				return err
			}
			if more = len(b.events) > 0; more {
				p := im.c.AppendAsync(ctx, im.stream.ID, b.events, im.options(next, b.times)...)
				next += client.Offset(len(b.events))
				flights = append(flights, flight{p, b, next})
			}
			continue
		}
		if _, err := flights[0].Wait(ctx); err != nil {
			return im.stopped(ctx, flights, err)
		}
		im.known = flights[0].next
		im.bar.set(flights[0].end)
		flights = flights[1:]
	}
	return nil
}

func (im *importing) options(next client.Offset, times []time.Time) []client.AppendOption {
	list := []client.AppendOption{client.ExpectOffset(next), client.IdempotencyKey(client.NewKey())}
	if im.file.field != "" {
		list = append(list, client.Timestamps(times...))
	}
	return list
}

// stopped says why appending ended at the first of the batches under way, after the others are at rest too.
func (im *importing) stopped(ctx context.Context, flights []flight, err error) error {
	for _, f := range flights[1:] {
		f.Wait(ctx) // it expects the first one's end, so that it failed, or its outcome is as unknown
	}
	if errors.Is(err, client.ErrOffsetMismatch) {
		return &failure{
			fmt.Errorf("somebody else appends to stream %s: %w", im.stream.Name, err), exitConflict,
			"import into a stream that nobody else appends to",
		}
	}
	return fmt.Errorf("import stopped after %d events: %w", im.known, err)
}
