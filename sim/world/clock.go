package world

import (
	"github.com/kimberlitedb/kimberlite-go/engine"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// epoch is the wall clock at the beginning of every run.
const epoch = 1_700_000_000_000_000_000

// clock is what a server reads. Its wall clock drifts, jumps and freezes; its monotonic clock does none of that.
type clock struct {
	drift  int64 // parts per million
	offset int64 // of the wall clock, from jumps
	frozen int64 // until when the wall clock stands still
	stood  int64 // what it shows meanwhile
	boot   int64 // when the monotonic clock of this process began
}

func (c *clock) wall(now int64) int64 {
	if now < c.frozen {
		return c.stood
	}
	return epoch + now + now/1_000_000*c.drift + c.offset
}

// read returns what a process sees at a time.
func (c *clock) read(now int64) engine.Instant {
	return engine.Instant{Wall: wire.Time(c.wall(now)), Mono: wire.Time(now - c.boot)}
}

// freeze stops the wall clock until a time.
func (c *clock) freeze(now, until int64) { c.stood, c.frozen = c.wall(now), until }
