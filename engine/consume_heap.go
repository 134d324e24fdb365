package engine

// offsets is a heap of items by offset.
type offsets []*item

func (h offsets) Len() int           { return len(h) }
func (h offsets) Less(i, j int) bool { return h[i].offset < h[j].offset }
func (h offsets) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }

// Push implements heap.Interface.
func (h *offsets) Push(x any) { *h = append(*h, x.(*item)) }

// Pop implements heap.Interface.
func (h *offsets) Pop() any {
	old := *h
	x := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return x
}

// timers is a heap of items by time.
type timers []*item

func (h timers) Len() int { return len(h) }
func (h timers) Less(i, j int) bool {
	return h[i].at < h[j].at || h[i].at == h[j].at && h[i].offset < h[j].offset
}
func (h timers) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].timer, h[j].timer = i, j
}

// Push implements heap.Interface.
func (h *timers) Push(x any) {
	it := x.(*item)
	it.timer = len(*h)
	*h = append(*h, it)
}

// Pop implements heap.Interface.
func (h *timers) Pop() any {
	old := *h
	x := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return x
}
