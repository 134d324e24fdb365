package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/kimberlitedb/kimberlite-go/client"
	"github.com/kimberlitedb/kimberlite-go/engine/sql"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// parseBatch checks what stands beside --batch or --atomic.
func (o *sqlFlags) parseBatch(args []string, s *session) error {
	switch {
	case len(args) > 0 && o.file != "":
		return errors.New("there are statements, and a file of them; which?")
	case len(s.params) > 0:
		return errors.New("--param is for one statement; leave --batch and --atomic away")
	case s.at != moment{}:
		return errors.New("--at is not for a batch; write AS OF POSITION behind its queries")
	case o.atomic && o.keepGoing:
		return errors.New("--atomic ends at the first statement that fails; leave --keep-going away")
	}
	return nil
}

// batchedStatement is a statement of a script that is sent whole.
type batchedStatement struct {
	text string
	line int // in which it begins
}

// statementsOf cuts a script into its statements.
func statementsOf(script string) (list []batchedStatement, err error) {
	for line, more := 1, true; more; {
		text, rest, ended := sql.Cut(script)
		at := line + strings.Count(script[:strings.Index(script, text)], "\n")
		if strings.HasPrefix(text, ".") {
			return nil, &failure{fmt.Errorf("line %d: the commands of the shell are not for a batch", at), exitUsage, "leave --batch and --atomic away"}
		}
		if text != "" {
			list = append(list, batchedStatement{text, at})
		}
		line += strings.Count(script[:len(script)-len(rest)], "\n")
		script, more = rest, ended
	}
	return list, nil
}

// runBatch runs all statements of a script in one request.
func (o *sqlFlags) runBatch(ctx context.Context, s *session, input io.Reader, name string) error {
	script, err := io.ReadAll(io.LimitReader(input, wire.MaxPayload+1))
	switch {
	case err != nil:
		return err
	case len(script) > wire.MaxPayload:
		return &failure{fmt.Errorf("the script is longer than %d MiB", wire.MaxPayload>>20), exitUsage, "run it without --batch and --atomic, or in parts"}
	}
	list, err := statementsOf(string(script))
	if err != nil || len(list) == 0 {
		return err
	}
	began := time.Now()
	b, err := s.sendBatch(ctx, o, list)
	if err != nil {
		return err
	}
	took := time.Since(began)
	err = o.printBatch(s, b, func(i int) string {
		if name == "" && list[len(list)-1].line == 1 {
			return fmt.Sprintf("statement %d", i+1)
		}
		return fmt.Sprintf("%sline %d", name, list[i].line)
	})
	if s.timing {
		fmt.Fprintf(s.stderr, "%s, position %d, %s\n", count(uint64(len(list)), "statement"), b.Position, took.Round(time.Microsecond))
	}
	if flushed := s.stdout.Flush(); err == nil {
		err = flushed
	}
	return err
}

// sendBatch sends statements under their key, or a new one.
func (s *session) sendBatch(ctx context.Context, o *sqlFlags, list []batchedStatement) (*client.Batched, error) {
	statements := make([]client.Statement, len(list))
	for i, x := range list {
		statements[i] = client.SQL(x.text)
	}
	key := s.key.Value
	if !s.key.Set {
		key = client.NewKey()
	}
	options := []client.BatchOption{client.Once(key)}
	if o.atomic {
		options = append(options, client.Atomic())
	} else if !o.keepGoing {
		options = append(options, client.StopOnError())
	}
	b, err := s.c.Batch(ctx, statements, options...)
	if errors.Is(err, client.ErrUnknownOutcome) {
		return nil, &failure{err, exitFailed, fmt.Sprintf("run it again with --key %x: then it is carried out once", key[:])}
	}
	return b, err
}

// printBatch prints what the statements of a batch give, as if they had been run one after the other.
func (o *sqlFlags) printBatch(s *session, b *client.Batched, place func(i int) string) error {
	failed := b.Failed()
	if failed >= 0 && o.atomic {
		return fmt.Errorf("%s: %w; nothing of the batch was carried out", place(failed), b.Results[failed].Err)
	}
	failures := 0
	for i, r := range b.Results {
		if r.Err == nil {
			if _, err := s.print(r.Rows); err != nil {
				return err
			}
			continue
		}
		located := fmt.Errorf("%s: %w", place(i), r.Err)
		if !o.keepGoing {
			return located
		}
		failures++
		explain(s.stderr, located)
	}
	if failures == 0 {
		return nil
	}
	first := b.Results[failed].Err
	return &failure{fmt.Errorf("%s failed; the first: %s: %w", count(uint64(failures), "statement"), place(failed), first), exitCode(first), ""}
}
