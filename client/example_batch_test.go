package client_test

import (
	"context"
	"fmt"
	"log"

	"github.com/kimberlitedb/kimberlite-go/client"
	"github.com/kimberlitedb/kimberlite-go/internal/hosttest"
)

// Move an amount from one account to another: both statements are carried out, or neither.
func ExampleClient_Batch() {
	addr, stop := hosttest.Example()
	defer stop()
	ctx := context.Background()
	c, err := client.Dial(ctx, addr)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	setup, err := c.Batch(ctx, []client.Statement{
		client.SQL("CREATE TABLE accounts (owner TEXT PRIMARY KEY, balance INTEGER CHECK (balance >= 0))"),
		client.SQL("INSERT INTO accounts VALUES ($1, $2), ($3, $4)", "Ada", 100, "Grace", 0),
	}, client.Atomic())
	if err != nil || setup.Err() != nil {
		log.Fatal(err, setup.Err())
	}

	for _, amount := range []int{70, 70} {
		moved, err := c.Batch(ctx, []client.Statement{
			client.SQL("UPDATE accounts SET balance = balance + $1 WHERE owner = $2", amount, "Grace"),
			client.SQL("UPDATE accounts SET balance = balance - $1 WHERE owner = $2", amount, "Ada"),
			client.SQL("SELECT balance FROM accounts ORDER BY owner"),
		}, client.Atomic(), client.Once(client.NewKey()))
		if err != nil {
			log.Fatal(err)
		}
		if err := moved.Err(); err != nil {
			fmt.Println(err)
			continue
		}
		fmt.Println(client.Collect[int](moved.Results[2].Rows, nil))
	}
	// Output:
	// [30 70] <nil>
	// statement 2: ConstraintViolation: CHECK constraint failed: balance >= 0
}
