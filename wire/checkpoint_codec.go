package wire

// How the messages of checkpoints travel.

// checkpointRequest decodes the requests of checkpoints.
func (d *decoder) checkpointRequest(op Op) RequestBody {
	of := TenantID(d.u64())
	switch op {
	case OpCheckpoint:
		return &Checkpoint{Of: of, Label: d.optStr()}
	case OpListCheckpoints:
		return &ListCheckpoints{Of: of}
	case OpGetCheckpoint:
		return &GetCheckpoint{Of: of, Ref: d.checkpointRef(), After: StreamID(d.u64()), Limit: d.u32()}
	case OpArchiveCheckpoint:
		m := &ArchiveCheckpoint{Of: of, Ref: d.checkpointRef(), Destination: d.str()}
		if d.more() {
			m.LockUntil = optNumber[Time](d)
		}
		return m
	case OpRestoreTenant:
		return &RestoreTenant{Of: of, Source: d.str(), Store: d.u64(), Tenant: TenantID(d.u64()), Position: Position(d.u64()),
			Checkpoint: d.checkpointID(), Name: d.optStr(), AcceptOlder: d.boolean()}
	case OpRestoreInfo:
		return &RestoreInfo{Of: of}
	}
	return &DeleteCheckpoint{Of: of, Ref: d.checkpointRef()}
}

func appendCheckpointRequest(dst []byte, body RequestBody) ([]byte, bool) {
	switch m := body.(type) {
	case *Checkpoint:
		return appendOptStr(appendNumber(dst, m.Of), m.Label), true
	case *ListCheckpoints:
		return appendNumber(dst, m.Of), true
	case *GetCheckpoint:
		dst = appendCheckpointRef(appendNumber(dst, m.Of), &m.Ref)
		return appendU32(appendNumber(dst, m.After), m.Limit), true
	case *DeleteCheckpoint:
		return appendCheckpointRef(appendNumber(dst, m.Of), &m.Ref), true
	case *ArchiveCheckpoint:
		dst = appendBytes(appendCheckpointRef(appendNumber(dst, m.Of), &m.Ref), m.Destination)
		if m.LockUntil.Set {
			dst = appendOptNumber(dst, m.LockUntil)
		}
		return dst, true
	case *RestoreTenant:
		dst = appendNumber(appendBytes(appendNumber(dst, m.Of), m.Source), m.Store)
		dst = append(appendNumber(appendNumber(dst, m.Tenant), m.Position), m.Checkpoint[:]...)
		return appendBool(appendOptStr(dst, m.Name), m.AcceptOlder), true
	case *RestoreInfo:
		return appendNumber(dst, m.Of), true
	}
	return dst, false
}

// checkpointReply decodes the replies to them.
func (d *decoder) checkpointReply(op Op) ResponseBody {
	switch op {
	case OpCheckpoint:
		return &CheckpointReply{ID: d.checkpointID(), Position: Position(d.u64()), Time: Time(d.u64())}
	case OpListCheckpoints:
		m := &ListCheckpointsReply{Checkpoints: vec[CheckpointInfo](d, minCheckpoint)}
		for i := range m.Checkpoints {
			m.Checkpoints[i] = d.checkpoint()
		}
		return m
	case OpGetCheckpoint:
		m := &GetCheckpointReply{Info: d.checkpoint(), Note: d.str(), Trouble: d.str(), Archives: vec[ArchiveInfo](d, minArchive)}
		for i := range m.Archives {
			m.Archives[i] = ArchiveInfo{Destination: d.str(), Done: d.boolean(), Sent: d.u64(), Events: d.u64(), Trouble: d.str()}
		}
		m.Streams = vec[CheckpointStream](d, minCheckpointStream)
		for i := range m.Streams {
			m.Streams[i] = CheckpointStream{
				Stream: StreamID(d.u64()), Name: d.str(), Base: Offset(d.u64()), Oldest: Offset(d.u64()), Head: Offset(d.u64()), Bytes: d.u64(), Root: d.bytes(),
			}
		}
		m.More = d.boolean()
		return m
	case OpArchiveCheckpoint:
		return &ArchiveCheckpointReply{Position: Position(d.u64())}
	case OpRestoreTenant:
		return &RestoreTenantReply{Position: Position(d.u64())}
	case OpRestoreInfo:
		m := &RestoreInfoReply{Done: d.boolean(), Events: d.u64(), Trouble: d.str(), Streams: vec[RestoredStream](d, 2*8)}
		for i := range m.Streams {
			m.Streams[i] = RestoredStream{StreamID(d.u64()), StreamID(d.u64())}
		}
		return m
	}
	return &DeleteCheckpointReply{Position: Position(d.u64())}
}

