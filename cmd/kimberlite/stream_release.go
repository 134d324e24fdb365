package main

import (
	"github.com/kimberlitedb/kimberlite-go/client"
	"github.com/spf13/cobra"
)

func newStreamRelease(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "release STREAM HOLD",
		Short: "End a legal hold; what it kept from expiring goes then",
		Args:  args(cobra.ExactArgs(2)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.changeStream(cmd, args[0], func(c *client.Client, id client.StreamID) error {
				return c.ReleaseHold(cmd.Context(), id, args[1])
			})
		},
	}
}
