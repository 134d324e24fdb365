package admin

import (
	"math"
	"strconv"

	"github.com/kimberlitedb/kimberlite-go/engine"
	"github.com/kimberlitedb/kimberlite-go/wire"
	"github.com/prometheus/client_golang/prometheus"
)

// collector turns a Snapshot into metrics when they are asked for, so that counting costs an addition.
type collector struct{ source Source }

var (
	requests    = desc("requests_total", "Replies sent, by operation and code.", "op", "code")
	latency     = desc("request_seconds", "Time from a request's arrival to its reply.", "op")
	fsync       = desc("fsync_seconds", "Write and fdatasync of one batch.")
	batchBytes  = desc("batch_bytes", "Size of one batch on disk, padding included.")
	busy        = desc("machine_busy_seconds_total", "Time that the state machine was stepped.")
	queued      = desc("queue_depth", "Requests received that the state machine has not seen.")
	backlog     = desc("disk_backlog_bytes", "Bytes decided that are not on stable storage.")
	conns       = desc("connections", "Open connections.")
	opened      = desc("connections_opened_total", "Connections accepted.")
	refused     = desc("connections_refused_total", "Connections beyond the limit, closed at once.")
	disconnects = desc("disconnects_total", "Connections that the server ended, by reason.", "reason")
	faults      = desc("wire_faults_total", "Frames that could not be decoded, by reason.", "reason")
	bytesIn     = desc("received_bytes_total", "Bytes received from clients.")
	bytesOut    = desc("sent_bytes_total", "Bytes sent to clients.")
	appends     = desc("appends_total", "Appends accepted.")
	events      = desc("events_total", "Events appended.")
	eventBytes  = desc("event_bytes_total", "Event data appended.")
	mismatches  = desc("offset_mismatches_total", "Appends refused because the stream had moved on (optimistic concurrency).")
	duplicates  = desc("duplicate_appends_total", "Appends that had happened before, answered from their idempotency key.")
	keys        = desc("idempotency_keys", "Idempotency keys remembered.")
	trims       = desc("retention_trims_total", "Moves of a stream's oldest offset by retention.")
	purges      = desc("purges_total", "Deleted streams purged.")
	removed     = desc("removed_events_total", "Events that retention or a purge removed.")
	removedData = desc("removed_event_bytes_total", "Event data that retention or a purge removed.")
	overdue     = desc("retention_overdue_seconds", "How long the removal that has waited longest is overdue.")
	denied      = desc("refused_accesses_total", "Refused accesses told in audit streams.")
	noSpace     = desc("storage_refusals_total", "Requests refused because the disk is full.")
	batches     = desc("batches_total", "Batches written to the log.")
	logBytes    = desc("log_bytes_total", "Bytes written to the log, padding included.")
	diskReads   = desc("disk_reads_total", "Reads that were not served from memory.")
	snapshots   = desc("snapshots_total", "State snapshots written.")
	segments    = desc("log_segments", "Log segments that are not sealed, the one being written and the one ahead included.")
	sealedFiles = desc("sealed_files", "Sealed files.")
	sealedBytes = desc("sealed_bytes", "Size of the sealed files.")
	sealedOut   = desc("sealed_written_bytes_total", "Bytes written into sealed files.")
	rewritten   = desc("rewritten_bytes_total", "Bytes written into sealed files by merging them, and by leaving out what was removed.")
	sweeps      = desc("sweeps_total", "Sweeps ended: what was removed before each is in no file any more.")
	unswept     = desc("unswept_seconds", "How long something that was removed has waited to be in no file any more; 0 where nothing does.")
	oldest      = desc("oldest_event_age_seconds", "Age of the oldest event that can be read, by its event time; 0 without events.")
	subs        = desc("subscriptions", "Subscriptions.")
	subscribers = desc("subscribers", "Connections with subscriptions.")
	pushes      = desc("pushes_total", "Pushes of events to subscriptions.")
	pushed      = desc("pushed_events_total", "Events pushed to subscriptions.")
	pushedBytes = desc("pushed_event_bytes_total", "Encoded events pushed to subscriptions, before compression.")
	stalls      = desc("credit_stalls_total", "Times that a subscription had no credit for events that there were.")
	gaps        = desc("subscription_gaps_total", "Gaps told to subscriptions: events that have expired or cannot be read.")
	lag         = desc("subscription_lag_events", "Events that the subscription furthest behind has not been sent.")
	deliveries  = desc("group_deliveries_total", "Deliveries of events to members of consumer groups.")
	redelivered = desc("group_redelivered_total", "Of them, those that were not an event's first.")
	acks        = desc("group_acks_total", "Deliveries acknowledged.")
	parkings    = desc("group_parked_events_total", "Events parked.")
	groupLag    = desc("group_lag_events", "Events that a consumer group has not settled.", groupLabels...)
	groupAge    = desc("group_lag_seconds", "About the age of the oldest of them, by its event time.", groupLabels...)
	groupHeld   = desc("group_pending", "Deliveries of a group that are not acknowledged.", groupLabels...)
	groupOldest = desc("group_oldest_unacknowledged_seconds", "How long the oldest of them has been with its member.", groupLabels...)
	groupParked = desc("group_parked", "Events that a group has parked.", groupLabels...)
	groupDelays = desc("group_delayed", "Events that were given back to a group with a delay, which runs.", groupLabels...)
	groupSize   = desc("group_members", "Members of a group.", groupLabels...)
	groupAgain  = desc("group_redeliveries_total", "Deliveries of a group that were not an event's first.", groupLabels...)
	sqlWrites   = desc("sql_writes_total", "SQL statements that became entries of the log; an atomic batch is one.")
	sqlQueries  = desc("sql_queries_total", "SQL queries.")
	sqlScanned  = desc("sql_events_scanned_total", "Events of streams that SQL queries have looked at.")
	sqlBatches  = desc("sql_batches_total", "Batches of SQL statements.")
	sqlAsked    = desc("sql_queries_waiting", "SQL queries that wait or are under way.")
	sqlChunks   = desc("sql_chunks_total", "Chunks of streamed SQL queries.")
	sqlRowBytes = desc("sql_chunk_bytes_total", "About what their rows take, in bytes.")
	sqlCursors  = desc("sql_cursors", "Streamed SQL queries that are open between two chunks.")
	sqlCancels  = desc("sql_queries_cancelled_total", "SQL queries that their client has cancelled.")
	sqlTimeouts = desc("sql_queries_timed_out_total", "SQL queries that a limit of time has ended.")
	sqlBehind   = desc("sql_unapplied_statements", "SQL statements that are decided and not carried out yet.")
	sqlTenants  = desc("sql_tenants", "Tenants whose tables are in memory.")
	cpCut       = desc("checkpoints_total", "Checkpoints cut.")
	cpKept      = desc("checkpoints_kept_total", "Checkpoints kept: hashed, signed and in a file.")
	cpFailed    = desc("checkpoint_failures_total", "Times that a checkpoint could not be kept; it is tried again.")
	cpTime      = desc("checkpoint_seconds_total", "Time from the cut of checkpoints until they were kept.")
	cpWaiting   = desc("checkpoints_waiting", "Checkpoints that wait until they are kept.")
	cpLast      = desc("checkpoint_last_success_timestamp_seconds", "When a checkpoint was kept for the last time, by the engine clock; 0 for never since the start.")
	cpSize      = desc("checkpoint_last_bytes", "Event data in that one.")
	arDone      = desc("archived_checkpoints_total", "Checkpoints of which an archive has got all.")
	arBytes     = desc("archived_bytes_total", "Bytes sent to archives.")
	arFailed    = desc("archive_failures_total", "Times that a piece of a checkpoint could not be sent; it is tried again.")
	arWaiting   = desc("archives_waiting", "Archives that do not have all of a checkpoint that was asked for.")
	arLast      = desc("archive_last_success_timestamp_seconds", "When an archive had all of a checkpoint for the last time, by the engine clock; 0 for never since the start.")
	arPruned    = desc("archive_pruned_events_total", "Events that were taken out of archives, since retention or a purge had removed them.")
	arNotPruned = desc("archive_prune_failures_total", "Times that they could not be; it is tried again.")
	arUnpruned  = desc("archive_unpruned_seconds", "How long something that was removed has been in an archive; 0 where nothing is.")
	rsDone      = desc("restored_tenants_total", "Tenants that were restored from archives into this server.")
	rsEvents    = desc("restored_events_total", "Events that were brought from archives.")
	rsFailed    = desc("restore_failures_total", "Times that a piece of a tenant could not be; it is tried again.")
	rsWaiting   = desc("restoring_tenants", "Tenants that are being restored from archives, and cannot be used yet.")
	sqlSaved    = desc("sql_snapshots_total", "Snapshots of tenants' tables written.")
	sqlSize     = desc("sql_snapshot_bytes_total", "Bytes written into snapshots of tables.")
	sqlNotSaved = desc("sql_snapshot_failures_total", "Snapshots of tables that could not be written.")
	sqlLoaded   = desc("sql_snapshots_loaded_total", "Snapshots of tables taken up when tables were first needed.")
	sqlUnusable = desc("sql_snapshots_unusable_total", "Snapshots of tables that were passed over: damaged, or not of the tables that the log makes.")
	sqlRebuilt  = desc("sql_rebuilds_total", "Times that all statements were carried out again, since no snapshot of the tables was whole.")
	sqlLoadTime = desc("sql_load_seconds_total", "Time that it took until tables were as the log says, since they were first needed.")
	sqlBroken   = desc("sql_tenants_stopped", "Of them, those whose SQL has ended: statements are damaged, or came to another outcome than before.")
	packRaw     = desc("compression_raw_bytes_total", "Payloads that travelled compressed, before compression.", "codec", "direction")
	packTravels = desc("compression_compressed_bytes_total", "The same after compression.", "codec", "direction")
	packFrames  = desc("compression_frames_total", "Frames that travelled compressed.", "codec", "direction")
	packTime    = desc("compression_seconds_total", "Time spent compressing and expanding.", "codec", "direction")
	memory      = desc("log_memory_bytes", "The newest part of the log that is kept in memory.")
	tenants     = desc("tenants", "Tenants.")
	streams     = desc("streams", "Streams of all tenants.")
	lsn         = desc("log_sequence_number", "The last log entry, decided and durable.", "state")
	readOnly    = desc("tenants_read_only", "Tenants that take no writes because the log is damaged where theirs may have been.")
	clockDoubt  = desc("clock_distrust_seconds", "Wall clock minus engine clock while the wall clock is not believed; 0 while it is.")
	recovery    = desc("recovery_seconds", "Duration of the last recovery.")
	halted      = desc("halted", "1 once a write or fsync has failed and nothing is acknowledged any more.")
)

