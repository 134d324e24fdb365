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

// ErrNoDump says that something is no dump, or one that this program cannot load.
var ErrNoDump = errors.New("it is no dump of tables that can be loaded")

// Load makes tables of a dump, which go on as those would that it was taken of. Their history begins with its last entry. Pieces visits
// the dump piece by piece, wherever that is cut.
func Load(pieces func(visit func([]byte) error) error) (*Projection, error) {
	p, err := Open()
	if err != nil {
		return nil, err
	}
	l := loader{p: p, w: p.writer}
	if err := l.load(pieces); err != nil {
		p.Close()
		return nil, fmt.Errorf("load tables: %w", err)
	}
	return p, nil
}

// maxItem is more than any item of a dump takes: SQLite holds a row to maxValue.
const maxItem = 2 * maxValue

// maxThings is more than any database has of tables, indexes and views.
const maxThings = 1 << 31

// loader is a dump that is being loaded.
type loader struct {
	p     *Projection
	w     *conn
	rest  []byte // of the dump, that is no whole item
	count uint64 // of items
	ended bool

	entries  uint64
	position wire.Position
	now      uint64

	table    *thing // whose rows follow; nil without one
	seq      int64  // what AUTOINCREMENT has counted up to in it
	shape    shape
	computed []bool // by column of the dump's rows
	insert   *sqlite3.Stmt
}

// load is all. SQLite's library panics where it runs out of memory.
func (l *loader) load(pieces func(visit func([]byte) error) error) (err error) {
	defer func() {
		if why := recover(); why != nil {
			err = errors.New(broken(why).Message)
		}
	}()
	return l.all(pieces)
}

func (l *loader) all(pieces func(visit func([]byte) error) error) error {
	if err := l.w.exec("PRAGMA foreign_keys = OFF; PRAGMA ignore_check_constraints = ON"); err != nil {
		return err
	}
	if err := l.w.do(beginWriting); err != nil {
		return err
	}
	defer func() { l.insert.Close() }()
	if err := pieces(l.take); err != nil {
		return err
	}
	if !l.ended || len(l.rest) > 0 {
		return fmt.Errorf("%w: it is cut short", ErrNoDump)
	}
	if err := l.finish(); err != nil {
		return err
	}
	if err := l.w.do(commit); err != nil {
		return err
	}
	if err := l.w.exec("PRAGMA foreign_keys = ON; PRAGMA ignore_check_constraints = OFF"); err != nil {
		return err
	}
	return l.p.recall()
}

// take takes up the items that are whole.
func (l *loader) take(piece []byte) error {
	p := piece
	if len(l.rest) > 0 {
		l.rest = append(l.rest, piece...)
		p = l.rest
	}
	for len(p) > 0 {
		n, size := binary.Uvarint(p[1:])
		if size < 0 || n > maxItem {
			return fmt.Errorf("%w: an item is too long", ErrNoDump)
		}
		if size == 0 || uint64(len(p)-1-size) < n {
			break
		}
		whole := 1 + size + int(n)
		if err := l.item(p[0], p[1+size:whole]); err != nil {
			return fmt.Errorf("item %d: %w", l.count, err)
		}
		l.count++
		p = p[whole:]
	}
	l.rest = append(l.rest[:0], p...)
	return nil
}

// item takes up an item.
func (l *loader) item(kind byte, payload []byte) error {
	d := undumper{p: payload}
	if (kind == headItem) != (l.count == 0) || l.ended {
		return fmt.Errorf("%w: an item of kind %d is out of place", ErrNoDump, kind)
	}
	if kind != rowItem {
		if err := l.endTable(); err != nil {
			return err
		}
	}
	var err error
	switch kind {
	case headItem:
		format := d.number()
		l.entries, l.position, l.now = d.number(), wire.Position(d.number()), d.number()
		if format != dumpFormat {
			return fmt.Errorf("%w: its format is %d, and this program knows %d alone", ErrNoDump, format, dumpFormat)
		}
		if l.entries > math.MaxInt64 || (l.entries == 0) != (l.position == 0) {
			d.bad = true
		}
		l.w.position, l.w.now = l.position, wire.Time(l.now)
	case tableItem, indexItem, viewItem:
		err = l.thing(kind, &d)
	case rowItem:
		err = l.row(&d)
	case endItem:
		l.ended = true
		d.bad = d.number() != l.count || d.bad
	default:
		d.bad = true
	}
	if err == nil && (d.bad || len(d.p) > 0) {
		err = fmt.Errorf("%w: an item of kind %d makes no sense", ErrNoDump, kind)
	}
	return err
}

