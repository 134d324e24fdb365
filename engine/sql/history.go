package sql

import (
	"fmt"
	"slices"
	"strings"

	"github.com/ncruces/go-sqlite3"

	"github.com/kimberlitedb/kimberlite-go/wire"
)

// The history of a table. Each shape that a table ever had is a generation with a number:
//
//	$b<number>(key, $born)                 since which entry each row that is there now is as it is
//	$h<number>(columns, $from, $to, $row)  rows as they were from one entry up to, and without, another; $row is a row's id,
//	                                       where no column is
//
// Triggers $i, $u and $d keep both. What an entry itself makes and unmakes is in neither. Where a table is altered or
// dropped, its rows go into the history of its generation, and what is left begins a new one.
//
// $schema(name, kind, table_name, sql, generation, from, to) has every table, view and index that there ever was, and $keyed
// the outcomes of statements with an idempotency key: statement is 0, and counts from 1 where an entry has several. $times
// says when each entry was committed; entries count from 0, and a row has many of them. place in $schema is that in SQLite's own table of all that
// there is: what was made later has a greater one. $sequences has what AUTOINCREMENT had counted up to, from an entry on. $state has what else is
// to be kept: the greatest id in $schema that there ever was, the first position that can be asked for, and the first that can be dumped.

// tablesView is what clients see of $schema.
const tablesView = "$tables"

// catalog makes a database. What $count leaves is the table of SQLite in which AUTOINCREMENT counts. Without being told SQLite takes pages of 8 KiB for a file system in memory; Limits counts those of
// 4 KiB, and they cost less to copy.
const catalog = `
PRAGMA page_size = 4096;
CREATE TABLE "$schema"(id INTEGER PRIMARY KEY, name TEXT, kind TEXT, table_name TEXT, sql TEXT, generation INTEGER, "from" INTEGER, "to" INTEGER, place INTEGER);
CREATE TABLE "$keyed"(position INTEGER, statement INTEGER, affected INTEGER, code INTEGER, message TEXT, PRIMARY KEY(position, statement)) WITHOUT ROWID;
` + timesTable + `
CREATE TABLE "$sequences"(generation INTEGER, "from" INTEGER, seq INTEGER, PRIMARY KEY(generation, "from")) WITHOUT ROWID;
CREATE TABLE "$count"(id INTEGER PRIMARY KEY AUTOINCREMENT); DROP TABLE "$count";
CREATE TABLE "$state"(last INTEGER, kept INTEGER, dumps INTEGER);
INSERT INTO "$state" VALUES(0, 0, 0);
CREATE VIEW "$tables" AS SELECT name, kind, table_name, sql, "from" AS position FROM "$schema" WHERE "to" IS NULL;
`

const timesTable = `CREATE TABLE "$times"(row INTEGER PRIMARY KEY, entries BLOB);`

// thing is a table, view or index that exists.
type thing struct {
	id         int64 // in $schema
	place      int64 // likewise
	name       string
	kind       string // table, view or index
	table      string // whose index it is, or its own name
	sql        string
	generation int64 // of a table
}

// tableColumn is a column of a table.
type tableColumn struct {
	name      string
	declared  string
	collation string
	key       int // its place in the primary key, from 1; 0 where it is not in it
	generated int // 0 of those that are not computed from others, else stored or not
}

// How a column is computed, as SQLite counts.
const storedColumn = 3

// shape is how a table looks.
type shape struct {
	columns      []tableColumn
	withoutRowID bool
	strict       bool
	row          string // the name by which a row's id can be had; empty without one
	alias        string // the column that is a row's id; empty without one
}

// shapeOf looks at a table.
func (c *conn) shapeOf(table string) (shape, error) { return c.shapeIn("main", table) }

