package sql

import (
	"fmt"
	"testing"

	"github.com/kimberlitedb/kimberlite-go/wire"
)

// timesTables returns tables with so many entries. Entry i is at position 3·i+3, and was committed at 10·i+10.
func timesTables(t *testing.T, n int) *Projection {
	p, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	for i := range n {
		text := "INSERT INTO t VALUES (1)"
		if i == 0 {
			text = "CREATE TABLE t (n)"
		}
		apply(t, p, &Entry{Position: wire.Position(3*i + 3), Time: wire.Time(10*i + 10), SQL: text, Limits: Limits{Steps: 1e6, Pages: 1000, Bytes: 1000}})
	}
	return p
}

func apply(t *testing.T, p *Projection, e *Entry) {
	t.Helper()
	if o, err := p.Apply([]*Entry{e}); err != nil || o[0].Err != nil {
		t.Fatal(err, o)
	}
}

// taken returns tables taken up from a snapshot of others.
func taken(t *testing.T, p *Projection) *Projection {
	var pages Pages
	for page := range p.Image().Pages() {
		if err := pages.Add(page); err != nil {
			t.Fatal(err)
		}
	}
	q, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(q.Close)
	if err := q.Restore(&pages); err != nil {
		t.Fatal(err)
	}
	return q
}

// checkTimes asks for every instant, where the first entry that can be asked for is one of those that there were.
func checkTimes(t *testing.T, p *Projection, first, n int) {
	t.Helper()
	if p.next != int64(n) || p.position != wire.Position(3*n) {
		t.Errorf("there were %d entries up to position %d", p.next, p.position)
	}
	for when := range 10*n + 20 {
		want := min(when/10, n)
		if want <= first {
			want = 0
		}
		if at, err := p.before(wire.Time(when)); err != nil || at != wire.Position(3*want) {
			t.Fatalf("of %d entries from number %d on: before %d is position %d, %v", n, first, when, at, err)
		}
	}
}

// However many rows the times take up, and however little the last has, they are found, before and after a snapshot.
func TestTimesInRowsAreFound(t *testing.T) {
	for _, n := range []int{1, 2, timesAtOnce - 1, timesAtOnce, timesAtOnce + 1, 4 * timesAtOnce, 5*timesAtOnce + 7} {
		p := timesTables(t, n)
		checkTimes(t, p, 0, n)
		q := taken(t, p)
		checkTimes(t, q, 0, n)
		apply(t, q, &Entry{Position: wire.Position(3*n + 3), Time: wire.Time(10*n + 10), SQL: "DROP TABLE IF EXISTS u", Limits: Limits{Steps: 1e6, Pages: 1000, Bytes: 1000}})
		checkTimes(t, q, 0, n+1)
	}
}

// A snapshot with a row for each entry, as the first programs with snapshots wrote them, is taken up, also where the history begins
// amid what is a row now.
func TestTimesOfFormerSnapshotsAreGathered(t *testing.T) {
	for _, c := range []struct{ first, n int }{{0, 1}, {0, 200}, {1, 3}, {timesAtOnce - 1, 100}, {timesAtOnce, 100}, {timesAtOnce + 20, 2*timesAtOnce + 5}} {
		p := timesTables(t, c.n)
		if err := p.writer.exec(`DROP TABLE "$times"; CREATE TABLE "$times"(entry INTEGER PRIMARY KEY, position INTEGER, time INTEGER)`); err != nil {
			t.Fatal(err)
		}
		for i := c.first; i < c.n; i++ {
			if err := p.writer.exec(`INSERT INTO "$times" VALUES (%d, %d, %d)`, i, 3*i+3, 10*i+10); err != nil {
				t.Fatal(err)
			}
		}
		if c.first > 0 {
			if err := p.writer.exec(`UPDATE "$state" SET kept = %d`, 3*c.first+3); err != nil {
				t.Fatal(err)
			}
		}
		q := taken(t, p)
		checkTimes(t, q, c.first, c.n)
		checkTimes(t, taken(t, q), c.first, c.n)
		if c.first == 0 {
			same(t, timesTables(t, c.n), q)
		}
	}
}

func same(t *testing.T, a, b *Projection) {
	t.Helper()
	x, err := a.Hash()
	if err != nil {
		t.Fatal(err)
	}
	if y, err := b.Hash(); err != nil || x != y {
		t.Errorf("%x, and %x, %v", x, y, err)
	}
}

// Whether entries come one by one or together, each takes its pages at the same entry: the database is the same to the byte.
func TestGroupsTakeTheSamePages(t *testing.T) {
	full := 0
	build := func(most int) (pages [][]byte) {
		p, err := Open()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(p.Close)
		var group []*Entry
		for i := range 500 {
			text := fmt.Sprintf("INSERT INTO t VALUES (%d, hex(zeroblob(200)))", i)
			switch {
			case i == 0:
				text = "CREATE TABLE t (id INTEGER PRIMARY KEY, s TEXT)"
			case i%20 == 0:
				text = "INSERT INTO t VALUES (1, 'again')"
			case i%71 == 0:
				text = "INSERT OR ROLLBACK INTO t VALUES (1, 'again')"
			}
			group = append(group, &Entry{Position: wire.Position(i + 1), Time: wire.Time(i + 1), SQL: text, Limits: Limits{Steps: 1e6, Pages: 50, Bytes: 1000}})
			if len(group) >= most || i == 499 {
				outcomes, err := p.Apply(group)
				if err != nil {
					t.Fatal(err)
				}
				for _, o := range outcomes {
					if o.Err != nil && o.Err.Code == wire.QuotaExceeded {
						full++
					}
				}
				group = group[:0]
			}
		}
		for page := range p.Image().Pages() {
			pages = append(pages, append([]byte(nil), page...))
		}
		return pages
	}
	one := build(1)
	for _, most := range []int{2, 63, 64, 500} {
		other := build(most)
		if len(one) != len(other) {
			t.Errorf("%d pages, and %d in groups of %d", len(one), len(other), most)
			continue
		}
		for i := range one {
			if i > 0 && string(one[i]) != string(other[i]) { // the first page counts transactions
				t.Errorf("page %d differs in groups of %d", i, most)
			}
		}
	}
	if full == 0 {
		t.Error("the limit of pages was never met")
	}
}
