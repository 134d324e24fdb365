package main

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/kimberlitedb/kimberlite-go/client"
	"github.com/kimberlitedb/kimberlite-go/wire"
	"github.com/spf13/cobra"
)

func newGroup(a *app) *cobra.Command {
	cmd := remote(a, group(&cobra.Command{
		Use:   "group",
		Short: "Make, list, describe and change consumer groups",
		Long: `Make, list, describe and change consumer groups. A group shares a stream among its members: each event goes to one member
at a time, until one has acknowledged it. "kimberlite consume" is a member, and "kimberlite why group" says what a group is
waiting for.`,
	}))
	cmd.AddCommand(
		newGroupCreate(a), newGroupList(a),
		&cobra.Command{
			Use:   "info STREAM GROUP",
			Short: "Describe a group",
			Args:  args(cobra.ExactArgs(2)),
			RunE: func(cmd *cobra.Command, args []string) error {
				return a.withStream(cmd, args[0], func(c *client.Client, stream client.StreamInfo) error {
					return a.showGroup(cmd, c, stream.ID, args[1])
				})
			},
		},
		newGroupSet(a),
		&cobra.Command{
			Use:   "pause STREAM GROUP",
			Short: "Deliver nothing until the group is resumed; what is delivered can be acknowledged",
			Args:  args(cobra.ExactArgs(2)),
			RunE: func(cmd *cobra.Command, args []string) error {
				return a.changeGroup(cmd, args, func(c *client.Client, id client.StreamID) error {
					return c.PauseGroup(cmd.Context(), id, args[1])
				})
			},
		},
		&cobra.Command{
			Use:   "resume STREAM GROUP",
			Short: "Let a paused group go on",
			Args:  args(cobra.ExactArgs(2)),
			RunE: func(cmd *cobra.Command, args []string) error {
				return a.changeGroup(cmd, args, func(c *client.Client, id client.StreamID) error {
					return c.ResumeGroup(cmd.Context(), id, args[1])
				})
			},
		},
		newGroupSeek(a), newGroupParked(a), newGroupDelete(a),
	)
	return cmd
}

func newGroupList(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "list STREAM",
		Short: "List a stream's groups",
		Args:  args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withStream(cmd, args[0], func(c *client.Client, stream client.StreamInfo) error {
				now := time.Now()
				p := newPrinter(a.stdout, a.format, "NAME", "STATE", "FLOOR", "LAG", "LAG SINCE", "PENDING", "DELAYED", "PARKED", "MEMBERS", "CREATED")
				for g, err := range c.Groups(cmd.Context(), stream.ID) {
					if err != nil {
						return err
					}
					if err := p.print(groupRow(&g, now)); err != nil {
						return err
					}
				}
				return p.close()
			})
		},
	}
}

func newGroupDelete(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "delete STREAM GROUP",
		Short: "Delete a group and all that it remembers, and describe it as it was",
		Args:  args(cobra.ExactArgs(2)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withStream(cmd, args[0], func(c *client.Client, stream client.StreamInfo) error {
				g, err := c.GroupInfo(cmd.Context(), stream.ID, args[1])
				if err != nil {
					return err
				}
				if err := c.DeleteGroup(cmd.Context(), stream.ID, args[1]); err != nil {
					return unclear(err, args)
				}
				return a.printGroup(&g)
			})
		},
	}
}

// withStream runs part of a command that needs a client and a stream.
func (a *app) withStream(cmd *cobra.Command, nameOrID string, do func(*client.Client, client.StreamInfo) error) error {
	return a.with(cmd.Context(), func(c *client.Client) error {
		s, err := find(cmd.Context(), c, nameOrID)
		if err != nil {
			return err
		}
		return do(c, s)
	})
}

// changeGroup changes a group and describes it as it is then. The first two arguments name the stream and the group.
func (a *app) changeGroup(cmd *cobra.Command, args []string, change func(*client.Client, client.StreamID) error) error {
	return a.withStream(cmd, args[0], func(c *client.Client, stream client.StreamInfo) error {
		if err := change(c, stream.ID); err != nil {
			return unclear(err, args)
		}
		return a.showGroup(cmd, c, stream.ID, args[1])
	})
}

func (a *app) showGroup(cmd *cobra.Command, c *client.Client, stream client.StreamID, name string) error {
	g, err := c.GroupInfo(cmd.Context(), stream, name)
	if err != nil {
		return err
	}
	return a.printGroup(&g)
}

// unclear adds to an error that leaves open what has become of a group how to find out.
func unclear(err error, args []string) error {
	if !errors.Is(err, client.ErrUnknownOutcome) {
		return err
	}
	return &failure{err, exitFailed, fmt.Sprintf(`look at the group with "kimberlite group info %s %s"`, args[0], args[1])}
}

// printGroup describes a group.
func (a *app) printGroup(g *client.GroupInfo) error {
	if a.format == formatTable {
		return printFacts(a.stdout, groupFacts(g, time.Now()))
	}
	return printOne(a.stdout, a.format, nil, groupRow(g, time.Now()))
}

