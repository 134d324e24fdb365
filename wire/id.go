package wire

import "strings"

// TenantID names a tenant, a wall around streams, tables and checkpoints.
type TenantID uint64

// StreamID names a stream. It is unique across the server, never reused and opaque to clients; 0 names none.
type StreamID uint64

// Fold maps names that are taken for the same to one: those that differ in ASCII case only. Other letters stay: the Kelvin sign
// is no k.
func Fold(name string) string {
	return strings.Map(func(c rune) rune {
		if 'A' <= c && c <= 'Z' {
			return c - 'A' + 'a'
		}
		return c
	}, name)
}

// Offset is an event's place in its stream. Offsets are dense: 0, 1, 2, …; the head is the next one to be assigned.
type Offset uint64

// Position is an entry's place in its tenant's log. Entries count from 1; 0 is the empty tenant.
type Position uint64

// Time is an instant in nanoseconds since the Unix epoch.
type Time int64

// Span is a length of time in nanoseconds.
type Span int64

// Key is an idempotency key, a u128 in its little-endian wire form.
type Key [16]byte

// Option is a value that may be absent. Its zero value is absent.
type Option[T any] struct {
	Set   bool
	Value T
}

// Some returns a present option.
func Some[T any](v T) Option[T] { return Option[T]{Set: true, Value: v} }

// Or returns the value, or otherwise where it is absent.
func (o Option[T]) Or(otherwise T) T {
	if o.Set {
		return o.Value
	}
	return otherwise
}
