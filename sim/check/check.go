// Package check holds the invariants, one file each. They are fed with what clients sent and received; every one counts
// how often it was evaluated, and how often that could have gone wrong.
package check

import (
	"fmt"

	"github.com/kimberlitedb/kimberlite-go/sim/model"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// Invariant is the number of a rule.
type Invariant int

// The rules.
const (
	Contract    Invariant = 0  // a reply has the form that the protocol says
	Durable     Invariant = 1  // an acknowledged append is there, byte for byte, at its offset
	Sent        Invariant = 2  // nothing is there that nobody sent, and nothing twice
	Dense       Invariant = 3  // offsets have no gaps
	Whole       Invariant = 4  // a batch is all or nothing
	Expectation Invariant = 5  // success if and only if expected = current
	Refusal     Invariant = 6  // what a refusal reveals is a durable fact
	Once        Invariant = 7  // an unknown outcome happened once or never
	Resent      Invariant = 8  // an append sent again returns the original result
	Linear      Invariant = 9  // the history of a stream is linearizable
	Reads       Invariant = 10 // reads return only durable events, sound, and never go back within a session
	Times       Invariant = 11 // commit times never decrease within a tenant
	Early       Invariant = 12 // retention deletes nothing early by the engine clock
	Expired     Invariant = 13 // and does delete, exactly at the cut-off for readers
	Oldest      Invariant = 14 // the oldest offset never moves back
	Pushed      Invariant = 15 // a subscription delivers every event from its offset in order, gaps only with notice
	Credit      Invariant = 16 // pushes ≤ credits
	Group       Invariant = 17 // an event of a group has one owner at a time, comes back from one that is gone, and never once it is acknowledged
	Bounded     Invariant = 18 // bytes waiting for a connection are bounded
	Deleted     Invariant = 19 // a deleted stream refuses everything, and is gone from its purge date on
	Audit       Invariant = 20 // the audit stream is chained, and has each act once
	Checkpoint  Invariant = 21 // a checkpoint is whole or absent, and shows what there was at its position, for ever
	Past        Invariant = 22 // a query as of a position sees what the entries up to it have made
	Answers     Invariant = 23 // what statements do and queries see is what a model says
	Streamed    Invariant = 24 // a streamed result is that of the query, of one snapshot, and within its window
	Batches     Invariant = 25 // statements of a batch are carried out in order, up to where they are to end; or together, or not at all
	Taint       Invariant = 26 // tenants are walls
	State       Invariant = 28 // state after recovery = state of the durable prefix
	Same        Invariant = 29 // the same seed gives the same run, and Step never panics
	Buffers     Invariant = 30 // a buffer given away is not touched
	Live        Invariant = 31 // everything ends
	Shape       Invariant = 32 // compression and protocol version change nothing that a client sees
	Quota       Invariant = 33 // what met a limit has met it for ever, and deleting rows frees room however full it is
)

// All lists the rules in order.
var All = []Invariant{
	Contract, Durable, Sent, Dense, Whole, Expectation, Refusal, Once, Resent, Linear, Reads, Times, Early, Expired, Oldest,
	Pushed, Credit, Group, Bounded, Deleted, Audit, Checkpoint, Past, Answers, Streamed, Batches, Taint, State, Same, Buffers, Live, Shape, Quota,
}

// String returns the rule's name.
func (i Invariant) String() string { return names[i] }

var names = map[Invariant]string{
	Contract: "contract", Durable: "durable", Dense: "dense", Whole: "whole", Expectation: "expectation",
	Refusal: "refusal", Once: "once", Linear: "linearizable", Reads: "reads", Times: "times", Bounded: "bounded", Taint: "taint",
	Sent: "sent", Resent: "resent", Early: "early", Expired: "expired", Oldest: "oldest", Deleted: "deleted", Audit: "audit",
	State: "state", Same: "same", Buffers: "buffers", Live: "live",
	Pushed: "pushed", Credit: "credit", Shape: "shape", Group: "group", Checkpoint: "checkpoint", Past: "past", Answers: "answers", Streamed: "streamed", Batches: "batches",
	Quota: "quota",
}

// Count says how often a rule was evaluated, and how often it had something to be wrong about.
type Count struct{ Evaluated, Real int }

// Failure is a broken rule.
type Failure struct {
	Rule Invariant
	Part string // of a rule that has several
	Text string
	Time int64
}

// Error says which rule is broken and how.
func (f *Failure) Error() string { return fmt.Sprintf("%s: %s", f.Name(), f.Text) }

// Name returns the rule's number and name, and that of its part.
func (f *Failure) Name() string {
	name := fmt.Sprintf("%d %s", int(f.Rule), f.Rule)
	if f.Part != "" {
		name += "-" + f.Part
	}
	return name
}

// Suite is all rules over one run.
type Suite struct {
	M      *model.Model
	Counts [34]Count
	Failed *Failure // the first; nothing counts after it

	Now     func() int64
	Faulty  func() bool                               // some fault of the disk was injected
	Damaged func(s *model.Stream, o wire.Offset) bool // bytes of or near this event are damaged on disk
	Holes   bool                                      // a recovery has reported lost entries
	heads   map[headKey]knownHead
}

// knownHead is a head and the call that it was told to.
type knownHead struct {
	head  wire.Offset
	order int
}

// headKey names a stream within a connection.
type headKey struct {
	conn   int
	stream *model.Stream
}

// New returns the suite over a model.
func New(m *model.Model) *Suite {
	return &Suite{M: m, heads: map[headKey]knownHead{}}
}

// Saw counts an evaluation of a rule; real says that it had something to be wrong about.
func (s *Suite) Saw(i Invariant, real bool) {
	s.Counts[i].Evaluated++
	if real {
		s.Counts[i].Real++
	}
}

// Fail notes that a rule is broken.
func (s *Suite) Fail(i Invariant, format string, args ...any) {
	if s.Failed == nil {
		s.Failed = &Failure{Rule: i, Text: fmt.Sprintf(format, args...), Time: s.Now()}
	}
}

// FailPart notes that a part of a rule is broken.
func (s *Suite) FailPart(i Invariant, part, format string, args ...any) {
	if s.Failed == nil {
		s.Failed = &Failure{Rule: i, Part: part, Text: fmt.Sprintf(format, args...), Time: s.Now()}
	}
}

// must counts a real evaluation and fails unless ok.
func (s *Suite) must(i Invariant, ok bool, format string, args ...any) bool {
	return s.mustPart(i, "", ok, format, args...)
}

func (s *Suite) mustPart(i Invariant, part string, ok bool, format string, args ...any) bool {
	s.Saw(i, true)
	if !ok {
		s.FailPart(i, part, format, args...)
	}
	return ok
}

// Reply checks the reply to a call and learns from it.
func (s *Suite) Reply(c *model.Call) {
	if e, ok := c.Reply.(*wire.Error); ok {
		c.Outcome = model.Refused
		s.refused(c, e)
		return
	}
	c.Outcome = model.Done
	if !s.fits(c) {
		return
	}
	switch b := c.Reply.(type) {
	case *wire.CreateStreamReply:
		s.created(c.Stream, b.Stream)
	case *wire.AppendEventsReply:
		s.acknowledged(c, b)
	case *wire.ReadEventsReply:
		s.read(c, b)
	case *wire.StreamInfoReply:
		s.described(c, &b.Info)
	case *wire.ListStreamsReply:
		s.listed(c, b)
	case *wire.QueryReply: // of SELECT 1
		s.must(Answers, equal(b.Rows, [][]wire.Value{{integer(1)}}), "%s: 1 is %v", where(c), b.Rows)
	case *wire.CreateTenantReply:
		s.M.Tenant(int(c.Tenant)).Exists = true
	}
	if c.Stream != nil {
		c.Stream.Ops = append(c.Stream.Ops, c)
	}
}

// Lost notes that a call will have no reply.
func (s *Suite) Lost(c *model.Call) {
	c.Outcome = model.Unknown
	if c.Append != nil && c.Append.Outcome == model.Pending {
		c.Append.Outcome = model.Unknown
	}
}

// where names a call in a failure. It is put into words only when there is one.
func where(c *model.Call) *place { return (*place)(c) }

type place model.Call

// String says which request of which client it is.
func (c *place) String() string {
	s := fmt.Sprintf("client %d request %d (operation %d, %s)", c.Client, c.ID, c.Op.N, c.Op.Kind)
	if c.Stream != nil {
		s = fmt.Sprintf("tenant %d stream %s, %s", c.Tenant, c.Stream.Name, s)
	}
	return s
}
