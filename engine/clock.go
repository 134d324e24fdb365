package engine

import (
	"github.com/kimberlitedb/kimberlite-go/engine/seg"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// clock is the engine clock. It stamps commit times and never goes back. It advances with the monotonic clock and slews
// towards the wall clock, at most half as fast again or half as slow. A wall clock that is further off than the limit is
// not believed: the engine clock then follows the monotonic clock alone, so that a jump ahead deletes nothing early and a
// jump back stops nothing for ever. Somebody who has looked may confirm it.
type clock struct {
	now     wire.Time
	mono    wire.Time // at the last advance
	started bool      // whether mono is from this process
	wall    wire.Time // at the last advance
	doubt   wire.Span // wall clock minus engine clock, while not believed; else 0
}

// advance moves the clock to an instant. A wall clock that is no further behind than a confirmed skew is believed too.
func (c *clock) advance(at Instant, skew wire.Span, cfg *Config) {
	c.wall = at.Wall
	if !c.started {
		c.start(at, skew, cfg)
		return
	}
	elapsed := max(0, at.Mono-c.mono)
	c.mono = max(c.mono, at.Mono)
	c.now += elapsed
	off := wire.Span(at.Wall - c.now)
	switch slew := wire.Span(elapsed / 2); {
	case off > cfg.StepLimit || off < skew-cfg.StepLimit:
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
func (c *clock) start(at Instant, skew wire.Span, cfg *Config) {
	c.started, c.mono = true, at.Mono
	off := wire.Span(at.Wall - c.now)
	switch {
	case c.now == 0, off >= 0 && off <= cfg.RestartLimit:
		c.now = at.Wall
	case off > cfg.RestartLimit || off < skew-cfg.StepLimit:
		c.doubt = off
	}
}

// showClock answers with the engine clock. After a crash of a server that had nothing to write, and with a wall clock that
// was set back meanwhile, it may show less: it goes on from the last batch in the log. Whatever was decided by it is in
// the log.
func (m *Machine) showClock(r *Request, fx []Effect) []Effect {
	return m.reply(r, &wire.ClockReply{Now: m.clock.now, Wall: m.clock.wall, Trusted: m.clock.doubt == 0}, m.state.lsn, fx)
}

// confirmSlack is how far the wall clock may have moved since somebody saw it.
const confirmSlack = Minute

// confirmClock has the engine clock believe the wall clock. Where that is ahead, the engine clock jumps to it; where it is
// behind, the engine clock goes slower until it is caught up with, since it never goes back.
func (m *Machine) confirmClock(r *Request, b *wire.ConfirmClock, fx []Effect) []Effect {
	c := &m.clock
	if off := wire.Span(c.wall - b.Wall); off > confirmSlack || off < -confirmSlack {
		return m.refuse(r, wire.InvalidRequest, m.state.lsn, fx, "the wall clock shows %s, not %s; look again and confirm that", timeText(c.wall), timeText(b.Wall))
	}
	if c.doubt == 0 {
		return m.reply(r, &wire.ConfirmClockReply{Now: c.now}, m.state.lsn, fx)
	}
	detail := struct {
		Engine string `json:"engine_clock"`
		Wall   string `json:"wall_clock"`
	}{timeText(c.now), timeText(c.wall)}
	skew := min(0, c.doubt)
	before := *c
	c.now, c.doubt = max(c.now, c.wall), 0
	a := &act{
		kind: seg.KindConfirmClock, verb: "clock.confirm", from: r.From, tenant: serverTenant, detail: detail, fields: putNumbers(nil, uint64(skew)),
	}
	if e := m.carryOut(a); e != nil {
		*c = before
		return m.reply(r, e, m.state.lsn, fx)
	}
	m.cfg.hit(ProbeClockConfirmed)
	return m.reply(r, &wire.ConfirmClockReply{Now: c.now}, m.state.lsn, fx)
}
