package sql

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/ncruces/go-sqlite3"

	"github.com/kimberlitedb/kimberlite-go/wire"
)

// conn is a connection to a tenant's database. One goroutine uses it at a time.
type conn struct {
	db      *sqlite3.Conn
	cache   map[string]*prepared // statements of clients, by text
	order   []string             // of the cache, the longest unused first
	latest  *prepared            // the last one in that order
	control [controlCount]*sqlite3.Stmt
	dates   *sqlite3.Conn // computes dates; nil until one is needed

	addTimes, putTimes  *sqlite3.Stmt // of $times; nil until they are needed
	counted, addCounted *sqlite3.Stmt // of $sequences; likewise

	// What a connection for queries sees, while it has a transaction.
	reading bool
	seen    wire.Position // of the last entry
	schema  uint64        // for which its statements were prepared

	// What the statement under way may do and see.
	own       bool   // it is the projection's own: everything
	verb      string // of a client's
	writer    bool
	shadows   map[string]bool // of a past connection: tables that are seen through a view of the same name, folded
	views     map[string]bool // of a past connection: the client's views, folded
	qualified bool            // the query, or a view of then, names the schema main
	position  wire.Position
	now       wire.Time
	seed      [SeedSize]byte
	random    *rand.ChaCha8 // nil until it is asked for
	budget    budget
	denied    string // why the authorizer has refused something
	broken    bool   // nothing can be asked of it any more
	missing   string // the table that it has refused since it was not there then

	// What it may see of streams.
	modules map[string]bool // names, folded, that it takes for those of streams
	streams Streams         // of the question under way; nil without any
	upto    wire.Position   // as of which they are seen
	past    bool            // that is a past one
	failed  *wire.Error     // why one could not be read
}

// maxPrepared is how many prepared statements a connection keeps.
const maxPrepared = 64

// connMemory is how much memory a connection may take, in bytes. The database is not part of it.
const connMemory = 256 << 20

// connect opens a connection to a database of the mvcc file system.
func connect(name string, writer bool) (*conn, error) {
	mode := "ro"
	if writer {
		mode = "rw"
	}
	db, err := sqlite3.OpenContext(sqlite3.WithMaxMemory(context.Background(), connMemory), "file:/"+name+"?vfs=mvcc&mode="+mode)
	if err != nil {
		return nil, fmt.Errorf("open a connection: %w", err)
	}
	c := &conn{db: db, cache: map[string]*prepared{}, writer: writer, own: true}
	if err := c.prepareConn(); err != nil {
		c.close()
		return nil, fmt.Errorf("set up a connection: %w", err)
	}
	return c, nil
}

func (c *conn) prepareConn() error {
	for limit, value := range map[sqlite3.LimitCategory]int{ //det:order-free: each for itself
		sqlite3.LIMIT_LENGTH:              maxValue,
		sqlite3.LIMIT_SQL_LENGTH:          maxStatement,
		sqlite3.LIMIT_ATTACHED:            0,
		sqlite3.LIMIT_LIKE_PATTERN_LENGTH: 1000,
	} {
		c.db.Limit(limit, value)
	}
	if err := c.db.Exec("PRAGMA foreign_keys = ON; PRAGMA recursive_triggers = ON; PRAGMA temp_store = MEMORY"); err != nil {
		return err
	}
	if c.writer { // what is deleted must not be in a snapshot
		if err := c.db.Exec("PRAGMA secure_delete = ON"); err != nil {
			return err
		}
	}
	if err := c.functions(); err != nil {
		return err
	}
	return c.db.SetAuthorizer(c.authorize)
}

// control statements are the projection's own, and have neither parameters nor results.
type control int

const (
	begin     control = iota
	firstRead         // takes the snapshot
	beginWriting
	commit
	rollback
	savepoint
	rollbackTo
	release
	controlCount
)

var controlText = [controlCount]string{
	begin: "BEGIN", firstRead: `SELECT 1 FROM "$schema" LIMIT 1`, beginWriting: `BEGIN IMMEDIATE`, commit: "COMMIT", rollback: "ROLLBACK",
	savepoint: `SAVEPOINT "$entry"`, rollbackTo: `ROLLBACK TO "$entry"`, release: `RELEASE "$entry"`,
}

// do runs a control statement, which it prepares the first time.
func (c *conn) do(what control) error {
	s, err := c.ours(&c.control[what], controlText[what])
	if err != nil {
		return err
	}
	return s.Exec()
}

