package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/kimberlitedb/kimberlite-go/client"
	"github.com/kimberlitedb/kimberlite-go/wire"
	"github.com/spf13/cobra"
)

func newStream(a *app) *cobra.Command {
	cmd := remote(a, group(&cobra.Command{Use: "stream", Short: "Make, list, describe, delete and hold streams"}))
	cmd.AddCommand(
		newStreamCreate(a), newStreamDelete(a), newStreamUndelete(a), newStreamRetain(a), newStreamHold(a), newStreamRelease(a),
		newStreamList(a),
		&cobra.Command{
			Use:   "info STREAM",
			Short: "Describe a stream, named by name or id",
			Args:  args(cobra.ExactArgs(1)),
			RunE:  func(cmd *cobra.Command, args []string) error { return a.streamInfo(cmd, args[0]) },
		},
	)
	return cmd
}

func newStreamCreate(a *app) *cobra.Command {
	class, region := "non-phi", ""
	var days uint32
	cmd := &cobra.Command{
		Use:   "create NAME",
		Short: "Make an empty stream",
		Args:  args(cobra.ExactArgs(1)),
	}
	cmd.Flags().StringVar(&class, "class", class, "how sensitive the events are: phi, non-phi or deidentified")
	cmd.Flags().StringVar(&region, "region", region, "keep the events in us-east-1, ap-southeast-2 or a region of your own; anywhere without it")
	cmd.Flags().Uint32Var(&days, "retention-days", 0, "keep the events for so many days from their event times; for ever without it")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		dataClass, err := parseClass(class)
		if err != nil {
			return usage(cmd, err)
		}
		options := []client.StreamOption{client.WithDataClass(dataClass)}
		if region != "" {
			options = append(options, client.WithRegion(parseRegion(region)))
		}
		if cmd.Flags().Changed("retention-days") {
			if days == client.Forever {
				return usage(cmd, errors.New("--retention-days must be at least 1; leave it out to keep events for ever"))
			}
			options = append(options, client.WithRetention(days))
		}
		return a.createStream(cmd, args[0], options)
	}
	return cmd
}

func (a *app) createStream(cmd *cobra.Command, name string, options []client.StreamOption) error {
	return a.with(cmd.Context(), func(c *client.Client) error {
		id, err := c.CreateStream(cmd.Context(), name, options...)
		if err != nil {
			return err
		}
		return printOne(a.stdout, a.format, []string{"ID", "NAME"}, row{
			cells: []string{fmt.Sprint(id), name},
			value: struct {
				ID   client.StreamID `json:"id"`
				Name string          `json:"name"`
			}{id, name},
			raw: fmt.Append(nil, id),
		})
	})
}

func newStreamList(a *app) *cobra.Command {
	var prefix string
	var deleted, system bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the tenant's streams",
		Args:  args(cobra.NoArgs),
	}
	cmd.Flags().StringVar(&prefix, "prefix", "", "only streams whose names begin with it; case does not matter")
	cmd.Flags().BoolVar(&deleted, "deleted", false, "only deleted streams that can still be brought back; with =false only the others")
	cmd.Flags().BoolVar(&system, "system", false, "the system's streams too")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		options := []client.ListOption{client.WithPrefix(prefix)}
		switch {
		case deleted:
			options = append(options, client.OnlyDeleted())
		case cmd.Flags().Changed("deleted"):
			options = append(options, client.WithoutDeleted())
		}
		if system {
			options = append(options, client.WithSystem())
		}
		return a.listStreams(cmd, options)
	}
	return cmd
}

func (a *app) listStreams(cmd *cobra.Command, options []client.ListOption) error {
	return a.with(cmd.Context(), func(c *client.Client) error {
		now := time.Now()
		p := newPrinter(a.stdout, a.format, "ID", "NAME", "OLDEST", "HEAD", "SIZE", "CLASS", "REGION", "KEPT", "STATE", "NEWEST EVENT", "CREATED")
		for s, err := range c.Streams(cmd.Context(), options...) {
			if err != nil {
				return err
			}
			if err := p.print(streamRow(&s, now)); err != nil {
				return err
			}
		}
		return p.close()
	})
}

func (a *app) streamInfo(cmd *cobra.Command, nameOrID string) error {
	return a.with(cmd.Context(), func(c *client.Client) error {
		s, err := find(cmd.Context(), c, nameOrID)
		if err != nil {
			return err
		}
		return a.printStream(&s)
	})
}

// printStream describes a stream.
func (a *app) printStream(s *client.StreamInfo) error {
	if a.format == formatTable {
		return printFacts(a.stdout, streamFacts(s, time.Now()))
	}
	return printOne(a.stdout, a.format, nil, streamRow(s, time.Now()))
}

