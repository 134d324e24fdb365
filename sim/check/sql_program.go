package check

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/kimberlitedb/kimberlite-go/wire"
)

// The program: statements and queries with a table's number.
const (
	sqlCreate   = `CREATE TABLE t%d (id INTEGER PRIMARY KEY, n INTEGER NOT NULL CHECK (n < 1000), s TEXT, ok BOOLEAN)`
	sqlDrop     = `DROP TABLE t%d`
	sqlWiden    = `ALTER TABLE t%d ADD COLUMN extra INTEGER DEFAULT 7`
	sqlNarrow   = `ALTER TABLE t%d DROP COLUMN extra`
	sqlRename   = `ALTER TABLE t%d RENAME COLUMN extra TO more`
	sqlView     = `CREATE VIEW v%d AS SELECT id, n FROM t%[1]d WHERE n > 10`
	sqlDropView = `DROP VIEW v%d`
	sqlName     = `CREATE TABLE n%d (a)` // streams want the name, too
	sqlDropName = `DROP TABLE n%d`
	sqlInsert   = `INSERT INTO t%d (id, n, s, ok) VALUES ($1, $2, $3, $4)`
	sqlReturn   = `INSERT INTO t%d (s, id, n) VALUES ($3, $1, $2) RETURNING id, n + 1, s`
	sqlReplace  = `REPLACE INTO t%d (id, n, s) VALUES ($1, $2, $3)`
	sqlAdd      = `UPDATE t%d SET n = n + $1 WHERE id %% 3 = $2`
	sqlMove     = `UPDATE t%d SET id = id + 100 WHERE id = $1`
	sqlStamp    = `UPDATE t%d SET s = datetime('now') WHERE id = $1`
	sqlDelete   = `DELETE FROM t%d WHERE id >= $1 AND id < $1 + 3`
	sqlDouble   = `INSERT INTO t%d (id, n) SELECT id + 50, n FROM t%[1]d WHERE id < 50 AND id >= $1`

	sqlAll    = `SELECT * FROM t%d ORDER BY id`
	sqlRows   = `SELECT id, n, s, ok FROM t%d ORDER BY id`
	sqlSums   = `SELECT count(*), sum(n), max(id) FROM t%d`
	sqlSeen   = `SELECT id, n FROM v%d ORDER BY n, id`
	sqlRange  = `SELECT * FROM t%d WHERE id > $1 AND n < $2 ORDER BY id DESC`
	sqlJoin   = `SELECT a.id, b.id FROM t%d AS a JOIN t%[1]d AS b ON a.n = b.n AND a.id < b.id ORDER BY a.id, b.id`
	sqlCross  = `SELECT a.id, b.n FROM t%d AS a, t%[1]d AS b ORDER BY a.id, b.id`
	sqlSeries = `WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < 40) SELECT n, %d FROM s`
	sqlOnes   = `SELECT 1 FROM t%d`
	sqlClock  = `SELECT datetime('now'), count(*) FROM t%d`
	sqlNames  = `SELECT name FROM "$tables" WHERE kind <> 'index' OR %d < 0 ORDER BY name`
)

// Longest is a query that always gives many rows.
const Longest = sqlSeries

// Everything is a query that shows every column that there is.
const Everything = sqlAll

// Name is a statement that makes a table whose name streams want, too.
const Name = sqlName

// SQLTables is how many tables the program has, and SQLNames how many that have no rows, but names that streams want.
const (
	SQLTables = 3
	SQLNames  = 40
)

// Writes lists the statements that write, and Queries those that read, each as often as it is to come; Alters are those that
// change a table's columns. What makes a
// statement is its text with a table's number.
var (
	Writes = []string{
		sqlCreate, sqlCreate, sqlDrop, sqlWiden, sqlNarrow, sqlRename, sqlView, sqlDropView, sqlName, sqlDropName, sqlInsert, sqlInsert, sqlInsert, sqlInsert, sqlReturn, sqlReturn,
		sqlReplace, sqlReplace, sqlAdd, sqlAdd, sqlMove, sqlStamp, sqlDelete, sqlDouble,
	}
	Alters  = []string{sqlWiden, sqlNarrow, sqlRename}
	Queries = []string{sqlAll, sqlRows, sqlRows, sqlSums, sqlSeen, sqlRange, sqlJoin, sqlCross, sqlCross, sqlSeries, sqlOnes, sqlClock, sqlNames}
)

// Parameters returns how many parameters a statement of the program has.
func Parameters(template string) int {
	n := 0
	for n < 9 && strings.Contains(template, fmt.Sprintf("$%d", n+1)) {
		n++
	}
	return n
}

// phrase is the statement of the program that a text is, and its table's number.
type phrase struct {
	template string
	table    int
}

// writePhrases and queryPhrases find the statements of the program.
var writePhrases, queryPhrases = phrases(Writes), phrases(Queries)

