package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/kimberlitedb/kimberlite-go/client"
	"github.com/kimberlitedb/kimberlite-go/engine/sql"
)

// script gathers lines to statements, and runs each when its semicolon has come. A line that begins with a full stop where no
// statement has begun is a command of the session.
type script struct {
	*session
	name    string // before the line number in errors
	line    int    // of the line that came last
	begin   int    // line in which pending begins
	pending []byte // what no semicolon has ended
}

// runText runs the statements of a text, or a command.
func (s *session) runText(ctx context.Context, text string, keepGoing bool) error {
	if !severalStatements(text) && !strings.HasPrefix(text, ".") {
		statement, _, _ := sql.Cut(text)
		return s.run(ctx, statement)
	}
	return s.runScript(ctx, strings.NewReader(text), "", keepGoing)
}

// runScript runs the statements of a script.
func (s *session) runScript(ctx context.Context, r io.Reader, name string, keepGoing bool) error {
	x := script{session: s, name: name}
	var first error
	failed := 0
	check := func(err error) (more bool) {
		if err == nil {
			return true
		}
		if failed++; failed == 1 {
			first = err
		}
		if keepGoing && ctx.Err() == nil {
			explain(s.stderr, err)
			return true
		}
		return false
	}
	for in := bufio.NewReader(r); ; {
		line, end := in.ReadString('\n')
		for more := x.take(line); more; {
			var err error
			if more, err = x.next(ctx); !check(err) {
				return first
			}
		}
		if end == io.EOF {
			break
		}
		if end != nil {
			return end
		}
	}
	if !check(x.last(ctx)) {
		return first
	}
	if failed > 0 {
		return &failure{fmt.Errorf("%s failed; the first: %w", count(uint64(failed), "statement"), first), exitCode(first), ""}
	}
	return nil
}

// take takes a line, and reports whether a statement may have come to its end.
func (x *script) take(line string) bool {
	x.line++
	if len(bytes.TrimSpace(x.pending)) == 0 {
		x.pending, x.begin = x.pending[:0], x.line
	}
	x.pending = append(x.pending, line...)
	return strings.Contains(line, ";") || x.isCommand()
}

func (x *script) isCommand() bool { return bytes.HasPrefix(bytes.TrimSpace(x.pending), []byte(".")) }

// next runs the next statement that is whole, or the command. It reports whether there may be another one.
func (x *script) next(ctx context.Context) (more bool, err error) {
	if x.isCommand() {
		line := string(bytes.TrimSpace(x.pending))
		x.pending = x.pending[:0]
		return false, x.located(x.begin, x.command(ctx, line))
	}
	text, line, ended := x.cut()
	if text == "" || !ended {
		return ended, nil
	}
	return true, x.located(line, x.run(ctx, text))
}

// last runs what no semicolon has ended.
func (x *script) last(ctx context.Context) error {
	text, line, _ := x.cut()
	if text == "" {
		return nil
	}
	return x.located(line, x.run(ctx, text))
}

// cut returns the next statement and the line in which it begins. Where a semicolon ends it, it is not pending any more.
func (x *script) cut() (text string, line int, ended bool) {
	all := string(x.pending)
	text, rest, ended := sql.Cut(all)
	line = x.begin + strings.Count(all[:strings.Index(all, text)], "\n")
	if ended {
		x.begin += strings.Count(all[:len(all)-len(rest)], "\n")
		x.pending = append(x.pending[:0], rest...)
	}
	return text, line, ended
}

// located says in which line the statement begins that has failed.
func (x *script) located(line int, err error) error {
	if err == nil || x.name == "" && x.line <= 1 {
		return err
	}
	return fmt.Errorf("%sline %d: %w", x.name, line, err)
}

// command is one of the session's own.
type command struct {
	name, args, help string
	do               func(s *session, ctx context.Context, arg string) error
}

// mostDepth is how deep scripts may read scripts.
const mostDepth = 16

// errQuit ends a shell.
var errQuit = errors.New(".quit is for the shell")

