// Package script runs tests that are written as text: commands and what they must lead to.
//
//	# Why this matters, and what would go wrong without it.
//
//	append stream=1 events=a,b expect=0
//	end-batch
//	----
//	Write{At:0:512 Size:512 Upto:3}
//	Sync{Upto:3}
//
// A command is a name and key=value arguments; a key alone means true, and quotes keep spaces together. The commands
// above a line of four dashes run in order, and what they print together must be the lines below it, up to a blank line.
// With -update the files are rewritten; read the difference line by line before it is committed.
package script

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "rewrite what the scripts expect")

// Command is one line of a script.
type Command struct {
	Name string
	Line int

	args []argument
	errs []string
}

type argument struct {
	key, value string
	asked      bool
}

// Runner carries out one command and returns what it prints.
type Runner func(c *Command) string

// Run runs every script that matches a pattern as a subtest, each with a runner of its own.
func Run(t *testing.T, pattern string, start func(t *testing.T) Runner) {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts match %s: %v", pattern, err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := play(t, file, string(text), start(t))
			if got == string(text) || t.Failed() {
				return
			}
			if !*update {
				t.Errorf("%s: %s", file, difference(string(text), got))
			} else if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
				t.Error(err)
			}
		})
	}
}

// play runs a script and returns it with the outcomes that it had.
func play(t *testing.T, file, text string, run Runner) string {
	t.Helper()
	var out, printed strings.Builder
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	for i := 0; i < len(lines); i++ {
		out.WriteString(lines[i] + "\n")
		switch line := strings.TrimSpace(lines[i]); {
		case line == "" || line[0] == '#':
		case line == "----":
			out.WriteString(printed.String())
			printed.Reset()
			for i+1 < len(lines) && lines[i+1] != "" {
				i++
			}
		default:
			c, err := parse(line, i+1)
			if err == nil {
				printed.WriteString(block(run(c)))
				err = c.check()
			}
			if err != nil {
				t.Errorf("%s:%d: %v", file, i+1, err)
				return text
			}
		}
	}
	if printed.Len() > 0 {
		t.Errorf("%s ends with commands that no ---- follows; they print\n%s", file, printed.String())
	}
	return out.String()
}

// block ends what is not empty with a line break. A blank line would end the block, so there is none.
func block(s string) string {
	if s = strings.TrimRight(s, "\n"); s == "" {
		return ""
	}
	return strings.ReplaceAll(s, "\n\n", "\n") + "\n"
}

// difference shows the first line in which two texts differ.
func difference(want, got string) string {
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := range max(len(w), len(g)) {
		a, b := lineOf(w, i), lineOf(g, i)
		if a != b {
			return fmt.Sprintf("line %d\nwant %s\ngot  %s\nrun with -update and read the diff", i+1, a, b)
		}
	}
	return "no difference"
}

func lineOf(lines []string, i int) string {
	if i < len(lines) {
		return lines[i]
	}
	return "(nothing)"
}

func parse(line string, number int) (*Command, error) {
	words, err := split(line)
	if err != nil {
		return nil, err
	}
	c := &Command{Name: words[0], Line: number}
	for _, w := range words[1:] {
		key, value, ok := strings.Cut(w, "=")
		if !ok {
			value = "true"
		}
		c.args = append(c.args, argument{key: key, value: value})
	}
	return c, nil
}

// split cuts a line into words. Quotes keep spaces and vanish.
func split(line string) ([]string, error) {
	var words []string
	var word strings.Builder
	quoted, begun := false, false
	for _, r := range line {
		switch {
		case r == '"':
			quoted, begun = !quoted, true
		case r == ' ' && !quoted:
			if begun {
				words = append(words, word.String())
			}
			word.Reset()
			begun = false
		default:
			word.WriteRune(r)
			begun = true
		}
	}
	if quoted {
		return nil, fmt.Errorf("a quote is not closed")
	}
	if begun {
		words = append(words, word.String())
	}
	return words, nil
}

// check says which arguments were wrong, or never asked for.
func (c *Command) check() error {
	for _, a := range c.args {
		if !a.asked {
			c.errs = append(c.errs, fmt.Sprintf("%s does not know %s=", c.Name, a.key))
		}
	}
	if len(c.errs) > 0 {
		return fmt.Errorf("%s", strings.Join(c.errs, "; "))
	}
	return nil
}

// Fail notes that the command itself is wrong, which fails the test.
func (c *Command) Fail(format string, args ...any) {
	c.errs = append(c.errs, fmt.Sprintf(format, args...))
}

// Has reports whether an argument is given.
func (c *Command) Has(key string) bool {
	_, ok := c.find(key)
	return ok
}

// Text returns an argument, or the fallback where it is not given.
func (c *Command) Text(key, fallback string) string {
	if v, ok := c.find(key); ok {
		return v
	}
	return fallback
}

// Bool returns an argument that is true or false; false where it is not given.
func (c *Command) Bool(key string) bool { return c.Text(key, "false") == "true" }

// Int returns a number, or the fallback where it is not given.
func (c *Command) Int(key string, fallback int) int {
	v, ok := c.find(key)
	if !ok {
		return fallback
	}
	n, err := strconv.Atoi(v)
	if err != nil {
		c.Fail("%s=%s is not a number", key, v)
	}
	return n
}

// Span returns a length of time such as 250ms, or the fallback where it is not given.
func (c *Command) Span(key string, fallback time.Duration) time.Duration {
	v, ok := c.find(key)
	if !ok {
		return fallback
	}
	d, err := time.ParseDuration(v)
	if err != nil {
		c.Fail("%s=%s is not a length of time", key, v)
	}
	return d
}

// List returns the parts of a comma-separated argument; none where it is not given.
func (c *Command) List(key string) []string {
	v, ok := c.find(key)
	if !ok {
		return nil
	}
	return strings.Split(v, ",")
}

func (c *Command) find(key string) (string, bool) {
	for i := range c.args {
		if c.args[i].key == key {
			c.args[i].asked = true
			return c.args[i].value, true
		}
	}
	return "", false
}
