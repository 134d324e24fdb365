package client

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/kimberlitedb/kimberlite-go/wire"
)

// ConsumeOption is a setting of Consume; Handle takes it, too.
type ConsumeOption interface {
	ofConsume(*consumer)
	HandleOption
}

type consumerOption func(*consumer)

func (o consumerOption) ofConsume(k *consumer) { o(k) }
func (o consumerOption) ofHandle(h *handler)   { o(&h.consumer) }

// OnStale calls f, from the consumer's loop or as that ends, for each event that was acknowledged in vain: its delivery was
// not held any more, or nobody knows whether the acknowledgement has arrived. Such an event comes again, to this consumer
// or to another, or has come already. What AckWait is told of is not told here.
func OnStale(f func(Event)) ConsumeOption { return consumerOption(func(k *consumer) { k.onStale = f }) }

// OnIdle calls f, from the consumer's loop, before each wait for the next delivery, and when a Limit is reached. Who deals with
// events many at a time deals there with those that have gathered, and acknowledges them.
func OnIdle(f func()) ConsumeOption { return consumerOption(func(k *consumer) { k.onIdle = f }) }

// Limit ends the sequence after n deliveries, and Handle once they are handled. The server is not asked for more: what it
// delivers and gets back has failed an attempt.
func Limit(n uint64) ConsumeOption { return consumerOption(func(k *consumer) { k.wanted = n }) }

// Consume joins a consumer group as a member and yields the deliveries that it gets, without an end unless there is a
// Limit. Each event goes to one member of the group at a time, which settles it: see Delivery. Every event is verified as by
// Read.
//
// The group's ack deadline counts from when the server has sent a delivery, so the time that it waits here counts, too; a
// consumer that takes long for an event should have a small Window, or Extend. When the connection breaks, Consume joins
// again. What came over the old connection is not held any more, and comes again as another attempt.
//
// When the loop is left, what was settled is sent, and what was not goes back to the group, also what other goroutines are
// still dealing with. The sequence ends with an error: that of ctx, a refusal (the group is deleted, say), a gap (see OnGap),
// ErrClosed. What is settled while the loop's body deals with the error still counts.
func (c *Client) Consume(ctx context.Context, stream StreamID, group string, options ...ConsumeOption) iter.Seq2[*Delivery, error] {
	return func(yield func(*Delivery, error) bool) {
		k := newConsumer(c, stream, group)
		for _, o := range options {
			o.ofConsume(&k)
		}
		defer k.leave()
		if err := k.consume(ctx, func(d *Delivery) bool { return yield(d, nil) }); err != nil {
			yield(nil, err)
		}
	}
}

// Delivery is an event that a member of a consumer group holds. The first call of Ack, AckWait, Nack or Park settles it; later
// ones change nothing. Until then the group gives the event to nobody else, but for as long as its ack deadline at most. The
// methods may be called by any goroutine, and none but AckWait and Extend waits for the server.
type Delivery struct {
	Event
	Attempt int // 1 for the first delivery of the event

	from *membership
	id   wire.DeliveryID

	// Guarded by Client.mu.
	settled bool
	verdict verdict
	ended   bool          // the verdict has arrived or never will
	err     error         // why it never will
	done    chan struct{} // closed once ended; nil while nobody waits
}

// verdict is how a delivery is settled.
type verdict struct {
	ack   bool
	park  bool
	delay uint64 // in milliseconds, of one that is neither
}

// Ack acknowledges the event: it was dealt with. Acknowledgements gather while one is under way. OnStale tells of those that
// come too late.
func (d *Delivery) Ack() { d.settle(verdict{ack: true}) }

// AckWait acknowledges the event and returns once that is durable: the group never delivers the event again, unless it is
// asked to. It fails with ErrStaleDelivery where the delivery was not held any more, and with ErrUnknownOutcome where the
// connection has broken meanwhile.
func (d *Delivery) AckWait(ctx context.Context) error {
	c := d.from.k.c
	c.mu.Lock()
	if d.done == nil {
		d.done = make(chan struct{})
		if d.ended {
			close(d.done)
		}
	}
	c.mu.Unlock()
	d.Ack()
	select {
	case <-d.done:
	case <-ctx.Done():
		return ctx.Err()
	}
	if !d.verdict.ack {
		return d.stale("it was given back before")
	}
	return d.err
}

// Nack gives the event back as a failed attempt, to be delivered again after a delay of at most seven days. Where it was the
// last attempt that the group allows, the event is parked.
func (d *Delivery) Nack(delay time.Duration) {
	d.settle(verdict{delay: uint64(min(max(delay.Milliseconds(), 0), wire.MaxNackDelay))})
}

