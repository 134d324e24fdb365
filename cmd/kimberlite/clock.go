package main

import (
	"fmt"
	"time"

	"github.com/kimberlitedb/kimberlite-go/client"
	"github.com/spf13/cobra"
)

func newClock(a *app) *cobra.Command {
	cmd := remote(a, &cobra.Command{
		Use:   "clock",
		Short: "Show the clock that the server goes by",
		Long: `Show the engine clock, which stamps commits and decides what expires, and the server's wall clock. The engine clock does not
trust a wall clock that jumps: it goes on at its own pace until the two agree again, or until somebody who has looked at
another clock confirms the wall clock.`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.with(cmd.Context(), func(c *client.Client) error {
				k, err := c.Clock(cmd.Context())
				if err != nil {
					return err
				}
				return a.printClock(k)
			})
		},
	})
	cmd.AddCommand(newClockConfirm(a))
	return cmd
}

func newClockConfirm(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "confirm TIME",
		Short: "Say that the server's wall clock is right",
		Long: `Say that the server's wall clock is right, so that the engine clock takes it up. Compare what "kimberlite clock" shows as the
wall clock with a clock that does not depend on the server, and give it here within a minute. A wrong one may make events
expire before their time.`,
		Example: `  kimberlite clock confirm 2026-05-09T12:00:00Z`,
		Args:    args(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.with(cmd.Context(), func(c *client.Client) error { return a.confirmClock(cmd, c, args) })
		},
	}
}

func (a *app) confirmClock(cmd *cobra.Command, c *client.Client, args []string) error {
	if len(args) == 0 {
		return unconfirmed(cmd, c)
	}
	wall, err := time.Parse(time.RFC3339Nano, args[0])
	if err != nil {
		return usage(cmd, fmt.Errorf(`%q is not a time such as "kimberlite clock" shows`, args[0]))
	}
	if _, err := c.ConfirmClock(cmd.Context(), wall); err != nil {
		return err
	}
	k, err := c.Clock(cmd.Context())
	if err != nil {
		return err
	}
	return a.printClock(k)
}

// unconfirmed tells a user who has not said which time they confirm.
func unconfirmed(cmd *cobra.Command, c *client.Client) error {
	k, err := c.Clock(cmd.Context())
	if err != nil {
		return err
	}
	return &failure{
		fmt.Errorf("the server's wall clock shows %s", stamp(k.Wall)), exitUsage,
		fmt.Sprintf("if another clock says the same, run this within a minute: kimberlite clock confirm %s", stamp(k.Wall)),
	}
}

func (a *app) printClock(k client.Clock) error {
	if a.format == formatTable {
		trust := "yes"
		if !k.Trusted {
			trust = `no; see "kimberlite clock confirm --help"`
		}
		return printFacts(a.stdout, []fact{
			{"engine clock", stamp(k.Now)},
			{"wall clock", fmt.Sprintf("%s (%s)", stamp(k.Wall), apart(k.Wall.Sub(k.Now)))},
			{"trusted", trust},
		})
	}
	return printOne(a.stdout, a.format, nil, row{
		value: struct {
			Now     string `json:"now"`
			Wall    string `json:"wall"`
			Trusted bool   `json:"trusted"`
		}{stamp(k.Now), stamp(k.Wall), k.Trusted},
		raw: []byte(stamp(k.Now)),
	})
}

// apart says how far the wall clock is from the engine clock.
func apart(d time.Duration) string {
	switch {
	case d.Abs() < time.Second:
		return "the same"
	case d < 0:
		return length(-d) + " behind"
	}
	return length(d) + " ahead"
}
