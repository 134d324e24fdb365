package model

import (
	"math"

	"github.com/kimberlitedb/kimberlite-go/wire"
)

// Read returns the offsets of the events that a read of a stream yields, in their order: of all the events that the stream
// ever had, those before oldest being gone.
func Read(events []wire.Event, oldest int, b *wire.ReadEvents) (list []int) {
	low, since, from := oldest, len(events), int(min(b.FromOffset, wire.Offset(len(events))))
	if !b.Backward {
		low = max(low, from)
	}
	for i := len(events) - 1; b.FromTimestamp.Set && i >= low; i-- {
		if events[i].Timestamp >= b.FromTimestamp.Value {
			since = i
		}
	}
	data, step, i := uint64(0), 1, low
	if b.Backward {
		step, i = -1, min(from, since-1, len(events)-1)
	} else if b.FromTimestamp.Set {
		i = since
	}
	for i >= oldest && i < len(events) && data < b.MaxBytes && uint32(len(list)) < b.MaxEvents.Or(math.MaxUint32) {
		list, data = append(list, i), data+uint64(len(events[i].Data))
		i += step
	}
	return list
}
