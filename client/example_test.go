package client_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/kimberlitedb/kimberlite-go/client"
	"github.com/kimberlitedb/kimberlite-go/internal/hosttest"
)

func Example() {
	addr, stop := hosttest.Example()
	defer stop()
	ctx := context.Background()

	c, err := client.Dial(ctx, addr)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	orders, err := c.CreateStream(ctx, "orders")
	if err != nil {
		log.Fatal(err)
	}
	done, err := c.Append(ctx, orders, [][]byte{[]byte(`{"total":12}`), []byte(`{"total":7}`)})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%d events from offset %d\n", done.Count, done.FirstOffset)
	for e, err := range c.Events(ctx, orders, 0) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%d %s\n", e.Offset, e.Data)
	}
	// Output:
	// 2 events from offset 0
	// 0 {"total":12}
	// 1 {"total":7}
}

// Two writers decide on the same state. The second one is told, and decides again.
func ExampleExpectOffset() {
	addr, stop := hosttest.Example()
	defer stop()
	ctx := context.Background()
	c, err := client.Dial(ctx, addr)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	account, err := c.CreateStream(ctx, "account")
	if err != nil {
		log.Fatal(err)
	}

	withdraw := [][]byte{[]byte("withdraw 100")}
	for range 2 {
		_, err = c.Append(ctx, account, withdraw, client.ExpectOffset(0))
		var refused *client.Error
		if errors.Is(err, client.ErrOffsetMismatch) && errors.As(err, &refused) {
			fmt.Println("refused; the head is", refused.CurrentOffset.Value)
		}
	}
	// Output:
	// refused; the head is 1
}

// Many appends under way at a time, on one connection.
func ExampleClient_AppendAsync() {
	addr, stop := hosttest.Example()
	defer stop()
	ctx := context.Background()
	c, err := client.Dial(ctx, addr)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	ticks, err := c.CreateStream(ctx, "ticks")
	if err != nil {
		log.Fatal(err)
	}

	var flights []*client.Pending
	for i := range 1000 {
		flights = append(flights, c.AppendAsync(ctx, ticks, [][]byte{fmt.Append(nil, i)}))
	}
	for _, p := range flights {
		if _, err := p.Wait(ctx); err != nil {
			log.Fatal(err)
		}
	}
	info, err := c.StreamInfo(ctx, ticks)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(info.Head, "events")
	// Output:
	// 1000 events
}

// Events that happened earlier keep their own times.
func ExampleTimestamps() {
	addr, stop := hosttest.Example()
	defer stop()
	ctx := context.Background()
	c, err := client.Dial(ctx, addr)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	quakes, err := c.CreateStream(ctx, "quakes")
	if err != nil {
		log.Fatal(err)
	}

	felt := time.Date(2018, 2, 7, 1, 26, 13, 0, time.UTC)
	if _, err := c.Append(ctx, quakes, [][]byte{[]byte(`{"mag":2}`)}, client.Timestamps(felt)); err != nil {
		log.Fatal(err)
	}
	page, err := c.Read(ctx, quakes, 0, client.MaxEvents(10))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(page.Events[0].Timestamp, page.Next == page.Head)
	// Output:
	// 2018-02-07 01:26:13 +0000 UTC true
}

// An append with a key happens once, however often it is sent.
func ExampleIdempotencyKey() {
	addr, stop := hosttest.Example()
	defer stop()
	ctx := context.Background()
	c, err := client.Dial(ctx, addr)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	orders, err := c.CreateStream(ctx, "orders")
	if err != nil {
		log.Fatal(err)
	}

	key := client.NewKey() // once for the order, and kept with it until it is acknowledged
	for range 2 {
		done, err := c.Append(ctx, orders, [][]byte{[]byte(`{"total":12}`)}, client.IdempotencyKey(key))
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(done.FirstOffset, done.Duplicate)
	}
	// Output:
	// 0 false
	// 0 true
}

// The last events of a stream, and those of one hour.
func ExampleClient_Events() {
	addr, stop := hosttest.Example()
	defer stop()
	ctx := context.Background()
	c, err := client.Dial(ctx, addr)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	visits, err := c.CreateStream(ctx, "visits")
	if err != nil {
		log.Fatal(err)
	}
	morning := time.Date(2026, 5, 9, 8, 0, 0, 0, time.UTC)
	for i := range 6 {
		when := client.Timestamps(morning.Add(time.Duration(i) * 30 * time.Minute))
		if _, err := c.Append(ctx, visits, [][]byte{fmt.Append(nil, "visit ", i)}, when); err != nil {
			log.Fatal(err)
		}
	}

	for e := range c.Events(ctx, visits, 0, client.Last(2)) {
		fmt.Println("last:", string(e.Data))
	}
	nine := morning.Add(time.Hour)
	for e := range c.Events(ctx, visits, 0, client.Since(nine), client.Until(nine.Add(time.Hour))) {
		fmt.Println("from nine to ten:", string(e.Data))
	}
	for e := range c.Events(ctx, visits, client.End, client.Backward(), client.MaxEvents(1)) {
		fmt.Println("newest:", string(e.Data))
	}
	// Output:
	// last: visit 4
	// last: visit 5
	// from nine to ten: visit 2
	// from nine to ten: visit 3
	// newest: visit 5
}

