package client

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/kimberlitedb/kimberlite-go/wire"
)

// HandleOption is a setting of Handle.
type HandleOption interface{ ofHandle(*handler) }

type handlerOption func(*handler)

func (o handlerOption) ofHandle(h *handler) { o(h) }

// Concurrency has at most n deliveries handled at a time. Without it, one.
func Concurrency(n int) HandleOption {
	return handlerOption(func(h *handler) { h.concurrency = max(n, 1) })
}

// KeepAlive keeps the deadlines of deliveries from passing, those that are being handled and those that wait, however long
// that takes. Without it a delivery that is not settled within the group's ack deadline goes to another member.
func KeepAlive() HandleOption {
	return handlerOption(func(h *handler) { h.held = map[wire.DeliveryID]struct{}{} })
}

// RetryAfter is an error of a handler that says when the event is to be delivered again.
type RetryAfter struct {
	Delay time.Duration
	Err   error // why; may be nil
}

// Error says when, and why.
func (e *RetryAfter) Error() string {
	if e.Err == nil {
		return fmt.Sprintf("to be tried again in %s", e.Delay)
	}
	return fmt.Sprintf("to be tried again in %s: %v", e.Delay, e.Err)
}

// Unwrap returns the reason.
func (e *RetryAfter) Unwrap() error { return e.Err }

// ErrPark is an error of a handler that has the event parked: trying again would not help.
var ErrPark = errors.New("the event is to be parked")

// Handle joins a consumer group as a member, as Consume does, and calls do with each delivery that it gets. Where do returns
// nil, the delivery is acknowledged. An error gives it back: after the delay of a *RetryAfter, parked with ErrPark, else after
// a second, and twice as long after each further attempt, a minute at most. If do has settled the delivery itself, that holds.
//
// Handle returns when Consume would end, and with its error; that of ctx if ctx ends. With an error, the context of do ends,
// too. Calls of do that are under way are waited for, and what they return still counts. Only events of errors that name
// neither a delay nor ErrPark go back at once then.
func (c *Client) Handle(ctx context.Context, stream StreamID, group string, do func(context.Context, *Delivery) error, options ...HandleOption) error {
	h := &handler{consumer: newConsumer(c, stream, group), do: do, concurrency: 1, work: make(chan *Delivery)}
	for _, o := range options {
		o.ofHandle(h)
	}
	defer h.leave()
	if h.held != nil {
		info, err := c.GroupInfo(ctx, stream, group)
		if err != nil {
			return err
		}
		defer h.keepAlive(info.Settings.AckDeadline)()
	}
	return h.handle(ctx)
}

// handler is a consumer that has deliveries handled.
type handler struct {
	consumer
	do          func(context.Context, *Delivery) error
	concurrency int
	work        chan *Delivery
}

// handle deals deliveries to workers. They have ended when it returns.
func (h *handler) handle(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var workers sync.WaitGroup
	for range h.concurrency {
		workers.Go(func() {
			for d := range h.work {
				h.settle(ctx, d)
			}
		})
	}
	err := h.consume(ctx, func(d *Delivery) bool {
		select {
		case h.work <- d:
			return true
		case <-ctx.Done():
			return false
		}
	})
	if err == nil { // it was enough, or a worker was waited for when ctx ended
		err = ctx.Err()
	}
	if err != nil {
		cancel()
	}
	close(h.work)
	workers.Wait()
	return err
}

// settle handles a delivery, unless its connection broke while it waited for a worker.
func (h *handler) settle(ctx context.Context, d *Delivery) {
	if !d.from.stands() {
		return
	}
	err := h.do(ctx, d)
	var again *RetryAfter
	switch {
	case err == nil:
		d.Ack()
	case errors.Is(err, ErrPark):
		d.Park()
	case errors.As(err, &again):
		d.Nack(again.Delay)
	case ctx.Err() != nil: // it goes back when Handle returns
	default:
		d.Nack(backoff(d.Attempt))
	}
}

// backoff returns how long an event waits after an attempt.
func backoff(attempt int) time.Duration {
	return min(time.Second<<min(max(attempt-1, 0), 6), time.Minute)
}

// keepAlive moves the deadlines of all that is held, every half of the ack deadline, until the returned function is called.
func (h *handler) keepAlive(deadline time.Duration) (stop func()) {
	quit := make(chan struct{})
	var routine sync.WaitGroup
	routine.Go(func() {
		t := time.NewTicker(max(deadline/2, time.Millisecond))
		defer t.Stop()
		for {
			select {
			case <-t.C:
				h.extend(deadline)
			case <-quit:
				return
			}
		}
	})
	return func() {
		close(quit)
		routine.Wait()
	}
}

// extend moves the deadlines of all that is held.
func (h *handler) extend(deadline time.Duration) {
	h.c.mu.Lock()
	defer h.c.mu.Unlock()
	h.mu.Lock()
	ids := slices.Sorted(maps.Keys(h.held))
	h.mu.Unlock()
	if len(ids) > 0 {
		h.c.tellLocked(h.link, &wire.ExtendAck{Subscription: h.id, Deliveries: ids, Deadline: uint64(deadline.Milliseconds())})
	}
}
