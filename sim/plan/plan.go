// Package plan says everything about a run before it begins: settings, clients, operations, and faults. A seed draws a
// plan; a file holds one. The same plan gives the same run.
package plan

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/kimberlitedb/kimberlite-go/sim/fault"
)

// Plan is one run.
type Plan struct {
	Note    string         `json:"note,omitempty"` // what this plan once found
	Seed    uint64         `json:"seed"`           // of whatever is not said here: latencies, fragments, data
	Config  Config         `json:"config"`
	Clients []Client       `json:"clients"`
	Ops     []Op           `json:"ops"`
	Faults  []fault.Fault  `json:"faults"`
	Rates   map[string]int `json:"rates,omitempty"` // where set, faults are drawn at these rates and Faults is not used
}

// Config holds a run's settings.
type Config struct {
	Align          int   `json:"align"`
	SegmentSize    int64 `json:"segment_size"`
	MaxBatch       int   `json:"max_batch"`
	MaxBacklog     int   `json:"max_backlog"`
	Cache          int   `json:"cache"`
	SnapshotEvery  int64 `json:"snapshot_every"`
	MaxBatchBytes  int   `json:"max_batch_bytes"`
	MaxBatchEvents int   `json:"max_batch_events"`
	MaxInflight    int   `json:"max_inflight"`
	MaxUnsent      int   `json:"max_unsent"`
	Group          int   `json:"group"`
	Share          int   `json:"share"`

	Keeper        int   `json:"keeper,omitempty"`          // operations of the client that lets streams live
	Clerk         int   `json:"clerk,omitempty"`           // operations on tables
	Forget        int64 `json:"forget,omitempty"`          // how often the history of tables is trimmed, in nanoseconds; 0 never
	TablesEvery   int   `json:"tables_every,omitempty"`    // bytes of statements between two snapshots of tables
	Hoarder       int   `json:"hoarder,omitempty"`         // statements of the client that fills its tables
	SQLPages      int   `json:"sql_pages,omitempty"`       // of a tenant's tables, where it does
	Notary        int   `json:"notary,omitempty"`          // operations on checkpoints and on the past
	MaxCuts       int   `json:"max_cuts,omitempty"`        // checkpoints that may wait to be kept; 0 is the server's own limit
	Archivist     int   `json:"archivist,omitempty"`       // operations on archives
	ArchiveBlob   int   `json:"archive_blob,omitempty"`    // bytes of records of a blob
	Locks         bool  `json:"locks,omitempty"`           // archives lock what they are asked to lock
	ArchiveShare  int   `json:"archive_share,omitempty"`   // bytes of records that one job sends
	Crew          int   `json:"crew,omitempty"`            // operations of the foreman of consumer groups
	Day           int64 `json:"day,omitempty"`             // how long a day of retention lasts, in nanoseconds
	Grain         int64 `json:"grain,omitempty"`           // how finely retention sees the clock, in nanoseconds
	KeysPerStream int   `json:"keys_per_stream,omitempty"` // idempotency keys
	KeyAge        int64 `json:"key_age,omitempty"`         // in nanoseconds
	Keys          int   `json:"keys,omitempty"`            // of all streams
	SealBlock     int   `json:"seal_block,omitempty"`      // in bytes; 0 seals nothing
	MergeFiles    int   `json:"merge_files,omitempty"`     // sealed files that make one
	Sweep         int64 `json:"sweep,omitempty"`           // within how long what was removed is in no file, in nanoseconds

	Tenants int `json:"tenants"`
	Streams int `json:"streams"` // of each tenant

	Sector    int  `json:"sector"`     // unit in which a power loss keeps or loses bytes
	Capacity  int  `json:"capacity"`   // of the disk in KiB; 0 is endless
	Torn      bool `json:"torn"`       // a power loss may keep some unsynced sectors and drop others
	Garbage   bool `json:"garbage"`    // and fill some with garbage
	Inline    int  `json:"inline_ppm"` // syncs done at once, so that no requests gather meanwhile
	Fragment  int  `json:"fragment"`   // greatest piece that the network delivers, in bytes; 0 is any
	Window    int  `json:"window"`     // bytes on their way in one direction of a connection
	DriftPPM  int  `json:"drift_ppm"`  // of the wall clock
	Blind     bool `json:"blind"`      // only what clients see is checked, and nothing that the driver saw
	Drain     bool `json:"drain"`      // operations end before the faults do
	FastDisk  bool `json:"fast_disk"`
	Dev       bool `json:"dev"`      // tenants are made on first use
	ThinkTime int  `json:"think_us"` // greatest pause between a client's operations
}