// groupFacts describes a group to people.
func groupFacts(g *client.GroupInfo, now time.Time) []fact {
	list := []fact{{"name", g.Name}, {"created", since(g.Created, now)}}
	if g.Paused {
		list = append(list, fact{"state", "paused"})
	}
	return append(append(list, progressFacts(g, now)...),
		fact{"members", fmt.Sprint(g.Members)},
		fact{"ack deadline", g.Settings.AckDeadline.String()},
		fact{"max attempts", fmt.Sprint(g.Settings.MaxAttempts)},
		fact{"max ack pending", fmt.Sprint(g.Settings.MaxAckPending)},
		fact{"look-ahead", fmt.Sprint(g.Settings.LookAhead)},
		fact{"order", orderName(g.Settings.Order)},
	)
}

// progressFacts says how far a group is.
func progressFacts(g *client.GroupInfo, now time.Time) []fact {
	lag := "none"
	if g.Lag > 0 {
		lag = fmt.Sprintf("%s, the oldest of about %s", count(g.Lag, "event"), since(g.LagSince, now))
	}
	list := []fact{
		{"progress", fmt.Sprintf("everything before offset %d is settled; the head is %d", g.Floor, g.Head)},
		{"lag", lag},
		{"pending", fmt.Sprint(g.Pending)},
		{"delayed", fmt.Sprint(g.Delayed)},
		{"parked", fmt.Sprint(g.Parked)},
	}
	if g.Skipped > 0 {
		list = append(list, fact{"skipped", fmt.Sprint(g.Skipped)})
	}
	if g.Redelivered > 0 {
		list = append(list, fact{"redelivered", fmt.Sprintf("%d times since the server was started", g.Redelivered)})
	}
	return list
}

// orderName says what keeps its order in a group.
func orderName(k wire.OrderKey) string {
	switch k.Kind {
	case wire.OrderNone:
		return "none"
	case wire.OrderJSON:
		return "by the value at " + k.Path
	case wire.OrderPrefix:
		return "by the first " + count(uint64(k.Bytes), "byte")
	}
	return fmt.Sprintf("kind %d", k.Kind)
}

// groupJSON is a group as JSON.
type groupJSON struct {
	ID          uint64        `json:"id"`
	Name        string        `json:"name"`
	Created     string        `json:"created"`
	Paused      bool          `json:"paused,omitempty"`
	Floor       client.Offset `json:"floor"`
	Head        client.Offset `json:"head_offset"`
	Lag         uint64        `json:"lag"`
	LagSince    string        `json:"lag_since,omitempty"`
	Pending     uint64        `json:"pending"`
	Delayed     uint64        `json:"delayed"`
	Parked      uint64        `json:"parked"`
	Skipped     uint64        `json:"skipped"`
	Redelivered uint64        `json:"redelivered"`
	Members     uint32        `json:"members"`
	AckDeadline int64         `json:"ack_deadline_ms"`
	MaxAttempts uint32        `json:"max_attempts"`
	MaxPending  uint32        `json:"max_ack_pending"`
	LookAhead   uint32        `json:"look_ahead"`
	OrderBy     string        `json:"order_by,omitempty"`     // a JSON pointer
	OrderPrefix uint32        `json:"order_prefix,omitempty"` // in bytes
}

func groupRow(g *client.GroupInfo, now time.Time) row {
	state := ""
	if g.Paused {
		state = "paused"
	}
	return row{
		cells: []string{
			g.Name, state, fmt.Sprint(g.Floor), fmt.Sprint(g.Lag), age(g.LagSince, now), fmt.Sprint(g.Pending), fmt.Sprint(g.Delayed),
			fmt.Sprint(g.Parked), fmt.Sprint(g.Members), age(g.Created, now),
		},
		value: jsonGroup(g),
		raw:   []byte(g.Name),
	}
}

func jsonGroup(g *client.GroupInfo) groupJSON {
	return groupJSON{
		ID: g.ID, Name: g.Name, Created: stamp(g.Created), Paused: g.Paused, Floor: g.Floor, Head: g.Head, Lag: g.Lag,
		LagSince: stamp(g.LagSince), Pending: g.Pending, Delayed: g.Delayed, Parked: g.Parked, Skipped: g.Skipped,
		Redelivered: g.Redelivered, Members: g.Members, AckDeadline: g.Settings.AckDeadline.Milliseconds(),
		MaxAttempts: g.Settings.MaxAttempts, MaxPending: g.Settings.MaxAckPending, LookAhead: g.Settings.LookAhead,
		OrderBy: g.Settings.Order.Path, OrderPrefix: g.Settings.Order.Bytes,
	}
}

// parseOffset reads where in a stream a group is to be.
func parseOffset(s string) (client.Offset, error) {
	switch s {
	case "beginning":
		return 0, nil
	case "end":
		return client.End, nil
	}
	n, err := strconv.ParseUint(s, 10, 63)
	if err != nil {
		return 0, fmt.Errorf("%q is neither an offset, nor beginning, nor end", s)
	}
	return client.Offset(n), nil
}
