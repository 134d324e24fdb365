package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/kimberlitedb/kimberlite-go/client"
	"github.com/kimberlitedb/kimberlite-go/engine/sql"
	"github.com/kimberlitedb/kimberlite-go/wire"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

func newSQL(a *app) *cobra.Command {
	o := sqlFlags{}
	cmd := remote(a, &cobra.Command{
		Use:   "sql [STATEMENT]",
		Short: "Run SQL: one statement, a script, or a shell",
		Long: `Run SQL statements and print their rows. Without a statement they are read from the file of -f, or from standard input; on a
terminal that is a shell (.help tells its commands). A script ends at the first statement that fails, unless --keep-going is
said; what was carried out before stays. --atomic carries all of its statements out together, or none; --batch sends all of
them in one request, which saves the round trips. Both take at most 1,000 statements.

A statement that writes is on stable storage when it is answered. It is sent with a key, so that it is carried out once even if
the connection breaks; with a key of your own (--key) also if you run the command again within 24 hours.

--at shows the tables as they were: at a position in the tenant's log, such as the log_offset that a statement that writes is
answered with, at a time: RFC 3339, a date, or a duration before now (90m, 36h, 7d), or at a checkpoint (checkpoint:Q4).

--param gives $1, $2 and so on their values, in their order: null, true, false, an integer, a decimal, or else a text. "text:5" is
the text 5, "bytes:00ff" are bytes, "time:2026-05-09T12:00:00Z" is a time.

In a table NULL is NULL and bytes are x'00ff'. csv has nothing for NULL. json and jsonl have bytes as {"base64":"AP8="}, and infinite
numbers as texts. raw is values alone, with tabs between them.`,
		Example: `  kimberlite sql "CREATE TABLE accounts (id INTEGER PRIMARY KEY, owner TEXT NOT NULL, balance INTEGER)"
  kimberlite sql 'INSERT INTO accounts VALUES ($1, $2, $3)' --param 1 --param Ada --param 100
  kimberlite sql "SELECT * FROM accounts" --at 2 -o json
  kimberlite sql -f schema.sql
  kimberlite sql -f migration.sql --atomic
  kimberlite sql`,
		Args: args(cobra.MaximumNArgs(1)),
	})
	o.register(cmd, a)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		s := &session{app: a}
		if err := o.parse(cmd, args, s); err != nil {
			return usage(cmd, err)
		}
		return a.with(cmd.Context(), func(c *client.Client) error {
			s.c = c
			return o.run(cmd.Context(), s, args)
		})
	}
	return cmd
}

// sqlFlags say what to run, and how.
type sqlFlags struct {
	at        string
	params    []string
	file      string
	key       string
	keepGoing bool
	timing    bool
	batch     bool
	atomic    bool
}

func (o *sqlFlags) register(cmd *cobra.Command, a *app) {
	f := cmd.Flags()
	f.StringVar(&o.at, "at", "", "query the tables as of this position, time or checkpoint")
	f.StringArrayVar(&o.params, "param", nil, "value of the statement's next parameter; may be repeated")
	f.StringVarP(&o.file, "file", "f", "", "run the statements of this file; - is standard input")
	f.StringVar(&o.key, "key", "", "carry the statement, or the batch, out once under its key: a UUID, or 32 hexadecimal digits")
	f.BoolVar(&o.keepGoing, "keep-going", false, "go on with a script behind a statement that fails; the exit code is that of the first")
	f.BoolVar(&o.batch, "batch", false, "send all statements in one request")
	f.BoolVar(&o.atomic, "atomic", false, "carry all statements out together, or none, as one entry of the log")
	f.BoolVar(&o.timing, "timing", false, "tell how long each statement took, on standard error")
	output := cmd.PersistentFlags().Lookup("output")
	output.Value, output.Usage = (*rowFormat)(&a.format), "what to print: table, json, jsonl, csv or raw"
}

func (o *sqlFlags) parse(cmd *cobra.Command, args []string, s *session) (err error) {
	s.timing = o.timing
	if s.at, err = parseMoment(o.at, time.Now()); err != nil {
		return fmt.Errorf("--at: %w", err)
	}
	for i, p := range o.params {
		v, err := parseParam(p)
		if err != nil {
			return fmt.Errorf("--param %d: %w", i+1, err)
		}
		s.params = append(s.params, v)
	}
	if cmd.Flags().Changed("key") {
		k, err := client.ParseKey(o.key)
		if err != nil {
			return fmt.Errorf("--key: %w", err)
		}
		s.key = wire.Some(k)
	}
	if o.batch || o.atomic {
		return o.parseBatch(args, s)
	}
	switch one := len(s.params) > 0 || s.key.Set; {
	case len(args) > 0 && o.file != "":
		return errors.New("there is a statement, and a file of them; which?")
	case one && len(args) == 0:
		return errors.New("--param and --key are for one statement; give it as an argument")
	case one && severalStatements(args[0]):
		return errors.New("--param and --key are for one statement, and there are several")
	}
	return nil
}

func severalStatements(text string) bool {
	_, rest, _ := sql.Cut(text)
	second, _, ended := sql.Cut(rest)
	return second != "" || ended
}

