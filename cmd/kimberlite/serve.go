package main

import "github.com/spf13/cobra"

func newServe(a *app) *cobra.Command {
	var o serverFlags
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run a server",
		Long: `Run a server. Tenants must be made with "kimberlite tenant create" before they have streams.

The first interrupt or SIGTERM answers what was received and ends the server; a second one ends it at once, which loses
nothing that was acknowledged either.`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return a.serve(cmd, &o) },
	}
	o.register(cmd)
	return cmd
}