// thing makes a table, an index or a view.
func (l *loader) thing(kind byte, d *undumper) error {
	t := &thing{name: d.text(), sql: d.text()}
	from := d.number()
	t.id = int64(d.number())
	t.table = t.name
	switch kind {
	case tableItem:
		t.kind, l.seq = "table", int64(d.number())
	case indexItem:
		t.kind, t.table = "index", d.text()
	default:
		t.kind = "view"
	}
	if d.bad || !strings.HasPrefix(t.sql, "CREATE ") || system(t.name) || reserved(t.name) || t.id < 1 || t.id > maxThings {
		return fmt.Errorf("%w: %s %q", ErrNoDump, t.kind, t.name)
	}
	if err := l.make(t); err != nil {
		return fmt.Errorf("%w: %s %q: %w", ErrNoDump, t.kind, t.name, err)
	}
	l.p.last = max(l.p.last, t.id)
	if kind == tableItem {
		t.generation = t.id
		if err := l.beginTable(t); err != nil {
			return err
		}
	}
	return l.w.exec(`INSERT INTO "$schema" VALUES(%d, %s, %s, %s, %s, %d, %d, NULL, %d)`,
		t.id, quoteText(t.name), quoteText(t.kind), quoteText(t.table), quoteText(t.sql), t.generation, from, t.place)
}

// make carries out the statement that makes a thing, as a client's, and looks whether it has made that.
func (l *loader) make(t *thing) error {
	w := l.w
	w.own, w.verb, w.denied = false, "CREATE", ""
	s, tail, err := w.db.Prepare(t.sql)
	if err == nil && strings.TrimSpace(tail) != "" {
		err = errors.New("there are two statements")
	}
	if err == nil {
		err = s.Exec()
	}
	s.Close() // an error was that of what was done last
	w.own = true
	if err != nil {
		return err
	}
	err = w.each(fmt.Sprintf("SELECT rowid FROM sqlite_schema WHERE name = %s AND type = %s AND tbl_name = %s AND sql = %s",
		quoteText(t.name), quoteText(t.kind), quoteText(t.table), quoteText(t.sql)), func(r *sqlite3.Stmt) { t.place = r.ColumnInt64(0) })
	if err == nil && t.place == 0 {
		err = errors.New("its statement makes something else")
	}
	return err
}

// beginTable gets ready for a table's rows.
func (l *loader) beginTable(t *thing) (err error) {
	if l.shape, err = l.w.shapeOf(t.name); err != nil {
		return err
	}
	if e := l.shape.check(); e != nil {
		return fmt.Errorf("%w: %s", ErrNoDump, e.Message)
	}
	l.table = t
	var names []string
	var into, back []string
	names, l.computed = l.shape.stored()
	if l.shape.hidden() {
		into = append(into, l.shape.row)
	}
	for i, name := range names {
		if l.computed[i] {
			back = append(back, name)
		} else {
			into = append(into, name)
		}
	}
	text := fmt.Sprintf("INSERT INTO main.%s(%s) VALUES(%s)", quote(t.name), strings.Join(into, ", "), strings.TrimSuffix(strings.Repeat("?, ", len(into)), ", "))
	if len(back) > 0 {
		text += " RETURNING " + strings.Join(back, ", ")
	}
	l.w.own = true
	l.insert, _, err = l.w.db.Prepare(text)
	return err
}