// run runs what there is to run.
func (o *sqlFlags) run(ctx context.Context, s *session, args []string) error {
	input, name := io.Reader(nil), ""
	batch := o.batch || o.atomic
	switch {
	case len(args) > 0 && batch:
		input = strings.NewReader(args[0])
	case len(args) > 0:
		return s.runText(ctx, args[0], o.keepGoing)
	case o.file != "" && o.file != "-":
		f, err := os.Open(o.file)
		if err != nil {
			return &failure{err, exitUsage, "see kimberlite sql --help"}
		}
		defer f.Close()
		input, name = f, o.file+": "
	case o.file == "" && onTerminal(s.stdin) && !batch:
		return s.shell(ctx)
	default:
		input = s.stdin
	}
	if batch {
		return o.runBatch(ctx, s, input, name)
	}
	return s.runScript(ctx, input, name, o.keepGoing)
}

// session runs statements one after the other.
type session struct {
	*app
	c      *client.Client
	at     moment // queries see the tables as of it
	params []any  // of the one statement
	key    wire.Option[client.Key]
	timing bool
	depth  int // of scripts that read scripts
}

// moment is as of when queries see the tables. The zero moment is the present.
type moment struct {
	position   wire.Option[client.Position]
	time       wire.Option[time.Time]
	checkpoint string
}

// checkpointPrefix is before the label or id of a checkpoint.
const checkpointPrefix = "checkpoint:"

// parseMoment reads a position, a time or a checkpoint; nothing is the present.
func parseMoment(s string, now time.Time) (m moment, err error) {
	if s == "" || s == "now" {
		return m, nil
	}
	if n, err := strconv.ParseUint(s, 10, 64); err == nil {
		return moment{position: wire.Some(client.Position(n))}, nil
	}
	if name, ok := strings.CutPrefix(s, checkpointPrefix); ok {
		return moment{checkpoint: name}, nil
	}
	t, err := parseWhen(s, now, ago)
	if err != nil {
		return m, fmt.Errorf("%w, nor a position (12), nor a checkpoint (checkpoint:Q4)", err)
	}
	return moment{time: wire.Some(t)}, nil
}

// String tells the moment as .at takes it.
func (m moment) String() string {
	switch {
	case m.position.Set:
		return strconv.FormatUint(uint64(m.position.Value), 10)
	case m.time.Set:
		return stamp(m.time.Value)
	case m.checkpoint != "":
		return checkpointPrefix + m.checkpoint
	}
	return "now"
}

// clause returns the end of a query as of a time or a checkpoint.
func (m moment) clause() string {
	if m.checkpoint != "" {
		return "AS OF CHECKPOINT '" + strings.ReplaceAll(m.checkpoint, "'", "''") + "'"
	}
	return "AS OF TIMESTAMP '" + stamp(m.time.Value) + "'"
}

// run runs one statement and prints what it gives.
func (s *session) run(ctx context.Context, text string) error {
	began := time.Now()
	rows, err := s.ask(ctx, text)
	if err != nil {
		return err
	}
	defer rows.Close()
	n, err := s.print(rows)
	if err != nil {
		return err
	}
	if s.timing {
		fmt.Fprintf(s.stderr, "%s, position %d, %s\n", count(n, "row"), rows.Position(), time.Since(began).Round(time.Microsecond))
	}
	return s.stdout.Flush()
}

// ask runs one statement, as of the session's moment where the statement itself does not say.
func (s *session) ask(ctx context.Context, text string) (*client.Rows, error) {
	parsed, refused := sql.Parse(text)
	switch past := s.at != (moment{}); {
	case refused != nil: // the server says why
		return s.c.Query(ctx, text, s.params...)
	case parsed.Writes && past:
		return nil, &failure{fmt.Errorf("%s changes the present, and queries see %s", parsed.Verb, s.at), exitUsage,
			"leave --at away, or say .at now"}
	case parsed.Writes:
		return s.write(ctx, text)
	case parsed.Past() || !past:
		return s.c.Query(ctx, text, s.params...)
	case s.at.position.Set:
		return s.c.QueryAt(ctx, s.at.position.Value, text, s.params...)
	}
	return s.c.Query(ctx, parsed.Text+"\n"+s.at.clause(), s.params...)
}

// write runs a statement under its key, or a new one.
func (s *session) write(ctx context.Context, text string) (*client.Rows, error) {
	key := s.key.Value
	if !s.key.Set {
		key = client.NewKey()
	}
	rows, err := s.c.Query(ctx, text, append([]any{client.Once(key)}, s.params...)...)
	if errors.Is(err, client.ErrUnknownOutcome) {
		return nil, &failure{err, exitFailed, fmt.Sprintf("run it again with --key %x: then it is carried out once", key[:])}
	}
	return rows, err
}

// rowFormat is how rows are printed: as anything else, or as CSV. It is a flag's value.
type rowFormat format

var _ pflag.Value = (*rowFormat)(nil)

// String implements pflag.Value.
func (f *rowFormat) String() string { return string(*f) }

// Type implements pflag.Value.
func (f *rowFormat) Type() string { return "format" }

// Set implements pflag.Value.
func (f *rowFormat) Set(s string) error {
	if s == string(formatCSV) {
		*f = rowFormat(formatCSV)
		return nil
	}
	if (*format)(f).Set(s) != nil {
		return errors.New("must be table, json, jsonl, csv or raw")
	}
	return nil
}
