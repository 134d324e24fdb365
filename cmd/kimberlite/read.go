package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/kimberlitedb/kimberlite-go/client"
	"github.com/kimberlitedb/kimberlite-go/wire"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

func newRead(a *app) *cobra.Command {
	o := readFlags{}
	cmd := remote(a, &cobra.Command{
		Use:   "read STREAM",
		Short: "Print a stream's events, to its end",
		Long: `Print a stream's events from an offset on, to its end. Every event is verified against its checksum.

Times are RFC 3339, dates, or durations before now (90m, 36h, 7d), and mean the events' own times: --since begins at the
first event that is as young, --until ends before the first event that is.

--at shows the stream as it was: at a position in the tenant's log, or at a checkpoint (checkpoint:Q4). What retention has removed
since is not there any more.

With -o jsonl or json, "data" is the event itself if it is JSON, else a string; what is not text is "data_base64".
With -o raw it is the event's bytes and a line end.`,
		Example: `  kimberlite read orders --from 1700 -o jsonl
  kimberlite read orders --limit 10
  kimberlite read orders --last 10
  kimberlite read orders --since 7d --until 2026-05-09
  kimberlite read orders --at checkpoint:Q4-2026-audit`,
		Args: args(cobra.ExactArgs(1)),
	})
	o.register(cmd)
	var at string
	cmd.Flags().StringVar(&at, "at", "", "print what the stream had at this position or checkpoint")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		options, err := o.options(cmd, time.Now())
		if err != nil {
			return usage(cmd, err)
		}
		m, err := parseMoment(at, time.Now())
		if err == nil && m.time.Set {
			err = errors.New("give a position or a checkpoint; --since and --until are for times")
		}
		if err != nil {
			return usage(cmd, fmt.Errorf("--at: %w", err))
		}
		return a.read(cmd, args[0], client.Offset(o.offset), m, options)
	}
	return cmd
}

// readFlags say which events to read.
type readFlags struct {
	offset, last, maxBytes uint64
	limit                  uint32
	timeFlags
}

func (o *readFlags) register(cmd *cobra.Command) {
	f := cmd.Flags()
	f.Uint64Var(&o.offset, "from", 0, "offset of the first event")
	f.Uint64Var(&o.last, "last", 0, "print only so many events at the stream's end")
	o.timeFlags.register(f)
	f.Uint32Var(&o.limit, "limit", 0, "print at most so many events; 0 for all")
	f.Uint64Var(&o.maxBytes, "max-bytes", 0, "stop once so many bytes of event data are printed; 0 for all")
}

func (o *readFlags) options(cmd *cobra.Command, now time.Time) (list []client.ReadOption, err error) {
	if err := o.timeFlags.parse(cmd, now); err != nil {
		return nil, err
	}
	list = o.timeFlags.options()
	if cmd.Flags().Changed("last") {
		list = append(list, client.Last(o.last))
	}
	if o.limit > 0 {
		list = append(list, client.MaxEvents(o.limit))
	}
	if o.maxBytes > 0 {
		list = append(list, client.MaxBytes(o.maxBytes))
	}
	return list, nil
}

// timeFlags say between which event times events are wanted.
type timeFlags struct {
	since, until string
	from, to     wire.Option[time.Time] // what since and until mean
}

func (o *timeFlags) register(f *pflag.FlagSet) {
	f.StringVar(&o.since, "since", "", "begin at the first event with this time or a later one")
	f.StringVar(&o.until, "until", "", "end before the first event with this time or a later one")
}

func (o *timeFlags) parse(cmd *cobra.Command, now time.Time) error {
	for _, f := range []struct {
		name, value string
		t           *wire.Option[time.Time]
	}{{"since", o.since, &o.from}, {"until", o.until, &o.to}} {
		if !cmd.Flags().Changed(f.name) {
			continue
		}
		t, err := parseWhen(f.value, now, ago)
		if err != nil {
			return fmt.Errorf("--%s %w", f.name, err)
		}
		*f.t = wire.Some(t)
	}
	return nil
}

// options returns those of a read of what there is.
func (o *timeFlags) options() (list []client.ReadOption) {
	if o.from.Set {
		list = append(list, client.Since(o.from.Value))
	}
	if o.to.Set {
		list = append(list, client.Until(o.to.Value))
	}
	return list
}

func (a *app) read(cmd *cobra.Command, name string, from client.Offset, at moment, options []client.ReadOption) error {
	return a.with(cmd.Context(), func(c *client.Client) error {
		if at.checkpoint != "" {
			cp, err := c.CheckpointInfo(cmd.Context(), at.checkpoint)
			if err != nil {
				return err
			}
			at.position = wire.Some(cp.Position)
		}
		if at.position.Set {
			options = append(options, client.AsOf(at.position.Value))
		}
		stream, err := find(cmd.Context(), c, name)
		if err != nil {
			return err
		}
		p := newPrinter(a.stdout, a.format, "OFFSET", "TIMESTAMP", "DATA")
		for e, err := range c.Events(cmd.Context(), stream.ID, from, options...) {
			if err != nil {
				return err
			}
			if err := p.print(p.event(&e)); err != nil {
				return err
			}
		}
		return p.close()
	})
}

// event makes the shape of a row that the printer needs.
func (p *printer) event(e *client.Event) row {
	switch p.format {
	case formatRaw:
		return row{raw: e.Data}
	case formatTable:
		return row{cells: []string{strconv.FormatUint(uint64(e.Offset), 10), stamp(e.Timestamp), printable(e.Data)}}
	}
	return row{value: eventJSON(e)}
}

// jsonEvent is an event as JSON. One of Data and Bytes is set; an event of no bytes is the string "".
type jsonEvent struct {
	Offset    client.Offset `json:"offset"`
	Timestamp string        `json:"timestamp"`
	Data      any           `json:"data,omitempty"`
	Bytes     []byte        `json:"data_base64,omitempty"`
}

func eventJSON(e *client.Event) jsonEvent {
	v := jsonEvent{Offset: e.Offset, Timestamp: stamp(e.Timestamp)}
	switch {
	case !utf8.Valid(e.Data):
		v.Bytes = e.Data
	case json.Valid(e.Data):
		v.Data = json.RawMessage(e.Data)
	default:
		v.Data = string(e.Data)
	}
	return v
}

// printable returns an event's data for a table on a terminal: what could move the cursor is quoted.
func printable(data []byte) string {
	s := string(data)
	if utf8.ValidString(s) && strings.IndexFunc(s, func(c rune) bool { return !unicode.IsPrint(c) }) < 0 {
		return s
	}
	return strconv.Quote(s)
}
