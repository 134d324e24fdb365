package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/kimberlitedb/kimberlite-go/client"
	"github.com/spf13/cobra"
)

// backupPrefix is what the labels of checkpoints that backup has cut begin with.
const backupPrefix = "backup-"

func newBackup(a *app) *cobra.Command {
	keep := 2
	cmd := remote(a, &cobra.Command{
		Use:   "backup DEST",
		Short: "Send all tenants to an archive, as they are now",
		Long: `Cut a checkpoint of every tenant and have the server send it to an archive: a directory on the server's machine, or a bucket. Nobody who
writes waits. What an earlier backup has brought is not sent again. Each tenant is as of one position of its own.

kimberlite restore DEST --all makes a data directory of the newest checkpoints.`,
		Example: `  kimberlite backup /srv/backups
  kimberlite backup 's3://backups/kimberlite?region=eu-central-1' --keep 7`,
		Args: args(cobra.ExactArgs(1)),
	})
	cmd.Flags().IntVar(&keep, "keep", keep, "how many checkpoints of backups stay on the server; all of them stay in the archive")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if keep < 1 {
			return usage(cmd, errors.New("--keep: give at least 1"))
		}
		dest, err := destination(args[0])
		if err != nil {
			return usage(cmd, err)
		}
		return a.backup(cmd.Context(), dest, keep)
	}
	return cmd
}

func (a *app) backup(ctx context.Context, dest string, keep int) error {
	tenants := []client.TenantID{0} // the server's own acts
	err := a.with(ctx, func(c *client.Client) error {
		for t, err := range c.Tenants(ctx) {
			if err != nil {
				return err
			}
			if t.ID != 0 {
				tenants = append(tenants, t.ID)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	label := backupPrefix + strings.ToLower(time.Now().UTC().Format("20060102-150405.000"))
	p := newPrinter(a.stdout, a.format, "TENANT", "CHECKPOINT", "POSITION", "SIZE")
	for _, id := range tenants {
		cp, err := a.backupTenant(ctx, id, label, dest, keep)
		if id == 0 && errors.Is(err, client.ErrTenantNotFound) {
			continue
		}
		if err != nil {
			return fmt.Errorf("tenant %d: %w", id, err)
		}
		err = p.print(row{
			cells: []string{fmt.Sprint(id), cp.ID.String(), fmt.Sprint(cp.Position), size(cp.Size)},
			value: struct {
				Tenant client.TenantID `json:"tenant"`
				checkpointJSON
			}{id, checkpointJSON{cp.ID.String(), cp.Label, cp.Position, cp.Size, stamp(cp.Time)}},
			raw: []byte(cp.ID.String()),
		})
		if err != nil {
			return err
		}
	}
	return p.close()
}

// backupTenant sends one tenant, and lets go of checkpoints of older backups.
func (a *app) backupTenant(ctx context.Context, id client.TenantID, label, dest string, keep int) (client.Checkpoint, error) {
	c, err := a.dial(ctx, client.WithTenant(id))
	if err != nil {
		return client.Checkpoint{}, err
	}
	defer c.Close() // returns nil
	cut, err := c.Checkpoint(ctx, label)
	if err != nil {
		return cut, err
	}
	name := cut.ID.String()
	if err := c.ArchiveCheckpoint(ctx, name, dest); err != nil {
		return cut, err
	}
	if err := a.awaitArchive(ctx, c, name, dest, false); err != nil {
		return cut, err
	}
	list, err := c.Checkpoints(ctx)
	if err != nil {
		return cut, err
	}
	var old []client.Checkpoint
	for _, x := range list {
		if x.ID == cut.ID {
			cut = x
		}
		if strings.HasPrefix(x.Label, backupPrefix) {
			old = append(old, x)
		}
	}
	for _, x := range old[:max(0, len(old)-keep)] {
		if err := c.DeleteCheckpoint(ctx, x.ID.String()); err != nil {
			return cut, err
		}
	}
	return cut, nil
}
