// Package sql keeps the tables of one tenant: a projection of the SQL statements in its log, in a SQLite database that lives
// in memory alone. The log is the truth; whoever applies the same entries in the same order gets the same tables.
//
//	p, err := sql.Open()
//	outcomes := p.Apply([]*sql.Entry{{Position: 1, SQL: "CREATE TABLE t (a INTEGER)"}})
//	result, refusal := p.Query(&sql.Question{SQL: "SELECT a FROM t", Steps: 1000})
//
// What a statement wrote is kept for ever: every table has a history, which triggers fill, so that a query can see the
// tables as of any past position. See history.go and past.go.
//
// Nothing that a statement can reach depends on the moment, the machine or chance: time, random numbers and limits are
// those of the entry, and functions are on a list. See functions.go and authorize.go.
package sql
