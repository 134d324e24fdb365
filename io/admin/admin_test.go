package admin

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kimberlitedb/kimberlite-go/engine"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// source shows one snapshot.
type source struct {
	s       Snapshot
	stopped bool
}

func (s *source) Snapshot() (Snapshot, bool) { return s.s.Clone(), !s.stopped }

func listen(t *testing.T, s *source) *Server {
	t.Helper()
	a, err := Listen("127.0.0.1:0", s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	return a
}

func get(t *testing.T, a *Server, path string) (int, string) {
	t.Helper()
	r, err := http.Get("http://" + a.Addr() + path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r.StatusCode, string(text)
}

// active is a snapshot in which everything has happened.
func active() *source {
	s := &source{}
	s.s.Disconnects = map[string]uint64{"idle": 3}
	s.s.Reply(&engine.Reply{Op: wire.OpAppendEvents, Msg: wire.Response{Body: &wire.AppendEventsReply{}}}, 1500)
	s.s.Reply(&engine.Reply{Op: wire.OpAppendEvents, Msg: wire.Response{Body: &wire.Error{Code: wire.OffsetMismatch}}}, 700)
	var t Timing
	t.Observe(2 * time.Millisecond)
	s.s.Fsync = t.Load()
	s.s.Groups = []engine.GroupStats{{Tenant: 7, Stream: "orders", Group: "billing", Lag: 5, LagSpan: 1500 * engine.Second / 1000, Parked: 2}}
	return s
}

func TestEveryMetricIsDocumentedAndNoOther(t *testing.T) {
	_, text := get(t, listen(t, active()), "/metrics")
	var shown []string
	for line := range strings.Lines(text) {
		if f := strings.Fields(line); f[0] == "#" && f[1] == "TYPE" && strings.HasPrefix(f[2], "kimberlite_") {
			shown = append(shown, f[2])
		}
	}
	p, err := os.ReadFile("../../docs/OPERATIONS.md")
	if err != nil {
		t.Fatal(err)
	}
	var documented []string
	for _, row := range regexp.MustCompile("(?m)^\\| `(kimberlite_[a-z_]+)` \\|").FindAllStringSubmatch(string(p), -1) {
		documented = append(documented, row[1])
	}
	slices.Sort(documented)
	slices.Sort(shown)
	if !slices.Equal(shown, documented) {
		t.Errorf("shown:\n%s\ndocumented:\n%s", strings.Join(shown, "\n"), strings.Join(documented, "\n"))
	}
}

func TestRepliesAreCountedByOperationAndCode(t *testing.T) {
	_, text := get(t, listen(t, active()), "/metrics")
	for _, want := range []string{
		`kimberlite_requests_total{code="ok",op="AppendEvents"} 1`,
		`kimberlite_requests_total{code="OffsetMismatch",op="AppendEvents"} 1`,
		`kimberlite_request_seconds_bucket{op="AppendEvents",le="1.024e-06"} 1`,
		`kimberlite_request_seconds_bucket{op="AppendEvents",le="2.048e-06"} 2`,
		`kimberlite_request_seconds_count{op="AppendEvents"} 2`,
		`kimberlite_fsync_seconds_sum 0.002`,
		`kimberlite_disconnects_total{reason="idle"} 3`,
		`kimberlite_wire_faults_total{reason="crc"} 0`,
	} {
		if !strings.Contains(text, want+"\n") {
			t.Errorf("no %s", want)
		}
	}
}

// The groups beyond a number have one set of metrics together, so that nobody can make the page grow without end.
func TestGroupMetricsAreBounded(t *testing.T) {
	s := active()
	_, text := get(t, listen(t, s), "/metrics")
	labels := `{group="billing",stream="orders",tenant="7"}`
	for _, want := range []string{"lag_events" + labels + " 5", "lag_seconds" + labels + " 1.5", "parked" + labels + " 2"} {
		if !strings.Contains(text, "kimberlite_group_"+want+"\n") {
			t.Errorf("no %s", want)
		}
	}
	if strings.Contains(text, `"other"`) {
		t.Error("there are no other groups")
	}
	s.s.Groups = nil
	for i := range MaxGroups {
		s.s.Groups = append(s.s.Groups, engine.GroupStats{Stream: "a", Group: fmt.Sprint(i)})
	}
	s.s.OtherGroups = engine.GroupStats{Lag: 9}
	_, text = get(t, listen(t, s), "/metrics")
	if !strings.Contains(text, `kimberlite_group_lag_events{group="other",stream="other",tenant="other"} 9`) {
		t.Error("nothing is said of the others")
	}
}

func TestHistogramPutsValuesBelowTheirBounds(t *testing.T) {
	for _, c := range []struct {
		value  uint64
		bucket int // -1 for none
	}{{0, 0}, {511, 0}, {512, 1}, {1023, 1}, {1024, 2}, {1<<34 - 1, 25}, {1 << 34, -1}} {
		var h Histogram
		h.Observe(c.value)
		if h.Count != 1 || h.Sum != c.value || (c.bucket < 0) != (h.Over == 1) || c.bucket >= 0 && h.Buckets[c.bucket] != 1 {
			t.Errorf("%d: %+v", c.value, h)
		}
	}
}

func TestReadinessFollowsTheMachine(t *testing.T) {
	halted := active()
	halted.s.Halted = true
	stopped := active()
	stopped.stopped = true
	for name, c := range map[string]struct {
		s    *source
		want int
	}{"running": {active(), 200}, "halted": {halted, 503}, "stopped": {stopped, 503}} {
		a := listen(t, c.s)
		if got, _ := get(t, a, "/readyz"); got != c.want {
			t.Errorf("%s: readyz %d", name, got)
		}
		if got, _ := get(t, a, "/livez"); got != 200 {
			t.Errorf("%s: livez %d", name, got)
		}
	}
}
