package client

import "github.com/kimberlitedb/kimberlite-go/wire"

// farewell draws what has something left to expire when nothing else happens: three events in a stream of their own. With the first
// goes a sweep that has all of them sealed; the other two go at rest, one shortly after the other, so that the sweep which the
// second needs meets the removal of the third, and must not answer for it. It returns nil when that is done.
func (k *Keeper) farewell() *deed {
	const first, second, third = 2, 3, 4
	k.parting++
	if k.parting < first {
		x := &kept{name: "Farewell", days: wire.Some(uint32(1))}
		return &deed{x: x, body: &wire.CreateStream{Name: x.name, RetentionDays: x.days}}
	}
	x := k.named("Farewell")
	if x == nil || k.parting > third {
		return nil
	}
	switch k.parting {
	case first:
		k.expires = k.clock + wire.Time(k.rand.Between(5_000_000_000, 10_000_000_000))
	case second:
		k.expires += wire.Time(k.rand.Between(35_000_000_000, 52_000_000_000))
	case third:
		k.expires += wire.Time(k.rand.Log(20_000_000, 1_000_000_000))
	}
	k.count++
	return &deed{x: x, body: &wire.AppendEvents{
		Stream: x.id, IdempotencyKey: k.key(), Events: [][]byte{k.data(0)}, Timestamps: wire.Some([]wire.Time{k.expires - k.day()}),
	}}
}
