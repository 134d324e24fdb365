package main

import (
	"fmt"
	"strconv"

	"github.com/kimberlitedb/kimberlite-go/client"
	"github.com/spf13/cobra"
)

func newTenant(a *app) *cobra.Command {
	cmd := remote(a, group(&cobra.Command{Use: "tenant", Short: "Make and list tenants"}))
	cmd.AddCommand(
		&cobra.Command{
			Use:   "create ID NAME",
			Short: "Make a tenant; again under the same name changes nothing",
			Args:  args(cobra.ExactArgs(2)),
			RunE:  func(cmd *cobra.Command, args []string) error { return a.createTenant(cmd, args[0], args[1]) },
		},
		&cobra.Command{
			Use:   "list",
			Short: "List the tenants",
			Args:  args(cobra.NoArgs),
			RunE:  func(cmd *cobra.Command, _ []string) error { return a.listTenants(cmd) },
		},
	)
	return cmd
}

func (a *app) createTenant(cmd *cobra.Command, id, name string) error {
	n, err := strconv.ParseUint(id, 10, 64)
	if err != nil {
		return usage(cmd, fmt.Errorf("tenant id %q is not a number from 1 on", id))
	}
	return a.with(cmd.Context(), func(c *client.Client) error {
		if err := c.CreateTenant(cmd.Context(), client.TenantID(n), name); err != nil {
			return err
		}
		return printOne(a.stdout, a.format, []string{"ID", "NAME"}, row{
			cells: []string{id, name},
			value: struct {
				ID   uint64 `json:"id"`
				Name string `json:"name"`
			}{n, name},
			raw: []byte(id),
		})
	})
}

func (a *app) listTenants(cmd *cobra.Command) error {
	return a.with(cmd.Context(), func(c *client.Client) error {
		p := newPrinter(a.stdout, a.format, "ID", "NAME", "STREAMS", "POSITION", "CREATED")
		for t, err := range c.Tenants(cmd.Context()) {
			if err != nil {
				return err
			}
			if err := p.print(tenantRow(t)); err != nil {
				return err
			}
		}
		return p.close()
	})
}

func tenantRow(t client.TenantInfo) row {
	return row{
		cells: []string{fmt.Sprint(t.ID), t.Name, fmt.Sprint(t.Streams), fmt.Sprint(t.Position), stamp(t.Created)},
		value: struct {
			ID       client.TenantID `json:"id"`
			Name     string          `json:"name"`
			Streams  int             `json:"streams"`
			Position client.Position `json:"position"`
			Created  string          `json:"created"`
		}{t.ID, t.Name, t.Streams, t.Position, stamp(t.Created)},
		raw: fmt.Append(nil, t.ID),
	}
}
