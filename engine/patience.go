package engine

import "github.com/kimberlitedb/kimberlite-go/wire"

const (
	// readRetry is how long whoever's read has failed waits before the next.
	readRetry = Second
	// readAttempts is how often it tries before it passes over an event that the disk does not give. Those that follow it
	// are passed over at the first failure.
	readAttempts = 10
)

// patience is how often a subscription, a consumer group or a tenant's tables have read in vain lately. It comes back read by read: where a disk
// has many places that it does not give, each costs less time than the first.
type patience int

// worked takes up that a read has given something.
func (p *patience) worked() { *p = max(0, *p-1) }

// failed says what becomes of a read that has failed: whether what it was to give is passed over, and whether the next read
// waits. What is known to be damaged does not get better. Where the disk gives nothing, it may be all of it: whoever passes
// over some does not run ahead.
func (p *patience) failed(code wire.Code) (pass, later bool) {
	switch code {
	case wire.DataCorrupted:
		return true, false
	case wire.StorageError:
		if *p++; *p >= readAttempts {
			*p = readAttempts - 1
			return true, true
		}
	}
	return false, true
}