// A deleted stream can be brought back until its purge date.
func ExampleClient_DeleteStream() {
	addr, stop := hosttest.Example()
	defer stop()
	ctx := context.Background()
	c, err := client.Dial(ctx, addr)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	drafts, err := c.CreateStream(ctx, "drafts")
	if err != nil {
		log.Fatal(err)
	}

	gone, err := c.DeleteStream(ctx, drafts, client.PurgeAfter(7))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("days left:", int(time.Until(gone.PurgeDate).Hours()+1)/24)
	_, err = c.Read(ctx, drafts, 0)
	fmt.Println("deleted:", errors.Is(err, client.ErrStreamDeleted))
	restored, err := c.UndeleteStream(ctx, drafts)
	fmt.Println("restored:", restored, err)
	// Output:
	// days left: 7
	// deleted: true
	// restored: true <nil>
}

// While there is a legal hold, nothing of a stream goes.
func ExampleClient_SetHold() {
	addr, stop := hosttest.Example()
	defer stop()
	ctx := context.Background()
	c, err := client.Dial(ctx, addr)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	mail, err := c.CreateStream(ctx, "mail", client.WithRetention(365))
	if err != nil {
		log.Fatal(err)
	}

	if err := c.SetHold(ctx, mail, "case-17", "Smith v. Jones"); err != nil {
		log.Fatal(err)
	}
	_, err = c.DeleteStream(ctx, mail)
	fmt.Println("held:", errors.Is(err, client.ErrHeld))
	if err := c.ReleaseHold(ctx, mail, "case-17"); err != nil {
		log.Fatal(err)
	}
	_, err = c.DeleteStream(ctx, mail)
	fmt.Println("deleted:", err == nil)
	// Output:
	// held: true
	// deleted: true
}

// What was done to the tenant's streams, and proof that nobody has rewritten it.
func ExampleClient_CheckAudit() {
	addr, stop := hosttest.Example()
	defer stop()
	ctx := context.Background()
	c, err := client.Dial(ctx, addr)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	if _, err := c.CreateStream(ctx, "orders"); err != nil {
		log.Fatal(err)
	}

	for e, err := range c.AuditEvents(ctx, 0, client.Last(1)) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(e.Act, e.Stream)
	}
	verdict, err := c.CheckAudit(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("broken:", verdict.Break.Set, "- hash of", len(verdict.Hash), "bytes")
	// Output:
	// stream.create orders
	// broken: false - hash of 32 bytes
}

// Follow a stream: the events that are there, then new ones as they are appended.
func ExampleClient_Subscribe() {
	addr, stop := hosttest.Example()
	defer stop()
	ctx := context.Background()
	c, err := client.Dial(ctx, addr)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	orders, err := c.CreateStream(ctx, "orders")
	if err != nil {
		log.Fatal(err)
	}
	if _, err := c.Append(ctx, orders, [][]byte{[]byte("one"), []byte("two")}); err != nil {
		log.Fatal(err)
	}

	live := client.OnCaughtUp(func(next client.Offset) {
		fmt.Println("caught up at", next)
		if _, err := c.Append(ctx, orders, [][]byte{[]byte("last")}); err != nil {
			log.Fatal(err)
		}
	})
	for e, err := range c.Subscribe(ctx, orders, 0, live) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%d %s\n", e.Offset, e.Data)
		if string(e.Data) == "last" {
			break
		}
	}
	// Output:
	// 0 one
	// 1 two
	// caught up at 2
	// 2 last
}

// Share a stream's events among the members of a group. What is not acknowledged, here since it fails, comes again.
func ExampleClient_Consume() {
	addr, stop := hosttest.Example()
	defer stop()
	ctx := context.Background()
	c, err := client.Dial(ctx, addr)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	orders, err := c.CreateStream(ctx, "orders")
	if err != nil {
		log.Fatal(err)
	}
	if _, err := c.Append(ctx, orders, [][]byte{[]byte("one"), []byte("two"), []byte("three")}); err != nil {
		log.Fatal(err)
	}
	if _, err := c.CreateGroup(ctx, orders, "mailer"); err != nil {
		log.Fatal(err)
	}

	for d, err := range c.Consume(ctx, orders, "mailer", client.Limit(4)) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%d %s, attempt %d\n", d.Offset, d.Data, d.Attempt)
		if string(d.Data) == "two" && d.Attempt == 1 {
			d.Nack(10 * time.Millisecond)
		} else {
			d.Ack()
		}
	}
	// Output:
	// 0 one, attempt 1
	// 1 two, attempt 1
	// 2 three, attempt 1
	// 1 two, attempt 2
}

