package proof_test

import (
	"strings"
	"testing"

	"github.com/kimberlitedb/kimberlite-go/engine/proof"
	"github.com/kimberlitedb/kimberlite-go/engine/seg"
)

// Hashing takes no memory for each event: a checkpoint may have millions.
func TestLeavesTakeNoMemory(t *testing.T) {
	data := make([]string, 100)
	for i := range data {
		data[i] = strings.Repeat("x", 200)
	}
	r := record(seg.KindAppend, orders, 0, 1, data...)
	var l proof.Leaves
	var tree proof.Tree
	dst := make([]proof.Hash, 0, 100)
	grown := func() {
		dst, _ = l.Of(dst[:0], r, testAudit)
		for _, leaf := range dst {
			tree.Append(leaf)
		}
	}
	for range 100 {
		grown()
	}
	if n := testing.AllocsPerRun(20, grown); n > 3 {
		t.Errorf("%v allocations for 100 events", n)
	}
}
