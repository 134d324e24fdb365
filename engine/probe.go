package engine

// Probe is an interesting place in the engine that a simulation ought to reach. A batch of runs that never passes one
// of them proves less than it seems to.
type Probe int

// The places.
const (
	ProbeAppendWaitsForSync Probe = iota
	ProbeOffsetMismatch
	ProbeMismatchOnUndurable
	ProbeReadEmpty
	ProbeReadFromMemory
	ProbeReadFromDisk
	ProbeReadWaitsForOthers
	ProbeReadUndurable
	ProbeReadCutByBytes
	ProbeReadCutByEvents
	ProbeReadAcrossBatches
	ProbeReadAcrossSegments
	ProbeReadDamaged
	ProbeBatchClosedBehindSync
	ProbeBatchRollsSegment
	ProbeBatchWaitsForSegment
	ProbeStorageFull
	ProbeStorageHealed
	ProbeCommitMark
	ProbeSnapshotWritten
	ProbeSnapshotFailed
	ProbeSnapshotUsed
	ProbeSnapshotDamaged
	ProbeRecoveryEmpty
	ProbeRecoveryTornTail
	ProbeRecoveryCopiedTail
	ProbeRecoveryCopyMet
	ProbeRecoveryTailToNextSegment
	ProbeRecoveryHole
	ProbeRecoveryTempRemoved
	ProbeTenantReadOnly
	ProbeTenantByFirstUse
	ProbeDuplicateStream
	ProbeClockDoubted
	ProbeClockTrustedAgain
	ProbeIOFailed
	ProbeStreamDeleted
	ProbeUndeleted
	ProbePurged
	ProbeHeld
	ProbeSystemStream
	ProbeRefusalCoalesced
	ProbeTrimmed
	ProbeTrimAwaited
	ProbeDuplicateAppend
	ProbeDuplicateOfUndurable
	ProbeKeyReused
	ProbeReserveUsed
	ProbeClockConfirmed
	ProbeReadBackward
	ProbeReadBelowOldest
	ProbeReadSought
	ProbeReadDeletedMeanwhile
	ProbeAuditVerified
	ProbeManifestFailed
	ProbeFilesPinned
	ProbeSealed
	ProbeSealFailed
	ProbeMerged
	ProbeSealedDamaged
	ProbeReadSealed
	ProbeSweepBegun
	ProbeSwept
	ProbeSubscribed
	ProbeSubscribedUndurable
	ProbeSubscriptionClosed
	ProbeSubscriberChoked
	ProbeSubscriberUncrowded
	ProbeSubscriptionRetries
	ProbeGapByDamage
	ProbeGapByRetention
	ProbeCaughtUp
	ProbeCreditStall
	ProbeGroupCreated
	ProbeGroupSought
	ProbeGroupUnparked
	ProbeGroupRestarted
	ProbeGroupParked
	ProbeGroupReach
	ProbeGroupGap
	ProbeGroupPassedOver
	ProbeGroupStarved
	ProbeMemberDied
	ProbeStaleDelivery
	ProbeAckDeadline
	ProbeRedelivered
	ProbeKeyBlocked
	ProbeExplained
	ProbeDuplicateStatement // a statement's idempotency key was known
	ProbePositionAhead      // a query was asked as of a position that there is not yet
	ProbeOutcomesTold       // the log was told which tables there are
	ProbeQueryAwaitsTrim    // a query waited until what has expired was cut off
	ProbeQueryTrimmed       // retention has hidden what a query of the past would have seen
	ProbeQueryBeforePending // a query saw streams up to a statement that was not carried out
	ProbeQueryBehindTables  // a query was run as of the position up to which its streams were known
	ProbeQueryScansMemory   // a query read events in memory
	ProbeQueryScansLog      // in log segments
	ProbeQueryScansSealed   // in sealed files
	ProbeQueryReadsNoBlock  // a query counted events without reading them
	ProbeQueryPassesBlock   // a query passed over events that are too old
	ProbeQueryNothingToRead // a query had nothing to read, by its bounds
	ProbeBatchStopped       // a batch of statements ended at one that had failed
	ProbeBatchFailed        // an atomic one was refused before it became an entry
	ProbeBatchRolledBack    // an atomic one failed as an entry
	ProbeBatchLeft          // a connection went while a batch was under way
	ProbeChunked            // a chunk was sent that was not the last
	ProbeWindowFull         // a streamed query waits for an acknowledgement
	ProbeCursorRefused      // too many streamed queries were open
	ProbeQueryCancelled     // by its client
	ProbeQueryAbandoned     // its connection was gone
	ProbeQueryTimedOut      // it took too long
	ProbeCheckpointCut      // a checkpoint was cut
	ProbeCheckpointTaken    // another one has its label
	ProbeCheckpointMissing  // a request names one that there is not
	ProbeCheckpointsWait    // too many of them wait to be kept
	ProbeCheckpointKept     // one has its file
	ProbeCheckpointNotKept  // its file could not be written, or what it has could not be read
	ProbeCheckpointDeleted  // one was deleted
	ProbeCheckpointGrows    // one goes on from the trees of the one before
	ProbeCheckpointAbsent   // events of one were gone before they could be hashed
	ProbeCheckpointsTidied  // files of checkpoints that were deleted are removed
	ProbeCheckpointAgain    // one that was cut in an earlier life is kept
	ProbeArchiveAsked       // a checkpoint is to be sent to an archive
	ProbeArchiveRefused     // to one that the settings do not allow
	ProbeLockRefused        // what it has is to be gone before a lock would end
	ProbeArchiveFailed      // a piece of one could not be sent
	ProbeArchiveGoesOn      // one takes more than one job
	ProbeArchiveGrows       // what an earlier checkpoint has brought there is not sent again
	ProbeArchiveLeaves      // leaves are sent in the place of events that are gone
	ProbeArchived           // all of a checkpoint is in an archive
	ProbeArchivePruned      // what is removed was taken out of an archive
	ProbePruneFailed        // it could not be
	ProbeRestoreBegun       // a checkpoint of an archive begins to become a tenant
	ProbeRestoreRefused     // a checkpoint was not restored
	ProbeRestoreFailed      // a piece of one could not be read, or is not what follows
	ProbeRestored           // a tenant of an archive is all there
	ProbeReadAsOf           // a read looks for the head of its stream as of a position
	ProbeTablesSaved        // a snapshot of tables was written
	ProbeTablesNotSaved     // or could not be
	ProbeTablesLoaded       // tables were taken up from a snapshot
	ProbeTablesUnusable     // a snapshot of tables was passed over
	ProbeTablesRebuilt      // all statements were carried out again, although there were snapshots
	ProbeArchiveTables      // the dump of tables came into an archive
	ProbeArchiveNoTables    // it could not be had any more
	ProbeDumpWaits          // a checkpoint waited until statements were carried out
	ProbeHistoryForgotten   // history of tables was forgotten

	// ProbeCount is how many probes there are.
	ProbeCount
)

