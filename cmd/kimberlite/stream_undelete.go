package main

import (
	"github.com/kimberlitedb/kimberlite-go/client"
	"github.com/spf13/cobra"
)

func newStreamUndelete(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "undelete STREAM",
		Short: "Bring a deleted stream back, before its purge date",
		Args:  args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.changeStream(cmd, args[0], func(c *client.Client, id client.StreamID) error {
				_, err := c.UndeleteStream(cmd.Context(), id)
				return err
			})
		},
	}
}

// changeStream changes a stream and describes it as it is then.
func (a *app) changeStream(cmd *cobra.Command, nameOrID string, change func(*client.Client, client.StreamID) error) error {
	return a.with(cmd.Context(), func(c *client.Client) error {
		s, err := find(cmd.Context(), c, nameOrID)
		if err != nil {
			return err
		}
		if err := change(c, s.ID); err != nil {
			return err
		}
		if s, err = c.StreamInfo(cmd.Context(), s.ID); err != nil {
			return err
		}
		return a.printStream(&s)
	})
}
