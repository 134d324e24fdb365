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

func newRetention(a *app) *cobra.Command {
	cmd := remote(a, group(&cobra.Command{Use: "retention", Short: "See what expires"}))
	cmd.AddCommand(newRetentionPlan(a))
	return cmd
}

func newRetentionPlan(a *app) *cobra.Command {
	var when string
	cmd := &cobra.Command{
		Use:   "plan --at TIME [STREAM...]",
		Short: "Say how many events retention and purges would have removed by a time",
		Long: `Say how many of the events that there are now would be gone by a time, if nothing is changed until then: retention
settings, holds and deletions as they are now. Nothing is changed by asking. Without streams it is about all that have a
retention or are deleted.

The time is RFC 3339, a date, or a duration from now (36h, 90d).`,
		Example: `  kimberlite retention plan --at 2027-01-01
  kimberlite retention plan --at 30d orders`,
		Args: args(cobra.ArbitraryArgs),
	}
	cmd.Flags().StringVar(&when, "at", "", "the time to plan for")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if when == "" {
			return usage(cmd, errors.New("--at is missing"))
		}
		at, err := parseWhen(when, time.Now(), ahead)
		if err != nil {
			return usage(cmd, fmt.Errorf("--at %w", err))
		}
		return a.with(cmd.Context(), func(c *client.Client) error { return a.planRetention(cmd.Context(), c, at, args) })
	}
	return cmd
}

func (a *app) planRetention(ctx context.Context, c *client.Client, at time.Time, names []string) error {
	streams, err := planned(ctx, c, names)
	if err != nil {
		return err
	}
	p := newPrinter(a.stdout, a.format, "STREAM", "EVENTS", "GONE", "FIRST KEPT", "WHY")
	for i := range streams {
		f, err := foresee(ctx, c, &streams[i], at)
		if err != nil {
			return fmt.Errorf("stream %s: %w", streams[i].Name, err)
		}
		if err := p.print(f.row()); err != nil {
			return err
		}
	}
	return p.close()
}

// planned returns the streams of these names, or all from which something may go.
func planned(ctx context.Context, c *client.Client, names []string) (list []client.StreamInfo, err error) {
	for _, name := range names {
		s, err := find(ctx, c, name)
		if err != nil {
			return nil, err
		}
		list = append(list, s)
	}
	if len(names) > 0 {
		return list, nil
	}
	for s, err := range c.Streams(ctx) {
		if err != nil {
			return nil, err
		}
		if s.Deleted || s.RetentionDays != client.Forever {
			list = append(list, s)
		}
	}
	return list, nil
}

// forecast is what will have become of a stream.
type forecast struct {
	stream *client.StreamInfo
	events uint64        // that there are now
	gone   uint64        // of them
	first  client.Offset // that is kept
	why    string
}

// foresee says what is left of a stream at a time.
func foresee(ctx context.Context, c *client.Client, s *client.StreamInfo, at time.Time) (forecast, error) {
	f := forecast{stream: s, events: uint64(s.Head - s.Oldest), first: s.Oldest}
	switch {
	case len(s.Holds) > 0:
		f.why = "held: " + strings.Join(holdNames(s), ", ")
	case s.Deleted && (client.Never(s.PurgeDate) || s.PurgeDate.After(at)):
		f.why = "deleted; purge date " + purge(s.PurgeDate)
	case s.Deleted:
		f.gone, f.first, f.why = f.events, s.Head, "deleted; purged "+purge(s.PurgeDate)
	case s.RetentionDays == client.Forever:
		f.why = "kept for ever"
	default:
		f.why = "kept for " + retention(s.RetentionDays)
		return f, f.survivors(ctx, c, at.UTC().AddDate(0, 0, -int(s.RetentionDays)))
	}
	return f, nil
}

// survivors looks up the first event that is younger than what has expired.
func (f *forecast) survivors(ctx context.Context, c *client.Client, expired time.Time) error {
	page, err := c.Read(ctx, f.stream.ID, 0, client.Since(expired.Add(1)), client.MaxEvents(1))
	if err != nil {
		return err
	}
	f.events, f.first = uint64(page.Head-page.Oldest), page.Head
	if len(page.Events) > 0 {
		f.first = page.Events[0].Offset
	}
	f.gone = uint64(f.first - page.Oldest)
	return nil
}

func holdNames(s *client.StreamInfo) (names []string) {
	for _, h := range s.Holds {
		names = append(names, h.Name)
	}
	return names
}

func (f *forecast) row() row {
	first := fmt.Sprint(f.first)
	if f.gone == f.events {
		first = "none"
	}
	return row{
		cells: []string{f.stream.Name, fmt.Sprint(f.events), fmt.Sprint(f.gone), first, f.why},
		value: struct {
			ID     client.StreamID `json:"id"`
			Stream string          `json:"stream"`
			Events uint64          `json:"events"`
			Gone   uint64          `json:"gone"`
			First  client.Offset   `json:"first_kept"` // the head where none is
			Holds  []string        `json:"holds,omitempty"`
			Why    string          `json:"why"`
		}{f.stream.ID, f.stream.Name, f.events, f.gone, f.first, holdNames(f.stream), f.why},
		raw: fmt.Append(nil, f.gone),
	}
}
