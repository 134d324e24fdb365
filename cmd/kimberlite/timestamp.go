package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"time"
)

// unit is what a timestamp field holds. It is a flag's value.
type unit string

const unitRFC3339 unit = "rfc3339"

// String implements pflag.Value.
func (u *unit) String() string { return string(*u) }

// Type implements pflag.Value.
func (u *unit) Type() string { return "unit" }

// Set implements pflag.Value.
func (u *unit) Set(s string) error {
	v := unit(s)
	if v.span() == 0 && v != unitRFC3339 {
		return errors.New("must be s, ms, us, ns or rfc3339")
	}
	*u = v
	return nil
}

// span returns the unit's length in nanoseconds, 0 if it is none.
func (u unit) span() int64 {
	switch u {
	case "s":
		return 1_000_000_000
	case "ms":
		return 1_000_000
	case "us":
		return 1_000
	case "ns":
		return 1
	}
	return 0
}

// parse returns the time that a JSON value stands for, exact to the nanosecond.
func (u unit) parse(value json.RawMessage) (time.Time, error) {
	text := strings.Trim(string(value), `"`)
	if u == unitRFC3339 {
		t, err := time.Parse(time.RFC3339Nano, text)
		if err != nil {
			return t, fmt.Errorf("%s is not an RFC 3339 time such as 2026-05-09T12:00:00Z; if it is a number, name its unit with --timestamp-unit", value)
		}
		return t, nil
	}
	n, ok := new(big.Rat), len(text) <= maxNumber && !strings.ContainsAny(text, "eEpP/xX_")
	if ok {
		n, ok = n.SetString(text)
	}
	if !ok {
		return time.Time{}, fmt.Errorf("%s is not a plain number of %s", value, u)
	}
	n.Mul(n, new(big.Rat).SetInt64(u.span()))
	ns := new(big.Int).Div(n.Num(), n.Denom())
	if !ns.IsInt64() {
		return time.Time{}, fmt.Errorf("%s %s since 1970 do not fit into 64 bits of nanoseconds; is the unit right?", value, u)
	}
	return time.Unix(0, ns.Int64()).UTC(), nil
}

// maxNumber is how many characters a timestamp may have.
const maxNumber = 40
