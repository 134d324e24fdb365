// Package network simulates connections: bytes in order per direction, in arbitrary fragments, late, and now and then
// damaged, cut off or kept back.
package network

import (
	"github.com/kimberlitedb/kimberlite-go/sim/fault"
	"github.com/kimberlitedb/kimberlite-go/sim/rng"
)

// End is one end of a connection. Its methods are called from the event loop.
type End interface {
	// Data takes the next bytes that arrived. It must not keep them.
	Data(p []byte)
	// Ready reports whether it wants more bytes now; Resume tells the connection when that changes.
	Ready() bool
	// Room says that Send may take more than it last did.
	Room()
	// Hangup says that nothing more will arrive. It comes at most once, and not after Abort.
	Hangup()
}

// The two ends of a connection.
const (
	Client = 0
	Server = 1
)

const (
	poison    = 0xdb
	compactAt = 64 << 10 // bytes at the front of a queue that have arrived
)

// Net is the network of one run.
type Net struct {
	after    func(span int64, f func())
	now      func() int64
	in       *fault.Injector
	latency  *rng.Rand
	fragment *rng.Rand
	max      int // greatest fragment; 0 is any
	window   int

	reset, corrupt, stall, halfOpen *fault.Point
	blocked                         map[int][2]int64 // until when, by client, to the client's and to the server's end
}

// New returns a network that schedules its work with after.
func New(source rng.Source, in *fault.Injector, maxFragment, window int, now func() int64, after func(int64, func())) *Net {
	return &Net{
		after: after, now: now, in: in, max: maxFragment, window: window,
		latency: source.Stream("net.latency"), fragment: source.Stream("net.fragment"),
		reset: in.Point("reset", "deliver"), corrupt: in.Point("corrupt", "deliver"),
		stall: in.Point("stall", "deliver"), halfOpen: in.Point("half-open", "deliver"),
		blocked: map[int][2]int64{},
	}
}

// Block keeps everything that a client sends (to = Server) or is sent (to = Client) back until a time.
func (n *Net) Block(client, to int, until int64) {
	b := n.blocked[client]
	b[to] = until
	n.blocked[client] = b
}

// Unblock ends all partitions.
func (n *Net) Unblock() { clear(n.blocked) }

// Reachable reports whether a client's packets go both ways now.
func (n *Net) Reachable(client int) bool {
	b := n.blocked[client]
	return b[Client] <= n.now() && b[Server] <= n.now()
}

// Latency draws how long a packet takes.
func (n *Net) Latency() int64 { return n.latency.Log(2_000, 500_000) }

// Conn is one connection of a client.
type Conn struct {
	net    *Net
	client int
	pipes  [2]pipe // by the end that receives
	spoilt bool    // a client sent what cannot be decoded, on purpose
}

// pipe is one direction.
type pipe struct {
	to      End // nil once it hears nothing more
	queue   []byte
	start   int // of the bytes still under way
	fin     bool
	pumping bool
	starved bool // the sender waits for room
	damaged bool // a bit was flipped
}

// Connect makes a connection between a client and a server end.
func (n *Net) Connect(client int, atClient, atServer End) *Conn {
	c := &Conn{net: n, client: client}
	c.pipes[Client].to, c.pipes[Server].to = atClient, atServer
	return c
}

// Damaged reports whether bytes to an end were damaged on their way.
func (c *Conn) Damaged(to int) bool { return c.pipes[to].damaged }

// Spoil notes that the client sends what cannot be decoded.
func (c *Conn) Spoil() { c.spoilt = true }

// Spoilt reports whether the server may fail to decode what it receives.
func (c *Conn) Spoilt() bool { return c.spoilt || c.pipes[Server].damaged }

