package sql

import (
	"strings"

	"github.com/kimberlitedb/kimberlite-go/wire"
	"github.com/ncruces/go-sqlite3"
)

// authorize says whether a client's statement may do something. SQLite asks while it compiles the statement; inner is the
// view or trigger through which it would be done, if any.
func (c *conn) authorize(action sqlite3.AuthorizerActionCode, third, fourth, schema, inner string) sqlite3.AuthorizerReturnCode {
	if c.own || c.allows(action, third, fourth, schema, inner) {
		return sqlite3.AUTH_OK
	}
	return sqlite3.AUTH_DENY
}

func (c *conn) allows(action sqlite3.AuthorizerActionCode, third, fourth, schema, inner string) bool {
	switch action {
	case sqlite3.AUTH_SELECT, sqlite3.AUTH_RECURSIVE:
		return true
	case sqlite3.AUTH_FUNCTION:
		return c.allowsFunction(fourth, inner)
	case sqlite3.AUTH_READ:
		return c.allowsRead(third, schema, inner)
	}
	if !c.writer {
		return c.deny("the statement would change something")
	}
	switch action {
	case sqlite3.AUTH_INSERT, sqlite3.AUTH_UPDATE, sqlite3.AUTH_DELETE:
		return c.allowsChange(third, inner)
	case sqlite3.AUTH_CREATE_TABLE, sqlite3.AUTH_CREATE_VIEW, sqlite3.AUTH_CREATE_INDEX, sqlite3.AUTH_REINDEX,
		sqlite3.AUTH_DROP_TABLE, sqlite3.AUTH_DROP_VIEW, sqlite3.AUTH_DROP_INDEX:
		return !system(third) || c.deny("names that begin with $ are the system's")
	case sqlite3.AUTH_ALTER_TABLE:
		return !system(fourth) || c.deny("names that begin with $ are the system's")
	}
	return c.deny("the statement is not available")
}

// allowsRead reports whether a table, or a column of it, may be read.
func (c *conn) allowsRead(table, schema, inner string) bool {
	switch {
	case system(inner), c.streamed(table): // our own trigger or view
		return true
	case strings.EqualFold(table, tablesView):
		return true
	case c.shadows != nil && c.shadows[wire.Fold(inner)]: // as of then
		return true
	case system(table):
		return c.deny(table + " is the system's")
	case reserved(table):
		return c.defines() || c.deny("the tables of SQLite itself are not available; see the table \""+tablesView+"\"")
	case c.shadows != nil && schema != "temp" && !tableFunction(table):
		return c.allowsPast(table, schema)
	}
	return true
}

// allowsPast reports whether a table that is not a temporary view may be read as of a past position. It may where it is one
// after all: SQLite does not say so of a table of which no column is read. Where it has put the body of such a view in the
// query's place, it names the table of that with its schema.
func (c *conn) allowsPast(table, schema string) bool {
	then := c.shadows[wire.Fold(table)] || c.views[wire.Fold(table)]
	switch {
	case then && (schema == "" || !c.qualified):
		return true
	case then:
		return c.deny("table " + table + " is named together with its schema, and would be read as of now; leave the schema away")
	}
	c.missing = table
	return false
}

func (c *conn) allowsChange(table, inner string) bool {
	switch {
	case system(inner):
		return true
	case system(table):
		return c.deny(table + " is the system's")
	case reserved(table):
		return c.defines() || c.deny("the tables of SQLite itself are not available")
	}
	return true
}

func (c *conn) allowsFunction(name, inner string) bool {
	name = strings.ToLower(name)
	return functionNames[name] || system(name) && system(inner) || c.verb == "ALTER" && reserved(name) || c.deny("function "+name+" is not available")
}

// defines reports whether the statement is one by which SQLite itself changes its own tables. What the client has written
// names none of them; see define.
func (c *conn) defines() bool { return c.verb == "CREATE" || c.verb == "DROP" || c.verb == "ALTER" }

// deny notes why something is refused.
func (c *conn) deny(why string) bool {
	if c.denied == "" {
		c.denied = why
	}
	return false
}

// system reports whether a name is the projection's own.
func system(name string) bool { return strings.HasPrefix(name, "$") }

// tableFunction reports whether a name is that of a function whose result is a table.
func tableFunction(name string) bool { return name == "json_each" || name == "json_tree" }
