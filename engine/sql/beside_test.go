package sql_test

import (
	"bytes"
	"fmt"
	"sync"
	"testing"

	"github.com/kimberlitedb/kimberlite-go/engine/sql"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// Queries that run beside statements see what all statements up to one position have made, whole, and never an earlier
// position than the query before.
func TestQueriesBesideStatements(t *testing.T) {
	const accounts, transfers, group = 20, 600, 7
	p := open(t)
	defer p.Close()
	begin := []*sql.Entry{entry(1, "CREATE TABLE accounts (id INTEGER PRIMARY KEY, balance INTEGER)")}
	for i := range accounts {
		begin = append(begin, entry(i+2, fmt.Sprintf("INSERT INTO accounts VALUES (%d, 100)", i)))
	}
	if _, err := p.Apply(begin); err != nil {
		t.Fatal(err)
	}
	first := wire.Position(len(begin))
	var readers sync.WaitGroup
	done := make(chan struct{})
	for k := range 3 {
		readers.Go(func() {
			last := first
			for i := 0; ; i++ {
				select {
				case <-done:
					return
				default:
				}
				at := wire.Option[wire.Position]{}
				if i%3 == k { // a past one
					at = wire.Some(first + (last-first)/2)
				}
				r, e := ask(p, "SELECT sum(balance), count(*) FROM accounts", at, 0)
				switch {
				case e != nil:
					t.Errorf("as of %v: %v", at, e)
					return
				case r.Rows[0][0].Int != accounts*100, r.Rows[0][1].Int != accounts, !at.Set && r.Position < last:
					t.Errorf("as of position %d, behind %d: %v", r.Position, last, r.Rows[0])
					return
				case !at.Set:
					last = r.Position
				}
			}
		})
	}
	var batch []*sql.Entry
	for i := range transfers {
		from, to := i%accounts, (i*7+3)%accounts
		text := fmt.Sprintf("UPDATE accounts SET balance = balance + CASE id WHEN %d THEN -1 ELSE 1 END WHERE id IN (%d, %d) AND %d <> %d", from, from, to, from, to)
		batch = append(batch, entry(int(first)+1+i, text))
		if i%group == 0 || i == transfers-1 {
			if _, err := p.Apply(batch); err != nil {
				t.Fatal(err)
			}
			batch = batch[:0]
		}
	}
	close(done)
	readers.Wait()
}

// A dump that is taken beside statements is that of its position.
func TestDumpsBesideStatements(t *testing.T) {
	p := open(t)
	defer p.Close()
	begin := []*sql.Entry{entry(1, "CREATE TABLE t (id INTEGER PRIMARY KEY AUTOINCREMENT, n)")}
	for i := range 100 {
		begin = append(begin, entry(i+2, fmt.Sprintf("INSERT INTO t (n) VALUES (%d)", i)))
	}
	if _, err := p.Apply(begin); err != nil {
		t.Fatal(err)
	}
	want := dump(t, p, 60)
	var dumps sync.WaitGroup
	for range 2 {
		dumps.Go(func() {
			for range 15 {
				if got := dump(t, p, 60); !bytes.Equal(got, want) {
					t.Errorf("the dump is %.200q, and was %.200q", got, want)
					return
				}
			}
		})
	}
	for i := range 100 {
		if _, err := p.Apply([]*sql.Entry{entry(len(begin)+1+i, fmt.Sprintf("UPDATE t SET n = n + 1 WHERE id %% 7 = %d", i%7))}); err != nil {
			t.Error(err)
		}
	}
	dumps.Wait()
}
