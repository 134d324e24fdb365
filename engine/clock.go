package engine

import "github.com/kimberlitedb/kimberlite-go/wire"

// clock is the engine clock. It stamps commit times and never goes back. It advances with the monotonic clock and slews
// towards the wall clock, at most half as fast again or half as slow. A wall clock that is further off than the limit is
// not believed: the engine clock then follows the monotonic clock alone, so that a jump ahead deletes nothing early and a
// jump back stops nothing for ever.
type clock struct {
	now     wire.Time
	mono    wire.Time // at the last advance
	started bool      // whether mono is from this process
	doubt   wire.Span // wall clock minus engine clock, while not believed; else 0
}

// advance moves the clock to an instant.
func (c *clock) advance(at Instant, cfg *Config) {
	if !c.started {
		c.start(at, cfg)
		return
	}
	elapsed := max(0, at.Mono-c.mono)
	c.mono = max(c.mono, at.Mono)
	c.now += elapsed
	off := wire.Span(at.Wall - c.now)
	switch slew := wire.Span(elapsed / 2); {
	case off > cfg.StepLimit || off < -cfg.StepLimit:
		c.doubt = off
		return
	case off > 0:
		c.now += wire.Time(min(off, slew))
	default:
		c.now -= wire.Time(min(-off, slew))
	}
	c.doubt = 0
}

// start takes up the wall clock after a restart, if it is ahead and credible. A clock that was never set (0) takes any.
func (c *clock) start(at Instant, cfg *Config) {
	c.started, c.mono = true, at.Mono
	off := wire.Span(at.Wall - c.now)
	switch {
	case c.now == 0, off >= 0 && off <= cfg.RestartLimit:
		c.now = at.Wall
	case off > cfg.RestartLimit || off < -cfg.StepLimit:
		c.doubt = off
	}
}