// streamFacts describes a stream to people.
func streamFacts(s *client.StreamInfo, now time.Time) []fact {
	list := []fact{
		{"id", fmt.Sprint(s.ID)},
		{"name", s.Name},
		{"class", className(s.Class)},
		{"region", placementName(s.Placement)},
		{"created", since(s.Created, now)},
		{"events", fmt.Sprintf("%d (%s), offsets from %d; the head is %d", s.Head-s.Oldest, size(s.Bytes), s.Oldest, s.Head)},
		{"oldest event", since(s.OldestTime, now)},
		{"newest event", since(s.NewestTime, now)},
		{"kept", retention(s.RetentionDays)},
	}
	if s.MinRetentionDays > 0 {
		list = append(list, fact{"minimum", retention(s.MinRetentionDays)})
	}
	for _, h := range s.Holds {
		list = append(list, fact{"held by", strings.TrimSuffix(h.Name+": "+printable([]byte(h.Reason)), ": ") + ", since " + since(h.Set, now)})
	}
	if s.Deleted {
		list = append(list, fact{"deleted", "to be purged " + purgeFact(s.PurgeDate, now)})
	}
	return list
}

// since shows a time and its age.
func since(t, now time.Time) string {
	if t.IsZero() {
		return "none"
	}
	return fmt.Sprintf("%s (%s)", stamp(t), age(t, now))
}

func purgeFact(t, now time.Time) string {
	if client.Never(t) {
		return purge(t)
	}
	return since(t, now)
}

// stateName says in a word or two what is special about a stream.
func stateName(s *client.StreamInfo) string {
	var words []string
	if s.Deleted {
		words = append(words, "deleted")
	}
	if len(s.Holds) > 0 {
		words = append(words, "held")
	}
	return strings.Join(words, ", ")
}

// streamJSON is a stream as JSON.
type streamJSON struct {
	ID         client.StreamID `json:"id"`
	Name       string          `json:"name"`
	Class      string          `json:"class"`
	Region     string          `json:"region"`
	Oldest     client.Offset   `json:"oldest_offset"`
	Head       client.Offset   `json:"head_offset"`
	Bytes      uint64          `json:"bytes"`
	OldestTime string          `json:"oldest_timestamp,omitempty"`
	NewestTime string          `json:"newest_timestamp,omitempty"`
	Created    string          `json:"created"`
	Retention  uint32          `json:"retention_days,omitempty"` // missing where events are kept for ever
	Minimum    uint32          `json:"min_retention_days,omitempty"`
	Holds      []holdJSON      `json:"holds,omitempty"`
	Deleted    bool            `json:"deleted,omitempty"`
	PurgeDate  string          `json:"purge_date,omitempty"` // or "never"
}

// holdJSON is a legal hold as JSON.
type holdJSON struct {
	Name   string `json:"name"`
	Reason string `json:"reason"`
	Set    string `json:"set"`
}

func streamRow(s *client.StreamInfo, now time.Time) row {
	v := streamJSON{
		ID: s.ID, Name: s.Name, Class: className(s.Class), Region: placementName(s.Placement), Oldest: s.Oldest, Head: s.Head,
		Bytes: s.Bytes, OldestTime: stamp(s.OldestTime), NewestTime: stamp(s.NewestTime), Created: stamp(s.Created),
		Retention: s.RetentionDays, Minimum: s.MinRetentionDays, Deleted: s.Deleted, PurgeDate: purge(s.PurgeDate),
	}
	for _, h := range s.Holds {
		v.Holds = append(v.Holds, holdJSON{h.Name, h.Reason, stamp(h.Set)})
	}
	return row{
		cells: []string{
			fmt.Sprint(v.ID), v.Name, fmt.Sprint(v.Oldest), fmt.Sprint(v.Head), size(v.Bytes), v.Class, v.Region,
			retention(s.RetentionDays), stateName(s), age(s.NewestTime, now), age(s.Created, now),
		},
		value: v,
		raw:   []byte(s.Name),
	}
}

func parseClass(s string) (wire.DataClass, error) {
	for _, class := range []wire.DataClass{wire.PHI, wire.NonPHI, wire.Deidentified} {
		if className(class) == s {
			return class, nil
		}
	}
	return 0, errors.New("--class must be phi, non-phi or deidentified")
}

func className(c wire.DataClass) string {
	switch c {
	case wire.PHI:
		return "phi"
	case wire.NonPHI:
		return "non-phi"
	case wire.Deidentified:
		return "deidentified"
	}
	return fmt.Sprintf("class %d", c)
}

func parseRegion(s string) wire.Region {
	switch s {
	case "us-east-1":
		return wire.Region{Kind: wire.USEast1}
	case "ap-southeast-2":
		return wire.Region{Kind: wire.APSoutheast2}
	}
	return wire.Region{Kind: wire.RegionCustom, Custom: s}
}

func placementName(p wire.Placement) string {
	switch {
	case p.Global:
		return "global"
	case p.Region.Kind == wire.USEast1:
		return "us-east-1"
	case p.Region.Kind == wire.APSoutheast2:
		return "ap-southeast-2"
	}
	return p.Region.Custom
}
