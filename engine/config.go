package engine

import (
	"github.com/kimberlitedb/kimberlite-go/engine/archive"
	"github.com/kimberlitedb/kimberlite-go/engine/proof"
	"github.com/kimberlitedb/kimberlite-go/engine/seg"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// Spans of time, in nanoseconds.
const (
	Second wire.Span = 1_000_000_000
	Minute           = 60 * Second
	Hour             = 60 * Minute
	Day              = 24 * Hour
)

// Config holds the machine's settings. Use DefaultConfig and change what you need.
type Config struct {
	// Store and Geometry are used when a data directory is made; afterwards the directory's own hold.
	Store    seg.StoreID
	Geometry seg.Geometry

	// Seed feeds the machine's random numbers (salts). It must be unpredictable in production.
	Seed [32]byte

	// Dev lets CreateStream make a missing tenant.
	Dev bool

	// MaxBatch is how many bytes a batch gathers before the next one begins; one entry alone may be larger.
	MaxBatch int
	// MaxBacklog is how many bytes may wait for the disk before the machine takes no more requests.
	MaxBacklog int
	// Cache is how many bytes of the newest batches stay in memory for reads.
	Cache int
	// MaxDiskReads is how many reads may be at the disk at a time; each holds a file open.
	MaxDiskReads int
	// MaxPushed is how many bytes may wait for a connection before nothing more is pushed to it.
	MaxPushed int
	// SnapshotEvery is how many bytes of log are written between two snapshots.
	SnapshotEvery int64
	// MaxBatchBytes is the greatest event data of one append. Entries must fit into a segment.
	MaxBatchBytes int
	// MaxBatchEvents is the greatest number of events of one append.
	MaxBatchEvents int

	// FutureLimit is how far ahead of the engine clock an event time may lie.
	FutureLimit wire.Span
	// MarkAfter is how long the log is idle before a commit mark says that it is durable.
	MarkAfter wire.Span
	// StepLimit is the greatest difference between wall clock and engine clock that is trusted while running.
	StepLimit wire.Span
	// RestartLimit is the same forward across a restart.
	RestartLimit wire.Span

	// RetentionDay is how long a day of retention lasts. Only the simulator has shorter ones.
	RetentionDay wire.Span
	// RetentionGrain is how finely retention sees the engine clock: events expire at its multiples.
	RetentionGrain wire.Span

	// SealBlock is how many bytes of records make a block of a sealed file; with 0 nothing is sealed.
	SealBlock int
	// MergeFiles is how many sealed files of a size are merged into one, and MaxSealed how large, uncompressed, a file may
	// become by that.
	MergeFiles int
	MaxSealed  int64
	// SweepInterval is within how long what was removed is in no file any more.
	SweepInterval wire.Span

	// KeysPerStream is how many idempotency keys a stream remembers, KeyAge for how long, and Keys how many there are over
	// all streams.
	KeysPerStream int
	KeyAge        wire.Span
	Keys          int

	// SQLSteps is how many steps of SQLite's virtual machine a statement may take, and SQLPages how many pages of 4 KiB the
	// tables of a tenant.
	SQLSteps uint64
	SQLPages uint64
	// TablesEvery is how many bytes of statements are carried out between two snapshots of a tenant's tables, which are written
	// more seldom where they are larger than that: what is written stays in proportion to what statements bring.
	TablesEvery uint64
	// ForgetEvery is how often the history of a tenant's tables is trimmed, where it is: each time they are written out twice.
	ForgetEvery wire.Span
	// MaxQueries is how many queries there may be at work at a time; each may take much memory. MaxQuestions is how many may
	// wait or be at work.
	MaxQueries   int
	MaxQuestions int
	// MaxCursors is how many streamed queries may be open between two chunks, give or take MaxQueries; each holds a snapshot
	// and a connection's memory. More wait, for CursorWait at most. ChunkBytes is about the greatest chunk.
	MaxCursors int
	CursorWait wire.Span
	ChunkBytes int
	// QueryTime is how long a query may take, and AckPatience how long a streamed one waits until its client takes what it
	// was sent.
	QueryTime   wire.Span
	AckPatience wire.Span

	// MaxCuts is how many checkpoints may wait to be kept; each holds some hundred bytes for each stream of its tenant.
	MaxCuts int
	// Signers sign the notes of checkpoints; there is more than one while a key is being replaced.
	Signers []proof.Signer

	// Archives are where checkpoints may be sent, and restored from.
	Archives []string
	// ArchiveBlob is how many bytes of records make a blob of an archive, and ArchiveShare how many one job sends.
	ArchiveBlob  int
	ArchiveShare int
	// Trusted are the keys of which one must have signed a checkpoint that is restored into this server; nil for none.
	Trusted proof.Keys

	// Probe, if not nil, is told when the machine passes an interesting place.
	Probe func(Probe)
}

// DefaultConfig returns the settings of a production server, Store and Seed left to the caller.
func DefaultConfig() Config {
	return Config{
		Geometry:       seg.Geometry{Align: 4096, SegmentSize: 64 << 20},
		MaxBatch:       1 << 20,
		MaxBacklog:     16 << 20,
		Cache:          128 << 20,
		MaxDiskReads:   64,
		MaxPushed:      1 << 20,
		SnapshotEvery:  128 << 20,
		MaxBatchBytes:  wire.MaxBatchBytes,
		MaxBatchEvents: wire.MaxBatchEvents,
		FutureLimit:    Day,
		MarkAfter:      Second,
		StepLimit:      Hour,
		RestartLimit:   31 * Day,
		RetentionDay:   Day,
		RetentionGrain: Second,
		SealBlock:      seg.DefaultTarget,
		MergeFiles:     8,
		MaxSealed:      4 << 30,
		SweepInterval:  Day,
		KeysPerStream:  10_000,
		KeyAge:         Day,
		Keys:           250_000,
		SQLSteps:       500_000_000,
		SQLPages:       256 << 10,
		TablesEvery:    16 << 20,
		ForgetEvery:    6 * Hour,
		MaxQueries:     8,
		MaxQuestions:   10_000,
		MaxCursors:     32,
		CursorWait:     10 * Second,
		ChunkBytes:     256 << 10,
		QueryTime:      Hour,
		AckPatience:    5 * Minute,
		MaxCuts:        16,
		ArchiveBlob:    archive.TargetBlob,
		ArchiveShare:   16 << 20,
	}
}
