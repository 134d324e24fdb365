package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/kimberlitedb/kimberlite-go/client"
	"github.com/spf13/cobra"
)

func newGroupSeek(a *app) *cobra.Command {
	var to, sinceTime string
	cmd := &cobra.Command{
		Use:   "seek STREAM GROUP {--to OFFSET|beginning|end | --since TIME}",
		Short: "Have a group go on from another place, whatever was acknowledged",
		Long: `Have a group go on from another place of the stream. Everything from there on is delivered, whatever was acknowledged, and
nothing before it. What members hold at the time is delivered again, too. Parked events stay parked.

The time is RFC 3339, a date, or a duration before now (90m, 36h, 7d), and means the events' own times.`,
		Example: `  kimberlite group seek orders mailer --to beginning
  kimberlite group seek orders mailer --since 36h`,
		Args: args(cobra.ExactArgs(2)),
	}
	f := cmd.Flags()
	f.StringVar(&to, "to", "", "the offset of the first event to deliver, or beginning, or end")
	f.StringVar(&sinceTime, "since", "", "deliver from the first event with this time or a later one")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if f.Changed("to") == f.Changed("since") {
			return usage(cmd, errors.New("give either --to or --since"))
		}
		if f.Changed("since") {
			t, err := parseWhen(sinceTime, time.Now(), ago)
			if err != nil {
				return usage(cmd, fmt.Errorf("--since %w", err))
			}
			return a.changeGroup(cmd, args, func(c *client.Client, id client.StreamID) error {
				_, err := c.SeekGroupTime(cmd.Context(), id, args[1], t)
				return err
			})
		}
		o, err := parseOffset(to)
		if err != nil {
			return usage(cmd, fmt.Errorf("--to %w", err))
		}
		return a.changeGroup(cmd, args, func(c *client.Client, id client.StreamID) error {
			_, err := c.SeekGroup(cmd.Context(), id, args[1], o)
			return err
		})
	}
	return cmd
}
