package main

import (
	"fmt"
	"os"

	"github.com/kimberlitedb/kimberlite-go/engine/proof"
	"github.com/kimberlitedb/kimberlite-go/io/host"
	"github.com/spf13/cobra"
)

func newCheckpointKey(a *app) *cobra.Command {
	cmd := group(&cobra.Command{
		Use:   "key",
		Short: "Show and make the keys that sign checkpoints",
		Long: `A server signs checkpoints with the keys of a file: --checkpoint-keys, or checkpoint.key in its data directory. Whoever verifies
checkpoints needs the public keys, and should have them from you, not from the archive. To replace a key, add a new one to the file,
restart the server, give the public keys to those who verify, and take the old one away later.`,
	})
	cmd.AddCommand(
		&cobra.Command{
			Use:   "show FILE",
			Short: "Print the public keys of a file of keys",
			Args:  args(cobra.ExactArgs(1)),
			RunE: func(_ *cobra.Command, args []string) error {
				text, err := os.ReadFile(args[0])
				if err != nil {
					return err
				}
				list, err := proof.PublicKeys(text)
				if err != nil {
					return fmt.Errorf("%s: %w", args[0], err)
				}
				for _, key := range list {
					fmt.Fprintln(a.stdout, key)
				}
				return nil
			},
		},
		&cobra.Command{
			Use:   "new",
			Short: "Print a new key, a line for a file of keys",
			Args:  args(cobra.NoArgs),
			RunE: func(_ *cobra.Command, _ []string) error {
				private, public, err := host.NewKey()
				if err != nil {
					return err
				}
				_, err = fmt.Fprintf(a.stdout, "# public: %s\n%s\n", public, private)
				return err
			},
		},
	)
	return cmd
}
