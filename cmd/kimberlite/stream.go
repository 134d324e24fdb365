package main

import (
	"errors"
	"fmt"

	"github.com/kimberlitedb/kimberlite-go/client"
	"github.com/kimberlitedb/kimberlite-go/wire"
	"github.com/spf13/cobra"
)

func newStream(a *app) *cobra.Command {
	cmd := remote(a, group(&cobra.Command{Use: "stream", Short: "Make, list and describe streams"}))
	cmd.AddCommand(
		newStreamCreate(a),
		&cobra.Command{
			Use:   "list",
			Short: "List the tenant's streams",
			Args:  args(cobra.NoArgs),
			RunE:  func(cmd *cobra.Command, _ []string) error { return a.listStreams(cmd) },
		},
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
	cmd := &cobra.Command{
		Use:   "create NAME",
		Short: "Make an empty stream",
		Args:  args(cobra.ExactArgs(1)),
	}
	cmd.Flags().StringVar(&class, "class", class, "how sensitive the events are: phi, non-phi or deidentified")
	cmd.Flags().StringVar(&region, "region", region, "keep the events in us-east-1, ap-southeast-2 or a region of your own; anywhere without it")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		dataClass, err := parseClass(class)
		if err != nil {
			return usage(cmd, err)
		}
		options := []client.StreamOption{client.WithDataClass(dataClass)}
		if region != "" {
			options = append(options, client.WithRegion(parseRegion(region)))
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

func (a *app) listStreams(cmd *cobra.Command) error {
	return a.with(cmd.Context(), func(c *client.Client) error {
		p := newPrinter(a.stdout, a.format, streamHeader()...)
		for s, err := range c.Streams(cmd.Context()) {
			if err != nil {
				return err
			}
			if err := p.print(streamRow(s)); err != nil {
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
		return printOne(a.stdout, a.format, streamHeader(), streamRow(s))
	})
}

func streamHeader() []string {
	return []string{"ID", "NAME", "OLDEST", "HEAD", "BYTES", "CLASS", "REGION", "OLDEST EVENT", "NEWEST EVENT", "CREATED"}
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
	Deleted    bool            `json:"deleted,omitempty"`
	PurgeDate  string          `json:"purge_date,omitempty"`
}

func streamRow(s client.StreamInfo) row {
	v := streamJSON{
		ID: s.ID, Name: s.Name, Class: className(s.Class), Region: placementName(s.Placement), Oldest: s.Oldest, Head: s.Head,
		Bytes: s.Bytes, OldestTime: stamp(s.OldestTime), NewestTime: stamp(s.NewestTime), Created: stamp(s.Created),
		Deleted: s.Deleted, PurgeDate: stamp(s.PurgeDate),
	}
	return row{
		cells: []string{
			fmt.Sprint(v.ID), v.Name, fmt.Sprint(v.Oldest), fmt.Sprint(v.Head), fmt.Sprint(v.Bytes), v.Class, v.Region,
			v.OldestTime, v.NewestTime, v.Created,
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
