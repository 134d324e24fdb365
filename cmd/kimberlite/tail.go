package main

import (
	"context"
	"fmt"
	"iter"
	"math"
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
	patternFlag
}

func (o *tailFlags) register(cmd *cobra.Command) {
	f := cmd.Flags()
	f.Uint64VarP(&o.last, "lines", "n", 10, "how many of the events that there are to print")
	f.BoolVarP(&o.follow, "follow", "f", false, "print new events as they are appended, until interrupted")
	o.timeFlags.register(f)
	o.patternFlag.register(f)
}

func (o *tailFlags) parse(cmd *cobra.Command, now time.Time) error {
	o.counted = cmd.Flags().Changed("lines")
	if err := o.timeFlags.parse(cmd, now); err != nil {
		return err
	}
	return o.patternFlag.parse(cmd)
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
	t := &tail{tailFlags: o, a: a, out: a.newEventPrinter(o.pattern)}
	if o.follow {
		err = t.followed(ctx, c, stream)
	} else {
		err = t.printAll(c.Events(ctx, stream.ID, 0, o.options()...))
	}
	if err != nil && !(o.follow && ctx.Err() != nil) { // an interrupt is how following ends
		return err
	}
	return t.out.close()
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
	out *eventPrinter
}

func (t *tail) printAll(events iter.Seq2[client.Event, error]) error {
	for e, err := range events {
		if err != nil {
			return err
		}
		if err := t.out.print(&e); err != nil {
			return err
		}
	}
	return nil
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
			if err := t.out.flush(); err != nil {
				return err
			}
		}
		e, more := <-events
		if !more {
			return ended
		}
		if err := t.out.print(&e); err != nil {
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
	options := []client.SubscribeOption{client.OnGap(t.a.notice)}
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

// notice tells of events that are passed over.
func (a *app) notice(g client.GapError) { fmt.Fprintf(a.stderr, "notice: %v\n", &g) }
