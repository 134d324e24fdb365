package plan

import (
	"fmt"
	"sort"
	"strings"

	"github.com/kimberlitedb/kimberlite-go/sim/rng"
)

// Draw draws the plan of a seed with about so many operations. Each kind of operation and of fault is left out with
// probability one half, and rates are spread over magnitudes, so that some runs are dominated by what is rare in others.
func Draw(seed uint64, ops int) *Plan {
	source := rng.Source(seed)
	p := &Plan{Seed: seed, Rates: drawRates(source.Stream("swarm.faults"))}
	p.Config = drawConfig(source.Stream("swarm.config"))
	p.Config.drawKeeper(source.Stream("swarm.keeper"), ops)
	p.Config.drawSealing(source.Stream("swarm.sealing"))
	p.Config.drawCrew(source.Stream("swarm.crew"), ops)
	p.Config.drawClerk(source.Stream("swarm.clerk"), ops)
	p.Config.drawHoarder(source.Stream("swarm.hoarder"))
	p.Config.drawNotary(source.Stream("swarm.notary"), ops)
	p.Config.drawArchivist(source.Stream("swarm.archivist"), ops)
	p.Clients = drawClients(source.Stream("swarm.clients"), &p.Config)
	p.Ops = drawOps(source.Stream("swarm.ops"), p, ops)
	return p
}

func drawConfig(r *rng.Rand) Config {
	c := Config{
		Align: 512, SegmentSize: 4096 << r.N(5), Tenants: 1 + r.N(3), Streams: 1 + r.N(4),
		Torn: r.N(4) > 0, Garbage: r.Coin(), Drain: r.Coin(), Blind: r.N(8) > 0, FastDisk: r.Coin(), Dev: r.Coin(),
		MaxInflight: 2 << r.N(8), MaxUnsent: 512 << r.N(8), Group: 1 << r.N(9), Share: 1 << r.N(6),
		Sector: 512, Window: 256 << r.N(9), ThinkTime: int(r.Log(1, 100_000)),
	}
	if r.N(4) == 0 {
		c.Align = 4096
		c.SegmentSize = max(c.SegmentSize, 16<<10)
	}
	if r.Coin() {
		c.Sector = c.Align // never larger, or a torn write takes batches beside it along
	}
	room := int(c.SegmentSize) - c.Align
	c.MaxBatchEvents = 1 + r.N(min(64, room/256))
	c.MaxBatchBytes = 64 + r.N(room/2-64)
	for c.MaxBatchBytes+c.MaxBatchEvents*28+256 > room {
		c.MaxBatchEvents = max(1, c.MaxBatchEvents/2)
		c.MaxBatchBytes -= c.MaxBatchBytes / 8
	}
	c.MaxBatch = int(r.Log(512, int64(room)))
	c.MaxBacklog = int(r.Log(1024, 4*c.SegmentSize))
	c.Cache = int(r.Log(1, 4*c.SegmentSize))
	c.SnapshotEvery = r.Log(2048, 8*c.SegmentSize)
	switch r.N(3) {
	case 0:
		c.Inline = 1_000_000
	case 1:
		c.Inline = 500_000
	}
	if r.Coin() {
		c.Fragment = int(r.Log(1, 4096))
	}
	if r.Coin() {
		c.DriftPPM = int(r.Between(-50_000, 50_000))
	}
	return c
}

// drawKeeper draws how streams live.
func (c *Config) drawKeeper(r *rng.Rand, ops int) {
	c.Day, c.Grain = r.Log(50_000_000, 30_000_000_000), r.Log(1_000_000, 1_000_000_000)
	c.KeysPerStream, c.Keys, c.KeyAge = 1+r.N(8), 1+r.N(20), r.Log(1_000_000_000, 300_000_000_000)
	if r.N(4) > 0 {
		c.Keeper = int(r.Log(10, int64(max(ops/4, 20))))
	}
}

// drawCrew draws how much happens to consumer groups.
func (c *Config) drawCrew(r *rng.Rand, ops int) {
	if r.Coin() {
		c.Crew = int(r.Log(50, int64(max(ops/2, 100))))
	}
}

// drawNotary draws how much happens to checkpoints.
func (c *Config) drawNotary(r *rng.Rand, ops int) {
	if r.Coin() {
		if c.Notary = int(r.Log(10, int64(max(ops/5, 40)))); r.Coin() {
			c.MaxCuts = 1 + r.N(3)
		}
	}
}

