package wire

// BatchQuery runs SQL statements in their order: each sees what those before it have done.
type BatchQuery struct {
	Queries        []BatchedQuery
	StopOnError    bool        // behind one that fails none is run
	Atomic         bool        // tail field; all of them are carried out, or none
	IdempotencyKey Option[Key] // tail field
}

// BatchedQuery is a statement of a batch.
type BatchedQuery struct {
	SQL    string
	Params []Value
}

// BatchQueryReply has the result of each statement of a batch, in their order.
type BatchQueryReply struct {
	Size     int // about what the results take on the wire, in bytes, where the sender says so; not sent
	Results  []BatchedResult
	Position Position // tail field; behind what the batch has written and seen
}

// BatchedResult is the result of a statement of a batch: its rows, or why it has failed.
type BatchedResult struct {
	Err     *Error // has a code and a message alone; nil where the statement was carried out
	Columns []string
	Rows    [][]Value
}

// Op returns the operation.
func (*BatchQuery) Op() Op { return OpBatchQuery }

func (*BatchQueryReply) isResponse() {}

// The variants of a Result.
const (
	resultOk = iota
	resultErr
)

// Least encoded sizes, in bytes.
const (
	minBatchedQuery  = 2 * minVec
	minBatchedResult = 4 + 4 + minVec
)

func appendBatchQuery(dst []byte, m *BatchQuery, f Features) []byte {
	dst = appendCount(dst, len(m.Queries))
	for i := range m.Queries {
		dst = appendValues(appendBytes(dst, m.Queries[i].SQL), m.Queries[i].Params, f)
	}
	dst = appendBool(dst, m.StopOnError)
	if !m.Atomic && !m.IdempotencyKey.Set {
		return dst
	}
	return appendOptKey(appendBool(dst, m.Atomic), m.IdempotencyKey)
}

func (d *decoder) batchQuery(f Features) *BatchQuery {
	m, params := &BatchQuery{Queries: vec[BatchedQuery](d, minBatchedQuery)}, 0
	for i := range m.Queries {
		q := &m.Queries[i]
		q.SQL = d.str()
		ahead := *d
		if params += ahead.count(minValue); params > MaxBatchParams { // see params
			d.fail(errParams)
			return nil
		}
		q.Params = d.params(f)
	}
	m.StopOnError = d.boolean()
	if d.more() {
		m.Atomic = d.boolean()
	}
	if d.more() {
		m.IdempotencyKey = optKey(d)
	}
	return m
}

// appendBatchQueryReply stops once the results cannot fit, as appendQueryReply does.
func appendBatchQueryReply(dst []byte, m *BatchQueryReply, f Features) []byte {
	start := len(dst)
	dst = appendReplyTo(dst, OpBatchQuery)
	dst = appendCount(dst, len(m.Results))
	for i := range m.Results {
		r := &m.Results[i]
		if r.Err != nil {
			dst = appendFailure(appendU32(dst, resultErr), r.Err, f)
			continue
		}
		dst = appendStrings(appendU32(dst, resultOk), r.Columns)
		dst = appendCount(dst, len(r.Rows))
		for _, row := range r.Rows {
			if len(dst)-start > MaxPayload {
				return dst
			}
			dst = appendValues(dst, row, f)
		}
	}
	if m.Position == 0 {
		return dst
	}
	return appendNumber(dst, m.Position)
}

func (d *decoder) batchQueryReply(f Features) *BatchQueryReply {
	m := &BatchQueryReply{Results: vec[BatchedResult](d, minBatchedResult)}
	for i := range m.Results {
		m.Results[i] = d.batchedResult(f)
	}
	if d.more() {
		m.Position = Position(d.u64())
	}
	return m
}

func (d *decoder) batchedResult(f Features) (r BatchedResult) {
	if d.variant(2) == resultErr {
		r.Err = &Error{Code: Code(d.u32()), Message: d.str()}
		return r
	}
	r.Columns, r.Rows = d.strings(), vec[[]Value](d, minVec)
	for i := range r.Rows {
		r.Rows[i] = d.values(f)
	}
	return r
}