// groupLabels say which group a metric is of. All beyond the MaxGroups that lag most are one, whose labels are "other".
var groupLabels = []string{"tenant", "stream", "group"}

// MaxGroups is how many consumer groups have metrics of their own.
const MaxGroups = 100

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("kimberlite_"+name, help, labels, nil)
}

// Describe implements prometheus.Collector. It names nothing beforehand: which operations occur is not known yet.
func (c *collector) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (c *collector) Collect(out chan<- prometheus.Metric) {
	s, running := c.source.Snapshot()
	if !running {
		return
	}
	count := func(d *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, v, labels...)
	}
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	s.perOperation(out, count)
	out <- s.Fsync.metric(fsync, 1e9)
	out <- s.Batch.metric(batchBytes, 1)
	s.server(count, gauge)
	s.storage(count, gauge)
	s.streams(count, gauge)
	s.deliveries(count, gauge)
	s.perGroup(count, gauge)
	s.sql(count, gauge)
	s.checkpoints(count, gauge)
	s.perCodec(count)
}

// server emits what is known of connections, and of the server itself.
func (s *Snapshot) server(count, gauge func(*prometheus.Desc, float64, ...string)) {
	for why, n := range s.Disconnects {
		count(disconnects, float64(n), why)
	}
	for why, n := range s.Faults {
		count(faults, float64(n), wire.FaultReason(why).String())
	}
	count(busy, s.Busy.Seconds())
	count(opened, float64(s.Opened))
	count(refused, float64(s.Refused))
	count(bytesIn, float64(s.BytesIn))
	count(bytesOut, float64(s.BytesOut))
	gauge(conns, float64(s.Conns))
	gauge(queued, float64(s.Queued))
	gauge(recovery, s.Recovery.Seconds())
	gauge(halted, flag(s.Halted))
}

