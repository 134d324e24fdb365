package sql

import "testing"

func TestScriptsAreCutIntoStatements(t *testing.T) {
	for _, c := range []struct {
		script, statement, rest string
		ended                   bool
	}{
		{"", "", "", false},
		{";", "", "", true},
		{"SELECT 1", "SELECT 1", "", false},
		{" SELECT 1 ;x", "SELECT 1", "x", true},
		{"-- a;\n/* b; */ SELECT /* c; */ 1 -- d;\n; SELECT 2;", "SELECT /* c; */ 1", " SELECT 2;", true},
		{"SELECT ';', \"a;\", [b;], `c;`;", "SELECT ';', \"a;\", [b;], `c;`", "", true},
		{"SELECT 'it''s;'; x", "SELECT 'it''s;'", " x", true},
		{"SELECT 'open; ", "SELECT 'open; ", "", false},
		{"SELECT 1 /* open; ", "SELECT 1", "", false},
		{"-- only this;", "", "", false},
	} {
		statement, rest, ended := Cut(c.script)
		if statement != c.statement || rest != c.rest || ended != c.ended {
			t.Errorf("%q: %q, %q, %v", c.script, statement, rest, ended)
		}
	}
}