// Park sets the event aside: the group does not deliver it any more until somebody replays it (see ReplayParked).
func (d *Delivery) Park() { d.settle(verdict{park: true}) }

// Extend moves the delivery's deadline to so long from now, at most twelve hours. It fails with ErrStaleDelivery where the
// delivery is not held any more.
func (d *Delivery) Extend(ctx context.Context, deadline time.Duration) error {
	m := d.from
	b := &wire.ExtendAck{Subscription: m.id, Deliveries: []wire.DeliveryID{d.id}, Deadline: uint64(max(deadline.Milliseconds(), 0))}
	result := make(chan error, 1)
	m.k.c.mu.Lock()
	asked := !d.settled && m.ask(b, func(_ wire.ResponseBody, err error) { result <- err })
	m.k.c.mu.Unlock()
	if !asked {
		return d.stale("it was settled, or the consumer has left, or its connection broke")
	}
	select {
	case err := <-result:
		if cutOff(err) || errors.Is(err, ErrUnknownOutcome) {
			return d.stale("its connection broke")
		}
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// settle notes a verdict. It is sent at once, unless others are under way: then it gathers, until they are answered, there
// are many, or the consumer waits for more.
func (d *Delivery) settle(v verdict) {
	k := d.from.k
	k.c.mu.Lock()
	defer k.c.mu.Unlock()
	if d.settled {
		return
	}
	d.settled, d.verdict = true, v
	k.release(d)
	k.gathered = append(k.gathered, d)
	if k.flying == 0 || len(k.gathered) >= mostGathered {
		k.send()
	}
}

// mostGathered is how many verdicts gather at most.
const mostGathered = 256

// end notes what became of a verdict. mu of the client is held.
func (d *Delivery) end(err error) {
	d.ended, d.err = true, err
	switch k := d.from.k; {
	case d.done != nil:
		close(d.done)
	case err != nil && d.verdict.ack && k.onStale != nil:
		k.stale = append(k.stale, d.Event)
		k.rouse()
	}
}

func (d *Delivery) stale(why string) error {
	return &Error{
		Code:    wire.StaleDelivery,
		Message: fmt.Sprintf("event %d of stream %d is not held any more: %s", d.Offset, d.from.k.stream, why),
	}
}

// membership is a consumer's part in its group over one connection. What came over it is settled over it, or not at all:
// another connection, and more so a server that was started again, may give the same numbers to other deliveries.
type membership struct {
	k    *consumer
	link *link
	id   wire.SubscriptionID
}

// ask sends a request, unless the membership has ended. mu of the client is held.
func (m *membership) ask(b wire.RequestBody, then func(wire.ResponseBody, error)) bool {
	return !m.k.left && m.k.c.askLocked(m.link, b, then)
}

// stands reports whether the connection is still there.
func (m *membership) stands() bool {
	m.k.c.mu.Lock()
	defer m.k.c.mu.Unlock()
	return m.k.c.link == m.link
}

// consumer is a member of a consumer group.
type consumer struct {
	subscription
	group   string
	yield   func(*Delivery) bool
	onStale func(Event)
	onIdle  func()
	member  *membership // of the last connection that brought something

	// Guarded by Client.mu.
	gathered []*Delivery   // settled and not sent; none while nothing is under way
	flying   int           // requests under way
	stale    []Event       // acknowledged in vain, and not told
	left     bool          // nothing is sent any more
	rest     chan struct{} // closed when nothing is under way any more; made by leave
}

func newConsumer(c *Client, stream StreamID, group string) consumer {
	return consumer{subscription: newSubscription(c, stream, credits{256, 1 << 20}), group: group}
}

// consume yields deliveries until something ends that.
func (k *consumer) consume(ctx context.Context, yield func(*Delivery) bool) error {
	if err := checkName("group", k.group); err != nil {
		return err
	}
	if k.wanted == 0 {
		return nil
	}
	k.yield = yield
	return k.run(ctx, k)
}

func (k *consumer) ask() *wire.Subscribe {
	return &wire.Subscribe{Stream: k.stream, Group: wire.Some(k.group)}
}

func (k *consumer) push(ctx context.Context, b wire.PushBody) (more bool, err error) {
	switch b := b.(type) {
	case *wire.GroupEvents:
		return k.deliver(ctx, b)
	case *wire.Gap:
		return true, k.passOver(b)
	case *wire.SubscriptionClosed:
		return true, closed(b)
	}
	return true, nil
}

// deliver verifies and yields deliveries, for as long as the connection stands that they came over.
func (k *consumer) deliver(ctx context.Context, b *wire.GroupEvents) (more bool, err error) {
	for i := range b.Deliveries {
		x := &b.Deliveries[i]
		k.report()
		if err := ctx.Err(); err != nil || k.isLost() {
			return true, err
		}
		e := x.Event.Decode()
		checked, err := check(k.stream, &e, e.Offset)
		if err != nil {
			return false, err
		}
		k.delay = 0
		if !k.yield(&Delivery{Event: checked, Attempt: int(x.Attempt), from: k.membership(), id: x.ID}) {
			return false, nil
		}
		if k.wanted--; k.wanted == 0 {
			k.idle()
			return false, nil
		}
		k.spend(len(x.Event))
	}
	return true, nil
}

func (k *consumer) isLost() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.lost
}

// membership returns that over the connection that there is.
func (k *consumer) membership() *membership {
	k.c.mu.Lock()
	defer k.c.mu.Unlock()
	if k.member == nil || k.member.link != k.link {
		k.member = &membership{k: k, link: k.link, id: k.id}
	}
	return k.member
}

// idle sends what has gathered: nobody knows when there will be more.
func (k *consumer) idle() {
	k.report()
	if k.onIdle != nil {
		k.onIdle()
	}
	k.c.mu.Lock()
	k.send()
	k.c.mu.Unlock()
}

// report tells of stale deliveries.
func (k *consumer) report() {
	k.c.mu.Lock()
	stale := k.stale
	k.stale = nil
	k.c.mu.Unlock()
	for _, e := range stale {
		k.onStale(e)
	}
}

// release notes that a delivery is not held any more. mu of the client is held.
func (k *consumer) release(d *Delivery) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if d.from.link == k.link {
		delete(k.held, d.id)
	}
}

