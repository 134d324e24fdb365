// Command kimberlite is the Kimberlite event database: its server and its command-line client.
//
//	kimberlite dev                                    # a server on loopback, data in ./kimberlite-data
//	kimberlite stream create orders
//	kimberlite append orders '{"total":12}'
//	kimberlite read orders -o jsonl
//	kimberlite --help
//
// Data goes to standard output and everything else to standard error. Exit codes: 0 done, 1 failed, 2 wrong usage,
// 3 not found, 4 conflict, 5 authentication, 6 server unavailable.
package main

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

func main() { os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) }

// run carries out one command and returns the exit code. The first interrupt ends it in good order, a second one at
// once.
func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // from then on signals kill

	out := bufio.NewWriterSize(stdout, 64<<10)
	app := &app{stdin: stdin, stdout: out, stderr: stderr, format: formatTable}
	root := newRoot(app)
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(out)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err = errors.Join(err, out.Flush()); err != nil {
		explain(stderr, err)
	}
	return exitCode(err)
}

// app is what the commands share.
type app struct {
	stdin         io.Reader
	stdout        *bufio.Writer // data, and nothing else
	stderr        io.Writer
	server, token string
	tenant        uint64
	format        format
	codec         codec
}

func newRoot(a *app) *cobra.Command {
	root := group(&cobra.Command{
		Use:   "kimberlite",
		Short: "An event database: append-only streams that are never lost",
		Long: `Kimberlite keeps streams of events. An event that was acknowledged is on stable storage.

Start a server with "kimberlite dev", then try "kimberlite stream create orders".`,
		SilenceErrors: true, // run explains them
		SilenceUsage:  true,
	})
	root.CompletionOptions.HiddenDefaultCmd = true
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return usage(cmd, err) })
	root.AddCommand(
		newDev(a), newServe(a),
		newTenant(a), newStream(a), newAppend(a), newImport(a), newRead(a), newTail(a),
		newGroup(a), newConsume(a), newWhy(a),
		newSQL(a), newBisect(a), newCheckpoint(a), newBackup(a), newRestore(a),
		newRetention(a), newAudit(a), newClock(a),
		newDoctor(a), newBenchCommand(), newVersion(a),
	)
	return root
}

// group makes a command that only holds others. Without one of them, it is used wrongly.
func group(cmd *cobra.Command) *cobra.Command {
	cmd.Args = cobra.ArbitraryArgs
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 {
			return unknownCommand(cmd, args[0])
		}
		cmd.SetOut(cmd.ErrOrStderr()) // help that nobody asked for is not data
		return errors.Join(cmd.Help(), usage(cmd, errors.New("which command?")))
	}
	return cmd
}
