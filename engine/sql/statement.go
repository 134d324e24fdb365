package sql

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/kimberlitedb/kimberlite-go/wire"
)

// Statement is what can be known of a statement from its text alone. The text may still be wrong.
type Statement struct {
	// Text is the statement without an AS OF at its end.
	Text string
	// Verb is its first keyword, in capitals; for WITH that of the statement behind it.
	Verb string
	// Writes says that it is to become an entry of the log.
	Writes bool
	// Makes names the table or view that it may make, if it does.
	Makes string
	// Chance says that it may ask for random numbers.
	Chance bool
	// Position and Time say as of when it is to see the tables, where the text says so.
	Position wire.Option[wire.Position]
	Time     wire.Option[wire.Time]
	// Checkpoint names one instead, by label or id; who asks has to find its position.
	Checkpoint string

	alters string // the table that it alters or drops
	whole  bool   // SQLite undoes it by itself where it fails
}

// Parse looks at the text of one statement. It fails with QueryParseError, or with QueryExecutionError where there is such a
// statement in SQL but not here.
func Parse(text string) (Statement, *wire.Error) {
	if strings.ContainsRune(text, 0) {
		return Statement{}, wire.Errorf(wire.QueryParseError, "the statement has a NUL character")
	}
	tokens := scan(text)
	for len(tokens) > 0 && tokens[len(tokens)-1].text == ";" {
		tokens = tokens[:len(tokens)-1]
	}
	if len(tokens) == 0 {
		return Statement{}, wire.Errorf(wire.QueryParseError, "there is no statement")
	}
	for _, t := range tokens {
		switch {
		case t.kind == brokenToken:
			return Statement{}, wire.Errorf(wire.QueryParseError, "%s has no end", clip(t.text))
		case t.text == ";":
			return Statement{}, wire.Errorf(wire.QueryParseError, "a second statement follows at byte %d; send one at a time", t.at+1)
		}
	}
	last := tokens[len(tokens)-1]
	s := Statement{Text: text[:last.at+len(last.text)]}
	s.Chance = slices.ContainsFunc(tokens, func(t token) bool {
		name, _ := t.name()
		return hasPrefixFold(name, "random")
	})
	refused := s.classify(tokens)
	s.whole = s.Makes == "" && s.alters == "" && slices.Contains(verbs, s.Verb) && !slices.ContainsFunc(tokens, func(t token) bool {
		return t.is("FAIL") || t.is("RETURNING") // ON CONFLICT FAIL; a result may turn out to be too large
	})
	return s, refused
}

// classify finds out what kind of statement it is.
func (s *Statement) classify(tokens []token) *wire.Error {
	s.Verb = strings.ToUpper(tokens[0].text)
	if tokens[0].kind != wordToken {
		s.Verb = ""
	}
	switch s.Verb {
	case "SELECT", "VALUES":
		return s.asOf(tokens)
	case "EXPLAIN":
		return s.explain(tokens)
	case "WITH":
		if s.Verb = behindWith(tokens); s.Verb == "SELECT" || s.Verb == "VALUES" {
			return s.asOf(tokens)
		}
		s.Writes = slices.Contains([]string{"INSERT", "REPLACE", "UPDATE", "DELETE"}, s.Verb)
	case "INSERT", "REPLACE", "UPDATE", "DELETE":
		s.Writes = true
	case "CREATE", "DROP", "ALTER":
		s.Writes = true
		return s.define(tokens)
	case "PRAGMA", "ATTACH", "DETACH", "VACUUM", "ANALYZE", "REINDEX":
		return wire.Errorf(wire.QueryExecutionError, "%s is not available", s.Verb)
	case "BEGIN", "COMMIT", "END", "ROLLBACK", "SAVEPOINT", "RELEASE":
		return wire.Errorf(wire.QueryExecutionError, "%s is not available: a statement is a transaction of its own, and an atomic batch makes one of several", s.Verb)
	}
	if !s.Writes {
		return wire.Errorf(wire.QueryParseError, "near %s: syntax error", clip(tokens[0].text))
	}
	return nil
}

// behindWith returns the keyword behind the named queries of a WITH, in capitals.
func behindWith(tokens []token) string {
	i := 1
	if i < len(tokens) && tokens[i].is("RECURSIVE") {
		i++
	}
	for i < len(tokens) {
		i++ // its name
		for i < len(tokens) && tokens[i].text != "," && !slices.ContainsFunc(verbs, tokens[i].is) {
			i = behindParentheses(tokens, i)
		}
		if i == len(tokens) || tokens[i].text != "," {
			break
		}
		i++
	}
	if i >= len(tokens) {
		return ""
	}
	return strings.ToUpper(tokens[i].text)
}

var verbs = []string{"SELECT", "VALUES", "INSERT", "REPLACE", "UPDATE", "DELETE"}

// behindParentheses returns where a list of tokens goes on: behind what parentheses enclose, or behind one token.
func behindParentheses(tokens []token, i int) int {
	if tokens[i].text != "(" {
		return i + 1
	}
	for depth := 0; i < len(tokens); i++ {
		switch tokens[i].text {
		case "(":
			depth++
		case ")":
			if depth--; depth == 0 {
				return i + 1
			}
		}
	}
	return i
}

