package main

import (
	"github.com/kimberlitedb/kimberlite-go/client"
	"github.com/spf13/cobra"
)

func newStreamHold(a *app) *cobra.Command {
	var reason string
	cmd := &cobra.Command{
		Use:   "hold STREAM HOLD",
		Short: "Put a legal hold on a stream: nothing of it goes until the hold is released",
		Long: `Put a legal hold on a stream, under a name. While there is any hold, no event of the stream expires, it cannot be deleted, and
if it was deleted before it is not purged. Setting a hold again changes nothing.`,
		Example: `  kimberlite stream hold mail case-17 --reason 'Smith v. Jones'`,
		Args:    args(cobra.ExactArgs(2)),
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why, for people")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return a.changeStream(cmd, args[0], func(c *client.Client, id client.StreamID) error {
			return c.SetHold(cmd.Context(), id, args[1], reason)
		})
	}
	return cmd
}
