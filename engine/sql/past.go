package sql

import (
	"fmt"
	"slices"
	"strings"

	"github.com/ncruces/go-sqlite3"

	"github.com/kimberlitedb/kimberlite-go/wire"
)

// past has a new cursor see the tables as of a position. On a connection of its own every table is hidden behind a
// temporary view of the same name, which has the rows as they were then, and every view of the client is made again as a
// temporary one, so that it sees those: the query itself is run as it is.
func (cur *Cursor) past(p *Projection, q *Question, at wire.Position) (e *wire.Error) {
	c, err := p.reader(true)
	if err != nil {
		return wire.Errorf(wire.InternalError, "%v", err)
	}
	defer func() {
		if e != nil {
			c.close()
		}
	}()
	defer c.panicked(&e)
	now, e := c.moment(at)
	if e != nil {
		return e
	}
	if err := c.goBack(at); err != nil {
		return wire.Errorf(wire.InternalError, "the tables as of position %d: %v", at, err)
	}
	c.position, c.now = at, now
	c.qualified = c.qualified || qualified(q.SQL)
	cur.Position, cur.p, cur.c = at, p, c
	cur.once = true // its views are of that position
	return nil
}

// goBack puts views in the place of tables.
func (c *conn) goBack(at wire.Position) error {
	var things []*thing
	live := map[int64]bool{}
	err := c.each(fmt.Sprintf(`SELECT id, name, kind, sql, generation, EXISTS (SELECT 1 FROM "$schema" AS x WHERE x.generation = s.generation AND x."to" IS NULL) FROM "$schema" AS s WHERE "from" <= %[1]d AND ("to" IS NULL OR "to" > %[1]d) AND kind <> 'index' ORDER BY id`, at), func(r *sqlite3.Stmt) {
		t := &thing{id: r.ColumnInt64(0), name: r.ColumnText(1), kind: r.ColumnText(2), sql: r.ColumnText(3), generation: r.ColumnInt64(4)}
		things, live[t.id] = append(things, t), r.ColumnBool(5)
	})
	if err != nil {
		return err
	}
	c.shadows, c.views = map[string]bool{tablesView: true}, map[string]bool{}
	if err := c.exec(`CREATE TEMP VIEW "$tables" AS SELECT name, kind, table_name, sql, "from" AS position FROM main."$schema" WHERE "from" <= %[1]d AND ("to" IS NULL OR "to" > %[1]d)`, at); err != nil {
		return err
	}
	if err := c.hide(at); err != nil {
		return err
	}
	for _, t := range things {
		if t.kind == "view" {
			c.views[wire.Fold(t.name)] = true
			c.qualified = c.qualified || qualified(t.sql)
			err = c.exec("%s", "CREATE TEMP VIEW "+strings.TrimPrefix(t.sql, "CREATE VIEW "))
		} else {
			err = c.shadow(t, live[t.id], at)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// absent begins the name of a table that there never is; behind it stands the name of one that was not there.
const absent = "$absent "

// hide has tables and views that are there now, and were not then, not be found.
func (c *conn) hide(at wire.Position) error {
	var names []string
	err := c.each(fmt.Sprintf(`SELECT name FROM "$schema" WHERE "to" IS NULL AND kind <> 'index'
EXCEPT SELECT name FROM "$schema" WHERE "from" <= %[1]d AND ("to" IS NULL OR "to" > %[1]d) ORDER BY name`, at), func(r *sqlite3.Stmt) {
		names = append(names, r.ColumnText(0))
	})
	for _, name := range names {
		if err == nil {
			err = c.exec("CREATE TEMP VIEW %s AS SELECT * FROM main.%s", quote(name), quote(absent+name))
		}
	}
	return err
}

// shadow hides a table behind its rows as of a position. UNION ALL keeps the columns' types, and lets SQLite look into both
// sides with their indexes.
func (c *conn) shadow(t *thing, live bool, at wire.Position) error {
	h, err := c.shapeOf(fmt.Sprintf("$h%d", t.generation))
	if err != nil {
		return err
	}
	h.columns = slices.DeleteFunc(h.columns, func(x tableColumn) bool { return system(x.name) })
	body := fmt.Sprintf(`SELECT %s FROM main."$h%d" WHERE "$from" <= %d AND "$to" > %d`, h.of(""), t.generation, at, at)
	if live {
		s, err := c.shapeOf(t.name)
		if err != nil {
			return err
		}
		body = fmt.Sprintf(`SELECT %s FROM main.%s AS t JOIN main."$b%d" AS b ON %s WHERE "$born" <= %d UNION ALL %s`,
			s.of("t"), quote(t.name), t.generation, s.match("b.", "t"), at, body)
	}
	c.shadows[wire.Fold(t.name)] = true
	return c.exec("CREATE TEMP VIEW %s AS %s", quote(t.name), body)
}
