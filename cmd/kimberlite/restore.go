package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/kimberlitedb/kimberlite-go/engine/archive"
	"github.com/kimberlitedb/kimberlite-go/io/host"
	"github.com/kimberlitedb/kimberlite-go/wire"
	"github.com/spf13/cobra"
)

func newRestore(a *app) *cobra.Command {
	o := archiveFlags{}
	var into string
	var older bool
	cmd := &cobra.Command{
		Use:   "restore ARCHIVE --checkpoint CHECKPOINT --into DIR",
		Short: "Make a data directory of a checkpoint in an archive",
		Long: `Make a data directory of a checkpoint: one that serves its tenant exactly as it was at the checkpoint's position, and nothing else. The
signature, the manifest and every event are verified first; what is not what was signed is refused by name.

Streams that were deleted later, as far as the archive knows it, are deleted in the new directory too, and listed. Where the archive has
a later checkpoint of the tenant, this one is refused: restore that, or say --accept-older.`,
		Example: `  kimberlite restore /srv/audits --key kimberlite.pub --checkpoint Q4-2026-audit --into ./audit-data
  kimberlite serve --data ./audit-data`,
		Args: args(cobra.ExactArgs(1)),
	}
	o.register(cmd)
	cmd.Flags().StringVar(&into, "into", "", "the new data directory; must be empty or missing")
	cmd.Flags().BoolVar(&older, "accept-older", false, "restore a checkpoint although the archive has a later one of the tenant")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if into == "" || o.name == "" {
			return usage(cmd, errors.New("give --checkpoint and --into"))
		}
		box, keys, err := o.open(cmd.Context(), cmd, args[0])
		if err != nil {
			return err
		}
		list, err := o.find(box)
		if err != nil {
			return err
		}
		if len(list) > 1 {
			return &failure{fmt.Errorf("%d checkpoints have that label", len(list)), exitUsage, "say which by --of-tenant, or by id"}
		}
		later, err := laterThan(box, list[0])
		if err != nil {
			return err
		}
		c, err := box.Open(list[0], keys)
		if err != nil {
			return err
		}
		return a.restore(c, later, older, into, func(p archive.Place) (*archive.Checkpoint, error) { return box.Open(p, keys) })
	}
	return cmd
}

// laterThan returns the newest checkpoint of the same tenant, if that is a later one.
func laterThan(box *archive.Box, p archive.Place) (*archive.Place, error) {
	list, err := box.Find(p.TenantPrefix())
	if err != nil || len(list) == 0 || list[len(list)-1].Position <= p.Position {
		return nil, err
	}
	return &list[len(list)-1], nil
}

func (a *app) restore(c *archive.Checkpoint, later *archive.Place, older bool, into string, open func(archive.Place) (*archive.Checkpoint, error)) error {
	for i := range c.Manifest.Streams {
		if v := c.Verify(&c.Manifest.Streams[i]); v.Err != nil {
			return &failure{v.Err, exitFailed, "nothing was restored; another copy of the archive may have it whole"}
		}
	}
	deleted := map[wire.StreamID]wire.Time{}
	if later != nil {
		if !older {
			return &failure{fmt.Errorf("the archive has a later checkpoint of the tenant, %s at position %d", later.ID, later.Position), exitConflict,
				"restore that one, or say --accept-older"}
		}
		newer, err := open(*later)
		if err != nil {
			return err
		}
		if deleted, err = newer.DeletedSince(c); err != nil {
			return err
		}
	}
	r, err := host.Restore(into, c.State, c.Records, deleted)
	if err != nil {
		return err
	}
	for id, purge := range deleted {
		name := ""
		if line := c.Manifest.Stream(id); line != nil {
			name = line.Name
		}
		fmt.Fprintf(a.stderr, "stream %q was deleted later, and is deleted; it is purged at %s\n", name, stamp(time.Unix(0, int64(purge))))
	}
	if r.Gone > 0 {
		fmt.Fprintf(a.stderr, "%s that the checkpoint had are gone since: retention or a purge has removed them\n", count(r.Gone, "event"))
	}
	return printFacts(a.stdout, []fact{
		{"tenant", fmt.Sprintf("%d %s", r.Tenant, r.Name)}, {"position", fmt.Sprint(r.Position)}, {"streams", fmt.Sprint(r.Streams)},
		{"events", fmt.Sprint(r.Events)}, {"gone", fmt.Sprint(r.Gone)}, {"directory", into},
	})
}