// drawArchivist draws how much happens to archives, where there are checkpoints.
func (c *Config) drawArchivist(r *rng.Rand, ops int) {
	if c.Notary > 0 && r.Coin() {
		c.Archivist = int(r.Log(5, int64(max(ops/15, 15))))
		c.ArchiveBlob, c.ArchiveShare = int(r.Log(200, 16<<10)), int(r.Log(500, 64<<10))
		c.Locks = r.N(3) == 0
	}
}

// drawClerk draws how much happens to tables.
func (c *Config) drawClerk(r *rng.Rand, ops int) {
	if r.N(3) == 0 {
		c.Clerk = int(r.Log(30, int64(max(ops/4, 60))))
		c.TablesEvery = int(r.Log(1000, 100_000))
		if r.N(3) > 0 {
			c.Forget = r.Log(100_000_000, 20_000_000_000)
		}
	}
}

// drawHoarder draws how much is done to fill tables. They have few pages then, which the clerk's would not do with. The statements have
// to be let in.
func (c *Config) drawHoarder(r *rng.Rand) {
	if r.Coin() && c.Clerk == 0 && c.MaxBatchBytes >= 400 {
		c.Hoarder, c.SQLPages = int(r.Log(15, 60)), 30+r.N(30)
		c.TablesEvery = int(r.Log(1000, 100_000))
	}
}

// drawSealing draws how segments are sealed, if they are.
func (c *Config) drawSealing(r *rng.Rand) {
	c.MergeFiles, c.Sweep = 2+r.N(3), r.Log(1_000_000_000, 60_000_000_000)
	if r.N(8) > 0 {
		c.SealBlock = int(r.Log(64, 16<<10))
	}
}

// faultRates are the kinds of faults with the range of their rates, in parts per million of the effects they follow.
var faultRates = []struct {
	name      string
	low, high int64
}{
	{"process@write", 100, 20_000}, {"process@sync", 100, 20_000}, {"process@reply", 50, 5_000},
	{"process@start", 100, 50_000}, {"process@job", 100, 20_000}, {"process@recovery", 100, 50_000},
	{"power@write", 100, 20_000}, {"power@sync", 100, 20_000}, {"power@reply", 50, 5_000},
	{"power@start", 100, 50_000}, {"power@job", 100, 20_000}, {"power@recovery", 100, 50_000},
	{"pause@tick", 100, 20_000},
	{"fsync@log", 100, 10_000}, {"fsync@job", 100, 20_000}, {"fsync@recovery", 100, 20_000},
	{"eio@log", 50, 5_000}, {"eio@job", 100, 20_000}, {"eio@recovery", 100, 10_000},
	{"short@job", 100, 50_000}, {"short@recovery", 100, 20_000},
	{"full@tick", 100, 20_000}, {"slow@disk", 100, 10_000},
	{"rot@tick", 100, 20_000}, {"unreadable@tick", 100, 20_000},
	{"reset@deliver", 20, 10_000}, {"corrupt@deliver", 20, 5_000}, {"stall@deliver", 20, 5_000},
	{"half-open@deliver", 20, 3_000}, {"lost-reply@reply", 50, 10_000}, {"partition@tick", 100, 10_000},
	{"step@tick", 100, 20_000}, {"freeze@tick", 100, 20_000},
	{"store-error@store", 1000, 100_000}, {"store-timeout@store", 1000, 100_000}, {"store-partial@store", 2000, 200_000}, {"store-slow@store", 1000, 50_000},
}

func drawRates(r *rng.Rand) map[string]int {
	rates := map[string]int{}
	for _, f := range faultRates {
		rate := int(r.Log(f.low, f.high))
		if r.Coin() {
			rates[f.name] = rate
		}
	}
	return rates
}

// FaultPoints returns the names of all rates.
func FaultPoints() []string {
	var list []string
	for _, f := range faultRates {
		list = append(list, f.name)
	}
	return list
}

func drawClients(r *rng.Rand, c *Config) []Client {
	list := make([]Client, 1+r.N(10))
	for i := range list {
		list[i] = Client{
			Tenant: 1 + r.N(c.Tenants), Rich: r.Coin(), Extended: r.Coin(), Handshake: r.N(4) > 0,
			Pipeline: 1 << r.N(6), Resend: r.Coin(), Version: 1 + r.N(3), Codec: r.N(3),
		}
		list[i].Handshake = list[i].Handshake || list[i].Version > 1
	}
	return list
}

