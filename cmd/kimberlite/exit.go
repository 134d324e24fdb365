package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/kimberlitedb/kimberlite-go/client"
	"github.com/kimberlitedb/kimberlite-go/wire"
	"github.com/spf13/cobra"
)

// Exit codes.
const (
	exitOK          = 0
	exitFailed      = 1
	exitUsage       = 2
	exitNotFound    = 3
	exitConflict    = 4
	exitAuth        = 5
	exitUnavailable = 6
)

// failure is an error that knows its exit code and what the user should do next.
type failure struct {
	err  error
	code int
	hint string
}

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

// usage is an error about the command line.
func usage(cmd *cobra.Command, err error) error {
	return &failure{err, exitUsage, fmt.Sprintf("see %s --help", cmd.CommandPath())}
}

func unknownCommand(cmd *cobra.Command, name string) error {
	err := fmt.Errorf("unknown command %q", name)
	cmd.SuggestionsMinimumDistance = 2
	if near := cmd.SuggestionsFor(name); len(near) > 0 {
		return &failure{err, exitUsage, fmt.Sprintf("did you mean %s %s?", cmd.CommandPath(), strings.Join(near, " or "))}
	}
	return usage(cmd, err)
}

// args makes a check of a command's arguments a usage error.
func args(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return usage(cmd, fmt.Errorf("%w; usage: %s", err, cmd.UseLine()))
		}
		return nil
	}
}

// explain tells the user what went wrong, and what to do next.
func explain(w io.Writer, err error) {
	fmt.Fprintf(w, "error: %v\n", err)
	if h := hint(err); h != "" {
		fmt.Fprintf(w, "hint: %s\n", h)
	}
}

func hint(err error) string {
	var f *failure
	var e *client.Error
	switch {
	case errors.As(err, &f):
		return f.hint
	case errors.Is(err, client.ErrUnknownOutcome):
		return `look at the stream with "kimberlite stream info"; append with --key auto or --expect, so that trying again cannot append twice`
	case errors.As(err, &e):
		return e.Code.Help()
	case errors.Is(err, client.ErrUnavailable):
		return `start a server with "kimberlite dev", or name its address with --server or KIMBERLITE_SERVER`
	case errors.Is(err, client.ErrProtocol):
		return "check that --server names the port of the protocol, not that of the metrics, and that both ends have the same version"
	}
	return ""
}

func exitCode(err error) int {
	var f *failure
	var e *client.Error
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &f):
		return f.code
	case errors.Is(err, client.ErrUnknownOutcome), errors.Is(err, context.Canceled):
		return exitFailed
	case errors.As(err, &e):
		return exitCodeOf(e.Code)
	case errors.Is(err, client.ErrUnavailable):
		return exitUnavailable
	}
	return exitFailed
}

func exitCodeOf(c wire.Code) int {
	switch c {
	case wire.TenantNotFound, wire.StreamNotFound, wire.StreamDeleted, wire.GroupNotFound, wire.CheckpointNotFound, wire.TableNotFound:
		return exitNotFound
	case wire.OffsetMismatch, wire.StreamAlreadyExists, wire.Held, wire.GroupAlreadyExists, wire.CheckpointAlreadyExists, wire.StaleDelivery,
		wire.TableAlreadyExists, wire.ConstraintViolation:
		return exitConflict
	case wire.AuthenticationFailed, wire.PermissionDenied:
		return exitAuth
	case wire.NotLeader:
		return exitUnavailable
	}
	return exitFailed
}
