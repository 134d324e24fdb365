package wire

import "math"

var (
	rich     = Features{RichEvents: true}
	typed    = Features{TypedValues: true}
	extended = Features{ExtendedErrors: true}

	testKey = Key{0: 1, 15: 0xff}

	testBatch = []BatchedQuery{{SQL: "INSERT INTO t VALUES ($1)", Params: []Value{{Kind: BigInt, Int: 1}}}, {SQL: "SELECT 1"}}

	testHash = []byte("\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f" +
		"\x10\x11\x12\x13\x14\x15\x16\x17\x18\x19\x1a\x1b\x1c\x1d\x1e\x1f")

	testStream = StreamDescription{
		Stream:        42000001,
		Name:          "events",
		Class:         NonPHI,
		Placement:     Placement{Region: Region{Kind: APSoutheast2}},
		RetentionDays: Some(uint32(30)),
		Created:       1700000000000000000,
		OldestOffset:  5,
		HeadOffset:    9,
		Bytes:         1234,
		FirstTime:     Some(Time(-1)),
		LastTime:      Some(Time(2)),
		Deleted:       true,
		PurgeDate:     Some(Time(1702592000000000000)),

		MinRetentionDays: 7,
		Holds: []HoldDescription{
			{Name: "case-17", Reason: "Smith v. Jones", Set: 1700000000000000001},
			{Name: "b", Set: 3},
		},
	}
)

// testCheckpoint is one in these vectors.
var testCheckpoint = CheckpointInfo{
	ID: CheckpointID(testKey), Label: Some("Q4-2025-audit"), Position: 12, Time: 1700000000000000000, Size: 4096,
}

