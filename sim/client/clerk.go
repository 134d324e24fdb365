package client

import (
	"fmt"

	"github.com/kimberlitedb/kimberlite-go/engine/seg"
	"github.com/kimberlitedb/kimberlite-go/sim/check"
	"github.com/kimberlitedb/kimberlite-go/sim/network"
	"github.com/kimberlitedb/kimberlite-go/sim/plan"
	"github.com/kimberlitedb/kimberlite-go/sim/rng"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// Clerk is a client that has a tenant with tables to itself. It writes and asks, on two connections, statements that
// check.Tables knows; what comes of them that judges.
type Clerk struct {
	world   World
	suite   *check.Suite
	judge   *check.Tables
	rand    *rng.Rand
	index   int // of its first connection
	left    int // operations to come
	links   []*clerkLink
	keyed   bool          // statements may have keys
	forgets bool          // the history may be kept for a while alone
	oldest  wire.Position // that is kept, as a refusal has said
	made    bool          // the tenant is
	count   int           // of statements
	known   wire.Position
	seen    wire.Position      // the last that an answer has shown
	chunky  *rng.Rand          // what has to do with streaming
	resend  []wire.RequestBody // statements and batches with a key whose reply was lost
	batches map[*wire.BatchQuery]*check.Batch
	conns   int // made so far
	ending  bool
	settled int // tables and streams that were read in the end
	stopped bool
	streams [len(check.StreamNames)]wire.StreamID // 0 where one is not made
	retain  uint32                                // days, of the second
	time    wire.Time                             // of the last append
	day     int64                                 // how long a day lasts
	Cuts    *check.Checkpoints                    // those of its tenant somebody else makes
}

// clerkLink is a connection of a clerk.
type clerkLink struct {
	*caller
	c       *Clerk
	n       int
	id      int // of the connection
	dialing bool
	flight  int                    // requests under way
	flows   map[uint64]*check.Flow // queries, by the ids of their requests
}

// ClerkTenant is the clerk's own.
const ClerkTenant wire.TenantID = 1002

// clerkFlight is how many requests are under way on a connection.
const clerkFlight = 3

// NewClerk returns a clerk with so many operations to do. Its statements have keys where nobody counts those of the server.
func NewClerk(w World, s *check.Suite, judge *check.Tables, source rng.Source, index int, config *plan.Config) *Clerk {
	c := &Clerk{
		world: w, suite: s, judge: judge, rand: source.Stream("clerk"), index: index, left: config.Clerk, stopped: config.Clerk == 0,
		keyed: config.Keeper == 0, forgets: config.Forget > 0, chunky: source.Stream("clerk-chunks"), batches: map[*wire.BatchQuery]*check.Batch{},
	}
	c.retain, c.day = uint32(1+c.rand.N(3)), config.Day
	for n := range 2 {
		c.links = append(c.links, &clerkLink{c: c, n: n})
	}
	return c
}

// Finish has the clerk do nothing more but to read every table once.
func (c *Clerk) Finish() { c.ending = true }

// Idle reports whether everything is read.
func (c *Clerk) Idle() bool { return c.stopped || c.settled >= toSettle }

// Behind describes what is not read in the end. It returns nothing where everything is.
func (c *Clerk) Behind() string {
	if c.Idle() {
		return ""
	}
	return fmt.Sprintf("the clerk has read %d of %d tables and streams", c.settled, toSettle)
}

// Leave hangs up.
func (c *Clerk) Leave() {
	c.stopped = true
	for _, k := range c.links {
		if k.caller != nil {
			k.leave()
		}
	}
}

// Pump does the next thing on every connection, and goes on after a while.
func (c *Clerk) Pump() {
	if c.stopped {
		return
	}
	if c.suite.Holes { // what is lost with the log nobody can know
		c.Leave()
		return
	}
	for _, k := range c.links {
		switch {
		case k.caller == nil:
			k.dial()
		case !k.ready():
		case !c.made:
			if k.n == 0 && k.flight == 0 {
				k.request(&wire.CreateTenant{Name: "clerk"}, func(r wire.ResponseBody) {
					_, c.made = r.(*wire.CreateTenantReply)
				})
			}
		default:
			k.act()
		}
	}
	c.world.After(c.rand.Log(1_000_000, 500_000_000), c.Pump)
}

func (k *clerkLink) dial() {
	c := k.c
	if k.dialing {
		return
	}
	k.dialing = true
	caller := newCaller(c.world, c.suite, ClerkTenant, wire.Codec(c.rand.N(wire.CodecCount)))
	caller.lost = func() { k.caller, k.flight = nil, 0 }
	k.flows = map[uint64]*check.Flow{}
	caller.pushed = func(b wire.PushBody) {
		if chunk, ok := b.(*wire.QueryChunk); ok {
			k.chunk(chunk)
		} else {
			c.suite.Fail(check.Contract, "the clerk is sent a %T", b)
		}
	}
	c.world.Dial(c.index+k.n, caller, func(conn *network.Conn) {
		k.dialing = false
		if conn == nil || c.stopped {
			return
		}
		k.caller = caller
		c.conns++
		k.id = c.conns
		k.open(conn)
	})
}

// request sends a request, and counts it until it is answered.
func (k *clerkLink) request(b wire.RequestBody, done func(wire.ResponseBody)) {
	k.flight++
	k.ask(b, func(r wire.ResponseBody) {
		k.flight--
		done(r)
	})
}

// act writes or asks something.
func (k *clerkLink) act() {
	c := k.c
	if c.ending {
		if k.n == 0 && k.flight == 0 && !c.Idle() {
			k.settle()
		}
		if k.n == 1 && k.flight == 0 {
			k.linger()
		}
		return
	}
	for c.left > 0 && k.flight < clerkFlight {
		c.left--
		switch n := c.rand.N(100); {
		case n < 35:
			k.write()
		case n < 50:
			k.append()
		case n < 62:
			k.query(c.rand.N(check.SQLTables), c.query(), wire.Option[wire.Position]{})
		case n < 82:
			for range 1 + c.rand.N(3) {
				k.askStream()
			}
		case n < 94:
			k.query(c.rand.N(check.SQLTables), c.query(), wire.Some(c.position()))
		case n < 95:
			k.abort()
			return
		case n < 99 && c.forgets:
			k.retainSQL()
		default:
			return
		}
		if c.rand.Coin() {
			return
		}
	}
}

// position draws one that a query is about: any, or one where the history begins.
func (c *Clerk) position() wire.Position {
	if cuts := c.Cuts.Cuts(ClerkTenant); len(cuts) > 0 && c.rand.N(3) == 0 {
		return cuts[c.rand.N(len(cuts))].Position
	}
	if c.oldest > 0 && c.rand.Coin() {
		return c.oldest - 1 + wire.Position(c.rand.N(3))
	}
	return wire.Position(c.rand.N(int(c.known) + 2))
}

// cut returns the checkpoint of a position, if there is one.
func (c *Clerk) cut(at wire.Option[wire.Position]) *check.Cut {
	for _, cut := range c.Cuts.Cuts(ClerkTenant) {
		if at.Set && cut.Position == at.Value {
			return cut
		}
	}
	return nil
}

// stood reports whether an answer is one as of a checkpoint: the checkpoint was there all the time.
func (c *Clerk) stood(cut *check.Cut, from seg.LSN, r wire.ResponseBody) bool {
	if e, refused := r.(*wire.Error); refused && e.Code == wire.CheckpointNotFound {
		c.Cuts.Absent(cut, from, e)
		return false
	}
	return c.Cuts.Since(cut, from)
}

// toSettle is how many tables and streams are read in the end.
const toSettle = check.SQLTables + len(check.StreamNames)

// settle reads the next table or stream whole.
func (k *clerkLink) settle() {
	n := k.c.settled - check.SQLTables
	switch {
	case n < 0:
		k.query(k.c.settled, check.Queries[0], wire.Option[wire.Position]{})
	case k.c.streams[n] == 0: // or nobody has told the clerk
		k.c.settled++
	default:
		k.readStream(n)
	}
}

// retainSQL changes how long the history is kept, or whether it is held.
func (k *clerkLink) retainSQL() {
	c := k.c
	var b wire.RequestBody
	switch n := c.rand.N(10); {
	case n < 7:
		b = &wire.SetRetention{Stream: check.Statements(ClerkTenant), Days: wire.Some(uint32(1 + c.rand.N(5)))}
	case n < 8:
		b = &wire.SetRetention{Stream: check.Statements(ClerkTenant)}
	case n < 9:
		b = &wire.SetHold{Stream: check.Statements(ClerkTenant), Name: "case"}
	default:
		b = &wire.ReleaseHold{Stream: check.Statements(ClerkTenant), Name: "case"}
	}
	k.request(b, func(wire.ResponseBody) {})
}

func (c *Clerk) query() string { return check.Queries[c.rand.N(len(check.Queries))] }

// write sends a statement that writes, or one again whose reply was lost.
func (k *clerkLink) write() {
	c := k.c
	if len(c.resend) > 0 && c.rand.Coin() {
		b := c.resend[0]
		c.resend = c.resend[1:]
		k.again(b)
		return
	}
	switch n := c.rand.N(30); {
	case n < 10:
		k.sendBatch(k.draw())
	case n < 12:
		k.contest()
	case n < 15:
		k.alter()
	case n < 16:
		k.state(`INSERT INTO nowhere VALUES (%d)`, 1)
	default:
		k.state(check.Writes[c.rand.N(len(check.Writes))], c.rand.N(check.SQLTables))
	}
}

// state sends a statement of the program that writes, with a table's number.
func (k *clerkLink) state(template string, table int) {
	c := k.c
	c.count++
	b := &wire.Query{SQL: fmt.Sprintf("/* %d */ %s", c.count, fmt.Sprintf(template, table)), Params: c.params(check.Parameters(template))}
	if c.keyed && c.rand.Coin() {
		b.IdempotencyKey = c.key()
	}
	k.execute(b)
}

// alter changes the columns of a table, and has a query look at them before and after.
func (k *clerkLink) alter() {
	c := k.c
	table := c.rand.N(check.SQLTables)
	k.query(table, check.Everything, wire.Option[wire.Position]{})
	k.state(check.Alters[c.rand.N(len(check.Alters))], table)
	k.query(table, check.Everything, wire.Option[wire.Position]{})
}

// contest makes a table behind another statement, and a stream of the same name a moment later: while it is known what has
// become of the one, and not yet of the other.
func (k *clerkLink) contest() {
	c := k.c
	name := c.rand.N(check.SQLNames)
	k.state(check.Writes[c.rand.N(len(check.Writes))], c.rand.N(check.SQLTables))
	k.state(check.Name, name)
	k.later(c.rand.Log(1_000, 5_000_000), func() {
		k.request(&wire.CreateStream{Name: check.ContestedName(name)}, func(wire.ResponseBody) {})
	})
}

// key returns a key for what has the number that was given last.
func (c *Clerk) key() wire.Option[wire.Key] {
	return wire.Some(wire.Key{1, byte(c.count), byte(c.count >> 8), byte(c.count >> 16)})
}

// again sends a request a second time.
func (k *clerkLink) again(b wire.RequestBody) {
	switch b := b.(type) {
	case *wire.Query:
		k.execute(b)
	case *wire.BatchQuery:
		k.sendBatch(b)
	}
}

// params draws parameters for a statement: an id, a number, a text, a boolean.
func (c *Clerk) params(n int) []wire.Value {
	all := []wire.Value{
		{Kind: wire.BigInt, Int: int64(c.rand.N(40))}, {Kind: wire.BigInt, Int: int64(c.rand.N(3))},
		{Kind: wire.Text, Text: check.Marker(c.count)}, {Kind: wire.Boolean, Int: int64(c.rand.N(2))},
	}
	if n != 2 && c.rand.N(20) > 0 {
		all[1].Int = int64(c.rand.N(100))
	} else if n != 2 {
		all[1].Int = 1000
	}
	if c.rand.N(5) == 0 {
		all[2] = wire.Value{}
	}
	return all[:n]
}

func (k *clerkLink) execute(b *wire.Query) {
	c, n := k.c, 0
	fmt.Sscanf(b.SQL, "/* %d */", &n) // it is there
	if b.IdempotencyKey.Set {
		c.resend = append(c.resend, b)
	}
	c.judge.Sent(n, k.id, nil)
	k.request(b, func(r wire.ResponseBody) {
		if k.conn.Damaged(network.Server) { // it may be the answer to something else
			return
		}
		c.answered(b)
		if r, ok := r.(*wire.QueryReply); ok {
			c.known = max(c.known, r.Position)
		}
		c.judge.Executed(n, r)
	})
}

func (k *clerkLink) query(table int, template string, at wire.Option[wire.Position]) {
	c := k.c
	text := fmt.Sprintf(template, table)
	params := c.params(check.Parameters(template))
	var b wire.RequestBody = &wire.Query{SQL: text, Params: params}
	if at.Set {
		b = &wire.QueryAt{SQL: text, Params: params, Position: at.Value}
		if c.rand.Coin() {
			b = &wire.Query{SQL: fmt.Sprintf("%s AS OF POSITION %d", text, at.Value), Params: params}
		}
	}
	cut, from := c.cut(at), c.Cuts.Now()
	if cut != nil {
		b = &wire.Query{SQL: text + cut.AsOf(c.rand.N), Params: params}
	}
	ending := c.ending
	f := &check.Flow{Text: text, Params: params, At: at, Floor: max(c.known, c.seen)}
	k.follow(b, f, func(r wire.ResponseBody) {
		if k.conn.Damaged(network.Server) || cut != nil && !c.stood(cut, from, r) {
			return
		}
		e, refused := r.(*wire.Error)
		if refused && e.Code == wire.InvalidOffset && at.Set {
			fmt.Sscanf(e.Message, "the history of the tables is kept from position %d on", &c.oldest) // else it stays
			c.judge.Forgotten(at.Value, e)
			return
		}
		if refused && e.Code == wire.PositionAhead {
			c.judge.Ahead(at.Value, f.Floor)
			return
		}
		c.judge.Ended(f, r)
		if r, ok := r.(*wire.QueryReply); ok {
			c.seen = max(c.seen, r.Position)
		}
		damaged := refused && (e.Code == wire.DataCorrupted || e.Code == wire.StorageError) && c.suite.Faulty()
		if ending && (!refused || e.Code == wire.TableNotFound || damaged) {
			c.settled++
		}
	})
}
