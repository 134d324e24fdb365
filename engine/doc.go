// Package engine is the database: one Machine that takes commands and returns effects. It is pure and single-threaded.
// It starts no goroutine, reads no clock, opens no file or socket and draws no random number of its own; drivers do
// that for it, the real ones in io and the simulated ones in sim, over the same bytes.
//
//	m, report, err := engine.Open(files, config)          // recovery: a job over Files
//	fx = m.Step(now, &engine.Request{Conn: 1, Msg: r}, fx) // decide one request
//	fx = m.Step(now, engine.EndBatch{}, fx)                // Write and Sync what was decided
//	fx = m.Step(now, engine.Synced{Upto: lsn}, fx)         // replies leave now, and not before
//
// The life of a request: a handler (append.go, stream.go, …) decides it against the current state into a log record or
// a refusal; apply changes the state; the group commit (commit.go) writes records in batches and holds every reply until
// what justifies it is durable. Recovery (recover.go) feeds the same apply from the log.
package engine
