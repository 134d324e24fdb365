package client_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/kimberlitedb/kimberlite-go/client"
)

// exampleServer stands for a server that runs elsewhere, such as "kimberlite dev".
func exampleServer() (addr string, stop func()) {
	dir, err := os.MkdirTemp("", "kimberlite")
	if err != nil {
		log.Fatal(err)
	}
	addr, end, err := startServer(dir)
	if err != nil {
		log.Fatal(err)
	}
	return addr, func() {
		if err := errors.Join(end(), os.RemoveAll(dir)); err != nil {
			log.Fatal(err)
		}
	}
}

func Example() {
	addr, stop := exampleServer()
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
	addr, stop := exampleServer()
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
	addr, stop := exampleServer()
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
	addr, stop := exampleServer()
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