func phrases(list []string) map[string]phrase {
	m := map[string]phrase{}
	for _, template := range list {
		count := SQLTables
		if template == sqlName || template == sqlDropName {
			count = SQLNames
		}
		for k := range count {
			m[fmt.Sprintf(template, k)] = phrase{template, k}
		}
	}
	return m
}

// applyAll carries out the statements of an entry, those that read too: all of them, or nothing.
func (t *tables) applyAll(list []loggedText) (results []result) {
	before := t.clone()
	for _, s := range list {
		r := result{}
		if _, reads := queryPhrases[s.text]; reads {
			r = t.query(s.text, s.params)
		} else {
			r = t.apply(s.text, s.params, t.now)
		}
		if results = append(results, r); r.code != 0 {
			*t = *before
			break
		}
	}
	return results
}

// clone returns tables that a change of these does not change.
func (t *tables) clone() *tables {
	c := &tables{tables: map[int]*table{}, views: maps.Clone(t.views), taken: maps.Clone(t.taken), now: t.now}
	for k, x := range t.tables { //det:order-free: each for itself
		c.tables[k] = &table{added: x.added, rows: maps.Clone(x.rows)}
	}
	return c
}

// apply carries out a statement of the program: whole, or not at all.
func (t *tables) apply(text string, params []wire.Value, now wire.Time) result {
	template, k := writePhrases[text].template, writePhrases[text].table
	x := t.tables[k]
	switch template {
	case "":
		return result{code: wire.TableNotFound} // the one that names no table
	case sqlCreate:
		if x != nil {
			return result{code: wire.TableAlreadyExists}
		}
		t.tables[k] = &table{rows: map[int64]row{}}
		return result{}
	case sqlView:
		if t.views[k] {
			return result{code: wire.TableAlreadyExists}
		}
		t.views[k] = true
		return result{}
	case sqlDropView:
		if !t.views[k] {
			return result{code: wire.TableNotFound}
		}
		delete(t.views, k)
		return result{}
	case sqlName:
		if t.taken[k] {
			return result{code: wire.TableAlreadyExists}
		}
		t.taken[k] = true
		return result{}
	case sqlDropName:
		if !t.taken[k] {
			return result{code: wire.TableNotFound}
		}
		delete(t.taken, k)
		return result{}
	}
	if x == nil {
		return result{code: wire.TableNotFound}
	}
	switch template {
	case sqlDrop:
		delete(t.tables, k)
		return result{}
	case sqlWiden, sqlNarrow, sqlRename:
		if template != sqlWiden && t.blind() {
			return result{code: wire.QueryExecutionError}
		}
		return x.alter(template)
	}
	rows := maps.Clone(x.rows)
	r := x.change(template, rows, params, now)
	if r.code == 0 {
		x.rows = rows
	}
	return r
}

// blind reports whether a view is of a table that is not there. SQLite looks at all views when a column is to have another name, or
// none.
func (t *tables) blind() bool {
	for k := range t.views { //det:order-free: any of them
		if t.tables[k] == nil {
			return true
		}
	}
	return false
}

// alter changes the columns behind those that a table is made with.
func (x *table) alter(template string) result {
	at := slices.Index(x.added, "extra")
	others := slices.Clone(x.added)
	switch {
	case template == sqlWiden && at < 0:
		x.added = append(others, "extra")
	case template == sqlNarrow && at >= 0:
		x.added = slices.Delete(others, at, at+1)
	case template == sqlRename && at >= 0 && !slices.Contains(x.added, "more"):
		x.added = others
		x.added[at] = "more"
	default:
		return result{code: wire.QueryExecutionError}
	}
	return result{}
}

// dateTime returns what SQL's datetime returns.
func dateTime(t wire.Time) wire.Value {
	return wire.Value{Kind: wire.Text, Text: time.Unix(0, int64(t)).UTC().Format(time.DateTime)}
}

func integer(n int64) wire.Value { return wire.Value{Kind: wire.BigInt, Int: n} }

// change carries out a statement on a table's rows.
func (x *table) change(template string, rows map[int64]row, params []wire.Value, now wire.Time) (r result) {
	put := func(id, n int64, s, ok wire.Value) {
		if _, taken := rows[id]; taken && template != sqlReplace || n >= 1000 {
			r.code = wire.ConstraintViolation
		}
		rows[id] = row{n, s, ok}
		r.affected++
	}
	arg := func(i int) int64 { return params[i].Int }
	switch template {
	case sqlInsert:
		put(arg(0), arg(1), params[2], params[3])
	case sqlReturn:
		put(arg(0), arg(1), params[2], wire.Value{})
		r.rows = [][]wire.Value{{integer(arg(0)), integer(arg(1) + 1), params[2]}}
	case sqlReplace:
		put(arg(0), arg(1), params[2], wire.Value{})
	case sqlDouble:
		for id, old := range x.rows { //det:order-free: a constraint that is violated is, whichever comes first
			if id < 50 && id >= arg(0) {
				put(id+50, old.n, wire.Value{}, wire.Value{})
			}
		}
	default:
		x.edit(template, rows, params, now, &r)
	}
	return r
}

