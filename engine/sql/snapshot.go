package sql

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"iter"
	"strings"

	"github.com/ncruces/go-sqlite3"
	"github.com/ncruces/go-sqlite3/vfs/mvcc"

	"github.com/kimberlitedb/kimberlite-go/wire"
)

// PageSize is the size of a page of a projection's database, in bytes.
const PageSize = 4096

// Image is a projection's database as it was at a moment. It takes memory only for what has changed since.
type Image struct {
	pages mvcc.Snapshot
	count int
}

// Image returns the database as it is. No Apply may be under way.
func (p *Projection) Image() *Image {
	im := &Image{pages: mvcc.TakeSnapshot(p.name)}
	if last := im.pages.Max(); last != nil {
		im.count = int((last.Key() + int64(len(last.Value())) + PageSize - 1) / PageSize)
	}
	return im
}

// Count returns how many pages there are.
func (im *Image) Count() int { return im.count }

// Library returns the version of SQLite that wrote to the database last, as the database has it.
func (im *Image) Library() uint32 {
	page := make([]byte, PageSize)
	im.read(page, 0)
	return binary.BigEndian.Uint32(page[96:])
}

// Pages returns the pages in order, each valid until the next. What they have deleted is zeros.
func (im *Image) Pages() iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		page := make([]byte, PageSize)
		for i := range im.count {
			im.read(page, int64(i)*PageSize)
			start := 0
			if i == 0 {
				start = 100
			}
			clearGap(page, start)
			if !yield(page) {
				return
			}
		}
	}
}

// read fills a page from an offset of the database. What is not there is zeros.
func (im *Image) read(page []byte, off int64) {
	clear(page)
	for k, v := range im.pages.AscendFloor(off) {
		switch {
		case k >= off+int64(len(page)):
			return
		case k >= off:
			copy(page[k-off:], v)
		case off-k < int64(len(v)):
			copy(page, v[off-k:])
		}
	}
}

// clearGap clears what lies between the cell pointers of a page of a b-tree and its cells. SQLite overwrites what it deletes,
// but for copies that it leaves there when it spreads a page's cells over its neighbours. Other pages begin with the number
// of a page, which is too small to be taken for a b-tree's kind.
func clearGap(page []byte, start int) {
	head := page[start:]
	pointers := start + 8
	switch head[0] {
	case 2, 5:
		pointers = start + 12
	case 10, 13:
	default:
		return
	}
	pointers += 2 * int(binary.BigEndian.Uint16(head[3:]))
	content := int(binary.BigEndian.Uint16(head[5:]))
	if content == 0 {
		content = 65536
	}
	if pointers < content && content <= len(page) {
		clear(page[pointers:content])
	}
}

// Pages gathers the pages of a database that is to be restored.
type Pages struct {
	tree  mvcc.Snapshot
	count int64
}

// Add adds the next page, which it copies.
func (b *Pages) Add(page []byte) error {
	if len(page) != PageSize {
		return fmt.Errorf("a page has %d bytes instead of %d", len(page), PageSize)
	}
	b.tree.Tree = b.tree.Put(b.count*PageSize, string(page))
	b.count++
	return nil
}

// Restore puts a database in the place of the projection's own. Nothing may be under way, and nothing have been applied or
// asked. After an error only Restore may be called, or Close.
func (p *Projection) Restore(b *Pages) (err error) {
	defer func() {
		if why := recover(); why != nil {
			err = fmt.Errorf("restore tables: %v", why)
		}
	}()
	if err := p.replace(b.tree); err != nil {
		return fmt.Errorf("restore tables: %w", err)
	}
	if err := p.recall(); err != nil {
		return fmt.Errorf("restore tables: %w", err)
	}
	return nil
}

// replace opens another database under the projection's name. One without pages is made.
func (p *Projection) replace(pages mvcc.Snapshot) (err error) {
	if p.writer != nil {
		p.writer.close()
		p.writer = nil
	}
	p.things, p.last, p.next, p.times, p.pages, p.position, p.mentions, p.counts, p.counted = map[string]*thing{}, 0, 0, times{}, 0, 0, nil, false, map[int64]int64{}
	mvcc.Create(p.name, pages)
	if p.writer, err = connect(p.name, true); err == nil && pages.Tree == nil {
		err = p.writer.exec("%s", catalog)
	}
	return err
}

// recall learns from the database what the projection knows of it.
func (p *Projection) recall() error {
	w := p.writer
	known := false
	err := w.each(`SELECT last FROM "$state"`, func(r *sqlite3.Stmt) { p.last, known = r.ColumnInt64(0), true })
	if err == nil && !known {
		err = io.ErrUnexpectedEOF
	}
	if err == nil {
		err = p.recallTimes()
	}
	if err == nil {
		err = w.each(`SELECT id, name, kind, table_name, sql, generation FROM "$schema" WHERE "to" IS NULL`, func(r *sqlite3.Stmt) {
			t := &thing{id: r.ColumnInt64(0), name: r.ColumnText(1), kind: r.ColumnText(2), table: r.ColumnText(3), sql: r.ColumnText(4), generation: r.ColumnInt64(5)}
			p.things[wire.Fold(t.name)] = t
			p.counts = p.counts || t.counts()
		})
	}
	if err == nil {
		err = p.modernize()
	}
	var views []*thing
	if err == nil {
		err = w.each(`SELECT name, sql FROM "$schema" WHERE kind = 'view'`, func(r *sqlite3.Stmt) {
			views = append(views, &thing{name: r.ColumnText(0), sql: r.ColumnText(1)})
		})
	}
	p.publish(views)
	return err
}

// Next returns how many entries were carried out.
func (p *Projection) Next() wire.Offset { return wire.Offset(p.next) }

// Hash identifies everything that the tables hold, their history and what is known of them included: two projections of the same
// entries have the same one, wherever their rows lie. No Apply may be under way.
func (p *Projection) Hash() (sum [sha256.Size]byte, err error) {
	h := sha256.New()
	w := p.writer
	var tables []string
	fmt.Fprintf(h, "%d %d %d %q", p.last, p.next, p.position, p.Names())
	err = w.each(`SELECT type, name, tbl_name, ifnull(sql, '') FROM sqlite_schema ORDER BY type, name`, func(r *sqlite3.Stmt) {
		fmt.Fprintf(h, "%q %q %q %q\n", r.ColumnText(0), r.ColumnText(1), r.ColumnText(2), r.ColumnText(3))
		if r.ColumnText(0) == "table" {
			tables = append(tables, r.ColumnText(1))
		}
	})
	for _, name := range tables {
		if err != nil {
			break
		}
		err = w.sum(name, h)
	}
	h.Sum(sum[:0])
	return sum, err
}

// sum writes the rows of a table, in the order of their keys.
func (c *conn) sum(table string, to io.Writer) error {
	s, err := c.shapeOf(table)
	if err != nil {
		return err
	}
	_, keys := s.keys()
	list := make([]string, len(s.columns), len(s.columns)+len(keys))
	for i, x := range s.columns {
		list[i] = "quote(" + quote(x.name) + ")"
	}
	if !strings.HasPrefix(table, "$h") { // of the history nobody sees the rows' ids
		list = append(list, keys...)
	} else {
		keys = list
	}
	return c.each(fmt.Sprintf("SELECT %s FROM main.%s ORDER BY %s", strings.Join(list, ", "), quote(table), strings.Join(keys, ", ")), func(r *sqlite3.Stmt) {
		fmt.Fprintf(to, "%q", table)
		for i := range list {
			fmt.Fprintf(to, " %q", r.ColumnRawText(i))
		}
	})
}
