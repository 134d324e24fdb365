package wire

import "fmt"

// Code says what kind of refusal or failure an Error is. Codes are for programs; an Error's message is for people.
//
// The set grows: a client may meet a number that it has no name for, and treats it as Unknown.
type Code uint32

// The codes. Those above NotLeader travel as themselves only to clients that understand extended errors; see V1.
const (
	Unknown Code = iota
	InternalError
	InvalidRequest
	AuthenticationFailed
	TenantNotFound
	StreamNotFound
	TableNotFound
	QueryParseError
	QueryExecutionError
	PositionAhead
	StreamAlreadyExists
	InvalidOffset
	StorageError
	ProjectionLag
	RateLimited
	NotLeader
	OffsetMismatch
	StreamDeleted
	UnsupportedVersion
	SubscriptionNotFound
	GroupNotFound
	GroupAlreadyExists
	CheckpointNotFound
	CheckpointAlreadyExists
	ConstraintViolation
	QuotaExceeded
	PermissionDenied
	Timeout
	StorageFull
	DataCorrupted
	Held
	ResultTooLarge
	StaleDelivery
	TableAlreadyExists
	ConcurrentUse
	ShuttingDown
	Cancelled

	// CodeCount is how many codes there are.
	CodeCount = iota
)

// codeEntry is what is known of a code.
type codeEntry struct {
	name      string
	v1        Code // what clients without extended errors get; at most NotLeader
	retryable bool
	help      string // one sentence: what the user should do next
}

const (
	final     = false
	retryable = true
)

// codes describes every code, by its number. It is never changed.
var codes = [...]codeEntry{
	Unknown:                 {"Unknown", Unknown, final, "Read the message and the server's log; this client does not know the kind of failure."},
	InternalError:           {"InternalError", InternalError, retryable, "Retry, and if it happens again report it with the server's log."},
	InvalidRequest:          {"InvalidRequest", InvalidRequest, final, "Correct the request as the message says; sending it again unchanged fails again."},
	AuthenticationFailed:    {"AuthenticationFailed", AuthenticationFailed, final, "Check the token and that it was issued for this tenant and this server."},
	TenantNotFound:          {"TenantNotFound", TenantNotFound, final, "Check the tenant id, or create the tenant first."},
	StreamNotFound:          {"StreamNotFound", StreamNotFound, final, "Check the stream id and the tenant, or create the stream first."},
	TableNotFound:           {"TableNotFound", TableNotFound, final, "Check the table name and the tenant, or create the table first."},
	QueryParseError:         {"QueryParseError", QueryParseError, final, "Correct the SQL text at the place that the message names."},
	QueryExecutionError:     {"QueryExecutionError", QueryExecutionError, final, "Correct the statement or its parameters as the message says."},
	PositionAhead:           {"PositionAhead", PositionAhead, final, "Ask for a position that the tenant's log has reached, or wait until it has."},
	StreamAlreadyExists:     {"StreamAlreadyExists", StreamAlreadyExists, final, "Use the existing stream, or choose another name."},
	InvalidOffset:           {"InvalidOffset", InvalidOffset, final, "Use an offset inside the range that the message names."},
	StorageError:            {"StorageError", StorageError, retryable, "Retry, and check the server's disk and log if it happens again."},
	ProjectionLag:           {"ProjectionLag", ProjectionLag, retryable, "Retry shortly; the table is still catching up with the log."},
	RateLimited:             {"RateLimited", RateLimited, retryable, "Retry after a pause, and send less at a time."},
	NotLeader:               {"NotLeader", NotLeader, retryable, "Retry at the server that leads now."},
	OffsetMismatch:          {"OffsetMismatch", InvalidOffset, final, "Read the stream up to its current offset, decide again, and append with the new expected offset."},
	StreamDeleted:           {"StreamDeleted", StreamNotFound, final, "Undelete the stream before its purge date, or use another stream."},
	UnsupportedVersion:      {"UnsupportedVersion", InvalidRequest, final, "Use this operation on a connection of a protocol version that has it."},
	SubscriptionNotFound:    {"SubscriptionNotFound", InvalidRequest, final, "Subscribe again; the subscription ended or belongs to another connection."},
	GroupNotFound:           {"GroupNotFound", InvalidRequest, final, "Check the group's name, or create the group first."},
	GroupAlreadyExists:      {"GroupAlreadyExists", InvalidRequest, final, "Use the existing group, or choose another name."},
	CheckpointNotFound:      {"CheckpointNotFound", InvalidRequest, final, "List the checkpoints and use one of those."},
	CheckpointAlreadyExists: {"CheckpointAlreadyExists", InvalidRequest, final, "Use the existing checkpoint, or choose another label."},
	ConstraintViolation:     {"ConstraintViolation", QueryExecutionError, final, "Change the row so that it satisfies the constraint that the message names."},
	QuotaExceeded:           {"QuotaExceeded", RateLimited, final, "Free what the quota counts, or have the tenant's quota raised."},
	PermissionDenied:        {"PermissionDenied", AuthenticationFailed, final, "Use a token that grants this operation."},
	Timeout:                 {"Timeout", InternalError, retryable, "Retry with the same idempotency key; the request may or may not have taken effect."},
	StorageFull:             {"StorageFull", StorageError, retryable, "Free or add disk space on the server, then retry."},
	DataCorrupted:           {"DataCorrupted", StorageError, final, "Stop writing, verify the server's storage, and restore what is damaged from a backup."},
	Held:                    {"Held", InvalidRequest, final, "Have the hold on the stream released first."},
	ResultTooLarge:          {"ResultTooLarge", QueryExecutionError, final, "Stream the result (on protocol version 3, `streaming` in Query), or ask for less at a time: add a limit, or read in pages."},
	StaleDelivery:           {"StaleDelivery", InvalidRequest, final, "Drop the delivery; it is no longer held here and another consumer may have it."},
	TableAlreadyExists:      {"TableAlreadyExists", StreamAlreadyExists, final, "Use the existing table, or choose another name."},
	ConcurrentUse:           {"ConcurrentUse", InvalidRequest, final, "Wait for the other use to end, or use another connection or consumer name."},
	ShuttingDown:            {"ShuttingDown", InternalError, retryable, "Connect again in a moment; the server is being stopped or restarted."},
	Cancelled:               {"Cancelled", QueryExecutionError, final, "Ask again where the answer is wanted after all; the query was ended on its own connection's request."},
}

// entry returns the code's description; a code from a later server has Unknown's.
func (c Code) entry() *codeEntry {
	if int64(c) >= int64(len(codes)) {
		return &codes[Unknown]
	}
	return &codes[c]
}

// String returns the code's name as the protocol writes it, or "Code(n)" for a number without one.
func (c Code) String() string {
	if int64(c) >= int64(len(codes)) {
		return fmt.Sprintf("Code(%d)", uint32(c))
	}
	return codes[c].name
}

// V1 returns the code, at most NotLeader, that stands for c towards clients without extended errors.
func (c Code) V1() Code { return c.entry().v1 }

// Retryable reports whether the same request may succeed later without being changed.
func (c Code) Retryable() bool { return c.entry().retryable }

// Help returns one sentence that says what the user should do next.
func (c Code) Help() string { return c.entry().help }
