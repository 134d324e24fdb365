package world

// event is something that happens at a time. Events of one time happen in the order in which they were scheduled.
type event struct {
	at  int64
	seq uint64
	do  func()
}

// agenda is a heap of events.
type agenda struct {
	list []event
	seq  uint64
}

func (a *agenda) before(i, j int) bool {
	x, y := &a.list[i], &a.list[j]
	return x.at < y.at || (x.at == y.at && x.seq < y.seq)
}

func (a *agenda) add(at int64, do func()) {
	a.seq++
	a.list = append(a.list, event{at, a.seq, do})
	for i := len(a.list) - 1; i > 0; {
		parent := (i - 1) / 2
		if !a.before(i, parent) {
			return
		}
		a.list[i], a.list[parent] = a.list[parent], a.list[i]
		i = parent
	}
}

func (a *agenda) next() (event, bool) {
	if len(a.list) == 0 {
		return event{}, false
	}
	first, n := a.list[0], len(a.list)-1
	a.list[0] = a.list[n]
	a.list[n] = event{}
	a.list = a.list[:n]
	for i := 0; ; {
		least := i
		for child := 2*i + 1; child <= 2*i+2 && child < n; child++ {
			if a.before(child, least) {
				least = child
			}
		}
		if least == i {
			return first, true
		}
		a.list[i], a.list[least] = a.list[least], a.list[i]
		i = least
	}
}
