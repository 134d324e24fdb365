// Package rng is the simulator's randomness: streams that are named, so that a new consumer moves nobody else.
//
//	latency := rng.Source(seed).Stream("disk.latency")
//	wait := latency.Between(20_000, 200_000)
//
// Nothing here uses floating point, so that every machine draws the same.
package rng

import (
	"encoding/binary"
	"math/bits"
)

// Source makes the streams of one seed.
type Source uint64

// Stream returns the stream of a name, from its beginning.
func (s Source) Stream(name string) *Rand { return s.Numbered(name, 0) }

// Numbered returns one of many streams of a name.
func (s Source) Numbered(name string, n uint64) *Rand {
	h := uint64(0xcbf29ce484222325)
	for i := range len(name) {
		h = (h ^ uint64(name[i])) * 0x100000001b3
	}
	return &Rand{Mix(Mix(uint64(s)^h) + n)}
}

// Rand is one stream of random numbers (SplitMix64). It is not safe for concurrent use.
type Rand struct{ state uint64 }

const gamma = 0x9e3779b97f4a7c15

// Mix scrambles a number; it is one to one.
func Mix(z uint64) uint64 {
	z += gamma
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// Uint64 returns any number.
func (r *Rand) Uint64() uint64 {
	z := Mix(r.state)
	r.state += gamma
	return z
}

// N returns a number in [0, n). It returns 0 where n is less than 1.
func (r *Rand) N(n int) int {
	if n < 1 {
		return 0
	}
	high, _ := bits.Mul64(r.Uint64(), uint64(n))
	return int(high)
}

// Between returns a number in [low, high].
func (r *Rand) Between(low, high int64) int64 { return low + int64(r.N(int(high-low+1))) }

// Chance is true with a probability in parts per million.
func (r *Rand) Chance(ppm int) bool { return ppm > 0 && r.N(1_000_000) < ppm }

// Coin is true half of the time.
func (r *Rand) Coin() bool { return r.Uint64()>>63 == 1 }

// Log returns a number in [low, high] whose magnitude is evenly spread: as often between 1 and 2 as between 512 and
// 1024. Low must be at least 1.
func (r *Rand) Log(low, high int64) int64 {
	from, to := bits.Len64(uint64(low)), bits.Len64(uint64(high))
	e := from + r.N(to-from+1)
	least := max(low, int64(1)<<(e-1))
	most := min(high, int64(1)<<e-1)
	return r.Between(least, most)
}

// Fill fills p.
func (r *Rand) Fill(p []byte) {
	for len(p) >= 8 {
		binary.LittleEndian.PutUint64(p, r.Uint64())
		p = p[8:]
	}
	if len(p) > 0 {
		var last [8]byte
		binary.LittleEndian.PutUint64(last[:], r.Uint64())
		copy(p, last[:])
	}
}
