package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/kimberlitedb/kimberlite-go/client"
	"github.com/spf13/cobra"
)

func newConsume(a *app) *cobra.Command {
	o := consumeFlags{}
	cmd := remote(a, &cobra.Command{
		Use:   "consume STREAM GROUP [--exec COMMAND [ARG...]]",
		Short: "Take events as a member of a consumer group, and print them or run a command for each",
		Long: `Take events as a member of a consumer group, until it is interrupted. Without --exec each event is printed, as by "kimberlite
tail", and acknowledged once it is written.

With --exec a command is run for each event, which has the data on standard input and KIMBERLITE_STREAM, KIMBERLITE_GROUP,
KIMBERLITE_OFFSET, KIMBERLITE_ATTEMPT and KIMBERLITE_TIMESTAMP in its environment. Its exit code decides: 0 acknowledges the
event, 75 has it delivered again after --retry-delay, any other, or a signal, after --nack-delay. Events whose attempts run out
are parked; see "kimberlite group parked". While a command runs, its event goes to nobody else, however long that takes. Put
"--" before arguments that begin with a dash.

After an interrupt commands that run are waited for, and what they say still counts.`,
		Example: `  kimberlite consume orders mailer
  kimberlite consume orders mailer -n 10 -o jsonl
  kimberlite consume orders mailer --exec ./mail.sh --concurrency 4
  kimberlite consume orders mailer --until-empty --exec sh -- -c 'curl -fsS -d @- https://example.com/orders'`,
		Args: args(cobra.MinimumNArgs(2)),
	})
	o.register(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := o.parse(cmd, args[2:]); err != nil {
			return usage(cmd, err)
		}
		return a.consume(cmd, args[0], args[1], &o)
	}
	return cmd
}

// consumeFlags say which events to take and what to do with them.
type consumeFlags struct {
	count                 uint64
	untilEmpty            bool
	exec                  string
	command               []string // what exec means, with its arguments; nil without it
	concurrency           int
	retryDelay, nackDelay time.Duration
	patternFlag
}

func (o *consumeFlags) register(cmd *cobra.Command) {
	f := cmd.Flags()
	f.Uint64VarP(&o.count, "count", "n", 0, "end after so many deliveries; 0 for no end")
	f.BoolVar(&o.untilEmpty, "until-empty", false, "end once the group has settled every event")
	f.StringVar(&o.exec, "exec", "", "run this command for each event")
	f.IntVar(&o.concurrency, "concurrency", 1, "run so many commands at a time")
	f.DurationVar(&o.retryDelay, "retry-delay", 10*time.Second, "how long an event waits after exit code 75")
	f.DurationVar(&o.nackDelay, "nack-delay", time.Second, "how long an event waits after another failure")
	o.patternFlag.register(f)
}

func (o *consumeFlags) parse(cmd *cobra.Command, words []string) error {
	changed := cmd.Flags().Changed
	if o.count == 0 {
		o.count = math.MaxUint64
	}
	if changed("exec") {
		if changed("format") || changed("output") {
			return errors.New("--exec prints nothing of its own, so --format and --output mean nothing")
		}
		if o.concurrency < 1 || o.retryDelay < 0 || o.nackDelay < 0 {
			return errors.New("--concurrency must be at least 1, and delays not below 0")
		}
		o.command = append([]string{o.exec}, words...)
		return nil
	}
	if len(words) > 0 {
		return fmt.Errorf("%q is too much without --exec", strings.Join(words, " "))
	}
	for _, name := range []string{"concurrency", "retry-delay", "nack-delay"} {
		if changed(name) {
			return fmt.Errorf("--%s needs --exec", name)
		}
	}
	return o.patternFlag.parse(cmd)
}

// consuming is a member of a group at work.
type consuming struct {
	*consumeFlags
	a      *app
	c      *client.Client
	stream client.StreamInfo
	group  string
	end    context.CancelCauseFunc // ends it, with errEmpty or what has gone wrong
	out    *eventPrinter
}

// errEmpty is how consuming ends with --until-empty.
var errEmpty = errors.New("every event is settled")

func (a *app) consume(cmd *cobra.Command, nameOrID, group string, o *consumeFlags) error {
	c, err := a.dial(cmd.Context(), client.WithReconnect(math.MaxInt64)) // it waits for the server however long that is away
	if err != nil {
		return err
	}
	defer c.Close() // returns nil
	stream, err := find(cmd.Context(), c, nameOrID)
	if err != nil {
		return err
	}
	ctx, end := context.WithCancelCause(cmd.Context())
	w := &consuming{consumeFlags: o, a: a, c: c, stream: stream, group: group, end: end, out: a.newEventPrinter(o.pattern)}
	defer w.watch(ctx)()
	if o.command != nil {
		err = w.execute(ctx)
	} else {
		err = w.print(ctx)
	}
	if errors.Is(err, context.Canceled) {
		err = context.Cause(ctx)
	}
	if err != nil && cmd.Context().Err() == nil && !errors.Is(err, errEmpty) { // an interrupt is how it ends, too
		return err
	}
	return w.out.close()
}

// print prints events. It flushes and acknowledges whenever none waits, so that who reads the output sees each burst at once.
func (w *consuming) print(ctx context.Context) error {
	var printed []*client.Delivery
	settle := func() error {
		if err := w.out.flush(); err != nil {
			return err
		}
		for _, d := range printed {
			d.Ack()
		}
		printed = printed[:0]
		return nil
	}
	idle := client.OnIdle(func() {
		if err := settle(); err != nil {
			w.end(err)
		}
	})
	for d, err := range w.c.Consume(ctx, w.stream.ID, w.group, idle, client.Limit(w.count), client.OnStale(w.stale), client.OnGap(w.a.notice)) {
		if err != nil {
			return cmp.Or(settle(), err)
		}
		if err := w.out.print(&d.Event); err != nil {
			return err
		}
		if printed = append(printed, d); len(printed) < mostPrinted {
			continue
		}
		if err := settle(); err != nil {
			return err
		}
	}
	return nil
}

// mostPrinted is how many events may be printed and not acknowledged.
const mostPrinted = 256

// stale tells of an event that comes again although it was dealt with.
func (w *consuming) stale(e client.Event) {
	fmt.Fprintf(w.a.stderr, "notice: event %d was dealt with, but could not be acknowledged any more; it comes again\n", e.Offset)
}

// watch ends consuming once every event is settled, if that is wanted. The returned function ends the watch.
func (w *consuming) watch(ctx context.Context) (stop func()) {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for w.untilEmpty {
			g, err := w.c.GroupInfo(ctx, w.stream.ID, w.group)
			switch {
			case err != nil:
				w.end(err)
			case g.Lag == 0:
				w.end(errEmpty)
			}
			select {
			case <-time.After(watchInterval):
			case <-ctx.Done():
				return
			}
		}
	}()
	return func() {
		w.end(nil)
		<-ended
	}
}

// watchInterval is how often a group is asked whether it is empty.
const watchInterval = 100 * time.Millisecond
