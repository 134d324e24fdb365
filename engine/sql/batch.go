package sql

import "github.com/kimberlitedb/kimberlite-go/wire"

// Batched is a statement of an entry that has several.
type Batched struct {
	SQL    string
	Params []wire.Value
	Makes  string // the table or view that it may make; see Statement
}

// Names returns the names of the tables and views that an entry may make.
func (e *Entry) Names() (list []string) {
	if e.Makes != "" {
		list = append(list, e.Makes)
	}
	for i := range e.Batch {
		if e.Batch[i].Makes != "" {
			list = append(list, e.Batch[i].Makes)
		}
	}
	return list
}

// attemptAll runs the statements of an entry that has several, those that read too. Each sees what those before it have done.
// Together they may take as many steps, and give as many bytes, as one statement may.
func (p *Projection) attemptAll(e *Entry) *Outcome {
	all := &Outcome{}
	left := e.Limits
	for i := range e.Batch {
		b := &e.Batch[i]
		o := p.attemptOne(&Entry{SQL: b.SQL, Params: b.Params, Limits: left})
		if o.Size += ColumnsSize(o.Columns); o.Err == nil && uint64(o.Size) > left.Bytes {
			o.Err = tooLarge(e.Limits.Bytes)
		}
		if o.Err != nil {
			return failedBatch(len(e.Batch), i, o.Err)
		}
		left.Steps, left.Bytes = p.writer.budget.rest(), left.Bytes-uint64(o.Size)
		all.Parts = append(all.Parts, o)
		all.Size += o.Size
	}
	return all
}

// attemptOne runs one of several statements.
func (p *Projection) attemptOne(e *Entry) *Outcome {
	s, refused := p.parse(e.SQL)
	if refused == nil && s.Past() {
		refused = wire.Errorf(wire.QueryExecutionError, "AS OF is not for a batch that writes: its statements see what those before them have done")
	}
	if refused != nil {
		return &Outcome{Err: refused}
	}
	o := &Outcome{}
	p.attempt(s, e, o)
	return o
}

func tooLarge(most uint64) *wire.Error {
	return wire.Errorf(wire.ResultTooLarge, "the results of the batch are larger than %d bytes; add a LIMIT, or send fewer statements at a time", most)
}

// failedBatch is the outcome of statements that are carried out together, where one of them has failed.
func failedBatch(n, failed int, why *wire.Error) *Outcome {
	all := &Outcome{Err: why, failed: failed}
	for i := range n {
		all.Parts = append(all.Parts, &Outcome{Err: Undone(i, failed, why)})
	}
	return all
}

// Undone says why a statement of a batch that is carried out as a whole has not been, where one of them has failed.
func Undone(i, failed int, why *wire.Error) *wire.Error {
	switch {
	case i < failed:
		return wire.Errorf(wire.QueryExecutionError, "rolled back: statement %d of the batch failed", failed+1)
	case i > failed:
		return wire.Errorf(wire.QueryExecutionError, "not run: statement %d of the batch failed", failed+1)
	}
	return why
}

// failure is the outcome of an entry that has failed. Where it has several statements, and none of them has failed, it is said of
// the last.
func (e *Entry) failure(o *Outcome) *Outcome {
	if len(e.Batch) == 0 || len(o.Parts) > 0 && o.Parts[0].Err != nil {
		return o
	}
	return failedBatch(len(e.Batch), len(e.Batch)-1, wire.Errorf(o.Err.Code, "at the end of the batch: %s", o.Err.Message))
}

// QueryAll answers questions in their order, up to the first that cannot be answered. Those about the present see the same
// tables. Together they may take as many steps, and give as many bytes, as the first says.
func (p *Projection) QueryAll(list []*Question) (results []*Result, _ *wire.Error) {
	c, err := p.reader(false)
	if err != nil {
		return nil, wire.Errorf(wire.InternalError, "%v", err)
	}
	defer p.giveBack(c)
	steps, bytes := list[0].Steps, list[0].Bytes
	for _, asked := range list {
		q, cur, e := *asked, Cursor{}, (*wire.Error)(nil)
		q.Steps, q.Bytes = steps, bytes
		if c.now = q.Now; q.At.Set || q.Time.Set {
			e = cur.snapshot(p, &q)
		} else {
			e = cur.beside(p, &q, c)
		}
		if e != nil {
			return results, e
		}
		r, e := cur.answer(&q)
		if cur.once {
			cur.Close()
		}
		if e == nil && uint64(r.Size) > bytes {
			e = tooLarge(list[0].Bytes)
		}
		if e != nil {
			return results, e
		}
		steps, bytes = cur.c.budget.rest(), bytes-uint64(r.Size)
		results = append(results, r)
	}
	return results, nil
}

// answer answers a question on the cursor's connection, whole.
func (cur *Cursor) answer(q *Question) (*Result, *wire.Error) {
	defer func() { cur.c.own = true }()
	e := cur.begin(q)
	if e != nil {
		cur.c.finish(&cur.run) // an error was told when it arose
		return nil, e
	}
	r := &Result{Columns: cur.run.names, Position: cur.Position}
	r.Rows, r.Size, e = cur.c.whole(&cur.run, r.one[:0], int(q.Bytes))
	if ended := cur.c.finish(&cur.run); e == nil {
		e = ended
	}
	r.weigh()
	return r, e
}

// rest returns how many steps are left.
func (b *budget) rest() uint64 { return uint64(max(0, b.left)) * stepsAtOnce }

// weigh counts the columns of a result, and what surrounds it, as well as its rows.
func (r *Result) weigh() { r.Size += ColumnsSize(r.Columns) }

// ColumnsSize returns about what the columns of a result take on the wire, in bytes, with what surrounds it.
func ColumnsSize(names []string) int {
	n := 128
	for _, name := range names {
		n += 8 + len(name)
	}
	return n
}
