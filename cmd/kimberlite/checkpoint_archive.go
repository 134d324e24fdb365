package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/kimberlitedb/kimberlite-go/client"
	"github.com/spf13/cobra"
)

func newCheckpointArchive(a *app) *cobra.Command {
	wait := true
	lock := ""
	cmd := &cobra.Command{
		Use:   "archive CHECKPOINT DEST",
		Short: "Have the server send a checkpoint to a directory or a bucket",
		Long: `Have the server send a checkpoint, which is named by its label or by its id, to an archive: a directory on the server's machine, or a
bucket (s3://bucket/prefix). It must be allowed by the server's --archive. What is there already is not sent again, and what an
earlier checkpoint of the tenant has brought neither. The server goes on by itself if this command is interrupted, if the archive
cannot be reached for a while, and behind a restart.`,
		Example: `  kimberlite checkpoint archive Q4-2026-audit /srv/audits
  kimberlite checkpoint archive Q4-2026-audit 's3://audits/kimberlite?region=eu-central-1'`,
		Args: args(cobra.ExactArgs(2)),
	}
	cmd.Flags().BoolVar(&wait, "wait", true, "wait until all is there")
	cmd.Flags().StringVar(&lock, "lock-until", "", "a time, or a duration from now: a bucket with object lock lets nobody remove before what is sent")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		dest, err := destination(args[1])
		if err != nil {
			return usage(cmd, err)
		}
		var options []client.ArchiveOption
		if lock != "" {
			t, err := parseWhen(lock, time.Now(), ahead)
			if err != nil {
				return usage(cmd, fmt.Errorf("--lock-until %w", err))
			}
			options = append(options, client.LockUntil(t))
		}
		return a.with(cmd.Context(), func(c *client.Client) error {
			if err := c.ArchiveCheckpoint(cmd.Context(), args[0], dest, options...); err != nil || !wait {
				return err
			}
			return a.awaitArchive(cmd.Context(), c, args[0], dest, true)
		})
	}
	return cmd
}

// destination returns where an archive is, as the server is told it.
func destination(where string) (string, error) {
	if strings.Contains(where, "://") {
		return where, nil
	}
	return filepath.Abs(where)
}

// destinations returns where archives are, as clients will say it.
func destinations(list []string) (all []string, err error) {
	for _, where := range list {
		d, err := destination(where)
		if err != nil {
			return nil, fmt.Errorf("--archive %s: %w", where, err)
		}
		all = append(all, d)
	}
	return all, nil
}

// awaitArchive waits until an archive has a checkpoint. It tells how far it is: all of it, or only what keeps it from going on.
func (a *app) awaitArchive(ctx context.Context, c *client.Client, name, dest string, all bool) error {
	const often = 200 * time.Millisecond
	told := ""
	for {
		cp, err := c.CheckpointInfo(ctx, name)
		if err != nil {
			return err
		}
		found := false
		for _, x := range cp.Archives {
			if x.Destination != dest {
				continue
			}
			if found = true; x.Done {
				if all {
					fmt.Fprintf(a.stderr, "%s is in %s\n", name, dest)
				}
				return nil
			}
			if now := progressOf(&x); now != told && (all || x.Trouble != "") {
				told = now
				fmt.Fprintln(a.stderr, now)
			}
		}
		if !found {
			return &failure{fmt.Errorf("%s is not sent to %s any more", name, dest), exitFailed, "it was deleted meanwhile, or the server was given another one to send"}
		}
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), &failure{errors.New("the server goes on sending"), exitFailed, "see kimberlite checkpoint show " + name})
		case <-time.After(often):
		}
	}
}

// progressOf tells how far a checkpoint has got into an archive.
func progressOf(x *client.CheckpointArchive) string {
	switch {
	case x.Done:
		return "done"
	case x.Trouble != "":
		return "does not go on, and is tried again: " + x.Trouble
	}
	return fmt.Sprintf("%s are there, %s sent", count(x.Events, "event"), size(x.Sent))
}