// Send sends bytes from an end and returns how many were taken; Room tells when there is room for more.
func (c *Conn) Send(from int, p []byte) int {
	d := &c.pipes[1-from]
	if d.fin {
		return len(p) // nobody is there to hear
	}
	if d.start == len(d.queue) {
		d.queue, d.start = d.queue[:0], 0
	} else if d.start > compactAt {
		d.queue, d.start = append([]byte(nil), d.queue[d.start:]...), 0
	}
	n := min(len(p), c.net.window-(len(d.queue)-d.start))
	if n < len(p) {
		d.starved = true
	}
	if n <= 0 {
		return 0
	}
	d.queue = append(d.queue, p[:n]...)
	c.pump(1 - from)
	return n
}

// Finish hangs up once everything sent before has arrived. The end hears nothing more.
func (c *Conn) Finish(from int) {
	c.pipes[from].to = nil
	c.pipes[1-from].fin = true
	c.pump(1 - from)
}

// Abort hangs up at once: what is under way to the other end is lost. The end hears nothing more.
func (c *Conn) Abort(from int) {
	d := &c.pipes[1-from]
	d.queue, d.start = d.queue[:0], 0
	c.Finish(from)
}

// Vanish ends an end without telling the other.
func (c *Conn) Vanish(from int) {
	c.pipes[from].to = nil
	d := &c.pipes[1-from]
	d.queue, d.start = nil, 0
}

// Lose drops what is under way to an end, then hangs up on both.
func (c *Conn) Lose(to int) {
	d := &c.pipes[to]
	d.queue, d.start = d.queue[:0], 0
	c.cut()
}

// Resume says that an end is ready again.
func (c *Conn) Resume(end int) { c.pump(end) }

// cut ends the connection for both ends, each after a while.
func (c *Conn) cut() {
	for end := range c.pipes {
		c.pipes[end].fin = true
		c.pump(end)
	}
}

func (c *Conn) pump(to int) {
	d := &c.pipes[to]
	if d.pumping || d.to == nil || (d.start == len(d.queue) && !d.fin) {
		return
	}
	d.pumping = true
	c.net.after(c.net.Latency(), func() { c.deliver(to) })
}

func (c *Conn) deliver(to int) {
	n, d := c.net, &c.pipes[to]
	d.pumping = false
	if d.to == nil {
		return
	}
	if until := n.blocked[c.client][to]; until > n.now() {
		d.pumping = true
		n.in.Observe("partition")
		n.after(until-n.now(), func() { c.deliver(to) })
		return
	}
	if d.start == len(d.queue) {
		if d.fin {
			end := d.to
			d.to = nil
			end.Hangup()
		}
		return
	}
	if !d.to.Ready() {
		return // Resume comes
	}
	if c.troubled(to) {
		return
	}
	p := d.queue[d.start : d.start+n.size(len(d.queue)-d.start)]
	d.start += len(p)
	if rand, ok := n.corrupt.Fire(); ok {
		p[rand.N(len(p))] ^= 1 << rand.N(8)
		d.damaged = true
	}
	d.to.Data(p)
	for i := range p {
		p[i] = poison // whoever kept it will see
	}
	if d.starved {
		d.starved = false
		if from := c.pipes[1-to].to; from != nil {
			from.Room()
		}
	}
	c.pump(to)
}

// troubled lets a fault strike instead of a delivery.
func (c *Conn) troubled(to int) bool {
	n, d := c.net, &c.pipes[to]
	if _, ok := n.reset.Fire(); ok {
		d.queue, d.start = d.queue[:0], 0
		n.in.Observe("reset")
		c.cut()
		return true
	}
	if rand, ok := n.halfOpen.Fire(); ok {
		c.Vanish(rand.N(2))
		c.cut()
		return true
	}
	if rand, ok := n.stall.Fire(); ok {
		d.pumping = true
		n.after(rand.Log(10_000_000, 20_000_000_000), func() {
			n.in.Observe("stall")
			c.deliver(to)
		})
		return true
	}
	return false
}

// size draws how much of what is under way arrives together.
func (n *Net) size(have int) int {
	if n.max == 0 {
		if n.fragment.Coin() {
			return have
		}
		return 1 + n.fragment.N(have)
	}
	return max(1+n.fragment.N(min(have, n.max)), have/64)
}
