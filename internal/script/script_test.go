package script

import (
	"strings"
	"testing"
)

func echo(c *Command) string {
	switch c.Name {
	case "say":
		return strings.Join(c.List("words"), "\n")
	case "quiet":
		return ""
	}
	c.Fail("unknown command %s", c.Name)
	return ""
}

func TestPlayFillsInWhatCommandsPrint(t *testing.T) {
	script := "# comment\n\nsay words=\"a b\",c\nquiet\nsay words=d\n----\nwrong\n\nquiet\n----\n\nquiet\n"
	want := "# comment\n\nsay words=\"a b\",c\nquiet\nsay words=d\n----\na b\nc\nd\n\nquiet\n----\n\nquiet\n"
	if got := play(t, "x", script, echo); got != want {
		t.Errorf("got\n%s", got)
	}
	if got := play(t, "x", want, echo); got != want {
		t.Errorf("not stable:\n%s", got)
	}
	if d := difference(script, want); !strings.Contains(d, "line 7\nwant wrong\ngot  a b") {
		t.Error(d)
	}
}

func TestWrongCommandsFail(t *testing.T) {
	for _, line := range []string{"shout", "say words=x twice", "say words=\"x", "say words=x volume=11"} {
		c, err := parse(line, 1)
		if err == nil {
			echo(c)
			err = c.check()
		}
		if err == nil {
			t.Errorf("%q passed", line)
		}
	}
}
