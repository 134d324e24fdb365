package bench_test

import (
	"testing"
	"time"

	"github.com/kimberlitedb/kimberlite-go/internal/bench"
)

// A short run of every scenario reports figures that hang together.
func TestEveryScenarioReports(t *testing.T) {
	cfg := bench.Config{Dir: t.TempDir(), Size: 256, Duration: 50 * time.Millisecond, Rounds: 1}
	reported := 0
	err := bench.Run(t.Context(), cfg, func(r bench.Result) {
		reported++
		if r.Events <= 0 || r.CPU <= 0 || r.P99 < r.P50 {
			t.Errorf("%+v", r)
		}
		if r.Batches > 0 && (r.Device <= 0 || r.DiskBytes < 256) {
			t.Errorf("%+v", r)
		}
		t.Logf("%+v", r)
	})
	if err != nil || reported != 6 {
		t.Fatalf("%d reports, %v", reported, err)
	}
}
