package main

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/kimberlitedb/kimberlite-go/engine"
	"github.com/kimberlitedb/kimberlite-go/engine/archive"
	"github.com/kimberlitedb/kimberlite-go/engine/proof"
	"github.com/kimberlitedb/kimberlite-go/io/host"
	"github.com/kimberlitedb/kimberlite-go/wire"
	"github.com/spf13/cobra"
)

func newRestore(a *app) *cobra.Command {
	o := archiveFlags{}
	var into string
	t := tenantRestore{app: a}
	var older, all bool
	cmd := &cobra.Command{
		Use:   "restore ARCHIVE (--into DIR | --as-tenant ID)",
		Short: "Make a data directory of checkpoints in an archive, or a tenant of a server",
		Long: `Make a data directory of a checkpoint: one that serves its tenant exactly as it was at the checkpoint's position, and nothing else; or, with
--all, of the newest checkpoint of every tenant. The signature, the manifest and every event are verified first; what is not what was
signed is refused by name.

Streams that were deleted later, as far as the archive knows it, are deleted in the new directory too, and listed. Where the archive has
a later checkpoint of the tenant, an older one is refused: restore that, or say --accept-older.

With --as-tenant a running server restores the checkpoint, as a tenant that it does not have yet: the archive must be allowed by its
--archive, and who has signed by --checkpoint-trust, unless that was the server itself. Streams get other ids; the map is printed, and
in the stream $audit.`,
		Example: `  kimberlite restore /srv/audits --key kimberlite.pub --checkpoint Q4-2026-audit --into ./audit-data
  kimberlite serve --data ./audit-data
  kimberlite restore /srv/backups --key kimberlite.pub --all --into ./kimberlite-data
  kimberlite restore /srv/audits --key kimberlite.pub --checkpoint Q4-2026-audit --as-tenant 7 --name audit`,
		Args: args(cobra.ExactArgs(1)),
	}
	o.register(cmd)
	cmd.Flags().StringVar(&into, "into", "", "the new data directory; must be empty or missing")
	cmd.Flags().BoolVar(&all, "all", false, "restore the newest checkpoint of every tenant")
	cmd.Flags().BoolVar(&older, "accept-older", false, "restore a checkpoint although the archive has a later one of the tenant")
	t.register(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		switch {
		case t.id != 0 && (into != "" || all):
			return usage(cmd, errors.New("--as-tenant restores one checkpoint into a running server: leave --into and --all away"))
		case into == "" && t.id == 0:
			return usage(cmd, errors.New("--into is missing, or --as-tenant"))
		case all == (o.name != ""):
			return usage(cmd, errors.New("give --checkpoint, or --all"))
		}
		box, keys, err := o.open(cmd.Context(), cmd, args[0])
		if err != nil {
			return err
		}
		list, err := o.find(box)
		if err != nil {
			return err
		}
		if all {
			known, err := date(box, list)
			if err != nil {
				return err
			}
			list = newest(known)
		} else if len(list) > 1 {
			return &failure{fmt.Errorf("%d checkpoints have that label", len(list)), exitUsage, "say which by --of-tenant, or by id"}
		}
		if t.id != 0 {
			c, err := box.Open(list[0], keys)
			if err != nil {
				return err
			}
			return t.run(cmd, args[0], c, older)
		}
		r := restoring{app: a, open: func(p archive.Place) (*archive.Checkpoint, error) { return box.Open(p, keys) }, older: older}
		for _, p := range list {
			if err := r.take(box, p); err != nil {
				return err
			}
		}
		return r.into(into)
	}
	return cmd
}

// dated is a checkpoint of an archive, and when it was cut.
type dated struct {
	archive.Place
	at wire.Time
}

