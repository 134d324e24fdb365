package sql

import "strings"

// token is a piece of a statement's text, comments and space left out.
type token struct {
	kind tokenKind
	text string // as it stands there
	at   int    // bytes from the beginning
}

type tokenKind uint8

const (
	wordToken   tokenKind = iota // keyword or bare name
	quotedToken                  // "name", `name` or [name]
	stringToken                  // 'text'
	numberToken
	paramToken // ?, ?1, $1, :a, @a
	signToken  // any other character
	brokenToken
)

// scan cuts a statement's text into tokens, by SQLite's rules. What has no end is a brokenToken.
func scan(s string) (list []token) {
	for i := 0; i < len(s); {
		n, kind, skip := next(s[i:])
		if !skip {
			list = append(list, token{kind, s[i : i+n], i})
		}
		i += n
	}
	return list
}

// next returns the length and kind of what a text begins with, and whether that means nothing.
func next(s string) (n int, kind tokenKind, skip bool) {
	switch c := s[0]; {
	case c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f':
		return 1, 0, true
	case strings.HasPrefix(s, "--"):
		if n = strings.IndexByte(s, '\n'); n < 0 {
			n = len(s) - 1
		}
		return n + 1, 0, true
	case strings.HasPrefix(s, "/*"):
		if n = strings.Index(s[2:], "*/"); n < 0 { // SQLite takes the end for the comment's
			return len(s), 0, true
		}
		return n + 4, 0, true
	case c == '\'':
		return enclosed(s, '\'', stringToken)
	case c == '"' || c == '`':
		return enclosed(s, c, quotedToken)
	case c == '[':
		if n = strings.IndexByte(s, ']'); n < 0 {
			return len(s), brokenToken, false
		}
		return n + 1, quotedToken, false
	case '0' <= c && c <= '9', c == '.' && len(s) > 1 && '0' <= s[1] && s[1] <= '9':
		return while(s, 1, func(c byte) bool { return nameByte(c) || c == '.' }), numberToken, false
	case c == '?' || c == ':' || c == '@' || c == '$':
		if n = while(s, 1, nameByte); n > 1 || c == '?' {
			return n, paramToken, false
		}
		return 1, signToken, false
	case nameByte(c):
		return while(s, 1, nameByte), wordToken, false
	}
	return 1, signToken, false
}

// enclosed measures what stands between two marks; the mark itself stands for itself where it comes twice.
func enclosed(s string, mark byte, kind tokenKind) (n int, _ tokenKind, skip bool) {
	for i := 1; i < len(s); i++ {
		if s[i] != mark {
			continue
		}
		if i+1 < len(s) && s[i+1] == mark {
			i++
			continue
		}
		return i + 1, kind, false
	}
	return len(s), brokenToken, false
}

func while(s string, n int, in func(byte) bool) int {
	for n < len(s) && in(s[n]) {
		n++
	}
	return n
}

// nameByte reports whether a byte may be part of a bare name. '$' may, but not at its beginning.
func nameByte(c byte) bool {
	return c == '_' || c == '$' || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || c >= 0x80
}

// is reports whether the token is a keyword.
func (t token) is(keyword string) bool {
	return t.kind == wordToken && strings.EqualFold(t.text, keyword)
}

// name returns the name that the token stands for where a name is expected: SQLite takes a text for one there.
func (t token) name() (string, bool) {
	switch t.kind {
	case wordToken:
		return t.text, true
	case quotedToken, stringToken:
		return t.value(), true
	}
	return "", false
}

// value returns what stands between a token's marks.
func (t token) value() string {
	if len(t.text) < 2 {
		return t.text
	}
	inner, mark := t.text[1:len(t.text)-1], t.text[:1]
	if mark == "[" {
		return inner
	}
	return strings.ReplaceAll(inner, mark+mark, mark)
}

// Cut cuts the first statement off a script: without the semicolon that ends it, and the comments around it. It is empty
// where there is none. If no semicolon ends it, ended is false, and the statement is all there is.
func Cut(script string) (statement, rest string, ended bool) {
	begin, end := -1, 0
	for i := 0; i < len(script); {
		n, kind, skip := next(script[i:])
		if kind == signToken && script[i] == ';' {
			rest, ended = script[i+n:], true
			break
		}
		if !skip && begin < 0 {
			begin = i
		}
		if i += n; !skip {
			end = i
		}
	}
	if begin < 0 {
		return "", rest, ended
	}
	return script[begin:end], rest, ended
}

// qualified reports whether a text names the schema of a table: main.accounts.
func qualified(text string) bool {
	tokens := scan(text)
	for i := 1; i < len(tokens); i++ {
		if name, _ := tokens[i-1].name(); tokens[i].text == "." && strings.EqualFold(name, "main") {
			return true
		}
	}
	return false
}