// storage emits what is known of the log, the sealed files and the clock.
func (s *Snapshot) storage(count, gauge func(*prometheus.Desc, float64, ...string)) {
	e := &s.Engine
	count(batches, float64(e.Batches))
	count(logBytes, float64(e.BatchBytes))
	count(diskReads, float64(e.DiskReads))
	count(snapshots, float64(e.Snapshots))
	count(sealedOut, float64(e.SealedBytes))
	count(rewritten, float64(e.Rewritten))
	count(sweeps, float64(e.Sweeps))
	gauge(segments, float64(e.Segments))
	gauge(sealedFiles, float64(e.SealedFiles))
	gauge(sealedBytes, float64(e.SealedSize))
	gauge(unswept, float64(e.Unswept)/1e9)
	gauge(oldest, s.OldestEvent.Seconds())
	gauge(backlog, float64(e.Backlog))
	gauge(memory, float64(e.Memory))
	gauge(lsn, float64(e.LSN), "decided")
	gauge(lsn, float64(e.Durable), "durable")
	gauge(clockDoubt, float64(e.ClockDoubt)/1e9)
}

// streams emits what is known of tenants and their events.
func (s *Snapshot) streams(count, gauge func(*prometheus.Desc, float64, ...string)) {
	e := &s.Engine
	count(appends, float64(e.Appends))
	count(events, float64(e.Events))
	count(eventBytes, float64(e.EventBytes))
	count(mismatches, float64(e.OffsetMismatches))
	count(duplicates, float64(e.Duplicates))
	gauge(keys, float64(e.Keys))
	count(trims, float64(e.Trims))
	count(purges, float64(e.Purges))
	count(removed, float64(e.EventsRemoved))
	count(removedData, float64(e.BytesRemoved))
	gauge(overdue, float64(e.Overdue)/1e9)
	count(denied, float64(e.RefusedAccesses))
	count(noSpace, float64(e.Refused))
	gauge(tenants, float64(e.Tenants))
	gauge(streams, float64(e.Streams))
	gauge(readOnly, float64(e.ReadOnly))
}

