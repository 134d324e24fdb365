package client

import (
	"context"
	"errors"
	"fmt"

	"github.com/kimberlitedb/kimberlite-go/wire"
)

// Error is a refusal or a failure that the server answered with. Code.Help says what to do next.
type Error struct {
	Code          wire.Code
	Message       string
	CurrentOffset wire.Option[Offset] // the stream's head, with OffsetMismatch
	Retryable     bool                // the same request may succeed later
}

// Error returns the server's words.
func (e *Error) Error() string {
	if e.Message == "" {
		return e.Code.String()
	}
	return fmt.Sprintf("%s: %s", e.Code, e.Message)
}

// Is reports whether target is the sentinel of the error's code.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Message == "" && t.Code == e.Code
}

// Answers of the server, for errors.Is. errors.As with an *Error has the details.
var (
	ErrInvalidRequest       error = &Error{Code: wire.InvalidRequest}
	ErrAuthenticationFailed error = &Error{Code: wire.AuthenticationFailed}
	ErrPermissionDenied     error = &Error{Code: wire.PermissionDenied}
	ErrTenantNotFound       error = &Error{Code: wire.TenantNotFound}
	ErrStreamNotFound       error = &Error{Code: wire.StreamNotFound}
	ErrStreamExists         error = &Error{Code: wire.StreamAlreadyExists}
	ErrStreamDeleted        error = &Error{Code: wire.StreamDeleted}
	ErrOffsetMismatch       error = &Error{Code: wire.OffsetMismatch}
	ErrHeld                 error = &Error{Code: wire.Held}
	ErrGroupNotFound        error = &Error{Code: wire.GroupNotFound}
	ErrGroupExists          error = &Error{Code: wire.GroupAlreadyExists}
	ErrCheckpointNotFound   error = &Error{Code: wire.CheckpointNotFound}
	ErrCheckpointExists     error = &Error{Code: wire.CheckpointAlreadyExists}
	ErrStaleDelivery        error = &Error{Code: wire.StaleDelivery} // it is not held any more; also where its connection broke
	ErrStorageFull          error = &Error{Code: wire.StorageFull}
	ErrTableNotFound        error = &Error{Code: wire.TableNotFound}
	ErrTableExists          error = &Error{Code: wire.TableAlreadyExists}
	ErrQueryParse           error = &Error{Code: wire.QueryParseError}
	ErrQueryExecution       error = &Error{Code: wire.QueryExecutionError}
	ErrPositionAhead        error = &Error{Code: wire.PositionAhead}
	ErrConstraintViolation  error = &Error{Code: wire.ConstraintViolation} // the message names the constraint
	ErrQuotaExceeded        error = &Error{Code: wire.QuotaExceeded}
	ErrResultTooLarge       error = &Error{Code: wire.ResultTooLarge}
	ErrTimeout              error = &Error{Code: wire.Timeout}
	ErrDataCorrupted        error = &Error{Code: wire.DataCorrupted} // also what fails verification here
)

// Failures of the connection, for errors.Is.
var (
	// ErrUnavailable says that the server cannot be reached. Nothing that fails with it, and not with ErrUnknownOutcome
	// too, was carried out.
	ErrUnavailable = errors.New("the server cannot be reached")

	// ErrUnknownOutcome says that a request was sent and not answered, so that it may or may not have taken effect.
	ErrUnknownOutcome = errors.New("outcome unknown: it may or may not have taken effect")

	// ErrProtocol says that what the server sent is not the protocol. The connection was closed.
	ErrProtocol = errors.New("protocol violation by the server")

	// ErrClosed says that the client was closed.
	ErrClosed = errors.New("the client is closed")
)

// answered turns an error reply into an error.
func answered(e *wire.Error) error {
	return &Error{Code: e.Code, Message: e.Message, CurrentOffset: e.CurrentOffset, Retryable: e.Retryable}
}

// invalid refuses a request that would end the connection.
func invalid(format string, args ...any) error {
	return &Error{Code: wire.InvalidRequest, Message: fmt.Sprintf(format, args...)}
}

// unknown is the fate of a request that was sent and not answered.
func (k *call) unknown(cause error) error {
	advice := "ask for the stream's description to find out"
	switch {
	case (k.op == wire.OpQuery || k.op == wire.OpBatchQuery) && k.keyed:
		advice = "run it again with the same key, which cannot carry it out twice"
	case k.op == wire.OpQuery || k.op == wire.OpBatchQuery:
		advice = "look at the tables to find out, or run it with a key"
	case k.keyed:
		advice = "append it again with the same key, which cannot append it twice"
	case k.op == wire.OpAppendEvents:
		advice = "read the stream's head to find out, or append with an expected offset or a key"
	case k.op == wire.OpCreateStream:
		advice = "look the stream up by its name to find out"
	case k.op == wire.OpAck || k.op == wire.OpNack:
		advice = "if it has not, the event is delivered again"
	case k.op >= wire.OpCreateGroup && k.op <= wire.OpParked:
		advice = "ask for the group's description to find out"
	case k.op == wire.OpConfirmClock:
		advice = "ask for the clock to find out"
	}
	return fmt.Errorf("%w (%w); %s", ErrUnknownOutcome, cause, advice)
}

// notSent is the fate of a request whose context ended before it was sent.
func notSent(ctx context.Context, outage error) error {
	if outage != nil {
		return fmt.Errorf("%w; not sent: %w", outage, ctx.Err())
	}
	return fmt.Errorf("not sent: %w", ctx.Err())
}
