package main

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/kimberlitedb/kimberlite-go/engine/archive"
	"github.com/kimberlitedb/kimberlite-go/engine/proof"
	"github.com/kimberlitedb/kimberlite-go/wire"
	"github.com/spf13/cobra"
)

// proveFlags say what is to be proven.
type proveFlags struct {
	archiveFlags
	since  string
	stream string
	offset uint64
}

func newCheckpointProve(a *app) *cobra.Command {
	o := proveFlags{}
	cmd := &cobra.Command{
		Use:   "prove ARCHIVE --checkpoint CHECKPOINT (--stream STREAM --offset N | --since CHECKPOINT)",
		Short: "Prove that an event was there, or that nothing has changed since a checkpoint",
		Long: `Write a proof to standard output: a JSON document that is checked with the public key alone, by kimberlite checkpoint check-proof or by
whatever implements docs/PROOFS.md.

With --stream and --offset it proves that an event was there, and shows no other event. If retention or a purge has removed the event from the
archive it proves the hash that is left of it. With --since it proves that every event that the earlier checkpoint had is unchanged in the later
one, in all streams or in one. What is not what was signed is not proven.`,
		Example: `  kimberlite checkpoint prove /srv/audits --key kimberlite.pub --checkpoint Q4 --stream orders --offset 1042 > proof.json
  kimberlite checkpoint prove /srv/audits --key kimberlite.pub --checkpoint Q4 --since Q3 > since.json`,
		Args: args(cobra.ExactArgs(1)),
	}
	o.register(cmd)
	f := cmd.Flags()
	f.StringVar(&o.since, "since", "", "label or id of an earlier checkpoint")
	f.StringVar(&o.stream, "stream", "", "name or id of the stream")
	f.Uint64Var(&o.offset, "offset", 0, "offset of the event")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		event := cmd.Flags().Changed("offset")
		if o.name == "" || event == (o.since != "") || event && o.stream == "" {
			return usage(cmd, errors.New("give --checkpoint, and either --stream and --offset or --since"))
		}
		box, keys, err := o.open(cmd.Context(), cmd, args[0])
		if err != nil {
			return err
		}
		doc, err := o.prove(box, keys, event)
		if err != nil {
			return err
		}
		_, err = a.stdout.Write(doc)
		return err
	}
	return cmd
}

func (o *proveFlags) prove(box *archive.Box, keys proof.Keys, event bool) ([]byte, error) {
	c, err := o.one(box, keys)
	if err != nil {
		return nil, err
	}
	var line *proof.Stream
	if o.stream != "" {
		if line, err = lineOf(c, o.stream); err != nil {
			return nil, err
		}
	}
	if event {
		d, err := c.Prove(line, wire.Offset(o.offset))
		if err != nil {
			return nil, err
		}
		return d.Encode(), nil
	}
	earlier := archiveFlags{name: o.since, tenant: uint64(c.Tenant)}
	before, err := earlier.one(box, keys)
	if err != nil {
		return nil, fmt.Errorf("--since: %w", err)
	}
	var only []wire.StreamID
	if line != nil {
		if before.Manifest.Stream(line.ID) == nil {
			return nil, &failure{fmt.Errorf("the earlier checkpoint has no stream %q", line.Name), exitNotFound, "without --stream it is proven that the stream is new"}
		}
		only = append(only, line.ID)
	}
	d, err := c.ProveSince(before, only...)
	if err != nil {
		return nil, err
	}
	return d.Encode(), nil
}

// one opens the checkpoint that is meant.
func (o *archiveFlags) one(box *archive.Box, keys proof.Keys) (*archive.Checkpoint, error) {
	list, err := o.find(box)
	if err != nil {
		return nil, err
	}
	if len(list) > 1 {
		return nil, &failure{fmt.Errorf("%d checkpoints have the label %s", len(list), o.name), exitUsage, "say which by --of-tenant, or by id"}
	}
	return box.Open(list[0], keys)
}

// lineOf returns the line of a stream, by name or id.
func lineOf(c *archive.Checkpoint, name string) (line *proof.Stream, err error) {
	for i := range c.Manifest.Streams {
		s := &c.Manifest.Streams[i]
		if s.Name != name && strconv.FormatUint(uint64(s.ID), 10) != name {
			continue
		}
		if line != nil {
			return nil, &failure{fmt.Errorf("streams %d and %d of the checkpoint are named %q", line.ID, s.ID, name), exitUsage, "say which by id"}
		}
		line = s
	}
	if line == nil {
		return nil, &failure{fmt.Errorf("the checkpoint has no stream %q", name), exitNotFound, "kimberlite checkpoint show lists the streams of a checkpoint"}
	}
	return line, nil
}