// opWeights are how often operations of a kind come where the swarm leaves them on.
var opWeights = []struct {
	kind   Kind
	weight int
}{
	{Append, 40}, {Read, 20}, {Follow, 15}, {Sync, 3}, {Info, 6}, {ListStreams, 2}, {ListTenants, 2}, {CreateTenant, 1},
	{Ping, 3}, {Query, 1}, {Pause, 2}, {BadAppend, 3}, {BadCreate, 3}, {Stranger, 3}, {Twice, 2}, {Garbage, 1}, {Huge, 1},
	{Cut, 1}, {HangUp, 1}, {Deaf, 1}, {Late, 1}, {Create, 2}, {Subscribe, 6}, {Grant, 8}, {Unsubscribe, 2}, {Undecodable, 1},
}

func drawOps(r *rng.Rand, p *Plan, n int) []Op {
	var kinds []Kind
	for _, w := range opWeights {
		off := r.Coin() && w.kind != Append
		for range w.weight {
			if !off {
				kinds = append(kinds, w.kind)
			}
		}
	}
	occ, times := r.N(101), r.N(3) == 0
	events, size := int(r.Log(1, int64(p.Config.MaxBatchEvents))), int(r.Log(16, 512))
	list := make([]Op, 0, n+p.Config.Streams)
	for i := range n {
		op := Op{N: i, Client: r.N(len(p.Clients)), Kind: kinds[r.N(len(kinds))], Stream: r.N(p.Config.Streams), Case: r.N(1 << 16)}
		op.fill(r, &p.Config, occ, times, events, size)
		list = append(list, op)
	}
	return list
}

func (op *Op) fill(r *rng.Rand, c *Config, occ int, times bool, events, size int) {
	switch op.Kind {
	case Append, Twice:
		op.Count, op.Size = 1+r.N(events), size
		op.Size = max(1, min(op.Size, c.MaxBatchBytes/op.Count))
		op.Times = times && r.Coin()
		if r.N(100) < occ {
			op.Expect = [...]Expect{ExpectRight, ExpectRight, ExpectRight, ExpectStale, ExpectAhead}[r.N(5)]
		}
	case Read, Follow, Deaf:
		op.Size = int(r.Log(1, 1<<16))
		if r.N(4) == 0 {
			op.Count = 1 + r.N(20)
		}
		if r.N(20) == 0 {
			op.Size = 0
		}
	case Subscribe, Grant:
		op.Count, op.Size = int(r.Log(1, 200)), int(r.Log(20, 1<<16))
		if r.N(8) == 0 {
			op.Count = 0
		}
	case Pause:
		op.Pause = r.Log(1_000, 5_000_000)
	case ListStreams, ListTenants:
		op.Count = r.N(4)
	}
}

// Swarm describes what a plan was drawn to do, in one line.
func (p *Plan) Swarm() string {
	c := &p.Config
	var b strings.Builder
	fmt.Fprintf(&b, "clients=%d tenants=%d streams=%d segment=%dKiB align=%d batch=%dB cache=%dB inflight=%d window=%d", len(p.Clients), c.Tenants,
		c.Tenants*c.Streams, c.SegmentSize>>10, c.Align, c.MaxBatch, c.Cache, c.MaxInflight, c.Window)
	fmt.Fprintf(&b, " keeper=%d crew=%d clerk=%d hoarder=%d notary=%d cuts=%d archivist=%d blob=%dB share=%dB locks=%t", c.Keeper, c.Crew, c.Clerk, c.Hoarder, c.Notary, c.MaxCuts, c.Archivist, c.ArchiveBlob, c.ArchiveShare, c.Locks)
	fmt.Fprintf(&b, " tables=%dB forget=%dms day=%dms keys=%d/%d", c.TablesEvery, c.Forget/1_000_000, c.Day/1_000_000, c.KeysPerStream, c.Keys)
	fmt.Fprintf(&b, " snapshot=%dB seal=%dB merge=%d sweep=%dms", c.SnapshotEvery, c.SealBlock, c.MergeFiles, c.Sweep/1_000_000)
	fmt.Fprintf(&b, " | torn=%t garbage=%t sector=%d inline=%d%% fragment=%d drift=%dppm drain=%t blind=%t | faults:", c.Torn, c.Garbage, c.Sector, c.Inline/10_000,
		c.Fragment, c.DriftPPM, c.Drain, c.Blind)
	if p.Rates == nil {
		fmt.Fprintf(&b, " %d planned", len(p.Faults))
		return b.String()
	}
	names := make([]string, 0, len(p.Rates))
	for name := range p.Rates { //det:order-free: sorted below
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		fmt.Fprintf(&b, " %s=%d.%04d%%", name, p.Rates[name]/10_000, p.Rates[name]%10_000)
	}
	return b.String()
}
