package main

import "github.com/spf13/cobra"

func newDev(a *app) *cobra.Command {
	o := serverFlags{dev: true}
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "Run a server for development, on loopback with its data in ./kimberlite-data",
		Long: `Run a server for development. It is as durable as any: an event that was acknowledged is on stable storage. But the
first stream of a tenant makes the tenant, so that nothing must be set up.`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return a.serve(cmd, &o) },
	}
	o.register(cmd)
	return cmd
}