// ours returns a statement of the projection's own, which is prepared where it has not been yet.
func (c *conn) ours(s **sqlite3.Stmt, text string) (_ *sqlite3.Stmt, err error) {
	if *s == nil {
		c.own = true
		*s, _, err = c.db.PrepareFlags(text, sqlite3.PREPARE_PERSISTENT)
	}
	return *s, err
}

const (
	// maxValue is the greatest length of a text or blob, in bytes.
	maxValue = 16 << 20
	// maxStatement is the greatest length of a statement, in bytes.
	maxStatement = 1 << 20
)

// close gives back what the connection has. The library panics where what it closes has run out of memory, after it has closed
// it.
func (c *conn) close() {
	quietly := func(close func() error) {
		defer func() { _ = recover() }()
		_ = close() // an error is that of what was done last
	}
	for _, s := range c.cache { //det:order-free: each for itself
		quietly(s.Close)
	}
	for _, s := range c.control {
		quietly(s.Close) // also where it was not prepared
	}
	c.cache = nil
	quietly(c.addTimes.Close) // the same
	quietly(c.putTimes.Close)
	quietly(c.counted.Close)
	quietly(c.addCounted.Close)
	quietly(c.dates.Close) // also where there is none
	quietly(c.db.Close)
}

// exec runs statements of the projection's own, which have neither parameters nor results.
func (c *conn) exec(format string, args ...any) error {
	c.own = true
	return c.db.Exec(fmt.Sprintf(format, args...))
}

// each runs a query of the projection's own, and calls row for each row.
func (c *conn) each(query string, row func(*sqlite3.Stmt)) error {
	c.own = true
	s, _, err := c.db.Prepare(query)
	if err != nil {
		return err
	}
	defer s.Close()
	for s.Step() {
		row(s)
	}
	return s.Err()
}

// prepared is a client's statement, with what is known of it.
type prepared struct {
	*sqlite3.Stmt
	numbers []int       // which parameter stands at each place
	count   int         // of the parameters that it takes
	misfit  *wire.Error // why it can be given none
	ran     bool        // so that its columns are known
	columns []column
	names   []string // theirs
}

// prepare returns a client's statement, ready to be run.
func (c *conn) prepare(text string) (*prepared, error) {
	if n := len(c.order); n > 0 && c.order[n-1] == text {
		return c.latest, nil
	}
	if s := c.cache[text]; s != nil {
		c.touch(text)
		c.latest = s
		return s, nil
	}
	stmt, _, err := c.db.PrepareFlags(text, sqlite3.PREPARE_PERSISTENT)
	if err != nil {
		return nil, err
	}
	if len(c.order) >= maxPrepared {
		c.cache[c.order[0]].Close()
		delete(c.cache, c.order[0])
		c.order = c.order[1:]
	}
	s := &prepared{Stmt: stmt}
	s.parameters()
	c.cache[text], c.latest = s, s
	c.order = append(c.order, text)
	return s, nil
}

// touch makes a statement the one that was used last.
func (c *conn) touch(text string) {
	for i := len(c.order) - 1; i >= 0; i-- {
		if c.order[i] == text {
			copy(c.order[i:], c.order[i+1:])
			c.order[len(c.order)-1] = text
			return
		}
	}
}

// forget drops the prepared statements: the schema is another one.
func (c *conn) forget() {
	for _, s := range c.cache { //det:order-free: each for itself
		s.Close()
	}
	clear(c.cache)
	c.order, c.latest = c.order[:0], nil
}

// budget ends a statement that takes too many steps, or that nobody waits for any more. SQLite asks it once in a thousand
// steps of its virtual machine, so that a statement ends at the same step whenever it is run.
type budget struct {
	left   int
	events int // of streams, that are not counted in left yet
	stop   *Stop
	asked  bool // the next question is that before a row: it costs nothing
}

var _ context.Context = (*budget)(nil)

// stepsAtOnce is how many steps of the virtual machine lie between two questions to the budget.
const stepsAtOnce = 1000

// Deadline implements context.Context.
func (b *budget) Deadline() (t time.Time, ok bool) { return t, false }

// Done implements context.Context.
func (b *budget) Done() <-chan struct{} { return nil }

// Value implements context.Context.
func (b *budget) Value(any) any { return nil }

// Err implements context.Context.
func (b *budget) Err() error {
	if b.stop != nil && b.stop.Stopped() {
		return context.Canceled
	}
	if b.left <= 0 {
		return context.DeadlineExceeded
	}
	if !b.asked {
		b.left--
	}
	b.asked = false
	return nil
}
