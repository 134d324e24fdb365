package main

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/kimberlitedb/kimberlite-go/client"
	"github.com/spf13/cobra"
)

func newGroupParked(a *app) *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use:   "parked STREAM GROUP [list | replay {OFFSET... | --all} | drop {OFFSET... | --all}]",
		Short: "List the events that a group has given up on, and deliver them again or drop them",
		Long: `List the events that a group does not deliver any more, since their attempts ran out or a member has asked for it.

With "replay" they are delivered again, with attempts that count from 1. With "drop" they count as acknowledged; they stay in
the stream.`,
		Example: `  kimberlite group parked orders mailer
  kimberlite group parked orders mailer replay --all
  kimberlite group parked orders mailer drop 17 23`,
		Args: args(cobra.MinimumNArgs(2)),
	}
	cmd.Flags().BoolVar(&all, "all", false, "replay or drop all of them")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		verb := "list"
		if len(args) > 2 {
			verb = args[2]
		}
		offsets, err := parkedOffsets(verb, args[min(len(args), 3):], all)
		if err != nil {
			return usage(cmd, err)
		}
		return a.withStream(cmd, args[0], func(c *client.Client, stream client.StreamInfo) error {
			switch verb {
			case "replay":
				n, err := c.ReplayParked(cmd.Context(), stream.ID, args[1], offsets...)
				return a.printUnparked("replayed", n, unclear(err, args))
			case "drop":
				n, err := c.DropParked(cmd.Context(), stream.ID, args[1], offsets...)
				return a.printUnparked("dropped", n, unclear(err, args))
			}
			return a.listParked(cmd, c, stream.ID, args[1])
		})
	}
	return cmd
}

// parkedOffsets reads what a verb is about. None means all.
func parkedOffsets(verb string, words []string, all bool) (offsets []client.Offset, err error) {
	for _, w := range words {
		o, err := strconv.ParseUint(w, 10, 63)
		if err != nil {
			return nil, fmt.Errorf("%q is no offset", w)
		}
		offsets = append(offsets, client.Offset(o))
	}
	switch {
	case verb != "list" && verb != "replay" && verb != "drop":
		return nil, fmt.Errorf("%q is neither list, nor replay, nor drop", verb)
	case verb == "list" && (all || len(words) > 0):
		return nil, errors.New("list shows all that are parked, without offsets or --all")
	case verb != "list" && all == (len(words) > 0):
		return nil, fmt.Errorf("give either the offsets to %s, or --all", verb)
	}
	return offsets, nil
}

func (a *app) listParked(cmd *cobra.Command, c *client.Client, stream client.StreamID, group string) error {
	now := time.Now()
	p := newPrinter(a.stdout, a.format, "OFFSET", "ATTEMPTS", "PARKED", "WHY")
	for e, err := range c.ParkedEvents(cmd.Context(), stream, group) {
		if err != nil {
			return err
		}
		if err := p.print(parkedRow(&e, now)); err != nil {
			return err
		}
	}
	return p.close()
}

func parkedRow(e *client.ParkedEvent, now time.Time) row {
	why := "no attempts left"
	if e.Asked {
		why = "a member asked for it"
	}
	return row{
		cells: []string{fmt.Sprint(e.Offset), fmt.Sprint(e.Attempts), age(e.Since, now), why},
		value: struct {
			Offset   client.Offset `json:"offset"`
			Attempts uint32        `json:"attempts"`
			Since    string        `json:"since"`
			Asked    bool          `json:"asked"` // by a member; else no attempts are left
		}{e.Offset, e.Attempts, stamp(e.Since), e.Asked},
		raw: fmt.Append(nil, e.Offset),
	}
}

// printUnparked says how many events were replayed or dropped, also before an error.
func (a *app) printUnparked(what string, n uint64, err error) error {
	if err != nil && n > 0 {
		return fmt.Errorf("%d events were %s, then: %w", n, what, err)
	}
	if err != nil {
		return err
	}
	return printOne(a.stdout, a.format, []string{"EVENTS"}, row{
		cells: []string{fmt.Sprint(n)},
		value: map[string]uint64{what: n},
		raw:   fmt.Append(nil, n),
	})
}