// deliveries emits what is known of subscriptions, and of all consumer groups together.
func (s *Snapshot) deliveries(count, gauge func(*prometheus.Desc, float64, ...string)) {
	e := &s.Engine
	gauge(subs, float64(e.Subscriptions))
	gauge(subscribers, float64(e.Subscribers))
	count(pushes, float64(e.Pushes))
	count(pushed, float64(e.PushedEvents))
	count(pushedBytes, float64(e.PushedBytes))
	count(stalls, float64(e.CreditStalls))
	count(gaps, float64(e.Gaps))
	gauge(lag, float64(s.Lag))
	count(deliveries, float64(e.Deliveries))
	count(redelivered, float64(e.Redeliveries))
	count(acks, float64(e.Acks))
	count(parkings, float64(e.GroupParked))
}

// sql emits what is known of tables.
func (s *Snapshot) sql(count, gauge func(*prometheus.Desc, float64, ...string)) {
	e := &s.Engine
	count(sqlWrites, float64(e.SQLWrites))
	count(sqlQueries, float64(e.Queries))
	count(sqlScanned, float64(e.Scanned))
	count(sqlBatches, float64(e.SQLBatches))
	gauge(sqlAsked, float64(e.Asked))
	count(sqlChunks, float64(e.Chunks))
	count(sqlRowBytes, float64(e.ChunkBytes))
	gauge(sqlCursors, float64(e.Cursors))
	count(sqlCancels, float64(e.Cancelled))
	count(sqlTimeouts, float64(e.TimedOut))
	gauge(sqlBehind, float64(e.Unapplied))
	gauge(sqlTenants, float64(e.Tables))
	gauge(sqlBroken, float64(e.Broken))
	count(sqlSaved, float64(e.TablesSaved))
	count(sqlSize, float64(e.TablesSavedBytes))
	count(sqlNotSaved, float64(e.TablesNotSaved))
	count(sqlLoaded, float64(e.TablesLoaded))
	count(sqlUnusable, float64(e.TablesUnusable))
	count(sqlRebuilt, float64(e.TablesRebuilt))
	count(sqlLoadTime, float64(e.TablesLoadTime)/1e9)
}

