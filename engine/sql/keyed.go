package sql

import (
	"fmt"
	"math"

	"github.com/ncruces/go-sqlite3"

	"github.com/kimberlitedb/kimberlite-go/wire"
)

// remember keeps the outcome of an entry that has a key, for those who send it again.
func (p *Projection) remember(e *Entry, o *Outcome) error {
	if !e.Key.Set {
		return nil
	}
	if len(o.Parts) == 0 {
		return p.rememberPart(e.Position, 0, o)
	}
	for i, part := range o.Parts {
		if err := p.rememberPart(e.Position, i+1, part); err != nil {
			return err
		}
	}
	return nil
}

func (p *Projection) rememberPart(at wire.Position, statement int, o *Outcome) error {
	code, message := wire.Code(0), ""
	if o.Err != nil {
		code, message = o.Err.Code, o.Err.Message
	}
	return p.writer.exec(`INSERT INTO "$keyed" VALUES(%d, %d, %d, %d, %s)`, at, statement, o.Affected, code, quoteText(message))
}

// Remembered returns the outcome of an entry that has a key. What it has returned as rows is not kept.
func (p *Projection) Remembered(at wire.Position) (o *Outcome, err error) {
	c, err := p.reader(false)
	if err != nil {
		return nil, err
	}
	defer p.giveBack(c)
	var parts []*Outcome
	err = c.each(fmt.Sprintf(`SELECT affected, code, message, statement FROM "$keyed" WHERE position = %d ORDER BY statement`, at), func(r *sqlite3.Stmt) {
		o = &Outcome{Affected: uint64(r.ColumnInt64(0))}
		if code := wire.Code(r.ColumnInt(1)); code != 0 {
			o.Err = &wire.Error{Code: code, Message: r.ColumnText(2)}
		}
		if r.ColumnInt(3) > 0 {
			parts = append(parts, o)
		}
	})
	if len(parts) > 0 {
		o = &Outcome{Parts: parts}
	}
	if err == nil && o == nil {
		err = fmt.Errorf("the outcome of position %d is not known", at)
	}
	return o, err
}

// note keeps when an entry was committed, and what has come of it.
func (p *Projection) note(e *Entry, o *Outcome) error {
	if err := p.remember(e, o); err != nil {
		return err
	}
	return p.noteTime(e.Position, e.Time)
}

// noteFailed is note for an entry that has changed nothing: that it has failed is told, however full the tables are.
func (p *Projection) noteFailed(e *Entry, o *Outcome) error {
	if err := p.unlimited(); err != nil {
		return err
	}
	return p.note(e, o)
}

func (p *Projection) unlimited() error { return p.limit(math.MaxUint32 - 1) }
