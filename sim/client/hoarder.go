package client

import (
	"fmt"
	"slices"

	"github.com/kimberlitedb/kimberlite-go/sim/check"
	"github.com/kimberlitedb/kimberlite-go/sim/network"
	"github.com/kimberlitedb/kimberlite-go/sim/plan"
	"github.com/kimberlitedb/kimberlite-go/sim/rng"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// Hoarder is a client that has a tenant with one table to itself, and fills that until no more fits: the tables of a tenant have
// few pages in its runs, and statements few steps in some lives of the server. Which of its statements meet a limit it learns
// from the answers alone. What they were has to stay so: as long as the log says that a statement has failed, it has. It asks
// for one thing at a time, and where a reply is lost it looks.
type Hoarder struct {
	world   World
	suite   *check.Suite
	rand    *rng.Rand
	index   int
	left    int // statements to come
	link    *caller
	dialing bool
	made    bool // the tenant is
	begun   bool // the table is, or may be
	hoard   hoard
	unsure  *hoard // what there is if the statement has happened whose reply was lost; nil where none was
	batches int    // of rows that were tried
	full    bool   // the last ones were refused
	spent   int    // rows deleted, or perhaps: they are kept in the history
	past    []seenHoard
	ending  bool
	looked  int // in the end
	stopped bool
}

// hoard is the ids of rows, ascending.
type hoard []int64

// seenHoard is what there was at a position.
type seenHoard struct {
	at wire.Position
	h  hoard
}

// HoarderTenant is the hoarder's own.
const HoarderTenant wire.TenantID = 1003

// The statements of a hoarder.
const (
	hoardTable  = `CREATE TABLE IF NOT EXISTS h (id INTEGER PRIMARY KEY, s TEXT)`
	hoardFill   = `INSERT INTO h WITH RECURSIVE r(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM r WHERE n < 99) SELECT $1 + n, printf('%.90c', 'x') FROM r`
	hoardLong   = `INSERT INTO h WITH RECURSIVE r(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM r WHERE n < 9999) SELECT $1 + max(n), 'counted' FROM r`
	hoardDelete = `DELETE FROM h WHERE id >= $1 AND id < $1 + 200 AND id % 10 = $2`
	hoardCount  = `SELECT count(*), sum(id), sum(id % 97) FROM h`
)

// hoardRows is how many rows a statement brings, and hoardSpare how many may be deleted, over a whole run, when no more fit: so many
// find room in the history for certain. The tables never get smaller.
const (
	hoardRows  = 100
	hoardSpare = 200
)

// NewHoarder returns a hoarder with so many statements to do.
func NewHoarder(w World, s *check.Suite, source rng.Source, index int, config *plan.Config) *Hoarder {
	return &Hoarder{world: w, suite: s, rand: source.Stream("hoarder"), index: index, left: config.Hoarder, stopped: config.Hoarder == 0}
}

// Finish has the hoarder do nothing more but to look.
func (h *Hoarder) Finish() { h.ending = true }

// Idle reports whether everything is looked at.
func (h *Hoarder) Idle() bool { return h.stopped || h.looked > 0 }

// Behind describes what is not looked at in the end. It returns nothing where everything is.
func (h *Hoarder) Behind() string {
	if h.Idle() {
		return ""
	}
	return "the hoarder has not seen its table"
}

// Leave hangs up.
func (h *Hoarder) Leave() {
	h.stopped = true
	if h.link != nil {
		h.link.leave()
	}
}

// Pump does the next thing, and goes on after a while.
func (h *Hoarder) Pump() {
	if h.stopped {
		return
	}
	if h.suite.Holes { // what is lost with the log nobody can know
		h.Leave()
		return
	}
	switch k := h.link; {
	case k == nil:
		h.dial()
	case !k.ready() || len(k.asked) > 0:
	case !h.made:
		k.ask(&wire.CreateTenant{Name: "hoarder"}, func(r wire.ResponseBody) { _, h.made = r.(*wire.CreateTenantReply) })
	case h.unsure != nil || h.begun && (h.ending || h.rand.N(4) == 0):
		h.look(wire.Option[wire.Position]{})
	case len(h.past) > 0 && h.rand.N(6) == 0:
		h.look(wire.Some(h.past[h.rand.N(len(h.past))].at))
	case h.ending:
		h.looked++
	case h.left > 0:
		h.left--
		h.act()
	}
	h.world.After(h.rand.Log(1_000_000, 500_000_000), h.Pump)
}

func (h *Hoarder) dial() {
	if h.dialing {
		return
	}
	h.dialing = true
	k := newCaller(h.world, h.suite, HoarderTenant, wire.Codec(h.rand.N(wire.CodecCount)))
	k.lost = func() {
		k.conn.Abort(network.Client) // what is on its way must not come behind a look
		h.link = nil
	}
	k.pushed = func(b wire.PushBody) { h.suite.Fail(check.Contract, "the hoarder is sent a %T", b) }
	h.world.Dial(h.index, k, func(conn *network.Conn) {
		h.dialing = false
		if conn == nil || h.stopped {
			return
		}
		h.link = k
		k.open(conn)
	})
}

// act changes something.
func (h *Hoarder) act() {
	integer := func(n int) wire.Value { return wire.Value{Kind: wire.BigInt, Int: int64(n)} }
	switch n := h.rand.N(20); {
	case !h.begun:
		h.execute(hoardTable, nil, h.hoard)
	case n < 3:
		h.batches++
		id := h.batches*hoardRows + 1_000_000
		h.execute(hoardLong, []wire.Value{integer(id - 9999)}, append(slices.Clone(h.hoard), int64(id)))
	case h.full && n < 16 && len(h.hoard) > 0:
		from, digit := h.rand.N(h.batches)*hoardRows, h.rand.N(10)
		h.execute(hoardDelete, []wire.Value{integer(from), integer(digit)}, slices.DeleteFunc(slices.Clone(h.hoard), func(id int64) bool {
			return id >= int64(from) && id < int64(from)+2*hoardRows && id%10 == int64(digit)
		}))
	default:
		h.batches++
		next := slices.Clone(h.hoard)
		for n := range hoardRows {
			next = append(next, int64(h.batches*hoardRows+n))
		}
		h.execute(hoardFill, []wire.Value{integer(h.batches * hoardRows)}, next)
	}
}

// execute sends a statement, behind which there are these rows if it happens.
func (h *Hoarder) execute(text string, params []wire.Value, next hoard) {
	slices.Sort(next)
	k := h.link
	h.begun, h.unsure = true, &next
	gone := max(0, len(h.hoard)-len(next))
	spent := h.spent
	h.spent += gone // as it may be
	k.ask(&wire.Query{SQL: text, Params: params}, func(r wire.ResponseBody) {
		if k.conn.Damaged(network.Server) { // it may be the answer to something else
			return
		}
		switch r := r.(type) {
		case *wire.QueryReply:
			h.settle(next, r.Position)
		case *wire.Error:
			h.refused(text, gone, spent, r)
		}
	})
}

// settle takes up what there is.
func (h *Hoarder) settle(now hoard, at wire.Position) {
	if len(now) > len(h.hoard) {
		h.full = false
	}
	h.hoard, h.unsure = now, nil
	h.past = append(h.past, seenHoard{at, now})
}

// refused judges a statement that has not happened. One that only deletes finds room however full the tables are.
func (h *Hoarder) refused(text string, gone, spent int, e *wire.Error) {
	switch e.Code {
	case wire.QuotaExceeded:
		h.suite.Saw(check.Quota, text == hoardDelete)
		if text == hoardTable || text == hoardDelete && spent+gone <= hoardSpare {
			h.suite.Fail(check.Quota, "%s, of %d rows behind %d others, is refused: %s", text, gone, spent, e.Message)
		}
		h.full = h.full || text == hoardFill
		h.unsure = nil
	case wire.Timeout:
		h.must(text == hoardLong, "%s is refused: %s", text, e.Message)
		h.unsure = nil
	default:
		h.excused(text, e) // it may have happened
	}
}

// excused judges a refusal that says nothing about the statement.
func (h *Hoarder) excused(text string, e *wire.Error) {
	switch e.Code {
	case wire.StorageFull, wire.StorageError, wire.DataCorrupted:
		h.must(h.suite.Faulty(), "%s is refused without a fault: %s", text, e.Message)
	case wire.RateLimited, wire.Cancelled:
	case wire.Timeout: // the query has waited too long
		h.must(text == hoardCount, "%s is refused: %s", text, e.Message)
	case wire.QueryExecutionError:
		h.must(h.suite.Faulty(), "%s is refused: %s", text, e.Message)
	case wire.TableNotFound:
		h.must(len(h.hoard) == 0, "%s: the table is gone: %s", text, e.Message)
	default:
		h.must(false, "%s is refused with %s: %s", text, e.Code, e.Message)
	}
}

func (h *Hoarder) must(ok bool, format string, args ...any) bool {
	h.suite.Saw(check.Quota, true)
	if !ok {
		h.suite.Fail(check.Quota, "the hoarder: %s", fmt.Sprintf(format, args...))
	}
	return ok
}

// look asks what there is, or was at a position.
func (h *Hoarder) look(at wire.Option[wire.Position]) {
	k := h.link
	var b wire.RequestBody = &wire.Query{SQL: hoardCount}
	if at.Set {
		b = &wire.QueryAt{SQL: hoardCount, Position: at.Value}
	}
	k.ask(b, func(r wire.ResponseBody) {
		if k.conn.Damaged(network.Server) {
			return
		}
		switch r := r.(type) {
		case *wire.QueryReply:
			h.saw(r, at)
		case *wire.Error:
			h.unanswered(r)
		}
	})
}

// unanswered takes up that a look was refused. What the disk does not give in the end nobody can see.
func (h *Hoarder) unanswered(e *wire.Error) {
	h.excused(hoardCount, e)
	switch e.Code {
	case wire.TableNotFound:
		h.begun, h.unsure = false, nil
	case wire.DataCorrupted:
		h.Leave()
	case wire.StorageError:
		if h.ending {
			h.looked++
		}
	}
}

// saw compares what a look has shown with what must be there, or may be.
func (h *Hoarder) saw(r *wire.QueryReply, at wire.Option[wire.Position]) {
	if at.Set {
		i := slices.IndexFunc(h.past, func(s seenHoard) bool { return s.at == at.Value })
		h.must(h.past[i].h.is(r.Rows), "as of position %d there are %v (rows, sum), and there were %d rows", at.Value, r.Rows, len(h.past[i].h))
		return
	}
	switch {
	case h.unsure != nil && (*h.unsure).is(r.Rows):
		h.settle(*h.unsure, r.Position)
	case h.must(h.hoard.is(r.Rows), "there are %v (rows, sum), and %d rows were acknowledged", r.Rows, len(h.hoard)):
		h.unsure = nil
		if h.ending {
			h.looked++
		}
	}
}

// is reports whether a count shows these rows.
func (x hoard) is(rows [][]wire.Value) bool {
	var sum, rest int64
	for _, id := range x {
		sum, rest = sum+id, rest+id%97
	}
	return len(rows) == 1 && len(rows[0]) == 3 && rows[0][0].Int == int64(len(x)) && rows[0][1].Int == sum && rows[0][2].Int == rest
}