// checkpoints emits what is known of checkpoints and archives.
func (s *Snapshot) checkpoints(count, gauge func(*prometheus.Desc, float64, ...string)) {
	e := &s.Engine
	count(cpCut, float64(e.Checkpoints))
	count(cpKept, float64(e.CheckpointsKept))
	count(cpFailed, float64(e.CheckpointsNotKept))
	count(cpTime, float64(e.KeepTime)/1e9)
	gauge(cpWaiting, float64(e.Unkept))
	gauge(cpLast, float64(e.LastKept)/1e9)
	gauge(cpSize, float64(e.LastCheckpointBytes))
	count(arDone, float64(e.Archived))
	count(arBytes, float64(e.ArchivedBytes))
	count(arFailed, float64(e.NotArchived))
	gauge(arWaiting, float64(e.Unsent))
	gauge(arLast, float64(e.LastArchived)/1e9)
	count(arPruned, float64(e.EventsPruned))
	count(arNotPruned, float64(e.NotPruned))
	gauge(arUnpruned, float64(e.Unpruned)/1e9)
	count(rsDone, float64(e.Restored))
	count(rsEvents, float64(e.EventsRestored))
	count(rsFailed, float64(e.NotRestored))
	gauge(rsWaiting, float64(e.Arriving))
}

// perCodec emits how well frames are compressed.
func (s *Snapshot) perCodec(count func(*prometheus.Desc, float64, ...string)) {
	for c := wire.LZ4; c < wire.CodecCount; c++ {
		for direction, t := range map[string]wire.Traffic{"out": s.Packed[c], "in": s.Unpacked[c]} {
			count(packRaw, float64(t.Raw), c.String(), direction)
			count(packTravels, float64(t.Travels), c.String(), direction)
			count(packFrames, float64(t.Frames), c.String(), direction)
			count(packTime, float64(t.Spent)/1e9, c.String(), direction)
		}
	}
}

// perGroup emits what is shown of each consumer group.
func (s *Snapshot) perGroup(count, gauge func(*prometheus.Desc, float64, ...string)) {
	one := func(g *engine.GroupStats, labels ...string) {
		gauge(groupLag, float64(g.Lag), labels...)
		gauge(groupAge, float64(g.LagSpan)/1e9, labels...)
		gauge(groupHeld, float64(g.Pending), labels...)
		gauge(groupOldest, float64(g.OldestHeld)/1e9, labels...)
		gauge(groupParked, float64(g.Parked), labels...)
		gauge(groupDelays, float64(g.Delayed), labels...)
		gauge(groupSize, float64(g.Members), labels...)
		count(groupAgain, float64(g.Redelivered), labels...)
	}
	for i := range s.Groups {
		g := &s.Groups[i]
		one(g, strconv.FormatUint(uint64(g.Tenant), 10), g.Stream, g.Group)
	}
	if len(s.Groups) == MaxGroups {
		one(&s.OtherGroups, "other", "other", "other")
	}
}

// perOperation emits what is counted by operation, for those that occurred.
func (s *Snapshot) perOperation(out chan<- prometheus.Metric, count func(*prometheus.Desc, float64, ...string)) {
	for op := range s.Requests {
		if s.Latency[op].Count == 0 {
			continue
		}
		out <- s.Latency[op].metric(latency, 1e9, wire.Op(op).String())
		for code, n := range s.Requests[op] {
			if n > 0 {
				count(requests, float64(n), wire.Op(op).String(), codeName(code))
			}
		}
	}
}

func codeName(code int) string {
	if code == ok {
		return "ok"
	}
	return wire.Code(code).String()
}

// metric turns the histogram into one in units of scale.
func (h *Histogram) metric(d *prometheus.Desc, scale float64, labels ...string) prometheus.Metric {
	cumulative := make(map[float64]uint64, buckets)
	var n uint64
	for i, b := range h.Buckets {
		n += b
		cumulative[math.Ldexp(1, lowest+i)/scale] = n
	}
	return prometheus.MustNewConstHistogram(d, h.Count, float64(h.Sum)/scale, cumulative, labels...)
}

func flag(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
