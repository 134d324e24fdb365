package tcp

import (
	"sync"
	"time"

	"github.com/kimberlitedb/kimberlite-go/wire"
)

// packers lends packers to connections and adds up what they did. As many exist as are in use at a time, more or less.
type packers struct {
	idle  sync.Pool // of *wire.Packer
	mu    sync.Mutex
	total Compression // guarded by mu
}

// Compression is what was compressed and expanded on all connections, by codec.
type Compression struct {
	Packed, Unpacked [wire.CodecCount]wire.Traffic
}

var began = time.Now()

// Borrow implements wire.Packers.
func (p *packers) Borrow() *wire.Packer {
	if k, ok := p.idle.Get().(*wire.Packer); ok {
		return k
	}
	return &wire.Packer{Now: func() int64 { return int64(time.Since(began)) }}
}

// Return implements wire.Packers.
func (p *packers) Return(k *wire.Packer) {
	p.mu.Lock()
	for i := range wire.CodecCount {
		p.total.Packed[i].Add(k.Packed[i])
		p.total.Unpacked[i].Add(k.Unpacked[i])
	}
	p.mu.Unlock()
	clear(k.Packed[:])
	clear(k.Unpacked[:])
	p.idle.Put(k)
}

func (p *packers) load() Compression {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.total
}
