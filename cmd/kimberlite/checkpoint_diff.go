package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/kimberlitedb/kimberlite-go/client"
	"github.com/spf13/cobra"
)

func newCheckpointDiff(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "diff FROM TO",
		Short: "Show what changed between two checkpoints",
		Long: `Show what changed between two checkpoints of the tenant, which are named by their labels or ids: streams that came, went and grew, the
statements of SQL among them as those of $sql, and the administrative acts in between. The rows of a table as of each are what
SELECT ... AS OF CHECKPOINT gives.`,
		Example: `  kimberlite checkpoint diff Q3-2026-audit Q4-2026-audit`,
		Args:    args(cobra.ExactArgs(2)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.with(cmd.Context(), func(c *client.Client) error { return a.diffCheckpoints(cmd.Context(), c, args[0], args[1]) })
		},
	}
}

// changeJSON is a change as JSON.
type changeJSON struct {
	What   string        `json:"what"` // added, removed, grown, cut off, act
	Stream string        `json:"stream,omitempty"`
	From   client.Offset `json:"from"` // offsets of the events that came, or went
	To     client.Offset `json:"to"`
	Act    any           `json:"act,omitempty"`
}

func (a *app) diffCheckpoints(ctx context.Context, c *client.Client, from, to string) error {
	first, err := c.CheckpointInfo(ctx, from)
	if err != nil {
		return err
	}
	second, err := c.CheckpointInfo(ctx, to)
	if err != nil {
		return err
	}
	if first.Position > second.Position {
		return &failure{fmt.Errorf("%s, at position %d, is later than %s, at %d", from, first.Position, to, second.Position), exitUsage, "name the earlier one first"}
	}
	before, err := streamsOf(ctx, c, first.ID)
	if err != nil {
		return err
	}
	p := newPrinter(a.stdout, a.format, "WHAT", "STREAM", "FROM", "TO", "EVENTS")
	change := func(what, stream string, from, to client.Offset) error {
		return p.print(row{
			cells: []string{what, stream, fmt.Sprint(from), fmt.Sprint(to), fmt.Sprint(to - from)},
			value: changeJSON{What: what, Stream: stream, From: from, To: to},
			raw:   []byte(what + " " + stream),
		})
	}
	audit := client.CheckpointStream{}
	for s, err := range c.CheckpointStreams(ctx, second.ID.String()) {
		if err != nil {
			return err
		}
		old, known := before[s.ID]
		delete(before, s.ID)
		if s.Name == "$audit" {
			audit = s
			audit.Oldest = old.Head
		}
		switch {
		case !known:
			err = change("added", s.Name, s.Oldest, s.Head)
		case s.Head > old.Head:
			err = change("grown", s.Name, old.Head, s.Head)
		}
		if err == nil && known && s.Oldest > old.Oldest {
			err = change("cut off", s.Name, old.Oldest, s.Oldest)
		}
		if err != nil {
			return err
		}
	}
	for _, s := range before { // one that is not there any more was purged
		if err := change("removed", s.Name, s.Oldest, s.Head); err != nil {
			return err
		}
	}
	return errors.Join(a.acts(ctx, c, p, &audit), p.close())
}

// streamsOf returns the streams of a checkpoint by id.
func streamsOf(ctx context.Context, c *client.Client, id client.CheckpointID) (map[client.StreamID]client.CheckpointStream, error) {
	list := map[client.StreamID]client.CheckpointStream{}
	for s, err := range c.CheckpointStreams(ctx, id.String()) {
		if err != nil {
			return nil, err
		}
		list[s.ID] = s
	}
	return list, nil
}

// acts prints the administrative acts in a range of the audit stream.
func (a *app) acts(ctx context.Context, c *client.Client, p *printer, audit *client.CheckpointStream) error {
	if audit.Oldest >= audit.Head {
		return nil
	}
	for e, err := range c.Events(ctx, audit.ID, audit.Oldest, client.MaxEvents(uint32(audit.Head-audit.Oldest))) {
		if err != nil {
			return err
		}
		var act client.AuditEvent
		if err := json.Unmarshal(e.Data, &act); err != nil {
			return fmt.Errorf("audit event %d: %w", e.Offset, err)
		}
		if err := p.print(row{
			cells: []string{"act", act.Stream, stamp(e.Timestamp), act.Act, ""},
			value: changeJSON{What: "act", Stream: act.Stream, From: e.Offset, To: e.Offset + 1, Act: eventJSON(&e).Data},
			raw:   e.Data,
		}); err != nil {
			return err
		}
	}
	return nil
}
