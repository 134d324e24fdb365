package seg

import "github.com/kimberlitedb/kimberlite-go/wire"

// column is one number of every section, encoded as its difference from what the section before and the columns to the
// left make likely.
type column struct {
	get func(s, before *Section) uint64
	set func(s, before *Section, v uint64) // the inverse of get; the columns to the left are set
}

// columns are the columns of an index in their order on disk. Differences wrap around, so that any value can be encoded.
var columns = []column{
	{ // tenant
		func(s, before *Section) uint64 { return uint64(s.Tenant - before.Tenant) },
		func(s, before *Section, v uint64) { s.Tenant = before.Tenant + wire.TenantID(v) },
	},
	{ // stream
		func(s, before *Section) uint64 { return uint64(s.Stream - streamBase(s, before)) },
		func(s, before *Section, v uint64) { s.Stream = streamBase(s, before) + wire.StreamID(v) },
	},
	{ // length
		func(s, _ *Section) uint64 { return uint64(s.Length) },
		func(s, _ *Section, v uint64) { s.Length = uint32(v) },
	},
	{ // records
		func(s, _ *Section) uint64 { return uint64(s.Records) },
		func(s, _ *Section, v uint64) { s.Records = uint32(v) },
	},
	{ // events
		func(s, _ *Section) uint64 { return zigzag(uint64(s.Events) - uint64(s.Records)) },
		func(s, _ *Section, v uint64) { s.Events = uint32(zagzig(v) + uint64(s.Records)) },
	},
	{ // data: what the section takes beyond it
		func(s, _ *Section) uint64 { return zigzag(uint64(s.Length) - uint64(s.Data)) },
		func(s, _ *Section, v uint64) { s.Data = uint32(uint64(s.Length) - zagzig(v)) },
	},
	{ // next: the jumps between first and next
		func(s, _ *Section) uint64 { return zigzag(uint64(s.Next - s.First - wire.Offset(s.Events))) },
		func(s, _ *Section, v uint64) { s.Next = wire.Offset(s.Events) + wire.Offset(zagzig(v)) },
	},
	{ // first offset
		func(s, before *Section) uint64 { return zigzag(uint64(s.First - offsetBase(s, before))) },
		func(s, before *Section, v uint64) {
			s.First = offsetBase(s, before) + wire.Offset(zagzig(v))
			s.Next += s.First
		},
	},
	{ // last lsn: its distance from the first
		func(s, _ *Section) uint64 { return uint64(s.LastLSN - s.FirstLSN) },
		func(s, _ *Section, v uint64) { s.LastLSN = LSN(v) },
	},
	{ // first lsn
		func(s, before *Section) uint64 { return zigzag(uint64(s.FirstLSN - lsnBase(s, before))) },
		func(s, before *Section, v uint64) {
			s.FirstLSN = lsnBase(s, before) + LSN(zagzig(v))
			s.LastLSN += s.FirstLSN
		},
	},
	{ // max time
		func(s, before *Section) uint64 { return zigzag(uint64(s.MaxTime - before.MaxTime)) },
		func(s, before *Section, v uint64) { s.MaxTime = before.MaxTime + wire.Time(zagzig(v)) },
	},
}

func streamBase(s, before *Section) wire.StreamID {
	if s.Tenant == before.Tenant {
		return before.Stream
	}
	return 0
}

func offsetBase(s, before *Section) wire.Offset {
	if s.Key == before.Key {
		return before.Next
	}
	return 0
}

func lsnBase(s, before *Section) LSN {
	if s.Key == before.Key {
		return before.LastLSN
	}
	return before.FirstLSN
}

// zigzag makes small numbers of small ones below zero, which wrap around.
func zigzag(v uint64) uint64 { return v<<1 ^ uint64(int64(v)>>63) }

func zagzig(v uint64) uint64 { return v>>1 ^ -(v & 1) }
