package sql

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/ncruces/go-sqlite3"

	"github.com/kimberlitedb/kimberlite-go/wire"
)

// A dump is what the tables are as of a position, and what statements behind it depend on: nothing of their history, and nothing of how
// SQLite stores them. Two projections of the same entries give the same dump of a position, whenever they are asked. It consists of items:
//
//	+----------+-----------------+-- ... --+
//	| kind (1) | length (varint) | payload |
//	+----------+-----------------+-- ... --+
//
//	kind 1, head    format | entries carried out | position of the last one | its time
//	kind 2, table   name | sql | position | rank | what AUTOINCREMENT has counted up to
//	kind 3, row     of the table before: its id, where no column shows it | a value for each column that is not computed when it is read
//	kind 4, index   name | sql | position | rank | name of its table
//	kind 5, view    name | sql | position | rank
//	kind 6, end     number of items before
//
// Tables, indexes and views stand in the order in which they were made, rows in that of their keys. Position and rank say when each has
// come to be as it is, by the entry and, from 1 on, among all of the dump: an alteration has another rank follow from it. Numbers are varints as Go's package
// encoding/binary has them, those of rows with a sign; a text is its length, a varint, and its bytes. A value begins with its kind:
// 0 null, 1 integer (varint with a sign), 2 real (IEEE 754, 8 bytes, little-endian), 3 text, 4 blob (as a text).
const dumpFormat = 1

// The kinds of items.
const (
	headItem = iota + 1
	tableItem
	rowItem
	indexItem
	viewItem
	endItem
)

// The kinds of values.
const (
	nullValue = iota
	integerValue
	realValue
	textValue
	blobValue
)

var (
	// ErrForgotten says that a dump cannot be had any more: the history is forgotten, or was not kept whole then.
	ErrForgotten = errors.New("the history of the tables is forgotten")
	// ErrStopped says that a dump was given up.
	ErrStopped = errors.New("the dump was stopped")
)

// Fleeting reports whether an item is another one in every dump, however alike the tables are.
func Fleeting(item []byte) bool { return item[0] == headItem || item[0] == endItem }

// Dump takes a dump of the tables as of a position, an item at a time, which may be used until emit returns. It may run beside Apply and
// beside queries.
func (p *Projection) Dump(at wire.Position, stop *Stop, emit func(item []byte) error) (err error) {
	c, err := p.reader(true)
	if err != nil {
		return err
	}
	defer c.close()
	defer func() {
		if why := recover(); why != nil {
			err = fmt.Errorf("dump the tables as of position %d: %s", at, broken(why).Message)
		}
	}()
	d := dumper{c: c, at: at, stop: stop, to: emit}
	if err := d.all(); err != nil {
		return fmt.Errorf("dump the tables as of position %d: %w", at, err)
	}
	return nil
}

// dumper is a dump under way.
type dumper struct {
	c     *conn
	at    wire.Position
	stop  *Stop
	to    func([]byte) error
	count uint64
	item  []byte // after room for its head
}

// dumped is a thing as of then.
type dumped struct {
	thing
	from, rank int64
	live       bool // a table of the same generation is there now
}

// itemRoom is how much the head of an item takes at most.
const itemRoom = 1 + binary.MaxVarintLen64

func (d *dumper) all() error {
	if err := d.head(); err != nil {
		return err
	}
	var things []dumped
	err := d.c.each(fmt.Sprintf(`SELECT name, kind, table_name, sql, generation, "from", rank() OVER (ORDER BY id), EXISTS (SELECT 1 FROM "$schema" AS x WHERE x.generation = s.generation AND x."to" IS NULL)
FROM "$schema" AS s WHERE "from" <= %[1]d AND ("to" IS NULL OR "to" > %[1]d) ORDER BY place`, d.at), func(r *sqlite3.Stmt) {
		t := dumped{thing{name: r.ColumnText(0), kind: r.ColumnText(1), table: r.ColumnText(2), sql: r.ColumnText(3), generation: r.ColumnInt64(4)},
			r.ColumnInt64(5), r.ColumnInt64(6), r.ColumnBool(7)}
		things = append(things, t)
	})
	for i := range things {
		if err == nil {
			err = d.thing(&things[i])
		}
	}
	if err != nil {
		return err
	}
	d.begin()
	d.number(d.count)
	return d.end(endItem)
}

func (d *dumper) begin() { d.item = append(d.item[:0], make([]byte, itemRoom)...) }

func (d *dumper) number(n uint64) { d.item = binary.AppendUvarint(d.item, n) }

func (d *dumper) signed(n int64) { d.item = binary.AppendVarint(d.item, n) }

func (d *dumper) text(s string) {
	d.number(uint64(len(s)))
	d.item = append(d.item, s...)
}

// end gives an item away.
func (d *dumper) end(kind byte) error {
	if d.stop != nil && d.stop.Stopped() {
		return ErrStopped
	}
	d.count++
	var most [itemRoom]byte
	head := binary.AppendUvarint(append(most[:0], kind), uint64(len(d.item)-itemRoom))
	start := itemRoom - len(head)
	copy(d.item[start:], head)
	return d.to(d.item[start:])
}

func (d *dumper) head() error {
	dumps := wire.Position(0)
	err := d.c.each(`SELECT dumps FROM "$state"`, func(r *sqlite3.Stmt) { dumps = wire.Position(r.ColumnInt64(0)) })
	if err != nil {
		return err
	}
	last, kept, err := d.c.lastEntry(func(e committed) bool { return e.position <= d.at })
	switch {
	case err != nil:
		return err
	case d.at < kept:
		return fmt.Errorf("%w: it is kept from position %d on", ErrForgotten, kept)
	case d.at < dumps:
		return fmt.Errorf("%w: before position %d not all of it was kept", ErrForgotten, dumps)
	}
	d.begin()
	for _, n := range []int64{dumpFormat, last.number + 1, int64(last.position), int64(last.time)} {
		d.number(uint64(n))
	}
	return d.end(headItem)
}