// date finds out when checkpoints were cut: the positions of one server say nothing of those of another, such as one that was restored.
func date(box *archive.Box, places []archive.Place) (list []dated, err error) {
	for _, p := range places {
		signed, err := box.Get(p.Note())
		if err != nil {
			return nil, fmt.Errorf("%s: %w", p.Note(), err)
		}
		note, err := proof.Read(signed)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", p.Note(), err)
		}
		list = append(list, dated{p, note.Time})
	}
	slices.SortStableFunc(list, func(a, b dated) int { return cmp.Or(cmp.Compare(a.Tenant, b.Tenant), cmp.Compare(a.at, b.at)) })
	return list, nil
}

// newest returns the last checkpoint of each tenant, of whatever server.
func newest(list []dated) (last []archive.Place) {
	for i, p := range list {
		if i+1 == len(list) || list[i+1].Tenant != p.Tenant {
			last = append(last, p.Place)
		}
	}
	return last
}

// restoring is the making of a data directory.
type restoring struct {
	*app
	open  func(archive.Place) (*archive.Checkpoint, error)
	older bool
	list  []*archive.Checkpoint
	parts []*engine.Restoring
}

// take verifies a checkpoint, and finds what was deleted since.
func (r *restoring) take(box *archive.Box, p archive.Place) error {
	c, err := r.open(p)
	if err != nil {
		return err
	}
	for i := range c.Manifest.Streams {
		if v := c.Verify(&c.Manifest.Streams[i]); v.Err != nil {
			return &failure{v.Err, exitFailed, "nothing was restored; another copy of the archive may have it whole"}
		}
	}
	if _, err := c.VerifyTables(); err != nil {
		return &failure{fmt.Errorf("tables: %w", err), exitFailed, "nothing was restored; another copy of the archive may have it whole"}
	}
	part := &engine.Restoring{State: c.State, Records: c.Records}
	if there, _ := c.Dumped(); there {
		part.Tables = c.Tables
	}
	all, err := box.Find("")
	if err != nil {
		return err
	}
	of, err := date(box, slices.DeleteFunc(all, func(x archive.Place) bool { return x.Tenant != p.Tenant }))
	if err != nil {
		return err
	}
	if last := of[len(of)-1]; last.at > c.Note.Time {
		if !r.older {
			return &failure{fmt.Errorf("the archive has a later checkpoint of the tenant, %s at position %d", last.ID, last.Position), exitConflict,
				"restore that one, or say --accept-older"}
		}
		newer, err := r.open(last.Place)
		if err != nil {
			return err
		}
		if part.Deleted, err = newer.DeletedSince(c); err != nil {
			return err
		}
	}
	r.list, r.parts = append(r.list, c), append(r.parts, part)
	return nil
}

// into makes the directory, and tells what is in it.
func (r *restoring) into(dir string) error {
	reports, err := host.Restore(dir, r.parts...)
	if err != nil {
		return err
	}
	for i, c := range r.list {
		for _, line := range c.Manifest.Streams {
			if purge, later := r.parts[i].Deleted[line.ID]; later {
				fmt.Fprintf(r.stderr, "stream %q was deleted later, and is deleted; it is purged at %s\n", line.Name, stamp(time.Unix(0, int64(purge))))
			}
		}
	}
	p := newPrinter(r.stdout, formatTable, "TENANT", "NAME", "POSITION", "STREAMS", "EVENTS", "GONE")
	for i, x := range reports {
		if x.NoTables != "" {
			_, why := r.list[i].Dumped()
			fmt.Fprintf(r.stderr, "tenant %d has no tables: %s\n", x.Tenant, strings.TrimSuffix(x.NoTables+": "+why, ": "))
		}
		if x.Gone > 0 {
			fmt.Fprintf(r.stderr, "%s that the checkpoint of tenant %d had are gone since: retention or a purge has removed them\n", count(x.Gone, "event"), x.Tenant)
		}
		cells := []string{fmt.Sprint(x.Tenant), x.Name, fmt.Sprint(x.Position), fmt.Sprint(x.Streams), fmt.Sprint(x.Events), fmt.Sprint(x.Gone)}
		if err := p.print(row{cells: cells}); err != nil {
			return err
		}
	}
	return p.close()
}
