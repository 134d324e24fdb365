package main

import (
	"fmt"

	"github.com/kimberlitedb/kimberlite-go/client"
	"github.com/spf13/cobra"
)

func newStreamDelete(a *app) *cobra.Command {
	var after uint32
	cmd := &cobra.Command{
		Use:   "delete STREAM",
		Short: "Delete a stream; until its purge date it can be brought back",
		Long: `Delete a stream. From then on nobody can read it or append to it, and its name stays taken. At the purge date its events
are removed for good; until then "stream undelete" brings it back.

The purge date is as many days ahead as the stream keeps its events, or 30 where it keeps them for ever. --after sets
another number, though the stream's minimum retention is kept in any case. A stream under a legal hold is not deleted
(exit code 4). Deleting a stream again changes nothing.`,
		Args: args(cobra.ExactArgs(1)),
	}
	cmd.Flags().Uint32Var(&after, "after", 0, "purge it after so many days")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		var options []client.DeleteOption
		if cmd.Flags().Changed("after") {
			options = append(options, client.PurgeAfter(after))
		}
		return a.deleteStream(cmd, args[0], options)
	}
	return cmd
}

func (a *app) deleteStream(cmd *cobra.Command, nameOrID string, options []client.DeleteOption) error {
	return a.with(cmd.Context(), func(c *client.Client) error {
		s, err := find(cmd.Context(), c, nameOrID)
		if err != nil {
			return err
		}
		d, err := c.DeleteStream(cmd.Context(), s.ID, options...)
		if err != nil {
			return err
		}
		return printOne(a.stdout, a.format, []string{"ID", "NAME", "PURGE DATE"}, row{
			cells: []string{fmt.Sprint(s.ID), s.Name, purge(d.PurgeDate)},
			value: struct {
				ID        client.StreamID `json:"id"`
				Name      string          `json:"name"`
				PurgeDate string          `json:"purge_date"`
			}{s.ID, s.Name, purge(d.PurgeDate)},
			raw: []byte(purge(d.PurgeDate)),
		})
	})
}
