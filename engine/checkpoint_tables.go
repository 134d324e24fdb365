package engine

import (
	"errors"

	"github.com/kimberlitedb/kimberlite-go/engine/sql"
	"github.com/kimberlitedb/kimberlite-go/wire"
)

// A checkpoint has the tables as a dump of them as of its position: its manifest has the digest, an archive the dump itself. Nothing of it
// is kept in the data directory, as the projection can tell at any later time what the tables were, until their history is forgotten.

// dumping is what a job needs to dump tables: those, or why there are none.
type dumping struct {
	db   *sql.Projection
	gone string
}

// dumpOf returns what a job needs to dump the tables behind so many statements. Where they are not carried out yet it has that gone on
// with, and is not ready. It never waits for what does not come.
func (m *Machine) dumpOf(t *tenant, statements wire.Offset, fx []Effect) (d dumping, ready bool, _ []Effect) {
	if statements == 0 {
		return d, true, fx
	}
	l := m.tablesOf(t)
	switch {
	case l.broken != nil:
		return dumping{gone: l.broken.Message}, true, fx
	case l.head() < statements:
		return dumping{gone: "statements are lost to damage"}, true, fx
	case l.db != nil && !l.loading && l.next >= statements:
		return dumping{db: l.db}, true, fx
	case l.retry != 0 && l.unread >= readAttempts-1:
		return dumping{gone: "the disk does not give the statements"}, true, fx
	}
	m.cfg.hit(ProbeDumpWaits)
	return d, false, m.carryOn(l, fx)
}

// take dumps the tables as of a position, or says why that is not possible.
func (d dumping) take(at wire.Position, visit func([]byte) error) error {
	if d.db == nil {
		return errors.New(d.gone)
	}
	return d.db.Dump(at, nil, visit)
}
