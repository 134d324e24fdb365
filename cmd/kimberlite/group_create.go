package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/kimberlitedb/kimberlite-go/client"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

func newGroupCreate(a *app) *cobra.Command {
	var from, sinceTime string
	var settings groupFlags
	cmd := &cobra.Command{
		Use:   "create STREAM GROUP",
		Short: "Make a consumer group of a stream",
		Long: `Make a consumer group of a stream. It begins at the oldest event; --from and --since have it begin elsewhere.

With --order-by or --order-prefix events that belong together are delivered one after the other: the next one only when the
one before is acknowledged or parked. Events without the value belong to nothing.`,
		Example: `  kimberlite group create orders mailer
  kimberlite group create orders audit --from end --ack-deadline 5m
  kimberlite group create orders stock --since 7d --order-by /customer/id`,
		Args: args(cobra.ExactArgs(2)),
	}
	cmd.Flags().StringVar(&from, "from", "beginning", "begin at this offset, at the beginning or at the end")
	cmd.Flags().StringVar(&sinceTime, "since", "", "begin at the first event with this time or a later one")
	settings.register(cmd.Flags())
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		options, err := settings.options(cmd.Flags())
		if err != nil {
			return usage(cmd, err)
		}
		begin, err := groupBegin(cmd.Flags(), from, sinceTime, time.Now())
		if err != nil {
			return usage(cmd, err)
		}
		all := []client.GroupOption{begin}
		for _, o := range options {
			all = append(all, o)
		}
		return a.changeGroup(cmd, args, func(c *client.Client, id client.StreamID) error {
			_, err := c.CreateGroup(cmd.Context(), id, args[1], all...)
			return err
		})
	}
	return cmd
}

func groupBegin(f *pflag.FlagSet, from, sinceTime string, now time.Time) (client.GroupOption, error) {
	if !f.Changed("since") {
		o, err := parseOffset(from)
		if err != nil {
			return nil, fmt.Errorf("--from %w", err)
		}
		return client.FromOffset(o), nil
	}
	if f.Changed("from") {
		return nil, errors.New("--from and --since exclude each other")
	}
	t, err := parseWhen(sinceTime, now, ago)
	if err != nil {
		return nil, fmt.Errorf("--since %w", err)
	}
	return client.FromTime(t), nil
}

// groupFlags are the settings of a group.
type groupFlags struct {
	deadline                         time.Duration
	attempts, pending, ahead, prefix uint32
	pointer                          string
}

func (o *groupFlags) register(f *pflag.FlagSet) {
	f.DurationVar(&o.deadline, "ack-deadline", 30*time.Second, "how long a member may hold an event before it goes to another, 100ms to 12h")
	f.Uint32Var(&o.attempts, "max-attempts", 10, "how often an event is delivered before it is parked")
	f.Uint32Var(&o.pending, "max-ack-pending", 1000, "how many deliveries may be unacknowledged")
	f.Uint32Var(&o.ahead, "look-ahead", 10_000, "how far behind the oldest unsettled event others are delivered")
	f.StringVar(&o.pointer, "order-by", "", "keep events in order that have the same value at this JSON pointer, such as /customer/id")
	f.Uint32Var(&o.prefix, "order-prefix", 0, "keep events in order that begin with the same so many bytes")
}

// options returns the settings that are given.
func (o *groupFlags) options(f *pflag.FlagSet) (list []client.GroupSetting, err error) {
	if f.Changed("order-by") && f.Changed("order-prefix") {
		return nil, errors.New("--order-by and --order-prefix exclude each other")
	}
	for _, x := range []struct {
		flag    string
		setting client.GroupSetting
	}{
		{"ack-deadline", client.AckDeadline(o.deadline)},
		{"max-attempts", client.MaxAttempts(o.attempts)},
		{"max-ack-pending", client.MaxAckPending(o.pending)},
		{"look-ahead", client.LookAhead(o.ahead)},
		{"order-by", client.OrderByJSON(o.pointer)},
		{"order-prefix", client.OrderByPrefix(o.prefix)},
	} {
		if f.Changed(x.flag) {
			list = append(list, x.setting)
		}
	}
	return list, nil
}