// row adds a row to the table.
func (l *loader) row(d *undumper) error {
	if l.table == nil {
		return fmt.Errorf("%w: a row has no table", ErrNoDump)
	}
	if err := l.insert.Reset(); err != nil {
		return err
	}
	n := 0
	if l.shape.hidden() {
		n++
		if err := l.insert.BindInt64(n, d.signed()); err != nil {
			return err
		}
	}
	var want []byte // of what is computed
	for _, computed := range l.computed {
		if computed {
			want = append(want, d.raw()...)
			continue
		}
		n++
		if err := d.bind(l.insert, n); err != nil {
			return err
		}
	}
	if d.bad {
		return nil // it is said where the item ends
	}
	var got []byte
	for l.insert.Step() {
		for i := range l.insert.ColumnCount() {
			got = appendValue(got, l.insert, i)
		}
	}
	if err := l.insert.Err(); err != nil {
		return fmt.Errorf("%w: a row of %s: %w", ErrNoDump, l.table.name, err)
	}
	if string(got) != string(want) {
		return fmt.Errorf("%w: a column of %s that is computed from others is another one now", ErrNoDump, l.table.name)
	}
	return nil
}

// endTable begins the history of the table that is loaded.
func (l *loader) endTable() error {
	t := l.table
	if t == nil {
		return nil
	}
	l.insert.Close() // an error was that of what was done last
	l.insert, l.table = nil, nil
	if e := l.w.begin(t); e != nil {
		return fmt.Errorf("%w: table %s: %s", ErrNoDump, t.name, e.Message)
	}
	if l.seq == 0 {
		return nil
	}
	return l.w.exec(`DELETE FROM sqlite_sequence WHERE name = %[1]s; INSERT INTO sqlite_sequence VALUES(%[1]s, %[2]d);
INSERT INTO "$sequences" VALUES(%[3]d, %[4]d, %[2]d)`, quoteText(t.name), l.seq, t.generation, l.position)
}

// finish notes what the last entry was.
func (l *loader) finish() error {
	if l.entries > 0 {
		if err := l.p.firstTime(committed{int64(l.entries) - 1, l.position, wire.Time(l.now)}); err != nil {
			return err
		}
		if err := l.p.settleTimes(); err != nil {
			return err
		}
	}
	return l.w.exec(`UPDATE "$state" SET last = %d, kept = %d, dumps = %[2]d`, l.p.last, l.position)
}

// undumper reads what is in an item.
type undumper struct {
	p   []byte
	bad bool // there was not what was to be
}

func (d *undumper) take(n uint64) []byte {
	if n > uint64(len(d.p)) {
		d.bad, n = true, uint64(len(d.p))
	}
	p := d.p[:n]
	d.p = d.p[n:]
	return p
}

func (d *undumper) number() uint64 {
	n, size := binary.Uvarint(d.p)
	d.bad = d.bad || size <= 0
	d.take(uint64(max(size, 0)))
	return n
}

func (d *undumper) signed() int64 {
	n, size := binary.Varint(d.p)
	d.bad = d.bad || size <= 0
	d.take(uint64(max(size, 0)))
	return n
}

func (d *undumper) text() string { return string(d.take(d.number())) }

// raw returns a value as it stands there.
func (d *undumper) raw() []byte {
	before := d.p
	switch kind := d.kind(); kind {
	case integerValue:
		d.signed()
	case realValue:
		d.take(8)
	case textValue, blobValue:
		d.take(d.number())
	}
	return before[:len(before)-len(d.p)]
}

func (d *undumper) kind() byte {
	p := d.take(1)
	if len(p) == 0 || p[0] > blobValue {
		d.bad = true
		return nullValue
	}
	return p[0]
}

// bind gives a statement a value.
func (d *undumper) bind(s *sqlite3.Stmt, i int) error {
	switch d.kind() {
	case integerValue:
		return s.BindInt64(i, d.signed())
	case realValue:
		if p := d.take(8); len(p) == 8 {
			return s.BindFloat(i, math.Float64frombits(binary.LittleEndian.Uint64(p)))
		}
	case textValue:
		return s.BindText(i, d.text())
	case blobValue:
		p := d.take(d.number())
		if len(p) == 0 {
			return s.BindZeroBlob(i, 0)
		}
		return s.BindBlob(i, p)
	}
	return s.BindNull(i)
}
