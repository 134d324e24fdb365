// Package client talks to a Kimberlite server.
//
//	c, err := client.Dial(ctx, "127.0.0.1:5644")
//	id, err := c.CreateStream(ctx, "orders")
//	done, err := c.Append(ctx, id, [][]byte{[]byte(`{"total":12}`)}, client.ExpectOffset(0))
//	for e, err := range c.Events(ctx, id, 0) { … } // e.Offset, e.Timestamp, e.Data
//	for e, err := range c.Subscribe(ctx, id, client.End) { … } // new ones as they come
//	for d, err := range c.Consume(ctx, id, "mailer") { …; d.Ack() } // shared with the other members of a group
//	rows, err := c.Query(ctx, "SELECT owner FROM accounts WHERE id = $1", 7) // and QueryAt, Exec
//	if errors.Is(err, client.ErrOffsetMismatch) { … } // somebody else was first
//
// A Client is one connection that many goroutines may share. Requests are pipelined: each is sent at once, whatever is
// still unanswered, and requests that one goroutine makes one after the other are carried out in that order. AppendAsync
// makes many appends without waiting for each.
//
// # When the connection breaks
//
// The client connects again when it has something to send, at growing intervals, for as long as the contexts of the
// waiting calls allow (see WithReconnect). What had not been sent is sent then, and reads are sent again. So are appends
// with an IdempotencyKey and statements of SQL with Once, which the server knows again (see WithAutoKeys). Any other
// append, and whatever else changes something, may or may not have taken effect once it was sent; it fails with
// ErrUnknownOutcome and is never sent twice. Read the stream's head to find out, or append with ExpectOffset so that a
// second attempt cannot append twice. A subscription is taken up again behind the last event that it has yielded. A
// member of a consumer group joins again; what it held and had not acknowledged is delivered again, as another attempt.
package client
