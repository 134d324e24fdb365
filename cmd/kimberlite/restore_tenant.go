package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/kimberlitedb/kimberlite-go/client"
	"github.com/kimberlitedb/kimberlite-go/engine/archive"
	"github.com/spf13/cobra"
)

// tenantRestore is the restoring of a checkpoint into a running server.
type tenantRestore struct {
	*app
	id   uint64
	name string
}

func (t *tenantRestore) register(cmd *cobra.Command) {
	f := cmd.Flags()
	f.Uint64Var(&t.id, "as-tenant", 0, "instead of --into: have a running server restore the checkpoint, as a new tenant with this id")
	f.StringVar(&t.name, "name", "", "name of that tenant; without it that of the checkpoint's")
	f.StringVar(&t.server, "server", defaultAddr, "address of that server; also KIMBERLITE_SERVER")
	cmd.PreRunE = func(cmd *cobra.Command, _ []string) error { return fromEnv(cmd, "server", "KIMBERLITE_SERVER") }
}

// run has the server restore a checkpoint, and waits until all of it is there.
func (t *tenantRestore) run(cmd *cobra.Command, where string, c *archive.Checkpoint, older bool) error {
	source, err := destination(where)
	if err != nil {
		return usage(cmd, err)
	}
	var options []client.RestoreOption
	if t.name != "" {
		options = append(options, client.RestoredName(t.name))
	}
	if older {
		options = append(options, client.AcceptOlder())
	}
	from := client.ArchivedCheckpoint{Source: source, Store: uint64(c.Store), Tenant: c.Tenant, Position: c.Position, ID: c.ID}
	t.tenant = t.id
	return t.with(cmd.Context(), func(cl *client.Client) error {
		if err := cl.RestoreTenant(cmd.Context(), client.TenantID(t.id), from, options...); err != nil {
			return err
		}
		r, err := t.await(cmd.Context(), cl)
		if err != nil {
			return err
		}
		return t.tell(c, r)
	})
}

// await waits until the tenant is all there. It tells how far it is.
func (t *tenantRestore) await(ctx context.Context, c *client.Client) (client.TenantRestore, error) {
	const often = 200 * time.Millisecond
	told := ""
	for {
		r, err := c.RestoreInfo(ctx, client.TenantID(t.id))
		if err != nil || r.Done {
			return r, err
		}
		now := count(r.Events, "event") + " are there"
		if r.Trouble != "" {
			now = "does not go on, and is tried again: " + r.Trouble
		}
		if now != told {
			told = now
			fmt.Fprintln(t.stderr, now)
		}
		select {
		case <-ctx.Done():
			return r, errors.Join(ctx.Err(), &failure{errors.New("the server goes on restoring"), exitFailed, "run the command again to see how far it is"})
		case <-time.After(often):
		}
	}
}

// tell prints what the ids of the streams have become.
func (t *tenantRestore) tell(c *archive.Checkpoint, r client.TenantRestore) error {
	fmt.Fprintf(t.stderr, "tenant %d is checkpoint %s of tenant %d, with %s\n", t.id, c.ID, c.Tenant, count(r.Events, "event"))
	p := newPrinter(t.stdout, formatTable, "STREAM", "WAS", "IS")
	for _, s := range r.Streams {
		for i := range c.Manifest.Streams {
			if line := &c.Manifest.Streams[i]; line.ID == s.Was {
				if err := p.print(row{cells: []string{line.Name, fmt.Sprint(s.Was), fmt.Sprint(s.Is)}}); err != nil {
					return err
				}
			}
		}
	}
	return p.close()
}
