package sql

import (
	"errors"
	"strings"

	"github.com/ncruces/go-sqlite3"

	"github.com/kimberlitedb/kimberlite-go/wire"
)

// fault says in the protocol's terms why a statement has failed. SQLite has one code for a text that it does not
// understand, for tables that are missing, and for much else; its messages tell them apart, and a test pins those.
func (c *conn) fault(err error, text string) *wire.Error {
	var code sqlite3.ErrorCode
	if c.failed != nil {
		return c.failed
	}
	message, rest := plain(err), ""
	if failure := (*sqlite3.Error)(nil); errors.As(err, &failure) {
		rest = failure.SQL()
	}
	errors.As(err, &code)
	switch code {
	case sqlite3.CONSTRAINT:
		return wire.Errorf(wire.ConstraintViolation, "%s", message)
	case sqlite3.INTERRUPT:
		return c.interrupted()
	case sqlite3.AUTH:
		if c.missing != "" {
			return wire.Errorf(wire.TableNotFound, "no such table: %s", c.missing)
		}
		return wire.Errorf(wire.QueryExecutionError, "%s", c.denied)
	case sqlite3.FULL:
		return wire.Errorf(wire.QuotaExceeded, "the tables of the tenant have reached their limit; delete rows, or have the limit raised")
	case sqlite3.NOMEM:
		return wire.Errorf(wire.QuotaExceeded, "the statement needs more memory than %d MiB", connMemory>>20)
	case sqlite3.TOOBIG:
		return wire.Errorf(wire.QueryExecutionError, "a text or blob is longer than %d bytes, or the statement than %d", maxValue, maxStatement)
	case sqlite3.ERROR:
		return general(message, text, rest)
	}
	return wire.Errorf(wire.QueryExecutionError, "%s", message)
}

// broken says why a connection cannot go on.
func broken(why any) *wire.Error {
	if err, ok := why.(error); ok && plain(err) == "out of memory" {
		return wire.Errorf(wire.QuotaExceeded, "the statement needs more memory than %d MiB", connMemory>>20)
	}
	return wire.Errorf(wire.InternalError, "SQLite failed: %v", why)
}

// interrupted says why the budget has ended a statement.
func (c *conn) interrupted() *wire.Error {
	if c.budget.stop != nil && c.budget.stop.Stopped() {
		return wire.Errorf(wire.QueryExecutionError, "the statement was cancelled")
	}
	return wire.Errorf(wire.Timeout, "the statement took more steps than it may; have it look at less, or add an index")
}

// general tells apart what SQLite has the code ERROR for.
func general(message, text, rest string) *wire.Error {
	code := wire.QueryExecutionError
	message = strings.Replace(message, "main."+absent, "", 1)
	switch {
	case strings.HasPrefix(message, "no such table: "), strings.HasPrefix(message, "no such view: "):
		code = wire.TableNotFound
	case strings.HasSuffix(message, " already exists"), strings.HasPrefix(message, "there is already "):
		code = wire.TableAlreadyExists
	case strings.HasSuffix(message, "syntax error"), message == "incomplete input", strings.HasPrefix(message, "unrecognized token"):
		code = wire.QueryParseError
	}
	if at := len(text) - len(rest); rest != "" && at >= 0 && strings.HasSuffix(text, rest) {
		line := 1 + strings.Count(text[:at], "\n")
		return wire.Errorf(code, "%s, at line %d, column %d", message, line, at-strings.LastIndexByte(text[:at], '\n'))
	}
	return wire.Errorf(code, "%s", message)
}

// plain returns an error's message without the words that SQLite's library puts before it.
func plain(err error) string {
	message := err.Error()
	var failure *sqlite3.Error
	if errors.As(err, &failure) {
		message = strings.TrimPrefix(strings.TrimPrefix(message, failure.ExtendedCode().Error()+": "), failure.Code().Error()+": ")
	}
	return strings.ToValidUTF8(strings.TrimPrefix(message, "sqlite3: "), "\uFFFD")
}
