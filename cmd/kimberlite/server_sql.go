package main

import (
	"fmt"
	"time"

	"github.com/kimberlitedb/kimberlite-go/engine"
	"github.com/kimberlitedb/kimberlite-go/wire"
	"github.com/spf13/pflag"
)

// sqlLimits are the settings of a server that bound what SQL may take. Those on which the outcome of a statement depends
// stand in its entry of the log, so that a change of them changes nothing that was decided before.
type sqlLimits struct {
	steps   uint64 // of SQLite's virtual machine
	tables  uint64 // in MiB, of a tenant
	queries int    // at work
	time    time.Duration
}

// pagesPerMiB is how many pages a MiB of tables has.
const pagesPerMiB = 256

func (o *sqlLimits) register(f *pflag.FlagSet) {
	d := engine.DefaultConfig()
	f.Uint64Var(&o.steps, "sql-steps", d.SQLSteps, "steps of SQLite's virtual machine that a statement, or a chunk of a streamed query, may take")
	f.Uint64Var(&o.tables, "sql-tables", d.SQLPages/pagesPerMiB, "MiB that the tables of a tenant may take, history included; they are in memory")
	f.IntVar(&o.queries, "sql-queries", d.MaxQueries, "queries at work at a time; each may take 256 MiB of memory")
	f.DurationVar(&o.time, "sql-time", time.Duration(d.QueryTime), "how long a query may take")
}

// check refuses what no statement could work with.
func (o *sqlLimits) check() error {
	const least, most = 1000, 1 << 20
	switch {
	case o.steps < least:
		return fmt.Errorf("--sql-steps %d is too few: give at least %d", o.steps, least)
	case o.tables < 1 || o.tables > most:
		return fmt.Errorf("--sql-tables %d: give 1 to %d MiB", o.tables, most)
	case o.queries < 1:
		return fmt.Errorf("--sql-queries %d is too few: give at least 1", o.queries)
	case o.time < time.Second:
		return fmt.Errorf("--sql-time %s is too short: give at least 1s", o.time)
	}
	return nil
}

func (o *sqlLimits) set(c *engine.Config) {
	c.SQLSteps, c.SQLPages = o.steps, o.tables*pagesPerMiB
	c.MaxQueries, c.QueryTime = o.queries, wire.Span(o.time)
}
