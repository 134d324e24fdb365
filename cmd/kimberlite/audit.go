package main

import (
	"encoding/json"
	"fmt"

	"github.com/kimberlitedb/kimberlite-go/client"
	"github.com/spf13/cobra"
)

func newAudit(a *app) *cobra.Command {
	cmd := remote(a, group(&cobra.Command{
		Use:   "audit",
		Short: "Read and check what was done to a tenant's streams",
		Long: `Read and check the tenant's audit stream: what was done to its streams, when, by whom and from where. What concerns the
whole server is told in that of tenant 0 (--tenant 0).`,
	}))
	cmd.AddCommand(newAuditTail(a), newAuditVerify(a))
	return cmd
}

func newAuditTail(a *app) *cobra.Command {
	n := uint64(20)
	cmd := &cobra.Command{
		Use:   "tail",
		Short: "Print the last events of the audit stream",
		Args:  args(cobra.NoArgs),
	}
	cmd.Flags().Uint64VarP(&n, "lines", "n", n, "how many")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return a.with(cmd.Context(), func(c *client.Client) error {
			p := newPrinter(a.stdout, a.format, "SEQ", "TIME", "ACT", "STREAM", "BY", "FROM", "DETAIL")
			for e, err := range c.AuditEvents(cmd.Context(), 0, client.Last(n)) {
				if err != nil {
					return err
				}
				if err := p.print(auditRow(&e)); err != nil {
					return err
				}
			}
			return p.close()
		})
	}
	return cmd
}

func auditRow(e *client.AuditEvent) row {
	return row{
		cells: []string{
			fmt.Sprint(e.Seq), stamp(e.Time), e.Act, printable([]byte(e.Stream)), printable([]byte(e.By)), e.From, printable(e.Detail),
		},
		value: json.RawMessage(e.Data),
		raw:   e.Data,
	}
}
