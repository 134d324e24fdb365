package fuzz

import (
	"bytes"
	"strings"
	"testing"

	"github.com/kimberlitedb/kimberlite-go/engine/sql"
)

// FuzzScript: scripts are cut by the rules by which statements are parsed, so that no piece has a second statement.
func FuzzScript(f *testing.F) {
	f.Add("SELECT 'a;b'; -- c;\nSELECT 2")
	f.Fuzz(func(t *testing.T, script string) {
		statement, rest, ended := sql.Cut(script)
		if len(statement)+len(rest) > len(script) || !strings.HasSuffix(script, rest) || !ended && rest != "" {
			t.Fatalf("%q: %q, %q, %v", script, statement, rest, ended)
		}
		if _, e := sql.Parse(statement); e != nil && strings.Contains(e.Message, "a second statement") {
			t.Fatalf("%q: %q: %v", script, statement, e)
		}
	})
}

// FuzzEntry: whatever passes for an entry of $sql encodes to an event that means the same.
func FuzzEntry(f *testing.F) {
	f.Add([]byte(`{"position":7,"sql":"INSERT INTO t VALUES ($1, $2, $3)","params":[1,"a",{"double":"1.5"}],"makes":"t","key":"000102030405060708090a0b0c0d0e0f","limits":{"steps":5,"pages":6,"bytes":7}}`))
	f.Add([]byte(`{"position":8,"makes":["t","v"],"batch":[{"sql":"CREATE TABLE t (a)","makes":"t"},{"sql":"INSERT INTO t VALUES ($1)","params":[7]},{"sql":"CREATE VIEW v AS SELECT * FROM t","makes":"v"}],"limits":{"steps":5,"pages":6,"bytes":7}}`))
	f.Add([]byte(`{"makes":[],"batch":[{"sql":"DELETE FROM t"}],"seed":"000102030405060708090a0b0c0d0e0f"}`))
	f.Add([]byte(`{"params":[null,true,{"timestamp":1},{"bytes":"AP8="}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		e, err := sql.Decode(data, 9)
		if err != nil {
			return
		}
		once := e.Encode()
		again, err := sql.Decode(once, 9)
		if err != nil {
			t.Fatalf("%s: %v", once, err)
		}
		if twice := again.Encode(); !bytes.Equal(once, twice) || e.Content() != again.Content() {
			t.Fatalf("%s, and then %s", once, twice)
		}
	})
}
