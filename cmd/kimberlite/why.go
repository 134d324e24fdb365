package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/kimberlitedb/kimberlite-go/client"
	"github.com/spf13/cobra"
)

func newWhy(a *app) *cobra.Command {
	cmd := remote(a, group(&cobra.Command{Use: "why", Short: "Say why something does, or does not, happen"}))
	cmd.AddCommand(&cobra.Command{
		Use:   "group STREAM GROUP",
		Short: "Say what a consumer group does, what it waits for, and what can be done about it",
		Long: `Say what a consumer group does and what it waits for, the reasons first; then its settings, how far it is, its members, who
holds which event and for how long, and the commands to go on with.`,
		Args: args(cobra.ExactArgs(2)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withStream(cmd, args[0], func(c *client.Client, stream client.StreamInfo) error {
				s, err := c.ExplainGroup(cmd.Context(), stream.ID, args[1])
				if err != nil {
					return err
				}
				w := whyGroup{stream.Name, &s, time.Now()}
				if a.format == formatTable {
					return w.print(a.stdout)
				}
				return printOne(a.stdout, a.format, nil, w.row())
			})
		},
	})
	return cmd
}

// whyGroup is what there is to say of a group.
type whyGroup struct {
	stream string
	*client.GroupState
	now time.Time
}

// print says it to people.
func (w *whyGroup) print(to io.Writer) error {
	for _, reason := range w.Reasons {
		fmt.Fprintln(to, reason) // its error comes back below
	}
	fmt.Fprintln(to)
	facts := append([]fact{{"settings", w.settings()}}, progressFacts(&w.GroupInfo, w.now)...)
	for _, m := range w.Members {
		facts = append(facts, fact{"member", member(&m)})
	}
	for _, d := range w.Held {
		facts = append(facts, fact{"held", held(&d)})
	}
	for _, command := range w.next() {
		facts = append(facts, fact{"next", command})
	}
	return printFacts(to, facts)
}

func (w *whyGroup) settings() string {
	s := &w.Settings
	return fmt.Sprintf("ack deadline %s, max attempts %d, max ack pending %d, look-ahead %d, order %s",
		s.AckDeadline, s.MaxAttempts, s.MaxAckPending, s.LookAhead, orderName(s.Order))
}

func member(m *client.GroupMember) string {
	text := fmt.Sprintf("%d from %s, holds %s, takes %s more (%s)", m.Subscription, m.From, count(m.Held, "event"),
		count(m.CreditEvents, "event"), size(uint64(max(m.CreditBytes, 0))))
	if m.Choked {
		text += ", does not read what was sent to it"
	}
	return text
}

func held(d *client.HeldDelivery) string {
	return fmt.Sprintf("event %d, attempt %d, by member %d for %s, %s to the deadline", d.Offset, d.Attempt, d.Subscription,
		d.HeldFor.Round(time.Millisecond), d.Remaining.Round(time.Millisecond))
}

// next returns the commands that would help.
func (w *whyGroup) next() (commands []string) {
	names := w.stream + " " + w.Name
	if w.Paused {
		commands = append(commands, "kimberlite group resume "+names)
	}
	if len(w.Members) == 0 && w.Lag > 0 {
		commands = append(commands, "kimberlite consume "+names)
	}
	if w.Lag > w.Pending && w.Pending >= uint64(w.Settings.MaxAckPending) {
		commands = append(commands, fmt.Sprintf("kimberlite group set %s --max-ack-pending %d", names, 2*w.Settings.MaxAckPending))
	}
	if w.Parked > 0 {
		commands = append(commands, "kimberlite group parked "+names, "kimberlite group parked "+names+" replay --all")
	}
	return commands
}

// whyGroupJSON is what there is to say of a group as JSON.
type whyGroupJSON struct {
	Reasons []string       `json:"reasons"`
	Group   groupJSON      `json:"group"`
	Members []memberJSON   `json:"members"`
	Held    []deliveryJSON `json:"held"`
	Next    []string       `json:"next"` // commands
}

type memberJSON struct {
	Member       uint64 `json:"member"`
	From         string `json:"from"`
	CreditEvents uint64 `json:"credit_events"`
	CreditBytes  int64  `json:"credit_bytes"`
	Held         uint64 `json:"held"`
	Choked       bool   `json:"choked"`
}

type deliveryJSON struct {
	Offset    client.Offset `json:"offset"`
	Attempt   uint32        `json:"attempt"`
	Member    uint64        `json:"member"`
	HeldFor   int64         `json:"held_for_ms"`
	Remaining int64         `json:"remaining_ms"`
}

func (w *whyGroup) row() row {
	v := whyGroupJSON{
		Reasons: append([]string{}, w.Reasons...), Group: jsonGroup(&w.GroupInfo), Members: []memberJSON{}, Held: []deliveryJSON{},
		Next: append([]string{}, w.next()...),
	}
	for _, m := range w.Members {
		v.Members = append(v.Members, memberJSON{uint64(m.Subscription), m.From, m.CreditEvents, m.CreditBytes, m.Held, m.Choked})
	}
	for _, d := range w.Held {
		v.Held = append(v.Held, deliveryJSON{d.Offset, d.Attempt, uint64(d.Subscription), d.HeldFor.Milliseconds(), d.Remaining.Milliseconds()})
	}
	return row{value: v, raw: []byte(strings.Join(w.Reasons, "\n"))}
}