// The least that a checkpoint, one of its archives and one of its streams take, in bytes.
const (
	minArchive          = 4*8 + 1
	minCheckpoint       = 16 + 1 + 3*8
	minCheckpointStream = 7 * 8
)

func appendCheckpointReply(dst []byte, body ResponseBody) ([]byte, bool) {
	switch m := body.(type) {
	case *CheckpointReply:
		dst = append(appendReplyTo(dst, OpCheckpoint), m.ID[:]...)
		return appendNumber(appendNumber(dst, m.Position), m.Time), true
	case *ListCheckpointsReply:
		dst = appendCount(appendReplyTo(dst, OpListCheckpoints), len(m.Checkpoints))
		for i := range m.Checkpoints {
			dst = appendCheckpointInfo(dst, &m.Checkpoints[i])
		}
		return dst, true
	case *GetCheckpointReply:
		dst = appendCheckpointInfo(appendReplyTo(dst, OpGetCheckpoint), &m.Info)
		dst = appendCount(appendBytes(appendBytes(dst, m.Note), m.Trouble), len(m.Archives))
		for i := range m.Archives {
			a := &m.Archives[i]
			dst = appendBool(appendBytes(dst, a.Destination), a.Done)
			dst = appendBytes(appendNumber(appendNumber(dst, a.Sent), a.Events), a.Trouble)
		}
		dst = appendCount(dst, len(m.Streams))
		for i := range m.Streams {
			s := &m.Streams[i]
			dst = appendBytes(appendNumber(dst, s.Stream), s.Name)
			dst = appendNumber(appendNumber(appendNumber(dst, s.Base), s.Oldest), s.Head)
			dst = appendBytes(appendNumber(dst, s.Bytes), s.Root)
		}
		return appendBool(dst, m.More), true
	case *DeleteCheckpointReply:
		return appendNumber(appendReplyTo(dst, OpDeleteCheckpoint), m.Position), true
	case *ArchiveCheckpointReply:
		return appendNumber(appendReplyTo(dst, OpArchiveCheckpoint), m.Position), true
	case *RestoreTenantReply:
		return appendNumber(appendReplyTo(dst, OpRestoreTenant), m.Position), true
	case *RestoreInfoReply:
		dst = appendBytes(appendNumber(appendBool(appendReplyTo(dst, OpRestoreInfo), m.Done), m.Events), m.Trouble)
		dst = appendCount(dst, len(m.Streams))
		for _, s := range m.Streams {
			dst = appendNumber(appendNumber(dst, s.Was), s.Is)
		}
		return dst, true
	}
	return dst, false
}

func (d *decoder) checkpoint() CheckpointInfo {
	return CheckpointInfo{ID: d.checkpointID(), Label: d.optStr(), Position: Position(d.u64()), Time: Time(d.u64()), Size: d.u64()}
}

func appendCheckpointInfo(dst []byte, c *CheckpointInfo) []byte {
	dst = appendOptStr(append(dst, c.ID[:]...), c.Label)
	return appendNumber(appendNumber(appendNumber(dst, c.Position), c.Time), c.Size)
}

func (d *decoder) checkpointRef() CheckpointRef {
	return CheckpointRef{ID: d.checkpointID(), Label: d.str()}
}

func appendCheckpointRef(dst []byte, r *CheckpointRef) []byte {
	return appendBytes(append(dst, r.ID[:]...), r.Label)
}

func (d *decoder) checkpointID() CheckpointID { return CheckpointID(d.key()) }