// thing dumps a table with its rows, an index or a view.
func (d *dumper) thing(t *dumped) error {
	d.begin()
	d.text(t.name)
	d.text(t.sql)
	d.number(uint64(t.from))
	d.number(uint64(t.rank))
	switch t.kind {
	case "view":
		return d.end(viewItem)
	case "index":
		d.text(t.table)
		return d.end(indexItem)
	}
	seq, err := d.c.sequence(&t.thing, d.at)
	if err != nil {
		return err
	}
	d.number(uint64(seq))
	if err := d.end(tableItem); err != nil {
		return err
	}
	s, err := d.shape(&t.thing)
	if err != nil {
		return err
	}
	return d.rows(t, &s)
}

// shape returns the shape that a table had, which may be no more.
func (d *dumper) shape(t *thing) (s shape, err error) {
	if err := d.c.exec("%s", "CREATE TEMP TABLE "+strings.TrimPrefix(t.sql, "CREATE TABLE ")); err != nil {
		return s, err
	}
	if s, err = d.c.shapeIn("temp", t.name); err != nil {
		return s, err
	}
	return s, d.c.exec("DROP TABLE temp.%s", quote(t.name))
}

// stored returns the columns of which a dump has values.
func (s *shape) stored() (names []string, computed []bool) {
	for _, x := range s.columns {
		if x.generated == 0 || x.generated == storedColumn {
			names, computed = append(names, quote(x.name)), append(computed, x.generated != 0)
		}
	}
	return names, computed
}

// rows dumps a table's rows. Those that are there still are read in the order of their keys; of those that have gone into the history
// only the keys are sorted, so that no more of them has to be held in memory.
func (d *dumper) rows(t *dumped, s *shape) error {
	h, err := d.c.shapeOf(fmt.Sprintf("$h%d", t.generation))
	if err != nil {
		return err
	}
	if h.row == "" {
		return fmt.Errorf("%w of table %s: it has columns named rowid, _rowid_ and oid", ErrForgotten, t.name)
	}
	_, keys := s.keys()
	past := keys
	switch { // the rows' ids of the history are others
	case s.hidden():
		past = []string{`"$row"`}
	case s.alias != "":
		past = []string{quote(s.alias)}
	}
	names, _ := s.stored()
	order := make([]string, len(keys))
	nulls := make([]string, len(names))
	for i := range order {
		order[i] = fmt.Sprint(i + 1)
	}
	for i := range nulls {
		nulls[i] = "NULL"
	}
	query := fmt.Sprintf(`SELECT %s, %s, %s FROM main."$h%d" WHERE "$from" <= %d AND "$to" > %[5]d`,
		strings.Join(past, ", "), h.row, strings.Join(nulls, ", "), t.generation, d.at)
	if t.live {
		query = fmt.Sprintf(`SELECT %s, NULL, %s FROM main.%s AS t CROSS JOIN main."$b%d" AS b ON %s WHERE "$born" <= %d UNION ALL %s`,
			"t."+strings.Join(keys, ", t."), "t."+strings.Join(names, ", t."), quote(t.name), t.generation, s.match("b.", "t"), d.at, query)
	}
	d.c.own = true
	gone, _, err := d.c.db.Prepare(fmt.Sprintf(`SELECT %s FROM main."$h%d" WHERE %s = $1`, strings.Join(names, ", "), t.generation, h.row))
	if err != nil {
		return err
	}
	defer gone.Close()
	rows, _, err := d.c.db.Prepare(query + " ORDER BY " + strings.Join(order, ", "))
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Step() {
		if err := d.row(s, rows, gone, len(keys), len(names)); err != nil {
			return err
		}
	}
	return rows.Err()
}

// row dumps a row: one that is there, or has gone into the history.
func (d *dumper) row(s *shape, rows, gone *sqlite3.Stmt, keys, columns int) error {
	from, first := rows, keys+1
	if rows.ColumnType(keys) != sqlite3.NULL {
		if err := errors.Join(gone.Reset(), gone.BindInt64(1, rows.ColumnInt64(keys))); err != nil {
			return err
		}
		if !gone.Step() {
			return fmt.Errorf("a row of the history is not there: %w", gone.Err())
		}
		from, first = gone, 0
	}
	d.begin()
	if s.hidden() {
		d.signed(rows.ColumnInt64(0))
	}
	for i := range columns {
		d.item = appendValue(d.item, from, first+i)
	}
	return d.end(rowItem)
}

// appendValue appends what stands in a column of the present row.
func appendValue(p []byte, r *sqlite3.Stmt, i int) []byte {
	bytes := func(kind byte, raw []byte) []byte {
		return append(binary.AppendUvarint(append(p, kind), uint64(len(raw))), raw...)
	}
	switch r.ColumnType(i) {
	case sqlite3.INTEGER:
		return binary.AppendVarint(append(p, integerValue), r.ColumnInt64(i))
	case sqlite3.FLOAT:
		return binary.LittleEndian.AppendUint64(append(p, realValue), math.Float64bits(r.ColumnFloat(i)))
	case sqlite3.TEXT:
		return bytes(textValue, r.ColumnRawText(i))
	case sqlite3.BLOB:
		return bytes(blobValue, r.ColumnRawBlob(i))
	}
	return append(p, nullValue)
}
