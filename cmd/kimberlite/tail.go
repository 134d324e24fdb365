package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"math"
	"strconv"
	"time"

	"github.com/kimberlitedb/kimberlite-go/client"
	"github.com/spf13/cobra"
)

func newTail(a *app) *cobra.Command {
	o := tailFlags{}
	cmd := remote(a, &cobra.Command{
		Use:   "tail STREAM",
		Short: "Print a stream's last events, and follow it",
		Long: `Print the last events of a stream, and with -f what is appended from then on, until it is interrupted. Every event is
verified against its checksum. When the server goes away, following goes on behind the last event once it is back.

Times are RFC 3339, dates, or durations before now (90m, 36h, 7d), and mean the events' own times. --since begins at the
first event that is as young, instead of the last ten; with -n too, at the later one. --until ends before the first event
that is as young, with -f when it comes.

--format prints each event by a pattern instead: %o is the offset, %t the time, %d the data, %c the checksum in hexadecimal,
%% a percent sign, \n a line end, \t a tab and \\ a backslash. A line end is added where there is none at the end. -o is as in
read.`,
		Example: `  kimberlite tail orders
  kimberlite tail orders -f -o jsonl
  kimberlite tail orders -f -n 0 --format '%o\t%t\t%d'
  kimberlite tail orders -f --since 1h --until 2026-05-09T12:00:00Z`,
		Args: args(cobra.ExactArgs(1)),
	})
	o.register(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := o.parse(cmd, time.Now()); err != nil {
			return usage(cmd, err)
		}
		return a.tail(cmd, args[0], &o)
	}
	return cmd
}

// tailFlags say which events to print, and how.
type tailFlags struct {
	last    uint64
	counted bool // last is given
	follow  bool
	timeFlags
	format  string
	pattern pattern // what format means; nil where it is not given
}

func (o *tailFlags) register(cmd *cobra.Command) {
	f := cmd.Flags()
	f.Uint64VarP(&o.last, "lines", "n", 10, "how many of the events that there are to print")
	f.BoolVarP(&o.follow, "follow", "f", false, "print new events as they are appended, until interrupted")
	o.timeFlags.register(f)
	f.StringVar(&o.format, "format", "", `print events by a pattern, such as '%o\t%t\t%d'`)
}

func (o *tailFlags) parse(cmd *cobra.Command, now time.Time) (err error) {
	if err := o.timeFlags.parse(cmd, now); err != nil {
		return err
	}
	changed := cmd.Flags().Changed
	o.counted = changed("lines")
	if changed("format") {
		if changed("output") {
			return errors.New("--format and --output exclude each other")
		}
		if o.pattern, err = parsePattern(o.format); err != nil {
			return fmt.Errorf("--format %w", err)
		}
	}
	return nil
}

func (a *app) tail(cmd *cobra.Command, name string, o *tailFlags) error {
	ctx := cmd.Context()
	c, err := a.dial(ctx, o.dialing()...)
	if err != nil {
		return err
	}
	defer c.Close() // returns nil
	stream, err := find(ctx, c, name)
	if err != nil {
		return err
	}
	t := &tail{tailFlags: o, a: a, p: newPrinter(a.stdout, a.format, "OFFSET", "TIMESTAMP", "DATA")}
	if o.follow {
		err = t.followed(ctx, c, stream)
	} else {
		err = t.printAll(c.Events(ctx, stream.ID, 0, o.options()...))
	}
	if err != nil && !(o.follow && ctx.Err() != nil) { // an interrupt is how following ends
		return err
	}
	if o.pattern != nil {
		return nil
	}
	return t.p.close()
}

// dialing returns the options of the connection. Who follows a stream waits for the server however long it is away.
func (o *tailFlags) dialing() []client.Option {
	if o.follow {
		return []client.Option{client.WithReconnect(math.MaxInt64)}
	}
	return nil
}

// options returns those of a read of what there is.
func (o *tailFlags) options() (list []client.ReadOption) {
	list = o.timeFlags.options()
	if o.limited() {
		list = append(list, client.Last(o.last))
	}
	return list
}

// limited reports whether only the last events are wanted.
func (o *tailFlags) limited() bool { return o.counted || !o.from.Set }