// send sends what has gathered, in one request for all that is the same. mu of the client is held.
func (k *consumer) send() {
	for len(k.gathered) > 0 {
		first := k.gathered[0]
		var same, others []*Delivery
		for _, d := range k.gathered {
			if d.from == first.from && d.verdict == first.verdict {
				same = append(same, d)
			} else {
				others = append(others, d)
			}
		}
		k.gathered = others
		if first.from.ask(first.verdict.request(same), func(r wire.ResponseBody, err error) { k.answered(same, r, err) }) {
			k.flying++
			continue
		}
		for _, d := range same {
			d.end(d.stale("the consumer has left, or its connection broke"))
		}
	}
}

// request makes the request that settles deliveries of one membership.
func (v verdict) request(list []*Delivery) wire.RequestBody {
	ids := make([]wire.DeliveryID, len(list))
	for i, d := range list {
		ids[i] = d.id
	}
	if v.ack {
		return &wire.Ack{Subscription: list[0].from.id, Deliveries: ids}
	}
	return &wire.Nack{Subscription: list[0].from.id, Deliveries: ids, Delay: v.delay, Park: v.park}
}

// answered notes what became of verdicts, and sends those that have gathered meanwhile.
func (k *consumer) answered(list []*Delivery, reply wire.ResponseBody, err error) {
	var stale []wire.DeliveryID
	switch r := reply.(type) {
	case *wire.AckReply:
		stale = r.Stale
	case *wire.NackReply:
		stale = r.Stale
	}
	k.c.mu.Lock()
	defer k.c.mu.Unlock()
	for _, d := range list {
		switch {
		case cutOff(err):
			d.end(d.stale("its connection broke"))
		case err == nil && slices.Contains(stale, d.id):
			d.end(d.stale("its deadline has passed, or the group was changed"))
		default:
			d.end(err)
		}
	}
	if k.flying--; k.flying == 0 {
		k.send()
	}
	if k.flying == 0 && k.rest != nil {
		close(k.rest)
		k.rest = nil
	}
}

// cutOff reports whether a request was not carried out since the connection or the subscription had ended.
func cutOff(err error) bool {
	var e *Error
	if errors.As(err, &e) {
		return e.Code == wire.SubscriptionNotFound
	}
	return err != nil && !errors.Is(err, ErrUnknownOutcome)
}

// leave ends the membership, after the last verdicts, and waits until the server has answered all that.
func (k *consumer) leave() {
	k.c.mu.Lock()
	k.send()
	if k.unsubscribe(func(wire.ResponseBody, error) { k.answered(nil, nil, nil) }) {
		k.flying++
	}
	k.left = true
	rest := make(chan struct{})
	if k.flying > 0 {
		k.rest = rest
	} else {
		close(rest)
	}
	k.c.mu.Unlock()
	t := time.NewTimer(lastWait)
	defer t.Stop()
	select {
	case <-rest:
	case <-t.C:
	}
	k.report()
}

// lastWait is how long a consumer that leaves waits at most: the server may not be there any more.
const lastWait = 5 * time.Second