// Client is one client.
type Client struct {
	Tenant    int  `json:"tenant"` // from 1 on
	Rich      bool `json:"rich"`
	Extended  bool `json:"extended"`
	Handshake bool `json:"handshake"`
	Version   int  `json:"version,omitempty"` // of the protocol, where there is a handshake; 0 is 1
	Codec     int  `json:"codec,omitempty"`   // for requests and replies
	Pipeline  int  `json:"pipeline"`          // requests in flight
	Resend    bool `json:"resend"`            // tries again what had an unknown outcome
}

// Op is one operation of a client. What it does not say is drawn from the seed and N.
type Op struct {
	N      int    `json:"n"` // identifies the operation; the same after others are left out
	Client int    `json:"client"`
	Kind   Kind   `json:"kind"`
	Stream int    `json:"stream,omitempty"` // which of the tenant's
	Expect Expect `json:"expect,omitempty"`
	Count  int    `json:"count,omitempty"` // events, or the limit of a read
	Size   int    `json:"size,omitempty"`  // bytes of each event at most, or of a read
	Times  bool   `json:"times,omitempty"` // with timestamps
	Pause  int64  `json:"pause_us,omitempty"`
	Case   int    `json:"case,omitempty"` // which of a kind's variants
}

// Kind is what an operation does.
type Kind string

// The kinds of operations.
const (
	Create       Kind = "create"        // a stream
	Append       Kind = "append"        //
	Read         Kind = "read"          // from somewhere in the stream
	Follow       Kind = "follow"        // read on from where the client last stopped
	Sync         Kind = "sync"          //
	Info         Kind = "info"          // stream info by name or id
	ListStreams  Kind = "list-streams"  //
	ListTenants  Kind = "list-tenants"  //
	CreateTenant Kind = "create-tenant" //
	Ping         Kind = "ping"          //
	Query        Kind = "query"
	Pause        Kind = "pause"       // send nothing for a while
	BadAppend    Kind = "bad-append"  // empty, too large, wrong timestamps …
	BadCreate    Kind = "bad-create"  // a name that is taken or illegal
	Stranger     Kind = "stranger"    // touch another tenant's stream
	Twice        Kind = "twice"       // the same request id again, while it is in flight
	Garbage      Kind = "garbage"     // bytes that are not a frame
	Huge         Kind = "huge"        // a header that claims too much
	Cut          Kind = "cut"         // hang up in mid-frame
	HangUp       Kind = "hang-up"     // hang up with requests in flight
	Deaf         Kind = "deaf"        // ask for much and never read
	Late         Kind = "late"        // a handshake that is not the first request
	Subscribe    Kind = "subscribe"   // to a stream, from somewhere
	Grant        Kind = "grant"       // credit to a subscription
	Unsubscribe  Kind = "unsubscribe" //
	Undecodable  Kind = "undecodable" // a frame whose payload is no request
)

// Kinds lists all kinds.
var Kinds = []Kind{
	Create, Append, Read, Follow, Sync, Info, ListStreams, ListTenants, CreateTenant, Ping, Query, Pause, BadAppend,
	BadCreate, Stranger, Twice, Garbage, Huge, Cut, HangUp, Deaf, Late, Subscribe, Grant, Unsubscribe, Undecodable,
}

// Farewell is from which number on an operation is not the plan's: once faults have ended, every client appends once
// more, and that must succeed.
const Farewell = 1 << 24

// Expect says which expect_offset an append carries.
type Expect string

// The expectations.
const (
	ExpectNone  Expect = ""
	ExpectRight Expect = "right" // the head as the client knows it
	ExpectStale Expect = "stale" // below it
	ExpectAhead Expect = "ahead" // above it
)

// Load reads a plan from a file.
func Load(path string) (*Plan, error) {
	p, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("load plan: %w", err)
	}
	var pl Plan
	if err := json.Unmarshal(p, &pl); err != nil {
		return nil, fmt.Errorf("load plan %s: %w", path, err)
	}
	return &pl, nil
}

// Save writes a plan to a file.
func (p *Plan) Save(path string) error {
	b, err := json.MarshalIndent(p, "", " ")
	if err != nil {
		return fmt.Errorf("save plan: %w", err)
	}
	if err := os.WriteFile(path, append(b, '\n'), 0o644); err != nil {
		return fmt.Errorf("save plan: %w", err)
	}
	return nil
}

// Clone returns a copy that shares nothing that changes.
func (p *Plan) Clone() *Plan {
	c := *p
	c.Clients = append([]Client(nil), p.Clients...)
	c.Ops = append([]Op(nil), p.Ops...)
	c.Faults = append([]fault.Fault(nil), p.Faults...)
	return &c
}