// edit changes or deletes rows that there are.
func (x *table) edit(template string, rows map[int64]row, params []wire.Value, now wire.Time, r *result) {
	arg := func(i int) int64 { return params[i].Int }
	for id, old := range x.rows { //det:order-free: each for itself
		switch {
		case template == sqlAdd && id%3 == arg(1):
			if old.n += arg(0); old.n >= 1000 {
				r.code = wire.ConstraintViolation
			}
			rows[id] = old
		case template == sqlMove && id == arg(0):
			if _, taken := rows[id+100]; taken {
				r.code = wire.ConstraintViolation
			}
			delete(rows, id)
			rows[id+100] = old
		case template == sqlStamp && id == arg(0):
			old.s = dateTime(now)
			rows[id] = old
		case template == sqlDelete && id >= arg(0) && id < arg(0)+3:
			delete(rows, id)
		default:
			continue
		}
		r.affected++
	}
}

// query answers a query of the program.
func (t *tables) query(text string, params []wire.Value) result {
	template, k := queryPhrases[text].template, queryPhrases[text].table
	x := t.tables[k]
	switch {
	case template == sqlNames:
		return t.names()
	case template == sqlSeries:
		return series(k)
	case x == nil, template == sqlSeen && !t.views[k]:
		return result{code: wire.TableNotFound}
	}
	ids := slices.Sorted(maps.Keys(x.rows))
	switch template {
	case sqlSums:
		return x.sums(ids)
	case sqlClock:
		return result{rows: [][]wire.Value{{dateTime(t.now), integer(int64(len(ids)))}}}
	case sqlJoin:
		return x.join(ids)
	case sqlCross:
		return x.cross(ids)
	case sqlRange:
		slices.Reverse(ids)
	case sqlSeen:
		slices.SortStableFunc(ids, func(a, b int64) int { return cmp.Compare(x.rows[a].n, x.rows[b].n) })
	}
	var r result
	if template == sqlAll || template == sqlRange {
		r.columns = append([]string{"id", "n", "s", "ok"}, x.added...)
	}
	for _, id := range ids {
		y := x.rows[id]
		switch {
		case template == sqlRows:
			r.rows = append(r.rows, []wire.Value{integer(id), integer(y.n), y.s, y.ok})
		case template == sqlOnes:
			r.rows = append(r.rows, []wire.Value{integer(1)})
		case template == sqlSeen && y.n > 10:
			r.rows = append(r.rows, []wire.Value{integer(id), integer(y.n)})
		case template == sqlAll, template == sqlRange && id > params[0].Int && y.n < params[1].Int:
			all := []wire.Value{integer(id), integer(y.n), y.s, y.ok}
			for range x.added {
				all = append(all, integer(7))
			}
			r.rows = append(r.rows, all)
		}
	}
	return r
}

func (x *table) sums(ids []int64) result {
	all := []wire.Value{integer(int64(len(ids))), {}, {}}
	for _, id := range ids {
		all[1] = integer(all[1].Int + x.rows[id].n)
		all[2] = integer(id)
	}
	return result{rows: [][]wire.Value{all}}
}

func (x *table) join(ids []int64) (r result) {
	for i, a := range ids {
		for _, b := range ids[i+1:] {
			if x.rows[a].n == x.rows[b].n {
				r.rows = append(r.rows, []wire.Value{integer(a), integer(b)})
			}
		}
	}
	return r
}

// seriesRows is how many rows a series has.
const seriesRows = 40

func series(k int) (r result) {
	for n := range int64(seriesRows) {
		r.rows = append(r.rows, []wire.Value{integer(n + 1), integer(int64(k))})
	}
	return r
}

func (x *table) cross(ids []int64) (r result) {
	for _, a := range ids {
		for _, b := range ids {
			r.rows = append(r.rows, []wire.Value{integer(a), integer(x.rows[b].n)})
		}
	}
	return r
}

func (t *tables) names() (r result) {
	var list []string
	for k := range SQLTables {
		if t.tables[k] != nil {
			list = append(list, fmt.Sprintf("t%d", k))
		}
		if t.views[k] {
			list = append(list, fmt.Sprintf("v%d", k))
		}
	}
	for k := range SQLNames {
		if t.taken[k] {
			list = append(list, fmt.Sprintf("n%d", k))
		}
	}
	slices.Sort(list)
	for _, name := range list {
		r.rows = append(r.rows, []wire.Value{{Kind: wire.Text, Text: name}})
	}
	return r
}

// row is a row of a table of the program.
type row struct {
	n  int64
	s  wire.Value
	ok wire.Value
}

type table struct {
	added []string // columns, each of which has 7 in every row
	rows  map[int64]row
}

// tables is what there is at a position.
type tables struct {
	tables map[int]*table
	views  map[int]bool
	taken  map[int]bool // that tables without rows have
	now    wire.Time    // when the last statement was committed
}
