package engine

import (
	"errors"
	"fmt"
	"slices"
	"sort"

	"github.com/kimberlitedb/kimberlite-go/engine/seg"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// Full log segments that no recovery needs any more are sealed: a job writes their records anew, grouped by stream and
// compressed, and the change of the manifest that names the sealed file lets go of the segment. Sealed files are merged in
// tiers, so that the events of a stream come to lie together and few files are left. Whatever retention or a purge has
// removed is left out on the way.
type sealing struct {
	running bool      // a job makes a sealed file
	retryAt wire.Time // monotonic, after a failure
	failed  int       // times in a row
	shed    place     // how far indexes have let go of what is sealed
	alive   *survivors
	damaged []uint64 // sealed files that cannot be merged without losing what a repair could still find
}

// sealRetry is how long the machine waits after a failure before it tries again: twice as long each time, up to sealRest,
// since each try reads and compresses a segment.
const (
	sealRetry = Second
	sealRest  = 16 * Second
)

// maintain starts what is to be done next to the files of the data directory.
func (m *Machine) maintain(fx []Effect) []Effect {
	fx = m.arrange(fx)
	if m.cfg.SealBlock == 0 || m.sealing.running || m.layout.busy() || m.clock.mono < m.sealing.retryAt {
		return fx
	}
	if fx, on := m.sweepOn(fx); on {
		return fx
	}
	if m.sweep.active && m.layout.man.First >= m.geo.Segment(m.sweep.from) {
		return m.sweepRest(fx)
	}
	if m.layout.man.First < m.needed() {
		return m.seal(fx)
	}
	if n, count := m.run(); count > 0 {
		return m.merge(n, count, m.survivors(), false, fx)
	}
	return fx
}

// needed returns the first segment that a recovery may need: from the older of two snapshots.
func (m *Machine) needed() uint64 {
	list := m.snap.list
	if len(list) < seg.MaxSnapshots {
		return m.layout.man.First
	}
	return max(m.geo.Segment(list[len(list)-1].Next), m.layout.man.First)
}

// survivors says what is left of every stream: its oldest offset. It is what was durable when a job began; what has been
// removed since then is left out another time.
type survivors struct {
	list []survivor    // ascending
	last wire.StreamID // the greatest id then: all of a later stream is left
	asOf seg.LSN       // the last removal then
}

type survivor struct {
	seg.Key
	oldest wire.Offset
}

// survivors returns what is left. It is looked for anew only when something has been removed.
func (m *Machine) survivors() *survivors {
	if v := m.sealing.alive; v != nil && v.asOf == m.state.removed {
		return v
	}
	v := &survivors{list: make([]survivor, 0, len(m.state.streams)), last: m.state.lastStream, asOf: m.state.removed}
	for _, t := range m.state.order {
		for _, s := range t.streams {
			v.list = append(v.list, survivor{seg.Key{Tenant: t.id, Stream: s.id}, s.oldest})
		}
	}
	m.sealing.alive = v
	return v
}

// oldest returns the oldest offset of a stream, and false where the stream is no more.
func (v *survivors) oldest(k seg.Key) (wire.Offset, bool) {
	i := sort.Search(len(v.list), func(i int) bool { return v.list[i].Compare(k) >= 0 })
	if i == len(v.list) || v.list[i].Key != k {
		return 0, k.Stream > v.last
	}
	return v.list[i].oldest, true
}

// judge says what becomes of a section. Acts stay for ever.
func (v *survivors) judge(s *seg.Section) seg.Verdict {
	if s.Stream == 0 {
		return seg.Keep
	}
	oldest, ok := v.oldest(s.Key)
	switch {
	case !ok || s.Next <= oldest:
		return seg.Drop
	case s.First < oldest && !s.Lost():
		return seg.Sift
	}
	return seg.Keep
}

// sift returns what is left of a record. Entries outside the tenants' logs have done what they are for.
func (v *survivors) sift(r *seg.Record, raw []byte) []byte {
	if r.Kind.Act() {
		return raw
	}
	if r.Kind != seg.KindAppend {
		return nil
	}
	oldest, ok := v.oldest(seg.Key{Tenant: r.Tenant, Stream: r.Stream})
	switch {
	case !ok || r.First+wire.Offset(r.Count) <= oldest:
		return nil
	case r.First < oldest:
		return r.Without(int(oldest - r.First))
	}
	return raw
}

// sealed is the outcome of a job that makes a sealed file.
type sealed struct {
	index   *seg.SealedIndex // nil where nothing is left
	info    seg.SealedInfo
	damaged []uint64 // of the inputs of a merge
	err     error
}

// load takes up the index of a file that is made. One that holds nothing is removed.
func load(fs seg.Files, info seg.SealedInfo) sealed {
	if info.Sections == 0 {
		fs.Remove(seg.SealedName(info.Number)) // a name that stays is removed by the next recovery
		return sealed{info: info}
	}
	x, err := seg.ReadSealedIndex(fs, info.Store, info.Number)
	return sealed{index: x, info: info, err: err}
}

// sealJob seals one segment.
type sealJob struct {
	man   seg.Manifest
	head  seg.SealedHead // its last LSN is found by the job
	alive *survivors
}

type sealResult struct{ sealed }

func (j sealJob) Run(fs seg.Files) any {
	var whole []seg.Finding
	j.head.Last = j.head.First
	err := seg.ScanSegment(fs, j.man, j.man.First, 0, func(f seg.Finding) error {
		if f.Damaged {
			return seg.CopyAside(fs, j.man.Geometry, f.Extent) // what it was nobody can tell; reads of it fail
		}
		if f.Batch.Count > 0 {
			whole = append(whole, f)
			j.head.Last = max(j.head.Last, f.Batch.Last())
		}
		return nil
	})
	if err != nil {
		return sealResult{sealed{err: err}}
	}
	info, err := seg.Seal(fs, j.head, func(visit func(seg.Key, seg.Summary, []byte)) error { return j.records(whole, visit) })
	if err != nil {
		return sealResult{sealed{err: err}}
	}
	return sealResult{load(fs, info)}
}

// records visits what is left of the records in batches. A recovery may have written the last batch of a life twice.
func (j sealJob) records(whole []seg.Finding, visit func(seg.Key, seg.Summary, []byte)) error {
	next := j.head.First
	for _, f := range whole {
		for p := f.Records; len(p) > 0; {
			var r seg.Record
			n, err := seg.ParseRecord(p, &r)
			if err != nil {
				return err
			}
			raw := p[:n:n]
			p = p[n:]
			if r.LSN < next {
				continue
			}
			next = r.LSN + 1
			if raw = j.alive.sift(&r, raw); raw == nil {
				continue
			}
			if _, err := seg.ParseRecord(raw, &r); err != nil {
				return err
			}
			key, sum := seg.Summarize(&r)
			visit(key, sum, raw)
		}
	}
	return nil
}

// seal has the first live segment sealed, once everything that it may leave out is durable.
func (m *Machine) seal(fx []Effect) []Effect {
	man := m.layout.man
	head := seg.SealedHead{Store: m.store, Number: man.Next, First: 1, Target: m.cfg.SealBlock}
	if n := len(man.Sealed); n > 0 {
		head.First = man.Sealed[n-1].Last + 1
	}
	return m.sealBy("seal", sealJob{man, head, m.survivors()}, fx)
}

// sealBy starts a job that makes a sealed file, once what was decided so far is durable.
func (m *Machine) sealBy(name string, job Job, fx []Effect) []Effect {
	m.sealing.running = true
	m.job++
	return m.after(m.state.lsn, &StartJob{Job: m.job, Name: name, Run: job}, fx)
}

func (m *Machine) sealDone(r sealResult, fx []Effect) []Effect {
	if r.err != nil {
		return m.sealFailed(r.sealed, fx)
	}
	m.sealing.failed = 0
	m.cfg.hit(ProbeSealed)
	m.stats.Sealed++
	return m.change(change{
		edit: func(man *seg.Manifest) {
			man.First++
			man.Next = r.info.Number + 1
			if r.index != nil {
				man.Sealed = append(man.Sealed, r.mark())
			}
		},
		done: func() {
			m.sealing.running = false
			if r.index != nil {
				m.layout.sealed = append(m.layout.sealed, r.index)
				m.stats.SealedBytes += uint64(r.info.Size)
			}
		},
	}, fx)
}

func (r *sealed) mark() seg.SealedMark {
	return seg.SealedMark{Number: r.index.Number, First: r.index.First, Last: r.index.Last}
}

func (m *Machine) sealFailed(r sealed, fx []Effect) []Effect {
	m.cfg.hit(ProbeSealFailed)
	s := &m.sealing
	s.running, s.retryAt = false, m.clock.mono+wire.Time(min(sealRetry<<s.failed, sealRest))
	s.failed = min(s.failed+1, 10)
	s.damaged = append(s.damaged, r.damaged...)
	return fx
}

// mergeJob merges sealed files that follow each other into one.
type mergeJob struct {
	inputs []*seg.SealedIndex
	head   seg.SealedHead
	alive  *survivors
	lossy  bool // go on without what is damaged
}

type mergeResult struct{ sealed }

func (j mergeJob) Run(fs seg.Files) any {
	var damaged []uint64
	info, err := seg.Merge(fs, j.head, j.inputs, seg.Merging{
		Summarize: seg.Summarize, Judge: j.alive.judge, Sift: j.alive.sift,
		Damaged: func(number uint64, _ []seg.Section, err error) error {
			if hurt(err) {
				if j.lossy {
					return nil
				}
				damaged = append(damaged, number)
			}
			return err
		},
	})
	if err != nil {
		return mergeResult{sealed{err: err, damaged: damaged}}
	}
	return mergeResult{load(fs, info)}
}

// run returns the first sealed files in a row that are to be merged: enough of them that are no larger than one segment,
// or than what so many segments make, and so on, as long as the outcome stays below MaxSealed.
func (m *Machine) run() (first, count int) {
	list := m.layout.sealed
	for limit := m.geo.SegmentSize; limit*int64(m.cfg.MergeFiles) <= m.cfg.MaxSealed; limit *= int64(m.cfg.MergeFiles) {
		for i := 0; i < len(list); i++ {
			n := 0
			for i+n < len(list) && list[i+n] != nil && int64(list[i+n].Raw) <= limit && !slices.Contains(m.sealing.damaged, list[i+n].Number) {
				n++
			}
			if n >= m.cfg.MergeFiles {
				return i, m.cfg.MergeFiles
			}
			i += n
		}
	}
	return 0, 0
}

// merge has sealed files in a row merged. One alone is written anew, without what is removed.
func (m *Machine) merge(first, count int, alive *survivors, lossy bool, fx []Effect) []Effect {
	inputs := append([]*seg.SealedIndex(nil), m.layout.sealed[first:first+count]...)
	head := inputs[0].SealedHead
	head.Number, head.Last, head.Target = m.layout.man.Next, inputs[count-1].Last, m.cfg.SealBlock
	return m.sealBy("merge", mergeJob{inputs, head, alive, lossy}, fx)
}

func (m *Machine) mergeDone(r mergeResult, fx []Effect) []Effect {
	if r.err != nil {
		return m.sealFailed(r.sealed, fx)
	}
	m.sealing.failed = 0
	m.cfg.hit(ProbeMerged)
	m.stats.Merges++
	place := func(marks []seg.SealedMark) (from, to int) {
		for from < len(marks) && marks[from].Last < r.info.First {
			from++
		}
		for to = from; to < len(marks) && marks[to].Last <= r.info.Last; to++ {
		}
		return from, to
	}
	from, to := place(m.layout.man.Sealed)
	return m.change(change{
		edit: func(man *seg.Manifest) {
			man.Next = r.info.Number + 1
			var put []seg.SealedMark
			if r.index != nil {
				put = append(put, r.mark())
			}
			man.Sealed = append(append(man.Sealed[:from:from], put...), man.Sealed[to:]...)
		},
		done: func() {
			m.sealing.running = false
			var put []*seg.SealedIndex
			if r.index != nil {
				put = append(put, r.index)
				m.stats.SealedBytes += uint64(r.info.Size)
				m.stats.Rewritten += uint64(r.info.Size)
			}
			l := &m.layout
			l.sealed = append(append(l.sealed[:from:from], put...), l.sealed[to:]...)
		},
	}, fx)
}

// readSealed reads the indexes of the sealed files that the manifest names. What is wrong with one of them is reported;
// what it held can then not be read, as far as its blocks do not tell.
func (r *recovery) readSealed() error {
	for _, mark := range r.man.Sealed {
		x, err := seg.ReadSealedIndex(r.fs, r.man.Store, mark.Number)
		if hurt(err) {
			r.cfg.hit(ProbeSealedDamaged)
			r.report.BadSealed = append(r.report.BadSealed, fmt.Sprintf("%s: %v", seg.SealedName(mark.Number), err))
			var damage []seg.SealedDamage
			x, damage, err = seg.RebuildIndex(r.fs, r.man.Store, mark.Number, seg.Summarize)
			if slices.ContainsFunc(damage, func(d seg.SealedDamage) bool { return d.Part == seg.SealedBlockPart }) {
				r.hurt = append(r.hurt, mark.Number)
			}
		}
		if err != nil && !hurt(err) {
			return err
		}
		if err != nil {
			x = nil
		} else {
			x.First, x.Last = mark.First, mark.Last // of an index made anew, what its blocks tell may be less
		}
		r.sealed = append(r.sealed, x)
	}
	return nil
}

// hurt reports whether an error says that a sealed file is not what it was: no error that passes does.
func hurt(err error) bool {
	return errors.Is(err, seg.ErrDamaged) || errors.Is(err, seg.ErrUnreadable) || errors.Is(err, seg.ErrNotExist)
}
