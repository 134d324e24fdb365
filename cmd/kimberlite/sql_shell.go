package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"

	"github.com/peterh/liner"
)

// onTerminal reports whether a person is at the other end.
func onTerminal(r io.Reader) bool {
	if r != os.Stdin {
		return false
	}
	_, err := liner.TerminalMode()
	return err == nil
}

// shell reads statements and commands from a terminal until its end. Ctrl-C drops what is being typed, or ends the wait for
// a statement.
func (s *session) shell(ctx context.Context) error {
	ctx = context.WithoutCancel(ctx) // that of an interrupt would end the shell
	interrupts := make(chan os.Signal, 1)
	signal.Notify(interrupts, os.Interrupt)
	defer signal.Stop(interrupts)

	line := liner.NewLiner()
	defer line.Close() // it can only fail to set the terminal back
	line.SetCtrlCAborts(true)
	line.SetMultiLineMode(true)
	line.SetCompleter(completions)
	past := openHistory(line)
	defer past.save(line)

	fmt.Fprintln(s.stderr, "A statement ends with a semicolon. .help lists the commands, .quit leaves.")
	for x := (script{session: s}); ; {
		text, err := line.Prompt(x.prompt())
		if errors.Is(err, liner.ErrPromptAborted) {
			x.pending = nil
			continue
		}
		if errors.Is(err, io.EOF) {
			fmt.Fprintln(s.stderr)
			return nil
		}
		if err != nil {
			return err
		}
		if strings.TrimSpace(text) != "" && !strings.HasPrefix(text, " ") {
			line.AppendHistory(text)
		}
		if err := x.answer(ctx, text, interrupts); errors.Is(err, errQuit) {
			return nil
		}
	}
}

// answer takes a line and runs what it brings to an end. Of its errors only the last is returned; all are explained.
func (x *script) answer(ctx context.Context, line string, interrupts <-chan os.Signal) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan struct{})
	defer close(done)
	go func() {
		select {
		case <-interrupts:
			cancel()
		case <-done:
		}
	}()
	x.line = 0 // a line is no place to look at in a shell
	for more := x.take(line + "\n"); more; {
		var err error
		if more, err = x.next(ctx); err != nil {
			x.stdout.Flush() // an error of the terminal comes back with the next row
			if !errors.Is(err, errQuit) {
				explain(x.stderr, err)
			}
			x.pending = nil
			return err
		}
	}
	return nil
}

// prompt says as of when queries see the tables, and whether a statement has begun.
func (x *script) prompt() string {
	first := "kimberlite> "
	if x.session.at != (moment{}) {
		first = fmt.Sprintf("kimberlite@%s> ", x.session.at)
	}
	if strings.TrimSpace(string(x.pending)) == "" {
		return first
	}
	return strings.Repeat(" ", len(first)-5) + "...> "
}

func completions(line string) (list []string) {
	for _, c := range commands() {
		if line != "" && strings.HasPrefix(c.name, line) {
			list = append(list, c.name+" ")
		}
	}
	return list
}

// history is the file of what was typed before. Its name is empty if there is none.
type history struct{ file string }

// openHistory reads the history: that of KIMBERLITE_HISTORY, where nothing means none, or that in the user's home.
func openHistory(line *liner.State) history {
	name, said := os.LookupEnv("KIMBERLITE_HISTORY")
	if !said {
		home, err := os.UserHomeDir()
		if err != nil {
			return history{}
		}
		name = filepath.Join(home, ".kimberlite_history")
	}
	if f, err := os.Open(name); err == nil { // without a history one can work, too
		line.ReadHistory(f)
		f.Close()
	}
	return history{name}
}

// save writes the history. Statements may hold what nobody else should see, so the file is the user's alone.
func (h history) save(line *liner.State) {
	if h.file == "" {
		return
	}
	f, err := os.OpenFile(h.file, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return
	}
	defer f.Close()
	line.WriteHistory(f)
}