// commands returns the session's own commands. They are no variable: .help lists them.
func commands() []command {
	return []command{
		{".at", "[POSITION|TIME|now]", "query the tables as of then; without it, tell as of when", (*session).setMoment},
		{".help", "", "list these commands", (*session).help},
		{".mode", "[FORMAT]", "print as table, json, jsonl, csv or raw", (*session).setFormat},
		{".quit", "", "leave", func(*session, context.Context, string) error { return errQuit }},
		{".read", "FILE", "run the statements of a file", (*session).read},
		{".schema", "[TABLE]", "print the statements that make the tables, indexes and views", (*session).schema},
		{".tables", "", "list the tables, views and streams", (*session).tables},
		{".timing", "[on|off]", "tell how long each statement takes", (*session).setTiming},
	}
}

// command runs one of the session's own commands.
func (s *session) command(ctx context.Context, line string) error {
	name, arg, _ := strings.Cut(strings.TrimSuffix(line, ";"), " ")
	for _, c := range commands() {
		if c.name == name {
			return c.do(s, ctx, strings.TrimSpace(arg))
		}
	}
	return &failure{fmt.Errorf("there is no command %s", printable([]byte(name))), exitUsage, ".help lists the commands"}
}

func (s *session) help(context.Context, string) error {
	var facts []fact
	for _, c := range commands() {
		facts = append(facts, fact{strings.TrimSpace(c.name + " " + c.args), c.help})
	}
	return errors.Join(printFacts(s.stdout, facts), s.stdout.Flush())
}

func (s *session) setMoment(_ context.Context, arg string) error {
	if arg == "" {
		fmt.Fprintln(s.stderr, s.at)
		return nil
	}
	m, err := parseMoment(arg, time.Now())
	if err != nil {
		return &failure{err, exitUsage, ""}
	}
	s.at = m
	return nil
}

func (s *session) setFormat(_ context.Context, arg string) error {
	if arg == "" {
		fmt.Fprintln(s.stderr, s.format)
		return nil
	}
	if err := (*rowFormat)(&s.format).Set(arg); err != nil {
		return &failure{fmt.Errorf(".mode %w", err), exitUsage, ""}
	}
	return nil
}

func (s *session) setTiming(_ context.Context, arg string) error {
	switch arg {
	case "", "on", "off":
		s.timing = arg == "on" || arg == "" && !s.timing
		return nil
	}
	return &failure{errors.New(".timing must be on or off"), exitUsage, ""}
}

func (s *session) read(ctx context.Context, arg string) error {
	if s.depth == mostDepth {
		return &failure{fmt.Errorf("scripts read scripts %d deep", mostDepth), exitUsage, "does one read itself?"}
	}
	f, err := os.Open(arg)
	if err != nil {
		return &failure{err, exitUsage, ""}
	}
	defer f.Close()
	s.depth++
	defer func() { s.depth-- }()
	return s.runScript(ctx, f, arg+": ", false)
}

// tables lists the tables and views, and in the present the streams too.
func (s *session) tables(ctx context.Context, _ string) error {
	rows, err := s.ask(ctx, `SELECT name, kind FROM "$tables" WHERE kind <> 'index' ORDER BY name`)
	if err != nil {
		return err
	}
	shape := rowShape{format: s.format, names: rows.Columns()}
	p := newPrinter(s.stdout, s.format, rows.Columns()...)
	for values := range rows.All() {
		if err := p.print(shape.row(values)); err != nil {
			return err
		}
	}
	if s.at == (moment{}) {
		for x, err := range s.c.Streams(ctx, client.WithoutDeleted(), client.WithSystem()) {
			if err == nil {
				err = p.print(shape.row([]any{x.Name, "stream"}))
			}
			if err != nil {
				return err
			}
		}
	}
	return errors.Join(p.close(), s.stdout.Flush())
}

func (s *session) schema(ctx context.Context, arg string) error {
	rows, err := s.ask(ctx, `SELECT name, table_name, sql FROM "$tables" WHERE sql IS NOT NULL ORDER BY position`)
	if err != nil {
		return err
	}
	defer rows.Close()
	found := false
	for rows.Next() {
		var name, table, text string
		if err := rows.Scan(&name, &table, &text); err != nil {
			return err
		}
		if arg == "" || strings.EqualFold(arg, name) || strings.EqualFold(arg, table) {
			fmt.Fprintf(s.stdout, "%s;\n", text) // its error comes back below
			found = true
		}
	}
	if err := rows.Err(); err != nil {
		return err
	}
	if arg != "" && !found {
		return &failure{fmt.Errorf("there is no table or view %s", printable([]byte(arg))), exitNotFound, ".tables lists them"}
	}
	return s.stdout.Flush()
}