// shapeIn looks at a table of a schema: main, or temp.
func (c *conn) shapeIn(schema, table string) (s shape, err error) {
	of := quoteText(table) + ", " + quoteText(schema)
	err = c.each("SELECT name, type, pk, hidden FROM pragma_table_xinfo("+of+")", func(r *sqlite3.Stmt) {
		s.columns = append(s.columns, tableColumn{name: r.ColumnText(0), declared: r.ColumnText(1), key: r.ColumnInt(2), generated: r.ColumnInt(3)})
	})
	if err != nil {
		return s, err
	}
	err = c.each("SELECT wr, strict FROM pragma_table_list("+quoteText(table)+") WHERE schema = "+quoteText(schema), func(r *sqlite3.Stmt) {
		s.withoutRowID, s.strict = r.ColumnBool(0), r.ColumnBool(1)
	})
	for i := range s.columns {
		x := &s.columns[i]
		if err == nil {
			_, x.collation, _, _, _, err = c.db.TableColumnMetadata(schema, table, x.name)
		}
	}
	if s.withoutRowID || err != nil {
		return s, err
	}
	s.row = s.rowName()
	s.alias, err = c.aliasIn(of, &s)
	return s, err
}

// aliasIn returns the column of a table that is a row's id: the one of a primary key that needs no index.
func (c *conn) aliasIn(of string, s *shape) (alias string, err error) {
	key := slices.DeleteFunc(slices.Clone(s.columns), func(x tableColumn) bool { return x.key == 0 })
	if len(key) != 1 || wire.Fold(key[0].declared) != "integer" {
		return "", nil
	}
	alias = key[0].name
	err = c.each("SELECT 1 FROM pragma_index_list("+of+") WHERE origin = 'pk'", func(*sqlite3.Stmt) { alias = "" })
	return alias, err
}

// hidden reports whether rows have an id that no column shows.
func (s *shape) hidden() bool { return !s.withoutRowID && s.alias == "" }

// rowName returns a name of the row's id that no column has taken.
func (s *shape) rowName() string {
	for _, name := range []string{"rowid", "_rowid_", "oid"} {
		if !slices.ContainsFunc(s.columns, func(x tableColumn) bool { return wire.Fold(x.name) == name }) {
			return name
		}
	}
	return ""
}

// check says why a table can have no history.
func (s *shape) check() *wire.Error {
	if !s.withoutRowID && s.row == "" {
		return wire.Errorf(wire.QueryExecutionError, "columns named rowid, _rowid_ and oid cannot be in one table; rename one of them")
	}
	for _, x := range s.columns {
		if system(x.name) {
			return wire.Errorf(wire.QueryExecutionError, "column %s: names that begin with $ are the system's", x.name)
		}
	}
	return nil
}

// keys returns the columns by which a row is known, as definitions and as names.
func (s *shape) keys() (definitions, names []string) {
	if !s.withoutRowID {
		return []string{`k INTEGER PRIMARY KEY`}, []string{s.row}
	}
	key := slices.DeleteFunc(slices.Clone(s.columns), func(x tableColumn) bool { return x.key == 0 })
	slices.SortFunc(key, func(a, b tableColumn) int { return a.key - b.key })
	for i, x := range key {
		definitions = append(definitions, fmt.Sprintf("k%d %s COLLATE %s", i, x.declared, x.collation))
		names = append(names, quote(x.name))
	}
	return definitions, names
}

// born returns the name of a key's column in $b.
func (s *shape) born(i int) string {
	if !s.withoutRowID {
		return "k"
	}
	return fmt.Sprintf("k%d", i)
}

// match is the condition that a row of $b, which is called b where it stands beside the table, is that of a row of the table, which is
// called by some name.
func (s *shape) match(b, row string) string {
	_, names := s.keys()
	list := make([]string, len(names))
	for i, name := range names {
		list[i] = b + s.born(i) + " = " + row + "." + name
	}
	return strings.Join(list, " AND ")
}

// of returns the names of all columns, each behind a table's name where one is given.
func (s *shape) of(row string) string {
	if row != "" {
		row += "."
	}
	list := make([]string, len(s.columns))
	for i, x := range s.columns {
		list[i] = row + quote(x.name)
	}
	return strings.Join(list, ", ")
}

// id is what follows in $h where rows have an id that no column shows.
func (s *shape) id(row string) string {
	if !s.hidden() {
		return ""
	}
	return ", " + row + "." + s.row
}

// begin makes the history of a table that has come into being, or has another shape. Its rows are born now.
func (c *conn) begin(t *thing) *wire.Error {
	s, err := c.shapeOf(t.name)
	if err != nil {
		return c.fault(err, "")
	}
	if e := s.check(); e != nil {
		return e
	}
	if err := c.exec("%s", s.histories(t)); err != nil {
		return c.fault(err, "")
	}
	if err := c.exec("%s", s.triggers(t)); err != nil {
		return c.fault(err, "")
	}
	return nil
}

