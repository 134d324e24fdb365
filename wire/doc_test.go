package wire_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/kimberlitedb/kimberlite-go/wire"
)

func read(t *testing.T, path ...string) string {
	t.Helper()
	p, err := os.ReadFile(filepath.Join(append([]string{".."}, path...)...))
	if err != nil {
		t.Fatal(err)
	}
	return string(p)
}

// The specification says what the code does: every operation, error code, limit and capability.
func TestSpecificationMatches(t *testing.T) {
	spec := strings.Join(strings.Fields(read(t, "docs", "PROTOCOL.md")), " ")
	says := func(what string) {
		t.Helper()
		if !strings.Contains(spec, what) {
			t.Errorf("docs/PROTOCOL.md does not say %q", what)
		}
	}
	for c := range wire.Code(wire.CodeCount) {
		retryable := "no"
		if c.Retryable() {
			retryable = "yes"
		}
		says(fmt.Sprintf("| %d | %s | %d | %s | %s |", c, c, c.V1(), retryable, c.Help()))
	}
	for op := range wire.Op(100) {
		if name := op.String(); !strings.HasPrefix(name, "Op(") {
			says(fmt.Sprintf("| %d | %s |", op, name))
		}
	}
	for reason := range wire.FaultReason(wire.FaultReasonCount) {
		says(fmt.Sprintf("| `%s` |", reason))
	}
	for _, c := range (wire.Features{RichEvents: true, TypedValues: true, ExtendedErrors: true}).Capabilities() {
		says(fmt.Sprintf("| `%s` |", c))
	}
	says(fmt.Sprintf("at most %s |", grouped(wire.MaxPayload)))
	says(fmt.Sprintf("1 to %s events", grouped(wire.MaxBatchEvents)))
	says(fmt.Sprintf("at most %s bytes of data", grouped(wire.MaxBatchBytes)))
	says(fmt.Sprintf("1 to %s characters", grouped(wire.MaxName)))
	says(fmt.Sprintf("more than %s means", grouped(wire.MaxListPage)))
	says(fmt.Sprintf("at most %s parameters", grouped(wire.MaxParams)))
	says(fmt.Sprintf("1 to %s statements; at most %s parameters", grouped(wire.MaxBatchQueries), grouped(wire.MaxBatchParams)))
	says(fmt.Sprintf("at most %s bytes |", grouped(wire.MaxReason)))
	says(fmt.Sprintf("at most %d holds", wire.MaxHolds))
	says(fmt.Sprintf("`0x%x`", wire.Magic))
	says(fmt.Sprintf("protocol **version %d**", wire.MaxVersion))
}

// Every example in the specification is the golden frame whose name stands above it.
func TestSpecificationExamplesAreGolden(t *testing.T) {
	golden := map[string]string{}
	for _, file := range []string{"v1.txt", "v1-extended.txt"} {
		for line := range strings.Lines(read(t, "testdata", "wire", file)) {
			if f := strings.Split(strings.TrimSpace(line), " | "); len(f) == 3 {
				golden[f[0]] = f[1] + f[2]
			}
		}
	}
	examples := regexp.MustCompile("golden frame `([^`]+)`[^`]*```\n([^`]+)```").FindAllStringSubmatch(read(t, "docs", "PROTOCOL.md"), -1)
	if len(examples) < 4 {
		t.Fatalf("only %d examples", len(examples))
	}
	for _, e := range examples {
		if frame := frameIn(e[2]); frame != golden[e[1]] {
			t.Errorf("%s:\n is  %s\nnot %s", e[1], golden[e[1]], frame)
		}
	}
}

// Every example of a frame of version 2 or 3 is one of that version's vectors.
func TestSpecificationExamplesAreVectors(t *testing.T) {
	vectors := read(t, "testdata", "wire", "v2.json") + read(t, "testdata", "wire", "v3.json")
	blocks := regexp.MustCompile("```\n(56444220 000[23] [^`]+)```").FindAllStringSubmatch(read(t, "docs", "PROTOCOL.md"), -1)
	if len(blocks) < 10 {
		t.Fatalf("only %d examples", len(blocks))
	}
	for _, b := range blocks {
		if !strings.Contains(vectors, `"hex":"`+frameIn(b[1])+`"`) {
			t.Errorf("no vector has the example\n%s", b[1])
		}
	}
}

// frameIn returns the bytes of an example, which stand before two spaces on each line.
func frameIn(example string) (frame string) {
	bytes := regexp.MustCompile("^[0-9a-f]+( [0-9a-f]+)*  ")
	for line := range strings.Lines(example) {
		frame += strings.ReplaceAll(bytes.FindString(line), " ", "")
	}
	return frame
}

// grouped writes a number with commas.
func grouped(n int) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
