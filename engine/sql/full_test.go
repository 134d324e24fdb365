package sql_test

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/kimberlitedb/kimberlite-go/engine/sql"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// What meets the limit of pages must do so again, however many entries are carried out at a time.
func TestFullTablesAreFullAgain(t *testing.T) {
	if raced {
		t.Skip("nothing runs at the same time, and it would take long")
	}
	full := 0
	rapid.Check(t, func(t *rapid.T) {
		var entries []*sql.Entry
		pages := uint64(rapid.IntRange(25, 60).Draw(t, "pages"))
		add := func(limit uint64, text string, args ...any) {
			n := len(entries) + 1
			entries = append(entries, &sql.Entry{Position: wire.Position(n), Time: wire.Time(n), SQL: fmt.Sprintf(text, args...), Limits: sql.Limits{Steps: 40_000, Pages: limit, Bytes: 1 << 20}})
		}
		add(pages, `CREATE TABLE h (id INTEGER PRIMARY KEY, s TEXT)`)
		for i := range rapid.IntRange(1, 40).Draw(t, "statements") {
			switch n := rapid.IntRange(0, 9).Draw(t, "kind"); {
			case i < int(pages)/5 || n < 4:
				add(pages, `INSERT INTO h WITH RECURSIVE r(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM r WHERE n < 99) SELECT %d + n, printf('%%.90c', 'x') FROM r`, i*100)
			case n < 5:
				add(pages, `INSERT INTO h WITH RECURSIVE r(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM r WHERE n < 9999) SELECT %d + n, 'x' FROM r`, i*100)
			default:
				add(pages+16, `DELETE FROM h WHERE id >= %d AND id < %[1]d + 200 AND id %% 10 = %d`, n%12*100, rapid.IntRange(0, 9).Draw(t, "digit"))
			}
		}
		one, many := open(t), open(t)
		defer one.Close()
		defer many.Close()
		for left := entries; len(left) > 0; {
			n := rapid.IntRange(1, len(left)).Draw(t, "together")
			together, err := many.Apply(left[:n])
			if err != nil {
				t.Fatal(err)
			}
			for i, e := range left[:n] {
				alone := apply(t, one, e)[0]
				if alone.Err != nil && alone.Err.Code == wire.QuotaExceeded {
					full++
				}
				if alone.Digest != together[i].Digest {
					t.Fatalf("position %d, %.20s: by itself %d %v, together with others %d %v", e.Position, e.SQL, alone.Affected, alone.Err, together[i].Affected, together[i].Err)
				}
			}
			left = left[n:]
		}
	})
	if full == 0 {
		t.Error("no statement has met the limit")
	}
}
