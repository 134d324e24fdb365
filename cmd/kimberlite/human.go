package main

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/kimberlitedb/kimberlite-go/client"
)

// Tables on a terminal show sizes and ages; JSON has the exact values.

// size shows a number of bytes.
func size(n uint64) string {
	if n < 1<<10 {
		return fmt.Sprintf("%d B", n)
	}
	units := []string{"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"}
	v := float64(n) / (1 << 10)
	i := 0
	for ; v >= 1023.95 && i < len(units)-1; i++ {
		v /= 1 << 10
	}
	return fmt.Sprintf("%.1f %s", v, units[i])
}

// age shows how long ago a time was, or how far ahead it is; nothing for none.
func age(t, now time.Time) string {
	switch d := now.Sub(t); {
	case t.IsZero():
		return ""
	case d < 0:
		return "in " + length(-d)
	default:
		return length(d) + " ago"
	}
}

// length shows a length of time by its greatest unit, cut off.
func length(d time.Duration) string {
	for _, u := range []struct {
		span time.Duration
		name string
	}{{24 * time.Hour, "d"}, {time.Hour, "h"}, {time.Minute, "min"}} {
		if n := d / u.span; n > 0 {
			return fmt.Sprintf("%d %s", n, u.name)
		}
	}
	return fmt.Sprintf("%d s", d/time.Second)
}

// purge shows a purge date; nothing for none.
func purge(t time.Time) string {
	if client.Never(t) {
		return "never"
	}
	return stamp(t)
}

// retention shows how long a stream keeps its events.
func retention(days uint32) string {
	if days == client.Forever {
		return "for ever"
	}
	return count(uint64(days), "day")
}

// count shows a number of things.
func count(n uint64, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

// direction says what a duration is counted from.
type direction int

// Durations before now, and after it.
const (
	ago   direction = -1
	ahead direction = 1
)

// parseWhen reads a time: RFC 3339, a date, or a duration from now such as 90m or 7d.
func parseWhen(s string, now time.Time, way direction) (time.Time, error) {
	for _, layout := range []string{time.RFC3339Nano, time.DateOnly} {
		if t, err := time.Parse(layout, s); err == nil {
			return t, nil
		}
	}
	d, err := parseSpan(s)
	if err != nil || d < 0 {
		return time.Time{}, fmt.Errorf("%q is neither a time (2026-05-09T12:00:00Z), a date (2026-05-09), nor a duration (90m, 36h, 7d)", s)
	}
	return now.Add(time.Duration(way) * d), nil
}

// parseSpan reads a duration as Go has them, and days.
func parseSpan(s string) (time.Duration, error) {
	days, ok := strings.CutSuffix(s, "d")
	if !ok {
		return time.ParseDuration(s)
	}
	n, err := strconv.ParseUint(days, 10, 32)
	if err == nil && n > math.MaxInt64/uint64(24*time.Hour) {
		err = strconv.ErrRange
	}
	return time.Duration(n) * 24 * time.Hour, err
}
