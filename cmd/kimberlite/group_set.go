package main

import (
	"errors"

	"github.com/kimberlitedb/kimberlite-go/client"
	"github.com/spf13/cobra"
)

func newGroupSet(a *app) *cobra.Command {
	var settings groupFlags
	var unordered bool
	cmd := &cobra.Command{
		Use:   "set STREAM GROUP",
		Short: "Change a group's settings; those that are not given stay",
		Long: `Change settings of a consumer group. Those that are not given stay as they are, whatever is shown as their default here.
Another order takes back what members hold, and delivers it anew.`,
		Example: `  kimberlite group set orders mailer --ack-deadline 2m --max-attempts 5`,
		Args:    args(cobra.ExactArgs(2)),
	}
	settings.register(cmd.Flags())
	cmd.Flags().BoolVar(&unordered, "unordered", false, "keep nothing in order any more")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		options, err := settings.options(cmd.Flags())
		if unordered {
			if cmd.Flags().Changed("order-by") || cmd.Flags().Changed("order-prefix") {
				err = errors.New("--unordered excludes --order-by and --order-prefix")
			}
			options = append(options, client.Unordered())
		}
		if err == nil && len(options) == 0 {
			err = errors.New("give at least one setting")
		}
		if err != nil {
			return usage(cmd, err)
		}
		return a.changeGroup(cmd, args, func(c *client.Client, id client.StreamID) error {
			return c.SetGroup(cmd.Context(), id, args[1], options...)
		})
	}
	return cmd
}