func (s *Statement) explain(tokens []token) *wire.Error {
	rest := tokens[1:]
	if len(rest) > 1 && rest[0].is("QUERY") && rest[1].is("PLAN") {
		rest = rest[2:]
	}
	if len(rest) == 0 {
		return wire.Errorf(wire.QueryParseError, "EXPLAIN of what?")
	}
	inner := Statement{Text: s.Text}
	if e := inner.classify(rest); e != nil {
		return e
	}
	if inner.Writes || inner.Verb == "EXPLAIN" {
		return wire.Errorf(wire.QueryExecutionError, "EXPLAIN is available for SELECT alone")
	}
	s.Text, s.Position, s.Time, s.Checkpoint = inner.Text, inner.Position, inner.Time, inner.Checkpoint
	return nil
}

// Past reports whether the text says as of when the statement is to see the tables.
func (s *Statement) Past() bool { return s.Position.Set || s.Time.Set || s.Checkpoint != "" }

// asOf cuts AS OF POSITION n, AS OF TIMESTAMP 't', or AS OF CHECKPOINT 'label', off the end.
func (s *Statement) asOf(tokens []token) *wire.Error {
	n := len(tokens) - 4
	if n < 1 || !tokens[n].is("AS") || !tokens[n+1].is("OF") {
		return nil
	}
	what, value := tokens[n+2], tokens[n+3]
	switch {
	case what.is("POSITION"):
		p, err := strconv.ParseUint(value.text, 10, 64)
		if err != nil {
			return wire.Errorf(wire.QueryParseError, "AS OF POSITION %s: it is not a position, such as 12", clip(value.text))
		}
		s.Position = wire.Some(wire.Position(p))
	case what.is("TIMESTAMP"):
		t, err := time.Parse(time.RFC3339Nano, value.value())
		if value.kind != stringToken || err != nil || t.Before(time.Unix(0, 0)) || t.Year() > lastYear {
			return wire.Errorf(wire.QueryParseError, "AS OF TIMESTAMP %s: it is not a time, such as '2026-01-02T03:04:05Z'", clip(value.text))
		}
		s.Time = wire.Some(wire.Time(t.UnixNano()))
	case what.is("CHECKPOINT"):
		if value.kind != stringToken || value.value() == "" {
			return wire.Errorf(wire.QueryParseError, "AS OF CHECKPOINT %s: it is not a checkpoint, such as 'Q4-2026-audit'", clip(value.text))
		}
		s.Checkpoint = value.value()
	default:
		return nil
	}
	s.Text = s.Text[:tokens[n].at]
	return nil
}

// lastYear is the last one that a wire.Time can tell.
const lastYear = 2261

// define looks at a CREATE, DROP or ALTER.
func (s *Statement) define(tokens []token) *wire.Error {
	for _, t := range tokens {
		if name, ok := t.name(); ok && reserved(name) { // SQLite's own tables are touched by these statements themselves
			return wire.Errorf(wire.QueryExecutionError, "%s is not available: names that begin with sqlite_ or pragma_ are the system's", clip(t.text))
		}
	}
	i := 1
	what := func(words ...string) bool {
		if i < len(tokens) && slices.ContainsFunc(words, tokens[i].is) {
			i++
			return true
		}
		return false
	}
	if s.Verb == "CREATE" && what("TEMP", "TEMPORARY") {
		return wire.Errorf(wire.QueryExecutionError, "temporary tables and views are not available")
	}
	if what("TRIGGER", "VIRTUAL") {
		return wire.Errorf(wire.QueryExecutionError, "%s is not available", strings.ToUpper(tokens[i-1].text))
	}
	table := what("TABLE")
	if !table && !what("VIEW") {
		return nil // an index
	}
	name, rest := nameOf(tokens[i:])
	switch {
	case s.Verb == "CREATE":
		s.Makes = name
	case table:
		s.alters = name
		if s.Verb == "ALTER" && len(rest) > 2 && rest[0].is("RENAME") && rest[1].is("TO") {
			s.Makes, _ = rest[2].name()
		}
	}
	return nil
}

// nameOf returns the name of a table that tokens begin with, and what follows it.
func nameOf(tokens []token) (string, []token) {
	for len(tokens) > 1 && (tokens[0].is("IF") || tokens[0].is("NOT") || tokens[0].is("EXISTS")) {
		tokens = tokens[1:]
	}
	if len(tokens) > 2 && tokens[1].text == "." {
		tokens = tokens[2:]
	}
	if len(tokens) == 0 {
		return "", nil
	}
	name, _ := tokens[0].name()
	return name, tokens[1:]
}

// reserved reports whether a name is one of SQLite's own.
func reserved(name string) bool {
	return hasPrefixFold(name, "sqlite_") || hasPrefixFold(name, "pragma_")
}

func hasPrefixFold(s, prefix string) bool {
	return len(s) >= len(prefix) && strings.EqualFold(s[:len(prefix)], prefix)
}

// clip quotes the beginning of a piece of text.
func clip(s string) string {
	const most = 40
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	return strconv.Quote(s)
}