func (s *shape) histories(t *thing) string {
	definitions, names := s.keys()
	options, strict := "", ""
	if s.withoutRowID {
		list := make([]string, len(names))
		for i := range names {
			list[i] = s.born(i)
		}
		definitions = append(definitions, `"$born" INTEGER`, "PRIMARY KEY("+strings.Join(list, ", ")+")")
		options = " WITHOUT ROWID"
	} else {
		definitions = append(definitions, `"$born" INTEGER`)
	}
	if s.strict {
		strict = " STRICT"
		if options != "" {
			options += ", STRICT"
		}
	}
	columns := make([]string, 0, len(s.columns)+2)
	for _, x := range s.columns {
		columns = append(columns, fmt.Sprintf("%s %s COLLATE %s", quote(x.name), x.declared, x.collation))
	}
	columns = append(columns, `"$from" INTEGER`, `"$to" INTEGER`)
	if s.hidden() {
		columns = append(columns, `"$row" INTEGER`)
	}
	return fmt.Sprintf(`CREATE TABLE "$b%[1]d"(%[2]s)%[3]s; CREATE TABLE "$h%[1]d"(%[4]s)%[5]s;
INSERT INTO "$b%[1]d" SELECT %[6]s, "$position"() FROM main.%[7]s;`,
		t.generation, strings.Join(definitions, ", "), options, strings.Join(columns, ", "), strict, strings.Join(names, ", "), quote(t.name))
}

// triggers returns those that note every change. A row id of 2⁶³−1 is refused: behind it SQLite takes random ones.
func (s *shape) triggers(t *thing) string {
	_, names := s.keys()
	fresh, moved := make([]string, len(names)), make([]string, len(names))
	for i, name := range names {
		fresh[i] = "NEW." + name
		moved[i] = s.born(i) + " = NEW." + name
	}
	last := ""
	if !s.withoutRowID {
		last = fmt.Sprintf("SELECT RAISE(ABORT, 'row id 9223372036854775807 is not available') WHERE NEW.%s = 9223372036854775807; ", s.row)
	}
	past := fmt.Sprintf(`INSERT INTO "$h%d" SELECT %s, "$born", "$position"()%s FROM "$b%d" WHERE %s AND "$born" < "$position"(); `,
		t.generation, s.of("OLD"), s.id("OLD"), t.generation, s.match("", "OLD"))
	return fmt.Sprintf(`
CREATE TRIGGER "$i%[1]d" AFTER INSERT ON %[2]s BEGIN %[3]sINSERT INTO "$b%[1]d" VALUES(%[4]s, "$position"()); END;
CREATE TRIGGER "$u%[1]d" AFTER UPDATE ON %[2]s BEGIN %[3]s%[5]sUPDATE "$b%[1]d" SET %[6]s, "$born" = "$position"() WHERE %[7]s; END;
CREATE TRIGGER "$d%[1]d" AFTER DELETE ON %[2]s BEGIN %[5]sDELETE FROM "$b%[1]d" WHERE %[7]s; END;`,
		t.generation, quote(t.name), last, strings.Join(fresh, ", "), past, strings.Join(moved, ", "), s.match("", "OLD"))
}

// end puts the rows of a table that is about to be altered or dropped into the history of its generation.
func (c *conn) end(t *thing) error {
	s, err := c.shapeOf(t.name)
	if err != nil {
		return err
	}
	return c.exec(`INSERT INTO "$h%[1]d" SELECT %[2]s, "$born", "$position"()%[5]s FROM main.%[3]s AS t JOIN "$b%[1]d" AS b ON %[4]s WHERE "$born" < "$position"();
DROP TRIGGER "$i%[1]d"; DROP TRIGGER "$u%[1]d"; DROP TRIGGER "$d%[1]d"; DROP TABLE "$b%[1]d";`,
		t.generation, s.of("t"), quote(t.name), s.match("b.", "t"), s.id("t"))
}

func quote(name string) string { return sqlite3.QuoteIdentifier(name) }

func quoteText(s string) string { return sqlite3.Quote(s) }