// Have a function called with each event. What it returns decides what becomes of the event.
func ExampleClient_Handle() {
	addr, stop := hosttest.Example()
	defer stop()
	ctx, done := context.WithCancel(context.Background())
	c, err := client.Dial(ctx, addr)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	orders, err := c.CreateStream(ctx, "orders")
	if err != nil {
		log.Fatal(err)
	}
	if _, err := c.Append(ctx, orders, [][]byte{[]byte("one"), []byte("nonsense"), []byte("last")}); err != nil {
		log.Fatal(err)
	}
	if _, err := c.CreateGroup(ctx, orders, "mailer", client.AckDeadline(10*time.Second)); err != nil {
		log.Fatal(err)
	}

	mail := func(ctx context.Context, d *client.Delivery) error {
		switch string(d.Data) {
		case "nonsense":
			return client.ErrPark // nobody can ever mail this
		case "last":
			done()
		}
		fmt.Printf("mailed %s\n", d.Data)
		return nil
	}
	err = c.Handle(ctx, orders, "mailer", mail, client.KeepAlive())
	fmt.Println(err)
	for e, err := range c.ParkedEvents(context.Background(), orders, "mailer") {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println("parked: event", e.Offset)
	}
	// Output:
	// mailed one
	// mailed last
	// context canceled
	// parked: event 1
}

// Acknowledge many events at a time, once what they are for is done.
func ExampleOnIdle() {
	addr, stop := hosttest.Example()
	defer stop()
	ctx := context.Background()
	c, err := client.Dial(ctx, addr)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	orders, err := c.CreateStream(ctx, "orders")
	if err != nil {
		log.Fatal(err)
	}
	if _, err := c.Append(ctx, orders, [][]byte{[]byte("one"), []byte("two")}); err != nil {
		log.Fatal(err)
	}
	if _, err := c.CreateGroup(ctx, orders, "index"); err != nil {
		log.Fatal(err)
	}

	var batch []*client.Delivery
	commit := client.OnIdle(func() {
		for _, d := range batch {
			fmt.Printf("%s is in the index\n", d.Data)
			d.Ack()
		}
		batch = nil
	})
	for d, err := range c.Consume(ctx, orders, "index", commit, client.Limit(2)) {
		if err != nil {
			log.Fatal(err)
		}
		batch = append(batch, d)
	}
	info, err := c.GroupInfo(ctx, orders, "index")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("lag", info.Lag)
	// Output:
	// one is in the index
	// two is in the index
	// lag 0
}

// Change a table, and query it as it is and as it was.
func ExampleClient_QueryAt() {
	addr, stop := hosttest.Example()
	defer stop()
	ctx := context.Background()
	c, err := client.Dial(ctx, addr)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	if _, err := c.Exec(ctx, "CREATE TABLE accounts (id INTEGER PRIMARY KEY, owner TEXT, balance INTEGER)"); err != nil {
		log.Fatal(err)
	}
	opened, err := c.Exec(ctx, "INSERT INTO accounts VALUES ($1, $2, $3)", 7, "Ada", 100, client.Once(client.NewKey()))
	if err != nil {
		log.Fatal(err)
	}
	if _, err := c.Exec(ctx, "UPDATE accounts SET balance = balance - $1 WHERE id = $2", 30, 7); err != nil {
		log.Fatal(err)
	}

	type account struct {
		Owner   string
		Balance int64
	}
	const query = "SELECT owner, balance FROM accounts"
	then, err := client.Collect[account](c.QueryAt(ctx, opened.Position, query))
	if err != nil {
		log.Fatal(err)
	}
	now, err := client.Collect[account](c.Query(ctx, query))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(then, now)
	// Output: [{Ada 100}] [{Ada 70}]
}

// Freeze a tenant, and read it as it was.
func ExampleClient_Checkpoint() {
	addr, stop := hosttest.Example()
	defer stop()
	ctx := context.Background()
	c, err := client.Dial(ctx, addr)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	orders, err := c.CreateStream(ctx, "orders")
	if err != nil {
		log.Fatal(err)
	}
	if _, err := c.Append(ctx, orders, [][]byte{[]byte("one"), []byte("two")}); err != nil {
		log.Fatal(err)
	}
	cp, err := c.Checkpoint(ctx, "Q4-2026-audit")
	if err != nil {
		log.Fatal(err)
	}
	if _, err := c.Append(ctx, orders, [][]byte{[]byte("three")}); err != nil {
		log.Fatal(err)
	}
	for e, err := range c.Events(ctx, orders, 0, client.AsOf(cp.Position)) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(e.Offset, string(e.Data))
	}
	// Output:
	// 0 one
	// 1 two
}