// tail prints events.
type tail struct {
	*tailFlags
	a   *app
	p   *printer
	buf []byte
}

func (t *tail) printAll(events iter.Seq2[client.Event, error]) error {
	for e, err := range events {
		if err != nil {
			return err
		}
		if err := t.print(&e); err != nil {
			return err
		}
	}
	return nil
}

func (t *tail) print(e *client.Event) error {
	if t.pattern == nil {
		return t.p.print(t.p.event(e))
	}
	t.buf = t.pattern.append(t.buf[:0], e)
	_, err := t.a.stdout.Write(t.buf)
	return err
}

// mostWaiting is how many events may wait to be printed.
const mostWaiting = 256

// followed prints a stream's last events and those that come. It flushes whenever none waits, so that who reads the output
// sees each burst at once.
func (t *tail) followed(ctx context.Context, c *client.Client, stream client.StreamInfo) error {
	ctx, cancel := context.WithCancel(ctx)
	var ended error // set before events is closed
	events := make(chan client.Event, mostWaiting)
	go func() {
		defer close(events)
		ended = t.receive(ctx, c, stream, events)
	}()
	defer func() { // nothing of the client is used once this returns
		cancel()
		for range events {
		}
	}()
	for {
		if len(events) == 0 {
			if err := errors.Join(t.p.flush(), t.a.stdout.Flush()); err != nil {
				return err
			}
		}
		e, more := <-events
		if !more {
			return ended
		}
		if err := t.print(&e); err != nil {
			return err
		}
	}
}

// receive subscribes and hands over events, up to the first one that is not wanted any more.
func (t *tail) receive(ctx context.Context, c *client.Client, stream client.StreamInfo, to chan<- client.Event) error {
	var from client.Offset
	if t.limited() {
		from = max(stream.Oldest, stream.Head-client.Offset(min(t.last, uint64(stream.Head))))
	}
	options := []client.SubscribeOption{client.OnGap(t.notice)}
	if t.from.Set {
		options = append(options, client.SubscribeSince(t.from.Value))
	}
	for e, err := range c.Subscribe(ctx, stream.ID, from, options...) {
		if err != nil {
			return err
		}
		if t.to.Set && !e.Timestamp.Before(t.to.Value) {
			return nil
		}
		select {
		case to <- e:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// notice tells of events that cannot be printed.
func (t *tail) notice(g client.GapError) { fmt.Fprintf(t.a.stderr, "notice: %v\n", &g) }

// pattern is how --format prints an event.
type pattern []part

// part is text, or stands for a part of an event.
type part struct {
	text string
	verb byte // 0 for text
}

// parsePattern reads a format, and adds a line end where it has none. Its errors go on from the flag's name.
func parsePattern(s string) (pattern, error) {
	p := pattern{}
	var text []byte
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c != '%' && c != '\\' {
			text = append(text, c)
			continue
		}
		if i++; i == len(s) {
			return nil, fmt.Errorf("%q ends in the middle of %c; double it if it is meant", s, c)
		}
		pair := string([]byte{c, s[i]})
		switch pair {
		case "%o", "%t", "%d", "%c":
			p = append(p, part{text: string(text)}, part{verb: s[i]})
			text = text[:0]
		case "%%", `\\`:
			text = append(text, c)
		case `\n`:
			text = append(text, '\n')
		case `\t`:
			text = append(text, '\t')
		default:
			return nil, fmt.Errorf(`%q has %s; there are %%o, %%t, %%d, %%c, %%%%, \n, \t and \\`, s, pair)
		}
	}
	if !bytes.HasSuffix(text, []byte("\n")) {
		text = append(text, '\n')
	}
	return append(p, part{text: string(text)}), nil
}

// append appends an event as the pattern has it.
func (p pattern) append(dst []byte, e *client.Event) []byte {
	for _, x := range p {
		switch x.verb {
		case 'o':
			dst = strconv.AppendUint(dst, uint64(e.Offset), 10)
		case 't':
			dst = append(dst, stamp(e.Timestamp)...)
		case 'd':
			dst = append(dst, e.Data...)
		case 'c':
			dst = fmt.Appendf(dst, "%08x", e.Checksum)
		default:
			dst = append(dst, x.text...)
		}
	}
	return dst
}
