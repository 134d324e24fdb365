package main

import (
	"math"
	"testing"
	"time"
)

func TestSizesAreShort(t *testing.T) {
	for n, want := range map[uint64]string{
		0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 1536: "1.5 KiB", 1<<20 - 1: "1.0 MiB", 1 << 20: "1.0 MiB", 5 << 30: "5.0 GiB", math.MaxUint64: "16.0 EiB",
	} {
		if got := size(n); got != want {
			t.Errorf("%d is %s, want %s", n, got, want)
		}
	}
}

func TestAges(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	for d, want := range map[time.Duration]string{
		0: "0 s ago", 59 * time.Second: "59 s ago", 90 * time.Second: "1 min ago", 25 * time.Hour: "1 d ago", -3 * time.Hour: "in 3 h", 400 * 24 * time.Hour: "400 d ago",
	} {
		if got := age(now.Add(-d), now); got != want {
			t.Errorf("%v is %s, want %s", d, got, want)
		}
	}
	if got := age(time.Time{}, now); got != "" {
		t.Errorf("no time is %s", got)
	}
}

func TestTimesOfTheCommandLine(t *testing.T) {
	now := time.Date(2026, 5, 9, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		text string
		way  direction
		want string // empty where it is refused
	}{
		{"2026-05-09T08:00:00+02:00", ago, "2026-05-09T06:00:00Z"},
		{"2026-05-01", ahead, "2026-05-01T00:00:00Z"},
		{"90m", ago, "2026-05-09T10:30:00Z"},
		{"7d", ago, "2026-05-02T12:00:00Z"},
		{"7d", ahead, "2026-05-16T12:00:00Z"},
		{"0s", ago, "2026-05-09T12:00:00Z"},
		{"-1h", ago, ""},
		{"-1d", ago, ""},
		{"106752d", ago, ""},
		{"yesterday", ago, ""},
		{"", ago, ""},
		{"12", ago, ""},
	} {
		got, err := parseWhen(c.text, now, c.way)
		if (err == nil) != (c.want != "") || err == nil && stamp(got) != c.want {
			t.Errorf("%q is %s, %v, want %q", c.text, stamp(got), err, c.want)
		}
	}
}
