package main

import (
	"errors"

	"github.com/kimberlitedb/kimberlite-go/client"
	"github.com/spf13/cobra"
)

func newStreamRetain(a *app) *cobra.Command {
	var days, least uint32
	var forever bool
	cmd := &cobra.Command{
		Use:   "retain STREAM {--days N | --forever}",
		Short: "Change how long a stream keeps its events",
		Long: `Change how long a stream keeps its events, counted from the events' own times. What has expired can no longer be read, at
once, and is removed from the disk some time later. "kimberlite retention plan" says beforehand what would go.

--min sets the least that the retention may be from then on, and the least time from a deletion to the purge.`,
		Example: `  kimberlite stream retain orders --days 3650 --min 3650
  kimberlite stream retain orders --forever`,
		Args: args(cobra.ExactArgs(1)),
	}
	f := cmd.Flags()
	f.Uint32Var(&days, "days", 0, "keep the events for so many days")
	f.BoolVar(&forever, "forever", false, "keep the events for ever")
	f.Uint32Var(&least, "min", 0, "allow no fewer days from now on; 0 for any")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		switch {
		case forever == f.Changed("days"):
			return usage(cmd, errors.New("give either --days or --forever"))
		case f.Changed("days") && days == client.Forever:
			return usage(cmd, errors.New("--days must be at least 1; --forever keeps everything"))
		}
		var options []client.RetentionOption
		if f.Changed("min") {
			options = append(options, client.MinDays(least))
		}
		return a.changeStream(cmd, args[0], func(c *client.Client, id client.StreamID) error {
			return c.SetRetention(cmd.Context(), id, days, options...)
		})
	}
	return cmd
}
