package seg

import "fmt"

// Verdict says what becomes of a section in a merge.
type Verdict uint8

// The verdicts. A lost range is kept or dropped as a whole: there is nothing to sift.
const (
	Keep Verdict = iota // all of its records, as they are
	Drop                // all of its records: their bytes are not in the new file
	Sift                // each record by itself
)

// Merging says what becomes of what is merged.
type Merging struct {
	Summarize Summarizer // the one that the inputs were made with
	// Judge, unless nil, decides about a section by what the index says; without it everything is kept.
	Judge func(*Section) Verdict
	// Sift is asked about each record of a section that is to be sifted. It returns raw to keep it, nil to drop it, or
	// another whole record with the same key and LSN to put in its place: one with fewer events.
	Sift func(r *Record, raw []byte) []byte
	// Damaged, unless nil, is told once of every block that cannot be read, with its sections. If it returns nil they
	// become lost ranges, as far as they are not dropped, so that reads of them go on failing; otherwise, and without it,
	// the merge fails.
	Damaged func(number uint64, lost []Section, err error) error
}

// Merge writes the records of several sealed files into one. The inputs must be in the order of their LSNs, and their
// ranges within the new file's; whatever lies between them the new file covers too. It holds one block of each input in
// memory, and does not remove them.
//
// On an error there is no new file, as SealedWriter.Finish says.
func Merge(fs Files, head SealedHead, inputs []*SealedIndex, how Merging) (SealedInfo, error) {
	m := merger{how: how, target: head.Target}
	defer m.close()
	for i, x := range inputs {
		if x.First < head.First || x.Last > head.Last || i > 0 && x.First <= inputs[i-1].Last {
			return SealedInfo{}, fmt.Errorf("merge %s: its lsns, %d to %d, are out of order", SealedName(x.Number), x.First, x.Last)
		}
		in, err := newMergeInput(fs, x, how.Summarize)
		if err != nil {
			return SealedInfo{}, err
		}
		m.inputs = append(m.inputs, in)
	}
	var err error
	if m.w, err = CreateSealed(fs, head); err != nil {
		return SealedInfo{}, err
	}
	if err := m.run(); err != nil {
		m.w.Abort()
		return SealedInfo{}, fmt.Errorf("merge into %s: %w", SealedName(head.Number), err)
	}
	return m.w.Finish()
}

// merger goes through the keys of all inputs in order, and for each key through the inputs.
type merger struct {
	how    Merging
	target int
	inputs []*mergeInput
	w      *SealedWriter
}

func (m *merger) close() {
	for _, in := range m.inputs {
		in.reader.Close() // nothing was written
	}
}

func (m *merger) run() error {
	for {
		k, ok := m.least()
		if !ok {
			return nil
		}
		for _, in := range m.inputs {
			for s := in.next(); s != nil && s.Key == k; s = in.next() {
				if err := m.section(in, s); err != nil {
					return err
				}
				in.done++
			}
		}
	}
}

// least returns the least key that any input still has.
func (m *merger) least() (k Key, ok bool) {
	for _, in := range m.inputs {
		if s := in.next(); s != nil && (!ok || s.Key.Compare(k) < 0) {
			k, ok = s.Key, true
		}
	}
	return k, ok
}

// section carries a section over.
func (m *merger) section(in *mergeInput, s *Section) error {
	verdict := Keep
	if m.how.Judge != nil {
		verdict = m.how.Judge(s)
	}
	switch {
	case verdict == Drop:
		return nil
	case s.Lost():
		return m.w.Lost(*s)
	case verdict == Keep && m.copies(in, s):
		return m.copy(in, s)
	}
	p, err := in.records(s)
	if err != nil {
		return m.damaged(in, s, err)
	}
	return m.records(s, p, verdict)
}

// copies reports whether a section can be carried over as the block that it is. A small block before it would stay small
// then, and so it is not, if the two can share one.
func (m *merger) copies(in *mergeInput, s *Section) bool {
	pending := len(m.w.block)
	return in.alone(s) && int(s.Length) >= m.target/2 &&
		(pending == 0 || pending >= m.target/2 || pending+int(s.Length) > 2*m.target)
}

func (m *merger) copy(in *mergeInput, s *Section) error {
	h, payload, err := in.reader.stored(in.x.Number, in.x.Blocks[s.Block])
	if err != nil {
		return m.damaged(in, s, err)
	}
	return m.w.copy(*s, h, payload)
}

// damaged deals with a block that cannot be read, when one of its sections is about to be carried over.
func (m *merger) damaged(in *mergeInput, s *Section, err error) error {
	if final(err) {
		return err
	}
	if in.told != s.Block {
		if m.how.Damaged == nil {
			return err
		}
		if err := m.how.Damaged(in.x.Number, in.block(s.Block), err); err != nil {
			return err
		}
		in.told = s.Block
	}
	return m.w.Lost(*s)
}

// records carries records over one by one.
func (m *merger) records(s *Section, p []byte, verdict Verdict) error {
	// What is not copied only for the sake of the small block before it makes one block with that.
	add, pending := m.w.Add, len(m.w.block)
	if verdict == Keep && pending > 0 && len(p) >= m.target/2 && pending+len(p) <= 2*m.target {
		add = m.w.add
	}
	for len(p) > 0 {
		var r Record
		n, err := ParseRecord(p, &r) // verified when the block was read
		if err != nil {
			return err
		}
		raw := p[:n:n]
		p = p[n:]
		_, sum := m.how.Summarize(&r)
		if verdict == Sift {
			if raw, sum, err = m.sift(s, &r, raw, sum); err != nil {
				return err
			}
		}
		if raw == nil {
			continue
		}
		if err := add(s.Key, sum, raw); err != nil {
			return err
		}
	}
	return nil
}

// sift asks what becomes of a record.
func (m *merger) sift(s *Section, r *Record, raw []byte, sum Summary) ([]byte, Summary, error) {
	out := m.how.Sift(r, raw)
	if len(out) == 0 {
		return nil, sum, nil
	}
	var put Record
	n, err := CheckRecord(out, &put)
	if err != nil || n != len(out) {
		return nil, sum, fmt.Errorf("what is put in the place of lsn %d is not a record", sum.LSN)
	}
	key, changed := m.how.Summarize(&put)
	if key != s.Key || changed.LSN != sum.LSN {
		return nil, sum, fmt.Errorf("what is put in the place of lsn %d belongs elsewhere", sum.LSN)
	}
	return out, changed, nil
}