// String returns the probe's name.
func (p Probe) String() string { return probeNames[p] }

var probeNames = [ProbeCount]string{
	ProbeAppendWaitsForSync:        "append-waits-for-sync",
	ProbeOffsetMismatch:            "offset-mismatch",
	ProbeMismatchOnUndurable:       "mismatch-on-undurable",
	ProbeReadEmpty:                 "read-empty",
	ProbeReadFromMemory:            "read-from-memory",
	ProbeReadFromDisk:              "read-from-disk",
	ProbeReadWaitsForOthers:        "read-waits-for-others",
	ProbeReadUndurable:             "read-undurable",
	ProbeReadCutByBytes:            "read-cut-by-bytes",
	ProbeReadCutByEvents:           "read-cut-by-events",
	ProbeReadAcrossBatches:         "read-across-batches",
	ProbeReadAcrossSegments:        "read-across-segments",
	ProbeReadDamaged:               "read-damaged",
	ProbeBatchClosedBehindSync:     "batch-closed-behind-sync",
	ProbeBatchRollsSegment:         "batch-rolls-segment",
	ProbeBatchWaitsForSegment:      "batch-waits-for-segment",
	ProbeStorageFull:               "storage-full",
	ProbeStorageHealed:             "storage-healed",
	ProbeCommitMark:                "commit-mark",
	ProbeSnapshotWritten:           "snapshot-written",
	ProbeSnapshotFailed:            "snapshot-failed",
	ProbeSnapshotUsed:              "snapshot-used",
	ProbeSnapshotDamaged:           "snapshot-damaged",
	ProbeRecoveryEmpty:             "recovery-empty",
	ProbeRecoveryTornTail:          "recovery-torn-tail",
	ProbeRecoveryCopiedTail:        "recovery-copied-tail",
	ProbeRecoveryCopyMet:           "recovery-copy-met",
	ProbeRecoveryTailToNextSegment: "recovery-tail-to-next-segment",
	ProbeRecoveryHole:              "recovery-hole",
	ProbeRecoveryTempRemoved:       "recovery-temp-removed",
	ProbeTenantReadOnly:            "tenant-read-only",
	ProbeTenantByFirstUse:          "tenant-by-first-use",
	ProbeDuplicateStream:           "duplicate-stream",
	ProbeClockDoubted:              "clock-doubted",
	ProbeClockTrustedAgain:         "clock-trusted-again",
	ProbeIOFailed:                  "io-failed",
	ProbeStreamDeleted:             "stream-deleted",
	ProbeUndeleted:                 "undeleted",
	ProbePurged:                    "purged",
	ProbeHeld:                      "held",
	ProbeSystemStream:              "system-stream",
	ProbeRefusalCoalesced:          "refusal-coalesced",
	ProbeTrimmed:                   "trimmed",
	ProbeTrimAwaited:               "trim-awaited",
	ProbeDuplicateAppend:           "duplicate-append",
	ProbeDuplicateOfUndurable:      "duplicate-of-undurable",
	ProbeKeyReused:                 "key-reused",
	ProbeReserveUsed:               "reserve-used",
	ProbeClockConfirmed:            "clock-confirmed",
	ProbeReadBelowOldest:           "read-below-oldest",
	ProbeReadBackward:              "read-backward",
	ProbeReadSought:                "read-sought",
	ProbeReadDeletedMeanwhile:      "read-deleted-meanwhile",
	ProbeAuditVerified:             "audit-verified",
	ProbeManifestFailed:            "manifest-failed",
	ProbeFilesPinned:               "files-pinned",
	ProbeSealed:                    "sealed",
	ProbeSealFailed:                "seal-failed",
	ProbeMerged:                    "merged",
	ProbeSealedDamaged:             "sealed-damaged",
	ProbeReadSealed:                "read-sealed",
	ProbeSweepBegun:                "sweep-begun",
	ProbeSwept:                     "swept",
	ProbeSubscribed:                "subscribed",
	ProbeSubscribedUndurable:       "subscribed-undurable",
	ProbeSubscriptionClosed:        "subscription-closed",
	ProbeSubscriberUncrowded:       "subscriber-uncrowded",
	ProbeSubscriberChoked:          "subscriber-choked",
	ProbeSubscriptionRetries:       "subscription-retries",
	ProbeGapByDamage:               "gap-by-damage",
	ProbeGapByRetention:            "gap-by-retention",
	ProbeCaughtUp:                  "caught-up",
	ProbeCreditStall:               "credit-stall",
	ProbeGroupCreated:              "group-created",
	ProbeGroupSought:               "group-sought",
	ProbeGroupUnparked:             "group-unparked",
	ProbeGroupRestarted:            "group-restarted",
	ProbeGroupParked:               "group-parked",
	ProbeGroupReach:                "group-reach",
	ProbeGroupGap:                  "group-gap",
	ProbeGroupPassedOver:           "group-passed-over",
	ProbeGroupStarved:              "group-starved",
	ProbeMemberDied:                "member-died",
	ProbeStaleDelivery:             "stale-delivery",
	ProbeAckDeadline:               "ack-deadline",
	ProbeRedelivered:               "redelivered",
	ProbeKeyBlocked:                "key-blocked",
	ProbeExplained:                 "explained",
	ProbeDuplicateStatement:        "duplicate-statement",
	ProbePositionAhead:             "position-ahead",
	ProbeOutcomesTold:              "outcomes-told",
	ProbeQueryAwaitsTrim:           "query-awaits-trim",
	ProbeQueryTrimmed:              "query-trimmed",
	ProbeQueryBeforePending:        "query-before-pending",
	ProbeQueryBehindTables:         "query-behind-tables",
	ProbeQueryScansMemory:          "query-scans-memory",
	ProbeQueryScansLog:             "query-scans-log",
	ProbeQueryScansSealed:          "query-scans-sealed",
	ProbeQueryReadsNoBlock:         "query-reads-no-block",
	ProbeQueryPassesBlock:          "query-passes-block",
	ProbeQueryNothingToRead:        "query-nothing-to-read",
	ProbeBatchStopped:              "batch-stopped",
	ProbeBatchFailed:               "batch-failed",
	ProbeBatchRolledBack:           "batch-rolled-back",
	ProbeBatchLeft:                 "batch-left",
	ProbeChunked:                   "chunked",
	ProbeWindowFull:                "chunk-window-full",
	ProbeCursorRefused:             "cursor-refused",
	ProbeQueryCancelled:            "query-cancelled",
	ProbeQueryAbandoned:            "query-abandoned",
	ProbeQueryTimedOut:             "query-timed-out",
	ProbeCheckpointCut:             "checkpoint-cut",
	ProbeCheckpointTaken:           "checkpoint-taken",
	ProbeCheckpointMissing:         "checkpoint-missing",
	ProbeCheckpointsWait:           "checkpoints-wait",
	ProbeCheckpointKept:            "checkpoint-kept",
	ProbeCheckpointNotKept:         "checkpoint-not-kept",
	ProbeCheckpointDeleted:         "checkpoint-deleted",
	ProbeCheckpointGrows:           "checkpoint-grows",
	ProbeCheckpointAbsent:          "checkpoint-absent",
	ProbeCheckpointsTidied:         "checkpoints-tidied",
	ProbeCheckpointAgain:           "checkpoint-again",
	ProbeArchiveAsked:              "archive-asked",
	ProbeArchiveRefused:            "archive-refused",
	ProbeLockRefused:               "lock-refused",
	ProbeArchiveFailed:             "archive-failed",
	ProbeArchiveGoesOn:             "archive-goes-on",
	ProbeArchiveGrows:              "archive-grows",
	ProbeArchiveLeaves:             "archive-leaves",
	ProbeArchived:                  "archived",
	ProbeArchivePruned:             "archive-pruned",
	ProbePruneFailed:               "prune-failed",
	ProbeRestoreBegun:              "restore-begun",
	ProbeRestoreRefused:            "restore-refused",
	ProbeRestoreFailed:             "restore-failed",
	ProbeRestored:                  "restored",
	ProbeReadAsOf:                  "read-as-of",
	ProbeTablesSaved:               "tables-saved",
	ProbeTablesNotSaved:            "tables-not-saved",
	ProbeTablesLoaded:              "tables-loaded",
	ProbeTablesUnusable:            "tables-unusable",
	ProbeTablesRebuilt:             "tables-rebuilt",
	ProbeArchiveTables:             "archive-tables",
	ProbeArchiveNoTables:           "archive-no-tables",
	ProbeDumpWaits:                 "dump-waits",
	ProbeHistoryForgotten:          "history-forgotten",
}

func (c *Config) hit(p Probe) {
	if c.Probe != nil {
		c.Probe(p)
	}
}
