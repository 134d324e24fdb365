package proof_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/kimberlitedb/kimberlite-go/engine/proof"
	"github.com/kimberlitedb/kimberlite-go/engine/seg"
)

// BenchmarkLeaves hashes events of 200 bytes, and grows their tree.
func BenchmarkLeaves(b *testing.B) {
	for _, n := range []int{1, 100} {
		b.Run(fmt.Sprintf("append=%d", n), func(b *testing.B) {
			data := make([]string, n)
			for i := range data {
				data[i] = strings.Repeat(string(rune('a'+i%26)), 200)
			}
			r := record(seg.KindAppend, orders, 0, 1, data...)
			var l proof.Leaves
			var tree proof.Tree
			var leaves []proof.Hash
			var err error
			for b.Loop() {
				if leaves, err = l.Of(leaves[:0], r, testAudit); err != nil {
					b.Fatal(err)
				}
				for i := range leaves {
					tree.Append(leaves[i])
				}
			}
			b.ReportMetric(float64(b.N*n)/b.Elapsed().Seconds(), "leaves/s")
			b.ReportMetric(0, "ns/op")
		})
	}
}
