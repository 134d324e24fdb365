package main

import (
	"encoding/hex"
	"fmt"

	"github.com/kimberlitedb/kimberlite-go/client"
	"github.com/spf13/cobra"
)

func newAuditVerify(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "verify",
		Short: "Check the chain of the audit stream, from its first event to its last",
		Long: `Check the audit stream here, not at the server: every event must name the hash of the one before it, and the last one must be
the one that the server has kept the hash of. The first event that is not what the chain says is named, and the exit code
is 1.

Whoever can rewrite the server's files can rewrite the whole chain. Keep the number of events and the hash somewhere else:
they prove later that nothing before them was changed.`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.with(cmd.Context(), func(c *client.Client) error {
				v, err := c.CheckAudit(cmd.Context())
				if err != nil {
					return err
				}
				return a.printVerdict(v)
			})
		},
	}
}

// printVerdict prints what a check has found. A break is an error too.
func (a *app) printVerdict(v client.AuditVerdict) error {
	hash := hex.EncodeToString(v.Hash)
	if a.format == formatTable {
		facts := []fact{{"sound events", fmt.Sprint(v.Events)}, {"hash", hash}}
		if v.Break.Set {
			facts = append(facts, fact{"broken at", fmt.Sprint(v.Break.Value)}, fact{"reason", v.Reason})
		}
		if err := printFacts(a.stdout, facts); err != nil {
			return err
		}
	} else if err := printOne(a.stdout, a.format, nil, row{value: verdictJSON(v, hash), raw: []byte(hash)}); err != nil {
		return err
	}
	if !v.Break.Set {
		return nil
	}
	return &failure{
		fmt.Errorf("the audit stream is broken at event %d: %s", v.Break.Value, v.Reason), exitFailed,
		`copy the server's data directory before anything else is done with it, and check the copy with "kimberlite doctor"`,
	}
}

func verdictJSON(v client.AuditVerdict, hash string) any {
	out := struct {
		Intact bool           `json:"intact"`
		Events uint64         `json:"events"`
		Hash   string         `json:"hash"`
		Break  *client.Offset `json:"break,omitempty"`
		Reason string         `json:"reason,omitempty"`
	}{!v.Break.Set, v.Events, hash, nil, v.Reason}
	if v.Break.Set {
		out.Break = &v.Break.Value
	}
	return out
}