// vectorsExtended gives the meaning of testdata/wire/v1-extended.txt, in its order.
var vectorsExtended = []struct {
	name   string
	vector vector
}{
	{`REQ Handshake id1 t42 v1 None ["rich_events","typed_values","extended_errors"]`,
		request(1, &Handshake{ClientVersion: 1, Capabilities: []string{"rich_events", "typed_values", "extended_errors"}})},
	{`REQ CreateStream id2 t42 "events" PHI Global retention Some(30)`,
		request(2, &CreateStream{Name: "events", Placement: Placement{Global: true}, RetentionDays: Some(uint32(30))})},
	{`REQ AppendEvents id3 t42 stream42 [0102] expect Some(7)`,
		request(3, &AppendEvents{Stream: 42, Events: [][]byte{{1, 2}}, ExpectOffset: Some(Offset(7))})},
	{`REQ AppendEvents id3 t42 stream42 [01],[02] expect Some(0) times Some([-1,2]) key Some(01..ff)`,
		request(3, &AppendEvents{Stream: 42, Events: [][]byte{{1}, {2}}, ExpectOffset: Some(Offset(0)),
			Timestamps: Some([]Time{-1, 2}), IdempotencyKey: Some(testKey)})},
	{`REQ Query id4 t42 "SELECT ?" [Double(1.5),Bytes(0102)] typed`,
		request(4, &Query{SQL: "SELECT ?", Params: []Value{{Kind: Double, Float: 1.5}, {Kind: Bytes, Bytes: []byte{1, 2}}}}).with(typed)},
	{`REQ Query id4 t42 "SELECT 1" [] streaming true window 8 key Some(01..ff)`,
		request(4, &Query{SQL: "SELECT 1", Streaming: true, ChunkWindow: 8, IdempotencyKey: Some(testKey)})},
	{`REQ QueryAt id5 t42 "SELECT 1" [] position 7 streaming false window 3 key None`,
		request(5, &QueryAt{SQL: "SELECT 1", Position: 7, ChunkWindow: 3})},
	{`REQ ReadEvents id6 t42 stream42 from max max 65536 events Some(10) from time Some(-1) backward`,
		request(6, &ReadEvents{Stream: 42, FromOffset: ^Offset(0), MaxBytes: 65536, MaxEvents: Some(uint32(10)),
			FromTimestamp: Some(Time(-1)), Backward: true})},
	{`REQ ListStreams id8 t42 after 42 limit 100`, request(8, &ListStreams{After: 42, Limit: 100})},
	{`REQ StreamInfo id9 t42 stream42 name ""`, request(9, &StreamInfo{Stream: 42})},
	{`REQ StreamInfo id9 t42 stream 0 name "events"`, request(9, &StreamInfo{Name: "events"})},
	{`REQ Ping id10 t42`, request(10, &Ping{})},
	{`REQ CreateTenant id11 t42 "acme"`, request(11, &CreateTenant{Name: "acme"})},
	{`REQ ListTenants id12 t42 after 1 limit 2`, request(12, &ListTenants{After: 1, Limit: 2})},
	{`REQ ListStreams id8 t42 after 0 limit 0 prefix "ev" deleted Some(false) system false`,
		request(8, &ListStreams{Prefix: "ev", Deleted: Some(false)})},
	{`REQ ListStreams id8 t42 after 0 limit 0 prefix "" deleted None system true`, request(8, &ListStreams{System: true})},
	{`REQ DeleteStream id13 t42 stream42 override None`, request(13, &DeleteStream{Stream: 42})},
	{`REQ DeleteStream id13 t42 stream42 override Some(90)`,
		request(13, &DeleteStream{Stream: 42, RetentionOverride: Some(uint32(90))})},
	{`REQ UndeleteStream id14 t42 stream42`, request(14, &UndeleteStream{Stream: 42})},
	{`REQ SetRetention id15 t42 stream42 days Some(30) min Some(7)`,
		request(15, &SetRetention{Stream: 42, Days: Some(uint32(30)), MinDays: Some(uint32(7))})},
	{`REQ SetRetention id15 t42 stream42 days None min None`, request(15, &SetRetention{Stream: 42})},
	{`REQ SetHold id16 t42 stream42 "case-17" reason "Smith v. Jones"`,
		request(16, &SetHold{Stream: 42, Name: "case-17", Reason: "Smith v. Jones"})},
	{`REQ ReleaseHold id17 t42 stream42 "case-17"`, request(17, &ReleaseHold{Stream: 42, Name: "case-17"})},
	{`REQ BatchQuery id21 t42 "INSERT INTO t VALUES ($1)" [BigInt(1)], "SELECT 1" [] stop false`,
		request(21, &BatchQuery{Queries: testBatch})},
	{`REQ BatchQuery id21 t42 "SELECT 1" [] stop true`,
		request(21, &BatchQuery{Queries: testBatch[1:], StopOnError: true})},
	{`REQ BatchQuery id21 t42 "INSERT INTO t VALUES ($1)" [BigInt(1)], "SELECT 1" [] stop false atomic true key Some(01..ff)`,
		request(21, &BatchQuery{Queries: testBatch, Atomic: true, IdempotencyKey: Some(testKey)})},
	{`REQ BatchQuery id21 t42 no queries stop false atomic true key None`, request(21, &BatchQuery{Atomic: true})},
	{`REQ VerifyAudit id18 t42`, request(18, &VerifyAudit{})},
	{`REQ Clock id19 t42`, request(19, &Clock{})},
	{`REQ ConfirmClock id20 t42 wall 1700000000000000000`, request(20, &ConfirmClock{Wall: 1700000000000000000})},
	{`REQ ReadEvents id6 t42 stream42 from 0 max 65536 events None from time None forward as of Some(12)`,
		request(6, &ReadEvents{Stream: 42, MaxBytes: 65536, AsOf: Some(Position(12))})},
	{`REQ Checkpoint id22 t42 of 42 label Some("Q4-2025-audit")`, request(22, &Checkpoint{Of: 42, Label: Some("Q4-2025-audit")})},
	{`REQ Checkpoint id22 t42 of 42 label None`, request(22, &Checkpoint{Of: 42})},
	{`REQ ListCheckpoints id23 t42 of 42`, request(23, &ListCheckpoints{Of: 42})},
	{`REQ GetCheckpoint id24 t42 of 42 id 0 label "Q4-2025-audit" after 0 limit 100`,
		request(24, &GetCheckpoint{Of: 42, Ref: CheckpointRef{Label: "Q4-2025-audit"}, Limit: 100})},
	{`REQ GetCheckpoint id24 t42 of 42 id 01..ff label "" after 42 limit 0`,
		request(24, &GetCheckpoint{Of: 42, Ref: CheckpointRef{ID: CheckpointID(testKey)}, After: 42})},
	{`REQ DeleteCheckpoint id25 t42 of 42 id 01..ff label ""`,
		request(25, &DeleteCheckpoint{Of: 42, Ref: CheckpointRef{ID: CheckpointID(testKey)}})},
	{`REQ ArchiveCheckpoint id26 t42 of 42 id 0 label "Q4-2025-audit" to "s3://audits/kimberlite"`,
		request(26, &ArchiveCheckpoint{Of: 42, Ref: CheckpointRef{Label: "Q4-2025-audit"}, Destination: "s3://audits/kimberlite"})},
	{`REQ ArchiveCheckpoint id26 t42 of 42 id 0 label "a" to "/a" lock until Some(1700000000000000000)`,
		request(26, &ArchiveCheckpoint{Of: 42, Ref: CheckpointRef{Label: "a"}, Destination: "/a", LockUntil: Some(Time(1700000000000000000))})},
	{`REQ RestoreTenant id27 t42 of 42 from "/a" store 7 tenant 41 position 12 id 01..ff name Some("copy") accept older true`,
		request(27, &RestoreTenant{Of: 42, Source: "/a", Store: 7, Tenant: 41, Position: 12, Checkpoint: CheckpointID(testKey), Name: Some("copy"), AcceptOlder: true})},
	{`REQ RestoreInfo id28 t42 of 42`, request(28, &RestoreInfo{Of: 42})},

	{`RSP Error id3 OffsetMismatch "x" current Some(9) retryable false`,
		response(3, &Error{Code: OffsetMismatch, Message: "x", CurrentOffset: Some(Offset(9))})},
	{`RSP Error id3 RateLimited "x" current None retryable true`,
		response(3, &Error{Code: RateLimited, Message: "x", Retryable: true})},
	{`RSP Error id3 ConcurrentUse "x" extended`,
		response(3, &Error{Code: ConcurrentUse, Message: "x"}).with(extended)},
	{`RSP AppendEvents id3 first 7 count 2 time 1700000000000000000 position 12 duplicate true`,
		response(3, &AppendEventsReply{FirstOffset: 7, Count: 2, Timestamp: 1700000000000000000, Position: 12, Duplicate: true})},
	{`RSP Query id4 cols[x] rows[[Double 1.5],[Bytes 0102]] typed`,
		response(4, &QueryReply{Columns: []string{"x"}, Rows: [][]Value{
			{{Kind: Double, Float: 1.5}}, {{Kind: Bytes, Bytes: []byte{1, 2}}}}}).with(typed)},
	{`RSP Query id4 cols[] rows[] affected 3 position 12 trimmed false`,
		response(4, &QueryReply{RowsAffected: 3, Position: 12})},
	{`RSP QueryAt id5 cols[] rows[] affected 0 position 7 trimmed true`,
		response(5, &QueryReply{At: true, Position: 7, Trimmed: true})},
	{`RSP ReadEvents id6 [010203] at -1,[0405] at 2 next Some(2) oldest 0 head 2 rich`,
		response(6, &ReadEventsReply{Events: events([]Time{-1, 2}, "\x01\x02\x03", "\x04\x05"), NextOffset: Some(Offset(2)),
			HeadOffset: 2}).with(rich)},
	{`RSP ReadEvents id6 [] next None oldest 5 head 9`,
		response(6, &ReadEventsReply{OldestOffset: 5, HeadOffset: 9})},
	{`RSP ListStreams id8 [42000001,7] more true`,
		response(8, &ListStreamsReply{Streams: []StreamDescription{
			testStream, {Stream: 7, Name: "a", Placement: Placement{Global: true}}}, More: true})},
	{`RSP StreamInfo id9 42000001`, response(9, &StreamInfoReply{Info: testStream})},
	{`RSP Ping id10`, response(10, &PingReply{})},
	{`RSP CreateTenant id11 tenant 42`, response(11, &CreateTenantReply{Tenant: 42})},
	{`RSP ListTenants id12 [2 "acme"] more false`,
		response(12, &ListTenantsReply{Tenants: []TenantDescription{
			{Tenant: 2, Name: "acme", Created: 1700000000000000000, Streams: 3, Position: 12}}})},
	{`RSP Error id13 Held "x" extended`, response(13, &Error{Code: Held, Message: "x"}).with(extended)},
	{`RSP Error id3 StreamDeleted "x" extended`, response(3, &Error{Code: StreamDeleted, Message: "x"}).with(extended)},
	{`RSP DeleteStream id13 deleted true purge 1702592000000000000 position 13`,
		response(13, &DeleteStreamReply{Deleted: true, PurgeDate: 1702592000000000000, Position: 13})},
	{`RSP DeleteStream id13 deleted true purge never (no tail)`,
		response(13, &DeleteStreamReply{Deleted: true, PurgeDate: math.MaxInt64})},
	{`RSP UndeleteStream id14 restored true position 14`, response(14, &UndeleteStreamReply{Restored: true, Position: 14})},
	{`RSP SetRetention id15 position 15`, response(15, &SetRetentionReply{Position: 15})},
	{`RSP SetHold id16 position 16`, response(16, &SetHoldReply{Position: 16})},
	{`RSP ReleaseHold id17 position 17`, response(17, &ReleaseHoldReply{Position: 17})},
	{`RSP BatchQuery id21 [Ok cols[x] rows[[BigInt 1]], Err OffsetMismatch "x", Ok cols[] rows[]]`,
		response(21, &BatchQueryReply{Results: []BatchedResult{
			{Columns: []string{"x"}, Rows: [][]Value{{{Kind: BigInt, Int: 1}}}}, {Err: &Error{Code: OffsetMismatch, Message: "x"}}, {}}})},
	{`RSP BatchQuery id21 [Err ConstraintViolation "x"] position 12 extended`,
		response(21, &BatchQueryReply{Results: []BatchedResult{{Err: &Error{Code: ConstraintViolation, Message: "x"}}}, Position: 12}).with(extended)},
	{`RSP VerifyAudit id18 3 events hash 00..1f break None ""`, response(18, &VerifyAuditReply{Events: 3, Hash: testHash})},
	{`RSP VerifyAudit id18 3 events hash 00..1f break Some(1) "x"`,
		response(18, &VerifyAuditReply{Events: 3, Hash: testHash, Break: Some(Offset(1)), Message: "x"})},
	{`RSP VerifyAudit id18 0 events hash "" break None ""`, response(18, &VerifyAuditReply{})},
	{`RSP Clock id19 now 1700000000000000000 wall 1800000000000000000 trusted false`,
		response(19, &ClockReply{Now: 1700000000000000000, Wall: 1800000000000000000})},
	{`RSP ConfirmClock id20 now 1800000000000000000`, response(20, &ConfirmClockReply{Now: 1800000000000000000})},
	{`RSP Checkpoint id22 id 01..ff position 12 time 1700000000000000000`,
		response(22, &CheckpointReply{ID: CheckpointID(testKey), Position: 12, Time: 1700000000000000000})},
	{`RSP ListCheckpoints id23 [01..ff "Q4-2025-audit" position 12 time 1700000000000000000 size 4096, 00..00 None 13 0 0]`,
		response(23, &ListCheckpointsReply{Checkpoints: []CheckpointInfo{testCheckpoint, {Position: 13}}})},
	{`RSP GetCheckpoint id24 01..ff "Q4-2025-audit" note "n" trouble "" archives ["/a" done true sent 7 events 4 ""] [42 "events" base 2 oldest 5 head 9 bytes 64 root 00..1f] more false`,
		response(24, &GetCheckpointReply{Info: testCheckpoint, Note: "n", Archives: []ArchiveInfo{{Destination: "/a", Done: true, Sent: 7, Events: 4}},
			Streams: []CheckpointStream{{Stream: 42, Name: "events", Base: 2, Oldest: 5, Head: 9, Bytes: 64, Root: testHash}}})},
	{`RSP GetCheckpoint id24 01..ff "Q4-2025-audit" note "" trouble "x" archives [] [] more false`,
		response(24, &GetCheckpointReply{Info: testCheckpoint, Trouble: "x"})},
	{`RSP DeleteCheckpoint id25 position 14`, response(25, &DeleteCheckpointReply{Position: 14})},
	{`RSP ArchiveCheckpoint id26 position 15`, response(26, &ArchiveCheckpointReply{Position: 15})},
	{`RSP RestoreTenant id27 position 12`, response(27, &RestoreTenantReply{Position: 12})},
	{`RSP RestoreInfo id28 done false events 5 trouble "x" [1 is 4, 2 is 5]`,
		response(28, &RestoreInfoReply{Events: 5, Trouble: "x", Streams: []RestoredStream{{1, 4}, {2, 5}}})},
	{`RSP Error id24 CheckpointNotFound "x" extended`, response(24, &Error{Code: CheckpointNotFound, Message: "x"}).with(extended)},
}
