package main

import (
	"encoding/hex"
	"fmt"

	"github.com/kimberlitedb/kimberlite-go/client"
	"github.com/spf13/cobra"
)

func newCheckpoint(a *app) *cobra.Command {
	cmd := remote(a, group(&cobra.Command{
		Use:   "checkpoint",
		Short: "Freeze a tenant at a position, and prove what it held",
		Long: `A checkpoint is a tenant frozen at a position of its log. Cutting one stops nobody who writes. Streams and tables can be read as
of it: kimberlite read orders --at checkpoint:Q4, SELECT ... AS OF CHECKPOINT 'Q4'.`,
	}))
	cmd.AddCommand(
		newCheckpointCreate(a), newCheckpointList(a), newCheckpointShow(a), newCheckpointDiff(a), newCheckpointDelete(a),
		newCheckpointArchive(a), newCheckpointVerify(a), newCheckpointProve(a), newCheckpointCheck(a), newCheckpointKey(a),
	)
	return cmd
}

func newCheckpointCreate(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "create [LABEL]",
		Short:   "Cut a checkpoint",
		Long:    `Cut a checkpoint of the tenant as it is now. A label is optional; no two checkpoints have the same one.`,
		Example: `  kimberlite checkpoint create Q4-2026-audit`,
		Args:    args(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.with(cmd.Context(), func(c *client.Client) error {
				cp, err := c.Checkpoint(cmd.Context(), append(args, "")[0])
				if err != nil {
					return err
				}
				return printOne(a.stdout, a.format, []string{"ID", "LABEL", "POSITION", "TIME"}, row{
					cells: []string{cp.ID.String(), cp.Label, fmt.Sprint(cp.Position), stamp(cp.Time)},
					value: struct {
						ID       string          `json:"id"`
						Label    string          `json:"label,omitempty"`
						Position client.Position `json:"position"`
						Time     string          `json:"time"`
					}{cp.ID.String(), cp.Label, cp.Position, stamp(cp.Time)},
					raw: []byte(cp.ID.String()),
				})
			})
		},
	}
}

func newCheckpointList(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the tenant's checkpoints",
		Args:  args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.with(cmd.Context(), func(c *client.Client) error {
				list, err := c.Checkpoints(cmd.Context())
				if err != nil {
					return err
				}
				p := newPrinter(a.stdout, a.format, "ID", "LABEL", "POSITION", "SIZE", "TIME")
				for i := range list {
					if err := p.print(checkpointRow(&list[i])); err != nil {
						return err
					}
				}
				return p.close()
			})
		},
	}
}

// checkpointJSON is a checkpoint as JSON.
type checkpointJSON struct {
	ID       string          `json:"id"`
	Label    string          `json:"label,omitempty"`
	Position client.Position `json:"position"`
	Bytes    uint64          `json:"bytes"`
	Time     string          `json:"time"`
}

func checkpointRow(c *client.Checkpoint) row {
	return row{
		cells: []string{c.ID.String(), c.Label, fmt.Sprint(c.Position), size(c.Size), stamp(c.Time)},
		value: checkpointJSON{c.ID.String(), c.Label, c.Position, c.Size, stamp(c.Time)},
		raw:   []byte(c.ID.String()),
	}
}

func newCheckpointShow(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "show CHECKPOINT",
		Short: "Show a checkpoint, its streams and its signed note",
		Long: `Show a checkpoint, which is named by its label or by its id: the streams that it has, how far they went, the roots of their trees,
and the signed note that proves all of it. -o raw prints the note alone.`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.with(cmd.Context(), func(c *client.Client) error { return a.showCheckpoint(cmd, c, args[0]) })
		},
	}
}

// archiveJSON is an archive of a checkpoint as JSON.
type archiveJSON struct {
	Destination string `json:"destination"`
	Done        bool   `json:"done"`
	Sent        uint64 `json:"sent"`
	Events      uint64 `json:"events"`
	Trouble     string `json:"trouble,omitempty"`
}

// checkpointStreamJSON is a stream of a checkpoint as JSON.
type checkpointStreamJSON struct {
	ID     client.StreamID `json:"id"`
	Name   string          `json:"name"`
	Base   client.Offset   `json:"base"`
	Oldest client.Offset   `json:"oldest"`
	Head   client.Offset   `json:"head"`
	Bytes  uint64          `json:"bytes"`
	Root   string          `json:"root,omitempty"`
}

func (a *app) showCheckpoint(cmd *cobra.Command, c *client.Client, name string) error {
	cp, err := c.CheckpointInfo(cmd.Context(), name)
	if err != nil {
		return err
	}
	whole := struct {
		checkpointJSON
		Archives []archiveJSON          `json:"archives,omitempty"`
		Note     string                 `json:"note,omitempty"`
		Trouble  string                 `json:"trouble,omitempty"`
		Streams  []checkpointStreamJSON `json:"streams"`
	}{checkpointJSON{cp.ID.String(), cp.Label, cp.Position, cp.Size, stamp(cp.Time)}, nil, cp.Note, cp.Trouble, []checkpointStreamJSON{}}
	for _, x := range cp.Archives {
		whole.Archives = append(whole.Archives, archiveJSON(x))
	}
	for s, err := range c.CheckpointStreams(cmd.Context(), cp.ID.String()) {
		if err != nil {
			return err
		}
		whole.Streams = append(whole.Streams, checkpointStreamJSON{s.ID, s.Name, s.Base, s.Oldest, s.Head, s.Bytes, hex.EncodeToString(s.Root)})
	}
	if a.format != formatTable {
		return printOne(a.stdout, a.format, nil, row{value: whole, raw: []byte(cp.Note)})
	}
	facts := []fact{{"id", whole.ID}, {"label", whole.Label}, {"position", fmt.Sprint(whole.Position)}, {"time", whole.Time}, {"size", size(cp.Size)}}
	switch {
	case cp.Trouble != "":
		facts = append(facts, fact{"proof", "not written yet: " + cp.Trouble})
	case cp.Note == "":
		facts = append(facts, fact{"proof", "is being written"})
	}
	for _, x := range cp.Archives {
		facts = append(facts, fact{"archive", x.Destination + ", " + progressOf(&x)})
	}
	if err := printFacts(a.stdout, facts); err != nil {
		return err
	}
	fmt.Fprintln(a.stdout) // its error comes back below
	p := newPrinter(a.stdout, a.format, "ID", "STREAM", "BASE", "OLDEST", "HEAD", "SIZE", "ROOT")
	for _, s := range whole.Streams {
		cells := []string{fmt.Sprint(s.ID), s.Name, fmt.Sprint(s.Base), fmt.Sprint(s.Oldest), fmt.Sprint(s.Head), size(s.Bytes), s.Root}
		if err := p.print(row{cells: cells}); err != nil {
			return err
		}
	}
	if err := p.close(); err != nil || cp.Note == "" {
		return err
	}
	_, err = fmt.Fprintf(a.stdout, "\n%s", cp.Note)
	return err
}

func newCheckpointDelete(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "delete CHECKPOINT",
		Short: "Delete a checkpoint; its events stay where they are",
		Args:  args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.with(cmd.Context(), func(c *client.Client) error { return c.DeleteCheckpoint(cmd.Context(), args[0]) })
		},
	}
}
