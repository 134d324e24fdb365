package wire

import (
	"strings"
	"testing"
	"unicode"

	"github.com/leanovate/gopter"
	"github.com/leanovate/gopter/gen"
	"github.com/leanovate/gopter/prop"
)

// specified is protocol.md's list of codes above 15: name, the code for version 1, and * where a retry may help.
const specified = `16 OffsetMismatch→11 · 17 StreamDeleted→5 · 18 UnsupportedVersion→2 · 19 SubscriptionNotFound→2 · ` +
	`20 GroupNotFound→2 · 21 GroupAlreadyExists→2 · 22 CheckpointNotFound→2 · 23 CheckpointAlreadyExists→2 · ` +
	`24 ConstraintViolation→8 · 25 QuotaExceeded→14 · 26 PermissionDenied→3 · 27 Timeout*→1 · 28 StorageFull*→12 · ` +
	`29 DataCorrupted→12 · 30 Held→2 · 31 ResultTooLarge→8 · 32 StaleDelivery→2 · 33 TableAlreadyExists→10 · ` +
	`34 ConcurrentUse→2 · 35 ShuttingDown*→1 · 36 Cancelled→8`

// specifiedV1 is its list of the codes that version 1 always had, in order; * as above.
const specifiedV1 = `Unknown InternalError* InvalidRequest AuthenticationFailed TenantNotFound StreamNotFound ` +
	`TableNotFound QueryParseError QueryExecutionError PositionAhead StreamAlreadyExists InvalidOffset StorageError* ` +
	`ProjectionLag* RateLimited* NotLeader*`

func TestCodesAreThoseSpecified(t *testing.T) {
	var want []codeEntry
	for i, name := range strings.Fields(specifiedV1) {
		plain, star := strings.CutSuffix(name, "*")
		want = append(want, codeEntry{name: plain, v1: Code(i), retryable: star})
	}
	for i, s := range strings.Split(specified, " · ") {
		number, s, _ := strings.Cut(s, " ")
		name, v1, _ := strings.Cut(s, "→")
		plain, star := strings.CutSuffix(name, "*")
		if atoi(number) != i+16 {
			t.Fatalf("specification skips from %d to %s", i+15, number)
		}
		want = append(want, codeEntry{name: plain, v1: Code(atoi(v1)), retryable: star})
	}
	if len(want) != CodeCount {
		t.Fatalf("%d codes in the table, want %d", CodeCount, len(want))
	}
	for i, w := range want {
		c := Code(i)
		if c.String() != w.name || c.V1() != w.v1 || c.Retryable() != w.retryable {
			t.Errorf("code %d is %s, %d in version 1, retryable %t; want %+v", i, c, c.V1(), c.Retryable(), w)
		}
	}
}

func atoi(s string) (n int) {
	for _, r := range s {
		n = 10*n + int(r-'0')
	}
	return n
}

func TestEveryCodeHasHelp(t *testing.T) {
	seen := make(map[string]Code)
	for i := range codes {
		c := Code(i)
		help := c.Help()
		if help == "" || !unicode.IsUpper(rune(help[0])) || strings.Index(help, ".") != len(help)-1 {
			t.Errorf("help of %s is not one sentence: %q", c, help)
		}
		if other, ok := seen[help]; ok {
			t.Errorf("%s and %s have the same help", c, other)
		}
		seen[help] = c
	}
}

func TestCodeOfALaterServerReadsAsUnknown(t *testing.T) {
	for _, c := range []Code{CodeCount, 1 << 31, 1<<32 - 1} {
		if c.V1() != Unknown || c.Retryable() || c.Help() != Unknown.Help() {
			t.Errorf("%s is not treated as Unknown", c)
		}
	}
	if s := Code(CodeCount).String(); s != "Code(37)" {
		t.Errorf("name is %q", s)
	}
}

func TestLawsOfCodes(t *testing.T) {
	laws := gopter.NewProperties(nil)
	anyCode := gen.UInt32().Map(func(n uint32) Code { return Code(n % 64) })
	laws.Property("mapping to version 1 is idempotent", prop.ForAll(func(c Code) bool {
		return c.V1().V1() == c.V1()
	}, anyCode))
	laws.Property("mapping lands in version 1", prop.ForAll(func(c Code) bool {
		return c.V1() <= NotLeader
	}, anyCode))
	laws.Property("mapping changes nothing that version 1 has", prop.ForAll(func(c Code) bool {
		return c > NotLeader || c.V1() == c
	}, anyCode))
	laws.TestingRun(t)
}

func TestLawsOfFrames(t *testing.T) {
	laws := gopter.NewProperties(nil)
	payload := gen.SliceOf(gen.UInt8())
	laws.Property("cutting undoes framing", prop.ForAll(func(a, b []uint8) bool {
		var in framer
		if rest := in.fill(AppendFrame(AppendFrame(nil, a), b)); len(rest) > 0 {
			return false
		}
		first, ok1 := in.next()
		second, ok2 := in.next()
		_, ok3 := in.next()
		return ok1 && ok2 && !ok3 && string(first) == string(a) && string(second) == string(b)
	}, payload, payload))
	laws.Property("framing appends and leaves what was there", prop.ForAll(func(before, p []uint8) bool {
		got := AppendFrame(before[:len(before):len(before)], p)
		return string(got) == string(before)+string(AppendFrame(nil, p))
	}, payload, payload))
	laws.TestingRun(t)
}
